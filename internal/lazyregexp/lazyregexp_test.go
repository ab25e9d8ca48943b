package lazyregexp_test

import (
	"slices"
	"testing"

	"github.com/malote/malote/internal/lazyregexp"
)

func TestRegexp(t *testing.T) {
	t.Parallel()
	name := lazyregexp.New(`^([a-z]{1,3})-([0-9]{1,2})$`)
	for s, want := range map[string]bool{"abc-12": true, "a-1": true, "abcd-1": false, "abc-": false} {
		if got := name.MatchString(s); got != want {
			t.Errorf("MatchString(%q) = %v", s, got)
		}
	}
	if got := name.FindStringSubmatch("abc-12"); !slices.Equal(got, []string{"abc-12", "abc", "12"}) {
		t.Errorf("FindStringSubmatch = %q", got)
	}
	if got := lazyregexp.New(`([a-z])([0-9])`).ReplaceAllString("a1 b2-c3", "$2$1"); got != "1a 2b-3c" {
		t.Errorf("ReplaceAllString = %q", got)
	}
	defer func() {
		if recover() == nil {
			t.Error("an expression that is not one was asked and answered")
		}
	}()
	lazyregexp.New(`(`).MatchString("")
}
