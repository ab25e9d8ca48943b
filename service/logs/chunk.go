package logs

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// A chunk is what lies at one store key: events of one PutLogEvents, in order.
//
//	byte 0     format, 1
//	uvarint    length of the wrapped data key, 0 when the group has no KMS key
//	           the wrapped data key
//	then       the events; with a data key, sealed with XAES-256-GCM under it, with the
//	           store key as associated data
//
// Events are a byte (0 as they are, 1 as DEFLATE) and then, in uvarints: the time when they
// arrived, the time of the first, and for each the time since the one before, the length
// of the message, and the message. Times are in ms.
const (
	chunkFormat = 1
	plainEvents = 0
	deflated    = 1

	chunkSize = 64 << 10              // bytes of events, but for a longer one
	chunkSpan = int64(30 * 60 * 1000) // ms between first and last
)

// An event as it is read.
type event struct {
	time, ingested int64
	message        []byte
	at             position
}

// A position is where an event is in its stream.
type position struct {
	time  int64
	seq   uint64 // of its chunk
	index int
}

func (p position) compare(o position) int {
	switch {
	case p.time != o.time:
		return order(p.time < o.time)
	case p.seq != o.seq:
		return order(p.seq < o.seq)
	case p.index != o.index:
		return order(p.index < o.index)
	}
	return 0
}

func order(less bool) int {
	if less {
		return -1
	}
	return 1
}

func (p position) String() string { return fmt.Sprintf("%d.%d.%d", p.time, p.seq, p.index) }

func parsePosition(text string) (p position, err error) {
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return p, badToken()
	}
	var errs [3]error
	p.time, errs[0] = strconv.ParseInt(parts[0], 10, 64)
	p.seq, errs[1] = strconv.ParseUint(parts[1], 10, 64)
	p.index, errs[2] = strconv.Atoi(parts[2])
	if errors.Join(errs[:]...) != nil {
		return p, badToken()
	}
	return p, nil
}

// chunkKey is where a chunk lies; times up to the year 33658 have their order.
func chunkKey(events string, first int64, seq uint64) string {
	return fmt.Sprintf("%s%015d-%016d", events, first, seq)
}

func parseChunkKey(key string) (first int64, seq uint64, err error) {
	i := strings.LastIndexByte(key, '/')
	a, b, ok := strings.Cut(key[i+1:], "-")
	if !ok {
		return 0, 0, fmt.Errorf("%q is no key of a chunk", key)
	}
	if first, err = strconv.ParseInt(a, 10, 64); err != nil {
		return 0, 0, err
	}
	seq, err = strconv.ParseUint(b, 10, 64)
	return first, seq, err
}

// piece is a chunk to be: its events encoded, not sealed.
type piece struct {
	first, last int64
	events      []byte
}

// message is an event to be.
type message struct {
	time int64
	text string
}

// split encodes events, which are in order, as the pieces that they are kept in.
func split(events []message, ingested int64) []piece {
	var pieces []piece
	var b []byte
	for len(events) > 0 {
		first := events[0].time
		b = binary.AppendUvarint(b[:0], uint64(ingested))
		b = binary.AppendUvarint(b, uint64(first))
		n, before := 0, first
		for ; n < len(events); n++ {
			e := events[n]
			if n > 0 && (len(b)+len(e.text) > chunkSize || e.time-first > chunkSpan) {
				break
			}
			b = binary.AppendUvarint(b, uint64(e.time-before))
			b = binary.AppendUvarint(b, uint64(len(e.text)))
			b = append(b, e.text...)
			before = e.time
		}
		pieces = append(pieces, piece{first, before, deflate(b)})
		events = events[n:]
	}
	return pieces
}

var deflaters = sync.Pool{New: func() any {
	w, err := flate.NewWriter(nil, flate.BestSpeed)
	if err != nil {
		panic(err) // the level is a constant
	}
	return w
}}

// deflate is b in the shorter of the two forms.
func deflate(b []byte) []byte {
	out := bytes.NewBuffer(make([]byte, 0, len(b)/4+64))
	out.WriteByte(deflated)
	w := deflaters.Get().(*flate.Writer)
	defer deflaters.Put(w)
	w.Reset(out)
	w.Write(b)
	w.Close()
	if out.Len() > len(b) {
		return append([]byte{plainEvents}, b...)
	}
	return bytes.Clone(out.Bytes())
}

var inflaters = sync.Pool{New: func() any { return flate.NewReader(nil) }}

var errDamaged = errors.New("damaged chunk of log events")

// inflate is the inverse of deflate.
func inflate(b []byte) ([]byte, error) {
	if len(b) == 0 {
		return nil, errDamaged
	}
	switch b[0] {
	case plainEvents:
		return b[1:], nil
	case deflated:
		r := inflaters.Get().(io.Reader)
		defer inflaters.Put(r)
		if err := r.(flate.Resetter).Reset(bytes.NewReader(b[1:]), nil); err != nil {
			return nil, errDamaged
		}
		// No chunk is larger: a longer event is alone in its own.
		out, err := io.ReadAll(io.LimitReader(r, chunkSize+maxEvent+64))
		if err != nil {
			return nil, errDamaged
		}
		return out, nil
	}
	return nil, errDamaged
}

// decode appends the events of a piece to events.
func decode(events []event, seq uint64, piece []byte) ([]event, error) {
	b, err := inflate(piece)
	if err != nil {
		return events, err
	}
	number := func() (n uint64) {
		n, size := binary.Uvarint(b)
		if size <= 0 {
			err = errDamaged
			return 0
		}
		b = b[size:]
		return n
	}
	ingested, at := int64(number()), int64(number())
	for index := 0; err == nil && len(b) > 0; index++ {
		at += int64(number())
		size := number()
		if err != nil || size > uint64(len(b)) {
			return events, errDamaged
		}
		events = append(events, event{time: at, ingested: ingested, message: b[:size:size], at: position{at, seq, index}})
		b = b[size:]
	}
	return events, err
}

// frame puts a piece into the form that is stored.
func frame(piece []byte, key *dataKey, at string) []byte {
	var wrapped []byte
	if key != nil {
		wrapped = key.wrapped
	}
	b := make([]byte, 0, len(piece)+len(wrapped)+64)
	b = binary.AppendUvarint(append(b, chunkFormat), uint64(len(wrapped)))
	b = append(b, wrapped...)
	if key == nil {
		return append(b, piece...)
	}
	return key.key.Seal(b, piece, []byte(at))
}

// unframe is the inverse of frame, up to what is sealed.
func unframe(b []byte) (wrapped, rest []byte, err error) {
	if len(b) < 2 || b[0] != chunkFormat {
		return nil, nil, errDamaged
	}
	n, size := binary.Uvarint(b[1:])
	if size <= 0 || n > uint64(len(b)-1-size) {
		return nil, nil, errDamaged
	}
	b = b[1+size:]
	return b[:n], b[n:], nil
}

func sortEvents(events []event) {
	slices.SortFunc(events, func(a, b event) int { return a.at.compare(b.at) })
}
