package directory_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/malote/malote/caller"
	"github.com/malote/malote/service/iam/directory"
)

// A session with as much in it as AssumeRole takes can be used: it deflates to less than a
// token may have, and inflates to more than 64 KB.
func TestLargestSession(t *testing.T) {
	t.Parallel()
	f := open(t)
	role := f.role(t, "app")
	s := directory.Session{Account: account, Type: caller.AssumedRole, ID: role.ID, Name: "s", Expires: f.time.Add(time.Hour), Tags: map[string]string{}}
	for i := range 50 {
		s.Tags[strings.Repeat("𝔸", 126)+fmt.Sprintf("%02d", i)] = strings.Repeat("𝔸", 256)
	}
	issued, err := f.Issue(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	got, err := f.Lookup(t.Context(), issued.AccessKeyID, issued.SessionToken)
	if err != nil {
		t.Fatalf("a token of %d bytes: %v", len(issued.SessionToken), err)
	}
	if len(got.Principal.Tags) != len(s.Tags) {
		t.Errorf("%d tags, want %d", len(got.Principal.Tags), len(s.Tags))
	}
}
