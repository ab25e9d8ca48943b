package iam

import (
	"context"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/malote/malote/authz"
	"github.com/malote/malote/service/iam/directory"
)

func sdkGroup(g *directory.Group) types.Group {
	return types.Group{
		Arn:        aws.String(g.ARN()),
		CreateDate: aws.Time(g.Created),
		GroupId:    aws.String(g.ID),
		GroupName:  aws.String(g.Name),
		Path:       aws.String(g.Path),
	}
}

func (s *Service) CreateGroup(ctx context.Context, in *iam.CreateGroupInput) (*iam.CreateGroupOutput, error) {
	e, err := s.newEntity(ctx, directory.KindGroup, "AGPA", *in.GroupName, in.Path, nil, nil)
	if err != nil {
		return nil, err
	}
	g := &directory.Group{Entity: *e}
	err = s.dir.Update(ctx, func(tx *directory.Tx) error {
		if err := free(tx, g.Account, directory.KindGroup, g.Name); err != nil {
			return err
		}
		return tx.PutGroup(g)
	})
	if err != nil {
		return nil, err
	}
	return &iam.CreateGroupOutput{Group: new(sdkGroup(g))}, nil
}

// GetGroup answers with the group's users, a page at a time.
func (s *Service) GetGroup(ctx context.Context, in *iam.GetGroupInput) (*iam.GetGroupOutput, error) {
	out := new(iam.GetGroupOutput)
	err := s.read(ctx, directory.KindGroup, *in.GroupName, &authz.Access{Action: "iam:GetGroup"}, func(tx *directory.Tx, sub *subject) error {
		last, err := after(in.Marker)
		if err != nil {
			return err
		}
		behind := filter(tx.Members(sub.Account, sub.Name), func(name string) bool { return name > last })
		page, next, err := pageOf(behind, in.MaxItems, identity)
		if err != nil {
			return err
		}
		out.Group, out.Users = new(sdkGroup(sub.group)), []types.User{}
		out.Marker, out.IsTruncated = next, next != nil
		for _, name := range page {
			u, err := tx.User(sub.Account, name)
			if err != nil {
				return err
			}
			out.Users = append(out.Users, sdkUser(u))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (s *Service) UpdateGroup(ctx context.Context, in *iam.UpdateGroupInput) (*iam.UpdateGroupOutput, error) {
	if err := s.rename(ctx, "iam:UpdateGroup", directory.KindGroup, *in.GroupName, in.NewGroupName, in.NewPath); err != nil {
		return nil, err
	}
	return &iam.UpdateGroupOutput{}, nil
}

// maxMoved is how many users move with a group to another name: each is three keys in a
// transaction that has room for store.MaxWrites, beside the group's own.
const maxMoved = 25

// moveMembers makes the users of a group users of the name that it is about to get.
func moveMembers(tx *directory.Tx, group *directory.Entity, name string) error {
	from, to := strings.ToLower(group.Name), strings.ToLower(name)
	if from == to {
		return nil
	}
	var users []string
	for user, err := range tx.Members(group.Account, group.Name) {
		if err != nil {
			return err
		}
		users = append(users, user)
	}
	if len(users) > maxMoved {
		return limitExceeded("A group with more than %d users cannot be renamed.", maxMoved)
	}
	for _, user := range users {
		u, err := tx.User(group.Account, user)
		if err != nil {
			return err
		}
		u.Groups[slices.Index(u.Groups, from)] = to
		if err := tx.PutUser(u); err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) DeleteGroup(ctx context.Context, in *iam.DeleteGroupInput) (*iam.DeleteGroupOutput, error) {
	err := s.remove(ctx, directory.KindGroup, *in.GroupName, &authz.Access{Action: "iam:DeleteGroup"}, func(tx *directory.Tx, sub *subject) error {
		for _, err := range tx.Members(sub.Account, sub.Name) {
			if err != nil {
				return err
			}
			return deleteConflict("Cannot delete entity, must remove users from group first.")
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &iam.DeleteGroupOutput{}, nil
}

func (s *Service) ListGroups(ctx context.Context, in *iam.ListGroupsInput) (*iam.ListGroupsOutput, error) {
	if err := s.permitList(ctx, "iam:ListGroups", "group", in.PathPrefix); err != nil {
		return nil, err
	}
	last, err := after(in.Marker)
	if err != nil {
		return nil, err
	}
	out := new(iam.ListGroupsOutput)
	err = s.dir.View(ctx, func(tx *directory.Tx) error {
		under := filter(tx.Groups(account(ctx), last), func(g *directory.Group) bool { return strings.HasPrefix(g.Path, aws.ToString(in.PathPrefix)) })
		page, next, err := pageOf(under, in.MaxItems, func(g *directory.Group) string { return g.Name })
		out.Groups, out.Marker, out.IsTruncated = convert(page, sdkGroup), next, next != nil
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// member finds the user that an operation on a group is about.
func member(tx *directory.Tx, group *subject, userName string) (*directory.User, error) {
	sub, err := find(tx, group.Account, directory.KindUser, userName)
	if err != nil {
		return nil, err
	}
	return sub.user, nil
}

func (s *Service) AddUserToGroup(ctx context.Context, in *iam.AddUserToGroupInput) (*iam.AddUserToGroupOutput, error) {
	err := s.change(ctx, directory.KindGroup, *in.GroupName, &authz.Access{Action: "iam:AddUserToGroup"}, func(tx *directory.Tx, sub *subject) error {
		u, err := member(tx, sub, *in.UserName)
		if err != nil {
			return err
		}
		group := strings.ToLower(sub.Name)
		if slices.Contains(u.Groups, group) {
			return nil
		}
		if len(u.Groups) >= maxGroups {
			return limitExceeded("Cannot exceed quota for GroupsPerUser: %d", maxGroups)
		}
		u.Groups = append(u.Groups, group)
		return tx.PutUser(u)
	})
	if err != nil {
		return nil, err
	}
	return &iam.AddUserToGroupOutput{}, nil
}

// RemoveUserFromGroup says of a user and a group of which neither is there that the user is
// not. A user who is not in the group stays out.
func (s *Service) RemoveUserFromGroup(ctx context.Context, in *iam.RemoveUserFromGroupInput) (*iam.RemoveUserFromGroupOutput, error) {
	there := func() error {
		return s.dir.View(ctx, func(tx *directory.Tx) error {
			_, err := find(tx, account(ctx), directory.KindUser, *in.UserName)
			return err
		})
	}
	access := &authz.Access{Action: "iam:RemoveUserFromGroup"}
	err := s.writeAlso(ctx, directory.KindGroup, *in.GroupName, access, there, func(tx *directory.Tx, sub *subject) error {
		u, err := member(tx, sub, *in.UserName)
		if err != nil {
			return err
		}
		i := slices.Index(u.Groups, strings.ToLower(sub.Name))
		if i < 0 {
			return nil
		}
		u.Groups = slices.Delete(u.Groups, i, i+1)
		return tx.PutUser(u)
	})
	if err != nil {
		return nil, err
	}
	return &iam.RemoveUserFromGroupOutput{}, nil
}

func (s *Service) ListGroupsForUser(ctx context.Context, in *iam.ListGroupsForUserInput) (*iam.ListGroupsForUserOutput, error) {
	out := new(iam.ListGroupsForUserOutput)
	err := s.read(ctx, directory.KindUser, *in.UserName, &authz.Access{Action: "iam:ListGroupsForUser"}, func(tx *directory.Tx, sub *subject) error {
		last, err := after(in.Marker)
		if err != nil {
			return err
		}
		page, next, err := pageOf(sliceAfter(sub.user.Groups, last, identity), in.MaxItems, identity)
		if err != nil {
			return err
		}
		out.Groups, out.Marker, out.IsTruncated = []types.Group{}, next, next != nil
		for _, name := range page {
			g, err := tx.Group(sub.Account, name)
			if err != nil {
				return err
			}
			out.Groups = append(out.Groups, sdkGroup(g))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}
