package gateway

import (
	"errors"
	"net/http"

	"github.com/aws/smithy-go"

	"github.com/malote/malote/gateway/awsjson"
	"github.com/malote/malote/gateway/awsquery"
	"github.com/malote/malote/gateway/sigv4"
)

// failure is an error as the client gets it.
type failure struct {
	code    string
	text    string
	status  int
	server  bool // our fault
	details any  // the SDK's exception, whose other members are part of the answer; or nil
}

// internalErrors are what services call an error of their own making. Each waits to be
// told nothing more.
var internalErrors = map[string]string{
	"secretsmanager": "InternalServiceError",
	"ssm":            "InternalServerError",
	"kms":            "KMSInternalException",
	"ecs":            "ServerException",
	"logs":           "ServiceUnavailableException",
	"iam":            "ServiceFailure",
	"sts":            "InternalFailure",
}

// internal is the failure that says nothing about its cause, which is in the log.
func internal(s *service) *failure {
	code := "InternalFailure"
	if s != nil {
		code = internalErrors[s.name]
	}
	return &failure{code: code, text: "An error occurred on the server side.", status: http.StatusInternalServerError, server: true}
}

// failureOf translates what a method returned. It is nil for an error that is none of
// AWS's.
func (s *service) failureOf(err error) *failure {
	var serialization *awsjson.Error
	var malformed *awsquery.Error
	var apiError smithy.APIError
	switch {
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
	if s == nil || !s.query {
		return f
	}
	if f.code == "AccessDeniedException" {
		f.code = "AccessDenied"
	}
	// IAM too refuses credentials: those of GetSessionToken.
	if f.code == "AccessDenied" || f.code == "InvalidClientTokenId" {
		f.status = http.StatusForbidden
	} else if known, ok := s.model.Error(f.code); ok && known.Status != 0 {
		f.status = known.Status
	}
	f.server = f.status >= http.StatusInternalServerError
	return f
}

// authFailure is what went wrong with a signature, before each protocol words it.
type authFailure uint8

const (
	unknownKey authFailure = iota + 1
	expiredToken
)

const textUnknownKey = "The security token included in the request is invalid."

func (f authFailure) failure(query bool) *failure {
	switch {
	case f == unknownKey && query:
		return &failure{code: "InvalidClientTokenId", text: textUnknownKey, status: http.StatusForbidden}
	case f == unknownKey:
		return &failure{code: "UnrecognizedClientException", text: textUnknownKey, status: http.StatusBadRequest}
	case query:
		return &failure{code: "ExpiredToken", text: "The security token included in the request is expired", status: http.StatusForbidden}
	default:
		return &failure{code: "ExpiredTokenException", text: "The security token included in the request is expired", status: http.StatusBadRequest}
	}
}

// signatureFailure words an error of package sigv4.
func signatureFailure(err *sigv4.Error, query bool) *failure {
	f := &failure{text: err.Text, status: http.StatusBadRequest}
	switch err.Code {
	case sigv4.Missing:
		f.code = "MissingAuthenticationTokenException"
		if query {
			f.code, f.text, f.status = "MissingAuthenticationToken", "Request is missing Authentication Token", http.StatusForbidden
		}
	case sigv4.Incomplete:
		f.code = "IncompleteSignatureException"
		if query {
			f.code = "IncompleteSignature"
		}
	default:
		f.code = "InvalidSignatureException"
		if query {
			f.code, f.status = "SignatureDoesNotMatch", http.StatusForbidden
		}
	}
	return f
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
