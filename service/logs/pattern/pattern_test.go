package pattern_test

import (
	"strings"
	"testing"

	"github.com/malote/malote/service/logs/pattern"
)

const (
	object = `{"level":"error","ms":150,"ok":false,"none":null,"user":{"name":"ann","ip":"10.1.2.3"},"tags":["a","b"],"list":[{"id":1},{"id":7}],"a.b":"dot","code":"404"}`
	access = `127.0.0.1 - frank [10/Oct/2000:13:25:15 -0700] "GET /index.html HTTP/1.0" 404 1534`
)

func TestMatch(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		pattern, message string
		want             bool
	}{
		{"", "anything", true},
		{"  ", "", true},
		{"ERROR", "an ERROR here", true},
		{"ERROR", "an error here", false},
		{"ERROR code", "code: ERROR", true},
		{"ERROR code", "ERROR", false},
		{`"exit code"`, "its exit code", true},
		{`"exit code"`, "its code exit", false},
		{`"say \"hi\" c:\\x"`, `say "hi" c:\x`, true},
		{"ERROR -debug", "ERROR debug", false},
		{"ERROR -debug", "ERROR", true},
		{`-"a b"`, "a b", false},
		{"?ERROR ?WARN", "WARN", true},
		{"?ERROR ?WARN", "INFO", false},
		{"?ERROR INFO", "INFO", true},
		{`%^\d+ [a-z]+%`, "12 monkeys", true},
		{`%^\d+ [a-z]+%`, "twelve monkeys", false},
		{`%50\% off%`, "50% off", true},
		{"größe", "die größe", true},

		{`{ $.level = "error" }`, object, true},
		{`{$.level="error"}`, object, true},
		{`{ $.level = error }`, object, true},
		{`{ $.level = "err*" }`, object, true},
		{`{ $.level = "Error" }`, object, false},
		{`{ $.level != "error" }`, object, false},
		{`{ $.level != "info" }`, object, true},
		{`{ $.absent != "info" }`, object, false},
		{`{ $.level = %^err% }`, object, true},
		{`{ $.ms > 100 }`, object, true},
		{`{ $.ms >= 150 && $.ms <= 1.5e2 }`, object, true},
		{`{ $.ms < 150 }`, object, false},
		{`{ $.ms = 150 }`, object, true},
		{`{ $.ms != 150 }`, object, false},
		{`{ $.level > 1 }`, object, false},
		{`{ $.code = 404 }`, object, true},
		{`{ $.ok IS FALSE }`, object, true},
		{`{ $.ok IS TRUE }`, object, false},
		{`{ $.none IS NULL }`, object, true},
		{`{ $.absent IS NULL }`, object, false},
		{`{ $.absent NOT EXISTS }`, object, true},
		{`{ $.level NOT EXISTS }`, object, false},
		{`{ $.user.ip = 10.1.* }`, object, true},
		{`{ $.tags[1] = "b" }`, object, true},
		{`{ $.tags[2] = "b" }`, object, false},
		{`{ $.list[*].id = 7 }`, object, true},
		{`{ $.list[*].id = 8 }`, object, false},
		{`{ $.['a.b'] = "dot" }`, object, true},
		{`{ $["a.b"] = "dot" }`, object, true},
		{`{ $.ms > 1000 || ($.level = "error" && $.user.name = "ann") }`, object, true},
		{`{ ($.ms > 1000 || $.level = "error") && $.user.name = "bob" }`, object, false},
		{`{ $.level = "error" }`, `level = error`, false},
		{`{ $.level = "error" }`, object + " trailing", false},
		{`{ $.level = "error" }`, `{"level":`, false},

		{`[ip, user, username, timestamp, request, status, bytes]`, access, true},
		{`[ip, user, username, timestamp, request = *html*, status = 4*, bytes > 1000]`, access, true},
		{`[ip, user, username, timestamp, request = *html*, status = 5*, bytes]`, access, false},
		{`[..., status = 404, bytes]`, access, true},
		{`[ip = 127.0.0.1, ..., bytes < 1000]`, access, false},
		{`[ip = "127.0.0.1", ...]`, access, true},
		{`[w1 = ERROR || w1 = WARN, w2]`, "WARN of something", true},
		{`[w1 = ERROR || w1 = WARN, w2]`, "INFO of something", false},
		{`[w1 != ERROR && w1 != WARN, ...]`, "INFO", true},
		{`[,, name = frank, ...]`, access, true},
		{`[ip, user]`, "one", false},
		{`[a, b = "two three"]`, "one two three", true},
	} {
		p, err := pattern.Parse(tt.pattern)
		if err != nil {
			t.Errorf("Parse(%s): %v", tt.pattern, err)
			continue
		}
		if got := p.Match([]byte(tt.message)); got != tt.want {
			t.Errorf("%s on %s: %v, want %v", tt.pattern, tt.message, got, tt.want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"a.b":              "invalid character '.'",
		`"open`:            "a quote is not closed",
		"-":                "a term is expected",
		"%open":            "not closed by %",
		"%(%":              "not a regular expression",
		"{ $.a }":          "one of = != < > <= >= is expected",
		"{ $.a = }":        "a value is expected",
		"{ $.a = 1":        "a closing brace is expected",
		"{ $.a = 1 } x":    "nothing is expected",
		"{ a = 1 }":        "begins with $.",
		"{ $ = 1 }":        "begins with $.",
		"{ $.a[x] = 1 }":   "a number, * or a quoted name",
		"{ $.a > x }":      "compares numbers",
		"{ ($.a = 1 }":     "closing parenthesis",
		"[a, b":            "a comma or a closing bracket",
		"[..., a, ...]":    "only one ...",
		"[a = 1 && b = 2]": "about the field a alone",
		"[a] x":            "nothing is expected",
		"{ $.a = 1 && }":   "begins with $.",
		"{ $.a = \"x }":    "a quote is not closed",
		"{ " + strings.Repeat("(", 100) + "$.a=1": "nested too deeply",
	} {
		if _, err := pattern.Parse(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Parse(%s) = %v, want %s", text, err, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{`ERROR -debug "a b" ?x %\d%`, `{ $.a.b[0] = "x*" && ($.c > 1 || $.d NOT EXISTS) }`, `[a, b = 4*, ..., c > 1]`} {
		f.Add(text, object)
		f.Add(text, access)
	}
	f.Fuzz(func(t *testing.T, text, message string) {
		if p, err := pattern.Parse(text); err == nil {
			p.Match([]byte(message))
		}
	})
}
