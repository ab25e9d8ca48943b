package store

import (
	"bytes"
	"context"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"iter"

	"github.com/fxamacker/cbor/v2"
)

// The first byte of a record says how to read the others. A later format takes another
// byte; these stay readable.
const (
	formatJSON   = 1 // not written any more
	formatBinary = 2 // as the record's MarshalBinary writes it
	formatCBOR   = 3 // RFC 8949, by encoding/json's rules for names and omissions
)

// A record has the sizes that its service allows, not those that a decoder would guess.
const maxElements = 1 << 24

// Times are text, so that they keep their nanoseconds and their zone, as in JSON.
var (
	encoder = must(cbor.EncOptions{Time: cbor.TimeRFC3339Nano}.EncMode())
	decoder = must(cbor.DecOptions{MaxArrayElements: maxElements, MaxMapPairs: maxElements, MaxNestedLevels: 256}.DecMode())
)

func must[T any](mode T, err error) T {
	if err != nil {
		panic(err) // the options are constants
	}
	return mode
}

// Prepared is what a record may be that has more to it than what is stored. Prepare is
// called once, when the record was decoded.
type Prepared interface{ Prepare() }

// Table reads and writes records of one type: as CBOR, or as the type itself says
// (encoding.BinaryMarshaler and BinaryUnmarshaler; what UnmarshalBinary is given stays as it
// is, and may be kept). What it decoded stays beside the value for as long as the store
// remembers that (see Memo). So records that it returns are
// shared between all who ask for them: copy one before changing it, slices and maps
// within it included.
type Table[T any] struct{ kind string }

// Row is one record of a scan.
type Row[T any] struct {
	Key   string
	Value *T
}

// NewTable returns a table of records that errors call kind ("secret").
func NewTable[T any](kind string) *Table[T] {
	return &Table[T]{kind: kind}
}

// Get returns the record at key, which must not be changed, or ErrNotFound.
func (t *Table[T]) Get(tx Tx, key string) (*T, error) {
	raw, memo, err := PeekMemo(tx, key)
	if errors.Is(err, ErrNotFound) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s %s: %w", t.kind, key, err)
	}
	if memo != nil {
		return t.remembered(key, raw, memo)
	}
	return t.decode(key, bytes.Clone(raw)) // the bytes may be gone after the transaction
}

// Look is Get in a transaction of its own, of s.
func (t *Table[T]) Look(ctx context.Context, s Store, key string) (*T, error) {
	if r, ok := s.(Recaller); ok {
		if raw, memo, ok := r.Recall(ctx, key); ok {
			return t.remembered(key, raw, memo)
		}
	}
	var value *T
	err := Look(ctx, s, func(tx Tx) (err error) {
		value, err = t.Get(tx, key)
		return err
	})
	return value, err
}

// remembered is decode, once for each value.
func (t *Table[T]) remembered(key string, raw []byte, memo *Memo) (*T, error) {
	if value, ok := memo.Load().(*T); ok {
		return value, nil
	}
	value, err := t.decode(key, raw)
	if err == nil {
		memo.Store(value)
	}
	return value, err
}

// Put writes the record at key, whether there was one or not.
func (t *Table[T]) Put(tx Tx, key string, value *T) error {
	raw, err := encode(value)
	if err != nil {
		return fmt.Errorf("encoding %s %s: %w", t.kind, key, err)
	}
	if err := tx.Put(key, raw); err != nil {
		return fmt.Errorf("writing %s %s: %w", t.kind, key, err)
	}
	return nil
}

func encode(value any) ([]byte, error) {
	format, marshal := byte(formatCBOR), func() ([]byte, error) { return encoder.Marshal(value) }
	if b, ok := value.(encoding.BinaryMarshaler); ok {
		format, marshal = formatBinary, b.MarshalBinary
	}
	raw, err := marshal()
	if err != nil {
		return nil, err
	}
	return append([]byte{format}, raw...), nil
}

// Delete removes the record at key, if there is one.
func (t *Table[T]) Delete(tx Tx, key string) error {
	if err := tx.Delete(key); err != nil {
		return fmt.Errorf("deleting %s %s: %w", t.kind, key, err)
	}
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
			var value *T
			if e.Memo != nil {
				value, err = t.remembered(e.Key, e.Value, e.Memo)
			} else {
				value, err = t.decode(e.Key, e.Value)
			}
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

// decode may keep raw. An error does not quote the value: it may be secret.
func (t *Table[T]) decode(key string, raw []byte) (*T, error) {
	value := new(T)
	var err error
	binary, isBinary := any(value).(encoding.BinaryUnmarshaler)
	switch {
	case len(raw) > 0 && raw[0] == formatCBOR:
		err = decoder.Unmarshal(raw[1:], value)
	case len(raw) > 0 && raw[0] == formatJSON:
		err = json.Unmarshal(raw[1:], value)
	case len(raw) > 0 && raw[0] == formatBinary && isBinary:
		err = binary.UnmarshalBinary(raw[1:])
	default:
		return nil, fmt.Errorf("reading %s %s: unknown record format: written by a newer version, or damaged", t.kind, key)
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s %s: damaged record (%T)", t.kind, key, err)
	}
	if p, ok := any(value).(Prepared); ok {
		p.Prepare()
	}
	return value, nil
}
