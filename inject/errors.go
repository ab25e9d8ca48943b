package inject

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/smithy-go"

	"github.com/malote/malote/internal/lazyregexp"
	"github.com/malote/malote/internal/spoken"
)

// An Error says why one valueFrom has no value, in AWS's words and with what to do about it.
type Error struct {
	ValueFrom string
	ID        string // what the service was asked for; empty when nothing was
	Call      string // "secretsmanager:GetSecretValue"; empty when nothing was asked
	Role      string // ARN of the role that asked, if known
	Err       error
}

func (e *Error) Unwrap() error { return e.Err }

func (e *Error) Error() string {
	switch {
	case e.Call == "":
		return fmt.Sprintf("trying to retrieve secret with value %s resulted in error: %v", e.ValueFrom, e.Err)
	}
	text := e.Err.Error()
	switch said := strings.Contains(text, e.Call); { // as a denial does
	case e.Role != "" && said:
		return text + " (as " + e.Role + ")"
	case e.Role != "":
		return text + " (" + e.Call + " as " + e.Role + ")"
	case said:
		return text
	}
	return text + " (" + e.Call + ")"
}

// Errors are all the failures of one Resolve, in the order of its refs.
type Errors []*Error

func (e Errors) Error() string { return strings.Join(e.Texts(), "; ") }

// Texts says each different failure once. Of those that differ only in what was asked
// for, the first is told whole and the others are named behind it.
func (e Errors) Texts() []string {
	type failure struct {
		shape, text string
		ids         []string
	}
	var failures []*failure
	for _, err := range e {
		text := err.Error()
		shape := text
		if err.ID != "" {
			shape = strings.ReplaceAll(text, err.ID, "\x00")
		}
		i := slices.IndexFunc(failures, func(f *failure) bool { return f.shape == shape })
		switch {
		case i < 0:
			failures = append(failures, &failure{shape, text, []string{err.ID}})
		case !slices.Contains(failures[i].ids, err.ID):
			failures[i].ids = append(failures[i].ids, err.ID)
		}
	}
	texts := make([]string, 0, len(failures))
	for _, f := range failures {
		if others := f.ids[1:]; len(others) > 0 {
			f.text += ", and the same for " + strings.Join(others, ", ")
		}
		texts = append(texts, f.text)
	}
	return texts
}

// Denied reports whether a policy is the reason of any of the failures.
func (e Errors) Denied() bool {
	return slices.ContainsFunc(e, func(err *Error) bool { return strings.HasPrefix(code(err), "AccessDenied") })
}

func (e Errors) Unwrap() []error {
	errs := make([]error, 0, len(e))
	for _, err := range e {
		errs = append(errs, err)
	}
	return errs
}

// absentError says that what was asked for is not there, or not that version or key of it.
type absentError struct{ error }

func (e *absentError) Unwrap() error { return e.error }

// apiError is an SDK's error in the words a person looks for: "code: message". It still
// unwraps to the SDK's.
type apiError struct {
	text string
	err  error
}

func (e *apiError) Error() string { return e.text }
func (e *apiError) Unwrap() error { return e.err }

func code(err error) string {
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		return api.ErrorCode()
	}
	return ""
}

func secretError(ref Ref, err error) error {
	text := spoken.Text(err)
	switch code(err) {
	case "ResourceNotFoundException":
		text = fmt.Sprintf("ResourceNotFoundException: The task can't retrieve the secret with ARN '%s' from AWS Secrets Manager. Check whether the secret exists in the specified Region: %s", ref.ID, text)
		if ref.VersionStage != "" || ref.VersionID != "" {
			text += fmt.Sprintf(" (asked for version stage %q, version id %q)", ref.VersionStage, ref.VersionID)
		}
		return &absentError{&apiError{text, err}}
	default:
		text = naming("secret", ref.ID, advise(err))
	}
	return &apiError{text, err}
}

func parameterError(ref Ref, err error) error {
	return &apiError{"fetching secret data from SSM Parameter Store in " + ref.Region + ": " + naming("parameter", ref.ID, advise(err)), err}
}

// naming says what a text is about, unless it does so itself.
func naming(kind, id, text string) string {
	if strings.Contains(text, id) {
		return text
	}
	return kind + " " + id + ": " + text
}

// kmsRequest is of a call between services, and differs where nothing else does.
var kmsRequest = lazyregexp.New(`; Request ID: [0-9A-Za-z-]+`)

// advise is what the service said and, where AWS leaves it unsaid, what to do.
func advise(err error) string {
	text, advice := kmsRequest.ReplaceAllString(spoken.Text(err), ""), ""
	switch {
	case strings.Contains(text, "Access to KMS is not allowed"), strings.Contains(text, "The ciphertext refers to a customer master key"):
		advice = "The role lacks kms:Decrypt on the KMS key that encrypts it: allow it in the role's policies, or in the key's"
	case strings.Contains(text, "DisabledException"), strings.Contains(text, "is disabled"):
		advice = "Enable the KMS key that encrypts it"
	case strings.Contains(text, "KMSInvalidStateException"), strings.Contains(text, "pending deletion"):
		advice = "Cancel the deletion of the KMS key that encrypts it, and enable it"
	default:
		return text
	}
	return strings.TrimSuffix(text, ".") + ". " + advice
}
