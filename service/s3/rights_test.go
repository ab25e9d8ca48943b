package s3_test

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/malote/malote/malotetest"
)

const allObjects = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}`

// Under a KMS key an object is as readable as the key is, to each caller.
func TestAKeyDecidesOverItsObjects(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	ctx, admin, keys := t.Context(), client(sys.Config()), kms.NewFromConfig(sys.Config())
	made, err := keys.CreateKey(ctx, &kms.CreateKeyInput{})
	if err != nil {
		t.Fatal(err)
	}
	id, arn := made.KeyMetadata.KeyId, made.KeyMetadata.Arn
	bucket := aws.String("sealed")
	newBucket(t, admin, *bucket)
	setDefault := func(bucketKey bool) {
		t.Helper()
		_, err := admin.PutBucketEncryption(ctx, &s3.PutBucketEncryptionInput{Bucket: bucket, ServerSideEncryptionConfiguration: &types.ServerSideEncryptionConfiguration{Rules: []types.ServerSideEncryptionRule{{
			ApplyServerSideEncryptionByDefault: &types.ServerSideEncryptionByDefault{SSEAlgorithm: types.ServerSideEncryptionAwsKms, KMSMasterKeyID: id}, BucketKeyEnabled: &bucketKey,
		}}}})
		if err != nil {
			t.Fatal(err)
		}
	}
	setDefault(false)
	value := sys.Canaries.New()
	one, two := put(t, admin, *bucket, "k", value), put(t, admin, *bucket, "k", value)
	if *one.SSEKMSKeyId != *arn || one.ServerSideEncryption != types.ServerSideEncryptionAwsKms || *one.ETag == *two.ETag || one.BucketKeyEnabled != nil {
		t.Errorf("PutObject: %+v, %+v", one, two)
	}
	statement := func(action, condition string) string {
		return fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"},{"Effect":"Allow","Action":%q,"Resource":%q%s}]}`, action, *arn, condition)
	}
	readers := map[string]struct {
		policy string
		reads  bool
		writes bool
	}{
		"without-the-key":   {allObjects, false, false},
		"with-decrypt":      {statement("kms:Decrypt", ""), true, false},
		"with-generate":     {statement("kms:GenerateDataKey", ""), false, true},
		"by-object-context": {statement("kms:Decrypt", `,"Condition":{"StringEquals":{"kms:EncryptionContext:aws:s3:arn":"arn:aws:s3:::sealed/k"}}`), true, false},
		"by-bucket-context": {statement("kms:Decrypt", `,"Condition":{"StringEquals":{"kms:EncryptionContext:aws:s3:arn":"arn:aws:s3:::sealed"}}`), false, false},
		"via-s3":            {statement("kms:Decrypt", `,"Condition":{"StringEquals":{"kms:ViaService":"s3.us-east-1.amazonaws.com"}}`), true, false},
	}
	for name, r := range readers {
		c := client(sys.User(t, name, r.policy))
		if got, err := get(ctx, c, *bucket, "k"); (err == nil) != r.reads || r.reads && got != value || !r.reads && code(err) != "AccessDenied" {
			t.Errorf("%s reads: %v", name, err)
		}
		_, err := c.PutObject(ctx, &s3.PutObjectInput{Bucket: bucket, Key: aws.String("by-" + name), Body: strings.NewReader("x")})
		if (err == nil) != r.writes || !r.writes && (code(err) != "AccessDenied" || !strings.Contains(err.Error(), "kms:GenerateDataKey")) {
			t.Errorf("%s writes: %v", name, err)
		}
		if _, err := c.HeadObject(ctx, &s3.HeadObjectInput{Bucket: bucket, Key: aws.String("k")}); err != nil {
			t.Errorf("%s: HeadObject needs the key: %v", name, err)
		}
	}
	setDefault(true)
	if out := put(t, admin, *bucket, "with-bucket-key", value); !aws.ToBool(out.BucketKeyEnabled) {
		t.Errorf("no bucket key: %+v", out)
	}
	byBucket := client(sys.User(t, "by-bucket", readers["by-bucket-context"].policy))
	if _, err := get(ctx, byBucket, *bucket, "with-bucket-key"); err != nil {
		t.Errorf("the bucket's ARN is not the context: %v", err)
	}
	dsse, err := admin.PutObject(ctx, &s3.PutObjectInput{Bucket: bucket, Key: aws.String("twice"), Body: strings.NewReader(value), ServerSideEncryption: types.ServerSideEncryptionAwsKmsDsse, SSEKMSKeyId: id})
	if err != nil || dsse.ServerSideEncryption != types.ServerSideEncryptionAwsKmsDsse {
		t.Errorf("DSSE: %+v, %v", dsse, err)
	}
	if got, err := get(ctx, admin, *bucket, "twice"); err != nil || got != value {
		t.Errorf("DSSE: %q, %v", got, err)
	}
	// The AWS managed key is there when it is needed, and everybody's who may use S3.
	managed, err := admin.PutObject(ctx, &s3.PutObjectInput{Bucket: bucket, Key: aws.String("managed"), Body: strings.NewReader(value), ServerSideEncryption: types.ServerSideEncryptionAes256})
	if err != nil || managed.SSEKMSKeyId != nil {
		t.Errorf("AES256 against the default: %+v, %v", managed, err)
	}
	if _, err := admin.DeleteBucketEncryption(ctx, &s3.DeleteBucketEncryptionInput{Bucket: bucket}); err != nil {
		t.Fatal(err)
	}
	managed, err = admin.PutObject(ctx, &s3.PutObjectInput{Bucket: bucket, Key: aws.String("managed"), Body: strings.NewReader(value), ServerSideEncryption: types.ServerSideEncryptionAwsKms})
	if err != nil || managed.SSEKMSKeyId == nil || *managed.SSEKMSKeyId == *arn {
		t.Errorf("the AWS managed key: %+v, %v", managed, err)
	}
	if _, err := get(ctx, client(sys.User(t, "s3-alone", allObjects)), *bucket, "managed"); err != nil {
		t.Errorf("the AWS managed key to whoever may read: %v", err)
	}

	if _, err := keys.DisableKey(ctx, &kms.DisableKeyInput{KeyId: id}); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"k", "with-bucket-key", "twice"} {
		if _, err := get(ctx, admin, *bucket, key); code(err) != "KMS.DisabledException" {
			t.Errorf("%s under a disabled key: %v", key, err)
		}
	}
	if got, err := get(ctx, admin, *bucket, "managed"); err != nil || got != value {
		t.Errorf("an object under another key: %v", err)
	}
	if _, err := admin.PutObject(ctx, &s3.PutObjectInput{Bucket: bucket, Key: aws.String("k"), Body: strings.NewReader("x"), ServerSideEncryption: types.ServerSideEncryptionAwsKms, SSEKMSKeyId: id}); code(err) != "KMS.DisabledException" {
		t.Errorf("written under a disabled key: %v", err)
	}
	if _, err := keys.ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: id}); err != nil {
		t.Fatal(err)
	}
	if _, err := get(ctx, admin, *bucket, "k"); code(err) != "KMS.KMSInvalidStateException" {
		t.Errorf("under a key that is to be deleted: %v", err)
	}
	for _, c := range []struct{ alias, want string }{{"alias/none", "KMS.NotFoundException"}, {"nonsense", "KMS.NotFoundException"}} {
		if _, err := admin.PutObject(ctx, &s3.PutObjectInput{Bucket: bucket, Key: aws.String("x"), Body: strings.NewReader("x"), ServerSideEncryption: types.ServerSideEncryptionAwsKms, SSEKMSKeyId: &c.alias}); code(err) != c.want {
			t.Errorf("key %s: %v", c.alias, err)
		}
	}
}

// Rows of the matrix of who may what. Each is one statement against one call.
func TestPolicies(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	ctx, admin := t.Context(), client(sys.Config())
	newBucket(t, admin, "matrix")
	for _, key := range []string{"app/x", "other/x", "tagged"} {
		in := &s3.PutObjectInput{Bucket: aws.String("matrix"), Key: &key, Body: strings.NewReader("x")}
		if key == "tagged" {
			in.Tagging = aws.String("class=secret")
		}
		if _, err := admin.PutObject(ctx, in); err != nil {
			t.Fatal(err)
		}
	}
	bucket := aws.String("matrix")
	calls := map[string]func(c *s3.Client) error{
		"get app/x":   func(c *s3.Client) error { return failure(get(ctx, c, "matrix", "app/x")) },
		"get other/x": func(c *s3.Client) error { return failure(get(ctx, c, "matrix", "other/x")) },
		"get tagged":  func(c *s3.Client) error { return failure(get(ctx, c, "matrix", "tagged")) },
		"get none":    func(c *s3.Client) error { return failure(get(ctx, c, "matrix", "app/none")) },
		"list":        func(c *s3.Client) error { return failure(c.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: bucket})) },
		"list app": func(c *s3.Client) error {
			return failure(c.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: bucket, Prefix: aws.String("app/")}))
		},
		"list other": func(c *s3.Client) error {
			return failure(c.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: bucket, Prefix: aws.String("other/")}))
		},
		"list 10": func(c *s3.Client) error {
			return failure(c.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: bucket, MaxKeys: aws.Int32(10)}))
		},
		"get version": func(c *s3.Client) error {
			return failure(c.GetObject(ctx, &s3.GetObjectInput{Bucket: bucket, Key: aws.String("app/x"), VersionId: aws.String("null")}))
		},
		"put": func(c *s3.Client) error {
			return failure(c.PutObject(ctx, &s3.PutObjectInput{Bucket: bucket, Key: aws.String("app/new"), Body: strings.NewReader("x")}))
		},
		"put kms": func(c *s3.Client) error {
			return failure(c.PutObject(ctx, &s3.PutObjectInput{Bucket: bucket, Key: aws.String("app/new"), Body: strings.NewReader("x"), ServerSideEncryption: types.ServerSideEncryptionAwsKms}))
		},
		"put aes": func(c *s3.Client) error {
			return failure(c.PutObject(ctx, &s3.PutObjectInput{Bucket: bucket, Key: aws.String("app/new"), Body: strings.NewReader("x"), ServerSideEncryption: types.ServerSideEncryptionAes256}))
		},
		"put tagged": func(c *s3.Client) error {
			return failure(c.PutObject(ctx, &s3.PutObjectInput{Bucket: bucket, Key: aws.String("app/new"), Body: strings.NewReader("x"), Tagging: aws.String("a=b")}))
		},
		"put if-match": func(c *s3.Client) error {
			return failure(c.PutObject(ctx, &s3.PutObjectInput{Bucket: bucket, Key: aws.String("app/x"), Body: strings.NewReader("x"), IfMatch: aws.String(`"9dd4e461268c8034f5c8564e155c67a6"`)}))
		},
		"copy": func(c *s3.Client) error {
			return failure(c.CopyObject(ctx, &s3.CopyObjectInput{Bucket: bucket, Key: aws.String("app/copy"), CopySource: aws.String("matrix/app/x")}))
		},
		"copy encoded": func(c *s3.Client) error {
			return failure(c.CopyObject(ctx, &s3.CopyObjectInput{Bucket: bucket, Key: aws.String("app/copy"), CopySource: aws.String("matrix%2F%6fther/x")}))
		},
		"copy tagged": func(c *s3.Client) error {
			return failure(c.CopyObject(ctx, &s3.CopyObjectInput{Bucket: bucket, Key: aws.String("app/copy"), CopySource: aws.String("matrix/tagged")}))
		},
		"delete version": func(c *s3.Client) error {
			return failure(c.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: bucket, Key: aws.String("app/copy"), VersionId: aws.String("null")}))
		},
		"owner": func(c *s3.Client) error {
			return failure(c.GetObject(ctx, &s3.GetObjectInput{Bucket: bucket, Key: aws.String("app/x"), ExpectedBucketOwner: aws.String("210987654321")}))
		},
	}
	user := func(action, resource, condition string) string {
		if condition != "" {
			condition = `,"Condition":` + condition
		}
		return fmt.Sprintf(`{"Effect":"Allow","Action":%s,"Resource":%q%s}`, action, resource, condition)
	}
	const getObject, app, whole, objects = `"s3:GetObject"`, "arn:aws:s3:::matrix/app/*", "arn:aws:s3:::matrix", "arn:aws:s3:::matrix/*"
	deny := func(condition string) string {
		return `{"Effect":"Deny","Principal":"*","Action":"s3:PutObject","Resource":"arn:aws:s3:::matrix/*","Condition":` + condition + `}`
	}
	everything := user(`"*"`, "*", "")
	denyOthers := `{"Effect":"Deny","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::matrix/*","Condition":{"ArnNotLike":{"aws:PrincipalArn":["arn:aws:iam::123456789012:user/n%d"]}}}`
	for i, tt := range []struct {
		identity, bucket, call, want string
	}{
		{user(getObject, app, ""), "", "get app/x", ""},
		{user(getObject, app, ""), "", "get other/x", "AccessDenied"},
		{"", `{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::123456789012:user/n2"},"Action":"s3:GetObject","Resource":"arn:aws:s3:::matrix/*"}`, "get app/x", ""},
		{user(`"s3:*"`, "*", ""), "", "get app/x", ""},
		{"", "", "get app/x", "AccessDenied"},
		{"", `{"Effect":"Allow","Principal":{"AWS":"123456789012"},"Action":"s3:GetObject","Resource":"arn:aws:s3:::matrix/*"}`, "get app/x", "AccessDenied"},
		{everything, `{"Effect":"Deny","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::matrix/*"}`, "get app/x", "AccessDenied"},
		{user(getObject, app, ""), "", "get none", "AccessDenied"},
		{user(getObject, app, "") + "," + user(`"s3:ListBucket"`, whole, ""), "", "get none", "NoSuchKey"},
		{user(`"s3:ListBucket"`, whole, `{"StringLike":{"s3:prefix":"app/*"}}`), "", "list app", ""},
		{user(`"s3:ListBucket"`, whole, `{"StringLike":{"s3:prefix":"app/*"}}`), "", "list", "AccessDenied"},
		{user(`"s3:ListBucket"`, whole, `{"StringLike":{"s3:prefix":"app/*"}}`), "", "list other", "AccessDenied"},
		{user(`"s3:ListBucket"`, whole, `{"NumericLessThanEquals":{"s3:max-keys":"10"}}`), "", "list 10", ""},
		{user(`"s3:ListBucket"`, whole, `{"NumericLessThanEquals":{"s3:max-keys":"10"}}`), "", "list", "AccessDenied"},
		{user(getObject, objects, ""), "", "get version", "AccessDenied"},
		{user(`"s3:GetObjectVersion"`, objects, ""), "", "get version", ""},
		{user(`"s3:GetObjectVersion"`, objects, ""), "", "get app/x", "AccessDenied"},
		{everything, deny(`{"StringNotEquals":{"s3:x-amz-server-side-encryption":"aws:kms"}}`), "put", "AccessDenied"},
		{everything, deny(`{"StringNotEquals":{"s3:x-amz-server-side-encryption":"aws:kms"}}`), "put kms", ""},
		// A negated operator with IfExists is true of what is absent, so this denies as well:
		// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html
		{everything, deny(`{"StringNotEqualsIfExists":{"s3:x-amz-server-side-encryption":"aws:kms"}}`), "put", "AccessDenied"},
		{everything, deny(`{"StringNotEqualsIfExists":{"s3:x-amz-server-side-encryption":"aws:kms"}}`), "put aes", "AccessDenied"},
		{everything, deny(`{"Null":{"s3:x-amz-server-side-encryption":"true"}}`), "put", "AccessDenied"},
		{everything, `{"Effect":"Deny","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::matrix/*","Condition":{"Bool":{"aws:SecureTransport":"false"}}}`, "get app/x", "AccessDenied"},
		{everything, fmt.Sprintf(denyOthers, 23), "get app/x", ""},
		{everything, fmt.Sprintf(denyOthers, 99), "get app/x", "AccessDenied"},
		{everything, `{"Effect":"Deny","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::matrix/*","Condition":{"StringEquals":{"s3:ExistingObjectTag/class":"secret"}}}`, "get tagged", "AccessDenied"},
		{user(getObject, objects, `{"StringEquals":{"s3:ExistingObjectTag/class":"secret"}}`), "", "get tagged", ""},
		{user(getObject, objects, `{"StringEquals":{"s3:ExistingObjectTag/class":"secret"}}`), "", "get app/x", "AccessDenied"},
		{user(`"s3:PutObject"`, objects, ""), "", "put", ""},
		{user(`"s3:PutObject"`, objects, ""), "", "put tagged", "AccessDenied"},
		{user(`["s3:PutObject","s3:PutObjectTagging"]`, objects, ""), "", "put tagged", ""},
		{user(`["s3:PutObject","s3:PutObjectTagging"]`, objects, `{"StringEquals":{"s3:RequestObjectTag/a":"c"}}`), "", "put tagged", "AccessDenied"},
		{user(`"s3:PutObject"`, objects, ""), "", "put if-match", "AccessDenied"},
		{user(`["s3:PutObject","s3:GetObject"]`, objects, ""), "", "put if-match", ""},
		{user(`"s3:PutObject"`, objects, ""), "", "copy", "AccessDenied"},
		{user(getObject, objects, ""), "", "copy", "AccessDenied"},
		{user(`["s3:PutObject","s3:GetObject"]`, objects, ""), "", "copy", ""},
		{user(`["s3:PutObject","s3:GetObject"]`, objects, ""), "", "copy tagged", "AccessDenied"},
		{user(`["s3:PutObject","s3:GetObject","s3:GetObjectTagging","s3:PutObjectTagging"]`, objects, ""), "", "copy tagged", ""},
		{everything, deny(`{"StringLike":{"s3:x-amz-copy-source":"matrix/other/*"}}`), "copy encoded", "AccessDenied"},
		{user(`"s3:DeleteObject"`, objects, ""), "", "delete version", "AccessDenied"},
		{everything, "", "owner", "AccessDenied"},
	} {
		name := fmt.Sprintf("n%d", i)
		identity := ""
		if tt.identity != "" {
			identity = `{"Version":"2012-10-17","Statement":[` + tt.identity + `]}`
		}
		c := client(sys.User(t, name, identity))
		if strings.Contains(tt.bucket, "user/n99") {
			sys.User(t, "n99", "")
		}
		if tt.bucket != "" {
			policy := `{"Version":"2012-10-17","Statement":[` + tt.bucket + `]}`
			if _, err := admin.PutBucketPolicy(ctx, &s3.PutBucketPolicyInput{Bucket: bucket, Policy: &policy}); err != nil {
				t.Errorf("%d: PutBucketPolicy: %v", i, err)
				continue
			}
		}
		err := calls[tt.call](c)
		if code(err) != tt.want {
			t.Errorf("%d: %s as %s with %s: %v, want %q", i, tt.call, tt.identity, tt.bucket, err, tt.want)
		}
		if tt.bucket != "" {
			if _, err := admin.DeleteBucketPolicy(ctx, &s3.DeleteBucketPolicyInput{Bucket: bucket}); err != nil {
				t.Fatal(err)
			}
		}
	}
	err := calls["get app/x"](client(sys.User(t, "why", "")))
	if want := `User: arn:aws:iam::123456789012:user/why is not authorized to perform: s3:GetObject on resource: "arn:aws:s3:::matrix/app/x" because no identity-based policy allows the s3:GetObject action`; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("the denial reads %v", err)
	}
}

func TestBucketPolicies(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	ctx, admin, bucket := t.Context(), client(sys.Config()), aws.String("policies")
	newBucket(t, admin, *bucket)
	set := func(policy string) error {
		return failure(admin.PutBucketPolicy(ctx, &s3.PutBucketPolicyInput{Bucket: bucket, Policy: &policy}))
	}
	public := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::policies/*"}]}`
	for name, policy := range map[string]string{
		"AccessDenied":      public,
		"MalformedPolicy":   "nonsense",
		"MalformedPolicy 2": `{"Version":"2012-10-17"}`,
		"MalformedPolicy 3": `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::other/*"}]}`,
		"MalformedPolicy 4": `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::123456789012:user/nobody"},"Action":"s3:GetObject","Resource":"arn:aws:s3:::policies/*"}]}`,
		"InvalidRequest":    `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":"*","Action":"s3:*","Resource":["arn:aws:s3:::policies","arn:aws:s3:::policies/*"]}]}`,
		"PolicyTooLarge":    `{"Version":"2012-10-17","Statement":[` + strings.Repeat(" ", 21<<10) + `]}`,
	} {
		if want, _, _ := strings.Cut(name, " "); code(set(policy)) != want {
			t.Errorf("%s: %v", name, set(policy))
		}
	}
	if _, err := admin.GetBucketPolicy(ctx, &s3.GetBucketPolicyInput{Bucket: bucket}); code(err) != "NoSuchBucketPolicy" {
		t.Errorf("GetBucketPolicy of none: %v", err)
	}
	if _, err := admin.DeletePublicAccessBlock(ctx, &s3.DeletePublicAccessBlockInput{Bucket: bucket}); err != nil {
		t.Fatal(err)
	}
	if err := set(public); err != nil {
		t.Errorf("a public policy where that is allowed: %v", err)
	}
	if status, err := admin.GetBucketPolicyStatus(ctx, &s3.GetBucketPolicyStatusInput{Bucket: bucket}); err != nil || !*status.PolicyStatus.IsPublic {
		t.Errorf("GetBucketPolicyStatus: %+v, %v", status, err)
	}
	if out, err := admin.GetBucketPolicy(ctx, &s3.GetBucketPolicyInput{Bucket: bucket}); err != nil || *out.Policy != public {
		t.Errorf("GetBucketPolicy: %+v, %v", out, err)
	}
}

// A presigned URL has its signer's rights, for its time, for what was signed.
func TestPresigned(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	ctx, admin := t.Context(), client(sys.Config())
	newBucket(t, admin, "signed")
	value := sys.Canaries.New()
	put(t, admin, "signed", "a b+c/ü~*", value)
	signer := s3.NewPresignClient(admin)
	fetch := func(url string) (int, string) {
		t.Helper()
		response, err := http.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, string(body)
	}
	made, err := signer.PresignGetObject(ctx, &s3.GetObjectInput{Bucket: aws.String("signed"), Key: aws.String("a b+c/ü~*"), ResponseContentType: aws.String("text/plain; x=(1)*")}, s3.WithPresignExpires(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	if status, body := fetch(made.URL); status != 200 || body != value {
		t.Errorf("%d %s", status, body)
	}
	if status, body := fetch(strings.Replace(made.URL, "signed/a", "signed/b", 1)); status != 403 || !strings.Contains(body, "SignatureDoesNotMatch") {
		t.Errorf("of another key: %d %s", status, body)
	}
	if status, body := fetch(made.URL + "&versionId=null"); status != 403 || !strings.Contains(body, "SignatureDoesNotMatch") {
		t.Errorf("with a parameter more: %d %s", status, body)
	}
	// Headers that are signed in the query count as if they had been sent.
	request, err := http.NewRequestWithContext(ctx, http.MethodPut, sys.Endpoint()+"/signed/tagged?X-Amz-Expires=60&x-amz-tagging=a%3Db&x-amz-meta-colour=blue", strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	keys, err := sys.Config().Credentials.Retrieve(ctx)
	if err != nil {
		t.Fatal(err)
	}
	signed, _, err := v4.NewSigner().PresignHTTP(ctx, keys, request, "UNSIGNED-PAYLOAD", "s3", malotetest.Region, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if request, err = http.NewRequestWithContext(ctx, http.MethodPut, signed, strings.NewReader("x")); err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	tags, err := admin.GetObjectTagging(ctx, &s3.GetObjectTaggingInput{Bucket: aws.String("signed"), Key: aws.String("tagged")})
	if err != nil || len(tags.TagSet) != 1 || response.StatusCode != 200 {
		t.Errorf("%s: tags %+v, %v", response.Status, tags, err)
	}
	sys.Clock.Advance(2 * time.Minute)
	if status, body := fetch(made.URL); status != 403 || !strings.Contains(body, "Request has expired") {
		t.Errorf("after its time: %d %s", status, body)
	}
	if status, body := fetch(sys.Endpoint() + "/signed/k"); status != 403 || !strings.Contains(body, "<Code>AccessDenied</Code>") {
		t.Errorf("unsigned: %d %s", status, body)
	}
}

// A header that somebody on the way adds is not obeyed, and a body that somebody changes
// is not kept.
func TestWhatIsNotSignedIsNotObeyed(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	newBucket(t, client(sys.Config()), "honest")
	keys, err := sys.Config().Credentials.Retrieve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		signed, sent string
		header       http.Header
		want         string
	}{
		"untouched": {"value", "value", nil, ""},
		"changed":   {"value", "other", nil, "XAmzContentSHA256Mismatch"},
		"header":    {"value", "value", http.Header{"X-Amz-Acl": {"private"}}, "HeadersNotSigned"},
		"no hash":   {"", "value", nil, "Missing required header"},
	} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPut, sys.Endpoint()+"/honest/"+strings.ReplaceAll(name, " ", "-"), strings.NewReader(tt.sent))
		if err != nil {
			t.Fatal(err)
		}
		hash := fmt.Sprintf("%x", sha256.Sum256([]byte(tt.signed)))
		if tt.signed != "" {
			request.Header.Set("X-Amz-Content-Sha256", hash)
		}
		if err := v4.NewSigner().SignHTTP(t.Context(), keys, request, hash, "s3", malotetest.Region, time.Now()); err != nil {
			t.Fatal(err)
		}
		for name, values := range tt.header {
			request.Header[name] = values
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(response.Body)
		response.Body.Close()
		if (response.StatusCode == 200) != (tt.want == "") || !strings.Contains(string(body), tt.want) {
			t.Errorf("%s: %d %s", name, response.StatusCode, body)
		}
	}
}

// What was deleted, replaced, refused or aborted leaves no file.
func TestNothingIsLeft(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	ctx, c, bucket := t.Context(), client(sys.Config()), aws.String("litter")
	newBucket(t, c, *bucket)
	files := func() (n int) {
		t.Helper()
		err := filepath.WalkDir(sys.Objects(), func(_ string, entry os.DirEntry, err error) error {
			if err == nil && entry.Type().IsRegular() {
				n++
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	put(t, c, *bucket, "k", "one")
	put(t, c, *bucket, "k", "two")
	if n := files(); n != 1 {
		t.Errorf("%d files for one object", n)
	}
	if _, err := c.PutObject(ctx, &s3.PutObjectInput{Bucket: bucket, Key: aws.String("k"), Body: strings.NewReader("x"), ChecksumCRC32: aws.String("AAAAAA==")}); err == nil {
		t.Error("a wrong checksum passes")
	}
	if _, err := c.PutObject(ctx, &s3.PutObjectInput{Bucket: bucket, Key: aws.String("k"), Body: strings.NewReader("x"), IfNoneMatch: aws.String("*")}); err == nil {
		t.Error("a condition that does not hold passes")
	}
	upload, err := c.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: bucket, Key: aws.String("big")})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := c.UploadPart(ctx, &s3.UploadPartInput{Bucket: bucket, Key: aws.String("big"), UploadId: upload.UploadId, PartNumber: aws.Int32(1), Body: strings.NewReader("x")}); err != nil {
			t.Fatal(err)
		}
	}
	if n := files(); n != 2 {
		t.Errorf("%d files for an object and a part", n)
	}
	if _, err := c.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: bucket, Key: aws.String("big"), UploadId: upload.UploadId}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.DeleteObjects(ctx, &s3.DeleteObjectsInput{Bucket: bucket, Delete: &types.Delete{Objects: []types.ObjectIdentifier{{Key: aws.String("k")}, {Key: aws.String("none")}}}}); err != nil {
		t.Fatal(err)
	}
	if n := files(); n != 0 {
		t.Errorf("%d files are left", n)
	}
}

// Nothing is accepted and then ignored.
func TestWhatIsNotDoneIsRefused(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	ctx, c, bucket, key := t.Context(), client(sys.Config()), aws.String("refusals"), aws.String("k")
	newBucket(t, c, *bucket)
	put(t, c, *bucket, *key, "there")
	write := func(in *s3.PutObjectInput) error {
		in.Bucket, in.Key, in.Body = bucket, key, strings.NewReader("x")
		return failure(c.PutObject(ctx, in))
	}
	for name, err := range map[string]error{
		"NotImplemented storage class":     write(&s3.PutObjectInput{StorageClass: types.StorageClassGlacier}),
		"NotImplemented redirect":          write(&s3.PutObjectInput{WebsiteRedirectLocation: aws.String("/x")}),
		"NotImplemented lock":              write(&s3.PutObjectInput{ObjectLockLegalHoldStatus: types.ObjectLockLegalHoldStatusOn}),
		"NotImplemented payer":             write(&s3.PutObjectInput{RequestPayer: types.RequestPayerRequester}),
		"AccessControlListNotSupported":    write(&s3.PutObjectInput{ACL: types.ObjectCannedACLPublicRead}),
		"AccessControlListNotSupported 2":  write(&s3.PutObjectInput{GrantRead: aws.String("id=1")}),
		"InvalidArgument encryption":       write(&s3.PutObjectInput{ServerSideEncryption: "rot13"}),
		"AccessDenied SSE-C":               write(&s3.PutObjectInput{SSECustomerAlgorithm: aws.String("AES256"), SSECustomerKey: aws.String(strings.Repeat("k", 32))}),
		"NotImplemented ownership":         failure(c.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String("other"), ObjectOwnership: types.ObjectOwnershipObjectWriter})),
		"NotImplemented namespace":         failure(c.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String("other"), BucketNamespace: types.BucketNamespaceAccountRegional})),
		"InvalidBucketName":                failure(c.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String("192.168.1.1")})),
		"NotImplemented attributes' payer": failure(c.GetObjectAttributes(ctx, &s3.GetObjectAttributesInput{Bucket: bucket, Key: key, ObjectAttributes: []types.ObjectAttributes{types.ObjectAttributesEtag}, RequestPayer: types.RequestPayerRequester})),
		"NotImplemented operation":         failure(c.PutBucketRequestPayment(ctx, &s3.PutBucketRequestPaymentInput{Bucket: bucket, RequestPaymentConfiguration: &types.RequestPaymentConfiguration{Payer: types.PayerRequester}})),
		"NotImplemented MFA":               failure(c.PutBucketVersioning(ctx, &s3.PutBucketVersioningInput{Bucket: bucket, VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled, MFADelete: types.MFADeleteEnabled}})),
	} {
		if want, _, _ := strings.Cut(name, " "); code(err) != want {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got, err := get(ctx, c, *bucket, *key); err != nil || got != "there" {
		t.Errorf("afterwards: %q, %v", got, err)
	}
}
