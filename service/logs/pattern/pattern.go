// Package pattern is the language of CloudWatch Logs filter patterns: terms, JSON
// selectors, and fields between spaces.
//
// It promises: Parse says what it does not understand, and never takes it for something
// else. It reads no logs (see service/logs) and keeps no state: a Pattern does not change.
//
//	ERROR -debug "exit code"                 all of these, and none of those after a dash
//	?ERROR ?WARN                             any of these
//	%^\[\d+\]%                               a regular expression
//	{ $.level = "error" && $.ms >= 100 }     of a JSON object
//	[ip, user, ..., status = 4*, bytes > 0]  fields between spaces, "" and [] around some
//
// Terms are found anywhere in the text, with the case as it is. With terms that must be
// there or must not, those with a question mark do not count, as on AWS.
//
// https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html
package pattern

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Pattern is a filter pattern, understood.
type Pattern struct {
	match func(message []byte) bool
}

// Match reports whether a message is one that the pattern is for.
func (p *Pattern) Match(message []byte) bool { return p.match(message) }

// Parse reads a pattern. The empty one matches everything.
func Parse(text string) (*Pattern, error) {
	if !utf8.ValidString(text) {
		return nil, errors.New("it is not UTF-8")
	}
	trimmed := strings.TrimSpace(text)
	var match func([]byte) bool
	var err error
	switch {
	case trimmed == "":
		match = func([]byte) bool { return true }
	case trimmed[0] == '{':
		match, err = parseJSON(trimmed)
	case trimmed[0] == '[':
		match, err = parseFields(trimmed)
	default:
		match, err = parseTerms(trimmed)
	}
	if err != nil {
		return nil, err
	}
	return &Pattern{match}, nil
}

// term is a text or a regular expression to be found.
type term struct {
	text  []byte
	regex *regexp.Regexp
}

func (t *term) in(message []byte) bool {
	if t.regex != nil {
		return t.regex.Match(message)
	}
	return bytes.Contains(message, t.text)
}

func parseTerms(text string) (func([]byte) bool, error) {
	var all, none, some []term
	s := scanner{text: text}
	for s.space(); !s.end(); s.space() {
		to := &all
		switch s.peek() {
		case '-':
			to = &none
			s.at++
		case '?':
			to = &some
			s.at++
		}
		t, err := s.term()
		if err != nil {
			return nil, err
		}
		*to = append(*to, t)
	}
	if len(all)+len(none) > 0 {
		some = nil
	}
	return func(message []byte) bool {
		for i := range all {
			if !all[i].in(message) {
				return false
			}
		}
		for i := range none {
			if none[i].in(message) {
				return false
			}
		}
		for i := range some {
			if some[i].in(message) {
				return true
			}
		}
		return len(some) == 0
	}, nil
}

// scanner reads a pattern's text.
type scanner struct {
	text string
	at   int
}

func (s *scanner) end() bool { return s.at >= len(s.text) }

// peek is the next byte, 0 at the end.
func (s *scanner) peek() byte {
	if s.end() {
		return 0
	}
	return s.text[s.at]
}

func (s *scanner) space() {
	for !s.end() {
		r, n := utf8.DecodeRuneInString(s.text[s.at:])
		if !unicode.IsSpace(r) {
			return
		}
		s.at += n
	}
}

// skip goes over a literal, if it is next.
func (s *scanner) skip(literal string) bool {
	if !strings.HasPrefix(s.text[s.at:], literal) {
		return false
	}
	s.at += len(literal)
	return true
}

func (s *scanner) errorf(format string, args ...any) error {
	return fmt.Errorf(format+" at character %d", append(args, utf8.RuneCountInString(s.text[:min(s.at, len(s.text))])+1)...)
}

func (s *scanner) term() (term, error) {
	switch s.peek() {
	case '"':
		text, err := s.quoted()
		return term{text: []byte(text)}, err
	case '%':
		re, err := s.regex()
		return term{regex: re}, err
	}
	start := s.at
	for !s.end() {
		r, n := utf8.DecodeRuneInString(s.text[s.at:])
		if unicode.IsSpace(r) {
			break
		}
		if r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			return term{}, s.errorf("invalid character %q in an unquoted term: put the term into double quotes", r)
		}
		s.at += n
	}
	if s.at == start {
		return term{}, s.errorf("a term is expected")
	}
	return term{text: []byte(s.text[start:s.at])}, nil
}

// quoted reads a text in double quotes, in which a backslash is before quotes and backslashes.
func (s *scanner) quoted() (string, error) {
	start := s.at
	s.at++
	var b strings.Builder
	for !s.end() {
		c := s.text[s.at]
		s.at++
		switch {
		case c == '"':
			return b.String(), nil
		case c == '\\' && (s.peek() == '"' || s.peek() == '\\'):
			b.WriteByte(s.peek())
			s.at++
		default:
			b.WriteByte(c)
		}
	}
	s.at = start
	return "", s.errorf("a quote is not closed that begins")
}

// regex reads %…%, in which \% is a percent sign.
func (s *scanner) regex() (*regexp.Regexp, error) {
	start := s.at
	s.at++
	var b strings.Builder
	for !s.end() {
		c := s.text[s.at]
		s.at++
		switch {
		case c == '%':
			re, err := regexp.Compile(b.String())
			if err != nil || b.Len() == 0 {
				s.at = start
				return nil, s.errorf("not a regular expression")
			}
			return re, nil
		case c == '\\' && !s.end():
			if s.peek() != '%' {
				b.WriteByte(c)
			}
			b.WriteByte(s.peek())
			s.at++
		default:
			b.WriteByte(c)
		}
	}
	s.at = start
	return nil, s.errorf("a regular expression is not closed by %% that begins")
}
