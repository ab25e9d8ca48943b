package taskdef

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/ecs"
)

// maxFile is far above what Validate lets pass: a file may be indented.
const maxFile = 4 << 20

// readOnly are the members that describe-task-definition adds to what was registered.
var readOnly = []string{"taskDefinitionArn", "revision", "status", "requiresAttributes", "compatibilities",
	"registeredAt", "registeredBy", "deregisteredAt", "deleteRequestedAt"}

// Read reads a task definition as `aws ecs register-task-definition --cli-input-json`
// does, or as `aws ecs describe-task-definition` prints one, with or without its
// "taskDefinition" envelope. A null is an absent member, and what only ECS sets is
// passed over. An unknown member is an error that names its path.
func Read(r io.Reader) (*ecs.RegisterTaskDefinitionInput, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxFile {
		return nil, fmt.Errorf("task definition is larger than %d bytes", maxFile)
	}
	text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var value any
	if err := d.Decode(&value); err != nil {
		return nil, locate(text, d, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: data after the task definition", position(text, d.InputOffset()))
	}
	members, ok := value.(map[string]any)
	if !ok {
		return nil, errors.New("a task definition must be a JSON object")
	}
	if inner, ok := members["taskDefinition"].(map[string]any); ok {
		for name := range members {
			switch name {
			case "taskDefinition", "tags", "failures", "ResponseMetadata":
			default:
				return nil, fmt.Errorf("unknown parameter %q beside taskDefinition, must be: tags", name)
			}
		}
		unwrapped := map[string]any{}
		for name, v := range inner {
			unwrapped[name] = v
		}
		if tags, ok := members["tags"]; ok && unwrapped["tags"] == nil {
			unwrapped["tags"] = tags
		}
		members = unwrapped
	}
	for _, name := range readOnly {
		delete(members, name)
	}
	in := new(ecs.RegisterTaskDefinitionInput)
	if err := fill(reflect.ValueOf(in).Elem(), members, ""); err != nil {
		return nil, err
	}
	return in, nil
}

func locate(text []byte, d *json.Decoder, err error) error {
	syntax := new(json.SyntaxError)
	switch {
	case errors.As(err, &syntax):
		return fmt.Errorf("%s: %v", position(text, syntax.Offset), err)
	case errors.Is(err, io.EOF):
		return errors.New("task definition is empty")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%s: the JSON ends too early", position(text, int64(len(text))))
	}
	return err
}

func position(text []byte, offset int64) string {
	before := text[:min(int(offset), len(text))]
	line := bytes.Count(before, []byte("\n")) + 1
	column := len(before) - bytes.LastIndexByte(before, '\n')
	return fmt.Sprintf("line %d, column %d", line, column-1)
}

// fill sets dst, whose JSON path is at, from a decoded value that is not null.
func fill(dst reflect.Value, value any, at string) error {
	switch dst.Kind() {
	case reflect.Pointer:
		p := reflect.New(dst.Type().Elem())
		if err := fill(p.Elem(), value, at); err != nil {
			return err
		}
		dst.Set(p)
		return nil
	case reflect.Struct:
		return fillStruct(dst, value, at)
	case reflect.Slice:
		list, ok := value.([]any)
		if !ok {
			return wrongType(at, value, "a list")
		}
		s := reflect.MakeSlice(dst.Type(), len(list), len(list))
		for i, v := range list {
			path := at + "[" + strconv.Itoa(i) + "]"
			if v == nil {
				return wrongType(path, v, kindName(s.Index(i).Type()))
			}
			if err := fill(s.Index(i), v, path); err != nil {
				return err
			}
		}
		dst.Set(s)
		return nil
	case reflect.Map:
		members, ok := value.(map[string]any)
		if !ok {
			return wrongType(at, value, "an object")
		}
		m := reflect.MakeMapWithSize(dst.Type(), len(members))
		for _, name := range sorted(members) {
			path := at + "." + name
			v := reflect.New(dst.Type().Elem()).Elem()
			if members[name] == nil {
				return wrongType(path, nil, kindName(v.Type()))
			}
			if err := fill(v, members[name], path); err != nil {
				return err
			}
			m.SetMapIndex(reflect.ValueOf(name), v)
		}
		dst.Set(m)
		return nil
	case reflect.String:
		s, ok := value.(string)
		if !ok {
			return wrongType(at, value, "a string")
		}
		if values := enumValues(dst); values != nil && !slices.Contains(values, s) {
			return fmt.Errorf("invalid value %q for parameter %s, must be one of: %s", s, at, strings.Join(values, ", "))
		}
		dst.SetString(s)
		return nil
	case reflect.Bool:
		b, ok := value.(bool)
		if !ok {
			return wrongType(at, value, "true or false")
		}
		dst.SetBool(b)
		return nil
	case reflect.Int32, reflect.Int64:
		n, ok := integer(value)
		if !ok || dst.OverflowInt(n) {
			return wrongType(at, value, "an integer")
		}
		dst.SetInt(n)
		return nil
	}
	return fmt.Errorf("parameter %s: no reader for %s", at, dst.Type())
}

func fillStruct(dst reflect.Value, value any, at string) error {
	members, ok := value.(map[string]any)
	if !ok {
		return wrongType(at, value, "an object")
	}
	fields := map[string]int{}
	var names []string
	for i := range dst.NumField() {
		if f := dst.Type().Field(i); f.IsExported() && !f.Anonymous {
			name := strings.ToLower(f.Name[:1]) + f.Name[1:]
			fields[name] = i
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range sorted(members) {
		i, ok := fields[name]
		if !ok {
			where := ""
			if at != "" {
				where = " in " + at
			}
			return fmt.Errorf("unknown parameter%s: %q, must be one of: %s", where, name, strings.Join(names, ", "))
		}
		if members[name] == nil {
			continue
		}
		path := name
		if at != "" {
			path = at + "." + name
		}
		if err := fill(dst.Field(i), members[name], path); err != nil {
			return err
		}
	}
	return nil
}

// enumValues are what an enum of the SDK may be; nil for a plain string.
func enumValues(v reflect.Value) []string {
	method := v.MethodByName("Values")
	if !method.IsValid() {
		return nil
	}
	all := method.Call(nil)[0]
	var values []string
	for i := range all.Len() {
		values = append(values, all.Index(i).String())
	}
	return values
}

// integer accepts 1 and 1.0, as a JSON writer without integers prints it.
func integer(value any) (int64, bool) {
	number, ok := value.(json.Number)
	if !ok {
		return 0, false
	}
	if n, err := number.Int64(); err == nil {
		return n, true
	}
	f, err := number.Float64()
	if err != nil || f != math.Trunc(f) || math.Abs(f) > 1<<53 {
		return 0, false
	}
	return int64(f), true
}

// wrongType names the JSON type that was found, never the value: a definition's
// environment may hold something private.
func wrongType(at string, value any, want string) error {
	got := "null"
	switch value.(type) {
	case string:
		got = "a string"
	case bool:
		got = "a boolean"
	case json.Number:
		got = "a number"
	case []any:
		got = "a list"
	case map[string]any:
		got = "an object"
	}
	if got == want {
		return fmt.Errorf("invalid value for parameter %s", at)
	}
	return fmt.Errorf("invalid type for parameter %s: got %s, want %s", at, got, want)
}

func kindName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Pointer:
		return kindName(t.Elem())
	case reflect.Struct, reflect.Map:
		return "an object"
	case reflect.Slice:
		return "a list"
	case reflect.Bool:
		return "true or false"
	case reflect.Int32, reflect.Int64:
		return "an integer"
	}
	return "a string"
}

func sorted(members map[string]any) []string {
	names := make([]string, 0, len(members))
	for name := range members {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
