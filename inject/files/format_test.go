package files

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/malote/malote/inject"
)

func of(text string) content {
	return content{ref: inject.Ref{ValueFrom: "x", ID: "x"}, value: inject.NewValue(text, "arn", "1")}
}

func below(values map[string]string) content {
	c := content{below: map[string]inject.Value{}}
	for name, text := range values {
		c.below[name] = inject.NewValue(text, "arn", "1")
	}
	return c
}

func TestFormats(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		file File
		in   content
		want string
	}{
		{"raw", File{}, of("a\x00\xff\n"), "a\x00\xff\n"},
		{"json keeps what is written", File{Format: "json"}, of(`{"b":1e6,"a":{"x":[1]}}`), "{\n  \"b\": 1e6,\n  \"a\": {\n    \"x\": [\n      1\n    ]\n  }\n}\n"},
		{"json of a path", File{Format: "json"}, below(map[string]string{"db/user": "<a>", "b": "2"}), "{\n  \"b\": \"2\",\n  \"db/user\": \"<a>\"\n}\n"},
		{"dotenv", File{Format: "dotenv"}, of(`{"B":"it's $5\n","a-b":"plain","n":1e6,"o":{"x": 1},"t":true}`), "B=\"it's \\$5\n\"\na_b='plain'\nn='1e6'\no='{\"x\": 1}'\nt='true'\n"},
		{"dotenv of a path", File{Format: "dotenv"}, below(map[string]string{"db/user": "u"}), "db_user='u'\n"},
		{"properties", File{Format: "properties"}, of(`{"a b:c=d#":" x y","ü":"€𝄞\t\\","e":""}`), `a\ b\:c\=d\#=\ x y` + "\ne=\n" + `\u00FC=\u20AC\uD834\uDD1E\t\\` + "\n"},
		{"template", File{Template: `{{.user}}:{{.n}}@{{index . "a-b"}}{{range .l}},{{.}}{{end}}{{.z}}`}, of(`{"user":"u","n":1e6,"a-b":"c","l":[1,2],"z":null}`), "u:1e6@c,1,2"},
		{"template of text", File{Template: `<{{.}}>`}, of("{text"), "<{text>"},
		{"template of a path", File{Template: `{{index . "db/user"}}`}, below(map[string]string{"db/user": "u"}), "u"},
		{"template's functions", File{Template: `{{json .a}} {{base64 .a}}`}, of(`{"a":"\"<"}`), `"\"<" Ijw=`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := tt.file.format(tt.in)
			if err != nil || string(got) != tt.want {
				t.Errorf("got %q, %v, want %q", got, err, tt.want)
			}
		})
	}
}

// No value is in an error, whoever made it.
func TestWhatCannotBeRendered(t *testing.T) {
	t.Parallel()
	const value = "canary-value"
	for _, tt := range []struct {
		name string
		file File
		in   content
		want string
	}{
		{"json of text", File{Format: "json"}, of(value), "f: format: it wants a JSON object"},
		{"dotenv of a list", File{Format: "dotenv"}, of(`["` + value + `"]`), "f: format: it wants a JSON object"},
		{"properties of text", File{Format: "properties"}, of(value), "f: format: it wants a JSON object"},
		{"raw of a path", File{}, below(map[string]string{"a": value}), "f: format: raw is for one value"},
		{"a name that is none", File{Format: "dotenv"}, of(`{"1a":"` + value + `"}`), `the key "1a" cannot be`},
		{"two keys, one name", File{Format: "dotenv"}, of(`{"a-b":"` + value + `","a.b":"1"}`), `"a-b" and "a.b" would both be the variable a_b`},
		{"a NUL", File{Format: "dotenv"}, of(`{"a":"` + value + `\u0000"}`), `the value of "a" is not text`},
		{"a key that is not there", File{Template: "{{.user}}\n{{.pass}}"}, of(`{"user":"` + value + `","password":"x"}`), `f: template: line 2, column 2: the value has no such key; its keys are "password", "user"`},
		{"an index that is not there", File{Template: `{{index . "pass"}}`}, of(`{"password":"` + value + `"}`), "no such key"},
		{"a field of text", File{Template: "{{.user}}"}, of(value), "the value has no keys"},
		{"a function that quotes its argument", File{Template: `{{slice . 99}}`}, of(value), "line 1, column 2: the template cannot be executed"},
		{"a list indexed by a value", File{Template: `{{index .l .k}}`}, of(`{"l":[1],"k":"` + value + `"}`), "cannot be executed"},
		{"a comparison", File{Template: `{{lt .k .l}}`}, of(`{"l":[1],"k":"` + value + `"}`), "cannot be executed"},
		{"a method of a value", File{Template: `{{.k.x}}`}, of(`{"k":"` + value + `"}`), "cannot be executed"},
		{"a call of a value", File{Template: `{{call .k}}`}, of(`{"k":"` + value + `"}`), "cannot be executed"},
		{"a template by the name of a value", File{Template: `{{template "x" .}}`}, of(value), "cannot be executed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.file.Name = "f"
			got, err := tt.file.format(tt.in)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %q, %v, want %q", got, err, tt.want)
			}
			if strings.Contains(err.Error(), value) {
				t.Errorf("the value is in the error %v", err)
			}
		})
	}
}

// An error of a template never has a value, for any template.
func FuzzTemplate(f *testing.F) {
	for _, seed := range []string{`{{.k}}`, `{{index .l .k}}`, `{{slice .k 1 99}}`, `{{printf "%d" .k}}`, `{{.k.x}}`, `{{eq .k .l}}`, `{{len .n}}`, `{{call .k 1}}`, `{{.k | json | base64 | index .l}}`, `{{with $x := .k}}{{$x.y}}{{end}}`} {
		f.Add(seed)
	}
	const value = "canary-value"
	in := of(`{"k":"` + value + `","l":["` + value + `"],"n":5,"o":{"` + "p" + `":"` + value + `"}}`)
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "range") { // may take for ever, which is the author's wish
			return
		}
		if _, err := in.execute(text); err != nil && strings.Contains(err.Error(), value) && !strings.Contains(text, value) {
			t.Fatalf("%q: the value is in the error %v", text, err)
		}
	})
}

// load is java.util.Properties.load, as its documentation describes it.
func load(text string) map[string]string {
	out := map[string]string{}
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		var parts [2][]uint16
		part, started := 0, false
		for i := 0; i < len(line); i++ {
			c := line[i]
			if c == '\\' {
				i++
				unit := uint16(line[i])
				switch line[i] {
				case 'n':
					unit = '\n'
				case 'r':
					unit = '\r'
				case 't':
					unit = '\t'
				case 'f':
					unit = '\f'
				case 'u':
					n, _ := strconv.ParseUint(line[i+1:i+5], 16, 16)
					unit = uint16(n)
					i += 4
				}
				parts[part] = append(parts[part], unit)
				started = true
				continue
			}
			blank := c == ' ' || c == '\t' || c == '\f'
			switch {
			case part == 0 && (c == '=' || c == ':' || blank):
				part, started = 1, false
			case part == 1 && blank && !started:
			default:
				parts[part] = append(parts[part], uint16(c))
				started = true
			}
		}
		out[string(utf16.Decode(parts[0]))] = string(utf16.Decode(parts[1]))
	}
	return out
}

// What a shell makes of a line is the value, and it runs nothing.
func FuzzDotenv(f *testing.F) {
	for _, seed := range []string{"", "a b", "it's", `"`, "it's `touch x` $(touch x) $HOME", "a\nb", "'\"\\\n\r$`'", "#", "é\t!~", `it's \n`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		line, err := Dotenv(map[string]string{"X": value})
		if text := utf8.ValidString(value) && !strings.Contains(value, "\x00"); text != (err == nil) {
			t.Fatalf("Dotenv(%q) = %v", value, err)
		}
		if err != nil {
			return
		}
		script := filepath.Join(t.TempDir(), "x.env")
		if err := os.WriteFile(script, line, 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := exec.CommandContext(t.Context(), "sh", "-c", `. "$0" && printf %s "$X"`, script).Output()
		if err != nil || string(got) != value {
			t.Fatalf("Dotenv(%q) = %q, which is %q to a shell, %v", value, line, got, err)
		}
	})
}

func FuzzProperties(f *testing.F) {
	f.Add("key", "value")
	f.Add(" a:b=c#d!", "  \t\f\r\n\\ =:")
	f.Add("ü𝄞", "\x00\x7f\u2028\U0010ffff")
	f.Add("", "")
	f.Fuzz(func(t *testing.T, key, value string) {
		in := map[string]string{key: value}
		out, err := Properties(in)
		if err != nil {
			if utf8.ValidString(key) && utf8.ValidString(value) {
				t.Fatal(err)
			}
			return
		}
		if got := load(string(out)); !maps.Equal(got, in) {
			t.Fatalf("Properties(%q) = %q, which is %q", in, out, got)
		}
	})
}

func TestParseSpec(t *testing.T) {
	t.Parallel()
	full := File{ValueFrom: "/a", Name: "b", Owner: "1", Group: "app", Mode: "0440", Template: "{{.x}},{{.y}}"}
	for in, want := range map[string]File{
		"valueFrom=/a,file=b": {ValueFrom: "/a", Name: "b"},
		`valueFrom=/a,file=b,owner=1,group=app,mode=0440,"template={{.x}},{{.y}}"`:                         full,
		`{"valueFrom":"/a","file":"b","owner":"1","group":"app","mode":"0440","template":"{{.x}},{{.y}}"}`: full,
		"valueFrom=arn:aws:secretsmanager:r:1:secret:a=b-AbCdEf,file=b":                                    {ValueFrom: "arn:aws:secretsmanager:r:1:secret:a=b-AbCdEf", Name: "b"},
	} {
		if got, err := ParseSpec(in); err != nil || got != want {
			t.Errorf("ParseSpec(%s) = %+v, %v", in, got, err)
		}
	}
	for in, want := range map[string]string{
		"":                     "want valueFrom=",
		"file":                 `"file" is none of`,
		"file=a,file=b":        "file is there twice",
		"x=y":                  `"x" is none of`,
		`{"file":"a","mod":1}`: "unknown field",
		`{"mode":400}`:         "mode is a string, not a number",
		`{"file":"a"},{}`:      "want one object",
		`{"file":"a"}]`:        "something follows the list",
		"file=a\nfile=b":       "on one line",
	} {
		if got, err := ParseSpec(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseSpec(%q) = %+v, %v, want %s", in, got, err, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(`valueFrom=/a,file=b,mode=0440`)
	f.Add(`[{"valueFrom":"s3://a/b","file":"../x","mode":"999"}]`)
	f.Fuzz(func(t *testing.T, text string) {
		ParseJSON(text)
		file, err := ParseSpec(text)
		if err != nil || check([]File{file}) != nil {
			return
		}
		// What is checked is below the directory and has a mode.
		if !fs.ValidPath(strings.TrimPrefix(file.Name, "./")) && strings.HasPrefix(file.Name, "/") {
			t.Fatalf("%q is a name", file.Name)
		}
		if _, err := file.mode(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestCheck(t *testing.T) {
	t.Parallel()
	good := File{ValueFrom: "/a", Name: "d/f"}
	if err := check([]File{good, {ValueFrom: "s3://b/k/l", Name: "f", Mode: "440"}, {ValueFrom: "arn:aws:s3:::b/k", Name: "g"}, {ValueFrom: "/a/", Name: "h", Format: "json"}}); err != nil {
		t.Error(err)
	}
	for _, tt := range []struct {
		change func(*File)
		want   string
	}{
		{func(f *File) { f.Name = "" }, "file 1: file: a name is missing"},
		{func(f *File) { f.Name = "../f" }, "../f: file: want the name of a file below"},
		{func(f *File) { f.Name = "/f" }, "/f: file: want the name"},
		{func(f *File) { f.Name = "." }, ".: file: want the name"},
		{func(f *File) { f.Name = "d/" }, "d/: file: want the name"},
		{func(f *File) { f.Name = "a/../../f" }, "file: want the name"},
		{func(f *File) { f.ValueFrom = "" }, "d/f: valueFrom: it is missing"},
		{func(f *File) { f.ValueFrom = "arn:aws:secretsmanager:r:1:secret:x:k" }, "d/f: valueFrom: an invalid ARN format"},
		{func(f *File) { f.ValueFrom = "s3://b" }, "d/f: valueFrom: an object is s3://BUCKET/KEY"},
		{func(f *File) { f.Mode = "rw" }, `d/f: mode: "rw" is no octal mode`},
		{func(f *File) { f.Mode = "4755" }, `d/f: mode: "4755" is no octal mode`},
		{func(f *File) { f.Format = "yaml" }, `d/f: format: "yaml" is none of`},
		{func(f *File) { f.Format = "template" }, "d/f: template: it is missing"},
		{func(f *File) { f.Format, f.Template = "raw", "x" }, "d/f: template: the format is raw"},
		{func(f *File) { f.Template = "{{" }, "d/f: template: 1: unclosed action"},
	} {
		f := good
		tt.change(&f)
		if err := check([]File{f}); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("check(%+v) = %v, want %s", f, err, tt.want)
		}
	}
	if err := check([]File{good, {ValueFrom: "/a", Name: "d/./f"}}); err == nil || !strings.Contains(err.Error(), "it is there twice") {
		t.Errorf("check = %v", err)
	}
	if err := errors.Unwrap(&fieldError{"f", "x", fs.ErrExist}); err != fs.ErrExist {
		t.Error(err)
	}
}
