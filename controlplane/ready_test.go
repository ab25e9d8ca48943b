package controlplane

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/malote/malote/audit"
	"github.com/malote/malote/store"
	"github.com/malote/malote/store/memory"
)

// flawed is a store whose reads can fail or hang.
type flawed struct {
	store.Store
	err   error
	hangs bool
	reads int
}

func (f *flawed) View(ctx context.Context, fn func(store.Tx) error) error {
	f.reads++
	if f.hangs {
		<-ctx.Done()
		return ctx.Err()
	}
	if f.err != nil {
		return f.err
	}
	return f.Store.View(ctx, fn)
}

// unwritable is an audit that cannot be written while it has an error.
type unwritable struct {
	audit.Memory
	err error
}

func (u *unwritable) Failure() error { return u.err }
func (u *unwritable) Refusal() error { return u.err }

func TestReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		backing, trail := &flawed{Store: memory.New()}, new(unwritable)
		var logged bytes.Buffer
		r := &readiness{store: backing, audit: trail, log: slog.New(slog.NewTextHandler(&logged, nil))}
		want := func(reason string) {
			t.Helper()
			time.Sleep(readyFor)
			if got := r.why(t.Context()); got != reason {
				t.Errorf("why = %q, want %q", got, reason)
			}
		}
		want("")
		backing.err = errors.New("etcd at 10.0.0.1:2379 does not answer")
		want("the store does not answer")
		want("the store does not answer")
		backing.err = nil
		want("")
		trail.err = errors.New("writing the audit log: no space left on device")
		want("the audit cannot be written")
		trail.err = nil
		want("")
		lines := strings.Split(strings.TrimSpace(logged.String()), "\n")
		if len(lines) != 4 || !strings.Contains(lines[0], "10.0.0.1:2379") || !strings.Contains(lines[2], "no space left") {
			t.Errorf("logged %q, want a line for each change", lines)
		}

		// However many ask, the store is asked once a second, and not longer than it may take.
		before := backing.reads
		time.Sleep(readyFor)
		for range 100 {
			r.why(t.Context())
		}
		if asked := backing.reads - before; asked != 1 {
			t.Errorf("the store was asked %d times in a moment", asked)
		}
		backing.hangs = true
		time.Sleep(readyFor)
		begun := time.Now()
		if got := r.why(t.Context()); got != "the store does not answer" || time.Since(begun) != readyTimeout {
			t.Errorf("why = %q after %v of a store that hangs", got, time.Since(begun))
		}
		// That one client hangs up is not the store's fault.
		backing.hangs = false
		time.Sleep(readyFor)
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if got := r.why(gone); got != "" {
			t.Errorf("why = %q for a client that hung up", got)
		}
	})
}
