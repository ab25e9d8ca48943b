package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/aws/smithy-go"
	"golang.org/x/term"

	"github.com/malote/malote/internal/spoken"
)

// maxValue is more than either service keeps: they say their own limits.
const maxValue = 1 << 20

// valueFlags are those of commands that are given a value. It comes on stdin or from a
// file: a process's arguments are everybody's to read.
type valueFlags struct {
	File string `help:"Read the value from this file, not from stdin." placeholder:"FILE"`
	Trim bool   `help:"Leave out one newline at the value's end."`

	Refused []string `arg:"" optional:"" hidden:"" name:"value"`
}

func (f *valueFlags) read(p *program) ([]byte, error) {
	if len(f.Refused) > 0 {
		return nil, &hintError{&usageError{errors.New("a value is not taken as an argument: every process on this machine can read those, and the shell keeps them")},
			"give it on stdin, or in a file with --file"}
	}
	in := p.stdin
	if f.File != "" {
		file, err := os.Open(f.File)
		if err != nil {
			return nil, err
		}
		defer file.Close()
		in = file
	} else if isTerminal(in) {
		return nil, &hintError{&usageError{errors.New("no value: it would show on the terminal as you type it")}, "give it on stdin from a pipe, or in a file with --file"}
	}
	value, err := io.ReadAll(io.LimitReader(in, maxValue+1))
	if err != nil {
		return nil, fmt.Errorf("reading the value: %w", err)
	}
	switch {
	case len(value) > maxValue:
		return nil, fmt.Errorf("the value has more than %d bytes", maxValue)
	case f.Trim:
		if line, ended := bytes.CutSuffix(value, []byte("\n")); ended {
			value = bytes.TrimSuffix(line, []byte("\r"))
		}
	case bytes.HasSuffix(value, []byte("\n")):
		fmt.Fprintln(p.stderr, "malote: hint: the value ends in a newline, which is kept; --trim leaves it out")
	}
	if len(value) == 0 {
		return nil, &hintError{&usageError{errors.New("the value is empty")}, "give it on stdin, or in a file with --file"}
	}
	return value, nil
}

// revealFlags are those of commands that write a value to stdout.
type revealFlags struct {
	Reveal bool `help:"Write the value to a terminal too, for all who see the screen or its scrollback."`
}

// allow refuses a terminal that was not meant, before the value is asked for.
func (f revealFlags) allow(p *program) error {
	if isTerminal(p.stdout) && !f.Reveal {
		return &hintError{&usageError{errors.New("the value would show on this terminal")}, "send it to a pipe or a file, or give --reveal"}
	}
	return nil
}

// write puts a value on stdout as it is. A terminal gets a newline behind it.
func (p *program) write(value []byte) error {
	if isTerminal(p.stdout) && !bytes.HasSuffix(value, []byte("\n")) {
		value = append(bytes.Clone(value), '\n')
	}
	_, err := p.stdout.Write(value)
	return err
}

func isTerminal(stream any) bool {
	file, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// counted is n things.
func counted(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// table prints aligned columns; a row is its cells with tabs between.
func (p *program) table(rows func(w io.Writer)) error {
	w := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	rows(w)
	return w.Flush()
}

// said is an error of the SDK in the service's own words, with what the user can do: a hint for
// its code, in which NAME is replaced by name and " --data-dir DIR" by what dataDirFlag says.
func said(err error, hints map[string]string, name, dataDir string) error {
	api, ok := errors.AsType[smithy.APIError](err)
	if !ok {
		return err
	}
	if hint := hints[api.ErrorCode()]; hint != "" {
		return &hintError{spoken.Error(err), strings.NewReplacer("NAME", shellWord(name), " --data-dir DIR", dataDirFlag(dataDir)).Replace(hint)}
	}
	return spoken.Error(err)
}
