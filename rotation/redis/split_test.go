package redis

import (
	"slices"
	"strings"
	"testing"
)

func TestSplit(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]string{
		"":                                   nil,
		"on #ab ~* resetchannels -@all +get": {"on", "#ab", "~*", "resetchannels", "-@all", "+get"},
		"on (~a* +set (x)) +get":             {"on", "(~a* +set (x))", "+get"},
		"~a(b ~c)d":                          {"~a(b", "~c)d"},
	} {
		if got := split(text); !slices.Equal(got, want) {
			t.Errorf("%q: %q", text, got)
		}
	}
}

// Nothing is lost but spaces.
func FuzzSplit(f *testing.F) {
	f.Add("on #ab (~a* +set) ~*")
	f.Add("(é ) (")
	f.Fuzz(func(t *testing.T, text string) {
		without := func(s string) string { return strings.ReplaceAll(s, " ", "") }
		got := without(strings.Join(split(text), ""))
		if want := without(text); got != want && !strings.Contains(text, "(") {
			t.Fatalf("%q became %q", text, got)
		}
		if !strings.HasPrefix(without(text), got) {
			t.Fatalf("%q became %q", text, got)
		}
	})
}
