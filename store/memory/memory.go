// Package memory is a store that is gone with the process: for tests, and for what
// need not outlive it.
//
// Its state is an immutable treap, so a View reads without holding anything up.
package memory

import (
	"context"
	"iter"
	"math/rand/v2"
	"strings"
	"sync/atomic"

	"github.com/malote/malote/store"
	"github.com/malote/malote/store/internal/nudge"
	"github.com/malote/malote/store/internal/tx"
)

// Store implements store.Store. Writers take turns.
type Store struct {
	root   atomic.Pointer[node]
	turn   chan struct{} // holds one token; a channel so that waiting can be given up
	nudges nudge.Hub
	closed atomic.Bool
}

// New returns an empty store.
func New() *Store {
	s := &Store{turn: make(chan struct{}, 1)}
	s.turn <- struct{}{}
	return s
}

func (s *Store) View(ctx context.Context, fn func(store.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.closed.Load() {
		return store.ErrClosed
	}
	return tx.View(state{s.root.Load()}).Run(fn)
}

func (s *Store) Update(ctx context.Context, fn func(store.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case <-s.turn:
		defer func() { s.turn <- struct{}{} }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if s.closed.Load() {
		return store.ErrClosed
	}

	root := s.root.Load()
	t := tx.Update(state{root})
	if err := t.Run(fn); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	var keys []string
	for _, w := range t.Writes() {
		if w.Value == nil {
			root = root.delete(w.Key)
		} else {
			root = root.put(w.Key, w.Value)
		}
		keys = append(keys, w.Key)
	}
	s.root.Store(root)
	s.nudges.Changed(keys...)
	return nil
}

func (s *Store) Watch(ctx context.Context, prefix string) <-chan struct{} {
	return s.nudges.Watch(ctx, prefix)
}

func (s *Store) Close() error {
	s.closed.Store(true)
	s.nudges.Close()
	return nil
}

// state is a tx.Base over one root.
type state struct{ root *node }

func (s state) Get(key string) ([]byte, error) {
	for n := s.root; n != nil; {
		switch {
		case key < n.key:
			n = n.left
		case key > n.key:
			n = n.right
		default:
			return n.value, nil
		}
	}
	return nil, store.ErrNotFound
}

func (s state) Scan(prefix, after string) iter.Seq2[store.Entry, error] {
	return func(yield func(store.Entry, error) bool) {
		s.root.ascend(prefix, after, yield)
	}
}

// node is never changed once another goroutine can see it. Keys are ordered as in a
// search tree, weights as in a heap: random weights keep it flat.
type node struct {
	key         string
	value       []byte
	weight      uint64
	left, right *node
}

func (n *node) put(key string, value []byte) *node {
	if n == nil {
		return &node{key: key, value: value, weight: rand.Uint64()}
	}
	c := *n
	switch {
	case key < n.key:
		c.left = n.left.put(key, value)
		if c.left.weight > c.weight { // c.left is new: put copied it
			l := c.left
			c.left, l.right = l.right, &c
			return l
		}
	case key > n.key:
		c.right = n.right.put(key, value)
		if c.right.weight > c.weight {
			r := c.right
			c.right, r.left = r.left, &c
			return r
		}
	default:
		c.value = value
	}
	return &c
}

func (n *node) delete(key string) *node {
	if n == nil {
		return nil
	}
	if key == n.key {
		return merge(n.left, n.right)
	}
	c := *n
	if key < n.key {
		c.left = n.left.delete(key)
	} else {
		c.right = n.right.delete(key)
	}
	return &c
}

func merge(l, r *node) *node {
	switch {
	case l == nil:
		return r
	case r == nil:
		return l
	case l.weight > r.weight:
		c := *l
		c.right = merge(l.right, r)
		return &c
	default:
		c := *r
		c.left = merge(l, r.left)
		return &c
	}
}

// ascend returns false when the walk is over.
func (n *node) ascend(prefix, after string, yield func(store.Entry, error) bool) bool {
	if n == nil {
		return true
	}
	if n.key >= prefix && n.key > after {
		if !n.left.ascend(prefix, after, yield) {
			return false
		}
		if !strings.HasPrefix(n.key, prefix) {
			return false
		}
		if !yield(store.Entry{Key: n.key, Value: n.value}, nil) {
			return false
		}
	}
	return n.right.ascend(prefix, after, yield)
}
