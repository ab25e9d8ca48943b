package audit

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"
)

// Chain is what Verify found.
type Chain struct {
	First   uint64 // sequence of the first record: 1, unless older files were taken away
	Records uint64 // from there on
	Head    string // hash of the last record, in hex: keep it elsewhere, and a later cut at the end shows
	Torn    bool   // the last line is not whole: being written, or the process died over it

	Checkpoints uint64    // whose signatures hold, or, without a key, were not looked at
	SignedTo    uint64    // sequence of the last one; 0 for none
	SignedAt    time.Time // when it was made
	KeyID       string    // who signed it

	// Truncated is how many records AuditTruncated there are: as often the log was opened
	// with less than it had had. TruncatedAt is when malote noticed last.
	Truncated   uint64
	TruncatedAt time.Time
}

// Last is the sequence of the last record.
func (c *Chain) Last() uint64 { return c.First + c.Records - 1 }

// Unsigned is how many records have come after the last checkpoint.
func (c *Chain) Unsigned() uint64 { return c.Last() - max(c.SignedTo, c.First-1) }

// Expectation is what a log must satisfy besides its own chain. The zero value: nothing.
type Expectation struct {
	// Keys are those of whom alone checkpoints may be. Nil: signatures are not verified.
	Keys []ed25519.PublicKey
	// Head, if not "", is the hash of a record that must be in the log: the Head of an
	// earlier Chain.
	Head string
	// Checkpoint, if not nil, is a line that must be in the log: a copy of the file that is
	// kept beside it.
	Checkpoint []byte
}

// BrokenError says where the chain does not hold.
type BrokenError struct {
	File   string
	Line   uint64 // from 1; 0 of a checkpoint that was kept beside it or elsewhere
	Reason string
}

func (e *BrokenError) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("%s: %s", e.File, e.Reason)
	}
	return fmt.Sprintf("the audit log %s is broken at line %d: %s", e.File, e.Line, e.Reason)
}

// Verify is VerifyWith no expectation.
func Verify(path string) (Chain, error) { return VerifyWith(path, Expectation{}) }

// VerifyWith reads the log at path from its beginning, with the files that were put aside,
// and checks every link and every signature. Its error is a *BrokenError when the log was
// tampered with, or is not the one that was expected.
//
// Records cut off at the end leave a shorter chain that holds, unless the checkpoint in the
// file beside it is among them: that is looked at always. Expect the Head or the checkpoint
// that was kept elsewhere, and nobody who can write here can cut. Old files may be taken
// away to an archive: see First.
func VerifyWith(path string, e Expectation) (Chain, error) {
	v := verifier{chain: Chain{First: 1, Head: strings.Repeat("0", 2*sha256.Size)}, expect: e, keys: map[string]ed25519.PublicKey{}, found: e.Head == ""}
	for _, key := range e.Keys {
		v.keys[KeyID(key)] = key
	}
	beside, err := os.ReadFile(anchorPath(path))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return v.chain, fmt.Errorf("verifying the audit log: %w", err)
	}
	for name, line := range map[string][]byte{anchorPath(path): beside, "the expected checkpoint": e.Checkpoint} {
		if line == nil {
			continue
		}
		line = bytes.TrimSpace(line)
		c, ok := readCheckpoint(line)
		if !ok {
			return v.chain, &BrokenError{File: name, Reason: "it is no checkpoint"}
		}
		if reason := v.signature(c); reason != "" {
			return v.chain, &BrokenError{File: name, Reason: reason}
		}
		v.anchors = append(v.anchors, anchored{c.Sequence, sha256.Sum256(line)})
	}
	p, err := look(path, nil)
	if err != nil {
		return v.chain, err
	}
	list, names, err := p.open(Times{})
	if err != nil {
		return v.chain, err
	}
	defer closeAll(list)
	var last string
	for i, s := range names {
		if i == 0 {
			if first := s.begin(list[i]); first > 1 {
				v.chain.First, v.chain.Head = first, ""
			}
		}
		if v.chain.Torn {
			return v.chain, &BrokenError{File: s.path, Line: 1, Reason: "the file before it does not end with a whole line"}
		}
		if err := v.file(list[i]); err != nil {
			return v.chain, err
		}
		last = s.path
	}
	for _, a := range v.anchors {
		if a.sequence > v.chain.Last() {
			return v.chain, &BrokenError{File: last, Line: v.line + 1, Reason: fmt.Sprintf("it ends with record %d, and there was a checkpoint at %d: records were cut off", v.chain.Last(), a.sequence)}
		}
	}
	if !v.found {
		return v.chain, &BrokenError{File: last, Line: v.line + 1, Reason: "no record has the expected hash: records were cut off or are others"}
	}
	if e.Keys != nil && v.chain.Records > 0 && v.chain.Checkpoints == 0 {
		return v.chain, &BrokenError{File: last, Line: v.line + 1, Reason: "nothing in it is signed by the key"}
	}
	return v.chain, nil
}

type verifier struct {
	chain   Chain
	expect  Expectation
	keys    map[string]ed25519.PublicKey
	anchors []anchored
	found   bool   // expect.Head
	line    uint64 // of the file that was read last
}

// anchored is a checkpoint that must be in the log.
type anchored struct {
	sequence uint64
	hash     [sha256.Size]byte
}

// signature says what is wrong with that of a checkpoint.
func (v *verifier) signature(c *checkpoint) (reason string) {
	if v.expect.Keys == nil {
		return ""
	}
	key, ok := v.keys[c.Details.KeyID]
	if !ok {
		return "a checkpoint is signed by a key that is not expected: " + c.Details.KeyID
	}
	if !c.verify(key) {
		return "a checkpoint's signature does not hold"
	}
	return ""
}

func (v *verifier) file(file *os.File) error {
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("verifying the audit log: %w", err)
	}
	in := bufio.NewReaderSize(file, 256<<10)
	for number := uint64(1); ; number++ {
		v.line = number - 1
		line, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			v.chain.Torn = len(line) > 0
			return nil
		}
		if err != nil {
			return fmt.Errorf("verifying the audit log: %w", err)
		}
		if reason := v.next(bytes.TrimSuffix(line, []byte("\n"))); reason != "" {
			return &BrokenError{File: file.Name(), Line: number, Reason: reason}
		}
	}
}

var truncatedMark = []byte(`"eventSource":"` + ownSource + `","eventName":"AuditTruncated"`)

// next takes the next line into the chain, or says why it does not belong there.
func (v *verifier) next(line []byte) (reason string) {
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
	for _, a := range v.anchors {
		if a.sequence == link.Sequence && a.hash != head {
			return "there was a checkpoint in its place"
		}
	}
	if c, ok := readCheckpoint(line); ok {
		if reason := v.signature(c); reason != "" {
			return reason
		}
		v.chain.Checkpoints++
		v.chain.SignedTo, v.chain.SignedAt, v.chain.KeyID = c.Sequence, c.at(), c.Details.KeyID
	}
	if bytes.Contains(line, truncatedMark) {
		v.chain.Truncated++
		v.chain.TruncatedAt, _ = lineTime(line)
	}
	v.chain.Head = hex.EncodeToString(head[:])
	v.found = v.found || v.chain.Head == v.expect.Head
	v.chain.Records++
	return ""
}
