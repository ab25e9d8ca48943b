package kms

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/malote/malote/authz"
	"github.com/malote/malote/caller"
	"github.com/malote/malote/store"
)

const maxAliases = 50 // of one key

// CreateAlias gives a key a name. The caller needs kms:CreateAlias on both.
func (s *Service) CreateAlias(ctx context.Context, in *kms.CreateAliasInput) (*kms.CreateAliasOutput, error) {
	if err := s.authorizeAliasName(ctx, "kms:CreateAlias", *in.AliasName); err != nil {
		return nil, err
	}
	target, err := s.authorizedTarget(ctx, "kms:CreateAlias", *in.AliasName, *in.TargetKeyId)
	if err != nil {
		return nil, err
	}
	_, err = s.change(ctx, use{action: "kms:CreateAlias"}, target, func(tx store.Tx, k *key) error {
		if err := k.notPending(); err != nil {
			return err
		}
		path := aliasPath(k.Account, k.Region, *in.AliasName)
		switch _, err := s.aliases.Get(tx, path); {
		case err == nil:
			return &types.AlreadyExistsException{Message: aws.String("An alias with the name " + aliasARN(k.Region, k.Account, *in.AliasName) + " already exists")}
		case !errors.Is(err, store.ErrNotFound):
			return err
		}
		now := s.now()
		if err := k.addAlias(*in.AliasName); err != nil {
			return err
		}
		return s.aliases.Put(tx, path, &alias{Name: *in.AliasName, KeyID: k.ID, Created: now, Updated: now})
	})
	if err != nil {
		return nil, err
	}
	return &kms.CreateAliasOutput{}, nil
}

// UpdateAlias makes a name refer to another key. The caller needs kms:UpdateAlias on the
// alias, on the key that it named and on the key that it is to name.
func (s *Service) UpdateAlias(ctx context.Context, in *kms.UpdateAliasInput) (*kms.UpdateAliasOutput, error) {
	if err := s.asOften(func() error { return s.updateAlias(ctx, in) }); err != nil {
		return nil, err
	}
	return &kms.UpdateAliasOutput{}, nil
}

// asOften does what rests on the rights of several keys, again when one's changed meanwhile.
func (s *Service) asOften(do func() error) error {
	for range attempts {
		if err := do(); !errors.Is(err, errRights) {
			return err
		}
	}
	return errRights
}

func (s *Service) updateAlias(ctx context.Context, in *kms.UpdateAliasInput) error {
	old, err := s.authorizedOldAlias(ctx, "kms:UpdateAlias", *in.AliasName)
	if err != nil {
		return err
	}
	target, err := s.authorizedTarget(ctx, "kms:UpdateAlias", *in.AliasName, *in.TargetKeyId)
	if err != nil {
		return err
	}
	_, err = s.change(ctx, use{action: "kms:UpdateAlias"}, target, func(tx store.Tx, k *key) error {
		if err := k.notPending(); err != nil {
			return err
		}
		a, err := s.ownAlias(tx, old, *in.AliasName)
		if err != nil {
			return err
		}
		if old.class() != k.class() || old.usage() != k.usage() {
			return validation("Alias %s cannot be moved from a key of key spec %s and key usage %s to one of %s and %s: both must be symmetric, asymmetric or HMAC keys of the same usage.",
				*in.AliasName, old.spec(), old.usage(), k.spec(), k.usage())
		}
		if old.ID != k.ID {
			if err := k.addAlias(*in.AliasName); err != nil {
				return err
			}
			if err := s.dropAlias(tx, old, *in.AliasName); err != nil {
				return err
			}
		}
		updated := *a
		updated.KeyID, updated.Updated = k.ID, s.now()
		return s.aliases.Put(tx, aliasPath(k.Account, k.Region, *in.AliasName), &updated)
	})
	return err
}

// DeleteAlias takes a name away. The caller needs kms:DeleteAlias on the alias and on its
// key, whatever state that is in.
func (s *Service) DeleteAlias(ctx context.Context, in *kms.DeleteAliasInput) (*kms.DeleteAliasOutput, error) {
	if err := s.asOften(func() error { return s.deleteAlias(ctx, in) }); err != nil {
		return nil, err
	}
	return &kms.DeleteAliasOutput{}, nil
}

func (s *Service) deleteAlias(ctx context.Context, in *kms.DeleteAliasInput) error {
	k, err := s.authorizedOldAlias(ctx, "kms:DeleteAlias", *in.AliasName)
	if err != nil {
		return err
	}
	if err := checkAliasName(*in.AliasName); err != nil {
		return err
	}
	return s.store.Update(ctx, func(tx store.Tx) error {
		if _, err := s.ownAlias(tx, k, *in.AliasName); err != nil {
			return err
		}
		if err := s.dropAlias(tx, k, *in.AliasName); err != nil {
			return err
		}
		return s.aliases.Delete(tx, aliasPath(k.Account, k.Region, *in.AliasName))
	})
}

// ListAliases lists the aliases of the account, or those of one key.
func (s *Service) ListAliases(ctx context.Context, in *kms.ListAliasesInput) (*kms.ListAliasesOutput, error) {
	if err := s.authz.Authorize(ctx, &authz.Access{Action: "kms:ListAliases", Resource: "*"}); err != nil {
		return nil, err
	}
	after, err := decodeMarker(in.Marker)
	if err != nil {
		return nil, err
	}
	limit := pageSize(in.Limit, 50)
	request := caller.From(ctx)
	account, region := request.Principal.Account, request.Region
	only := ""
	if in.KeyId != nil {
		r := parseRef(*in.KeyId, region, account, false)
		k, err := s.find(ctx, request, r)
		if errors.Is(err, store.ErrNotFound) {
			return nil, keyNotFound(r.arn)
		}
		if err != nil {
			return nil, err
		}
		if k.Account != account {
			return nil, keyNotFound(r.arn)
		}
		only = k.ID
	}

	prefix := aliasPrefix(account, region)
	if after != "" {
		after = aliasPath(account, region, after)
	}
	out := &kms.ListAliasesOutput{}
	err = s.store.View(ctx, func(tx store.Tx) error {
		*out = kms.ListAliasesOutput{Aliases: []types.AliasListEntry{}}
		for row, err := range s.aliases.Scan(tx, prefix, after) {
			if err != nil {
				return err
			}
			a := row.Value
			if only != "" && a.KeyID != only {
				continue
			}
			if len(out.Aliases) == limit {
				out.Truncated = true
				out.NextMarker = encodeMarker(*out.Aliases[limit-1].AliasName)
				return nil
			}
			out.Aliases = append(out.Aliases, types.AliasListEntry{
				AliasName: aws.String(a.Name), AliasArn: aws.String(aliasARN(region, account, a.Name)), TargetKeyId: aws.String(a.KeyID),
				CreationDate: aws.Time(a.Created), LastUpdatedDate: aws.Time(a.Updated),
			})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// authorizeAliasName asks for the alias's half of the permission: the caller's own
// policies on the alias's ARN.
func (s *Service) authorizeAliasName(ctx context.Context, action, name string) error {
	request := caller.From(ctx)
	return s.authz.Authorize(ctx, &authz.Access{
		Action: action, Resource: aliasARN(request.Region, request.Principal.Account, name),
		Conditions: map[string][]string{"kms:RequestAlias": {name}},
	})
}

// authorizedTarget returns the key that an alias is to name, when the caller may do action
// with it and the pair makes sense.
func (s *Service) authorizedTarget(ctx context.Context, action, name, targetID string) (*key, error) {
	if err := checkAliasName(name); err != nil {
		return nil, err
	}
	if strings.HasPrefix(targetID, "alias/") || strings.HasPrefix(targetID, "arn:") && strings.Contains(targetID, ":alias/") {
		return nil, validation("Aliases must refer to keys. Not aliases")
	}
	k, err := s.authorizedKey(ctx, use{action: action, keyID: targetID})
	if err != nil {
		return nil, err
	}
	if k.Account != caller.From(ctx).Principal.Account {
		return nil, keyNotFound(k.arn())
	}
	return k, nil
}

// authorizedOldAlias returns the key that an alias names now, when the caller may do
// action with both.
func (s *Service) authorizedOldAlias(ctx context.Context, action, name string) (*key, error) {
	if err := s.authorizeAliasName(ctx, action, name); err != nil {
		return nil, err
	}
	if err := checkAliasPrefix(name); err != nil {
		return nil, err
	}
	request := caller.From(ctx)
	r := parseRef(name, request.Region, request.Principal.Account, true)
	k, err := s.find(ctx, request, r)
	if errors.Is(err, store.ErrNotFound) {
		return nil, aliasNotFound(r.arn)
	}
	if err != nil {
		return nil, err
	}
	return k, s.authorizeKey(ctx, use{action: action}, k, name)
}

// ownAlias returns the record of an alias that still names k.
func (s *Service) ownAlias(tx store.Tx, k *key, name string) (*alias, error) {
	a, err := s.aliases.Get(tx, aliasPath(k.Account, k.Region, name))
	if errors.Is(err, store.ErrNotFound) || err == nil && a.KeyID != k.ID {
		return nil, aliasNotFound(aliasARN(k.Region, k.Account, name))
	}
	return a, err
}

// dropAlias takes name off the record of k as tx has it, or is errRights.
func (s *Service) dropAlias(tx store.Tx, k *key, name string) error {
	now, err := s.keys.Get(tx, k.path())
	if err != nil {
		return fmt.Errorf("reading the key of %s: %w", name, err)
	}
	if !now.sameRights(k) {
		return errRights
	}
	changed := now.clone()
	changed.Aliases = slices.DeleteFunc(changed.Aliases, func(n string) bool { return n == name })
	return s.keys.Put(tx, changed.path(), changed)
}

func (k *key) addAlias(name string) error {
	if len(k.Aliases) >= maxAliases {
		return limitExceeded("The key %s already has %d aliases.", k.arn(), maxAliases)
	}
	k.Aliases = append(k.Aliases, name)
	slices.Sort(k.Aliases)
	return nil
}

func checkAliasPrefix(name string) error {
	if !strings.HasPrefix(name, "alias/") {
		return validation(`Alias must start with the prefix "alias/". Please see https://docs.aws.amazon.com/kms/latest/developerguide/kms-alias.html`)
	}
	return nil
}

func checkAliasName(name string) error {
	if err := checkAliasPrefix(name); err != nil {
		return err
	}
	switch {
	case strings.HasPrefix(name, "alias/aws/"):
		return notAuthorized()
	case strings.Contains(name, ":"), name == "alias/":
		return validation("%s contains invalid characters for an alias", name)
	}
	return nil
}
