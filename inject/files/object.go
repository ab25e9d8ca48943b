package files

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"

	"github.com/malote/malote/inject"
	"github.com/malote/malote/internal/spoken"
)

const (
	maxObject     = 16 << 20    // held in memory
	objectTimeout = time.Minute // the SDK's retries included
)

// An object of S3.
type object struct{ bucket, key string }

// parseObject returns nil for what is no object.
func parseObject(valueFrom string) (*object, error) {
	rest, ok := strings.CutPrefix(valueFrom, "s3://")
	if !ok {
		parsed, err := arn.Parse(valueFrom)
		if err != nil || parsed.Service != "s3" {
			return nil, nil
		}
		rest = parsed.Resource
	}
	bucket, key, _ := strings.Cut(rest, "/")
	if bucket == "" || key == "" || strings.HasSuffix(key, "/") {
		return nil, errors.New("an object is s3://BUCKET/KEY or arn:aws:s3:::BUCKET/KEY")
	}
	return &object{bucket, key}, nil
}

func (o *object) get(ctx context.Context, config aws.Config) (content, error) {
	ctx, cancel := context.WithTimeout(ctx, objectTimeout)
	defer cancel()
	out, err := inject.S3(config, config.Region).GetObject(ctx, &s3.GetObjectInput{Bucket: &o.bucket, Key: &o.key})
	if err != nil {
		return content{}, o.fail(err)
	}
	defer out.Body.Close()
	body, err := io.ReadAll(io.LimitReader(out.Body, maxObject+1))
	if err != nil {
		return content{}, o.fail(err)
	}
	if len(body) > maxObject {
		return content{}, o.fail(fmt.Errorf("it has more than %d bytes", maxObject))
	}
	return content{value: value(body, "arn:aws:s3:::"+o.bucket+"/"+o.key, aws.ToString(out.ETag))}, nil
}

// etag is what get would have as the version.
func (o *object) etag(ctx context.Context, config aws.Config) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, objectTimeout)
	defer cancel()
	out, err := inject.S3(config, config.Region).HeadObject(ctx, &s3.HeadObjectInput{Bucket: &o.bucket, Key: &o.key})
	if err != nil {
		return "", o.fail(err)
	}
	return aws.ToString(out.ETag), nil
}

// fail says which object it is about, in the service's words.
func (o *object) fail(err error) error {
	if _, ok := errors.AsType[smithy.APIError](err); ok {
		err = fmt.Errorf("%w (s3:GetObject)", err)
	}
	return spoken.Error(fmt.Errorf("s3://%s/%s: %w", o.bucket, o.key, err))
}
