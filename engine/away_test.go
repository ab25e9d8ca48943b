package engine_test

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/moby/moby/client"

	"github.com/malote/malote/engine"
	"github.com/malote/malote/engine/docker"
	"github.com/malote/malote/engine/enginetest"
)

// away stands between an engine and Docker, and can be gone, as Docker is while it
// restarts. The Docker Engine itself is shared by every test and stays up.
type away struct {
	t    testing.TB
	path string

	mu       sync.Mutex // guards the rest
	listener net.Listener
	conns    map[net.Conn]bool
}

func (a *away) come() {
	a.t.Helper()
	l, err := net.Listen("unix", a.path)
	if err != nil {
		a.t.Fatal(err)
	}
	a.mu.Lock()
	a.listener, a.conns = l, map[net.Conn]bool{}
	a.mu.Unlock()
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("unix", "/var/run/docker.sock")
			if err != nil {
				in.Close()
				continue
			}
			a.mu.Lock()
			a.conns[in], a.conns[out] = true, true
			a.mu.Unlock()
			go func() { io.Copy(out, in); out.(*net.UnixConn).CloseWrite() }()
			go func() { io.Copy(in, out); in.Close() }()
		}
	}()
}

func (a *away) leave() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.listener.Close()
	os.Remove(a.path)
	for c := range a.conns {
		c.Close()
	}
}

func TestWhatHappenedWhileDockerWasAwayIsReported(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir, err := os.MkdirTemp("", "malote") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	proxy := &away{t: t, path: filepath.Join(dir, "d.sock")}
	proxy.come()
	if w.config.Docker, err = docker.New("unix://" + proxy.path); err != nil {
		t.Fatal(err)
	}
	image := w.image(enginetest.Image{})
	other := container("other", image, "trap", "0")
	other.Essential = aws.Bool(false)
	e := w.start()
	ended := make(chan engine.Report, 1)
	go func() {
		r, err := e.RunTask(t.Context(), newTask(container("app", image, "print", "up", "then", "trap", "5"), other))
		if err != nil {
			t.Error(err)
		}
		ended <- r
	}()
	w.waitFor("app: ready")
	w.waitFor("other: ready")
	id := w.containers()["app"]
	proxy.leave()
	if _, err := w.docker.ContainerKill(t.Context(), id, client.ContainerKillOptions{Signal: "KILL"}); err != nil {
		t.Fatal(err)
	}
	enginetest.Wait(t, w.docker, id)
	proxy.come()
	t.Cleanup(proxy.leave)
	select {
	case r := <-ended:
		if exitCode(report(t, r, "app")) != 137 || r.StopCode != types.TaskStopCodeEssentialContainerExited || exitCode(report(t, r, "other")) != 0 {
			t.Errorf("ended as %+v", r)
		}
	case <-time.After(time.Minute):
		t.Error("the end of the container was not noticed")
	}
}

func TestWithoutDockerAnEngineSaysSo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var err error
	if w.config.Docker, err = docker.New("unix:///nonexistent/docker.sock"); err != nil {
		t.Fatal(err)
	}
	e, err := engine.New(w.config)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Start(t.Context()); err == nil {
		t.Error("it started without Docker")
	}
}
