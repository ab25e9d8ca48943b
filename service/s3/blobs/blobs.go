// Package blobs keeps the sealed bodies of objects: in a folder, or in another's bucket.
//
// It promises: when a blob's Close has returned nil, it survives the machine's power; what
// was not closed so can be deleted by its name. It knows nothing of what it keeps.
package blobs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/malote/malote/service/s3"
)

// Folder keeps blobs as files, in folders by the first two characters of their names.
type Folder struct{ root *os.Root }

// OpenFolder opens a folder, and makes it where there is none.
func OpenFolder(dir string) (*Folder, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	f := &Folder{root}
	if err := f.prepare(dir); err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return f, nil
}

// prepare makes all folders that there will be, once, so that none has to be made to last
// while bodies are written.
func (f *Folder) prepare(dir string) error {
	if _, err := f.root.Stat("ff"); err == nil {
		return nil
	}
	for i := range 256 {
		if err := f.root.Mkdir(fmt.Sprintf("%02x", i), 0o700); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	parent, err := os.Open(filepath.Dir(dir))
	if err != nil {
		return err
	}
	return errors.Join(f.sync("."), parent.Sync(), parent.Close())
}

func path(name string) (folder, file string, err error) {
	if len(name) < 3 || strings.Trim(name, "0123456789abcdef") != "" {
		return "", "", fmt.Errorf("blobs: %q is no name of one", name)
	}
	return name[:2], filepath.Join(name[:2], name), nil
}

// Create implements s3.Blobs.
func (f *Folder) Create(_ context.Context, name string) (s3.Blob, error) {
	folder, file, err := path(name)
	if err != nil {
		return nil, err
	}
	opened, err := f.root.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	return &written{File: opened, folder: f, parent: folder, file: file}, nil
}

type written struct {
	*os.File
	folder       *Folder
	parent, file string
}

// Close makes it last.
func (w *written) Close() error {
	err := w.File.Sync()
	err = errors.Join(err, w.File.Close())
	if err == nil {
		err = w.folder.sync(w.parent)
	}
	return err
}

// Abort removes it.
func (w *written) Abort() error {
	return errors.Join(w.File.Close(), w.folder.root.Remove(w.file))
}

func (f *Folder) sync(folder string) error {
	d, err := f.root.Open(folder)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Open implements s3.Blobs.
func (f *Folder) Open(_ context.Context, name string, offset, length int64) (io.ReadCloser, error) {
	_, file, err := path(name)
	if err != nil {
		return nil, err
	}
	opened, err := f.root.Open(file)
	if err != nil {
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{io.NewSectionReader(opened, offset, length), opened}, nil
}

// Delete implements s3.Blobs.
func (f *Folder) Delete(_ context.Context, name string) error {
	_, file, err := path(name)
	if err != nil {
		return err
	}
	if err := f.root.Remove(file); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// Close ends the use of the folder.
func (f *Folder) Close() error { return f.root.Close() }
