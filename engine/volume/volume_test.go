package volume

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func newManager(t *testing.T) *Manager {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("mounting a tmpfs takes root")
	}
	dir := t.TempDir()
	m, err := New(filepath.Join(dir, "volumes"), filepath.Join(dir, "disks"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		tasks, _ := m.Tasks()
		for _, task := range tasks {
			m.Remove(task)
		}
	})
	return m
}

func TestVolumeLivesInMemoryUntilRemoved(t *testing.T) {
	m := newManager(t)
	dir, err := m.Create("task1", "files", Options{})
	if err != nil {
		t.Fatal(err)
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		t.Fatal(err)
	}
	if fs.Type != unix.TMPFS_MAGIC {
		t.Errorf("the volume is on file system %#x, want a tmpfs", fs.Type)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("mode = %v, %v, want 0755", info.Mode(), err)
	}
	if err := os.WriteFile(filepath.Join(dir, "secret"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}

	// Another process of the same engine finds it with its files.
	again, err := New(m.dir, m.disks)
	if err != nil {
		t.Fatal(err)
	}
	if dir2, err := again.Create("task1", "files", Options{}); err != nil || dir2 != dir {
		t.Errorf("Create again = %q, %v, want %q", dir2, err, dir)
	}
	if _, err := os.Stat(filepath.Join(dir, "secret")); err != nil {
		t.Errorf("after a restart: %v", err)
	}
	tasks, err := again.Tasks()
	if diff := cmp.Diff([]string{"task1"}, tasks); diff != "" || err != nil {
		t.Errorf("Tasks() = %v, %v", tasks, err)
	}

	if err := again.Remove("task1"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(m.dir, "task1")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after Remove: %v, want nothing there", err)
	}
	if mounted, err := m.mounted(filepath.Join(m.dir, "task1", "files")); mounted || err != nil {
		t.Errorf("after Remove: mounted = %v, %v", mounted, err)
	}
	if err := again.Remove("task1"); err != nil {
		t.Errorf("removing twice: %v", err)
	}
}

func TestSizeBoundsAVolume(t *testing.T) {
	m := newManager(t)
	dir, err := m.Create("task1", "small", Options{Size: "64k", Mode: 0o700, UID: 7, GID: 8})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "big"), make([]byte, 1<<20), 0o600); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("writing 1 MiB into 64 KiB: %v, want ENOSPC", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o700 {
		t.Errorf("mode = %v, want 0700", info.Mode())
	}
}

func TestNamesStayInside(t *testing.T) {
	m := newManager(t)
	for _, name := range []string{"", "..", "a/b", "a\x00b"} {
		if _, err := m.Create("task", name, Options{}); err == nil {
			t.Errorf("Create(%q) was allowed", name)
		}
		if _, err := m.Create(name, "v", Options{}); err == nil {
			t.Errorf("Create of task %q was allowed", name)
		}
	}
	if _, err := m.Create("task", "v", Options{Size: "1m,uid=0"}); err == nil {
		t.Error("a size with further options was allowed")
	}
}
