package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/malote/malote/internal/quoted"
)

// Filter is a question to the log. What is zero is not asked. A pattern is the whole of
// what it is compared with, or its end behind a slash or a colon ("role/app" and "app"
// find arn:aws:iam::1:role/app); in one that has them, stars stand for anything.
type Filter struct {
	Since, Until time.Time // the first included, the second not
	Principal    string    // pattern of the caller's ARN, its role's ARN, its access key, its user name or its account, ANONYMOUS_PRINCIPAL of nobody
	Service      string    // "secretsmanager"
	Name         string    // of the operation
	Resource     string    // pattern of an ARN
	Error        string    // code; "*" for any
	Task         string    // pattern of a task's ARN, its service or its deployment
	RequestID    string
}

// Query reads the records that f asks for from the log at path, oldest first.
func Query(path string, f Filter) iter.Seq2[*Entry, error] {
	return func(yield func(*Entry, error) bool) {
		marks := f.marks()
		for line, err := range Lines(path, Times{f.Since, f.Until}) {
			if err != nil {
				yield(nil, err)
				return
			}
			if !f.may(line, marks) {
				continue
			}
			e, err := Parse(line)
			if err != nil {
				yield(nil, err)
				return
			}
			if f.Match(e) && !yield(e, nil) {
				return
			}
		}
	}
}

// Parse reads a line of the log.
func Parse(line []byte) (*Entry, error) {
	e := &Entry{Line: line}
	if err := json.Unmarshal(line, e); err != nil || e.Sequence == 0 {
		return nil, fmt.Errorf("a line of the audit log is not a record: %.80q", line)
	}
	return e, nil
}

// marks are what a line has when it may be asked for: to look for them is ten times as
// fast as to read the line.
func (f *Filter) marks() [][]byte {
	var marks [][]byte
	member := func(name, value string) {
		if value != "" && !strings.Contains(value, "*") {
			marks = append(marks, quoted.Append([]byte(`"`+name+`":`), value, maxText))
		}
	}
	member("eventName", f.Name)
	member("errorCode", f.Error)
	member("requestID", f.RequestID)
	if f.Service != "" {
		member("eventSource", f.source())
	}
	return marks
}

func (f *Filter) may(line []byte, marks [][]byte) bool {
	for _, mark := range marks {
		if !bytes.Contains(line, mark) {
			return false
		}
	}
	if f.Since.IsZero() && f.Until.IsZero() {
		return true
	}
	at, ok := lineTime(line)
	return !ok || f.within(at)
}

func (f *Filter) within(at time.Time) bool {
	return (f.Since.IsZero() || !at.Before(f.Since)) && (f.Until.IsZero() || at.Before(f.Until))
}

func (f *Filter) source() string {
	if f.Service == ownSource || strings.Contains(f.Service, ".") {
		return f.Service
	}
	return f.Service + ".amazonaws.com"
}

// Match reports whether f asks for e.
func (f *Filter) Match(e *Entry) bool {
	u := &e.UserIdentity
	switch {
	case !f.within(e.Time),
		f.Service != "" && e.Source != f.source(),
		f.Name != "" && !matches(f.Name, e.Name),
		f.Error != "" && (e.ErrorCode == "" || !matches(f.Error, e.ErrorCode)),
		f.RequestID != "" && e.RequestID != f.RequestID,
		f.Principal != "" && !matches(f.Principal, u.ARN, u.Session.Issuer.ARN, u.AccessKeyID, u.UserName, u.AccountID, u.InvokedBy):
		return false
	}
	if t := e.Additional.Task; f.Task != "" && (t == nil || !matches(f.Task, t.ARN, t.Service, t.Deployment)) {
		return false
	}
	if f.Resource == "" {
		return true
	}
	for i := range e.Resources {
		if matches(f.Resource, e.Resources[i].ARN) {
			return true
		}
	}
	return false
}

// matches reports whether a pattern fits one of the texts.
func matches(pattern string, texts ...string) bool {
	for _, text := range texts {
		switch {
		case text == "":
		case strings.Contains(pattern, "*"):
			if glob(pattern, text) {
				return true
			}
		case text == pattern, strings.HasSuffix(text, "/"+pattern), strings.HasSuffix(text, ":"+pattern):
			return true
		}
	}
	return false
}

// glob compares all of text with a pattern in which stars stand for anything.
func glob(pattern, text string) bool {
	parts := strings.Split(pattern, "*")
	first, last := parts[0], parts[len(parts)-1]
	if len(parts) == 1 {
		return pattern == text
	}
	if !strings.HasPrefix(text, first) || len(text) < len(first)+len(last) || !strings.HasSuffix(text, last) {
		return false
	}
	text = text[len(first) : len(text)-len(last)]
	for _, part := range parts[1 : len(parts)-1] {
		i := strings.Index(text, part)
		if i < 0 {
			return false
		}
		text = text[i+len(part):]
	}
	return true
}
