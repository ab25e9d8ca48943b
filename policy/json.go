package policy

import (
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// A node is one JSON value with its place in the text. encoding/json keeps neither
// places nor duplicate keys, and both are what an author of a policy needs to hear about.
type node struct {
	kind       nodeKind
	start, end int    // text[start:end] is the value
	text       string // of a string, unescaped; of a number or literal, as written
	items      []node // of an array, or the values of an object
	keys       []node // of an object, in order: keys[i] names items[i]
}

type nodeKind byte

const (
	nodeObject nodeKind = iota + 1
	nodeArray
	nodeString
	nodeNumber
	nodeBool
	nodeNull
)

// maxDepth is far beyond what a policy can nest (five levels).
const maxDepth = 16

// member returns the value of a key, or nil.
func (n *node) member(key string) *node { return n.among(key, len(n.keys)) }

// among looks at the first keys alone.
func (n *node) among(key string, first int) *node {
	for i := range min(first, len(n.keys)) {
		if n.keys[i].text == key {
			return &n.items[i]
		}
	}
	return nil
}

type scanner struct {
	text string
	pos  int
}

// scan reads the one JSON value that text must be.
func scan(text string) (*node, *SyntaxError) {
	s := scanner{text: text}
	var n node
	if msg := s.value(&n, 0); msg != "" {
		return nil, s.fail(msg)
	}
	s.space()
	if s.pos != len(text) {
		return nil, s.fail("text after the end of the document")
	}
	return &n, nil
}

func (s *scanner) fail(detail string) *SyntaxError {
	return syntaxError(s.text, s.pos, "", msgInvalidJSON, detail)
}

func (s *scanner) space() {
	for s.pos < len(s.text) {
		switch s.text[s.pos] {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return
		}
	}
}

// value reads the next value into n and says what is wrong, or "".
func (s *scanner) value(n *node, depth int) string {
	s.space()
	if s.pos == len(s.text) {
		return "the document ends too early"
	}
	n.start = s.pos
	var wrong string
	switch c := s.text[s.pos]; {
	case c == '{' || c == '[':
		if depth == maxDepth {
			return "nested too deeply"
		}
		if c == '{' {
			wrong = s.object(n, depth+1)
		} else {
			wrong = s.array(n, depth+1)
		}
	case c == '"':
		n.kind = nodeString
		n.text, wrong = s.string()
	case c == '-' || c >= '0' && c <= '9':
		n.kind = nodeNumber
		wrong = s.number()
		n.text = s.text[n.start:s.pos]
	default:
		wrong = s.literal(n)
	}
	n.end = s.pos
	return wrong
}

func (s *scanner) literal(n *node) string {
	for _, word := range [...]string{"true", "false", "null"} {
		if len(s.text)-s.pos >= len(word) && s.text[s.pos:s.pos+len(word)] == word {
			s.pos += len(word)
			n.kind, n.text = nodeBool, word
			if word == "null" {
				n.kind = nodeNull
			}
			return ""
		}
	}
	return "expected a value"
}

func (s *scanner) object(n *node, depth int) string {
	n.kind = nodeObject
	s.pos++
	var seen map[string]bool // the names from the 17th on
	for first := true; ; first = false {
		s.space()
		if s.pos == len(s.text) {
			return "an object is not closed"
		}
		if s.text[s.pos] == '}' && first {
			s.pos++
			return ""
		}
		if s.text[s.pos] != '"' {
			return "expected a quoted name"
		}
		key := node{kind: nodeString, start: s.pos}
		var wrong string
		if key.text, wrong = s.string(); wrong != "" {
			return wrong
		}
		key.end = s.pos
		if n.among(key.text, 16) != nil || seen[key.text] {
			s.pos = key.start
			return duplicateKey
		}
		if len(n.keys) >= 16 { // no policy has so many; who sends thousands must not cost their square
			if seen == nil {
				seen = make(map[string]bool)
			}
			seen[key.text] = true
		}
		s.space()
		if s.pos == len(s.text) || s.text[s.pos] != ':' {
			return "expected ':' after a name"
		}
		s.pos++
		var item node
		if wrong := s.value(&item, depth); wrong != "" {
			return wrong
		}
		n.keys, n.items = append(n.keys, key), append(n.items, item)
		s.space()
		switch {
		case s.pos == len(s.text):
			return "an object is not closed"
		case s.text[s.pos] == '}':
			s.pos++
			return ""
		case s.text[s.pos] != ',':
			return "expected ',' or '}'"
		}
		s.pos++
	}
}

// duplicateKey is JSON all right, but which of the two would count?
const duplicateKey = "the same name twice in one object"

func (s *scanner) array(n *node, depth int) string {
	n.kind = nodeArray
	s.pos++
	for first := true; ; first = false {
		s.space()
		if s.pos < len(s.text) && s.text[s.pos] == ']' && first {
			s.pos++
			return ""
		}
		var item node
		if wrong := s.value(&item, depth); wrong != "" {
			return wrong
		}
		n.items = append(n.items, item)
		s.space()
		switch {
		case s.pos == len(s.text):
			return "an array is not closed"
		case s.text[s.pos] == ']':
			s.pos++
			return ""
		case s.text[s.pos] != ',':
			return "expected ',' or ']'"
		}
		s.pos++
	}
}

func (s *scanner) number() string {
	start := s.pos
	digits := func() bool {
		from := s.pos
		for s.pos < len(s.text) && s.text[s.pos] >= '0' && s.text[s.pos] <= '9' {
			s.pos++
		}
		return s.pos > from
	}
	at := func(c byte) bool { return s.pos < len(s.text) && s.text[s.pos] == c }
	if at('-') {
		s.pos++
	}
	zero := at('0')
	from := s.pos
	if !digits() || zero && s.pos-from > 1 {
		s.pos = start
		return "malformed number"
	}
	if at('.') {
		s.pos++
		if !digits() {
			return "malformed number"
		}
	}
	if at('e') || at('E') {
		s.pos++
		if at('+') || at('-') {
			s.pos++
		}
		if !digits() {
			return "malformed number"
		}
	}
	return ""
}

func (s *scanner) string() (value, wrong string) {
	s.pos++ // the quote
	from := s.pos
	for s.pos < len(s.text) { // the common string has no escape and costs no copy
		c := s.text[s.pos]
		if c == '"' {
			value = s.text[from:s.pos]
			if !utf8.ValidString(value) {
				return "", "not UTF-8"
			}
			s.pos++
			return value, ""
		}
		if c == '\\' {
			break
		}
		if c < ' ' {
			return "", "a control character in a string"
		}
		s.pos++
	}
	out := []byte(s.text[from:s.pos])
	for s.pos < len(s.text) {
		c := s.text[s.pos]
		switch {
		case c == '"':
			if !utf8.Valid(out) {
				return "", "not UTF-8"
			}
			s.pos++
			return string(out), ""
		case c < ' ':
			return "", "a control character in a string"
		case c != '\\':
			out = append(out, c)
			s.pos++
		default:
			if out, wrong = s.escape(out); wrong != "" {
				return "", wrong
			}
		}
	}
	return "", "a string is not closed"
}

func (s *scanner) escape(out []byte) ([]byte, string) {
	if s.pos+1 >= len(s.text) {
		return nil, "a string is not closed"
	}
	c := s.text[s.pos+1]
	switch c {
	case '"', '\\', '/':
	case 'b':
		c = '\b'
	case 'f':
		c = '\f'
	case 'n':
		c = '\n'
	case 'r':
		c = '\r'
	case 't':
		c = '\t'
	case 'u':
		r, ok := s.unicode()
		if !ok {
			return nil, "malformed \\u escape"
		}
		if utf16.IsSurrogate(r) {
			second, ok := s.unicode()
			if r = utf16.DecodeRune(r, second); !ok || r == utf8.RuneError {
				return nil, "malformed \\u escape"
			}
		}
		return utf8.AppendRune(out, r), ""
	default:
		return nil, "unknown escape in a string"
	}
	s.pos += 2
	return append(out, c), ""
}

// unicode reads \uXXXX.
func (s *scanner) unicode() (rune, bool) {
	if len(s.text)-s.pos < 6 || s.text[s.pos] != '\\' || s.text[s.pos+1] != 'u' {
		return 0, false
	}
	r, err := strconv.ParseUint(s.text[s.pos+2:s.pos+6], 16, 16)
	if err != nil {
		return 0, false
	}
	s.pos += 6
	return rune(r), true
}
