package kms

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/malote/malote/authz"
	"github.com/malote/malote/caller"
	"github.com/malote/malote/service/attached"
	"github.com/malote/malote/store"
)

// ReplicateKey makes a key with the same id and material in another Region. Policy, tags,
// description, aliases and grants are its own. The caller needs kms:ReplicateKey on the
// primary, and kms:CreateKey in the other Region.
func (s *Service) ReplicateKey(ctx context.Context, in *kms.ReplicateKeyInput) (*kms.ReplicateKeyOutput, error) {
	request := caller.From(ctx)
	u := use{action: "kms:ReplicateKey", keyID: *in.KeyId, conditions: map[string][]string{"kms:ReplicaRegion": {aws.ToString(in.ReplicaRegion)}}}
	primary, err := s.authorizedKey(ctx, u)
	if err != nil {
		return nil, err
	}
	tags, tagsErr := addTags(nil, in.Tags)
	there := inRegion(ctx, *in.ReplicaRegion)
	replica := primary.clone()
	*replica = key{
		ID: primary.ID, Spec: primary.Spec, Usage: primary.Usage, Account: primary.Account, Region: *in.ReplicaRegion, Created: s.now(), Manager: primary.Manager,
		State: types.KeyStateEnabled, Description: aws.ToString(in.Description), Tags: tags, Origin: primary.Origin,
		MultiRegion: &multiRegion{Primary: primary.Region},
	}
	replica.compiled = sync.OnceValues(replica.compile)
	conditions := replica.keyConditions()
	conditions["kms:BypassPolicyLockoutSafetyCheck"] = boolCondition(in.BypassPolicyLockoutSafetyCheck)
	actions := []string{"kms:CreateKey"}
	if len(in.Tags) > 0 {
		actions = append(actions, "kms:TagResource")
	}
	for _, action := range actions {
		if err := s.authz.Authorize(there, &authz.Access{Action: action, Resource: "*", RequestTags: requestTags(in.Tags), Conditions: conditions}); err != nil {
			return nil, err
		}
	}
	switch {
	case primary.Account != request.Principal.Account:
		return nil, keyNotFound(primary.arn())
	case !isRegion(replica.Region):
		return nil, validation("ReplicaRegion %s is not a Region.", replica.Region)
	case tagsErr != nil:
		return nil, tagsErr
	}
	replica.Policy = attached.Policy{Text: defaultPolicy(replica.Account)}
	if in.Policy != nil {
		if replica.Policy, err = s.newPolicy(there, *in.Policy, replica, in.BypassPolicyLockoutSafetyCheck); err != nil {
			return nil, err
		}
	}

	// A replica whose deletion is due no longer stands in the way.
	if err := s.removeGone(ctx, replica.path()); err != nil {
		return nil, err
	}
	made := replica
	_, err = s.change(ctx, u, primary, func(tx store.Tx, k *key) error {
		if k.MultiRegion == nil || k.isReplica() {
			return notPrimary(k.arn())
		}
		if err := k.usable(); err != nil {
			return err
		}
		if slices.Contains(k.MultiRegion.Regions, replica.Region) {
			return &types.AlreadyExistsException{Message: aws.String(fmt.Sprintf("The key %s already exists in %s.", k.ID, replica.Region))}
		}
		made = replica.clone()
		if made.Origin != "" {
			made.ImportSecret = newImportSecret()
		}
		k.MultiRegion.Regions = append(k.MultiRegion.Regions, made.Region)
		slices.Sort(k.MultiRegion.Regions)
		if err := s.keys.Put(tx, made.path(), made); err != nil {
			return err
		}
		if err := s.share(tx, k); err != nil {
			return err
		}
		var err error
		made, err = s.keys.Get(tx, made.path())
		return err
	})
	if err != nil {
		return nil, err
	}
	// The key is there already; AWS shows it on its way, and clients wait.
	m := made.metadata()
	m.KeyState, m.Enabled, m.CurrentKeyMaterialId = types.KeyStateCreating, false, nil
	return &kms.ReplicateKeyOutput{ReplicaKeyMetadata: m, ReplicaPolicy: aws.String(made.Policy.Text), ReplicaTags: in.Tags}, nil
}

// UpdatePrimaryRegion makes a replica the primary key, and the primary a replica. The
// caller needs kms:UpdatePrimaryRegion on both.
func (s *Service) UpdatePrimaryRegion(ctx context.Context, in *kms.UpdatePrimaryRegionInput) (*kms.UpdatePrimaryRegionOutput, error) {
	if err := s.asOften(func() error { return s.updatePrimaryRegion(ctx, in) }); err != nil {
		return nil, err
	}
	return &kms.UpdatePrimaryRegionOutput{}, nil
}

func (s *Service) updatePrimaryRegion(ctx context.Context, in *kms.UpdatePrimaryRegionInput) error {
	u := use{action: "kms:UpdatePrimaryRegion", keyID: *in.KeyId, conditions: map[string][]string{"kms:PrimaryRegion": {aws.ToString(in.PrimaryRegion)}}}
	old, err := s.authorizedKey(ctx, u)
	if err != nil {
		return err
	}
	region := *in.PrimaryRegion
	switch {
	case old.Account != caller.From(ctx).Principal.Account:
		return keyNotFound(old.arn())
	case old.MultiRegion == nil || old.isReplica():
		return notPrimary(old.arn())
	case region == old.Region:
		return validation("The primary key is already in %s.", region)
	case !isRegion(region):
		return validation("PrimaryRegion %s is not a Region.", region)
	}
	r := u
	r.keyID = keyARN(region, old.Account, old.ID)
	replica, err := s.authorizedKey(inRegion(ctx, region), r)
	if err != nil {
		return err
	}
	_, err = s.change(ctx, u, old, func(tx store.Tx, k *key) error {
		if k.MultiRegion == nil || k.isReplica() {
			return notPrimary(k.arn())
		}
		now, err := s.keys.Get(tx, replica.path())
		if errors.Is(err, store.ErrNotFound) || err == nil && now.gone(s.now()) {
			return keyNotFound(replica.arn())
		}
		if err != nil {
			return err
		}
		if !now.sameRights(replica) {
			return errRights
		}
		for _, each := range []*key{k, now} {
			if err := each.usable(); err != nil {
				return err
			}
		}
		k.MultiRegion.Primary = region
		return s.share(tx, k)
	})
	return err
}

// inRegion is ctx of a call of the same caller's in another Region.
func inRegion(ctx context.Context, region string) context.Context {
	r := *caller.From(ctx)
	r.Region = region
	return caller.With(ctx, &r)
}
