// Package awschunked reads bodies in the aws-chunked encoding: chunks, each perhaps signed,
// and lines behind them, above all a checksum.
//
// It promises: io.EOF comes only when every chunk had the right signature, the length is
// what was announced, and the trailer is whole. What was read before another error is not
// to be relied on.
//
// It does not check the checksum: whoever stores the body does.
//
// https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming-trailers.html
package awschunked

import (
	"bufio"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// Signatures verifies chunks in order: *sigv4.Chunks.
type Signatures interface {
	Chunk(sum [sha256.Size]byte, signature string) bool
	Trailer(sum [sha256.Size]byte, signature string) bool
}

// Errors of a body, besides those of reading it.
var (
	ErrMalformed = errors.New("the body is not aws-chunked")
	ErrSignature = errors.New("the signature of a chunk does not match")
	ErrLength    = errors.New("the body is not as long as x-amz-decoded-content-length says")
	ErrSmall     = errors.New("a chunk that is not the last has less than 8192 bytes")
)

const (
	maxLine    = 4 << 10
	maxTrailer = 16 // lines
	minChunk   = 8 << 10
	// maxChunk is what one chunk may have: clients send some tens of KiB.
	maxChunk = 1 << 30
)

// Reader decodes one body.
type Reader struct {
	from       *bufio.Reader
	signatures Signatures // nil: the chunks are not signed
	trailing   bool       // a trailer follows
	announced  int64      // -1: not

	left      int64 // of the chunk
	short     bool  // a chunk had less than minChunk, so it must have been the last
	signature string
	sum       hash.Hash
	read      int64
	started   bool
	trailer   http.Header
	err       error
}

// NewReader decodes from, whose content has length bytes, -1 when nobody said. Without
// signatures (nil) the chunks have none.
func NewReader(from io.Reader, length int64, signatures Signatures, trailing bool) *Reader {
	r := &Reader{from: bufio.NewReaderSize(from, 32<<10), signatures: signatures, trailing: trailing, announced: length, trailer: http.Header{}}
	if signatures != nil {
		r.sum = sha256.New()
	}
	return r
}

// Trailer is what came behind the content. It is complete after io.EOF.
func (r *Reader) Trailer() http.Header { return r.trailer }

// Read implements io.Reader.
func (r *Reader) Read(p []byte) (int, error) {
	for r.err == nil && r.left == 0 {
		r.err = r.next()
	}
	if r.err != nil {
		return 0, r.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	n, err := r.from.Read(p[:min(int64(len(p)), r.left)])
	r.left -= int64(n)
	r.read += int64(n)
	if r.sum != nil {
		r.sum.Write(p[:n])
	}
	if err == io.EOF && r.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	if err != nil && err != io.EOF {
		r.err = err
	}
	return n, r.err
}

// next ends a chunk and begins the following one. Behind the last it is io.EOF.
func (r *Reader) next() error {
	if r.started {
		if err := r.endChunk(); err != nil {
			return err
		}
	}
	r.started = true
	line, err := r.line()
	if err != nil {
		return err
	}
	size, extension, _ := strings.Cut(line, ";")
	if len(size) == 0 || len(size) > 16 || strings.Trim(size, "0123456789abcdefABCDEF") != "" {
		return ErrMalformed
	}
	n, err := strconv.ParseInt(size, 16, 64)
	if err != nil || n > maxChunk {
		return ErrMalformed
	}
	if r.signatures != nil {
		signature, ok := strings.CutPrefix(extension, "chunk-signature=")
		if !ok {
			return ErrMalformed
		}
		r.signature = signature
	}
	if n > 0 {
		if r.short && r.signatures != nil {
			return ErrSmall
		}
		r.short = n < minChunk
		if r.announced >= 0 && r.read+n > r.announced {
			return ErrLength
		}
		r.left = n
		return nil
	}
	return r.end()
}

func (r *Reader) endChunk() error {
	if line, err := r.line(); err != nil {
		return err
	} else if line != "" {
		return ErrMalformed
	}
	return r.verify()
}

func (r *Reader) verify() error {
	if r.signatures == nil {
		return nil
	}
	var sum [sha256.Size]byte
	r.sum.Sum(sum[:0])
	r.sum.Reset()
	if !r.signatures.Chunk(sum, r.signature) {
		return ErrSignature
	}
	return nil
}

// end reads what follows the last chunk, which is empty.
func (r *Reader) end() error {
	if err := r.verify(); err != nil {
		return err
	}
	if r.announced >= 0 && r.read != r.announced {
		return ErrLength
	}
	signed, signature := sha256.New(), ""
	for range maxTrailer {
		line, err := r.line()
		if err == io.ErrUnexpectedEOF && !r.trailing { // some end at the last chunk's line
			line, err = "", nil
		}
		if err != nil {
			return err
		}
		if line == "" {
			// Some write the signature of the trailer behind an empty line.
			if r.trailing && r.signatures != nil && signature == "" {
				continue
			}
			return r.endTrailer(signed, signature)
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok || !r.trailing {
			return ErrMalformed
		}
		name, value = strings.ToLower(strings.TrimSpace(name)), strings.TrimSpace(value)
		if name == "x-amz-trailer-signature" {
			signature = value
			continue
		}
		r.trailer.Add(name, value)
		signed.Write([]byte(name + ":" + value + "\n"))
	}
	return ErrMalformed
}

func (r *Reader) endTrailer(signed hash.Hash, signature string) error {
	if r.trailing && r.signatures != nil {
		var sum [sha256.Size]byte
		signed.Sum(sum[:0])
		if !r.signatures.Trailer(sum, signature) {
			return ErrSignature
		}
	}
	return io.EOF
}

// line reads up to CRLF, or LF, and returns what is before.
func (r *Reader) line() (string, error) {
	var b strings.Builder
	for {
		part, err := r.from.ReadSlice('\n')
		if b.Len()+len(part) > maxLine {
			return "", ErrMalformed
		}
		b.Write(part)
		switch {
		case err == nil:
			return strings.TrimSuffix(strings.TrimSuffix(b.String(), "\n"), "\r"), nil
		case err == bufio.ErrBufferFull:
			continue
		case err == io.EOF:
			return "", io.ErrUnexpectedEOF
		default:
			return "", err
		}
	}
}
