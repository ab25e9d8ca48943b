// Package store keeps ordered keys in serializable transactions. It is the whole of
// what the control plane asks of a disk or of a cluster.
//
// It does not know what the values mean, nor that they are sealed (see keyring).
// Backends are its children; storetest holds what all of them promise.
package store

import (
	"context"
	"errors"
	"iter"
)

// ErrNotFound is what Get answers for an absent key.
var ErrNotFound = errors.New("store: key not found")

// Entry is one key with its value.
type Entry struct {
	Key   string
	Value []byte
}

// A Tx sees one consistent state. Keys are ordered by byte. Deleting an absent key
// is not an error. Slices passed in or out are copies.
type Tx interface {
	Get(key string) ([]byte, error) // ErrNotFound
	Put(key string, value []byte) error
	Delete(key string) error
	// Scan yields the entries whose key begins with prefix and is greater than after
	// ("" for all), in order. Writes of the same transaction are seen.
	Scan(prefix, after string) iter.Seq2[Entry, error]
}

// A Store runs serializable transactions. Update may call fn again after a conflict,
// so fn acts on tx alone. An error from fn, or a panic, leaves no trace. When Update
// returns nil the write is durable. Transactions do not nest.
type Store interface {
	View(ctx context.Context, fn func(Tx) error) error
	Update(ctx context.Context, fn func(Tx) error) error
	// Watch sends a nudge after keys below prefix changed: look again, it is never
	// the news itself. Nudges may be joined. The channel closes when ctx ends.
	Watch(ctx context.Context, prefix string) <-chan struct{}
	Close() error
}
