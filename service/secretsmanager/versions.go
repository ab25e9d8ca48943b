package secretsmanager

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/malote/malote/store"
)

// ListSecretVersionIds lists the versions that carry a label, and, when asked, those that
// carry none.
func (s *Service) ListSecretVersionIds(ctx context.Context, in *secretsmanager.ListSecretVersionIdsInput) (*secretsmanager.ListSecretVersionIdsOutput, error) {
	x, err := s.authorizedSecret(ctx, access{action: "secretsmanager:ListSecretVersionIds", secretID: *in.SecretId})
	if err != nil {
		return nil, err
	}
	limit := 100
	if in.MaxResults != nil {
		limit = int(*in.MaxResults)
	}
	var after position
	if in.NextToken != nil {
		if after, err = decodeToken(*in.NextToken, "versions", x.arn); err != nil {
			return nil, err
		}
	}

	out := &secretsmanager.ListSecretVersionIdsOutput{ARN: aws.String(x.arn), Name: aws.String(x.Name), Versions: []types.SecretVersionsListEntry{}}
	passed := in.NextToken == nil
	var last string
	for i := range x.Versions {
		v := &x.Versions[i]
		if !passed {
			// A version that has been pruned since leaves its place to the first younger one.
			passed = v.ID == after.Name || v.Created.UnixMicro() > after.Key
			if v.ID == after.Name || !passed {
				continue
			}
		}
		if len(v.Stages) == 0 && !aws.ToBool(in.IncludeDeprecated) {
			continue
		}
		if len(out.Versions) == limit {
			w := x.version(last)
			out.NextToken = encodeToken(position{Key: w.Created.UnixMicro(), Name: w.ID}, "versions", x.arn)
			break
		}
		e := types.SecretVersionsListEntry{
			VersionId: aws.String(v.ID), CreatedDate: aws.Time(v.Created),
			LastAccessedDate: s.accessed(x, v.ID, v.Accessed),
			VersionStages:    v.Stages,
		}
		if len(v.Stages) == 0 {
			e.VersionStages = nil
		}
		switch {
		case v.Managed:
			e.KmsKeyIds = []string{"DefaultEncryptionKey"}
		case v.Key != "":
			e.KmsKeyIds = []string{v.Key}
		}
		out.Versions = append(out.Versions, e)
		last = v.ID
	}
	return out, nil
}

// UpdateSecretVersionStage moves a staging label between versions, puts it on one or
// takes it off one.
func (s *Service) UpdateSecretVersionStage(ctx context.Context, in *secretsmanager.UpdateSecretVersionStageInput) (*secretsmanager.UpdateSecretVersionStageOutput, error) {
	a := access{
		action: "secretsmanager:UpdateSecretVersionStage", secretID: *in.SecretId,
		conditions: map[string][]string{"secretsmanager:VersionStage": {*in.VersionStage}},
	}
	x, err := s.authorizedSecret(ctx, a)
	if err != nil {
		return nil, err
	}
	x, err = s.change(ctx, a, x, func(_ store.Tx, x *secret) error {
		if err := x.active(); err != nil {
			return err
		}
		if err := x.moveStage(*in.VersionStage, in.RemoveFromVersionId, in.MoveToVersionId); err != nil {
			return err
		}
		x.Changed = s.timestamp()
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &secretsmanager.UpdateSecretVersionStageOutput{ARN: aws.String(x.arn), Name: aws.String(x.Name)}, nil
}

// moveStage is UpdateSecretVersionStage on the record. The request must say what it
// expects to take the label from, so that two who move it do not undo each other.
func (x *secret) moveStage(label string, from, to *string) error {
	for _, id := range []*string{from, to} {
		if id != nil && x.version(*id) == nil {
			return versionNotFound(*id)
		}
	}
	holder := x.holder(label)
	switch {
	case from == nil && to == nil:
		return invalidParameter("You must provide either RemoveFromVersionId or MoveToVersionId.")
	case from != nil && (holder == nil || holder.ID != *from):
		return invalidParameter("The staging label %s is not attached to version %s, so it can't be removed from that version.", label, *from)
	case from == nil && holder != nil && holder.ID != *to:
		return invalidParameter("The parameter RemoveFromVersionId can't be empty. Staging label %s is currently attached to version %s, so you must explicitly reference that version in RemoveFromVersionId.", label, holder.ID)
	case to == nil && label == current:
		return invalidParameter("You can only move staging label AWSCURRENT to a different secret version. It can't be completely removed.")
	case to == nil:
		x.detach(label)
		return nil
	case label == current && x.version(*to).Key == "":
		return versionNotFound(*to) // it waits for its value: that of now stays
	}
	x.attach(label, *to)
	if x.labels() > maxLabels {
		return limitExceeded("The versions of secret %s can't have more than %d staging labels.", x.arn, maxLabels)
	}
	return nil
}
