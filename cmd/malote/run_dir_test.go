package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestRunDirRemovesWhatKilledRunsLeft(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	left := filepath.Join(data, "runs", "run-killed", "disks", "task")
	if err := os.MkdirAll(left, 0o700); err != nil {
		t.Fatal(err)
	}
	first, releaseFirst, err := runDir(data, "run-1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Dir(filepath.Dir(left))); !os.IsNotExist(err) {
		t.Errorf("what a killed run left: %v", err)
	}
	_, releaseSecond, err := runDir(data, "run-2")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(first); err != nil {
		t.Errorf("a run that goes on: %v", err)
	}
	releaseFirst()
	releaseSecond()
	if entries, err := os.ReadDir(data); len(entries) != 0 || err != nil {
		t.Errorf("left: %v, %v", entries, err)
	}
}
