// Package files writes secrets into files, for programs that read those and not their
// environment: one is a secret, a JSON key of it, a parameter, all parameters below a path, an
// object of S3, or a variable of the environment.
//
// It promises: everything is resolved and rendered before anything is written, a file appears
// whole and with its owner and mode or not at all, no name leads out of the directory, and an
// error names the file and the field and never holds a value. What it resolves, it resolves
// through package inject and S3's client, as whoever it is told to be. It does not decide which
// directory that is, and does not know tasks.
package files

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// A Set is files that are written together.
type Set struct {
	Config aws.Config
	Dir    string // exists
	Files  []File
	Log    *slog.Logger // names, ARNs and versions

	written map[string]written // by name
	changed bool               // Write put another content in a file's place
}

// written is what is known of a file that was.
type written struct {
	version string
	sum     [sha256.Size]byte // of its content
}

// A fieldError says which field of which file is the reason.
type fieldError struct {
	file, field string
	err         error
}

func (e *fieldError) Error() string { return e.file + ": " + e.field + ": " + e.err.Error() }
func (e *fieldError) Unwrap() error { return e.err }

// Write resolves and renders every file, and then writes all of them. When one cannot be
// there is every reason in the error, and no file is another than before.
func (s *Set) Write(ctx context.Context) error {
	if err := check(s.Files); err != nil {
		return err
	}
	contents, err := (&sources{config: s.Config}).get(ctx, s.Files)
	if err != nil {
		return err
	}
	var ready []rendered
	var failed []error
	for i, f := range s.Files {
		r, err := render(f, contents[i])
		if err != nil {
			failed = append(failed, err)
			continue
		}
		ready = append(ready, r)
	}
	if len(failed) > 0 {
		return errors.Join(failed...)
	}
	if s.changed, err = s.other(ready); err != nil {
		return err
	}
	return s.put(ready)
}

// other reports whether a file is there already and has another content: it may be in use.
func (s *Set) other(ready []rendered) (bool, error) {
	root, err := os.OpenRoot(s.Dir)
	if err != nil {
		return false, fmt.Errorf("the directory for the files: %w", err)
	}
	defer root.Close()
	for _, r := range ready {
		if was, err := root.ReadFile(r.Name); err == nil && !bytes.Equal(was, r.bytes) {
			return true, nil
		}
	}
	return false, nil
}

// A rendered file is one that has only to be written.
type rendered struct {
	File
	bytes    []byte
	arn      string
	version  string
	uid, gid int // -1 to leave it
}

func render(f File, c content) (rendered, error) {
	r := rendered{File: f, arn: c.arn, version: c.version}
	var err error
	if r.uid, r.gid, err = f.ids(); err != nil {
		return r, err
	}
	if r.bytes, err = f.format(c); err != nil {
		return r, err
	}
	return r, nil
}

func (s *Set) put(ready []rendered) error {
	root, err := os.OpenRoot(s.Dir)
	if err != nil {
		return fmt.Errorf("the directory for the files: %w", err)
	}
	defer root.Close()
	if err := replace(root, ready); err != nil {
		return err
	}
	if s.written == nil {
		s.written = map[string]written{}
	}
	for _, r := range ready {
		s.written[r.Name] = written{r.version, sha256.Sum256(r.bytes)}
		s.Log.Info("file written", "file", r.Name, "arn", r.arn, "version", r.version)
	}
	return nil
}
