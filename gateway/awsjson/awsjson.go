// Package awsjson is the codec of AWS JSON 1.1 over the SDK's own types.
//
// It promises: what Append writes, Decode reads back as the same value; a member is
// found whatever the case of its first letter and written in the service's case; keys of
// maps belong to users and are never renamed; members it does not know are skipped.
// What Decode stores shares no memory with its input, and its errors quote none of it.
package awsjson

import (
	"reflect"
	"strings"

	"github.com/malote/malote/gateway/shape"
)

// ContentType is that of requests and responses.
const ContentType = "application/x-amz-json-1.1"

// A Codec speaks one service's dialect. It has no state.
type Codec struct {
	// Lower writes members with a lower first letter: ECS and CloudWatch Logs do.
	Lower bool
}

// An Error says why a request is no JSON of its operation, in AWS's words. It is a
// SerializationException to the client.
type Error struct{ Text string }

func (e *Error) Error() string { return e.Text }

// Decode reads data, one JSON object, into the structure that into points to. Empty
// data means {}.
func (c Codec) Decode(data []byte, into any) error {
	v := reflect.ValueOf(into).Elem()
	t, err := shape.Of(v.Type())
	if err != nil {
		return err
	}
	d := decoder{data: data}
	d.space()
	if d.at == len(data) {
		return nil
	}
	if err := d.value(t, v); err != nil {
		return err
	}
	d.space()
	if d.at != len(data) {
		return errSyntax
	}
	return nil
}

// Append writes the structure v, or that which v points to, behind b.
func (c Codec) Append(b []byte, v any) ([]byte, error) {
	value := reflect.ValueOf(v)
	if value.Kind() == reflect.Pointer {
		value = value.Elem()
	}
	t, err := shape.Of(value.Type())
	if err != nil {
		return b, err
	}
	e := encoder{lower: c.Lower}
	b = e.value(b, t, value)
	return b, e.err
}

// AppendError writes an error behind b: its code, its text as the member that is called
// messageMember, unless it is "", and the other members of the exception that details
// is, if it is one of the SDK's.
func (c Codec) AppendError(b []byte, code, messageMember, text string, details any) ([]byte, error) {
	b = append(b, `{"__type":`...)
	b = appendString(b, code)
	if text != "" {
		b = append(b, ',', '"')
		b = append(b, messageMember...)
		b = append(b, '"', ':')
		b = appendString(b, text)
	}
	var err error
	if v := reflect.ValueOf(details); v.Kind() == reflect.Pointer && !v.IsNil() && fromSDK(v.Type().Elem()) {
		b, err = c.appendDetails(b, v.Elem())
	}
	return append(b, '}'), err
}

func (c Codec) appendDetails(b []byte, v reflect.Value) ([]byte, error) {
	t, err := shape.Of(v.Type())
	if err != nil {
		return b, err
	}
	e := encoder{lower: c.Lower}
	for i := range t.Fields {
		f := &t.Fields[i]
		member := v.Field(f.Index)
		if f.Name == "Message" || f.Type.Absent(member) {
			continue
		}
		b = append(b, ',')
		b = e.name(b, f)
		b = e.value(b, f.Type, member)
	}
	return b, e.err
}

func fromSDK(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && strings.HasPrefix(t.PkgPath(), "github.com/aws/aws-sdk-go-v2/service/")
}
