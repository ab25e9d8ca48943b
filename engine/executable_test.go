package engine

import (
	"testing"

	"golang.org/x/sys/unix"
)

// Debian mounts /run noexec, from where containers could not run malote-init.
func TestADirectoryThatIsNoexecGetsATmpfs(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("test", dir, "tmpfs", unix.MS_NOEXEC, ""); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(dir, unix.MNT_DETACH)
	sockets := dir + "/sockets"
	for range 2 { // the second engine finds it in place
		if err := executable(sockets); err != nil {
			t.Fatal(err)
		}
		var fs unix.Statfs_t
		if err := unix.Statfs(sockets, &fs); err != nil {
			t.Fatal(err)
		}
		if fs.Flags&unix.ST_NOEXEC != 0 {
			t.Error("it is still noexec")
		}
	}
	if err := unix.Unmount(sockets, 0); err != nil {
		t.Fatal(err)
	}
	if err := unix.Unmount(sockets, 0); err == nil {
		t.Error("it was mounted twice")
	}
}
