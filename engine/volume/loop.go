package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// able says what this host lacks for a disk, before anybody is asked for a key.
func (m *Manager) able() error {
	if _, err := exec.LookPath(m.mkfs); err != nil {
		return fmt.Errorf("an encrypted volume on disk needs %s, of the package e2fsprogs: %w", filepath.Base(m.mkfs), err)
	}
	if _, err := os.Stat(m.loopControl); err != nil {
		return fmt.Errorf("an encrypted volume on disk needs loop devices, and there is no %s; the kernel's module loop has them: %w", m.loopControl, err)
	}
	return nil
}

// format makes the file system. It has no journal: nobody opens it again after the kernel
// has gone down.
func (m *Manager) format(image string) error {
	out, err := exec.Command(m.mkfs, "-q", "-F", "-m", "0", "-O", "encrypt,^has_journal", "-E", "lazy_itable_init=1,nodiscard", image).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s -O encrypt: %w: %s", filepath.Base(m.mkfs), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// attach returns a loop device of a file, which it has until the device is closed and
// nothing is mounted from it: a process that is killed leaves none.
func (m *Manager) attach(file *os.File) (*os.File, error) {
	control, err := os.OpenFile(m.loopControl, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("looking for a free loop device: %w", err)
	}
	defer control.Close()
	config := unix.LoopConfig{Fd: uint32(file.Fd()), Info: unix.LoopInfo64{Flags: unix.LO_FLAGS_AUTOCLEAR}}
	copy(config.Info.File_name[:len(config.Info.File_name)-1], file.Name()) // for those who list devices
	var loop *os.File
	err = m.retry(unix.EBUSY, func() error { // somebody else was faster
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return err
		}
		if loop, err = openDevice(fmt.Sprintf("/dev/loop%d", n)); err != nil {
			return err
		}
		if err := unix.IoctlLoopConfigure(int(loop.Fd()), &config); err != nil {
			loop.Close()
			return err
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("attaching a loop device, for which the kernel has to be 5.8 or later: %w", err)
	}
	return loop, nil
}

// openDevice waits a little for the node of a new device.
func openDevice(path string) (loop *os.File, err error) {
	for range 50 {
		if loop, err = os.OpenFile(path, os.O_RDWR, 0); !errors.Is(err, fs.ErrNotExist) {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	return loop, err
}

var errAttached = errors.New("it is attached")

// detached waits until no loop device has a file any more.
func (m *Manager) detached(image string) error {
	return m.retry(errAttached, func() error {
		paths, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
		if err != nil {
			return err
		}
		for _, p := range paths {
			b, err := os.ReadFile(p)
			if err == nil && strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), " (deleted)") == image { // else gone meanwhile
				device := strings.Split(p, "/")[3]
				return fmt.Errorf("%s: /dev/%s holds on to it, since it is mounted elsewhere: %w", image, device, errAttached)
			}
		}
		return nil
	})
}
