// Package recent keeps the values used most recently, within a number of entries and
// of bytes. It is for results that are cheap to keep and dear to make again.
package recent

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
)

const shards = 16

// Cache is safe for concurrent use. Reading takes a shared lock and writes nothing
// but a mark, so that hot keys do not wait for each other.
type Cache[V any] struct {
	seed   maphash.Seed
	shards [shards]shard[V]
	asked  []atomic.Uint32 // a hash of the last key that Wanted was asked for in each place
}

type shard[V any] struct {
	mu         sync.RWMutex // guards all below but entry.used
	entries    map[string]*entry[V]
	clock      []*entry[V] // in no order; hand goes round to find one not used lately
	hand       int
	bytes      int
	maxEntries int
	maxBytes   int
}

type entry[V any] struct {
	key   string
	value V
	size  int
	place int // in clock
	used  atomic.Bool
}

// New returns a cache for about maxEntries values whose sizes add up to about maxBytes.
func New[V any](maxEntries, maxBytes int) *Cache[V] {
	c := &Cache[V]{seed: maphash.MakeSeed(), asked: make([]atomic.Uint32, max(2*maxEntries, 1))}
	for i := range c.shards {
		c.shards[i].maxEntries = max(1, maxEntries/shards)
		c.shards[i].maxBytes = maxBytes / shards
	}
	return c
}

func (c *Cache[V]) shard(key string) *shard[V] {
	return &c.shards[maphash.String(c.seed, key)%shards]
}

// Get returns the value last put at key, if it is still there.
func (c *Cache[V]) Get(key string) (value V, ok bool) {
	s := c.shard(key)
	s.mu.RLock()
	e := s.entries[key]
	if e != nil {
		value, ok = e.value, true // under the lock: put may replace it
		if !e.used.Load() {
			e.used.Store(true)
		}
	}
	s.mu.RUnlock()
	return value, ok
}

// Wanted reports whether key is worth a Put: always while there is room, then only if
// Wanted was asked for it lately. What is read once in a long while would push out what is
// read often, and making room takes longer than it saves.
func (c *Cache[V]) Wanted(key string) bool {
	h := maphash.String(c.seed, key)
	s := &c.shards[h%shards]
	s.mu.RLock()
	room := len(s.clock) < s.maxEntries && s.bytes < s.maxBytes-s.maxBytes/8
	s.mu.RUnlock()
	if room {
		return true
	}
	place, mark := &c.asked[(h>>32)%uint64(len(c.asked))], uint32(h)|1
	if place.Load() == mark {
		return true
	}
	place.Store(mark)
	return false
}

// Put keeps value, which takes size bytes, until others need the room. A value too
// large for the cache is not kept.
func (c *Cache[V]) Put(key string, value V, size int) {
	s := c.shard(key)
	size += len(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.entries[key]; old != nil {
		s.remove(old)
	}
	if size > s.maxBytes {
		return
	}
	for len(s.clock) >= s.maxEntries || s.bytes+size > s.maxBytes {
		s.evict()
	}
	e := &entry[V]{key: key, value: value, size: size, place: len(s.clock)}
	if s.entries == nil {
		s.entries = make(map[string]*entry[V])
	}
	s.entries[key] = e
	s.clock = append(s.clock, e)
	s.bytes += size
}

// Remove forgets key.
func (c *Cache[V]) Remove(key string) {
	s := c.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.entries[key]; e != nil {
		s.remove(e)
	}
}

// evict removes one entry that was not used since the hand last passed it.
func (s *shard[V]) evict() {
	for {
		if s.hand >= len(s.clock) {
			s.hand = 0
		}
		e := s.clock[s.hand]
		if !e.used.Swap(false) {
			s.remove(e)
			return
		}
		s.hand++
	}
}

func (s *shard[V]) remove(e *entry[V]) {
	last := len(s.clock) - 1
	s.clock[e.place] = s.clock[last]
	s.clock[e.place].place = e.place
	s.clock[last] = nil
	s.clock = s.clock[:last]
	s.bytes -= e.size
	delete(s.entries, e.key)
}
