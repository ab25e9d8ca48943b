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
)

// Chain is what Verify found.
type Chain struct {
	Records uint64
	Head    string // hash of the last record, in hex: keep it elsewhere, and a later cut at the end shows
	Torn    bool   // the last line is not whole: being written, or the process died over it
}

// BrokenError says where the chain does not hold.
type BrokenError struct {
	Line   uint64 // from 1
	Reason string
}

func (e *BrokenError) Error() string {
	return fmt.Sprintf("the audit log is broken at line %d: %s", e.Line, e.Reason)
}

// Verify reads the log at path from its beginning and checks every link. Its error is a
// *BrokenError when the log was tampered with. Records cut off at the end leave a shorter
// chain that holds: compare Records and Head with what an earlier Verify said.
func Verify(path string) (Chain, error) {
	file, err := os.Open(path)
	if err != nil {
		return Chain{}, fmt.Errorf("verifying the audit log: %w", err)
	}
	defer file.Close()

	var chain Chain
	var head [sha256.Size]byte
	chain.Head = hex.EncodeToString(head[:])
	in := bufio.NewReaderSize(file, 256<<10)
	for {
		line, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			chain.Torn = len(line) > 0
			return chain, nil
		}
		if err != nil {
			return chain, fmt.Errorf("verifying the audit log: %w", err)
		}
		line = bytes.TrimSuffix(line, []byte("\n"))
		broken := func(reason string) (Chain, error) {
			return chain, &BrokenError{Line: chain.Records + 1, Reason: reason}
		}
		var link link
		if err := json.Unmarshal(line, &link); err != nil {
			return broken("it is not a record")
		}
		if link.Sequence != chain.Records+1 {
			return broken(fmt.Sprintf("its sequence is %d, not %d: records were removed, added or moved", link.Sequence, chain.Records+1))
		}
		if link.PreviousHash != chain.Head {
			return broken("it does not follow from the line before, which was changed")
		}
		head = sha256.Sum256(line)
		chain.Head = hex.EncodeToString(head[:])
		chain.Records++
	}
}
