package inject

import (
	"errors"
	"fmt"
	"strings"

	"github.com/aws/smithy-go"
)

// An Error says why one valueFrom has no value, in AWS's words and with what to do about it.
type Error struct {
	ValueFrom string
	Call      string // "secretsmanager:GetSecretValue"; empty when nothing was asked
	Role      string // ARN of the role that asked, if known
	Err       error
}

func (e *Error) Unwrap() error { return e.Err }

func (e *Error) Error() string {
	switch {
	case e.Call == "":
		return fmt.Sprintf("trying to retrieve secret with value %s resulted in error: %v", e.ValueFrom, e.Err)
	case e.Role != "":
		return fmt.Sprintf("%v (%s as %s)", e.Err, e.Call, e.Role)
	}
	return fmt.Sprintf("%v (%s)", e.Err, e.Call)
}

// Errors are all the failures of one Resolve, in the order of its refs.
type Errors []*Error

func (e Errors) Error() string {
	texts := make([]string, 0, len(e))
	for _, err := range e {
		texts = append(texts, err.Error())
	}
	return strings.Join(texts, "; ")
}

func (e Errors) Unwrap() []error {
	errs := make([]error, 0, len(e))
	for _, err := range e {
		errs = append(errs, err)
	}
	return errs
}

// apiError is an SDK's error in the words a person looks for: "code: message". It still
// unwraps to the SDK's.
type apiError struct {
	text string
	err  error
}

func (e *apiError) Error() string { return e.text }
func (e *apiError) Unwrap() error { return e.err }

// plain shortens an error of the SDK to what the service said.
func plain(err error) string {
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		return api.ErrorCode() + ": " + api.ErrorMessage()
	}
	return err.Error()
}

func code(err error) string {
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		return api.ErrorCode()
	}
	return ""
}

func secretError(ref Ref, err error) error {
	text := plain(err)
	switch code(err) {
	case "ResourceNotFoundException":
		text = fmt.Sprintf("ResourceNotFoundException: The task can't retrieve the secret with ARN '%s' from AWS Secrets Manager. Check whether the secret exists in the specified Region: %s", ref.ID, text)
		if ref.VersionStage != "" || ref.VersionID != "" {
			text += fmt.Sprintf(" (asked for version stage %q, version id %q)", ref.VersionStage, ref.VersionID)
		}
	default:
		text = "secret " + ref.ID + ": " + advise(err)
	}
	return &apiError{text, err}
}

func parameterError(region string, err error) error {
	return &apiError{"fetching secret data from SSM Parameter Store in " + region + ": " + advise(err), err}
}

// advise is what the service said and, where AWS leaves it unsaid, what to do.
func advise(err error) string {
	text, advice := plain(err), ""
	switch {
	case strings.Contains(text, "Access to KMS is not allowed"):
		advice = "The role also needs kms:Decrypt on the KMS key that encrypts it, in its own policy and in the key's"
	case strings.Contains(text, "DisabledException"), strings.Contains(text, "is disabled"):
		advice = "Enable the KMS key that encrypts it"
	case strings.Contains(text, "KMSInvalidStateException"), strings.Contains(text, "pending deletion"):
		advice = "Cancel the deletion of the KMS key that encrypts it, and enable it"
	default:
		return text
	}
	return strings.TrimSuffix(text, ".") + ". " + advice
}
