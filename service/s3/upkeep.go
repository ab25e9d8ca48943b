package s3

import (
	"context"
	"errors"
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
	return s.store.Update(ctx, func(tx store.Tx) error { return s.live(tx, name) })
}

// renew is a sign of life.
func (s *Service) renew(ctx context.Context, name string) error {
	return s.store.Update(ctx, func(tx store.Tx) error {
		if err := s.unswept(tx, name); err != nil {
			return err
		}
		return s.live(tx, name)
	})
}

func (s *Service) live(tx store.Tx, name string) error {
	return s.pending.Put(tx, pendingPrefix+name, &pendingBlob{s.now().Add(pendingLife)})
}

// finished forgets that a body was being written, in the transaction that refers to it.
func (s *Service) finished(tx store.Tx, name string) error {
	if err := s.unswept(tx, name); err != nil {
		return err
	}
	return s.pending.Delete(tx, pendingPrefix+name)
}

// errSwept says that a writer gave no sign of life for so long that its body is garbage.
var errSwept = errors.New("the body took too long and was swept away")

func (s *Service) unswept(tx store.Tx, name string) error {
	_, err := s.pending.Get(tx, pendingPrefix+name)
	if errors.Is(err, store.ErrNotFound) {
		return errSwept
	}
	return err
}

// condemn makes a body garbage that is still pending. Of one that is not, nothing is known:
// it may be an object's.
func (s *Service) condemn(tx store.Tx, name string) error {
	if err := s.finished(tx, name); err != nil {
		return err
	}
	return s.discard(tx, garbage{Blob: name})
}

// batch is how many records one transaction of the upkeep removes.
const batch = 50

// sweepPending makes garbage of the bodies of writers that have gone.
func (s *Service) sweepPending(ctx context.Context) error {
	return s.sweep(ctx, pendingPrefix, func(context.Context, string) error { return nil }, func(tx store.Tx, key string) error {
		p, err := s.pending.Get(tx, key)
		switch {
		case errors.Is(err, store.ErrNotFound):
			return nil
		case err != nil || !s.now().After(p.Until):
			return err
		}
		return s.condemn(tx, key[len(pendingPrefix):])
	})
}

// sweepGarbage deletes the bodies that nothing refers to and nobody reads.
func (s *Service) sweepGarbage(ctx context.Context) error {
	return s.sweep(ctx, garbagePrefix, s.collect, s.forgetGarbage)
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
	release, ok := s.claim(id)
	if !ok {
		return errInUse
	}
	defer release()
	for _, name := range names {
		if err := s.blobs.Delete(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// sweep goes over the records below prefix: act does what is to be done about each, and then
// forget, in a transaction, what there is to do to its record.
func (s *Service) sweep(ctx context.Context, prefix string, act func(ctx context.Context, id string) error, forget func(tx store.Tx, key string) error) error {
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

// hold says that a body is being read, so that this process does not delete it under the
// reader, until release is called. It is false for one that is just being deleted.
func (s *Service) hold(id string) (release func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reading[id] < 0 {
		return nil, false
	}
	s.reading[id]++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.reading[id]--; s.reading[id] == 0 {
			delete(s.reading, id)
		}
	}, true
}

// claim is hold for who deletes a body: it is false while the body is read, or is deleted
// by another.
func (s *Service) claim(id string) (release func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reading[id] != 0 {
		return nil, false
	}
	s.reading[id] = -1
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.reading, id)
	}, true
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
