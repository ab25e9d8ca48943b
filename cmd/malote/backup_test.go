package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/malote/malote/store"
	"github.com/malote/malote/store/bolt"
	"github.com/malote/malote/store/etcd"
)

// serveCopies is a malote of which only the copying runs.
func serveCopies(t *testing.T, copyStore func(io.Writer) error) (dir string) {
	t.Helper()
	dir = t.TempDir()
	ctx, stop := context.WithCancel(t.Context())
	wait, err := serveControl(ctx, dir, slog.New(slog.DiscardHandler), control{copyStore: copyStore})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(); wait() })
	return dir
}

func TestBackupWhileWriting(t *testing.T) {
	t.Parallel()
	live, err := bolt.Open(filepath.Join(t.TempDir(), storeFile))
	if err != nil {
		t.Fatal(err)
	}
	defer live.Close()
	dir := serveCopies(t, func(w io.Writer) error { return copyStore(live, w) })
	info, err := os.Stat(controlSocket(dir))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket: %v, %v; want it to be its owner's alone", info, err)
	}

	key := func(n int64) string { return fmt.Sprintf("key/%08d", n) }
	value := bytes.Repeat([]byte("v"), 2000)
	var acknowledged atomic.Int64
	enough, ended := make(chan struct{}), make(chan error, 1)
	some := make(chan struct{})
	go func() {
		for n := int64(1); ; n++ {
			select {
			case <-enough:
				ended <- nil
				return
			default:
			}
			if err := live.Update(context.Background(), func(tx store.Tx) error { return tx.Put(key(n), value) }); err != nil {
				ended <- err
				return
			}
			acknowledged.Store(n)
			if n == 50 {
				close(some)
			}
		}
	}()
	select {
	case <-some:
	case err := <-ended:
		t.Fatal(err)
	}
	for round := range 5 {
		before := acknowledged.Load()
		file := filepath.Join(t.TempDir(), "copy.db")
		if err := (&backupCommand{File: file, DataDir: dir}).Run(t.Context(), &program{stderr: io.Discard}); err != nil {
			t.Fatal(err)
		}
		copied, err := bolt.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		err = copied.View(t.Context(), func(tx store.Tx) error {
			for n := int64(1); n <= before; n++ {
				got, err := tx.Get(key(n))
				if err != nil {
					return fmt.Errorf("%s of %d: %w", key(n), before, err)
				}
				if !bytes.Equal(got, value) {
					return fmt.Errorf("%s has another value", key(n))
				}
			}
			return nil
		})
		if err := errors.Join(err, copied.Close()); err != nil {
			t.Fatalf("backup %d: %v", round, err)
		}
	}
	close(enough)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}

// A copy that ends early leaves what was there, and nothing beside it.
func TestBackupBroken(t *testing.T) {
	t.Parallel()
	for _, sent := range []int{0, 1, 1 << 20} {
		dir := serveCopies(t, func(w io.Writer) error {
			if sent > 0 {
				if _, err := w.Write(make([]byte, sent)); err != nil {
					return err
				}
			}
			return errors.New("the disk is broken")
		})
		to := t.TempDir()
		file := filepath.Join(to, "copy.db")
		if err := os.WriteFile(file, []byte("the last copy"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := (&backupCommand{File: file, Replace: true, DataDir: dir}).Run(t.Context(), &program{stderr: io.Discard}); err == nil {
			t.Errorf("after %d bytes: no error", sent)
		}
		if kept, err := os.ReadFile(file); err != nil || string(kept) != "the last copy" {
			t.Errorf("after %d bytes: the last copy is %d bytes, %v", sent, len(kept), err)
		}
		if left, err := os.ReadDir(to); err != nil || len(left) != 1 {
			t.Errorf("after %d bytes: %v, %v", sent, left, err)
		}
	}
}

// What comes into the place of the copy while it is made is somebody's.
func TestBackupMeanwhile(t *testing.T) {
	t.Parallel()
	to := t.TempDir()
	file := filepath.Join(to, "copy.db")
	dir := serveCopies(t, func(w io.Writer) error {
		if err := os.WriteFile(file, []byte("another's"), 0o600); err != nil {
			return err
		}
		_, err := w.Write([]byte("the copy"))
		return err
	})
	backup := func(replace bool) error {
		return (&backupCommand{File: file, Replace: replace, DataDir: dir}).Run(t.Context(), &program{stderr: io.Discard})
	}
	err := backup(false)
	if hint := hinter(nil); err == nil || err.Error() != file+" is there already" || !errors.As(err, &hint) {
		t.Errorf("error %v, want one that says that %s is there already, with a hint", err, file)
	}
	if kept, err := os.ReadFile(file); err != nil || string(kept) != "another's" {
		t.Errorf("the file is %q, %v", kept, err)
	}
	if left, err := os.ReadDir(to); err != nil || len(left) != 1 {
		t.Errorf("left %v, %v", left, err)
	}
	if err := backup(true); err != nil {
		t.Error(err)
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != "the copy" {
		t.Errorf("replaced: the file is %q, %v", got, err)
	}
}

func TestBackupOfEtcd(t *testing.T) {
	t.Parallel()
	dir := serveCopies(t, func(w io.Writer) error { return copyStore(new(etcd.Store), w) })
	file := filepath.Join(t.TempDir(), "copy.db")
	err := (&backupCommand{File: file, DataDir: dir}).Run(t.Context(), &program{stderr: io.Discard})
	if err == nil || !strings.Contains(err.Error(), "etcdctl snapshot save") {
		t.Errorf("error %v, want one that names etcdctl snapshot save", err)
	}
	if exists(file) {
		t.Error("there is a file")
	}
}

func TestBackupOfNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	live, err := bolt.Open(filepath.Join(dir, storeFile))
	if err != nil {
		t.Fatal(err)
	}
	if err := live.Close(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "copy.db")
	if err := os.WriteFile(file, []byte("the last backup"), 0o600); err != nil {
		t.Fatal(err)
	}
	err = (&backupCommand{File: file, DataDir: dir, Replace: true}).Run(t.Context(), &program{stderr: io.Discard})
	if err == nil || !strings.Contains(err.Error(), "is empty") {
		t.Errorf("error %v, want one that says that the store is empty", err)
	}
	if kept, err := os.ReadFile(file); err != nil || string(kept) != "the last backup" {
		t.Errorf("the last backup is %q, %v", kept, err)
	}
}
