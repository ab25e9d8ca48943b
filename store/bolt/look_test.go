package bolt

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"github.com/malote/malote/store"
)

// TestLookSeesOneState moves money between accounts while readers add some of them up,
// in pairs whose sum never changes, and checks that an acknowledged write is seen.
func TestLookSeesOneState(t *testing.T) {
	t.Parallel()
	s, err := Open(filepath.Join(t.TempDir(), "store.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const pairs, each = 4, 100
	account := func(pair, side int) string { return fmt.Sprintf("account/%d/%d", pair, side) }
	number := func(tx store.Tx, key string) (int, error) {
		b, err := tx.Get(key)
		if err != nil {
			return 0, err
		}
		return strconv.Atoi(string(b))
	}
	err = s.Update(t.Context(), func(tx store.Tx) error {
		for pair := range pairs {
			for side := range 2 {
				if err := tx.Put(account(pair, side), []byte(strconv.Itoa(each))); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	stop, end := context.WithCancel(t.Context())
	var readers, writers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for stop.Err() == nil {
				pair, first := rand.IntN(pairs), rand.IntN(2)
				sum := 0
				err := store.Look(t.Context(), s, func(tx store.Tx) error {
					x, err := number(tx, account(pair, first))
					if err != nil {
						return err
					}
					y, err := number(tx, account(pair, 1-first))
					sum = x + y
					return err
				})
				if err != nil || sum != 2*each {
					t.Errorf("sum %d, %v; want %d", sum, err, 2*each)
					return
				}
			}
		})
	}
	for w := range 4 {
		writers.Go(func() {
			own := fmt.Sprintf("own/%d", w)
			for i := range 200 {
				pair, amount := rand.IntN(pairs), rand.IntN(10)-5
				err := s.Update(t.Context(), func(tx store.Tx) error {
					for side, delta := range []int{amount, -amount} {
						n, err := number(tx, account(pair, side))
						if err != nil {
							return err
						}
						if err := tx.Put(account(pair, side), []byte(strconv.Itoa(n+delta))); err != nil {
							return err
						}
					}
					return tx.Put(own, []byte(strconv.Itoa(i)))
				})
				if err != nil {
					t.Error(err)
					return
				}
				for range 2 { // from the file, and as known
					var n int
					err := store.Look(t.Context(), s, func(tx store.Tx) (err error) {
						n, err = number(tx, own)
						return err
					})
					if err != nil || n != i {
						t.Errorf("own write %d reads as %d, %v", i, n, err)
						return
					}
				}
			}
		})
	}
	writers.Wait()
	end()
	readers.Wait()
}

// TestLookBeside covers what Look has in common with View.
func TestLookBeside(t *testing.T) {
	t.Parallel()
	s, err := Open(filepath.Join(t.TempDir(), "store.db"))
	if err != nil {
		t.Fatal(err)
	}
	put := func(key, value string) {
		t.Helper()
		if err := s.Update(t.Context(), func(tx store.Tx) error { return tx.Put(key, []byte(value)) }); err != nil {
			t.Fatal(err)
		}
	}
	put("a", "1")
	put("b", "2")
	for range 2 {
		err := s.Look(t.Context(), func(tx store.Tx) error {
			if a, err := tx.Get("a"); err != nil || string(a) != "1" {
				t.Errorf("a = %q, %v", a, err)
			}
			if _, err := tx.Get("absent"); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("absent: %v", err)
			}
			if err := tx.Put("a", nil); !errors.Is(err, store.ErrReadOnly) {
				t.Errorf("Put: %v", err)
			}
			n := 0
			for _, err := range tx.Scan("", "") {
				if err != nil {
					t.Error(err)
				}
				n++
			}
			if n != 2 {
				t.Errorf("%d entries, want 2", n)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	// What changes between two reads is torn, and looked at again.
	calls := 0
	err = s.Look(t.Context(), func(tx store.Tx) error {
		calls++
		a, err := tx.Get("a")
		if err != nil {
			return err
		}
		if calls == 1 {
			put("a", "3")
		}
		b, err := tx.Get("b")
		if err != nil {
			return err
		}
		if calls == 2 && (string(a) != "3" || string(b) != "2") {
			t.Errorf("a = %q, b = %q", a, b)
		}
		return nil
	})
	if err != nil || calls != 2 {
		t.Errorf("%d calls, %v; want 2", calls, err)
	}
	failed := errors.New("failed")
	if err := s.Look(t.Context(), func(store.Tx) error { return failed }); err != failed {
		t.Errorf("error %v, want the function's", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Look(t.Context(), func(store.Tx) error { return nil }); !errors.Is(err, store.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}
