// Package rotationtest has what tests of rotation functions need: real servers, and a client
// that logs in all the time.
package rotationtest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// Server is a process of the test's own.
type Server struct {
	Port int
	Dir  string // its data
	Log  string // a file with what it said
}

// Dir is an empty directory that the account name owns, which is who servers run as when
// the test is root's. It is no t.TempDir: that is below a directory closed to others.
func Dir(t *testing.T, name string) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "malote-"+name+"-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if os.Geteuid() == 0 {
		credential := account(t, name)
		if err := os.Chown(dir, int(credential.Uid), int(credential.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func account(t *testing.T, name string) *syscall.Credential {
	t.Helper()
	who, err := user.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	uid, _ := strconv.Atoi(who.Uid)
	gid, _ := strconv.Atoi(who.Gid)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

// Command runs as the account name when the test is root's.
func Command(t *testing.T, name, program string, arguments ...string) *exec.Cmd {
	t.Helper()
	command := exec.Command(program, arguments...)
	command.Dir = "/"
	if os.Geteuid() == 0 {
		command.SysProcAttr = &syscall.SysProcAttr{Credential: account(t, name)}
	}
	return command
}

// FreePort is one that nobody listens on.
func FreePort(t *testing.T) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port
}

// Start runs command until the test ends and waits until it listens on port. SIGINT stops
// it: PostgreSQL, MariaDB and Redis all take that as a wish to end.
func Start(t *testing.T, command *exec.Cmd, port int, dir string) Server {
	t.Helper()
	path := filepath.Join(t.TempDir(), "server.log")
	log, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	command.Stdout, command.Stderr = log, log
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	log.Close()
	ended := make(chan struct{})
	go func() { command.Wait(); close(ended) }()
	t.Cleanup(func() {
		command.Process.Signal(syscall.SIGINT)
		select {
		case <-ended:
		case <-time.After(5 * time.Second):
			command.Process.Kill()
			<-ended
		}
	})
	for deadline := time.Now().Add(30 * time.Second); ; {
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			conn.Close()
			return Server{port, dir, path}
		}
		select {
		case <-ended:
		case <-time.After(50 * time.Millisecond):
			if time.Now().Before(deadline) {
				continue
			}
		}
		said, _ := os.ReadFile(path)
		t.Fatalf("%s does not listen: %s", command.Path, said)
	}
}
