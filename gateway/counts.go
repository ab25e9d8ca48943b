package gateway

import (
	"iter"
	"maps"
	"sync"
	"sync/atomic"
)

// Counts are how many requests there were, by operation and by what came of them. The zero
// value is ready.
type Counts struct {
	mu sync.Mutex // guards of
	of []*outcomes
}

// Count is how many requests for an operation ended with one code.
type Count struct {
	// Service and Operation are "unknown" where a request named none that there is.
	Service, Operation string
	// Code is the error's, "ok" without one, "aborted" where it came amid the answer, "other"
	// where there were very many.
	Code string
	N    uint64
}

// All are the counts that are not zero.
func (c *Counts) All() iter.Seq[Count] {
	return func(yield func(Count) bool) {
		c.mu.Lock()
		all := c.of
		c.mu.Unlock()
		for _, o := range all {
			if n := o.done.Load(); n > 0 && !yield(Count{o.service, o.operation, "ok", n}) {
				return
			}
			o.mu.Lock()
			failed := maps.Clone(o.failed)
			o.mu.Unlock()
			for code, n := range failed {
				if !yield(Count{o.service, o.operation, code, n}) {
					return
				}
			}
		}
	}
}

// add has more of them counted.
func (c *Counts) add(more ...*outcomes) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.of = append(c.of, more...)
}

// outcomes are the counts of one operation. What succeeds, which is most, costs one addition.
type outcomes struct {
	service, operation string
	done               atomic.Uint64

	mu     sync.Mutex        // guards failed
	failed map[string]uint64 // by code
}

// maxCodes is how many codes one operation has in the counts; what is beyond is "other".
const maxCodes = 64

func (o *outcomes) count(code string) {
	if code == "" {
		o.done.Add(1)
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.failed == nil {
		o.failed = make(map[string]uint64)
	}
	if _, known := o.failed[code]; !known && len(o.failed) >= maxCodes {
		code = "other"
	}
	o.failed[code]++
}

// count counts the exchange, unless it was for a handler, which has no operations.
func (e *exchange) count() {
	switch {
	case e.op != nil:
		e.op.outcomes.count(e.code)
	case e.handler:
	case e.service == nil:
		e.g.unknown.count(e.code)
	default: // it was refused before its operation was looked for
		if op, err := e.service.operation(e.operation); err == nil && op != nil {
			op.outcomes.count(e.code)
			return
		}
		e.service.unknown.count(e.code)
	}
}
