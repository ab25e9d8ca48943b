package iam

import (
	"context"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/malote/malote/authz"
	"github.com/malote/malote/service/iam/directory"
)

const defaultMaxSession = 3600 // seconds

// sdkRole leaves out what ListRoles does: boundary, tags and the time of last use.
func sdkRole(tx *directory.Tx, r *directory.Role) (types.Role, error) {
	trust, err := tx.TrustDocument(r.Trust)
	if err != nil {
		return types.Role{}, err
	}
	role := types.Role{
		Arn:                      aws.String(r.ARN()),
		AssumeRolePolicyDocument: encoded(trust),
		CreateDate:               aws.Time(r.Created),
		MaxSessionDuration:       aws.Int32(r.MaxSession),
		Path:                     aws.String(r.Path),
		RoleId:                   aws.String(r.ID),
		RoleName:                 aws.String(r.Name),
	}
	if r.Description != "" {
		role.Description = aws.String(r.Description)
	}
	return role, nil
}

func fullRole(tx *directory.Tx, r *directory.Role) (*types.Role, error) {
	full, err := sdkRole(tx, r)
	full.PermissionsBoundary = sdkBoundary(r.Boundary)
	full.Tags = sdkTags(r.Tags)
	return &full, err
}

// newTrust checks a trust policy and finds out whom it means.
func newTrust(tx *directory.Tx, document string) (directory.Trust, error) {
	trust, err := tx.NewTrust(document)
	if err != nil {
		return trust, malformed(err)
	}
	if size(document) > maxTrustPolicy {
		return trust, limitExceeded("Cannot exceed quota for ACLSizePerRole: %d", maxTrustPolicy)
	}
	return trust, nil
}

// CreateRole makes a role that those in its trust policy may assume.
func (s *Service) CreateRole(ctx context.Context, in *iam.CreateRoleInput) (*iam.CreateRoleOutput, error) {
	e, err := s.newEntity(ctx, directory.KindRole, "AROA", *in.RoleName, in.Path, in.PermissionsBoundary, in.Tags)
	if err != nil {
		return nil, err
	}
	r := &directory.Role{Entity: *e, Description: aws.ToString(in.Description), MaxSession: defaultMaxSession}
	if in.MaxSessionDuration != nil {
		r.MaxSession = *in.MaxSessionDuration
	}
	out := new(iam.CreateRoleOutput)
	err = s.dir.Update(ctx, func(tx *directory.Tx) error {
		if err := free(tx, r.Account, directory.KindRole, r.Name); err != nil {
			return err
		}
		var err error
		if r.Trust, err = newTrust(tx, *in.AssumeRolePolicyDocument); err != nil {
			return err
		}
		if err := checkBoundary(tx, r.Account, in.PermissionsBoundary); err != nil {
			return err
		}
		if out.Role, err = fullRole(tx, r); err != nil {
			return err
		}
		out.Role.MaxSessionDuration = in.MaxSessionDuration // AWS leaves a default out, here alone
		return tx.PutRole(r)
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (s *Service) GetRole(ctx context.Context, in *iam.GetRoleInput) (*iam.GetRoleOutput, error) {
	out := new(iam.GetRoleOutput)
	err := s.read(ctx, directory.KindRole, *in.RoleName, &authz.Access{Action: "iam:GetRole"}, func(tx *directory.Tx, sub *subject) (err error) {
		out.Role, err = fullRole(tx, sub.role)
		return err
	})
	if err != nil {
		return nil, err
	}
	if out.Role.RoleLastUsed, err = s.roleLastUsed(ctx, *out.Role.RoleId); err != nil {
		return nil, err
	}
	return out, nil
}

// roleLastUsed is empty for a role that never was.
func (s *Service) roleLastUsed(ctx context.Context, id string) (*types.RoleLastUsed, error) {
	used, err := s.dir.LastUsed(ctx, id)
	if err != nil || used.Time.IsZero() {
		return &types.RoleLastUsed{}, err
	}
	return &types.RoleLastUsed{LastUsedDate: aws.Time(used.Time), Region: aws.String(used.Region)}, nil
}

func (s *Service) ListRoles(ctx context.Context, in *iam.ListRolesInput) (*iam.ListRolesOutput, error) {
	if err := s.permitList(ctx, "iam:ListRoles", "role", in.PathPrefix); err != nil {
		return nil, err
	}
	last, err := after(in.Marker)
	if err != nil {
		return nil, err
	}
	out := new(iam.ListRolesOutput)
	err = s.dir.View(ctx, func(tx *directory.Tx) error {
		under := filter(tx.Roles(account(ctx), last), func(r *directory.Role) bool { return strings.HasPrefix(r.Path, aws.ToString(in.PathPrefix)) })
		page, next, err := pageOf(under, in.MaxItems, func(r *directory.Role) string { return r.Name })
		if err != nil {
			return err
		}
		out.Roles, out.Marker, out.IsTruncated = []types.Role{}, next, next != nil
		for _, r := range page {
			role, err := sdkRole(tx, r)
			if err != nil {
				return err
			}
			out.Roles = append(out.Roles, role)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (s *Service) UpdateRole(ctx context.Context, in *iam.UpdateRoleInput) (*iam.UpdateRoleOutput, error) {
	err := s.change(ctx, directory.KindRole, *in.RoleName, &authz.Access{Action: "iam:UpdateRole"}, func(_ *directory.Tx, sub *subject) error {
		if in.MaxSessionDuration != nil && sub.role.Linked != "" {
			return unmodifiable("%s is an AWS service linked role, max session duration cannot be changed.", sub.Name)
		}
		if in.Description != nil {
			sub.role.Description = *in.Description
		}
		if in.MaxSessionDuration != nil {
			sub.role.MaxSession = *in.MaxSessionDuration
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &iam.UpdateRoleOutput{}, nil
}

func (s *Service) UpdateRoleDescription(ctx context.Context, in *iam.UpdateRoleDescriptionInput) (*iam.UpdateRoleDescriptionOutput, error) {
	out := new(iam.UpdateRoleDescriptionOutput)
	err := s.change(ctx, directory.KindRole, *in.RoleName, &authz.Access{Action: "iam:UpdateRoleDescription"}, func(tx *directory.Tx, sub *subject) (err error) {
		sub.role.Description = *in.Description
		if out.Role, err = fullRole(tx, sub.role); err == nil {
			out.Role.MaxSessionDuration = nil // AWS leaves it out here
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// UpdateAssumeRolePolicy changes who may assume the role from now on. Sessions go on.
func (s *Service) UpdateAssumeRolePolicy(ctx context.Context, in *iam.UpdateAssumeRolePolicyInput) (*iam.UpdateAssumeRolePolicyOutput, error) {
	err := s.change(ctx, directory.KindRole, *in.RoleName, &authz.Access{Action: "iam:UpdateAssumeRolePolicy"}, func(tx *directory.Tx, sub *subject) (err error) {
		if err := modifiable(sub); err != nil {
			return err
		}
		sub.role.Trust, err = newTrust(tx, *in.PolicyDocument)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &iam.UpdateAssumeRolePolicyOutput{}, nil
}

// DeleteRole deletes a role without policies. Its sessions end at once.
func (s *Service) DeleteRole(ctx context.Context, in *iam.DeleteRoleInput) (*iam.DeleteRoleOutput, error) {
	err := s.remove(ctx, directory.KindRole, *in.RoleName, &authz.Access{Action: "iam:DeleteRole"}, func(tx *directory.Tx, sub *subject) error {
		for _, err := range tx.ProfilesOf(sub.Account, sub.Name) {
			if err != nil {
				return err
			}
			return deleteConflict("Cannot delete entity, must remove roles from instance profile first.")
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &iam.DeleteRoleOutput{}, nil
}
