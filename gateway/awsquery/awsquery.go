// Package awsquery is the codec of the AWS Query protocol over the SDK's own types:
// forms come in, XML goes out. IAM and STS speak it.
//
// It promises: Parse and Decode read what AWS's clients write; parameters they do not know
// are skipped; errors quote no values.
package awsquery

import (
	"encoding/base64"
	"fmt"
	"maps"
	"math"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/malote/malote/gateway/shape"
)

// ContentType is that of responses.
const ContentType = "text/xml"

// An Error says why a request is no form of its operation.
type Error struct{ Code, Text string }

func (e *Error) Error() string { return e.Code + ": " + e.Text }

// Form is a parsed request: parameters by the parts of their dotted names.
type Form struct {
	value string
	set   bool
	parts map[string]*Form
}

// maxDepth bounds how many dots a name may have. IAM's deepest has six. Each costs memory
// of many times its size.
const maxDepth = 12

// Named returns the values that Parse would find under two names, and takes no memory for
// the rest: to know what a request is about before it is known who sent it.
func Named(text, first, second string) (a, b string, err error) {
	err = each(text, func(name, value string) error {
		switch name {
		case first:
			a = value
		case second:
			b = value
		}
		return nil
	})
	return a, b, err
}

// each calls fn with the parameters of a text in order.
func each(text string, fn func(name, value string) error) error {
	for pair := range strings.SplitSeq(text, "&") {
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		name, err := url.QueryUnescape(name)
		if err == nil {
			value, err = url.QueryUnescape(value)
		}
		if err != nil || !utf8.ValidString(name) || !utf8.ValidString(value) {
			return &Error{"MalformedQueryString", "The query string contains a syntax error."}
		}
		if err := fn(name, value); err != nil {
			return err
		}
	}
	return nil
}

// Parse reads parameters as they stand in a body or a query. The last of equal names
// counts.
func Parse(text string) (*Form, error) {
	root := &Form{}
	err := each(text, func(name, value string) error {
		if strings.Count(name, ".") > maxDepth {
			return &Error{"MalformedInput", "A parameter's name has too many parts."}
		}
		f := root
		for part := range strings.SplitSeq(name, ".") {
			next := f.parts[part]
			if next == nil {
				next = &Form{}
				if f.parts == nil {
					f.parts = map[string]*Form{}
				}
				f.parts[part] = next
			}
			f = next
		}
		f.value, f.set = value, true
		return nil
	})
	if err != nil {
		return nil, err
	}
	return root, nil
}

// Decode stores the form in the structure that into points to.
func (f *Form) Decode(into any) error {
	v := reflect.ValueOf(into).Elem()
	t, err := shape.Of(v.Type())
	if err != nil {
		return err
	}
	return f.structure("", t, v)
}

func malformed(path, want string) error {
	return &Error{"MalformedInput", fmt.Sprintf("The parameter %s is not a valid %s.", path, want)}
}

func (f *Form) decode(path string, t *shape.Type, v reflect.Value) error {
	if t.Ptr {
		p := reflect.New(t.Go)
		v.Set(p)
		v = p.Elem()
	}
	switch t.Kind {
	case shape.Struct:
		return f.structure(path, t, v)
	case shape.List:
		return f.list(path, t, v)
	case shape.Map:
		return f.mapping(path, t, v)
	case shape.Union:
		return f.union(path, t, v)
	case shape.Document:
		return malformed(path, "parameter of this protocol")
	}
	if !f.set {
		return malformed(path, "value")
	}
	switch t.Kind {
	case shape.String:
		v.SetString(f.value)
	case shape.Int:
		n, err := strconv.ParseInt(f.value, 10, t.Go.Bits())
		if err != nil {
			return malformed(path, "integer")
		}
		v.SetInt(n)
	case shape.Float:
		n, err := strconv.ParseFloat(f.value, t.Go.Bits())
		if err != nil || math.IsNaN(n) {
			return malformed(path, "number")
		}
		v.SetFloat(n)
	case shape.Bool:
		switch f.value {
		case "true":
			v.SetBool(true)
		case "false":
			v.SetBool(false)
		default:
			return malformed(path, "boolean")
		}
	case shape.Time:
		at, err := time.Parse(time.RFC3339Nano, f.value)
		if err != nil {
			return malformed(path, "timestamp")
		}
		v.Set(reflect.ValueOf(at.UTC()))
	case shape.Blob:
		blob, err := base64.StdEncoding.DecodeString(f.value)
		if err != nil {
			return malformed(path, "base64 text")
		}
		v.SetBytes(blob)
	}
	return nil
}

// structure walks the form's names in order, so that of two spellings of one member the
// same one always counts.
func (f *Form) structure(path string, t *shape.Type, v reflect.Value) error {
	for _, name := range slices.Sorted(maps.Keys(f.parts)) {
		i, ok := t.Field([]byte(name))
		if !ok {
			continue
		}
		member := &t.Fields[i]
		if err := f.parts[name].decode(below(path, name), member.Type, v.Field(member.Index)); err != nil {
			return err
		}
	}
	return nil
}

func (f *Form) union(path string, t *shape.Type, v reflect.Value) error {
	for _, name := range slices.Sorted(maps.Keys(f.parts)) {
		i, ok := t.Field([]byte(name))
		if !ok {
			continue
		}
		if !v.IsNil() {
			return malformed(path, "union: it has more than one member")
		}
		member := &t.Fields[i]
		variant := reflect.New(member.Variant)
		if err := f.parts[name].decode(below(path, name), member.Type, variant.Elem().Field(member.Index)); err != nil {
			return err
		}
		v.Set(variant)
	}
	return nil
}

// numbered lists the elements under name ("member", "entry") by their number.
func (f *Form) numbered(path, name string) ([]*Form, error) {
	under := f.parts[name]
	if under == nil {
		return nil, nil
	}
	numbers := make(map[int]*Form, len(under.parts))
	for text, element := range under.parts {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 || numbers[n] != nil {
			return nil, malformed(path, "list")
		}
		numbers[n] = element
	}
	elements := make([]*Form, 0, len(numbers))
	for _, n := range slices.Sorted(maps.Keys(numbers)) {
		elements = append(elements, numbers[n])
	}
	return elements, nil
}

func (f *Form) list(path string, t *shape.Type, v reflect.Value) error {
	if f.set && f.value != "" {
		return malformed(path, "list")
	}
	elements, err := f.numbered(path, "member")
	if err != nil {
		return err
	}
	list := reflect.MakeSlice(t.Go, len(elements), len(elements))
	for i, element := range elements {
		if err := element.decode(below(path, strconv.Itoa(i+1)), t.Elem, list.Index(i)); err != nil {
			return err
		}
	}
	v.Set(list)
	return nil
}

func (f *Form) mapping(path string, t *shape.Type, v reflect.Value) error {
	if f.set && f.value != "" {
		return malformed(path, "map")
	}
	entries, err := f.numbered(path, "entry")
	if err != nil {
		return err
	}
	m := reflect.MakeMapWithSize(t.Go, len(entries))
	for _, entry := range entries {
		key, value := entry.parts["key"], entry.parts["value"]
		if key == nil || !key.set || value == nil {
			return malformed(path, "map")
		}
		elem := reflect.New(t.Go.Elem()).Elem()
		if err := value.decode(below(path, "value"), t.Elem, elem); err != nil {
			return err
		}
		m.SetMapIndex(reflect.ValueOf(key.value).Convert(t.Go.Key()), elem)
	}
	v.Set(m)
	return nil
}

// below is the path of a part, as errors print it. It holds names from the request, so
// what cannot be one is left out.
func below(path, name string) string {
	name = strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return r
		}
		return -1
	}, name)
	if path == "" {
		return name
	}
	return path + "." + name
}
