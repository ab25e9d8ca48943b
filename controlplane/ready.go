package controlplane

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/malote/malote/audit"
	"github.com/malote/malote/store"
)

const (
	// How long an answer is given again: everybody may ask, and as often as they like.
	readyFor = time.Second
	// What looking may take.
	readyTimeout = 3 * time.Second
)

// readiness is whether requests can be done.
type readiness struct {
	store store.Store
	audit audit.Log
	log   *slog.Logger

	one    singleflight.Group
	mu     sync.Mutex // guards what follows
	looked time.Time
	reason string
}

// why is the reason why requests cannot be done, "" when they can. It names neither files nor
// hosts: the log has those, once for each time that it changes.
func (r *readiness) why(ctx context.Context) string {
	r.mu.Lock()
	reason, fresh := r.reason, !r.looked.IsZero() && time.Since(r.looked) < readyFor
	r.mu.Unlock()
	if fresh {
		return reason
	}
	// Whoever asked may hang up; the answer is for others, too.
	found, _, _ := r.one.Do("", func() (any, error) { return r.again(context.WithoutCancel(ctx)), nil })
	return found.(string)
}

// again looks, and remembers.
func (r *readiness) again(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	reason, err := r.look(ctx)
	r.mu.Lock()
	before := r.reason
	r.reason, r.looked = reason, time.Now()
	r.mu.Unlock()
	switch {
	case reason != "" && reason != before:
		r.log.Error("not ready: "+reason, "err", err)
	case reason == "" && before != "":
		r.log.Info("ready again")
	}
	return reason
}

func (r *readiness) look(ctx context.Context) (reason string, err error) {
	err = r.store.View(ctx, func(tx store.Tx) error {
		_, err := tx.Get("ready") // which nobody writes
		return err
	})
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return "the store does not answer", err
	}
	if file, ok := r.audit.(interface{ Refusal() error }); ok {
		if err := file.Refusal(); err != nil {
			return "the audit cannot be written", err
		}
	}
	return "", nil
}
