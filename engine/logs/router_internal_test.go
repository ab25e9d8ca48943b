package logs

import (
	"bufio"
	"bytes"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// say hands a stream a line, as dockerd does.
func say(t *testing.T, f *Forwarder, name, tag, line string) {
	t.Helper()
	conn, err := net.Dial("unix", f.socket)
	if err != nil {
		t.Fatal(err)
	}
	b := appendText(appendArray(nil, 3), name+"|"+tag)
	b = appendMap(appendTime(b, time.Unix(1, 5), true), 4)
	for _, text := range []string{"log", line, "source", "stdout", "container_id", "0123", "container_name", "/ecs-web-app"} {
		b = appendText(b, text)
	}
	if _, err := conn.Write(b); err != nil {
		t.Fatal(err)
	}
	conn.Close()
}

func ended(t *testing.T, s *Stream) {
	t.Helper()
	select {
	case <-s.Shipped():
	case <-time.After(30 * time.Second):
		t.Fatal("the stream does not end")
	}
}

func TestRouter(t *testing.T) {
	for _, acks := range []bool{true, false} {
		f, err := New(Config{Dir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close(t.Context())
		// Too long for an address.
		dir := filepath.Join(t.TempDir(), strings.Repeat("d", 120))
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		s, err := f.Open(t.Context(), "task-0", Spec{
			Driver: "awsfirelens", Options: map[string]string{"tag": "app-firelens-0123"}, Mask: []string{"the-secret"},
			Router: Router{Socket: filepath.Join(dir, "fluent.sock"), Acks: acks},
		})
		if err != nil {
			t.Fatal(err)
		}
		say(t, f, "task-0", "app-firelens-0123", "before there is a router, the-secret")

		// It comes late.
		t.Chdir(dir)
		l, err := net.Listen("unix", "fluent.sock")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		conn, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		d := decoder{bufio.NewReader(conn)}
		members, err := d.length(0x90, 0x0f, 0, 0xdc, 0xdd)
		if err != nil || (members == 3) != acks {
			t.Fatalf("a message of %d members, %v", members, err)
		}
		tag, err := d.text()
		if err != nil || tag != "app-firelens-0123" {
			t.Errorf("tag %q, %v", tag, err)
		}
		d.length(0x90, 0x0f, 0, 0xdc, 0xdd)
		d.length(0x90, 0x0f, 0, 0xdc, 0xdd)
		at, err := d.time()
		if err != nil || !at.Equal(time.Unix(1, 5)) {
			t.Errorf("time %v, %v", at, err)
		}
		record, err := d.texts()
		if err != nil || record["log"] != "before there is a router, [sealed]" || record["container_name"] != "/ecs-web-app" || record["container_id"] != "0123" || record["source"] != "stdout" {
			t.Errorf("record %v, %v", record, err)
		}
		if acks {
			option, err := d.texts()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := conn.Write(appendText(appendText(appendMap(nil, 1), "ack"), option["chunk"])); err != nil {
				t.Fatal(err)
			}
		}
		s.Close()
		ended(t, s)
	}
}

type lockedLog struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func TestARouterThatNeverComes(t *testing.T) {
	t.Parallel()
	var log lockedLog
	f, err := New(Config{Dir: t.TempDir(), Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close(t.Context())
	printed := make(chan string, 1)
	s, err := f.Open(t.Context(), "task-0", Spec{Driver: "awsfirelens", Router: Router{Socket: filepath.Join(t.TempDir(), "fluent.sock")}, Output: func(_ string, line []byte) { printed <- string(line) }})
	if err != nil {
		t.Fatal(err)
	}
	s.Abandon()
	say(t, f, "task-0", "app", "one")
	if got := <-printed; got != "one" {
		t.Errorf("Output got %q", got)
	}
	s.Close()
	ended(t, s)
	log.mu.Lock()
	defer log.mu.Unlock()
	if text := log.b.String(); !strings.Contains(text, "there is no far end any more") || !strings.Contains(text, "lines=1") {
		t.Errorf("log: %s", text)
	}
}

// Whoever owns the directory cannot send the engine, which is root, to another socket.
func TestARoutersSocketIsNoLink(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l, err := net.Listen("unix", filepath.Join(dir, "another.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for path, target := range map[string]string{"link": "another.sock", "file": ""} {
		path = filepath.Join(dir, path)
		if target != "" {
			err = os.Symlink(filepath.Join(dir, target), path)
		} else {
			err = os.WriteFile(path, nil, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		if conn, err := dialSocket(t.Context(), path); err == nil {
			conn.Close()
			t.Errorf("connected to %s", path)
		}
	}
	if conn, err := dialSocket(t.Context(), l.Addr().String()); err != nil {
		t.Errorf("a socket: %v", err)
	} else {
		conn.Close()
	}
}
