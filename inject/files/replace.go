package files

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// replace writes every file beside its place, and only when all are on disk renames them. What
// is left over of one that failed is removed.
func replace(root *os.Root, ready []rendered) (err error) {
	var temporary []string
	defer func() {
		if err != nil {
			for _, name := range temporary {
				root.Remove(name)
			}
		}
	}()
	for _, r := range ready {
		dir := filepath.Dir(r.Name)
		if err := root.MkdirAll(dir, 0o755); err != nil {
			return &fieldError{r.Name, "file", fmt.Errorf("making its directory: %w", bare(err))}
		}
		// What would keep the file from being renamed is found before another one is.
		if info, err := root.Lstat(r.Name); err == nil && info.IsDir() {
			return &fieldError{r.Name, "file", errors.New("there is a directory of that name")}
		} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return &fieldError{r.Name, "file", bare(err)}
		}
		name := filepath.Join(dir, ".malote-"+rand.Text())
		file, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0)
		if err != nil {
			return &fieldError{r.Name, "file", fmt.Errorf("making it: %w", bare(err))}
		}
		temporary = append(temporary, name)
		if err := errors.Join(fill(file, r), file.Close()); err != nil {
			return err
		}
	}
	for i, r := range ready {
		if err := root.Rename(temporary[i], r.Name); err != nil {
			return &fieldError{r.Name, "file", fmt.Errorf("putting it in its place: %w", bare(err))}
		}
	}
	for _, r := range ready {
		dir, err := root.Open(filepath.Dir(r.Name))
		if err != nil {
			return &fieldError{r.Name, "file", bare(err)}
		}
		if err := errors.Join(dir.Sync(), dir.Close()); err != nil {
			return &fieldError{r.Name, "file", fmt.Errorf("syncing its directory: %w", bare(err))}
		}
	}
	return nil
}

// fill sets who may read the file, and only then writes what there is to read.
func fill(file *os.File, r rendered) error {
	fail := func(field, doing string, err error) error {
		return &fieldError{r.Name, field, fmt.Errorf("%s: %w", doing, bare(err))}
	}
	if r.uid >= 0 || r.gid >= 0 {
		if err := file.Chown(r.uid, r.gid); err != nil {
			field := "owner"
			if r.uid < 0 {
				field = "group"
			}
			return fail(field, "giving the file away, which only root may", err)
		}
	}
	mode, err := r.mode()
	if err != nil {
		return &fieldError{r.Name, "mode", err}
	}
	if err := file.Chmod(mode); err != nil {
		return fail("mode", "setting it", err)
	}
	if _, err := file.Write(r.bytes); err != nil {
		return full(fail, r, err)
	}
	if err := file.Sync(); err != nil {
		return full(fail, r, err)
	}
	return nil
}

func full(fail func(field, doing string, err error) error, r rendered, err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fail("file", fmt.Sprintf("the directory has no room for its %d bytes", len(r.bytes)), err)
	}
	return fail("file", "writing it", err)
}

// bare is the reason without the temporary file's name.
func bare(err error) error {
	if wrong := (*fs.PathError)(nil); errors.As(err, &wrong) {
		return wrong.Err
	}
	if wrong := (*os.LinkError)(nil); errors.As(err, &wrong) {
		return wrong.Err
	}
	return err
}
