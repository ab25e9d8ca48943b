package policy

import (
	"fmt"
	"slices"
	"strings"
)

// ContextKeys names the condition keys that a policy asks for, each once and as it is
// written: those of its conditions, and the variables in its resources and in the values of
// conditions. The policy need not be whole, nor say where it is attached; what its actions,
// resources and principals are is not looked at. The error is a *SyntaxError.
func ContextKeys(text []byte) ([]string, error) {
	p := parser{text: string(text)}
	root, wrong := scan(p.text)
	if wrong != nil {
		return nil, wrong
	}
	keys := []string{}
	add := func(name string) {
		if !slices.Contains(keys, name) {
			keys = append(keys, name)
		}
	}
	if root.kind != nodeObject {
		p.fail(root, "", msgSyntax, "a policy is a JSON object")
		return nil, p.err
	}
	var statements []*node
	for i := range root.keys {
		switch key := root.keys[i].text; key {
		case "Version":
			p.variables = root.items[i].text == version2012
		case "Id":
		case "Statement":
			statements = root.items[i].list()
		default:
			p.fail(&root.keys[i], key, msgSyntax, "unknown element %q", key)
		}
	}
	for i, n := range statements {
		p.contextKeys(n, fmt.Sprintf("Statement[%d]", i), add)
	}
	if p.err != nil {
		return nil, p.err
	}
	return keys, nil
}

func (p *parser) contextKeys(n *node, element string, add func(string)) {
	if n.kind != nodeObject {
		p.fail(n, element, msgSyntax, "a statement is a JSON object")
		return
	}
	if effect := n.member("Effect"); effect == nil || effect.scalar().text != "Allow" && effect.scalar().text != "Deny" {
		p.fail(n, element, msgSyntax, `Effect must be "Allow" or "Deny"`)
	}
	for i := range n.keys {
		value, at := &n.items[i], element+"."+n.keys[i].text
		switch n.keys[i].text {
		case "Sid", "Effect", "Action", "NotAction", "Principal", "NotPrincipal":
		case "Resource", "NotResource":
			p.variablesOf(value, at, add)
		case "Condition":
			p.conditions(value, at) // for what is wrong with it alone
			for j := range value.items {
				for k := range value.items[j].keys {
					add(value.items[j].keys[k].text)
					p.variablesOf(&value.items[j].items[k], at, add)
				}
			}
		default:
			p.fail(&n.keys[i], at, msgSyntax, "unknown element %q", n.keys[i].text)
		}
	}
}

// variablesOf adds the variables in a string or in an array of strings.
func (p *parser) variablesOf(n *node, element string, add func(string)) {
	for _, item := range n.list() {
		pattern, wrong := compilePattern(item.text, true, p.variables)
		if wrong != "" {
			p.fail(item, element, msgSyntax, "%q: %s", item.text, wrong)
		}
		for _, name := range pattern.variables() {
			add(name)
		}
	}
}

// variables names the policy variables of a pattern.
func (p *pattern) variables() []string {
	var names []string
	for i := range p.parts {
		if p.parts[i].key != "" {
			names = append(names, p.parts[i].name)
		}
	}
	return names
}

// Missing names the condition keys, each once and as it is written, that the statements
// about r's action and resource ask for and r has no values for.
func (d *Document) Missing(r *Request) []string {
	q := newQuestion(r)
	names := []string{}
	lacks := func(name string) bool {
		if len(q.values(strings.ToLower(name))) > 0 {
			return false
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
		return true
	}
	for i := range d.Statements {
		s := &d.Statements[i]
		if !s.coversAction(&q) {
			continue
		}
		open := false // whether it covers the resource depends on what is missing
		for j := range s.resources {
			for _, name := range s.resources[j].parts[5].variables() {
				open = lacks(name) || open
			}
		}
		if !open && !s.coversResource(&q) {
			continue
		}
		for j := range s.conditions {
			c := &s.conditions[j]
			lacks(c.name)
			for k := range c.values {
				for _, name := range c.values[k].pattern.variables() {
					lacks(name)
				}
			}
		}
	}
	return names
}

// Grants reports whether a statement allows something of a service ("s3"), on whatever
// resource and under whatever condition.
func (d *Document) Grants(service string) bool {
	service = strings.ToLower(service)
	for i := range d.Statements {
		if s := &d.Statements[i]; s.Allow && s.speaksOf(service) {
			return true
		}
	}
	return false
}

// speaksOf reports whether the statement covers some action of a service.
func (s *Statement) speaksOf(service string) bool {
	for i := range s.actions {
		switch a := &s.actions[i]; {
		case !s.notAction && (a.service == "" || a.service == service):
			return true
		case s.notAction && (a.service == "" || a.service == service && a.shape == shapeAll):
			return false
		}
	}
	return s.notAction
}
