package logs

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"
)

// An entry is one line as it is shipped, masked.
type entry struct {
	Time   time.Time
	Source string // stdout or stderr
	Line   string
	Tag    string            `json:",omitempty"`
	ID     string            `json:",omitempty"` // the container's
	Name   string            `json:",omitempty"`
	Attrs  map[string]string `json:",omitempty"`
}

const (
	segmentSize   = 256 << 10 // also a shipment's size
	memoryLimit   = 1 << 20
	diskLimit     = 256 << 20
	entryOverhead = 100
)

// A segment is a run of entries. It is in memory, or in a file until it is shipped.
type segment struct {
	number  uint64
	entries []entry
	count   int
	size    int
	file    string // when on disk
}

// A spool keeps entries in order until they are shipped: the first segments and the
// last in memory, those between in encrypted files when memory does not suffice.
type spool struct {
	dir            string
	memory, onDisk int // limits, in bytes
	most           int // entries; zero: any number
	seal           cipher.AEAD

	mu       sync.Mutex // guards the rest
	segments []*segment
	next     uint64
	inMemory int // bytes
	inFiles  int
	entries  int
	taken    bool          // the first segment is being shipped
	changed  chan struct{} // closed and replaced whenever something changes
	closed   bool
}

// newSpool keeps its overflow in dir, which it makes when it needs it.
func newSpool(dir string, memory, onDisk int) (*spool, error) {
	// A key of its own, so that the segments' numbers suffice as nonces.
	key := make([]byte, 32)
	rand.Read(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	seal, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	return &spool{dir: dir, memory: memory, onDisk: onDisk, seal: seal, changed: make(chan struct{})}, nil
}

func (s *spool) signal() {
	close(s.changed)
	s.changed = make(chan struct{})
}

var errClosed = errors.New("the spool is closed")

// push adds an entry. While the spool is full it waits, which is the back-pressure.
func (s *spool) push(ctx context.Context, e entry) error { return s.add(ctx, e, true) }

// add does not wait, if it is not to, and goes beyond the limits instead.
func (s *spool) add(ctx context.Context, e entry, wait bool) error {
	size := len(e.Line) + len(e.Tag) + entryOverhead
	for k, v := range e.Attrs {
		size += len(k) + len(v)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for wait && !s.closed && s.entries > 0 && (s.inMemory+s.inFiles+size > s.memory+s.onDisk || s.most > 0 && s.entries >= s.most) {
		changed := s.changed
		s.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-changed:
		}
		s.mu.Lock()
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	if s.closed {
		return errClosed
	}
	last := len(s.segments) - 1
	if last < 0 || last == 0 && s.taken || s.segments[last].file != "" || s.segments[last].size+size > segmentSize {
		if err := s.evict(); err != nil {
			return err
		}
		s.segments = append(s.segments, &segment{number: s.next})
		s.next++
		last = len(s.segments) - 1
	}
	tail := s.segments[last]
	tail.entries = append(tail.entries, e)
	tail.count++
	tail.size += size
	s.inMemory += size
	s.entries++
	s.signal()
	return nil
}

// evict puts segments on disk, the last first, until one more fits into memory.
func (s *spool) evict() error {
	for i := len(s.segments) - 1; i > 0 && s.inMemory+segmentSize > s.memory; i-- {
		g := s.segments[i]
		if g.file != "" {
			continue
		}
		raw, err := json.Marshal(g.entries)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(s.dir, 0o700); err != nil {
			return fmt.Errorf("spooling a log: %w", err)
		}
		file := filepath.Join(s.dir, strconv.FormatUint(g.number, 10))
		if err := os.WriteFile(file, s.seal.Seal(nil, nonce(g.number), raw, nil), 0o600); err != nil {
			os.Remove(file)
			return fmt.Errorf("spooling a log: %w", err)
		}
		g.file, g.entries = file, nil
		s.inMemory -= g.size
		s.inFiles += g.size
	}
	return nil
}

// gather lets entries come together for a while, unless there are many or no more come.
func (s *spool) gather(ctx context.Context, patience time.Duration) {
	end := time.NewTimer(patience)
	defer end.Stop()
	for {
		s.mu.Lock()
		enough, changed := s.closed || len(s.segments) > 1, s.changed
		s.mu.Unlock()
		if enough {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-end.C:
			return
		case <-changed:
		}
	}
}

func nonce(number uint64) []byte {
	return binary.BigEndian.AppendUint64(make([]byte, 4), number)
}

// take returns the first segment's entries, which stay first until done, or nil once
// the spool is closed and empty. It waits for there to be some.
func (s *spool) take(ctx context.Context) ([]entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.segments) == 0 {
		if s.closed {
			return nil, nil
		}
		changed := s.changed
		s.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-changed:
		}
		s.mu.Lock()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	g := s.segments[0]
	if g.file != "" {
		sealed, err := os.ReadFile(g.file)
		if err != nil {
			return nil, fmt.Errorf("reading a spooled log: %w", err)
		}
		raw, err := s.seal.Open(nil, nonce(g.number), sealed, nil)
		if err != nil {
			return nil, fmt.Errorf("reading a spooled log: %w", err)
		}
		if err := json.Unmarshal(raw, &g.entries); err != nil {
			return nil, fmt.Errorf("reading a spooled log: %w", err)
		}
		os.Remove(g.file)
		g.file = ""
		s.inMemory += g.size
		s.inFiles -= g.size
	}
	s.taken = true
	return g.entries, nil
}

// drop forgets the first segment, which was taken, or cannot be.
func (s *spool) drop() (entries int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.segments) == 0 {
		return 0
	}
	g := s.segments[0]
	if g.file != "" {
		os.Remove(g.file)
		s.inFiles -= g.size
	} else {
		s.inMemory -= g.size
	}
	s.segments, s.taken = s.segments[1:], false
	s.entries -= g.count
	s.signal()
	return g.count
}

// close lets nothing more in. What is there can still be taken.
func (s *spool) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.closed = true
		s.signal()
	}
}

func (s *spool) waiting() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.entries
}

func (s *spool) remove() { os.RemoveAll(s.dir) }
