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
	wanted := &selected{id: aws.ToString(in.VersionId), stage: aws.ToString(in.VersionStage)}
	conditions := currentConditions
	switch {
	case in.VersionStage == nil && in.VersionId == nil:
		wanted.stage = current
	default:
		conditions = make(map[string][]string, 2)
		if wanted.stage != "" {
			conditions["secretsmanager:VersionStage"] = []string{wanted.stage}
		}
		if in.VersionId != nil {
			conditions["secretsmanager:VersionId"] = []string{wanted.id}
		}
	}
	// The version and its sealed value come from the same moment as the secret; whether
	// the caller may have them is settled before anything is said of them.
	x, err := s.authorizedSecret(ctx, access{action: "secretsmanager:GetSecretValue", secretID: *in.SecretId, conditions: conditions, also: wanted})
	if err != nil {
		return nil, err
	}
	if err := x.active(); err != nil {
		return nil, err
	}
	if wanted.err != nil {
		return nil, wanted.err
	}

	v := wanted.version
	p, err := s.open(ctx, x, v, wanted.value)
	if err != nil {
		return nil, err
	}
	s.noteRead(x, v)
	// It points into the record, as its slices do: an output is only read.
	out := &secretsmanager.GetSecretValueOutput{ARN: &x.arn, Name: &x.Name, VersionId: &v.ID, VersionStages: v.Stages, CreatedDate: &v.Created}
	if p.binary {
		out.SecretBinary = p.bytes
	} else {
		out.SecretString = p.text()
	}
	return out, nil
}

var currentConditions = map[string][]string{"secretsmanager:VersionStage": {current}}

// selected reads the version that has the id, or the label, or, if neither is "", both.
type selected struct {
	id, stage string

	version *version
	value   *value
	err     error // why there is none
}

func (w *selected) read(s *Service, tx store.Tx, x *secret) error {
	if w.version, w.err = x.selectVersion(w.id, w.stage); w.err != nil {
		return nil
	}
	var err error
	w.value, err = s.values.Get(tx, x.lastRead(w.version.ID).path)
	if errors.Is(err, store.ErrNotFound) {
		return errDamaged
	}
	return err
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
