package iam

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/malote/malote/authz"
	"github.com/malote/malote/service/iam/directory"
)

// checkBoundary refuses a boundary that is not a policy of this account or of AWS.
func checkBoundary(tx *directory.Tx, account string, arn *string) error {
	if arn == nil {
		return nil
	}
	if !isPolicyARN(*arn) {
		return invalidInput("ARN %s is not valid.", *arn)
	}
	return attachable(tx, account, *arn, "Scope ARN: %s does not exist or is not attachable.")
}

// sdkBoundary answers with the type that AWS really sends, which is not the modelled one.
func sdkBoundary(arn string) *types.AttachedPermissionsBoundary {
	if arn == "" {
		return nil
	}
	return &types.AttachedPermissionsBoundary{PermissionsBoundaryArn: aws.String(arn), PermissionsBoundaryType: "Policy"}
}

func (s *Service) putBoundary(ctx context.Context, action string, kind directory.Kind, name string, arn *string) error {
	access := &authz.Access{Action: action, Conditions: map[string][]string{boundaryCondition: {*arn}}}
	return s.change(ctx, kind, name, access, func(tx *directory.Tx, sub *subject) error {
		if err := modifiable(sub); err != nil {
			return err
		}
		if err := checkBoundary(tx, sub.Account, arn); err != nil {
			return err
		}
		sub.Boundary = *arn
		return nil
	})
}

func (s *Service) deleteBoundary(ctx context.Context, action string, kind directory.Kind, name string) error {
	return s.change(ctx, kind, name, &authz.Access{Action: action}, func(_ *directory.Tx, sub *subject) error {
		if err := modifiable(sub); err != nil {
			return err
		}
		if sub.Boundary == "" {
			return noSuchEntity("The %s with name %s does not have a permissions boundary.", kind, sub.Name)
		}
		sub.Boundary = ""
		return nil
	})
}

func (s *Service) PutUserPermissionsBoundary(ctx context.Context, in *iam.PutUserPermissionsBoundaryInput) (*iam.PutUserPermissionsBoundaryOutput, error) {
	if err := s.putBoundary(ctx, "iam:PutUserPermissionsBoundary", directory.KindUser, *in.UserName, in.PermissionsBoundary); err != nil {
		return nil, err
	}
	return &iam.PutUserPermissionsBoundaryOutput{}, nil
}

func (s *Service) DeleteUserPermissionsBoundary(ctx context.Context, in *iam.DeleteUserPermissionsBoundaryInput) (*iam.DeleteUserPermissionsBoundaryOutput, error) {
	if err := s.deleteBoundary(ctx, "iam:DeleteUserPermissionsBoundary", directory.KindUser, *in.UserName); err != nil {
		return nil, err
	}
	return &iam.DeleteUserPermissionsBoundaryOutput{}, nil
}

func (s *Service) PutRolePermissionsBoundary(ctx context.Context, in *iam.PutRolePermissionsBoundaryInput) (*iam.PutRolePermissionsBoundaryOutput, error) {
	if err := s.putBoundary(ctx, "iam:PutRolePermissionsBoundary", directory.KindRole, *in.RoleName, in.PermissionsBoundary); err != nil {
		return nil, err
	}
	return &iam.PutRolePermissionsBoundaryOutput{}, nil
}

func (s *Service) DeleteRolePermissionsBoundary(ctx context.Context, in *iam.DeleteRolePermissionsBoundaryInput) (*iam.DeleteRolePermissionsBoundaryOutput, error) {
	if err := s.deleteBoundary(ctx, "iam:DeleteRolePermissionsBoundary", directory.KindRole, *in.RoleName); err != nil {
		return nil, err
	}
	return &iam.DeleteRolePermissionsBoundaryOutput{}, nil
}
