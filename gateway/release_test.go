package gateway

import (
	"bytes"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/ecs/document"
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

// Nor does what was begun when writing it panicked.
func TestPanicWhileWriting(t *testing.T) { // alone, as above
	fresh := buffers.New
	defer func() { buffers = sync.Pool{New: fresh} }()
	buffers = sync.Pool{New: fresh} // an empty one
	value := strings.Repeat("s", 100)
	out := struct {
		SecretString *string
		Then         document.Interface
	}{&value, struct{ document.Interface }{}}
	e := &exchange{service: &service{}}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("no panic")
			}
		}()
		_ = e.answer(&operation{hasOutput: true}, &out)
	}()
	if b := *buffers.Get().(*[]byte); bytes.ContainsRune(b[:cap(b)], 's') {
		t.Error("a buffer was given back with what was in it")
	}
}
