package awsquery

import (
	"fmt"
	"net/url"
	"reflect"
	"strconv"

	"github.com/malote/malote/gateway/shape"
)

// appendForm writes in, an operation's input, as a client does, behind b.
func appendForm(b []byte, operation, version string, in any) ([]byte, error) {
	b = append(b, "Action="...)
	b = append(b, url.QueryEscape(operation)...)
	b = append(b, "&Version="...)
	b = append(b, url.QueryEscape(version)...)
	v := reflect.Indirect(reflect.ValueOf(in))
	t, err := shape.Of(v.Type())
	if err != nil {
		return b, err
	}
	return appendParameters(b, "", t, v)
}

func appendParameters(b []byte, name string, t *shape.Type, v reflect.Value) ([]byte, error) {
	if t.Ptr {
		v = v.Elem()
	}
	var err error
	switch t.Kind {
	case shape.Struct:
		for i := range t.Fields {
			f := &t.Fields[i]
			if member := v.Field(f.Index); !f.Type.Absent(member) {
				if b, err = appendParameters(b, dotted(name, f.Name), f.Type, member); err != nil {
					return b, err
				}
			}
		}
		return b, nil
	case shape.Union:
		f, held, ok := t.Variant(v)
		if !ok {
			return b, fmt.Errorf("%s holds no variant of it", t.Go)
		}
		return appendParameters(b, dotted(name, f.Name), f.Type, held)
	case shape.List:
		if v.Len() == 0 {
			return appendParameter(b, name, ""), nil
		}
		for i := range v.Len() {
			if b, err = appendParameters(b, name+".member."+strconv.Itoa(i+1), t.Elem, v.Index(i)); err != nil {
				return b, err
			}
		}
		return b, nil
	case shape.Map:
		if v.Len() == 0 {
			return appendParameter(b, name, ""), nil
		}
		for i, key := range sortedKeys(v) {
			entry := name + ".entry." + strconv.Itoa(i+1)
			b = appendParameter(b, entry+".key", key.String())
			if b, err = appendParameters(b, entry+".value", t.Elem, v.MapIndex(key)); err != nil {
				return b, err
			}
		}
		return b, nil
	case shape.Document:
		return b, fmt.Errorf("%s cannot be written in a form", t.Go)
	case shape.String:
		return appendParameter(b, name, v.String()), nil
	}
	return appendParameter(b, name, scalar(t, v)), nil
}

func appendParameter(b []byte, name, value string) []byte {
	b = append(b, '&')
	b = append(b, url.QueryEscape(name)...)
	b = append(b, '=')
	return append(b, url.QueryEscape(value)...)
}

func dotted(name, member string) string {
	if name == "" {
		return member
	}
	return name + "." + member
}
