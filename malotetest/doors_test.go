package malotetest_test

import (
	"bytes"
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/malote/malote/gateway"
	"github.com/malote/malote/gateway/model"
	"github.com/malote/malote/malotetest"
)

// free are the operations that AWS grants to whoever has credentials.
var free = map[string]bool{
	"sts:GetCallerIdentity": true, "sts:GetSessionToken": true,
}

// unsigned are those that AWS has for whoever brings a proof of somebody else's.
var unsigned = map[string]refusal{
	"sts:AssumeRoleWithWebIdentity": {400, "InvalidIdentityToken", `.+`},
}

// refusal is how a request is answered that is not even considered, or not allowed.
type refusal struct {
	status int
	code   string
	text   string // a regular expression for the whole of it
}

const (
	invalidToken = `The security token included in the request is invalid\.`
	expiredToken = `The security token included in the request is expired`
	mismatch     = `The request signature we calculated does not match the signature you provided\. Check your AWS Secret Access Key and signing method\. Consult the service documentation for details\.`
	denied       = `User: arn:aws:iam::123456789012:user/nobody is not authorized to perform: ([a-z0-9]+:[A-Za-z]+)( on resource: .+)? because no (identity-based policy|resource-based policy|role trust policy) allows the ([a-z0-9]+:[A-Za-z]+) action`
)

// refusals are AWS's, by what is wrong and by protocol.
var refusals = map[string]map[model.Protocol]refusal{
	"no rights": {
		model.JSON: {400, "AccessDeniedException", denied}, model.Query: {403, "AccessDenied", denied}, model.RestXML: {403, "AccessDenied", denied},
	},
	"a wrong signature": {
		model.JSON: {400, "InvalidSignatureException", mismatch}, model.Query: {403, "SignatureDoesNotMatch", mismatch},
		model.RestXML: {403, "SignatureDoesNotMatch", `The request signature we calculated does not match the signature you provided\. Check your key and signing method\.`},
	},
	"an unknown key": {
		model.JSON: {400, "UnrecognizedClientException", invalidToken}, model.Query: {403, "InvalidClientTokenId", invalidToken},
		model.RestXML: {403, "InvalidAccessKeyId", `The AWS Access Key Id you provided does not exist in our records\.`},
	},
	"an expired token": {
		model.JSON: {400, "ExpiredTokenException", expiredToken}, model.Query: {403, "ExpiredToken", expiredToken},
		model.RestXML: {400, "ExpiredToken", `The provided token has expired\.`},
	},
	"another's token": {
		model.JSON: {400, "UnrecognizedClientException", invalidToken}, model.Query: {403, "InvalidClientTokenId", invalidToken},
		model.RestXML: {400, "InvalidToken", `The provided token is malformed or otherwise invalid\.`},
	},
	"no signature": {
		model.JSON: {400, "MissingAuthenticationTokenException", "Missing Authentication Token"}, model.Query: {403, "MissingAuthenticationToken", "Request is missing Authentication Token"},
		model.RestXML: {403, "AccessDenied", "Access Denied"},
	},
}

// hidden is how KMS refuses whoever may not know which key a ciphertext is under.
var hidden = refusal{400, "AccessDeniedException", `The ciphertext refers to a customer master key that does not exist, does not exist in this region, or you are not allowed to access\.`}

// others are those of single operations.
var others = map[string]refusal{
	"kms:Decrypt with no rights":   hidden,
	"kms:ReEncrypt with no rights": hidden,
	// It answers key by key.
	"s3:DeleteObjects with no rights": {200, "", ""},
	// Of these AWS says more.
	"s3:CopyObject with no signature":            {403, "AccessDenied", `Anonymous users cannot copy objects\.  Please authenticate\.`},
	"s3:CreateMultipartUpload with no signature": {403, "AccessDenied", `Anonymous users cannot initiate multipart uploads\.  Please authenticate\.`},
}

// Every operation of every service, called with a valid request by a user who has no
// rights, is denied; called by whoever cannot say who he is, it is not even considered.
// Each refusal is AWS's to the letter. So no door is forgotten.
func TestEveryDoorIsGuarded(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	nobody := keysOf(t, sys.User(t, "nobody", ""))
	idle := keysOf(t, sys.User(t, "idle", malotetest.Allow("*", "*")))
	if _, err := iam.NewFromConfig(sys.Config()).UpdateAccessKey(t.Context(), &iam.UpdateAccessKeyInput{UserName: aws.String("idle"), AccessKeyId: &idle.AccessKeyID, Status: iamtypes.StatusTypeInactive}); err != nil {
		t.Fatal(err)
	}
	expired := keysOf(t, sys.Role(t, "expired", malotetest.Allow("*", "*")))
	if _, err := s3.NewFromConfig(sys.Config()).CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String(doorBucket)}); err != nil {
		t.Fatal(err)
	}
	sys.Clock.Advance(2 * time.Hour)
	session := keysOf(t, sys.Role(t, "session", malotetest.Allow("*", "*")))
	strangers := session
	strangers.SessionToken = expired.SessionToken
	callers := []struct {
		what string
		keys *aws.Credentials
		as   string // of refusals
	}{
		{"no rights", &nobody, "no rights"},
		{"a wrong signature", &aws.Credentials{AccessKeyID: nobody.AccessKeyID, SecretAccessKey: strings.Repeat("x", 40)}, "a wrong signature"},
		{"an unknown key", &aws.Credentials{AccessKeyID: "AKIANOBODYHASTHISKEY", SecretAccessKey: nobody.SecretAccessKey}, "an unknown key"},
		{"an inactive key", &idle, "an unknown key"},
		{"an expired token", &expired, "an expired token"},
		{"a temporary key without its token", &aws.Credentials{AccessKeyID: session.AccessKeyID, SecretAccessKey: session.SecretAccessKey}, "an unknown key"},
		{"another's token", &strangers, "another's token"},
		{"no signature", nil, "no signature"},
	}
	coverage, err := gateway.Coverage(sys.Services()...)
	if err != nil {
		t.Fatal(err)
	}
	called := 0
	for _, service := range coverage {
		described, ok := model.For(service.Service)
		if !ok {
			t.Fatalf("no description of %s", service.Service)
		}
		for _, op := range service.Operations {
			if !op.Implemented {
				continue
			}
			called++
			operation, _ := described.Operation(op.Name)
			action := service.Service + ":" + op.Name
			for _, caller := range callers {
				status, answer := call(t, sys, caller.keys, described, operation)
				if free[action] && caller.what == "no rights" {
					if status != http.StatusOK {
						t.Errorf("%s: %d %s, want an answer", action, status, answer)
					}
					continue
				}
				want, other := others[action+" with "+caller.what]
				if !other {
					want, other = unsigned[action]
				}
				if !other {
					want = refusals[caller.as][described.Protocol]
				}
				if status != want.status {
					t.Errorf("%s with %s: %d %s, want %d", action, caller.what, status, answer, want.status)
					continue
				}
				if operation.HTTP.Method == http.MethodHead {
					continue // has no body
				}
				if want.code == "" {
					if !strings.Contains(answer, "<Error><Code>AccessDenied</Code><Key>name</Key>") {
						t.Errorf("%s with %s: %s", action, caller.what, answer)
					}
					continue
				}
				if described.Protocol == model.RestXML && (want.code == "InvalidAccessKeyId" || want.code == "SignatureDoesNotMatch") && !strings.Contains(answer, "<AWSAccessKeyId>"+caller.keys.AccessKeyID+"</AWSAccessKeyId>") {
					t.Errorf("%s with %s: %s, want the access key", action, caller.what, answer)
				}
				code, text := errorOf(t, described.Protocol, answer)
				match := regexp.MustCompile(`^` + want.text + `$`).FindStringSubmatch(text)
				if code != want.code || match == nil || len(match) > 1 && match[1] != match[len(match)-1] {
					t.Errorf("%s with %s: %s: %s, want %s: %s", action, caller.what, code, text, want.code, want.text)
				}
			}
		}
	}
	if called < 100 {
		t.Errorf("%d operations called: coverage is not seen", called)
	}
	t.Logf("%d operations, each by %d callers", called, len(callers))
}

// errorOf reads an error as a client does.
func errorOf(t *testing.T, protocol model.Protocol, answer string) (code, text string) {
	t.Helper()
	switch protocol {
	case model.Query:
		var response struct {
			Error struct{ Type, Code, Message string }
		}
		if err := xml.Unmarshal([]byte(answer), &response); err != nil || response.Error.Type != "Sender" {
			t.Errorf("%v in %s", err, answer)
		}
		return response.Error.Code, response.Error.Message
	case model.RestXML:
		var response struct{ Code, Message string }
		if err := xml.Unmarshal([]byte(answer), &response); err != nil {
			t.Errorf("%v in %s", err, answer)
		}
		return response.Code, response.Message
	}
	var response struct {
		Type    string `json:"__type"`
		Message string // in whichever case
	}
	if err := json.Unmarshal([]byte(answer), &response); err != nil {
		t.Errorf("%v in %s", err, answer)
	}
	return response.Type, response.Message
}

// S3 has one door: its operations cannot be asked for at that of the other services, where nobody
// asks for a signature of S3's.
func TestS3HasOneDoor(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	for _, service := range []string{"s3", "%733"} {
		query := "/?Action=GetObject&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=x%2F20260101%2Fus-east-1%2F" + service + "%2Faws4_request&X-Amz-Date=20260101T000000Z&X-Amz-Expires=60&X-Amz-SignedHeaders=host&X-Amz-Signature=00"
		response, err := http.Post(sys.Endpoint()+query, "application/x-amz-json-1.1", strings.NewReader(`{"Bucket":"shop","Key":"key"}`))
		if err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || response.StatusCode < 400 || !strings.Contains(string(answer), "UnknownOperation") && !strings.Contains(string(answer), "InvalidAccessKeyId") && !strings.Contains(string(answer), "MethodNotAllowed") {
			t.Errorf("signed for %s: %d %s, %v", service, response.StatusCode, answer, err)
		}
	}
}

// keysOf are what cfg signs with.
func keysOf(t *testing.T, cfg aws.Config) aws.Credentials {
	t.Helper()
	keys, err := cfg.Credentials.Retrieve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// call sends the smallest valid request for an operation.
func call(t *testing.T, sys *malotetest.System, keys *aws.Credentials, service *model.Service, op *model.Operation) (int, string) {
	t.Helper()
	input := map[string]any{}
	if op.Input != nil {
		input = example(t, op.Input, op.Name).(map[string]any)
	}
	return callWith(t, sys, keys, service, op, input)
}

// callWith sends a request for an operation.
func callWith(t *testing.T, sys *malotetest.System, keys *aws.Credentials, service *model.Service, op *model.Operation, input map[string]any) (int, string) {
	t.Helper()
	if service.Protocol == model.RestXML {
		return send(t, sys, keys, service.Name, restRequest(t, sys.Endpoint(), op, input))
	}
	header := http.Header{}
	var body []byte
	if service.Protocol == model.Query {
		form := url.Values{"Action": {op.Name}, "Version": {service.Version}}
		flatten(form, "", input)
		body = []byte(form.Encode())
		header.Set("Content-Type", "application/x-www-form-urlencoded")
	} else {
		body, _ = json.Marshal(input)
		header.Set("Content-Type", "application/x-amz-json-1.1")
		header.Set("X-Amz-Target", service.Target+"."+op.Name)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, sys.Endpoint()+"/", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header = header
	return send(t, sys, keys, service.Name, request)
}

// send signs a request, unless there is nothing to sign with, and returns what it is answered.
func send(t *testing.T, sys *malotetest.System, keys *aws.Credentials, service string, request *http.Request) (int, string) {
	t.Helper()
	switch {
	case keys != nil:
		sign(t, keys, service, request, sys.Clock.Now())
	case service == "s3":
		request.Header.Set("Amz-Sdk-Invocation-Id", "1") // no question about health
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
	return response.StatusCode, string(answer)
}

// sign signs a request in its headers.
func sign(t *testing.T, keys *aws.Credentials, service string, request *http.Request, at time.Time) {
	t.Helper()
	var body []byte
	if request.GetBody != nil {
		again, err := request.GetBody()
		if err != nil {
			t.Fatal(err)
		}
		if body, err = io.ReadAll(again); err != nil {
			t.Fatal(err)
		}
	}
	sum := sha256.Sum256(body)
	hash := hex.EncodeToString(sum[:])
	var options []func(*v4.SignerOptions)
	if service == "s3" {
		request.Header.Set("X-Amz-Content-Sha256", hash)
		options = append(options, func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
	}
	if err := v4.NewSigner().SignHTTP(t.Context(), *keys, request, hash, service, malotetest.Region, at, options...); err != nil {
		t.Fatal(err)
	}
}

// doorBucket is there; its objects are not.
const doorBucket = "door-bucket"

// restRequest is the smallest valid request of an operation of S3's.
func restRequest(t *testing.T, endpoint string, op *model.Operation, input map[string]any) *http.Request {
	t.Helper()
	path, query, _ := strings.Cut(op.HTTP.URI, "?")
	path = strings.NewReplacer("{Bucket}", doorBucket, "{Key+}", "key").Replace(path)
	header, values := http.Header{}, url.Values{}
	for pair := range strings.SplitSeq(query, "&") {
		if name, value, _ := strings.Cut(pair, "="); name != "" {
			values.Set(name, value)
		}
	}
	var body strings.Builder
	if op.Input != nil {
		for name, value := range input {
			switch member := op.Input.Members[name]; {
			case name == op.Input.Payload && member.Type == "structure":
				root := member.Binding.Name
				if root == "" {
					root = name
				}
				writeXML(&body, root, member, value)
			case name == op.Input.Payload:
				body.WriteString(fmt.Sprint(value))
			case member.Binding.Location == "querystring":
				values.Set(member.Binding.Name, fmt.Sprint(value))
			case member.Binding.Location == "header" && member.Type == "list":
				header.Set(member.Binding.Name, fmt.Sprint(value.([]any)[0]))
			case member.Binding.Location == "header" && name == "CopySource":
				header.Set(member.Binding.Name, doorBucket+"/key")
			case member.Binding.Location == "header":
				header.Set(member.Binding.Name, fmt.Sprint(value))
			}
		}
	}
	if op.HTTP.Method != http.MethodGet && op.HTTP.Method != http.MethodHead {
		sum := md5.Sum([]byte(body.String()))
		header.Set("Content-Md5", base64.StdEncoding.EncodeToString(sum[:]))
	}
	request, err := http.NewRequestWithContext(t.Context(), op.HTTP.Method, endpoint+path+"?"+values.Encode(), strings.NewReader(body.String()))
	if err != nil {
		t.Fatal(err)
	}
	request.Header = header
	return request
}

// writeXML writes a value as S3 does.
func writeXML(b *strings.Builder, name string, shape *model.Shape, value any) {
	switch v := value.(type) {
	case map[string]any:
		fmt.Fprintf(b, "<%s>", name)
		for member, value := range v {
			inner := shape.Members[member]
			if inner.Binding.Name != "" {
				member = inner.Binding.Name
			}
			writeXML(b, member, inner, value)
		}
		fmt.Fprintf(b, "</%s>", name)
	case []any:
		if !shape.Flattened {
			fmt.Fprintf(b, "<%s>", name)
			defer fmt.Fprintf(b, "</%s>", name)
			name = shape.Elem.Name
		}
		for _, item := range v {
			writeXML(b, name, shape.Elem, item)
		}
	default:
		fmt.Fprintf(b, "<%s>%v</%s>", name, value, name)
	}
}

// candidates are values that some pattern of AWS's wants.
var candidates = []string{
	"name", "us-west-2", "arn:aws:iam::123456789012:role/name", "alias/name", "/name/", "AKIAIOSFODNN7EXAMPLE", "v1",
	"arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab", "1234abcd-12ab-34cd-56ef-1234567890ab", "/name",
	"0123456789abcdef0123456789abcdef01234567",
	"name@example.com", "123456789012", "car-00000000",
	`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Resource":"*"}]}`,
}

// meaningful are members that are looked into before it is known what is asked for. The
// ciphertext is of a key that does not exist, in the format of service/kms.
var meaningful = map[string]any{
	"PolicyArn":                "arn:aws:iam::123456789012:policy/name",
	"OpenIDConnectProviderArn": "arn:aws:iam::123456789012:oidc-provider/example.com",
	"CiphertextBlob":           "AQAAAAAcvpkaFAECAwQFBgcICQoLDA0ODxAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
}

// example is a value that satisfies a shape, with the required members alone.
func example(t *testing.T, shape *model.Shape, path string) any {
	t.Helper()
	switch shape.Type {
	case "structure":
		members := map[string]any{}
		for _, name := range shape.Required {
			members[name] = example(t, shape.Members[name], path+"."+name)
		}
		for name, member := range shape.Members {
			if value, ok := meaningful[name]; ok {
				members[name] = value
			} else if member.Token {
				members[name] = "1234abcd-12ab-34cd-56ef-1234567890ab"
			}
		}
		return members
	case "list":
		return []any{example(t, shape.Elem, path+".member")}
	case "map":
		if shape.Min != nil && *shape.Min > 0 {
			return map[string]any{"name": "name"}
		}
		return map[string]any{}
	case "integer", "long", "double":
		if shape.Min != nil {
			return *shape.Min
		}
		return 1
	case "boolean":
		return true
	case "timestamp":
		return 1
	case "blob":
		return "c29tZSBieXRlcyBvZiBhIGJsb2I="
	}
	if len(shape.Enum) > 0 {
		return shape.Enum[0]
	}
	for _, candidate := range candidates {
		if shape.Min != nil && len(candidate) < int(*shape.Min) || shape.Max != nil && len(candidate) > int(*shape.Max) {
			continue
		}
		pattern, err := regexp.Compile("^(?:" + shape.Pattern + ")$")
		if shape.Pattern == "" || err == nil && pattern.MatchString(candidate) || err != nil {
			return candidate
		}
	}
	t.Fatalf("%s: no candidate satisfies %q", path, shape.Pattern)
	return nil
}

// flatten writes a value as AWS Query does.
func flatten(form url.Values, name string, value any) {
	switch v := value.(type) {
	case map[string]any:
		for key, member := range v {
			flatten(form, strings.TrimPrefix(name+"."+key, "."), member)
		}
	case []any:
		for i, member := range v {
			flatten(form, fmt.Sprintf("%s.member.%d", name, i+1), member)
		}
	default:
		form.Set(name, fmt.Sprint(v))
	}
}
