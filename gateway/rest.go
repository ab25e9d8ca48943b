package gateway

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/smithy-go"

	"github.com/malote/malote/gateway/model"
	"github.com/malote/malote/gateway/restxml"
	"github.com/malote/malote/internal/checksum"
)

// isREST tells S3's requests from the others': by what they are signed for, else by the
// host's name. What is signed for nothing and has a path that is nobody's is S3's as well.
func (g *gateway) isREST(r *http.Request) bool {
	if header := first(r.Header, "Authorization"); header != "" {
		return strings.Contains(header, "/s3/aws4_request") || strings.HasPrefix(header, "AWS ")
	}
	if query := strings.ToLower(r.URL.RawQuery); query != "" {
		if strings.Contains(query, "%2fs3%2faws4_request") || strings.Contains(query, "/s3/aws4_request") || strings.Contains(query, "awsaccesskeyid=") {
			return true
		}
	}
	// An SDK without credentials that asks for its buckets, and not for a sign of life.
	if r.URL.Path == "/" && r.URL.RawQuery == "" && r.Method == http.MethodGet && r.Header.Get("Amz-Sdk-Invocation-Id") != "" {
		return true
	}
	return g.hostBucket(r) != ""
}

// hostBucket is the bucket that the host's name has, "" when it has none.
func (g *gateway) hostBucket(r *http.Request) string {
	t, _ := restxml.ParseTarget(&http.Request{Host: r.Host, URL: &url.URL{}}, g.cfg.Domains)
	return t.Bucket
}

// serveREST answers a request for S3.
func (e *exchange) serveREST() {
	defer e.finish()
	e.service = e.g.rest
	e.w.Header()["x-amz-request-id"] = []string{e.id}
	e.w.Header()["x-amz-id-2"] = []string{e.id}
	target, ok := restxml.ParseTarget(e.r, e.g.cfg.Domains)
	query, err := url.ParseQuery(e.r.URL.RawQuery)
	if !ok || err != nil {
		e.refuse(&failure{code: "InvalidURI", text: "Couldn't parse the specified URI.", status: http.StatusBadRequest})
		return
	}
	e.operation = e.service.router.Operation(e.r, target, query)
	who, ok := e.asker(target, query)
	if !ok {
		return
	}
	ctx := who.ctx
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
		e.refuse(e.notImplemented())
		return
	}
	content, f := e.content(who)
	if f != nil {
		e.refuse(f)
		return
	}
	out, err := e.callREST(ctx, op, target, query, content)
	if err == nil {
		err = e.answerREST(op, out)
	}
	if err != nil {
		e.fail(err)
	}
}

func (e *exchange) notImplemented() *failure {
	if e.operation == "" {
		return &failure{
			code: "MethodNotAllowed", text: "The specified method is not allowed against this resource.", status: http.StatusMethodNotAllowed,
			elements: [][2]string{{"Method", e.r.Method}, {"ResourceType", "SERVICE"}},
		}
	}
	return &failure{code: "NotImplemented", text: fmt.Sprintf("The operation %s is not supported here.", e.operation), status: http.StatusNotImplemented}
}

// checked are the operations whose body must come with a digest. PutBucketPolicy is not
// among them, though the API's description says so: s3cmd sends none.
//
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html
var checked = map[string]bool{
	"DeleteObjects": true, "PutBucketAcl": true, "PutBucketEncryption": true, "PutBucketLifecycleConfiguration": true, "PutBucketOwnershipControls": true,
	"PutBucketTagging": true, "PutBucketVersioning": true, "PutObjectTagging": true, "PutPublicAccessBlock": true,
}

// callREST decodes the input, checks it and calls the method.
func (e *exchange) callREST(ctx context.Context, op *operation, t restxml.Target, query url.Values, content *content) (any, error) {
	var body []byte
	if !op.rest.Streams() {
		var err error
		if body, err = content.whole(content.limit); err != nil {
			return nil, err
		}
		if err := verifyDigests(e.r.Header, content, body, checked[op.name]); err != nil {
			return nil, err
		}
	} else if !content.known() {
		return nil, missingLength
	}
	content.fill(e.r.Header)
	in := reflect.New(op.in)
	if err := op.rest.Decode(in.Interface(), e.r, t, query, body, content); err != nil {
		return nil, err
	}
	e.show(op, in)
	if err := e.service.validate(op, in.Elem()); err != nil {
		return nil, err
	}
	return op.call(ctx, in)
}

var missingLength = &restFailure{"MissingContentLength", "You must provide the Content-Length HTTP header.", http.StatusLengthRequired, nil}

// verifyDigests compares a whole body with what the client says of it.
func verifyDigests(h http.Header, content *content, body []byte, required bool) error {
	found := false
	if given := h.Get("Content-Md5"); given != "" {
		found = true
		sum := md5.Sum(body)
		if decoded, err := base64.StdEncoding.DecodeString(given); err != nil || len(decoded) != md5.Size {
			return &restFailure{"InvalidDigest", "The Content-MD5 you specified was invalid.", http.StatusBadRequest, nil}
		} else if !bytes.Equal(decoded, sum[:]) {
			return &restFailure{
				"BadDigest", "The Content-MD5 you specified did not match what we received.", http.StatusBadRequest,
				[][2]string{{"ExpectedDigest", given}, {"CalculatedDigest", base64.StdEncoding.EncodeToString(sum[:])}},
			}
		}
	}
	for _, algorithm := range checksum.All {
		given := h.Get(algorithm.Header())
		if given == "" {
			given = content.Trailer().Get(algorithm.Header())
		}
		if given == "" {
			continue
		}
		found = true
		sum, ok := algorithm.Parse(given)
		if !ok {
			return &restFailure{"InvalidRequest", "Value for " + algorithm.Header() + " header is invalid.", http.StatusBadRequest, nil}
		}
		hash := checksum.New(algorithm)
		hash.Write(body)
		if !bytes.Equal(sum, hash.Sum(nil)) {
			return &restFailure{"BadDigest", fmt.Sprintf("The %s you specified did not match the calculated checksum.", algorithm), http.StatusBadRequest, nil}
		}
	}
	if required && !found {
		return &restFailure{"InvalidRequest", "Missing required header for this request: Content-MD5 OR x-amz-checksum-*", http.StatusBadRequest, nil}
	}
	return nil
}

// restViolation words what is wrong with an input as S3 does.
func restViolation(violations []model.Violation) error {
	v := violations[0]
	if strings.Contains(v.Path, ".") { // within a body
		return &restFailure{"MalformedXML", "The XML you provided was not well-formed or did not validate against our published schema", http.StatusBadRequest, nil}
	}
	if v.Path == "key" && !v.Missing {
		return &restFailure{"KeyTooLongError", "Your key is too long", http.StatusBadRequest, nil}
	}
	return &restFailure{"InvalidArgument", model.Message(violations), http.StatusBadRequest, [][2]string{{"ArgumentName", v.Path}}}
}

// copyBuffers carry what streams out.
var copyBuffers = sync.Pool{New: func() any { b := make([]byte, 64<<10); return &b }}

// answerREST writes an output.
func (e *exchange) answerREST(op *operation, out any) error {
	buffer := buffers.Get().(*[]byte)
	recorded := e.recordDone(op, out) // before there is a header of the answer
	h := e.w.Header()
	if recorded != nil {
		h = http.Header{}
	}
	answer, err := op.rest.Encode(*buffer, out, h)
	*buffer = answer.Body
	defer release(buffer)
	if answer.Stream != nil {
		defer answer.Stream.Close()
	}
	if recorded != nil {
		return recorded
	}
	if err != nil {
		return fmt.Errorf("writing the answer: %w", err)
	}
	e.allowAnswer()
	h["Server"] = []string{"AmazonS3"}
	if answer.Stream == nil {
		if len(answer.Body) > 0 || e.r.Method != http.MethodHead && answer.Status != http.StatusNoContent {
			h["Content-Length"] = []string{strconv.Itoa(len(answer.Body))}
		}
		e.status = answer.Status
		e.w.WriteHeader(answer.Status)
		if e.r.Method != http.MethodHead {
			_, _ = e.w.Write(answer.Body) // the client is gone: nobody to tell
		}
		return nil
	}
	e.status = answer.Status
	e.w.WriteHeader(answer.Status)
	carrier := copyBuffers.Get().(*[]byte)
	defer func() { clear(*carrier); copyBuffers.Put(carrier) }()
	w := &pacedWriter{w: e.w, controller: http.NewResponseController(e.w)}
	if _, err := io.CopyBuffer(w, struct{ io.Reader }{answer.Stream}, *carrier); err != nil {
		if w.err == nil { // ours, not the client's
			e.g.cfg.Log.LogAttrs(e.r.Context(), slog.LevelError, "an answer was cut short",
				slog.String("op", e.logged()), slog.String("request_id", e.id), slog.Any("err", err))
		}
		panic(http.ErrAbortHandler) // the status is out: only a cut tells the client
	}
	return nil
}

// allowAnswer gives an answer its time from now on: the server's limit counts from the
// request's beginning, and its body may have taken hours.
func (e *exchange) allowAnswer() {
	_ = http.NewResponseController(e.w).SetWriteDeadline(time.Now().Add(answerTimeout)) // one in memory has none
}

// streamTimeout is how long a client may take for one piece of a body that streams.
const streamTimeout = time.Minute

// pacedWriter gives the client time anew with every piece.
type pacedWriter struct {
	w          io.Writer
	controller *http.ResponseController
	err        error
}

func (w *pacedWriter) Write(p []byte) (n int, err error) {
	_ = w.controller.SetWriteDeadline(time.Now().Add(streamTimeout)) // one in memory has none
	n, w.err = w.w.Write(p)
	return n, w.err
}

// refuseREST writes an error in S3's form.
func (e *exchange) refuseREST(f *failure) {
	e.allowAnswer()
	h := e.w.Header()
	for name, values := range f.header {
		h[name] = values
	}
	h["Server"] = []string{"AmazonS3"}
	if f.status == http.StatusNotModified || e.r.Method == http.MethodHead {
		e.status = f.status
		if f.status != http.StatusNotModified {
			h["Content-Type"] = []string{restxml.ContentType}
		}
		e.w.WriteHeader(f.status)
		return
	}
	body := restxml.AppendError(nil, f.code, f.text, f.elements, e.id, e.id)
	e.write(f.status, restxml.ContentType, body)
}

// restFailure is an error of S3's that the gateway finds itself.
type restFailure struct {
	code, text string
	status     int
	elements   [][2]string
}

func (f *restFailure) Error() string { return f.code + ": " + f.text }

// ErrorCode, ErrorMessage and ErrorFault make it a smithy.APIError, and the others a
// restError: services pass on what reading a body said.
func (f *restFailure) ErrorCode() string             { return f.code }
func (f *restFailure) ErrorMessage() string          { return f.text }
func (f *restFailure) ErrorFault() smithy.ErrorFault { return smithy.FaultClient }
func (f *restFailure) HTTPStatus() int               { return f.status }
func (f *restFailure) Header() http.Header           { return nil }
func (f *restFailure) Elements() [][2]string         { return f.elements }
