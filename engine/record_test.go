package engine

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// What an engine was writing when it was killed, the next one removes.
func TestUnfinishedRecordsAreRemoved(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	half := filepath.Join(dir, ".new-123")
	if err := os.WriteFile(half, []byte(`{"Task":`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := writeFile(filepath.Join(dir, "whole.json"), []byte(`{}`)); err != nil {
		t.Fatal(err)
	}
	records, err := readRecords(dir)
	if err != nil || len(records) != 1 {
		t.Errorf("readRecords: %d records, %v", len(records), err)
	}
	if _, err := os.Stat(half); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the half record is left: %v", err)
	}
}
