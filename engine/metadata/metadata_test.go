package metadata_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/malote/malote/acs"
	"github.com/malote/malote/engine/docker"
	"github.com/malote/malote/engine/enginetest"
	"github.com/malote/malote/engine/metadata"
)

const canary = "canary-secret-key-Qx81"

type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *buffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *buffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// world is a server at the true address, and a way to put containers before it.
type world struct {
	*testing.T
	engine *docker.Client
	docker *client.Client
	server *metadata.Server
	image  string
	log    buffer
	asked  chan *http.Request // of the API
}

func newWorld(t *testing.T, image enginetest.Image) *world {
	t.Helper()
	w := &world{T: t, docker: enginetest.Docker(t), asked: make(chan *http.Request, 10)}
	enginetest.Exclusive(t, metadata.Network().Gateway.String())
	w.image = enginetest.Build(t, w.docker, image)
	engine, err := docker.New("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { engine.Close() })
	keyFile := filepath.Join(t.TempDir(), "key")
	key, err := metadata.Key(keyFile)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := metadata.Key(keyFile); err != nil || !bytes.Equal(key, again) {
		t.Fatalf("the key changed: %v", err)
	}
	w.engine = engine
	w.server, err = metadata.Start(t.Context(), metadata.Config{
		Docker: engine, Key: key, Log: slog.New(slog.NewJSONHandler(&w.log, nil)),
		API: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			w.asked <- r
			fmt.Fprint(rw, `<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>arn:aws:sts::123456789012:assumed-role/app/task</Arn></GetCallerIdentityResult></GetCallerIdentityResponse>`)
		}),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		w.server.Close()
		if strings.Contains(w.log.String(), canary) {
			t.Error("the log holds credentials")
		}
	})
	return w
}

func task(id string) *acs.Task {
	arn := "arn:aws:ecs:eu-west-1:123456789012:task/default/" + id
	return &acs.Task{
		ARN: arn, ClusterARN: "arn:aws:ecs:eu-west-1:123456789012:cluster/default", Region: "eu-west-1", LaunchType: types.LaunchTypeEc2,
		Group: "service:web", Tags: []types.Tag{{Key: aws.String("team"), Value: aws.String("a")}},
		Definition: types.TaskDefinition{Family: aws.String("shop"), Revision: 3, Cpu: aws.String("512"), Memory: aws.String("128"),
			ContainerDefinitions: []types.ContainerDefinition{{
				Name: aws.String("app"), Image: aws.String("shop:1"), Cpu: 10, Memory: aws.Int32(64),
				Secrets:          []types.Secret{{Name: aws.String("PASSWORD"), ValueFrom: aws.String("x")}},
				LogConfiguration: &types.LogConfiguration{LogDriver: "json-file", Options: map[string]string{"max-size": "1m"}},
			}}},
		TaskRole: &acs.Credentials{TaskARN: arn, RoleARN: "arn:aws:iam::123456789012:role/app", AccessKeyID: "ASIAEXAMPLE" + id,
			SecretAccessKey: canary, SessionToken: canary + "-token", Expiration: time.Now().Add(time.Hour).Truncate(time.Second)},
	}
}

func (w *world) open(work *acs.Task) *metadata.Task {
	t := w.server.Open(work, func() metadata.Status {
		return metadata.Status{Desired: "RUNNING", Known: "RUNNING", PullStarted: time.Unix(1e9, 0),
			Containers: map[string]metadata.ContainerStatus{"app": {Desired: "RUNNING", Known: "RUNNING"}}}
	})
	w.Cleanup(t.Close)
	return t
}

// run runs a command in a container of a task, attached as an engine would attach it.
func (w *world) run(c *metadata.Container, mode container.NetworkMode, env []string, command ...string) enginetest.Result {
	w.Helper()
	if env == nil {
		env = c.Env()
	}
	id := enginetest.Create(w, w.docker, &container.Config{Image: w.image, Entrypoint: command, Env: env}, &container.HostConfig{NetworkMode: mode})
	if mode != "host" {
		if _, err := w.docker.NetworkConnect(w.Context(), metadata.Network().Name, client.NetworkConnectOptions{Container: id}); err != nil {
			w.Fatal(err)
		}
		c.Bind(id, id)
	} else {
		c.Bind(id, "")
	}
	enginetest.Start(w, w.docker, id)
	return enginetest.Wait(w, w.docker, id)
}

func value(env []string, name string) string {
	for _, pair := range env {
		if v, ok := strings.CutPrefix(pair, name+"="); ok {
			return v
		}
	}
	return ""
}

func TestCredentials(t *testing.T) {
	w := newWorld(t, enginetest.Image{})
	work := task("ours")
	ours, theirs := w.open(work), w.open(task("theirs"))
	app := ours.Container("app")
	url := "http://169.254.170.2" + value(app.Env(), "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
	another := "http://169.254.170.2" + value(theirs.Container("app").Env(), "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
	if url == another {
		t.Fatal("two tasks share an id")
	}

	got := w.run(app, "bridge", nil, "/app", "get", url, "then", "get", another, "then",
		"get", "http://169.254.170.2/v2/credentials/", "then", "get", "http://169.254.170.2/v2/credentials/00000000-0000-4000-8000-000000000000", "then",
		"get", strings.Replace(url, "/v2/credentials/", "/v1/credentials?id=", 1))
	lines := strings.Split(got.Stdout, "\n")
	if len(lines) != 6 {
		t.Fatalf("stdout %q, stderr %q", got.Stdout, got.Stderr)
	}
	want := work.TaskRole
	wantBody, err := json.Marshal(struct{ RoleArn, AccessKeyId, SecretAccessKey, Token, Expiration string }{
		want.RoleARN, want.AccessKeyID, want.SecretAccessKey, want.SessionToken, want.Expiration.UTC().Format(time.RFC3339)})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{
		"200 " + string(wantBody),
		`400 {"code":"InvalidIdInRequest","message":"CredentialsV2Request: Credentials not found","HTTPErrorCode":400}`,
		`400 {"code":"NoIdInRequest","message":"CredentialsV2Request: No ID in the request","HTTPErrorCode":400}`,
		`400 {"code":"InvalidIdInRequest","message":"CredentialsV2Request: Credentials not found","HTTPErrorCode":400}`,
		"200 " + string(wantBody),
	} {
		if lines[i] != want {
			t.Errorf("answer %d = %s, want %s", i, lines[i], want)
		}
	}
	if log := w.log.String(); !strings.Contains(log, "gave credentials of the task role") || !strings.Contains(log, "does not come from a container of the task") {
		t.Errorf("log: %s", log)
	}

	// A process of the host that has learnt the id gets nothing.
	answer, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusBadRequest {
		t.Errorf("the host got %s", answer.Status)
	}

	// A task that has a role of which no credentials came yet, as after a restart.
	ours.SetCredentials(nil)
	got = w.run(app, "bridge", nil, "/app", "get", url)
	if want := `503 {"code":"CredentialsUninitialized","message":"CredentialsV2Request: Credentials uninitialized for ID","HTTPErrorCode":503}` + "\n"; got.Stdout != want {
		t.Errorf("answer = %q, want %q", got.Stdout, want)
	}
	ours.Close()
	if got = w.run(app, "bridge", nil, "/app", "get", url); !strings.HasPrefix(got.Stdout, "400 ") {
		t.Errorf("after the task closed: %s", got.Stdout)
	}
}

func TestSDK(t *testing.T) {
	w := newWorld(t, enginetest.Image{SDK: true})
	for _, mode := range []container.NetworkMode{"bridge", "host"} {
		t.Run(string(mode), func(t *testing.T) {
			app := w.open(task(string(mode))).Container("app")
			got := w.run(app, mode, nil, "/aws", "identity")
			if got.Stdout != "arn:aws:sts::123456789012:assumed-role/app/task\n" {
				t.Fatalf("stdout %q, stderr %q", got.Stdout, got.Stderr)
			}
			r := <-w.asked
			if r.Host != "169.254.170.2:4510" || !strings.Contains(r.Header.Get("Authorization"), "ASIAEXAMPLE"+string(mode)+"/") || !strings.Contains(r.Header.Get("Authorization"), "/eu-west-1/sts/") ||
				r.Header.Get("X-Amz-Security-Token") != canary+"-token" {
				t.Errorf("the SDK asked with %s %v", r.Host, r.Header)
			}
		})
	}
}

func TestDocuments(t *testing.T) {
	w := newWorld(t, enginetest.Image{})
	app := w.open(task("documents")).Container("app")
	uri := value(app.Env(), "ECS_CONTAINER_METADATA_URI_V4")
	got := w.run(app, "bridge", nil, "/app", "get", uri, "then", "get", uri+"/task", "then", "get", uri+"/taskWithTags", "then",
		"get", uri+"/stats", "then", "get", uri+"/task/stats", "then", "get", value(app.Env(), "ECS_CONTAINER_METADATA_URI"), "then",
		"get", "http://169.254.170.2/v4/x/task", "then", "get", uri+"/nonsense")
	lines := strings.Split(got.Stdout, "\n")
	if len(lines) != 9 {
		t.Fatalf("stdout %q, stderr %q", got.Stdout, got.Stderr)
	}
	var bodies [8]any
	for i, line := range lines[:6] {
		body, ok := strings.CutPrefix(line, "200 ")
		if !ok || json.Unmarshal([]byte(body), &bodies[i]) != nil {
			t.Fatalf("answer %d = %s", i, line)
		}
	}
	c, task, tagged := bodies[0].(map[string]any), bodies[1].(map[string]any), bodies[2].(map[string]any)
	for name, want := range map[string]any{"Name": "app", "Image": "shop:1", "DesiredStatus": "RUNNING", "KnownStatus": "RUNNING", "Type": "NORMAL", "DockerId": got.ID, "LogDriver": "json-file"} {
		if c[name] != want {
			t.Errorf("container's %s = %v, want %v", name, c[name], want)
		}
	}
	if limits := c["Limits"].(map[string]any); limits["CPU"] != 10.0 || limits["Memory"] != 64.0 {
		t.Errorf("container's Limits = %v", limits)
	}
	if network := c["Networks"].([]any)[0].(map[string]any); network["NetworkMode"] != "bridge" || len(network["IPv4Addresses"].([]any)) != 1 {
		t.Errorf("container's Networks = %v", network)
	}
	for name, want := range map[string]any{"Cluster": "arn:aws:ecs:eu-west-1:123456789012:cluster/default", "Family": "shop", "Revision": "3", "KnownStatus": "RUNNING",
		"ServiceName": "web", "LaunchType": "EC2", "PullStartedAt": "2001-09-09T01:46:40Z", "TaskTags": nil} {
		if task[name] != want {
			t.Errorf("task's %s = %v, want %v", name, task[name], want)
		}
	}
	if limits := task["Limits"].(map[string]any); limits["CPU"] != 0.5 || limits["Memory"] != 128.0 {
		t.Errorf("task's Limits = %v", limits)
	}
	if len(task["Containers"].([]any)) != 1 || tagged["TaskTags"].(map[string]any)["team"] != "a" {
		t.Errorf("task = %v, with tags %v", task, tagged)
	}
	if bodies[3].(map[string]any)["cpu_stats"] == nil || bodies[4].(map[string]any)[got.ID] == nil {
		t.Errorf("stats = %v, %v", bodies[3], bodies[4])
	}
	if want := `404 "V4 task metadata handler: unable to get container ID from request: unable to get docker ID from v3 endpoint ID: x"`; lines[6] != want {
		t.Errorf("of an unknown id: %s, want %s", lines[6], want)
	}
	if !strings.HasPrefix(lines[7], "404 ") {
		t.Errorf("of an unknown path: %s", lines[7])
	}

	// Another task's container may not read it, though it has the same address by now.
	stranger := w.open(&acs.Task{ARN: "arn:aws:ecs:eu-west-1:123456789012:task/default/stranger"}).Container("app")
	if env := strings.Join(stranger.Env(), " "); strings.Contains(env, "CREDENTIALS") {
		t.Errorf("a task without role has %s", env)
	}
	if got := w.run(stranger, "bridge", nil, "/app", "get", uri); !strings.HasPrefix(got.Stdout, "404 ") {
		t.Errorf("a stranger got %s", got.Stdout)
	}
}

func TestRate(t *testing.T) {
	w := newWorld(t, enginetest.Image{})
	refused := 0
	for range 200 {
		answer, err := http.Get("http://" + metadata.Network().Gateway.String() + "/v4/x")
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode == http.StatusTooManyRequests {
			refused++
		}
	}
	if refused == 0 || refused > 140 {
		t.Errorf("%d of 200 requests refused; 60 are a burst", refused)
	}
	if w.server.Endpoint() != "http://169.254.170.2:4510" {
		t.Errorf("Endpoint() = %s", w.server.Endpoint())
	}
}

// A second engine of the host finds the ports taken: its containers are told others, which it
// has again after a restart, whether the usual ones are free by then or not.
func TestASecondEngine(t *testing.T) {
	w := newWorld(t, enginetest.Image{SDK: true})
	first := w.server
	dir := t.TempDir()
	key, err := metadata.Key(filepath.Join(dir, "key"))
	if err != nil {
		t.Fatal(err)
	}
	start := func() *metadata.Server {
		t.Helper()
		s, err := metadata.Start(t.Context(), metadata.Config{
			Docker: w.engine, Key: key, PortFile: filepath.Join(dir, "ports"), Log: slog.New(slog.NewJSONHandler(&w.log, nil)),
			API: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				w.asked <- r
				fmt.Fprint(rw, `<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>arn:aws:sts::123456789012:assumed-role/second/task</Arn></GetCallerIdentityResult></GetCallerIdentityResponse>`)
			}),
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		w.server = s
		return s
	}
	second := start()
	app := w.open(task("second")).Container("app")
	env := app.Env()
	full := value(env, "AWS_CONTAINER_CREDENTIALS_FULL_URI")
	if !strings.HasPrefix(full, "http://169.254.170.2:") || value(env, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") != "" {
		t.Fatalf("the environment of a container of the second engine is %q", env)
	}
	if uri := value(env, "ECS_CONTAINER_METADATA_URI_V4"); !strings.HasPrefix(uri, full[:strings.Index(full, "/v2/")]+"/v4/") {
		t.Errorf("metadata at %s, credentials at %s", uri, full)
	}
	const want = "arn:aws:sts::123456789012:assumed-role/second/task\n"
	identity := func(env []string) {
		t.Helper()
		if got := w.run(app, "bridge", env, "/aws", "identity"); got.Stdout != want {
			t.Fatalf("stdout %q, stderr %q", got.Stdout, got.Stderr)
		}
		if r := <-w.asked; !strings.Contains(r.Header.Get("Authorization"), "ASIAEXAMPLEsecond/") {
			t.Errorf("the SDK asked with %v", r.Header)
		}
	}
	identity(nil)

	// Containers of the first have nothing there, and the other way round.
	if got := w.run(app, "bridge", nil, "/app", "get", "http://169.254.170.2"+full[strings.Index(full, "/v2/"):]); !strings.HasPrefix(got.Stdout, "400 ") {
		t.Errorf("the first engine gave the second's credentials: %s", got.Stdout)
	}

	second.Close()
	again := start()
	app = w.open(task("second")).Container("app")
	if now := value(app.Env(), "AWS_CONTAINER_CREDENTIALS_FULL_URI"); now != full || again.Endpoint() != second.Endpoint() {
		t.Errorf("after a restart credentials are at %s, were at %s; the API at %s, was at %s", now, full, again.Endpoint(), second.Endpoint())
	}
	again.Close()
	first.Close()
	start()
	app = w.open(task("second")).Container("app")
	if value(app.Env(), "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") == "" {
		t.Errorf("the usual port is free and not used: %q", app.Env())
	}
	identity(env) // what an older container was told
}
