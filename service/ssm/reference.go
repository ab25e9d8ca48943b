package ssm

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	smtypes "github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/malote/malote/authz"
	"github.com/malote/malote/caller"
	"github.com/malote/malote/internal/lazyregexp"
)

// A parameter below this path is a secret of Secrets Manager.
//
// https://docs.aws.amazon.com/systems-manager/latest/userguide/integration-ps-secretsmanager.html
const referencePath = "/aws/reference/secretsmanager/"

var versionID = lazyregexp.New(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

// parseReference reads a reference, whose secret's name may have slashes, and which may
// end in a version id or a stage.
func parseReference(name string) (*secretsmanager.GetSecretValueInput, bool) {
	id, ok := strings.CutPrefix(name, referencePath)
	if !ok || id == "" {
		return nil, false
	}
	id, selector, selected := strings.Cut(id, ":")
	in := &secretsmanager.GetSecretValueInput{SecretId: &id}
	switch {
	case !selected:
	case versionID.MatchString(selector):
		in.VersionId = &selector
	default:
		in.VersionStage = &selector
	}
	return in, true
}

// getReference asks Secrets Manager as the caller, who must be allowed both.
func (s *Service) getReference(ctx context.Context, action, name string, in *secretsmanager.GetSecretValueInput, decrypt bool) (*types.Parameter, error) {
	request := caller.From(ctx)
	resource := arn(request.Principal.Account, request.Region, strings.TrimPrefix(referencePath, "/")+*in.SecretId)
	if err := s.authz.Authorize(ctx, &authz.Access{Action: action, Resource: resource}); err != nil {
		return nil, err
	}
	if !decrypt {
		return nil, validation("WithDecryption flag must be True for retrieving a Secret Manager secret.")
	}
	secret, err := s.secrets.GetSecretValue(caller.Forward(ctx, "ssm"), in)
	var absent *smtypes.ResourceNotFoundException
	if errors.As(err, &absent) {
		return nil, &types.ParameterNotFound{Message: aws.String("An error occurred (ParameterNotFound) when referencing Secrets Manager: Secret " + name + " not found.")}
	}
	if err != nil {
		return nil, err
	}
	if secret.SecretString == nil {
		return nil, validation("The secret %s has a binary value, which a parameter cannot have.", *in.SecretId)
	}

	source := map[string]any{
		"ARN":           secret.ARN,
		"name":          secret.Name,
		"versionId":     secret.VersionId,
		"versionStages": secret.VersionStages,
		"secretString":  secret.SecretString,
	}
	modified := time.Time{}
	if secret.CreatedDate != nil {
		modified = *secret.CreatedDate
		source["createdDate"] = float64(modified.UnixMilli()) / 1000
	}
	text, err := json.Marshal(source)
	if err != nil {
		return nil, err
	}
	return &types.Parameter{
		ARN:              secret.ARN,
		Name:             &name,
		Type:             types.ParameterTypeSecureString,
		Value:            secret.SecretString,
		SourceResult:     aws.String(string(text)),
		LastModifiedDate: &modified,
		DataType:         aws.String(dataTypeText),
	}, nil
}
