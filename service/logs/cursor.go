package logs

import (
	"context"
	"fmt"

	"github.com/malote/malote/store"
)

// window is which events of a stream are asked for.
type window struct {
	from, until int64     // ms, both within
	after       *position // nil for none
	before      *position
}

func (w *window) has(e *event) bool {
	return e.time >= w.from && e.time <= w.until &&
		(w.after == nil || e.at.compare(*w.after) > 0) && (w.before == nil || e.at.compare(*w.before) < 0)
}

// cursor yields the events of a stream in order. It keeps in memory the chunks that
// overlap, and one or a few more.
type cursor struct {
	service *Service
	opener  *opener
	stream  *stream
	window  window
	prefix  string

	last    string // key of the last chunk that was read
	floor   int64  // no chunk that is not read yet has events before it
	ended   bool   // all chunks are read
	pending []event
}

// readAhead is how many bytes of chunks a transaction reads.
const readAhead = 128 << 10

func (s *Service) cursor(o *opener, g *group, st *stream, w window) *cursor {
	c := &cursor{service: s, opener: o, stream: st, window: w, prefix: o.r.events(g, st), ended: st.Seq == 0 || st.Last < w.from}
	c.last = fmt.Sprintf("%s%015d", c.prefix, max(0, w.from-st.Span))
	c.floor = max(w.from, st.First)
	return c
}

// next returns the next event without taking it, nil at the end.
func (c *cursor) next(ctx context.Context) (*event, error) {
	for !c.ended && (len(c.pending) == 0 || c.pending[0].time >= c.floor) {
		if err := c.read(ctx); err != nil {
			return nil, err
		}
	}
	if len(c.pending) == 0 {
		return nil, nil
	}
	return &c.pending[0], nil
}

func (c *cursor) take() { c.pending = c.pending[1:] }

// read reads some more chunks. They are opened after the transaction: KMS has its own.
func (c *cursor) read(ctx context.Context) error {
	var chunks []store.Entry
	size := 0
	c.ended = true
	err := c.service.store.View(ctx, func(tx store.Tx) error {
		for e, err := range tx.Scan(c.prefix, c.last) {
			if err != nil {
				return fmt.Errorf("reading log events: %w", err)
			}
			first, _, err := parseChunkKey(e.Key)
			if err != nil {
				return err
			}
			if first > c.window.until {
				return nil
			}
			c.floor, c.last = first, e.Key
			chunks = append(chunks, e)
			if size += len(e.Value); size >= readAhead {
				c.ended = false
				return nil
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	fresh := len(c.pending)
	for _, e := range chunks {
		start := len(c.pending)
		if c.pending, err = c.opener.open(ctx, c.pending, e.Key, e.Value); err != nil {
			return err
		}
		kept := c.pending[:start]
		for _, e := range c.pending[start:] {
			if c.window.has(&e) {
				kept = append(kept, e)
			}
		}
		c.pending = kept
	}
	if len(c.pending) > fresh {
		sortEvents(c.pending)
	}
	return nil
}
