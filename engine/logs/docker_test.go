package logs_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/malote/malote/engine/enginetest"
	"github.com/malote/malote/engine/logs"
)

const (
	canary = "canary-of-the-log-5Zq"
	token  = "canary-token-Hx20"
)

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

// collector is an HTTP Event Collector that can go away.
type collector struct {
	*httptest.Server
	mu      sync.Mutex
	away    bool
	refused int
	events  []map[string]any
}

func newCollector(t *testing.T) *collector {
	c := &collector{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.away {
			c.refused++
			http.Error(w, `{"text":"Server is busy","code":9}`, http.StatusServiceUnavailable)
			return
		}
		if r.URL.Path != "/services/collector/event/1.0" {
			t.Errorf("path %s", r.URL.Path)
		}
		if r.Method == http.MethodOptions {
			return
		}
		if r.Header.Get("Authorization") != "Splunk "+token {
			http.Error(w, `{"text":"Invalid token","code":4}`, http.StatusForbidden)
			return
		}
		body := io.Reader(r.Body)
		if r.Header.Get("Content-Encoding") == "gzip" {
			var err error
			if body, err = gzip.NewReader(body); err != nil {
				t.Error(err)
			}
		}
		decoder := json.NewDecoder(body)
		for {
			var event map[string]any
			if err := decoder.Decode(&event); err == io.EOF {
				break
			} else if err != nil {
				t.Errorf("decoding events: %v", err)
				break
			}
			c.events = append(c.events, event)
		}
	}))
	t.Cleanup(c.Close)
	return c
}

func (c *collector) leave(away bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.away = away
}

func newForwarder(t *testing.T) (*logs.Forwarder, *lockedBuffer) {
	t.Helper()
	var log lockedBuffer
	f, err := logs.New(logs.Config{Dir: t.TempDir(), Log: slog.New(slog.NewJSONHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		f.Close(context.Background())
		for _, secret := range []string{canary, token} {
			if strings.Contains(log.String(), secret) {
				t.Error("the log holds a secret")
			}
		}
	})
	return f, &log
}

// run runs a command whose output goes through a stream, and waits until all has been shipped.
func run(t *testing.T, stream *logs.Stream, labels map[string]string, command ...string) (id string) {
	t.Helper()
	docker := enginetest.Docker(t)
	image := enginetest.Build(t, docker, enginetest.Image{Entrypoint: []string{"/app"}, Files: []enginetest.File{{Path: "/token", Content: []byte("token " + token + "\n")}}})
	driver, options := stream.Docker()
	id = enginetest.Create(t, docker, &container.Config{Image: image, Cmd: command, Env: []string{"PASSWORD=" + canary}, Labels: labels},
		&container.HostConfig{LogConfig: container.LogConfig{Type: driver, Config: options}})
	enginetest.Start(t, docker, id)
	wait := docker.ContainerWait(t.Context(), id, client.ContainerWaitOptions{Condition: container.WaitConditionNotRunning})
	select {
	case <-wait.Result:
	case err := <-wait.Error:
		t.Fatal(err)
	case <-time.After(time.Minute):
		t.Fatal("the container did not end in a minute")
	}
	inspected, err := docker.ContainerInspect(t.Context(), id, client.ContainerInspectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(inspected.Raw), token) {
		t.Error("docker inspect shows the token")
	}
	// Docker keeps no copy of the lines.
	filepath.WalkDir(filepath.Join("/var/lib/docker/containers", id), func(path string, entry os.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			if content, err := os.ReadFile(path); err == nil && bytes.Contains(content, []byte("plain line")) && !strings.Contains(path, "config") {
				t.Errorf("%s holds what was printed", path)
			}
		}
		return nil
	})
	stream.Close()
	return id
}

func shipped(t *testing.T, stream *logs.Stream) {
	t.Helper()
	select {
	case <-stream.Shipped():
	case <-time.After(time.Minute):
		t.Fatal("not shipped in a minute")
	}
}

func TestSplunk(t *testing.T) {
	t.Parallel()
	f, _ := newForwarder(t)
	c := newCollector(t)
	var printed lockedBuffer
	stream, err := f.Open(t.Context(), "task-0", logs.Spec{
		Driver: "splunk", Host: "host-1", Mask: []string{canary},
		Options: map[string]string{"splunk-url": c.URL, "splunk-source": "src", "splunk-sourcetype": "st", "splunk-index": "main", "splunk-gzip": "true",
			"splunk-format": "json", "tag": "{{.Name}}/{{.FullID}}", "labels": "team"},
		Secrets: map[string]string{"splunk-token": token},
		Output:  func(source string, line []byte) { fmt.Fprintf(&printed, "%s: %.40s\n", source, line) },
	})
	if err != nil {
		t.Fatal(err)
	}
	id := run(t, stream, map[string]string{"team": "a"}, "print", "plain line", "then", "warn", "oops", "then", "printenv", "PASSWORD",
		"then", "print", `{"level":"info","n":1e6}`, "then", "burst", "1", "40000", "then", "cat", "/token")
	shipped(t, stream)

	if len(c.events) != 6 {
		t.Fatalf("%d events, want 6: %v", len(c.events), c.events)
	}
	lines := map[string]string{} // by line, the source
	for _, event := range c.events {
		inner := event["event"].(map[string]any)
		line, err := json.Marshal(inner["line"])
		if err != nil {
			t.Fatal(err)
		}
		lines[string(line)] = inner["source"].(string)
		if tag := inner["tag"].(string); !strings.HasSuffix(tag, "/"+id) || !strings.HasPrefix(tag, "malote-test-") {
			t.Errorf("tag = %s", tag)
		}
		if inner["attrs"].(map[string]any)["team"] != "a" {
			t.Errorf("attrs = %v", inner["attrs"])
		}
		if event["host"] != "host-1" || event["source"] != "src" || event["sourcetype"] != "st" || event["index"] != "main" || !strings.Contains(event["time"].(string), ".") {
			t.Errorf("event = %v", event)
		}
	}
	long := `"line 0 ` + strings.Repeat("x", 40000-len("line 0 ")) + `"`
	for line, source := range map[string]string{`"plain line"`: "stdout", `"oops"`: "stderr", `"[sealed]"`: "stdout", `{"level":"info","n":1000000}`: "stdout", long: "stdout", `"token [sealed]"`: "stdout"} {
		if lines[line] != source {
			t.Errorf("no line %.60s on %s", line, source)
		}
	}
	if got := printed.String(); !strings.Contains(got, "stdout: plain line\n") || !strings.Contains(got, "stdout: [sealed]\n") {
		t.Errorf("Output got %q", got)
	}
}

func TestSplunkAway(t *testing.T) {
	t.Parallel()
	f, log := newForwarder(t)
	c := newCollector(t)
	stream, err := f.Open(t.Context(), "task-0", logs.Spec{
		Driver: "splunk", Mask: []string{canary}, Options: map[string]string{"splunk-url": c.URL, "splunk-format": "raw", "tag": ""}, Secrets: map[string]string{"splunk-token": token},
	})
	if err != nil {
		t.Fatal(err)
	}
	c.leave(true)
	run(t, stream, nil, "burst", "5000", "1000")
	select {
	case <-stream.Shipped():
		t.Fatal("shipped to one who is away")
	default:
	}
	// 5 MB do not fit into memory; what is in files is encrypted.
	files, err := filepath.Glob(filepath.Join(f.Dir, "spool", "*", "*"))
	if err != nil || len(files) == 0 {
		t.Errorf("no files in the spool: %v", err)
	}
	for _, file := range files {
		if content, err := os.ReadFile(file); err == nil && bytes.Contains(content, []byte("xxxxxx")) {
			t.Errorf("%s shows lines", file)
		}
	}
	c.leave(false)
	shipped(t, stream)
	if len(c.events) != 5000 || c.refused == 0 {
		t.Fatalf("%d events, %d refusals, log %s", len(c.events), c.refused, log)
	}
	for i, event := range c.events {
		if !strings.HasPrefix(event["event"].(string), fmt.Sprintf("line %d ", i)) {
			t.Fatalf("event %d is %.40s", i, event["event"])
		}
	}
	if files, _ := filepath.Glob(filepath.Join(f.Dir, "spool", "*")); len(files) != 0 {
		t.Errorf("left in the spool: %v", files)
	}
	if !strings.Contains(log.String(), "splunk answered 503 Service Unavailable (code 9)") {
		t.Errorf("log: %s", log)
	}
}

func TestSplunkRefusal(t *testing.T) {
	t.Parallel()
	f, log := newForwarder(t)
	var mu sync.Mutex
	var taken []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if bytes.Contains(body, []byte("poison")) {
			http.Error(w, `{"text":"Invalid data format","code":6}`, http.StatusBadRequest)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		taken = append(taken, string(body))
	}))
	defer server.Close()
	stream, err := f.Open(t.Context(), "task-0", logs.Spec{Driver: "splunk", Options: map[string]string{"splunk-url": server.URL, "splunk-verify-connection": "false"}, Secrets: map[string]string{"splunk-token": token}})
	if err != nil {
		t.Fatal(err)
	}
	run(t, stream, nil, "print", "one", "then", "print", "poison", "then", "print", "two")
	shipped(t, stream)
	if text := strings.Join(taken, ""); strings.Count(text, `"line"`) != 2 || !strings.Contains(log.String(), "the far end refuses a line, which is dropped") {
		t.Errorf("taken %s, log %s", text, log)
	}
}

func TestSplunkTLS(t *testing.T) {
	t.Parallel()
	f, _ := newForwarder(t)
	server := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	authorities := filepath.Join(t.TempDir(), "ca.pem")
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(authorities, certificate, 0o600); err != nil {
		t.Fatal(err)
	}
	for i, tt := range []struct {
		options map[string]string
		want    string
	}{
		{map[string]string{}, "certificate"},
		{map[string]string{"splunk-capath": authorities}, ""},
		{map[string]string{"splunk-capath": authorities, "splunk-caname": "another.test"}, "another.test"},
		{map[string]string{"splunk-capath": authorities, "splunk-caname": "example.com"}, ""},
		{map[string]string{"splunk-insecureskipverify": "true"}, ""},
	} {
		tt.options["splunk-url"] = server.URL
		stream, err := f.Open(t.Context(), fmt.Sprintf("task-%d", i), logs.Spec{Driver: "splunk", Options: tt.options, Secrets: map[string]string{"splunk-token": token}})
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v: Open = %v, want %q", tt.options, err, tt.want)
		}
		if err == nil {
			stream.Close()
		}
	}
}

// fluentdEnd is the far end of the forward protocol: it hangs up on the first message of each kind.
func fluentdEnd(t *testing.T, hangUps int) (address string, lines func() []string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	var mu sync.Mutex
	var got []string
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				r := bufio.NewReader(conn)
				for {
					value, err := decode(r)
					if err != nil {
						return
					}
					mu.Lock()
					if hangUps > 0 {
						hangUps--
						mu.Unlock()
						return
					}
					m := value.([]any)
					for _, event := range m[1].([]any) {
						record := event.([]any)[1].(map[string]any)
						got = append(got, fmt.Sprintf("%s %s %s", m[0], record["source"], record["log"]))
					}
					mu.Unlock()
					chunk := m[2].(map[string]any)["chunk"].(string)
					fmt.Fprintf(conn, "\x81\xa3ack\xd9%c%s", len(chunk), chunk)
				}
			}()
		}
	}()
	return listener.Addr().String(), func() []string {
		mu.Lock()
		defer mu.Unlock()
		return got
	}
}

// decode is the rest of MessagePack that the far end needs.
func decode(r *bufio.Reader) (any, error) {
	head, err := r.ReadByte()
	if err != nil {
		return nil, err
	}
	number := func(n int) int {
		b := make([]byte, 8)
		io.ReadFull(r, b[8-n:])
		return int(binary.BigEndian.Uint64(b))
	}
	text := func(n int) (any, error) {
		b := make([]byte, n)
		_, err := io.ReadFull(r, b)
		return string(b), err
	}
	array := func(n int) (any, error) {
		out := []any{}
		for range n {
			v, err := decode(r)
			if err != nil {
				return nil, err
			}
			out = append(out, v)
		}
		return out, nil
	}
	switch {
	case head>>4 == 8:
		out := map[string]any{}
		for range int(head & 0x0f) {
			k, err := decode(r)
			if err != nil {
				return nil, err
			}
			if out[k.(string)], err = decode(r); err != nil {
				return nil, err
			}
		}
		return out, nil
	case head>>4 == 9:
		return array(int(head & 0x0f))
	case head == 0xdc:
		return array(number(2))
	case head == 0xdd:
		return array(number(4))
	case head>>5 == 5:
		return text(int(head & 0x1f))
	case head == 0xd9:
		return text(number(1))
	case head == 0xda:
		return text(number(2))
	case head == 0xdb:
		return text(number(4))
	case head == 0xce:
		return number(4), nil
	case head == 0xd7:
		r.ReadByte()
		return number(8), nil
	}
	return nil, fmt.Errorf("byte %#x", head)
}

func TestFluentd(t *testing.T) {
	t.Parallel()
	f, _ := newForwarder(t)
	address, lines := fluentdEnd(t, 2)
	stream, err := f.Open(t.Context(), "task-0", logs.Spec{
		Driver: "fluentd", Mask: []string{canary}, Options: map[string]string{"tag": "app", "fluentd-sub-second-precision": "true", "fluentd-retry-wait": "50ms"},
		Secrets: map[string]string{"fluentd-address": address},
	})
	if err != nil {
		t.Fatal(err)
	}
	id := run(t, stream, nil, "burst", "100", "50", "then", "printenv", "PASSWORD", "then", "warn", "oops")
	shipped(t, stream)
	got := lines()
	if len(got) != 102 {
		t.Fatalf("%d lines: %q", len(got), got)
	}
	var out []string
	for _, line := range got {
		if strings.HasPrefix(line, "app stdout ") {
			out = append(out, line)
		} else if line != "app stderr oops" {
			t.Errorf("line %q", line)
		}
	}
	for i, line := range out[:100] {
		if !strings.HasPrefix(line, fmt.Sprintf("app stdout line %d xxx", i)) {
			t.Fatalf("line %d is %q", i, line)
		}
	}
	if out[100] != "app stdout [sealed]" {
		t.Errorf("the value came as %q", out[100])
	}
	docker := enginetest.Docker(t)
	inspected, err := docker.ContainerInspect(t.Context(), id, client.ContainerInspectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(inspected.Raw), address) {
		t.Error("docker inspect shows the address that secretOptions gave")
	}
}

// After a restart of the engine the container's log goes on where Docker kept it.
func TestRestart(t *testing.T) {
	t.Parallel()
	docker := enginetest.Docker(t)
	c := newCollector(t)
	spec := logs.Spec{Driver: "splunk", Options: map[string]string{"splunk-url": c.URL}, Secrets: map[string]string{"splunk-token": token}}
	dir := t.TempDir()
	f, err := logs.New(logs.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	stream, err := f.Open(t.Context(), "task-0", spec)
	if err != nil {
		t.Fatal(err)
	}
	image := enginetest.Build(t, docker, enginetest.Image{Entrypoint: []string{"/app"}})
	driver, options := stream.Docker()
	id := enginetest.Create(t, docker, &container.Config{Image: image, Cmd: []string{"print", "before", "then", "wait", "/tmp/go", "then", "print", "during", "then", "write", "/tmp/said", "x", "then", "wait", "/tmp/on", "then", "print", "after"}},
		&container.HostConfig{LogConfig: container.LogConfig{Type: driver, Config: options}})
	enginetest.Start(t, docker, id)
	count := func() int {
		c.mu.Lock()
		defer c.mu.Unlock()
		return len(c.events)
	}
	until(t, func() bool { return count() == 1 })
	if err := f.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	touch(t, docker, id, "/tmp/go")
	execute(t, docker, id, "wait", "/tmp/said")
	if f, err = logs.New(logs.Config{Dir: dir}); err != nil {
		t.Fatal(err)
	}
	defer f.Close(context.Background())
	// Docker may be back before the engine knows what it serves.
	time.Sleep(500 * time.Millisecond)
	if stream, err = f.Open(t.Context(), "task-0", spec); err != nil {
		t.Fatal(err)
	}
	touch(t, docker, id, "/tmp/on")
	until(t, func() bool { return count() >= 3 })
	stream.Close()
	shipped(t, stream)
	var got []string
	for _, event := range c.events {
		got = append(got, event["event"].(map[string]any)["line"].(string))
	}
	if want := []string{"before", "during", "after"}; !slices.Equal(got, want) {
		t.Errorf("lines = %q, want %q", got, want)
	}
}

func until(t *testing.T, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not so in a minute")
		}
	}
}

func touch(t *testing.T, docker *client.Client, id, path string) {
	t.Helper()
	execute(t, docker, id, "write", path, "x")
}

func execute(t *testing.T, docker *client.Client, id string, command ...string) {
	t.Helper()
	made, err := docker.ExecCreate(t.Context(), id, client.ExecCreateOptions{Cmd: append([]string{"/app"}, command...), AttachStdout: true})
	if err != nil {
		t.Fatal(err)
	}
	stream, err := docker.ExecAttach(t.Context(), made.ID, client.ExecAttachOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	io.Copy(io.Discard, stream.Reader)
}
