package main

import (
	"crypto/ed25519"
	"os"
	"path/filepath"
	"testing"

	"github.com/malote/malote/audit"
)

// A log outlives the store whose key signed it, so the key does as well.
func TestKeepAuditKey(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var made []ed25519.PublicKey
	for range 3 {
		key, _, err := ed25519.GenerateKey(nil)
		if err != nil {
			t.Fatal(err)
		}
		made = append(made, key)
		for _, again := range []ed25519.PublicKey{key, made[0]} {
			if err := keepAuditKey(dir, again); err != nil {
				t.Fatal(err)
			}
		}
		text, err := os.ReadFile(filepath.Join(dir, auditKeyFile))
		if err != nil {
			t.Fatal(err)
		}
		kept, err := audit.DecodePublicKeys(text)
		if err != nil || len(kept) != len(made) {
			t.Fatalf("%d keys are kept, %v, want %d", len(kept), err, len(made))
		}
		for i := range made {
			if !kept[i].Equal(made[i]) {
				t.Errorf("key %d of %d is another", i+1, len(made))
			}
		}
	}
}
