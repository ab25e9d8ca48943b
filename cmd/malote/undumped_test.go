package main

import (
	"testing"

	"golang.org/x/sys/unix"
)

// Whoever opens a control plane can no longer be dumped, from before the root key is read:
// here it cannot be.
func TestOpenKeepsFromDumps(t *testing.T) {
	file := t.TempDir() + "/file"
	if err := unix.Mkfifo(file, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := (planeFlags{DataDir: file}).open(t.Context(), nil); err == nil {
		t.Fatal("a pipe was taken for a data directory")
	}
	dumpable, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	if err != nil || dumpable != 0 {
		t.Errorf("dumpable = %d, %v", dumpable, err)
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_CORE, &limit); err != nil || limit != (unix.Rlimit{}) {
		t.Errorf("limit of core dumps %+v, %v", limit, err)
	}
}
