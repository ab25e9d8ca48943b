package logs

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
)

const (
	// Shorter values occur by chance.
	minMasked = 6

	mask = "[sealed]"
)

// A masker removes values from text.
type masker struct {
	replacer *strings.Replacer // nil: nothing to mask
	longest  int               // of what it looks for, in bytes
}

func newMasker(values []string) *masker {
	forms := map[string]bool{}
	for _, value := range values {
		for _, part := range append(strings.FieldsFunc(value, func(r rune) bool { return r == '\n' || r == '\r' }), value, strings.TrimSpace(value)) {
			if len(part) < minMasked {
				continue
			}
			for _, form := range encodings(part) {
				forms[form] = true
			}
		}
	}
	m := &masker{}
	if len(forms) == 0 {
		return m
	}
	// Of those that match at one place the replacer takes the first.
	sorted := slices.SortedFunc(func(yield func(string) bool) {
		for form := range forms {
			if !yield(form) {
				return
			}
		}
	}, func(a, b string) int { return len(b) - len(a) })
	var pairs []string
	for _, form := range sorted {
		pairs = append(pairs, form, mask)
	}
	m.longest = len(sorted[0])
	m.replacer = strings.NewReplacer(pairs...)
	return m
}

// encodings are the ways in which a value may stand in a log.
func encodings(value string) []string {
	forms := []string{value, url.QueryEscape(value), url.PathEscape(value), hex.EncodeToString([]byte(value)), strings.ToUpper(hex.EncodeToString([]byte(value)))}
	if escaped, err := json.Marshal(value); err == nil {
		forms = append(forms, string(escaped[1:len(escaped)-1]))
	}
	var plain strings.Builder
	encoder := json.NewEncoder(&plain)
	encoder.SetEscapeHTML(false)
	if encoder.Encode(value) == nil {
		forms = append(forms, strings.Trim(plain.String(), "\"\n"))
	}
	// Within a longer text that is encoded as a whole a value begins at any of three places
	// in a group of three bytes. The characters at either end that also depend on
	// its neighbours are left out.
	for shift := range 3 {
		padded := make([]byte, shift, shift+len(value))
		padded = append(padded, value...)
		for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			text := encoding.EncodeToString(padded)
			text = text[(shift*8+5)/6:]
			if len(padded)%3 != 0 {
				text = text[:len(text)-1]
			}
			if len(text) >= minMasked {
				forms = append(forms, text)
			}
		}
	}
	return forms
}

func (m *masker) mask(text string) string {
	if m.replacer == nil {
		return text
	}
	return m.replacer.Replace(text)
}
