package keyring

import (
	"bytes"
	"context"
	"slices"
	"testing"

	"github.com/malote/malote/keyring/seal"
	"github.com/malote/malote/store"
	"github.com/malote/malote/store/bolt"
	"github.com/malote/malote/store/memory"
)

// What is deleted does not stay in memory opened.
func TestForgetsDeleted(t *testing.T) {
	t.Parallel()
	file, err := seal.OpenFile(t.TempDir() + "/root.key")
	if err != nil {
		t.Fatal(err)
	}
	under := memory.New()
	defer under.Close()
	k, err := Open(t.Context(), under, file)
	if err != nil {
		t.Fatal(err)
	}
	for _, fn := range []func(store.Tx) error{
		func(tx store.Tx) error { return tx.Put("a", []byte("value")) },
		func(tx store.Tx) error {
			if b, err := tx.Get("a"); err != nil || !bytes.Equal(b, []byte("value")) {
				t.Errorf("Get = %q, %v", b, err)
			}
			return tx.Delete("a")
		},
	} {
		if err := k.Update(t.Context(), fn); err != nil {
			t.Fatal(err)
		}
	}
	if _, there := k.opened.Get("a"); there {
		t.Error("it is still remembered")
	}
}

// onBolt is a keyring over a file.
func onBolt(t *testing.T) *Keyring {
	t.Helper()
	dir := t.TempDir()
	file, err := seal.OpenFile(dir + "/root.key")
	if err != nil {
		t.Fatal(err)
	}
	under, err := bolt.Open(dir + "/store.db")
	if err != nil {
		t.Fatal(err)
	}
	k, err := Open(t.Context(), under, file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { k.Close() })
	return k
}

// What a layer above makes of a value is kept beside it, through every kind of transaction,
// until the value is another.
func TestMemo(t *testing.T) {
	t.Parallel()
	k := onBolt(t)
	type record struct{ N int }
	table := store.NewTable[record]("record")
	put := func(n int) {
		t.Helper()
		if err := k.Update(t.Context(), func(tx store.Tx) error { return table.Put(tx, "a", &record{n}) }); err != nil {
			t.Fatal(err)
		}
	}
	var first *record
	for n := range 3 {
		put(n)
		var seen []*record
		get := func(tx store.Tx) error {
			r, err := table.Get(tx, "a")
			seen = append(seen, r)
			return err
		}
		for range 3 { // from the file, and as known
			for _, read := range []func(context.Context, func(store.Tx) error) error{k.Look, k.View, k.Update, k.Look} {
				if err := read(t.Context(), get); err != nil {
					t.Fatal(err)
				}
			}
			r, err := table.Look(t.Context(), k, "a")
			if err != nil {
				t.Fatal(err)
			}
			seen = append(seen, r)
			err = k.View(t.Context(), func(tx store.Tx) error {
				for row, err := range table.Scan(tx, "", "") {
					if err != nil {
						return err
					}
					seen = append(seen, row.Value)
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		if len(seen) != 18 || slices.ContainsFunc(seen, func(r *record) bool { return r != seen[0] || r.N != n }) || seen[0] == first {
			t.Errorf("round %d: %d records, %v; want 18 times one and the same, of this round", n, len(seen), seen)
		}
		first = seen[0]
	}
}
