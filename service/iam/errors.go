package iam

import (
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/smithy-go"

	"github.com/malote/malote/policy"
	"github.com/malote/malote/service/iam/directory"
)

// errSessionToken is how IAM refuses credentials from GetSessionToken without MFA.
var errSessionToken = &smithy.GenericAPIError{
	Code: "InvalidClientTokenId", Message: "The security token included in the request is invalid.", Fault: smithy.FaultClient,
}

func noSuchEntity(format string, args ...any) error {
	return &types.NoSuchEntityException{Message: aws.String(fmt.Sprintf(format, args...))}
}

func isNoSuchEntity(err error) bool {
	var e *types.NoSuchEntityException
	return errors.As(err, &e)
}

func alreadyExists(format string, args ...any) error {
	return &types.EntityAlreadyExistsException{Message: aws.String(fmt.Sprintf(format, args...))}
}

func deleteConflict(message string) error {
	return &types.DeleteConflictException{Message: aws.String(message)}
}

func concurrentModification() error {
	return &types.ConcurrentModificationException{Message: aws.String("The request was rejected because multiple requests to change this object were submitted simultaneously.")}
}

func limitExceeded(format string, args ...any) error {
	return &types.LimitExceededException{Message: aws.String(fmt.Sprintf(format, args...))}
}

func unmodifiable(format string, args ...any) error {
	return &types.UnmodifiableEntityException{Message: aws.String(fmt.Sprintf(format, args...))}
}

func invalidInput(format string, args ...any) error {
	return &types.InvalidInputException{Message: aws.String(fmt.Sprintf(format, args...))}
}

func validationError(format string, args ...any) error {
	return &smithy.GenericAPIError{Code: "ValidationError", Message: fmt.Sprintf(format, args...), Fault: smithy.FaultClient}
}

// unknownKey is how IAM refuses to answer about a key that there is not, to whoever asks.
func unknownKey(arn, id string) error {
	return &smithy.GenericAPIError{
		Code: "AccessDenied", Fault: smithy.FaultClient,
		Message: fmt.Sprintf("User: %s is not authorized to perform iam:GetAccessKeyLastUsed on resource: access key %s", arn, id),
	}
}

// errARN has two spaces, as AWS's.
func errARN() error { return validationError("Invalid ARN:  Could not be parsed!") }

// malformed turns what policy and directory say of a document into IAM's answer. Other
// errors pass.
func malformed(err error) error {
	var syntax *policy.SyntaxError
	var principal *directory.InvalidPrincipal
	var message string
	switch {
	case errors.As(err, &syntax):
		message = syntax.Located()
	case errors.As(err, &principal):
		message = fmt.Sprintf("Invalid principal in policy: %q:%q", "AWS", principal.Principal)
	default:
		return err
	}
	return &types.MalformedPolicyDocumentException{Message: aws.String(message)}
}
