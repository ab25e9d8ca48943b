package directory

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/malote/malote/policy"
	"github.com/malote/malote/store"
)

// Config says what a Directory stands on.
type Config struct {
	Store store.Store      // required; its values are sealed below (see keyring)
	Now   func() time.Time // nil: time.Now
	Log   *slog.Logger     // nil: nothing is logged
}

// Directory is safe for concurrent use. Close it when done.
type Directory struct {
	store  store.Store
	now    func() time.Time
	log    *slog.Logger
	tables tables

	// memory is all that was looked up since the last write. A write replaces it as a
	// whole, so an answer computed from the state before can only be kept where nobody
	// looks any more.
	memory    atomic.Pointer[memory]
	documents documents

	tokens atomic.Pointer[sealer]
	used   usage

	stop context.CancelFunc
	done sync.WaitGroup
}

// memory holds answers of one state of the store.
type memory struct {
	credentials sync.Map // access key id to *credential
	sets        sync.Map // entity id to *policy.Set
	count       atomic.Int64
}

// maxMemory bounds the entries of a memory: some tens of megabytes at the worst.
const maxMemory = 20_000

// New returns a Directory of what is in the store. It follows writes of other processes
// until Close.
func New(c Config) *Directory {
	d := &Directory{store: c.Store, now: c.Now, log: c.Log, tables: newTables(), documents: newDocuments()}
	if d.now == nil {
		d.now = time.Now
	}
	if d.log == nil {
		d.log = slog.New(slog.DiscardHandler)
	}
	d.forget()

	ctx, stop := context.WithCancel(context.Background())
	d.stop = stop
	nudges := d.store.Watch(ctx, "iam/")
	d.done.Go(func() {
		for range nudges {
			d.forget()
		}
	})
	d.done.Go(func() { d.saveUsed(ctx) })
	return d
}

// Close stops following the store and writes down what was last used. The store must
// still be open, and stays so.
func (d *Directory) Close() error {
	d.stop()
	d.done.Wait()
	return d.flushUsed(context.Background())
}

// View runs fn over one consistent state.
func (d *Directory) View(ctx context.Context, fn func(*Tx) error) error {
	return d.store.View(ctx, func(tx store.Tx) error { return fn(&Tx{tx, &d.tables}) })
}

// Update changes records. Every lookup that begins after it returned sees the change,
// also when it returned an error: what a store says then may be less than what it did.
func (d *Directory) Update(ctx context.Context, fn func(*Tx) error) error {
	defer d.forget()
	return d.store.Update(ctx, func(tx store.Tx) error { return fn(&Tx{tx, &d.tables}) })
}

func (d *Directory) forget() { d.memory.Store(new(memory)) }

// remember keeps an answer in the memory m that was current before the store was read.
func (d *Directory) remember(m *memory, in *sync.Map, key string, answer any) {
	if m.count.Add(1) > maxMemory {
		d.memory.CompareAndSwap(m, new(memory))
		return
	}
	in.Store(key, answer)
}

// document parses a policy, or remembers having done so. The same text gives the same
// document, so this memory outlives writes.
func (d *Directory) document(kind policy.Kind, text string) (*policy.Document, error) {
	return d.documents.parse(kind, text)
}
