package pattern

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// parseJSON reads { expression }.
func parseJSON(text string) (func([]byte) bool, error) {
	s := &scanner{text: text, at: 1}
	match, err := expression(s, 0, func() (func(any) bool, error) { return jsonOperand(s) })
	if err != nil {
		return nil, err
	}
	if s.space(); !s.skip("}") {
		return nil, s.errorf("&&, || or a closing brace is expected")
	}
	if s.space(); !s.end() {
		return nil, s.errorf("nothing is expected after the closing brace")
	}
	return func(message []byte) bool {
		message = bytes.TrimSpace(message)
		if len(message) == 0 || message[0] != '{' && message[0] != '[' {
			return false
		}
		d := json.NewDecoder(bytes.NewReader(message))
		d.UseNumber()
		var v any
		return d.Decode(&v) == nil && !d.More() && match(v)
	}, nil
}

// step is one part of a selector: a member, an element, or every element.
type step struct {
	member string
	index  int
	kind   byte // '.', '[' or '*'
}

func jsonOperand(s *scanner) (func(any) bool, error) {
	path, err := s.selector()
	if err != nil {
		return nil, err
	}
	s.space()
	switch {
	case s.words("NOT", "EXISTS"):
		return func(v any) bool { return !selectAny(v, path, func(any) bool { return true }) }, nil
	case s.words("EXISTS"):
		return func(v any) bool { return selectAny(v, path, func(any) bool { return true }) }, nil
	case s.words("IS", "NULL"):
		return func(v any) bool { return selectAny(v, path, func(v any) bool { return v == nil }) }, nil
	case s.words("IS", "TRUE"):
		return func(v any) bool { return selectAny(v, path, func(v any) bool { return v == true }) }, nil
	case s.words("IS", "FALSE"):
		return func(v any) bool { return selectAny(v, path, func(v any) bool { return v == false }) }, nil
	}
	c, err := s.condition(")}&|")
	if err != nil {
		return nil, err
	}
	return func(v any) bool {
		return selectAny(v, path, func(v any) bool {
			switch v := v.(type) {
			case string:
				return c.matchText(v)
			case json.Number:
				n, err := v.Float64()
				return err == nil && c.matchNumber(n, v.String())
			case bool:
				return c.matchText(strconv.FormatBool(v))
			}
			return false
		})
	}, nil
}

// words goes over words with space between, whatever their case.
func (s *scanner) words(words ...string) bool {
	start := s.at
	for _, word := range words {
		s.space()
		rest := s.text[s.at:]
		if len(rest) < len(word) || !strings.EqualFold(rest[:len(word)], word) {
			s.at = start
			return false
		}
		s.at += len(word)
	}
	return true
}

// selector reads $.a.b[0].c[*] and $['a.b'].
func (s *scanner) selector() ([]step, error) {
	if !s.skip("$") {
		return nil, s.errorf("a selector is expected, which begins with $.")
	}
	var path []step
	for {
		switch {
		case s.skip(".["), s.skip("["):
			st, err := s.bracket()
			if err != nil {
				return nil, err
			}
			path = append(path, st)
		case s.skip("."):
			start := s.at
			for !s.end() {
				r, n := utf8.DecodeRuneInString(s.text[s.at:])
				if r != '_' && r != '-' && r != '@' && r != '#' && r != '$' && !unicode.IsLetter(r) && !unicode.IsDigit(r) {
					break
				}
				s.at += n
			}
			if s.at == start {
				return nil, s.errorf("the name of a member is expected")
			}
			path = append(path, step{member: s.text[start:s.at], kind: '.'})
		case len(path) == 0:
			return nil, s.errorf("a selector is expected, which begins with $.")
		default:
			return path, nil
		}
	}
}

func (s *scanner) bracket() (step, error) {
	var st step
	switch quote := s.peek(); {
	case quote == '*':
		st.kind = '*'
		s.at++
	case quote == '\'' || quote == '"':
		end := strings.IndexByte(s.text[s.at+1:], quote)
		if end < 0 {
			return st, s.errorf("a quote is not closed that begins")
		}
		st.kind, st.member = '.', s.text[s.at+1:s.at+1+end]
		s.at += end + 2
	default:
		start := s.at
		for c := s.peek(); c >= '0' && c <= '9'; c = s.peek() {
			s.at++
		}
		n, err := strconv.Atoi(s.text[start:s.at])
		if err != nil {
			return st, s.errorf("a number, * or a quoted name is expected")
		}
		st.kind, st.index = '[', n
	}
	if !s.skip("]") {
		return st, s.errorf("a closing bracket is expected")
	}
	return st, nil
}

// selectAny reports whether what path leads to is there and, for any of it, as asked.
func selectAny(v any, path []step, is func(any) bool) bool {
	for i, st := range path {
		switch st.kind {
		case '.':
			members, ok := v.(map[string]any)
			if !ok {
				return false
			}
			if v, ok = members[st.member]; !ok {
				return false
			}
		case '[':
			elements, ok := v.([]any)
			if !ok || st.index >= len(elements) {
				return false
			}
			v = elements[st.index]
		default:
			elements, _ := v.([]any)
			for _, e := range elements {
				if selectAny(e, path[i+1:], is) {
					return true
				}
			}
			return false
		}
	}
	return is(v)
}
