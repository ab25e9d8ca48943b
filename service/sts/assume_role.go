package sts

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/malote/malote/caller"
)

// AssumeRole gives credentials of a role to whom its trust policy lets in. A role that
// there is not is answered like one that does not trust the caller.
func (s *Service) AssumeRole(ctx context.Context, in *sts.AssumeRoleInput) (*sts.AssumeRoleOutput, error) {
	p := caller.From(ctx).Principal
	a := &ask{
		role: *in.RoleArn, name: *in.RoleSessionName, sourceIdentity: in.SourceIdentity, tags: in.Tags, transitive: in.TransitiveTagKeys,
		policy: in.Policy, policyARNs: in.PolicyArns, seconds: in.DurationSeconds, action: "sts:AssumeRole", conditions: map[string][]string{},
	}
	if in.ExternalId != nil {
		a.conditions["sts:ExternalId"] = []string{*in.ExternalId}
	}
	if _, err := a.account(); err != nil {
		return nil, err
	}
	switch p.Type {
	case caller.Account:
		return nil, accessDenied("Roles may not be assumed by root accounts.")
	case caller.FederatedUser:
		return nil, errSession("AssumeRole")
	}
	a.refuse = func() error {
		switch {
		case in.SerialNumber != nil || in.TokenCode != nil:
			return errMFA
		case len(in.ProvidedContexts) > 0:
			return validationError("ProvidedContexts is not supported.")
		case in.MinimumSessionTokenSize != nil:
			return validationError("MinimumSessionTokenSize is not supported.")
		}
		return nil
	}
	out, err := s.assume(ctx, p, a)
	if err != nil {
		return nil, err
	}
	return &sts.AssumeRoleOutput{
		AssumedRoleUser: out.user, Credentials: out.credentials, PackedPolicySize: out.packed, SourceIdentity: out.sourceIdentity,
	}, nil
}
