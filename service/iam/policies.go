package iam

import (
	"context"
	"errors"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/malote/malote/authz"
	"github.com/malote/malote/policy"
	"github.com/malote/malote/service/iam/directory"
	"github.com/malote/malote/store"
)

// permitPolicy asks whether the caller may do what access says to a managed policy,
// whether or not it exists. Those of AWS may be read by whoever is allowed to; to change
// one, or one of another account, is a matter across accounts, and nothing there allows it.
func (s *Service) permitPolicy(ctx context.Context, arn string, change bool, access *authz.Access) error {
	if !isPolicyARN(arn) {
		return errARN()
	}
	owner, _, _, _, _ := directory.ParseARN(arn)
	access.Resource, access.Named = arn, "policy "+arn
	if owner != account(ctx) && (change || owner != directory.AWS) {
		access.Account = owner
	}
	err := s.dir.View(ctx, func(tx *directory.Tx) error {
		p, err := tx.Managed(arn)
		if err == nil {
			access.Tags = directory.TagMap(p.Tags)
		} else if errors.Is(err, store.ErrNotFound) {
			err = nil
		}
		return err
	})
	if err != nil {
		return err
	}
	return s.authorize(ctx, access)
}

func findPolicy(tx *directory.Tx, arn string) (*directory.Policy, error) {
	p, err := tx.Managed(arn)
	if errors.Is(err, store.ErrNotFound) {
		return nil, noSuchEntity("Policy %s was not found.", arn)
	}
	return p, err
}

func (s *Service) readPolicy(ctx context.Context, arn string, access *authz.Access, fn func(*directory.Tx, *directory.Policy) error) error {
	if err := s.permitPolicy(ctx, arn, false, access); err != nil {
		return err
	}
	return s.dir.View(ctx, func(tx *directory.Tx) error {
		p, err := findPolicy(tx, arn)
		if err != nil {
			return err
		}
		return fn(tx, p)
	})
}

func (s *Service) changePolicy(ctx context.Context, arn string, access *authz.Access, fn func(*directory.Tx, *directory.Policy) error) error {
	for range attempts {
		if err := s.permitPolicy(ctx, arn, true, access); err != nil {
			return err
		}
		err := s.dir.Update(ctx, func(tx *directory.Tx) error {
			p, err := findPolicy(tx, arn)
			if err != nil {
				return err
			}
			if !maps.Equal(access.Tags, directory.TagMap(p.Tags)) {
				return errRights
			}
			return fn(tx, p)
		})
		if !errors.Is(err, errRights) {
			return err
		}
		again := *access
		again.Tags, access = nil, &again // the one before may be in the audit's hands
	}
	return concurrentModification()
}

func count(items iter.Seq2[string, error]) (n int32, err error) {
	for _, err := range items {
		if err != nil {
			return 0, err
		}
		n++
	}
	return n, nil
}

// sdkPolicy leaves out what ListPolicies does: description and tags.
func sdkPolicy(tx *directory.Tx, account string, p *directory.Policy) (types.Policy, error) {
	arn := p.ARN()
	attached, err := count(tx.Attachments(account, arn))
	if err != nil {
		return types.Policy{}, err
	}
	bounds, err := count(tx.Bounded(account, arn))
	if err != nil {
		return types.Policy{}, err
	}
	return types.Policy{
		Arn:                           aws.String(arn),
		AttachmentCount:               aws.Int32(attached),
		CreateDate:                    aws.Time(p.Created),
		DefaultVersionId:              aws.String(p.Default),
		IsAttachable:                  true,
		Path:                          aws.String(p.Path),
		PermissionsBoundaryUsageCount: aws.Int32(bounds),
		PolicyId:                      aws.String(p.ID),
		PolicyName:                    aws.String(p.Name),
		UpdateDate:                    aws.Time(p.Updated),
	}, nil
}

// checkManaged refuses what is not a managed policy. Such a one is of the present version of
// the language, and what is not JSON at all is to IAM an error of syntax.
func checkManaged(document string) error {
	parsed, err := policy.Check(policy.Identity, []byte(document))
	if syntax := new(policy.SyntaxError); errors.As(err, &syntax) && syntax.Msg == "This policy contains invalid Json" {
		syntax.Msg = "Syntax errors in policy."
	}
	if err != nil {
		return malformed(err)
	}
	if parsed.Version != "2012-10-17" {
		return &types.MalformedPolicyDocumentException{Message: aws.String("Policy document must be version 2012-10-17 or greater.")}
	}
	if size(document) > maxManagedPolicy {
		return limitExceeded("Cannot exceed quota for PolicySize: %d", maxManagedPolicy)
	}
	return nil
}

// roomForPolicy is room for managed policies.
func (s *Service) roomForPolicy(ctx context.Context) error {
	return s.dir.View(ctx, func(tx *directory.Tx) error {
		n, err := tx.CountPolicies(account(ctx))
		if err == nil && n >= maxPolicies {
			err = limitExceeded("Cannot exceed quota for PoliciesPerAccount: %d", maxPolicies)
		}
		return err
	})
}

// CreatePolicy makes a managed policy with its first version.
func (s *Service) CreatePolicy(ctx context.Context, in *iam.CreatePolicyInput) (*iam.CreatePolicyOutput, error) {
	now := s.now().UTC()
	p := &directory.Policy{
		Account: account(ctx), Path: "/", Name: *in.PolicyName, ID: directory.NewID("ANPA"), Description: aws.ToString(in.Description),
		Created: now, Updated: now, Default: "v1", Last: 1,
		Versions: []directory.Version{{ID: "v1", Document: *in.PolicyDocument, Created: now}},
	}
	if in.Path != nil {
		p.Path = *in.Path
	}
	for _, action := range []string{"iam:CreatePolicy", "iam:TagPolicy"} {
		if action == "iam:TagPolicy" && len(in.Tags) == 0 {
			break
		}
		access := &authz.Access{Action: action, Resource: p.ARN(), Named: "policy " + p.Name, RequestTags: requestTags(in.Tags)}
		if err := s.authorize(ctx, access); err != nil {
			return nil, err
		}
	}
	if err := checkManaged(*in.PolicyDocument); err != nil {
		return nil, err
	}
	var err error
	if p.Tags, err = newTags(in.Tags, exactly); err != nil {
		return nil, err
	}
	if err := s.roomForPolicy(ctx); err != nil {
		return nil, err
	}
	out := new(iam.CreatePolicyOutput)
	err = s.dir.Update(ctx, func(tx *directory.Tx) error {
		switch _, err := tx.Policy(p.Account, p.Name); {
		case err == nil:
			return alreadyExists("A policy called %s already exists. Duplicate names are not allowed.", p.Name)
		case !errors.Is(err, store.ErrNotFound):
			return err
		}
		made, err := sdkPolicy(tx, p.Account, p)
		if err != nil {
			return err
		}
		made.Tags = sdkTags(p.Tags)
		out.Policy = &made
		return tx.PutPolicy(p)
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (s *Service) GetPolicy(ctx context.Context, in *iam.GetPolicyInput) (*iam.GetPolicyOutput, error) {
	out := new(iam.GetPolicyOutput)
	err := s.readPolicy(ctx, *in.PolicyArn, &authz.Access{Action: "iam:GetPolicy"}, func(tx *directory.Tx, p *directory.Policy) error {
		full, err := sdkPolicy(tx, account(ctx), p)
		if err != nil {
			return err
		}
		full.Tags = convert(p.Tags, sdkTag) // an element also when there are none
		if p.Description != "" {
			full.Description = aws.String(p.Description)
		}
		out.Policy = &full
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// DeletePolicy deletes a policy that nobody has and that has its default version alone.
func (s *Service) DeletePolicy(ctx context.Context, in *iam.DeletePolicyInput) (*iam.DeletePolicyOutput, error) {
	err := s.changePolicy(ctx, *in.PolicyArn, &authz.Access{Action: "iam:DeletePolicy"}, func(tx *directory.Tx, p *directory.Policy) error {
		for _, users := range []iter.Seq2[string, error]{tx.Attachments(p.Account, p.ARN()), tx.Bounded(p.Account, p.ARN())} {
			n, err := count(users)
			if err != nil {
				return err
			}
			if n > 0 {
				return deleteConflict("Cannot delete a policy attached to entities.")
			}
		}
		if len(p.Versions) > 1 {
			return deleteConflict("This policy has more than one version. Before you delete a policy, you must delete the policy's versions. The default version is deleted with the policy.")
		}
		return tx.DeletePolicy(p)
	})
	if err != nil {
		return nil, err
	}
	return &iam.DeletePolicyOutput{}, nil
}

// ListPolicies lists the account's own policies and then those of AWS.
func (s *Service) ListPolicies(ctx context.Context, in *iam.ListPoliciesInput) (*iam.ListPoliciesOutput, error) {
	prefix := "/"
	if in.PathPrefix != nil {
		prefix = *in.PathPrefix
	}
	access := &authz.Access{Action: "iam:ListPolicies", Resource: "arn:aws:iam::" + account(ctx) + ":policy" + prefix, Named: "policy path " + prefix}
	if err := s.authorize(ctx, access); err != nil {
		return nil, err
	}
	last, err := after(in.Marker)
	if err != nil {
		return nil, err
	}
	out := new(iam.ListPoliciesOutput)
	err = s.dir.View(ctx, func(tx *directory.Tx) error {
		listed := func(p *directory.Policy) (bool, error) {
			if !strings.HasPrefix(p.Path, prefix) {
				return false, nil
			}
			var total int32
			if in.PolicyUsageFilter != types.PolicyUsageTypePermissionsBoundary {
				n, err := count(tx.Attachments(account(ctx), p.ARN()))
				if err != nil {
					return false, err
				}
				total += n
			}
			if in.PolicyUsageFilter == types.PolicyUsageTypePermissionsBoundary {
				n, err := count(tx.Bounded(account(ctx), p.ARN()))
				if err != nil {
					return false, err
				}
				total += n
			}
			return total > 0 || !in.OnlyAttached && in.PolicyUsageFilter == "", nil
		}
		all := func(yield func(*directory.Policy, error) bool) {
			for p, err := range s.policiesAfter(tx, account(ctx), in.Scope, last) {
				ok := err != nil
				if !ok {
					ok, err = listed(p)
				}
				if (ok || err != nil) && !yield(p, err) {
					return
				}
			}
		}
		page, next, err := pageOf(all, in.MaxItems, func(p *directory.Policy) string {
			if p.Account == directory.AWS {
				return "aws/" + p.Name
			}
			return "own/" + p.Name
		})
		if err != nil {
			return err
		}
		out.Policies, out.Marker, out.IsTruncated = []types.Policy{}, next, next != nil
		for _, p := range page {
			entry, err := sdkPolicy(tx, account(ctx), p)
			if err != nil {
				return err
			}
			out.Policies = append(out.Policies, entry)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// policiesAfter yields the policies of a scope behind a marker's key: the account's own, then AWS's.
func (s *Service) policiesAfter(tx *directory.Tx, account string, scope types.PolicyScopeType, last string) iter.Seq2[*directory.Policy, error] {
	return func(yield func(*directory.Policy, error) bool) {
		awsLast, inAWS := strings.CutPrefix(last, "aws/")
		if scope != types.PolicyScopeTypeAws && !inAWS {
			for p, err := range tx.Policies(account, strings.TrimPrefix(last, "own/")) {
				if !yield(p, err) {
					return
				}
			}
		}
		if !inAWS {
			awsLast = ""
		}
		if scope != types.PolicyScopeTypeLocal {
			for p := range directory.AWSPolicies(awsLast) {
				if !yield(p, nil) {
					return
				}
			}
		}
	}
}

// ListEntitiesForPolicy lists who has a policy attached or as a boundary, in one order of
// all kinds, so that a page may hold users and roles.
func (s *Service) ListEntitiesForPolicy(ctx context.Context, in *iam.ListEntitiesForPolicyInput) (*iam.ListEntitiesForPolicyOutput, error) {
	out := &iam.ListEntitiesForPolicyOutput{PolicyGroups: []types.PolicyGroup{}, PolicyRoles: []types.PolicyRole{}, PolicyUsers: []types.PolicyUser{}}
	err := s.readPolicy(ctx, *in.PolicyArn, &authz.Access{Action: "iam:ListEntitiesForPolicy"}, func(tx *directory.Tx, p *directory.Policy) error {
		last, err := after(in.Marker)
		if err != nil {
			return err
		}
		var leaves []string
		if in.PolicyUsageFilter != types.PolicyUsageTypePermissionsBoundary {
			if leaves, err = collect(leaves, tx.Attachments(account(ctx), p.ARN())); err != nil {
				return err
			}
		}
		if in.PolicyUsageFilter != types.PolicyUsageTypePermissionsPolicy {
			if leaves, err = collect(leaves, tx.Bounded(account(ctx), p.ARN())); err != nil {
				return err
			}
		}
		slices.Sort(leaves)
		leaves = slices.Compact(leaves)
		var subjects []*subject
		for _, leaf := range leaves {
			kind, name, _ := strings.Cut(leaf, "/")
			if in.EntityFilter != "" && !strings.EqualFold(string(in.EntityFilter), kind) || leaf <= last {
				continue
			}
			sub, err := find(tx, account(ctx), directory.Kind(kind), name)
			if err != nil {
				return err
			}
			if strings.HasPrefix(sub.Path, aws.ToString(in.PathPrefix)) {
				subjects = append(subjects, sub)
			}
		}
		page, next, err := pageOf(sliceAfter(subjects, "", nil), in.MaxItems, func(sub *subject) string {
			return string(sub.kind) + "/" + strings.ToLower(sub.Name)
		})
		out.Marker, out.IsTruncated = next, next != nil
		for _, sub := range page {
			id, name := aws.String(sub.ID), aws.String(sub.Name)
			switch sub.kind {
			case directory.KindUser:
				out.PolicyUsers = append(out.PolicyUsers, types.PolicyUser{UserId: id, UserName: name})
			case directory.KindRole:
				out.PolicyRoles = append(out.PolicyRoles, types.PolicyRole{RoleId: id, RoleName: name})
			case directory.KindGroup:
				out.PolicyGroups = append(out.PolicyGroups, types.PolicyGroup{GroupId: id, GroupName: name})
			}
		}
		return err
	})
	if isNoSuchEntity(err) {
		return nil, noSuchEntity("Policy %s does not exist or is not attachable.", *in.PolicyArn)
	}
	if err != nil {
		return nil, err
	}
	return out, nil
}

func collect(to []string, items iter.Seq2[string, error]) ([]string, error) {
	for item, err := range items {
		if err != nil {
			return nil, err
		}
		to = append(to, item)
	}
	return to, nil
}
