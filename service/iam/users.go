package iam

import (
	"context"
	"errors"
	"maps"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/malote/malote/authz"
	"github.com/malote/malote/caller"
	"github.com/malote/malote/service/iam/directory"
	"github.com/malote/malote/store"
)

// sdkUser leaves out what ListUsers does: boundary and tags.
func sdkUser(u *directory.User) types.User {
	return types.User{
		Arn:        aws.String(u.ARN()),
		CreateDate: aws.Time(u.Created),
		Path:       aws.String(u.Path),
		UserId:     aws.String(u.ID),
		UserName:   aws.String(u.Name),
	}
}

func fullUser(u *directory.User) *types.User {
	full := sdkUser(u)
	full.PermissionsBoundary = sdkBoundary(u.Boundary)
	full.Tags = sdkTags(u.Tags)
	return &full
}

// newEntity is what a Create operation makes, for a caller who may do so with that path,
// those tags and that boundary.
func (s *Service) newEntity(ctx context.Context, kind directory.Kind, prefix, name string, path, boundary *string, tags []types.Tag) (*directory.Entity, error) {
	e := &directory.Entity{
		Account: account(ctx), Path: "/", Name: name, ID: directory.NewID(prefix), Created: s.now().UTC(), Boundary: aws.ToString(boundary),
	}
	if path != nil {
		e.Path = *path
	}
	access := &authz.Access{
		Resource:    "arn:aws:iam::" + e.Account + ":" + string(kind) + e.Path + e.Name,
		RequestTags: requestTags(tags),
	}
	if boundary != nil {
		condition(access, boundaryCondition, *boundary)
	}
	actions := []string{"Create"}
	if len(tags) > 0 {
		actions = append(actions, "Tag")
	}
	noun := strings.ToUpper(string(kind[:1])) + string(kind[1:])
	if kind == directory.KindInstanceProfile {
		noun = "InstanceProfile"
	}
	for _, verb := range actions {
		each := *access
		each.Action = "iam:" + verb + noun
		if err := s.authorize(ctx, &each); err != nil {
			return nil, err
		}
	}
	if err := checkPath(path); err != nil {
		return nil, err
	}
	var err error
	if e.Tags, err = newTags(tags, sameTag(kind)); err != nil {
		return nil, err
	}
	return e, s.room(ctx, kind)
}

// checkPath refuses a new path that is the services' own roles'.
func checkPath(path *string) error {
	if strings.HasPrefix(aws.ToString(path), linkedPrefix) {
		return invalidInput("Path prefix '%s' can only be used for AWS Service linked Roles", linkedPrefix)
	}
	return nil
}

// CreateUser makes a user without any right.
func (s *Service) CreateUser(ctx context.Context, in *iam.CreateUserInput) (*iam.CreateUserOutput, error) {
	e, err := s.newEntity(ctx, directory.KindUser, "AIDA", *in.UserName, in.Path, in.PermissionsBoundary, in.Tags)
	if err != nil {
		return nil, err
	}
	u := &directory.User{Entity: *e}
	err = s.dir.Update(ctx, func(tx *directory.Tx) error {
		if err := free(tx, u.Account, directory.KindUser, u.Name); err != nil {
			return err
		}
		if err := checkBoundary(tx, u.Account, in.PermissionsBoundary); err != nil {
			return err
		}
		return tx.PutUser(u)
	})
	if err != nil {
		return nil, err
	}
	return &iam.CreateUserOutput{User: fullUser(u)}, nil
}

// free refuses a name that is taken, in any case.
func free(tx *directory.Tx, account string, kind directory.Kind, name string) error {
	_, err := find(tx, account, kind, name)
	if isNoSuchEntity(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if kind == directory.KindInstanceProfile {
		return alreadyExists("Instance Profile %s already exists.", name)
	}
	return alreadyExists("%s%s with name %s already exists.", strings.ToUpper(string(kind[:1])), string(kind[1:]), name)
}

// self is the user that an operation without UserName is about: the caller.
func self(ctx context.Context, name *string) (string, error) {
	if name != nil {
		return *name, nil
	}
	p := caller.From(ctx).Principal
	if p.Type != caller.User {
		return "", validationError("Must specify userName when calling with non-User credentials")
	}
	return p.UserName, nil
}

// GetUser answers about a user, or about the caller.
func (s *Service) GetUser(ctx context.Context, in *iam.GetUserInput) (*iam.GetUserOutput, error) {
	if p := caller.From(ctx).Principal; in.UserName == nil && p.Type == caller.Account {
		return s.getRoot(ctx, p)
	}
	name, err := self(ctx, in.UserName)
	if err != nil {
		return nil, err
	}
	out := new(iam.GetUserOutput)
	err = s.read(ctx, directory.KindUser, name, &authz.Access{Action: "iam:GetUser"}, func(_ *directory.Tx, sub *subject) error {
		out.User = fullUser(sub.user)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// getRoot answers about the root user, who has no name and no path.
func (s *Service) getRoot(ctx context.Context, p *caller.Principal) (*iam.GetUserOutput, error) {
	if err := s.authorize(ctx, &authz.Access{Action: "iam:GetUser", Resource: p.ARN}); err != nil {
		return nil, err
	}
	user := &types.User{Arn: aws.String(p.ARN), UserId: aws.String(p.ID)}
	err := s.dir.View(ctx, func(tx *directory.Tx) error {
		a, err := tx.Account(p.Account)
		if err == nil {
			user.CreateDate = aws.Time(a.Created)
		} else if errors.Is(err, store.ErrNotFound) {
			err = nil
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return &iam.GetUserOutput{User: user}, nil
}

// UpdateUser renames or moves a user. The id stays, and with it keys, policies and groups.
func (s *Service) UpdateUser(ctx context.Context, in *iam.UpdateUserInput) (*iam.UpdateUserOutput, error) {
	if err := s.rename(ctx, "iam:UpdateUser", directory.KindUser, *in.UserName, in.NewUserName, in.NewPath); err != nil {
		return nil, err
	}
	return &iam.UpdateUserOutput{}, nil
}

// rename needs the right to both the old and the new ARN, as on AWS.
func (s *Service) rename(ctx context.Context, action string, kind directory.Kind, name string, newName, newPath *string) error {
	asked := &authz.Access{Action: action}
	if err := s.permit(ctx, kind, name, asked); err != nil {
		return err
	}
	target := func(e *directory.Entity) directory.Entity {
		to := *e
		if newName != nil {
			to.Name = *newName
		}
		if newPath != nil {
			to.Path = *newPath
		}
		return to
	}
	var to directory.Entity
	err := s.dir.View(ctx, func(tx *directory.Tx) error {
		sub, err := find(tx, account(ctx), kind, name)
		if err == nil {
			to = target(sub.Entity)
		}
		return err
	})
	if err != nil {
		return err
	}
	access := &authz.Access{Action: action, Resource: "arn:aws:iam::" + to.Account + ":" + string(kind) + to.Path + to.Name}
	access.Tags = directory.TagMap(to.Tags)
	if err := s.authorize(ctx, access); err != nil {
		return err
	}
	if err := checkPath(newPath); err != nil {
		return err
	}
	return s.dir.Update(ctx, func(tx *directory.Tx) error {
		sub, err := find(tx, account(ctx), kind, name)
		if err != nil {
			return err
		}
		if to.ID != sub.ID || asked.Resource != sub.arn() || !maps.Equal(asked.Tags, directory.TagMap(sub.Tags)) {
			return concurrentModification()
		}
		to := target(sub.Entity)
		if !strings.EqualFold(to.Name, sub.Name) {
			if err := free(tx, to.Account, kind, to.Name); err != nil {
				return err
			}
		}
		if kind == directory.KindGroup {
			if err := moveMembers(tx, sub.Entity, to.Name); err != nil {
				return err
			}
		}
		if err := sub.delete(tx); err != nil {
			return err
		}
		*sub.Entity = to
		return sub.put(tx)
	})
}

// DeleteUser deletes a user on whom nothing hangs any more.
func (s *Service) DeleteUser(ctx context.Context, in *iam.DeleteUserInput) (*iam.DeleteUserOutput, error) {
	err := s.remove(ctx, directory.KindUser, *in.UserName, &authz.Access{Action: "iam:DeleteUser"}, func(_ *directory.Tx, sub *subject) error {
		switch {
		case len(sub.user.AccessKeys) > 0:
			return deleteConflict("Cannot delete entity, must delete access keys first.")
		case len(sub.user.Groups) > 0:
			return deleteConflict("Cannot delete entity, must remove users from group first.")
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &iam.DeleteUserOutput{}, nil
}

// permitList asks for the right to list below a path.
func (s *Service) permitList(ctx context.Context, action, kind string, pathPrefix *string) error {
	path := "/"
	if pathPrefix != nil {
		path = *pathPrefix
	}
	return s.authorize(ctx, &authz.Access{Action: action, Resource: "arn:aws:iam::" + account(ctx) + ":" + kind + path})
}

func (s *Service) ListUsers(ctx context.Context, in *iam.ListUsersInput) (*iam.ListUsersOutput, error) {
	if err := s.permitList(ctx, "iam:ListUsers", "user", in.PathPrefix); err != nil {
		return nil, err
	}
	last, err := after(in.Marker)
	if err != nil {
		return nil, err
	}
	out := new(iam.ListUsersOutput)
	err = s.dir.View(ctx, func(tx *directory.Tx) error {
		under := filter(tx.Users(account(ctx), last), func(u *directory.User) bool { return strings.HasPrefix(u.Path, aws.ToString(in.PathPrefix)) })
		page, next, err := pageOf(under, in.MaxItems, func(u *directory.User) string { return u.Name })
		out.Users, out.Marker, out.IsTruncated = convert(page, sdkUser), next, next != nil
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}
