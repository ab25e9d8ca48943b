package audit

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// Chain is what Verify found.
type Chain struct {
	First   uint64 // sequence of the first record: 1, unless older files were taken away
	Records uint64 // from there on
	Head    string // hash of the last record, in hex: keep it elsewhere, and a later cut at the end shows
	Torn    bool   // the last line is not whole: being written, or the process died over it
}

// BrokenError says where the chain does not hold.
type BrokenError struct {
	File   string
	Line   uint64 // from 1
	Reason string
}

func (e *BrokenError) Error() string {
	return fmt.Sprintf("the audit log %s is broken at line %d: %s", e.File, e.Line, e.Reason)
}

// Verify reads the log at path from its beginning, with the files that were put aside, and
// checks every link. Its error is a *BrokenError when the log was tampered with.
//
// Records cut off at the end leave a shorter chain that holds: compare Records and Head with
// what an earlier Verify said. So do old files taken away to an archive: see First.
func Verify(path string) (Chain, error) {
	v := verifier{chain: Chain{First: 1, Head: strings.Repeat("0", 2*sha256.Size)}}
	list, err := files(path)
	if err != nil {
		return v.chain, fmt.Errorf("verifying the audit log: %w", err)
	}
	for i, s := range list {
		if i == 0 && s.first > 1 {
			v.chain.First, v.chain.Head = s.first, ""
		}
		if v.chain.Torn {
			return v.chain, &BrokenError{File: s.path, Line: 1, Reason: "the file before it does not end with a whole line"}
		}
		if err := v.file(s.path); err != nil {
			return v.chain, err
		}
	}
	return v.chain, nil
}

type verifier struct{ chain Chain }

func (v *verifier) file(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("verifying the audit log: %w", err)
	}
	defer file.Close()
	in := bufio.NewReaderSize(file, 256<<10)
	for number := uint64(1); ; number++ {
		line, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			v.chain.Torn = len(line) > 0
			return nil
		}
		if err != nil {
			return fmt.Errorf("verifying the audit log: %w", err)
		}
		if reason := v.line(bytes.TrimSuffix(line, []byte("\n"))); reason != "" {
			return &BrokenError{File: path, Line: number, Reason: reason}
		}
	}
}

// line takes the next line into the chain, or says why it does not belong there.
func (v *verifier) line(line []byte) (reason string) {
	var link link
	if err := json.Unmarshal(line, &link); err != nil {
		return "it is not a record"
	}
	if next := v.chain.First + v.chain.Records; link.Sequence != next {
		return fmt.Sprintf("its sequence is %d, not %d: records were removed, added or moved", link.Sequence, next)
	}
	if v.chain.Head != "" && link.PreviousHash != v.chain.Head {
		return "it does not follow from the line before, which was changed"
	}
	head := sha256.Sum256(line)
	v.chain.Head = hex.EncodeToString(head[:])
	v.chain.Records++
	return ""
}
