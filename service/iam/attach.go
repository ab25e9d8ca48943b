package iam

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/malote/malote/authz"
	"github.com/malote/malote/service/iam/directory"
	"github.com/malote/malote/store"
)

// attachable finds a managed policy that an entity of this account may have. absent is
// the message when there is none, with %s for its ARN. That arn is one of a policy was seen to.
func attachable(tx *directory.Tx, account, arn, absent string) error {
	owner, _, path, _, _ := directory.ParseARN(arn)
	if owner != account && owner != directory.AWS {
		return noSuchEntity(absent, arn)
	}
	if _, err := tx.Managed(arn); errors.Is(err, store.ErrNotFound) {
		return noSuchEntity(absent, arn)
	} else if err != nil {
		return err
	}
	if owner == directory.AWS && strings.HasPrefix(path, linkedPrefix) {
		return &types.PolicyNotAttachableException{Message: aws.String("Cannot attach a Service Role Policy to a Customer Role.")}
	}
	return nil
}

func isPolicyARN(arn string) bool {
	_, kind, _, _, ok := directory.ParseARN(arn)
	return ok && kind == "policy"
}

// attach, detach and listAttached do the work for users, roles and groups.
func (s *Service) attach(ctx context.Context, action string, kind directory.Kind, name, arn, quota string) error {
	access := &authz.Access{Action: action, Conditions: map[string][]string{policyCondition: {arn}}}
	return s.change(ctx, kind, name, access, func(tx *directory.Tx, sub *subject) error {
		if err := modifiable(sub); err != nil {
			return err
		}
		if !isPolicyARN(arn) {
			return validationError("ARN %s is not valid.", arn)
		}
		if err := attachable(tx, sub.Account, arn, "Policy %s does not exist or is not attachable."); err != nil {
			return err
		}
		if slices.Contains(sub.Attached, arn) {
			return nil
		}
		if len(sub.Attached) >= maxAttached {
			return limitExceeded("Cannot exceed quota for %s: %d", quota, maxAttached)
		}
		sub.Attached = append(sub.Attached, arn)
		return nil
	})
}

func (s *Service) detach(ctx context.Context, action string, kind directory.Kind, name, arn string) error {
	access := &authz.Access{Action: action, Conditions: map[string][]string{policyCondition: {arn}}}
	return s.change(ctx, kind, name, access, func(_ *directory.Tx, sub *subject) error {
		if err := modifiable(sub); err != nil {
			return err
		}
		if !isPolicyARN(arn) {
			return validationError("ARN %s is not valid.", arn)
		}
		i := slices.Index(sub.Attached, arn)
		if i < 0 {
			return noSuchEntity("Policy %s was not found.", arn)
		}
		sub.Attached = slices.Delete(sub.Attached, i, i+1)
		return nil
	})
}

func (s *Service) listAttached(ctx context.Context, action string, kind directory.Kind, name string, pathPrefix, marker *string, maxItems *int32) (list []types.AttachedPolicy, next *string, err error) {
	err = s.read(ctx, kind, name, &authz.Access{Action: action}, func(_ *directory.Tx, sub *subject) error {
		last, err := after(marker)
		if err != nil {
			return err
		}
		under := filter(sliceAfter(sub.Attached, last, identity), func(arn string) bool {
			_, _, path, _, _ := directory.ParseARN(arn)
			return strings.HasPrefix(path, aws.ToString(pathPrefix))
		})
		arns, marker, err := pageOf(under, maxItems, identity)
		next = marker
		list = convert(arns, sdkAttached)
		return err
	})
	return list, next, err
}

func sdkAttached(arn string) types.AttachedPolicy {
	_, _, _, name, _ := directory.ParseARN(arn)
	return types.AttachedPolicy{PolicyArn: aws.String(arn), PolicyName: aws.String(name)}
}

func (s *Service) AttachUserPolicy(ctx context.Context, in *iam.AttachUserPolicyInput) (*iam.AttachUserPolicyOutput, error) {
	if err := s.attach(ctx, "iam:AttachUserPolicy", directory.KindUser, *in.UserName, *in.PolicyArn, "PoliciesPerUser"); err != nil {
		return nil, err
	}
	return &iam.AttachUserPolicyOutput{}, nil
}

func (s *Service) DetachUserPolicy(ctx context.Context, in *iam.DetachUserPolicyInput) (*iam.DetachUserPolicyOutput, error) {
	if err := s.detach(ctx, "iam:DetachUserPolicy", directory.KindUser, *in.UserName, *in.PolicyArn); err != nil {
		return nil, err
	}
	return &iam.DetachUserPolicyOutput{}, nil
}

func (s *Service) ListAttachedUserPolicies(ctx context.Context, in *iam.ListAttachedUserPoliciesInput) (*iam.ListAttachedUserPoliciesOutput, error) {
	list, next, err := s.listAttached(ctx, "iam:ListAttachedUserPolicies", directory.KindUser, *in.UserName, in.PathPrefix, in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	return &iam.ListAttachedUserPoliciesOutput{AttachedPolicies: list, Marker: next, IsTruncated: next != nil}, nil
}

func (s *Service) AttachRolePolicy(ctx context.Context, in *iam.AttachRolePolicyInput) (*iam.AttachRolePolicyOutput, error) {
	if err := s.attach(ctx, "iam:AttachRolePolicy", directory.KindRole, *in.RoleName, *in.PolicyArn, "PoliciesPerRole"); err != nil {
		return nil, err
	}
	return &iam.AttachRolePolicyOutput{}, nil
}

func (s *Service) DetachRolePolicy(ctx context.Context, in *iam.DetachRolePolicyInput) (*iam.DetachRolePolicyOutput, error) {
	if err := s.detach(ctx, "iam:DetachRolePolicy", directory.KindRole, *in.RoleName, *in.PolicyArn); err != nil {
		return nil, err
	}
	return &iam.DetachRolePolicyOutput{}, nil
}

func (s *Service) ListAttachedRolePolicies(ctx context.Context, in *iam.ListAttachedRolePoliciesInput) (*iam.ListAttachedRolePoliciesOutput, error) {
	list, next, err := s.listAttached(ctx, "iam:ListAttachedRolePolicies", directory.KindRole, *in.RoleName, in.PathPrefix, in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	return &iam.ListAttachedRolePoliciesOutput{AttachedPolicies: list, Marker: next, IsTruncated: next != nil}, nil
}

func (s *Service) AttachGroupPolicy(ctx context.Context, in *iam.AttachGroupPolicyInput) (*iam.AttachGroupPolicyOutput, error) {
	if err := s.attach(ctx, "iam:AttachGroupPolicy", directory.KindGroup, *in.GroupName, *in.PolicyArn, "PoliciesPerGroup"); err != nil {
		return nil, err
	}
	return &iam.AttachGroupPolicyOutput{}, nil
}

func (s *Service) DetachGroupPolicy(ctx context.Context, in *iam.DetachGroupPolicyInput) (*iam.DetachGroupPolicyOutput, error) {
	if err := s.detach(ctx, "iam:DetachGroupPolicy", directory.KindGroup, *in.GroupName, *in.PolicyArn); err != nil {
		return nil, err
	}
	return &iam.DetachGroupPolicyOutput{}, nil
}

func (s *Service) ListAttachedGroupPolicies(ctx context.Context, in *iam.ListAttachedGroupPoliciesInput) (*iam.ListAttachedGroupPoliciesOutput, error) {
	list, next, err := s.listAttached(ctx, "iam:ListAttachedGroupPolicies", directory.KindGroup, *in.GroupName, in.PathPrefix, in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	return &iam.ListAttachedGroupPoliciesOutput{AttachedPolicies: list, Marker: next, IsTruncated: next != nil}, nil
}
