// Package nudge tells watchers within one process that keys changed.
package nudge

import (
	"context"
	"strings"
	"sync"
)

// Hub keeps who watches what. The zero value is ready.
type Hub struct {
	mu       sync.Mutex // guards all below, and the closing of channels against sends
	watchers map[*watcher]struct{}
	closed   bool
}

type watcher struct {
	prefix string
	ch     chan struct{}
}

// Watch is store.Store's.
func (h *Hub) Watch(ctx context.Context, prefix string) <-chan struct{} {
	w := &watcher{prefix: prefix, ch: make(chan struct{}, 1)}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		close(w.ch)
		return w.ch
	}
	if h.watchers == nil {
		h.watchers = make(map[*watcher]struct{})
	}
	h.watchers[w] = struct{}{}
	context.AfterFunc(ctx, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if _, ok := h.watchers[w]; ok {
			delete(h.watchers, w)
			close(w.ch)
		}
	})
	return w.ch
}

// Changed nudges those who watch one of keys.
func (h *Hub) Changed(keys ...string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for w := range h.watchers {
		for _, key := range keys {
			if strings.HasPrefix(key, w.prefix) {
				select {
				case w.ch <- struct{}{}:
				default: // a nudge already waits
				}
				break
			}
		}
	}
}

// Close closes every channel.
func (h *Hub) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for w := range h.watchers {
		close(w.ch)
	}
	h.watchers = nil
}
