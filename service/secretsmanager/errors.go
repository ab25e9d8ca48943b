package secretsmanager

import (
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/aws/smithy-go"
)

func validation(message string) error {
	return &smithy.GenericAPIError{Code: "ValidationException", Message: message, Fault: smithy.FaultClient}
}

func accessDenied(message string) error {
	return &smithy.GenericAPIError{Code: "AccessDeniedException", Message: message, Fault: smithy.FaultClient}
}

func invalidParameter(format string, args ...any) error {
	return &types.InvalidParameterException{Message: aws.String(fmt.Sprintf(format, args...))}
}

func invalidRequest(format string, args ...any) error {
	return &types.InvalidRequestException{Message: aws.String(fmt.Sprintf(format, args...))}
}

// notSupported names what a request asks for and this service does not do.
func notSupported(member string) error {
	return invalidParameter("%s is not supported.", member)
}

func notFound(message string) error {
	return &types.ResourceNotFoundException{Message: aws.String(message)}
}

func secretNotFound() error {
	return notFound("Secrets Manager can't find the specified secret.")
}

func stageNotFound(stage string) error {
	return notFound("Secrets Manager can't find the specified secret value for staging label: " + stage)
}

func versionNotFound(id string) error {
	return notFound("Secrets Manager can't find the specified secret value for VersionId: " + id)
}

func exists(format string, args ...any) error {
	return &types.ResourceExistsException{Message: aws.String(fmt.Sprintf(format, args...))}
}

func tokenInUse(token, arn string) error {
	return exists("You can't use ClientRequestToken %s because that value is already in use for a version of secret %s.", token, arn)
}

func limitExceeded(format string, args ...any) error {
	return &types.LimitExceededException{Message: aws.String(fmt.Sprintf(format, args...))}
}

func malformedPolicy(message string) error {
	return &types.MalformedPolicyDocumentException{Message: aws.String(message)}
}

func invalidNextToken() error {
	return &types.InvalidNextTokenException{Message: aws.String("The NextToken value is invalid.")}
}

func noToken() error {
	return invalidRequest("You must provide a ClientRequestToken value. We recommend a UUID-type value.")
}

func markedForDeletion() error {
	return invalidRequest("You can't perform this operation on the secret because it was marked for deletion.")
}

// cannotDecrypt and cannotEncrypt say what a failure of KMS means for a secret. A failure
// that is not an answer of KMS stays what it is.
func cannotDecrypt(err error) error {
	return keyError(err, func(reason string) error {
		return &types.DecryptionFailure{Message: aws.String("Secrets Manager can't decrypt the protected secret text using the provided KMS key. " + reason)}
	})
}

func cannotEncrypt(err error) error {
	return keyError(err, func(reason string) error {
		return &types.EncryptionFailure{Message: aws.String("Secrets Manager can't encrypt the protected secret text using the provided KMS key. Check that the KMS key is available, enabled, and not in an invalid state. " + reason)}
	})
}

func keyError(err error, failure func(reason string) error) error {
	var api smithy.APIError
	if !errors.As(err, &api) {
		return fmt.Errorf("asking KMS: %w", err)
	}
	if api.ErrorCode() == "AccessDeniedException" {
		return accessDenied("Access to KMS is not allowed")
	}
	return failure(fmt.Sprintf("(Service: AWSKMS; Error Code: %s; %s)", api.ErrorCode(), api.ErrorMessage()))
}

// errorMessage is the text of an answer.
func errorMessage(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorMessage()
	}
	return err.Error()
}

// isAnswer tells an AWS error, which the caller is to see, from a failure, which the
// operator is.
func isAnswer(err error) bool {
	var api smithy.APIError
	return errors.As(err, &api)
}
