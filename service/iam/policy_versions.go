package iam

import (
	"context"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/malote/malote/authz"
	"github.com/malote/malote/service/iam/directory"
)

func sdkVersion(p *directory.Policy, v *directory.Version) types.PolicyVersion {
	return types.PolicyVersion{CreateDate: aws.Time(v.Created), IsDefaultVersion: v.ID == p.Default, VersionId: aws.String(v.ID)}
}

func findVersion(p *directory.Policy, id string) (*directory.Version, error) {
	v := p.Version(id)
	if v == nil {
		return nil, noSuchVersion(p.ARN(), id)
	}
	return v, nil
}

// noSuchVersion is also said when there is no such policy.
func noSuchVersion(arn, id string) error {
	return noSuchEntity("Policy %s version %s does not exist or is not attachable.", arn, id)
}

func (s *Service) CreatePolicyVersion(ctx context.Context, in *iam.CreatePolicyVersionInput) (*iam.CreatePolicyVersionOutput, error) {
	out := new(iam.CreatePolicyVersionOutput)
	err := s.changePolicy(ctx, *in.PolicyArn, &authz.Access{Action: "iam:CreatePolicyVersion"}, func(tx *directory.Tx, p *directory.Policy) error {
		if err := checkManaged(*in.PolicyDocument); err != nil {
			return err
		}
		if len(p.Versions) >= maxVersions {
			return limitExceeded("A managed policy can have up to %d versions. Before you create a new version, you must delete an existing version.", maxVersions)
		}
		p.Last++
		v := directory.Version{ID: fmt.Sprintf("v%d", p.Last), Document: *in.PolicyDocument, Created: s.now().UTC()}
		p.Versions = append(p.Versions, v)
		p.Updated = v.Created
		if in.SetAsDefault {
			p.Default = v.ID
		}
		out.PolicyVersion = new(sdkVersion(p, &v))
		return tx.PutPolicy(p)
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (s *Service) GetPolicyVersion(ctx context.Context, in *iam.GetPolicyVersionInput) (*iam.GetPolicyVersionOutput, error) {
	out := new(iam.GetPolicyVersionOutput)
	err := s.readPolicy(ctx, *in.PolicyArn, &authz.Access{Action: "iam:GetPolicyVersion"}, func(_ *directory.Tx, p *directory.Policy) error {
		v, err := findVersion(p, *in.VersionId)
		if err != nil {
			return err
		}
		out.PolicyVersion = new(sdkVersion(p, v))
		out.PolicyVersion.Document = encoded(v.Document)
		return nil
	})
	if isNoSuchEntity(err) {
		err = noSuchVersion(*in.PolicyArn, *in.VersionId)
	}
	if err != nil {
		return nil, err
	}
	return out, nil
}

// ListPolicyVersions lists the newest first, without documents.
func (s *Service) ListPolicyVersions(ctx context.Context, in *iam.ListPolicyVersionsInput) (*iam.ListPolicyVersionsOutput, error) {
	out := new(iam.ListPolicyVersionsOutput)
	err := s.readPolicy(ctx, *in.PolicyArn, &authz.Access{Action: "iam:ListPolicyVersions"}, func(_ *directory.Tx, p *directory.Policy) error {
		last, err := after(in.Marker)
		if err != nil {
			return err
		}
		versions := slices.Clone(p.Versions)
		slices.Reverse(versions)
		key := func(v directory.Version) string { return v.ID }
		page, next, err := pageOf(sliceAfter(versions, last, key), in.MaxItems, key)
		out.Versions = convert(page, func(v directory.Version) types.PolicyVersion { return sdkVersion(p, &v) })
		out.Marker, out.IsTruncated = next, next != nil
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (s *Service) SetDefaultPolicyVersion(ctx context.Context, in *iam.SetDefaultPolicyVersionInput) (*iam.SetDefaultPolicyVersionOutput, error) {
	err := s.changePolicy(ctx, *in.PolicyArn, &authz.Access{Action: "iam:SetDefaultPolicyVersion"}, func(tx *directory.Tx, p *directory.Policy) error {
		v, err := findVersion(p, *in.VersionId)
		if err != nil {
			return err
		}
		p.Default, p.Updated = v.ID, s.now().UTC()
		return tx.PutPolicy(p)
	})
	if isNoSuchEntity(err) {
		err = noSuchVersion(*in.PolicyArn, *in.VersionId)
	}
	if err != nil {
		return nil, err
	}
	return &iam.SetDefaultPolicyVersionOutput{}, nil
}

func (s *Service) DeletePolicyVersion(ctx context.Context, in *iam.DeletePolicyVersionInput) (*iam.DeletePolicyVersionOutput, error) {
	err := s.changePolicy(ctx, *in.PolicyArn, &authz.Access{Action: "iam:DeletePolicyVersion"}, func(tx *directory.Tx, p *directory.Policy) error {
		v, err := findVersion(p, *in.VersionId)
		if err != nil {
			return err
		}
		if v.ID == p.Default {
			return deleteConflict("Cannot delete the default version of a policy.")
		}
		p.Versions = slices.DeleteFunc(p.Versions, func(o directory.Version) bool { return o.ID == *in.VersionId })
		return tx.PutPolicy(p)
	})
	if err != nil {
		return nil, err
	}
	return &iam.DeletePolicyVersionOutput{}, nil
}
