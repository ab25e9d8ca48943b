package keyring

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/malote/malote/store"
)

// Whatever way a record is read, what is read is as new as the last write that was
// acknowledged before, be it that the record is gone; and of what was never committed, nothing is read.
func TestNeverStale(t *testing.T) {
	t.Parallel()
	k := onBolt(t)
	type record struct{ N int }
	table := store.NewTable[record]("record")
	const aborted = 1 << 30
	const keys = 3
	var acknowledged, begun [keys]atomic.Int64
	errAbort := errors.New("aborted")

	stop, end := context.WithCancel(t.Context())
	var writers, readers sync.WaitGroup
	for i := range keys {
		key := fmt.Sprint("record/", i)
		writers.Go(func() {
			for n := 1; n <= 100; n++ {
				begun[i].Store(int64(n))
				err := k.Update(t.Context(), func(tx store.Tx) error {
					if n%7 == 0 {
						return table.Delete(tx, key)
					}
					return table.Put(tx, key, &record{n})
				})
				if err != nil {
					t.Error(err)
					return
				}
				acknowledged[i].Store(int64(n))
				err = k.Update(t.Context(), func(tx store.Tx) error {
					if err := table.Put(tx, key, &record{aborted}); err != nil {
						return err
					}
					if r, err := table.Get(tx, key); err != nil || r.N != aborted {
						t.Errorf("within: %v, %v", r, err)
					}
					return errAbort
				})
				if !errors.Is(err, errAbort) {
					t.Errorf("Update = %v", err)
				}
			}
		})
	}
	for range 4 {
		readers.Go(func() {
			for stop.Err() == nil {
				i, way := rand.IntN(keys), rand.IntN(4)
				key := fmt.Sprint("record/", i)
				from := acknowledged[i].Load()
				var r *record
				var err error
				get := func(tx store.Tx) (err error) { r, err = table.Get(tx, key); return err }
				switch way {
				case 0:
					r, err = table.Look(t.Context(), k, key)
				case 1:
					err = k.Look(t.Context(), get)
				case 2:
					err = k.View(t.Context(), get)
				case 3:
					err = k.View(t.Context(), func(tx store.Tx) error {
						r = nil
						for row, err := range table.Scan(tx, key, "") {
							if err != nil {
								return err
							}
							r = row.Value
						}
						if r == nil {
							return store.ErrNotFound
						}
						return nil
					})
				}
				to := begun[i].Load()
				switch {
				case errors.Is(err, store.ErrNotFound):
					if from > 0 && from/7 == to/7 && from%7 != 0 {
						t.Errorf("way %d: nothing between %d and %d", way, from, to)
						return
					}
				case err != nil:
					t.Error(err)
					return
				case int64(r.N) < from || int64(r.N) > to || r.N%7 == 0:
					t.Errorf("way %d: %d between %d and %d", way, r.N, from, to)
					return
				}
			}
		})
	}
	writers.Wait()
	end()
	readers.Wait()
}
