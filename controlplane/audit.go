package controlplane

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"

	awskms "github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/smithy-go"

	"github.com/malote/malote/audit"
	"github.com/malote/malote/service/kms"
	"github.com/malote/malote/store"
)

// Where the key is that signs the audit's checkpoints, sealed by the keyring like every
// value: its seed, and the public key, which it would take a millisecond of every start to
// derive.
const (
	auditSeedKey   = "audit/key"
	auditPublicKey = "audit/public-key"
)

// auditKey is the key that signs the audit's checkpoints, drawn at the first start. Control
// planes on one store share it, and each has a log of its own.
func auditKey(ctx context.Context, ring store.Store) (ed25519.PrivateKey, error) {
	var key ed25519.PrivateKey
	err := ring.Update(ctx, func(tx store.Tx) error {
		seed, err := tx.Get(auditSeedKey)
		if errors.Is(err, store.ErrNotFound) {
			seed = make([]byte, ed25519.SeedSize)
			_, _ = rand.Read(seed) // never fails: it ends the program instead
			if err := tx.Put(auditSeedKey, seed); err != nil {
				return err
			}
			err = tx.Delete(auditPublicKey) // one that is there is another seed's
		}
		if err != nil {
			return err
		}
		if len(seed) != ed25519.SeedSize {
			return fmt.Errorf("its seed has %d bytes", len(seed))
		}
		public, err := tx.Get(auditPublicKey)
		if errors.Is(err, store.ErrNotFound) {
			key = ed25519.NewKeyFromSeed(seed)
			return tx.Put(auditPublicKey, key[ed25519.SeedSize:])
		}
		if err != nil {
			return err
		}
		if len(public) != ed25519.PublicKeySize {
			return fmt.Errorf("its public key has %d bytes", len(public))
		}
		key = slices.Concat(seed, public) // the form of a private key
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("the audit's key: %w", err)
	}
	return key, nil
}

// auditedKeys is KMS for other services. What fails there after it was allowed is in the
// record of the call.
type auditedKeys struct{ *kms.Service }

func (k auditedKeys) GenerateDataKey(ctx context.Context, in *awskms.GenerateDataKeyInput) (*awskms.GenerateDataKeyOutput, error) {
	out, err := k.Service.GenerateDataKey(ctx, in)
	return out, audited(ctx, err)
}

func (k auditedKeys) Decrypt(ctx context.Context, in *awskms.DecryptInput) (*awskms.DecryptOutput, error) {
	out, err := k.Service.Decrypt(ctx, in)
	return out, audited(ctx, err)
}

func (k auditedKeys) Encrypt(ctx context.Context, in *awskms.EncryptInput) (*awskms.EncryptOutput, error) {
	out, err := k.Service.Encrypt(ctx, in)
	return out, audited(ctx, err)
}

func audited(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if api := smithy.APIError(nil); errors.As(err, &api) {
		audit.Failed(ctx, api.ErrorCode(), api.ErrorMessage())
	} else {
		audit.Failed(ctx, "KMSInternalException", "")
	}
	return err
}
