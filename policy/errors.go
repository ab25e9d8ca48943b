package policy

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// What IAM says of a document that it refuses.
const (
	msgInvalidJSON       = "This policy contains invalid Json"
	msgSyntax            = "Syntax errors in policy."
	msgVersion           = "The policy must contain a valid version string"
	msgActions           = "Policy statement must contain actions."
	msgResources         = "Policy statement must contain resources."
	msgVendor            = "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc."
	msgOneColon          = "Actions/Condition can contain only one colon."
	msgSidUnique         = "Statement IDs (SID) in a single policy must be unique."
	msgTrustActions      = "AssumeRole policy may only specify STS AssumeRole actions."
	msgTrustResource     = "Has prohibited field Resource"
	msgIdentityPrincipal = "Policy document should not specify a principal."
	msgNoPrincipal       = "Missing required field Principal"
	msgAllowNotPrincipal = "Allow with NotPrincipal is not allowed."
)

// SyntaxError says why a document was refused. Error returns AWS's words alone; they seldom
// say where, so the rest does.
type SyntaxError struct {
	Line, Column int    // from 1; Column counts characters
	Element      string // "Statement[1].Condition.StringEquals", or "" for the whole
	Msg          string // AWS's
	Detail       string // ours, lower case
}

func (e *SyntaxError) Error() string { return e.Msg }

// Explain is for a person with the file open: the place, the element and what is wrong with it.
func (e *SyntaxError) Explain() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d:%d: ", e.Line, e.Column)
	if e.Element != "" {
		b.WriteString(e.Element + ": ")
	}
	if e.Detail == "" {
		b.WriteString(e.Msg)
	} else {
		b.WriteString(e.Detail)
	}
	return b.String()
}

// Located is AWS's words with the place, the element and what is wrong with it behind them.
func (e *SyntaxError) Located() string {
	element, detail := "", e.Detail
	if e.Element != "" {
		element = ", " + e.Element
	}
	if detail != "" {
		detail = ": " + detail
	}
	return fmt.Sprintf("%s (line %d, column %d%s%s)", e.Msg, e.Line, e.Column, element, detail)
}

func syntaxError(text string, pos int, element, msg, detail string) *SyntaxError {
	line, column := place(text, pos)
	return &SyntaxError{Line: line, Column: column, Element: element, Msg: msg, Detail: detail}
}

// place turns an offset into line and column, both from 1.
func place(text string, pos int) (line, column int) {
	c := cursor{text: text}
	return c.at(pos)
}

// cursor finds the places of offsets that come in order, each from the one before.
type cursor struct {
	text         string
	pos          int
	line, column int // from 0
}

func (c *cursor) at(pos int) (line, column int) {
	passed := c.text[c.pos:pos]
	if lines := strings.Count(passed, "\n"); lines > 0 {
		c.line += lines
		c.column = 0
		passed = passed[1+strings.LastIndexByte(passed, '\n'):]
	}
	c.column += utf8.RuneCountInString(passed)
	c.pos = pos
	return c.line + 1, c.column + 1
}
