package gateway

import (
	"errors"
	"net/http"

	"github.com/aws/smithy-go"

	"github.com/malote/malote/gateway/awsjson"
	"github.com/malote/malote/gateway/awsquery"
	"github.com/malote/malote/gateway/restxml"
	"github.com/malote/malote/gateway/sigv4"
)

// failure is an error as the client gets it.
type failure struct {
	code    string
	text    string
	status  int
	server  bool // our fault
	details any  // the SDK's exception, whose other members are part of the answer; or nil

	recorded string // the text as the audit has it, where that is another

	// Of S3 alone.
	elements [][2]string // beside code and message
	header   http.Header
}

// restError is what S3's errors may be besides smithy.APIError.
type restError interface {
	HTTPStatus() int
	Header() http.Header   // nil for none
	Elements() [][2]string // beside code and message, in order
}

// internalErrors are what services call an error of their own making. Each waits to be
// told nothing more.
var internalErrors = map[string]string{
	"secretsmanager": "InternalServiceError",
	"ssm":            "InternalServerError",
	"kms":            "KMSInternalException",
	"ecs":            "ServerException",
	"logs":           "ServiceUnavailableException",
	"cloudtrail":     "InternalFailure",
	"iam":            "ServiceFailure",
	"sts":            "InternalFailure",
	"organizations":  "ServiceException",
	"s3":             "InternalError",
}

// internal is the failure that says nothing about its cause, which is in the log.
func internal(s *service) *failure {
	code, text := "InternalFailure", "An error occurred on the server side."
	if s != nil {
		code = internalErrors[s.name]
	}
	if s.dialect() == dialectREST {
		text = "We encountered an internal error. Please try again."
	}
	return &failure{code: code, text: text, status: http.StatusInternalServerError, server: true}
}

// failureOf translates what a method returned. It is nil for an error that is none of
// AWS's.
func (s *service) failureOf(err error) *failure {
	var serialization *awsjson.Error
	var malformed *awsquery.Error
	var unreadable *restxml.Error
	var apiError smithy.APIError
	switch {
	case errors.As(err, &unreadable):
		f := &failure{code: unreadable.Code, text: unreadable.Text, status: http.StatusBadRequest}
		if unreadable.Argument != "" {
			f.elements = [][2]string{{"ArgumentName", unreadable.Argument}, {"ArgumentValue", unreadable.Value}}
		}
		return f
	case errors.As(err, &serialization):
		return &failure{code: "SerializationException", text: serialization.Text, status: http.StatusBadRequest}
	case errors.As(err, &malformed):
		return &failure{code: malformed.Code, text: malformed.Text, status: http.StatusBadRequest}
	case !errors.As(err, &apiError):
		return nil
	}
	f := &failure{code: apiError.ErrorCode(), text: apiError.ErrorMessage(), status: http.StatusBadRequest, details: apiError}
	f.server = apiError.ErrorFault() == smithy.FaultServer
	if f.server {
		f.status = http.StatusInternalServerError
	}
	if s.dialect() == dialectJSON {
		return f
	}
	if r, ok := apiError.(restError); ok {
		f.status, f.header, f.elements = r.HTTPStatus(), r.Header(), r.Elements()
	}
	if f.code == "AccessDeniedException" {
		f.code = "AccessDenied"
	}
	// IAM too refuses credentials: those of GetSessionToken.
	if f.code == "AccessDenied" || f.code == "InvalidClientTokenId" || f.code == "SignatureDoesNotMatch" {
		f.status = http.StatusForbidden
	} else if known, ok := s.model.Error(f.code); ok && known.Status != 0 {
		f.status = known.Status
	}
	f.server = f.status >= http.StatusInternalServerError
	return f
}

// dialect is how a service words what all of them say.
type dialect uint8

const (
	dialectJSON dialect = iota
	dialectQuery
	dialectREST
)

func (s *service) dialect() dialect {
	switch {
	case s == nil:
		return dialectJSON
	case s.query:
		return dialectQuery
	case s.router != nil:
		return dialectREST
	}
	return dialectJSON
}

// authFailure is what went wrong with a signature, before each protocol words it.
type authFailure uint8

const (
	unknownKey authFailure = iota
	invalidToken
	expiredToken
)

const textUnknownKey = "The security token included in the request is invalid."

// authFailures are the words, by dialect.
var authFailures = [...][3]failure{
	unknownKey: {
		{code: "UnrecognizedClientException", text: textUnknownKey, status: http.StatusBadRequest},
		{code: "InvalidClientTokenId", text: textUnknownKey, status: http.StatusForbidden},
		{code: "InvalidAccessKeyId", text: "The AWS Access Key Id you provided does not exist in our records.", status: http.StatusForbidden},
	},
	invalidToken: {
		{code: "UnrecognizedClientException", text: textUnknownKey, status: http.StatusBadRequest},
		{code: "InvalidClientTokenId", text: textUnknownKey, status: http.StatusForbidden},
		{code: "InvalidToken", text: "The provided token is malformed or otherwise invalid.", status: http.StatusBadRequest},
	},
	expiredToken: {
		{code: "ExpiredTokenException", text: "The security token included in the request is expired", status: http.StatusBadRequest},
		{code: "ExpiredToken", text: "The security token included in the request is expired", status: http.StatusForbidden},
		{code: "ExpiredToken", text: "The provided token has expired.", status: http.StatusBadRequest},
	},
}

func (f authFailure) failure(d dialect) *failure {
	worded := authFailures[f][d]
	return &worded
}

// signatureCodes are codes and statuses, by dialect.
var signatureCodes = map[sigv4.Code][3]failure{
	sigv4.Missing: {
		{code: "MissingAuthenticationTokenException", status: http.StatusBadRequest},
		{code: "MissingAuthenticationToken", text: "Request is missing Authentication Token", status: http.StatusForbidden},
		{code: "AccessDenied", text: "Access Denied", status: http.StatusForbidden},
	},
	sigv4.Incomplete: {
		{code: "IncompleteSignatureException", status: http.StatusBadRequest},
		{code: "IncompleteSignature", status: http.StatusBadRequest},
		{code: "AuthorizationHeaderMalformed", status: http.StatusBadRequest},
	},
	sigv4.Invalid: {
		{code: "InvalidSignatureException", status: http.StatusBadRequest},
		{code: "SignatureDoesNotMatch", status: http.StatusForbidden},
		{code: "SignatureDoesNotMatch", status: http.StatusForbidden},
	},
}

// signatureFailure words an error of package sigv4.
func signatureFailure(err *sigv4.Error, d dialect) *failure {
	code := err.Code
	if code == sigv4.Untimely {
		code = sigv4.Invalid
	}
	f := signatureCodes[code][d]
	switch {
	case f.text != "":
	case d == dialectREST && err == sigv4.ErrMismatch:
		f.text = "The request signature we calculated does not match the signature you provided. Check your key and signing method."
	default:
		f.text = err.Text
	}
	return &f
}

// messageMember is how the body of a JSON error calls its text. AWS is of two minds.
func (s *service) messageMember(code string) string {
	switch {
	case code == "AccessDeniedException", s != nil && s.name == "secretsmanager":
		return "Message"
	case s != nil && s.name == "ssm":
		switch code {
		case "InvalidFilterValue", "InvalidNextToken", "InternalServerError", "TooManyUpdates":
			return "Message"
		}
	}
	return "message"
}
