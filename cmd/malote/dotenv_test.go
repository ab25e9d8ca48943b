package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseDotenv(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		text string
		want []variable
	}{
		"bare":          {"A=1\nB = two words \nC=\n", []variable{{"A", "1", 1}, {"B", "two words", 2}, {"C", "", 3}}},
		"comments":      {"# one\n\nA=1 # two\n  # three\nB=#four\n", []variable{{"A", "1", 3}, {"B", "", 5}}},
		"# within":      {"A=ab#cd\nB='x # y'\n", []variable{{"A", "ab#cd", 1}, {"B", "x # y", 2}}},
		"$":             {"A=p$word\nB=\"${X}\"\nC='$Y'", []variable{{"A", "p$word", 1}, {"B", "${X}", 2}, {"C", "$Y", 3}}},
		"escapes":       {`A="a\nb\t\"c\" \\ \$"` + "\nB='a\\nb'", []variable{{"A", "a\nb\t\"c\" \\ $", 1}, {"B", `a\nb`, 2}}},
		"several lines": {"KEY=\"-----BEGIN\nMIIE=\n-----END\"\nB='x\n\ny' # end\nC=3", []variable{{"KEY", "-----BEGIN\nMIIE=\n-----END", 1}, {"B", "x\n\ny", 4}, {"C", "3", 7}}},
		"export":        {"export A=1\nexported=2\nexport=3", []variable{{"A", "1", 1}, {"exported", "2", 2}, {"export", "3", 3}}},
		"=":             {"URL=postgres://u:p@h/db?a=b&c=d==", []variable{{"URL", "postgres://u:p@h/db?a=b&c=d==", 1}}},
		"Windows":       {"\ufeffA=1\r\nB=\"2\"\r\n", []variable{{"A", "1", 1}, {"B", "2", 2}}},
		"characters":    {"A=žluťoučký", []variable{{"A", "žluťoučký", 1}}},
		"empty":         {"", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := parseDotenv(tt.text)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(variable{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestParseDotenvErrors(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ text, want string }{
		"no =":           {"A=1\ncanary", "line 2: no = after a name"},
		"name":           {"\nca-nary=1", "line 2: what comes before ="},
		"no name":        {"=canary", "line 1: what comes before ="},
		"digit":          {"1canary=1", "line 1: what comes before ="},
		"twice":          {"A=1\nB=2\nA=canary", "line 3: A is there already, on line 1"},
		"open":           {"A=1\nB=\"canary\nC=2", `line 2: the value of B has no closing "`},
		"open single":    {"B='canary", "line 1: the value of B has no closing '"},
		"after a quote":  {`B="canary"canary`, "line 1: the value of B goes on after its closing quote"},
		"escape":         {`B="canary\q"`, `line 1: the value of B has a \ before a character that needs none`},
		"ends in escape": {`B="canary\`, `line 1: the value of B has no closing "`},
		"NUL":            {"B=canary\x00", "line 1: the value of B has a NUL"},
		"not text":       {"B=canary\xff", "not UTF-8"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := parseDotenv(tt.text)
			if err == nil {
				t.Fatalf("read %d variables", len(got))
			}
			if !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "canary") {
				t.Errorf("error = %v, want %s", err, tt.want)
			}
		})
	}
}

// What is written in double quotes is read back, and whatever is read has the lines it says.
func FuzzParseDotenv(f *testing.F) {
	f.Add("A=1\nB='x\ny'\n", "v\"a\\l$\n")
	f.Add("export A=\"\\n\"#", "")
	f.Fuzz(func(t *testing.T, text, value string) {
		all, err := parseDotenv(text)
		last := 0
		for _, v := range all {
			if !variableName(v.name) || v.line <= last || v.line > strings.Count(text, "\n")+1 {
				t.Errorf("%q at line %d after %d", v.name, v.line, last)
			}
			last = v.line
		}
		if err != nil && !strings.HasPrefix(err.Error(), "line ") && !strings.Contains(err.Error(), "not UTF-8") {
			t.Errorf("error = %v", err)
		}
		if strings.ContainsRune(value, 0) || strings.ToValidUTF8(value, "") != value {
			return
		}
		quoted := strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(value)
		got, err := parseDotenv("A=\"" + quoted + "\"")
		if err != nil || len(got) != 1 || got[0].value != value {
			t.Errorf("%q came back as %v, %v", value, got, err)
		}
	})
}
