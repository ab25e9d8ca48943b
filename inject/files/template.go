package files

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/template"

	"github.com/malote/malote/internal/lazyregexp"
)

// functions are what a template has beside text/template's own.
var functions = template.FuncMap{
	"json":   toJSON,
	"base64": func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) },
	"index":  index,
}

// place is where in the template an error is. What follows it may hold data.
var place = lazyregexp.New(`^template: template:(\d+):(\d+): `)

// execute runs a template over the value: a JSON document decoded, the names below a path, or
// else text. Of text/template's errors it tells the place and what it knows not to be data.
func (c content) execute(text string) ([]byte, error) {
	t, err := parseTemplate(text)
	if err != nil {
		return nil, err
	}
	var data any
	if c.below != nil {
		names := map[string]any{}
		for name, v := range c.below {
			names[name] = v.Reveal()
		}
		data = names
	} else {
		data = decoded(c.value.Reveal())
	}
	var out bytes.Buffer
	err = t.Execute(&out, data)
	if err == nil {
		return out.Bytes(), nil
	}
	where := ""
	if at := place.FindStringSubmatch(err.Error()); at != nil {
		where = "line " + at[1] + ", column " + at[2] + ": "
	}
	object, isObject := data.(map[string]any)
	absent := errors.Is(err, errNoKey) || strings.Contains(err.Error(), "map has no entry for key")
	switch {
	case absent && isObject:
		return nil, errors.New(where + "the value has no such key; its keys are " + quoted(slices.Sorted(maps.Keys(object))))
	case !isObject && strings.Contains(err.Error(), "can't evaluate field"):
		return nil, errors.New(where + "the value has no keys: it is no JSON object")
	}
	return nil, errors.New(where + "the template cannot be executed with this value, whose text is left out here")
}

func quoted(keys []string) string {
	const most, longest = 30, 64
	var out []string
	for i, key := range keys {
		if i == most {
			out = append(out, fmt.Sprintf("%d more", len(keys)-most))
			break
		}
		if len(key) > longest {
			key = strings.ToValidUTF8(key[:longest], "") + "…"
		}
		out = append(out, strconv.Quote(key))
	}
	return strings.Join(out, ", ")
}

// decoded is a JSON object or list as Go has it, numbers as they are written, and any other text as it is.
func decoded(text string) any {
	if trimmed := strings.TrimLeft(text, " \t\r\n"); trimmed == "" || trimmed[0] != '{' && trimmed[0] != '[' {
		return text
	}
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	var data any
	if decoder.Decode(&data) != nil {
		return text
	}
	if _, err := decoder.Token(); err != io.EOF {
		return text
	}
	return withoutNull(data)
}

// withoutNull has "" for null, which a template would print as <no value>.
func withoutNull(data any) any {
	switch data := data.(type) {
	case nil:
		return ""
	case map[string]any:
		for key, v := range data {
			data[key] = withoutNull(v)
		}
	case []any:
		for i, v := range data {
			data[i] = withoutNull(v)
		}
	}
	return data
}

func toJSON(v any) (string, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return "", err
	}
	return strings.TrimSuffix(out.String(), "\n"), nil
}

var errNoKey = errors.New("no such key")

// index is text/template's, for keys that are no Go names, but for a key that is not there: that is an error.
func index(v any, keys ...any) (any, error) {
	for _, key := range keys {
		switch in := v.(type) {
		case map[string]any:
			name, ok := key.(string)
			if !ok {
				return nil, errors.New("the key of an object is a string")
			}
			if v, ok = in[name]; !ok {
				return nil, errNoKey
			}
		case []any:
			i, ok := key.(int)
			if !ok || i < 0 || i >= len(in) {
				return nil, errors.New("no such item")
			}
			v = in[i]
		default:
			return nil, errors.New("no object and no list")
		}
	}
	return v, nil
}
