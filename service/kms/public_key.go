package kms

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// GetPublicKey returns the public half of an asymmetric key, for use outside.
func (s *Service) GetPublicKey(ctx context.Context, in *kms.GetPublicKeyInput) (*kms.GetPublicKeyOutput, error) {
	k, err := s.authorizedKey(ctx, use{action: "kms:GetPublicKey", keyID: *in.KeyId, takesAlias: true, grantTokens: in.GrantTokens})
	if err != nil {
		return nil, err
	}
	if k.isSymmetric() || k.isMAC() {
		return nil, unsupported("%s key spec is %s which is not valid for GetPublicKey.", k.arn(), k.spec())
	}
	if err := k.usable(); err != nil {
		return nil, err
	}
	p, err := k.private()
	if err != nil {
		return nil, err
	}
	public, err := p.public()
	if err != nil {
		return nil, err
	}
	m := k.metadata()
	return &kms.GetPublicKeyOutput{
		KeyId: aws.String(k.arn()), PublicKey: public,
		KeySpec: m.KeySpec, CustomerMasterKeySpec: m.CustomerMasterKeySpec, KeyUsage: m.KeyUsage,
		EncryptionAlgorithms: m.EncryptionAlgorithms, SigningAlgorithms: m.SigningAlgorithms, KeyAgreementAlgorithms: m.KeyAgreementAlgorithms,
	}, nil
}

// DeriveSharedSecret returns the raw shared secret of ECDH with another's public key on the
// same curve, a SubjectPublicKeyInfo in DER: what to derive keys from, not a key.
func (s *Service) DeriveSharedSecret(ctx context.Context, in *kms.DeriveSharedSecretInput) (*kms.DeriveSharedSecretOutput, error) {
	k, err := s.authorizedKey(ctx, use{
		action: "kms:DeriveSharedSecret", keyID: *in.KeyId, takesAlias: true, grantTokens: in.GrantTokens,
		conditions: map[string][]string{"kms:KeyAgreementAlgorithm": {string(in.KeyAgreementAlgorithm)}},
	})
	if err != nil {
		return nil, err
	}
	if in.Recipient != nil {
		return nil, unsupported("Recipient is not supported.")
	}
	if err := k.usableFor(types.KeyUsageTypeKeyAgreement, "DeriveSharedSecret"); err != nil {
		return nil, err
	}
	if err := compatible(k, keySpecs[k.spec()].agreement, in.KeyAgreementAlgorithm); err != nil {
		return nil, err
	}
	p, err := k.private()
	if err != nil {
		return nil, err
	}
	secret, ok := p.agree(in.PublicKey)
	if !ok {
		return nil, validation("") // as on AWS
	}
	if aws.ToBool(in.DryRun) {
		clear(secret)
		return nil, dryRun()
	}
	s.used(ctx, k, types.KeyLastUsageTrackingOperationDeriveSharedSecret)
	return &kms.DeriveSharedSecretOutput{
		KeyId: aws.String(k.arn()), SharedSecret: secret, KeyAgreementAlgorithm: in.KeyAgreementAlgorithm, KeyOrigin: k.origin(),
	}, nil
}
