package keyring

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/malote/malote/internal/recent"
	"github.com/malote/malote/internal/xaes"
	"github.com/malote/malote/keyring/seal"
	"github.com/malote/malote/store"
)

const (
	valueFormat = 1
	headerSize  = 5
	// Overhead is how many bytes a sealed value is longer than the value.
	Overhead = headerSize + xaes.Overhead
)

// Keyring is a store.Store over another, in which it seals the values.
type Keyring struct {
	under store.Store
	ring  atomic.Pointer[ring]
	// What was opened lately, by store key, to be used for as long as the sealed bytes are
	// the same ones: what opened once opens again, to the same value.
	opened *recent.Cache[*opened]

	// Read within transactions, so no lock guards it that a rotation holds while it
	// waits for one.
	seal     atomic.Pointer[seal.Seal]
	rotation sync.Mutex // one at a time
}

// opened is a sealed value, what is in it, and what is made of that.
type opened struct {
	sealed, plain []byte
	memo          store.Memo
}

// size is about what it takes, with the record that plain is decoded to.
func (o *opened) size() int { return len(o.sealed) + 4*len(o.plain) }

// Open returns the keyring in under, wrapped by s. An empty store gets a keyring; one that
// has records and none is refused, and so is a keyring that s does not unwrap: nothing is
// written then. Closing the Keyring closes under.
func Open(ctx context.Context, under store.Store, s seal.Seal) (*Keyring, error) {
	k := &Keyring{under: under, opened: recent.New[*opened](16384, 48<<20)}
	k.seal.Store(&s)
	raw, err := readRing(ctx, under)
	if err != nil {
		return nil, err
	}
	if raw == nil {
		// The seal may be a service far away, so it is not asked within a transaction.
		made, err := newRing(ctx, s)
		if err != nil {
			return nil, fmt.Errorf("keyring: %w", err)
		}
		err = under.Update(ctx, func(tx store.Tx) error {
			raw, err = tx.Get(ringKey)
			if !errors.Is(err, store.ErrNotFound) {
				return err // someone was faster: theirs it is
			}
			raw = made.raw
			return tx.Put(ringKey, raw)
		})
		if err != nil {
			return nil, fmt.Errorf("keyring: writing: %w", err)
		}
	}
	r, err := decodeRing(ctx, s, raw)
	if err != nil {
		return nil, err
	}
	k.ring.Store(r)
	return k, nil
}

// readRing returns the ring's record, nil in an empty store.
func readRing(ctx context.Context, under store.Store) (raw []byte, err error) {
	err = under.View(ctx, func(tx store.Tx) error {
		if raw, err = tx.Get(ringKey); !errors.Is(err, store.ErrNotFound) {
			return err
		}
		raw = nil
		for e, err := range tx.Scan("", "") {
			if err != nil {
				return err
			}
			return fmt.Errorf("the store has records (%q) and no keyring: not a store of malote's, or damaged", e.Key)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("keyring: reading: %w", err)
	}
	return raw, nil
}

func (k *Keyring) View(ctx context.Context, fn func(store.Tx) error) error {
	return k.under.View(ctx, func(under store.Tx) error { return fn(&tx{ctx: ctx, k: k, under: under}) })
}

// Look implements store.Looker.
func (k *Keyring) Look(ctx context.Context, fn func(store.Tx) error) error {
	return store.Look(ctx, k.under, func(under store.Tx) error { return fn(&tx{ctx: ctx, k: k, under: under}) })
}

// Recall implements store.Recaller.
func (k *Keyring) Recall(ctx context.Context, key string) ([]byte, *store.Memo, bool) {
	r, ok := k.under.(store.Recaller)
	if !ok || allowed(key) != nil {
		return nil, nil, false
	}
	_, memo, ok := r.Recall(ctx, key)
	if !ok {
		return nil, nil, false
	}
	o, ok := memo.Load().(*opened)
	if !ok {
		return nil, nil, false
	}
	return o.plain, &o.memo, true
}

func (k *Keyring) Update(ctx context.Context, fn func(store.Tx) error) error {
	var deleted []string
	err := k.under.Update(ctx, func(under store.Tx) error {
		t := &tx{ctx: ctx, k: k, under: under}
		defer func() { deleted = t.deleted }()
		return fn(t)
	})
	for _, key := range deleted { // memory too should have done with what is gone
		k.opened.Remove(key)
	}
	return err
}

func (k *Keyring) Watch(ctx context.Context, prefix string) <-chan struct{} {
	return k.under.Watch(ctx, prefix)
}

func (k *Keyring) Close() error { return k.under.Close() }

// RotateKey adds a key, with which values are sealed from now on. The keys before it
// keep opening what they sealed.
func (k *Keyring) RotateKey(ctx context.Context) error {
	return k.change(ctx, func(r *ring) (*ring, error) { return r.withKey() }, nil)
}

// RotateSeal wraps the keyring by another seal: when it returns nil, the old one is no
// longer needed, and until then, not the new one. When it returns an error, the
// store may have either (see store.Store). For a root key file:
//
//	next, err := file.Stage()
//	err = keyring.RotateSeal(ctx, next)
//	err = next.Promote()
func (k *Keyring) RotateSeal(ctx context.Context, to seal.Seal) error {
	return k.change(ctx, func(r *ring) (*ring, error) { return r.wrapped(ctx, to) }, to)
}

var errChanged = errors.New("changed meanwhile")

// change replaces the ring by what next makes of it, and the seal by to unless that is nil.
func (k *Keyring) change(ctx context.Context, next func(*ring) (*ring, error), to seal.Seal) error {
	k.rotation.Lock()
	defer k.rotation.Unlock()
	for {
		raw, err := readRing(ctx, k.under)
		if err != nil {
			return err
		}
		current := k.ring.Load()
		if !bytes.Equal(raw, current.raw) { // another process rotated
			if current, err = decodeRing(ctx, *k.seal.Load(), raw); err != nil {
				return err
			}
		}
		changed, err := next(current)
		if err != nil {
			return fmt.Errorf("keyring: %w", err)
		}
		err = k.under.Update(ctx, func(tx store.Tx) error {
			switch now, err := tx.Get(ringKey); {
			case err != nil:
				return err
			case !bytes.Equal(now, raw):
				return errChanged
			}
			return tx.Put(ringKey, changed.raw)
		})
		if err == errChanged {
			continue
		}
		if err != nil {
			return fmt.Errorf("keyring: writing: %w", err)
		}
		k.ring.Store(changed)
		if to != nil {
			k.seal.Store(&to)
		}
		return nil
	}
}

// key returns the key of that number. One not known yet was added by another process,
// before whatever is sealed with it.
func (k *Keyring) key(ctx context.Context, under store.Tx, id uint32) (*xaes.Key, error) {
	known := k.ring.Load()
	if key := known.byID[id]; key != nil {
		return key, nil
	}
	raw, err := under.Get(ringKey)
	if err != nil {
		return nil, err
	}
	r := known
	if !bytes.Equal(raw, known.raw) {
		if r, err = decodeRing(ctx, *k.seal.Load(), raw); err != nil {
			return nil, err
		}
		k.ring.CompareAndSwap(known, r) // else someone has brought a newer one
	}
	if key := r.byID[id]; key != nil {
		return key, nil
	}
	return nil, fmt.Errorf("no key %d in the keyring", id)
}

// sealed seals value for storing at key.
func (k *Keyring) sealed(key string, value []byte) []byte {
	id, newest := k.ring.Load().newest()
	sealed := make([]byte, headerSize, len(value)+Overhead)
	sealed[0] = valueFormat
	binary.BigEndian.PutUint32(sealed[1:], id)
	return newest.Seal(sealed, value, associated(sealed, key))
}

func associated(sealed []byte, key string) []byte {
	return append(sealed[:headerSize:headerSize], key...)
}

// tx is a store.Tx.
type tx struct {
	ctx     context.Context
	k       *Keyring
	under   store.Tx
	deleted []string
}

func allowed(key string) error {
	if strings.HasPrefix(key, reserved) {
		return fmt.Errorf("keyring: keys below %q are its own", reserved)
	}
	return nil
}

func (t *tx) Get(key string) ([]byte, error) {
	plain, err := t.Peek(key)
	if err != nil {
		return nil, err
	}
	return copied(plain), nil
}

// Peek implements store.Peeker.
func (t *tx) Peek(key string) ([]byte, error) {
	plain, _, err := t.PeekMemo(key)
	return plain, err
}

// PeekMemo implements store.MemoPeeker: what was opened is never changed.
func (t *tx) PeekMemo(key string) ([]byte, *store.Memo, error) {
	if err := allowed(key); err != nil {
		return nil, nil, err
	}
	sealed, memo, err := store.PeekMemo(t.under, key)
	if err != nil {
		return nil, nil, err
	}
	if memo == nil {
		o, err := t.open(key, sealed, false)
		if err != nil {
			return nil, nil, err
		}
		return o.plain, &o.memo, nil
	}
	o, ok := memo.Load().(*opened)
	if !ok {
		if o, err = t.open(key, sealed, true); err != nil {
			return nil, nil, err
		}
		memo.Store(o)
	}
	return o.plain, &o.memo, nil
}

// open keeps sealed only if it is keepable. What it returns is shared.
func (t *tx) open(key string, sealed []byte, keepable bool) (*opened, error) {
	if known, ok := t.k.opened.Get(key); ok && bytes.Equal(known.sealed, sealed) {
		return known, nil
	}
	if len(sealed) < Overhead || sealed[0] != valueFormat {
		return nil, fmt.Errorf("keyring: the value at %q was not sealed by this version, or is damaged", key)
	}
	dataKey, err := t.k.key(t.ctx, t.under, binary.BigEndian.Uint32(sealed[1:]))
	if err != nil {
		return nil, fmt.Errorf("keyring: opening the value at %q: %w", key, err)
	}
	plain, err := dataKey.Open(sealed[headerSize:], associated(sealed, key))
	if err != nil {
		return nil, fmt.Errorf("keyring: the value at %q was changed or is another key's: %w", key, err)
	}
	o := &opened{plain: plain}
	if t.k.opened.Wanted(key) {
		if o.sealed = sealed; !keepable {
			o.sealed = bytes.Clone(sealed)
		}
		t.k.opened.Put(key, o, o.size())
	}
	return o, nil
}

func (t *tx) Put(key string, value []byte) error {
	if err := allowed(key); err != nil {
		return err
	}
	sealed := t.k.sealed(key, value)
	if err := t.under.Put(key, sealed); err != nil {
		return err
	}
	// True whether or not the transaction succeeds, and the next to read it is likely near.
	o := &opened{sealed: sealed, plain: bytes.Clone(value)}
	t.k.opened.Put(key, o, o.size())
	return nil
}

func (t *tx) Delete(key string) error {
	if err := allowed(key); err != nil {
		return err
	}
	if err := t.under.Delete(key); err != nil {
		return err
	}
	t.deleted = append(t.deleted, key)
	return nil
}

func (t *tx) Scan(prefix, after string) iter.Seq2[store.Entry, error] {
	return func(yield func(store.Entry, error) bool) {
		for e, err := range t.under.Scan(prefix, after) {
			if err != nil {
				yield(store.Entry{}, err)
				return
			}
			if strings.HasPrefix(e.Key, reserved) {
				continue
			}
			o, err := t.open(e.Key, e.Value, true) // a copy, by the promise of Scan
			if err != nil {
				yield(store.Entry{}, err)
				return
			}
			if !yield(store.Entry{Key: e.Key, Value: copied(o.plain), Memo: &o.memo}, nil) {
				return
			}
		}
	}
}

// copied never returns nil: an empty value is a value.
func copied(b []byte) []byte {
	return append([]byte{}, b...)
}
