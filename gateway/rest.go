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
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/smithy-go"

	"github.com/malote/malote/gateway/model"
	"github.com/malote/malote/gateway/restxml"
	"github.com/malote/malote/gateway/sigv4"
	"github.com/malote/malote/internal/checksum"
)

// isREST tells S3's requests from the others': by what they are signed for, else by the
// host's name. What is signed for nothing and has a path that is nobody's is S3's as well.
func (g *gateway) isREST(r *http.Request) bool {
	if header := r.Header.Get("Authorization"); header != "" {
		return strings.Contains(header, "/s3/aws4_request") || strings.HasPrefix(header, "AWS ")
	}
	if query := strings.ToLower(r.URL.RawQuery); query != "" {
		if strings.Contains(query, "%2fs3%2faws4_request") || strings.Contains(query, "/s3/aws4_request") || strings.Contains(query, "awsaccesskeyid=") {
			return true
		}
	}
	t, _ := restxml.ParseTarget(&http.Request{Host: r.Host, URL: &url.URL{}}, g.cfg.Domains)
	return t.Bucket != ""
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
	a, f := e.restAuthorization(query)
	if f != nil {
		e.refuse(f)
		return
	}
	payload, f := payloadOf(e.r, a, query)
	if f != nil {
		e.refuse(f)
		return
	}
	e.payload = payload
	credential, ok := e.identify(a, payload)
	if !ok {
		return
	}
	if f := unsignedHeaders(e.r, a); f != nil {
		e.refuse(f)
		return
	}
	if a.Presigned && hoisted(e.r.Header, query) {
		e.operation = e.service.router.Operation(e.r, target, query)
	}
	ctx := e.accept(a, credential)
	op := e.service.operations[e.operation]
	ctx, err = e.begin(ctx, op)
	if err != nil {
		e.fail(err)
		return
	}
	if op == nil {
		e.refuse(e.notImplemented())
		return
	}
	content, f := e.content(a, payload, credential.SecretAccessKey)
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

// restAuthorization reads the signature. Version 2, which some clients still use for
// presigned URLs, is refused with what to do.
func (e *exchange) restAuthorization(query url.Values) (*sigv4.Authorization, *failure) {
	if strings.HasPrefix(e.r.Header.Get("Authorization"), "AWS ") || query.Has("AWSAccessKeyId") {
		return nil, &failure{
			code: "InvalidRequest", status: http.StatusBadRequest,
			text: "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256. (For presigned URLs: signature_version = s3v4 in the client's configuration.)",
		}
	}
	a, err := sigv4.Parse(e.r)
	if err != nil {
		f := signatureFailure(err, dialectREST)
		if err.Code == sigv4.Incomplete && e.r.Header.Get("Authorization") == "" {
			f.code = "AuthorizationQueryParametersError"
		}
		return nil, f
	}
	if a.Presigned && a.Expires == 0 {
		return nil, &failure{
			code: "AuthorizationQueryParametersError", status: http.StatusBadRequest,
			text: "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters.",
		}
	}
	if a.Service != "s3" {
		return nil, &failure{
			code: "AuthorizationHeaderMalformed", status: http.StatusBadRequest,
			text: fmt.Sprintf("The authorization header is malformed; incorrect service %q. This endpoint belongs to \"s3\".", a.Service),
		}
	}
	if !e.g.validRegion(a.Service, a.Region) {
		// Some sign for "US" until they are told better; a bucket elsewhere tells its own region.
		return nil, &failure{
			code: "AuthorizationHeaderMalformed", status: http.StatusBadRequest, elements: [][2]string{{"Region", firstRegion}},
			text: fmt.Sprintf("The authorization header is malformed; the region '%s' is wrong; expecting '%s'", a.Region, firstRegion),
		}
	}
	return a, nil
}

const firstRegion = "us-east-1"

// payloadOf is what the signature covers of the body: its hash, or a word in its place.
func payloadOf(r *http.Request, a *sigv4.Authorization, query url.Values) (string, *failure) {
	payload := r.Header.Get("X-Amz-Content-Sha256")
	if a.Presigned && payload == "" {
		if payload = query.Get("X-Amz-Content-Sha256"); payload == "" {
			payload = sigv4.UnsignedPayload
		}
	}
	switch {
	case payload == "":
		return "", &failure{code: "InvalidRequest", text: "Missing required header for this request: x-amz-content-sha256", status: http.StatusBadRequest}
	case payload == sigv4.UnsignedPayload, payload == sigv4.StreamingSigned, payload == sigv4.StreamingSignedTrailer, payload == sigv4.StreamingUnsigned:
	case strings.HasPrefix(payload, "STREAMING-AWS4-ECDSA-P256-SHA256"):
		return "", &failure{code: "NotImplemented", text: "A header you provided implies functionality that is not implemented", status: http.StatusNotImplemented, elements: [][2]string{{"Header", "x-amz-content-sha256"}}}
	case len(payload) != 64 || strings.Trim(payload, "0123456789abcdef") != "":
		return "", &failure{
			code: "InvalidArgument", text: "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER or a valid sha256 value.",
			status: http.StatusBadRequest, elements: [][2]string{{"ArgumentName", "x-amz-content-sha256"}, {"ArgumentValue", payload}},
		}
	}
	return payload, nil
}

// unsignedHeaders refuses what somebody on the way may have added.
func unsignedHeaders(r *http.Request, a *sigv4.Authorization) *failure {
	var unsigned []string
	for name := range r.Header {
		if name = strings.ToLower(name); strings.HasPrefix(name, "x-amz-") && !slices.Contains(a.SignedHeaders, name) {
			unsigned = append(unsigned, name)
		}
	}
	// What says how the body is signed is in the signature itself.
	if unsigned = slices.DeleteFunc(unsigned, func(name string) bool { return name == "x-amz-content-sha256" }); len(unsigned) == 0 {
		return nil
	}
	slices.Sort(unsigned)
	return &failure{
		code: "AccessDenied", text: "There were headers present in the request which were not signed", status: http.StatusForbidden,
		elements: [][2]string{{"HeadersNotSigned", strings.Join(unsigned, ", ")}},
	}
}

// signing are the parameters of a presigned URL that are its signature's own.
var signing = map[string]bool{
	"x-amz-algorithm": true, "x-amz-credential": true, "x-amz-date": true, "x-amz-expires": true, "x-amz-signedheaders": true, "x-amz-signature": true,
	"x-amz-security-token": true, "x-amz-content-sha256": true,
}

// hoisted makes headers of the parameters of a presigned URL that are some: clients sign
// them there, so that whoever uses the URL need not send them. It reports whether there are any.
func hoisted(h http.Header, query url.Values) (found bool) {
	for name, values := range query {
		if lower := strings.ToLower(name); strings.HasPrefix(lower, "x-amz-") && !signing[lower] && h.Get(name) == "" {
			h[http.CanonicalHeaderKey(name)] = values
			found = true
		}
	}
	return found
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
		if body, err = content.whole(e.maxBody()); err != nil {
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
	defer release(buffer)
	recorded := e.recordDone(op, out) // before there is a header of the answer
	h := e.w.Header()
	if recorded != nil {
		h = http.Header{}
	}
	answer, err := op.rest.Encode(*buffer, out, h)
	if answer.Stream != nil {
		defer answer.Stream.Close()
	}
	if recorded != nil {
		return recorded
	}
	if err != nil {
		return fmt.Errorf("writing the answer: %w", err)
	}
	*buffer = answer.Body
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
	elements := f.elements
	if f.code == "InvalidAccessKeyId" {
		if a, err := sigv4.Parse(e.r); err == nil {
			elements = append(elements, [2]string{"AWSAccessKeyId", a.AccessKeyID})
		}
	}
	body := restxml.AppendError(nil, f.code, f.text, elements, e.id, e.id)
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
