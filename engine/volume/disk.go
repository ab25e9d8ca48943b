package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// A disk is a file system in a sparse file, encrypted by the kernel (fscrypt) under a key of
// its own, for volumes that are too large for memory. Its file is in Manager.disks, which a
// boot leaves alone, and its mount point in Manager.dir, which is in no backup.
//
// The key is in the kernel alone, for as long as the disk is there. After a boot nobody
// has it, and what the file holds is noise that Remove takes away.

// KeySize is how long a disk's key is: the longest that fscrypt takes, and long enough for
// kernels that want as much as the cipher itself does.
const KeySize = unix.FSCRYPT_MAX_KEY_SIZE

// filesDir is the directory of a disk that is encrypted, names included.
const filesDir = "files"

// mountsDir is in Manager.dir, and no task's name.
const mountsDir = ".disks"

func (m *Manager) mountPoint(task, disk string) string {
	return filepath.Join(m.dir, mountsDir, task, disk)
}
func (m *Manager) imagePath(task, disk string) string { return filepath.Join(m.disks, task, disk) }

// CreateDisk makes a disk of a task, of size bytes, under the key that key returns and that
// is overwritten then. One that exists, of an earlier process too, is taken as it is and
// key is not called. Calls for one task must not overlap.
func (m *Manager) CreateDisk(task, disk string, size int64, key func() ([]byte, error)) error {
	if !safe.MatchString(task) || !safe.MatchString(disk) {
		return fmt.Errorf("disk %q of task %q: the name has characters that one may not have", disk, task)
	}
	at := m.mountPoint(task, disk)
	if mounted, err := m.mounted(at); err != nil {
		return err
	} else if mounted {
		switch id, err := policyOf(filepath.Join(at, filesDir)); {
		case err == nil:
			return requireKey(at, id)
		case !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENODATA):
			return err
		}
	}
	// What a killed engine left at half of is empty.
	if err := m.removeDisk(task, disk); err != nil {
		return err
	}
	if err := m.able(); err != nil {
		return err
	}
	k, err := key()
	if err != nil {
		return err
	}
	defer clear(k)
	if err := m.makeDisk(task, disk, size, k); err != nil {
		return errors.Join(err, m.removeDisk(task, disk))
	}
	return nil
}

func (m *Manager) makeDisk(task, disk string, size int64, key []byte) error {
	at, image := m.mountPoint(task, disk), m.imagePath(task, disk)
	m.mu.Lock()
	err := errors.Join(os.MkdirAll(at, 0o700), os.MkdirAll(filepath.Dir(image), 0o700))
	m.mu.Unlock()
	if err != nil {
		return err
	}
	file, err := os.OpenFile(image, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := file.Truncate(size); err != nil {
		return fmt.Errorf("making a file of %d bytes: %w", size, err)
	}
	if err := m.format(image); err != nil {
		return err
	}
	loop, err := m.attach(file)
	if err != nil {
		return err
	}
	// Once nothing is mounted from it, the device lets go of the file by itself.
	defer loop.Close()
	const flags = unix.MS_NOSUID | unix.MS_NODEV
	// The file is sparse, and stays so: what is deleted in there is given back.
	if err := unix.Mount(loop.Name(), at, "ext4", flags, "discard,noinit_itable"); err != nil {
		return fmt.Errorf("mounting an ext4 file system from %s: %w", loop.Name(), err)
	}
	return encrypt(at, key)
}

// CreateOnDisk is Create for a volume on a disk of its task, whose size all of its volumes
// share.
func (m *Manager) CreateOnDisk(task, name, disk string) (string, error) {
	if !safe.MatchString(task) || !safe.MatchString(name) || !safe.MatchString(disk) {
		return "", fmt.Errorf("volume %q of task %q: the name has characters that a volume's may not", name, task)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	dir := filepath.Join(m.dir, task, name)
	if mounted, err := m.mounted(dir); err != nil || mounted {
		return m.Path(task, name), err
	}
	at := m.mountPoint(task, disk)
	if mounted, err := m.mounted(at); err != nil {
		return "", err
	} else if !mounted {
		return "", fmt.Errorf("disk %q of task %q is not there", disk, task)
	}
	source := filepath.Join(at, filesDir, name)
	if err := os.MkdirAll(filepath.Join(source, "data"), 0o755); err != nil {
		return "", err
	}
	if err := errors.Join(os.Chmod(source, 0o700), os.Chmod(filepath.Join(source, "data"), 0o755)); err != nil { // whatever the umask is
		return "", err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	if err := unix.Mount(source, dir, "", unix.MS_BIND, ""); err != nil {
		return "", fmt.Errorf("mounting volume %q: %w", name, err)
	}
	return m.Path(task, name), nil
}

// removeDisks drops the disks of a task, from which no volume is mounted any more.
func (m *Manager) removeDisks(task string) error {
	disks := map[string]bool{}
	for _, dir := range []string{filepath.Join(m.dir, mountsDir, task), filepath.Join(m.disks, task)} {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for _, e := range entries {
			disks[e.Name()] = true
		}
	}
	var errs []error
	for disk := range disks {
		errs = append(errs, m.removeDisk(task, disk))
	}
	return errors.Join(errs...)
}

// removeDisk takes a disk's key from the kernel, sees that it is gone, and then removes the
// rest. Whatever there is of a disk will do.
func (m *Manager) removeDisk(task, disk string) error {
	at, image := m.mountPoint(task, disk), m.imagePath(task, disk)
	mounted, err := m.mounted(at)
	if err != nil {
		return err
	}
	if mounted {
		if err := m.forget(at); err != nil {
			return err
		}
		if err := m.retry(unix.EBUSY, func() error { return unix.Unmount(at, 0) }); err != nil {
			return fmt.Errorf("unmounting %s: %w", at, err)
		}
	}
	if err := m.detached(image); err != nil {
		return err
	}
	m.mu.Lock() // nobody makes a directory in one that goes
	defer m.mu.Unlock()
	for _, path := range []string{image, at} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for _, dir := range []string{filepath.Dir(path), filepath.Dir(filepath.Dir(path))} {
			if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTEMPTY) {
				return err
			}
		}
	}
	return nil
}

// retry does something for as long as it answers passing, within reason. Containers that are
// just being made hold copies of every mount for a moment.
func (m *Manager) retry(passing error, do func() error) error {
	deadline := time.Now().Add(m.patience)
	for {
		err := do()
		if !errors.Is(err, passing) || time.Now().After(deadline) {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
}
