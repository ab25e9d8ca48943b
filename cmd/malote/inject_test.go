package main

import (
	"maps"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/malote/malote/inject/files"
)

// What inject writes as dotenv, import reads: byte for byte.
func FuzzDotenvRoundTrip(f *testing.F) {
	for _, seed := range []string{"", " a b ", "it's", `"'$\`, "a\nb\r\n\tc", "#x", "a #b", "$HOME `x`", `\n`, "'", "\ufeff", "ü𝄞"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		want := map[string]string{"A": value, "b_c": "plain"}
		text, err := files.Dotenv(map[string]string{"A": value, "b.c": "plain"})
		if err != nil {
			if utf8.ValidString(value) && !strings.Contains(value, "\x00") {
				t.Fatal(err)
			}
			return
		}
		all, err := parseDotenv(string(text))
		if err != nil {
			t.Fatalf("reading %q: %v", text, err)
		}
		got := map[string]string{}
		for _, v := range all {
			got[v.name] = v.value
		}
		if !maps.Equal(got, want) {
			t.Fatalf("%q is %q, want %q", text, got, want)
		}
	})
}
