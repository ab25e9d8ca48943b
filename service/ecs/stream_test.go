package ecs

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	ststypes "github.com/aws/aws-sdk-go-v2/service/sts/types"

	"github.com/google/go-cmp/cmp"

	"github.com/malote/malote/acs"
	"github.com/malote/malote/authz"
	"github.com/malote/malote/caller"
	"github.com/malote/malote/store"
	"github.com/malote/malote/store/memory"
)

// These tests are inside, since they beat faster than a stream does.

type allowAll struct{}

func (allowAll) Authorize(context.Context, *authz.Access) error { return nil }

// vendor makes credentials whose session token counts them. While down is set it fails
// as a store that is away does.
type vendor struct {
	mu    sync.Mutex
	made  int
	down  bool
	clock *clock
	calls []caller.Request
}

func (v *vendor) AssumeRole(ctx context.Context, in *sts.AssumeRoleInput) (*sts.AssumeRoleOutput, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.calls = append(v.calls, *caller.From(ctx))
	if v.down {
		return nil, errors.New("reading the store: it is away")
	}
	v.made++
	return &sts.AssumeRoleOutput{Credentials: &ststypes.Credentials{
		AccessKeyId: aws.String("ASIA"), SecretAccessKey: aws.String("secret"), SessionToken: aws.String(strconv.Itoa(v.made)),
		Expiration: aws.Time(v.clock.now().Add(time.Hour)),
	}}, nil
}

func (v *vendor) set(down bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.down = down
}

type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// plane is a service with an instance and a definition "web" that has a task role.
type plane struct {
	*Service
	ctx      context.Context
	clock    *clock
	vendor   *vendor
	instance string
	server   *httptest.Server
}

func newPlane(t testing.TB) *plane {
	t.Helper()
	ticking := &clock{t: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	p := &plane{clock: ticking, vendor: &vendor{clock: ticking}}
	st := memory.New()
	t.Cleanup(func() { st.Close() })
	p.Service = New(Config{Store: st, Authz: allowAll{}, Roles: p.vendor, Now: ticking.now})
	p.heartbeat = 2 * time.Millisecond
	request := &caller.Request{ID: "r", Region: "eu-west-1", Principal: &caller.Principal{Type: caller.User, Account: "123456789012", ARN: "arn:aws:iam::123456789012:user/a"}}
	p.ctx = caller.With(t.Context(), request)
	p.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		Stream(p.Service).ServeHTTP(w, r.WithContext(caller.With(r.Context(), request)))
	}))
	t.Cleanup(p.server.Close)
	i, err := p.RegisterContainerInstance(p.ctx, &ecs.RegisterContainerInstanceInput{})
	if err != nil {
		t.Fatal(err)
	}
	p.instance = *i.ContainerInstance.ContainerInstanceArn
	if _, err := p.RegisterTaskDefinition(p.ctx, &ecs.RegisterTaskDefinitionInput{
		Family: aws.String("web"), TaskRoleArn: aws.String("arn:aws:iam::123456789012:role/web"),
		ContainerDefinitions: []types.ContainerDefinition{{Name: aws.String("app"), Image: aws.String("nginx"), Memory: aws.Int32(64)}},
	}); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *plane) run(t *testing.T) string {
	t.Helper()
	out, err := p.RunTask(p.ctx, &ecs.RunTaskInput{TaskDefinition: aws.String("web")})
	if err != nil || len(out.Tasks) != 1 {
		t.Fatalf("RunTask = %+v, %v", out, err)
	}
	return *out.Tasks[0].TaskArn
}

// listen returns what the next message that says something is.
func (p *plane) listen(t *testing.T) (next func() acs.Message) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	query := url.Values{"containerInstance": {p.instance}}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, p.server.URL+"/acs?"+query.Encode(), nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("GET /acs = %v, %v", response, err)
	}
	t.Cleanup(func() { response.Body.Close() })
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, 1<<20)
	return func() acs.Message {
		t.Helper()
		for lines.Scan() {
			var m acs.Message
			if err := json.Unmarshal(lines.Bytes(), &m); err != nil {
				t.Fatal(err)
			}
			if m != (acs.Message{}) {
				return m
			}
		}
		return acs.Message{}
	}
}

func TestCredentialsAreRenewed(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	arn := p.run(t)
	next := p.listen(t)
	first := next()
	if first.Task == nil || first.Task.TaskRole.SessionToken != "1" || first.Task.ExecutionRole != nil {
		t.Fatalf("first message = %+v", first)
	}
	if m := next(); !m.Synced {
		t.Fatalf("second message = %+v", m)
	}
	if call := p.vendor.calls[0]; call.SourceARN != arn || call.Principal.Type != caller.Service || call.Principal.Service != "ecs-tasks.amazonaws.com" || call.Principal.Account != "123456789012" {
		t.Errorf("AssumeRole was called as %+v", call)
	}
	asker := &caller.Task{ARN: arn, Definition: "arn:aws:ecs:eu-west-1:123456789012:task-definition/web:1", Role: "task", Containers: []string{"app"}}
	if diff := cmp.Diff(asker, p.vendor.calls[0].Task); diff != "" {
		t.Error(diff)
	}
	p.vendor.set(true)
	p.clock.advance(31 * time.Minute)
	p.vendor.set(false)
	m := next()
	if c := m.Credentials; c == nil || c.TaskARN != arn || c.RoleType != acs.TaskApplication || c.SessionToken != "2" || !c.Expiration.Equal(p.clock.now().Add(time.Hour)) {
		t.Fatalf("after half an hour came %+v", m)
	}
	p.vendor.mu.Lock()
	defer p.vendor.mu.Unlock()
	if diff := cmp.Diff(asker, p.vendor.calls[len(p.vendor.calls)-1].Task); diff != "" {
		t.Errorf("the second time: %s", diff)
	}
}

// A control plane that cannot make credentials now must not have running tasks ended.
func TestSyncedWaits(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	p.run(t)
	p.vendor.set(true)
	next := p.listen(t)
	for { // until it was tried more than once
		p.vendor.mu.Lock()
		tried := len(p.vendor.calls)
		p.vendor.mu.Unlock()
		if tried > 2 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	p.vendor.set(false)
	if m := next(); m.Task == nil {
		t.Fatalf("first message = %+v, want the task", m)
	}
	if m := next(); !m.Synced {
		t.Fatalf("second message = %+v, want Synced", m)
	}
}

func TestStreamEndsWithItsInstance(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	next := p.listen(t)
	next() // Synced
	if _, err := p.DeregisterContainerInstance(p.ctx, &ecs.DeregisterContainerInstanceInput{ContainerInstance: &p.instance}); err != nil {
		t.Fatal(err)
	}
	p.clock.advance(2 * time.Minute)
	if m := next(); m != (acs.Message{}) {
		t.Errorf("got %+v, want the end", m)
	}
}

// A connected engine's instance stays connected, however long nothing happens.
func TestSeen(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	p.listen(t)()
	for range 5 {
		p.clock.advance(2 * time.Minute)
		for { // the next beat writes it down
			var at time.Time
			if err := p.store.View(p.ctx, func(tx store.Tx) error {
				for row, err := range p.seen.Scan(tx, "ecs/123456789012/eu-west-1/seen/", "") {
					if err != nil {
						return err
					}
					at = row.Value.At
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			if at.Equal(p.clock.now()) {
				break
			}
			time.Sleep(time.Millisecond)
		}
	}
	out, err := p.DescribeContainerInstances(p.ctx, &ecs.DescribeContainerInstancesInput{ContainerInstances: []string{p.instance}})
	if err != nil || !out.ContainerInstances[0].AgentConnected {
		t.Errorf("instance = %+v, %v", out, err)
	}
}

// Nothing of a task is left an hour after its end: not its record, its client token,
// nor a definition that was deleted while it ran.
func TestSweep(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	count := func() int {
		n := 0
		if err := p.store.View(p.ctx, func(tx store.Tx) error {
			n = 0
			for e, err := range tx.Scan("ecs/", "") {
				if err != nil {
					return err
				}
				_ = e
				n++
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return n
	}
	stop := func(token string) {
		out, err := p.RunTask(p.ctx, &ecs.RunTaskInput{TaskDefinition: aws.String("web"), ClientToken: &token})
		if err != nil || len(out.Tasks) != 1 {
			t.Fatalf("RunTask = %+v, %v", out, err)
		}
		if _, err := p.StopTask(p.ctx, &ecs.StopTaskInput{Task: out.Tasks[0].TaskArn}); err != nil {
			t.Fatal(err)
		}
	}
	stop("one")
	after := count()
	for i := range 9 {
		stop("more" + strconv.Itoa(i))
	}
	p.clock.advance(2 * time.Hour)
	if _, err := p.RegisterContainerInstance(p.ctx, &ecs.RegisterContainerInstanceInput{ContainerInstanceArn: &p.instance}); err != nil {
		t.Fatal(err)
	}
	stop("last")
	if got := count(); got != after {
		t.Errorf("%d keys are left, want %d", got, after)
	}

	running := p.run(t)
	for _, err := range []error{
		second(p.DeregisterTaskDefinition(p.ctx, &ecs.DeregisterTaskDefinitionInput{TaskDefinition: aws.String("web:1")})),
		second(p.DeleteTaskDefinitions(p.ctx, &ecs.DeleteTaskDefinitionsInput{TaskDefinitions: []string{"web:1"}})),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	described, err := p.DescribeTaskDefinition(p.ctx, &ecs.DescribeTaskDefinitionInput{TaskDefinition: aws.String("web:1")})
	if err != nil || described.TaskDefinition.Status != "DELETE_IN_PROGRESS" {
		t.Fatalf("a deleted definition in use = %+v, %v", described, err)
	}
	if _, err := p.StopTask(p.ctx, &ecs.StopTaskInput{Task: &running}); err != nil {
		t.Fatal(err)
	}
	if _, err := p.DescribeTaskDefinition(p.ctx, &ecs.DescribeTaskDefinitionInput{TaskDefinition: aws.String("web:1")}); err == nil {
		t.Error("a deleted definition outlives its last task")
	}
}

func second[T any](_ T, err error) error { return err }
