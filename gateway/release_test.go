package gateway

import (
	"bytes"
	"testing"
)

// What an answer was made in holds none of it when the next is made there.
func TestReleaseWipes(t *testing.T) { // alone: another test would take the buffer
	for _, size := range []int{10, 5000, maxPooled} {
		b := make([]byte, 0, 64)
		b = append(b, bytes.Repeat([]byte("s"), size)...)
		all := b[:cap(b)]
		release(&b)
		if cap(all) <= maxPooled && bytes.ContainsRune(all, 's') {
			t.Errorf("a buffer of %d bytes was given back with what was in it", size)
		}
	}
}
