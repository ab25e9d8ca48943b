package policy

import (
	"strings"
	"unicode/utf8"
)

// A compiled pattern marks its wildcards with bytes that UTF-8 never has, so that
// a "*" which a policy variable brings in, or which ${*} asks for, stays a plain "*".
const (
	anyText = '\xff' // *
	anyChar = '\xfe' // ?
)

// pattern is a text with wildcards, variables or neither.
type pattern struct {
	shape shape
	text  string  // literal text; of a prefix without its wildcard; of a glob with marks
	parts []piece // of a template; text is unused
}

type shape byte

const (
	shapeLiteral shape = iota
	shapeAll
	shapePrefix
	shapeGlob
	shapeTemplate
)

// piece is a run of marked text, or a variable when key is set.
type piece struct {
	text       string // of a variable: its default
	key        string // lower case
	name       string // the key as written
	hasDefault bool
}

// compilePattern compiles text. Without wild, "*" and "?" mean themselves; without
// variables, "${" does. The string it returns says what is wrong, or is "".
func compilePattern(text string, wild, variables bool) (pattern, string) {
	if !variables || !strings.Contains(text, "${") {
		return newPattern(mark(text, wild)), ""
	}
	var parts []piece
	var run strings.Builder
	templated := false
	for text != "" {
		before, after, found := strings.Cut(text, "${")
		run.WriteString(mark(before, wild))
		if !found {
			break
		}
		if after, literal := escaped(after); literal != "" {
			run.WriteString(literal)
			text = after
			continue
		}
		variable, after, wrong := variable(after)
		if wrong != "" {
			return pattern{}, wrong
		}
		if run.Len() > 0 {
			parts = append(parts, piece{text: run.String()})
			run.Reset()
		}
		parts = append(parts, variable)
		templated = true
		text = after
	}
	if !templated {
		return newPattern(run.String()), ""
	}
	if run.Len() > 0 {
		parts = append(parts, piece{text: run.String()})
	}
	return pattern{shape: shapeTemplate, parts: parts}, ""
}

// escaped recognises ${*}, ${?} and ${$} behind their "${".
func escaped(text string) (after, literal string) {
	if len(text) >= 2 && text[1] == '}' && strings.IndexByte("*?$", text[0]) >= 0 {
		return text[2:], text[:1]
	}
	return text, ""
}

// variable reads "key}" or "key, 'default'}".
func variable(text string) (p piece, after, wrong string) {
	end := strings.IndexAny(text, ",}")
	if end < 0 {
		return p, "", "a policy variable is not closed"
	}
	p.name = strings.TrimSpace(text[:end])
	p.key = strings.ToLower(p.name)
	if p.key == "" || strings.ContainsAny(p.key, "${'") {
		return p, "", "malformed policy variable"
	}
	if text[end] == '}' {
		return p, text[end+1:], ""
	}
	rest := strings.TrimLeft(text[end+1:], " ")
	if !strings.HasPrefix(rest, "'") {
		return p, "", "the default of a policy variable must be quoted with '"
	}
	p.text, rest, _ = strings.Cut(rest[1:], "'")
	p.hasDefault = true
	rest, closed := strings.CutPrefix(strings.TrimLeft(rest, " "), "}")
	if !closed {
		return p, "", "a policy variable is not closed"
	}
	return p, rest, ""
}

var marks = strings.NewReplacer("*", string([]byte{anyText}), "?", string([]byte{anyChar}))

func mark(text string, wild bool) string {
	if !wild {
		return text
	}
	return marks.Replace(text)
}

func newPattern(marked string) pattern {
	p := pattern{shape: shapeGlob, text: marked}
	switch first := indexMark(marked); {
	case first < 0:
		p.shape = shapeLiteral
	case first == len(marked)-1 && marked[first] == anyText:
		p.shape, p.text = shapePrefix, marked[:first]
		if first == 0 {
			p.shape = shapeAll
		}
	}
	return p
}

func indexMark(s string) int {
	for i := 0; i < len(s); i++ {
		if s[i] >= anyChar {
			return i
		}
	}
	return -1
}

// match reports whether s fits. A template first takes its variables from q; one
// without value fits nothing.
func (p *pattern) match(q *question, s string) bool {
	switch p.shape {
	case shapeLiteral:
		return p.text == s
	case shapeAll:
		return true
	case shapePrefix:
		return strings.HasPrefix(s, p.text)
	case shapeGlob:
		return glob(p.text, s)
	}
	text, ok := p.resolve(q)
	return ok && glob(text, s)
}

// resolve returns the marked text with variables replaced by their values.
func (p *pattern) resolve(q *question) (string, bool) {
	switch p.shape {
	case shapeAll, shapePrefix:
		return p.text + string([]byte{anyText}), true
	case shapeLiteral, shapeGlob:
		return p.text, true
	}
	var out strings.Builder
	for i := range p.parts {
		part := &p.parts[i]
		value := part.text
		if part.key != "" {
			switch values := q.values(part.key); {
			case len(values) == 1: // of several, which would it be?
				value = strings.ToValidUTF8(values[0], "\uFFFD")
			case !part.hasDefault:
				return "", false
			}
		}
		out.WriteString(value)
	}
	return out.String(), true
}

// glob matches s against marked text. It takes len(p)·len(s) steps at worst.
func glob(p, s string) bool {
	star, back := -1, 0
	i, j := 0, 0
	for j < len(s) {
		switch {
		case i < len(p) && p[i] == anyText:
			star, back = i, j
			i++
		case i < len(p) && p[i] == anyChar:
			i++
			j += runeLen(s[j:])
		case i < len(p) && p[i] == s[j]:
			i++
			j++
		case star >= 0:
			back += runeLen(s[back:]) // by whole characters, or "?" could match half of one
			i, j = star+1, back
		default:
			return false
		}
	}
	for i < len(p) && p[i] == anyText {
		i++
	}
	return i == len(p)
}

func runeLen(s string) int {
	if s[0] < utf8.RuneSelf {
		return 1
	}
	_, n := utf8.DecodeRuneInString(s)
	return n
}

// globFold is glob for ASCII text whose case does not count; p is in lower case.
func globFold(p, s string) bool {
	star, back := -1, 0
	i, j := 0, 0
	for j < len(s) {
		switch {
		case i < len(p) && p[i] == anyText:
			star, back = i, j
			i++
		case i < len(p) && (p[i] == anyChar || p[i] == lower(s[j])):
			i++
			j++
		case star >= 0:
			back++
			i, j = star+1, back
		default:
			return false
		}
	}
	for i < len(p) && p[i] == anyText {
		i++
	}
	return i == len(p)
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// arn is an ARN in its six parts, the last with whatever colons it has.
type arn [6]string

func splitARN(s string) (a arn, ok bool) {
	for i := range 5 {
		var found bool
		if a[i], s, found = strings.Cut(s, ":"); !found {
			return a, false
		}
	}
	a[5] = s
	return a, true
}

// arnPattern matches an ARN part by part, so that a "*" in the region cannot swallow
// the account. Only the last part may have variables, and its "*" crosses "/" and ":".
//
// What most statements are rejected by comes first, so that it is in one line of the
// processor's cache: a policy has many statements, and an account many policies.
type arnPattern struct {
	all     bool   // "*"
	exact   string // "" when there is a wildcard or a variable
	lead    string // with which the last part begins
	parts   [6]pattern
	written string
}

// compileARN compiles an element of Resource. ok is false when text is no ARN.
func compileARN(text string, variables bool) (p arnPattern, ok bool, wrong string) {
	if text == "*" {
		return arnPattern{written: text, all: true}, true, ""
	}
	parts, ok := splitARN(text)
	if !ok || parts[0] != "arn" {
		return p, false, ""
	}
	p.written = text
	for i := range 5 {
		if variables && strings.Contains(parts[i], "${") {
			return p, false, "a policy variable may stand only behind the fifth colon"
		}
		p.parts[i] = newPattern(mark(parts[i], true))
	}
	p.parts[5], wrong = compilePattern(parts[5], true, variables)
	switch last := &p.parts[5]; last.shape {
	case shapeLiteral, shapePrefix:
		p.lead = last.text
	case shapeGlob:
		p.lead = last.text[:indexMark(last.text)]
	}
	literal := true
	for i := range p.parts {
		literal = literal && p.parts[i].shape == shapeLiteral
	}
	if literal {
		for i := range p.parts {
			parts[i] = p.parts[i].text
		}
		p.exact = strings.Join(parts[:], ":")
	}
	return p, true, wrong
}

func (p *arnPattern) match(q *question) bool {
	if p.all {
		return true
	}
	if p.exact != "" {
		return p.exact == q.r.Resource
	}
	if !q.isARN || !strings.HasPrefix(q.arn[5], p.lead) {
		return false
	}
	for i := range p.parts { // the last part differs most often, the first least
		i = len(p.parts) - 1 - i
		if !p.parts[i].match(q, q.arn[i]) {
			return false
		}
	}
	return true
}

// actionPattern is "service:name" with wildcards in the name, or "*".
type actionPattern struct {
	written string
	service string // lower case; "" matches every action
	name    string // lower case, marked
	literal string // the name of one without wildcards, which mostly has the case of the action
	shape   shape
}

func newActionPattern(service, name string) actionPattern {
	a := actionPattern{service: strings.ToLower(service), name: mark(strings.ToLower(name), true)}
	if a.shape = newPattern(a.name).shape; a.shape == shapeLiteral {
		a.literal = name
	}
	return a
}

func (p *actionPattern) match(q *question) bool {
	switch {
	case p.service == "":
		return true
	case p.service != q.service:
		return false
	case p.shape == shapeAll:
		return true
	case p.shape == shapeLiteral && len(p.name) != len(q.name):
		return false
	case p.shape == shapeLiteral && p.literal == q.name:
		return true
	}
	return globFold(p.name, q.name)
}
