// Package volume keeps the files that a task's containers share: in memory, or on disk under
// a key.
//
// It promises: a task's volumes are directories on a tmpfs of their own, which lives as
// long as the task, whichever of its containers come and go, and whose pages never reach
// a swap device where the kernel can promise that (6.4 and later); or they are on a disk
// of the task's, a file of which no byte of content and no name is readable, by a key that
// only the kernel has and that it loses when the task ends. Where that cannot be had there
// is an error, never a plain directory. Remove leaves nothing.
//
// It does not know where a key comes from.
//
// A Docker tmpfs volume would not do: Docker unmounts it, files and all, as soon as the
// last container that uses it exits, which is before the application starts when a
// sidecar writes them.
package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/malote/malote/internal/lazyregexp"
)

// Manager makes the volumes of tasks beneath directories of its own.
type Manager struct {
	dir   string
	disks string
	mu    sync.Mutex // held while mounts of volumes, and directories, change

	mkfs, loopControl string
	patience          time.Duration // with what still uses a disk that has to go
}

// New returns a manager of the volumes in dir, which survives the process: what an
// earlier one made is still there. Files of disks are in disks, which need not exist.
func New(dir, disks string) (*Manager, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	real, err := realPath(dir)
	if err != nil {
		return nil, err
	}
	parent, err := realPath(filepath.Dir(disks))
	if err != nil {
		return nil, err
	}
	return &Manager{
		dir: real, disks: filepath.Join(parent, filepath.Base(disks)),
		mkfs: "mkfs.ext4", loopControl: "/dev/loop-control", patience: 10 * time.Second,
	}, nil
}

// realPath is how the kernel lists mounts and the files of loop devices.
func realPath(path string) (string, error) {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(absolute)
}

// A dot comes first in names that no task definition can have.
var safe = lazyregexp.New(`^\.?[A-Za-z0-9_-]{1,255}$`)

// Options are a volume's own wishes.
type Options struct {
	Size string // as tmpfs takes it: 64m, 10%; empty: half of the memory
	Mode fs.FileMode
	UID  int
	GID  int
}

// Create makes a volume of a task, mode 0755 of root unless told otherwise, and returns
// its directory. One that exists is returned as it is.
func (m *Manager) Create(task, name string, o Options) (string, error) {
	if !safe.MatchString(task) || !safe.MatchString(name) {
		return "", fmt.Errorf("volume %q of task %q: the name has characters that a volume's may not", name, task)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	dir := filepath.Join(m.dir, task, name)
	mounted, err := m.mounted(dir)
	if err != nil {
		return "", err
	}
	if mounted {
		return m.Path(task, name), nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	if err := mount(dir, o.Size); err != nil {
		return "", fmt.Errorf("mounting a tmpfs for volume %q: %w", name, err)
	}
	data := filepath.Join(dir, "data")
	mode := o.Mode
	if mode == 0 {
		mode = 0o755
	}
	err = os.Mkdir(data, 0o755)
	if err == nil {
		err = errors.Join(os.Chown(data, o.UID, o.GID), os.Chmod(data, mode))
	}
	if err != nil {
		return "", errors.Join(fmt.Errorf("making volume %q: %w", name, err), m.unmount(dir))
	}
	return data, nil
}

// Path is the directory of a volume of a task, whether it exists or not.
func (m *Manager) Path(task, name string) string { return filepath.Join(m.dir, task, name, "data") }

func mount(dir, size string) error {
	options := "mode=0700"
	if size != "" {
		if strings.Contains(size, ",") {
			return fmt.Errorf("size %q is not one", size)
		}
		options += ",size=" + size
	}
	const flags = unix.MS_NOSUID | unix.MS_NODEV
	err := unix.Mount("malote", dir, "tmpfs", flags, options+",noswap")
	if errors.Is(err, unix.EINVAL) { // a kernel before 6.4 knows no noswap
		err = unix.Mount("malote", dir, "tmpfs", flags, options)
	}
	return err
}

// Remove drops all volumes and disks of a task. A task without any is no error.
func (m *Manager) Remove(task string) error {
	if !safe.MatchString(task) || task == mountsDir {
		return nil
	}
	if err := m.removeVolumes(task); err != nil {
		return err
	}
	return m.removeDisks(task)
}

func (m *Manager) removeVolumes(task string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	root := filepath.Join(m.dir, task)
	entries, err := os.ReadDir(root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		errs = append(errs, m.unmount(filepath.Join(root, e.Name())))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return os.Remove(root)
}

// unmount empties a tmpfs before it lets go, so that nothing outlives it in a mount
// namespace that still holds a copy. Of what is on a disk the key will go.
func (m *Manager) unmount(dir string) error {
	for {
		mounted, err := m.mounted(dir)
		if err != nil {
			return err
		}
		if !mounted {
			return os.RemoveAll(dir)
		}
		var on unix.Statfs_t
		if err := unix.Statfs(dir, &on); err != nil {
			return err
		}
		if on.Type == unix.TMPFS_MAGIC {
			if err := os.RemoveAll(filepath.Join(dir, "data")); err != nil && !errors.Is(err, unix.EBUSY) {
				return err
			}
		}
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			return fmt.Errorf("unmounting %s: %w", dir, err)
		}
	}
}

// mounted reports whether something is mounted at dir itself.
func (m *Manager) mounted(dir string) (bool, error) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return false, err
	}
	for line := range strings.Lines(string(mounts)) {
		if fields := strings.Fields(line); len(fields) > 4 && unescape.Replace(fields[4]) == dir {
			return true, nil
		}
	}
	return false, nil
}

var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

// Tasks returns the tasks that have volumes or disks.
func (m *Manager) Tasks() ([]string, error) {
	var tasks []string
	for _, dir := range []string{m.dir, filepath.Join(m.dir, mountsDir), m.disks} {
		entries, err := os.ReadDir(dir)
		if err != nil && (dir == m.dir || !errors.Is(err, fs.ErrNotExist)) {
			return nil, err
		}
		for _, e := range entries {
			if e.Name() != mountsDir && !slices.Contains(tasks, e.Name()) {
				tasks = append(tasks, e.Name())
			}
		}
	}
	return tasks, nil
}
