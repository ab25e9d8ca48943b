package kms

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/malote/malote/internal/xaes"
	"github.com/malote/malote/store"
)

func (k *key) origin() types.OriginType {
	if k.Origin == "" {
		return types.OriginTypeAwsKms
	}
	return k.Origin
}

// makeExternal turns a new key into one that waits for material from outside.
func (k *key) makeExternal() {
	k.Origin, k.State = types.OriginTypeExternal, types.KeyStatePendingImport
	k.Materials, k.ImportSecret = nil, newImportSecret()
}

func newImportSecret() []byte {
	secret := make([]byte, xaes.KeySize)
	rand.Read(secret)
	return secret
}

// describeMaterial adds to m what there is to say of the key's current material.
func (k *key) describeMaterial(m *types.KeyMetadata) {
	if len(k.Materials) == 0 {
		return
	}
	current := k.current()
	if m.KeySpec == types.KeySpecSymmetricDefault {
		m.CurrentKeyMaterialId = aws.String(current.ID)
	}
	if k.Origin == types.OriginTypeExternal && current.Key != nil {
		m.ExpirationModel, m.ValidTo = current.expiration()
	}
}

func (m *material) expiration() (types.ExpirationModelType, *time.Time) {
	if m.ValidTo.IsZero() {
		return types.ExpirationModelTypeKeyMaterialDoesNotExpire, nil
	}
	return types.ExpirationModelTypeKeyMaterialExpires, aws.Time(m.ValidTo)
}

// settleImport sets the state that follows from whether all of an imported key's material
// is there. A key pending deletion stays that.
func (k *key) settleImport() {
	if k.Origin != types.OriginTypeExternal || k.notPending() != nil {
		return
	}
	complete := len(k.Materials) > 0
	for _, m := range k.Materials {
		complete = complete && m.Key != nil
	}
	switch {
	case !complete:
		k.State = types.KeyStatePendingImport
	case k.State == types.KeyStatePendingImport:
		k.State = types.KeyStateEnabled
	}
}

// eachImported calls fn for every material of k that is imported or was.
func (k *key) eachImported(fn func(m *material)) {
	if k.Origin != types.OriginTypeExternal {
		return
	}
	for i := range k.Materials {
		fn(&k.Materials[i])
	}
	if k.Pending != nil {
		fn(k.Pending)
	}
}

// withdraw leaves of m what it takes to recognize it again.
func (m *material) withdraw() { m.Key, m.ValidTo = nil, time.Time{} }

// pendingEverywhere reports whether k, a primary key, and its replicas have the material
// that is to become current.
func (s *Service) pendingEverywhere(tx store.Tx, k *key) (bool, error) {
	others, err := s.related(tx, k)
	if err != nil {
		return false, err
	}
	for _, each := range append(others, k) {
		if each.Pending == nil || each.Pending.Key == nil {
			return false, nil
		}
	}
	return true, nil
}

const expiryPrefix = "kms/expiry/"

// expiryPath is the entry that leads expireDue to the key.
func (k *key) expiryPath() string {
	return expiryPrefix + fmt.Sprintf("%020d", k.Expires.UnixMilli()) + "/" + k.Account + "/" + k.Region + "/" + k.ID
}

// indexExpiry brings Expires and its entry up to date.
func (s *Service) indexExpiry(tx store.Tx, k *key) error {
	var first time.Time
	k.eachImported(func(m *material) {
		if !m.ValidTo.IsZero() && (first.IsZero() || m.ValidTo.Before(first)) {
			first = m.ValidTo
		}
	})
	if first.Equal(k.Expires) {
		return nil
	}
	if !k.Expires.IsZero() {
		if err := tx.Delete(k.expiryPath()); err != nil {
			return err
		}
	}
	if k.Expires = first; first.IsZero() {
		return nil
	}
	return tx.Put(k.expiryPath(), []byte{1})
}

func (k *key) expired(now time.Time) bool { return !k.Expires.IsZero() && !k.Expires.After(now) }

// expire takes away the material of k whose time is over.
func (s *Service) expire(tx store.Tx, k *key) error {
	now := s.now()
	k.eachImported(func(m *material) {
		if !m.ValidTo.IsZero() && !m.ValidTo.After(now) {
			m.withdraw()
		}
	})
	k.settleImport()
	return s.indexExpiry(tx, k)
}

// expireDue takes away the material that nobody asked for since it expired.
func (s *Service) expireDue(ctx context.Context) error {
	paths, err := s.due(ctx, expiryPrefix)
	if err != nil {
		return fmt.Errorf("looking for material to expire: %w", err)
	}
	var errs []error
	for _, path := range paths {
		err := s.store.Update(ctx, func(tx store.Tx) error {
			k, err := s.keys.Get(tx, path)
			if errors.Is(err, store.ErrNotFound) {
				return nil
			}
			if err != nil || !k.expired(s.now()) {
				return err
			}
			changed := k.clone()
			if err := s.expire(tx, changed); err != nil {
				return err
			}
			return s.keys.Put(tx, path, changed)
		})
		if err != nil {
			errs = append(errs, fmt.Errorf("expiring material: %w", err))
		}
	}
	return errors.Join(errs...)
}
