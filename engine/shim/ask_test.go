package shim_test

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
)

// askSocket speaks the protocol from this very process.
func askSocket(t *testing.T, path string) []byte {
	t.Helper()
	// The path may be longer than a socket's may be.
	short := filepath.Join(t.TempDir(), "s")
	if len(path) > 100 {
		dir, err := os.MkdirTemp("", "s")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		short = filepath.Join(dir, "d")
		if err := os.Symlink(filepath.Dir(path), short); err != nil {
			t.Fatal(err)
		}
		path = filepath.Join(short, filepath.Base(path))
	}
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "malote-init 1\n"); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}
