package kms

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/malote/malote/caller"
	"github.com/malote/malote/policy"
	"github.com/malote/malote/service/attached"
	"github.com/malote/malote/store"
)

const (
	policyName    = "default" // the only one that a key has
	maxPolicySize = 32 << 10
)

// defaultPolicy leaves all to the IAM policies of the account.
func defaultPolicy(account string) string {
	return fmt.Sprintf(`{"Version":"2012-10-17","Id":"key-default-1","Statement":[{"Sid":"Enable IAM User Permissions","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::%s:root"},"Action":"kms:*","Resource":"*"}]}`, account)
}

// GetKeyPolicy returns the policy as it was put, to the byte, while those whom it names
// are still there.
func (s *Service) GetKeyPolicy(ctx context.Context, in *kms.GetKeyPolicyInput) (*kms.GetKeyPolicyOutput, error) {
	k, err := s.authorizedKey(ctx, use{action: "kms:GetKeyPolicy", keyID: *in.KeyId})
	if err != nil {
		return nil, err
	}
	if in.PolicyName != nil && *in.PolicyName != policyName {
		return nil, notFound("No such policy exists")
	}
	text, err := k.Policy.Read(ctx, s.principals)
	if err != nil {
		return nil, err
	}
	return &kms.GetKeyPolicyOutput{Policy: aws.String(text), PolicyName: aws.String(policyName)}, nil
}

// PutKeyPolicy replaces the policy. One that would lock the caller out is refused unless
// the request insists.
func (s *Service) PutKeyPolicy(ctx context.Context, in *kms.PutKeyPolicyInput) (*kms.PutKeyPolicyOutput, error) {
	u := use{
		action: "kms:PutKeyPolicy", keyID: *in.KeyId,
		conditions: map[string][]string{"kms:BypassPolicyLockoutSafetyCheck": boolCondition(in.BypassPolicyLockoutSafetyCheck)},
	}
	k, err := s.authorizedKey(ctx, u)
	if err != nil {
		return nil, err
	}
	if in.PolicyName != nil && *in.PolicyName != policyName {
		return nil, unsupported("The policy name must be %s.", policyName)
	}
	put, err := s.newPolicy(ctx, *in.Policy, k, in.BypassPolicyLockoutSafetyCheck)
	if err != nil {
		return nil, err
	}
	_, err = s.change(ctx, u, k, func(_ store.Tx, k *key) error {
		k.Policy = put
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &kms.PutKeyPolicyOutput{}, nil
}

// ListKeyPolicies names the one policy of a key.
func (s *Service) ListKeyPolicies(ctx context.Context, in *kms.ListKeyPoliciesInput) (*kms.ListKeyPoliciesOutput, error) {
	if _, err := s.authorizedKey(ctx, use{action: "kms:ListKeyPolicies", keyID: *in.KeyId}); err != nil {
		return nil, err
	}
	after, err := decodeMarker(in.Marker)
	if err != nil {
		return nil, err
	}
	names, _ := page([]string{policyName}, func(name string) string { return name }, after, pageSize(in.Limit, 100))
	return &kms.ListKeyPoliciesOutput{PolicyNames: names}, nil
}

// newPolicy refuses a text that is no key policy for k, and, unless bypass, one under
// which the caller could not replace it again.
func (s *Service) newPolicy(ctx context.Context, text string, k *key, bypass bool) (attached.Policy, error) {
	if len(text) > maxPolicySize {
		return attached.Policy{}, limitExceeded("The key policy is longer than %d bytes.", maxPolicySize)
	}
	p, document, err := attached.New(ctx, policy.Key, text, s.principals)
	var syntax *policy.SyntaxError
	var nobody *attached.InvalidPrincipal
	switch {
	case errors.As(err, &syntax):
		return p, malformedPolicy(syntax.Error())
	case errors.As(err, &nobody):
		return p, malformedPolicy("Policy contains a statement with one or more invalid principals.")
	case err != nil:
		return p, err
	case bypass || keeps(caller.From(ctx), document, k):
		return p, nil
	}
	return p, malformedPolicy("The new key policy will not allow you to update the key policy in the future.")
}

// keeps reports whether document lets the caller put k's policy, or leaves that to the
// account: whether the caller's own policies would then allow it is not asked.
func keeps(request *caller.Request, document *policy.Document, k *key) bool {
	everything, err := policy.Parse(policy.Identity, []byte(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`))
	if err != nil {
		return false
	}
	p := request.Principal
	id := p.ID
	if p.Type == caller.AssumedRole {
		id = p.RoleID
	}
	known := policy.Context{
		"kms:calleraccount":                  {p.Account},
		"kms:bypasspolicylockoutsafetycheck": {"false"},
		"aws:principalarn":                   {principalARN(p)},
		"aws:principalaccount":               {p.Account},
		"aws:principaltype":                  {string(p.Type)},
	}
	for name, values := range k.keyConditions() {
		known[strings.ToLower(name)] = values
	}
	decision := policy.Evaluate(&policy.Request{
		Principal: policy.Principal{
			Type: string(p.Type), Account: p.Account, ARN: p.ARN, RoleARN: p.RoleARN, ID: id, Service: p.Service,
		},
		Action: "kms:PutKeyPolicy", Resource: k.arn(), ResourceAccount: k.Account,
		Context: known,
	}, &policy.Set{
		Identity: []policy.Source{{Document: everything}},
		Resource: &policy.Source{Document: document},
		Kind:     policy.Key,
	})
	return decision.Allowed
}

// principalARN is aws:PrincipalArn: of a session, its role.
func principalARN(p *caller.Principal) string {
	if p.RoleARN != "" {
		return p.RoleARN
	}
	return p.ARN
}
