package secretsmanager

import (
	"context"
	"errors"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/malote/malote/store"
)

// GetSecretValue returns the value of a version: of the current one unless the request
// names a version, a staging label, or both of the same.
func (s *Service) GetSecretValue(ctx context.Context, in *secretsmanager.GetSecretValueInput) (*secretsmanager.GetSecretValueOutput, error) {
	stage := aws.ToString(in.VersionStage)
	if in.VersionStage == nil && in.VersionId == nil {
		stage = current
	}
	conditions := map[string][]string{}
	if stage != "" {
		conditions["secretsmanager:VersionStage"] = []string{stage}
	}
	if in.VersionId != nil {
		conditions["secretsmanager:VersionId"] = []string{*in.VersionId}
	}
	// The version and its sealed value come from the same moment as the secret; whether
	// the caller may have them is settled before anything is said of them.
	var v *version
	var selectErr error
	var sealed *value
	x, err := s.authorizedSecret(ctx, access{
		action: "secretsmanager:GetSecretValue", secretID: *in.SecretId, conditions: conditions,
		also: func(tx store.Tx, x *secret) error {
			v, selectErr = x.selectVersion(aws.ToString(in.VersionId), stage)
			if selectErr != nil {
				return nil
			}
			var err error
			sealed, err = s.values.Get(tx, x.valuePath(v.ID))
			if errors.Is(err, store.ErrNotFound) {
				return errDamaged
			}
			return err
		},
	})
	if err != nil {
		return nil, err
	}
	if err := x.active(); err != nil {
		return nil, err
	}
	if selectErr != nil {
		return nil, selectErr
	}

	p, err := s.open(ctx, x, v, sealed)
	if err != nil {
		return nil, err
	}
	s.noteRead(x, v)
	out := &secretsmanager.GetSecretValueOutput{
		ARN: aws.String(x.arn), Name: aws.String(x.Name), VersionId: aws.String(v.ID),
		VersionStages: v.Stages, CreatedDate: aws.Time(v.Created),
	}
	if p.binary {
		out.SecretBinary = p.bytes
	} else {
		out.SecretString = aws.String(string(p.bytes))
	}
	return out, nil
}

// selectVersion returns the version that has the id, or the label, or, if neither is "",
// both. It has a value.
func (x *secret) selectVersion(id, stage string) (*version, error) {
	if id == "" {
		v := x.holder(stage)
		if v == nil || v.Key == "" {
			return nil, stageNotFound(stage)
		}
		return v, nil
	}
	v := x.version(id)
	switch {
	case v == nil || v.Key == "":
		return nil, versionNotFound(id)
	case stage != "" && !slices.Contains(v.Stages, stage):
		return nil, invalidRequest("You provided a VersionStage that is not associated to the provided VersionId.")
	}
	return v, nil
}
