// Package lazyregexp has regular expressions that are compiled when they are first asked
// something. One that counts, such as [a-z]{1,255}, is compiled into a state for each repetition:
// a few dozen of them made up a quarter of what every start of the program cost.
package lazyregexp

import (
	"regexp"
	"sync"
)

// A Regexp is a regexp.Regexp for package variables. It is safe for concurrent use.
type Regexp struct{ compiled func() *regexp.Regexp }

// New returns the Regexp of expr. Whatever first asks it panics if expr is not valid.
func New(expr string) *Regexp {
	return &Regexp{sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expr) })}
}

// MatchString is that of regexp.Regexp.
func (r *Regexp) MatchString(s string) bool { return r.compiled().MatchString(s) }

// FindStringSubmatch is that of regexp.Regexp.
func (r *Regexp) FindStringSubmatch(s string) []string { return r.compiled().FindStringSubmatch(s) }

// ReplaceAllString is that of regexp.Regexp.
func (r *Regexp) ReplaceAllString(s, replacement string) string {
	return r.compiled().ReplaceAllString(s, replacement)
}
