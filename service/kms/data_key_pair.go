package kms

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// GenerateDataKeyPair returns a fresh asymmetric key pair, for use outside: the private key
// (PKCS #8, DER) in clear and sealed under a KMS key, and the public one
// (SubjectPublicKeyInfo, DER).
func (s *Service) GenerateDataKeyPair(ctx context.Context, in *kms.GenerateDataKeyPairInput) (*kms.GenerateDataKeyPairOutput, error) {
	pair, err := s.dataKeyPair(ctx, "GenerateDataKeyPair", in)
	if err != nil {
		return nil, err
	}
	return &kms.GenerateDataKeyPairOutput{
		KeyId: aws.String(pair.key.arn()), KeyMaterialId: aws.String(pair.key.current().ID), KeyPairSpec: in.KeyPairSpec,
		PrivateKeyPlaintext: pair.private, PrivateKeyCiphertextBlob: pair.sealed, PublicKey: pair.public,
	}, nil
}

// GenerateDataKeyPairWithoutPlaintext returns a fresh key pair, the private key sealed alone.
func (s *Service) GenerateDataKeyPairWithoutPlaintext(ctx context.Context, in *kms.GenerateDataKeyPairWithoutPlaintextInput) (*kms.GenerateDataKeyPairWithoutPlaintextOutput, error) {
	pair, err := s.dataKeyPair(ctx, "GenerateDataKeyPairWithoutPlaintext", &kms.GenerateDataKeyPairInput{
		KeyId: in.KeyId, KeyPairSpec: in.KeyPairSpec, EncryptionContext: in.EncryptionContext, GrantTokens: in.GrantTokens, DryRun: in.DryRun,
	})
	if err != nil {
		return nil, err
	}
	clear(pair.private)
	return &kms.GenerateDataKeyPairWithoutPlaintextOutput{
		KeyId: aws.String(pair.key.arn()), KeyMaterialId: aws.String(pair.key.current().ID), KeyPairSpec: in.KeyPairSpec,
		PrivateKeyCiphertextBlob: pair.sealed, PublicKey: pair.public,
	}, nil
}

// dataKeyPair is a pair that was made, and the KMS key that it is sealed under.
type dataKeyPair struct {
	key                     *key
	private, sealed, public []byte
}

func (s *Service) dataKeyPair(ctx context.Context, operation string, in *kms.GenerateDataKeyPairInput) (*dataKeyPair, error) {
	k, err := s.authorizedKey(ctx, use{
		action: "kms:" + operation, keyID: *in.KeyId, takesAlias: true,
		crypto: true, context: in.EncryptionContext, grantTokens: in.GrantTokens,
		conditions: map[string][]string{"kms:DataKeyPairSpec": {string(in.KeyPairSpec)}},
	})
	if err != nil {
		return nil, err
	}
	if in.Recipient != nil {
		return nil, unsupported("Recipient is not supported.")
	}
	if err := k.wraps(operation); err != nil {
		return nil, err
	}
	spec, ok := keySpecs[types.KeySpec(in.KeyPairSpec)]
	if !ok || spec.signing == nil {
		return nil, unsupported("KeyPairSpec %s is not supported.", in.KeyPairSpec)
	}
	if aws.ToBool(in.DryRun) {
		return nil, dryRun()
	}

	p, err := generate(types.KeySpec(in.KeyPairSpec))
	if err != nil {
		return nil, err
	}
	pair := &dataKeyPair{key: k}
	if pair.public, err = p.public(); err != nil {
		return nil, err
	}
	if pair.private, err = p.marshal(); err != nil {
		return nil, err
	}
	if pair.sealed, err = k.encrypt(pair.private, in.EncryptionContext); err != nil {
		clear(pair.private)
		return nil, err
	}
	s.used(ctx, k, types.KeyLastUsageTrackingOperation(operation))
	return pair, nil
}
