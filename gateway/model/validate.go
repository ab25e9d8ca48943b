package model

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/malote/malote/gateway/shape"
)

// A Violation is a constraint that a value does not satisfy.
type Violation struct {
	Path    string // as AWS prints it: tags.1.member.tagKey
	Missing bool   // a required member is absent
	Text    string // Value 'x' at 'tags.1.member.tagKey' failed to satisfy constraint: Member must …
}

// Message is AWS's text for violations, of which there is at least one.
func Message(violations []Violation) string {
	var b strings.Builder
	if len(violations) == 1 {
		b.WriteString("1 validation error detected: ")
	} else {
		fmt.Fprintf(&b, "%d validation errors detected: ", len(violations))
	}
	for i, v := range violations {
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(v.Text)
	}
	return b.String()
}

// A Validator checks the input of one operation.
type Validator struct{ root *check }

// NewValidator pairs an operation's input with the SDK's type for it, which is a
// structure. A member that only one of them knows is an error.
func NewValidator(input *Shape, goType reflect.Type) (*Validator, error) {
	t, err := shape.Of(goType)
	if err != nil {
		return nil, err
	}
	c, err := pair(input, t)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", goType, err)
	}
	return &Validator{root: c}, nil
}

// Validate checks in, a structure of the validator's type.
func (v *Validator) Validate(in reflect.Value) []Violation {
	if v.root == nil {
		return nil
	}
	var found []Violation
	v.root.value("", in, &found)
	return found
}

// check is what there is to check about a value. A nil one: nothing.
type check struct {
	shape   *Shape
	typ     *shape.Type
	own     bool // the value itself is constrained, not only what is in it
	members []memberCheck
	elem    *check
	key     *check
	hidden  bool
	enum    map[string]bool
	pattern *pattern
}

type memberCheck struct {
	name     string // with a lower first letter
	index    int    // of the struct field; of the union's variant
	required bool
	hidden   bool
	ptr      bool
	kind     shape.Kind
	check    *check
}

func pair(s *Shape, t *shape.Type) (*check, error) {
	c := &check{shape: s, typ: t, hidden: s.Hides()}
	useful := false
	if s.Min != nil || s.Max != nil || s.Pattern != "" || len(s.Enum) > 0 {
		c.own, useful = true, true
		if len(s.Enum) > 0 {
			c.enum = make(map[string]bool, len(s.Enum))
			for _, value := range s.Enum {
				c.enum[value] = true
			}
		}
		if s.Pattern != "" {
			c.pattern = compiled(s.Pattern)
		}
	}
	switch t.Kind {
	case shape.List, shape.Map:
		var err error
		if s.Elem == nil {
			return nil, fmt.Errorf("%s is a list or map for Go alone", t.Go)
		}
		if c.elem, err = pair(s.Elem, t.Elem); err != nil {
			return nil, err
		}
		if s.Key != nil {
			// Keys are strings; enumerations and others do not differ in checking.
			text, err := shape.Of(reflect.TypeFor[string]())
			if err != nil {
				return nil, err
			}
			if c.key, err = pair(s.Key, text); err != nil {
				return nil, err
			}
		}
		useful = useful || c.elem != nil || c.key != nil
	case shape.Struct, shape.Union:
		for name, member := range s.Members {
			i, ok := t.Field([]byte(name))
			if !ok {
				return nil, fmt.Errorf("%s has no member %s", t.Go, name)
			}
			f := &t.Fields[i]
			within, err := pair(member, f.Type)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			m := memberCheck{name: f.Lower, index: i, check: within, hidden: member.Sensitive, ptr: f.Type.Ptr, kind: f.Type.Kind}
			m.required = t.Kind == shape.Struct && slices.Contains(s.Required, name)
			if m.required || within != nil {
				c.members = append(c.members, m)
			}
		}
		slices.SortFunc(c.members, func(x, y memberCheck) int { return x.index - y.index })
		useful = useful || len(c.members) > 0
	}
	if !useful {
		return nil, nil
	}
	return c, nil
}

// absent reports whether the SDK's value says that the member was not sent. A number or
// a boolean that is held by value cannot say so, nor can a structure.
func absent(ptr bool, kind shape.Kind, v reflect.Value) bool {
	if ptr {
		return v.IsNil()
	}
	switch kind {
	case shape.List, shape.Map, shape.Blob, shape.Union, shape.Document:
		return v.IsNil()
	case shape.String:
		return v.Len() == 0
	}
	return false
}

func (c *check) value(path string, v reflect.Value, found *[]Violation) {
	if c.typ.Ptr && v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	if c.own {
		for _, text := range c.broken(v) {
			*found = append(*found, c.violation(path, v, text))
		}
	}
	switch c.typ.Kind {
	case shape.Struct:
		c.structure(path, v, found)
	case shape.Union:
		f, held, ok := c.typ.Variant(v)
		if !ok {
			return
		}
		for _, m := range c.members {
			if &c.typ.Fields[m.index] == f && m.check != nil && !absent(m.ptr, m.kind, held) {
				m.check.value(join(path, m.name), held, found)
			}
		}
	case shape.List:
		if c.elem != nil {
			c.list(path, v, found)
		}
	case shape.Map:
		c.mapping(path, v, found)
	}
}

func (c *check) structure(path string, v reflect.Value, found *[]Violation) {
	for i := range c.members {
		m := &c.members[i]
		value := v.Field(c.typ.Fields[m.index].Index)
		if !absent(m.ptr, m.kind, value) {
			if m.check != nil {
				m.check.value(join(path, m.name), value, found)
			}
			continue
		}
		if m.required {
			at := join(path, m.name)
			text := "Value null at '" + at + "' failed to satisfy constraint: Member must not be null"
			if m.hidden {
				text = "Value at '" + at + "' failed to satisfy constraint: Member must not be null"
			}
			*found = append(*found, Violation{Path: at, Missing: true, Text: text})
		}
	}
}

// list checks elements: structures each at a path of its own, others together, in one
// violation that names every constraint of the elements.
func (c *check) list(path string, v reflect.Value, found *[]Violation) {
	if nested(c.elem.typ.Kind) {
		for i := range v.Len() {
			c.elem.value(join(path, strconv.Itoa(i+1)+".member"), v.Index(i), found)
		}
		return
	}
	for i := range v.Len() {
		if len(c.elem.broken(indirect(v.Index(i)))) > 0 {
			*found = append(*found, c.violation(path, v, "Member must satisfy constraint: ["+strings.Join(c.elem.constraints(), ", ")+"]"))
			return
		}
	}
}

func (c *check) mapping(path string, v reflect.Value, found *[]Violation) {
	var badKey, badValue bool
	for iter := v.MapRange(); iter.Next(); {
		badKey = badKey || c.key != nil && len(c.key.broken(iter.Key())) > 0
		if c.elem == nil {
			continue
		}
		if nested(c.elem.typ.Kind) {
			c.elem.value(join(path, iter.Key().String()+".member"), iter.Value(), found)
		} else {
			badValue = badValue || len(c.elem.broken(indirect(iter.Value()))) > 0
		}
	}
	if badKey {
		*found = append(*found, c.violation(path, v, "Map keys must satisfy constraint: ["+strings.Join(c.key.constraints(), ", ")+"]"))
	}
	if badValue {
		*found = append(*found, c.violation(path, v, "Map value must satisfy constraint: ["+strings.Join(c.elem.constraints(), ", ")+"]"))
	}
}

func nested(k shape.Kind) bool {
	return k == shape.Struct || k == shape.Union || k == shape.List || k == shape.Map
}

func indirect(v reflect.Value) reflect.Value {
	if v.Kind() == reflect.Pointer {
		return v.Elem()
	}
	return v
}

// broken lists the constraints on the value itself that v does not satisfy.
func (c *check) broken(v reflect.Value) []string {
	var broken []string
	s := c.shape
	size := 0.0
	what := "length"
	switch c.typ.Kind {
	case shape.String:
		size = float64(utf8.RuneCountInString(v.String()))
	case shape.Blob, shape.List, shape.Map:
		size = float64(v.Len())
	case shape.Int:
		size, what = float64(v.Int()), "value"
	case shape.Float:
		size, what = v.Float(), "value"
	default:
		return nil
	}
	if s.Max != nil && size > *s.Max {
		broken = append(broken, atMost(what, *s.Max))
	}
	if s.Min != nil && size < *s.Min {
		broken = append(broken, atLeast(what, *s.Min))
	}
	if c.typ.Kind != shape.String {
		return broken
	}
	if c.pattern != nil && !c.pattern.match(v.String()) {
		broken = append(broken, matching(s.Pattern))
	}
	if c.enum != nil && !c.enum[v.String()] {
		broken = append(broken, among(s.Enum))
	}
	return broken
}

// constraints lists all that the value itself must satisfy.
func (c *check) constraints() []string {
	var all []string
	what := "length"
	if c.typ.Kind == shape.Int || c.typ.Kind == shape.Float {
		what = "value"
	}
	if c.shape.Max != nil {
		all = append(all, atMost(what, *c.shape.Max))
	}
	if c.shape.Min != nil {
		all = append(all, atLeast(what, *c.shape.Min))
	}
	if c.pattern != nil {
		all = append(all, matching(c.shape.Pattern))
	}
	if c.enum != nil {
		all = append(all, among(c.shape.Enum))
	}
	return all
}

func atMost(what string, n float64) string {
	return "Member must have " + what + " less than or equal to " + number(n)
}

func atLeast(what string, n float64) string {
	return "Member must have " + what + " greater than or equal to " + number(n)
}

func matching(pattern string) string {
	return "Member must satisfy regular expression pattern: " + pattern
}

func among(values []string) string {
	return "Member must satisfy enum value set: [" + strings.Join(values, ", ") + "]"
}

func number(n float64) string { return strconv.FormatFloat(n, 'f', -1, 64) }

func (c *check) violation(path string, v reflect.Value, constraint string) Violation {
	value := ""
	if !c.hidden {
		value = " '" + show(c.typ, v) + "'"
	}
	return Violation{Path: path, Text: "Value" + value + " at '" + path + "' failed to satisfy constraint: " + constraint}
}

// show prints a value as AWS's Java does.
func show(t *shape.Type, v reflect.Value) string {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return "null"
		}
		v = v.Elem()
	}
	switch t.Kind {
	case shape.List:
		var parts []string
		for i := range v.Len() {
			parts = append(parts, show(t.Elem, v.Index(i)))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case shape.Map:
		var parts []string
		for iter := v.MapRange(); iter.Next(); {
			parts = append(parts, iter.Key().String()+"="+show(t.Elem, iter.Value()))
		}
		slices.Sort(parts)
		return "{" + strings.Join(parts, ", ") + "}"
	case shape.Struct:
		var parts []string
		for i := range t.Fields {
			f := &t.Fields[i]
			if value := v.Field(f.Index); !absent(f.Type.Ptr, f.Type.Kind, value) {
				parts = append(parts, f.Lower+"="+show(f.Type, value))
			}
		}
		return t.Go.Name() + "(" + strings.Join(parts, ", ") + ")"
	case shape.Blob:
		return fmt.Sprintf("java.nio.HeapByteBuffer[pos=0 lim=%d cap=%[1]d]", v.Len())
	case shape.Union, shape.Document:
		return t.Go.Name()
	}
	return fmt.Sprint(v.Interface())
}

// join extends a path by a member's name, which is in AWS's lower camel case already, by
// an index or a map's key.
func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

var patterns sync.Map // string to *pattern

func compiled(text string) *pattern {
	if p, ok := patterns.Load(text); ok {
		return p.(*pattern)
	}
	p, _ := patterns.LoadOrStore(text, &pattern{text: text})
	return p.(*pattern)
}
