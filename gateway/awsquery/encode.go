package awsquery

import (
	"encoding/base64"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/malote/malote/gateway/shape"
)

// AppendResponse writes the response of an operation: out is its output, nil for an
// operation that has none.
func AppendResponse(b []byte, namespace, operation, requestID string, out any) ([]byte, error) {
	b = open(b, operation+"Response", namespace)
	if out != nil {
		v := reflect.Indirect(reflect.ValueOf(out))
		t, err := shape.Of(v.Type())
		if err != nil {
			return b, err
		}
		if b, err = appendElement(b, operation+"Result", t, v); err != nil {
			return b, err
		}
	}
	b = append(b, "<ResponseMetadata><RequestId>"...)
	b = AppendText(b, requestID)
	b = append(b, "</RequestId></ResponseMetadata></"...)
	b = append(b, operation...)
	return append(b, "Response>\n"...), nil
}

// AppendError writes an error response. The fault is Sender or Receiver.
func AppendError(b []byte, namespace, fault, code, message, requestID string) []byte {
	b = open(b, "ErrorResponse", namespace)
	b = append(b, "<Error><Type>"...)
	b = append(b, fault...)
	b = append(b, "</Type><Code>"...)
	b = AppendText(b, code)
	b = append(b, "</Code><Message>"...)
	b = AppendText(b, message)
	b = append(b, "</Message></Error><RequestId>"...)
	b = AppendText(b, requestID)
	return append(b, "</RequestId></ErrorResponse>\n"...)
}

func open(b []byte, name, namespace string) []byte {
	b = append(b, '<')
	b = append(b, name...)
	b = append(b, ` xmlns="`...)
	b = append(b, namespace...)
	return append(b, `">`...)
}

func appendElement(b []byte, name string, t *shape.Type, v reflect.Value) ([]byte, error) {
	b = append(b, '<')
	b = append(b, name...)
	b = append(b, '>')
	b, err := appendValue(b, t, v)
	b = append(b, "</"...)
	b = append(b, name...)
	return append(b, '>'), err
}

func appendValue(b []byte, t *shape.Type, v reflect.Value) ([]byte, error) {
	if t.Ptr {
		if v.IsNil() {
			return b, nil
		}
		v = v.Elem()
	}
	var err error
	switch t.Kind {
	case shape.Struct:
		for i := range t.Fields {
			f := &t.Fields[i]
			member := v.Field(f.Index)
			if f.Type.Absent(member) {
				continue
			}
			if b, err = appendElement(b, f.Name, f.Type, member); err != nil {
				return b, err
			}
		}
		return b, nil
	case shape.Union:
		if v.IsNil() {
			return b, nil
		}
		f, held, ok := t.Variant(v)
		if !ok {
			return b, fmt.Errorf("%s holds no variant of it", t.Go)
		}
		return appendElement(b, f.Name, f.Type, held)
	case shape.List:
		for i := range v.Len() {
			if b, err = appendElement(b, "member", t.Elem, v.Index(i)); err != nil {
				return b, err
			}
		}
		return b, nil
	case shape.Map:
		for _, key := range sortedKeys(v) {
			b = append(b, "<entry><key>"...)
			b = AppendText(b, key.String())
			b = append(b, "</key>"...)
			if b, err = appendElement(b, "value", t.Elem, v.MapIndex(key)); err != nil {
				return b, err
			}
			b = append(b, "</entry>"...)
		}
		return b, nil
	case shape.Document:
		return b, fmt.Errorf("%s cannot be written in XML", t.Go)
	case shape.String:
		return AppendText(b, v.String()), nil
	}
	return append(b, scalar(t, v)...), nil
}

func sortedKeys(v reflect.Value) []reflect.Value {
	keys := v.MapKeys()
	slices.SortFunc(keys, func(x, y reflect.Value) int {
		switch {
		case x.String() < y.String():
			return -1
		case x.String() > y.String():
			return 1
		}
		return 0
	})
	return keys
}

// scalar is the text of a value that is neither a string nor made of others.
func scalar(t *shape.Type, v reflect.Value) string {
	switch t.Kind {
	case shape.Int:
		return strconv.FormatInt(v.Int(), 10)
	case shape.Float:
		switch f := v.Float(); {
		case math.IsInf(f, 1):
			return "Infinity"
		case math.IsInf(f, -1):
			return "-Infinity"
		default:
			return strconv.FormatFloat(f, 'g', -1, t.Go.Bits())
		}
	case shape.Bool:
		return strconv.FormatBool(v.Bool())
	case shape.Time:
		return v.Interface().(time.Time).UTC().Format("2006-01-02T15:04:05Z")
	default:
		return base64.StdEncoding.EncodeToString(v.Bytes())
	}
}

// AppendText writes character data of XML. What XML cannot say becomes U+FFFD.
func AppendText(b []byte, s string) []byte {
	for i := 0; i < len(s); {
		switch c := s[i]; {
		case c == '&':
			b = append(b, "&amp;"...)
		case c == '<':
			b = append(b, "&lt;"...)
		case c == '>':
			b = append(b, "&gt;"...)
		case c == '\r':
			b = append(b, "&#xD;"...)
		case c == '\t' || c == '\n' || c >= ' ' && c < utf8.RuneSelf:
			b = append(b, c)
		case c < ' ':
			b = append(b, "\ufffd"...)
		default:
			r, n := utf8.DecodeRuneInString(s[i:])
			if r == 0xfffe || r == 0xffff {
				r = utf8.RuneError
			}
			b = utf8.AppendRune(b, r)
			i += n
			continue
		}
		i++
	}
	return b
}
