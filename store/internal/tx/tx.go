// Package tx is the transaction that the backends share: writes wait in memory, over
// a base that does not change, until the backend applies them all or none.
package tx

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/malote/malote/store"
)

// Base is one committed state of a backend. The slices it gives are only read, and
// only before the transaction ends.
type Base interface {
	Get(key string) ([]byte, error)
	Scan(prefix, after string) iter.Seq2[store.Entry, error]
}

// Tx implements store.Tx.
type Tx struct {
	base     Base
	writable bool
	done     bool
	writes   map[string][]byte // nil for a delete
	size     int
}

// View returns a read-only transaction.
func View(base Base) *Tx { t := Within(base); return &t }

// Within is View for who has room for it.
func Within(base Base) Tx { return Tx{base: base} }

// Update returns a transaction that gathers writes.
func Update(base Base) *Tx { return &Tx{base: base, writable: true} }

// Run calls fn and ends the transaction, also when fn panics.
func (t *Tx) Run(fn func(store.Tx) error) error {
	defer func() { t.done = true }()
	return fn(t)
}

// Write is one change of a key. A nil Value deletes.
type Write struct {
	Key   string
	Value []byte
}

// Writes returns what the transaction wrote, ordered by key.
func (t *Tx) Writes() []Write {
	writes := make([]Write, 0, len(t.writes))
	for key, value := range t.writes {
		writes = append(writes, Write{key, value})
	}
	slices.SortFunc(writes, func(a, b Write) int { return cmp.Compare(a.Key, b.Key) })
	return writes
}

func (t *Tx) Get(key string) ([]byte, error) {
	value, err := t.Peek(key)
	if err != nil {
		return nil, err
	}
	return copied(value), nil
}

// Peek implements store.Peeker.
func (t *Tx) Peek(key string) ([]byte, error) {
	value, _, err := t.PeekMemo(key)
	return value, err
}

// PeekMemo implements store.MemoPeeker.
func (t *Tx) PeekMemo(key string) (value []byte, memo *store.Memo, err error) {
	if t.done {
		return nil, nil, store.ErrTxDone
	}
	if err := store.CheckKey(key); err != nil {
		return nil, nil, err
	}
	value, written := t.writes[key]
	switch {
	case !written:
		if r, ok := t.base.(rememberer); ok {
			return r.GetMemo(key)
		}
		value, err = t.base.Get(key)
		return value, nil, err
	case value == nil:
		return nil, nil, store.ErrNotFound
	}
	return value, nil, nil
}

// rememberer is what a Base may be besides; see store.MemoPeeker.
type rememberer interface {
	GetMemo(key string) (value []byte, memo *store.Memo, err error)
}

func (t *Tx) Put(key string, value []byte) error {
	return t.write(key, copied(value))
}

func (t *Tx) Delete(key string) error {
	return t.write(key, nil)
}

func (t *Tx) write(key string, value []byte) error {
	switch {
	case t.done:
		return store.ErrTxDone
	case !t.writable:
		return store.ErrReadOnly
	}
	if err := store.CheckKey(key); err != nil {
		return err
	}
	old, again := t.writes[key]
	if !again && len(t.writes) == store.MaxWrites {
		return fmt.Errorf("%w: more than %d keys written", store.ErrTooLarge, store.MaxWrites)
	}
	size := t.size + len(value) - len(old)
	if !again {
		size += len(key)
	}
	if size > store.MaxBytes {
		return fmt.Errorf("%w: more than %d bytes written", store.ErrTooLarge, store.MaxBytes)
	}
	t.size = size
	if t.writes == nil {
		t.writes = make(map[string][]byte)
	}
	t.writes[key] = value
	return nil
}

// errStopped ends a pull from the base early; nobody sees it.
var errStopped = errors.New("stopped")

func (t *Tx) Scan(prefix, after string) iter.Seq2[store.Entry, error] {
	return func(yield func(store.Entry, error) bool) {
		if t.done {
			yield(store.Entry{}, store.ErrTxDone)
			return
		}
		pending := slices.DeleteFunc(t.Writes(), func(w Write) bool {
			return !strings.HasPrefix(w.Key, prefix) || w.Key <= after
		})
		emit := func(key string, value []byte) error {
			if !yield(store.Entry{Key: key, Value: copied(value)}, nil) {
				return errStopped
			}
			if t.done {
				yield(store.Entry{}, store.ErrTxDone)
				return errStopped
			}
			return nil
		}
		// flush yields the pending writes below limit, and tells whether limit is one of them.
		flush := func(limit string, all bool) (overwritten bool, err error) {
			for len(pending) > 0 && (all || pending[0].Key <= limit) {
				w := pending[0]
				pending = pending[1:]
				if w.Value != nil {
					if err := emit(w.Key, w.Value); err != nil {
						return false, err
					}
				}
				if !all && w.Key == limit {
					return true, nil
				}
			}
			return false, nil
		}
		for e, err := range t.base.Scan(prefix, after) {
			if err != nil {
				yield(store.Entry{}, err)
				return
			}
			overwritten, err := flush(e.Key, false)
			if err == nil && !overwritten {
				err = emit(e.Key, e.Value)
			}
			if err != nil {
				return
			}
		}
		flush("", true)
	}
}

// copied never returns nil: an empty value is a value.
func copied(b []byte) []byte {
	if len(b) == 0 {
		return []byte{}
	}
	return bytes.Clone(b)
}
