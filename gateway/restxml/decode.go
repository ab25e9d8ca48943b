package restxml

import (
	"bytes"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"strconv"
	"strings"

	"github.com/malote/malote/gateway/shape"
)

// An Error is of a request that cannot be read.
type Error struct {
	Code     string // S3's
	Text     string
	Argument string // name of the header or parameter, of an InvalidArgument
	Value    string
}

func (e *Error) Error() string { return e.Code + ": " + e.Text }

var malformedXML = &Error{Code: "MalformedXML", Text: "The XML you provided was not well-formed or did not validate against our published schema"}

// Streams reports whether the request's body is content, which Decode leaves unread.
func (c *Codec) Streams() bool {
	return c.in != nil && c.in.payload != nil && c.in.payload.field.Type.Kind == shape.Stream
}

// Decode fills in, a pointer to the operation's input. The body is the whole of it, or,
// when the operation streams, what its content is read from.
func (c *Codec) Decode(in any, r *http.Request, t Target, query url.Values, body []byte, content io.ReadCloser) error {
	if c.in == nil {
		return nil
	}
	v := reflect.ValueOf(in).Elem()
	for i := range c.in.bound {
		m := &c.in.bound[i]
		if err := m.decodeBound(v, r, t, query); err != nil {
			return err
		}
	}
	switch m := c.in.payload; {
	case m == nil:
		return nil
	case m.field.Type.Kind == shape.Stream:
		v.Field(m.field.Index).Set(reflect.ValueOf(content))
		return nil
	case m.field.Type.Kind != shape.Struct:
		text := string(body)
		if m.field.Type.Ptr {
			v.Field(m.field.Index).Set(reflect.ValueOf(&text))
		} else {
			v.Field(m.field.Index).SetString(text)
		}
		return nil
	case len(bytes.TrimSpace(body)) == 0:
		if m.required {
			return malformedXML
		}
		return nil
	default:
		return decodeXML(body, m, v.Field(m.field.Index))
	}
}

func (m *member) decodeBound(v reflect.Value, r *http.Request, t Target, query url.Values) error {
	field := v.Field(m.field.Index)
	switch m.binding.Location {
	case "uri":
		value := t.Key
		if m.binding.Name == "Bucket" {
			value = t.Bucket
		}
		field.Set(reflect.ValueOf(&value))
		return nil
	case "headers":
		found := map[string]string{}
		for name, values := range r.Header {
			if rest, ok := strings.CutPrefix(strings.ToLower(name), m.binding.Name); ok && rest != "" {
				found[rest] = strings.Join(values, ",")
			}
		}
		if len(found) > 0 {
			field.Set(reflect.ValueOf(found))
		}
		return nil
	case "querystring":
		values, ok := query[m.binding.Name]
		if !ok {
			return nil
		}
		return m.set(field, values[0], "")
	case "header":
		values := r.Header.Values(m.binding.Name)
		if len(values) == 0 {
			return nil
		}
		return m.set(field, strings.Join(values, ","), timeRFC822)
	}
	return fmt.Errorf("a member %s in %q", m.name, m.binding.Location)
}

func (m *member) set(field reflect.Value, text, format string) error {
	if m.binding.TimestampFormat != "" {
		format = m.binding.TimestampFormat
	}
	if m.field.Type.Kind == shape.List {
		for item := range strings.SplitSeq(text, ",") {
			field.Set(reflect.Append(field, reflect.ValueOf(strings.TrimSpace(item)).Convert(m.field.Type.Elem.Go)))
		}
		return nil
	}
	if !setScalar(m.field.Type, field, text, format) {
		if m.field.Type.Kind == shape.Time {
			return nil // as S3 does with conditions on times that cannot be read
		}
		return &Error{Code: "InvalidArgument", Text: fmt.Sprintf("Provided %s not an integer or within integer range", m.binding.Name), Argument: m.binding.Name, Value: text}
	}
	return nil
}

// setScalar sets a value that is no structure, list or map. It is false for a text that is
// no such value.
func setScalar(t *shape.Type, v reflect.Value, text, format string) bool {
	value := reflect.New(t.Go).Elem()
	switch t.Kind {
	case shape.String:
		value.SetString(text)
	case shape.Int:
		n, err := strconv.ParseInt(strings.TrimSpace(text), 10, t.Go.Bits())
		if err != nil {
			return false
		}
		value.SetInt(n)
	case shape.Bool:
		b, err := strconv.ParseBool(strings.ToLower(strings.TrimSpace(text)))
		if err != nil {
			return false
		}
		value.SetBool(b)
	case shape.Time:
		when, ok := parseTime(text, format)
		if !ok {
			return false
		}
		value.Set(reflect.ValueOf(when))
	case shape.Blob:
		b, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
		if err != nil {
			return false
		}
		value.SetBytes(b)
	default:
		return false
	}
	if t.Ptr {
		p := reflect.New(t.Go)
		p.Elem().Set(value)
		value = p
	}
	v.Set(value)
	return true
}

// maxDepth is how deep elements may lie in one another.
const maxDepth = 32

// decodeXML reads a body whose root is the payload member.
func decodeXML(body []byte, m *member, v reflect.Value) error {
	d := xml.NewDecoder(bytes.NewReader(body))
	d.CharsetReader = func(charset string, input io.Reader) (io.Reader, error) {
		if strings.EqualFold(charset, "utf-8") || strings.EqualFold(charset, "us-ascii") {
			return input, nil
		}
		return nil, errors.New("not UTF-8")
	}
	for {
		token, err := d.Token()
		if err != nil {
			return malformedXML
		}
		start, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		if start.Name.Local != m.wire() && start.Name.Local != m.element.name {
			return malformedXML
		}
		if err := m.element.decode(d, start, v, 0); err != nil {
			return malformedXML
		}
		for { // nothing but space and comments may follow
			token, err := d.Token()
			if err == io.EOF {
				return nil
			}
			if text, ok := token.(xml.CharData); err != nil || ok && len(bytes.TrimSpace(text)) > 0 {
				return malformedXML
			}
			if _, ok := token.(xml.StartElement); ok {
				return malformedXML
			}
		}
	}
}

// decode reads the element that has begun with start.
func (e *element) decode(d *xml.Decoder, start xml.StartElement, v reflect.Value, depth int) error {
	if depth > maxDepth {
		return malformedXML
	}
	switch e.typ.Kind {
	case shape.Struct:
		if e.typ.Ptr {
			if v.IsNil() {
				v.Set(reflect.New(e.typ.Go))
			}
			v = v.Elem()
		}
		for _, attribute := range start.Attr {
			for i := range e.fields {
				if f := &e.fields[i]; f.binding.XMLAttribute && strings.HasSuffix(f.binding.Name, ":"+attribute.Name.Local) {
					setScalar(f.field.Type, v.Field(f.field.Index), attribute.Value, "")
				}
			}
		}
		return e.decodeMembers(d, v, depth)
	case shape.List:
		return e.decodeList(d, start, v, depth)
	default:
		text, err := characters(d)
		if err != nil {
			return err
		}
		if !setScalar(e.typ, v, text, e.time) {
			return malformedXML
		}
		return nil
	}
}

func (e *element) decodeMembers(d *xml.Decoder, v reflect.Value, depth int) error {
	for {
		token, err := d.Token()
		if err != nil {
			return err
		}
		switch token := token.(type) {
		case xml.EndElement:
			return nil
		case xml.StartElement:
			i, ok := e.byWire[token.Name.Local]
			if !ok || e.fields[i].binding.XMLAttribute {
				return malformedXML
			}
			f := &e.fields[i]
			field := v.Field(f.field.Index)
			if f.element.typ.Kind == shape.List && f.element.flat {
				if err := f.element.decodeItem(d, token, field, depth+1); err != nil {
					return err
				}
				continue
			}
			if !field.IsZero() {
				return malformedXML // twice
			}
			if err := f.element.decode(d, token, field, depth+1); err != nil {
				return err
			}
		case xml.CharData:
			if len(bytes.TrimSpace(token)) > 0 {
				return malformedXML
			}
		}
	}
}

func (e *element) decodeList(d *xml.Decoder, start xml.StartElement, v reflect.Value, depth int) error {
	if v.IsNil() {
		v.Set(reflect.MakeSlice(e.typ.Go, 0, 0))
	}
	for {
		token, err := d.Token()
		if err != nil {
			return err
		}
		switch token := token.(type) {
		case xml.EndElement:
			return nil
		case xml.StartElement:
			if token.Name.Local != e.elemName {
				return malformedXML
			}
			if err := e.decodeItem(d, token, v, depth+1); err != nil {
				return err
			}
		case xml.CharData:
			if len(bytes.TrimSpace(token)) > 0 {
				return malformedXML
			}
		}
	}
}

func (e *element) decodeItem(d *xml.Decoder, start xml.StartElement, list reflect.Value, depth int) error {
	item := reflect.New(e.typ.Go.Elem()).Elem()
	if err := e.elem.decode(d, start, item, depth); err != nil {
		return err
	}
	list.Set(reflect.Append(list, item))
	return nil
}

// characters is the text of an element that has no other in it.
func characters(d *xml.Decoder) (string, error) {
	var b strings.Builder
	for {
		token, err := d.Token()
		if err != nil {
			return "", err
		}
		switch token := token.(type) {
		case xml.EndElement:
			return b.String(), nil
		case xml.CharData:
			b.Write(token)
		case xml.StartElement:
			return "", malformedXML
		}
	}
}
