package enginetest

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// Exclusive holds something that a host has once, such as the address
// 169.254.170.2, until the test ends. Tests of other processes wait for it.
func Exclusive(t testing.TB, what string) {
	t.Helper()
	file, err := os.OpenFile(filepath.Join(os.TempDir(), "malote-test-"+what+".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
}
