// Package etcdtest starts a real etcd for tests.
package etcdtest

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/malote/malote/store"
	"github.com/malote/malote/store/etcd"
)

// Server is an etcd that runs until Stop.
type Server struct {
	Endpoint string

	cmd    *exec.Cmd
	dir    string
	exited chan struct{}
	output bytes.Buffer // to be read once exited
	stores atomic.Int64
}

// Need fails the test without an etcd binary, unless MALOTE_TEST_WITHOUT, a list with commas,
// contains "etcd".
func Need(tb testing.TB) {
	tb.Helper()
	if _, err := exec.LookPath("etcd"); err != nil {
		if slices.Contains(strings.Split(os.Getenv("MALOTE_TEST_WITHOUT"), ","), "etcd") {
			tb.Skip("no etcd, as MALOTE_TEST_WITHOUT says")
		}
		tb.Fatal("no etcd binary: install Debian's etcd-server, or set MALOTE_TEST_WITHOUT=etcd")
	}
}

// Shared is one server for the tests of a package, started by the first that asks.
//
//	var shared etcdtest.Shared
//	func TestMain(m *testing.M) { os.Exit(shared.Main(m)) }
type Shared struct {
	once   sync.Once
	server *Server
	err    error
}

// Main runs the tests, and stops the server if there is one.
func (s *Shared) Main(m *testing.M) int {
	defer func() {
		if s.server != nil {
			s.server.Stop()
		}
	}()
	return m.Run()
}

// Server returns the shared server, and fails the test as Need does.
func (s *Shared) Server(tb testing.TB) *Server {
	tb.Helper()
	Need(tb)
	s.once.Do(func() { s.server, s.err = Start() })
	if s.err != nil {
		tb.Fatal(s.err)
	}
	return s.server
}

// Start runs etcd on free ports of the loopback interface, with its data in a
// temporary directory.
func Start() (*Server, error) { return startAgain("http", etcd.Config{}) }

// startAgain starts etcd with flags, where as is how a client finds it that knows what they ask for.
func startAgain(scheme string, as etcd.Config, flags ...string) (*Server, error) {
	var err error
	for range 5 { // a port can be taken between asking and using
		var s *Server
		if s, err = start(scheme, as, flags); err == nil {
			return s, nil
		}
	}
	return nil, err
}

func start(scheme string, as etcd.Config, flags []string) (*Server, error) {
	dir, err := os.MkdirTemp("", "etcdtest-")
	if err != nil {
		return nil, err
	}
	client, err := freeURL(scheme)
	if err != nil {
		return nil, err
	}
	peer, err := freeURL("http")
	if err != nil {
		return nil, err
	}
	s := &Server{Endpoint: client, dir: dir, exited: make(chan struct{})}
	s.cmd = exec.Command("etcd", append([]string{"--name", "test", "--data-dir", dir,
		"--listen-client-urls", client, "--advertise-client-urls", client,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "test=" + peer}, flags...)...)
	s.cmd.Stdout, s.cmd.Stderr = &s.output, &s.output
	if err := s.cmd.Start(); err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	go func() {
		s.cmd.Wait()
		close(s.exited)
	}()

	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for ctx.Err() == nil {
		select {
		case <-s.exited:
			os.RemoveAll(dir)
			return nil, fmt.Errorf("etcd exited: %s", s.output.Bytes())
		default:
		}
		as.Endpoints, as.Timeout = []string{client}, time.Second
		probe, err := etcd.Open(ctx, as)
		if err == nil {
			probe.Close()
			return s, nil
		}
	}
	s.Stop()
	return nil, fmt.Errorf("etcd does not answer: %s", s.output.Bytes())
}

func freeURL(scheme string) (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return scheme + "://" + l.Addr().String(), nil
}

// Stop ends the server and removes its data.
func (s *Server) Stop() {
	s.cmd.Process.Kill()
	<-s.exited
	os.RemoveAll(s.dir)
}

// Store opens an empty store, apart from all others of the server.
func (s *Server) Store(tb testing.TB) store.Store {
	tb.Helper()
	return s.Open(tb, fmt.Sprintf("test%d/", s.stores.Add(1)))
}

// Open opens the store whose keys begin with prefix.
func (s *Server) Open(tb testing.TB, prefix string) *etcd.Store {
	tb.Helper()
	opened, err := etcd.Open(tb.Context(), etcd.Config{Endpoints: []string{s.Endpoint}, Prefix: prefix, Timeout: 20 * time.Second})
	if err != nil {
		tb.Fatal(err)
	}
	return opened
}
