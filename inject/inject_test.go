package inject_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/google/go-cmp/cmp"

	"github.com/malote/malote/inject"
)

const (
	secretARN = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/db-AbCdEf"
	paramARN  = "arn:aws:ssm:us-east-1:123456789012:parameter/prod/key"
)

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		valueFrom string
		want      inject.Ref
		err       string // a part of it
	}{
		{valueFrom: "name", want: inject.Ref{Service: "ssm", Region: "us-west-2", ID: "name"}},
		{valueFrom: "/path/name", want: inject.Ref{Service: "ssm", Region: "us-west-2", ID: "/path/name"}},
		{valueFrom: "/path/name:3", want: inject.Ref{Service: "ssm", Region: "us-west-2", ID: "/path/name:3"}},
		{valueFrom: "/path/name:live", want: inject.Ref{Service: "ssm", Region: "us-west-2", ID: "/path/name:live"}},
		{valueFrom: "/aws/reference/secretsmanager/a+b@c", want: inject.Ref{Service: "ssm", Region: "us-west-2", ID: "/aws/reference/secretsmanager/a+b@c"}},
		{valueFrom: paramARN, want: inject.Ref{Service: "ssm", Region: "us-east-1", ID: paramARN}},
		{valueFrom: paramARN + ":3", want: inject.Ref{Service: "ssm", Region: "us-east-1", ID: paramARN + ":3"}},
		{valueFrom: secretARN, want: inject.Ref{Service: "secretsmanager", Region: "eu-west-1", ID: secretARN}},
		{valueFrom: secretARN + ":::", want: inject.Ref{Service: "secretsmanager", Region: "eu-west-1", ID: secretARN}},
		{valueFrom: secretARN + ":key::", want: inject.Ref{Service: "secretsmanager", Region: "eu-west-1", ID: secretARN, JSONKey: "key"}},
		{valueFrom: secretARN + "::AWSPREVIOUS:", want: inject.Ref{Service: "secretsmanager", Region: "eu-west-1", ID: secretARN, VersionStage: "AWSPREVIOUS"}},
		{valueFrom: secretARN + ":key:s:v", want: inject.Ref{Service: "secretsmanager", Region: "eu-west-1", ID: secretARN, JSONKey: "key", VersionStage: "s", VersionID: "v"}},
		{valueFrom: "arn:aws-cn:secretsmanager:cn-north-1:123456789012:secret:x", want: inject.Ref{Service: "secretsmanager", Region: "cn-north-1", ID: "arn:aws-cn:secretsmanager:cn-north-1:123456789012:secret:x"}},

		{valueFrom: "", err: "valueFrom is empty"},
		{valueFrom: "/", err: "valueFrom is empty"},
		{valueFrom: secretARN + ":key", err: "for the JSON key \"key\" write " + secretARN + ":key::"},
		{valueFrom: secretARN + ":key:stage", err: "write " + secretARN + ":key:stage:"},
		{valueFrom: secretARN + ":a:b:c:d", err: "the suffix has 4 colons"},
		{valueFrom: "arn:aws:secretsmanager:eu-west-1:123456789012:secret:", err: "it ends in secret:NAME-AbCdEf"},
		{valueFrom: "arn:aws:secretsmanager:eu-west-1:123456789012:prod", err: "it ends in secret:NAME-AbCdEf"},
		{valueFrom: "arn:aws:secretsmanager::123456789012:secret:x", err: "names its partition, Region and account"},
		{valueFrom: "arn:aws:s3:eu-west-1:1:bucket", err: `the service in the ARN is "s3"`},
		{valueFrom: "arn:aws:ssm", err: "an ARN has six parts"},
		{valueFrom: "arn:aws:ssm:us-east-1:123456789012:parameter//prod", err: "write parameter/prod"},
		{valueFrom: "arn:aws:ssm:us-east-1:123456789012:document/x", err: "ends in parameter/NAME"},
		{valueFrom: "prod/db password", err: "' ' cannot be in it"},
		{valueFrom: "a:", err: "the selector of a parameter"},
		{valueFrom: "a:b:c", err: "the selector of a parameter"},
	} {
		got, err := inject.Parse(tt.valueFrom, "us-west-2")
		if tt.err != "" {
			if typed := new(inject.Error); !errors.As(err, &typed) || typed.ValueFrom != tt.valueFrom || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("Parse(%q) = %v, want an error with %q", tt.valueFrom, err, tt.err)
			}
			continue
		}
		tt.want.ValueFrom = tt.valueFrom
		if err != nil || got != tt.want {
			t.Errorf("Parse(%q) = %+v, %v, want %+v", tt.valueFrom, got, err, tt.want)
		}
	}
}

// aws answers inside the SDK's own client, where calls can be counted.
type fakeAWS struct {
	mu    sync.Mutex
	calls []string // "region operation request"
	t     *testing.T
}

// newAWS serves some secrets and parameters to a real client.
func newAWS(t *testing.T) (*fakeAWS, aws.Config) {
	f := &fakeAWS{t: t}
	return f, aws.Config{
		Region:           "us-west-2",
		HTTPClient:       &http.Client{Transport: f},
		RetryMaxAttempts: 1,
		Credentials: aws.CredentialsProviderFunc(func(_ context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "AKIAEXAMPLE", SecretAccessKey: "key"}, nil
		}),
	}
}

func (f *fakeAWS) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	_, op, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	region := strings.Split(r.Header.Get("Authorization"), "/")[2]
	f.mu.Lock()
	f.calls = append(f.calls, region+" "+op+" "+string(body))
	f.mu.Unlock()

	status, answer := 200, any(nil)
	refuse := func(code, message string) {
		status, answer = 400, map[string]string{"__type": code, "message": message}
	}
	switch op {
	case "GetSecretValue":
		var in struct{ SecretId, VersionId, VersionStage string }
		if err := json.Unmarshal(body, &in); err != nil {
			return nil, err
		}
		out := map[string]any{"ARN": in.SecretId, "VersionId": "11111111-1111-1111-1111-111111111111"}
		switch _, name, _ := strings.Cut(in.SecretId, "secret:"); {
		case in.VersionStage == "NONE":
			refuse("ResourceNotFoundException", "Secrets Manager can't find the specified secret value for staging label: NONE")
		case name == "json":
			out["SecretString"] = `{"text":"s3cr€t\n","number":1e6,"true":true,"null":null,"object": {"a": 1},"array":[1, 2],"empty":"","twice":1,"twice":2,"a, b":"","nul":"\u0000"}`
			answer = out
		case name == "list":
			out["SecretString"] = `[1]`
			answer = out
		case name == "text":
			out["SecretString"] = "plaintext-secret"
			answer = out
		case name == "binary":
			out["SecretBinary"] = []byte{1, 2}
			answer = out
		case name == "registry":
			out["SecretString"] = `{"Username":"me","password":"pw","extra":1}`
			answer = out
		case name == "kms":
			refuse("AccessDeniedException", "Access to KMS is not allowed")
		case strings.HasPrefix(name, "forbidden"):
			refuse("AccessDeniedException", "User: arn:aws:sts::123456789012:assumed-role/exec/task is not authorized to perform: secretsmanager:GetSecretValue on resource: "+in.SecretId)
		default:
			refuse("ResourceNotFoundException", "Secrets Manager can't find the specified secret.")
		}
		if status == 200 && answer == nil {
			answer = out
		}
	case "GetParameters":
		var in struct{ Names []string }
		if err := json.Unmarshal(body, &in); err != nil {
			return nil, err
		}
		if len(in.Names) > 10 {
			refuse("ValidationException", "too many")
			break
		}
		list, invalid := []any{}, []string{}
		slices.Sort(in.Names) // AWS answers alphabetically
		for _, id := range in.Names {
			if strings.Contains(id, "locked") {
				refuse("AccessDeniedException", "The ciphertext refers to a customer master key that does not exist, does not exist in this region, or you are not allowed to access. (Service: AWSKMS; Status Code: 400; Error Code: AccessDeniedException; Request ID: 47c0ff16-"+strconv.Itoa(len(id))+")")
				break
			}
			if strings.Contains(id, "forbidden") {
				refuse("AccessDeniedException", "User: u is not authorized to perform: ssm:GetParameters on resource: arn:aws:ssm:"+region+":123456789012:parameter/"+id)
				break
			}
			name, selector, arn := id, "", ""
			if rest, ok := strings.CutPrefix(id, "arn:aws:ssm:"+region+":123456789012:parameter"); ok {
				name = rest
			}
			if i := strings.Index(name, ":"); i >= 0 {
				name, selector = name[:i], name[i:]
			}
			if strings.Contains(name, "absent") {
				invalid = append(invalid, id)
				continue
			}
			arn = "arn:aws:ssm:" + region + ":123456789012:parameter/" + strings.TrimPrefix(name, "/")
			p := map[string]any{"Name": name, "ARN": arn, "Value": "value of " + name + selector, "Version": 7, "Type": "SecureString"}
			if selector != "" {
				p["Selector"] = selector
			}
			if strings.HasPrefix(name, "/aws/reference/") {
				p["Name"] = id
				p["SourceResult"] = `{"ARN":"arn:of:secret","versionId":"v1"}`
			}
			list = append(list, p)
		}
		if status == 200 {
			answer = map[string]any{"Parameters": list, "InvalidParameters": invalid}
		}
	default:
		f.t.Errorf("unexpected call of %s", op)
		refuse("ValidationException", op)
	}
	raw, err := json.Marshal(answer)
	if err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {"application/x-amz-json-1.1"}}, Body: io.NopCloser(bytes.NewReader(raw)), Request: r}, nil
}

func sm(name string) string {
	return "arn:aws:secretsmanager:eu-west-1:123456789012:secret:" + name
}

func parse(t *testing.T, valuesFrom ...string) []inject.Ref {
	t.Helper()
	var refs []inject.Ref
	for _, valueFrom := range valuesFrom {
		ref, err := inject.Parse(valueFrom, "us-west-2")
		if err != nil {
			t.Fatal(err)
		}
		refs = append(refs, ref)
	}
	return refs
}

func TestResolve(t *testing.T) {
	f, config := newAWS(t)
	want := map[string]string{
		sm("text"):                        "plaintext-secret",
		sm("json:text::"):                 "s3cr€t\n",
		sm("json:number::"):               "1e6",
		sm("json:true::"):                 "true",
		sm("json:null::"):                 "null",
		sm("json:object::"):               `{"a": 1}`,
		sm("json:array::"):                "[1, 2]",
		sm("json:empty::"):                "",
		sm("json:twice::"):                "2",
		sm("json:a, b::"):                 "",
		sm("json:text:AWSPREVIOUS:"):      "s3cr€t\n",
		"name":                            "value of name",
		"/path/name":                      "value of /path/name",
		"/path/name:2":                    "value of /path/name:2",
		"/path/name:live":                 "value of /path/name:live",
		paramARN:                          "value of /prod/key",
		paramARN + ":2":                   "value of /prod/key:2",
		"/aws/reference/secretsmanager/x": "value of /aws/reference/secretsmanager/x",
	}
	var valuesFrom []string
	for valueFrom := range want {
		valuesFrom = append(valuesFrom, valueFrom, valueFrom) // twice, as two containers would
	}
	for i := range 21 {
		name := fmt.Sprintf("/many/%d", i)
		valuesFrom = append(valuesFrom, name)
		want[name] = "value of " + name
	}
	got, err := (&inject.Resolver{Config: config}).Resolve(t.Context(), parse(t, valuesFrom...))
	if err != nil {
		t.Fatal(err)
	}
	revealed := map[string]string{}
	for valueFrom, value := range got {
		revealed[valueFrom] = value.Reveal()
	}
	if diff := cmp.Diff(want, revealed); diff != "" {
		t.Errorf("values differ (-want +got):\n%s", diff)
	}
	if v := got[sm("json:text::")]; v.ARN != sm("json") || v.VersionID != "11111111-1111-1111-1111-111111111111" {
		t.Errorf("a secret's value is of %s version %s", v.ARN, v.VersionID)
	}
	if v := got["/path/name"]; v.ARN != "arn:aws:ssm:us-west-2:123456789012:parameter/path/name" || v.VersionID != "7" {
		t.Errorf("a parameter's value is of %s version %s", v.ARN, v.VersionID)
	}
	if v := got["/aws/reference/secretsmanager/x"]; v.ARN != "arn:of:secret" || v.VersionID != "v1" {
		t.Errorf("a reference's value is of %s version %s", v.ARN, v.VersionID)
	}

	count := map[string]int{}
	for _, call := range f.calls {
		region, rest, _ := strings.Cut(call, " ")
		op, _, _ := strings.Cut(rest, " ")
		count[region+" "+op]++
	}
	// text, json, json's previous; 26 parameters here and 2 there.
	wantCalls := map[string]int{"eu-west-1 GetSecretValue": 3, "us-west-2 GetParameters": 3, "us-east-1 GetParameters": 1}
	if diff := cmp.Diff(wantCalls, count); diff != "" {
		t.Errorf("calls differ (-want +got):\n%s", diff)
	}
}

func TestResolveErrors(t *testing.T) {
	_, config := newAWS(t)
	resolver := &inject.Resolver{Config: config, Role: "arn:aws:iam::123456789012:role/exec"}
	want := map[string]string{
		sm("json:absent::"):   "retrieved secret from Secrets Manager did not contain json key absent: it has \"a, b\", array, empty, nul, null, number, object, text, true, twice",
		sm("text:key::"):      "secret " + sm("text") + `: it is not JSON, so it has no key "key"; for the whole secret leave the key out of valueFrom`,
		sm("list:key::"):      `it is JSON but not an object, so it has no key "key"`,
		sm("binary"):          "secret " + sm("binary") + " is binary",
		sm("binary:key::"):    "secret " + sm("binary") + " is binary",
		sm("nowhere"):         "ResourceNotFoundException: The task can't retrieve the secret with ARN '" + sm("nowhere") + "' from AWS Secrets Manager. Check whether the secret exists in the specified Region: ResourceNotFoundException: Secrets Manager can't find the specified secret. (secretsmanager:GetSecretValue as arn:aws:iam::123456789012:role/exec)",
		sm("json:text:NONE:"): `(asked for version stage "NONE", version id "")`,
		sm("kms"):             "AccessDeniedException: Access to KMS is not allowed. The role lacks kms:Decrypt on the KMS key",
		sm("forbidden:a::"):   "AccessDeniedException: User: arn:aws:sts::123456789012:assumed-role/exec/task is not authorized to perform: secretsmanager:GetSecretValue on resource: " + sm("forbidden"),
		"/absent":             "fetching secret data from SSM Parameter Store in us-west-2: invalid parameters: /absent. Check that the parameter exists in us-west-2; a name without ARN is a parameter's",
		"/absent:9":           "has the version or label 9",
		"/locked":             "fetching secret data from SSM Parameter Store in us-west-2: parameter /locked: AccessDeniedException: The ciphertext refers to a customer master key that does not exist, does not exist in this region, or you are not allowed to access. (Service: AWSKMS; Status Code: 400; Error Code: AccessDeniedException). The role lacks kms:Decrypt on the KMS key",
		"/forbidden":          "fetching secret data from SSM Parameter Store in us-west-2: AccessDeniedException: User: u is not authorized to perform: ssm:GetParameters",
	}
	valuesFrom := []string{sm("text"), "/fine"}
	for valueFrom := range want {
		valuesFrom = append(valuesFrom, valueFrom)
	}
	got, err := resolver.Resolve(t.Context(), parse(t, valuesFrom...))
	if got != nil {
		t.Errorf("values beside an error: %v", got)
	}
	all, ok := errors.AsType[inject.Errors](err)
	if !ok {
		t.Fatalf("error = %v, want inject.Errors", err)
	}
	for _, e := range all {
		text, expected := want[e.ValueFrom]
		if !expected || !strings.Contains(e.Error(), text) {
			t.Errorf("error for %s = %v, want %s", e.ValueFrom, e, text)
		}
		delete(want, e.ValueFrom)
	}
	if len(want) > 0 {
		t.Errorf("no error for %v", want)
	}
	for _, part := range []string{"plaintext-secret", "s3cr"} {
		if strings.Contains(err.Error(), part) {
			t.Error("the error holds a value")
		}
	}
}

func TestErrorsAreToldOnce(t *testing.T) {
	_, config := newAWS(t)
	resolver := &inject.Resolver{Config: config, Role: "arn:aws:iam::123456789012:role/exec"}
	_, err := resolver.Resolve(t.Context(), parse(t, sm("forbidden:a::"), sm("forbidden:b::"), sm("forbidden-2"), sm("kms"), "/locked/one", "/locked/other", "/absent"))
	all, ok := errors.AsType[inject.Errors](err)
	if !ok || len(all) != 7 || !all.Denied() {
		t.Fatalf("error = %v", err)
	}
	const role = "arn:aws:iam::123456789012:role/exec"
	want := []string{
		"AccessDeniedException: User: arn:aws:sts::123456789012:assumed-role/exec/task is not authorized to perform: secretsmanager:GetSecretValue on resource: " + sm("forbidden") + " (as " + role + "), and the same for " + sm("forbidden-2"),
		"secret " + sm("kms") + ": AccessDeniedException: Access to KMS is not allowed. The role lacks kms:Decrypt on the KMS key that encrypts it: allow it in the role's policies, or in the key's (secretsmanager:GetSecretValue as " + role + ")",
		"fetching secret data from SSM Parameter Store in us-west-2: parameter /locked/one: AccessDeniedException: The ciphertext refers to a customer master key that does not exist, does not exist in this region, or you are not allowed to access. (Service: AWSKMS; Status Code: 400; Error Code: AccessDeniedException). The role lacks kms:Decrypt on the KMS key that encrypts it: allow it in the role's policies, or in the key's (ssm:GetParameters as " + role + "), and the same for /locked/other",
		"fetching secret data from SSM Parameter Store in us-west-2: invalid parameters: /absent. Check that the parameter exists in us-west-2; a name without ARN is a parameter's, and a Secrets Manager secret is referred to by its full ARN (ssm:GetParameters as " + role + ")",
	}
	if diff := cmp.Diff(want, all.Texts()); diff != "" {
		t.Error(diff)
	}
	if (inject.Errors{all[6]}).Denied() {
		t.Error("absence is taken for a denial")
	}
}

func TestRegistryCredentials(t *testing.T) {
	f, config := newAWS(t)
	got, err := inject.RegistryCredentials(t.Context(), config, sm("registry"))
	if err != nil || got.Username != "me" || got.Password != "pw" {
		t.Fatalf("credentials of %s: %v", got.Username, err)
	}
	if !strings.HasPrefix(f.calls[0], "eu-west-1 ") {
		t.Errorf("asked in another region than the ARN's: %s", f.calls[0])
	}
	for parameter, want := range map[string]string{
		sm("nowhere"): "asm fetching secret from the service for " + sm("nowhere") + ": ResourceNotFoundException: ",
		"bare":        "asm fetching secret from the service for bare: ",
		sm("text"):    "asm fetching authorization data: unable to unmarshal secret value, invalid schema",
		sm("binary"):  "asm fetching authorization data: empty secrets value",
		sm("json"):    "asm fetching username: AuthorizationData is malformed, empty field",
		"arn:aws:x:y": "is not the ARN of a Secrets Manager secret",
		"":            "credentialsParameter is empty",
	} {
		if _, err := inject.RegistryCredentials(t.Context(), config, parameter); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("RegistryCredentials(%q) = %v, want %s", parameter, err, want)
		}
	}
}

func TestValueIsSealed(t *testing.T) {
	v := inject.NewValue("hidden", "arn", "v")
	c := inject.Credentials{Username: "hidden", Password: "hidden"}
	var out bytes.Buffer
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&out, format, v)
		fmt.Fprintf(&out, format, c)
		fmt.Fprintf(&out, format, map[string]any{"v": v, "p": &v, "c": c})
	}
	json.NewEncoder(&out).Encode(map[string]any{"v": v, "c": c})
	slog.New(slog.NewTextHandler(&out, nil)).Info("m", "v", v, "c", c)
	if text := out.String(); strings.Contains(text, "hidden") || strings.Contains(text, "68696464656e") {
		t.Errorf("a value shows: %s", text)
	}
}
