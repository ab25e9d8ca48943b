package blobs_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/malote/malote/malotetest"
	"github.com/malote/malote/service/s3/blobs"
)

// places are a folder and others' buckets: one of S3's, which here is malote's own, one of
// Azure's and one of Google's.
func places(t *testing.T) (map[string]blobs.Blobs, *cloud, *cloud) {
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
	azure, google := newCloud(t), newCloud(t)
	t.Setenv("AZURE_STORAGE_CONNECTION_STRING", fmt.Sprintf("DefaultEndpointsProtocol=http;AccountName=account;AccountKey=%s;BlobEndpoint=%s/account;",
		base64.StdEncoding.EncodeToString([]byte("a key for this test alone")), azure.serve(azure.azure).URL))
	container, err := blobs.Open(t.Context(), "azblob://bodies")
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("STORAGE_EMULATOR_HOST", google.serve(google.google).URL)
	goog, err := blobs.Open(t.Context(), "gs://bodies?prefix=malote/")
	if err != nil {
		t.Fatal(err)
	}
	return map[string]blobs.Blobs{"folder": folder, "s3": bucket, "azure": container, "google": goog}, azure, google
}

// All kinds of places keep the same promises.
func TestBlobs(t *testing.T) {
	all, azure, google := places(t)
	for name, place := range all {
		t.Run(name, func(t *testing.T) { keepsItsPromises(t, place) })
	}
	for name, c := range map[string]*cloud{"azure": azure, "google": google} {
		if len(c.whole) != 1 || c.largest > 8<<20 {
			t.Errorf("%s has %d blobs, and got a piece of %d bytes", name, len(c.whole), c.largest)
		}
	}
}

// keepsItsPromises is for an empty place, and leaves one blob in it.
func keepsItsPromises(t *testing.T, place blobs.Blobs) {
	t.Helper()
	ctx := t.Context()
	content := bytes.Repeat([]byte("0123456789"), 2_500_000) // of several pieces
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
	if b, err = place.Create(ctx, "ace"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(b, "little"); err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := read("ace", 1, 4); err != nil || string(got) != "ittl" {
		t.Errorf("of a little one: %q, %v", got, err)
	}
	// What is given up is nowhere, whether nothing of it was sent yet or most of it.
	for name, half := range map[string][]byte{"abba": []byte("half"), "abed": content[:20_000_000]} {
		b, err := place.Create(ctx, name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.Write(half); err != nil {
			t.Fatal(err)
		}
		if err := b.Abort(); err != nil {
			t.Error(err)
		}
	}
	for range 2 { // what is not there is deleted already
		if err := place.Delete(ctx, "abcdef"); err != nil {
			t.Error(err)
		}
	}
	for _, gone := range []string{"abcdef", "abba", "abed", "feed"} {
		if _, err := read(gone, 0, 1); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v", gone, err)
		}
	}
	if err := place.Close(); err != nil {
		t.Error(err)
	}
}

// A cloud that says that it is busy is asked again, and one that keeps something else than
// what was sent is not believed.
func TestGoogle(t *testing.T) {
	google := newCloud(t)
	spoil := false
	t.Setenv("STORAGE_EMULATOR_HOST", google.serve(func(w http.ResponseWriter, r *http.Request) {
		if spoil && r.Method == http.MethodPost {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"size":"5","crc32c":"AAAAAA=="}`)
			return
		}
		google.google(w, r)
	}).URL)
	place, err := blobs.Open(t.Context(), "gs://bodies")
	if err != nil {
		t.Fatal(err)
	}
	keep := func() error {
		b, err := place.Create(t.Context(), "abc")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(b, "value"); err != nil {
			t.Fatal(err)
		}
		return b.Close()
	}
	busy := func(times int) { google.mu.Lock(); google.refusals = times; google.mu.Unlock() }
	busy(1)
	if err := keep(); err != nil {
		t.Errorf("Create: %v", err)
	}
	busy(1)
	r, err := place.Open(t.Context(), "abc", 1, 3)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r); err != nil || string(got) != "alu" {
		t.Errorf("Open: %q, %v", got, err)
	}
	r.Close()
	if _, err := place.Open(t.Context(), "abc", 100, 1); err == nil || errors.Is(err, os.ErrNotExist) {
		t.Errorf("behind the end: %v", err)
	}
	busy(1)
	if err := place.Delete(t.Context(), "abc"); err != nil || len(google.whole) != 0 {
		t.Errorf("Delete: %v; %d are left", err, len(google.whole))
	}
	spoil = true
	if err := keep(); err == nil || !strings.Contains(err.Error(), "5 bytes were sent and 5 kept, or others") {
		t.Errorf("of other bytes: %v", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	for place, want := range map[string]string{
		"ftp://host/folder": "a folder or in s3://, azblob:// or gs://", "%zz": "no URL", "gs://": "the name of a bucket", "gs://bucket/folder": "?prefix=folder/",
		"gs://bucket?region=x": `no parameter "region"`, "azblob://": "the name of a bucket", "s3://?region=x": "the name of a bucket",
	} {
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
