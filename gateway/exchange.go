package gateway

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"reflect"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/malote/malote/caller"
	"github.com/malote/malote/gateway/awsjson"
	"github.com/malote/malote/gateway/awsquery"
	"github.com/malote/malote/gateway/sigv4"
)

// exchange is one request and its answer.
type exchange struct {
	g     *gateway
	w     http.ResponseWriter
	r     *http.Request
	start time.Time
	id    string

	service   *service
	operation string     // as the client names it
	op        *operation // once it was looked for; nil when there is none
	handler   bool       // it is one of Config.Handlers' or Config.Unsigned's
	path      string     // of a handler, once it is the handler's
	form      string     // of a Query request, as it came
	principal string
	payload   string // of S3

	status int
	code   string    // of the error that was answered
	values [3]string // of headers

	// Of the audit: the context of a request that it has begun and not yet recorded, and
	// what is to be shown of it.
	audited    context.Context
	parameters []byte
}

// buffers hold bodies. What returns to the pool has been wiped.
var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 4096); return &b }}

// maxPooled is the length of the longest buffer that is kept.
const maxPooled = 256 << 10

// release gives a buffer back once what was written is in it. One in which somebody panicked
// while writing is not given back: how much is in it, nobody knows.
func release(b *[]byte) {
	if cap(*b) > maxPooled {
		return
	}
	clear(*b) // all that was used: whoever has one only appends
	*b = (*b)[:0]
	buffers.Put(b)
}

// serve answers a request of one of the protocols.
func (e *exchange) serve() {
	defer e.finish()
	buffer := buffers.Get().(*[]byte)
	target := first(e.r.Header, "X-Amz-Target")
	if target != "" {
		prefix, name := cutTarget(target)
		e.service, e.operation = e.g.byTarget[prefix], name
	}
	unread := e.readBody(buffer)
	defer release(buffer)
	body := *buffer
	a, authErr := sigv4.Parse(e.r)
	unroutable := e.route(target, body)
	if e.service == nil && authErr == nil && target == "" {
		if s := e.g.byName[a.Service]; s != nil && s.router == nil { // S3 has a door of its own
			e.service = s // what it is signed for decides how it is answered
		}
	}
	if unread != nil {
		e.refuse(unread)
		return
	}
	if unroutable != nil {
		e.refuse(unroutable)
		return
	}
	if e.service == nil {
		e.refuse(&failure{code: "UnknownOperationException", status: http.StatusNotFound})
		return
	}
	ctx, ok := e.who(a, authErr, body)
	if !ok {
		return
	}
	op, err := e.service.operation(e.operation)
	e.op = op
	if err == nil {
		ctx, err = e.begin(ctx, op)
	}
	if err != nil {
		e.fail(err)
		return
	}
	if op == nil {
		e.refuse(e.unknownOperation())
		return
	}
	out, err := e.call(ctx, op, body)
	if err == nil {
		err = e.answer(op, out)
	}
	if err != nil {
		e.fail(err)
	}
}

// who is the context that says who is asking: whoever signed the request, or nobody when
// its operation is for anybody.
func (e *exchange) who(a *sigv4.Authorization, authErr *sigv4.Error, body []byte) (context.Context, bool) {
	if e.service.anonymous[e.operation] {
		region := firstRegion
		if len(e.g.cfg.Regions) > 0 {
			region = e.g.cfg.Regions[0]
		}
		return e.accept(&sigv4.Authorization{Service: e.service.name, Region: region}, &Credential{Principal: anyone}), true
	}
	if authErr != nil {
		e.refuse(signatureFailure(authErr, e.service.dialect()))
		return nil, false
	}
	return e.admit(a, body)
}

// begin tells the audit of a request whose signature is right, or that needs none. Op is nil where the request
// names none that there is.
func (e *exchange) begin(ctx context.Context, op *operation) (context.Context, error) {
	reveals := false
	if op != nil {
		if err := e.service.prepare(op); err != nil {
			return nil, err
		}
		reveals = op.reveals
	}
	if e.g.cfg.Audit == nil {
		return ctx, nil
	}
	begun, err := e.g.cfg.Audit.Begin(ctx, reveals)
	if err != nil {
		return nil, fmt.Errorf("the audit refuses the request: %w", err)
	}
	e.audited = begun
	return begun, nil
}

// record has the audit record how the request ended, before the client hears of it.
func (e *exchange) record(code, message string, response []byte) error {
	if e.audited == nil {
		return nil
	}
	ctx := e.audited
	e.audited = nil
	if err := e.g.cfg.Audit.End(ctx, code, message, e.parameters, response); err != nil {
		return fmt.Errorf("recording the request: %w", err)
	}
	return nil
}

// recordDone is record of a request that was done, with what of its output the audit may have.
func (e *exchange) recordDone(op *operation, out any) error {
	var response []byte
	if e.audited != nil && op.tells != nil {
		response = op.tells.Append(nil, reflect.ValueOf(out).Elem())
	}
	return e.record("", "", response)
}

// show notes what of the input the audit may have.
func (e *exchange) show(op *operation, in reflect.Value) {
	if e.audited != nil && op.shows != nil {
		e.parameters = op.shows.Append(make([]byte, 0, 96), in.Elem())
	}
}

// admit authenticates the request and returns the context that says who is asking.
func (e *exchange) admit(a *sigv4.Authorization, body []byte) (context.Context, bool) {
	sum := sha256.Sum256(body)
	var payload [2 * sha256.Size]byte
	hex.Encode(payload[:], sum[:])
	credential, ok := e.identify(a, string(payload[:]))
	if !ok {
		return nil, false
	}
	return e.accept(a, credential), true
}

// identify authenticates the request, or answers why not.
func (e *exchange) identify(a *sigv4.Authorization, payload string) (*Credential, bool) {
	credential, f, err := e.authenticate(a, payload)
	if err != nil {
		e.fail(err)
		return nil, false
	}
	if f != nil {
		e.refuse(f)
		return nil, false
	}
	e.principal = credential.Principal.ARN
	return credential, true
}

// accept is the context of a request whose signature is right.
func (e *exchange) accept(a *sigv4.Authorization, credential *Credential) context.Context {
	request := e.request(credential.Principal)
	request.Region, request.Service = a.Region, a.Service
	request.Presigned, request.SignedAt = a.Presigned, a.Time
	return caller.With(e.r.Context(), request)
}

// request is what there is to say of a principal's request, whatever its signature.
func (e *exchange) request(p *caller.Principal) *caller.Request {
	request := &caller.Request{
		ID:        e.id,
		Principal: p,
		Operation: e.operation,
		UserAgent: clipped(first(e.r.Header, "User-Agent"), maxUserAgent),
		Referer:   clipped(first(e.r.Header, "Referer"), maxUserAgent),
		Payload:   e.payload,
		Host:      e.r.Host,
		Time:      e.start,
	}
	if e.service != nil {
		request.Service = e.service.name
	}
	from, ok := e.r.Context().Value(clientKey{}).(*client)
	if !ok { // by another server than this package's
		from = &client{address: peer(e.r.RemoteAddr)}
	}
	request.SourceIP, request.Secure, request.TLS = from.address, from.secure(e.r), from.tlsVersion(e.r)
	return request
}

// maxUserAgent is what CloudTrail keeps of a user agent. The audit has thousands of them in
// memory while a disk is slow.
const maxUserAgent = 1 << 10

func clipped(s string, size int) string {
	if len(s) > size {
		return strings.ToValidUTF8(s[:size], "")
	}
	return s
}

// maxBody is how long the body may be.
func (e *exchange) maxBody() int64 {
	if e.service != nil && e.service.maxBody > 0 {
		return e.service.maxBody
	}
	return e.g.cfg.MaxBody
}

// first is Header.Get for a name in its canonical form.
func first(h http.Header, name string) string {
	if values := h[name]; len(values) > 0 {
		return values[0]
	}
	return ""
}

// readBody reads the whole body into b.
func (e *exchange) readBody(b *[]byte) *failure {
	limit := e.maxBody()
	if e.r.ContentLength > limit {
		return e.tooLong(limit)
	}
	if e.r.Body == nil || e.r.Body == http.NoBody {
		return nil
	}
	// A length that is only announced gets no memory beyond what any request may have.
	if n := int(e.r.ContentLength); n >= 0 && e.r.ContentLength <= e.g.cfg.MaxBody {
		if cap(*b) < n {
			*b = make([]byte, 0, n)
		}
		*b = (*b)[:n]
		if _, err := io.ReadFull(e.r.Body, *b); err != nil {
			return &failure{code: "IncompleteBody", text: "The request body ended too early.", status: http.StatusBadRequest}
		}
		return nil
	}
	whole := bytes.NewBuffer((*b)[:0])
	n, err := whole.ReadFrom(io.LimitReader(e.r.Body, limit+1))
	*b = whole.Bytes()
	if err != nil {
		return &failure{code: "IncompleteBody", text: "The request body ended too early.", status: http.StatusBadRequest}
	}
	if n > limit {
		return e.tooLong(limit)
	}
	return nil
}

// tooLong refuses a body, and the connection with it: the rest need not be read.
func (e *exchange) tooLong(limit int64) *failure {
	e.w.Header().Set("Connection", "close")
	return &failure{code: "RequestEntityTooLargeException", text: fmt.Sprintf("Request size exceeded %d bytes", limit), status: http.StatusRequestEntityTooLarge}
}

// route finds the service and the operation that a request names, which its target has done
// already, if it has one.
func (e *exchange) route(target string, body []byte) *failure {
	if target != "" {
		if e.service == nil {
			return &failure{code: "UnknownOperationException", text: "No service here has this target.", status: http.StatusBadRequest}
		}
		return nil
	}
	text := e.r.URL.RawQuery
	if e.r.Method == http.MethodPost {
		mediaType, _, _ := strings.Cut(e.r.Header.Get("Content-Type"), ";")
		if strings.EqualFold(strings.TrimSpace(mediaType), "application/x-www-form-urlencoded") {
			text = strings.TrimPrefix(text+"&"+string(body), "&")
		}
	}
	action, version, err := awsquery.Named(text, "Action", "Version")
	if err != nil {
		var malformed *awsquery.Error
		errors.As(err, &malformed)
		return &failure{code: malformed.Code, text: malformed.Text, status: http.StatusBadRequest}
	}
	e.form, e.operation = text, action
	e.service = e.g.byAPI[version]
	return nil
}

// cutTarget is the service's part of X-Amz-Target and the operation. CloudTrail's part has
// dots.
func cutTarget(target string) (prefix, operation string) {
	i := strings.LastIndexByte(target, '.')
	if i < 0 {
		return target, ""
	}
	return target[:i], target[i+1:]
}

func (e *exchange) unknownOperation() *failure {
	switch {
	case e.service.query && e.operation == "":
		return &failure{code: "MissingAction", text: "The request is missing an action or a required parameter.", status: http.StatusBadRequest}
	case e.service.query:
		return &failure{code: "InvalidAction", text: fmt.Sprintf("Could not find operation %s for version %s", e.operation, e.service.model.Version), status: http.StatusBadRequest}
	case e.service.model.Has(e.operation):
		return &failure{code: "UnknownOperationException", text: fmt.Sprintf("The operation %s is not supported here.", e.operation), status: http.StatusBadRequest}
	default:
		return &failure{code: "UnknownOperationException", status: http.StatusBadRequest}
	}
}

// call decodes and checks the input and calls the method.
func (e *exchange) call(ctx context.Context, op *operation, body []byte) (any, error) {
	in := reflect.New(op.in)
	var err error
	if e.service.query {
		var form *awsquery.Form
		if form, err = awsquery.Parse(e.form); err == nil {
			err = form.Decode(in.Interface())
		}
	} else {
		err = e.service.codec.Decode(body, in.Interface())
	}
	if err != nil {
		return nil, err
	}
	e.show(op, in)
	if err := e.service.validate(op, in.Elem()); err != nil {
		return nil, err
	}
	return op.call(ctx, in)
}

// call calls the method with an input, a pointer to its structure.
func (op *operation) call(ctx context.Context, in reflect.Value) (any, error) {
	// A Value of the interface's own type saves Call from asking what ctx implements.
	results := op.method.Call([]reflect.Value{reflect.ValueOf(&ctx).Elem(), in})
	if err, _ := results[1].Interface().(error); err != nil {
		return nil, err
	}
	if results[0].IsNil() {
		return nil, fmt.Errorf("%s returned neither output nor error", op.logged)
	}
	return results[0].Interface(), nil
}

// answer writes the output of an operation.
func (e *exchange) answer(op *operation, out any) error {
	buffer := buffers.Get().(*[]byte)
	var err error
	contentType := awsjson.ContentType
	switch {
	case e.service.query:
		contentType = awsquery.ContentType
		if !op.hasOutput {
			out = nil
		}
		*buffer, err = awsquery.AppendResponse(*buffer, e.service.namespace, op.name, e.id, out)
	case op.hasOutput:
		*buffer, err = e.service.codec.Append(*buffer, out)
	}
	defer release(buffer)
	if err != nil {
		return fmt.Errorf("writing the answer: %w", err)
	}
	if err := e.recordDone(op, out); err != nil {
		return err
	}
	e.write(http.StatusOK, contentType, *buffer)
	return nil
}

func (e *exchange) write(status int, contentType string, body []byte) {
	e.status = status
	h := e.w.Header()
	h["Content-Type"] = e.header(0, contentType)
	h["Content-Length"] = e.header(1, strconv.Itoa(len(body)))
	e.w.WriteHeader(status)
	if e.r.Method != http.MethodHead {
		_, _ = e.w.Write(body) // the client is gone: nobody to tell
	}
}

// header is a header's one value.
func (e *exchange) header(i int, value string) []string {
	e.values[i] = value
	return e.values[i : i+1 : i+1]
}

// fail answers an error. One that is not AWS's is logged, and its text stays here.
func (e *exchange) fail(err error) {
	f := e.service.failureOf(err)
	if v := (*violation)(nil); f != nil && errors.As(err, &v) {
		f.recorded = v.withoutValues()
	}
	if f == nil {
		f = internal(e.service)
		level := slog.LevelError
		if e.r.Context().Err() != nil {
			level = slog.LevelInfo // the client hung up
		}
		e.g.cfg.Log.LogAttrs(e.r.Context(), level, "internal error",
			slog.String("op", e.logged()), slog.String("request_id", e.id), slog.Any("err", err))
	}
	if e.g.cfg.Explain != nil {
		if text := e.g.cfg.Explain(e.r.Context(), err); text != "" {
			e.w.Header()["X-Malote-Encoded-Authorization-Message"] = []string{text}
		}
	}
	e.refuse(f)
}

// refuse answers a failure.
func (e *exchange) refuse(f *failure) {
	e.code = f.code
	message := f.recorded
	if message == "" && f.details != nil { // of a service's: others may quote the request
		message = f.text
	}
	if err := e.record(f.code, message, nil); err != nil { // no secret goes out with it
		e.g.cfg.Log.LogAttrs(e.r.Context(), slog.LevelError, "a refusal is not in the audit", slog.String("request_id", e.id), slog.Any("err", err))
	}
	if e.service.dialect() == dialectREST {
		e.refuseREST(f)
		return
	}
	buffer := buffers.Get().(*[]byte)
	if e.service != nil && e.service.query {
		fault := "Sender"
		if f.server {
			fault = "Receiver"
		}
		*buffer = awsquery.AppendError(*buffer, e.service.namespace, fault, f.code, f.text, e.id)
		defer release(buffer)
		e.write(f.status, awsquery.ContentType, *buffer)
		return
	}
	var codec awsjson.Codec
	if e.service != nil {
		codec = e.service.codec
	}
	var err error
	*buffer, err = codec.AppendError(*buffer, f.code, e.service.messageMember(f.code), f.text, f.details)
	defer release(buffer)
	if err != nil {
		e.g.cfg.Log.LogAttrs(e.r.Context(), slog.LevelError, "error without its details", slog.String("request_id", e.id), slog.Any("err", err))
	}
	e.w.Header()["x-amzn-errortype"] = []string{f.code}
	e.write(f.status, awsjson.ContentType, *buffer)
}

func (e *exchange) logged() string {
	if e.op != nil {
		return e.op.logged
	}
	if e.path != "" {
		return e.path
	}
	if e.service == nil {
		return "unknown"
	}
	if op, err := e.service.operation(e.operation); err == nil && op != nil {
		return op.logged
	}
	return e.service.name + ":unknown"
}

// finish counts and logs the exchange. A panic of the service's becomes its internal error; what it
// said may hold values, so only a runtime error's text is logged.
func (e *exchange) finish() {
	defer e.count()
	if p := recover(); p != nil {
		if p == http.ErrAbortHandler {
			e.code = "aborted"
			panic(p)
		}
		attrs := []slog.Attr{
			slog.String("op", e.logged()), slog.String("request_id", e.id),
			slog.String("type", fmt.Sprintf("%T", p)), slog.String("stack", string(debug.Stack())),
		}
		if re, ok := p.(runtime.Error); ok {
			attrs = append(attrs, slog.String("err", re.Error()))
		}
		e.g.cfg.Log.LogAttrs(e.r.Context(), slog.LevelError, "panic", attrs...)
		if e.status != 0 {
			e.code = "aborted"
			panic(http.ErrAbortHandler) // too late for another answer
		}
		e.refuse(internal(e.service))
	}
	log := e.g.cfg.Log.Handler() // by the Logger, each line would cost a look at who called
	if !log.Enabled(e.r.Context(), slog.LevelInfo) {
		return
	}
	now := e.g.cfg.Now()
	line := slog.NewRecord(now, slog.LevelInfo, "request", 0)
	line.AddAttrs(
		slog.String("op", e.logged()),
		slog.String("principal", e.principal),
		slog.String("request_id", e.id),
		slog.Int("status", e.status),
		slog.Duration("duration", now.Sub(e.start)),
	)
	if e.code != "" {
		line.AddAttrs(slog.String("error", e.code))
	}
	_ = log.Handle(e.r.Context(), line) // as Logger does
}
