package logs

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"time"
)

// The part of MessagePack that Fluentd's forward protocol needs, with bounds. One
// producer (Docker's driver) and one shape of message do not warrant a library; what is not
// of that shape is an error.
//
// https://github.com/fluent/fluentd/wiki/Forward-Protocol-Specification-v1

const (
	maxString   = 1 << 20 // Docker splits lines at 16 KiB; labels are smaller
	maxElements = 4096
)

// message is one event in Message Mode: [tag, time, record, option].
type message struct {
	tag    string
	time   time.Time
	record map[string]string
	chunk  string // to acknowledge, or empty
}

var errFormat = errors.New("not a message of the forward protocol")

type decoder struct{ r *bufio.Reader }

func (d decoder) message() (message, error) {
	var m message
	// The end of the stream is fine here and nowhere else.
	if _, err := d.r.Peek(1); err != nil {
		return m, err
	}
	n, err := d.length(0x90, 0x0f, 0, 0xdc, 0xdd)
	if err == nil && n != 3 && n != 4 {
		err = errFormat
	}
	if err == nil {
		m.tag, err = d.text()
	}
	if err == nil {
		m.time, err = d.time()
	}
	if err == nil {
		m.record, err = d.texts()
	}
	if err == nil && n == 4 {
		var option map[string]string
		option, err = d.texts()
		m.chunk = option["chunk"]
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return m, err
}

func (d decoder) uint(size int) (uint64, error) {
	var b [8]byte
	if _, err := io.ReadFull(d.r, b[8-size:]); err != nil {
		return 0, err
	}
	return binary.BigEndian.Uint64(b[:]), nil
}

// length reads the head of something that has one: with its length in the head's low
// bits, or in one, two or four bytes after it. A code that is zero does not exist.
func (d decoder) length(fix, mask, code1, code2, code4 byte) (int, error) {
	head, err := d.r.ReadByte()
	if err != nil {
		return 0, err
	}
	size := 0
	switch {
	case head&^mask == fix:
		return int(head & mask), nil
	case head == code1 && code1 != 0:
		size = 1
	case head == code2:
		size = 2
	case head == code4:
		size = 4
	default:
		return 0, fmt.Errorf("%w: byte %#x", errFormat, head)
	}
	n, err := d.uint(size)
	if err == nil && n > maxString {
		err = fmt.Errorf("%w: too long", errFormat)
	}
	return int(n), err
}

// text reads a string, or binary, or nil as an empty string.
func (d decoder) text() (string, error) {
	head, err := d.r.Peek(1)
	if err != nil {
		return "", err
	}
	var n int
	switch head[0] {
	case 0xc0:
		_, err = d.r.Discard(1)
		return "", err
	case 0xc2, 0xc3: // bool
		_, err = d.r.Discard(1)
		return map[byte]string{0xc2: "false", 0xc3: "true"}[head[0]], err
	case 0xc4, 0xc5, 0xc6:
		n, err = d.length(0xc4, 0, 0xc4, 0xc5, 0xc6)
		if head[0] == 0xc4 { // read as a head without bits of length
			var size uint64
			size, err = d.uint(1)
			n = int(size)
		}
	default:
		n, err = d.length(0xa0, 0x1f, 0xd9, 0xda, 0xdb)
	}
	if err != nil {
		return "", err
	}
	b := make([]byte, n)
	_, err = io.ReadFull(d.r, b)
	return string(b), err
}

// texts reads a map of strings, or nil as an empty one.
func (d decoder) texts() (map[string]string, error) {
	head, err := d.r.Peek(1)
	if err != nil {
		return nil, err
	}
	if head[0] == 0xc0 {
		_, err = d.r.Discard(1)
		return nil, err
	}
	n, err := d.length(0x80, 0x0f, 0, 0xde, 0xdf)
	if err != nil {
		return nil, err
	}
	if n > maxElements {
		return nil, fmt.Errorf("%w: too many members", errFormat)
	}
	m := make(map[string]string, n)
	for range n {
		key, err := d.text()
		if err != nil {
			return nil, err
		}
		if m[key], err = d.text(); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// time reads seconds, or an EventTime: extension type 0 of seconds and nanoseconds.
func (d decoder) time() (time.Time, error) {
	head, err := d.r.ReadByte()
	if err != nil {
		return time.Time{}, err
	}
	var seconds uint64
	switch {
	case head < 0x80:
		seconds = uint64(head)
	case head == 0xcc, head == 0xd0:
		seconds, err = d.uint(1)
	case head == 0xcd, head == 0xd1:
		seconds, err = d.uint(2)
	case head == 0xce, head == 0xd2:
		seconds, err = d.uint(4)
	case head == 0xcf, head == 0xd3:
		seconds, err = d.uint(8)
	case head == 0xd7, head == 0xc7:
		var length, kind uint64 = 8, 0
		if head == 0xc7 {
			length, err = d.uint(1)
		}
		if err == nil {
			kind, err = d.uint(1)
		}
		if err == nil && (length != 8 || kind != 0) {
			err = errFormat
		}
		if err != nil {
			return time.Time{}, err
		}
		both, err := d.uint(8)
		return time.Unix(int64(both>>32), int64(both&math.MaxUint32)), err
	default:
		return time.Time{}, fmt.Errorf("%w: byte %#x for a time", errFormat, head)
	}
	return time.Unix(int64(seconds), 0), err
}

func appendHead(b []byte, n int, fix byte, bits int, code1, code2, code4 byte) []byte {
	switch {
	case n < 1<<bits:
		return append(b, fix|byte(n))
	case n < 1<<8 && code1 != 0:
		return append(b, code1, byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(b, code2), uint16(n))
	}
	return binary.BigEndian.AppendUint32(append(b, code4), uint32(n))
}

func appendText(b []byte, s string) []byte {
	return append(appendHead(b, len(s), 0xa0, 5, 0xd9, 0xda, 0xdb), s...)
}

func appendArray(b []byte, n int) []byte { return appendHead(b, n, 0x90, 4, 0, 0xdc, 0xdd) }

func appendMap(b []byte, n int) []byte { return appendHead(b, n, 0x80, 4, 0, 0xde, 0xdf) }

func appendTime(b []byte, t time.Time, precise bool) []byte {
	if precise {
		b = append(b, 0xd7, 0)
		b = binary.BigEndian.AppendUint32(b, uint32(t.Unix()))
		return binary.BigEndian.AppendUint32(b, uint32(t.Nanosecond()))
	}
	return binary.BigEndian.AppendUint32(append(b, 0xce), uint32(t.Unix()))
}
