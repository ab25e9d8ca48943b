package logs

import (
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
	"github.com/aws/smithy-go"
)

func invalid(format string, args ...any) error {
	return &types.InvalidParameterException{Message: aws.String(fmt.Sprintf(format, args...))}
}

// unsupported names what a request asks for and this service does not do.
func unsupported(member string) error { return invalid("%s is not supported.", member) }

func groupNotFound() error {
	return &types.ResourceNotFoundException{Message: aws.String("The specified log group does not exist.")}
}

func streamNotFound() error {
	return &types.ResourceNotFoundException{Message: aws.String("The specified log stream does not exist.")}
}

func resourceNotFound() error {
	return &types.ResourceNotFoundException{Message: aws.String("The specified resource does not exist.")}
}

func groupExists() error {
	return &types.ResourceAlreadyExistsException{Message: aws.String("The specified log group already exists")}
}

func streamExists() error {
	return &types.ResourceAlreadyExistsException{Message: aws.String("The specified log stream already exists")}
}

// aborted is for what changed while it was being authorized, again and again.
func aborted() error {
	return &types.OperationAbortedException{Message: aws.String("A conflicting operation is currently in progress against this resource. Please try again.")}
}

func badToken() error { return invalid("The specified nextToken is invalid.") }

func accessDenied(message string) error {
	return &smithy.GenericAPIError{Code: "AccessDeniedException", Message: message, Fault: smithy.FaultClient}
}

// errChanged asks for another decision: what the last one rested on is another now.
var errChanged = errors.New("the log group changed since it was authorized")
