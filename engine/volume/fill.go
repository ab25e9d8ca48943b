package volume

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Fill puts into a volume that is still empty what content yields: a tar of one directory,
// in which "." is the directory itself, whose owner and mode the volume then has. Content is
// called only if there is need for it; nil content means that there is nothing.
//
// What an earlier engine was killed at half of is done again. The volume may be in use
// already: wherever a container turns a path meanwhile, nothing is written outside of the
// volume. Calls for one volume must not overlap.
func (m *Manager) Fill(task, name string, content func() (io.ReadCloser, error)) error {
	if !safe.MatchString(task) || !safe.MatchString(name) {
		return fmt.Errorf("volume %q of task %q: the name has characters that a volume's may not", name, task)
	}
	dir := filepath.Join(m.dir, task, name)
	begun := filepath.Join(dir, "filling") // there while a volume is half full
	root, err := os.OpenRoot(filepath.Join(dir, "data"))
	if err != nil {
		return err
	}
	defer root.Close()
	if _, err := os.Lstat(begun); errors.Is(err, fs.ErrNotExist) {
		if empty, err := isEmpty(root); err != nil || !empty {
			return err
		}
	} else if err != nil {
		return err
	}
	in, err := content()
	if err != nil || in == nil {
		return err
	}
	defer in.Close()
	if err := os.WriteFile(begun, nil, 0o600); err != nil {
		return err
	}
	if err := unpack(root, tar.NewReader(in)); err != nil {
		return fmt.Errorf("filling volume %q with what the image has there: %w", name, err)
	}
	return os.Remove(begun)
}

func isEmpty(root *os.Root) (bool, error) {
	dir, err := root.Open(".")
	if err != nil {
		return false, err
	}
	defer dir.Close()
	_, err = dir.Readdirnames(1)
	if errors.Is(err, io.EOF) {
		return true, nil
	}
	return false, err
}

// unpack writes a tar below root. Directories get their mode and time when all else is
// there, since one that is read-only could not be filled.
func unpack(root *os.Root, in *tar.Reader) error {
	var dirs []*tar.Header
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		h.Name = strings.TrimPrefix(path.Clean("/"+h.Name), "/")
		if h.Name == "" {
			h.Name = "."
		}
		if h.Typeflag == tar.TypeDir {
			dirs = append(dirs, h)
		}
		if err := unpackOne(root, h, in); err != nil {
			return err
		}
	}
	for i := len(dirs) - 1; i >= 0; i-- {
		h := dirs[i]
		if err := errors.Join(root.Chmod(h.Name, h.FileInfo().Mode()), root.Chtimes(h.Name, h.ModTime, h.ModTime)); err != nil {
			return err
		}
	}
	return nil
}

func unpackOne(root *os.Root, h *tar.Header, content io.Reader) error {
	name, mode := h.Name, h.FileInfo().Mode()
	if name != "." {
		if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
			return err
		}
	}
	if h.Typeflag != tar.TypeDir {
		// Of an earlier attempt.
		if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	switch h.Typeflag {
	case tar.TypeDir:
		if name != "." {
			if err := root.Mkdir(name, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
				return err
			}
		}
	case tar.TypeReg:
		// Not to be followed or joined: O_EXCL.
		out, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		_, err = io.Copy(out, content)
		// The owner first: changing it takes setuid away.
		return errors.Join(err, out.Chown(h.Uid, h.Gid), out.Chmod(mode), out.Close(), root.Chtimes(name, h.ModTime, h.ModTime))
	case tar.TypeSymlink:
		if err := root.Symlink(h.Linkname, name); err != nil {
			return err
		}
	case tar.TypeLink:
		return root.Link(strings.TrimPrefix(path.Clean("/"+h.Linkname), "/"), name)
	case tar.TypeFifo, tar.TypeChar, tar.TypeBlock:
		return node(root, h)
	default:
		return fmt.Errorf("%s: an entry of the unknown type %q", name, h.Typeflag)
	}
	return root.Lchown(name, h.Uid, h.Gid)
}

// node makes what only the kernel can.
func node(root *os.Root, h *tar.Header) error {
	parent, err := root.Open(path.Dir(h.Name))
	if err != nil {
		return err
	}
	defer parent.Close()
	kind := map[byte]uint32{tar.TypeFifo: unix.S_IFIFO, tar.TypeChar: unix.S_IFCHR, tar.TypeBlock: unix.S_IFBLK}[h.Typeflag]
	base := path.Base(h.Name)
	err = unix.Mknodat(int(parent.Fd()), base, kind|uint32(h.Mode&0o777), int(unix.Mkdev(uint32(h.Devmajor), uint32(h.Devminor))))
	if err != nil {
		return fmt.Errorf("%s: %w", h.Name, err)
	}
	return errors.Join(root.Lchown(h.Name, h.Uid, h.Gid), root.Chmod(h.Name, h.FileInfo().Mode()))
}
