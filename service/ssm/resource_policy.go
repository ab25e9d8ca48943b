package ssm

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/malote/malote/caller"
	"github.com/malote/malote/policy"
	"github.com/malote/malote/service/attached"
)

const (
	maxResourcePolicy   = 1024 // bytes
	maxResourcePolicies = 10   // of a parameter; AWS says only that there is a limit
	resourcePolicyPage  = 50
)

// PutResourcePolicy shares an advanced parameter: it adds a policy, or with PolicyId and
// PolicyHash replaces the one that has these. It decides from the next request on.
//
// https://docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-shared-parameters.html
func (s *Service) PutResourcePolicy(ctx context.Context, in *ssm.PutResourcePolicyInput) (*ssm.PutResourcePolicyOutput, error) {
	r, found, err := s.authorizedARN(ctx, "ssm:PutResourcePolicy", *in.ResourceArn)
	if err != nil {
		return nil, err
	}
	if err := owned(ctx, r); err != nil {
		return nil, err
	}
	id, hash := aws.ToString(in.PolicyId), aws.ToString(in.PolicyHash)
	switch {
	case id == "" && hash != "":
		return nil, invalidPolicyParameter("PolicyId", "To update a policy, PolicyId must be given together with PolicyHash; to add one, neither.")
	case id != "" && hash == "":
		return nil, invalidPolicyParameter("PolicyHash", "To update a policy, PolicyHash must be given together with PolicyId; to add one, neither.")
	case len(*in.Policy) > maxResourcePolicy:
		return nil, policyLimit("PolicySize", maxResourcePolicy, "The policy has %d bytes, at most %d are allowed.", len(*in.Policy), maxResourcePolicy)
	}
	put, document, err := attached.New(ctx, policy.Resource, *in.Policy, s.principals)
	var syntax *policy.SyntaxError
	var nobody *attached.InvalidPrincipal
	switch {
	case errors.As(err, &syntax):
		return nil, malformedPolicy("The policy document is malformed: " + syntax.Explain())
	case errors.As(err, &nobody):
		return nil, malformedPolicy("The policy document names a principal that does not exist: " + nobody.Principal)
	case err != nil:
		return nil, err
	case document.Public():
		return nil, malformedPolicy(`The policy document shares the parameter with everyone. Name accounts, users or roles as Principal, or limit "*" by a condition such as aws:PrincipalAccount.`)
	}

	var now resourcePolicy
	err = s.changePolicies(ctx, r, found.parameter, func(p *parameter) error {
		if err := shareable(&p.Current); err != nil {
			return err
		}
		now = resourcePolicy{ID: id, Policy: put}
		if id == "" {
			if len(p.ResourcePolicies) == maxResourcePolicies {
				return policyLimit("NumberOfPolicies", maxResourcePolicies, "The parameter has %d resource policies, and more are not allowed.", maxResourcePolicies)
			}
			now.ID = newPolicyID()
			p.ResourcePolicies = append(p.ResourcePolicies, now)
			slices.SortFunc(p.ResourcePolicies, func(a, b resourcePolicy) int { return cmp.Compare(a.ID, b.ID) })
			return nil
		}
		at, err := p.resourcePolicy(id, hash)
		if err != nil {
			return err
		}
		p.ResourcePolicies[at] = now
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ssm.PutResourcePolicyOutput{PolicyId: &now.ID, PolicyHash: aws.String(now.hash())}, nil
}

// GetResourcePolicies returns the policies, by PolicyId in order, each as it was put while
// those whom it names are still there.
func (s *Service) GetResourcePolicies(ctx context.Context, in *ssm.GetResourcePoliciesInput) (*ssm.GetResourcePoliciesOutput, error) {
	r, found, err := s.authorizedARN(ctx, "ssm:GetResourcePolicies", *in.ResourceArn)
	if err != nil {
		return nil, err
	}
	asked := question("resource policies", r.arn())
	after, err := parseToken(asked, in.NextToken)
	if err != nil {
		return nil, invalidPolicyParameter("NextToken", "The specified token isn't valid.")
	}
	out := &ssm.GetResourcePoliciesOutput{Policies: []types.GetResourcePoliciesResponseEntry{}}
	for i := range found.ResourcePolicies {
		x := &found.ResourcePolicies[i]
		if x.ID <= after {
			continue
		}
		if n := len(out.Policies); n == pageSize(in.MaxResults, resourcePolicyPage) {
			out.NextToken = token(asked, *out.Policies[n-1].PolicyId)
			break
		}
		text, err := x.Policy.Read(ctx, s.principals)
		if err != nil {
			return nil, err
		}
		out.Policies = append(out.Policies, types.GetResourcePoliciesResponseEntry{Policy: &text, PolicyId: &x.ID, PolicyHash: aws.String(x.hash())})
	}
	return out, nil
}

// DeleteResourcePolicy takes a policy off. Who had rights by it alone has none any more.
func (s *Service) DeleteResourcePolicy(ctx context.Context, in *ssm.DeleteResourcePolicyInput) (*ssm.DeleteResourcePolicyOutput, error) {
	r, found, err := s.authorizedARN(ctx, "ssm:DeleteResourcePolicy", *in.ResourceArn)
	if err != nil {
		return nil, err
	}
	if err := owned(ctx, r); err != nil {
		return nil, err
	}
	err = s.changePolicies(ctx, r, found.parameter, func(p *parameter) error {
		at, err := p.resourcePolicy(*in.PolicyId, *in.PolicyHash)
		if err != nil {
			return err
		}
		p.ResourcePolicies = slices.Delete(p.ResourcePolicies, at, at+1)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ssm.DeleteResourcePolicyOutput{}, nil
}

// authorizedARN is authorized for a ResourceArn. Of the resources that Systems Manager
// shares there are none but parameters here.
func (s *Service) authorizedARN(ctx context.Context, action, given string) (*ref, *selected, error) {
	r := parseRef(ctx, given)
	if !strings.HasPrefix(given, "arn:") || r.selector != "" || r.err != nil && !isNotFound(r.err) {
		r.selector, r.err = "", invalidPolicyParameter("ResourceArn", "The resource ARN isn't valid. It must be that of a parameter, without version or label: arn:aws:ssm:<region>:<account>:parameter/<name>.")
	}
	found, err := s.authorized(ctx, action, &r)
	if isNotFound(err) {
		return nil, nil, resourceNotFound()
	}
	if err != nil {
		return nil, nil, err
	}
	return &r, found, nil
}

// changePolicies is change, with the errors of these operations.
func (s *Service) changePolicies(ctx context.Context, r *ref, was *parameter, fn func(p *parameter) error) error {
	err := s.change(ctx, r, was, fn)
	var busy *types.TooManyUpdates
	switch {
	case isNotFound(err):
		return resourceNotFound()
	case errors.As(err, &busy):
		return policyConflict()
	}
	return err
}

// resourcePolicy returns where the policy is that has id and hash.
func (p *parameter) resourcePolicy(id, hash string) (int, error) {
	at := slices.IndexFunc(p.ResourcePolicies, func(x resourcePolicy) bool { return x.ID == id })
	switch {
	case at < 0:
		return 0, &types.ResourcePolicyNotFoundException{Message: aws.String("No policies with the specified policy ID and hash could be found.")}
	case p.ResourcePolicies[at].hash() != hash:
		return 0, policyConflict()
	}
	return at, nil
}

// owned says that only the owner's account decides with whom a parameter is shared.
func owned(ctx context.Context, r *ref) error {
	if r.account == caller.From(ctx).Principal.Account {
		return nil
	}
	return invalidPolicyParameter("ResourceArn", "To share a parameter, you must own it in your account. You can't share a parameter that has been shared with you.")
}

// shareable says whether other accounts could use the parameter. That they cannot decrypt
// with a key that AWS manages is for KMS to see to; here it is said in time.
func shareable(v *version) error {
	switch {
	case v.Tier != types.ParameterTierAdvanced:
		return invalidPolicyParameter("ResourceArn", "To share a parameter, it must be in the advanced parameter tier.")
	case v.Type == types.ParameterTypeSecureString && strings.Contains(":"+v.KeyID, ":alias/aws/"):
		return invalidPolicyParameter("ResourceArn", "To share a SecureString parameter, it must be encrypted with a customer managed key. AWS managed keys cannot be shared.")
	}
	return nil
}
