package bolt_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/malote/malote/store"
	"github.com/malote/malote/store/bolt"
	"github.com/malote/malote/store/storetest"
)

func open(tb testing.TB, dir string) store.Store {
	tb.Helper()
	s, err := bolt.Open(filepath.Join(dir, "store.db"))
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func TestStore(t *testing.T) {
	storetest.Test(t, func(tb testing.TB) store.Store { return open(tb, tb.TempDir()) })
}

func TestCrash(t *testing.T) {
	storetest.Crash(t, t.TempDir(), open)
}

func put(t *testing.T, s store.Store, key, value string) {
	t.Helper()
	if err := s.Update(t.Context(), func(tx store.Tx) error { return tx.Put(key, []byte(value)) }); err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, s store.Store, key string) string {
	t.Helper()
	var value []byte
	err := s.View(t.Context(), func(tx store.Tx) (err error) {
		value, err = tx.Get(key)
		return err
	})
	if err != nil {
		t.Fatalf("Get(%q): %v", key, err)
	}
	return string(value)
}

func TestReopen(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	put(t, s, "a", "1")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	defer s.Close()
	if got := get(t, s, "a"); got != "1" {
		t.Errorf("a = %q, want 1", got)
	}
	info, err := os.Stat(filepath.Join(dir, "store.db"))
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, want 0600", info.Mode())
	}
}

func TestWriteTo(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	put(t, s, "a", "before")
	file, err := os.OpenFile(filepath.Join(dir, "copy.db"), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	// The first bytes are out when the store changes: the copy is of before all the same.
	changed := false
	n, err := s.(io.WriterTo).WriteTo(writer(func(p []byte) (int, error) {
		if !changed {
			changed = true
			put(t, s, "a", "after")
		}
		return file.Write(p)
	}))
	if err != nil {
		t.Fatal(err)
	}
	if info, err := file.Stat(); err != nil || info.Size() != n || n == 0 {
		t.Errorf("%d bytes were told, of a file of %v, %v", n, info.Size(), err)
	}
	if got := get(t, s, "a"); got != "after" {
		t.Errorf("a = %q in the store, want after", got)
	}
	copied, err := bolt.Open(file.Name())
	if err != nil {
		t.Fatal(err)
	}
	defer copied.Close()
	if got := get(t, copied, "a"); got != "before" {
		t.Errorf("a = %q in the copy, want before", got)
	}

	full := errors.New("the disk is full")
	_, err = s.(io.WriterTo).WriteTo(writer(func([]byte) (int, error) { return 0, full }))
	if err == nil || !strings.Contains(err.Error(), full.Error()) { // bbolt does not wrap all of them
		t.Errorf("error %v, want that of the writer", err)
	}
	if err := s.Close(); err != nil { // waits for transactions that nobody ended
		t.Fatal(err)
	}
	if _, err := s.(io.WriterTo).WriteTo(io.Discard); !errors.Is(err, store.ErrClosed) {
		t.Errorf("error %v of a closed store, want ErrClosed", err)
	}
}

type writer func([]byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }

// A power cut in the middle of a commit leaves data pages of the new state, and a meta
// page that is half old, half new. The state before it must come up.
func TestTornWrite(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	put(t, s, "a", "acknowledged")
	put(t, s, "a", "torn")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "store.db")
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	page := os.Getpagesize()
	// bbolt writes meta pages 0 and 1 in turn. The transaction id stands 48 bytes into
	// the meta, which follows a page header of 16.
	newest, id := 0, func(meta int) uint64 { return binary.NativeEndian.Uint64(file[meta*page+16+48:]) }
	if id(1) > id(0) {
		newest = 1
	}
	clear(file[newest*page+16+32 : newest*page+page])
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}

	s = open(t, dir)
	defer s.Close()
	if got := get(t, s, "a"); got != "acknowledged" {
		t.Errorf("a = %q, want the state before the torn write", got)
	}
	put(t, s, "a", "again")
	if got := get(t, s, "a"); got != "again" {
		t.Errorf("a = %q after writing on", got)
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	t.Run("a second process", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		s := open(t, dir)
		defer s.Close()
		_, err := bolt.Open(filepath.Join(dir, "store.db"))
		if err == nil || !strings.Contains(err.Error(), "in use by another process") {
			t.Errorf("second Open: %v", err)
		}
	})
	t.Run("a file that others may read", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		open(t, dir).Close()
		path := filepath.Join(dir, "store.db")
		if err := os.Chmod(path, 0o640); err != nil {
			t.Fatal(err)
		}
		if _, err := bolt.Open(path); err == nil || !strings.Contains(err.Error(), "0640") {
			t.Errorf("Open: %v", err)
		}
	})
	for name, damage := range map[string]func(file *os.File, from, to int64) error{
		"a file that was cut off": func(file *os.File, from, _ int64) error { return file.Truncate(from) },
		"a file whose later pages are not its own": func(file *os.File, from, to int64) error {
			_, err := file.WriteAt(bytes.Repeat([]byte{0xa5}, int(to-from)), from)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			path := filepath.Join(dir, "store.db")
			s := open(t, dir)
			for i := range 50 { // the pages in use are none of the first then
				put(t, s, "key"+strconv.Itoa(i), strings.Repeat("v", 1000))
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			file, err := os.OpenFile(path, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			info, err := file.Stat()
			if err != nil {
				t.Fatal(err)
			}
			if err := damage(file, int64(3*os.Getpagesize()), info.Size()); err != nil {
				t.Fatal(err)
			}
			if _, err := bolt.Open(path); err == nil || !strings.Contains(err.Error(), path+": the file is damaged") {
				t.Errorf("Open: %v", err)
			}
		})
	}
	t.Run("something else", func(t *testing.T) {
		t.Parallel()
		path := filepath.Join(t.TempDir(), "store.db")
		if err := os.WriteFile(path, []byte(strings.Repeat("not a database ", 1000)), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := bolt.Open(path); err == nil {
			t.Error("Open succeeded")
		}
	})
}

// A writer that gave up while it waited does not hold up the others, nor run.
func TestGivingUp(t *testing.T) {
	s := open(t, t.TempDir())
	defer s.Close()
	inside, leave := make(chan struct{}), make(chan struct{})
	first := make(chan error)
	go func() {
		first <- s.Update(context.Background(), func(tx store.Tx) error {
			close(inside)
			<-leave
			return tx.Put("a", nil)
		})
	}()
	<-inside
	ctx, cancel := context.WithCancel(t.Context())
	second := make(chan error)
	go func() {
		second <- s.Update(ctx, func(store.Tx) error { t.Error("ran"); return nil })
	}()
	cancel()
	if err := <-second; !errors.Is(err, context.Canceled) {
		t.Errorf("Update = %v, want Canceled", err)
	}
	close(leave)
	if err := <-first; err != nil {
		t.Error(err)
	}
	put(t, s, "b", "")
}

func fill(b *testing.B, s store.Store, n int) {
	value := make([]byte, 1024)
	for i := 0; i < n; i += store.MaxWrites {
		err := s.Update(b.Context(), func(tx store.Tx) error {
			for j := i; j < min(n, i+store.MaxWrites); j++ {
				if err := tx.Put(fmt.Sprintf("key/%08d", j), value); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkGet(b *testing.B) {
	s := open(b, b.TempDir())
	defer s.Close()
	fill(b, s, 10_000)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i = (i + 7919) % 10_000
		key := fmt.Sprintf("key/%08d", i)
		if err := s.View(b.Context(), func(tx store.Tx) error { _, err := tx.Get(key); return err }); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPut(b *testing.B) {
	for _, writers := range []int{1, 64} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			s := open(b, b.TempDir())
			defer s.Close()
			fill(b, s, 10_000)
			value := make([]byte, 1024)
			var n atomic.Int64
			b.ReportAllocs()
			b.SetParallelism(writers)
			if writers == 1 {
				for b.Loop() {
					key := fmt.Sprintf("key/%08d", n.Add(7919)%10_000)
					if err := s.Update(b.Context(), func(tx store.Tx) error { return tx.Put(key, value) }); err != nil {
						b.Fatal(err)
					}
				}
				return
			}
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					key := fmt.Sprintf("key/%08d", n.Add(7919)%10_000)
					if err := s.Update(context.Background(), func(tx store.Tx) error { return tx.Put(key, value) }); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}
