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
	for i := 0; i < len(s); {
		c := s[i]
		if plain[c] {
			i++
			continue
		}
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

// plain are the bytes that are written as they are.
var plain = func() (t [256]bool) {
	for c := ' '; c < 0x7f; c++ {
		t[c] = c != '"' && c != '\\'
	}
	return t
}()

const hexDigits = "0123456789abcdef"
