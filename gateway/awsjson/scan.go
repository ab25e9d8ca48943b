package awsjson

import (
	"reflect"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	smithydocument "github.com/aws/smithy-go/document"

	"github.com/malote/malote/gateway/shape"
)

// quoted consumes the string that is next and returns what stands between its quotes,
// checked, and whether that is plain, without escapes.
func (d *decoder) quoted() (raw []byte, plain bool, err error) {
	start := d.at + 1
	plain = true
	ascii := true
	for i := start; i < len(d.data); i++ {
		switch c := d.data[i]; {
		case c == '"':
			raw = d.data[start:i]
			d.at = i + 1
			if !ascii && !utf8.Valid(raw) {
				return nil, false, errSyntax
			}
			return raw, plain, nil
		case c == '\\':
			plain = false
			n := escape(d.data[i:])
			if n == 0 {
				return nil, false, errSyntax
			}
			i += n - 1
		case c < ' ':
			return nil, false, errSyntax
		case c >= utf8.RuneSelf:
			ascii = false
		}
	}
	return nil, false, errSyntax
}

// escape is the length of the escape sequence that b begins with, 0 if it is none.
func escape(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	switch b[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if len(b) < 6 {
			return 0
		}
		for _, c := range b[2:6] {
			if !(c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F') {
				return 0
			}
		}
		return 6
	}
	return 0
}

// unquote replaces the escapes in raw, which quoted has checked. A surrogate that has no
// other half becomes U+FFFD.
func unquote(raw []byte) string {
	b := make([]byte, 0, len(raw))
	for i := 0; i < len(raw); {
		if raw[i] != '\\' {
			b = append(b, raw[i])
			i++
			continue
		}
		switch c := raw[i+1]; c {
		case 'b':
			b = append(b, '\b')
		case 'f':
			b = append(b, '\f')
		case 'n':
			b = append(b, '\n')
		case 'r':
			b = append(b, '\r')
		case 't':
			b = append(b, '\t')
		case 'u':
			r := unit(raw[i:])
			i += 6
			if utf16.IsSurrogate(r) {
				low := rune(-1)
				if i+6 <= len(raw) && raw[i] == '\\' && raw[i+1] == 'u' {
					low = unit(raw[i:])
				}
				if r = utf16.DecodeRune(r, low); r != utf8.RuneError {
					i += 6
				}
			}
			b = utf8.AppendRune(b, r)
			continue
		default:
			b = append(b, c)
		}
		i += 2
	}
	return string(b)
}

func unit(b []byte) rune {
	n, _ := strconv.ParseUint(string(b[2:6]), 16, 16)
	return rune(n)
}

// number consumes the number that is next and returns its text.
func (d *decoder) number(c byte, want string) (string, error) {
	if c != '-' && (c < '0' || c > '9') {
		return "", wrong(c, want)
	}
	start := d.at
	if c == '-' {
		d.at++
	}
	if d.at < len(d.data) && d.data[d.at] == '0' {
		d.at++
	} else if !d.digits() {
		return "", errSyntax
	}
	if d.at < len(d.data) && d.data[d.at] == '.' {
		d.at++
		if !d.digits() {
			return "", errSyntax
		}
	}
	if d.at < len(d.data) && (d.data[d.at] == 'e' || d.data[d.at] == 'E') {
		d.at++
		if d.at < len(d.data) && (d.data[d.at] == '+' || d.data[d.at] == '-') {
			d.at++
		}
		if !d.digits() {
			return "", errSyntax
		}
	}
	return string(d.data[start:d.at]), nil
}

func (d *decoder) digits() bool {
	start := d.at
	for d.at < len(d.data) && d.data[d.at] >= '0' && d.data[d.at] <= '9' {
		d.at++
	}
	return d.at > start
}

// skip consumes the value that is next, checking that it is JSON.
func (d *decoder) skip() error {
	switch c := d.peek(); c {
	case '"':
		_, _, err := d.quoted()
		return err
	case '{':
		return d.object(func([]byte) error { return d.skip() })
	case '[':
		return d.array(func() error { return d.skip() })
	case 't':
		return d.literal("true")
	case 'f':
		return d.literal("false")
	case 'n':
		return d.literal("null")
	default:
		_, err := d.number(c, "")
		if err != nil {
			return errSyntax
		}
		return nil
	}
}

func (d *decoder) array(element func() error) error {
	if err := d.enter(); err != nil {
		return err
	}
	d.at++
	if d.next(']') {
		d.depth--
		return nil
	}
	for {
		if err := element(); err != nil {
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

// document reads any value into v, whose type is a free-form document.
func (d *decoder) document(t *shape.Type, v reflect.Value) error {
	value, err := d.any()
	if err != nil {
		return err
	}
	v.Set(t.NewDocument(value))
	return nil
}

func (d *decoder) any() (any, error) {
	switch c := d.peek(); c {
	case '"':
		raw, _, err := d.quoted()
		return unquote(raw), err
	case '{':
		m := map[string]any{}
		err := d.object(func(name []byte) error {
			key := string(name)
			value, err := d.any()
			m[key] = value
			return err
		})
		return m, err
	case '[':
		list := []any{}
		err := d.array(func() error {
			value, err := d.any()
			list = append(list, value)
			return err
		})
		return list, err
	case 't':
		return true, d.literal("true")
	case 'f':
		return false, d.literal("false")
	case 'n':
		return nil, d.literal("null")
	default:
		text, err := d.number(c, "")
		if err != nil {
			return nil, errSyntax
		}
		return smithydocument.Number(text), nil
	}
}
