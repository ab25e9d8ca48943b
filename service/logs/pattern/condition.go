package pattern

import (
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// condition compares one value with what the pattern has.
type condition struct {
	operator string // = != < > <= >=
	text     string
	number   float64
	isNumber bool
	regex    *regexp.Regexp // of a text with stars, or of %…%
}

// condition reads an operator and what is after it.
func (s *scanner) condition(ends string) (*condition, error) {
	c := &condition{}
	for _, operator := range []string{"!=", "<=", ">=", "=", "<", ">"} {
		if s.skip(operator) {
			c.operator = operator
			break
		}
	}
	if c.operator == "" {
		return nil, s.errorf("one of = != < > <= >= is expected")
	}
	s.space()
	var err error
	quoted := s.peek() == '"'
	switch {
	case s.peek() == '%':
		if c.regex, err = s.regex(); err != nil {
			return nil, err
		}
	case quoted:
		if c.text, err = s.quoted(); err != nil {
			return nil, err
		}
	default:
		start := s.at
		for !s.end() {
			r, n := utf8.DecodeRuneInString(s.text[s.at:])
			if unicode.IsSpace(r) || strings.ContainsRune(ends, r) {
				break
			}
			s.at += n
		}
		if c.text = s.text[start:s.at]; c.text == "" {
			return nil, s.errorf("a value is expected")
		}
		if n, err := strconv.ParseFloat(c.text, 64); err == nil {
			c.number, c.isNumber = n, true
		}
	}
	if c.operator != "=" && c.operator != "!=" && !c.isNumber {
		return nil, s.errorf("%s compares numbers: one is expected", c.operator)
	}
	if c.regex == nil && strings.Contains(c.text, "*") {
		c.regex = regexp.MustCompile("(?s)^" + strings.ReplaceAll(regexp.QuoteMeta(c.text), `\*`, ".*") + "$")
	}
	return c, nil
}

// matchText compares a text; matchNumber what is a number, with its text.
func (c *condition) matchText(text string) bool {
	if c.operator != "=" && c.operator != "!=" {
		return false
	}
	equal := text == c.text
	if c.regex != nil {
		equal = c.regex.MatchString(text)
	}
	return equal == (c.operator == "=")
}

func (c *condition) matchNumber(n float64, text string) bool {
	if !c.isNumber {
		return c.matchText(text)
	}
	switch c.operator {
	case "=":
		return n == c.number
	case "!=":
		return n != c.number
	case "<":
		return n < c.number
	case ">":
		return n > c.number
	case "<=":
		return n <= c.number
	}
	return n >= c.number
}

// expression reads operands with && and ||, of which && binds closer, and parentheses.
// T is what an operand is asked about.
func expression[T any](s *scanner, depth int, operand func() (func(T) bool, error)) (func(T) bool, error) {
	var either func(T) bool
	for {
		both, err := conjunction(s, depth, operand)
		if err != nil {
			return nil, err
		}
		if before := either; before != nil {
			after := both
			either = func(v T) bool { return before(v) || after(v) }
		} else {
			either = both
		}
		if s.space(); !s.skip("||") {
			return either, nil
		}
	}
}

func conjunction[T any](s *scanner, depth int, operand func() (func(T) bool, error)) (func(T) bool, error) {
	var all func(T) bool
	for {
		s.space()
		var one func(T) bool
		var err error
		if s.peek() == '(' {
			if depth > 50 {
				return nil, s.errorf("parentheses are nested too deeply")
			}
			s.at++
			if one, err = expression(s, depth+1, operand); err != nil {
				return nil, err
			}
			if s.space(); !s.skip(")") {
				return nil, s.errorf("a closing parenthesis is expected")
			}
		} else if one, err = operand(); err != nil {
			return nil, err
		}
		if before := all; before != nil {
			all = func(v T) bool { return before(v) && one(v) }
		} else {
			all = one
		}
		if s.space(); !s.skip("&&") {
			return all, nil
		}
	}
}
