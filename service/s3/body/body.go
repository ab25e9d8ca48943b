// Package body seals the bodies of objects in pieces, so that they stream, and any range of
// them can be read.
//
// It promises: what is read is what was written under this key and id, all of it, in order;
// a body cut short, or with pieces of another, is an error.
//
// The format: pieces of Piece bytes of the body, the last one shorter or as long, and never
// none. Each is sealed (XAES-256-GCM) under every key in turn, with the body's id, the
// piece's number (8 bytes, big-endian) and 1 for the last piece, else 0, as associated data.
package body

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/malote/malote/internal/xaes"
)

// Piece is how many bytes of a body are sealed together.
const Piece = 64 << 10

// SealedSize is how long a body of that size is under so many keys.
func SealedSize(size int64, keys int) int64 {
	return size + pieces(size)*int64(keys*xaes.Overhead)
}

func pieces(size int64) int64 { return max(1, (size+Piece-1)/Piece) }

// associated is what binds a piece to its place.
func associated(b []byte, id string, number int64, last bool) []byte {
	b = append(b[:0], id...)
	b = binary.BigEndian.AppendUint64(b, uint64(number))
	if last {
		return append(b, 1)
	}
	return append(b, 0)
}

// Writer seals what is written to it. Close seals the last piece.
type Writer struct {
	to     io.Writer
	keys   []*xaes.Key
	id     string
	number int64
	plain  []byte
	sealed [2][]byte
	extra  []byte
}

// NewWriter seals under keys, the first of them innermost, to w. The id is the body's alone.
func NewWriter(w io.Writer, keys []*xaes.Key, id string) *Writer {
	return &Writer{to: w, keys: keys, id: id, plain: make([]byte, 0, Piece)}
}

// Write implements io.Writer. The last piece is not known before Close, so a full one
// waits for the next byte.
func (w *Writer) Write(p []byte) (int, error) {
	written := 0
	for len(p) > 0 {
		if len(w.plain) == Piece {
			if err := w.seal(false); err != nil {
				return written, err
			}
		}
		n := min(len(p), Piece-len(w.plain))
		w.plain = append(w.plain, p[:n]...)
		p = p[n:]
		written += n
	}
	return written, nil
}

// Close seals what is left. It does not close what lies beneath.
func (w *Writer) Close() error {
	err := w.seal(true)
	clear(w.plain[:cap(w.plain)])
	return err
}

func (w *Writer) seal(last bool) error {
	w.extra = associated(w.extra, w.id, w.number, last)
	text := w.plain
	for i, key := range w.keys {
		side := &w.sealed[i%2]
		*side = key.Seal((*side)[:0], text, w.extra)
		text = *side
	}
	w.number++
	w.plain = w.plain[:0]
	_, err := w.to.Write(text)
	return err
}

// Opener reads part of what Writer wrote.
type Opener func(offset, length int64) (io.ReadCloser, error)

// NewReader reads length bytes from offset of a body of size bytes.
func NewReader(open Opener, keys []*xaes.Key, id string, size, offset, length int64) (io.ReadCloser, error) {
	if offset < 0 || length < 0 || offset+length > size {
		return nil, fmt.Errorf("bytes %d to %d of a body of %d", offset, offset+length, size)
	}
	overhead := int64(len(keys) * xaes.Overhead)
	first, last := offset/Piece, pieces(size)-1
	until := first
	if length > 0 {
		until = (offset + length - 1) / Piece
	}
	first = min(first, last)
	from := first * (Piece + overhead)
	to := min((until+1)*(Piece+overhead), SealedSize(size, len(keys)))
	sealed, err := open(from, to-from)
	if err != nil {
		return nil, err
	}
	return &reader{
		from: sealed, keys: keys, id: id, number: first, last: last, lastSize: size - last*Piece,
		skip: offset - first*Piece, left: length, empty: length == 0,
	}, nil
}

type reader struct {
	from           io.ReadCloser
	keys           []*xaes.Key
	id             string
	number, last   int64
	lastSize       int64 // of the last piece
	skip, left     int64
	empty          bool // nothing is wanted, but that the body is there
	sealed, opened []byte
	plain          []byte // not yet read, of opened
	extra          []byte
	err            error
}

// Read implements io.Reader.
func (r *reader) Read(p []byte) (int, error) {
	for len(r.plain) == 0 && r.err == nil {
		if r.left == 0 && !r.empty {
			r.err = io.EOF
			break
		}
		r.empty = false
		r.err = r.next()
	}
	if len(r.plain) == 0 {
		return 0, r.err
	}
	n := copy(p, r.plain)
	r.plain = r.plain[n:]
	return n, nil
}

var errDamaged = errors.New("the body is damaged, or another's")

func (r *reader) next() error {
	size := int64(Piece)
	if r.number == r.last {
		size = r.lastSize
	}
	size += int64(len(r.keys) * xaes.Overhead)
	if int64(cap(r.sealed)) < size {
		r.sealed = make([]byte, size)
		r.opened = make([]byte, 0, size)
	}
	if _, err := io.ReadFull(r.from, r.sealed[:size]); err != nil {
		if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
			return errDamaged
		}
		return err
	}
	r.extra = associated(r.extra, r.id, r.number, r.number == r.last)
	text := r.sealed[:size]
	for i := len(r.keys) - 1; i >= 0; i-- {
		opened, err := r.keys[i].AppendOpen(r.opened[:0], text, r.extra)
		if err != nil {
			return errDamaged
		}
		if i > 0 {
			text = append(r.sealed[:0], opened...)
			continue
		}
		text = opened
	}
	r.number++
	text = text[min(r.skip, int64(len(text))):]
	r.skip = 0
	r.plain = text[:min(r.left, int64(len(text)))]
	r.left -= int64(len(r.plain))
	return nil
}

// Close implements io.Closer.
func (r *reader) Close() error {
	clear(r.opened[:cap(r.opened)])
	return r.from.Close()
}
