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
	"github.com/malote/malote/policy"
	"github.com/malote/malote/service/iam/directory"
)

// owned is a policy that somebody has: inline, or managed and attached.
type owned struct {
	arn, name, document string
	by                  *subject
}

// policiesOf yields the policies that an entity itself has, but for its boundary.
func policiesOf(tx *directory.Tx, sub *subject) iter.Seq2[owned, error] {
	return func(yield func(owned, error) bool) {
		for _, p := range sub.Inline {
			if !yield(owned{name: p.Name, document: p.Document, by: sub}, nil) {
				return
			}
		}
		for _, arn := range sub.Attached {
			p, err := tx.Managed(arn)
			if err != nil {
				yield(owned{}, err)
				return
			}
			if !yield(owned{arn: arn, name: p.Name, document: p.Document(), by: sub}, nil) {
				return
			}
		}
	}
}

// bearers are the entities whose policies count for one: itself, and the groups of a user.
func bearers(tx *directory.Tx, sub *subject) ([]*subject, error) {
	all := []*subject{sub}
	if sub.user == nil {
		return all, nil
	}
	for _, name := range sub.user.Groups {
		group, err := find(tx, sub.Account, directory.KindGroup, name)
		if err != nil {
			return nil, err
		}
		all = append(all, group)
	}
	return all, nil
}

// ofPrincipal runs fn with the user, group or role that an ARN names, whatever its path, for
// a caller who may do the action to that ARN.
func (s *Service) ofPrincipal(ctx context.Context, action, arn string, fn func(*directory.Tx, *subject) error) error {
	owner, kind, _, name, ok := directory.ParseARN(arn)
	known := ok && (kind == directory.KindUser || kind == directory.KindGroup || kind == directory.KindRole)
	access := &authz.Access{Action: action, Resource: arn}
	if !known {
		access.Resource = "*"
	}
	if err := s.authorize(ctx, access); err != nil {
		return err
	}
	if !known {
		return invalidInput("ARN %s is not valid.", arn)
	}
	return s.dir.View(ctx, func(tx *directory.Tx) error {
		if owner != account(ctx) {
			return noSuchEntity("The %s with name %s cannot be found.", kind, name)
		}
		sub, err := find(tx, owner, kind, name)
		if err != nil {
			return err
		}
		return fn(tx, sub)
	})
}

// GetContextKeysForCustomPolicy names the condition keys of each policy that it is given, in
// the words of the policy; a key of two policies is there twice, as on AWS.
func (s *Service) GetContextKeysForCustomPolicy(ctx context.Context, in *iam.GetContextKeysForCustomPolicyInput) (*iam.GetContextKeysForCustomPolicyOutput, error) {
	if err := s.authorize(ctx, &authz.Access{Action: "iam:GetContextKeysForCustomPolicy", Resource: "*"}); err != nil {
		return nil, err
	}
	names, err := keysOf(in.PolicyInputList)
	if err != nil {
		return nil, err
	}
	return &iam.GetContextKeysForCustomPolicyOutput{ContextKeyNames: names}, nil
}

func keysOf(documents []string) ([]string, error) {
	names := []string{}
	for i, text := range documents {
		keys, err := policy.ContextKeys([]byte(text))
		if err != nil {
			return nil, badDocument("PolicyInputList", i, err)
		}
		names = append(names, keys...)
	}
	return names, nil
}

// GetContextKeysForPrincipalPolicy names the condition keys of the policies of a user, with
// its groups and its boundary, of a group or of a role, each once, and then those of the
// policies that it is given.
func (s *Service) GetContextKeysForPrincipalPolicy(ctx context.Context, in *iam.GetContextKeysForPrincipalPolicyInput) (*iam.GetContextKeysForPrincipalPolicyOutput, error) {
	names := []string{}
	err := s.ofPrincipal(ctx, "iam:GetContextKeysForPrincipalPolicy", *in.PolicySourceArn, func(tx *directory.Tx, sub *subject) error {
		names = names[:0]
		add := func(document string) error {
			keys, err := policy.ContextKeys([]byte(document))
			for _, key := range keys {
				if !slices.Contains(names, key) {
					names = append(names, key)
				}
			}
			return err
		}
		all, err := bearers(tx, sub)
		if err != nil {
			return err
		}
		for _, bearer := range all {
			for p, err := range policiesOf(tx, bearer) {
				if err == nil {
					err = add(p.document)
				}
				if err != nil {
					return err
				}
			}
		}
		if sub.Boundary == "" {
			return nil
		}
		boundary, err := tx.Managed(sub.Boundary)
		if err != nil {
			return err
		}
		return add(boundary.Document())
	})
	if err != nil {
		return nil, err
	}
	given, err := keysOf(in.PolicyInputList)
	if err != nil {
		return nil, err
	}
	return &iam.GetContextKeysForPrincipalPolicyOutput{ContextKeyNames: append(names, given...)}, nil
}

// ListPoliciesGrantingServiceAccess lists, for each service, the policies of a user, with its
// groups, of a group or of a role that allow something of it. What denies, bounds or
// conditions that is not looked at. The answer has no pages.
//
// https://docs.aws.amazon.com/IAM/latest/APIReference/API_ListPoliciesGrantingServiceAccess.html
func (s *Service) ListPoliciesGrantingServiceAccess(ctx context.Context, in *iam.ListPoliciesGrantingServiceAccessInput) (*iam.ListPoliciesGrantingServiceAccessOutput, error) {
	out := new(iam.ListPoliciesGrantingServiceAccessOutput)
	err := s.ofPrincipal(ctx, "iam:ListPoliciesGrantingServiceAccess", *in.Arn, func(tx *directory.Tx, sub *subject) error {
		out.PoliciesGrantingServiceAccess = []types.ListPoliciesGrantingServiceAccessEntry{}
		if in.Marker != nil {
			return validationError("Invalid Marker.")
		}
		all, err := bearers(tx, sub)
		if err != nil {
			return err
		}
		for _, service := range in.ServiceNamespaces {
			entry := types.ListPoliciesGrantingServiceAccessEntry{ServiceNamespace: aws.String(service), Policies: []types.PolicyGrantingServiceAccess{}}
			for _, bearer := range all {
				for p, err := range policiesOf(tx, bearer) {
					if err != nil {
						return err
					}
					document, err := policy.Parse(policy.Identity, []byte(p.document))
					if err != nil {
						return err
					}
					if document.Grants(service) {
						entry.Policies = append(entry.Policies, granting(p))
					}
				}
			}
			out.PoliciesGrantingServiceAccess = append(out.PoliciesGrantingServiceAccess, entry)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// granting names a managed policy by its ARN and an inline one by whose it is.
func granting(p owned) types.PolicyGrantingServiceAccess {
	if p.arn != "" {
		return types.PolicyGrantingServiceAccess{PolicyName: aws.String(p.name), PolicyType: types.PolicyTypeManaged, PolicyArn: aws.String(p.arn)}
	}
	return types.PolicyGrantingServiceAccess{
		PolicyName: aws.String(p.name), PolicyType: types.PolicyTypeInline,
		EntityName: aws.String(p.by.Name), EntityType: types.PolicyOwnerEntityType(strings.ToUpper(string(p.by.kind))),
	}
}
