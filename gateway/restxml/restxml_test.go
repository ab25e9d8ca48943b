package restxml_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/malote/malote/gateway/model"
	"github.com/malote/malote/gateway/restxml"
)

func described(t testing.TB) *model.Service {
	t.Helper()
	m, ok := model.For("s3")
	if !ok {
		t.Fatal("no description of s3")
	}
	return m
}

func codec(t testing.TB, operation string, in, out any) *restxml.Codec {
	t.Helper()
	c, err := restxml.NewCodec(described(t), operation, reflect.TypeOf(in), reflect.TypeOf(out))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Requests find their operation by method, path, query and headers.
func TestRouter(t *testing.T) {
	t.Parallel()
	old := map[string]bool{"GetBucketLifecycle": true, "PutBucketLifecycle": true, "GetBucketNotification": true, "PutBucketNotification": true, "ListDirectoryBuckets": true}
	router := restxml.NewRouter(described(t), func(name string) bool { return !old[name] })
	for _, tt := range []struct {
		method, url string
		header      [2]string
		want        string
	}{
		{"GET", "/", [2]string{}, "ListBuckets"},
		{"PUT", "/b", [2]string{}, "CreateBucket"},
		{"PUT", "/b/", [2]string{}, "CreateBucket"},
		{"GET", "/b", [2]string{}, "ListObjects"},
		{"GET", "/b?list-type=2&prefix=x", [2]string{}, "ListObjectsV2"},
		{"GET", "/b?list-type=1", [2]string{}, "ListObjects"},
		{"GET", "/b?lifecycle", [2]string{}, "GetBucketLifecycleConfiguration"},
		{"GET", "/b?policy=", [2]string{}, "GetBucketPolicy"},
		{"GET", "/b?policyStatus", [2]string{}, "GetBucketPolicyStatus"},
		{"POST", "/b?delete", [2]string{}, "DeleteObjects"},
		{"HEAD", "/b", [2]string{}, "HeadBucket"},
		{"PUT", "/b/k?x-id=PutObject", [2]string{}, "PutObject"},
		{"PUT", "/b/k", [2]string{"X-Amz-Copy-Source", "b/k"}, "CopyObject"},
		{"PUT", "/b/k?partNumber=1&uploadId=u", [2]string{}, "UploadPart"},
		{"PUT", "/b/k?partNumber=1&uploadId=u", [2]string{"X-Amz-Copy-Source", "b/k"}, "UploadPartCopy"},
		{"POST", "/b/k?uploads", [2]string{}, "CreateMultipartUpload"},
		{"POST", "/b/k?uploadId=u", [2]string{}, "CompleteMultipartUpload"},
		{"DELETE", "/b/k?uploadId=u", [2]string{}, "AbortMultipartUpload"},
		{"DELETE", "/b/k", [2]string{}, "DeleteObject"},
		{"GET", "/b/k?uploadId=u", [2]string{}, "ListParts"},
		{"GET", "/b/k?attributes", [2]string{"X-Amz-Object-Attributes", "ETag"}, "GetObjectAttributes"},
		{"GET", "/b/k?tagging", [2]string{}, "GetObjectTagging"},
		{"GET", "/b?tagging", [2]string{}, "GetBucketTagging"},
		{"GET", "/b/k?torrent", [2]string{}, "GetObjectTorrent"},
		{"PATCH", "/b/k", [2]string{}, ""},
	} {
		r := httptest.NewRequest(tt.method, tt.url, nil)
		if tt.header[0] != "" {
			r.Header.Set(tt.header[0], tt.header[1])
		}
		target, ok := restxml.ParseTarget(r, nil)
		if got := router.Operation(r, target, r.URL.Query()); !ok || got != tt.want {
			t.Errorf("%s %s = %q, want %q", tt.method, tt.url, got, tt.want)
		}
	}
}

func TestParseTarget(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		host, path string
		want       restxml.Target
		ok         bool
	}{
		{"127.0.0.1:4510", "/b/k", restxml.Target{Bucket: "b", Key: "k"}, true},
		{"localhost:4510", "/b", restxml.Target{Bucket: "b"}, true},
		{"b.localhost:4510", "/k", restxml.Target{Bucket: "b", Key: "k"}, true},
		{"b.with.dots.localhost", "/", restxml.Target{Bucket: "b.with.dots"}, true},
		{"B.S3.example.com", "/a//b", restxml.Target{Bucket: "b", Key: "a//b"}, true},
		{"b.s3.localhost:4510", "/k", restxml.Target{Bucket: "b", Key: "k"}, true},
		{"S3.localhost:4510", "/b/k", restxml.Target{Bucket: "b", Key: "k"}, true},
		{"[::1]:4510", "/b/../k", restxml.Target{Bucket: "b", Key: "../k"}, true},
		{"x", "/b/a%2Fb%20c+d", restxml.Target{Bucket: "b", Key: "a/b c+d"}, true},
		{"x", "/b//", restxml.Target{Bucket: "b", Key: "/"}, true},
	} {
		r := httptest.NewRequest("GET", "http://x"+tt.path, nil)
		r.Host = tt.host
		got, ok := restxml.ParseTarget(r, []string{"s3.example.com", "s3.localhost", "localhost"})
		if got != tt.want || ok != tt.ok {
			t.Errorf("%s%s = %+v, %v, want %+v", tt.host, tt.path, got, ok, tt.want)
		}
	}
}

func TestDecode(t *testing.T) {
	t.Parallel()
	r := httptest.NewRequest("PUT", "/b?lifecycle", nil)
	r.Header.Set("X-Amz-Transition-Default-Minimum-Object-Size", "varies_by_storage_class")
	c := codec(t, "PutBucketLifecycleConfiguration", s3.PutBucketLifecycleConfigurationInput{}, s3.PutBucketLifecycleConfigurationOutput{})
	var in s3.PutBucketLifecycleConfigurationInput
	body := `<?xml version="1.0" encoding="UTF-8"?>
<LifecycleConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Rule><ID>x &amp; y</ID><Status>Enabled</Status>
<Filter><And><Prefix>a/</Prefix><Tag><Key>k</Key><Value>v</Value></Tag><Tag><Key>l</Key><Value/></Tag></And></Filter>
<Expiration><Date>2026-01-02T00:00:00Z</Date></Expiration></Rule></LifecycleConfiguration>`
	if err := c.Decode(&in, r, restxml.Target{Bucket: "b"}, r.URL.Query(), []byte(body), nil); err != nil {
		t.Fatal(err)
	}
	want := s3.PutBucketLifecycleConfigurationInput{
		Bucket: aws.String("b"), TransitionDefaultMinimumObjectSize: types.TransitionDefaultMinimumObjectSizeVariesByStorageClass,
		LifecycleConfiguration: &types.BucketLifecycleConfiguration{Rules: []types.LifecycleRule{{
			ID: aws.String("x & y"), Status: types.ExpirationStatusEnabled,
			Filter: &types.LifecycleRuleFilter{And: &types.LifecycleRuleAndOperator{
				Prefix: aws.String("a/"), Tags: []types.Tag{{Key: aws.String("k"), Value: aws.String("v")}, {Key: aws.String("l"), Value: aws.String("")}},
			}},
			Expiration: &types.LifecycleExpiration{Date: aws.Time(time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC))},
		}}},
	}
	if diff := cmp.Diff(want, in, cmpopts.IgnoreUnexported(want, types.BucketLifecycleConfiguration{}, types.LifecycleRule{}, types.LifecycleRuleFilter{}, types.LifecycleRuleAndOperator{}, types.Tag{}, types.LifecycleExpiration{})); diff != "" {
		t.Errorf("Decode (-want +got):\n%s", diff)
	}
}

func TestDecodeHeaders(t *testing.T) {
	t.Parallel()
	r := httptest.NewRequest("PUT", "/b/k", nil)
	r.Header.Set("X-Amz-Meta-Colour", "blue")
	r.Header.Set("Content-Type", "text/plain")
	r.Header.Set("X-Amz-Server-Side-Encryption-Bucket-Key-Enabled", "true")
	r.Header.Set("Expires", "Wed, 21 Oct 2026 07:28:00 GMT")
	c := codec(t, "PutObject", s3.PutObjectInput{}, s3.PutObjectOutput{})
	var in s3.PutObjectInput
	if err := c.Decode(&in, r, restxml.Target{Bucket: "b", Key: "k"}, nil, nil, http.NoBody); err != nil {
		t.Fatal(err)
	}
	if *in.Key != "k" || in.Metadata["colour"] != "blue" || *in.ContentType != "text/plain" || !*in.BucketKeyEnabled || in.Expires.Year() != 2026 || in.Body == nil {
		t.Errorf("Decode: %+v", in)
	}
	r.Header.Set("X-Amz-Write-Offset-Bytes", "many")
	var unreadable *restxml.Error
	if err := c.Decode(&in, r, restxml.Target{Bucket: "b", Key: "k"}, nil, nil, http.NoBody); !errors.As(err, &unreadable) || unreadable.Code != "InvalidArgument" {
		t.Errorf("a header that is no number: %v", err)
	}
}

func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	c := codec(t, "PutBucketTagging", s3.PutBucketTaggingInput{}, s3.PutBucketTaggingOutput{})
	for name, body := range map[string]string{
		"nothing":         "",
		"no XML":          "{}",
		"another root":    "<Other/>",
		"unknown element": "<Tagging><TagSet><Tag><Key>a</Key><Colour>b</Colour></Tag></TagSet></Tagging>",
		"a wrong item":    "<Tagging><TagSet><Item/></TagSet></Tagging>",
		"text":            "<Tagging>text</Tagging>",
		"twice":           "<Tagging><TagSet/><TagSet><Tag/></TagSet><TagSet/></Tagging>",
		"no end":          "<Tagging><TagSet>",
		"more behind":     "<Tagging><TagSet/></Tagging><Tagging/>",
		"an entity":       `<!DOCTYPE t [<!ENTITY x "y">]><Tagging><TagSet><Tag><Key>&x;</Key></Tag></TagSet></Tagging>`,
		"element in text": "<Tagging><TagSet><Tag><Key><b>a</b></Key></Tag></TagSet></Tagging>",
		"deep":            strings.Repeat("<Tagging>", 10000),
	} {
		r := httptest.NewRequest("PUT", "/b?tagging", nil)
		var unreadable *restxml.Error
		if err := c.Decode(&s3.PutBucketTaggingInput{}, r, restxml.Target{Bucket: "b"}, nil, []byte(body), nil); !errors.As(err, &unreadable) || unreadable.Code != "MalformedXML" {
			t.Errorf("%s: %v, want MalformedXML", name, err)
		}
	}
}

// What we write, Amazon's own client reads: see service/s3's tests. Here are the bytes.
func TestEncode(t *testing.T) {
	t.Parallel()
	when := time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC)
	for _, tt := range []struct {
		codec  *restxml.Codec
		out    any
		status int
		header [2]string
		body   string
	}{
		{
			codec(t, "ListObjectsV2", s3.ListObjectsV2Input{}, s3.ListObjectsV2Output{}),
			&s3.ListObjectsV2Output{Name: aws.String("b"), KeyCount: aws.Int32(1), IsTruncated: aws.Bool(false), Contents: []types.Object{{Key: aws.String("a<b"), Size: aws.Int64(0), LastModified: &when, ChecksumAlgorithm: []types.ChecksumAlgorithm{"CRC32"}}}, CommonPrefixes: []types.CommonPrefix{{Prefix: aws.String("p/")}}},
			200,
			[2]string{"Content-Type", "application/xml"},
			`<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><CommonPrefixes><Prefix>p/</Prefix></CommonPrefixes><Contents><ChecksumAlgorithm>CRC32</ChecksumAlgorithm><Key>a&lt;b</Key><LastModified>2026-01-02T03:04:05.006Z</LastModified><Size>0</Size></Contents><IsTruncated>false</IsTruncated><KeyCount>1</KeyCount><Name>b</Name></ListBucketResult>`,
		},
		{
			codec(t, "GetBucketAcl", s3.GetBucketAclInput{}, s3.GetBucketAclOutput{}),
			&s3.GetBucketAclOutput{Grants: []types.Grant{{Grantee: &types.Grantee{Type: types.TypeCanonicalUser, ID: aws.String("1")}, Permission: types.PermissionFullControl}}},
			200, [2]string{},
			`<AccessControlPolicy xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><AccessControlList><Grant><Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="CanonicalUser"><ID>1</ID></Grantee><Permission>FULL_CONTROL</Permission></Grant></AccessControlList></AccessControlPolicy>`,
		},
		{codec(t, "GetBucketLocation", s3.GetBucketLocationInput{}, s3.GetBucketLocationOutput{}), &s3.GetBucketLocationOutput{LocationConstraint: "eu-west-1"}, 200, [2]string{}, `<LocationConstraint xmlns="http://s3.amazonaws.com/doc/2006-03-01/">eu-west-1</LocationConstraint>`},
		{codec(t, "GetBucketVersioning", s3.GetBucketVersioningInput{}, s3.GetBucketVersioningOutput{}), &s3.GetBucketVersioningOutput{}, 200, [2]string{}, `<VersioningConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"></VersioningConfiguration>`},
		{codec(t, "GetBucketPolicy", s3.GetBucketPolicyInput{}, s3.GetBucketPolicyOutput{}), &s3.GetBucketPolicyOutput{Policy: aws.String(`{"a":"<"}`)}, 200, [2]string{"Content-Type", "application/json"}, `{"a":"<"}`},
		{codec(t, "DeleteObject", s3.DeleteObjectInput{}, s3.DeleteObjectOutput{}), &s3.DeleteObjectOutput{DeleteMarker: aws.Bool(true)}, 204, [2]string{"X-Amz-Delete-Marker", "true"}, ""},
		{codec(t, "HeadObject", s3.HeadObjectInput{}, s3.HeadObjectOutput{}), &s3.HeadObjectOutput{LastModified: &when, Metadata: map[string]string{"colour": "blue"}}, 200, [2]string{"Last-Modified", "Fri, 02 Jan 2026 03:04:05 GMT"}, ""},
		{codec(t, "HeadObject", s3.HeadObjectInput{}, s3.HeadObjectOutput{}), &s3.HeadObjectOutput{Metadata: map[string]string{"colour": "blue"}}, 200, [2]string{"x-amz-meta-colour", "blue"}, ""},
		{codec(t, "GetObject", s3.GetObjectInput{}, s3.GetObjectOutput{}), &s3.GetObjectOutput{ContentRange: aws.String("bytes 0-1/3")}, 206, [2]string{"Content-Range", "bytes 0-1/3"}, ""},
	} {
		h := http.Header{}
		answer, err := tt.codec.Encode(nil, tt.out, h)
		if err != nil {
			t.Errorf("%T: %v", tt.out, err)
			continue
		}
		body := strings.TrimPrefix(string(answer.Body), "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n")
		if answer.Status != tt.status || body != tt.body || tt.header[0] != "" && (len(h[tt.header[0]]) != 1 || h[tt.header[0]][0] != tt.header[1]) {
			t.Errorf("%T: %d %v\n%s\nwant %d\n%s", tt.out, answer.Status, h, body, tt.status, tt.body)
		}
	}
}

func FuzzDecode(f *testing.F) {
	c := codec(f, "DeleteObjects", s3.DeleteObjectsInput{}, s3.DeleteObjectsOutput{})
	f.Add([]byte("<Delete><Object><Key>a</Key><VersionId>v</VersionId></Object><Object><Key>b</Key></Object><Quiet>true</Quiet></Delete>"))
	f.Add([]byte("<Delete xmlns='x'><!-- c --><Object><Key><![CDATA[<]]></Key><Size>1</Size></Object></Delete>"))
	f.Fuzz(func(t *testing.T, body []byte) {
		var in s3.DeleteObjectsInput
		err := c.Decode(&in, httptest.NewRequest("POST", "/b?delete", nil), restxml.Target{Bucket: "b"}, url.Values{}, body, nil)
		var unreadable *restxml.Error
		if err != nil && !errors.As(err, &unreadable) {
			t.Errorf("%q: %v", body, err)
		}
	})
}
