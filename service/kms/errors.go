package kms

import (
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/smithy-go"
)

func validation(format string, args ...any) error {
	return &smithy.GenericAPIError{Code: "ValidationException", Message: fmt.Sprintf(format, args...), Fault: smithy.FaultClient}
}

func notFound(format string, args ...any) error {
	return &types.NotFoundException{Message: aws.String(fmt.Sprintf(format, args...))}
}

func keyNotFound(arn string) error   { return notFound("Key '%s' does not exist", arn) }
func aliasNotFound(arn string) error { return notFound("Alias %s is not found.", arn) }

func disabled(arn string) error {
	return &types.DisabledException{Message: aws.String(arn + " is disabled.")}
}

func invalidState(format string, args ...any) error {
	return &types.KMSInvalidStateException{Message: aws.String(fmt.Sprintf(format, args...))}
}

func pendingDeletion(arn string) error { return invalidState("%s is pending deletion.", arn) }

func pendingImport(arn string) error { return invalidState("%s is pending import.", arn) }

func badOrigin(k *key) error {
	return unsupported("%s origin is %s which is not valid for this operation.", k.arn(), k.origin())
}

func notPrimary(arn string) error {
	return unsupported("%s is not a multi-region primary key.", arn)
}

func unsupported(format string, args ...any) error {
	return &types.UnsupportedOperationException{Message: aws.String(fmt.Sprintf(format, args...))}
}

func incorrectKey() error {
	return &types.IncorrectKeyException{Message: aws.String("The key ID in the request does not identify a CMK that can perform this operation.")}
}

// invalidCiphertext has an empty message, as on AWS.
func invalidCiphertext() error {
	return &types.InvalidCiphertextException{Message: aws.String("")}
}

func dryRun() error {
	return &types.DryRunOperationException{Message: aws.String("The request would have succeeded, but the DryRun option is set.")}
}

func tagError(message string) error {
	return &types.TagException{Message: aws.String(message)}
}

func malformedPolicy(message string) error {
	return &types.MalformedPolicyDocumentException{Message: aws.String(message)}
}

func limitExceeded(format string, args ...any) error {
	return &types.LimitExceededException{Message: aws.String(fmt.Sprintf(format, args...))}
}

func accessDenied(message string) error {
	return &smithy.GenericAPIError{Code: "AccessDeniedException", Message: message, Fault: smithy.FaultClient}
}

// ciphertextDenied is what a caller of Decrypt without KeyId learns about a key that it
// may not use: not even whether there is one.
func ciphertextDenied() error {
	return accessDenied("The ciphertext refers to a customer master key that does not exist, does not exist in this region, or you are not allowed to access.")
}

// isRefusal tells the answers to a caller who may not, or to one who asks for what is not
// there, from a failure.
func isRefusal(err error) bool {
	var api smithy.APIError
	if !errors.As(err, &api) {
		return false
	}
	code := api.ErrorCode()
	return code == "AccessDeniedException" || code == "NotFoundException"
}

// notAuthorized has an empty message, as on AWS.
func notAuthorized() error {
	return &smithy.GenericAPIError{Code: "NotAuthorizedException", Fault: smithy.FaultClient}
}
