package awschunked_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/malote/malote/gateway/awschunked"
)

// links is a chain of signatures of its own: each is a hash of the one before and the sum.
type links struct{ previous string }

func (l *links) next(kind string, sum [sha256.Size]byte) string {
	l.previous = fmt.Sprintf("%x", sha256.Sum256([]byte(kind+l.previous+string(sum[:]))))
	return l.previous
}

func (l *links) Chunk(sum [sha256.Size]byte, signature string) bool {
	return l.next("chunk", sum) == signature
}
func (l *links) Trailer(sum [sha256.Size]byte, signature string) bool {
	return l.next("trailer", sum) == signature
}

// signed encodes chunks with their signatures, and a trailer ("" for none).
func signed(trailer string, chunks ...string) string {
	var b strings.Builder
	l := &links{}
	for _, chunk := range append(chunks, "") {
		fmt.Fprintf(&b, "%x;chunk-signature=%s\r\n", len(chunk), l.next("chunk", sha256.Sum256([]byte(chunk))))
		if chunk != "" {
			b.WriteString(chunk + "\r\n")
		}
	}
	if trailer != "" {
		fmt.Fprintf(&b, "%s\r\nx-amz-trailer-signature:%s\r\n", trailer, l.next("trailer", sha256.Sum256([]byte(trailer+"\n"))))
	}
	return b.String() + "\r\n"
}

func TestReader(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("0123456789", 1000)
	for _, tt := range []struct {
		name, body string
		length     int64
		signed     bool
		trailing   bool
		want       string
		err        error
	}{
		{"unsigned", "5\r\nhello\r\n6\r\n world\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n", 11, false, true, "hello world", nil},
		{"empty", "0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n", 0, false, true, "", nil},
		{"signed", signed("", long, "end"), 10003, true, false, long + "end", nil},
		{"signed with trailer", signed("x-amz-checksum-crc32:AAAAAA==", long, "end"), 10003, true, true, long + "end", nil},
		{"wrong signature", strings.Replace(signed("", long), "0123", "0124", 1), 10000, true, false, "", awschunked.ErrSignature},
		{"wrong signature of the last", signed("", long)[:len(signed("", long))-10] + "0000000\r\n", 10000, true, false, "", awschunked.ErrSignature},
		{"wrong trailer", strings.Replace(signed("x-amz-checksum-crc32:AAAAAA==", long), "AAAAAA", "BAAAAA", 1), 10000, true, true, "", awschunked.ErrSignature},
		{"a trailer without its signature", strings.Replace(signed("x:y", long), "x-amz-trailer-signature", "x-amz-other", 1), 10000, true, true, "", io.ErrUnexpectedEOF},
		{"no signature", "5\r\nhello\r\n0\r\n\r\n", 5, true, false, "", awschunked.ErrMalformed},
		{"small chunk", signed("", "small", long), 10005, true, false, "", awschunked.ErrSmall},
		{"too short", "5\r\nhello\r\n0\r\n\r\n", 6, false, true, "", awschunked.ErrLength},
		{"too long", "5\r\nhello\r\n0\r\n\r\n", 4, false, true, "", awschunked.ErrLength},
		{"cut", "5\r\nhel", 5, false, true, "", io.ErrUnexpectedEOF},
		{"no last chunk", "5\r\nhello\r\n", 5, false, true, "", io.ErrUnexpectedEOF},
		{"no trailer", "5\r\nhello\r\n0\r\n", 5, false, true, "", io.ErrUnexpectedEOF},
		{"no size", "\r\nhello\r\n0\r\n\r\n", 5, false, true, "", awschunked.ErrMalformed},
		{"negative size", "-5\r\nhello\r\n0\r\n\r\n", 5, false, true, "", awschunked.ErrMalformed},
		{"huge size", "ffffffffffffffff\r\nhello\r\n0\r\n\r\n", 5, false, true, "", awschunked.ErrMalformed},
		{"a chunk longer than it says", "4\r\nhello\r\n0\r\n\r\n", 5, false, true, "", awschunked.ErrMalformed},
		{"an endless line", "5;" + strings.Repeat("x", 10000), 5, false, true, "", awschunked.ErrMalformed},
		{"an endless trailer", "0\r\n" + strings.Repeat("a:b\r\n", 100), 0, false, true, "", awschunked.ErrMalformed},
	} {
		var signatures awschunked.Signatures
		if tt.signed {
			signatures = &links{}
		}
		r := awschunked.NewReader(strings.NewReader(tt.body), tt.length, signatures, tt.trailing)
		got, err := io.ReadAll(r)
		if !errors.Is(err, tt.err) || tt.err == nil && (err != nil || string(got) != tt.want) {
			t.Errorf("%s: %d bytes, %v, want %d, %v", tt.name, len(got), err, len(tt.want), tt.err)
		}
		if tt.err == nil && tt.trailing && r.Trailer()["X-Amz-Checksum-Crc32"] == nil {
			t.Errorf("%s: trailer %v", tt.name, r.Trailer())
		}
	}
}

// Whatever comes, what was read without an error is what the chunks hold.
func FuzzReader(f *testing.F) {
	f.Add([]byte("5\r\nhello\r\n6\r\n world\r\n0\r\nx:y\r\n\r\n"), false)
	f.Add([]byte(signed("x:y", strings.Repeat("a", 9000), "end")), true)
	f.Fuzz(func(t *testing.T, body []byte, chained bool) {
		var signatures awschunked.Signatures
		if chained {
			signatures = &links{}
		}
		got, err := io.ReadAll(awschunked.NewReader(bytes.NewReader(body), -1, signatures, true))
		if err != nil {
			return
		}
		if len(got) > len(body) {
			t.Errorf("%d bytes hold %d", len(body), len(got))
		}
		again, err := io.ReadAll(awschunked.NewReader(strings.NewReader(fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(got), got)), int64(len(got)), nil, true))
		if len(got) > 0 && (err != nil || !bytes.Equal(got, again)) {
			t.Errorf("%q encoded again is %q, %v", got, again, err)
		}
	})
}
