package iam

import (
	"context"
	"iter"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/malote/malote/authz"
	"github.com/malote/malote/service/iam/directory"
)

// detail is an entry of GetAccountAuthorizationDetails; one is set.
type detail struct {
	user   *directory.User
	group  *directory.Group
	role   *directory.Role
	policy *directory.Policy
}

// sections are the sorts of details in the order in which pages have them, by what markers
// call them. Each yields those after a name.
var sections = []struct {
	marker  string
	sort    types.EntityType
	entries func(tx *directory.Tx, account, after string) iter.Seq2[detail, error]
}{
	{"user/", types.EntityTypeUser, func(tx *directory.Tx, account, after string) iter.Seq2[detail, error] {
		return details(tx.Users(account, after), func(u *directory.User) detail { return detail{user: u} })
	}},
	{"group/", types.EntityTypeGroup, func(tx *directory.Tx, account, after string) iter.Seq2[detail, error] {
		return details(tx.Groups(account, after), func(g *directory.Group) detail { return detail{group: g} })
	}},
	{"role/", types.EntityTypeRole, func(tx *directory.Tx, account, after string) iter.Seq2[detail, error] {
		return details(tx.Roles(account, after), func(r *directory.Role) detail { return detail{role: r} })
	}},
	{"own/", types.EntityTypeLocalManagedPolicy, func(tx *directory.Tx, account, after string) iter.Seq2[detail, error] {
		return details(tx.Policies(account, after), func(p *directory.Policy) detail { return detail{policy: p} })
	}},
	{"aws/", types.EntityTypeAWSManagedPolicy, func(tx *directory.Tx, account, after string) iter.Seq2[detail, error] {
		return details(inUse(tx, account, after), func(p *directory.Policy) detail { return detail{policy: p} })
	}},
}

func details[T any](items iter.Seq2[*T, error], to func(*T) detail) iter.Seq2[detail, error] {
	return func(yield func(detail, error) bool) {
		for item, err := range items {
			if !yield(to(item), err) || err != nil {
				return
			}
		}
	}
}

// inUse yields the policies of AWS that somebody in the account has, those after a name.
func inUse(tx *directory.Tx, account, after string) iter.Seq2[*directory.Policy, error] {
	return func(yield func(*directory.Policy, error) bool) {
		for p := range directory.AWSPolicies(after) {
			used, err := sdkPolicy(tx, account, p)
			if err != nil {
				yield(nil, err)
				return
			}
			if *used.AttachmentCount+*used.PermissionsBoundaryUsageCount > 0 && !yield(p, nil) {
				return
			}
		}
	}
}

func (d detail) marker() string {
	switch {
	case d.user != nil:
		return "user/" + d.user.Name
	case d.group != nil:
		return "group/" + d.group.Name
	case d.role != nil:
		return "role/" + d.role.Name
	case d.policy.Account == directory.AWS:
		return "aws/" + d.policy.Name
	}
	return "own/" + d.policy.Name
}

// GetAccountAuthorizationDetails answers with everybody, and what their policies say. Of
// AWS's policies it has those in use.
func (s *Service) GetAccountAuthorizationDetails(ctx context.Context, in *iam.GetAccountAuthorizationDetailsInput) (*iam.GetAccountAuthorizationDetailsOutput, error) {
	if err := s.authorize(ctx, &authz.Access{Action: "iam:GetAccountAuthorizationDetails", Resource: "*"}); err != nil {
		return nil, err
	}
	last, err := after(in.Marker)
	if err != nil {
		return nil, err
	}
	out := &iam.GetAccountAuthorizationDetailsOutput{
		UserDetailList: []types.UserDetail{}, GroupDetailList: []types.GroupDetail{}, RoleDetailList: []types.RoleDetail{}, Policies: []types.ManagedPolicyDetail{},
	}
	err = s.dir.View(ctx, func(tx *directory.Tx) error {
		page, next, err := pageOf(detailsAfter(tx, account(ctx), in.Filter, last), in.MaxItems, detail.marker)
		if err != nil {
			return err
		}
		out.Marker, out.IsTruncated = next, next != nil
		for _, d := range page {
			if err := addDetail(tx, account(ctx), out, d); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for i := range out.RoleDetailList {
		role := &out.RoleDetailList[i]
		if role.RoleLastUsed, err = s.roleLastUsed(ctx, *role.RoleId); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// detailsAfter yields what is behind a marker.
func detailsAfter(tx *directory.Tx, account string, wanted []types.EntityType, last string) iter.Seq2[detail, error] {
	return func(yield func(detail, error) bool) {
		reached := last == ""
		for _, section := range sections {
			name, here := strings.CutPrefix(last, section.marker)
			if !here {
				name = ""
			}
			reached = reached || here
			if !reached || len(wanted) > 0 && !slices.Contains(wanted, section.sort) {
				continue
			}
			for d, err := range section.entries(tx, account, name) {
				if !yield(d, err) || err != nil {
					return
				}
			}
		}
	}
}

func addDetail(tx *directory.Tx, account string, out *iam.GetAccountAuthorizationDetailsOutput, d detail) error {
	switch {
	case d.user != nil:
		u := d.user
		entry := types.UserDetail{
			Arn: aws.String(u.ARN()), CreateDate: aws.Time(u.Created), Path: aws.String(u.Path), UserId: aws.String(u.ID), UserName: aws.String(u.Name),
			AttachedManagedPolicies: convert(u.Attached, sdkAttached), PermissionsBoundary: sdkBoundary(u.Boundary), Tags: convert(u.Tags, sdkTag), GroupList: []string{},
		}
		if len(u.Inline) > 0 {
			entry.UserPolicyList = convert(u.Inline, sdkInline)
		}
		for _, name := range u.Groups {
			g, err := tx.Group(u.Account, name)
			if err != nil {
				return err
			}
			entry.GroupList = append(entry.GroupList, g.Name)
		}
		out.UserDetailList = append(out.UserDetailList, entry)
	case d.group != nil:
		g := d.group
		out.GroupDetailList = append(out.GroupDetailList, types.GroupDetail{
			Arn: aws.String(g.ARN()), CreateDate: aws.Time(g.Created), Path: aws.String(g.Path), GroupId: aws.String(g.ID), GroupName: aws.String(g.Name),
			AttachedManagedPolicies: convert(g.Attached, sdkAttached), GroupPolicyList: convert(g.Inline, sdkInline),
		})
	case d.role != nil:
		return addRoleDetail(tx, out, d.role)
	default:
		p, err := sdkPolicy(tx, account, d.policy)
		if err != nil {
			return err
		}
		entry := types.ManagedPolicyDetail{
			Arn: p.Arn, AttachmentCount: p.AttachmentCount, CreateDate: p.CreateDate, DefaultVersionId: p.DefaultVersionId, IsAttachable: p.IsAttachable, Path: p.Path,
			PermissionsBoundaryUsageCount: p.PermissionsBoundaryUsageCount, PolicyId: p.PolicyId, PolicyName: p.PolicyName, UpdateDate: p.UpdateDate,
		}
		if d.policy.Description != "" {
			entry.Description = aws.String(d.policy.Description)
		}
		for _, v := range slices.Backward(d.policy.Versions) {
			version := sdkVersion(d.policy, &v)
			version.Document = encoded(v.Document)
			entry.PolicyVersionList = append(entry.PolicyVersionList, version)
		}
		out.Policies = append(out.Policies, entry)
	}
	return nil
}

func addRoleDetail(tx *directory.Tx, out *iam.GetAccountAuthorizationDetailsOutput, r *directory.Role) error {
	trust, err := tx.TrustDocument(r.Trust)
	if err != nil {
		return err
	}
	entry := types.RoleDetail{
		Arn: aws.String(r.ARN()), CreateDate: aws.Time(r.Created), Path: aws.String(r.Path), RoleId: aws.String(r.ID), RoleName: aws.String(r.Name),
		AssumeRolePolicyDocument: encoded(trust), AttachedManagedPolicies: convert(r.Attached, sdkAttached), RolePolicyList: convert(r.Inline, sdkInline),
		PermissionsBoundary: sdkBoundary(r.Boundary), Tags: convert(r.Tags, sdkTag), InstanceProfileList: []types.InstanceProfile{},
	}
	for p, err := range profilesOf(tx, r, "") {
		if err != nil {
			return err
		}
		profile, err := sdkProfile(tx, p)
		if err != nil {
			return err
		}
		entry.InstanceProfileList = append(entry.InstanceProfileList, profile)
	}
	out.RoleDetailList = append(out.RoleDetailList, entry)
	return nil
}

func sdkInline(p directory.Inline) types.PolicyDetail {
	return types.PolicyDetail{PolicyName: aws.String(p.Name), PolicyDocument: encoded(p.Document)}
}
