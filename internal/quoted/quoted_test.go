package quoted_test

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/malote/malote/internal/quoted"
)

// What Append writes is one line of JSON that says the string again, as far as it is text.
func FuzzAppend(f *testing.F) {
	for _, s := range []string{"", "a\"b\\c", "\x00\n\r\u0085\u2028\u2029", "é€😀", "\xff\xc0x", strings.Repeat("é", 40)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		text := quoted.Append(nil, s, 1<<20)
		if strings.ContainsAny(string(text), "\n\r\u0085\u2028\u2029") {
			t.Errorf("Append(%q) = %q has a line's end", s, text)
		}
		var got string
		if err := json.Unmarshal(text, &got); err != nil {
			t.Fatalf("Append(%q) = %q: %v", s, text, err)
		}
		if utf8.ValidString(s) && got != s {
			t.Errorf("Append(%q) says %q", s, got)
		}
		if short := quoted.Append(nil, s, 8); !json.Valid(short) {
			t.Errorf("cut to 8, Append(%q) = %q", s, short)
		}
	})
}

// Each byte, at each place of a word or behind one, ends what is plain exactly if it has to be
// looked at.
func TestPlain(t *testing.T) {
	t.Parallel()
	for c := range 256 {
		plain := c >= ' ' && c < 0x7f && c != '"' && c != '\\'
		for at := range 20 {
			for _, around := range []string{"a", " ", "~", "!", "#", "[", "]"} {
				s := strings.Repeat(around, at) + string([]byte{byte(c)}) + strings.Repeat(around, 19-at)
				want := at
				if plain {
					want = len(s)
				}
				if got := quoted.Plain(s); got != want {
					t.Fatalf("Plain(%q) = %d, want %d", s, got, want)
				}
			}
		}
	}
}
