package files

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/malote/malote/inject"
)

// format renders a content. An error names fields and keys.
func (f File) format(c content) ([]byte, error) {
	fail := func(field string, err error) ([]byte, error) { return nil, &fieldError{f.Name, field, err} }
	name := f.formatName()
	if name == "template" {
		out, err := c.execute(f.Template)
		if err != nil {
			return fail("template", err)
		}
		return out, nil
	}
	if name == "raw" {
		if c.below != nil {
			return fail("format", errors.New("raw is for one value, and a path has many: use json, dotenv, properties or template"))
		}
		return []byte(c.value.Reveal()), nil
	}
	if name == "json" && c.below == nil {
		// As it is written, to the order of its keys and the digits of its numbers.
		if _, err := c.keys(); err != nil {
			return fail("format", err)
		}
		var out bytes.Buffer
		if err := json.Indent(&out, []byte(strings.TrimSpace(c.value.Reveal())), "", "  "); err != nil {
			return fail("format", errors.New("it is not JSON"))
		}
		return append(out.Bytes(), '\n'), nil
	}
	keys, err := c.keys()
	if err != nil {
		return fail("format", err)
	}
	write := map[string]func(map[string]string) ([]byte, error){"json": indented, "dotenv": Dotenv, "properties": Properties}[name]
	out, err := write(keys)
	if err != nil {
		return fail("format", err)
	}
	return out, nil
}

// keys are the keys of a JSON object or the names below a path, as text.
func (c content) keys() (map[string]string, error) {
	values := c.below
	if values == nil {
		var err error
		if values, err = inject.Object(c.ref, c.value); err != nil {
			if wrong := (*inject.Error)(nil); errors.As(err, &wrong) && strings.Contains(wrong.Err.Error(), "cannot be decoded") {
				return nil, wrong.Err
			}
			return nil, errors.New("it wants a JSON object, whose keys it writes, or a path of parameters; the value is neither")
		}
	}
	keys := make(map[string]string, len(values))
	for name, v := range values {
		keys[name] = v.Reveal()
	}
	return keys, nil
}

func indented(keys map[string]string) ([]byte, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	err := encoder.Encode(keys)
	return out.Bytes(), err
}

// Dotenv writes NAME=VALUE lines, as malote secret import and shells read them. The / . and - of a
// key are _ in a name. A value is in single quotes when it can be, since in those nothing has a
// meaning; else in double quotes, with a \ before whatever a shell would act on.
func Dotenv(keys map[string]string) ([]byte, error) {
	var out bytes.Buffer
	owner := map[string]string{}
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		name := strings.NewReplacer("/", "_", ".", "_", "-", "_").Replace(key)
		value := keys[key]
		switch other, taken := owner[name]; {
		case !variableName(name):
			return nil, fmt.Errorf("the key %q cannot be the name of a variable: it has letters, digits and _, / . - which become _, and no digit in front", key)
		case taken:
			return nil, fmt.Errorf("the keys %q and %q would both be the variable %s", other, key, name)
		case strings.IndexByte(value, 0) >= 0 || !utf8.ValidString(value):
			return nil, fmt.Errorf("the value of %q is not text, and an environment holds nothing else", key)
		}
		owner[name] = key
		if strings.Contains(value, "'") {
			value = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, `$`, `\$`, "`", "\\`").Replace(value) + `"`
		} else {
			value = "'" + value + "'"
		}
		fmt.Fprintf(&out, "%s=%s\n", name, value)
	}
	return out.Bytes(), nil
}

func variableName(name string) bool {
	for i, c := range []byte(name) {
		letter := c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return name != ""
}

// Properties writes what java.util.Properties.load reads, in any encoding: what is not ASCII is escaped.
func Properties(keys map[string]string) ([]byte, error) {
	var out bytes.Buffer
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		if !utf8.ValidString(key) || !utf8.ValidString(keys[key]) {
			return nil, fmt.Errorf("the value of %q is not text, and properties hold nothing else", key)
		}
		property(&out, key, true)
		out.WriteByte('=')
		property(&out, keys[key], false)
		out.WriteByte('\n')
	}
	return out.Bytes(), nil
}

func property(out *bytes.Buffer, text string, key bool) {
	for i, c := range text {
		switch {
		case c == '\\':
			out.WriteString(`\\`)
		case c == '\n':
			out.WriteString(`\n`)
		case c == '\r':
			out.WriteString(`\r`)
		case c == '\t':
			out.WriteString(`\t`)
		case c == '\f':
			out.WriteString(`\f`)
		case c == ' ' && (key || i == 0), key && strings.ContainsRune("=:#!", c):
			out.WriteByte('\\')
			out.WriteRune(c)
		case c >= ' ' && c < 0x7f:
			out.WriteRune(c)
		default:
			for _, unit := range utf16.Encode([]rune{c}) {
				fmt.Fprintf(out, `\u%04X`, unit)
			}
		}
	}
}
