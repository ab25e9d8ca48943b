package shim_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/client"

	"github.com/malote/malote/engine/enginetest"
	"github.com/malote/malote/engine/shim"
)

var compileInit = sync.OnceValues(func() ([]byte, error) {
	return enginetest.Compile("github.com/malote/malote/cmd/malote-init")
})

// world is a server with a real Docker beside it.
type world struct {
	docker *client.Client
	server *shim.Server
	dir    string
	init   string
	log    *logBuffer
}

type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{docker: enginetest.Docker(t), dir: filepath.Join(t.TempDir(), "sockets"), log: &logBuffer{}}
	content, err := compileInit()
	if err != nil {
		t.Fatal(err)
	}
	w.init = filepath.Join(t.TempDir(), "malote-init")
	if err := os.WriteFile(w.init, content, 0o755); err != nil {
		t.Fatal(err)
	}
	w.server = w.serve(t)
	return w
}

func (w *world) serve(t *testing.T) *shim.Server {
	t.Helper()
	server, err := shim.New(shim.Config{Dir: w.dir, InitPath: w.init, Log: slog.New(slog.NewJSONHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	return server
}

// create makes a container with an environment of its own, as an engine would.
func (w *world) create(t *testing.T, env []string, config container.Config, host container.HostConfig) (string, *shim.Endpoint) {
	t.Helper()
	endpoint, err := w.server.Open(enginetest.Name(t), shim.Payload{Env: env})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { endpoint.Close() })
	image, err := w.docker.ImageInspect(t.Context(), config.Image)
	if err != nil {
		t.Fatal(err)
	}
	// Docker's own rule: an entrypoint given drops the image's command.
	entrypoint, cmd := config.Entrypoint, config.Cmd
	if len(entrypoint) == 0 {
		entrypoint = image.Config.Entrypoint
		if len(cmd) == 0 {
			cmd = image.Config.Cmd
		}
	}
	config.Entrypoint, config.Cmd = shim.Entrypoint(entrypoint, cmd), nil
	if config.Healthcheck != nil {
		config.Healthcheck.Test = shim.HealthCheck(config.Healthcheck.Test)
	}
	host.Mounts = append(host.Mounts, mount.Mount{Type: mount.TypeBind, Source: endpoint.Dir(), Target: shim.MountPoint, ReadOnly: true})
	id := enginetest.Create(t, w.docker, &config, &host)
	if err := endpoint.Bind(id); err != nil {
		t.Fatal(err)
	}
	return id, endpoint
}

func (w *world) run(t *testing.T, env []string, config container.Config, host container.HostConfig) enginetest.Result {
	t.Helper()
	id, _ := w.create(t, env, config, host)
	enginetest.Start(t, w.docker, id)
	return enginetest.Wait(t, w.docker, id)
}

// signals is what a process of a container that malote has nothing to do with says of the
// signals it ignores and blocks: none, or what dockerd was started with.
func (w *world) signals(t *testing.T) string {
	t.Helper()
	image := enginetest.Build(t, w.docker, enginetest.Image{Entrypoint: []string{"/app", "id"}})
	id := enginetest.Create(t, w.docker, &container.Config{Image: image}, &container.HostConfig{})
	enginetest.Start(t, w.docker, id)
	result := enginetest.Wait(t, w.docker, id)
	_, signals, ok := strings.Cut(result.Stdout, "cwd=/ ")
	if !ok {
		t.Fatalf("a plain container said %q, %q", result.Stdout, result.Stderr)
	}
	return signals
}

// unseen fails if Docker shows a value anywhere in its account of a container.
func (w *world) unseen(t *testing.T, id string, values ...string) {
	t.Helper()
	inspected, err := w.docker.ContainerInspect(t.Context(), id, client.ContainerInspectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	state, err := os.ReadFile(filepath.Join("/var/lib/docker/containers", id, "config.v2.json"))
	if err != nil {
		t.Fatal(err)
	}
	for where, text := range map[string]string{"docker inspect": string(inspected.Raw), "Docker's state": string(state), "the log": w.log.String()} {
		for _, value := range values {
			for _, form := range []string{value, base64.StdEncoding.EncodeToString([]byte(value)), hex.EncodeToString([]byte(value))} {
				if strings.Contains(text, form) {
					t.Errorf("%s holds a value", where)
				}
			}
		}
	}
}

func line(name, value string) string {
	return fmt.Sprintf("%s %x %d\n", name, sha256.Sum256([]byte(value)), len(value))
}

const canary = "canary-7fK2-of-the-shim"

func TestCommands(t *testing.T) {
	t.Parallel()
	t.Cleanup(func() { // the parent cgroup of one container below, which Docker makes and leaves
		for _, pattern := range []string{"/sys/fs/cgroup/malote-test", "/sys/fs/cgroup/*/malote-test"} {
			dirs, _ := filepath.Glob(pattern)
			for _, dir := range dirs {
				os.Remove(filepath.Join(dir, "task"))
				os.Remove(dir)
			}
		}
	})
	w := newWorld(t)
	secret := []string{"PASSWORD=" + canary}
	want := line("PASSWORD", canary)
	program := enginetest.Program(t)
	signals := w.signals(t)

	for _, tt := range []struct {
		name   string
		image  enginetest.Image
		config container.Config
		host   container.HostConfig
		want   string
		code   int
		stderr string
	}{
		{name: "ENTRYPOINT only", image: enginetest.Image{Entrypoint: []string{"/app", "env", "PASSWORD"}}, want: want},
		{name: "CMD only", image: enginetest.Image{Cmd: []string{"/app", "env", "PASSWORD"}}, want: want},
		{name: "both", image: enginetest.Image{Entrypoint: []string{"/app"}, Cmd: []string{"env", "PASSWORD"}}, want: want},
		{name: "command overridden", image: enginetest.Image{Entrypoint: []string{"/app"}, Cmd: []string{"exit", "9"}},
			config: container.Config{Cmd: []string{"env", "PASSWORD"}}, want: want},
		{name: "entrypoint overridden drops the image's command", image: enginetest.Image{Entrypoint: []string{"/absent"}, Cmd: []string{"exit", "9"}},
			config: container.Config{Entrypoint: []string{"/app", "env", "PASSWORD"}}, want: want},
		{name: "on PATH of the image", image: enginetest.Image{Env: []string{"PATH=/none:/opt/bin"}, Cmd: []string{"tool", "env", "PASSWORD"},
			Files: []enginetest.File{{Path: "/opt/bin/tool", Content: program, Mode: 0o755}}}, want: want},
		{name: "on Docker's own PATH", image: enginetest.Image{Cmd: []string{"tool", "env", "PASSWORD"},
			Files: []enginetest.File{{Path: "/usr/local/bin/tool", Content: program, Mode: 0o755}}}, want: want},
		{name: "relative to WORKDIR", image: enginetest.Image{WorkingDir: "/srv/site", Cmd: []string{"./bin/tool", "env", "PASSWORD", "then", "id"},
			Files: []enginetest.File{{Path: "/srv/site/bin/tool", Content: program, Mode: 0o755}}}, want: want + "pid=1 uid=0 gid=0 cwd=/srv/site " + signals},
		{name: "on a relative PATH", image: enginetest.Image{WorkingDir: "/srv", Env: []string{"PATH=bin"}, Cmd: []string{"tool", "env", "PASSWORD"},
			Files: []enginetest.File{{Path: "/srv/bin/tool", Content: program, Mode: 0o755}}}, want: want},
		{name: "non-root user", image: enginetest.Image{User: "app", Entrypoint: []string{"/app"}, Cmd: []string{"env", "PASSWORD", "then", "id"}},
			want: want + "pid=1 uid=1000 gid=1000 cwd=/ " + signals},
		{name: "unknown uid", image: enginetest.Image{Entrypoint: []string{"/app"}, Cmd: []string{"env", "PASSWORD"}},
			config: container.Config{User: "54321:54321"}, want: want},
		{name: "read-only root, no capabilities, no new privileges", image: enginetest.Image{User: "1000", Entrypoint: []string{"/app", "env", "PASSWORD"}},
			host: container.HostConfig{ReadonlyRootfs: true, CapDrop: []string{"ALL"}, SecurityOpt: []string{"no-new-privileges"}}, want: want},
		{name: "under Docker's init", image: enginetest.Image{Entrypoint: []string{"/app", "env", "PASSWORD"}},
			host: container.HostConfig{Init: new(true)}, want: want},
		{name: "in a memory limit", image: enginetest.Image{Entrypoint: []string{"/app", "env", "PASSWORD"}},
			host: container.HostConfig{Resources: container.Resources{Memory: 16 << 20}}, want: want},
		{name: "in a parent cgroup", image: enginetest.Image{Entrypoint: []string{"/app", "env", "PASSWORD"}},
			host: container.HostConfig{Resources: container.Resources{CgroupParent: "/malote-test/task"}}, want: want},
		{name: "arguments as they are", image: enginetest.Image{Entrypoint: []string{"/app", "argv", "a b", "", "$PASSWORD", `"`}},
			want: `["/app","argv","a b","","$PASSWORD","\""]` + "\n"},
		{name: "exit code", image: enginetest.Image{Entrypoint: []string{"/app"}, Cmd: []string{"exit", "42"}}, code: 42},
		{name: "not there", image: enginetest.Image{Cmd: []string{"absent"}}, code: 127, stderr: "malote-init: absent: executable file not found in $PATH\n"},
		{name: "path not there", image: enginetest.Image{Cmd: []string{"/opt/absent"}}, code: 127, stderr: "malote-init: /opt/absent: executable file not found in $PATH\n"},
		{name: "not executable", image: enginetest.Image{Cmd: []string{"/etc/passwd"}}, code: 126, stderr: "malote-init: /etc/passwd: permission denied\n"},
		{name: "a directory", image: enginetest.Image{Cmd: []string{"/etc"}}, code: 126, stderr: "malote-init: /etc: is a directory\n"},
		{name: "no program", image: enginetest.Image{Cmd: []string{"/text"}, Files: []enginetest.File{{Path: "/text", Content: []byte("text"), Mode: 0o755}}},
			code: 126, stderr: "malote-init: /text: exec format error\n"},
		{name: "no interpreter", image: enginetest.Image{Cmd: []string{"/script"}, Files: []enginetest.File{{Path: "/script", Content: []byte("#!/bin/absent\n"), Mode: 0o755}}},
			code: 127, stderr: "malote-init: /script: its interpreter or dynamic loader is not in the image\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.config.Image = enginetest.Build(t, w.docker, tt.image)
			got := w.run(t, secret, tt.config, tt.host)
			if got.Stdout != tt.want || got.ExitCode != tt.code || got.Stderr != tt.stderr {
				t.Errorf("stdout %q, stderr %q, exit code %d; want %q, %q, %d", got.Stdout, got.Stderr, got.ExitCode, tt.want, tt.stderr, tt.code)
			}
			w.unseen(t, got.ID, canary)
		})
	}
}

func TestValues(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	image := enginetest.Build(t, w.docker, enginetest.Image{Entrypoint: []string{"/app", "env"}, Env: []string{"FROM_IMAGE=image", "BOTH=image"}})

	values := map[string]string{
		"BIG":      strings.Repeat("0123456789abcdef", 4096),
		"PEM":      "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkq\nhkiG9w0BAQEFAASC==\n-----END PRIVATE KEY-----\n",
		"TRAILING": "line\n\n",
		"CRLF":     "a\r\nb",
		"DOLLAR":   "$HOME ${PATH} $$ $(id) `id`",
		"QUOTES":   `"double" 'single' \ back`,
		"EQUALS":   "a=b=c=",
		"EMPTY":    "",
		"SPACES":   "  both ends  ",
		"BYTES":    "\x01\x7f\x80\xff\xfe",
		"UNICODE":  "Zürich 東京 🔑",
		"JSON":     `{"a":[1e6,null],"b":"\u0000"}`,
		"BOTH":     "secret",
		"lower.-1": "odd name",
	}
	for i := range 200 {
		values[fmt.Sprintf("SECRET_%03d", i)] = fmt.Sprintf("%s-%d", canary, i)
	}
	var env []string
	var shown []string
	for name, value := range values {
		env = append(env, name+"="+value)
		if len(value) >= 16 {
			shown = append(shown, value)
		}
	}
	got := w.run(t, env, container.Config{Image: image}, container.HostConfig{})
	if got.ExitCode != 0 {
		t.Fatalf("exit code %d: %s", got.ExitCode, got.Stderr)
	}
	for name, value := range values {
		if strings.Count("\n"+got.Stdout, "\n"+line(name, value)) != 1 {
			t.Errorf("the container has not got %s once, byte for byte", name)
		}
	}
	if !strings.Contains(got.Stdout, line("FROM_IMAGE", "image")) {
		t.Error("the image's environment is gone")
	}
	if n := strings.Count(got.Stdout, "\n"); n != len(values)+4 { // FROM_IMAGE, PATH, HOME, HOSTNAME
		t.Errorf("%d variables, want %d", n, len(values)+4)
	}
	w.unseen(t, got.ID, shown...)
}

func TestTooBig(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	image := enginetest.Build(t, w.docker, enginetest.Image{Entrypoint: []string{"/app", "env"}})
	var env []string
	for i := range 20 {
		env = append(env, fmt.Sprintf("N%02d=%s", i, strings.Repeat("x", 120<<10)))
	}
	got := w.run(t, env, container.Config{Image: image}, container.HostConfig{})
	if got.ExitCode != 126 || !strings.HasPrefix(got.Stderr, "malote-init: /app: argument list too long: the environment has ") {
		t.Errorf("exit code %d, stderr %q", got.ExitCode, got.Stderr)
	}
	if _, err := w.server.Open("nul", shim.Payload{Env: []string{"KEY=a" + canary + "\x00b"}}); err == nil ||
		err.Error() != "opening endpoint nul: the value of environment variable KEY contains a NUL character, which no environment variable can hold" {
		t.Errorf("a NUL: %v", err)
	}
	if _, err := os.Stat(filepath.Join(w.dir, "nul")); err == nil {
		t.Error("a refused endpoint left its directory behind")
	}
}

func TestHealth(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	sum := fmt.Sprintf("%x", sha256.Sum256([]byte(canary)))
	image := enginetest.Build(t, w.docker, enginetest.Image{Entrypoint: []string{"/app"}, Cmd: []string{"trap", "0"}, Shell: true, User: "app"})
	for _, tt := range []struct {
		name string
		test []string
		want container.HealthStatus
	}{
		{"CMD", []string{"CMD", "/app", "check", "PASSWORD", sum}, container.Healthy},
		{"CMD-SHELL", []string{"CMD-SHELL", "check PASSWORD " + sum}, container.Healthy},
		{"CMD-SHELL expands", []string{"CMD-SHELL", "write /tmp/x $PASSWORD then exit 0"}, container.Healthy},
		{"wrong value", []string{"CMD", "/app", "check", "PASSWORD", "0"}, container.Unhealthy},
		{"not there", []string{"CMD", "absent"}, container.Unhealthy},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			id, _ := w.create(t, []string{"PASSWORD=" + canary}, container.Config{Image: image, Healthcheck: &dockerspec.HealthcheckConfig{
				Test: tt.test, Interval: time.Second, Timeout: 10 * time.Second, Retries: 1,
			}}, container.HostConfig{})
			enginetest.Start(t, w.docker, id)
			for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
				got, err := w.docker.ContainerInspect(t.Context(), id, client.ContainerInspectOptions{})
				if err != nil {
					t.Fatal(err)
				}
				if health := got.Container.State.Health; health.Status != container.Starting {
					if health.Status != tt.want {
						t.Errorf("health = %s, want %s: %v", health.Status, tt.want, health.Log)
					}
					break
				}
				if time.Now().After(deadline) {
					t.Fatal("no health in a minute")
				}
			}
			w.unseen(t, id, canary)
		})
	}
}

func TestSignal(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	image := enginetest.Build(t, w.docker, enginetest.Image{Entrypoint: []string{"/app", "trap", "7"}})
	id, _ := w.create(t, []string{"A=b"}, container.Config{Image: image}, container.HostConfig{})
	enginetest.Start(t, w.docker, id)
	enginetest.WaitFor(t, w.docker, id, "ready")
	if _, err := w.docker.ContainerStop(t.Context(), id, client.ContainerStopOptions{Timeout: new(60)}); err != nil {
		t.Fatal(err)
	}
	if got := enginetest.Wait(t, w.docker, id); got.ExitCode != 7 || got.Stdout != "ready\nterminated\n" {
		t.Errorf("exit code %d, stdout %q", got.ExitCode, got.Stdout)
	}
}

func TestOthersAreRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	image := enginetest.Build(t, w.docker, enginetest.Image{Entrypoint: []string{"/app"}, Cmd: []string{"trap", "0"}})
	id, endpoint := w.create(t, []string{"PASSWORD=" + canary}, container.Config{Image: image}, container.HostConfig{})
	enginetest.Start(t, w.docker, id)
	enginetest.WaitFor(t, w.docker, id, "ready")

	t.Run("another container that has the socket mounted", func(t *testing.T) {
		thief := enginetest.Create(t, w.docker, &container.Config{Image: image, Cmd: []string{"socket", "/.malote/socket"}},
			&container.HostConfig{Binds: []string{endpoint.Dir() + ":/.malote"}})
		enginetest.Start(t, w.docker, thief)
		if got := enginetest.Wait(t, w.docker, thief); got.Stdout != "refused\n" {
			t.Errorf("stdout %q, want refused", got.Stdout)
		}
		if log := w.log.String(); !strings.Contains(log, "the process is in container "+thief) {
			t.Errorf("no refusal in the log: %s", log)
		}
	})
	t.Run("another container that runs malote-init", func(t *testing.T) {
		thief := enginetest.Create(t, w.docker, &container.Config{Image: image, Entrypoint: shim.Entrypoint([]string{"/app"}, []string{"env"})},
			&container.HostConfig{Binds: []string{endpoint.Dir() + ":/.malote:ro"}})
		enginetest.Start(t, w.docker, thief)
		want := "malote-init: asking the engine for the environment: this process is not in the container that the environment belongs to\n"
		if got := enginetest.Wait(t, w.docker, thief); got.ExitCode != 125 || got.Stderr != want || got.Stdout != "" {
			t.Errorf("exit code %d, stdout %q, stderr %q", got.ExitCode, got.Stdout, got.Stderr)
		}
	})
	t.Run("a process of the host", func(t *testing.T) {
		if got := askSocket(t, filepath.Join(endpoint.Dir(), "socket")); got[0] != 1 || bytes.Contains(got, []byte(canary)) {
			t.Errorf("answer = %q, want a refusal", got)
		}
	})
	t.Run("the container itself is not", func(t *testing.T) {
		made, err := w.docker.ExecCreate(t.Context(), id, client.ExecCreateOptions{Cmd: shim.Exec([]string{"/app", "env", "PASSWORD"}), AttachStdout: true, AttachStderr: true})
		if err != nil {
			t.Fatal(err)
		}
		stream, err := w.docker.ExecAttach(t.Context(), made.ID, client.ExecAttachOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer stream.Close()
		var out bytes.Buffer
		out.ReadFrom(stream.Reader)
		if !strings.Contains(out.String(), line("PASSWORD", canary)) {
			t.Errorf("exec printed %q", out.String())
		}
	})
	if strings.Contains(w.log.String(), canary) {
		t.Error("the log holds a value")
	}
}

// While the engine is away a container's health does not suffer.
func TestEngineAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	image := enginetest.Build(t, w.docker, enginetest.Image{Entrypoint: []string{"/app", "trap", "0"}})
	type started struct{ name, id string }
	var all []started
	for name, config := range map[string]container.Config{"root": {}, "user": {User: "1000"}} {
		config.Image = image
		id, _ := w.create(t, []string{"PASSWORD=" + canary}, config, container.HostConfig{CapDrop: []string{"ALL"}})
		enginetest.Start(t, w.docker, id)
		enginetest.WaitFor(t, w.docker, id, "ready")
		all = append(all, started{name, id})
	}
	w.server.Close()
	for _, c := range all {
		made, err := w.docker.ExecCreate(t.Context(), c.id, client.ExecCreateOptions{Cmd: []string{"/.malote/init", "health", "--", "/app", "env", "PASSWORD"}, AttachStdout: true, AttachStderr: true})
		if err != nil {
			t.Fatal(err)
		}
		stream, err := w.docker.ExecAttach(t.Context(), made.ID, client.ExecAttachOptions{})
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		var out bytes.Buffer
		out.ReadFrom(stream.Reader)
		stream.Close()
		if !strings.Contains(out.String(), line("PASSWORD", canary)) || time.Since(start) > 5*time.Second {
			t.Errorf("as %s the health check printed %q after %s", c.name, out.String(), time.Since(start))
		}
	}
}

func TestRestart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	image := enginetest.Build(t, w.docker, enginetest.Image{Entrypoint: []string{"/app", "env", "PASSWORD"}})
	env := []string{"PASSWORD=" + canary}
	id, endpoint := w.create(t, env, container.Config{Image: image}, container.HostConfig{})
	stale, err := w.server.Open("stale", shim.Payload{})
	if err != nil {
		t.Fatal(err)
	}

	// The engine goes away between the container's creation and its start: malote-init waits for it.
	if err := w.server.Close(); err != nil {
		t.Fatal(err)
	}
	enginetest.Start(t, w.docker, id)
	w.server = w.serve(t)
	again, err := w.server.Open(endpoint.Name(), shim.Payload{Env: env})
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Bind(id); err != nil {
		t.Fatal(err)
	}
	if got := enginetest.Wait(t, w.docker, id); got.Stdout != line("PASSWORD", canary) {
		t.Errorf("after a restart of the engine: exit code %d, stdout %q, stderr %q", got.ExitCode, got.Stdout, got.Stderr)
	}
	// And again, for a container that is started a second time.
	enginetest.Start(t, w.docker, id)
	if got := enginetest.Wait(t, w.docker, id); !strings.HasSuffix(got.Stdout, line("PASSWORD", canary)) {
		t.Errorf("after a restart of the container: exit code %d, stdout %q, stderr %q", got.ExitCode, got.Stdout, got.Stderr)
	}

	if err := w.server.Sweep(func(string) bool { return false }); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(stale.Dir()); err == nil {
		t.Error("Sweep left an endpoint that nobody wants")
	}
	if _, err := os.Stat(again.Dir()); err != nil {
		t.Error("Sweep took an open endpoint")
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
	entries, _ := os.ReadDir(w.dir)
	names := []string{}
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	if want := []string{".malote-init"}; !slices.Equal(names, want) {
		t.Errorf("left behind: %q, want %q", names, want)
	}
}

// A container that is started again is given what there is by then.
func TestReplace(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const second = "canary-9sW1-of-the-shim"
	image := enginetest.Build(t, w.docker, enginetest.Image{Entrypoint: []string{"/app", "env", "PASSWORD", "MORE"}})
	id, endpoint := w.create(t, []string{"PASSWORD=" + canary}, container.Config{Image: image}, container.HostConfig{})
	enginetest.Start(t, w.docker, id)
	if got := enginetest.Wait(t, w.docker, id); got.ExitCode != 0 {
		t.Fatalf("%+v", got)
	}
	if err := endpoint.Replace(shim.Payload{Env: []string{"A=\x00"}}); err == nil {
		t.Error("Replace takes what no variable can hold")
	}
	if err := endpoint.Replace(shim.Payload{Env: []string{"PASSWORD=" + second, "MORE=x"}}); err != nil {
		t.Fatal(err)
	}
	enginetest.Start(t, w.docker, id)
	got := enginetest.Wait(t, w.docker, id)
	if want := "MORE absent\n" + line("PASSWORD", canary) + line("MORE", "x") + line("PASSWORD", second); got.ExitCode != 0 || got.Stdout != want {
		t.Errorf("got %+v, want %q", got, want)
	}
	w.unseen(t, id, canary, second)
	if err := endpoint.Close(); err != nil {
		t.Fatal(err)
	}
	if err := endpoint.Replace(shim.Payload{}); err == nil {
		t.Error("Replace serves an endpoint that is closed")
	}
}
