package main

import (
	"crypto/ed25519"
	"os"
	"path/filepath"
	"testing"

	"github.com/malote/malote/audit"
)

// Who has no credentials has a name in the table, too.
func TestWho(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		`{"userIdentity":{"type":"AWSAccount","principalId":"","accountId":"ANONYMOUS_PRINCIPAL"},"resources":[{"accountId":"111122223333"}]}`:                   "ANONYMOUS_PRINCIPAL",
		`{"userIdentity":{"type":"IAMUser","arn":"arn:aws:iam::111122223333:user/admin","accountId":"111122223333"},"resources":[{"accountId":"111122223333"}]}`: "user/admin",
		`{"userIdentity":{"type":"IAMUser","arn":"arn:aws:iam::111122223333:user/admin","accountId":"111122223333"},"resources":[{"accountId":"444455556666"}]}`: "user/admin of 111122223333",
		`{"userIdentity":{"type":"IAMUser","arn":"arn:aws:iam::111122223333:user/admin","accountId":"111122223333","invokedBy":"kms.amazonaws.com"}}`:            "user/admin via kms.amazonaws.com",
		`{"userIdentity":{"type":"WebIdentityUser","principalId":"p","userName":"project_path:shop/web"}}`:                                                       "project_path:shop/web",
		`{"userIdentity":{"type":"AWSService","invokedBy":"malote"}}`:                                                                                            "malote",
	} {
		e, err := audit.Parse([]byte(`{"eventVersion":"1.11","eventID":"1","sequence":1,` + line[1:]))
		if err != nil {
			t.Fatal(err)
		}
		if got := who(e); got != want {
			t.Errorf("who(%s) = %q, want %q", line, got, want)
		}
	}
}

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
