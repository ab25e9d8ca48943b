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
	"sync"

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

// room is what sealing or opening a piece takes. It is used again, wiped.
type room struct{ plain, one, two []byte }

var rooms = sync.Pool{New: func() any {
	size := Piece + 2*xaes.Overhead
	return &room{plain: make([]byte, 0, size), one: make([]byte, 0, size), two: make([]byte, 0, size)}
}}

func (r *room) release() {
	clear(r.plain[:cap(r.plain)])
	clear(r.one[:cap(r.one)])
	clear(r.two[:cap(r.two)])
	rooms.Put(r)
}

// Writer seals what is written to it. Close seals the last piece; Release comes after that.
type Writer struct {
	to     io.Writer
	keys   []*xaes.Key
	id     string
	number int64
	room   *room
	plain  []byte // of room
	extra  []byte
}

// NewWriter seals under keys, the first of them innermost, to w. The id is the body's alone.
func NewWriter(w io.Writer, keys []*xaes.Key, id string) *Writer {
	r := rooms.Get().(*room)
	return &Writer{to: w, keys: keys, id: id, room: r, plain: r.plain[:0]}
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
	return w.seal(true)
}

// Release ends the use of a writer, closed or not.
func (w *Writer) Release() {
	w.room.release()
	w.room, w.plain = nil, nil
}

func (w *Writer) seal(last bool) error {
	w.extra = associated(w.extra, w.id, w.number, last)
	text := w.plain
	for i, key := range w.keys {
		side := w.room.one
		if i%2 == 1 {
			side = w.room.two
		}
		text = key.Seal(side[:0], text, w.extra)
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
		skip: offset - first*Piece, left: length, empty: length == 0, room: rooms.Get().(*room),
	}, nil
}

type reader struct {
	from         io.ReadCloser
	keys         []*xaes.Key
	id           string
	number, last int64
	lastSize     int64 // of the last piece
	skip, left   int64
	empty        bool // nothing is wanted, but that the body is there
	room         *room
	plain        []byte // not yet read, of room
	extra        []byte
	err          error
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
	text := r.room.one[:size]
	if _, err := io.ReadFull(r.from, text); err != nil {
		if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
			return errDamaged
		}
		return err
	}
	r.extra = associated(r.extra, r.id, r.number, r.number == r.last)
	sides := [2][]byte{r.room.plain, r.room.two}
	for i := len(r.keys) - 1; i >= 0; i-- {
		opened, err := r.keys[i].AppendOpen(sides[i%2][:0], text, r.extra)
		if err != nil {
			return errDamaged
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
	if r.room != nil {
		r.room.release()
		r.room, r.plain, r.err = nil, nil, errClosed
	}
	return r.from.Close()
}

var errClosed = errors.New("the body was closed")
