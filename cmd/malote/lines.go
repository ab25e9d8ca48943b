package main

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"time"
)

// How long a line of the log waits for company, and how much of it there may be.
const (
	linesDelay = 50 * time.Millisecond
	linesSize  = 32 << 10
)

// lines gathers what is written to it: a system call per request is more than the rest of
// logging costs.
type lines struct {
	w io.Writer

	mu      sync.Mutex // guards the rest, and is held to write
	text    []byte
	waiting bool
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, b...)
	switch {
	case len(l.text) >= linesSize:
		l.write()
	case !l.waiting:
		l.waiting = true
		time.AfterFunc(linesDelay, l.flush)
	}
	return len(b), nil
}

func (l *lines) flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting = false
	l.write()
}

func (l *lines) write() {
	if len(l.text) > 0 {
		_, _ = l.w.Write(l.text) // there is nowhere else to say so
		l.text = l.text[:0]
	}
}

// flushing is a handler that lets nothing wait which somebody may be looking for.
type flushing struct {
	slog.Handler
	lines *lines
}

func (h *flushing) Handle(ctx context.Context, r slog.Record) error {
	err := h.Handler.Handle(ctx, r)
	if r.Level > slog.LevelInfo || r.Message != "request" {
		h.lines.flush()
	}
	return err
}

func (h *flushing) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &flushing{h.Handler.WithAttrs(attrs), h.lines}
}

func (h *flushing) WithGroup(name string) slog.Handler {
	return &flushing{h.Handler.WithGroup(name), h.lines}
}
