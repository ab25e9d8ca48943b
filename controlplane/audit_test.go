package controlplane

import (
	"crypto/ed25519"
	"testing"

	"github.com/malote/malote/store"
	"github.com/malote/malote/store/memory"
)

func TestAuditKey(t *testing.T) {
	t.Parallel()
	s := memory.New()
	first, err := auditKey(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	if len(first) != ed25519.PrivateKeySize || !first.Equal(ed25519.NewKeyFromSeed(first.Seed())) {
		t.Errorf("a key of %d bytes that is not its seed's", len(first))
	}
	change := func(key string, value []byte) {
		t.Helper()
		if err := s.Update(t.Context(), func(tx store.Tx) error {
			if value == nil {
				return tx.Delete(key)
			}
			return tx.Put(key, value)
		}); err != nil {
			t.Fatal(err)
		}
	}
	same := func(name string) {
		t.Helper()
		key, err := auditKey(t.Context(), s)
		if err != nil || !key.Equal(first) {
			t.Fatalf("%s: another key, %v", name, err)
		}
	}
	same("again")
	change(auditPublicKey, nil)
	same("a store of before there was the public key")
	same("the public key kept anew")

	change(auditSeedKey, nil) // and not the public key
	if key, err := auditKey(t.Context(), s); err != nil || key.Equal(first) || !key.Equal(ed25519.NewKeyFromSeed(key.Seed())) {
		t.Errorf("without its seed: %d bytes that are not a new seed's, %v", len(key), err)
	}

	for _, key := range []string{auditPublicKey, auditSeedKey} {
		change(key, make([]byte, 31))
		if _, err := auditKey(t.Context(), s); err == nil {
			t.Errorf("%s: 31 bytes are taken", key)
		}
		change(key, nil)
	}
}
