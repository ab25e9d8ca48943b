// Package bolt is a store in one file of the machine: go.etcd.io/bbolt, with a
// committer that joins concurrent writers into one durable transaction.
//
// An fsync is what a write waits for, and one is as dear for a hundred writers as
// for one. So writers take turns on one open bolt transaction, and when nobody waits
// it is committed and all of them have their answer. Each writes into memory of its
// own first (internal/tx): when its function fails or panics nothing has to be undone,
// and the next in turn never sees it.
package bolt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	bbolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/malote/malote/internal/recent"
	"github.com/malote/malote/store"
	"github.com/malote/malote/store/internal/nudge"
	"github.com/malote/malote/store/internal/tx"
)

// bucket is the only one. Keys and values are as given.
var bucket = []byte("store")

const (
	// A batch ends with these at the latest, so that the first in it need not wait for
	// an endless queue, and a transaction in memory stays small.
	maxBatchWriters = 1024
	maxBatchBytes   = 16 << 20

	// Room to map before the file outgrows it. While the map is moved to a larger one,
	// writers wait for running readers. Address space alone: nothing is allocated.
	initialMap = 1 << 30

	lockTimeout = 2 * time.Second
)

// Store implements store.Store.
type Store struct {
	db     *bbolt.DB
	nudges nudge.Hub
	known  known

	writers chan *writer
	done    chan struct{} // closed by Close: writers are turned away
	ended   chan struct{} // closed by the committer when it has left
	close   func() error
}

// writer is one call of Update.
type writer struct {
	ctx    context.Context
	turn   chan *tx.Tx // the committer's: run now
	ran    chan bool   // the writer's: its function has run; true to have its writes applied
	result chan error  // the committer's: how the batch ended
}

// Open opens the store in the file at path, which it makes if there is none. One
// process at a time can have it open.
func Open(path string) (*Store, error) {
	db, err := openFile(path)
	if errors.Is(err, berrors.ErrTimeout) {
		return nil, fmt.Errorf("store: %s is in use by another process", path)
	}
	if err != nil {
		return nil, fmt.Errorf("store: opening %s: %w", path, err)
	}
	if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o077 != 0 {
		db.Close()
		return nil, fmt.Errorf("store: %s may be read by others (mode %04o): chmod 600 it", path, info.Mode().Perm())
	}
	err = db.View(func(t *bbolt.Tx) error {
		if t.Bucket(bucket) == nil {
			return store.ErrNotFound
		}
		return nil
	})
	if err != nil { // a new file; else it is not written to before the first Update
		err = db.Update(func(t *bbolt.Tx) error {
			_, err := t.CreateBucketIfNotExists(bucket)
			return err
		})
		if err == nil {
			err = syncDir(filepath.Dir(path)) // else a power cut may take the file with all that was acknowledged
		}
	}
	if err != nil {
		db.Close()
		return nil, fmt.Errorf("store: preparing %s: %w", path, err)
	}
	s := &Store{
		db:      db,
		known:   known{values: recent.New[*value](knownEntries, knownBytes)},
		writers: make(chan *writer),
		done:    make(chan struct{}),
		ended:   make(chan struct{}),
	}
	s.close = sync.OnceValue(func() error {
		close(s.done)
		<-s.ended
		s.nudges.Close()
		return s.db.Close()
	})
	go s.commit()
	return s, nil
}

// openFile turns into an error what bbolt makes of a file that was cut off, or copied while
// it was written to: a panic, or a fault beyond the file's end.
func openFile(path string) (db *bbolt.DB, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if damage := recover(); damage != nil {
			err = fmt.Errorf("the file is damaged: %v", damage)
		}
	}()
	return bbolt.Open(path, 0o600, &bbolt.Options{
		Timeout:         lockTimeout,
		FreelistType:    bbolt.FreelistMapType,
		InitialMmapSize: initialMap,
	})
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

func (s *Store) View(ctx context.Context, fn func(store.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	t, err := s.db.Begin(false)
	if errors.Is(err, berrors.ErrDatabaseNotOpen) {
		return store.ErrClosed
	}
	if err != nil {
		return err
	}
	defer t.Rollback() // of a read-only transaction: ends it
	return tx.View(state{t.Bucket(bucket)}).Run(fn)
}

// Update runs fn on the caller's goroutine, so that a panic or a Goexit within is the
// caller's own.
func (s *Store) Update(ctx context.Context, fn func(store.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	w := &writer{ctx: ctx, turn: make(chan *tx.Tx), ran: make(chan bool, 1), result: make(chan error, 1)}
	select {
	case s.writers <- w:
	case <-ctx.Done():
		return ctx.Err()
	case <-s.done:
		return store.ErrClosed
	}
	var t *tx.Tx
	select {
	case t = <-w.turn:
	case err := <-w.result: // the batch could not begin
		return err
	case <-ctx.Done():
		return ctx.Err()
	}

	ran := false
	defer func() {
		if !ran { // a panic is on its way: the committer must not wait for it
			w.ran <- false
		}
	}()
	err := t.Run(fn)
	if err == nil {
		err = ctx.Err()
	}
	ran = true
	w.ran <- err == nil
	// What fn saw may have been written by the batch before it, so even its error counts
	// only once the batch is durable. From here on ctx cannot call the write back.
	if failed := <-w.result; failed != nil {
		return failed
	}
	return err
}

func (s *Store) Watch(ctx context.Context, prefix string) <-chan struct{} {
	return s.nudges.Watch(ctx, prefix)
}

// WriteTo copies the store, as it is at one moment, in the form of its file. Writers go on
// meanwhile, but for one that needs more room than is mapped: it waits for the copy.
func (s *Store) WriteTo(w io.Writer) (n int64, err error) {
	t, err := s.db.Begin(false)
	if errors.Is(err, berrors.ErrDatabaseNotOpen) {
		return 0, store.ErrClosed
	}
	if err != nil {
		return 0, fmt.Errorf("store: beginning a transaction: %w", err)
	}
	defer t.Rollback() // of a read-only transaction: ends it
	if n, err = t.WriteTo(w); err != nil {
		err = fmt.Errorf("store: copying: %w", err)
	}
	return n, err
}

func (s *Store) Close() error { return s.close() }

// commit is the committer: the only goroutine that writes to the database.
func (s *Store) commit() {
	defer close(s.ended)
	for {
		select {
		case w := <-s.writers:
			s.batch(w)
		case <-s.done:
			return
		}
	}
}

// batch gives first and whoever else waits a turn each, commits, and tells them.
func (s *Store) batch(first *writer) {
	t, err := s.db.Begin(true)
	if err != nil {
		first.result <- fmt.Errorf("store: beginning a transaction: %w", err)
		return
	}
	b := t.Bucket(bucket)
	batch := make([]*writer, 0, 64)
	var keys []string
	size := 0
	for w := first; w != nil; {
		batch = append(batch, w)
		if writes := turn(w, b); len(writes) > 0 && err == nil {
			for _, write := range writes {
				keys = append(keys, write.Key)
				size += len(write.Key) + len(write.Value)
			}
			err = apply(b, writes)
		}
		if err != nil || len(batch) == maxBatchWriters || size > maxBatchBytes {
			break
		}
		w = s.next()
	}

	switch {
	case err == nil && len(keys) > 0:
		s.known.change(keys)
		err = t.Commit()
		s.known.changed()
	default:
		t.Rollback()
	}
	if err != nil {
		err = fmt.Errorf("store: committing: %w", err)
	} else {
		s.nudges.Changed(keys...)
	}
	for _, w := range batch {
		w.result <- err
	}
}

// next returns a writer that waits already, or nil. Those who just had an answer get
// one chance to come back with their next write.
func (s *Store) next() *writer {
	for range 2 {
		select {
		case w := <-s.writers:
			return w
		default:
			runtime.Gosched()
		}
	}
	return nil
}

// turn lets w run and returns what it wrote, if that counts.
func turn(w *writer, b *bbolt.Bucket) []tx.Write {
	t := tx.Update(state{b})
	select {
	case w.turn <- t:
	case <-w.ctx.Done():
		return nil
	}
	if !<-w.ran {
		return nil
	}
	return t.Writes()
}

func apply(b *bbolt.Bucket, writes []tx.Write) error {
	for _, w := range writes {
		var err error
		if w.Value == nil {
			err = b.Delete([]byte(w.Key))
		} else {
			err = b.Put([]byte(w.Key), w.Value)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// state is a tx.Base over a bolt transaction. In one that writes, the bucket changes
// between turns alone.
type state struct{ bucket *bbolt.Bucket }

func (s state) Get(key string) ([]byte, error) {
	value := s.bucket.Get([]byte(key))
	if value == nil {
		return nil, store.ErrNotFound
	}
	return value, nil
}

func (s state) Scan(prefix, after string) iter.Seq2[store.Entry, error] {
	return func(yield func(store.Entry, error) bool) {
		c := s.bucket.Cursor()
		var k, v []byte
		if after >= prefix {
			if k, v = c.Seek([]byte(after)); k != nil && string(k) == after {
				k, v = c.Next()
			}
		} else {
			k, v = c.Seek([]byte(prefix))
		}
		for ; k != nil && bytes.HasPrefix(k, []byte(prefix)); k, v = c.Next() {
			if !yield(store.Entry{Key: string(k), Value: v}, nil) {
				return
			}
		}
	}
}
