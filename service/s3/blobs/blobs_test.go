package blobs_test

import (
	"bytes"
	"errors"
	"io"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/malote/malote/malotetest"
	"github.com/malote/malote/service/s3/blobs"
)

// places are a folder and another's bucket, which here is one of malote's own.
func places(t *testing.T) map[string]blobs.Blobs {
	t.Helper()
	folder, err := blobs.Open(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	sys := malotetest.New(t)
	if _, err := s3.NewFromConfig(sys.Config()).CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("bodies")}); err != nil {
		t.Fatal(err)
	}
	keys, err := sys.Config().Credentials.Retrieve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_ACCESS_KEY_ID", keys.AccessKeyID)
	t.Setenv("AWS_SECRET_ACCESS_KEY", keys.SecretAccessKey)
	query := url.Values{"endpoint": {sys.Endpoint()}, "region": {malotetest.Region}, "use_path_style": {"true"}}
	bucket, err := blobs.Open(t.Context(), "s3://bodies?"+query.Encode())
	if err != nil {
		t.Fatal(err)
	}
	return map[string]blobs.Blobs{"folder": folder, "bucket": bucket}
}

// Both kinds of places keep the same promises.
func TestBlobs(t *testing.T) {
	for name, place := range places(t) {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			content := bytes.Repeat([]byte("0123456789"), 1_000_000)
			read := func(name string, offset, length int64) ([]byte, error) {
				r, err := place.Open(ctx, name, offset, length)
				if err != nil {
					return nil, err
				}
				defer r.Close()
				return io.ReadAll(r)
			}
			b, err := place.Create(ctx, "abcdef")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(b, bytes.NewReader(content)); err != nil {
				t.Fatal(err)
			}
			if err := b.Close(); err != nil {
				t.Fatal(err)
			}
			for _, at := range [][2]int64{{0, int64(len(content))}, {5, 7}, {int64(len(content)) - 3, 3}} {
				if got, err := read("abcdef", at[0], at[1]); err != nil || !bytes.Equal(got, content[at[0]:at[0]+at[1]]) {
					t.Errorf("%d bytes from %d: %d bytes, %v", at[1], at[0], len(got), err)
				}
			}
			b, err = place.Create(ctx, "abba")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := b.Write([]byte("half")); err != nil {
				t.Fatal(err)
			}
			if err := b.Abort(); err != nil {
				t.Error(err)
			}
			for range 2 { // what is not there is deleted already
				if err := place.Delete(ctx, "abcdef"); err != nil {
					t.Error(err)
				}
			}
			for _, gone := range []string{"abcdef", "abba", "feed"} {
				if _, err := read(gone, 0, 1); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("%s: %v", gone, err)
				}
			}
			if err := place.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	for place, want := range map[string]string{"ftp://host/folder": "a folder or in s3://", "%zz": "no URL"} {
		if _, err := blobs.Open(t.Context(), place); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Open(%q): %v", place, err)
		}
	}
}

func TestFolderRefusesNamesThatLeaveIt(t *testing.T) {
	t.Parallel()
	folder, err := blobs.OpenFolder(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer folder.Close()
	for _, name := range []string{"../../etc/passwd", "a/b/c", "", "ab", ".."} {
		if _, err := folder.Create(t.Context(), name); err == nil {
			t.Errorf("%q is a name", name)
		}
	}
}
