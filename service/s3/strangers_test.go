package s3_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/malote/malote/malotetest"
)

// ask sends a request as it is, and returns status and body without the ids in it.
func ask(t *testing.T, method, url, body string, header http.Header) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range header {
		request.Header[name] = values
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, ids.ReplaceAllString(string(answer), "")
}

var ids = regexp.MustCompile(`<(RequestId|HostId)>[^<]*</[^>]*>`)

const openPolicy = `{"Version":"2012-10-17","Statement":[
	{"Effect":"Allow","Principal":"*","Action":["s3:GetObject","s3:GetObjectAttributes","s3:GetObjectTagging"],"Resource":"arn:aws:s3:::open/pub/*"},
	{"Effect":"Allow","Principal":{"AWS":"*"},"Action":["s3:ListBucket","s3:GetBucketLocation"],"Resource":"arn:aws:s3:::open","Condition":{"StringLike":{"s3:prefix":"pub/*"}}},
	{"Effect":"Allow","Principal":"*","Action":["s3:PutObject","s3:DeleteObject"],"Resource":"arn:aws:s3:::open/in/*"},
	{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::open/typed/*","Condition":{"StringEquals":{"aws:PrincipalType":"Anonymous","aws:userid":"anonymous"},"Null":{"aws:PrincipalArn":"true","aws:PrincipalAccount":"true","s3:authType":"true","s3:signatureversion":"true"}}},
	{"Effect":"Deny","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::open/pub/never"}]}`

// Who has no credentials has what a bucket's policy gives to everyone, once public access is
// not blocked, and learns nothing else: not even which buckets there are.
func TestStrangers(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	ctx, admin, bucket := t.Context(), client(sys.Config()), aws.String("open")
	newBucket(t, admin, *bucket)
	newBucket(t, admin, "shut")
	value := sys.Canaries.New()
	for _, key := range []string{"pub/k", "pub/never", "typed/k", "own/k"} {
		put(t, admin, *bucket, key, value)
	}
	put(t, admin, "shut", "k", value)
	url := sys.Endpoint() + "/open/"
	const denied = "<Code>AccessDenied</Code><Message>Access Denied</Message>"
	refused := func(what, method, url, want string) {
		t.Helper()
		status, body := ask(t, method, url, "", nil)
		if status < 400 || !strings.Contains(body, want) || strings.Contains(body, value) {
			t.Errorf("%s: %d %s, want %s", what, status, body, want)
		}
	}
	setPolicy := func(policy string) error {
		_, err := admin.PutBucketPolicy(ctx, &s3.PutBucketPolicyInput{Bucket: bucket, Policy: &policy})
		return err
	}
	restrict := func(c types.PublicAccessBlockConfiguration) {
		t.Helper()
		if _, err := admin.PutPublicAccessBlock(ctx, &s3.PutPublicAccessBlockInput{Bucket: bucket, PublicAccessBlockConfiguration: &c}); err != nil {
			t.Fatal(err)
		}
	}
	refused("without a policy", "GET", url+"pub/k", denied)
	if err := setPolicy(openPolicy); code(err) != "AccessDenied" || !strings.Contains(err.Error(), "BlockPublicPolicy") {
		t.Errorf("a public policy on a new bucket: %v", err)
	}
	restrict(types.PublicAccessBlockConfiguration{RestrictPublicBuckets: aws.Bool(true)})
	if err := setPolicy(openPolicy); err != nil {
		t.Fatal(err)
	}
	refused("with RestrictPublicBuckets", "GET", url+"pub/k", denied)
	if _, err := admin.DeletePublicAccessBlock(ctx, &s3.DeletePublicAccessBlockInput{Bucket: bucket}); err != nil {
		t.Fatal(err)
	}

	for what, tt := range map[string]struct{ method, path, body, want string }{
		"GetObject":           {"GET", "pub/k", "", value},
		"of a certain type":   {"GET", "typed/k", "", value},
		"HeadObject":          {"HEAD", "pub/k", "", ""},
		"GetObjectTagging":    {"GET", "pub/k?tagging", "", "<TagSet>"},
		"ListObjectsV2":       {"GET", "?list-type=2&prefix=pub/", "", "<Key>pub/never</Key>"},
		"ListObjects":         {"GET", "?prefix=pub/", "", "<Key>pub/k</Key>"},
		"PutObject":           {"PUT", "in/k", "x", ""},
		"DeleteObject":        {"DELETE", "in/other", "", ""},
		"GetObjectAttributes": {"GET", "pub/k?attributes", "", "<ObjectSize>"},
	} {
		header := http.Header{}
		if what == "GetObjectAttributes" {
			header.Set("X-Amz-Object-Attributes", "ObjectSize")
		}
		if status, body := ask(t, tt.method, url+tt.path, tt.body, header); status >= 300 || !strings.Contains(body, tt.want) {
			t.Errorf("%s: %d %s", what, status, body)
		}
	}
	if got, err := get(ctx, admin, *bucket, "in/k"); err != nil || got != "x" {
		t.Errorf("what a stranger put: %q, %v", got, err)
	}

	for what, tt := range map[string]struct{ method, path, want string }{
		"another prefix":          {"GET", "own/k", denied},
		"what is denied":          {"GET", "pub/never", denied},
		"what is not there":       {"GET", "pub/none", denied}, // ListBucket wants a prefix
		"another list":            {"GET", "", denied},
		"reading what it may put": {"GET", "in/k", denied},
		"the policy":              {"GET", "?policy", denied},
		"a multipart upload":      {"POST", "in/big?uploads", "Anonymous users cannot initiate multipart uploads.  Please authenticate."},
		"deleting many":           {"POST", "?delete", denied},
		"what there is not":       {"POST", "in/k?nothing", denied},
		"another bucket":          {"GET", "../shut/k", denied},
		"a bucket that is none":   {"GET", "../nobody-has-this/k", denied},
		"a header for an answer":  {"GET", "pub/k?response-content-type=text/html", "<Code>InvalidRequest</Code><Message>Request specific response headers cannot be used for anonymous GET requests.</Message>"},
		"half a signature":        {"GET", "pub/k?X-Amz-Credential=x", denied},
		"half another":            {"GET", "pub/k?Signature=x", "Query-string authentication requires the Signature, Expires and AWSAccessKeyId parameters"},
	} {
		refused(what, tt.method, strings.Replace(url+tt.path, "/open/../", "/", 1), tt.want)
	}
	if status, body := ask(t, "PUT", url+"in/copy", "", http.Header{"X-Amz-Copy-Source": {"open/pub/k"}}); status != 403 || !strings.Contains(body, "Anonymous users cannot copy objects.  Please authenticate.") {
		t.Errorf("CopyObject: %d %s", status, body)
	}
	if status, body := ask(t, "GET", url+"pub/k", "a body", nil); status != 400 || strings.Contains(body, value) {
		t.Errorf("GetObject with a body: %d %s", status, body)
	}
	if status, body := ask(t, "PUT", url+"in/k", "y", http.Header{"X-Amz-Content-Sha256": {"STREAMING-AWS4-HMAC-SHA256-PAYLOAD"}}); status != 400 || !strings.Contains(body, "x-amz-content-sha256") {
		t.Errorf("signed pieces without a signature: %d %s", status, body)
	}
	if status, body := ask(t, "PUT", url+"in/k", "y", http.Header{"X-Amz-Content-Sha256": {strings.Repeat("0", 64)}}); status != 400 || !strings.Contains(body, "XAmzContentSHA256Mismatch") {
		t.Errorf("another body than its digest: %d %s", status, body)
	}
	if status, body := ask(t, "GET", url+"pub/k", "", http.Header{"Authorization": {"AWS " + "AKIA:x"}}); status != 400 || !strings.Contains(body, "Please use AWS4-HMAC-SHA256.</Message>") {
		t.Errorf("the header of version 2: %d %s", status, body)
	}
	// Behind a condition that names who, the policy is not public, and still nobody's.
	restrict(types.PublicAccessBlockConfiguration{RestrictPublicBuckets: aws.Bool(true), BlockPublicPolicy: aws.Bool(true)})
	for address, want := range map[string]int{"127.0.0.0/8": 200, "10.0.0.0/8": 403} {
		if err := setPolicy(fmt.Sprintf(`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::open/*","Condition":{"IpAddress":{"aws:SourceIp":%q}}}}`, address)); err != nil {
			t.Fatal(err)
		}
		if status, body := ask(t, "GET", url+"own/k", "", nil); status != want {
			t.Errorf("from %s: %d %s", address, status, body)
		}
	}
}

// What is under a KMS key is for those who sign by version 4.
func TestAKeyWantsASignature(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	ctx, admin, bucket := t.Context(), client(sys.Config()), aws.String("open")
	made, err := kms.NewFromConfig(sys.Config()).CreateKey(ctx, &kms.CreateKeyInput{})
	if err != nil {
		t.Fatal(err)
	}
	newBucket(t, admin, *bucket)
	if _, err := admin.DeletePublicAccessBlock(ctx, &s3.DeletePublicAccessBlockInput{Bucket: bucket}); err != nil {
		t.Fatal(err)
	}
	if _, err := admin.PutBucketPolicy(ctx, &s3.PutBucketPolicyInput{Bucket: bucket, Policy: aws.String(openPolicy)}); err != nil {
		t.Fatal(err)
	}
	value := sys.Canaries.New()
	if _, err := admin.PutObject(ctx, &s3.PutObjectInput{Bucket: bucket, Key: aws.String("pub/k"), Body: strings.NewReader(value), ServerSideEncryption: types.ServerSideEncryptionAwsKms, SSEKMSKeyId: made.KeyMetadata.KeyId}); err != nil {
		t.Fatal(err)
	}
	const want = "<Code>InvalidArgument</Code><Message>Requests specifying Server Side Encryption with AWS KMS managed keys require AWS Signature Version 4.</Message>"
	url, header := sys.Endpoint()+"/open/", http.Header{"X-Amz-Server-Side-Encryption": {"aws:kms"}}
	if status, body := ask(t, "GET", url+"pub/k", "", nil); status != 400 || !strings.Contains(body, want) {
		t.Errorf("GetObject: %d %s", status, body)
	}
	if status, _ := ask(t, "HEAD", url+"pub/k", "", nil); status != 400 {
		t.Errorf("HeadObject: %d", status)
	}
	if status, body := ask(t, "PUT", url+"in/k", "x", header); status != 400 || !strings.Contains(body, want) {
		t.Errorf("PutObject: %d %s", status, body)
	}
	signed := signer2(t, sys.Config())
	if status, body := ask(t, "GET", signed("GET", sys.Endpoint(), "/open/pub/k", "", sys.Clock.Now().Add(time.Minute)), "", nil); status != 400 || !strings.Contains(body, want) {
		t.Errorf("GetObject by version 2: %d %s", status, body)
	}
	if status, body := ask(t, "PUT", signed("PUT", sys.Endpoint(), "/open/k", "x-amz-server-side-encryption=aws%3Akms", sys.Clock.Now().Add(time.Minute)), "x", nil); status != 400 || !strings.Contains(body, want) {
		t.Errorf("PutObject by version 2: %d %s", status, body)
	}
}

// signer2 signs URLs by Signature Version 2 as boto3 does. The more are parameters, in order.
func signer2(t *testing.T, cfg aws.Config) func(method, endpoint, path, more string, expires time.Time) string {
	t.Helper()
	keys, err := cfg.Credentials.Retrieve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return func(method, endpoint, path, more string, expires time.Time) string {
		text := fmt.Sprintf("%s\n\n\n%d\n", method, expires.Unix())
		query := url.Values{"AWSAccessKeyId": {keys.AccessKeyID}, "Expires": {fmt.Sprint(expires.Unix())}}
		resource := path
		given, err := url.ParseQuery(more)
		if err != nil {
			t.Fatal(err)
		}
		for name, values := range given {
			query[name] = values
			if strings.HasPrefix(name, "x-amz-") {
				text += name + ":" + values[0] + "\n"
			} else {
				resource += "?" + name + "=" + values[0] // one of them at most
			}
		}
		if keys.SessionToken != "" {
			text += "x-amz-security-token:" + keys.SessionToken + "\n"
			query.Set("x-amz-security-token", keys.SessionToken)
		}
		mac := hmac.New(sha1.New, []byte(keys.SecretAccessKey))
		mac.Write([]byte(text + resource))
		query.Set("Signature", base64.StdEncoding.EncodeToString(mac.Sum(nil)))
		return endpoint + path + "?" + query.Encode()
	}
}

// URLs that are signed by version 2 have their signer's rights, for reading and writing one
// object, in the Regions that are old enough.
func TestPresignedByVersion2(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	ctx, admin := t.Context(), client(sys.Config())
	newBucket(t, admin, "signed")
	value := sys.Canaries.New()
	put(t, admin, "signed", "k", value)
	soon := sys.Clock.Now().Add(time.Minute)
	signed := signer2(t, sys.Config())
	check := func(what, method, url, body string, status int, want string) {
		t.Helper()
		if got, answer := ask(t, method, url, body, nil); got != status || !strings.Contains(answer, want) {
			t.Errorf("%s: %d %s, want %d %s", what, got, answer, status, want)
		}
	}
	at := sys.Endpoint()
	check("GetObject", "GET", signed("GET", at, "/signed/k", "", soon), "", 200, value)
	check("HeadObject", "HEAD", signed("HEAD", at, "/signed/k", "", soon), "", 200, "")
	check("PutObject", "PUT", signed("PUT", at, "/signed/new", "x-amz-meta-colour=blue", soon), "here", 200, "")
	if head, err := admin.HeadObject(ctx, &s3.HeadObjectInput{Bucket: aws.String("signed"), Key: aws.String("new")}); err != nil || head.Metadata["colour"] != "blue" || *head.ContentLength != 4 {
		t.Errorf("what was put: %+v, %v", head, err)
	}
	check("an override", "GET", signed("GET", at, "/signed/k", "response-content-type=text%2Fx", soon), "", 200, value)
	check("one more", "GET", signed("GET", at, "/signed/k", "", soon)+"&response-content-type=text%2Fx", "", 403, "SignatureDoesNotMatch")
	check("another method", "PUT", signed("GET", at, "/signed/k", "", soon), "x", 403, "SignatureDoesNotMatch")
	check("another key", "GET", strings.Replace(signed("GET", at, "/signed/new", "", soon), "/new?", "/k?", 1), "", 403, "SignatureDoesNotMatch")
	check("a time that is past", "GET", signed("GET", at, "/signed/k", "", sys.Clock.Now()), "", 403, "<Message>Request has expired</Message>")
	check("another operation", "DELETE", signed("DELETE", at, "/signed/k", "", soon), "", 400, "Please use AWS4-HMAC-SHA256. (For presigned URLs: signature_version = s3v4")
	check("a list", "GET", signed("GET", at, "/signed", "", soon), "", 400, "s3v4")
	check("a copy", "PUT", signed("PUT", at, "/signed/copy", "x-amz-copy-source=signed%2Fk", soon), "", 400, "s3v4")
	check("and another signature", "GET", signed("GET", at, "/signed/k", "", soon)+"&X-Amz-Signature=x", "", 400, "Only one auth mechanism allowed")
	unknown := sys.Credentials("AKIANOBODYHASTHISKEY", "x", "")
	check("a key of nobody", "GET", signer2(t, unknown)("GET", at, "/signed/k", "", soon), "", 403, "<Code>InvalidAccessKeyId</Code>")

	// The signer's rights are asked for when the URL is used; so are those of a session.
	reader := sys.User(t, "reader", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:GetObject","Resource":"*",
		"Condition":{"StringEquals":{"s3:signatureversion":"AWS","s3:authType":"REST-QUERY-STRING","aws:RequestedRegion":"us-east-1"},"NumericGreaterThan":{"s3:signatureAge":"604800000"}}}]}`)
	check("with its conditions", "GET", signer2(t, reader)("GET", at, "/signed/k", "", soon), "", 200, value)
	check("without the right", "PUT", signer2(t, reader)("PUT", at, "/signed/k", "", soon), "x", 403, "<Code>AccessDenied</Code>")
	if _, err := get(ctx, client(reader), "signed", "k"); code(err) != "AccessDenied" {
		t.Errorf("by version 4: %v", err)
	}
	session, err := sts.NewFromConfig(sys.Config()).GetSessionToken(ctx, &sts.GetSessionTokenInput{DurationSeconds: aws.Int32(900)})
	if err != nil {
		t.Fatal(err)
	}
	temporary := sys.Credentials(*session.Credentials.AccessKeyId, *session.Credentials.SecretAccessKey, *session.Credentials.SessionToken)
	later := sys.Clock.Now().Add(time.Hour)
	url := signer2(t, temporary)("GET", at, "/signed/k", "", later)
	check("of a session", "GET", url, "", 200, value)
	lost := regexp.MustCompile(`x-amz-security-token=[^&]*&?`).ReplaceAllString(url, "")
	check("without its token", "GET", lost, "", 403, "")
	other := signer2(t, reader)("GET", at, "/signed/k", "", later)
	if _, err := iam.NewFromConfig(sys.Config()).DeleteUserPolicy(ctx, &iam.DeleteUserPolicyInput{UserName: aws.String("reader"), PolicyName: policyOf(t, ctx, sys.Config())}); err != nil {
		t.Fatal(err)
	}
	check("of whom the right was taken", "GET", other, "", 403, "<Code>AccessDenied</Code>")
	sys.Clock.Advance(20 * time.Minute)
	check("after the session", "GET", url, "", 400, "<Code>ExpiredToken</Code>")

	elsewhere := sys.Config()
	elsewhere.Region = "eu-central-1"
	if _, err := client(elsewhere).CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String("newer"), CreateBucketConfiguration: &types.CreateBucketConfiguration{LocationConstraint: "eu-central-1"}}); err != nil {
		t.Fatal(err)
	}
	check("a newer Region", "GET", signed("GET", at, "/newer/k", "", later), "", 400, "<Code>InvalidRequest</Code>")
}

// policyOf is the name of the reader's inline policy.
func policyOf(t *testing.T, ctx context.Context, cfg aws.Config) *string {
	t.Helper()
	out, err := iam.NewFromConfig(cfg).ListUserPolicies(ctx, &iam.ListUserPoliciesInput{UserName: aws.String("reader")})
	if err != nil || len(out.PolicyNames) != 1 {
		t.Fatalf("%+v, %v", out, err)
	}
	return &out.PolicyNames[0]
}
