package files

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"

	"github.com/malote/malote/inject"
)

// maxObject bounds what is held in memory.
const maxObject = 16 << 20

// errSame says that an object is as it was.
var errSame = errors.New("not modified")

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

// get returns errSame when the object still has that ETag.
func (o *object) get(ctx context.Context, config aws.Config, etag string) (content, error) {
	in := &s3.GetObjectInput{Bucket: &o.bucket, Key: &o.key}
	if etag != "" {
		in.IfNoneMatch = &etag
	}
	where := "s3://" + o.bucket + "/" + o.key
	out, err := inject.S3(config, config.Region).GetObject(ctx, in)
	if answer := (*awshttp.ResponseError)(nil); errors.As(err, &answer) && answer.HTTPStatusCode() == http.StatusNotModified {
		return content{}, errSame
	}
	if err != nil {
		if api := smithy.APIError(nil); errors.As(err, &api) {
			err = fmt.Errorf("%s: %s: %s (s3:GetObject)", where, api.ErrorCode(), api.ErrorMessage())
		}
		return content{}, err
	}
	defer out.Body.Close()
	body, err := io.ReadAll(io.LimitReader(out.Body, maxObject+1))
	if err != nil {
		return content{}, fmt.Errorf("reading %s: %w", where, err)
	}
	if len(body) > maxObject {
		return content{}, fmt.Errorf("%s has more than %d bytes", where, maxObject)
	}
	return content{value: value(body, "arn:aws:s3:::"+o.bucket+"/"+o.key, aws.ToString(out.ETag))}, nil
}
