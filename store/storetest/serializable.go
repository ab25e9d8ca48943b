package storetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"

	"github.com/malote/malote/store"
)

func number(tx store.Tx, key string) (int, error) {
	b, err := tx.Get(key)
	if errors.Is(err, store.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(string(b))
}

func putNumber(tx store.Tx, key string, n int) error {
	return tx.Put(key, []byte(strconv.Itoa(n)))
}

// testTransfers moves money between accounts while readers add everything up.
func testTransfers(t *testing.T, s store.Store) {
	const accounts, each = 8, 100
	for i := range accounts {
		put(t, s, fmt.Sprintf("account/%d", i), strconv.Itoa(each))
	}
	sum := func(tx store.Tx) error {
		total := 0
		for e, err := range tx.Scan("account/", "") {
			if err != nil {
				return err
			}
			n, err := strconv.Atoi(string(e.Value))
			if err != nil {
				return err
			}
			if n < 0 {
				t.Errorf("%s is overdrawn: %d", e.Key, n)
			}
			total += n
		}
		if total != accounts*each {
			t.Errorf("the sum is %d, want %d", total, accounts*each)
		}
		return nil
	}
	var writers, readers sync.WaitGroup
	stop := make(chan struct{})
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := s.View(context.Background(), sum); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for w := range 6 {
		writers.Go(func() {
			r := rand.New(rand.NewPCG(uint64(w), 0))
			for range 25 {
				from, to, amount := r.IntN(accounts), r.IntN(accounts), r.IntN(150)
				err := s.Update(context.Background(), func(tx store.Tx) error {
					a, b := fmt.Sprintf("account/%d", from), fmt.Sprintf("account/%d", to)
					have, err := number(tx, a)
					if err != nil || have < amount || a == b {
						return err
					}
					got, err := number(tx, b)
					if err != nil {
						return err
					}
					if err := putNumber(tx, a, have-amount); err != nil {
						return err
					}
					return putNumber(tx, b, got+amount)
				})
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	writers.Wait()
	close(stop)
	readers.Wait()
	if err := s.View(t.Context(), sum); err != nil {
		t.Fatal(err)
	}
}

func testCounter(t *testing.T, s store.Store) {
	const writers, each = 8, 12
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for range each {
				err := s.Update(context.Background(), func(tx store.Tx) error {
					n, err := number(tx, "n")
					if err != nil {
						return err
					}
					return putNumber(tx, "n", n+1)
				})
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	want(t, s, "n="+strconv.Itoa(writers*each))
}

// race runs a and b so that both have read before either commits, if the store runs
// them at the same time at all.
func race(t *testing.T, s store.Store, a, b func(tx store.Tx, met func()) error) {
	t.Helper()
	arrived := make(chan struct{}, 2)
	both := make(chan struct{})
	finished := make(chan struct{}, 2)
	go func() {
		// Released when both have arrived, or when one cannot because the other holds
		// the store: then it finishes, or waits here and is let go at once.
		<-arrived
		select {
		case <-arrived:
		case <-finished:
		case <-timeout():
		}
		close(both)
	}()
	var wg sync.WaitGroup
	for _, fn := range []func(store.Tx, func()) error{a, b} {
		wg.Go(func() {
			met := sync.OnceFunc(func() { // the first attempt alone
				arrived <- struct{}{}
				<-both
			})
			err := s.Update(context.Background(), func(tx store.Tx) error { return fn(tx, met) })
			finished <- struct{}{}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// testWriteSkew: two doctors on call, each may leave while the other stays.
func testWriteSkew(t *testing.T, s store.Store) {
	for i := range 5 {
		x, y := fmt.Sprintf("x%d", i), fmt.Sprintf("y%d", i)
		put(t, s, x, "1", y, "1")
		leave := func(who string) func(store.Tx, func()) error {
			return func(tx store.Tx, met func()) error {
				a, err := number(tx, x)
				if err != nil {
					return err
				}
				b, err := number(tx, y)
				if err != nil {
					return err
				}
				met()
				if a+b < 2 {
					return nil
				}
				return putNumber(tx, who, 0)
			}
		}
		race(t, s, leave(x), leave(y))
		err := s.View(t.Context(), func(tx store.Tx) error {
			a, _ := number(tx, x)
			b, _ := number(tx, y)
			if a+b != 1 {
				t.Errorf("%d on call, want 1", a+b)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// testPhantomInsert: each inserts unless someone has; one wins.
func testPhantomInsert(t *testing.T, s store.Store) {
	for i := range 5 {
		prefix := fmt.Sprintf("room%d/", i)
		book := func(who string) func(store.Tx, func()) error {
			return func(tx store.Tx, met func()) error {
				taken, err := collect(tx, prefix, "")
				if err != nil {
					return err
				}
				met()
				if len(taken) > 0 {
					return nil
				}
				return tx.Put(prefix+who, nil)
			}
		}
		race(t, s, book("a"), book("b"))
		if got := scan(t, s, prefix, ""); len(got) != 1 {
			t.Errorf("booked: %q, want one", got)
		}
	}
}

// testPhantomDelete: each deletes its own entry unless it is the last; one stays.
func testPhantomDelete(t *testing.T, s store.Store) {
	for i := range 5 {
		prefix := fmt.Sprintf("crew%d/", i)
		put(t, s, prefix+"a", "", prefix+"b", "")
		leave := func(who string) func(store.Tx, func()) error {
			return func(tx store.Tx, met func()) error {
				crew, err := collect(tx, prefix, "")
				if err != nil {
					return err
				}
				met()
				if len(crew) == 1 {
					return nil
				}
				return tx.Delete(prefix + who)
			}
		}
		race(t, s, leave("a"), leave("b"))
		if got := scan(t, s, prefix, ""); len(got) != 1 {
			t.Errorf("left: %q, want one", got)
		}
	}
}

// testManyReads reads more keys than a cluster compares in one request.
func testManyReads(t *testing.T, s store.Store) {
	const keys = 300
	read := func(tx store.Tx) (total int, err error) {
		for i := range keys {
			n, err := number(tx, fmt.Sprintf("k/%03d", i))
			if err != nil {
				return 0, err
			}
			total += n
		}
		return total, nil
	}
	bump := func(key string) func(store.Tx, func()) error {
		return func(tx store.Tx, met func()) error {
			total, err := read(tx)
			if err != nil {
				return err
			}
			met()
			return putNumber(tx, key, total+1)
		}
	}
	race(t, s, bump("k/000"), bump("k/299"))
	err := s.View(t.Context(), func(tx store.Tx) error {
		total, err := read(tx)
		if total != 1+2 { // the second saw the first
			t.Errorf("total = %d, want 3", total)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
