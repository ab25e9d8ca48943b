// Package canary makes values that are easy to recognise and looks for them where no
// secret may be: in plain, base64 and hex, whatever surrounds them.
package canary

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// Set is the values to look for. It is safe for concurrent use.
type Set struct {
	mu    sync.Mutex
	needs []needle
	count int // of values
	max   int // length of the longest needle
}

type needle struct {
	bytes []byte
	label string
}

// New returns a fresh value of 36 characters and adds it to the set.
func (s *Set) New() string {
	value := "canary-" + strings.ToLower(rand.Text())[:24] + "-fly!" // 36: also long enough for a token
	s.Add(value)
	return value
}

// Add has the set look for value, which should be long enough not to occur by chance.
// base64 is looked for at each of its three alignments, so that a value is found
// inside a larger encoded document too.
func (s *Set) Add(value string) {
	if len(value) < 8 {
		panic("canary: a value of fewer than 8 bytes would be found by chance")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count++
	label := fmt.Sprintf("canary %d", s.count)
	add := func(form, text string) {
		s.needs = append(s.needs, needle{[]byte(text), label + " in " + form})
		s.max = max(s.max, len(text))
	}
	add("plain", value)
	add("hex", hex.EncodeToString([]byte(value)))
	add("upper-case hex", strings.ToUpper(hex.EncodeToString([]byte(value))))
	for shift := range 3 {
		// The characters that neighbours have no part in.
		padded := append(make([]byte, shift), value...)
		from, to := (shift*8+5)/6, len(padded)*8/6
		add("base64", base64.RawStdEncoding.EncodeToString(padded)[from:to])
		if url := base64.RawURLEncoding.EncodeToString(padded)[from:to]; url != base64.RawStdEncoding.EncodeToString(padded)[from:to] {
			add("base64url", url)
		}
	}
}

// Hit is a place where a value was found. It does not hold the value.
type Hit struct {
	Where string // a path or a description
	What  string // which value, by number, in which form
	At    int64  // byte offset
}

func (h Hit) String() string { return fmt.Sprintf("%s: %s at byte %d", h.Where, h.What, h.At) }

// Reader looks through r, which may be of any size.
func (s *Set) Reader(where string, r io.Reader) ([]Hit, error) {
	s.mu.Lock()
	needs, keep := s.needs, s.max-1
	s.mu.Unlock()
	if len(needs) == 0 {
		return nil, nil
	}
	var hits []Hit
	found := map[string]bool{}
	buffer := make([]byte, 1<<20)
	held, offset := 0, int64(0)
	for {
		n, err := io.ReadFull(r, buffer[held:])
		window := buffer[:held+n]
		for _, need := range needs {
			if at := bytes.Index(window, need.bytes); at >= 0 && !found[need.label] {
				found[need.label] = true
				hits = append(hits, Hit{where, need.label, offset + int64(at)})
			}
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return hits, nil
		}
		if err != nil {
			return hits, err
		}
		tail := min(keep, len(window))
		offset += int64(len(window) - tail)
		held = copy(buffer, window[len(window)-tail:])
	}
}

// Bytes looks through b.
func (s *Set) Bytes(where string, b []byte) []Hit {
	hits, _ := s.Reader(where, bytes.NewReader(b))
	return hits
}

// Dir looks through every regular file below dir, and their names. Files that vanish
// meanwhile are passed over; whatever else cannot be read is an error.
func (s *Set) Dir(dir string) ([]Hit, error) {
	var hits []Hit
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if os.IsNotExist(err) {
			return nil
		}
		if err != nil {
			return err
		}
		hits = append(hits, s.Bytes("the name of "+path, []byte(path))...)
		if !entry.Type().IsRegular() {
			return nil
		}
		file, err := os.Open(path)
		if os.IsNotExist(err) {
			return nil
		}
		if err != nil {
			return err
		}
		defer file.Close()
		more, err := s.Reader(path, file)
		hits = append(hits, more...)
		return err
	})
	return hits, err
}

// Arguments looks through the command line of every process on the machine.
func (s *Set) Arguments() []Hit {
	var hits []Hit
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range lines {
		if b, err := os.ReadFile(path); err == nil {
			hits = append(hits, s.Bytes(path, b)...)
		}
	}
	return hits
}
