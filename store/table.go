package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"iter"

	"github.com/malote/malote/internal/recent"
)

// formatJSON is the first byte of a record that is JSON from the second byte on. A
// later format takes another byte; this one stays readable.
const formatJSON = 1

// Table reads and writes records of one type. It remembers what it decoded: a value
// whose bytes are those of last time is not decoded again. Records that it returns are
// shared between all who ask for them: copy one before changing it, slices and maps
// within it included.
//
// A Table holds no data of its own. It belongs to one Store, since the memory is by key.
type Table[T any] struct {
	kind    string
	decoded *recent.Cache[record[T]]
}

type record[T any] struct {
	raw   []byte
	value *T
}

// Row is one record of a scan.
type Row[T any] struct {
	Key   string
	Value *T
}

// NewTable returns a table of records that errors call kind ("secret").
func NewTable[T any](kind string) *Table[T] {
	return &Table[T]{kind: kind, decoded: recent.New[record[T]](4096, 8<<20)}
}

// Get returns the record at key, which must not be changed, or ErrNotFound.
func (t *Table[T]) Get(tx Tx, key string) (*T, error) {
	raw, keepable, err := PeekKeepable(tx, key)
	if errors.Is(err, ErrNotFound) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s %s: %w", t.kind, key, err)
	}
	return t.decode(key, raw, keepable)
}

// Put writes the record at key, whether there was one or not.
func (t *Table[T]) Put(tx Tx, key string, value *T) error {
	raw, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("encoding %s %s: %w", t.kind, key, err)
	}
	if err := tx.Put(key, append([]byte{formatJSON}, raw...)); err != nil {
		return fmt.Errorf("writing %s %s: %w", t.kind, key, err)
	}
	return nil
}

// Delete removes the record at key, if there is one, and forgets it.
func (t *Table[T]) Delete(tx Tx, key string) error {
	if err := tx.Delete(key); err != nil {
		return fmt.Errorf("deleting %s %s: %w", t.kind, key, err)
	}
	t.decoded.Remove(key)
	return nil
}

// Scan yields the records whose key begins with prefix and is greater than after, in
// order. An error is the last thing yielded. A page of results is a loop that stops;
// the last key seen is where the next begins.
func (t *Table[T]) Scan(tx Tx, prefix, after string) iter.Seq2[Row[T], error] {
	return func(yield func(Row[T], error) bool) {
		for e, err := range tx.Scan(prefix, after) {
			if err != nil {
				yield(Row[T]{}, fmt.Errorf("scanning %s %s: %w", t.kind, prefix, err))
				return
			}
			value, err := t.decode(e.Key, e.Value, false)
			if err != nil {
				yield(Row[T]{}, err)
				return
			}
			if !yield(Row[T]{e.Key, value}, nil) {
				return
			}
		}
	}
}

// decode keeps raw only if it may: else it may be gone after the transaction. An error does not quote the value: it may be secret.
func (t *Table[T]) decode(key string, raw []byte, keepable bool) (*T, error) {
	if known, ok := t.decoded.Get(key); ok && bytes.Equal(known.raw, raw) {
		return known.value, nil
	}
	if len(raw) == 0 || raw[0] != formatJSON {
		return nil, fmt.Errorf("reading %s %s: unknown record format: written by a newer version, or damaged", t.kind, key)
	}
	value := new(T)
	if err := json.Unmarshal(raw[1:], value); err != nil {
		return nil, fmt.Errorf("reading %s %s: damaged record (%T)", t.kind, key, err)
	}
	if !keepable {
		raw = bytes.Clone(raw)
	}
	t.decoded.Put(key, record[T]{raw, value}, 3*len(raw))
	return value, nil
}
