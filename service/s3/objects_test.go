package s3_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/google/go-cmp/cmp"

	"github.com/malote/malote/malotetest"
)

// Over https clients send checksums behind the body, over http before it. Both are
// verified, and kept.
func TestChecksumsOfBothTransports(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	newBucket(t, client(sys.Config()), "sums")
	secure := httptest.NewTLSServer(sys.Handler())
	defer secure.Close()
	overTLS := sys.Config()
	overTLS.BaseEndpoint, overTLS.HTTPClient = &secure.URL, secure.Client()
	for name, cfg := range map[string]aws.Config{"http": sys.Config(), "https": overTLS} {
		c := client(cfg)
		for _, algorithm := range []types.ChecksumAlgorithm{types.ChecksumAlgorithmCrc32, types.ChecksumAlgorithmCrc32c, types.ChecksumAlgorithmCrc64nvme, types.ChecksumAlgorithmSha1, types.ChecksumAlgorithmSha256} {
			key, value := name+string(algorithm), sys.Canaries.New()
			_, err := c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("sums"), Key: &key, Body: strings.NewReader(value), ChecksumAlgorithm: algorithm})
			if err != nil {
				t.Errorf("%s: %v", key, err)
				continue
			}
			out, err := c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("sums"), Key: &key, ChecksumMode: types.ChecksumModeEnabled})
			if err != nil {
				t.Errorf("%s: %v", key, err)
				continue
			}
			got, err := io.ReadAll(out.Body)
			out.Body.Close()
			if err != nil || string(got) != value || out.ContentEncoding != nil || out.ChecksumType != types.ChecksumTypeFullObject {
				t.Errorf("%s: %q, %v, encoding %v, type %q", key, got, err, out.ContentEncoding, out.ChecksumType)
			}
			attributes, err := c.GetObjectAttributes(t.Context(), &s3.GetObjectAttributesInput{Bucket: aws.String("sums"), Key: &key, ObjectAttributes: []types.ObjectAttributes{types.ObjectAttributesChecksum, types.ObjectAttributesObjectSize, types.ObjectAttributesEtag}})
			if err != nil || attributes.Checksum == nil || *attributes.ObjectSize != int64(len(value)) || strings.Contains(*attributes.ETag, `"`) {
				t.Errorf("%s: GetObjectAttributes: %+v, %v", key, attributes, err)
			}
		}
	}
}

func TestWrongDigestsAreRefused(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	c := client(sys.Config())
	newBucket(t, c, "digests")
	for name, in := range map[string]*s3.PutObjectInput{
		"BadDigest":        {ChecksumCRC32: aws.String("AAAAAA==")},
		"BadDigest 2":      {ContentMD5: aws.String("AAAAAAAAAAAAAAAAAAAAAA==")},
		"InvalidDigest":    {ContentMD5: aws.String("short")},
		"InvalidRequest":   {ChecksumCRC32: aws.String("AAAA")},
		"InvalidRequest 2": {ChecksumCRC32: aws.String("AAAAAA=="), ChecksumCRC32C: aws.String("AAAAAA==")},
	} {
		in.Bucket, in.Key, in.Body = aws.String("digests"), aws.String("k"), strings.NewReader("value")
		want, _, _ := strings.Cut(name, " ")
		if _, err := c.PutObject(t.Context(), in); code(err) != want {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := get(t.Context(), c, "digests", "k"); code(err) != "NoSuchKey" {
		t.Errorf("something is there: %v", err)
	}
}

func TestRanges(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	c := client(sys.Config())
	newBucket(t, c, "ranges")
	value := strings.Repeat("0123456789", 20_000)
	put(t, c, "ranges", "k", value)
	put(t, c, "ranges", "empty", "")
	for _, tt := range []struct{ header, want, contentRange, err string }{
		{"bytes=0-3", value[:4], "bytes 0-3/200000", ""},
		{"bytes=65530-65545", value[65530:65546], "bytes 65530-65545/200000", ""},
		{"bytes=199998-", value[199998:], "bytes 199998-199999/200000", ""},
		{"bytes=-5", value[199995:], "bytes 199995-199999/200000", ""},
		{"bytes=-300000", value, "bytes 0-199999/200000", ""},
		{"bytes=100-300000", value[100:], "bytes 100-199999/200000", ""},
		{"bytes=5-2", value, "", ""},
		{"bytes=1-2,4-5", value, "", ""},
		{"lines=1-2", value, "", ""},
		{"bytes=200000-", "", "", "InvalidRange"},
		{"bytes=-0", "", "", "InvalidRange"},
	} {
		out, err := c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("ranges"), Key: aws.String("k"), Range: &tt.header})
		if tt.err != "" {
			if code(err) != tt.err {
				t.Errorf("%s: %v, want %s", tt.header, err, tt.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", tt.header, err)
			continue
		}
		got, err := io.ReadAll(out.Body)
		out.Body.Close()
		if err != nil || string(got) != tt.want || aws.ToString(out.ContentRange) != tt.contentRange {
			t.Errorf("%s: %d bytes, %q, %v; want %d, %q", tt.header, len(got), aws.ToString(out.ContentRange), err, len(tt.want), tt.contentRange)
		}
	}
	if got, err := get(t.Context(), c, "ranges", "empty"); err != nil || got != "" {
		t.Errorf("an empty object: %q, %v", got, err)
	}
	_, err := c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("ranges"), Key: aws.String("empty"), Range: aws.String("bytes=0-0")})
	if code(err) != "InvalidRange" {
		t.Errorf("a range of nothing: %v", err)
	}
}

func TestVersions(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	c := client(sys.Config())
	ctx, bucket, key := t.Context(), aws.String("versions"), aws.String("k")
	newBucket(t, c, *bucket)
	if out := put(t, c, *bucket, *key, "before"); out.VersionId != nil {
		t.Errorf("a version without versioning: %s", *out.VersionId)
	}
	status := func(s types.BucketVersioningStatus) {
		t.Helper()
		if _, err := c.PutBucketVersioning(ctx, &s3.PutBucketVersioningInput{Bucket: bucket, VersioningConfiguration: &types.VersioningConfiguration{Status: s}}); err != nil {
			t.Fatal(err)
		}
	}
	status(types.BucketVersioningStatusEnabled)
	first := put(t, c, *bucket, *key, "first")
	second := put(t, c, *bucket, *key, "second")
	if *first.VersionId == *second.VersionId {
		t.Error("two versions of one name")
	}
	for version, want := range map[string]string{*first.VersionId: "first", *second.VersionId: "second", "null": "before"} {
		out, err := c.GetObject(ctx, &s3.GetObjectInput{Bucket: bucket, Key: key, VersionId: &version})
		if err != nil {
			t.Fatal(err)
		}
		got, _ := io.ReadAll(out.Body)
		out.Body.Close()
		if string(got) != want || *out.VersionId != version {
			t.Errorf("version %s: %q of %s, want %q", version, got, *out.VersionId, want)
		}
	}
	deleted, err := c.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: bucket, Key: key})
	if err != nil || !aws.ToBool(deleted.DeleteMarker) || deleted.VersionId == nil {
		t.Fatalf("DeleteObject: %+v, %v", deleted, err)
	}
	if _, err := get(ctx, c, *bucket, *key); code(err) != "NoSuchKey" {
		t.Errorf("behind a delete marker: %v", err)
	}
	if _, err := c.GetObject(ctx, &s3.GetObjectInput{Bucket: bucket, Key: key, VersionId: deleted.VersionId}); code(err) != "MethodNotAllowed" {
		t.Errorf("the delete marker itself: %v", err)
	}
	list, err := c.ListObjectVersions(ctx, &s3.ListObjectVersionsInput{Bucket: bucket})
	if err != nil || len(list.Versions) != 3 || len(list.DeleteMarkers) != 1 || !*list.DeleteMarkers[0].IsLatest || *list.Versions[0].IsLatest || *list.Versions[0].VersionId != *second.VersionId {
		t.Errorf("ListObjectVersions: %+v, %v", list, err)
	}
	var paged []string
	for pages := s3.NewListObjectVersionsPaginator(c, &s3.ListObjectVersionsInput{Bucket: bucket, MaxKeys: aws.Int32(1)}); pages.HasMorePages(); {
		page, err := pages.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range page.Versions {
			paged = append(paged, *v.VersionId)
		}
		for _, m := range page.DeleteMarkers {
			paged = append(paged, *m.VersionId)
		}
	}
	if want := []string{*deleted.VersionId, *second.VersionId, *first.VersionId, "null"}; !slices.Equal(paged, want) {
		t.Errorf("page by page: %v, want %v", paged, want)
	}
	if list, err := c.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: bucket}); err != nil || len(list.Contents) != 0 {
		t.Errorf("ListObjectsV2: %+v, %v", list.Contents, err)
	}
	// Without the marker the newest version is back.
	if _, err := c.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: bucket, Key: key, VersionId: deleted.VersionId}); err != nil {
		t.Fatal(err)
	}
	if got, err := get(ctx, c, *bucket, *key); err != nil || got != "second" {
		t.Errorf("after the marker: %q, %v", got, err)
	}
	status(types.BucketVersioningStatusSuspended)
	put(t, c, *bucket, *key, "suspended")
	put(t, c, *bucket, *key, "again")
	list, err = c.ListObjectVersions(ctx, &s3.ListObjectVersionsInput{Bucket: bucket})
	if err != nil || len(list.Versions) != 3 || *list.Versions[0].VersionId != "null" {
		t.Errorf("suspended: %+v, %v", list.Versions, err)
	}
	if _, err := c.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: bucket}); code(err) != "BucketNotEmpty" {
		t.Errorf("DeleteBucket: %v", err)
	}
	for _, v := range list.Versions {
		if _, err := c.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: bucket, Key: key, VersionId: v.VersionId}); err != nil {
			t.Error(err)
		}
	}
	if _, err := c.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: bucket}); err != nil {
		t.Error(err)
	}
	for version, want := range map[string]string{"nonsense": "InvalidArgument", *first.VersionId: "NoSuchBucket"} {
		if want == "InvalidArgument" {
			newBucket(t, c, "others")
		}
		name := map[string]string{"InvalidArgument": "others", "NoSuchBucket": *bucket}[want]
		if _, err := c.GetObject(ctx, &s3.GetObjectInput{Bucket: &name, Key: key, VersionId: &version}); code(err) != want {
			t.Errorf("version %s: %v, want %s", version, err, want)
		}
	}
}

func TestLists(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	c := client(sys.Config())
	ctx, bucket := t.Context(), aws.String("lists")
	newBucket(t, c, *bucket)
	keys := []string{"a", "a/1", "a/2", "a//", "b", "b/1/x", "b/1/y", "b/2", "c d+e%&<>\"'", "ü/ß", "z\nz", "../up", "a\x01b"}
	for _, key := range keys {
		put(t, c, *bucket, key, key)
	}
	slices.Sort(keys)
	for _, limit := range []int32{1, 2, 3, 1000} {
		var got []string
		for pages := s3.NewListObjectsV2Paginator(c, &s3.ListObjectsV2Input{Bucket: bucket, MaxKeys: &limit, EncodingType: types.EncodingTypeUrl}); pages.HasMorePages(); {
			page, err := pages.NextPage(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if int32(len(page.Contents)) > limit || *page.KeyCount != int32(len(page.Contents)) {
				t.Errorf("%d keys of at most %d, KeyCount %d", len(page.Contents), limit, *page.KeyCount)
			}
			for _, o := range page.Contents {
				got = append(got, *o.Key)
			}
		}
		for i, key := range got {
			got[i] = unquoted(t, key)
		}
		if diff := cmp.Diff(keys, got); diff != "" {
			t.Errorf("in pages of %d (-want +got):\n%s", limit, diff)
		}
	}
	for _, tt := range []struct {
		prefix, delimiter, after string
		keys, prefixes           []string
	}{
		{"", "/", "", []string{"a", "a\x01b", "b", "c d+e%&<>\"'", "z\nz"}, []string{"../", "a/", "b/", "ü/"}},
		{"a/", "/", "", []string{"a/1", "a/2"}, []string{"a//"}},
		{"b/", "", "", []string{"b/1/x", "b/1/y", "b/2"}, nil},
		{"b/", "/", "b/1/x", []string{"b/2"}, []string{"b/1/"}},
		{"b", "1", "", []string{"b", "b/2"}, []string{"b/1"}},
		{"", "", "b/1/y", []string{"b/2", "c d+e%&<>\"'", "z\nz", "ü/ß"}, nil},
		{"a/", "/", "a/", []string{"a/1", "a/2"}, []string{"a//"}},
		{"nothing", "", "", nil, nil},
	} {
		for _, limit := range []int32{1, 2, 1000} {
			var gotKeys, gotPrefixes []string
			in := &s3.ListObjectsV2Input{Bucket: bucket, Prefix: &tt.prefix, Delimiter: &tt.delimiter, MaxKeys: &limit, EncodingType: types.EncodingTypeUrl}
			if tt.after != "" {
				in.StartAfter = &tt.after
			}
			for pages := s3.NewListObjectsV2Paginator(c, in); pages.HasMorePages(); {
				page, err := pages.NextPage(ctx)
				if err != nil {
					t.Fatal(err)
				}
				for _, o := range page.Contents {
					gotKeys = append(gotKeys, unquoted(t, *o.Key))
				}
				for _, p := range page.CommonPrefixes {
					gotPrefixes = append(gotPrefixes, unquoted(t, *p.Prefix))
				}
			}
			if diff := cmp.Diff(tt.keys, gotKeys); diff != "" {
				t.Errorf("%q %q after %q, pages of %d: keys (-want +got)\n%s", tt.prefix, tt.delimiter, tt.after, limit, diff)
			}
			if diff := cmp.Diff(tt.prefixes, gotPrefixes); diff != "" {
				t.Errorf("%q %q after %q, pages of %d: prefixes (-want +got)\n%s", tt.prefix, tt.delimiter, tt.after, limit, diff)
			}
		}
	}
	old, err := c.ListObjects(ctx, &s3.ListObjectsInput{Bucket: bucket, Delimiter: aws.String("/"), MaxKeys: aws.Int32(2)})
	if err != nil || !*old.IsTruncated || *old.NextMarker != "a" || old.Contents[0].Owner == nil {
		t.Errorf("ListObjects: %+v, %v", old, err)
	}
	if out, err := c.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: bucket, MaxKeys: aws.Int32(0)}); err != nil || *out.IsTruncated || len(out.Contents) != 0 {
		t.Errorf("max-keys 0: %+v, %v", out, err)
	}
	if _, err := c.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: bucket, ContinuationToken: aws.String("nonsense")}); code(err) != "InvalidArgument" {
		t.Errorf("a wrong token: %v", err)
	}
}

// unquoted reads a key as encoding-type=url has it.
func unquoted(t *testing.T, s string) string {
	t.Helper()
	r, err := http.NewRequest("GET", "http://x/?k="+s, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r.URL.Query().Get("k")
}

func TestConditions(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	c := client(sys.Config())
	ctx, bucket, key := t.Context(), aws.String("conditions"), aws.String("k")
	newBucket(t, c, *bucket)
	write := func(match, noneMatch *string) (string, error) {
		out, err := c.PutObject(ctx, &s3.PutObjectInput{Bucket: bucket, Key: key, Body: strings.NewReader("x"), IfMatch: match, IfNoneMatch: noneMatch})
		if err != nil {
			return "", err
		}
		return *out.ETag, nil
	}
	star := aws.String("*")
	if _, err := write(aws.String(`"x"`), nil); code(err) != "NoSuchKey" {
		t.Errorf("If-Match of nothing: %v", err)
	}
	etag, err := write(nil, star)
	if err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"PreconditionFailed": failure(write(nil, star)), "PreconditionFailed 2": failure(write(aws.String(`"other"`), nil)),
		"NotImplemented": failure(write(star, nil)), "NotImplemented 2": failure(write(nil, &etag)), "NotImplemented 3": failure(write(&etag, star)),
		" ": failure(write(&etag, nil)),
	} {
		if want, _, _ := strings.Cut(name, " "); code(err) != want {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Of many who want to be the first, one is.
	var wins sync.Map
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			if _, err := c.PutObject(ctx, &s3.PutObjectInput{Bucket: bucket, Key: aws.String("race"), Body: strings.NewReader(fmt.Sprint(i)), IfNoneMatch: star}); err == nil {
				wins.Store(i, true)
			} else if code(err) != "PreconditionFailed" {
				t.Error(err)
			}
		})
	}
	group.Wait()
	n := 0
	wins.Range(func(any, any) bool { n++; return true })
	if n != 1 {
		t.Errorf("%d were first", n)
	}
	read := func(in *s3.GetObjectInput) error {
		in.Bucket, in.Key = bucket, key
		out, err := c.GetObject(ctx, in)
		if err == nil {
			out.Body.Close()
		}
		return err
	}
	head, err := c.HeadObject(ctx, &s3.HeadObjectInput{Bucket: bucket, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"PreconditionFailed":   read(&s3.GetObjectInput{IfMatch: aws.String(`"other"`)}),
		"PreconditionFailed 2": read(&s3.GetObjectInput{IfUnmodifiedSince: aws.Time(head.LastModified.AddDate(-1, 0, 0))}),
		" ":                    read(&s3.GetObjectInput{IfMatch: head.ETag, IfUnmodifiedSince: aws.Time(head.LastModified.AddDate(-1, 0, 0))}),
		"NotModified":          read(&s3.GetObjectInput{IfNoneMatch: head.ETag}),
		"NotModified 2":        read(&s3.GetObjectInput{IfModifiedSince: head.LastModified}),
		" 2":                   read(&s3.GetObjectInput{IfNoneMatch: aws.String(`"other"`), IfModifiedSince: head.LastModified}),
	} {
		want, _, _ := strings.Cut(name, " ")
		got := code(err)
		var response interface{ HTTPStatusCode() int }
		if errors.As(err, &response) && response.HTTPStatusCode() == http.StatusNotModified {
			got = "NotModified"
		}
		if got != want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func failure[T any](_ T, err error) error { return err }

func TestMultipart(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	c := client(sys.Config())
	ctx, bucket, key := t.Context(), aws.String("parts"), aws.String("big/one")
	newBucket(t, c, *bucket)
	first, rest := bytes.Repeat([]byte("0123456789abcdef"), 5<<16), []byte("the end")
	begin := func(in *s3.CreateMultipartUploadInput) *string {
		t.Helper()
		in.Bucket, in.Key = bucket, key
		out, err := c.CreateMultipartUpload(ctx, in)
		if err != nil {
			t.Fatal(err)
		}
		return out.UploadId
	}
	part := func(id *string, number int32, content []byte) types.CompletedPart {
		t.Helper()
		out, err := c.UploadPart(ctx, &s3.UploadPartInput{Bucket: bucket, Key: key, UploadId: id, PartNumber: &number, Body: bytes.NewReader(content)})
		if err != nil {
			t.Fatal(err)
		}
		return types.CompletedPart{ETag: out.ETag, PartNumber: &number, ChecksumCRC32: out.ChecksumCRC32}
	}
	complete := func(id *string, parts ...types.CompletedPart) (*s3.CompleteMultipartUploadOutput, error) {
		return c.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{Bucket: bucket, Key: key, UploadId: id, MultipartUpload: &types.CompletedMultipartUpload{Parts: parts}})
	}

	id := begin(&s3.CreateMultipartUploadInput{ContentType: aws.String("text/plain"), Metadata: map[string]string{"a": "b"}})
	seven := part(id, 7, rest)
	one := part(id, 2, []byte("to be replaced"))
	one = part(id, 2, first)
	part(id, 9, []byte("not to be in it"))
	if _, err := get(ctx, c, *bucket, *key); code(err) != "NoSuchKey" {
		t.Errorf("visible before it is complete: %v", err)
	}
	if list, err := c.ListParts(ctx, &s3.ListPartsInput{Bucket: bucket, Key: key, UploadId: id}); err != nil || len(list.Parts) != 3 || *list.Parts[0].Size != int64(len(first)) {
		t.Errorf("ListParts: %+v, %v", list, err)
	}
	if list, err := c.ListMultipartUploads(ctx, &s3.ListMultipartUploadsInput{Bucket: bucket}); err != nil || len(list.Uploads) != 1 || *list.Uploads[0].UploadId != *id {
		t.Errorf("ListMultipartUploads: %+v, %v", list, err)
	}
	for name, parts := range map[string][]types.CompletedPart{
		"InvalidPartOrder": {seven, one},
		"InvalidPart":      {one, {PartNumber: aws.Int32(7), ETag: aws.String(`"other"`)}},
		"InvalidPart 2":    {one, {PartNumber: aws.Int32(8), ETag: seven.ETag}},
		"EntityTooSmall":   {one, seven, {PartNumber: aws.Int32(9), ETag: part(id, 9, []byte("not to be in it")).ETag}},
	} {
		want, _, _ := strings.Cut(name, " ")
		if _, err := complete(id, parts...); code(err) != want {
			t.Errorf("%s: %v", name, err)
		}
	}
	out, err := complete(id, one, seven)
	if err != nil {
		t.Fatal(err)
	}
	again, err := complete(id, one, seven)
	if err != nil || *again.ETag != *out.ETag {
		t.Errorf("completed again: %+v, %v", again, err)
	}
	if !strings.HasSuffix(*out.ETag, `-2"`) {
		t.Errorf("ETag %s", *out.ETag)
	}
	want := string(first) + string(rest)
	if got, err := get(ctx, c, *bucket, *key); err != nil || got != want {
		t.Errorf("GetObject: %d bytes, %v", len(got), err)
	}
	over, err := c.GetObject(ctx, &s3.GetObjectInput{Bucket: bucket, Key: key, Range: aws.String(fmt.Sprintf("bytes=%d-%d", len(first)-3, len(first)+2))})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(over.Body); err != nil || string(got) != "defthe" {
		t.Errorf("a range over two parts: %q, %v", got, err)
	}
	last, err := c.GetObject(ctx, &s3.GetObjectInput{Bucket: bucket, Key: key, PartNumber: aws.Int32(2)})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(last.Body); err != nil || string(got) != string(rest) || *last.PartsCount != 2 || *last.ContentType != "text/plain" || last.Metadata["a"] != "b" {
		t.Errorf("part 2: %q, %v, %+v", got, err, last)
	}
	for _, call := range []error{
		failure(c.UploadPart(ctx, &s3.UploadPartInput{Bucket: bucket, Key: key, UploadId: id, PartNumber: aws.Int32(1), Body: bytes.NewReader(rest)})),
		failure(c.ListParts(ctx, &s3.ListPartsInput{Bucket: bucket, Key: key, UploadId: id})),
		failure(c.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: bucket, Key: key, UploadId: id})),
	} {
		if code(call) != "NoSuchUpload" {
			t.Errorf("an upload that has ended: %v", call)
		}
	}

	// A checksum of the whole, whichever kind.
	for _, kind := range []types.ChecksumType{types.ChecksumTypeComposite, types.ChecksumTypeFullObject} {
		id := begin(&s3.CreateMultipartUploadInput{ChecksumAlgorithm: types.ChecksumAlgorithmCrc32, ChecksumType: kind})
		one, two := part(id, 1, first), part(id, 2, rest)
		out, err := complete(id, one, two)
		if err != nil {
			t.Errorf("%s: %v", kind, err)
			continue
		}
		sum := crc32.ChecksumIEEE([]byte(want))
		whole := base64.StdEncoding.EncodeToString([]byte{byte(sum >> 24), byte(sum >> 16), byte(sum >> 8), byte(sum)})
		if kind == types.ChecksumTypeFullObject && *out.ChecksumCRC32 != whole || kind == types.ChecksumTypeComposite && !strings.HasSuffix(*out.ChecksumCRC32, "-2") {
			t.Errorf("%s: %s, want %s", kind, *out.ChecksumCRC32, whole)
		}
	}
	id = begin(&s3.CreateMultipartUploadInput{})
	part(id, 1, rest)
	if _, err := c.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: bucket, Key: key, UploadId: id}); err != nil {
		t.Error(err)
	}
	if list, err := c.ListMultipartUploads(ctx, &s3.ListMultipartUploadsInput{Bucket: bucket}); err != nil || len(list.Uploads) != 0 {
		t.Errorf("ListMultipartUploads at the end: %+v, %v", list.Uploads, err)
	}

	// Copied by parts, with ranges.
	id = begin(&s3.CreateMultipartUploadInput{})
	var copied []types.CompletedPart
	for i, r := range []string{fmt.Sprintf("bytes=0-%d", len(first)-1), fmt.Sprintf("bytes=%d-%d", len(first), len(want)-1)} {
		out, err := c.UploadPartCopy(ctx, &s3.UploadPartCopyInput{Bucket: bucket, Key: key, UploadId: id, PartNumber: aws.Int32(int32(i + 1)), CopySource: aws.String("parts/big/one"), CopySourceRange: &r})
		if err != nil {
			t.Fatal(err)
		}
		copied = append(copied, types.CompletedPart{PartNumber: aws.Int32(int32(i + 1)), ETag: out.CopyPartResult.ETag})
	}
	if _, err := complete(id, copied...); err != nil {
		t.Fatal(err)
	}
	if got, err := get(ctx, c, *bucket, *key); err != nil || sha256.Sum256([]byte(got)) != sha256.Sum256([]byte(want)) {
		t.Errorf("the copy: %d bytes, %v", len(got), err)
	}
}

func TestCopy(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	c := client(sys.Config())
	ctx := t.Context()
	newBucket(t, c, "from")
	newBucket(t, c, "into")
	value := sys.Canaries.New()
	_, err := c.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String("from"), Key: aws.String("a b/ü+"), Body: strings.NewReader(value), ContentType: aws.String("text/x"), Metadata: map[string]string{"m": "1"}, Tagging: aws.String("t=1&u=%20")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.CopyObject(ctx, &s3.CopyObjectInput{Bucket: aws.String("into"), Key: aws.String("k"), CopySource: aws.String("from/a%20b/%C3%BC%2B")}); err != nil {
		t.Fatal(err)
	}
	head, err := c.HeadObject(ctx, &s3.HeadObjectInput{Bucket: aws.String("into"), Key: aws.String("k")})
	if err != nil || *head.ContentType != "text/x" || head.Metadata["m"] != "1" {
		t.Errorf("HeadObject: %+v, %v", head, err)
	}
	if got, err := get(ctx, c, "into", "k"); err != nil || got != value {
		t.Errorf("GetObject: %q, %v", got, err)
	}
	tags, err := c.GetObjectTagging(ctx, &s3.GetObjectTaggingInput{Bucket: aws.String("into"), Key: aws.String("k")})
	if err != nil || len(tags.TagSet) != 2 || *tags.TagSet[1].Value != " " {
		t.Errorf("GetObjectTagging: %+v, %v", tags, err)
	}
	if _, err := c.CopyObject(ctx, &s3.CopyObjectInput{Bucket: aws.String("into"), Key: aws.String("k"), CopySource: aws.String("into/k")}); code(err) != "InvalidRequest" {
		t.Errorf("a copy onto itself: %v", err)
	}
	_, err = c.CopyObject(ctx, &s3.CopyObjectInput{Bucket: aws.String("into"), Key: aws.String("k"), CopySource: aws.String("/into/k"), MetadataDirective: types.MetadataDirectiveReplace, Metadata: map[string]string{"m": "2"}})
	if err != nil {
		t.Error(err)
	}
	if head, err := c.HeadObject(ctx, &s3.HeadObjectInput{Bucket: aws.String("into"), Key: aws.String("k")}); err != nil || head.Metadata["m"] != "2" || *head.ContentType != "binary/octet-stream" {
		t.Errorf("HeadObject after the replacement: %+v, %v", head, err)
	}
	for source, want := range map[string]string{"from/none": "NoSuchKey", "none/x": "NoSuchBucket", "from": "InvalidArgument", "from/a%zz": "InvalidArgument"} {
		if _, err := c.CopyObject(ctx, &s3.CopyObjectInput{Bucket: aws.String("into"), Key: aws.String("x"), CopySource: &source}); code(err) != want {
			t.Errorf("from %s: %v, want %s", source, err, want)
		}
	}
}

// A key that cannot be one is told as such by whatever reads.
func TestLongKeys(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	ctx, c, bucket, long := t.Context(), client(sys.Config()), aws.String("long"), aws.String(strings.Repeat("k", 3000))
	newBucket(t, c, *bucket)
	version := aws.String(strings.Repeat("A", 32))
	for name, err := range map[string]error{
		"KeyTooLongError":   failure(c.GetObject(ctx, &s3.GetObjectInput{Bucket: bucket, Key: long, VersionId: version})),
		"KeyTooLongError 2": failure(c.PutObject(ctx, &s3.PutObjectInput{Bucket: bucket, Key: long, Body: strings.NewReader("x")})),
		"KeyTooLongError 3": failure(c.PutObjectTagging(ctx, &s3.PutObjectTaggingInput{Bucket: bucket, Key: long, Tagging: &types.Tagging{TagSet: []types.Tag{}}})),
		"KeyTooLongError 4": failure(c.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: bucket, Key: long})),
		"NoSuchUpload":      failure(c.ListParts(ctx, &s3.ListPartsInput{Bucket: bucket, Key: long, UploadId: version})),
	} {
		if want, _, _ := strings.Cut(name, " "); code(err) != want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Who asks in another region is told which, and what is copied comes from any.
func TestRegions(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	ctx, here := t.Context(), client(sys.Config())
	cfg := sys.Config()
	cfg.Region = "eu-west-1"
	there := client(cfg)
	newBucket(t, here, "american")
	if _, err := there.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String("european")}); code(err) != "IllegalLocationConstraintException" {
		t.Errorf("no constraint: %v", err)
	}
	_, err := there.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String("european"), CreateBucketConfiguration: &types.CreateBucketConfiguration{LocationConstraint: "eu-west-1"}})
	if err != nil {
		t.Fatal(err)
	}
	value := sys.Canaries.New()
	_, err = there.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String("european"), Key: aws.String("k"), Body: strings.NewReader(value), ServerSideEncryption: types.ServerSideEncryptionAwsKms})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := get(ctx, here, "european", "k"); code(err) != "AuthorizationHeaderMalformed" || !strings.Contains(err.Error(), "expecting 'eu-west-1'") {
		t.Errorf("from another region: %v", err)
	}
	if out, err := here.GetBucketLocation(ctx, &s3.GetBucketLocationInput{Bucket: aws.String("european")}); err != nil || out.LocationConstraint != "eu-west-1" {
		t.Errorf("GetBucketLocation: %+v, %v", out, err)
	}
	if _, err := here.CopyObject(ctx, &s3.CopyObjectInput{Bucket: aws.String("american"), Key: aws.String("k"), CopySource: aws.String("european/k")}); err != nil {
		t.Fatal(err)
	}
	if got, err := get(ctx, here, "american", "k"); err != nil || got != value {
		t.Errorf("the copy: %q, %v", got, err)
	}
}
