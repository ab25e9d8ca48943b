// Package store keeps ordered keys in serializable transactions. It is the whole of
// what the control plane asks of a disk or of a cluster.
//
// It does not know what the values mean, nor that they are sealed (see keyring).
// Backends are its children; storetest holds what all of them promise. Typed records
// sit on top: see Table.
package store

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync/atomic"
)

var (
	// ErrNotFound is what Get answers for an absent key.
	ErrNotFound = errors.New("store: key not found")
	// ErrTooLarge refuses a transaction beyond MaxWrites or MaxBytes.
	ErrTooLarge = errors.New("store: transaction too large")
	// ErrReadOnly refuses a write within View.
	ErrReadOnly = errors.New("store: write in a read-only transaction")
	// ErrTxDone refuses the use of a Tx after its function returned.
	ErrTxDone = errors.New("store: transaction has ended")
	// ErrClosed is what a closed store answers.
	ErrClosed = errors.New("store: closed")
)

// What one transaction may hold, on any backend: the narrowest of them (etcd takes 128
// operations and 1.5 MB) decides for all, so that what works on one works on the others.
const (
	MaxKey    = 2048    // bytes of a key, which has at least one
	MaxWrites = 100     // keys put or deleted
	MaxBytes  = 1 << 20 // keys and values put, together
)

// Entry is one key with its value.
type Entry struct {
	Key   string
	Value []byte
	Memo  *Memo // of the value, where it is remembered; else nil
}

// A Tx sees one consistent state. Keys are ordered by byte. Deleting an absent key
// is not an error. Slices passed in or out are copies. A Tx belongs to the goroutine
// and to the duration of the function it was passed to.
type Tx interface {
	Get(key string) ([]byte, error) // ErrNotFound
	Put(key string, value []byte) error
	Delete(key string) error
	// Scan yields the entries whose key begins with prefix and is greater than after
	// ("" for all), in order. Writes of the same transaction are seen if they came
	// before the first step; the loop may write, which does not change what it yields.
	// An error is the last thing yielded.
	Scan(prefix, after string) iter.Seq2[Entry, error]
}

// Peeker is what a Tx may be besides. Peek is Get without the copy: the bytes are only
// to be read, and only before the transaction ends. It is for layers that compare them
// with what they know, as keyring does.
type Peeker interface {
	Peek(key string) ([]byte, error)
}

// Peek is tx.Peek where there is one, else tx.Get. The limits of Peeker's hold.
func Peek(tx Tx, key string) ([]byte, error) {
	if p, ok := tx.(Peeker); ok {
		return p.Peek(key)
	}
	return tx.Get(key)
}

// Memo is room beside a value that somebody remembers, for what a layer above makes of the
// value, so that it is made once. It goes with the value: another value at the same key has
// another Memo. The zero value is empty.
type Memo struct{ made atomic.Pointer[any] }

// Load returns what was stored last, or nil.
func (m *Memo) Load() any {
	if made := m.made.Load(); made != nil {
		return *made
	}
	return nil
}

// Store keeps what was made of the value.
func (m *Memo) Store(made any) { m.made.Store(&made) }

// MemoPeeker is what a Tx may be besides. PeekMemo is Peek of a value that may be remembered:
// then memo is not nil, and value stays as it is for ever, so that who keeps it needs no copy.
type MemoPeeker interface {
	PeekMemo(key string) (value []byte, memo *Memo, err error)
}

// PeekMemo is tx.PeekMemo where there is one, else Peek.
func PeekMemo(tx Tx, key string) (value []byte, memo *Memo, err error) {
	if p, ok := tx.(MemoPeeker); ok {
		return p.PeekMemo(key)
	}
	value, err = Peek(tx, key)
	return value, nil, err
}

// Looker is what a Store may be besides. Look is View for functions that only read keys
// they know, and that may be called again, as Update's: a store that remembers what it
// read lately can then do without a transaction of its own.
type Looker interface {
	Look(ctx context.Context, fn func(Tx) error) error
}

// Look is s.Look where there is one, else s.View.
func Look(ctx context.Context, s Store, fn func(Tx) error) error {
	if l, ok := s.(Looker); ok {
		return l.Look(ctx, fn)
	}
	return s.View(ctx, fn)
}

// Recaller is what a Store may be besides: Recall is what it remembers of a key, if that is
// what the key has now. It is for who reads one key and no more, and does without any transaction.
type Recaller interface {
	Recall(ctx context.Context, key string) (value []byte, memo *Memo, ok bool)
}

// A Store runs serializable transactions. Update may call fn again after a conflict,
// so fn acts on tx alone. An error from fn, or a panic, leaves no trace. When Update
// returns nil the write is durable; when it returns an error that is not fn's own, the
// write may have happened (a cluster can be lost between request and answer).
// Transactions do not nest.
type Store interface {
	View(ctx context.Context, fn func(Tx) error) error
	Update(ctx context.Context, fn func(Tx) error) error
	// Watch sends a nudge after keys below prefix changed: look again, it is never
	// the news itself. Nudges may be joined. The channel closes when ctx ends or the
	// store is closed. Look once after Watch returned: what changed before is not told.
	Watch(ctx context.Context, prefix string) <-chan struct{}
	Close() error
}

// CheckKey says whether key may be used in a store. Backends call it.
func CheckKey(key string) error {
	if key == "" {
		return errors.New("store: empty key")
	}
	if len(key) > MaxKey {
		return fmt.Errorf("store: key of %d bytes, at most %d are allowed", len(key), MaxKey)
	}
	return nil
}
