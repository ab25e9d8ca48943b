package gateway

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/malote/malote/gateway/awschunked"
	"github.com/malote/malote/gateway/sigv4"
	"github.com/malote/malote/internal/checksum"
)

// content is the body of a request for S3, decoded. Its io.EOF means that it is whole and
// what the signature says; any other error, that it is not.
type content struct {
	from       io.Reader
	close      io.Closer
	controller *http.ResponseController
	length     int64 // -1: not announced
	read       int64
	limit      int64  // of one that does not stream
	payload    string // its SHA-256 in hexadecimal, "" when the signature does not say
	sum        hash.Hash
	chunked    *awschunked.Reader // nil when it is not
	trailer    string             // the name of the one that was announced
	err        error
}

// content is the request's body, of which who says what they signed of it. What has to be
// whole before anything can be decided nobody sends who has no credentials.
func (e *exchange) content(who *asker) (*content, *failure) {
	body := e.r.Body
	if body == nil {
		body = http.NoBody
	}
	c := &content{from: body, close: body, controller: http.NewResponseController(e.w), length: e.r.ContentLength, trailer: strings.ToLower(e.r.Header.Get("X-Amz-Trailer"))}
	if !who.anonymous {
		c.limit = e.maxBody()
	}
	switch payload := who.payload; payload {
	case sigv4.UnsignedPayload:
	case sigv4.StreamingSigned, sigv4.StreamingSignedTrailer, sigv4.StreamingUnsigned:
		n, err := strconv.ParseInt(e.r.Header.Get("X-Amz-Decoded-Content-Length"), 10, 64)
		if err != nil || n < 0 {
			return nil, &failure{code: missingLength.code, text: missingLength.text, status: missingLength.status}
		}
		c.length = n
		var signatures awschunked.Signatures
		if payload != sigv4.StreamingUnsigned {
			signatures = e.g.verifier.Chunks(who.authorization, who.secret)
		}
		c.chunked = awschunked.NewReader(body, n, signatures, payload != sigv4.StreamingSigned)
		c.from = c.chunked
	default:
		c.payload, c.sum = payload, sha256.New()
	}
	return c, nil
}

// known reports whether the length was announced.
func (c *content) known() bool { return c.length >= 0 }

// Trailer is what came behind the content; complete after io.EOF.
func (c *content) Trailer() http.Header {
	if c.chunked == nil {
		return nil
	}
	h := http.Header{}
	for name, values := range c.chunked.Trailer() {
		h[http.CanonicalHeaderKey(name)] = values
	}
	return h
}

// fill tells in the headers what the encoding hides: how long the content is, and which
// checksum comes behind it.
func (c *content) fill(h http.Header) {
	if c.known() {
		h.Set("Content-Length", strconv.FormatInt(c.length, 10))
	}
	if c.chunked == nil {
		return
	}
	// One that is not known here, the service refuses by name.
	if algorithm, _ := checksum.Of(c.trailer); algorithm != "" && h.Get("X-Amz-Sdk-Checksum-Algorithm") == "" {
		h.Set("X-Amz-Sdk-Checksum-Algorithm", string(algorithm))
	}
	var kept []string
	for token := range strings.SplitSeq(h.Get("Content-Encoding"), ",") {
		if token = strings.TrimSpace(token); token != "" && !strings.EqualFold(token, "aws-chunked") {
			kept = append(kept, token)
		}
	}
	h.Del("Content-Encoding")
	if len(kept) > 0 {
		h.Set("Content-Encoding", strings.Join(kept, ","))
	}
}

// Read implements io.Reader.
func (c *content) Read(p []byte) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	_ = c.controller.SetReadDeadline(time.Now().Add(streamTimeout)) // one in memory has none
	n, err := c.from.Read(p)
	c.read += int64(n)
	if c.sum != nil {
		c.sum.Write(p[:n])
	}
	if err != nil {
		err = c.ended(err)
	}
	c.err = err
	return n, err
}

// ended words the error that the content ended with.
func (c *content) ended(err error) error {
	bad := func(code, text string) error { return &restFailure{code, text, http.StatusBadRequest, nil} }
	switch {
	case err == io.EOF && c.length >= 0 && c.read < c.length, errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, awschunked.ErrLength):
		return bad("IncompleteBody", "You did not provide the number of bytes specified by the Content-Length HTTP header")
	case errors.Is(err, awschunked.ErrSignature):
		return &restFailure{"SignatureDoesNotMatch", "The request signature we calculated does not match the signature you provided. Check your key and signing method.", http.StatusForbidden, nil}
	case errors.Is(err, awschunked.ErrSmall):
		return bad("InvalidChunkSizeError", "Only the last chunk is allowed to have a size less than 8192 bytes")
	case errors.Is(err, awschunked.ErrMalformed):
		return bad("InvalidRequest", "The body is not in the aws-chunked encoding that x-amz-content-sha256 announces")
	case err != io.EOF:
		return bad("RequestTimeout", "Your socket connection to the server was not read from or written to within the timeout period. Idle connections will be closed.")
	}
	if c.sum == nil {
		return io.EOF
	}
	if computed := hex.EncodeToString(c.sum.Sum(nil)); computed != c.payload {
		return &restFailure{
			"XAmzContentSHA256Mismatch", "The provided 'x-amz-content-sha256' header does not match what was computed.", http.StatusBadRequest,
			[][2]string{{"ClientComputedContentSHA256", c.payload}, {"S3ComputedContentSHA256", computed}},
		}
	}
	return io.EOF
}

// Close implements io.Closer.
func (c *content) Close() error { return c.close.Close() }

// whole reads all of the content, of at most limit bytes.
func (c *content) whole(limit int64) ([]byte, error) {
	if c.length > limit {
		return nil, tooLarge
	}
	var b bytes.Buffer
	n, err := b.ReadFrom(io.LimitReader(c, limit+1))
	if err == nil && n > limit {
		err = tooLarge
	}
	return b.Bytes(), err
}

var tooLarge = &restFailure{"MaxMessageLengthExceeded", "Your request was too large.", http.StatusBadRequest, nil}
