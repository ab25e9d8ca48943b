package volume

import (
	"bytes"
	"crypto/rand"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	canary = "c4n4ry-0n-d1sk-9Zt"
	size   = 64 << 20
)

func newKey() ([]byte, error) {
	k := make([]byte, KeySize)
	rand.Read(k)
	return k, nil
}

// newDisk makes a manager with a disk of task1, and a volume on it.
func newDisk(t *testing.T) (m *Manager, volume string) {
	t.Helper()
	m = newManager(t)
	if err := m.CreateDisk("task1", "disk", size, newKey); err != nil {
		t.Fatal(err)
	}
	volume, err := m.CreateOnDisk("task1", "files", "disk")
	if err != nil {
		t.Fatal(err)
	}
	return m, volume
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// inImage reports whether the file of the disk has text, once all is written.
func inImage(t *testing.T, m *Manager, text string) bool {
	t.Helper()
	unix.Sync()
	b, err := os.ReadFile(m.imagePath("task1", "disk"))
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Contains(b, []byte(text))
}

// traces are the mounts and loop devices that a manager has.
func traces(t *testing.T, m *Manager) (found []string) {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, filepath.Dir(m.dir)) {
			found = append(found, line)
		}
	}
	loops, _ := filepath.Glob("/sys/block/loop*/loop/backing_file")
	for _, l := range loops {
		if b, err := os.ReadFile(l); err == nil && strings.Contains(string(b), m.disks) {
			found = append(found, l)
		}
	}
	entries, err := os.ReadDir(m.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		found = append(found, e.Name())
	}
	if _, err := os.Stat(m.disks); err == nil {
		found = append(found, m.disks)
	}
	return found
}

func TestADiskIsUnreadableWithoutItsKey(t *testing.T) {
	m, volume := newDisk(t)
	write(t, filepath.Join(volume, canary), strings.Repeat(canary, 1000))
	if err := os.Symlink(canary, filepath.Join(volume, "link")); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(volume); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("mode = %v, %v, want 0755", info.Mode(), err)
	}
	// That a canary would be found is worth knowing.
	write(t, filepath.Join(m.mountPoint("task1", "disk"), "plain"), "beside-the-files")
	if !inImage(t, m, "beside-the-files") {
		t.Error("what is not encrypted is not in the file either: this test sees nothing")
	}
	if inImage(t, m, canary) {
		t.Error("the file of the disk has the canary")
	}
	if info, err := os.Stat(m.imagePath("task1", "disk")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file's mode = %v, %v", info.Mode(), err)
	}

	// A copy of the mount, as another mount namespace may have one, outlives the disk.
	elsewhere := t.TempDir()
	if err := unix.Mount(m.mountPoint("task1", "disk"), elsewhere, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	id, err := policyOf(filepath.Join(elsewhere, filesDir))
	if err != nil {
		t.Fatal(err)
	}
	if status, err := keyStatus(elsewhere, id); err != nil || status != unix.FSCRYPT_KEY_STATUS_PRESENT {
		t.Errorf("key status = %d, %v, want present", status, err)
	}
	if err := m.removeVolumes("task1"); err != nil {
		t.Fatal(err)
	}
	if err := m.forget(m.mountPoint("task1", "disk")); err != nil {
		t.Fatal(err)
	}
	if status, err := keyStatus(elsewhere, id); err != nil || status != unix.FSCRYPT_KEY_STATUS_ABSENT {
		t.Errorf("key status = %d, %v, want absent", status, err)
	}
	if _, err := os.ReadFile(filepath.Join(elsewhere, filesDir, "files/data", canary)); err == nil {
		t.Error("a file can be read without the key")
	}
	if err := m.CreateDisk("task1", "disk", size, newKey); err == nil || !strings.Contains(err.Error(), "key has left") {
		t.Errorf("a disk without its key was taken again: %v", err)
	}
	if err := unix.Unmount(elsewhere, 0); err != nil {
		t.Fatal(err)
	}
	if err := m.Remove("task1"); err != nil {
		t.Fatal(err)
	}
	if left := traces(t, m); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

func TestADiskOutlivesTheProcess(t *testing.T) {
	m, volume := newDisk(t)
	write(t, filepath.Join(volume, "x"), canary)
	again, err := New(m.dir, m.disks)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.CreateDisk("task1", "disk", size, func() ([]byte, error) { return nil, errors.New("no key is to be had any more") }); err != nil {
		t.Errorf("a disk that is there: %v", err)
	}
	if _, err := again.CreateOnDisk("task1", "files", "disk"); err != nil {
		t.Error(err)
	}
	second, err := again.CreateOnDisk("task1", "second", "disk")
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(second, "y"), "y")
	if b, err := os.ReadFile(filepath.Join(volume, "x")); string(b) != canary {
		t.Errorf("x = %q, %v", b, err)
	}
	if err := again.Remove("task1"); err != nil {
		t.Fatal(err)
	}
	if err := again.Remove("task1"); err != nil {
		t.Errorf("removing twice: %v", err)
	}
	if left := traces(t, m); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

// Of whatever step an engine is killed at, the next one makes a whole disk, or nothing.
func TestHalfADiskIsMadeAnew(t *testing.T) {
	for _, killed := range []struct {
		name string
		at   func(m *Manager)
	}{
		{"at mkfs", func(m *Manager) { m.mkfs = "false" }},
		{"at the loop device", func(m *Manager) { m.loopControl = "/dev/null" }},
	} {
		t.Run(killed.name, func(t *testing.T) {
			m := newManager(t)
			whole, err := New(m.dir, m.disks)
			if err != nil {
				t.Fatal(err)
			}
			killed.at(m)
			if err := m.makeDisk("task1", "disk", size, make([]byte, KeySize)); err == nil {
				t.Fatal("nothing failed")
			}
			if tasks, err := whole.Tasks(); len(tasks) != 1 || err != nil {
				t.Errorf("Tasks() = %v, %v", tasks, err)
			}
			if err := whole.CreateDisk("task1", "disk", size, newKey); err != nil {
				t.Fatal(err)
			}
			if _, err := whole.CreateOnDisk("task1", "files", "disk"); err != nil {
				t.Fatal(err)
			}
			if err := whole.Remove("task1"); err != nil {
				t.Fatal(err)
			}
			if left := traces(t, m); len(left) > 0 {
				t.Errorf("left: %q", left)
			}
		})
	}
	t.Run("before the policy", func(t *testing.T) {
		m, _ := newDisk(t)
		if err := m.removeVolumes("task1"); err != nil {
			t.Fatal(err)
		}
		at := filepath.Join(m.mountPoint("task1", "disk"), filesDir)
		if err := os.RemoveAll(at); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(at, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := m.CreateDisk("task1", "disk", size, newKey); err != nil {
			t.Fatal(err)
		}
		if _, err := policyOf(at); err != nil {
			t.Errorf("the new disk: %v", err)
		}
	})
}

func TestADisksSizeIsHeldTo(t *testing.T) {
	m, volume := newDisk(t)
	second, err := m.CreateOnDisk("task1", "second", "disk")
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(volume, "most"), strings.Repeat("x", 40<<20))
	if err := os.WriteFile(filepath.Join(second, "more"), make([]byte, 40<<20), 0o600); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("writing 80 MiB on a disk of 64: %v, want ENOSPC", err)
	}
}

func TestAnOpenFileKeepsADisk(t *testing.T) {
	m, volume := newDisk(t)
	m.patience = 100 * time.Millisecond
	write(t, filepath.Join(volume, "x"), canary)
	f, err := os.Open(filepath.Join(volume, "x"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := m.Remove("task1"); !errors.Is(err, errBusy) {
		t.Errorf("Remove = %v, want that files are open", err)
	}
	f.Close()
	if err := m.Remove("task1"); err != nil {
		t.Error(err)
	}
}

// Where something is missing there is no volume at all, and nobody was asked for a key.
func TestWhatIsMissingHasAName(t *testing.T) {
	refused := errors.New("the key is disabled")
	for _, tt := range []struct {
		want    string
		without func(m *Manager)
		key     error
	}{
		{"e2fsprogs", func(m *Manager) { m.mkfs = "/nowhere/mkfs.ext4" }, refused},
		{"module loop", func(m *Manager) { m.loopControl = "/dev/no-loop-control" }, refused},
		{refused.Error(), func(m *Manager) {}, refused},
		{"false -O encrypt: exit status 1", func(m *Manager) { m.mkfs = "false" }, nil},
	} {
		m := newManager(t)
		tt.without(m)
		err := m.CreateDisk("task1", "disk", size, func() ([]byte, error) { return make([]byte, KeySize), tt.key })
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("CreateDisk = %v, want %q", err, tt.want)
		}
		if _, err := m.CreateOnDisk("task1", "files", "disk"); err == nil {
			t.Error("there is a volume without a disk")
		}
		if left := traces(t, m); len(left) > 0 {
			t.Errorf("left: %q", left)
		}
	}
}

// A file system that cannot be encrypted is what a kernel without CONFIG_FS_ENCRYPTION has.
func TestNothingIsKeptInTheClear(t *testing.T) {
	m := newManager(t)
	plain := filepath.Join(t.TempDir(), "mkfs.ext4")
	real, err := exec.LookPath("mkfs.ext4")
	if err != nil {
		t.Fatal(err)
	}
	write(t, plain, "#!/bin/sh\nfor image; do :; done\nexec "+real+" -q -F \"$image\"\n")
	if err := os.Chmod(plain, 0o700); err != nil {
		t.Fatal(err)
	}
	m.mkfs = plain
	if err := m.CreateDisk("task1", "disk", size, newKey); err == nil || !strings.Contains(err.Error(), "CONFIG_FS_ENCRYPTION") {
		t.Errorf("CreateDisk = %v", err)
	}
	if left := traces(t, m); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}
