package iam

import (
	"context"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/malote/malote/authz"
	"github.com/malote/malote/service/iam/directory"
)

// putInline, getInline, deleteInline and listInline do the work for users, roles and groups.
func (s *Service) putInline(ctx context.Context, action string, kind directory.Kind, name, policyName, document string, max int) error {
	return s.change(ctx, kind, name, &authz.Access{Action: action}, func(_ *directory.Tx, sub *subject) error {
		if err := modifiable(sub); err != nil {
			return err
		}
		if err := checkIdentity(document); err != nil {
			return err
		}
		policy := directory.Inline{Name: policyName, Document: document}
		i, found := slices.BinarySearchFunc(sub.Inline, policyName, func(p directory.Inline, name string) int { return strings.Compare(p.Name, name) })
		if found {
			sub.Inline[i] = policy
		} else {
			sub.Inline = slices.Insert(sub.Inline, i, policy)
		}
		total := 0
		for _, p := range sub.Inline {
			total += size(p.Document)
		}
		if total > max {
			return limitExceeded("Maximum policy size of %d bytes exceeded for %s %s", max, kind, sub.Name)
		}
		return nil
	})
}

func (s *Service) getInline(ctx context.Context, action string, kind directory.Kind, name, policyName string) (entity, document string, err error) {
	err = s.read(ctx, kind, name, &authz.Access{Action: action}, func(_ *directory.Tx, sub *subject) error {
		i := inlineIndex(sub, policyName)
		if i < 0 {
			return noSuchEntity("The %s policy with name %s cannot be found.", kind, policyName)
		}
		entity, document = sub.Name, sub.Inline[i].Document
		return nil
	})
	return entity, document, err
}

func (s *Service) deleteInline(ctx context.Context, action string, kind directory.Kind, name, policyName string) error {
	return s.change(ctx, kind, name, &authz.Access{Action: action}, func(_ *directory.Tx, sub *subject) error {
		if err := modifiable(sub); err != nil {
			return err
		}
		i := inlineIndex(sub, policyName)
		if i < 0 {
			return noSuchEntity("The %s policy with name %s cannot be found.", kind, policyName)
		}
		sub.Inline = slices.Delete(sub.Inline, i, i+1)
		return nil
	})
}

func inlineIndex(sub *subject, policyName string) int {
	return slices.IndexFunc(sub.Inline, func(p directory.Inline) bool { return p.Name == policyName })
}

func (s *Service) listInline(ctx context.Context, action string, kind directory.Kind, name string, marker *string, maxItems *int32) (names []string, next *string, err error) {
	err = s.read(ctx, kind, name, &authz.Access{Action: action}, func(_ *directory.Tx, sub *subject) error {
		last, err := after(marker)
		if err != nil {
			return err
		}
		all := convert(sub.Inline, func(p directory.Inline) string { return p.Name })
		names, next, err = pageOf(sliceAfter(all, last, identity), maxItems, identity)
		return err
	})
	return names, next, err
}

func (s *Service) PutUserPolicy(ctx context.Context, in *iam.PutUserPolicyInput) (*iam.PutUserPolicyOutput, error) {
	if err := s.putInline(ctx, "iam:PutUserPolicy", directory.KindUser, *in.UserName, *in.PolicyName, *in.PolicyDocument, maxUserInline); err != nil {
		return nil, err
	}
	return &iam.PutUserPolicyOutput{}, nil
}

func (s *Service) GetUserPolicy(ctx context.Context, in *iam.GetUserPolicyInput) (*iam.GetUserPolicyOutput, error) {
	name, document, err := s.getInline(ctx, "iam:GetUserPolicy", directory.KindUser, *in.UserName, *in.PolicyName)
	if err != nil {
		return nil, err
	}
	return &iam.GetUserPolicyOutput{UserName: aws.String(name), PolicyName: in.PolicyName, PolicyDocument: encoded(document)}, nil
}

func (s *Service) DeleteUserPolicy(ctx context.Context, in *iam.DeleteUserPolicyInput) (*iam.DeleteUserPolicyOutput, error) {
	if err := s.deleteInline(ctx, "iam:DeleteUserPolicy", directory.KindUser, *in.UserName, *in.PolicyName); err != nil {
		return nil, err
	}
	return &iam.DeleteUserPolicyOutput{}, nil
}

func (s *Service) ListUserPolicies(ctx context.Context, in *iam.ListUserPoliciesInput) (*iam.ListUserPoliciesOutput, error) {
	names, next, err := s.listInline(ctx, "iam:ListUserPolicies", directory.KindUser, *in.UserName, in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	return &iam.ListUserPoliciesOutput{PolicyNames: names, Marker: next, IsTruncated: next != nil}, nil
}

func (s *Service) PutRolePolicy(ctx context.Context, in *iam.PutRolePolicyInput) (*iam.PutRolePolicyOutput, error) {
	if err := s.putInline(ctx, "iam:PutRolePolicy", directory.KindRole, *in.RoleName, *in.PolicyName, *in.PolicyDocument, maxRoleInline); err != nil {
		return nil, err
	}
	return &iam.PutRolePolicyOutput{}, nil
}

func (s *Service) GetRolePolicy(ctx context.Context, in *iam.GetRolePolicyInput) (*iam.GetRolePolicyOutput, error) {
	name, document, err := s.getInline(ctx, "iam:GetRolePolicy", directory.KindRole, *in.RoleName, *in.PolicyName)
	if err != nil {
		return nil, err
	}
	return &iam.GetRolePolicyOutput{RoleName: aws.String(name), PolicyName: in.PolicyName, PolicyDocument: encoded(document)}, nil
}

func (s *Service) DeleteRolePolicy(ctx context.Context, in *iam.DeleteRolePolicyInput) (*iam.DeleteRolePolicyOutput, error) {
	if err := s.deleteInline(ctx, "iam:DeleteRolePolicy", directory.KindRole, *in.RoleName, *in.PolicyName); err != nil {
		return nil, err
	}
	return &iam.DeleteRolePolicyOutput{}, nil
}

func (s *Service) ListRolePolicies(ctx context.Context, in *iam.ListRolePoliciesInput) (*iam.ListRolePoliciesOutput, error) {
	names, next, err := s.listInline(ctx, "iam:ListRolePolicies", directory.KindRole, *in.RoleName, in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	return &iam.ListRolePoliciesOutput{PolicyNames: names, Marker: next, IsTruncated: next != nil}, nil
}

func (s *Service) PutGroupPolicy(ctx context.Context, in *iam.PutGroupPolicyInput) (*iam.PutGroupPolicyOutput, error) {
	if err := s.putInline(ctx, "iam:PutGroupPolicy", directory.KindGroup, *in.GroupName, *in.PolicyName, *in.PolicyDocument, maxGroupInline); err != nil {
		return nil, err
	}
	return &iam.PutGroupPolicyOutput{}, nil
}

func (s *Service) GetGroupPolicy(ctx context.Context, in *iam.GetGroupPolicyInput) (*iam.GetGroupPolicyOutput, error) {
	name, document, err := s.getInline(ctx, "iam:GetGroupPolicy", directory.KindGroup, *in.GroupName, *in.PolicyName)
	if err != nil {
		return nil, err
	}
	return &iam.GetGroupPolicyOutput{GroupName: aws.String(name), PolicyName: in.PolicyName, PolicyDocument: encoded(document)}, nil
}

func (s *Service) DeleteGroupPolicy(ctx context.Context, in *iam.DeleteGroupPolicyInput) (*iam.DeleteGroupPolicyOutput, error) {
	if err := s.deleteInline(ctx, "iam:DeleteGroupPolicy", directory.KindGroup, *in.GroupName, *in.PolicyName); err != nil {
		return nil, err
	}
	return &iam.DeleteGroupPolicyOutput{}, nil
}

func (s *Service) ListGroupPolicies(ctx context.Context, in *iam.ListGroupPoliciesInput) (*iam.ListGroupPoliciesOutput, error) {
	names, next, err := s.listInline(ctx, "iam:ListGroupPolicies", directory.KindGroup, *in.GroupName, in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	return &iam.ListGroupPoliciesOutput{PolicyNames: names, Marker: next, IsTruncated: next != nil}, nil
}
