package directory

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/malote/malote/caller"
	"github.com/malote/malote/store"
)

// usage knows when keys and roles were last used. It is written down once a minute, so
// a crash forgets the last minute; AWS's own report is late by more.
type usage struct {
	last sync.Map // access key id or role id to *lastUse
}

type lastUse struct {
	mu    sync.Mutex // guards the rest
	used  Used
	dirty bool
}

const usedEvery = time.Minute

// markUsed notes a request that the gateway has verified and p's policies are asked for.
func (d *Directory) markUsed(ctx context.Context, p *caller.Principal) {
	id := p.RoleID
	if p.Type != caller.AssumedRole && p.IssuedAt.IsZero() { // a user's temporary keys are not reported on
		id = p.AccessKeyID
	}
	if id == "" {
		return
	}
	v, ok := d.used.last.Load(id)
	if !ok {
		v, _ = d.used.last.LoadOrStore(id, new(lastUse))
	}
	r := caller.From(ctx)
	u := v.(*lastUse)
	u.mu.Lock()
	u.used = Used{r.Time, r.Region, r.Service}
	u.dirty = true
	u.mu.Unlock()
}

// MarkUsed notes a use by p for which nobody asked for its policies, as GetCallerIdentity.
func (d *Directory) MarkUsed(ctx context.Context, p *caller.Principal) { d.markUsed(ctx, p) }

// LastUsed says when an access key or a role (by id) was last used; zero is never.
func (d *Directory) LastUsed(ctx context.Context, id string) (Used, error) {
	if v, ok := d.used.last.Load(id); ok {
		u := v.(*lastUse)
		u.mu.Lock()
		defer u.mu.Unlock()
		return u.used, nil
	}
	var used Used
	err := d.View(ctx, func(tx *Tx) error {
		u, err := d.tables.used.Get(tx.tx, usedKey(id))
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err == nil {
			used = *u
		}
		return err
	})
	return used, err
}

// saveUsed is what happens every minute.
func (d *Directory) saveUsed(ctx context.Context) {
	tick := time.NewTicker(usedEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			d.forget() // the bound on an answer's age, should the store's Watch be cut off
			if err := d.flushUsed(ctx); err != nil && ctx.Err() == nil {
				d.log.Warn("times of last use not written, trying again in a minute", "err", err)
			}
		}
	}
}

// flushUsed writes what changed, below a prefix that nobody watches.
func (d *Directory) flushUsed(ctx context.Context) error {
	const atOnce = 100 // etcd's limit of operations in a transaction is 128
	type entry struct {
		id   string
		use  *lastUse
		used Used
	}
	var batch []entry
	var gone []string // keys and roles deleted since they were used
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		err := d.store.Update(ctx, func(tx store.Tx) error {
			gone = nil
			for _, e := range batch {
				known, err := (&Tx{tx, &d.tables}).known(e.id)
				switch {
				case err != nil:
					return err
				case !known:
					gone = append(gone, e.id)
					continue
				}
				if err := d.tables.used.Put(tx, usedKey(e.id), &e.used); err != nil {
					return err
				}
			}
			return nil
		})
		for _, id := range gone {
			d.used.last.Delete(id)
		}
		for _, e := range batch {
			if err != nil {
				e.use.mu.Lock()
				e.use.dirty = true
				e.use.mu.Unlock()
			}
		}
		batch = batch[:0]
		return err
	}
	var err error
	d.used.last.Range(func(id, v any) bool {
		u := v.(*lastUse)
		u.mu.Lock()
		if u.dirty {
			batch = append(batch, entry{id.(string), u, u.used})
			u.dirty = false
		}
		u.mu.Unlock()
		if len(batch) == atOnce {
			err = flush()
		}
		return err == nil
	})
	return errors.Join(err, flush())
}

// known says whether there is an access key or a role with that id.
func (t *Tx) known(id string) (bool, error) {
	_, err := t.AccessKey(id)
	if errors.Is(err, store.ErrNotFound) {
		_, err = t.Ref(id)
	}
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}
