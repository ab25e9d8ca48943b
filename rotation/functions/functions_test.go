package functions_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/malote/malote/rotation"
	"github.com/malote/malote/rotation/functions"
)

const (
	arn  = "arn:aws:lambda:us-east-1:123456789012:function:rotate"
	role = "arn:aws:iam::123456789012:role/rotator"
)

var event = rotation.Event{Step: rotation.SetSecret, SecretId: "arn:aws:secretsmanager:eu-west-1:123456789012:secret:db-AbCdEf", ClientRequestToken: "11111111-1111-4111-8111-111111111111"}

func assume(_ context.Context, a functions.Assume) (aws.Credentials, error) {
	if a != (functions.Assume{Role: role, Function: arn, Region: "eu-west-1"}) {
		return aws.Credentials{}, fmt.Errorf("asked for %+v", a)
	}
	return aws.Credentials{AccessKeyID: "ASIA1", SecretAccessKey: "secret1", SessionToken: "token1"}, nil
}

func invoke(t *testing.T, d functions.Definition) error {
	t.Helper()
	f, err := functions.New(functions.Config{Definitions: map[string]functions.Definition{arn: d}, Assume: assume, Endpoint: "http://malote.example"})
	if err != nil {
		t.Fatal(err)
	}
	return f.Invoke(t.Context(), arn, event)
}

// The event has the names of AWS's, and nothing else.
const wire = `{"Step":"setSecret","SecretId":"arn:aws:secretsmanager:eu-west-1:123456789012:secret:db-AbCdEf","ClientRequestToken":"11111111-1111-4111-8111-111111111111"}`

func TestURL(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		status       int
		answer, want string
	}{
		{200, `null`, ""},
		{200, `"done"`, ""},
		{200, `{"statusCode":200}`, ""},
		{200, ``, ""},
		{200, `{"errorMessage":"no such user","errorType":"ValueError","stackTrace":[]}`, "ValueError: no such user"},
		{502, `{"errorMessage":"no such user"}`, "no such user"},
		{500, `oops`, "the function's endpoint answered 500 Internal Server Error"},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			if r.Method != http.MethodPost || string(body) != wire {
				t.Errorf("got %s %s, want %s", r.Method, body, wire)
			}
			w.WriteHeader(tt.status)
			io.WriteString(w, tt.answer)
		}))
		err := invoke(t, functions.Definition{URL: server.URL})
		server.Close()
		if got := fmt.Sprint(err); err == nil && tt.want != "" || err != nil && got != tt.want {
			t.Errorf("%d %s: %v, want %q", tt.status, tt.answer, err, tt.want)
		}
	}
	if err := invoke(t, functions.Definition{URL: "http://127.0.0.1:1/"}); err == nil {
		t.Error("nobody answered, and it is no error")
	}
}

func TestCommand(t *testing.T) {
	t.Setenv("MALOTE_ADMIN_SECRET_ACCESS_KEY", "of the control plane")
	out := filepath.Join(t.TempDir(), "out")
	err := invoke(t, functions.Definition{Command: []string{"/bin/sh", "-c", `cat > "$OUT"; echo >> "$OUT"; env >> "$OUT"`}, Role: role, Environment: map[string]string{"OUT": out}})
	if err != nil {
		t.Fatal(err)
	}
	written, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{wire + "\n", "AWS_ACCESS_KEY_ID=ASIA1\n", "AWS_SECRET_ACCESS_KEY=secret1\n", "AWS_SESSION_TOKEN=token1\n", "AWS_REGION=eu-west-1\n", "AWS_DEFAULT_REGION=eu-west-1\n", "AWS_ENDPOINT_URL=http://malote.example\n"} {
		if !strings.Contains(string(written), want) {
			t.Errorf("no %q in\n%s", want, written)
		}
	}
	if strings.Contains(string(written), "MALOTE") {
		t.Errorf("the control plane's environment is in\n%s", written)
	}

	for script, want := range map[string]string{
		"echo one >&2; echo two >&2; exit 3": "two",
		"exit 3":                             "/bin/sh ended with exit status 3 and said nothing",
		"yes | head -c 100000 >&2; printf 'the end\n\n' >&2; exit 1": "the end",
		"sleep 60 & wait": "the function did not end within 1s",
	} {
		err := invoke(t, functions.Definition{Command: []string{"/bin/sh", "-c", script}, Role: role, Timeout: time.Second})
		if err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", script, err, want)
		}
	}
	if err := invoke(t, functions.Definition{Command: []string{"/there/is/none"}, Role: role}); err == nil {
		t.Error("there is no such program, and it is no error")
	}
}

type builtin func(config aws.Config, e rotation.Event) error

func (b builtin) Rotate(_ context.Context, config aws.Config, e rotation.Event) error {
	return b(config, e)
}

func TestBuiltin(t *testing.T) {
	t.Parallel()
	want := errors.New("from within")
	config := functions.Config{
		Definitions: map[string]functions.Definition{arn: {Builtin: "mine", Role: role, Environment: map[string]string{"A": "b"}}}, Assume: assume,
		Builtin: func(name string, options map[string]string) (rotation.Function, error) {
			if name != "mine" || options["A"] != "b" {
				return nil, fmt.Errorf("no %s with %v", name, options)
			}
			return builtin(func(config aws.Config, e rotation.Event) error {
				credentials, err := config.Credentials.Retrieve(t.Context())
				if err != nil || credentials.AccessKeyID != "ASIA1" || config.Region != "eu-west-1" || e != event {
					t.Errorf("config %+v, %v, event %+v", config, err, e)
				}
				return want
			}), nil
		},
	}
	f, err := functions.New(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Invoke(t.Context(), arn, event); !errors.Is(err, want) {
		t.Error(err)
	}
	if f.Has(arn+"2") || !f.Has(arn) || f.Invoke(t.Context(), arn+"2", event) == nil {
		t.Error("it has a function that there is not")
	}
	config.Definitions[arn] = functions.Definition{Builtin: "yours", Role: role}
	if _, err := functions.New(config); err == nil || !strings.Contains(err.Error(), arn+": builtin: no yours with map[]") {
		t.Error(err)
	}
	config.Builtin = nil
	if _, err := functions.New(config); err == nil || !strings.Contains(err.Error(), `there is no "yours" here`) {
		t.Error(err)
	}
}

func TestParseFile(t *testing.T) {
	t.Parallel()
	all, err := functions.ParseFile([]byte(`{"` + arn + `": {"command": ["/bin/rotate", "x"], "role": "` + role + `", "environment": {"A": "b"}, "timeout": "30s"},
		"` + arn + `2": {"url": "https://rotate.example.com/db"}, "` + arn + `:live": {"builtin": "random", "role": "arn:aws:iam::123456789012:role/a/b"},
		"` + arn + `3": {"image": "registry.example.com:5000/rotate-db@sha256:0123", "role": "` + role + `", "environment": {"AWS_LAMBDA_LOG_LEVEL": "DEBUG"}}}`))
	if err != nil {
		t.Fatal(err)
	}
	if d := all[arn]; len(all) != 4 || all[arn+"3"].Image != "registry.example.com:5000/rotate-db@sha256:0123" || len(d.Command) != 2 || d.Role != role || d.Environment["A"] != "b" || d.Timeout != 30*time.Second {
		t.Errorf("%+v", all)
	}
	one := func(definition string) string { return `{"` + arn + `": ` + definition + `}` }
	for text, want := range map[string]string{
		``:                                       "it is empty",
		`[]`:                                     "it is no object",
		`{} {}`:                                  "something follows",
		`{"rotate": {}}`:                         "arn:aws:lambda:REGION:ACCOUNT:function:NAME",
		one(`{}`):                                "exactly one of builtin, url, command and image",
		one(`[]`):                                "want an object such as",
		one(`{"builtin":"a","url":"https://b"}`): "exactly one",
		one(`{"builtin":"a","bultin":"a"}`):      `unknown field "bultin": the fields are builtin, url`,
		one(`{"builtin":"a","builtin":"b"}`):     "twice",
		one(`{"builtin":1}`):                     "builtin: want a name",
		one(`{"builtin":null}`):                  "builtin: want a name",
		one(`{"builtin":"a"}`):                   "role: want the ARN of a role",
		one(`{"builtin":"a","role":"arn:aws:iam::210987654321:role/r"}`):                                         "role: it is of account 210987654321",
		one(`{"url":"https://b","environment":{"A":"b"}}`):                                                       "environment: an endpoint",
		one(`{"builtin":"a","role":"` + role + `","timeout":"1h"}`):                                              "timeout:",
		one(`{"builtin":"a","role":"` + role + `","timeout":30}`):                                                `timeout: want "30s"`,
		one(`{"url":"ftp://b"}`):                                                                                 "url: want",
		one(`{"url":"https://user:password@b"}`):                                                                 "url: it must not hold a password",
		one(`{"url":"https://b","role":"` + role + `"}`):                                                         "credentials of its own",
		one(`{"command":["rotate"],"role":"` + role + `"}`):                                                      "no absolute path",
		one(`{"command":"/bin/rotate","role":"` + role + `"}`):                                                   "command: want a list",
		one(`{"command":["/r"],"role":"` + role + `","environment":{"AWS_REGION":"x"}}`):                         "AWS_REGION is what malote gives",
		one(`{"command":["/r"],"role":"` + role + `","environment":{"A=B":"x"}}`):                                "no name of a variable",
		one(`{"image":"rotate","command":["/r"],"role":"` + role + `"}`):                                         "exactly one",
		one(`{"image":"rotate"}`):                                                                                "role: want the ARN of a role",
		one(`{"image":"rotate db","role":"` + role + `"}`):                                                       `image: want a name such as "registry`,
		one(`{"image":"rotate","role":"` + role + `","environment":{"SECRETS_MANAGER_ENDPOINT":"x"}}`):           "SECRETS_MANAGER_ENDPOINT is what malote gives",
		one(`{"image":"rotate","role":"` + role + `","environment":{"AWS_CONTAINER_CREDENTIALS_FULL_URI":"x"}}`): "is what malote gives",
	} {
		_, err := functions.ParseFile([]byte(text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want one with %q", text, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "user:password") {
			t.Errorf("%v shows a password", err)
		}
	}
}

// What is read is complete, and reading is decided by nothing but the text.
func FuzzParseFile(f *testing.F) {
	f.Add([]byte(`{"` + arn + `": {"command": ["/bin/rotate"], "role": "` + role + `", "environment": {"A": "b"}, "timeout": "30s"}}`))
	f.Add([]byte(`{"` + arn + `": {"url": "https://rotate.example.com/db"}}`))
	f.Add([]byte(`{"` + arn + `": {"builtin": "random", "role": "` + role + `"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		all, err := functions.ParseFile(data)
		if err != nil {
			return
		}
		if !json.Valid(data) {
			t.Fatalf("read what is no JSON: %q", data)
		}
		for arn, d := range all {
			if !strings.HasPrefix(arn, "arn:aws:lambda:") || d.URL == "" && d.Role == "" || d.Timeout < 0 || d.Timeout > functions.MaxTimeout {
				t.Fatalf("%q: %+v", arn, d)
			}
		}
	})
}
