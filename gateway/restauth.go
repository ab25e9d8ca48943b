package gateway

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/malote/malote/caller"
	"github.com/malote/malote/gateway/restxml"
	"github.com/malote/malote/gateway/sigv2"
	"github.com/malote/malote/gateway/sigv4"
)

// asker is who asks for something of S3's, and what their signature says of the body.
type asker struct {
	ctx     context.Context
	payload string // the body's hash, or a word in its place

	// Of version 4 alone: what signs the pieces of a body.
	authorization *sigv4.Authorization
	secret        string

	anonymous bool
}

// asker finds out who asks, or answers why not.
func (e *exchange) asker(t restxml.Target, query url.Values) (*asker, bool) {
	switch {
	case sigv2.Present(query):
		return e.askerByVersion2(t, query)
	case e.r.Header.Get("Authorization") == "" && !sigv4.Signs(e.r.URL.RawQuery):
		return e.stranger()
	}
	a, f := e.restAuthorization()
	if f != nil {
		e.refuse(f)
		return nil, false
	}
	payload, f := payloadOf(e.r, a, query)
	if f != nil {
		e.refuse(f)
		return nil, false
	}
	e.payload = payload
	credential, ok := e.identify(a, payload)
	if !ok {
		return nil, false
	}
	if f := unsignedHeaders(e.r, a); f != nil {
		e.refuse(f)
		return nil, false
	}
	if a.Presigned && hoisted(e.r.Header, query) {
		e.operation = e.service.router.Operation(e.r, t, query)
	}
	return &asker{ctx: e.accept(a, credential), payload: payload, authorization: a, secret: credential.SecretAccessKey}, true
}

const textVersion4 = "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256."

// version2 are the operations that a URL may ask for by Signature Version 2: those of which it
// signs whatever chooses what is done.
var version2 = map[string]bool{"GetObject": true, "HeadObject": true, "PutObject": true, "UploadPart": true}

// askerByVersion2 is who signed a URL by Signature Version 2.
func (e *exchange) askerByVersion2(t restxml.Target, query url.Values) (*asker, bool) {
	refuse := func(code, text string, status int) (*asker, bool) {
		e.refuse(&failure{code: code, text: text, status: status})
		return nil, false
	}
	if e.r.Header.Get("Authorization") != "" || sigv4.Signs(e.r.URL.RawQuery) {
		return refuse("InvalidArgument", "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string parameter or the Authorization header should be specified", http.StatusBadRequest)
	}
	a, err := sigv2.Parse(e.r, query)
	if err != nil {
		return refuse("AccessDenied", err.Text, http.StatusForbidden)
	}
	e.operation = e.service.router.Operation(e.r, t, query) // some are told by headers that were in the query
	if !version2[e.operation] {
		return refuse("InvalidRequest", textVersion4+" (For presigned URLs: signature_version = s3v4 in the client's configuration.)", http.StatusBadRequest)
	}
	payload, f := unsignedPayloadOf(e.r)
	if f != nil {
		e.refuse(f)
		return nil, false
	}
	credential, f, internal := e.authenticate2(a, query)
	if internal != nil {
		e.fail(internal)
		return nil, false
	}
	if f != nil {
		e.refuse(f)
		return nil, false
	}
	e.principal = credential.Principal.ARN
	request := e.request(credential.Principal)
	request.Presigned, request.SignatureV2 = true, true
	return &asker{ctx: caller.With(e.r.Context(), request), payload: payload}, true
}

// authenticate2 is authenticate, for Signature Version 2.
func (e *exchange) authenticate2(a *sigv2.Authorization, query url.Values) (*Credential, *failure, error) {
	bucket := e.g.hostBucket(e.r)
	credential, err := e.g.cfg.Credentials.Lookup(e.r.Context(), a.AccessKeyID, a.SessionToken)
	if err != nil {
		a.Verify(e.r, query, bucket, nobodysSecret)
		f, err := lookupFailure(err, dialectREST, a.AccessKeyID)
		return nil, f, err
	}
	verified := a.Verify(e.r, query, bucket, credential.SecretAccessKey)
	if !verified {
		_, _ = e.g.cfg.Credentials.Lookup(e.r.Context(), nobodysKey, "")
	}
	switch {
	case !credential.Expires.IsZero() && !e.start.Before(credential.Expires):
		return nil, expiredToken.failure(dialectREST), nil
	case !e.start.Before(a.Expires):
		return nil, &failure{
			code: "AccessDenied", text: "Request has expired", status: http.StatusForbidden,
			elements: [][2]string{{"Expires", a.Expires.UTC().Format(time.RFC3339)}, {"ServerTime", e.start.UTC().Format(time.RFC3339)}},
		}, nil
	case !verified:
		return nil, signatureFailure(sigv4.ErrMismatch, dialectREST).ofKey(a.AccessKeyID, dialectREST), nil
	}
	return credential, nil, nil
}

// anyone is who has no credentials.
var anyone = &caller.Principal{Type: caller.Anonymous}

// stranger is who has no credentials, if the operation is one that such may ask for at all.
func (e *exchange) stranger() (*asker, bool) {
	if !e.service.anonymous[e.operation] {
		f := &failure{code: "AccessDenied", text: "Access Denied", status: http.StatusForbidden}
		switch e.operation {
		case "CreateMultipartUpload":
			f.text = "Anonymous users cannot initiate multipart uploads.  Please authenticate."
		case "CopyObject":
			f.text = "Anonymous users cannot copy objects.  Please authenticate."
		}
		e.refuse(f)
		return nil, false
	}
	payload, f := unsignedPayloadOf(e.r)
	if f != nil {
		e.refuse(f)
		return nil, false
	}
	e.principal = "anonymous"
	return &asker{ctx: caller.With(e.r.Context(), e.request(anyone)), payload: payload, anonymous: true}, true
}

// unsignedPayloadOf is what a request says of its body that no signature covers.
func unsignedPayloadOf(r *http.Request) (string, *failure) {
	switch payload := r.Header.Get("X-Amz-Content-Sha256"); {
	case payload == "":
		return sigv4.UnsignedPayload, nil
	case payload == sigv4.UnsignedPayload, payload == sigv4.StreamingUnsigned, len(payload) == 64 && strings.Trim(payload, "0123456789abcdef") == "":
		return payload, nil
	default:
		return "", &failure{
			code: "InvalidArgument", text: "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER or a valid sha256 value.",
			status: http.StatusBadRequest, elements: [][2]string{{"ArgumentName", "x-amz-content-sha256"}, {"ArgumentValue", payload}},
		}
	}
}

// restAuthorization reads a signature of version 4.
func (e *exchange) restAuthorization() (*sigv4.Authorization, *failure) {
	if strings.HasPrefix(e.r.Header.Get("Authorization"), "AWS ") {
		return nil, &failure{code: "InvalidRequest", status: http.StatusBadRequest, text: textVersion4}
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
