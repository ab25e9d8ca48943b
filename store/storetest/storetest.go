// Package storetest is what every store promises, as tests. A backend, or a decorator
// over one, is done when Test passes under the race detector; one that survives its
// process also passes Crash.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/malote/malote/store"
)

// Test runs the suite. Each call of open returns an empty store; the suite closes it.
func Test(t *testing.T, open func(testing.TB) store.Store) {
	for name, test := range map[string]func(*testing.T, store.Store){
		"get what was put":           testGet,
		"keys":                       testKeys,
		"slices are copies":          testCopies,
		"order":                      testOrder,
		"order, against a model":     testModel,
		"scan sees own writes":       testScanOwnWrites,
		"scan while writing":         testScanWhileWriting,
		"pages while others write":   testPages,
		"an error leaves no trace":   testError,
		"a panic leaves no trace":    testPanic,
		"Goexit leaves no trace":     testGoexit,
		"a failing neighbour":        testNeighbours,
		"view is read-only":          testReadOnly,
		"view is a snapshot":         testSnapshot,
		"a transaction ends":         testTxDone,
		"transfers keep the sum":     testTransfers,
		"counters lose no increment": testCounter,
		"write skew":                 testWriteSkew,
		"phantoms: insert":           testPhantomInsert,
		"phantoms: delete":           testPhantomDelete,
		"many reads, one write":      testManyReads,
		"limits":                     testLimits,
		"watch":                      testWatch,
		"watch joins nudges":         testWatchJoins,
		"an ended context":           testContext,
		"a context ending in Update": testContextInFn,
		"closed":                     testClosed,
		"closing ends the watches":   testCloseWatch,
		"table":                      testTable,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := open(t)
			t.Cleanup(func() { s.Close() })
			test(t, s)
		})
	}
}

func put(t testing.TB, s store.Store, pairs ...string) {
	t.Helper()
	err := s.Update(t.Context(), func(tx store.Tx) error {
		for i := 0; i < len(pairs); i += 2 {
			if err := tx.Put(pairs[i], []byte(pairs[i+1])); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatalf("Put(%q): %v", pairs, err)
	}
}

// dump returns everything, as key=value.
func dump(t testing.TB, s store.Store) []string {
	t.Helper()
	return scan(t, s, "", "")
}

func scan(t testing.TB, s store.Store, prefix, after string) []string {
	t.Helper()
	var got []string
	err := s.View(t.Context(), func(tx store.Tx) (err error) {
		got, err = collect(tx, prefix, after)
		return err
	})
	if err != nil {
		t.Fatalf("Scan(%q, %q): %v", prefix, after, err)
	}
	return got
}

func collect(tx store.Tx, prefix, after string) ([]string, error) {
	got := []string{}
	for e, err := range tx.Scan(prefix, after) {
		if err != nil {
			return nil, err
		}
		got = append(got, e.Key+"="+string(e.Value))
	}
	return got, nil
}

func want(t testing.TB, s store.Store, pairs ...string) {
	t.Helper()
	if pairs == nil {
		pairs = []string{}
	}
	if diff := cmp.Diff(pairs, dump(t, s)); diff != "" {
		t.Errorf("content (-want +got):\n%s", diff)
	}
}

func testGet(t *testing.T, s store.Store) {
	binary := make([]byte, 256)
	for i := range binary {
		binary[i] = byte(i)
	}
	values := map[string]string{"a": "1", "empty": "", "binary": string(binary), "large": strings.Repeat("x", 200_000)}
	for k, v := range values {
		put(t, s, k, v)
	}
	put(t, s, "a", "2")
	values["a"] = "2"
	err := s.View(t.Context(), func(tx store.Tx) error {
		for k, v := range values {
			got, err := tx.Get(k)
			if err != nil || string(got) != v {
				t.Errorf("Get(%q) = %.20q, %v, want %.20q", k, got, err, v)
			}
			if got == nil {
				t.Errorf("Get(%q) = nil slice", k)
			}
		}
		for _, k := range []string{"b", "A", "a/", "aa"} {
			if _, err := tx.Get(k); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("Get(%q): %v, want ErrNotFound", k, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	err = s.Update(t.Context(), func(tx store.Tx) error {
		if err := tx.Delete("a"); err != nil {
			return err
		}
		if err := tx.Delete("never there"); err != nil {
			return err
		}
		if _, err := tx.Get("a"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("Get after Delete in one transaction: %v, want ErrNotFound", err)
		}
		if err := tx.Put("b", []byte("1")); err != nil {
			return err
		}
		got, err := tx.Get("b")
		if string(got) != "1" {
			t.Errorf("Get after Put in one transaction = %q", got)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := scan(t, s, "a", ""); len(got) != 0 {
		t.Errorf("after Delete: %q", got)
	}
}

func testKeys(t *testing.T, s store.Store) {
	longest := strings.Repeat("k", store.MaxKey)
	put(t, s, "\x00", "1", "with space", "2", "ü", "3", "\xff", "4", "\xff\xff", "5", longest, "6")
	if diff := cmp.Diff([]string{"\xff=4", "\xff\xff=5"}, scan(t, s, "\xff", "")); diff != "" {
		t.Error(diff)
	}
	if got := dump(t, s); len(got) != 6 {
		t.Errorf("%d keys, want 6", len(got))
	}
	for _, key := range []string{"", longest + "k"} {
		err := s.Update(t.Context(), func(tx store.Tx) error { return tx.Put(key, nil) })
		if err == nil {
			t.Errorf("Put of a key of %d bytes succeeded", len(key))
		}
		err = s.View(t.Context(), func(tx store.Tx) error { _, err := tx.Get(key); return err })
		if err == nil {
			t.Errorf("Get of a key of %d bytes succeeded", len(key))
		}
	}
}

func testCopies(t *testing.T, s store.Store) {
	value := []byte("value")
	spoil := func(b []byte) {
		for i := range b {
			b[i] = '!'
		}
	}
	err := s.Update(t.Context(), func(tx store.Tx) error {
		if err := tx.Put("k", value); err != nil {
			return err
		}
		spoil(value)
		got, err := tx.Get("k")
		if err != nil {
			return err
		}
		spoil(got)
		for e, err := range tx.Scan("", "") {
			if err != nil {
				return err
			}
			spoil(e.Value)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		err = s.View(t.Context(), func(tx store.Tx) error {
			if peeked, err := store.Peek(tx, "k"); err != nil || string(peeked) != "value" {
				t.Errorf("Peek = %q, %v", peeked, err)
			}
			got, err := tx.Get("k")
			if string(got) != "value" {
				t.Errorf("Get = %q: a slice was shared", got)
			}
			spoil(got)
			for e := range tx.Scan("", "") {
				if string(e.Value) != "value" {
					t.Errorf("Scan = %q: a slice was shared", e.Value)
				}
				spoil(e.Value)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func testOrder(t *testing.T, s store.Store) {
	put(t, s, "b/2", "x", "a", "x", "b", "x", "b/10", "x", "b/1", "x", "b/", "x", "ba", "x", "c", "x")
	for _, tt := range []struct {
		prefix, after string
		want          string
	}{
		{"", "", "a b b/ b/1 b/10 b/2 ba c"},
		{"b/", "", "b/ b/1 b/10 b/2"},
		{"b/", "b/", "b/1 b/10 b/2"},
		{"b/", "b/1", "b/10 b/2"},
		{"b/", "b/11", "b/2"},
		{"b/", "b/2", ""},
		{"b/", "c", ""},
		{"b/", "a", "b/ b/1 b/10 b/2"},
		{"", "b/2", "ba c"},
		{"b/1", "", "b/1 b/10"},
		{"d", "", ""},
		{"0", "", ""},
	} {
		want := strings.Fields(tt.want)
		got := []string{}
		for _, kv := range scan(t, s, tt.prefix, tt.after) {
			got = append(got, strings.TrimSuffix(kv, "=x"))
		}
		if diff := cmp.Diff(want, got); diff != "" && len(want)+len(got) > 0 {
			t.Errorf("Scan(%q, %q) (-want +got):\n%s", tt.prefix, tt.after, diff)
		}
	}
}

// testModel holds the store to a map through random transactions.
func testModel(t *testing.T, s store.Store) {
	r := rand.New(rand.NewPCG(1, 2))
	model := map[string]string{}
	key := func() string {
		return strings.Repeat(string(rune('a'+r.IntN(3))), 1+r.IntN(3)) + string(rune('a'+r.IntN(9)))
	}
	entries := func(m map[string]string, prefix, after string) []string {
		got := []string{}
		for _, k := range slices.Sorted(maps.Keys(m)) {
			if strings.HasPrefix(k, prefix) && k > after {
				got = append(got, k+"="+m[k])
			}
		}
		return got
	}
	refused := errors.New("refused")
	for i := range 60 {
		next := maps.Clone(model)
		fail := r.IntN(4) == 0
		err := s.Update(t.Context(), func(tx store.Tx) error {
			for range r.IntN(12) {
				k := key()
				if r.IntN(3) == 0 {
					delete(next, k)
					if err := tx.Delete(k); err != nil {
						return err
					}
				} else {
					next[k] = fmt.Sprint(i)
					if err := tx.Put(k, []byte(next[k])); err != nil {
						return err
					}
				}
			}
			prefix, after := key()[:r.IntN(2)], key()
			got, err := collect(tx, prefix, after)
			if err != nil {
				return err
			}
			if diff := cmp.Diff(entries(next, prefix, after), got); diff != "" {
				t.Errorf("Scan(%q, %q) within a transaction (-want +got):\n%s", prefix, after, diff)
			}
			if fail {
				return refused
			}
			return nil
		})
		switch {
		case fail && !errors.Is(err, refused):
			t.Fatalf("Update = %v, want the function's error", err)
		case !fail && err != nil:
			t.Fatal(err)
		case !fail:
			model = next
		}
		if diff := cmp.Diff(entries(model, "", ""), dump(t, s)); diff != "" {
			t.Fatalf("after transaction %d (-want +got):\n%s", i, diff)
		}
	}
}

func testScanOwnWrites(t *testing.T, s store.Store) {
	put(t, s, "p/b", "old", "p/d", "old", "p/f", "old", "q", "old")
	err := s.Update(t.Context(), func(tx store.Tx) error {
		for k, v := range map[string]string{"p/a": "new", "p/b": "new", "p/c": "new", "p/g": "new", "r": "new"} {
			if err := tx.Put(k, []byte(v)); err != nil {
				return err
			}
		}
		if err := tx.Delete("p/d"); err != nil {
			return err
		}
		got, err := collect(tx, "p/", "")
		if diff := cmp.Diff([]string{"p/a=new", "p/b=new", "p/c=new", "p/f=old", "p/g=new"}, got); diff != "" {
			t.Errorf("Scan (-want +got):\n%s", diff)
		}
		if err != nil {
			return err
		}
		got, err = collect(tx, "p/", "p/b")
		if diff := cmp.Diff([]string{"p/c=new", "p/f=old", "p/g=new"}, got); diff != "" {
			t.Errorf("Scan after p/b (-want +got):\n%s", diff)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	want(t, s, "p/a=new", "p/b=new", "p/c=new", "p/f=old", "p/g=new", "q=old", "r=new")
}

func testScanWhileWriting(t *testing.T, s store.Store) {
	put(t, s, "p/1", "x", "p/2", "x", "p/3", "x")
	err := s.Update(t.Context(), func(tx store.Tx) error {
		var seen []string
		for e, err := range tx.Scan("p/", "") {
			if err != nil {
				return err
			}
			seen = append(seen, e.Key)
			if err := tx.Delete(e.Key); err != nil {
				return err
			}
			if err := tx.Put(e.Key+"'", e.Value); err != nil {
				return err
			}
			if err := tx.Delete("p/3"); err != nil { // still to come
				return err
			}
		}
		if diff := cmp.Diff([]string{"p/1", "p/2", "p/3"}, seen); diff != "" {
			t.Errorf("seen (-want +got):\n%s", diff)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want(t, s, "p/1'=x", "p/2'=x", "p/3'=x")
}

// testPages reads pages, each in a transaction of its own, as a paging client does,
// while another writer inserts and deletes. What was there all along is seen once.
func testPages(t *testing.T, s store.Store) {
	for i := range 50 {
		put(t, s, fmt.Sprintf("p/%03d", 2*i), "stays")
	}
	var wg sync.WaitGroup
	stop := make(chan struct{})
	wg.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			key := fmt.Sprintf("p/%03d", 2*(i*7%50)+1)
			err := s.Update(context.Background(), func(tx store.Tx) error {
				if _, err := tx.Get(key); err == nil {
					return tx.Delete(key)
				}
				return tx.Put(key, []byte("comes and goes"))
			})
			if err != nil {
				t.Error(err)
				return
			}
		}
	})
	defer wg.Wait()
	defer close(stop)
	for range 3 {
		seen := map[string]int{}
		for after, more := "", true; more; {
			err := s.View(t.Context(), func(tx store.Tx) error {
				more = false
				n := 0
				for e, err := range tx.Scan("p/", after) {
					if err != nil {
						return err
					}
					if n == 7 {
						more = true
						break
					}
					n++
					seen[e.Key]++
					after = e.Key
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		for i := range 50 {
			if key := fmt.Sprintf("p/%03d", 2*i); seen[key] != 1 {
				t.Errorf("%s seen %d times", key, seen[key])
			}
		}
	}
}

func testError(t *testing.T, s store.Store) {
	put(t, s, "a", "1")
	refused := errors.New("refused")
	err := s.Update(t.Context(), func(tx store.Tx) error {
		tx.Put("a", []byte("2"))
		tx.Put("b", []byte("2"))
		return refused
	})
	if !errors.Is(err, refused) {
		t.Errorf("Update = %v, want %v", err, refused)
	}
	if err := s.View(t.Context(), func(store.Tx) error { return refused }); !errors.Is(err, refused) {
		t.Errorf("View = %v, want %v", err, refused)
	}
	want(t, s, "a=1")
	put(t, s, "c", "3")
	want(t, s, "a=1", "c=3")
}

func testPanic(t *testing.T, s store.Store) {
	put(t, s, "a", "1")
	for _, run := range []func(context.Context, func(store.Tx) error) error{s.Update, s.View} {
		func() {
			defer func() {
				if r := recover(); r != "oh" {
					t.Errorf("recover() = %v, want the function's panic", r)
				}
			}()
			run(t.Context(), func(tx store.Tx) error {
				tx.Put("a", []byte("2"))
				panic("oh")
			})
			t.Error("no panic")
		}()
	}
	want(t, s, "a=1")
	put(t, s, "b", "2")
	want(t, s, "a=1", "b=2")
}

func testGoexit(t *testing.T, s store.Store) {
	var wg sync.WaitGroup
	wg.Go(func() {
		s.Update(context.Background(), func(tx store.Tx) error {
			tx.Put("a", []byte("1"))
			runtime.Goexit()
			return nil
		})
	})
	wg.Wait()
	put(t, s, "b", "2")
	want(t, s, "b=2")
}

// testNeighbours runs transactions that succeed, fail and panic at the same time.
func testNeighbours(t *testing.T, s store.Store) {
	var wg sync.WaitGroup
	refused := errors.New("refused")
	for i := range 60 {
		wg.Go(func() {
			defer func() { recover() }()
			err := s.Update(context.Background(), func(tx store.Tx) error {
				if _, err := collect(tx, "k", ""); err != nil && i%3 != 0 {
					return err
				}
				if err := tx.Put(fmt.Sprintf("k%02d", i), []byte("x")); err != nil {
					return err
				}
				switch i % 3 {
				case 1:
					return refused
				case 2:
					panic("oh")
				}
				return nil
			})
			if i%3 == 0 && err != nil {
				t.Errorf("transaction %d: %v", i, err)
			}
			if i%3 == 1 && !errors.Is(err, refused) {
				t.Errorf("transaction %d: %v, want %v", i, err, refused)
			}
		})
	}
	wg.Wait()
	var expect []string
	for i := 0; i < 60; i += 3 {
		expect = append(expect, fmt.Sprintf("k%02d=x", i))
	}
	want(t, s, expect...)
}

func testReadOnly(t *testing.T, s store.Store) {
	err := s.View(t.Context(), func(tx store.Tx) error {
		if err := tx.Put("a", nil); !errors.Is(err, store.ErrReadOnly) {
			t.Errorf("Put in View: %v, want ErrReadOnly", err)
		}
		if err := tx.Delete("a"); !errors.Is(err, store.ErrReadOnly) {
			t.Errorf("Delete in View: %v, want ErrReadOnly", err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want(t, s)
}

func testSnapshot(t *testing.T, s store.Store) {
	put(t, s, "a", "1", "b", "1", "c", "1")
	err := s.View(t.Context(), func(tx store.Tx) error {
		if _, err := tx.Get("a"); err != nil {
			return err
		}
		done := make(chan error)
		go func() {
			done <- s.Update(context.Background(), func(tx store.Tx) error {
				tx.Put("a", []byte("2"))
				tx.Put("aa", []byte("2"))
				return tx.Delete("c")
			})
		}()
		if err := <-done; err != nil {
			return err
		}
		got, err := collect(tx, "", "")
		if diff := cmp.Diff([]string{"a=1", "b=1", "c=1"}, got); diff != "" {
			t.Errorf("View changed under way (-want +got):\n%s", diff)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	want(t, s, "a=2", "aa=2", "b=1")
}

func testTxDone(t *testing.T, s store.Store) {
	var kept store.Tx
	if err := s.Update(t.Context(), func(tx store.Tx) error { kept = tx; return nil }); err != nil {
		t.Fatal(err)
	}
	if _, err := kept.Get("a"); !errors.Is(err, store.ErrTxDone) {
		t.Errorf("Get after the end: %v, want ErrTxDone", err)
	}
	if err := kept.Put("a", nil); !errors.Is(err, store.ErrTxDone) {
		t.Errorf("Put after the end: %v, want ErrTxDone", err)
	}
	if err := kept.Delete("a"); !errors.Is(err, store.ErrTxDone) {
		t.Errorf("Delete after the end: %v, want ErrTxDone", err)
	}
	for _, err := range kept.Scan("", "") {
		if !errors.Is(err, store.ErrTxDone) {
			t.Errorf("Scan after the end: %v, want ErrTxDone", err)
		}
	}
	want(t, s)
}

func testLimits(t *testing.T, s store.Store) {
	err := s.Update(t.Context(), func(tx store.Tx) error {
		for i := range store.MaxWrites {
			if err := tx.Put(fmt.Sprintf("k%04d", i), make([]byte, 5000)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatalf("%d writes: %v", store.MaxWrites, err)
	}
	err = s.Update(t.Context(), func(tx store.Tx) error {
		for i := range store.MaxWrites + 1 {
			if err := tx.Delete(fmt.Sprintf("k%04d", i)); err != nil {
				return err
			}
		}
		return nil
	})
	if !errors.Is(err, store.ErrTooLarge) {
		t.Errorf("%d writes: %v, want ErrTooLarge", store.MaxWrites+1, err)
	}
	if err := s.Update(t.Context(), func(tx store.Tx) error { return tx.Put("k", make([]byte, store.MaxBytes-1000)) }); err != nil {
		t.Errorf("a large value: %v", err)
	}
	if err := s.Update(t.Context(), func(tx store.Tx) error { return tx.Put("l", make([]byte, store.MaxBytes)) }); !errors.Is(err, store.ErrTooLarge) {
		t.Errorf("too large a value: %v, want ErrTooLarge", err)
	}
	if got := len(scan(t, s, "k", "")); got != store.MaxWrites+1 {
		t.Errorf("%d keys, want %d", got, store.MaxWrites+1)
	}
}

func nudged(ch <-chan struct{}) (open, ok bool) {
	select {
	case _, open = <-ch:
		return open, true
	case <-time.After(10 * time.Second):
		return true, false
	}
}

func testWatch(t *testing.T, s store.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	a, all := s.Watch(ctx, "a/"), s.Watch(ctx, "")
	put(t, s, "a/1", "x")
	for name, ch := range map[string]<-chan struct{}{"a/": a, "all": all} {
		if open, ok := nudged(ch); !open || !ok {
			t.Fatalf("no nudge for %s after Put", name)
		}
	}
	put(t, s, "b", "x")
	if open, ok := nudged(all); !open || !ok {
		t.Fatal("no nudge for all after Put of b")
	}
	if err := s.Update(t.Context(), func(tx store.Tx) error { return tx.Delete("a/1") }); err != nil {
		t.Fatal(err)
	}
	if open, ok := nudged(a); !open || !ok {
		t.Fatal("no nudge for a/ after Delete")
	}
	s.Update(t.Context(), func(tx store.Tx) error {
		tx.Put("a/2", nil)
		return errors.New("refused")
	})
	select {
	case <-a: // stale news of b or a/1 may be joined late, but not twice
		select {
		case <-a:
			t.Error("a nudge for a transaction that failed")
		default:
		}
	default:
	}
	cancel()
	for range 3 { // a nudge may still wait
		if open, ok := nudged(a); !ok {
			t.Fatal("the channel stays open after the context ended")
		} else if !open {
			return
		}
	}
	t.Error("nudges after the context ended")
}

func testWatchJoins(t *testing.T, s store.Store) {
	ch := s.Watch(t.Context(), "k")
	for i := range 20 { // nobody receives: writers must not wait
		put(t, s, "k", fmt.Sprint(i))
	}
	if open, ok := nudged(ch); !open || !ok {
		t.Error("no nudge")
	}
}

func testContext(t *testing.T, s store.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	called := func(store.Tx) error { t.Error("called"); return nil }
	if err := s.Update(ctx, called); !errors.Is(err, context.Canceled) {
		t.Errorf("Update = %v, want Canceled", err)
	}
	if err := s.View(ctx, called); !errors.Is(err, context.Canceled) {
		t.Errorf("View = %v, want Canceled", err)
	}
	if open, ok := nudged(s.Watch(ctx, "")); open || !ok {
		t.Error("Watch under an ended context is not closed")
	}
	put(t, s, "a", "1")
}

func testContextInFn(t *testing.T, s store.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	err := s.Update(ctx, func(tx store.Tx) error {
		cancel()
		tx.Put("a", []byte("1")) // a cluster may refuse already
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Update = %v, want Canceled", err)
	}
	want(t, s)
}

func testClosed(t *testing.T, s store.Store) {
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	nothing := func(store.Tx) error { return nil }
	if err := s.Update(t.Context(), nothing); !errors.Is(err, store.ErrClosed) {
		t.Errorf("Update = %v, want ErrClosed", err)
	}
	if err := s.View(t.Context(), nothing); !errors.Is(err, store.ErrClosed) {
		t.Errorf("View = %v, want ErrClosed", err)
	}
}

func testCloseWatch(t *testing.T, s store.Store) {
	ch := s.Watch(t.Context(), "a")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if open, ok := nudged(ch); open || !ok {
		t.Error("Close does not close the watch")
	}
	if open, ok := nudged(s.Watch(t.Context(), "a")); open || !ok {
		t.Error("Watch of a closed store is not closed")
	}
}

func testTable(t *testing.T, s store.Store) {
	type record struct {
		N    int
		Tags map[string]string `json:",omitempty"`
	}
	table := store.NewTable[record]("record")
	err := s.Update(t.Context(), func(tx store.Tx) error {
		for i := range 5 {
			if err := table.Put(tx, fmt.Sprintf("t/%d", i), &record{N: i}); err != nil {
				return err
			}
		}
		got, err := table.Get(tx, "t/3")
		if err != nil || got.N != 3 {
			t.Errorf("Get = %v, %v", got, err)
		}
		return table.Delete(tx, "t/1")
	})
	if err != nil {
		t.Fatal(err)
	}
	var first *record
	err = s.View(t.Context(), func(tx store.Tx) error {
		if _, err := table.Get(tx, "t/1"); err != store.ErrNotFound {
			t.Errorf("Get of a deleted record: %v, want ErrNotFound", err)
		}
		if first, err = table.Get(tx, "t/2"); err != nil {
			return err
		}
		if _, memo, err := store.PeekMemo(tx, "t/2"); err != nil {
			return err
		} else if again, _ := table.Get(tx, "t/2"); memo != nil && again != first {
			t.Error("a remembered value was decoded twice")
		}
		var got []string
		for row, err := range table.Scan(tx, "t/", "t/0") {
			if err != nil {
				return err
			}
			got = append(got, fmt.Sprintf("%s=%d", row.Key, row.Value.N))
		}
		if diff := cmp.Diff([]string{"t/2=2", "t/3=3", "t/4=4"}, got); diff != "" {
			t.Error(diff)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	err = s.Update(t.Context(), func(tx store.Tx) error {
		if err := tx.Put("t/damaged", []byte("\x01{\"N\": \"canary\"}")); err != nil {
			return err
		}
		return table.Put(tx, "t/2", &record{N: 22})
	})
	if err != nil {
		t.Fatal(err)
	}
	err = s.View(t.Context(), func(tx store.Tx) error {
		got, err := table.Get(tx, "t/2")
		if err != nil || got.N != 22 || first.N != 2 {
			t.Errorf("after an update: %v, %v; the earlier record is %v", got, err, first)
		}
		_, err = table.Get(tx, "t/damaged")
		if err == nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("Get of a damaged record: %v", err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
