package iam

import (
	"context"
	"iter"
	"maps"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/malote/malote/authz"
	"github.com/malote/malote/service/iam/directory"
)

// Instance profiles are kept for those whose tools make them: there are no instances here
// that would get a role from one.

// sdkProfile leaves out what ListInstanceProfiles does: tags.
func sdkProfile(tx *directory.Tx, p *directory.InstanceProfile) (types.InstanceProfile, error) {
	profile := types.InstanceProfile{
		Arn:                 aws.String(p.ARN()),
		CreateDate:          aws.Time(p.Created),
		InstanceProfileId:   aws.String(p.ID),
		InstanceProfileName: aws.String(p.Name),
		Path:                aws.String(p.Path),
		Roles:               []types.Role{},
	}
	if p.Role == "" {
		return profile, nil
	}
	r, err := tx.Role(p.Account, p.Role)
	if err != nil {
		return profile, err
	}
	role, err := sdkRole(tx, r)
	role.MaxSessionDuration, role.Description = nil, nil // AWS leaves them out here
	profile.Roles = append(profile.Roles, role)
	return profile, err
}

func (s *Service) CreateInstanceProfile(ctx context.Context, in *iam.CreateInstanceProfileInput) (*iam.CreateInstanceProfileOutput, error) {
	e, err := s.newEntity(ctx, directory.KindInstanceProfile, "AIPA", *in.InstanceProfileName, in.Path, nil, in.Tags)
	if err != nil {
		return nil, err
	}
	p := &directory.InstanceProfile{Entity: *e}
	out := new(iam.CreateInstanceProfileOutput)
	err = s.dir.Update(ctx, func(tx *directory.Tx) error {
		if err := free(tx, p.Account, directory.KindInstanceProfile, p.Name); err != nil {
			return err
		}
		made, err := sdkProfile(tx, p)
		if err != nil {
			return err
		}
		made.Tags = sdkTags(p.Tags)
		out.InstanceProfile = &made
		return tx.PutInstanceProfile(p)
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (s *Service) GetInstanceProfile(ctx context.Context, in *iam.GetInstanceProfileInput) (*iam.GetInstanceProfileOutput, error) {
	out := new(iam.GetInstanceProfileOutput)
	err := s.read(ctx, directory.KindInstanceProfile, *in.InstanceProfileName, &authz.Access{Action: "iam:GetInstanceProfile"}, func(tx *directory.Tx, sub *subject) error {
		profile, err := sdkProfile(tx, sub.profile)
		profile.Tags = convert(sub.Tags, sdkTag) // an element also when there are none
		out.InstanceProfile = &profile
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// DeleteInstanceProfile deletes an instance profile without a role.
func (s *Service) DeleteInstanceProfile(ctx context.Context, in *iam.DeleteInstanceProfileInput) (*iam.DeleteInstanceProfileOutput, error) {
	err := s.remove(ctx, directory.KindInstanceProfile, *in.InstanceProfileName, &authz.Access{Action: "iam:DeleteInstanceProfile"}, func(_ *directory.Tx, sub *subject) error {
		if sub.profile.Role != "" {
			return deleteConflict("Cannot delete entity, must remove roles from instance profile first.")
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &iam.DeleteInstanceProfileOutput{}, nil
}

func (s *Service) ListInstanceProfiles(ctx context.Context, in *iam.ListInstanceProfilesInput) (*iam.ListInstanceProfilesOutput, error) {
	if err := s.permitList(ctx, "iam:ListInstanceProfiles", "instance-profile", in.PathPrefix); err != nil {
		return nil, err
	}
	out := new(iam.ListInstanceProfilesOutput)
	err := s.dir.View(ctx, func(tx *directory.Tx) error {
		last, err := after(in.Marker)
		if err != nil {
			return err
		}
		under := filter(tx.InstanceProfiles(account(ctx), last), func(p *directory.InstanceProfile) bool {
			return strings.HasPrefix(p.Path, aws.ToString(in.PathPrefix))
		})
		out.InstanceProfiles, out.Marker, err = profilePage(tx, under, in.MaxItems)
		out.IsTruncated = out.Marker != nil
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (s *Service) ListInstanceProfilesForRole(ctx context.Context, in *iam.ListInstanceProfilesForRoleInput) (*iam.ListInstanceProfilesForRoleOutput, error) {
	out := new(iam.ListInstanceProfilesForRoleOutput)
	err := s.read(ctx, directory.KindRole, *in.RoleName, &authz.Access{Action: "iam:ListInstanceProfilesForRole"}, func(tx *directory.Tx, sub *subject) error {
		last, err := after(in.Marker)
		if err != nil {
			return err
		}
		out.InstanceProfiles, out.Marker, err = profilePage(tx, profilesOf(tx, sub.role, last), in.MaxItems)
		out.IsTruncated = out.Marker != nil
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// profilesOf yields the instance profiles that a role is in, those after a name.
func profilesOf(tx *directory.Tx, role *directory.Role, last string) iter.Seq2[*directory.InstanceProfile, error] {
	return func(yield func(*directory.InstanceProfile, error) bool) {
		for name, err := range tx.ProfilesOf(role.Account, role.Name) {
			if err == nil && name <= strings.ToLower(last) {
				continue
			}
			var p *directory.InstanceProfile
			if err == nil {
				p, err = tx.InstanceProfile(role.Account, name)
			}
			if !yield(p, err) || err != nil {
				return
			}
		}
	}
}

func profilePage(tx *directory.Tx, profiles iter.Seq2[*directory.InstanceProfile, error], maxItems *int32) (list []types.InstanceProfile, next *string, err error) {
	page, next, err := pageOf(profiles, maxItems, func(p *directory.InstanceProfile) string { return p.Name })
	if err != nil {
		return nil, nil, err
	}
	list = []types.InstanceProfile{}
	for _, p := range page {
		profile, err := sdkProfile(tx, p)
		if err != nil {
			return nil, nil, err
		}
		list = append(list, profile)
	}
	return list, next, nil
}

// AddRoleToInstanceProfile needs the right to pass the role to EC2, too. An instance
// profile has room for one role.
func (s *Service) AddRoleToInstanceProfile(ctx context.Context, in *iam.AddRoleToInstanceProfileInput) (*iam.AddRoleToInstanceProfileOutput, error) {
	var pass *authz.Access
	passable := func() error {
		pass = &authz.Access{Action: "iam:PassRole", Conditions: map[string][]string{"iam:PassedToService": {"ec2.amazonaws.com"}}}
		pass.Resource = "arn:aws:iam::" + account(ctx) + ":role/" + *in.RoleName
		err := s.dir.View(ctx, func(tx *directory.Tx) error {
			role, err := find(tx, account(ctx), directory.KindRole, *in.RoleName)
			if isNoSuchEntity(err) {
				return nil
			}
			if err == nil {
				pass.Resource, pass.Tags = role.arn(), directory.TagMap(role.Tags)
			}
			return err
		})
		if err != nil {
			return err
		}
		return s.authorize(ctx, pass)
	}
	access := &authz.Access{Action: "iam:AddRoleToInstanceProfile"}
	err := s.writeAlso(ctx, directory.KindInstanceProfile, *in.InstanceProfileName, access, passable, func(tx *directory.Tx, sub *subject) error {
		role, err := find(tx, sub.Account, directory.KindRole, *in.RoleName)
		if err != nil {
			return err
		}
		if role.arn() != pass.Resource || !maps.Equal(directory.TagMap(role.Tags), pass.Tags) {
			return errRights
		}
		if err := modifiable(role); err != nil {
			return err
		}
		if sub.profile.Role != "" {
			return limitExceeded("Cannot exceed quota for InstanceSessionsPerInstanceProfile: 1")
		}
		sub.profile.Role = strings.ToLower(role.Name)
		return sub.put(tx)
	})
	if err != nil {
		return nil, err
	}
	return &iam.AddRoleToInstanceProfileOutput{}, nil
}

func (s *Service) RemoveRoleFromInstanceProfile(ctx context.Context, in *iam.RemoveRoleFromInstanceProfileInput) (*iam.RemoveRoleFromInstanceProfileOutput, error) {
	access := &authz.Access{Action: "iam:RemoveRoleFromInstanceProfile"}
	err := s.change(ctx, directory.KindInstanceProfile, *in.InstanceProfileName, access, func(tx *directory.Tx, sub *subject) error {
		role, err := find(tx, sub.Account, directory.KindRole, *in.RoleName)
		if err != nil {
			return err
		}
		if err := modifiable(role); err != nil {
			return err
		}
		if sub.profile.Role != strings.ToLower(role.Name) {
			return noSuchEntity("Role %s in Instance Profile %s cannot be found.", *in.RoleName, *in.InstanceProfileName)
		}
		sub.profile.Role = ""
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &iam.RemoveRoleFromInstanceProfileOutput{}, nil
}

func (s *Service) TagInstanceProfile(ctx context.Context, in *iam.TagInstanceProfileInput) (*iam.TagInstanceProfileOutput, error) {
	if err := s.tag(ctx, "iam:TagInstanceProfile", directory.KindInstanceProfile, *in.InstanceProfileName, "TagsPerInstanceProfile", in.Tags); err != nil {
		return nil, err
	}
	return &iam.TagInstanceProfileOutput{}, nil
}

func (s *Service) UntagInstanceProfile(ctx context.Context, in *iam.UntagInstanceProfileInput) (*iam.UntagInstanceProfileOutput, error) {
	if err := s.untag(ctx, "iam:UntagInstanceProfile", directory.KindInstanceProfile, *in.InstanceProfileName, in.TagKeys); err != nil {
		return nil, err
	}
	return &iam.UntagInstanceProfileOutput{}, nil
}

func (s *Service) ListInstanceProfileTags(ctx context.Context, in *iam.ListInstanceProfileTagsInput) (*iam.ListInstanceProfileTagsOutput, error) {
	tags, next, err := s.listTags(ctx, "iam:ListInstanceProfileTags", directory.KindInstanceProfile, *in.InstanceProfileName, in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	return &iam.ListInstanceProfileTagsOutput{Tags: tags, Marker: next, IsTruncated: next != nil}, nil
}
