package awsjson

import (
	"encoding/base64"
	"math"
	"reflect"
	"strconv"
	"time"

	"github.com/malote/malote/gateway/shape"
)

// maxDepth bounds the nesting of a request. The deepest of AWS's has about fifteen.
const maxDepth = 100

var (
	errSyntax    = &Error{"Unable to parse the request as JSON."}
	errDepth     = &Error{"The request is nested too deeply."}
	errNull      = &Error{"Null value found where not expected"}
	errStructure = &Error{"Start of structure or map found where not expected."}
	errList      = &Error{"Start of list found where not expected"}
	errRange     = &Error{"NUMBER_VALUE is out of range"}
	errWhole     = &Error{"NUMBER_VALUE cannot be converted to a whole number"}
	errBlob      = &Error{"STRING_VALUE is not valid base64"}
	errTime      = &Error{"STRING_VALUE cannot be converted to Timestamp"}
	errUnion     = &Error{"Exactly one member of a union must be set"}
)

type decoder struct {
	data  []byte
	at    int
	depth int
}

// wrong is the error of a value that begins with c where want stands in the API.
func wrong(c byte, want string) error {
	switch c {
	case '{':
		return errStructure
	case '[':
		return errList
	case '"':
		return &Error{"STRING_VALUE cannot be converted to " + want}
	case 't':
		return &Error{"TRUE_VALUE cannot be converted to " + want}
	case 'f':
		return &Error{"FALSE_VALUE cannot be converted to " + want}
	case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		return &Error{"NUMBER_VALUE cannot be converted to " + want}
	}
	return errSyntax
}

func (d *decoder) space() {
	for d.at < len(d.data) {
		switch d.data[d.at] {
		case ' ', '\t', '\n', '\r':
			d.at++
		default:
			return
		}
	}
}

// peek is the first byte of the next token, 0 at the end.
func (d *decoder) peek() byte {
	d.space()
	if d.at == len(d.data) {
		return 0
	}
	return d.data[d.at]
}

// next consumes c, if it is the next token.
func (d *decoder) next(c byte) bool {
	if d.peek() != c {
		return false
	}
	d.at++
	return true
}

func (d *decoder) literal(word string) error {
	if len(d.data)-d.at < len(word) || string(d.data[d.at:d.at+len(word)]) != word {
		return errSyntax
	}
	d.at += len(word)
	return nil
}

func (d *decoder) enter() error {
	d.depth++
	if d.depth > maxDepth {
		return errDepth
	}
	return nil
}

// value reads one value into v, which is of type t. A null leaves v as it is.
func (d *decoder) value(t *shape.Type, v reflect.Value) error {
	c := d.peek()
	if c == 'n' {
		return d.literal("null")
	}
	if t.Kind == shape.String {
		return d.string(t, v, c)
	}
	if t.Ptr {
		p := reflect.New(t.Go)
		v.Set(p)
		v = p.Elem()
	}
	switch t.Kind {
	case shape.Int:
		return d.int(v, c)
	case shape.Float:
		return d.float(v, c)
	case shape.Bool:
		return d.bool(v, c)
	case shape.Time:
		return d.time(v, c)
	case shape.Blob:
		return d.blob(v, c)
	case shape.List:
		return d.list(t, v, c)
	case shape.Map:
		return d.mapping(t, v, c)
	case shape.Struct:
		return d.structure(t, v, c)
	case shape.Union:
		return d.union(t, v, c)
	default:
		return d.document(t, v)
	}
}

func (d *decoder) string(t *shape.Type, v reflect.Value, c byte) error {
	if c != '"' {
		return wrong(c, "String")
	}
	raw, plain, err := d.quoted()
	if err != nil {
		return err
	}
	var s string
	if plain {
		s = string(raw)
	} else {
		s = unquote(raw)
	}
	if !t.Ptr {
		v.SetString(s)
		return nil
	}
	if p, ok := v.Addr().Interface().(**string); ok {
		*p = &s
		return nil
	}
	p := reflect.New(t.Go)
	p.Elem().SetString(s)
	v.Set(p)
	return nil
}

func (d *decoder) int(v reflect.Value, c byte) error {
	want := "Integer"
	if v.Type().Bits() == 64 {
		want = "Long"
	}
	text, err := d.number(c, want)
	if err != nil {
		return err
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		f, ferr := strconv.ParseFloat(text, 64)
		switch {
		case ferr != nil || f < -1<<63 || f >= 1<<63:
			return errRange
		case f != math.Trunc(f):
			return errWhole
		}
		n = int64(f)
	}
	if v.OverflowInt(n) {
		return errRange
	}
	v.SetInt(n)
	return nil
}

func (d *decoder) float(v reflect.Value, c byte) error {
	if c == '"' {
		raw, _, err := d.quoted()
		if err != nil {
			return err
		}
		switch string(raw) {
		case "NaN":
			v.SetFloat(math.NaN())
		case "Infinity":
			v.SetFloat(math.Inf(1))
		case "-Infinity":
			v.SetFloat(math.Inf(-1))
		default:
			return wrong(c, "Double")
		}
		return nil
	}
	text, err := d.number(c, "Double")
	if err != nil {
		return err
	}
	f, err := strconv.ParseFloat(text, v.Type().Bits())
	if err != nil {
		return errRange
	}
	v.SetFloat(f)
	return nil
}

func (d *decoder) bool(v reflect.Value, c byte) error {
	switch c {
	case 't':
		v.SetBool(true)
		return d.literal("true")
	case 'f':
		v.SetBool(false)
		return d.literal("false")
	}
	return wrong(c, "Boolean")
}

// time reads epoch seconds, or a date in RFC 3339, which AWS takes too.
func (d *decoder) time(v reflect.Value, c byte) error {
	if c == '"' {
		raw, _, err := d.quoted()
		if err != nil {
			return err
		}
		t, err := time.Parse(time.RFC3339Nano, string(raw))
		if err != nil {
			return errTime
		}
		v.Set(reflect.ValueOf(t.UTC()))
		return nil
	}
	text, err := d.number(c, "Timestamp")
	if err != nil {
		return err
	}
	f, err := strconv.ParseFloat(text, 64)
	// Beyond the year 9999 no client can print it.
	if err != nil || f < -62135596800 || f >= 253402300800 {
		return errRange
	}
	v.Set(reflect.ValueOf(time.UnixMilli(int64(math.Round(f * 1000))).UTC()))
	return nil
}

func (d *decoder) blob(v reflect.Value, c byte) error {
	if c != '"' {
		return wrong(c, "Blob")
	}
	raw, plain, err := d.quoted()
	if err != nil {
		return err
	}
	if !plain { // "\/" is how some encoders write a slash
		raw = []byte(unquote(raw))
	}
	blob := make([]byte, base64.StdEncoding.DecodedLen(len(raw)))
	n, err := base64.StdEncoding.Decode(blob, raw)
	if err != nil {
		return errBlob
	}
	v.SetBytes(blob[:n])
	return nil
}

func (d *decoder) list(t *shape.Type, v reflect.Value, c byte) error {
	if c != '[' {
		return wrong(c, "List")
	}
	if err := d.enter(); err != nil {
		return err
	}
	d.at++
	list := reflect.MakeSlice(t.Go, 0, 0)
	if d.next(']') {
		v.Set(list)
		d.depth--
		return nil
	}
	v.Set(list)
	for n := 0; ; n++ {
		if d.peek() == 'n' {
			return errNull
		}
		if n == v.Cap() {
			v.Grow(1)
		}
		v.SetLen(n + 1)
		if err := d.value(t.Elem, v.Index(n)); err != nil {
			return err
		}
		if d.next(',') {
			continue
		}
		if d.next(']') {
			d.depth--
			return nil
		}
		return errSyntax
	}
}

// mapping reads a map. A key whose value is null is left out.
func (d *decoder) mapping(t *shape.Type, v reflect.Value, c byte) error {
	if c != '{' {
		return wrong(c, "Map")
	}
	m := reflect.MakeMap(t.Go)
	v.Set(m)
	keyType := t.Go.Key()
	return d.object(func(name []byte) error {
		key := reflect.ValueOf(string(name)).Convert(keyType)
		if d.peek() == 'n' {
			return d.literal("null")
		}
		elem := reflect.New(t.Go.Elem()).Elem()
		if err := d.value(t.Elem, elem); err != nil {
			return err
		}
		m.SetMapIndex(key, elem)
		return nil
	})
}

func (d *decoder) structure(t *shape.Type, v reflect.Value, c byte) error {
	if c != '{' {
		return wrong(c, "Structure")
	}
	return d.object(func(name []byte) error {
		i, ok := t.Field(name)
		if !ok {
			return d.skip()
		}
		f := &t.Fields[i]
		return d.value(f.Type, v.Field(f.Index))
	})
}

func (d *decoder) union(t *shape.Type, v reflect.Value, c byte) error {
	if c != '{' {
		return wrong(c, "Structure")
	}
	return d.object(func(name []byte) error {
		i, ok := t.Field(name)
		if !ok || d.peek() == 'n' {
			return d.skip()
		}
		if !v.IsNil() {
			return errUnion
		}
		f := &t.Fields[i]
		variant := reflect.New(f.Variant)
		if err := d.value(f.Type, variant.Elem().Field(f.Index)); err != nil {
			return err
		}
		v.Set(variant)
		return nil
	})
}

// object reads an object, calling member with each name when its value is next. The
// name is good until member returns.
func (d *decoder) object(member func(name []byte) error) error {
	if err := d.enter(); err != nil {
		return err
	}
	d.at++
	if d.next('}') {
		d.depth--
		return nil
	}
	for {
		if d.peek() != '"' {
			return errSyntax
		}
		name, plain, err := d.quoted()
		if err != nil {
			return err
		}
		if !plain {
			name = []byte(unquote(name))
		}
		if !d.next(':') {
			return errSyntax
		}
		if err := member(name); err != nil {
			return err
		}
		if d.next(',') {
			continue
		}
		if d.next('}') {
			d.depth--
			return nil
		}
		return errSyntax
	}
}
