package audit_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/malote/malote/audit"
	"github.com/malote/malote/caller"
)

// Who has no credentials is called as CloudTrail calls them.
func TestAnonymous(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "audit.log")
	f, err := audit.Open(path, audit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r := sample()
	r.Principal = &caller.Principal{Type: caller.Anonymous}
	if err := f.Record(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if err := f.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if want := `"userIdentity":{"type":"AWSAccount","principalId":"","accountId":"ANONYMOUS_PRINCIPAL"},`; err != nil || !strings.Contains(string(text), want) {
		t.Errorf("%s, %v; want %s", text, err, want)
	}
	for _, principal := range []string{"ANONYMOUS_PRINCIPAL", "*"} {
		found := 0
		for _, err := range audit.Query(path, audit.Filter{Principal: principal}) {
			if err != nil {
				t.Fatal(err)
			}
			found++
		}
		if found != 1 {
			t.Errorf("a query for %s finds %d records, want 1", principal, found)
		}
	}
}
