package kms

import (
	"context"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/malote/malote/internal/xaes"
	"github.com/malote/malote/store"
)

const maxMaterialLife = 365 * 24 * time.Hour

// ImportKeyMaterial gives a key material from outside: its first, the same again after it
// was deleted or to change when it expires, or new material that RotateKeyOnDemand makes
// the current one.
func (s *Service) ImportKeyMaterial(ctx context.Context, in *kms.ImportKeyMaterialInput) (*kms.ImportKeyMaterialOutput, error) {
	model := in.ExpirationModel
	if model == "" {
		model = types.ExpirationModelTypeKeyMaterialExpires
	}
	u := use{action: "kms:ImportKeyMaterial", keyID: *in.KeyId, conditions: map[string][]string{"kms:ExpirationModel": {string(model)}}}
	if in.ValidTo != nil {
		u.conditions["kms:ValidTo"] = []string{strconv.FormatInt(in.ValidTo.Unix(), 10)}
	}
	k, err := s.authorizedKey(ctx, u)
	if err != nil {
		return nil, err
	}
	if err := k.importable(); err != nil {
		return nil, err
	}
	now := s.now()
	m := material{Created: now}
	switch expires := model == types.ExpirationModelTypeKeyMaterialExpires; {
	case expires && in.ValidTo == nil:
		return nil, validation("A validTo date must be set if the ExpirationModel is KEY_MATERIAL_EXPIRES")
	case !expires && in.ValidTo != nil:
		return nil, validation("A validTo date must not be set if the ExpirationModel is KEY_MATERIAL_DOES_NOT_EXPIRE")
	case expires && !in.ValidTo.After(now):
		return nil, validation("The validTo date must be in the future.")
	case expires && in.ValidTo.Sub(now) > maxMaterialLife:
		return nil, validation("The validTo date must be within 365 days of the request.")
	case expires:
		m.ValidTo = *in.ValidTo
	}
	if !k.rotates() && (in.ImportType == types.ImportTypeNewKeyMaterial && len(k.Materials) > 0 || in.KeyMaterialId != nil || in.KeyMaterialDescription != nil) {
		return nil, validation("ImportType NEW_KEY_MATERIAL after the first import, KeyMaterialId and KeyMaterialDescription are valid only for symmetric encryption keys.")
	}
	if in.KeyMaterialId != nil && in.ImportType == types.ImportTypeNewKeyMaterial {
		return nil, validation("You cannot specify a KeyMaterialId if the ImportType is NEW_KEY_MATERIAL.")
	}
	token, err := k.openImportToken(in.ImportToken, now)
	if err != nil {
		return nil, err
	}
	if m.Key, err = token.unwrap(in.EncryptedKeyMaterial); err != nil {
		return nil, err
	}
	if m.Key, err = k.checkMaterial(m.Key); err != nil {
		return nil, err
	}
	if m.ID = k.materialID(m.Key); in.KeyMaterialId != nil && *in.KeyMaterialId != m.ID {
		return nil, incorrectMaterial("The key material in the request is not that of the KeyMaterialId.")
	}

	_, err = s.change(ctx, u, k, func(tx store.Tx, k *key) error {
		if err := k.importable(); err != nil {
			return err
		}
		if err := k.take(m, in); err != nil {
			return err
		}
		k.settleImport()
		if err := s.indexExpiry(tx, k); err != nil {
			return err
		}
		if k.isReplica() {
			return nil
		}
		return s.share(tx, k)
	})
	if err != nil {
		return nil, err
	}
	return &kms.ImportKeyMaterialOutput{KeyId: aws.String(k.arn()), KeyMaterialId: aws.String(m.ID)}, nil
}

// take puts m where it belongs among k's material.
func (k *key) take(m material, in *kms.ImportKeyMaterialInput) error {
	known := false
	k.eachImported(func(old *material) {
		if old.ID != m.ID {
			return
		}
		known = true
		old.Key, old.ValidTo = m.Key, m.ValidTo
		if in.KeyMaterialDescription != nil {
			old.Description = *in.KeyMaterialDescription
		}
	})
	m.Description = aws.ToString(in.KeyMaterialDescription)
	kind := in.ImportType
	if kind == "" {
		kind = types.ImportTypeExistingKeyMaterial
		if len(k.Materials) == 0 && !k.isReplica() {
			kind = types.ImportTypeNewKeyMaterial
		}
	}
	switch {
	case kind == types.ImportTypeNewKeyMaterial && k.isReplica():
		return notPrimary(k.arn())
	case known && kind == types.ImportTypeNewKeyMaterial && (k.Pending == nil || k.Pending.ID != m.ID):
		return incorrectMaterial("The key material in the request is already associated with " + k.arn() + ".")
	case known:
		return nil
	case kind == types.ImportTypeExistingKeyMaterial:
		return incorrectMaterial("The key material in the request is not the key material that was previously imported into " + k.arn() + ".")
	case len(k.Materials) == 0:
		k.Materials = []material{m}
		return nil
	case k.State == types.KeyStatePendingImport:
		return pendingImport(k.arn())
	case k.Pending != nil && k.Pending.Key != nil:
		return invalidState("New key material (id: %s) cannot be imported into KMS key %s, because another key material (id: %s) is pending rotation.", m.ID, k.arn(), k.Pending.ID)
	}
	k.Pending = &m
	return nil
}

// checkMaterial refuses bytes that are no material for a key of k's spec.
// It returns the bytes to keep: of an asymmetric key the same for the same private key,
// however it was encoded.
func (k *key) checkMaterial(bytes []byte) ([]byte, error) {
	size := keySpecs[k.Spec].bytes
	if k.isSymmetric() {
		size = xaes.KeySize
	}
	switch {
	case size == 0:
		p, err := parsePrivate(k.Spec, bytes)
		if err != nil {
			return nil, incorrectMaterial("The key material in the request is not a private key of key spec " + string(k.Spec) + " in PKCS #8 DER.")
		}
		defer clear(bytes)
		return p.marshal()
	case len(bytes) != size:
		return nil, incorrectMaterial("The key material in the request is not " + strconv.Itoa(size) + " bytes long.")
	}
	return bytes, nil
}

func incorrectMaterial(message string) error {
	return &types.IncorrectKeyMaterialException{Message: aws.String(message)}
}

// DeleteImportedKeyMaterial takes material away: the current, or that of an id. The key is
// of no use until the same was imported again. What was to become current is forgotten.
func (s *Service) DeleteImportedKeyMaterial(ctx context.Context, in *kms.DeleteImportedKeyMaterialInput) (*kms.DeleteImportedKeyMaterialOutput, error) {
	u := use{action: "kms:DeleteImportedKeyMaterial", keyID: *in.KeyId}
	k, err := s.authorizedKey(ctx, u)
	if err != nil {
		return nil, err
	}
	if k.Origin != types.OriginTypeExternal {
		return nil, badOrigin(k)
	}
	id := aws.ToString(in.KeyMaterialId)
	k, err = s.change(ctx, u, k, func(tx store.Tx, k *key) error {
		if id = aws.ToString(in.KeyMaterialId); id == "" && len(k.Materials) > 0 {
			id = k.current().ID
		}
		found := id == ""
		k.eachImported(func(m *material) {
			if m.ID == id {
				found = true
				m.withdraw()
			}
		})
		if !found {
			return notFound("Key material %s is not associated with %s.", id, k.arn())
		}
		pending := k.Pending != nil && k.Pending.ID == id
		if pending && !k.isReplica() {
			k.Pending = nil
		}
		k.settleImport()
		if err := s.indexExpiry(tx, k); err != nil {
			return err
		}
		if pending && !k.isReplica() {
			return s.share(tx, k)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	out := &kms.DeleteImportedKeyMaterialOutput{KeyId: aws.String(k.arn())}
	if id != "" {
		out.KeyMaterialId = aws.String(id)
	}
	return out, nil
}
