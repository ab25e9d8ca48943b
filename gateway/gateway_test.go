package gateway_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	smtypes "github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	ststypes "github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"

	"github.com/malote/malote/caller"
	"github.com/malote/malote/gateway"
)

const (
	aliceKey    = "AKIAALICE"
	aliceSecret = "alice's secret"
	roleKey     = "ASIAROLE"
	roleSecret  = "the session's secret"
	roleToken   = "token/of+the=session"
	canary      = "c4n4ry-correct-horse"
)

var errBackend = errors.New("the disk at /data says no to " + canary)

// secrets, keys and so on are small services: enough of each to see a protocol through.
type secrets struct{}

func (secrets) GetSecretValue(ctx context.Context, in *secretsmanager.GetSecretValueInput) (*secretsmanager.GetSecretValueOutput, error) {
	switch *in.SecretId {
	case "missing":
		return nil, fmt.Errorf("looking: %w", &smtypes.ResourceNotFoundException{Message: aws.String("Secrets Manager can't find the specified secret.")})
	case "agent":
		return &secretsmanager.GetSecretValueOutput{SecretString: aws.String(caller.From(ctx).UserAgent)}, nil
	case "denied":
		return nil, &smithy.GenericAPIError{Code: "AccessDeniedException", Message: "User: x is not authorized"}
	case "broken":
		return nil, errBackend
	case "panic":
		panic(canary)
	case "crash":
		var m map[string]int
		m[*in.SecretId] = 1
	case "nothing":
		return nil, nil
	case "who":
		r := caller.From(ctx)
		return &secretsmanager.GetSecretValueOutput{SecretString: aws.String(fmt.Sprintf("%s %s %s %s %s secure=%t ua=%t time=%t %s", r.Principal.ARN, r.Region, r.Service, r.Operation, r.SourceIP, r.Secure, r.UserAgent != "", !r.Time.IsZero(), r.ID))}, nil
	}
	return &secretsmanager.GetSecretValueOutput{Name: in.SecretId, SecretString: aws.String(canary), SecretBinary: []byte{0, 0xff}, CreatedDate: aws.Time(time.UnixMilli(1569534789046)), VersionStages: []string{"AWSCURRENT"}}, nil
}

func (secrets) PutSecretValue(_ context.Context, in *secretsmanager.PutSecretValueInput) (*secretsmanager.PutSecretValueOutput, error) {
	return &secretsmanager.PutSecretValueOutput{Name: in.SecretId, VersionId: in.ClientRequestToken, VersionStages: []string{string(in.SecretBinary), aws.ToString(in.SecretString)}}, nil
}

func (secrets) TagResource(context.Context, *secretsmanager.TagResourceInput) (*secretsmanager.TagResourceOutput, error) {
	return &secretsmanager.TagResourceOutput{}, nil
}

type keys struct{}

func (keys) Encrypt(_ context.Context, in *kms.EncryptInput) (*kms.EncryptOutput, error) {
	return &kms.EncryptOutput{CiphertextBlob: in.Plaintext, KeyId: aws.String(in.EncryptionContext["Purpose"])}, nil
}

func (keys) Decrypt(context.Context, *kms.DecryptInput) (*kms.DecryptOutput, error) {
	return nil, &kmstypes.InvalidCiphertextException{}
}

func (keys) CreateKey(_ context.Context, in *kms.CreateKeyInput) (*kms.CreateKeyOutput, error) {
	return &kms.CreateKeyOutput{KeyMetadata: &kmstypes.KeyMetadata{KeyId: aws.String("k"), KeySpec: in.KeySpec}}, nil
}

func (keys) DescribeKey(context.Context, *kms.DescribeKeyInput) (*kms.DescribeKeyOutput, error) {
	return nil, &kmstypes.DependencyTimeoutException{Message: aws.String("slow")}
}

type identities struct{}

func (identities) CreateRole(_ context.Context, in *iam.CreateRoleInput) (*iam.CreateRoleOutput, error) {
	if *in.RoleName == "taken" {
		return nil, &iamtypes.EntityAlreadyExistsException{Message: aws.String("Role with name taken already exists.")}
	}
	return &iam.CreateRoleOutput{Role: &iamtypes.Role{
		RoleName: in.RoleName, Path: in.Path, AssumeRolePolicyDocument: in.AssumeRolePolicyDocument, Tags: in.Tags, MaxSessionDuration: in.MaxSessionDuration,
		CreateDate: aws.Time(time.Date(2026, 1, 2, 3, 4, 5, 6e8, time.UTC)), Arn: aws.String("arn:aws:iam::123456789012:role/a"), RoleId: aws.String("AROA"),
	}}, nil
}

func (identities) DeleteRole(_ context.Context, in *iam.DeleteRoleInput) (*iam.DeleteRoleOutput, error) {
	switch *in.RoleName {
	case "session":
		return nil, &smithy.GenericAPIError{Code: "InvalidClientTokenId", Message: "The security token included in the request is invalid."}
	case "denied":
		return nil, &smithy.GenericAPIError{Code: "AccessDeniedException", Message: "User: x is not authorized"}
	case "broken":
		return nil, errBackend
	}
	return &iam.DeleteRoleOutput{}, nil
}

func (identities) ListRoles(context.Context, *iam.ListRolesInput) (*iam.ListRolesOutput, error) {
	return &iam.ListRolesOutput{Roles: []iamtypes.Role{}}, nil
}

func (identities) GetAccountSummary(context.Context, *iam.GetAccountSummaryInput) (*iam.GetAccountSummaryOutput, error) {
	return &iam.GetAccountSummaryOutput{SummaryMap: map[string]int32{"Users": 2, "Roles": 1}}, nil
}

type tokens struct{}

func (tokens) GetCallerIdentity(ctx context.Context, _ *sts.GetCallerIdentityInput) (*sts.GetCallerIdentityOutput, error) {
	return &sts.GetCallerIdentityOutput{Arn: aws.String(caller.From(ctx).Principal.ARN)}, nil
}

func (tokens) AssumeRole(_ context.Context, in *sts.AssumeRoleInput) (*sts.AssumeRoleOutput, error) {
	return &sts.AssumeRoleOutput{SourceIdentity: aws.String(*in.PolicyArns[0].Arn + *in.Tags[0].Value)}, nil
}

type containers struct{}

func (containers) RegisterTaskDefinition(_ context.Context, in *ecs.RegisterTaskDefinitionInput) (*ecs.RegisterTaskDefinitionOutput, error) {
	return &ecs.RegisterTaskDefinitionOutput{TaskDefinition: &ecstypes.TaskDefinition{Family: in.Family, ContainerDefinitions: in.ContainerDefinitions}, Tags: in.Tags}, nil
}

func (containers) DescribeServices(context.Context, *ecs.DescribeServicesInput) (*ecs.DescribeServicesOutput, error) {
	return &ecs.DescribeServicesOutput{Services: []ecstypes.Service{{ServiceName: aws.String("s")}}, Failures: []ecstypes.Failure{}}, nil
}

func (containers) StopTask(context.Context, *ecs.StopTaskInput) (*ecs.StopTaskOutput, error) {
	return nil, &ecstypes.ConflictException{Message: aws.String("busy"), ResourceIds: []string{"a"}}
}

func services() []gateway.Service {
	return []gateway.Service{{Name: "secretsmanager", Impl: secrets{}}, {Name: "kms", Impl: keys{}}, {Name: "iam", Impl: identities{}}, {Name: "sts", Impl: tokens{}}, {Name: "ecs", Impl: containers{}}}
}

// directory knows one user and one session.
type directory struct{}

func (directory) Lookup(_ context.Context, key, token string) (*gateway.Credential, error) {
	switch {
	case key == aliceKey && token == "":
		return &gateway.Credential{SecretAccessKey: aliceSecret, Principal: &caller.Principal{Type: caller.User, Account: "123456789012", ARN: "arn:aws:iam::123456789012:user/alice"}}, nil
	case key == roleKey && token == roleToken:
		return &gateway.Credential{SecretAccessKey: roleSecret, Principal: &caller.Principal{Type: caller.AssumedRole, ARN: "arn:aws:sts::123456789012:assumed-role/app/s"}}, nil
	case key == roleKey && token == "expired":
		return nil, gateway.ErrExpiredToken
	case key == roleKey && token == "ending":
		return &gateway.Credential{SecretAccessKey: roleSecret, Principal: &caller.Principal{ARN: "x"}, Expires: time.Unix(1, 0)}, nil
	case key == roleKey:
		return nil, fmt.Errorf("session: %w", gateway.ErrInvalidToken)
	case key == "BROKEN":
		return nil, errBackend
	}
	return nil, gateway.ErrUnknownKey
}

// world is a gateway on a socket and what it logged.
type world struct {
	url string
	mu  sync.Mutex
	log bytes.Buffer
}

func (w *world) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.Write(b)
}

func (w *world) logged() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.String()
}

func start(t testing.TB, change func(*gateway.Config)) *world {
	t.Helper()
	w := &world{}
	cfg := gateway.Config{Services: services(), Credentials: directory{}, Log: slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	if change != nil {
		change(&cfg)
	}
	h, err := gateway.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	w.url = server.URL
	// Nothing that is logged, in any test, has a value in it.
	t.Cleanup(func() {
		for line := range strings.Lines(w.logged()) {
			if strings.Contains(line, canary) && !strings.Contains(line, "the disk at") {
				t.Errorf("a value is in the log: %s", line)
			}
		}
	})
	return w
}

func (w *world) config(key, secret, token string) aws.Config {
	return aws.Config{Region: "eu-central-1", Credentials: credentials.NewStaticCredentialsProvider(key, secret, token), BaseEndpoint: aws.String(w.url), RetryMaxAttempts: 1}
}

func (w *world) alice() aws.Config { return w.config(aliceKey, aliceSecret, "") }

func TestSDKClients(t *testing.T) {
	t.Parallel()
	w := start(t, nil)
	ctx := t.Context()

	t.Run("secretsmanager", func(t *testing.T) {
		client := secretsmanager.NewFromConfig(w.alice())
		out, err := client.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: aws.String("a")})
		if err != nil {
			t.Fatal(err)
		}
		if *out.SecretString != canary || !bytes.Equal(out.SecretBinary, []byte{0, 0xff}) || out.CreatedDate.UnixMilli() != 1569534789046 || out.VersionStages[0] != "AWSCURRENT" || out.VersionId != nil {
			t.Errorf("GetSecretValue = %+v", out)
		}
		put, err := client.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{SecretId: aws.String("a"), SecretBinary: []byte("bin")})
		if err != nil || len(*put.VersionId) != 36 || put.VersionStages[0] != "bin" {
			t.Errorf("PutSecretValue = %+v, %v", put, err)
		}
		if _, err := client.TagResource(ctx, &secretsmanager.TagResourceInput{SecretId: aws.String("a"), Tags: []smtypes.Tag{}}); err != nil {
			t.Errorf("TagResource: %v", err)
		}
		_, err = client.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: aws.String("missing")})
		var missing *smtypes.ResourceNotFoundException
		if !errors.As(err, &missing) || *missing.Message != "Secrets Manager can't find the specified secret." {
			t.Errorf("error = %v", err)
		}
		if id := requestID(err); len(id) != 36 {
			t.Errorf("request id = %q", id)
		}
	})
	t.Run("kms", func(t *testing.T) {
		client := kms.NewFromConfig(w.alice())
		out, err := client.Encrypt(ctx, &kms.EncryptInput{KeyId: aws.String("k"), Plaintext: []byte("p"), EncryptionContext: map[string]string{"Purpose": "this", "purpose": "that"}})
		if err != nil || string(out.CiphertextBlob) != "p" || *out.KeyId != "this" {
			t.Errorf("Encrypt = %+v, %v", out, err)
		}
		_, err = client.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: []byte("x")})
		var invalid *kmstypes.InvalidCiphertextException
		if !errors.As(err, &invalid) || invalid.Message != nil {
			t.Errorf("error = %v", err)
		}
		_, err = client.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: aws.String("k")})
		if status(err) != 500 {
			t.Errorf("status of a server's fault = %d", status(err))
		}
	})
	t.Run("iam", func(t *testing.T) {
		client := iam.NewFromConfig(w.alice())
		out, err := client.CreateRole(ctx, &iam.CreateRoleInput{RoleName: aws.String("a"), Path: aws.String("/x/"), MaxSessionDuration: aws.Int32(3600), AssumeRolePolicyDocument: aws.String(`{"a":"<&>"}`), Tags: []iamtypes.Tag{{Key: aws.String("k"), Value: aws.String("v w")}, {Key: aws.String("l"), Value: aws.String("")}}})
		if err != nil {
			t.Fatal(err)
		}
		r := out.Role
		if *r.RoleName != "a" || *r.Path != "/x/" || *r.MaxSessionDuration != 3600 || *r.AssumeRolePolicyDocument != `{"a":"<&>"}` || len(r.Tags) != 2 || *r.Tags[0].Value != "v w" || r.CreateDate.Format(time.RFC3339Nano) != "2026-01-02T03:04:05Z" {
			t.Errorf("CreateRole = %+v", r)
		}
		_, err = client.CreateRole(ctx, &iam.CreateRoleInput{RoleName: aws.String("taken"), AssumeRolePolicyDocument: aws.String(`{}`)})
		var exists *iamtypes.EntityAlreadyExistsException
		if !errors.As(err, &exists) || *exists.Message != "Role with name taken already exists." || status(err) != 409 {
			t.Errorf("error = %v", err)
		}
		if _, err := client.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: aws.String("a")}); err != nil {
			t.Errorf("DeleteRole: %v", err)
		}
		list, err := client.ListRoles(ctx, &iam.ListRolesInput{})
		if err != nil || len(list.Roles) != 0 || list.IsTruncated {
			t.Errorf("ListRoles = %+v, %v", list, err)
		}
		summary, err := client.GetAccountSummary(ctx, &iam.GetAccountSummaryInput{})
		if err != nil || summary.SummaryMap["Users"] != 2 {
			t.Errorf("GetAccountSummary = %+v, %v", summary, err)
		}
	})
	t.Run("sts", func(t *testing.T) {
		client := sts.NewFromConfig(w.config(roleKey, roleSecret, roleToken))
		out, err := client.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
		if err != nil || *out.Arn != "arn:aws:sts::123456789012:assumed-role/app/s" {
			t.Errorf("GetCallerIdentity = %+v, %v", out, err)
		}
		presigned, err := sts.NewPresignClient(client).PresignGetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.Get(presigned.URL)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body, _ := io.ReadAll(response.Body)
		if !strings.Contains(string(body), "<Arn>arn:aws:sts::123456789012:assumed-role/app/s</Arn>") {
			t.Errorf("presigned: %s", body)
		}
		role, err := client.AssumeRole(ctx, &sts.AssumeRoleInput{RoleArn: aws.String("arn:aws:iam::123456789012:role/x"), RoleSessionName: aws.String("ss"),
			PolicyArns: []ststypes.PolicyDescriptorType{{Arn: aws.String("arn:aws:iam::aws:policy/x")}}, Tags: []ststypes.Tag{{Key: aws.String("k"), Value: aws.String("v")}}})
		if err != nil || *role.SourceIdentity != "arn:aws:iam::aws:policy/xv" {
			t.Errorf("AssumeRole = %+v, %v", role, err)
		}
	})
	t.Run("ecs", func(t *testing.T) {
		client := ecs.NewFromConfig(w.alice())
		in := &ecs.RegisterTaskDefinitionInput{Family: aws.String("f"), ContainerDefinitions: []ecstypes.ContainerDefinition{{
			Name: aws.String("c"), Image: aws.String("i"), Essential: aws.Bool(true), DockerLabels: map[string]string{"Com.X": "1"},
			Secrets: []ecstypes.Secret{{Name: aws.String("S"), ValueFrom: aws.String("arn")}}}}}
		out, err := client.RegisterTaskDefinition(ctx, in)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(in.ContainerDefinitions, out.TaskDefinition.ContainerDefinitions, cmp.Exporter(func(reflect.Type) bool { return true })); diff != "" {
			t.Error(diff)
		}
		described, err := client.DescribeServices(ctx, &ecs.DescribeServicesInput{Services: []string{"s"}})
		if err != nil || described.Services[0].RunningCount != 0 || described.Failures == nil {
			t.Errorf("DescribeServices = %+v, %v", described, err)
		}
		_, err = client.StopTask(ctx, &ecs.StopTaskInput{Task: aws.String("t")})
		var conflict *ecstypes.ConflictException
		if !errors.As(err, &conflict) || len(conflict.ResourceIds) != 1 {
			t.Errorf("error = %v", err)
		}
	})
}

func requestID(err error) string {
	var response interface{ ServiceRequestID() string }
	if errors.As(err, &response) {
		return response.ServiceRequestID()
	}
	return ""
}

func status(err error) int {
	var response interface{ HTTPStatusCode() int }
	if errors.As(err, &response) {
		return response.HTTPStatusCode()
	}
	return 0
}

func TestCaller(t *testing.T) {
	t.Parallel()
	w := start(t, nil)
	out, err := secretsmanager.NewFromConfig(w.alice()).GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: aws.String("who")})
	if err != nil {
		t.Fatal(err)
	}
	want := "arn:aws:iam::123456789012:user/alice eu-central-1 secretsmanager GetSecretValue 127.0.0.1 secure=false ua=true time=true "
	if got := *out.SecretString; !strings.HasPrefix(got, want) || len(got) != len(want)+36 {
		t.Errorf("caller = %q, want %q and a request id", got, want)
	}
}

// request is a raw one, signed now unless it says otherwise.
type request struct {
	method, path, target, contentType, body string
	service, region                         string
	key, secret, token                      string
	at                                      time.Time
	unsigned                                bool
	change                                  func(*http.Request) // after it was signed
}

// Who has not said who it is cannot have much memory taken for it, whatever the form.
func TestFormsOfStrangers(t *testing.T) {
	g, err := gateway.New(gateway.Config{Services: services(), Credentials: directory{}})
	if err != nil {
		t.Fatal(err)
	}
	var body strings.Builder
	for i := 0; body.Len() < gateway.DefaultMaxBody-100; i++ {
		fmt.Fprintf(&body, "%d%s=1&", i, strings.Repeat(".a", 32))
	}
	before := new(runtime.MemStats)
	runtime.ReadMemStats(before)
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body.String()))
	r.Header.Set("Content-Type", form)
	w := httptest.NewRecorder()
	g.ServeHTTP(w, r)
	after := new(runtime.MemStats)
	runtime.ReadMemStats(after)
	if taken := (after.TotalAlloc - before.TotalAlloc) >> 20; taken > 16 {
		t.Errorf("%d MiB for a body of one", taken)
	}
	if w.Code < 400 {
		t.Errorf("status = %d", w.Code)
	}
}

// A user agent is recorded as far as CloudTrail does.
func TestLongUserAgent(t *testing.T) {
	t.Parallel()
	w := start(t, nil)
	_, body := request{target: getSecret, body: `{"SecretId":"agent"}`, change: func(r *http.Request) { r.Header.Set("User-Agent", strings.Repeat("a", 5000)) }}.send(t, w.url)
	if want := `{"SecretString":"` + strings.Repeat("a", 1024) + `"}`; body != want {
		t.Errorf("%d bytes: %.100s", len(body), body)
	}
}

// signedRequest is a request of alice's.
func signedRequest(t testing.TB, ctx context.Context, method, url, service, body string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	sign(t, r, service, body)
	return r
}

// sign signs a request as alice, with the headers that it has.
func sign(t testing.TB, r *http.Request, service, body string) {
	t.Helper()
	sum := sha256.Sum256([]byte(body))
	if err := v4.NewSigner().SignHTTP(r.Context(), aws.Credentials{AccessKeyID: aliceKey, SecretAccessKey: aliceSecret}, r, hex.EncodeToString(sum[:]), service, "us-east-1", time.Now()); err != nil {
		t.Fatal(err)
	}
}

func (q request) send(t testing.TB, base string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), cmpOr(q.method, "POST"), base+cmpOr(q.path, "/"), strings.NewReader(q.body))
	if err != nil {
		t.Fatal(err)
	}
	if q.target != "" {
		r.Header.Set("X-Amz-Target", q.target)
		q.contentType = cmpOr(q.contentType, "application/x-amz-json-1.1")
	}
	if q.contentType != "" {
		r.Header.Set("Content-Type", q.contentType)
	}
	if q.at.IsZero() {
		q.at = time.Now()
	}
	if !q.unsigned {
		if q.key == "" {
			q.key, q.secret = aliceKey, aliceSecret
		}
		sum := sha256.Sum256([]byte(q.body))
		credentials := aws.Credentials{AccessKeyID: q.key, SecretAccessKey: q.secret, SessionToken: q.token}
		if err := v4.NewSigner().SignHTTP(t.Context(), credentials, r, hex.EncodeToString(sum[:]), cmpOr(q.service, "secretsmanager"), cmpOr(q.region, "us-east-1"), q.at); err != nil {
			t.Fatal(err)
		}
	}
	if q.change != nil {
		q.change(r)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(body)
}

func cmpOr(s, or string) string {
	if s == "" {
		return or
	}
	return s
}

const (
	getSecret = "secretsmanager.GetSecretValue"
	form      = "application/x-www-form-urlencoded; charset=utf-8"
)

// What a client sees on the wire when something is wrong, byte for byte. RID stands for
// the request's id.
func TestErrorsOnTheWire(t *testing.T) {
	t.Parallel()
	w := start(t, func(c *gateway.Config) { c.Regions = []string{"us-east-1", "eu-central-1"}; c.MaxBody = 1000 })
	const deleteRole = "Action=DeleteRole&Version=2010-05-08&RoleName=a"
	iamError := func(fault, code, text string) string {
		return `<ErrorResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><Error><Type>` + fault + `</Type><Code>` + code + `</Code><Message>` + text + `</Message></Error><RequestId>RID</RequestId></ErrorResponse>` + "\n"
	}
	tamper := func(r *http.Request) {
		r.Header.Set("X-Amz-Date", time.Now().Add(time.Second).UTC().Format("20060102T150405Z"))
	}
	const mismatch = "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details."
	for _, tt := range []struct {
		name   string
		q      request
		status int
		want   string // a prefix when it ends in an ellipsis
	}{
		{"no signature", request{target: getSecret, body: `{}`, unsigned: true}, 400, `{"__type":"MissingAuthenticationTokenException","Message":"Missing Authentication Token"}`},
		{"no signature, query", request{contentType: form, body: deleteRole, unsigned: true}, 403, iamError("Sender", "MissingAuthenticationToken", "Request is missing Authentication Token")},
		{"unknown key", request{target: getSecret, body: `{}`, key: "AKIANOBODY", secret: "x"}, 400, `{"__type":"UnrecognizedClientException","Message":"The security token included in the request is invalid."}`},
		{"unknown key, query", request{contentType: form, body: deleteRole, service: "iam", key: "AKIANOBODY", secret: "x"}, 403, iamError("Sender", "InvalidClientTokenId", "The security token included in the request is invalid.")},
		{"session key without its token", request{target: "TrentService.Encrypt", service: "kms", body: `{}`, key: roleKey, secret: roleSecret}, 400, `{"__type":"UnrecognizedClientException","message":"The security token included in the request is invalid."}`},
		{"expired token", request{target: getSecret, body: `{}`, key: roleKey, secret: roleSecret, token: "expired"}, 400, `{"__type":"ExpiredTokenException","Message":"The security token included in the request is expired"}`},
		{"credential past its end", request{target: getSecret, body: `{}`, key: roleKey, secret: roleSecret, token: "ending"}, 400, `{"__type":"ExpiredTokenException","Message":"The security token included in the request is expired"}`},
		{"expired token, query", request{contentType: form, body: deleteRole, service: "iam", key: roleKey, secret: roleSecret, token: "expired"}, 403, iamError("Sender", "ExpiredToken", "The security token included in the request is expired")},
		{"wrong secret", request{target: getSecret, body: `{}`, key: aliceKey, secret: "x"}, 400, `{"__type":"InvalidSignatureException","Message":"` + mismatch + `"}`},
		{"wrong secret, query", request{contentType: form, body: deleteRole, service: "iam", key: aliceKey, secret: "x"}, 403, iamError("Sender", "SignatureDoesNotMatch", mismatch)},
		{"altered after signing", request{target: getSecret, body: `{}`, change: tamper}, 400, `{"__type":"InvalidSignatureException","Message":"` + mismatch + `"}`},
		{"another operation after signing", request{target: getSecret, body: `{}`, change: func(r *http.Request) { r.Header.Set("X-Amz-Target", "secretsmanager.PutSecretValue") }}, 400, `{"__type":"InvalidSignatureException","Message":"` + mismatch + `"}`},
		{"an operation named after signing", request{body: `{}`, change: func(r *http.Request) { r.Header.Set("X-Amz-Target", getSecret) }}, 400, `{"__type":"InvalidSignatureException","Message":"'X-Amz-Target' must be a 'SignedHeader' in the AWS Authorization."}`},
		{"old", request{target: getSecret, body: `{}`, at: time.Now().Add(-6 * time.Minute)}, 400, `{"__type":"InvalidSignatureException","Message":"Signature expired: …`},
		{"early", request{target: getSecret, body: `{}`, at: time.Now().Add(6 * time.Minute)}, 400, `{"__type":"InvalidSignatureException","Message":"Signature not yet current: …`},
		{"query has a longer window", request{contentType: form, body: deleteRole, service: "iam", at: time.Now().Add(-14 * time.Minute)}, 200, `<DeleteRoleResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><ResponseMetadata><RequestId>RID</RequestId></ResponseMetadata></DeleteRoleResponse>` + "\n"},
		{"old, query", request{contentType: form, body: deleteRole, service: "iam", at: time.Now().Add(-16 * time.Minute)}, 403, `<ErrorResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><Error><Type>Sender</Type><Code>SignatureDoesNotMatch</Code><Message>Signature expired: …`},
		{"another service's scope", request{target: getSecret, body: `{}`, service: "kms"}, 400, `{"__type":"InvalidSignatureException","Message":"Credential should be scoped to correct service: 'secretsmanager'. "}`},
		{"a region that is not served", request{target: getSecret, body: `{}`, region: "mars-north-1"}, 400, `{"__type":"InvalidSignatureException","Message":"Credential should be scoped to a valid region. "}`},
		{"malformed header", request{target: getSecret, body: `{}`, change: func(r *http.Request) { r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential") }}, 400, `{"__type":"IncompleteSignatureException","Message":"'Credential' not a valid key=value pair (missing equal-sign) in Authorization header: 'AWS4-HMAC-SHA256 Credential'."}`},
		{"malformed header, query", request{contentType: form, body: deleteRole, service: "iam", change: func(r *http.Request) { r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential") }}, 400, iamError("Sender", "IncompleteSignature", "'Credential' not a valid key=value pair (missing equal-sign) in Authorization header: 'AWS4-HMAC-SHA256 Credential'.")},
		{"credentials cannot be looked up", request{target: getSecret, body: `{}`, key: "BROKEN", secret: "x"}, 500, `{"__type":"InternalServiceError","Message":"An error occurred on the server side."}`},

		{"no such service", request{target: "DynamoDB_20120810.GetItem", body: `{}`, service: "dynamodb"}, 400, `{"__type":"UnknownOperationException","message":"No service here has this target."}`},
		{"no such operation", request{target: "secretsmanager.Nonsense", body: `{}`}, 400, `{"__type":"UnknownOperationException"}`},
		{"an operation of AWS's that is not done", request{target: "secretsmanager.RotateSecret", body: `{}`}, 400, `{"__type":"UnknownOperationException","Message":"The operation RotateSecret is not supported here."}`},
		{"no such action", request{contentType: form, body: "Action=Nonsense&Version=2010-05-08", service: "iam"}, 400, iamError("Sender", "InvalidAction", "Could not find operation Nonsense for version 2010-05-08")},
		{"no action", request{contentType: form, body: "Version=2010-05-08", service: "iam"}, 400, iamError("Sender", "MissingAction", "The request is missing an action or a required parameter.")},
		{"neither target nor action", request{body: "x"}, 400, `{"__type":"UnknownOperationException"}`},
		{"another path", request{method: "GET", path: "/favicon.ico", unsigned: true}, 404, `{"__type":"UnknownOperationException"}`},
		{"nothing", request{method: "POST", unsigned: true}, 404, `{"__type":"UnknownOperationException"}`},

		{"no JSON", request{target: getSecret, body: `{"SecretId":`}, 400, `{"__type":"SerializationException","Message":"Unable to parse the request as JSON."}`},
		{"wrong type", request{target: getSecret, body: `{"SecretId":1}`}, 400, `{"__type":"SerializationException","Message":"NUMBER_VALUE cannot be converted to String"}`},
		{"malformed form", request{contentType: form, body: "Action=%zz", service: "iam"}, 400, iamError("Sender", "MalformedQueryString", "The query string contains a syntax error.")},
		{"too large, query", request{contentType: form, body: "Action=" + strings.Repeat("x", 1001), service: "iam"}, 413, iamError("Sender", "RequestEntityTooLargeException", "Request size exceeded 1000 bytes")},
		{"action in the URL", request{path: "/?Action=DeleteRole&Version=2010-05-08&RoleName=denied", service: "iam"}, 403, iamError("Sender", "AccessDenied", "User: x is not authorized")},
		{"too large", request{target: getSecret, body: strings.Repeat(" ", 1001)}, 413, `{"__type":"RequestEntityTooLargeException","Message":"Request size exceeded 1000 bytes"}`},
		{"too large, in chunks", request{target: getSecret, body: "{}", change: func(r *http.Request) {
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader(strings.Repeat(" ", 5000))), -1
		}}, 413, `{"__type":"RequestEntityTooLargeException","Message":"Request size exceeded 1000 bytes"}`},

		{"a required member is missing", request{target: getSecret, body: `{}`}, 400, `{"__type":"ValidationException","Message":"1 validation error detected: Value null at 'secretId' failed to satisfy constraint: Member must not be null"}`},
		{"too short", request{target: getSecret, body: `{"SecretId":""}`}, 400, `{"__type":"ValidationException","Message":"1 validation error detected: Value '' at 'secretId' failed to satisfy constraint: Member must have length greater than or equal to 1"}`},
		{"sensitive values are not shown", request{target: "TrentService.Encrypt", service: "kms", body: `{"KeyId":"k","Plaintext":""}`}, 400, `{"__type":"ValidationException","message":"1 validation error detected: Value at 'plaintext' failed to satisfy constraint: Member must have length greater than or equal to 1"}`},
		{"in a list", request{target: "TrentService.CreateKey", service: "kms", body: `{"Tags":[{"TagKey":"","TagValue":""}]}`}, 400, `{"__type":"ValidationException","message":"1 validation error detected: Value '' at 'tags.1.member.tagKey' failed to satisfy constraint: Member must have length greater than or equal to 1"}`},
		{"an enumeration", request{target: "TrentService.CreateKey", service: "kms", body: `{"Origin":"MOON"}`}, 400, `{"__type":"ValidationException","message":"1 validation error detected: Value 'MOON' at 'origin' failed to satisfy constraint: Member must satisfy enum value set: [AWS_KMS, EXTERNAL, AWS_CLOUDHSM, EXTERNAL_KEY_STORE]"}`},
		{"a pattern", request{contentType: form, body: "Action=DeleteRole&Version=2010-05-08&RoleName=a:b", service: "iam"}, 400, iamError("Sender", "ValidationError", `1 validation error detected: Value 'a:b' at 'roleName' failed to satisfy constraint: Member must satisfy regular expression pattern: [\w+=,.@-]+`)},
		{"two at once", request{contentType: form, body: "Action=DeleteRole&Version=2010-05-08&RoleName=", service: "iam"}, 400, iamError("Sender", "ValidationError", `2 validation errors detected: Value '' at 'roleName' failed to satisfy constraint: Member must have length greater than or equal to 1; Value '' at 'roleName' failed to satisfy constraint: Member must satisfy regular expression pattern: [\w+=,.@-]+`)},
		{"what Secrets Manager says itself", request{target: "secretsmanager.PutSecretValue", body: `{"SecretId":"a","SecretString":""}`}, 200, `{"Name":"a","VersionStages":["",""]}`},
		{"what ECS says itself", request{target: "AmazonEC2ContainerServiceV20141113.RegisterTaskDefinition", service: "ecs", body: `{}`}, 400, `{"__type":"ClientException","message":"Container list cannot be empty."}`},
		{"ECS's code", request{target: "AmazonEC2ContainerServiceV20141113.StopTask", service: "ecs", body: `{}`}, 400, `{"__type":"InvalidParameterException","message":"1 validation error detected: Value null at 'task' failed to satisfy constraint: Member must not be null"}`},
		{"no integer", request{contentType: form, body: "Action=ListRoles&Version=2010-05-08&MaxItems=many", service: "iam"}, 400, iamError("Sender", "MalformedInput", "The parameter MaxItems is not a valid integer.")},

		{"not found", request{target: getSecret, body: `{"SecretId":"missing"}`}, 400, `{"__type":"ResourceNotFoundException","Message":"Secrets Manager can't find the specified secret."}`},
		{"denied", request{target: getSecret, body: `{"SecretId":"denied"}`}, 400, `{"__type":"AccessDeniedException","Message":"User: x is not authorized"}`},
		{"credentials that are no good here", request{contentType: form, body: "Action=DeleteRole&Version=2010-05-08&RoleName=session", service: "iam"}, 403, iamError("Sender", "InvalidClientTokenId", "The security token included in the request is invalid.")},
		{"denied, query", request{contentType: form, body: "Action=DeleteRole&Version=2010-05-08&RoleName=denied", service: "iam"}, 403, iamError("Sender", "AccessDenied", "User: x is not authorized")},
		{"an error of ours", request{target: getSecret, body: `{"SecretId":"broken"}`}, 500, `{"__type":"InternalServiceError","Message":"An error occurred on the server side."}`},
		{"an error of ours, query", request{contentType: form, body: "Action=DeleteRole&Version=2010-05-08&RoleName=broken", service: "iam"}, 500, iamError("Receiver", "ServiceFailure", "An error occurred on the server side.")},
		{"a panic", request{target: getSecret, body: `{"SecretId":"panic"}`}, 500, `{"__type":"InternalServiceError","Message":"An error occurred on the server side."}`},
		{"a crash", request{target: getSecret, body: `{"SecretId":"crash"}`}, 500, `{"__type":"InternalServiceError","Message":"An error occurred on the server side."}`},
		{"neither output nor error", request{target: getSecret, body: `{"SecretId":"nothing"}`}, 500, `{"__type":"InternalServiceError","Message":"An error occurred on the server side."}`},
		{"an operation without output", request{target: "secretsmanager.TagResource", body: `{"SecretId":"a","Tags":[]}`}, 200, ``},
		{"IAM is asked in us-east-1 whatever the regions", request{contentType: form, body: "Action=ListRoles&Version=2010-05-08", service: "iam", region: "us-east-1"}, 200, `<ListRolesResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><ListRolesResult><Roles></Roles><IsTruncated>false</IsTruncated></ListRolesResult><ResponseMetadata><RequestId>RID</RequestId></ResponseMetadata></ListRolesResponse>` + "\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			response, body := tt.q.send(t, w.url)
			id := response.Header.Get("x-amzn-RequestId")
			if len(id) != 36 || response.Header.Get("Date") == "" {
				t.Errorf("headers = %v", response.Header)
			}
			if id != "" {
				body = strings.ReplaceAll(body, id, "RID")
			}
			if response.StatusCode != tt.status {
				t.Errorf("status = %d, want %d", response.StatusCode, tt.status)
			}
			want, prefix := strings.CutSuffix(tt.want, "…")
			if body != want && !(prefix && strings.HasPrefix(body, want)) {
				t.Errorf("body = %s\nwant   %s", body, tt.want)
			}
			wantType := "application/x-amz-json-1.1"
			if strings.HasPrefix(body, "<") {
				wantType = "text/xml"
			}
			if got := response.Header.Get("Content-Type"); got != wantType {
				t.Errorf("Content-Type = %q, want %q", got, wantType)
			}
			if code := response.Header.Get("x-amzn-errortype"); response.StatusCode != 200 && wantType != "text/xml" && !strings.Contains(body, `"`+code+`"`) {
				t.Errorf("x-amzn-errortype = %q", code)
			}
			if strings.Contains(body, canary) {
				t.Errorf("the answer shows what is inside")
			}
		})
	}
}

func TestLog(t *testing.T) {
	t.Parallel()
	w := start(t, nil)
	response, _ := request{target: getSecret, body: `{"SecretId":"broken"}`}.send(t, w.url)
	id := response.Header.Get("x-amzn-RequestId")
	var line, cause string
	for deadline := time.Now().Add(5 * time.Second); line == "" && time.Now().Before(deadline); {
		for l := range strings.Lines(w.logged()) {
			if strings.Contains(l, `"msg":"request"`) {
				line = l
			} else {
				cause = l
			}
		}
	}
	for _, want := range []string{`"level":"INFO"`, `"op":"secretsmanager:GetSecretValue"`, `"principal":"arn:aws:iam::123456789012:user/alice"`, `"request_id":"` + id + `"`, `"status":500`, `"duration":`, `"error":"InternalServiceError"`} {
		if !strings.Contains(line, want) {
			t.Errorf("line lacks %s: %s", want, line)
		}
	}
	for _, want := range []string{`"level":"ERROR"`, `"request_id":"` + id + `"`, `the disk at /data says no`} {
		if !strings.Contains(cause, want) {
			t.Errorf("cause lacks %s: %s", want, cause)
		}
	}
}

func TestHealth(t *testing.T) {
	t.Parallel()
	w := start(t, nil)
	for _, path := range []string{"/", "/health"} {
		response, body := request{method: "GET", path: path, unsigned: true}.send(t, w.url)
		if response.StatusCode != 200 || body != "{\"status\":\"ok\"}\n" {
			t.Errorf("GET %s = %d %s", path, response.StatusCode, body)
		}
	}
}

// What is counted is what there is, whatever clients make up.
func TestCounts(t *testing.T) {
	t.Parallel()
	counts := new(gateway.Counts)
	w := start(t, func(c *gateway.Config) {
		c.Counts, c.Handlers = counts, map[string]http.Handler{"/acs": http.NotFoundHandler()}
	})
	get := request{target: getSecret, body: `{"SecretId":"a"}`}
	get.send(t, w.url)
	get.send(t, w.url)
	get.key, get.secret = aliceKey, "of-somebody-else"
	get.send(t, w.url)
	request{target: getSecret, body: `{"SecretId":""}`}.send(t, w.url)
	for i := range 100 {
		request{target: fmt.Sprintf("secretsmanager.Made%d", i), body: `{}`}.send(t, w.url)
		request{target: fmt.Sprintf("made%d.GetSecretValue", i), body: `{}`}.send(t, w.url)
	}
	request{method: "GET", path: "/health", unsigned: true}.send(t, w.url)
	request{method: "GET", path: "/acs", key: aliceKey, secret: "of-somebody-else"}.send(t, w.url) // a handler has no operations
	got := map[gateway.Count]bool{}
	for c := range counts.All() {
		got[c] = true
	}
	want := map[gateway.Count]bool{
		{Service: "secretsmanager", Operation: "GetSecretValue", Code: "ok", N: 2}:                        true,
		{Service: "secretsmanager", Operation: "GetSecretValue", Code: "InvalidSignatureException", N: 1}: true,
		{Service: "secretsmanager", Operation: "GetSecretValue", Code: "ValidationException", N: 1}:       true,
		{Service: "secretsmanager", Operation: "unknown", Code: "UnknownOperationException", N: 100}:      true,
		{Service: "unknown", Operation: "unknown", Code: "UnknownOperationException", N: 100}:             true,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
}

func TestReady(t *testing.T) {
	t.Parallel()
	var reason atomic.Value
	reason.Store("")
	asked := request{method: "GET", path: "/ready", unsigned: true}
	w := start(t, func(c *gateway.Config) { c.Ready = func(context.Context) string { return reason.Load().(string) } })
	if response, body := asked.send(t, w.url); response.StatusCode != 200 || body != "{\"status\":\"ready\"}\n" {
		t.Errorf("GET /ready = %d %s", response.StatusCode, body)
	}
	reason.Store("the store does not answer")
	if response, body := asked.send(t, w.url); response.StatusCode != 503 || body != "{\"status\":\"not ready\",\"reason\":\"the store does not answer\"}\n" {
		t.Errorf("GET /ready = %d %s, want the reason", response.StatusCode, body)
	}
	// It is alive all the same. And a gateway without a Ready is ready.
	if response, _ := (request{method: "GET", path: "/health", unsigned: true}).send(t, w.url); response.StatusCode != 200 {
		t.Errorf("GET /health = %d", response.StatusCode)
	}
	if response, _ := asked.send(t, start(t, nil).url); response.StatusCode != 200 {
		t.Errorf("GET /ready = %d without a Ready", response.StatusCode)
	}
}

// The Date header is the gateway's clock: clients set theirs by it.
func TestClock(t *testing.T) {
	t.Parallel()
	now := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	w := start(t, func(c *gateway.Config) { c.Now = func() time.Time { return now } })
	response, _ := request{target: getSecret, body: `{"SecretId":"a"}`, at: now}.send(t, w.url)
	if response.StatusCode != 200 || response.Header.Get("Date") != "Wed, 02 Jan 2030 03:04:05 GMT" {
		t.Errorf("%d, Date = %s", response.StatusCode, response.Header.Get("Date"))
	}
	// A client whose clock is years behind corrects it and tries again.
	cfg := w.alice()
	cfg.RetryMaxAttempts = 3
	if _, err := secretsmanager.NewFromConfig(cfg).GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: aws.String("a")}); err != nil {
		t.Error(err)
	}
}

type talkative struct{ secrets }

func (talkative) Close() error { return nil }

type inventive struct{}

func (inventive) GetNonsense(context.Context, *GetNonsenseInput) (*GetNonsenseOutput, error) {
	return nil, nil
}

type (
	GetNonsenseInput  struct{}
	GetNonsenseOutput struct{}
)

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		cfg  gateway.Config
		want string
	}{
		{"no credentials", gateway.Config{}, "gateway: no Credentials"},
		{"unknown service", gateway.Config{Credentials: directory{}, Services: []gateway.Service{{Name: "dynamodb", Impl: secrets{}}}}, "gateway: dynamodb is no service of AWS's that is known here"},
		{"twice", gateway.Config{Credentials: directory{}, Services: []gateway.Service{{Name: "kms", Impl: keys{}}, {Name: "kms", Impl: keys{}}}}, "gateway: service kms is given twice"},
		{"handler at the root", gateway.Config{Credentials: directory{}, Handlers: map[string]http.Handler{"/": http.NotFoundHandler()}}, `gateway: no handler can be at "/"`},
	} {
		if _, err := gateway.New(tt.cfg); err == nil || err.Error() != tt.want {
			t.Errorf("%s: New = %v, want %s", tt.name, err, tt.want)
		}
	}
}

func TestCoverageRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		service gateway.Service
		want    string
	}{
		{"unknown service", gateway.Service{Name: "dynamodb", Impl: secrets{}}, "gateway: dynamodb is no service of AWS's that is known here"},
		{"no operation", gateway.Service{Name: "secretsmanager", Impl: talkative{}}, "gateway: gateway_test.talkative.Close is no operation: it is a func() error"},
		{"no operation of AWS's", gateway.Service{Name: "secretsmanager", Impl: inventive{}}, "gateway: gateway_test.inventive.GetNonsense: AWS's secretsmanager has no such operation"},
		{"no implementation", gateway.Service{Name: "kms", Impl: nil}, "gateway: kms has no implementation"},
		{"what there is not, for anybody", gateway.Service{Name: "s3", Impl: struct{}{}, Anonymous: []string{"GetObjects"}}, "gateway: s3.GetObjects: there is no such operation for anybody to ask for"},
	} {
		if _, err := gateway.Coverage(tt.service); err == nil || err.Error() != tt.want {
			t.Errorf("%s: Coverage = %v, want %s", tt.name, err, tt.want)
		}
	}
}

// A service that Coverage refuses fails its requests, and the log says why.
func TestServiceWithAMethodThatIsNoOperation(t *testing.T) {
	t.Parallel()
	w := start(t, func(c *gateway.Config) { c.Services = []gateway.Service{{Name: "secretsmanager", Impl: talkative{}}} })
	response, body := request{target: getSecret, body: `{"SecretId":"a"}`}.send(t, w.url)
	if response.StatusCode != 500 || !strings.Contains(body, "InternalServiceError") || !strings.Contains(w.logged(), "talkative.Close is no operation") {
		t.Errorf("%d %s; logged %s", response.StatusCode, body, w.logged())
	}
}

func TestCoverage(t *testing.T) {
	t.Parallel()
	all, err := gateway.Coverage(gateway.Service{Name: "sts", Impl: tokens{}}, gateway.Service{Name: "kms", Impl: keys{}})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 2 || all[0].Service != "sts" || len(all[0].Operations) != 11 || all[0].Implemented() != 2 || all[1].Implemented() != 4 {
		t.Errorf("Coverage = %+v", all)
	}
}
