package ecs

import (
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

func clientError(format string, args ...any) error {
	return &types.ClientException{Message: aws.String(fmt.Sprintf(format, args...))}
}

func invalidParameter(format string, args ...any) error {
	return &types.InvalidParameterException{Message: aws.String(fmt.Sprintf(format, args...))}
}

func accessDenied(format string, args ...any) error {
	return &types.AccessDeniedException{Message: aws.String(fmt.Sprintf(format, args...))}
}

func clusterNotFound() error {
	return &types.ClusterNotFoundException{Message: aws.String("Cluster not found.")}
}

// unsupported is a member of the API that malote does not do: taking it would be a promise.
func unsupported(member string) error {
	return invalidParameter("malote does not support '%s'.", member)
}

func taskNotFound() error { return invalidParameter("The referenced task was not found.") }
