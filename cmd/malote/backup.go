package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/malote/malote/store"
	"github.com/malote/malote/store/bolt"
)

type backupCommand struct {
	File    string `arg:"" help:"Where the copy goes."`
	Replace bool   `help:"Replace a FILE that is there, once the new one is whole."`
	DataDir string `help:"Whose store." env:"MALOTE_DATA_DIR" placeholder:"DIR"`
	Store   string `help:"The etcd cluster, if data is there: of that, etcdctl snapshot save makes a copy, and this command none." env:"MALOTE_STORE" placeholder:"URL"`
}

func (backupCommand) Help() string {
	return `The copy is of one moment, whether malote runs or not; cp of a running malote's
malote.db is not, and may not open. It is sealed as the store is: without root.key it
opens for nobody, so keep that elsewhere. Bodies of S3's objects and the audit are files
beside the store, to be copied afterwards: see docs/operations.md.

    malote backup /backup/malote.db`
}

func (c *backupCommand) Run(ctx context.Context, p *program) error {
	dir := dataDirOr(c.DataDir)
	if c.Store != "" { // a malote.db from before the move to etcd would pass for the data
		return fmt.Errorf("copying the store of %s: %w", dir, errInEtcd)
	}
	if err := c.free(filepath.Join(dir, storeFile)); err != nil {
		return err
	}
	size, err := writeFile(c.File, c.Replace, func(w io.Writer) error {
		err := copyControl(ctx, dir, "/store", w)
		if errors.Is(err, errNotRunning) {
			err = copyStopped(ctx, dir, w)
		}
		return err
	})
	if errors.Is(err, fs.ErrExist) && !c.Replace {
		return c.thereAlready()
	}
	if err != nil {
		return fmt.Errorf("copying the store of %s: %w", dir, err)
	}
	_, err = fmt.Fprintf(p.stderr, "malote: %s is a copy of the store, %d bytes; it opens with %s alone\n", c.File, size, filepath.Join(dir, rootKeyFile))
	return err
}

// errInEtcd says who copies what is in a cluster.
var errInEtcd = errors.New("the data is in an etcd cluster, of which etcdctl snapshot save makes a copy")

// free says whether the copy may go to its file, before anything is copied.
func (c *backupCommand) free(live string) error {
	there, err := os.Lstat(c.File)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !c.Replace:
		return c.thereAlready()
	}
	// What a running malote writes from then on would go to a file without a name.
	if store, err := os.Stat(live); err == nil && os.SameFile(there, store) {
		return fmt.Errorf("%s is the store itself", c.File)
	}
	return nil
}

func (c *backupCommand) thereAlready() error {
	return &hintError{fmt.Errorf("%s is there already", c.File), "--replace puts the copy in its place"}
}

// copyStopped copies the store of a malote that does not run.
func copyStopped(ctx context.Context, dir string, w io.Writer) (err error) {
	path := filepath.Join(dir, storeFile)
	if !exists(path) {
		return fmt.Errorf("there is no %s", path)
	}
	opened, err := bolt.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, opened.Close()) }()
	switch none, err := isNew(ctx, opened); {
	case err != nil:
		return err
	case none: // it is no backup to put in the place of another
		return fmt.Errorf("%s is empty", path)
	}
	return copyStore(opened, w)
}

// copyStore writes the store's file to w as it is at one moment.
func copyStore(s store.Store, w io.Writer) error {
	file, ok := s.(io.WriterTo)
	if !ok {
		return errInEtcd
	}
	_, err := file.WriteTo(w)
	return err
}

// copyControl writes to w what the malote that runs on dataDir answers.
func copyControl(ctx context.Context, dataDir, path string, w io.Writer) error {
	response, err := askControl(ctx, dataDir, http.MethodGet, path)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	_, err = io.Copy(w, response.Body)
	return err
}

// writeFile writes a file for its owner alone, whole or not at all, and tells its size. Unless it
// may replace one, a file that is there when the new one is whole stays: fs.ErrExist.
func writeFile(path string, replace bool, write func(io.Writer) error) (size int64, err error) {
	file, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // mode 0600
	if err != nil {
		return 0, err
	}
	defer os.Remove(file.Name()) // there is none any more when all went well
	err = write(file)
	if err == nil {
		err = file.Sync()
	}
	if info, failed := file.Stat(); failed == nil {
		size = info.Size()
	} else if err == nil {
		err = failed
	}
	if closed := file.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = place(file.Name(), path, replace)
	}
	if err != nil {
		return 0, err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return 0, err
	}
	defer dir.Close()
	return size, dir.Sync()
}

// place gives a file its name.
func place(file, path string, replace bool) error {
	if replace {
		return os.Rename(file, path)
	}
	err := os.Link(file, path)
	if err == nil {
		return os.Remove(file)
	}
	if errors.Is(err, fs.ErrExist) {
		return err
	}
	// A file system without links.
	if err := unix.Renameat2(unix.AT_FDCWD, file, unix.AT_FDCWD, path, unix.RENAME_NOREPLACE); err != nil {
		return &os.LinkError{Op: "rename", Old: file, New: path, Err: err}
	}
	return nil
}
