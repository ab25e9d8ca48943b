package audit_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/malote/malote/audit"
	"github.com/malote/malote/caller"
	"github.com/malote/malote/policy"
)

// request is a context as the gateway makes it.
func request(t testing.TB) context.Context {
	r := sample()
	return caller.With(t.Context(), &caller.Request{
		ID: r.RequestID, Principal: r.Principal, Region: r.Region, Service: "secretsmanager", Operation: "CreateSecret", SourceIP: r.SourceIP, UserAgent: r.UserAgent,
	})
}

// decide notes a decision as authz does.
func decide(t testing.TB, ctx context.Context, log audit.Log, service, name, resource string, allowed bool) {
	t.Helper()
	c := caller.From(ctx)
	r := audit.Record{
		Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Service: service, Name: name, Operation: c.Operation, Region: c.Region, RequestID: c.ID, Via: c.Via,
		Principal: c.Principal, Resource: resource, Account: "111122223333", Decision: policy.Decision{Allowed: allowed, Layer: policy.LayerIdentity, Action: service + ":" + name},
	}
	if !allowed {
		r.ErrorCode, r.ErrorMessage = "AccessDenied", "not authorized to perform: "+r.Decision.Action
	}
	if err := audit.Note(ctx, log, c, &r); err != nil {
		t.Fatal(err)
	}
}

// told is a record without what is alike in all of them.
type told struct {
	Source, Name, Error, Text, Decision, Action string
	Parameters, Response                        string
	Resources                                   []string
	Decisions                                   int
}

func tell(t testing.TB, line []byte) told {
	t.Helper()
	var raw struct {
		EventSource, EventName, ErrorCode, ErrorMessage string
		RequestParameters, ResponseElements             json.RawMessage
		Resources                                       []struct{ ARN string }
		AdditionalEventData                             struct {
			Decision, Action string
			Decisions        []struct{ Resources []string }
		}
	}
	if err := json.Unmarshal(line, &raw); err != nil {
		t.Fatalf("%v in %s", err, line)
	}
	got := told{
		Source: raw.EventSource, Name: raw.EventName, Error: raw.ErrorCode, Text: raw.ErrorMessage, Decision: raw.AdditionalEventData.Decision, Action: raw.AdditionalEventData.Action,
		Parameters: string(raw.RequestParameters), Response: string(raw.ResponseElements), Decisions: len(raw.AdditionalEventData.Decisions),
	}
	for _, r := range raw.Resources {
		got.Resources = append(got.Resources, r.ARN)
	}
	return got
}

func TestRequests(t *testing.T) {
	t.Parallel()
	const secret, other, key = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:db-AbCdEf", "arn:aws:secretsmanager:eu-west-1:111122223333:secret:x-AbCdEf", "arn:aws:kms:eu-west-1:111122223333:key/k"
	for _, tt := range []struct {
		name string
		act  func(ctx context.Context, log audit.Log)
		code string
		want []told
	}{
		{"one decision", func(ctx context.Context, log audit.Log) {
			decide(t, ctx, log, "secretsmanager", "CreateSecret", secret, true)
		}, "", []told{{Source: "secretsmanager.amazonaws.com", Name: "CreateSecret", Decision: "allowed", Parameters: `{"name":"db"}`, Response: `null`, Resources: []string{secret}}}},
		{"an operation named otherwise than its action", func(ctx context.Context, log audit.Log) {
			decide(t, ctx, log, "s3", "ListBucket", "arn:aws:s3:::b", true)
		}, "", []told{{Source: "secretsmanager.amazonaws.com", Name: "CreateSecret", Decision: "allowed", Action: "s3:ListBucket", Parameters: `{"name":"db"}`, Response: `null`, Resources: []string{"arn:aws:s3:::b"}}}},
		{"several, the last of them denied", func(ctx context.Context, log audit.Log) {
			decide(t, ctx, log, "secretsmanager", "CreateSecret", secret, true)
			decide(t, ctx, log, "secretsmanager", "CreateSecret", other, true)
			decide(t, ctx, log, "secretsmanager", "TagResource", secret, false)
		}, "AccessDeniedException", []told{{Source: "secretsmanager.amazonaws.com", Name: "CreateSecret", Error: "AccessDenied", Text: "not authorized to perform: secretsmanager:TagResource", Decision: "denied",
			Action: "secretsmanager:TagResource", Parameters: `{"name":"db"}`, Response: `null`, Resources: []string{secret, other}, Decisions: 2}}},
		{"a denial that did not matter", func(ctx context.Context, log audit.Log) {
			decide(t, ctx, log, "secretsmanager", "CreateSecret", secret, true)
			decide(t, ctx, log, "secretsmanager", "TagResource", secret, false)
		}, "", []told{{Source: "secretsmanager.amazonaws.com", Name: "CreateSecret", Decision: "allowed", Parameters: `{"name":"db"}`, Response: `null`, Resources: []string{secret}, Decisions: 2}}},
		{"allowed, and failed", func(ctx context.Context, log audit.Log) {
			decide(t, ctx, log, "secretsmanager", "CreateSecret", secret, true)
		}, "ResourceExistsException", []told{{Source: "secretsmanager.amazonaws.com", Name: "CreateSecret", Error: "ResourceExistsException", Text: "the message", Decision: "allowed", Parameters: `{"name":"db"}`, Response: `null`, Resources: []string{secret}}}},
		{"failed before there was anything to decide", func(context.Context, audit.Log) {}, "ValidationException",
			[]told{{Source: "secretsmanager.amazonaws.com", Name: "CreateSecret", Error: "ValidationException", Text: "the message", Decision: "none", Parameters: `{"name":"db"}`, Response: `null`}}},
		{"a call forwarded to KMS, which fails", func(ctx context.Context, log audit.Log) {
			decide(t, ctx, log, "secretsmanager", "CreateSecret", secret, true)
			forwarded := caller.Forward(ctx, "secretsmanager")
			decide(t, forwarded, log, "kms", "GenerateDataKey", key, true)
			audit.Failed(forwarded, "DisabledException", "is disabled")
			audit.Failed(ctx, "Nothing", "of its own")
		}, "EncryptionFailure", []told{
			{Source: "secretsmanager.amazonaws.com", Name: "CreateSecret", Error: "EncryptionFailure", Text: "the message", Decision: "allowed", Parameters: `{"name":"db"}`, Response: `null`, Resources: []string{secret}},
			{Source: "kms.amazonaws.com", Name: "GenerateDataKey", Error: "DisabledException", Text: "is disabled", Decision: "allowed", Parameters: `null`, Response: `null`, Resources: []string{key}},
		}},
		{"a call forwarded to KMS, which is denied", func(ctx context.Context, log audit.Log) {
			decide(t, ctx, log, "secretsmanager", "CreateSecret", secret, true)
			decide(t, caller.Forward(ctx, "secretsmanager"), log, "kms", "GenerateDataKey", key, false)
		}, "AccessDeniedException", []told{
			{Source: "secretsmanager.amazonaws.com", Name: "CreateSecret", Error: "AccessDenied", Text: "the message", Decision: "allowed", Parameters: `{"name":"db"}`, Response: `null`, Resources: []string{secret}},
			{Source: "kms.amazonaws.com", Name: "GenerateDataKey", Error: "AccessDenied", Text: "not authorized to perform: kms:GenerateDataKey", Decision: "denied", Parameters: `null`, Response: `null`, Resources: []string{key}},
		}},
		{"forwarded calls before and between", func(ctx context.Context, log audit.Log) {
			decide(t, caller.Forward(ctx, "secretsmanager"), log, "kms", "Decrypt", key, true)
			decide(t, ctx, log, "secretsmanager", "CreateSecret", secret, true)
			decide(t, caller.Forward(ctx, "secretsmanager"), log, "kms", "Encrypt", key, false)
			decide(t, ctx, log, "secretsmanager", "TagResource", secret, true)
		}, "", []told{
			{Source: "secretsmanager.amazonaws.com", Name: "CreateSecret", Decision: "allowed", Parameters: `{"name":"db"}`, Response: `null`, Resources: []string{secret}, Decisions: 2},
			{Source: "kms.amazonaws.com", Name: "Decrypt", Decision: "allowed", Parameters: `null`, Response: `null`, Resources: []string{key}},
			{Source: "kms.amazonaws.com", Name: "Encrypt", Error: "AccessDenied", Text: "not authorized to perform: kms:Encrypt", Decision: "denied", Parameters: `null`, Response: `null`, Resources: []string{key}},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "audit.log")
			log := open(t, path, audit.Options{})
			requests := audit.NewRequests(log, nil)
			ctx, err := requests.Begin(request(t), false)
			if err != nil {
				t.Fatal(err)
			}
			tt.act(ctx, log)
			if err := log.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			if before, err := os.ReadFile(path); err != nil || len(before) > 0 {
				t.Fatalf("recorded before the end: %s, %v", before, err)
			}
			for range 2 { // and once alone
				if err := requests.End(ctx, tt.code, "the message", []byte(`{"name":"db"}`), nil); err != nil {
					t.Fatal(err)
				}
			}
			if err := log.Close(); err != nil {
				t.Fatal(err)
			}
			var got []told
			for line, err := range audit.Lines(path, audit.Times{}) {
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, tell(t, line))
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Of who has no credentials, what was refused before there was anything to decide is not kept:
// the disk is not theirs to fill.
func TestNobodyIsRecordedForNothing(t *testing.T) {
	t.Parallel()
	log := new(audit.Memory)
	requests := audit.NewRequests(log, nil)
	for _, decided := range []bool{false, true} {
		r := *caller.From(request(t))
		r.Principal = &caller.Principal{Type: caller.Anonymous}
		ctx, err := requests.Begin(caller.With(t.Context(), &r), false)
		if err != nil {
			t.Fatal(err)
		}
		if decided {
			decide(t, ctx, log, "s3", "GetObject", "arn:aws:s3:::shop/key", false)
		}
		if err := requests.End(ctx, "AccessDenied", "Access Denied", nil, nil); err != nil {
			t.Fatal(err)
		}
		if got := len(log.Records()); decided != (got > 0) {
			t.Errorf("decided %v: %d records", decided, got)
		}
	}
}

// A request that nobody signed is of who its token says.
func TestWhoATokenSays(t *testing.T) {
	t.Parallel()
	log := new(audit.Memory)
	requests := audit.NewRequests(log, nil)
	r := *caller.From(request(t))
	r.Principal = &caller.Principal{Type: caller.Anonymous}
	ctx, err := requests.Begin(caller.With(t.Context(), &r), false)
	if err != nil {
		t.Fatal(err)
	}
	web := &caller.Principal{Type: caller.WebIdentityUser, Account: "111122223333", ID: "issuer:web:someone", UserName: "someone"}
	for _, action := range []string{"sts:AssumeRoleWithWebIdentity", "sts:TagSession"} {
		decided := audit.Record{Principal: web, Resource: "arn:aws:iam::111122223333:role/r", Account: "111122223333", Decision: policy.Decision{Allowed: true, Action: action}}
		if err := audit.Note(ctx, log, &r, &decided); err != nil {
			t.Fatal(err)
		}
	}
	if err := requests.End(ctx, "", "", nil, nil); err != nil {
		t.Fatal(err)
	}
	got := log.Records()
	if len(got) != 1 || got[0].Principal != web || got[0].Account != "111122223333" || len(got[0].Decisions) != 2 {
		t.Errorf("records: %+v", got)
	}
}

// What goes on when its request has ended is recorded at once.
func TestDecisionsAfterTheEnd(t *testing.T) {
	t.Parallel()
	log := new(audit.Memory)
	requests := audit.NewRequests(log, nil)
	ctx, err := requests.Begin(request(t), true)
	if err != nil {
		t.Fatal(err)
	}
	if err := requests.End(ctx, "", "", nil, nil); err != nil {
		t.Fatal(err)
	}
	decide(t, context.WithoutCancel(ctx), log, "ssm", "GetParameter", "*", true)
	records := log.Records()
	if len(records) != 2 || records[0].Name != "CreateSecret" || records[1].Name != "GetParameter" {
		t.Errorf("records = %+v", records)
	}
	broken := errors.New("broken")
	requests = audit.NewRequests(failing{broken}, nil)
	for _, reveals := range []bool{true, false} {
		ctx, err := requests.Begin(request(t), reveals)
		if err != nil {
			t.Fatal(err)
		}
		if err := requests.End(ctx, "", "", nil, nil); (err != nil) != reveals {
			t.Errorf("a log that fails, reveals %v: End = %v", reveals, err)
		}
	}
}

type failing struct{ err error }

func (f failing) Record(context.Context, audit.Record) error { return f.err }

func TestTaskIsTold(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "audit.log")
	log := open(t, path, audit.Options{})
	r := sample()
	p := *r.Principal
	p.Task = &caller.Task{ARN: "arn:aws:ecs:eu-west-1:111122223333:task/shop/1", Definition: "arn:aws:ecs:eu-west-1:111122223333:task-definition/web:3", Service: "web", Deployment: "ecs-svc/2", Role: "task", Containers: []string{"app", "log"}}
	r.Principal = &p
	if err := errors.Join(log.Record(t.Context(), r), log.Close()); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var got struct{ AdditionalEventData struct{ Task map[string]any } }
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	want := map[string]any{
		"taskArn": p.Task.ARN, "taskDefinitionArn": p.Task.Definition, "service": "web", "deployment": "ecs-svc/2", "role": "task", "containers": []any{"app", "log"},
	}
	if diff := cmp.Diff(want, got.AdditionalEventData.Task); diff != "" {
		t.Error(diff)
	}
}

func BenchmarkRequest(b *testing.B) {
	log := open(b, filepath.Join(b.TempDir(), "audit.log"), audit.Options{})
	requests := audit.NewRequests(log, nil)
	root := request(b)
	b.ReportAllocs()
	for b.Loop() {
		ctx, err := requests.Begin(root, true)
		if err != nil {
			b.Fatal(err)
		}
		decide(b, ctx, log, "secretsmanager", "CreateSecret", "arn:aws:secretsmanager:eu-west-1:111122223333:secret:db-AbCdEf", true)
		if err := requests.End(ctx, "", "", []byte(`{"name":"db"}`), nil); err != nil {
			b.Fatal(err)
		}
	}
}
