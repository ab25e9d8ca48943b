package s3_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"

	"github.com/malote/malote/malotetest"
)

func client(cfg aws.Config) *s3.Client { return s3.NewFromConfig(cfg) }

func newBucket(t testing.TB, c *s3.Client, name string) {
	t.Helper()
	if _, err := c.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &name}); err != nil {
		t.Fatal(err)
	}
}

func put(t testing.TB, c *s3.Client, bucket, key, value string) *s3.PutObjectOutput {
	t.Helper()
	out, err := c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: strings.NewReader(value)})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func get(ctx context.Context, c *s3.Client, bucket, key string) (string, error) {
	out, err := c.GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: &key})
	if err != nil {
		return "", err
	}
	defer out.Body.Close()
	b, err := io.ReadAll(out.Body)
	return string(b), err
}

func code(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

func TestAnObjectComesBack(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	c := client(sys.Config())
	newBucket(t, c, "first")
	value := sys.Canaries.New()
	put(t, c, "first", "a/b", value)
	if got, err := get(t.Context(), c, "first", "a/b"); err != nil || got != value {
		t.Errorf("GetObject: %q, %v", got, err)
	}
	big := bytes.Repeat([]byte("0123456789abcdef"), 100_000)
	put(t, c, "first", "big", string(big))
	if got, err := get(t.Context(), c, "first", "big"); err != nil || got != string(big) {
		t.Errorf("GetObject: %d bytes, %v", len(got), err)
	}
	list, err := c.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String("first")})
	if err != nil || len(list.Contents) != 2 || *list.Contents[0].Key != "a/b" || *list.Contents[1].Size != int64(len(big)) {
		t.Errorf("ListObjectsV2: %+v, %v", list, err)
	}
	if _, err := c.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: aws.String("first"), Key: aws.String("a/b")}); err != nil {
		t.Error(err)
	}
	if _, err := get(t.Context(), c, "first", "a/b"); code(err) != "NoSuchKey" {
		t.Errorf("GetObject of a deleted object: %v", err)
	}
}
