package files

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"text/template"

	"github.com/malote/malote/inject"
)

// A File is what one is to hold and how it is to be. The JSON names are those of MALOTE_INJECT.
type File struct {
	ValueFrom string `json:"valueFrom"` // as in a task definition; a path of parameters ends in /; s3://BUCKET/KEY; env://NAME
	Name      string `json:"file"`      // below the directory
	Owner     string `json:"owner,omitempty"`
	Group     string `json:"group,omitempty"`
	Mode      string `json:"mode,omitempty"`     // octal; 0400 when empty
	Format    string `json:"format,omitempty"`   // raw when empty, or template when there is one
	Template  string `json:"template,omitempty"` // of text/template
}

// ParseJSON reads a list of files, or one.
func ParseJSON(text string) ([]File, error) {
	text = strings.TrimSpace(text)
	if strings.HasPrefix(text, "{") {
		text = "[" + text + "]"
	}
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.DisallowUnknownFields()
	var files []File
	err := decoder.Decode(&files)
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok && wrong.Field != "" {
		err = fmt.Errorf("%s is a string, not a %s", wrong.Field, wrong.Value)
	}
	if _, more := decoder.Token(); err == nil && more != io.EOF {
		err = errors.New("something follows the list")
	}
	if err != nil {
		return nil, fmt.Errorf(`want a JSON list of files, [{"valueFrom":"…","file":"…"}]: %w`, err)
	}
	return files, nil
}

// ParseSpec reads valueFrom=…,file=…,mode=…: comma-separated values, so that one with a comma is
// in quotes as a whole. The object of ParseJSON will do too.
func ParseSpec(text string) (File, error) {
	if strings.HasPrefix(strings.TrimSpace(text), "{") {
		files, err := ParseJSON(text)
		if err == nil && len(files) != 1 {
			err = errors.New("want one object; a list is for MALOTE_INJECT")
		}
		if err != nil {
			return File{}, err
		}
		return files[0], nil
	}
	reader := csv.NewReader(strings.NewReader(text))
	fields, err := reader.Read()
	if err != nil {
		return File{}, fmt.Errorf("want valueFrom=…,file=…: %w", err)
	}
	if _, err := reader.Read(); err != io.EOF {
		return File{}, errors.New("want valueFrom=…,file=… on one line")
	}
	var f File
	known := map[string]*string{"valueFrom": &f.ValueFrom, "file": &f.Name, "owner": &f.Owner, "group": &f.Group, "mode": &f.Mode, "format": &f.Format, "template": &f.Template}
	for _, field := range fields {
		name, value, found := strings.Cut(field, "=")
		to := known[name]
		switch {
		case !found || to == nil:
			return File{}, fmt.Errorf("%q is none of valueFrom=, file=, owner=, group=, mode=, format= and template=", name)
		case *to != "":
			return File{}, fmt.Errorf("%s is there twice", name)
		}
		*to = value
	}
	return f, nil
}

// check finds what is wrong before anything is asked for.
func check(files []File) error {
	var failed []error
	seen := map[string]bool{}
	for i, f := range files {
		label := f.Name
		if label == "" {
			label = fmt.Sprintf("file %d", i+1)
		}
		fail := func(field string, format string, args ...any) {
			failed = append(failed, &fieldError{label, field, fmt.Errorf(format, args...)})
		}
		clean := filepath.Clean(f.Name)
		switch {
		case f.Name == "":
			fail("file", "a name is missing")
		case !filepath.IsLocal(f.Name) || clean == "." || strings.HasSuffix(f.Name, "/") || strings.IndexByte(f.Name, 0) >= 0:
			fail("file", "want the name of a file below the directory, without .. and no / in front or at the end")
		case seen[clean]:
			fail("file", "it is there twice")
		}
		seen[clean] = true
		if f.ValueFrom == "" {
			fail("valueFrom", "it is missing")
		} else if f.IsVariable() {
			if err := checkVariable(f.ValueFrom); err != nil {
				fail("valueFrom", "%w", err)
			}
		} else if _, _, err := parseSource(f.ValueFrom, "region"); err != nil {
			fail("valueFrom", "%w", err)
		}
		if _, err := f.mode(); err != nil {
			fail("mode", "%w", err)
		}
		switch f.formatName() {
		case "raw", "json", "dotenv", "properties":
			if f.Template != "" {
				fail("template", "the format is %s", f.Format)
			}
		case "template":
			if f.Template == "" {
				fail("template", "it is missing")
			} else if _, err := parseTemplate(f.Template); err != nil {
				fail("template", "%w", err)
			}
		default:
			fail("format", "%q is none of raw, json, dotenv, properties and template", f.Format)
		}
	}
	return errors.Join(failed...)
}

func (f File) formatName() string {
	switch {
	case f.Format != "":
		return f.Format
	case f.Template != "":
		return "template"
	}
	return "raw"
}

func (f File) mode() (fs.FileMode, error) {
	if f.Mode == "" {
		return 0o400, nil
	}
	mode, err := strconv.ParseUint(f.Mode, 8, 32)
	if err != nil || mode > 0o777 {
		return 0, fmt.Errorf("%q is no octal mode such as 0440", f.Mode)
	}
	return fs.FileMode(mode), nil
}

// Region is that of the first source that names one, or "".
func Region(files []File) string {
	for _, f := range files {
		if ref, object, err := parseSource(f.ValueFrom, ""); err == nil && object == nil && ref.Region != "" && !f.IsVariable() {
			return ref.Region
		}
	}
	return ""
}

// parseSource understands where content comes from: an object, or else what inject does.
func parseSource(valueFrom, region string) (inject.Ref, *object, error) {
	if o, err := parseObject(valueFrom); o != nil || err != nil {
		return inject.Ref{}, o, err
	}
	ref, err := inject.Parse(valueFrom, region)
	if wrong := (*inject.Error)(nil); errors.As(err, &wrong) {
		err = wrong.Err
	}
	return ref, nil, err
}

func parseTemplate(text string) (*template.Template, error) {
	t, err := template.New("template").Option("missingkey=error").Funcs(functions).Parse(text)
	if err != nil {
		// Of the template alone: no value is known yet.
		return nil, errors.New(strings.TrimPrefix(err.Error(), "template: template:"))
	}
	return t, nil
}
