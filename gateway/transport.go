package gateway

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"sync"
)

// Transport sends requests to h without a network, streaming both ways: a response
// arrives when the handler first flushes or has ended, and ends when the handler does.
// Cancelling a request, or closing its response, ends the handler's context.
func Transport(h http.Handler) http.RoundTripper { return &transport{h} }

type transport struct{ handler http.Handler }

func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	body := r.Body
	if body == nil {
		body = http.NoBody
	}
	if err := r.Context().Err(); err != nil {
		_ = body.Close()
		return nil, err
	}
	ctx, cancel := context.WithCancel(r.Context())
	in := serverRequest(ctx, r, body)

	w := &memoryWriter{header: http.Header{}, ready: make(chan struct{}), cancel: cancel, request: r}
	w.bodyRead, w.bodyWrite = io.Pipe()
	go func() {
		defer cancel()
		defer func() { _ = body.Close() }()
		defer func() {
			if p := recover(); p != nil {
				err := fmt.Errorf("gateway: the handler panicked: %v", p)
				if p == http.ErrAbortHandler {
					err = errors.New("gateway: the handler gave up")
				}
				w.end(err)
				return
			}
			w.end(nil)
		}()
		// Whoever reads the answer is told that it was cancelled, whatever the handler does.
		defer context.AfterFunc(r.Context(), func() { _ = w.bodyWrite.CloseWithError(r.Context().Err()) })()
		t.handler.ServeHTTP(w, in)
	}()

	select {
	case <-w.ready:
		return w.response, w.err
	case <-r.Context().Done():
		cancel()
		_ = w.bodyRead.CloseWithError(r.Context().Err())
		return nil, r.Context().Err()
	}
}

// serverRequest is r as a server sees it.
func serverRequest(ctx context.Context, r *http.Request, body io.ReadCloser) *http.Request {
	// Whoever asks within a request of somebody's asks for itself.
	in := r.WithContext(context.WithValue(ctx, clientKey{}, &client{address: netip.AddrFrom4([4]byte{127, 0, 0, 1})}))
	in.Header = r.Header.Clone()
	if in.Header == nil {
		in.Header = http.Header{}
	}
	in.Body = body
	in.Proto, in.ProtoMajor, in.ProtoMinor = "HTTP/1.1", 1, 1
	if in.Method == "" {
		in.Method = http.MethodGet
	}
	if in.Host == "" {
		in.Host = r.URL.Host
	}
	if r.ContentLength == 0 && body != http.NoBody {
		in.ContentLength = -1 // a client's 0 beside a body means that it does not know
	}
	in.RequestURI = r.URL.RequestURI()
	in.RemoteAddr = "127.0.0.1:0"
	if r.URL.Scheme == "https" {
		in.TLS = &tls.ConnectionState{HandshakeComplete: true}
	}
	return in
}

// memoryWriter keeps what a handler writes until it flushes or ends, and passes on the
// rest as it comes.
type memoryWriter struct {
	request   *http.Request
	cancel    context.CancelFunc
	ready     chan struct{} // closed when response or err is set
	bodyRead  *io.PipeReader
	bodyWrite *io.PipeWriter

	mu       sync.Mutex // guards the rest
	header   http.Header
	status   int         // 0: no header yet
	sent     http.Header // header as it was then
	kept     bytes.Buffer
	flushed  bool
	response *http.Response
	err      error
}

// maxKept is how much is kept of an answer that is never flushed.
const maxKept = 64 << 10

func (w *memoryWriter) Header() http.Header { return w.header }

func (w *memoryWriter) WriteHeader(status int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writeHeader(status)
}

func (w *memoryWriter) writeHeader(status int) {
	if w.status != 0 || status < 200 {
		return
	}
	w.status = status
	w.sent = make(http.Header, len(w.header))
	for name, values := range w.header {
		// Over a network the other side would make the names canonical.
		name = http.CanonicalHeaderKey(name)
		w.sent[name] = append(w.sent[name], values...)
	}
}

func (w *memoryWriter) Write(b []byte) (int, error) {
	w.mu.Lock()
	w.writeHeader(http.StatusOK)
	if !w.flushed && w.kept.Len()+len(b) <= maxKept {
		defer w.mu.Unlock()
		return w.kept.Write(b)
	}
	kept := w.flush()
	w.mu.Unlock()
	if len(kept) > 0 {
		if _, err := w.bodyWrite.Write(kept); err != nil {
			return 0, err
		}
	}
	return w.bodyWrite.Write(b)
}

// Flush lets the response go.
func (w *memoryWriter) Flush() {
	w.mu.Lock()
	w.writeHeader(http.StatusOK)
	kept := w.flush()
	w.mu.Unlock()
	if len(kept) > 0 {
		_, _ = w.bodyWrite.Write(kept) // the next Write will say so
	}
}

// flush delivers a response whose body is the pipe, and returns what must be written to
// it first.
func (w *memoryWriter) flush() []byte {
	if w.flushed {
		return nil
	}
	w.flushed = true
	w.deliver(&pipeBody{w.bodyRead, w.cancel}, -1)
	return w.kept.Bytes()
}

func (w *memoryWriter) deliver(body io.ReadCloser, length int64) {
	w.response = &http.Response{
		Status:        fmt.Sprintf("%d %s", w.status, http.StatusText(w.status)),
		StatusCode:    w.status,
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        w.sent,
		Body:          body,
		ContentLength: length,
		Request:       w.request,
	}
	close(w.ready)
}

// end says that the handler has ended, with an error if it panicked.
func (w *memoryWriter) end(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err == nil {
		err = w.request.Context().Err()
	}
	if w.flushed {
		_ = w.bodyWrite.CloseWithError(err)
		return
	}
	w.flushed = true
	if err != nil {
		w.err = err
		close(w.ready)
		return
	}
	w.writeHeader(http.StatusOK)
	w.deliver(io.NopCloser(bytes.NewReader(w.kept.Bytes())), int64(w.kept.Len()))
}

// pipeBody is a streaming response's body.
type pipeBody struct {
	*io.PipeReader
	cancel context.CancelFunc
}

func (b *pipeBody) Close() error {
	b.cancel()
	return b.PipeReader.Close()
}
