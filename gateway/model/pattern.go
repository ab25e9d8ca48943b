package model

import (
	"regexp"
	"strings"
	"sync"

	"github.com/malote/malote/internal/lazyregexp"
)

// pattern is a Java regular expression that must match a whole value. It is compiled
// when it is first needed.
type pattern struct {
	text  string
	once  sync.Once
	whole *regexp.Regexp
	not   *regexp.Regexp // nil for nothing
}

func (p *pattern) match(s string) bool {
	p.once.Do(func() {
		match, not := translate(p.text)
		p.whole = regexp.MustCompile(`\A(?:` + match + `)\z`)
		if not != "" {
			p.not = regexp.MustCompile(not)
		}
	})
	return p.whole.MatchString(s) && (p.not == nil || !p.not.MatchString(s))
}

// lookaheads are the two that AWS's patterns have and Go's regular expressions have not:
// what stays when one is taken away, and what then must not match.
var lookaheads = []struct{ java, stays, not string }{
	{`(?!\s*$)`, ``, `\A\s*\z`},
	{`-(?!-)`, `-`, `--`},
}

var unicodeEscape = lazyregexp.New(`\\u([0-9A-Fa-f]{4})`)

// translate turns a pattern of AWS's, which is Java's, into Go's.
func translate(java string) (match, not string) {
	match = java
	for _, l := range lookaheads {
		if strings.Contains(match, l.java) {
			match = strings.Replace(match, l.java, l.stays, 1)
			not = l.not
		}
	}
	// The planes above the first are meant, though Java reads four digits.
	match = strings.ReplaceAll(match, `\u10000-\u10FFFF`, `\x{10000}-\x{10FFFF}`)
	match = unicodeEscape.ReplaceAllString(match, `\x{$1}`)
	return match, not
}
