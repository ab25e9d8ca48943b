package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A malote that does not answer runs all the same: whoever takes it for stopped opens its store.
func TestAskControl(t *testing.T) {
	t.Parallel()
	ask := func(ctx context.Context, dir string) error {
		_, err := callControl(ctx, dir, http.MethodGet, "/connection")
		return err
	}
	listen := func() (dir string, listener *net.UnixListener) {
		dir = t.TempDir()
		listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: controlSocket(dir), Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		return dir, listener
	}
	left, listener := listen()
	listener.SetUnlinkOnClose(false)
	listener.Close()
	for name, dir := range map[string]string{
		"no directory": filepath.Join(t.TempDir(), "none"), "no socket": t.TempDir(), "nobody at the socket": left,
		"a name for no socket": filepath.Join(t.TempDir(), strings.Repeat("long", 30)),
	} {
		if err := ask(t.Context(), dir); !errors.Is(err, errNotRunning) {
			t.Errorf("%s: %v, want %v", name, err, errNotRunning)
		}
	}

	dir, listener := listen()
	defer listener.Close()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			conn.Close()
		}
	}()
	if err := ask(t.Context(), dir); err == nil || errors.Is(err, errNotRunning) || !strings.HasPrefix(err.Error(), "asking the malote on "+dir+": ") {
		t.Errorf("one that hangs up: %v", err)
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if err := ask(over, dir); !errors.Is(err, context.Canceled) {
		t.Errorf("asked by one who is gone: %v", err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := ask(t.Context(), file); err == nil || errors.Is(err, errNotRunning) || !strings.HasSuffix(err.Error(), "not a directory") {
		t.Errorf("a data directory that is none: %v", err)
	}
}
