package ssm

import (
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/aws/smithy-go"
)

func validation(format string, args ...any) error {
	return &smithy.GenericAPIError{Code: "ValidationException", Message: fmt.Sprintf(format, args...), Fault: smithy.FaultClient}
}

func accessDenied(format string, args ...any) error {
	return &smithy.GenericAPIError{Code: "AccessDeniedException", Message: fmt.Sprintf(format, args...), Fault: smithy.FaultClient}
}

// notFound has an empty message, as on AWS.
func notFound() error { return &types.ParameterNotFound{Message: aws.String("")} }

func alreadyExists() error {
	return &types.ParameterAlreadyExists{Message: aws.String("The parameter already exists. To overwrite this value, set the overwrite option in the request to true.")}
}

func versionNotFound(number int64, name string) error {
	return &types.ParameterVersionNotFound{Message: aws.String(fmt.Sprintf("Systems Manager could not find version %d of %s. Verify the version and try again.", number, name))}
}

func labelNotFound(label, name string) error {
	return &types.ParameterVersionNotFound{Message: aws.String(fmt.Sprintf("Systems Manager could not find label %s of %s. Verify the label and try again.", label, name))}
}

func oldestVersionLabelled(name string, oldest int64) error {
	return &types.ParameterMaxVersionLimitExceeded{Message: aws.String(fmt.Sprintf(
		"You attempted to create a new version of %s by calling the PutParameter API with the overwrite flag. Version %d, the oldest version, can't be deleted because it has a label associated with it. Move the label to another version of the parameter, and try again.",
		name, oldest))}
}

func tooManyUpdates() error {
	return &types.TooManyUpdates{Message: aws.String("There are concurrent updates for a resource that supports one update at a time.")}
}

func typeMismatch() error {
	return &types.HierarchyTypeMismatchException{Message: aws.String("Parameter Store doesn't support changing a parameter type in a hierarchy. For example, you can't change a parameter from a String type to a SecureString type. You must create a new, unique parameter.")}
}

func tooManyLevels() error {
	return &types.HierarchyLevelLimitExceededException{Message: aws.String("A hierarchy can have a maximum of 15 levels. For more information, see Requirements and constraints for parameter names in the AWS Systems Manager User Guide.")}
}

func invalidPattern(cause string) error {
	return &types.InvalidAllowedPatternException{Message: aws.String("The request doesn't meet the regular expression requirement: " + cause)}
}

func patternMismatch(pattern string) error {
	return &types.ParameterPatternMismatchException{Message: aws.String("Parameter value, cannot be validated against allowedPattern: " + pattern)}
}

func labelLimit() error {
	return &types.ParameterVersionLabelLimitExceeded{Message: aws.String("A parameter version can have maximum 10 labels.Move one or more labels to another version and try again.")}
}

func invalidToken() error {
	return &types.InvalidNextToken{Message: aws.String("The specified token isn't valid.")}
}

func invalidFilterKey(key string, valid ...string) error {
	return &types.InvalidFilterKey{Message: aws.String(fmt.Sprintf("The following filter key is not valid: %s. Valid filter keys include: [%s].", key, strings.Join(valid, ", ")))}
}

func duplicateFilterKey(key string) error {
	return &types.InvalidFilterKey{Message: aws.String(fmt.Sprintf("The following filter key is specified more than once: %s.", key))}
}

func invalidFilterOption(option string, valid ...string) error {
	return &types.InvalidFilterOption{Message: aws.String(fmt.Sprintf("The following filter option is not valid: %s. Valid options include: [%s].", option, strings.Join(valid, ", ")))}
}

func missingFilterValues(key string) error {
	return &types.InvalidFilterValue{Message: aws.String(fmt.Sprintf("The following filter values are missing : null for filter key %s.", key))}
}

// Names are refused in one of these ways. The backslashes are AWS's.
const (
	badName         = `Parameter name: can't be prefixed with "ssm" (case-insensitive). If formed as a path, it can consist of sub-paths divided by slash symbol; each sub-path can be formed as a mix of letters, numbers and the following 3 symbols .-_`
	notQualified    = `Parameter name must be a fully qualified name`
	reservedPrefix  = `Parameter name: can't be prefixed with "aws" or "ssm" (case-insensitive).`
	badRequirements = `The parameter doesn't meet the parameter name requirements. The parameter name must begin with a forward slash "/". It can't be prefixed with \"aws\" or \"ssm\" (case-insensitive). It must use only letters, numbers, or the following symbols: . (period), - (hyphen), _ (underscore). Special characters are not allowed. All sub-paths, if specified, must use the forward slash symbol "/". Valid example: /get/parameters2-/by1./path0_.`
)
