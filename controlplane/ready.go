package controlplane

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

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

	mu     sync.Mutex // guards what follows, and has one look at a time
	looked time.Time
	reason string
}

// why is the reason why requests cannot be done, "" when they can. It names neither files nor
// hosts: the log has those, once for each time that it changes.
func (r *readiness) why(ctx context.Context) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.looked.IsZero() && time.Since(r.looked) < readyFor {
		return r.reason
	}
	// Whoever asked may hang up; the answer is for others, too.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readyTimeout)
	defer cancel()
	reason, err := r.look(ctx)
	switch {
	case reason != "" && reason != r.reason:
		r.log.Error("not ready: "+reason, "err", err)
	case reason == "" && r.reason != "":
		r.log.Info("ready again")
	}
	r.reason, r.looked = reason, time.Now()
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
	if err := auditFailure(r.audit); err != nil {
		return "the audit cannot be written", err
	}
	return "", nil
}

// auditFailure is why the audit cannot be written, as far as it knows.
func auditFailure(log audit.Log) error {
	if file, ok := log.(interface{ Failure() error }); ok {
		return file.Failure()
	}
	return nil
}
