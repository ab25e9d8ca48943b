package s3

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/malote/malote/store"
)

// pendingBlob is a body that somebody writes. While they do, Until moves on.
type pendingBlob struct{ Until time.Time }

// garbage is a body that nothing refers to.
type garbage struct {
	Blob     string `json:",omitempty"`
	Manifest string `json:",omitempty"` // all of its parts, and itself
}

const (
	pendingPrefix  = "s3/pending/"
	garbagePrefix  = "s3/garbage/"
	manifestPrefix = "s3/manifest/"

	// pendingLife is how long after the last sign of life a body counts as given up.
	pendingLife = 2 * time.Minute
)

// discard makes a body garbage, in the transaction that takes away what referred to it.
func (s *Service) discard(tx store.Tx, g garbage) error {
	id := g.Blob + g.Manifest
	if id == "" {
		return nil
	}
	return s.garbage.Put(tx, garbagePrefix+id, &g)
}

// begin notes a body before its first byte is written.
func (s *Service) begin(ctx context.Context, name string) error {
	return s.store.Update(ctx, func(tx store.Tx) error {
		return s.pending.Put(tx, pendingPrefix+name, &pendingBlob{s.now().Add(pendingLife)})
	})
}

// finished forgets that a body was being written, in the transaction that refers to it. When
// that was forgotten before, the body has been swept away.
func (s *Service) finished(tx store.Tx, name string) error {
	if _, err := s.pending.Get(tx, pendingPrefix+name); err != nil {
		if errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("the body %s took too long and was swept away", name)
		}
		return err
	}
	return s.pending.Delete(tx, pendingPrefix+name)
}

// batch is how many records one transaction of the upkeep removes.
const batch = 50

// sweepPending deletes the bodies of writers that have gone.
func (s *Service) sweepPending(ctx context.Context) error {
	return s.sweep(ctx, pendingPrefix, func(tx store.Tx, key string) (bool, error) {
		p, err := s.pending.Get(tx, key)
		return err == nil && s.now().After(p.Until), err
	}, func(ctx context.Context, name string) error { return s.blobs.Delete(ctx, name) }, func(tx store.Tx, key string) error {
		return s.pending.Delete(tx, key)
	})
}

// sweepGarbage deletes the bodies that nothing refers to and nobody reads.
func (s *Service) sweepGarbage(ctx context.Context) error {
	return s.sweep(ctx, garbagePrefix, func(store.Tx, string) (bool, error) { return true, nil }, s.collect, s.forgetGarbage)
}

// forgetGarbage removes the record at key, when its blobs are gone.
func (s *Service) forgetGarbage(tx store.Tx, key string) error {
	g, err := s.garbage.Get(tx, key)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if g.Manifest != "" {
		if err := s.manifests.Delete(tx, manifestPrefix+g.Manifest); err != nil {
			return err
		}
	}
	return s.garbage.Delete(tx, key)
}

var errInUse = errors.New("the body is being read")

// collect deletes the blobs of one piece of garbage.
func (s *Service) collect(ctx context.Context, id string) error {
	var names []string
	err := s.store.View(ctx, func(tx store.Tx) error {
		g, err := s.garbage.Get(tx, garbagePrefix+id)
		if err != nil {
			return err
		}
		if names = []string{g.Blob}; g.Manifest == "" {
			return nil
		}
		m, err := s.manifests.Get(tx, manifestPrefix+g.Manifest)
		if err != nil {
			return err
		}
		names = names[:0]
		for i := range m.Parts {
			names = append(names, m.Parts[i].blob())
		}
		return nil
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil // another was faster
	}
	if err != nil {
		return err
	}
	if s.inUse(id) {
		return errInUse
	}
	for _, name := range names {
		if err := s.blobs.Delete(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// sweep goes over the records below prefix: what is due is deleted by act, and then its
// record by forget.
func (s *Service) sweep(ctx context.Context, prefix string, due func(tx store.Tx, key string) (bool, error), act func(ctx context.Context, id string) error, forget func(tx store.Tx, key string) error) error {
	after := ""
	var failed error
	for {
		var keys []string
		more := false
		err := s.store.View(ctx, func(tx store.Tx) error {
			keys, more = keys[:0], false
			for e, err := range tx.Scan(prefix, after) {
				if err != nil {
					return err
				}
				if len(keys) == batch {
					more = true
					return nil
				}
				keys = append(keys, e.Key)
			}
			return nil
		})
		if err != nil {
			return errors.Join(failed, err)
		}
		var done []string
		for _, key := range keys {
			after = key
			isDue := false
			if err := s.store.View(ctx, func(tx store.Tx) (err error) { isDue, err = due(tx, key); return err }); err != nil && !errors.Is(err, store.ErrNotFound) {
				failed = errors.Join(failed, err)
				continue
			}
			if !isDue {
				continue
			}
			switch err := act(ctx, key[len(prefix):]); {
			case errors.Is(err, errInUse):
			case err != nil:
				failed = errors.Join(failed, err)
			default:
				done = append(done, key)
			}
		}
		if len(done) > 0 {
			if err := s.store.Update(ctx, func(tx store.Tx) error {
				for _, key := range done {
					if err := forget(tx, key); err != nil {
						return err
					}
				}
				return nil
			}); err != nil {
				return errors.Join(failed, err)
			}
		}
		if !more {
			return failed
		}
	}
}

// hold says that a body is being read, so that it is not deleted under the reader; the
// returned function ends that.
func (s *Service) hold(id string) func() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reading[id]++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.reading[id]--; s.reading[id] == 0 {
			delete(s.reading, id)
		}
	}
}

func (s *Service) inUse(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reading[id] > 0
}

// collectSoon deletes what a request has made garbage without waiting for the upkeep. What
// fails, the upkeep tries again.
func (s *Service) collectSoon(ctx context.Context, o *object) {
	if o == nil || o.Blob+o.Manifest == "" {
		return
	}
	ctx = context.WithoutCancel(ctx)
	id := o.Blob + o.Manifest
	if err := s.collect(ctx, id); err != nil {
		if !errors.Is(err, errInUse) {
			s.log.Error("deleting the body of a deleted object", "err", err)
		}
		return
	}
	if err := s.store.Update(ctx, func(tx store.Tx) error { return s.forgetGarbage(tx, garbagePrefix+id) }); err != nil {
		s.log.Error("forgetting a deleted object", "err", err)
	}
}
