package secretsmanager

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
)

// DescribeSecret tells everything of a secret but its values. It works on a secret that
// is scheduled for deletion.
func (s *Service) DescribeSecret(ctx context.Context, in *secretsmanager.DescribeSecretInput) (*secretsmanager.DescribeSecretOutput, error) {
	x, err := s.authorizedSecret(ctx, access{action: "secretsmanager:DescribeSecret", secretID: *in.SecretId})
	if err != nil {
		return nil, err
	}
	e := s.entry(x)
	return &secretsmanager.DescribeSecretOutput{
		ARN: e.ARN, Name: e.Name, Description: e.Description, KmsKeyId: e.KmsKeyId,
		CreatedDate: e.CreatedDate, LastChangedDate: e.LastChangedDate, LastAccessedDate: e.LastAccessedDate, DeletedDate: e.DeletedDate,
		Tags: e.Tags, VersionIdsToStages: e.SecretVersionsToStages,
		RotationEnabled: e.RotationEnabled, RotationLambdaARN: e.RotationLambdaARN, RotationRules: e.RotationRules,
		LastRotatedDate: e.LastRotatedDate, NextRotationDate: e.NextRotationDate,
	}, nil
}

// entry is the secret as ListSecrets shows it.
func (s *Service) entry(x *secret) types.SecretListEntry {
	e := types.SecretListEntry{
		ARN: aws.String(x.arn), Name: aws.String(x.Name),
		Description: nonEmpty(x.Description), KmsKeyId: nonEmpty(x.KmsKeyID),
		CreatedDate: aws.Time(x.Created), LastChangedDate: aws.Time(x.Changed),
		LastAccessedDate: s.accessed(x, "", x.Accessed),
	}
	if !x.Deletion.IsZero() {
		e.DeletedDate = aws.Time(x.Deletion)
	}
	if x.Tagged {
		e.Tags = []types.Tag{}
	}
	for _, t := range x.Tags {
		e.Tags = append(e.Tags, types.Tag{Key: aws.String(t.Key), Value: aws.String(t.Value)})
	}
	if r := x.Rotation; r != nil {
		e.RotationEnabled, e.RotationLambdaARN = aws.Bool(r.Enabled), nonEmpty(r.Function)
		e.LastRotatedDate, e.NextRotationDate = optionalTime(r.Rotated), optionalTime(r.Next)
		if r.Rules != (rules{}) {
			e.RotationRules = &types.RotationRulesType{ScheduleExpression: nonEmpty(r.Rules.Schedule), Duration: nonEmpty(r.Rules.Duration)}
			if r.Rules.Days != 0 {
				e.RotationRules.AutomaticallyAfterDays = aws.Int64(r.Rules.Days)
			}
		}
	}
	for i := range x.Versions {
		v := &x.Versions[i]
		if len(v.Stages) == 0 {
			continue
		}
		if e.SecretVersionsToStages == nil {
			e.SecretVersionsToStages = map[string][]string{}
		}
		e.SecretVersionsToStages[v.ID] = v.Stages
	}
	return e
}

func nonEmpty(text string) *string {
	if text == "" {
		return nil
	}
	return aws.String(text)
}
