// Package quoted writes strings that strangers chose into JSON of which a line is a record.
//
// It promises: what it writes is valid JSON and has nothing that anything takes for the end
// of a line, so no string can forge a record.
package quoted

import "unicode/utf8"

// Append writes s as JSON, cut to limit bytes. Line ends and everything else that
// could forge a record are escaped.
func Append(b []byte, s string, limit int) []byte {
	if len(s) > limit {
		for limit > 0 && !utf8.RuneStart(s[limit]) {
			limit--
		}
		s = s[:limit]
	}
	b = append(b, '"')
	from := 0
	for i := Plain(s); i < len(s); i += Plain(s[i:]) {
		c := s[i]
		b = append(b, s[from:i]...)
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
			i++
		case c < utf8.RuneSelf:
			b = append(b, `\u00`...)
			b = append(b, hexDigits[c>>4], hexDigits[c&15])
			i++
		default:
			r, n := utf8.DecodeRuneInString(s[i:])
			switch {
			case r == utf8.RuneError && n == 1:
				b = append(b, `\ufffd`...)
			case r == 0x85 || r == 0x2028 || r == 0x2029: // line ends to some
				b = append(b, `\u`...)
				b = append(b, hexDigits[r>>12&15], hexDigits[r>>8&15], hexDigits[r>>4&15], hexDigits[r&15])
			default:
				b = append(b, s[i:i+n]...)
			}
			i += n
		}
		from = i
	}
	b = append(b, s[from:]...)
	return append(b, '"')
}

// Plain is how many bytes at the beginning of s JSON has as they are: printable ASCII but
// quotes and backslashes.
func Plain(s string) int {
	const ones, highest = 0x0101010101010101, 0x8080808080808080
	i := 0
	// Eight bytes at once: in each byte of a word, the highest bit tells.
	for ; len(s)-i >= 8; i += 8 {
		b := s[i : i+8]
		x := uint64(b[0]) | uint64(b[1])<<8 | uint64(b[2])<<16 | uint64(b[3])<<24 | uint64(b[4])<<32 | uint64(b[5])<<40 | uint64(b[6])<<48 | uint64(b[7])<<56
		quote, backslash, del := x^'"'*ones, x^'\\'*ones, x^0x7f*ones // zero where it is one
		if (x|(x-' '*ones)|(quote-ones)|(backslash-ones)|(del-ones))&highest != 0 {
			break
		}
	}
	for i < len(s) && plain[s[i]] {
		i++
	}
	return i
}

// plain are the bytes that are written as they are.
var plain = func() (t [256]bool) {
	for c := ' '; c < 0x7f; c++ {
		t[c] = c != '"' && c != '\\'
	}
	return t
}()

const hexDigits = "0123456789abcdef"
