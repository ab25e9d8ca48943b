package engine

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// reasonLimit is how long the API lets a reason be.
const reasonLimit = 1024

// clip makes a reason one line that the API takes.
func clip(s string) string {
	return cut(strings.Join(strings.Fields(s), " "), reasonLimit)
}

// cut shortens a line to limit bytes between two words, so that it holds no part of an ARN that
// could be taken for the whole.
func cut(s string, limit int) string {
	const more = " …"
	if len(s) <= limit {
		return s
	}
	s = s[:limit-len(more)+1] // a space that follows the last word may be beyond
	if i := strings.LastIndexByte(s, ' '); i > 0 {
		return strings.TrimRight(s[:i], " ,;") + more
	}
	for s = s[:len(s)-1]; !utf8.ValidString(s); {
		s = s[:len(s)-1]
	}
	return s + more
}

// summary joins as many texts as fit into limit bytes and says how many more there are.
func summary(texts []string, limit int) string {
	var said string
	for i, text := range texts {
		rest := ""
		if n := len(texts) - i - 1; n > 0 {
			rest = fmt.Sprintf("; and %d more", n)
		}
		if i == 0 {
			said = cut(text, limit-len(rest))
			continue
		}
		if len(said)+len("; ")+len(text)+len(rest) > limit {
			return fmt.Sprintf("%s; and %d more", said, len(texts)-i)
		}
		said += "; " + text
	}
	return said
}
