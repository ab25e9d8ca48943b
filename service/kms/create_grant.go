package kms

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/malote/malote/caller"
	"github.com/malote/malote/store"
)

// CreateGrant lets a principal do some operations with a key, beside the key's policy. With
// a name, to ask again for the same is to be given the same grant.
func (s *Service) CreateGrant(ctx context.Context, in *kms.CreateGrantInput) (*kms.CreateGrantOutput, error) {
	request := caller.From(ctx)
	g := &grant{Name: aws.ToString(in.Name), Issuer: request.Principal.Account}
	for _, operation := range in.Operations {
		if !slices.Contains(g.Operations, operation) {
			g.Operations = append(g.Operations, operation)
		}
	}
	if c := in.Constraints; c != nil {
		if len(c.EncryptionContextEquals) > 0 {
			g.Equals = c.EncryptionContextEquals
		}
		if len(c.EncryptionContextSubset) > 0 {
			g.Subset = c.EncryptionContextSubset
		}
	}
	u := use{action: "kms:CreateGrant", keyID: *in.KeyId, grantTokens: in.GrantTokens, delegates: g, conditions: grantConditions(request, in, g), context: g.context()}
	k, err := s.authorizedKey(ctx, u)
	if err != nil {
		return nil, err
	}
	if err := checkGrant(in, g, k); err != nil {
		return nil, err
	}
	if g.Grantee, err = s.resolveGrantPrincipal(ctx, *in.GranteePrincipal); err != nil {
		return nil, err
	}
	if in.RetiringPrincipal != nil {
		if g.Retiring, err = s.resolveGrantPrincipal(ctx, *in.RetiringPrincipal); err != nil {
			return nil, err
		}
	}
	if err := k.usable(); err != nil {
		return nil, err
	}
	if aws.ToBool(in.DryRun) {
		return nil, dryRun()
	}

	g.Account, g.Region, g.KeyID = k.Account, k.Region, k.ID
	g.Created = s.now().Truncate(time.Second)
	made := *g
	made.ID, made.Secret = newGrantID()
	result := &made
	_, err = s.change(ctx, u, k, func(tx store.Tx, k *key) error {
		result = &made
		if err := k.usable(); err != nil {
			return err
		}
		if g.Name != "" {
			switch id, err := tx.Get(g.samePath()); {
			case err == nil:
				result, err = s.grants.Get(tx, grantPrefix(g.Account, g.Region, g.KeyID)+string(id))
				return err
			case !errors.Is(err, store.ErrNotFound):
				return err
			}
		}
		if k.Grants >= maxGrants {
			return limitExceeded("The key %s already has %d grants.", k.arn(), maxGrants)
		}
		k.Grants++
		return s.putGrant(tx, result)
	})
	if err != nil {
		return nil, err
	}
	return &kms.CreateGrantOutput{GrantId: aws.String(result.ID), GrantToken: aws.String(result.token())}, nil
}

// grantConditions are the condition keys of CreateGrant.
func grantConditions(request *caller.Request, in *kms.CreateGrantInput, g *grant) map[string][]string {
	c := forAWSResource(request)
	for _, operation := range g.Operations {
		c["kms:GrantOperations"] = append(c["kms:GrantOperations"], string(operation))
	}
	if in.GranteePrincipal != nil {
		c["kms:GranteePrincipal"] = []string{*in.GranteePrincipal}
	}
	if in.RetiringPrincipal != nil {
		c["kms:RetiringPrincipal"] = []string{*in.RetiringPrincipal}
	}
	if g.Equals != nil {
		c["kms:GrantConstraintType"] = append(c["kms:GrantConstraintType"], "EncryptionContextEquals")
	}
	if g.Subset != nil {
		c["kms:GrantConstraintType"] = append(c["kms:GrantConstraintType"], "EncryptionContextSubset")
	}
	return c
}

// context is the encryption context that a grant's constraints have in common with what it
// will be used for: policies ask for it by kms:EncryptionContext: of CreateGrant too.
//
// https://docs.aws.amazon.com/kms/latest/developerguide/conditions-kms.html#conditions-kms-encryption-context
func (g *grant) context() map[string]string {
	if g.Equals == nil {
		return g.Subset
	}
	pairs := maps.Clone(g.Subset)
	if pairs == nil {
		pairs = map[string]string{}
	}
	maps.Copy(pairs, g.Equals)
	return pairs
}

// forAWSResource tells grants that a service makes for a resource of its own or a caller's.
func forAWSResource(request *caller.Request) map[string][]string {
	return map[string][]string{"kms:GrantIsForAWSResource": boolCondition(len(request.Via) > 0 || request.Principal.Type == caller.Service)}
}

// checkGrant refuses what makes no grant on k.
func checkGrant(in *kms.CreateGrantInput, g *grant, k *key) error {
	switch {
	case in.GranteeServicePrincipal != nil || in.RetiringServicePrincipal != nil:
		return unsupported("Grants to service principals are not supported.")
	case in.Constraints != nil && in.Constraints.SourceArn != nil:
		return unsupported("The grant constraint SourceArn is not supported.")
	case in.GranteePrincipal == nil:
		return validation("You must specify a GranteePrincipal.")
	case len(g.Operations) == 0:
		return validation("You must specify at least one grant operation.")
	}
	m := k.metadata()
	for _, operation := range g.Operations {
		if !suits(operation, m.KeySpec, m.KeyUsage) {
			return validation("Grant operation %s is not valid for key spec %s and key usage %s.", operation, m.KeySpec, m.KeyUsage)
		}
	}
	if (g.Equals != nil || g.Subset != nil) && m.KeySpec != types.KeySpecSymmetricDefault {
		return validation("Encryption context grant constraints are valid only for symmetric encryption keys.")
	}
	for _, constraint := range []struct {
		name  string
		pairs map[string]string
	}{{"EncryptionContextEquals", g.Equals}, {"EncryptionContextSubset", g.Subset}} {
		if len(constraint.pairs) > maxGrantPairs {
			return validation("The grant constraint %s has more than %d pairs.", constraint.name, maxGrantPairs)
		}
		length := 0
		for name, value := range constraint.pairs {
			length += utf8.RuneCountInString(name) + utf8.RuneCountInString(value)
		}
		if length > maxGrantPairLength {
			return validation("The grant constraint %s is longer than %d characters.", constraint.name, maxGrantPairLength)
		}
	}
	return nil
}

// suits reports whether a key can do operation at all.
func suits(operation types.GrantOperation, spec types.KeySpec, usage types.KeyUsageType) bool {
	switch operation {
	case types.GrantOperationCreateGrant, types.GrantOperationRetireGrant, types.GrantOperationDescribeKey:
		return true
	case types.GrantOperationGetPublicKey:
		return spec != types.KeySpecSymmetricDefault && usage != types.KeyUsageTypeGenerateVerifyMac
	case types.GrantOperationEncrypt, types.GrantOperationDecrypt, types.GrantOperationReEncryptFrom, types.GrantOperationReEncryptTo:
		return usage == types.KeyUsageTypeEncryptDecrypt
	case types.GrantOperationGenerateDataKey, types.GrantOperationGenerateDataKeyWithoutPlaintext,
		types.GrantOperationGenerateDataKeyPair, types.GrantOperationGenerateDataKeyPairWithoutPlaintext:
		return spec == types.KeySpecSymmetricDefault
	case types.GrantOperationSign, types.GrantOperationVerify:
		return usage == types.KeyUsageTypeSignVerify
	case types.GrantOperationGenerateMac, types.GrantOperationVerifyMac:
		return usage == types.KeyUsageTypeGenerateVerifyMac
	case types.GrantOperationDeriveSharedSecret:
		return usage == types.KeyUsageTypeKeyAgreement
	}
	return false
}

// RevokeGrant takes a grant away: for whoever policies let, whatever the grant says.
func (s *Service) RevokeGrant(ctx context.Context, in *kms.RevokeGrantInput) (*kms.RevokeGrantOutput, error) {
	u := use{action: "kms:RevokeGrant", keyID: *in.KeyId, conditions: forAWSResource(caller.From(ctx))}
	k, err := s.authorizedKey(ctx, u)
	if err != nil {
		return nil, err
	}
	if !isGrantID(*in.GrantId) {
		return nil, noGrant(*in.GrantId)
	}
	g, err := s.grantAt(ctx, grantPrefix(k.Account, k.Region, k.ID)+*in.GrantId)
	if errors.Is(err, store.ErrNotFound) {
		return nil, noGrant(*in.GrantId)
	}
	if err != nil {
		return nil, err
	}
	if aws.ToBool(in.DryRun) {
		return nil, dryRun()
	}
	_, err = s.change(ctx, u, k, func(tx store.Tx, k *key) error { return s.dropGrant(tx, k, g) })
	if err != nil {
		return nil, err
	}
	return &kms.RevokeGrantOutput{}, nil
}

func noGrant(id string) error { return invalidGrantID("Grant ID %s not found", id) }

func isGrantID(s string) bool {
	return len(s) == 64 && isHex(s)
}

func isHex(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
