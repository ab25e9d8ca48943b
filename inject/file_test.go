package inject_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/malote/malote/inject"
	"github.com/malote/malote/malotetest"
)

func TestFile(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	client := inject.S3(sys.Config(), "eu-west-1")
	if _, err := client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("files"),
		CreateBucketConfiguration: &types.CreateBucketConfiguration{LocationConstraint: "eu-west-1"}}); err != nil {
		t.Fatal(err)
	}
	want := sys.Canary()
	put := func(body string) string {
		out, err := client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("files"), Key: aws.String("a.env"), Body: strings.NewReader(body)})
		if err != nil {
			t.Fatal(err)
		}
		return aws.ToString(out.VersionId)
	}
	const arn = "arn:aws:s3:::files/a.env"
	read := func(cfg aws.Config, version string) (inject.Value, error) {
		return (&inject.Resolver{Config: cfg}).File(t.Context(), arn, version)
	}
	put("A=" + want)
	if v, err := read(sys.Config(), ""); err != nil || v.Reveal() != "A="+want || v.VersionID != "" {
		t.Errorf("File = version %q, %v", v.VersionID, err)
	}
	if _, err := client.PutBucketVersioning(t.Context(), &s3.PutBucketVersioningInput{Bucket: aws.String("files"),
		VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled}}); err != nil {
		t.Fatal(err)
	}
	first := put("first")
	put("second")
	if v, err := read(sys.Config(), first); err != nil || v.Reveal() != "first" || v.VersionID != first {
		t.Errorf("File of version %s = version %q, %v", first, v.VersionID, err)
	}
	for call, policy := range map[string]string{
		"s3:GetBucketLocation": malotetest.Allow(arn, "s3:GetObject"),
		"s3:GetObject":         malotetest.Allow("arn:aws:s3:::files", "s3:GetBucketLocation"),
	} {
		_, err := read(sys.User(t, "without-"+call[3:], policy), "")
		failed, ok := errors.AsType[*inject.Error](err)
		if !ok || failed.Call != call || !(inject.Errors{failed}).Denied() || !strings.Contains(err.Error(), "key a.env from bucket files, error: AccessDenied: ") {
			t.Errorf("without %s: %v", call, err)
		}
	}
}
