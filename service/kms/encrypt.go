package kms

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/malote/malote/caller"
)

// Encrypt seals up to 4096 bytes under a key and an encryption context; or, under the
// public half of an RSA key, as many bytes as fit (RSAES-OAEP, RFC 8017), without one.
func (s *Service) Encrypt(ctx context.Context, in *kms.EncryptInput) (*kms.EncryptOutput, error) {
	k, err := s.authorizedKey(ctx, use{
		action: "kms:Encrypt", keyID: *in.KeyId, takesAlias: true,
		crypto: true, context: in.EncryptionContext, grantTokens: in.GrantTokens,
		conditions: algorithmCondition(in.EncryptionAlgorithm),
	})
	if err != nil {
		return nil, err
	}
	if err := k.usableFor(types.KeyUsageTypeEncryptDecrypt, "Encrypt"); err != nil {
		return nil, err
	}
	algorithm, err := k.encryption(in.EncryptionAlgorithm, in.EncryptionContext)
	if err != nil {
		return nil, err
	}
	blob, err := k.seal(algorithm, in.Plaintext, in.EncryptionContext)
	if err != nil {
		return nil, err
	}
	if aws.ToBool(in.DryRun) {
		return nil, dryRun()
	}
	s.used(ctx, k, types.KeyLastUsageTrackingOperationEncrypt)
	return &kms.EncryptOutput{
		CiphertextBlob:      blob,
		KeyId:               aws.String(k.arn()),
		EncryptionAlgorithm: algorithm,
	}, nil
}

// Decrypt opens what Encrypt, ReEncrypt or GenerateDataKey sealed. The ciphertext names
// its key; KeyId, when given, must name the same. A ciphertext of RSA names none, so there
// KeyId is needed.
func (s *Service) Decrypt(ctx context.Context, in *kms.DecryptInput) (*kms.DecryptOutput, error) {
	k, h, err := s.sealedUnder(ctx, "kms:Decrypt", in.KeyId, in.CiphertextBlob, use{
		context: in.EncryptionContext, grantTokens: in.GrantTokens,
		conditions: algorithmCondition(in.EncryptionAlgorithm),
	})
	if err != nil {
		return nil, err
	}
	if in.Recipient != nil {
		return nil, unsupported("Recipient is not supported.")
	}
	if len(in.DryRunModifiers) > 0 {
		return nil, unsupported("DryRunModifiers is not supported.")
	}
	algorithm, err := k.encryption(in.EncryptionAlgorithm, in.EncryptionContext)
	if err != nil {
		return nil, err
	}
	plaintext, materialID, err := k.open(h, algorithm, in.CiphertextBlob, in.EncryptionContext)
	if err != nil {
		return nil, err
	}
	if aws.ToBool(in.DryRun) {
		clear(plaintext)
		return nil, dryRun()
	}
	s.used(ctx, k, types.KeyLastUsageTrackingOperationDecrypt)
	return &kms.DecryptOutput{
		Plaintext:           plaintext,
		KeyId:               aws.String(k.arn()),
		KeyMaterialId:       materialID,
		EncryptionAlgorithm: algorithm,
	}, nil
}

// sealedUnder returns the usable key that blob was sealed under, when the caller may do
// action with it.
func (s *Service) sealedUnder(ctx context.Context, action string, keyID *string, blob []byte, u use) (*key, header, error) {
	request := caller.From(ctx)
	u.action, u.crypto, u.takesAlias = action, true, true
	h, ok := parseHeader(blob)
	if keyID != nil {
		u.keyID = *keyID
		k, err := s.authorizedKey(ctx, u)
		if err != nil {
			return nil, h, err
		}
		if err := k.usable(); err != nil {
			return nil, h, err
		}
		if k.usage() != types.KeyUsageTypeEncryptDecrypt {
			return nil, h, incorrectKey()
		}
		if !k.isSymmetric() {
			return k, h, nil
		}
		if !ok {
			return nil, h, invalidCiphertext()
		}
		if k.ID != h.keyID || k.Account != h.account {
			return nil, h, incorrectKey()
		}
		return k, h, nil
	}

	if !ok {
		// There is no key to ask about, and nothing to learn from the answer.
		return nil, h, invalidCiphertext()
	}
	u.keyID = keyARN(request.Region, h.account, h.keyID)
	k, err := s.authorizedKey(ctx, u)
	switch {
	case err == nil:
		return k, h, k.usable()
	case isRefusal(err):
		return nil, h, ciphertextDenied()
	}
	return nil, h, err
}
