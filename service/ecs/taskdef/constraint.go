package taskdef

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/malote/malote/internal/lazyregexp"
)

// Constraint is an expression of ECS's cluster query language over the attributes of
// a container instance:
//
//	attribute:ecs.os-type == linux and not (attribute:zone in [a, b])
//
// Its operators are ==, !=, =~, !~, in, !in, exists, !exists, and, or, not.
type Constraint struct {
	matches func(map[string]string) bool
}

// Matches tells whether an instance with attributes satisfies the constraint.
func (c *Constraint) Matches(attributes map[string]string) bool { return c.matches(attributes) }

var tokenPattern = lazyregexp.New(`^\s*(==|!=|=~|!~|&&|\|\||[()\[\],]|!in\b|!exists\b|!|"[^"]*"|'[^']*'|[^\s()\[\],!=~&|"']+)`)

// ParseConstraint reads a memberOf expression.
func ParseConstraint(expression string) (*Constraint, error) {
	if len(expression) > 2000 {
		return nil, errors.New("longer than 2000 characters")
	}
	var tokens []string
	for rest := expression; strings.TrimSpace(rest) != ""; {
		m := tokenPattern.FindStringSubmatch(rest)
		if m == nil {
			return nil, fmt.Errorf("unexpected %q", strings.TrimSpace(rest))
		}
		tokens, rest = append(tokens, m[1]), rest[len(m[0]):]
	}
	p := &constraintParser{tokens: tokens}
	matches, err := p.or()
	if err != nil {
		return nil, err
	}
	if p.peek() != "" {
		return nil, fmt.Errorf("unexpected %q", p.peek())
	}
	return &Constraint{matches}, nil
}

type predicate = func(map[string]string) bool

type constraintParser struct {
	tokens []string
	depth  int
}

func (p *constraintParser) peek() string {
	if len(p.tokens) == 0 {
		return ""
	}
	return p.tokens[0]
}

func (p *constraintParser) next() string {
	t := p.peek()
	if len(p.tokens) > 0 {
		p.tokens = p.tokens[1:]
	}
	return t
}

func (p *constraintParser) or() (predicate, error) {
	left, err := p.and()
	for err == nil && (strings.EqualFold(p.peek(), "or") || p.peek() == "||") {
		p.next()
		var right predicate
		if right, err = p.and(); err == nil {
			l := left
			left = func(a map[string]string) bool { return l(a) || right(a) }
		}
	}
	return left, err
}

func (p *constraintParser) and() (predicate, error) {
	left, err := p.not()
	for err == nil && (strings.EqualFold(p.peek(), "and") || p.peek() == "&&") {
		p.next()
		var right predicate
		if right, err = p.not(); err == nil {
			l := left
			left = func(a map[string]string) bool { return l(a) && right(a) }
		}
	}
	return left, err
}

func (p *constraintParser) not() (predicate, error) {
	if p.depth++; p.depth > 50 {
		return nil, errors.New("nested too deeply")
	}
	defer func() { p.depth-- }()
	switch t := p.peek(); {
	case strings.EqualFold(t, "not"), t == "!":
		p.next()
		inner, err := p.not()
		return func(a map[string]string) bool { return !inner(a) }, err
	case t == "(":
		p.next()
		inner, err := p.or()
		if err == nil && p.next() != ")" {
			err = errors.New("missing )")
		}
		return inner, err
	}
	return p.comparison()
}

func (p *constraintParser) comparison() (predicate, error) {
	subject := p.next()
	name, ok := strings.CutPrefix(subject, "attribute:")
	if !ok || name == "" {
		return nil, fmt.Errorf("expected attribute:NAME, got %q", subject)
	}
	switch operator := p.next(); strings.ToLower(operator) {
	case "exists":
		return func(a map[string]string) bool { _, ok := a[name]; return ok }, nil
	case "!exists":
		return func(a map[string]string) bool { _, ok := a[name]; return !ok }, nil
	case "==", "equals":
		value, err := p.value()
		return func(a map[string]string) bool { v, ok := a[name]; return ok && v == value }, err
	case "!=", "not_equals":
		value, err := p.value()
		return func(a map[string]string) bool { v, ok := a[name]; return !ok || v != value }, err
	case "=~", "matches":
		pattern, err := p.pattern()
		return func(a map[string]string) bool { v, ok := a[name]; return ok && pattern.MatchString(v) }, err
	case "!~", "not_matches":
		pattern, err := p.pattern()
		return func(a map[string]string) bool { v, ok := a[name]; return !ok || !pattern.MatchString(v) }, err
	case "in":
		values, err := p.list()
		return func(a map[string]string) bool { v, ok := a[name]; return ok && slices.Contains(values, v) }, err
	case "!in", "not_in":
		values, err := p.list()
		return func(a map[string]string) bool { v, ok := a[name]; return !ok || !slices.Contains(values, v) }, err
	case "":
		return nil, fmt.Errorf("an operator is missing after %q", subject)
	default:
		return nil, fmt.Errorf("unknown operator %q", operator)
	}
}

func (p *constraintParser) value() (string, error) {
	t := p.next()
	if t == "" || strings.Contains("()[],!", t) {
		return "", errors.New("a value is missing")
	}
	if len(t) >= 2 && (t[0] == '"' || t[0] == '\'') {
		return t[1 : len(t)-1], nil
	}
	return t, nil
}

func (p *constraintParser) pattern() (*regexp.Regexp, error) {
	value, err := p.value()
	if err != nil {
		return nil, err
	}
	return regexp.Compile("^(?:" + value + ")$")
}

func (p *constraintParser) list() ([]string, error) {
	if p.next() != "[" {
		return nil, errors.New("a list must begin with [")
	}
	var values []string
	for {
		value, err := p.value()
		if err != nil {
			return nil, err
		}
		values = append(values, value)
		switch t := p.next(); t {
		case ",":
		case "]":
			return values, nil
		default:
			return nil, fmt.Errorf("unexpected %q in a list", t)
		}
	}
}
