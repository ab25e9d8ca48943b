package inject

import (
	"context"
	"fmt"
	"io"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/malote/malote/internal/s3file"
)

// File returns an object of S3 by its ARN, in a version, or the current one if it is empty.
// Like the ECS agent it asks first where the bucket is. The error is an *Error. The value's
// version is empty where the bucket keeps none.
func (r *Resolver) File(ctx context.Context, arn, version string) (Value, error) {
	object, err := s3file.Parse(arn)
	if err != nil {
		return Value{}, &Error{ValueFrom: arn, Role: r.Role, Err: err}
	}
	fail := func(call string, err error) (Value, error) {
		text := fmt.Sprintf("unable to download file with key %s from bucket %s, error: %s", object.Key, object.Bucket, advise(err))
		return Value{}, &Error{ValueFrom: arn, ID: arn, Call: call, Role: r.Role, Err: &apiError{text, err}}
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	region, err := BucketRegion(ctx, r.Config, object.Bucket)
	if err != nil {
		return fail("s3:GetBucketLocation", err)
	}
	const get = "s3:GetObject"
	in := &s3.GetObjectInput{Bucket: &object.Bucket, Key: &object.Key}
	if version != "" {
		in.VersionId = &version
	}
	out, err := S3(r.Config, region).GetObject(ctx, in)
	if err != nil {
		return fail(get, err)
	}
	defer out.Body.Close()
	body, err := io.ReadAll(io.LimitReader(out.Body, s3file.MaxSize+1))
	if err == nil && len(body) > s3file.MaxSize {
		err = fmt.Errorf("it is larger than %d bytes", s3file.MaxSize)
	}
	if err != nil {
		return fail(get, err)
	}
	if version = aws.ToString(out.VersionId); version == "null" {
		version = "" // what it is may change
	}
	return NewValue(string(body), arn, version), nil
}

// S3 is a client of S3 in a region. An endpoint of one's own has buckets in its paths, as its
// name need not have others below it.
func S3(config aws.Config, region string) *s3.Client {
	return s3.NewFromConfig(config, func(o *s3.Options) {
		o.Region = region
		o.UsePathStyle = o.BaseEndpoint != nil
	})
}

// BucketRegion is where a bucket is.
func BucketRegion(ctx context.Context, config aws.Config, bucket string) (string, error) {
	out, err := S3(config, config.Region).GetBucketLocation(ctx, &s3.GetBucketLocationInput{Bucket: &bucket})
	if err != nil {
		return "", err
	}
	switch out.LocationConstraint {
	case "":
		return "us-east-1", nil
	case "EU":
		return "eu-west-1", nil
	}
	return string(out.LocationConstraint), nil
}
