package awsjson

import (
	"encoding/base64"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	smithydocument "github.com/aws/smithy-go/document"

	"github.com/malote/malote/gateway/shape"
	"github.com/malote/malote/internal/quoted"
)

type encoder struct {
	lower bool
	err   error // the first
}

func (e *encoder) value(b []byte, t *shape.Type, v reflect.Value) []byte {
	if t.Ptr {
		if v.IsNil() {
			return append(b, "null"...)
		}
		v = v.Elem()
	}
	switch t.Kind {
	case shape.String:
		return appendString(b, v.String())
	case shape.Int:
		return strconv.AppendInt(b, v.Int(), 10)
	case shape.Float:
		return e.float(b, v.Float(), t.Go.Bits())
	case shape.Bool:
		return strconv.AppendBool(b, v.Bool())
	case shape.Time:
		return AppendTime(b, v.Interface().(time.Time))
	case shape.Blob:
		b = append(b, '"')
		b = base64.StdEncoding.AppendEncode(b, v.Bytes())
		return append(b, '"')
	case shape.List:
		b = append(b, '[')
		for i := range v.Len() {
			if i > 0 {
				b = append(b, ',')
			}
			b = e.value(b, t.Elem, v.Index(i))
		}
		return append(b, ']')
	case shape.Map:
		return e.mapping(b, t, v)
	case shape.Struct:
		return e.structure(b, t, v)
	case shape.Union:
		if v.IsNil() {
			return append(b, "null"...)
		}
		f, held, ok := t.Variant(v)
		if !ok {
			e.fail(fmt.Errorf("%s holds no variant of it", t.Go))
			return b
		}
		b = append(b, '{')
		b = e.name(b, f)
		b = e.value(b, f.Type, held)
		return append(b, '}')
	case shape.Document:
		if v.IsNil() {
			return append(b, "null"...)
		}
		text, err := v.Interface().(smithydocument.Marshaler).MarshalSmithyDocument()
		if err != nil {
			e.fail(err)
		}
		return append(b, text...)
	}
	return b
}

func (e *encoder) structure(b []byte, t *shape.Type, v reflect.Value) []byte {
	b = append(b, '{')
	first := true
	for i := range t.Fields {
		f := &t.Fields[i]
		member := v.Field(f.Index)
		if f.Type.Absent(member) {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		b = e.name(b, f)
		b = e.value(b, f.Type, member)
	}
	return append(b, '}')
}

// mapping writes a map in the order of its keys, so that equal values have equal texts.
func (e *encoder) mapping(b []byte, t *shape.Type, v reflect.Value) []byte {
	keys := make([]string, 0, v.Len())
	for iter := v.MapRange(); iter.Next(); {
		keys = append(keys, iter.Key().String())
	}
	slices.Sort(keys)
	keyType := t.Go.Key()
	b = append(b, '{')
	for i, key := range keys {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, key)
		b = append(b, ':')
		b = e.value(b, t.Elem, v.MapIndex(reflect.ValueOf(key).Convert(keyType)))
	}
	return append(b, '}')
}

func (e *encoder) name(b []byte, f *shape.Field) []byte {
	b = append(b, '"')
	if e.lower {
		b = append(b, f.Lower...)
	} else {
		b = append(b, f.Name...)
	}
	return append(b, '"', ':')
}

func (e *encoder) float(b []byte, f float64, bits int) []byte {
	switch {
	case math.IsNaN(f):
		return append(b, `"NaN"`...)
	case math.IsInf(f, 1):
		return append(b, `"Infinity"`...)
	case math.IsInf(f, -1):
		return append(b, `"-Infinity"`...)
	}
	return strconv.AppendFloat(b, f, 'g', -1, bits)
}

func (e *encoder) fail(err error) {
	if e.err == nil {
		e.err = err
	}
}

// AppendTime writes t as AWS does: epoch seconds with a fraction of at most three
// digits, at least one.
func AppendTime(b []byte, t time.Time) []byte {
	ms := t.UnixMilli()
	if ms < 0 {
		b = append(b, '-')
		ms = -ms
	}
	b = strconv.AppendInt(b, ms/1000, 10)
	b = append(b, '.')
	switch fraction := ms % 1000; {
	case fraction%100 == 0:
		return append(b, byte('0'+fraction/100))
	case fraction%10 == 0:
		return append(b, byte('0'+fraction/100), byte('0'+fraction/10%10))
	default:
		return append(b, byte('0'+fraction/100), byte('0'+fraction/10%10), byte('0'+fraction%10))
	}
}

const hex = "0123456789abcdef"

// AppendString writes s as a JSON string. Bytes that are no UTF-8 become U+FFFD.
func AppendString(b []byte, s string) []byte { return appendString(b, s) }

func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	start := 0
	for i := quoted.Plain(s); i < len(s); i += quoted.Plain(s[i:]) {
		c := s[i]
		if c < utf8.RuneSelf {
			b = append(b, s[start:i]...)
			switch c {
			case '"', '\\':
				b = append(b, '\\', c)
			case '\n':
				b = append(b, '\\', 'n')
			case '\r':
				b = append(b, '\\', 'r')
			case '\t':
				b = append(b, '\\', 't')
			default:
				b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
			}
			i++
			start = i
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 {
			b = append(b, s[start:i]...)
			b = append(b, "\ufffd"...)
			i++
			start = i
			continue
		}
		i += n
	}
	b = append(b, s[start:]...)
	return append(b, '"')
}
