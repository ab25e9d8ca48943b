package main

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// variable is one of a dotenv file.
type variable struct {
	name, value string
	line        int // where it begins
}

// parseDotenv reads NAME=VALUE lines as dotenv files have them. A value is bare, up to the end
// of the line or to a # after a blank; in single quotes, as it is; or in double quotes, with
// \n \r \t \" \\ \$ \` for what they stand for. Quoted values may go on over several lines. "export "
// before a name, blank lines and comments are passed over. A $ is a $: the libraries there are
// would put another variable in its place, and most passwords with one would arrive cut.
//
// An error has the line, and nothing of a value.
func parseDotenv(text string) ([]variable, error) {
	if !utf8.ValidString(text) {
		return nil, errors.New("the file is not UTF-8 text")
	}
	text = strings.TrimPrefix(text, "\ufeff")
	var all []variable
	lines := map[string]int{}
	for number := 1; text != ""; {
		line, _, _ := strings.Cut(text, "\n")
		at := number
		fail := func(format string, args ...any) ([]variable, error) {
			return nil, fmt.Errorf("line %d: %s", at, fmt.Sprintf(format, args...))
		}
		begun := strings.TrimLeft(line, " \t\r")
		if begun == "" || begun[0] == '#' {
			_, text, _ = strings.Cut(text, "\n")
			number++
			continue
		}
		name, _, found := strings.Cut(begun, "=")
		if !found {
			return fail("no = after a name")
		}
		name = strings.TrimSpace(name)
		if rest, exported := strings.CutPrefix(name, "export"); exported && strings.TrimLeft(rest, " \t") != rest {
			name = strings.TrimSpace(rest)
		}
		if !variableName(name) {
			return fail("what comes before = is no name of a variable: it has letters, digits and _, and no digit first")
		}
		if first, twice := lines[name]; twice {
			return fail("%s is there already, on line %d", name, first)
		}
		_, rest, _ := strings.Cut(text, "=")
		value, rest, err := dotenvValue(strings.TrimLeft(rest, " \t"))
		if err != nil {
			return fail("the value of %s %v", name, err)
		}
		if strings.IndexByte(value, 0) >= 0 {
			return fail("the value of %s has a NUL, which no environment can hold", name)
		}
		lines[name] = at
		all = append(all, variable{name, value, at})
		number += strings.Count(text[:len(text)-len(rest)], "\n")
		text = rest
	}
	return all, nil
}

// dotenvValue returns the value that text begins with, and what follows its last line.
func dotenvValue(text string) (value, rest string, err error) {
	if text == "" || text[0] != '\'' && text[0] != '"' {
		line, rest, _ := strings.Cut(text, "\n")
		for i := range len(line) {
			if line[i] == '#' && (i == 0 || line[i-1] == ' ' || line[i-1] == '\t') {
				line = line[:i]
				break
			}
		}
		return strings.TrimRight(line, " \t\r"), rest, nil
	}
	quote := text[0]
	var b strings.Builder
	for i := 1; i < len(text); i++ {
		switch c := text[i]; {
		case c == quote:
			tail, rest, _ := strings.Cut(text[i+1:], "\n")
			if tail = strings.TrimSpace(tail); tail != "" && tail[0] != '#' {
				return "", "", errors.New("goes on after its closing quote: put a \\ before a quote that belongs to it")
			}
			return b.String(), rest, nil
		case c == '\\' && quote == '"':
			i++
			if i == len(text) {
				return "", "", fmt.Errorf("has no closing %c", quote)
			}
			escaped, known := dotenvEscapes[text[i]]
			if !known {
				return "", "", errors.New(`has a \ before a character that needs none: write \\ for a \, or use single quotes`)
			}
			b.WriteByte(escaped)
		default:
			b.WriteByte(c)
		}
	}
	return "", "", fmt.Errorf("has no closing %c", quote)
}

var dotenvEscapes = map[byte]byte{'n': '\n', 'r': '\r', 't': '\t', '"': '"', '\\': '\\', '$': '$', '`': '`'}

// variableName reports whether name can be a variable of a shell.
func variableName(name string) bool {
	for i, c := range []byte(name) {
		letter := c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return name != ""
}
