package keyring

import (
	"bytes"
	"testing"

	"github.com/malote/malote/keyring/seal"
	"github.com/malote/malote/store"
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
