package restxml

import (
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/malote/malote/gateway/awsquery"
	"github.com/malote/malote/gateway/shape"
)

// ContentType is that of bodies in XML.
const ContentType = "application/xml"

// Answer is what goes out.
type Answer struct {
	Status int
	Body   []byte        // of XML, or of a policy
	Stream io.ReadCloser // instead of Body; the caller closes it
}

// Encode writes an output, nil for an operation that has none, into headers and the answer,
// whose body is appended to b.
func (c *Codec) Encode(b []byte, out any, h http.Header) (Answer, error) {
	answer := Answer{Status: c.status, Body: b}
	if c.out == nil {
		return answer, nil
	}
	v := reflect.ValueOf(out).Elem()
	for i := range c.out.bound {
		m := &c.out.bound[i]
		m.encodeBound(v.Field(m.field.Index), h)
	}
	if h.Get("Content-Range") != "" {
		answer.Status = http.StatusPartialContent
	}
	var err error
	switch m := c.out.payload; {
	case m != nil && m.field.Type.Kind == shape.Stream:
		answer.Stream, _ = v.Field(m.field.Index).Interface().(io.ReadCloser)
	case m != nil && m.field.Type.Kind == shape.Struct:
		h.Set("Content-Type", ContentType)
		answer.Body = append(answer.Body, header...)
		answer.Body, err = m.element.appendRoot(answer.Body, m.wire(), c.namespace, v.Field(m.field.Index))
	case m != nil:
		h.Set("Content-Type", "application/json")
		answer.Body = append(answer.Body, reflect.Indirect(v.Field(m.field.Index)).String()...)
	case c.out.root == "LocationConstraint":
		// Its text is that of its one member.
		h.Set("Content-Type", ContentType)
		answer.Body = append(answer.Body, header+`<LocationConstraint xmlns="`+c.namespace+`">`...)
		answer.Body = awsquery.AppendText(answer.Body, v.Field(c.out.element.fields[0].field.Index).String())
		answer.Body = append(answer.Body, "</LocationConstraint>"...)
	case c.out.root != "":
		h.Set("Content-Type", ContentType)
		answer.Body = append(answer.Body, header...)
		answer.Body, err = c.out.element.appendRoot(answer.Body, c.out.root, c.namespace, v)
	}
	return answer, err
}

const header = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"

func (m *member) encodeBound(v reflect.Value, h http.Header) {
	if m.field.Type.Absent(v) {
		return
	}
	switch m.binding.Location {
	case "headers":
		for _, name := range v.MapKeys() {
			h[m.binding.Name+name.String()] = []string{v.MapIndex(name).String()} // clients take the name as it comes: in lower case
		}
	case "header":
		if m.field.Type.Kind == shape.List {
			var items []string
			for i := range v.Len() {
				items = append(items, v.Index(i).String())
			}
			h.Set(m.binding.Name, strings.Join(items, ","))
			return
		}
		format := m.binding.TimestampFormat
		if format == "" {
			format = timeRFC822
		}
		h.Set(m.binding.Name, scalar(m.field.Type, reflect.Indirect(v), format))
	}
}

func (e *element) appendRoot(b []byte, name, namespace string, v reflect.Value) ([]byte, error) {
	b = append(b, '<')
	b = append(b, name...)
	b = append(b, ` xmlns="`...)
	b = append(b, namespace...)
	b = append(b, `">`...)
	if e.typ.Ptr && v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	b, err := e.appendMembers(b, v)
	b = append(b, "</"...)
	b = append(b, name...)
	return append(b, '>'), err
}

func (e *element) appendMembers(b []byte, v reflect.Value) ([]byte, error) {
	if !v.IsValid() {
		return b, nil
	}
	var err error
	for i := range e.fields {
		f := &e.fields[i]
		member := v.Field(f.field.Index)
		if f.binding.XMLAttribute || f.field.Type.Absent(member) {
			continue
		}
		if f.element.typ.Kind == shape.List && f.element.flat {
			for j := range member.Len() {
				if b, err = f.element.elem.append(b, f.wire(), member.Index(j)); err != nil {
					return b, err
				}
			}
			continue
		}
		if b, err = f.element.append(b, f.wire(), member); err != nil {
			return b, err
		}
	}
	return b, nil
}

func (e *element) append(b []byte, name string, v reflect.Value) ([]byte, error) {
	if e.typ.Ptr {
		v = v.Elem()
	}
	b = append(b, '<')
	b = append(b, name...)
	for i := range e.fields {
		if f := &e.fields[i]; f.binding.XMLAttribute {
			b = append(b, ` xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" `...)
			b = append(b, f.binding.Name...)
			b = append(b, `="`...)
			b = awsquery.AppendText(b, v.Field(f.field.Index).String())
			b = append(b, '"')
		}
	}
	b = append(b, '>')
	var err error
	switch e.typ.Kind {
	case shape.Struct:
		b, err = e.appendMembers(b, v)
	case shape.List:
		for i := range v.Len() {
			if b, err = e.elem.append(b, e.elemName, v.Index(i)); err != nil {
				break
			}
		}
	case shape.String:
		b = awsquery.AppendText(b, v.String())
	case shape.Int, shape.Bool, shape.Time, shape.Float, shape.Blob:
		b = append(b, scalar(e.typ, v, e.time)...)
	default:
		err = fmt.Errorf("%s cannot be written in XML", e.typ.Go)
	}
	b = append(b, "</"...)
	b = append(b, name...)
	return append(b, '>'), err
}

// scalar is the text of a value, which is no pointer.
func scalar(t *shape.Type, v reflect.Value, format string) string {
	switch t.Kind {
	case shape.Int:
		return strconv.FormatInt(v.Int(), 10)
	case shape.Bool:
		return strconv.FormatBool(v.Bool())
	case shape.Time:
		when := v.Interface().(time.Time).UTC()
		if format == timeRFC822 {
			return when.Format(http.TimeFormat)
		}
		return when.Format(inBody)
	case shape.String:
		return v.String()
	}
	return fmt.Sprint(v.Interface())
}

// AppendError writes the body of an error. Elements are what stands between message and
// request id.
func AppendError(b []byte, code, message string, elements [][2]string, requestID, hostID string) []byte {
	b = append(b, header+"<Error>"...)
	for _, element := range append(append([][2]string{{"Code", code}, {"Message", message}}, elements...), [2]string{"RequestId", requestID}, [2]string{"HostId", hostID}) {
		b = append(b, '<')
		b = append(b, element[0]...)
		b = append(b, '>')
		b = awsquery.AppendText(b, element[1])
		b = append(b, "</"...)
		b = append(b, element[0]...)
		b = append(b, '>')
	}
	return append(b, "</Error>"...)
}
