package s3

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/aws/smithy-go"

	"github.com/malote/malote/authz"
)

// apiError is an error as S3 has them: with a status, with elements beside code and
// message, and perhaps with headers.
//
// https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
type apiError struct {
	code, message string
	status        int
	elements      [][2]string
	header        http.Header
	cause         error // whose words these are, when it is authz's
}

func (e *apiError) Error() string                 { return e.code + ": " + e.message }
func (e *apiError) Unwrap() error                 { return e.cause }
func (e *apiError) ErrorCode() string             { return e.code }
func (e *apiError) ErrorMessage() string          { return e.message }
func (e *apiError) ErrorFault() smithy.ErrorFault { return smithy.FaultClient }
func (e *apiError) HTTPStatus() int               { return e.status }
func (e *apiError) Header() http.Header           { return e.header }
func (e *apiError) Elements() [][2]string         { return e.elements }

func bad(code, format string, args ...any) *apiError {
	return &apiError{code: code, message: fmt.Sprintf(format, args...), status: http.StatusBadRequest}
}

func (e *apiError) with(name, value string) *apiError {
	e.elements = append(e.elements, [2]string{name, value})
	return e
}

func invalidArgument(name, value, format string, args ...any) error {
	return bad("InvalidArgument", format, args...).with("ArgumentName", name).with("ArgumentValue", value)
}

func malformedXML() error {
	return bad("MalformedXML", "The XML you provided was not well-formed or did not validate against our published schema")
}

func missing(code, format string, args ...any) *apiError {
	return &apiError{code: code, message: fmt.Sprintf(format, args...), status: http.StatusNotFound}
}

func noSuchBucket(name string) error {
	return missing("NoSuchBucket", "The specified bucket does not exist").with("BucketName", name)
}

func noSuchKey(key string) *apiError {
	return missing("NoSuchKey", "The specified key does not exist.").with("Key", key)
}

func noSuchVersion(key, version string) error {
	return missing("NoSuchVersion", "The specified version does not exist.").with("Key", key).with("VersionId", version)
}

func noSuchUpload(id string) error {
	return missing("NoSuchUpload", "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.").with("UploadId", id)
}

func accessDenied(message string) *apiError {
	return &apiError{code: "AccessDenied", message: message, status: http.StatusForbidden}
}

// notImplemented names the header, or the element of the body, that asks for what is not
// done here.
func notImplemented(name string) error {
	return (&apiError{code: "NotImplemented", message: "A header you provided implies functionality that is not implemented", status: http.StatusNotImplemented}).with("Header", name)
}

func preconditionFailed(condition string) *apiError {
	return (&apiError{code: "PreconditionFailed", message: "At least one of the pre-conditions you specified did not hold", status: http.StatusPreconditionFailed}).with("Condition", condition)
}

func conflict(code, message string) *apiError {
	return &apiError{code: code, message: message, status: http.StatusConflict}
}

func slowDown() error {
	return bad("RequestTimeout", "Your socket connection to the server was not read from or written to within the timeout period. Idle connections will be closed.")
}

func aborted() error {
	return conflict("OperationAborted", "A conflicting conditional operation is currently in progress against this resource. Please try again.")
}

// denial words what authz says: to strangers, nothing more than that.
func denial(err error) error {
	var denied *authz.Denied
	if errors.As(err, &denied) {
		refusal := accessDenied(denied.ErrorMessage())
		if denied.Decision.CrossAccount {
			refusal = accessDenied("Access Denied")
		}
		refusal.cause = denied
		return refusal
	}
	return err
}

// keyError passes on what KMS says, in S3's words.
func keyError(err error) error {
	var api smithy.APIError
	if !errors.As(err, &api) {
		return err
	}
	switch code := api.ErrorCode(); code {
	case "AccessDeniedException":
		return accessDenied(api.ErrorMessage())
	case "NotFoundException", "DisabledException", "KMSInvalidStateException", "InvalidKeyUsageException", "KeyUnavailableException", "InvalidArnException":
		return bad("KMS."+strings.TrimPrefix(code, "KMS."), "%s", api.ErrorMessage())
	case "IncorrectKeyException", "InvalidCiphertextException", "ValidationException":
		return bad("KMS."+code, "%s", api.ErrorMessage())
	}
	return err
}

// errChanged asks for another decision: what the last one rested on is another now.
var errChanged = errors.New("the bucket changed since it was authorized")
