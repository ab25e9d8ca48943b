package ecs_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/malote/malote/acs"
	"github.com/malote/malote/malotetest"
)

// fakeEngine listens as an engine does and runs nothing: what a task becomes, a test says.
type fakeEngine struct {
	t        *testing.T
	cfg      aws.Config
	client   *ecs.Client
	clock    *malotetest.Clock
	instance string
	messages chan acs.Message
	hangUp   context.CancelFunc
}

// register makes an instance known, and connects.
func register(t *testing.T, sys *malotetest.System, cfg aws.Config) *fakeEngine {
	t.Helper()
	e := registerOnly(t, sys, cfg)
	e.connect()
	return e
}

// registerOnly makes an instance with 1024 CPU units and 1024 MiB known.
func registerOnly(t *testing.T, sys *malotetest.System, cfg aws.Config) *fakeEngine {
	t.Helper()
	e := &fakeEngine{t: t, cfg: cfg, client: ecs.NewFromConfig(cfg), clock: sys.Clock}
	out, err := e.client.RegisterContainerInstance(t.Context(), &ecs.RegisterContainerInstanceInput{
		Attributes: []types.Attribute{
			{Name: aws.String("zone"), Value: aws.String("a")}, {Name: aws.String("ecs.cpu-architecture"), Value: aws.String("x86_64")},
			{Name: aws.String(acs.CanRefresh)},
		},
		TotalResources: []types.Resource{
			{Name: aws.String("CPU"), Type: aws.String("INTEGER"), IntegerValue: 1024},
			{Name: aws.String("MEMORY"), Type: aws.String("INTEGER"), IntegerValue: 1024},
			{Name: aws.String("PORTS"), Type: aws.String("STRINGSET"), StringSetValue: []string{"22"}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	e.instance = *out.ContainerInstance.ContainerInstanceArn
	return e
}

func (e *fakeEngine) request(ctx context.Context, method, path string, body string) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, method, *e.cfg.BaseEndpoint+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	credentials, err := e.cfg.Credentials.Retrieve(ctx)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(body))
	if err := v4.NewSigner().SignHTTP(ctx, credentials, r, hex.EncodeToString(sum[:]), "ecs", e.cfg.Region, e.clock.Now()); err != nil {
		return nil, err
	}
	return e.cfg.HTTPClient.Do(r)
}

// connect opens a stream. What was read from an earlier one is dropped.
func (e *fakeEngine) connect() {
	e.t.Helper()
	if e.hangUp != nil {
		e.hangUp()
	}
	ctx, cancel := context.WithCancel(e.t.Context())
	e.hangUp = cancel
	e.t.Cleanup(cancel)
	query := url.Values{"cluster": {"default"}, "containerInstance": {e.instance}}
	response, err := e.request(ctx, http.MethodGet, "/acs?"+query.Encode(), "")
	if err != nil {
		e.t.Fatal(err)
	}
	if response.StatusCode != http.StatusOK {
		e.t.Fatalf("GET /acs = %s", response.Status)
	}
	messages := make(chan acs.Message, 100)
	e.messages = messages
	go func() {
		defer close(messages)
		defer response.Body.Close()
		for d := json.NewDecoder(response.Body); ; {
			var m acs.Message
			if d.Decode(&m) != nil {
				return
			}
			messages <- m
		}
	}()
}

// next is the next message that says something.
func (e *fakeEngine) next() acs.Message {
	e.t.Helper()
	for {
		select {
		case m, ok := <-e.messages:
			if !ok {
				e.t.Fatal("the stream ended")
			}
			if m != (acs.Message{}) {
				return m
			}
		case <-time.After(10 * time.Second):
			e.t.Fatal("the stream is silent")
		}
	}
}

func (e *fakeEngine) nextTask() *acs.Task {
	e.t.Helper()
	for {
		if m := e.next(); m.Task != nil {
			return m.Task
		} else if !m.Synced {
			e.t.Fatalf("got %+v, want a task", m)
		}
	}
}

func (e *fakeEngine) submit(in *ecs.SubmitTaskStateChangeInput) {
	e.t.Helper()
	if out, err := e.client.SubmitTaskStateChange(e.t.Context(), in); err != nil || *out.Acknowledgment == "" {
		e.t.Fatalf("SubmitTaskStateChange = %v, %v", out, err)
	}
}

// status reports a task with its container "app".
func (e *fakeEngine) status(task, status string, exitCode *int32, reason string) {
	e.t.Helper()
	in := &ecs.SubmitTaskStateChangeInput{Task: &task, Status: &status, Containers: []types.ContainerStateChange{
		{ContainerName: aws.String("app"), Status: &status, ExitCode: exitCode, RuntimeId: aws.String("c0ffee"), ImageDigest: aws.String("sha256:1")},
	}}
	if reason != "" {
		in.Reason = &reason
	}
	e.submit(in)
}
