package keyring

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/malote/malote/internal/xaes"
	"github.com/malote/malote/keyring/seal"
)

const (
	reserved   = "keyring/"
	ringKey    = reserved + "ring"
	ringFormat = 1
)

// ring is what the record at ringKey says. It does not change.
type ring struct {
	raw   []byte // the record
	outer []byte // the key that the seal wraps
	keys  []dataKey
	byID  map[uint32]*xaes.Key
}

type dataKey struct {
	ID   uint32
	Key  []byte
	Made time.Time
}

type ringRecord struct {
	SealID  string
	Wrapped []byte
	Keys    []byte
}

// newest is the key that seals.
func (r *ring) newest() (uint32, *xaes.Key) {
	id := r.keys[len(r.keys)-1].ID
	return id, r.byID[id]
}

// newRing returns a ring of one key.
func newRing(ctx context.Context, s seal.Seal) (*ring, error) {
	return (&ring{keys: []dataKey{newDataKey(1)}}).wrapped(ctx, s)
}

func newDataKey(id uint32) dataKey {
	return dataKey{ID: id, Key: randomKey(), Made: time.Now().UTC().Truncate(time.Second)}
}

// withKey returns a ring with one more key.
func (r *ring) withKey() (*ring, error) {
	var record ringRecord
	if err := json.Unmarshal(r.raw[1:], &record); err != nil {
		return nil, err
	}
	id, _ := r.newest()
	next := &ring{outer: r.outer, keys: append(slices.Clone(r.keys), newDataKey(id+1))}
	return next, next.encode(record)
}

// wrapped returns the ring under another seal. The outer key is a new one: with the old
// seal's, only what was in the store until now can be read.
func (r *ring) wrapped(ctx context.Context, s seal.Seal) (*ring, error) {
	next := &ring{keys: r.keys, outer: randomKey()}
	wrapped, err := s.Wrap(ctx, next.outer)
	if err != nil {
		return nil, err
	}
	// A seal that encrypts and does not decrypt must not be found out at the next start.
	again, err := s.Unwrap(ctx, wrapped)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(again, next.outer) {
		return nil, fmt.Errorf("seal %s does not unwrap what it wrapped", s.ID())
	}
	return next, next.encode(ringRecord{SealID: s.ID(), Wrapped: wrapped})
}

// encode sets raw, from record but for the keys, and byID.
func (r *ring) encode(record ringRecord) error {
	keys, err := json.Marshal(r.keys)
	if err != nil {
		return err
	}
	record.Keys = xaes.New(r.outer).Seal(nil, keys, []byte(ringKey))
	raw, err := json.Marshal(record)
	if err != nil {
		return err
	}
	r.raw = append([]byte{ringFormat}, raw...)
	r.byID = make(map[uint32]*xaes.Key)
	for _, k := range r.keys {
		r.byID[k.ID] = xaes.New(k.Key)
	}
	return nil
}

func decodeRing(ctx context.Context, s seal.Seal, raw []byte) (*ring, error) {
	if len(raw) == 0 || raw[0] != ringFormat {
		return nil, errors.New("keyring: unknown format: written by a newer version, or damaged")
	}
	var record ringRecord
	if err := json.Unmarshal(raw[1:], &record); err != nil {
		return nil, errors.New("keyring: its record is damaged")
	}
	outer, err := s.Unwrap(ctx, record.Wrapped)
	if err != nil {
		if record.SealID != s.ID() {
			return nil, fmt.Errorf("keyring: sealed by %s, which %s does not open: %w", record.SealID, s.ID(), err)
		}
		return nil, fmt.Errorf("keyring: %w", err)
	}
	if len(outer) != xaes.KeySize {
		return nil, fmt.Errorf("keyring: seal %s returned %d bytes", s.ID(), len(outer))
	}
	text, err := xaes.New(outer).Open(record.Keys, []byte(ringKey))
	if err != nil {
		return nil, fmt.Errorf("keyring: its record was changed: %w", err)
	}
	r := &ring{raw: raw, outer: outer, byID: make(map[uint32]*xaes.Key)}
	if err := json.Unmarshal(text, &r.keys); err != nil || len(r.keys) == 0 {
		return nil, errors.New("keyring: its record is damaged")
	}
	for _, k := range r.keys {
		if len(k.Key) != xaes.KeySize {
			return nil, errors.New("keyring: its record is damaged")
		}
		r.byID[k.ID] = xaes.New(k.Key)
	}
	return r, nil
}

func randomKey() []byte {
	key := make([]byte, xaes.KeySize)
	rand.Read(key) // never fails
	return key
}
