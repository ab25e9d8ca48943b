package pattern

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// column is one of the fields that a pattern names.
type column struct {
	rest  bool // "…": any number of fields
	match func(field string) bool
}

// parseFields reads [name, name = value, ...].
func parseFields(text string) (func([]byte) bool, error) {
	s := &scanner{text: text, at: 1}
	var columns []column
	dots := -1
	for {
		c, err := s.column()
		if err != nil {
			return nil, err
		}
		if c.rest {
			if dots >= 0 {
				return nil, s.errorf("there can be only one ...")
			}
			dots = len(columns)
		}
		columns = append(columns, c)
		if s.space(); s.skip(",") {
			continue
		}
		if !s.skip("]") {
			return nil, s.errorf("a comma or a closing bracket is expected")
		}
		break
	}
	if s.space(); !s.end() {
		return nil, s.errorf("nothing is expected after the closing bracket")
	}
	return func(message []byte) bool { return matchFields(columns, dots, string(message)) }, nil
}

// column reads a name, which may be absent, and its conditions, each of which repeats it.
func (s *scanner) column() (column, error) {
	s.space()
	if s.skip("...") {
		return column{rest: true}, nil
	}
	if c := s.peek(); c == ',' || c == ']' {
		return column{match: func(string) bool { return true }}, nil
	}
	name, plain := "", false
	match, err := expression(s, 0, func() (func(string) bool, error) {
		start := s.at
		for !s.end() {
			r, n := utf8.DecodeRuneInString(s.text[s.at:])
			if r != '_' && r != '-' && r != '.' && !unicode.IsLetter(r) && !unicode.IsDigit(r) {
				break
			}
			s.at += n
		}
		this := s.text[start:s.at]
		switch {
		case this == "":
			return nil, s.errorf("the name of a field is expected")
		case name != "" && name != this || plain:
			return nil, s.errorf("the conditions of a field are about the field %s alone", name)
		}
		name = this
		s.space()
		if c := s.peek(); c == ',' || c == ']' || c == 0 {
			plain = true
			return func(string) bool { return true }, nil
		}
		c, err := s.condition(",])&|")
		if err != nil {
			return nil, err
		}
		return func(field string) bool {
			if n, err := strconv.ParseFloat(field, 64); err == nil {
				return c.matchNumber(n, field)
			}
			return c.matchText(field)
		}, nil
	})
	return column{match: match}, err
}

// matchFields has the last of the columns take what is left of the message, and the dots
// as many fields as the others do not need.
func matchFields(columns []column, dots int, message string) bool {
	if dots < 0 {
		fields := splitFields(message, len(columns))
		if len(fields) < len(columns) {
			return false
		}
		for i, c := range columns {
			if !c.match(fields[i]) {
				return false
			}
		}
		return true
	}
	fields := splitFields(message, -1)
	if len(fields) < len(columns)-1 {
		return false
	}
	for i, c := range columns[:dots] {
		if !c.match(fields[i]) {
			return false
		}
	}
	after := columns[dots+1:]
	for i, c := range after {
		if !c.match(fields[len(fields)-len(after)+i]) {
			return false
		}
	}
	return true
}

// splitFields splits at spaces, but within "" and []; the last of most takes the rest.
func splitFields(message string, most int) []string {
	var fields []string
	for message = strings.TrimSpace(message); message != ""; message = strings.TrimLeftFunc(message, unicode.IsSpace) {
		field, rest := "", ""
		end := -1
		switch message[0] {
		case '"':
			end = strings.IndexByte(message[1:], '"')
		case '[':
			end = strings.IndexByte(message[1:], ']')
		}
		switch {
		case end >= 0:
			field, rest = message[1:1+end], message[end+2:]
		default:
			if i := strings.IndexFunc(message, unicode.IsSpace); i >= 0 {
				field, rest = message[:i], message[i:]
			} else {
				field = message
			}
		}
		if most > 0 && len(fields) == most-1 && strings.TrimSpace(rest) != "" {
			field, rest = message, ""
		}
		fields = append(fields, field)
		message = rest
	}
	return fields
}
