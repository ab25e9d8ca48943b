package gateway

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"time"

	"github.com/malote/malote/gateway/sigv4"
)

// handle authenticates a request to one of Config.Handlers and hands it over. The
// signature covers the body, so it is read whole first; the answer may stream.
func (e *exchange) handle(h http.Handler) {
	e.handler = true
	defer e.finish()
	var body []byte // the handler's to keep: not of the pool
	if f := e.readBody(&body); f != nil {
		e.refuse(f)
		return
	}
	a, authErr := sigv4.Parse(e.r)
	if authErr != nil {
		e.refuse(signatureFailure(authErr, dialectJSON))
		return
	}
	ctx, ok := e.admit(a, body)
	if !ok {
		return
	}
	r := e.r.WithContext(ctx)
	r.Body = io.NopCloser(bytes.NewReader(body))
	e.pass(h, r)
}

// handleUnsigned serves what decides by itself who may.
func (e *exchange) handleUnsigned(h http.Handler) {
	e.handler = true
	defer e.finish()
	e.r.Body = http.MaxBytesReader(e.w, e.r.Body, e.g.cfg.MaxBody)
	e.pass(h, e.r)
}

// pass gives a request to a handler, which may stream.
func (e *exchange) pass(h http.Handler, r *http.Request) {
	e.path = r.URL.Path
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	if closing, ok := ctx.Value(closingKey{}).(context.Context); ok {
		defer context.AfterFunc(closing, cancel)()
	}
	// A server's limits on time are for requests; a stream has none. A writer without
	// deadlines has nothing to lift.
	controller := http.NewResponseController(e.w)
	_ = controller.SetReadDeadline(time.Time{})
	_ = controller.SetWriteDeadline(time.Time{})

	h.ServeHTTP(&statusWriter{ResponseWriter: e.w, status: &e.status}, r.WithContext(ctx))
	if e.status == 0 {
		e.status = http.StatusOK
	}
}

// closingKey is where a server's context keeps another that ends when the server begins
// to shut down. Streams end then; requests are finished.
type closingKey struct{}

// statusWriter notes the status for the log.
type statusWriter struct {
	http.ResponseWriter
	status *int
}

func (w *statusWriter) WriteHeader(status int) {
	if *w.status == 0 && status >= 200 {
		*w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(b []byte) (int, error) {
	if *w.status == 0 {
		*w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

func (w *statusWriter) Flush() {
	if *w.status == 0 {
		*w.status = http.StatusOK
	}
	_ = http.NewResponseController(w.ResponseWriter).Flush()
}

// Unwrap lets http.ResponseController find what lies beneath.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
