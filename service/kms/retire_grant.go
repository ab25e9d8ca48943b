package kms

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/malote/malote/authz"
	"github.com/malote/malote/caller"
	"github.com/malote/malote/policy"
	"github.com/malote/malote/store"
)

// RetireGrant takes a grant away: for the principal that may retire it, for its grantee if
// the grant says so, and for the accounts of the key and of who made it, which may delegate
// that to their principals. The key's policy has no say.
//
// https://docs.aws.amazon.com/kms/latest/developerguide/grant-delete.html
func (s *Service) RetireGrant(ctx context.Context, in *kms.RetireGrantInput) (*kms.RetireGrantOutput, error) {
	g, err := s.grantToRetire(ctx, in)
	if err != nil {
		return nil, err
	}
	k, err := s.authorizeRetiring(ctx, g)
	if err != nil {
		return nil, err
	}
	if aws.ToBool(in.DryRun) {
		return nil, dryRun()
	}
	// What lets the caller is in the grant, which does not change.
	_, err = s.changeAnyway(ctx, k, func(tx store.Tx, k *key) error { return s.dropGrant(tx, k, g) })
	if err != nil {
		return nil, err
	}
	return &kms.RetireGrantOutput{}, nil
}

// grantToRetire finds the grant that a request is about. Whoever may not retire anything
// there learns no more than that.
func (s *Service) grantToRetire(ctx context.Context, in *kms.RetireGrantInput) (*grant, error) {
	request := caller.From(ctx)
	access := &authz.Access{Action: "kms:RetireGrant", Resource: "*"}
	var g *grant
	var cause error
	switch {
	case in.GrantToken != nil && in.GrantId == nil && in.KeyId == nil:
		if g, cause = s.grantOf(ctx, *in.GrantToken); g != nil {
			return g, nil
		}
	case in.GrantToken == nil && in.GrantId != nil && in.KeyId != nil:
		r := parseRef(*in.KeyId, request.Region, request.Principal.Account, false)
		if access.Resource, access.Account = r.arn, r.account; r.account != request.Principal.Account {
			access.Kind = policy.Key
		}
		k, err := s.find(ctx, request, r)
		switch {
		case err == nil && isGrantID(*in.GrantId):
			if g, cause = s.grantAt(ctx, grantPrefix(k.Account, k.Region, k.ID)+*in.GrantId); g != nil {
				return g, nil
			}
			if errors.Is(cause, store.ErrNotFound) {
				cause = noGrant(*in.GrantId)
			}
		case err == nil:
			cause = noGrant(*in.GrantId)
		case errors.Is(err, store.ErrNotFound):
			cause = keyNotFound(r.arn)
		default:
			cause = err
		}
	default:
		cause = validation("You must specify either a grant token or both a grant ID and a key ID.")
	}
	if err := s.authz.Authorize(ctx, access); err != nil {
		return nil, err
	}
	return nil, cause
}

// authorizeRetiring returns the key of g when the caller may retire g.
func (s *Service) authorizeRetiring(ctx context.Context, g *grant) (*key, error) {
	var k *key
	err := s.store.View(ctx, func(tx store.Tx) (err error) {
		k, err = s.keys.Get(tx, keyPath(g.Account, g.Region, g.KeyID))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the key of a grant: %w", err)
	}
	c, err := k.compiled()
	if err != nil {
		return nil, err
	}
	delegates := []string{rootARN(g.Account), rootARN(g.Issuer)}
	who := []policy.Grant{{ID: g.ID, GranteePrincipal: g.Retiring.ID, Operations: []string{"RetireGrant"}}}
	for _, operation := range g.Operations {
		if operation == types.GrantOperationRetireGrant {
			who = append(who, policy.Grant{ID: g.ID, GranteePrincipal: g.Grantee.ID, Operations: []string{"RetireGrant"}})
		}
	}
	if account, ok := rootOf(g.Retiring.ID); ok {
		delegates = append(delegates, rootARN(account))
	}
	list, err := json.Marshal(delegates)
	if err != nil {
		return nil, err
	}
	document, err := policy.Parse(policy.Key, fmt.Appendf(nil, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":%s},"Action":"kms:RetireGrant","Resource":"*"}]}`, list))
	if err != nil {
		return nil, err
	}
	return k, s.authz.Authorize(ctx, &authz.Access{
		Action: "kms:RetireGrant", Resource: k.arn(), Account: k.Account, Conditions: c.conditions,
		Policy: &policy.Source{Document: document, Name: "the grant " + g.ID}, Kind: policy.Key, Grants: who,
	})
}

func rootARN(account string) string { return "arn:aws:iam::" + account + ":root" }

// rootOf is the account of a root user's ARN.
func rootOf(arn string) (account string, ok bool) {
	const prefix, suffix = "arn:aws:iam::", ":root"
	if len(arn) != len(prefix)+12+len(suffix) {
		return "", false
	}
	account = arn[len(prefix) : len(prefix)+12]
	return account, isAccount(account) && arn == rootARN(account)
}
