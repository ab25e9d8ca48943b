package malotetest_test

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
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
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/malote/malote/gateway"
	"github.com/malote/malote/gateway/model"
	"github.com/malote/malote/malotetest"
)

// free are the operations that AWS grants to whoever has credentials.
var free = map[string]bool{
	"sts:GetCallerIdentity": true, "sts:GetSessionToken": true,
}

// Every operation of every service, called with a valid request by a user who has no
// rights, is denied; called with a wrong signature it is not even considered. So no door
// is forgotten.
func TestEveryDoorIsGuarded(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	nobody := sys.User(t, "nobody", "")
	forged := nobody.Copy()
	keys, err := nobody.Credentials.Retrieve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	forged.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: keys.AccessKeyID, SecretAccessKey: strings.Repeat("x", 40)}, nil
	})
	if _, err := s3.NewFromConfig(sys.Config()).CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String(doorBucket)}); err != nil {
		t.Fatal(err)
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
			status, answer := call(t, nobody, described, operation)
			switch {
			case free[action]:
				if status != http.StatusOK {
					t.Errorf("%s: %d %s, want an answer", action, status, answer)
				}
			case operation.HTTP.Method == http.MethodHead:
				if status != http.StatusForbidden {
					t.Errorf("%s: %d, want a denial", action, status)
				}
			case !strings.Contains(answer, "AccessDenied"):
				t.Errorf("%s: %d %s, want a denial", action, status, answer)
			}
			if status, answer := call(t, forged, described, operation); status < 400 || !strings.Contains(answer, "Signature") && operation.HTTP.Method != http.MethodHead {
				t.Errorf("%s with a wrong signature: %d %s", action, status, answer)
			}
		}
	}
	if called < 100 {
		t.Errorf("%d operations called: coverage is not seen", called)
	}
	t.Logf("%d operations", called)
}

// call sends the smallest valid request for an operation.
func call(t *testing.T, cfg aws.Config, service *model.Service, op *model.Operation) (int, string) {
	t.Helper()
	input := map[string]any{}
	if op.Input != nil {
		input = example(t, op.Input, op.Name).(map[string]any)
	}
	return callWith(t, cfg, service, op, input)
}

// callWith sends a request for an operation.
func callWith(t *testing.T, cfg aws.Config, service *model.Service, op *model.Operation, input map[string]any) (int, string) {
	t.Helper()
	if service.Protocol == model.RestXML {
		return send(t, cfg, service.Name, restRequest(t, *cfg.BaseEndpoint, op, input))
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
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, *cfg.BaseEndpoint+"/", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header = header
	return send(t, cfg, service.Name, request)
}

// send signs a request and returns what it is answered.
func send(t *testing.T, cfg aws.Config, service string, request *http.Request) (int, string) {
	t.Helper()
	keys, err := cfg.Credentials.Retrieve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
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
	if err := v4.NewSigner().SignHTTP(t.Context(), keys, request, hash, service, malotetest.Region, time.Now(), options...); err != nil {
		t.Fatal(err)
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
	`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Resource":"*"}]}`,
}

// meaningful are members that are looked into before it is known what is asked for. The
// ciphertext is of a key that does not exist, in the format of service/kms.
var meaningful = map[string]any{
	"PolicyArn":      "arn:aws:iam::123456789012:policy/name",
	"CiphertextBlob": "AQAAAAAcvpkaFAECAwQFBgcICQoLDA0ODxAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
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
