package kms

import (
	"context"
	"errors"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/malote/malote/authz"
	"github.com/malote/malote/caller"
	"github.com/malote/malote/store"
)

// ListGrants lists the grants of a key: all, one, or those to one grantee.
func (s *Service) ListGrants(ctx context.Context, in *kms.ListGrantsInput) (*kms.ListGrantsOutput, error) {
	k, err := s.authorizedKey(ctx, use{action: "kms:ListGrants", keyID: *in.KeyId, conditions: forAWSResource(caller.From(ctx))})
	if err != nil {
		return nil, err
	}
	after, limit, err := grantPage(in.Marker, in.Limit)
	if err != nil {
		return nil, err
	}
	prefix := grantPrefix(k.Account, k.Region, k.ID)
	if in.GrantId != nil {
		if !isGrantID(*in.GrantId) {
			return nil, noGrant(*in.GrantId)
		}
		if _, err := s.grantAt(ctx, prefix+*in.GrantId); errors.Is(err, store.ErrNotFound) {
			return nil, noGrant(*in.GrantId)
		} else if err != nil {
			return nil, err
		}
	}
	grantee := ""
	if in.GranteePrincipal != nil {
		p, err := s.resolveGrantPrincipal(ctx, *in.GranteePrincipal)
		if err != nil {
			return nil, err
		}
		grantee = p.ID
	}
	if after != "" {
		after = prefix + after
	}

	var part []*grant
	truncated := false
	err = s.store.View(ctx, func(tx store.Tx) error {
		part, truncated = nil, false
		for row, err := range s.grants.Scan(tx, prefix, after) {
			if err != nil {
				return err
			}
			g := row.Value
			if in.GrantId != nil && g.ID != *in.GrantId || grantee != "" && g.Grantee.ID != grantee {
				continue
			}
			if len(part) == limit {
				truncated = true
				return nil
			}
			part = append(part, g)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	out := &kms.ListGrantsOutput{Truncated: truncated}
	if out.Grants, err = s.listed(ctx, part); err != nil {
		return nil, err
	}
	if truncated {
		out.NextMarker = encodeMarker(part[limit-1].ID)
	}
	return out, nil
}

// ListRetirableGrants lists the grants that name one retiring principal, of the caller's
// account, whoever's the keys are.
func (s *Service) ListRetirableGrants(ctx context.Context, in *kms.ListRetirableGrantsInput) (*kms.ListRetirableGrantsOutput, error) {
	request := caller.From(ctx)
	if err := s.authz.Authorize(ctx, &authz.Access{Action: "kms:ListRetirableGrants", Resource: "*"}); err != nil {
		return nil, err
	}
	after, limit, err := grantPage(in.Marker, in.Limit)
	if err != nil {
		return nil, err
	}
	p, err := s.resolveGrantPrincipal(ctx, *in.RetiringPrincipal)
	if err != nil {
		return nil, err
	}
	if parts := strings.SplitN(p.ARN, ":", 6); len(parts) != 6 || parts[4] != request.Principal.Account {
		return nil, invalidARN("The retiring principal %s is not in account %s.", p.ARN, request.Principal.Account)
	}
	prefix := retirablePrefix(request.Region, p.ID)
	if after != "" {
		after = prefix + after
	}

	var part []*grant
	truncated := false
	err = s.store.View(ctx, func(tx store.Tx) error {
		part, truncated = nil, false
		for entry, err := range tx.Scan(prefix, after) {
			if err != nil {
				return err
			}
			where := strings.Split(strings.TrimPrefix(entry.Key, prefix), "/")
			if len(where) != 3 {
				return errors.New("kms: strange entry " + entry.Key)
			}
			k, err := s.keys.Get(tx, keyPath(where[0], request.Region, where[1]))
			if err != nil {
				return err
			}
			if k.gone(s.now()) {
				continue
			}
			if len(part) == limit {
				truncated = true
				return nil
			}
			g, err := s.grants.Get(tx, grantPrefix(where[0], request.Region, where[1])+where[2])
			if err != nil {
				return err
			}
			part = append(part, g)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	out := &kms.ListRetirableGrantsOutput{Truncated: truncated}
	if out.Grants, err = s.listed(ctx, part); err != nil {
		return nil, err
	}
	if truncated {
		last := part[limit-1]
		out.NextMarker = encodeMarker(last.Account + "/" + last.KeyID + "/" + last.ID)
	}
	return out, nil
}

const (
	grantsPerPage    = 50
	maxGrantsPerPage = 100 // the model says 1000, the documentation and the service 100
)

func grantPage(marker *string, limit *int32) (after string, size int, err error) {
	if limit != nil && *limit > maxGrantsPerPage {
		return "", 0, validation("1 validation error detected: Value '%d' at 'limit' failed to satisfy constraint: Member must have value less than or equal to %d", *limit, maxGrantsPerPage)
	}
	after, err = decodeMarker(marker)
	return after, pageSize(limit, grantsPerPage), err
}

// listed is how grants are shown: never with a token.
func (s *Service) listed(ctx context.Context, grants []*grant) ([]types.GrantListEntry, error) {
	entries := make([]types.GrantListEntry, 0, len(grants))
	for _, g := range grants {
		grantee, err := s.reads(ctx, g.Grantee)
		if err != nil {
			return nil, err
		}
		entry := types.GrantListEntry{
			KeyId: aws.String(keyARN(g.Region, g.Account, g.KeyID)), GrantId: aws.String(g.ID), Name: aws.String(g.Name),
			CreationDate: aws.Time(g.Created), GranteePrincipal: aws.String(grantee), IssuingAccount: aws.String(rootARN(g.Issuer)),
			Operations: g.Operations,
		}
		if g.Retiring.ID != "" {
			retiring, err := s.reads(ctx, g.Retiring)
			if err != nil {
				return nil, err
			}
			entry.RetiringPrincipal = aws.String(retiring)
		}
		if g.Equals != nil || g.Subset != nil {
			entry.Constraints = &types.GrantConstraints{EncryptionContextEquals: g.Equals, EncryptionContextSubset: g.Subset}
		}
		entries = append(entries, entry)
	}
	return entries, nil
}
