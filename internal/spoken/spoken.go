// Package spoken words errors of the AWS SDK for people.
//
// It promises: of what a service said, its code and its message are left, or else the
// operation; of what never reached one, the connection's own words. What others put around
// an error of the SDK stays. It adds nothing, so it shows no more than the error does.
package spoken

import (
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// Error is err, which it unwraps to, with the text of Text. It is nil for nil.
func Error(err error) error {
	if err == nil {
		return nil
	}
	text := Text(err)
	if text == err.Error() {
		return err
	}
	return &spoken{text, err}
}

type spoken struct {
	text string
	err  error
}

func (e *spoken) Error() string { return e.text }
func (e *spoken) Unwrap() error { return e.err }

// Text is err's text, in which every error of the SDK is "code: message", "code (operation)" where there is no message, or what kept the
// request from being sent or its answer from being read.
func Text(err error) string {
	switch e := err.(type) {
	case smithy.APIError:
		if message := e.ErrorMessage(); message != "" {
			return e.ErrorCode() + ": " + message
		}
		return e.ErrorCode()
	case *smithy.OperationError:
		if api, ok := errors.AsType[smithy.APIError](e.Err); ok && api.ErrorMessage() == "" {
			return beneath(err) + " (" + e.OperationName + ")"
		}
		return beneath(err)
	case *retry.MaxAttemptsError, *smithyhttp.RequestSendError, *smithy.CanceledError:
		return beneath(err)
	case interface{ HTTPStatusCode() int }: // of S3 and of the others
		if _, said := errors.AsType[smithy.APIError](err); !said && e.HTTPStatusCode() != 0 {
			return fmt.Sprintf("HTTP status %d: %s", e.HTTPStatusCode(), beneath(err))
		}
		return beneath(err)
	}
	text := err.Error()
	for _, inner := range unwrap(err) {
		if long := inner.Error(); long != "" {
			text = strings.Replace(text, long, Text(inner), 1)
		}
	}
	return text
}

// beneath is the text of what err wraps.
func beneath(err error) string {
	if inner := errors.Unwrap(err); inner != nil {
		return Text(inner)
	}
	return err.Error()
}

func unwrap(err error) []error {
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		if inner := e.Unwrap(); inner != nil {
			return []error{inner}
		}
	case interface{ Unwrap() []error }:
		return e.Unwrap()
	}
	return nil
}
