package engine_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/moby/moby/client"

	"github.com/malote/malote/acs"
	"github.com/malote/malote/engine"
	"github.com/malote/malote/engine/docker"
	"github.com/malote/malote/engine/enginetest"
)

// initPath is malote-init, built once.
var initPath = sync.OnceValues(func() (string, error) {
	b, err := enginetest.Compile("github.com/malote/malote/cmd/malote-init")
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp("", "malote-init-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "malote-init")
	return path, os.WriteFile(path, b, 0o755)
})

func TestMain(m *testing.M) {
	if path := os.Getenv(victimEnv); path != "" {
		if err := runVictim(path); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	code := m.Run()
	if path, err := initPath(); err == nil {
		os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(code)
}

const (
	account = "123456789012"
	region  = "eu-west-1"
	canary  = "c4n4ry-vAlue-7Qx"
)

func secretARN(name string) string {
	return fmt.Sprintf("arn:aws:secretsmanager:%s:%s:secret:%s-AbCdEf", region, account, name)
}

// stores is what the secret stores hold: the smallest service that the SDK's clients
// are content with. Who may have what is the services' own matter, and tested there.
type stores struct {
	mu      sync.Mutex
	secrets map[string]string // by ARN, the current version
	params  map[string]string
	asked   []string // operation and id, in order
	as      []string // access keys
}

func (s *stores) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, op, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	_, key, _ := strings.Cut(r.Header.Get("Authorization"), "Credential=")
	key, _, _ = strings.Cut(key, "/")
	s.as = append(s.as, key)
	var in struct {
		SecretId, VersionId string
		Names               []string
	}
	json.NewDecoder(r.Body).Decode(&in)
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	fail := func(code, message string) {
		w.WriteHeader(400)
		json.NewEncoder(w).Encode(map[string]string{"__type": code, "message": message})
	}
	switch op {
	case "GetSecretValue":
		s.asked = append(s.asked, op+" "+in.SecretId+" "+in.VersionId)
		value, ok := s.secrets[in.SecretId]
		if !ok {
			fail("ResourceNotFoundException", "Secrets Manager can't find the specified secret.")
			return
		}
		json.NewEncoder(w).Encode(map[string]any{"ARN": in.SecretId, "Name": "n", "SecretString": value, "VersionId": "11111111-2222-3333-4444-555555555555"})
	case "GetParameters":
		out := map[string]any{}
		var have []map[string]any
		var bad []string
		for _, n := range in.Names {
			s.asked = append(s.asked, op+" "+n)
			base, selector, _ := strings.Cut(n, ":")
			v, ok := s.params[base]
			if !ok {
				bad = append(bad, n)
				continue
			}
			p := map[string]any{"Name": base, "Value": v, "Version": 3, "Type": "SecureString", "ARN": "arn:aws:ssm:" + region + ":" + account + ":parameter/" + base}
			if selector != "" {
				p["Selector"] = ":" + selector
			}
			have = append(have, p)
		}
		out["Parameters"], out["InvalidParameters"] = have, bad
		json.NewEncoder(w).Encode(out)
	default:
		fail("UnknownOperationException", op)
	}
}

// world is a Docker host with an engine on it.
type world struct {
	t      testing.TB
	docker *client.Client
	stores *stores
	config engine.Config
	log    *lockedBuffer

	mu    sync.Mutex
	lines []string // "container: text"
	seen  map[string][]string
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// newWorld prepares an engine, which the test starts, and checks in the end that it
// left nothing and told no secret.
func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, docker: enginetest.Docker(t), stores: &stores{secrets: map[string]string{}, params: map[string]string{}}, log: &lockedBuffer{}, seen: map[string][]string{}}
	server := httptest.NewServer(w.stores)
	t.Cleanup(server.Close)
	d, err := docker.New("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	path, err := initPath()
	if err != nil {
		t.Fatal(err)
	}
	w.config = engine.Config{
		AWS: aws.Config{
			Region: region, BaseEndpoint: aws.String(server.URL),
			Credentials: credentials.NewStaticCredentialsProvider("AKIAENGINE", "engine", ""),
		},
		Docker: d, Name: enginetest.Name(t), Dir: t.TempDir(), InitPath: path, NoMetadata: true,
		Log: slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Output: func(l engine.Line) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.lines = append(w.lines, l.Container+": "+string(l.Text))
		},
		Changed: func(r engine.Report) {
			w.mu.Lock()
			defer w.mu.Unlock()
			for _, c := range r.Containers {
				was := w.seen[c.Name]
				if now := string(c.Status); len(was) == 0 || was[len(was)-1] != now {
					w.seen[c.Name] = append(was, now)
				}
			}
		},
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("engine's log:\n%s", w.log.String())
		}
		w.nothingLeft()
		if strings.Contains(w.log.String(), canary) {
			t.Error("the engine's log holds a secret")
		}
	})
	return w
}

// nothingLeft checks that there is no trace of the engine's tasks, and removes what there is.
func (w *world) nothingLeft() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	mine := client.Filters{}.Add("label", "malote.engine="+w.config.Name)
	containers, err := w.docker.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: mine})
	if err != nil {
		w.t.Error(err)
	}
	for _, c := range containers.Items {
		w.t.Errorf("container %v is left", c.Names)
		w.docker.ContainerRemove(ctx, c.ID, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
	}
	volumes, err := w.docker.VolumeList(ctx, client.VolumeListOptions{Filters: mine})
	if err != nil {
		w.t.Error(err)
	}
	for _, v := range volumes.Items {
		w.t.Errorf("volume %s is left", v.Name)
		w.docker.VolumeRemove(ctx, v.Name, client.VolumeRemoveOptions{Force: true})
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		w.t.Error(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, w.config.Dir) && !strings.Contains(line, "/sockets ") {
			w.t.Errorf("mount is left: %s", line)
		}
	}
	loops, _ := filepath.Glob("/sys/block/loop*/loop/backing_file")
	for _, l := range loops {
		if b, err := os.ReadFile(l); err == nil && (strings.HasPrefix(string(b), w.config.Dir) || w.config.StateDir != "" && strings.HasPrefix(string(b), w.config.StateDir)) {
			w.t.Errorf("%s is left: %s", l, b)
		}
	}
	if _, err := os.Stat(filepath.Join(w.config.StateDir, "disks")); w.config.StateDir != "" && err == nil {
		w.t.Error("the directory of disks is left")
	}
	for _, dir := range []string{"tasks", "volumes", "disks"} {
		entries, _ := os.ReadDir(filepath.Join(w.config.Dir, dir))
		for _, e := range entries {
			w.t.Errorf("%s/%s is left", dir, e.Name())
		}
	}
	entries, _ := os.ReadDir(filepath.Join(w.config.Dir, "sockets"))
	for _, e := range entries {
		if e.IsDir() {
			w.t.Errorf("socket of %s is left", e.Name())
		}
	}
}

func (w *world) start() *engine.Engine {
	w.t.Helper()
	e, err := engine.New(w.config)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := e.Start(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { e.Close() })
	return e
}

// run runs one task to its end on an engine of its own.
func (w *world) run(work acs.Task) engine.Report {
	w.t.Helper()
	e := w.start()
	defer e.Close()
	ctx, cancel := context.WithTimeout(w.t.Context(), 2*time.Minute)
	defer cancel()
	report, err := e.RunTask(ctx, work)
	if err != nil {
		w.t.Fatal(err)
	}
	if ctx.Err() != nil && !errors.Is(ctx.Err(), context.Canceled) {
		w.t.Fatalf("the task did not end: %+v", report)
	}
	return report
}

func (w *world) output() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.lines)
}

// waitFor waits until a container has written a line.
func (w *world) waitFor(line string) {
	w.t.Helper()
	for deadline := time.Now().Add(time.Minute); !slices.Contains(w.output(), line); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Fatalf("no line %q in a minute, but %q", line, w.output())
		}
	}
}

func (w *world) image(i enginetest.Image) string {
	if i.Entrypoint == nil {
		i.Entrypoint = []string{"/app"}
	}
	return enginetest.Build(w.t, w.docker, i)
}

var taskNumber struct {
	sync.Mutex
	n int
}

// newTask returns a task with these containers.
func newTask(containers ...types.ContainerDefinition) acs.Task {
	taskNumber.Lock()
	taskNumber.n++
	id := fmt.Sprintf("%032x", taskNumber.n)
	taskNumber.Unlock()
	arn := "arn:aws:ecs:" + region + ":" + account + ":task/default/" + id
	return acs.Task{
		ARN: arn, ClusterARN: "arn:aws:ecs:" + region + ":" + account + ":cluster/default", Region: region, Account: account,
		Definition: types.TaskDefinition{
			Family: aws.String("shop"), Revision: 7, ContainerDefinitions: containers,
			ExecutionRoleArn: aws.String("arn:aws:iam::" + account + ":role/exec"),
		},
		ExecutionRole: &acs.Credentials{
			TaskARN: arn, RoleType: acs.TaskExecution, RoleARN: "arn:aws:iam::" + account + ":role/exec",
			AccessKeyID: "ASIAEXECUTION", SecretAccessKey: "x", SessionToken: "t", Expiration: time.Now().Add(time.Hour),
		},
	}
}

func container(name, image string, command ...string) types.ContainerDefinition {
	return types.ContainerDefinition{Name: aws.String(name), Image: aws.String(image), Command: command, Memory: aws.Int32(64)}
}

func report(t testing.TB, r engine.Report, name string) engine.ContainerReport {
	t.Helper()
	for _, c := range r.Containers {
		if c.Name == name {
			return c
		}
	}
	t.Fatalf("no container %s in %+v", name, r)
	return engine.ContainerReport{}
}

func exitCode(c engine.ContainerReport) int {
	if c.ExitCode == nil {
		return -1
	}
	return int(*c.ExitCode)
}
