package kms

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/malote/malote/store"
)

const (
	maxOnDemandRotations = 25               // of one key, ever
	rotationIsNear       = 20 * time.Minute // an automatic one: then none is made on demand
)

// RotateKeyOnDemand gives a key new material now: what was imported for that, or fresh. Old
// material stays and decrypts what it encrypted; the schedule stays as it is.
func (s *Service) RotateKeyOnDemand(ctx context.Context, in *kms.RotateKeyOnDemandInput) (*kms.RotateKeyOnDemandOutput, error) {
	u := use{action: "kms:RotateKeyOnDemand", keyID: *in.KeyId}
	k, err := s.authorizedKey(ctx, u)
	if err != nil {
		return nil, err
	}
	k, err = s.change(ctx, u, k, func(tx store.Tx, k *key) error {
		if !k.rotates() {
			return unsupported("")
		}
		if err := k.usable(); err != nil {
			return err
		}
		if k.isReplica() {
			return notPrimary(k.arn())
		}
		done := 0
		for _, m := range k.Materials {
			if m.Type == types.RotationTypeOnDemand {
				done++
			}
		}
		now := s.now()
		switch {
		case done >= maxOnDemandRotations:
			return limitExceeded("The on-demand rotations limit has been reached for the given keyId. No more on-demand rotations can be performed for this key: %s", k.arn())
		case k.Rotation != nil && k.Rotation.Next.Sub(now) <= rotationIsNear:
			return &types.ConflictException{Message: aws.String("An automatic rotation of " + k.arn() + " is in progress or scheduled to begin within the next 20 minutes.")}
		}
		if k.Origin == "" {
			k.addMaterial(now, types.RotationTypeOnDemand)
			return s.share(tx, k)
		}
		ready, err := s.pendingEverywhere(tx, k)
		if err != nil {
			return err
		}
		if !ready {
			return invalidState("No available key material pending rotation for the key: %s.", k.arn())
		}
		m := *k.Pending
		m.Created, m.Type = now, types.RotationTypeOnDemand
		k.Materials, k.Pending = append(k.Materials, m), nil
		return s.share(tx, k)
	})
	if err != nil {
		return nil, err
	}
	return &kms.RotateKeyOnDemandOutput{KeyId: aws.String(k.arn())}, nil
}

// ListKeyRotations lists the rotations of a key, oldest first, and with ALL_KEY_MATERIAL
// also its first material and what is to become current.
func (s *Service) ListKeyRotations(ctx context.Context, in *kms.ListKeyRotationsInput) (*kms.ListKeyRotationsOutput, error) {
	k, err := s.authorizedKey(ctx, use{action: "kms:ListKeyRotations", keyID: *in.KeyId})
	if err != nil {
		return nil, err
	}
	after, err := decodeMarker(in.Marker)
	if err != nil {
		return nil, err
	}
	if !k.rotates() {
		return nil, unsupported("")
	}
	pending := types.KeyMaterialStatePendingRotation
	if k.Pending != nil {
		err := s.store.View(ctx, func(tx store.Tx) error {
			primary, err := s.primaryOf(tx, k)
			if err != nil {
				return err
			}
			if ready, err := s.pendingEverywhere(tx, primary); err != nil || ready {
				return err
			}
			if primary.hasReplicas() {
				pending = types.KeyMaterialStatePendingMultiRegionImportAndRotation
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	var all []types.RotationsListEntry
	for i, m := range k.Materials {
		state := types.KeyMaterialStateNonCurrent
		if i == len(k.Materials)-1 {
			state = types.KeyMaterialStateCurrent
		}
		if m.Type != "" || in.IncludeKeyMaterial == types.IncludeKeyMaterialAllKeyMaterial {
			all = append(all, k.rotationEntry(m, state))
		}
	}
	if k.Pending != nil && in.IncludeKeyMaterial == types.IncludeKeyMaterialAllKeyMaterial {
		all = append(all, k.rotationEntry(*k.Pending, pending))
	}
	part, next := page(all, func(e types.RotationsListEntry) string { return *e.KeyMaterialId }, after, pageSize(in.Limit, 100))
	out := &kms.ListKeyRotationsOutput{Rotations: []types.RotationsListEntry{}, NextMarker: next, Truncated: next != nil}
	out.Rotations = append(out.Rotations, part...)
	return out, nil
}

func (k *key) rotationEntry(m material, state types.KeyMaterialState) types.RotationsListEntry {
	e := types.RotationsListEntry{KeyId: aws.String(k.arn()), KeyMaterialId: aws.String(m.ID), KeyMaterialState: state, RotationType: m.Type}
	if m.Type != "" {
		e.RotationDate = aws.Time(m.Created)
	}
	if k.Origin != types.OriginTypeExternal {
		return e
	}
	if m.Description != "" {
		e.KeyMaterialDescription = aws.String(m.Description)
	}
	if m.Key == nil {
		e.ImportState = types.ImportStatePendingImport
		return e
	}
	e.ImportState = types.ImportStateImported
	e.ExpirationModel, e.ValidTo = m.expiration()
	return e
}

// rotates reports whether keys of k's spec can have more material than one.
func (k *key) rotates() bool {
	return k.isSymmetric()
}

// schedulable is the rule of what changes the schedule of automatic rotation.
func (k *key) schedulable() error {
	if !k.rotates() {
		return unsupported("")
	}
	if k.Origin != "" {
		return badOrigin(k)
	}
	if err := k.usable(); err != nil {
		return err
	}
	if k.isReplica() {
		return notPrimary(k.arn())
	}
	return nil
}

// rotateDue rotates the set that k is of, unless its primary key may not be rotated now.
func (s *Service) rotateDue(ctx context.Context, k *key) (*key, error) {
	now := s.now()
	due := false
	err := s.store.View(ctx, func(tx store.Tx) error {
		primary, err := s.primaryOf(tx, k)
		if err == nil {
			due = primary.rotationDue(now)
		}
		return err
	})
	if err != nil || !due {
		return k, err
	}
	path := k.path()
	err = s.store.Update(ctx, func(tx store.Tx) error {
		own, err := s.keys.Get(tx, path)
		if err != nil {
			return err
		}
		primary, err := s.primaryOf(tx, own)
		if err != nil {
			return err
		}
		if primary = primary.clone(); primary.rotationDue(now) {
			primary.rotate(now)
			if err := s.keys.Put(tx, primary.path(), primary); err != nil {
				return err
			}
			if err := s.share(tx, primary); err != nil {
				return err
			}
		}
		k, err = s.keys.Get(tx, path)
		return err
	})
	return k, err
}
