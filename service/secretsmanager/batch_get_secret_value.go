package secretsmanager

import (
	"context"
	"errors"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/aws/smithy-go"
)

const maxBatch = 20

// BatchGetSecretValue returns the current values of the secrets that are listed or that
// pass the filters. The caller needs GetSecretValue on each; what cannot be had of one
// secret is told beside the values of the others.
func (s *Service) BatchGetSecretValue(ctx context.Context, in *secretsmanager.BatchGetSecretValueInput) (*secretsmanager.BatchGetSecretValueOutput, error) {
	if err := s.authorize(ctx, "secretsmanager:BatchGetSecretValue"); err != nil {
		return nil, err
	}
	if len(in.Filters) > 0 {
		if err := s.authorize(ctx, "secretsmanager:ListSecrets"); err != nil {
			return nil, err
		}
	}
	switch {
	case len(in.SecretIdList) > 0 && len(in.Filters) > 0, len(in.SecretIdList) == 0 && len(in.Filters) == 0 && in.MaxResults == nil:
		return nil, invalidParameter("Either 'SecretIdList' or 'Filters' must be provided, but not both.")
	case in.MaxResults != nil && len(in.Filters) == 0:
		return nil, invalidParameter("'Filters' not specified. 'Filters' must also be specified when 'MaxResults' is provided.")
	case in.NextToken != nil && len(in.Filters) == 0:
		return nil, invalidNextToken()
	}

	ids := in.SecretIdList
	out := &secretsmanager.BatchGetSecretValueOutput{SecretValues: []types.SecretValueEntry{}, Errors: []types.APIErrorType{}}
	if len(in.Filters) > 0 {
		l := listing{filters: in.Filters, limit: maxBatch, token: in.NextToken}
		if in.MaxResults != nil {
			l.limit = int(*in.MaxResults)
		}
		found, next, err := s.list(ctx, l)
		if err != nil {
			return nil, err
		}
		for _, x := range found {
			ids = append(ids, x.arn)
		}
		out.NextToken = next
	}
	for _, id := range ids {
		got, err := s.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: aws.String(id)})
		var api smithy.APIError
		switch {
		case err == nil:
			out.SecretValues = append(out.SecretValues, types.SecretValueEntry{
				ARN: got.ARN, Name: got.Name, VersionId: got.VersionId, VersionStages: got.VersionStages, CreatedDate: got.CreatedDate,
				SecretString: got.SecretString, SecretBinary: got.SecretBinary,
			})
		case errors.As(err, &api):
			out.Errors = append(out.Errors, types.APIErrorType{
				SecretId: aws.String(id), ErrorCode: aws.String(api.ErrorCode()), Message: aws.String(api.ErrorMessage()),
			})
		default:
			return nil, err
		}
	}
	return out, nil
}
