package kms

import (
	"context"
	"crypto/rand"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/malote/malote/authz"
)

// GenerateDataKey returns a fresh key, in clear and sealed under a KMS key.
func (s *Service) GenerateDataKey(ctx context.Context, in *kms.GenerateDataKeyInput) (*kms.GenerateDataKeyOutput, error) {
	k, plaintext, blob, err := s.dataKey(ctx, "GenerateDataKey", in)
	if err != nil {
		return nil, err
	}
	return &kms.GenerateDataKeyOutput{
		Plaintext:      plaintext,
		CiphertextBlob: blob,
		KeyId:          aws.String(k.arn()),
		KeyMaterialId:  aws.String(k.current().ID),
	}, nil
}

// GenerateDataKeyWithoutPlaintext returns a fresh key, sealed alone: for those who will
// need it later.
func (s *Service) GenerateDataKeyWithoutPlaintext(ctx context.Context, in *kms.GenerateDataKeyWithoutPlaintextInput) (*kms.GenerateDataKeyWithoutPlaintextOutput, error) {
	k, plaintext, blob, err := s.dataKey(ctx, "GenerateDataKeyWithoutPlaintext", &kms.GenerateDataKeyInput{
		KeyId: in.KeyId, KeySpec: in.KeySpec, NumberOfBytes: in.NumberOfBytes,
		EncryptionContext: in.EncryptionContext, GrantTokens: in.GrantTokens, DryRun: in.DryRun,
	})
	if err != nil {
		return nil, err
	}
	clear(plaintext)
	return &kms.GenerateDataKeyWithoutPlaintextOutput{
		CiphertextBlob: blob,
		KeyId:          aws.String(k.arn()),
		KeyMaterialId:  aws.String(k.current().ID),
	}, nil
}

func (s *Service) dataKey(ctx context.Context, operation string, in *kms.GenerateDataKeyInput) (k *key, plaintext, blob []byte, err error) {
	k, err = s.authorizedKey(ctx, use{
		action: "kms:" + operation, keyID: *in.KeyId, takesAlias: true,
		crypto: true, context: in.EncryptionContext, grantTokens: in.GrantTokens,
	})
	if err != nil {
		return nil, nil, nil, err
	}
	if (in.KeySpec == "") == (in.NumberOfBytes == nil) {
		return nil, nil, nil, validation("Please specify either number of bytes or key spec.")
	}
	if in.Recipient != nil {
		return nil, nil, nil, unsupported("Recipient is not supported.")
	}
	if err := k.wraps(operation); err != nil {
		return nil, nil, nil, err
	}
	if aws.ToBool(in.DryRun) {
		return nil, nil, nil, dryRun()
	}

	size := 32
	switch {
	case in.NumberOfBytes != nil:
		size = int(*in.NumberOfBytes)
	case in.KeySpec == types.DataKeySpecAes128:
		size = 16
	}
	plaintext = make([]byte, size)
	rand.Read(plaintext)
	if blob, err = k.encrypt(plaintext, in.EncryptionContext); err != nil {
		return nil, nil, nil, err
	}
	s.used(ctx, k, types.KeyLastUsageTrackingOperation(operation))
	return k, plaintext, blob, nil
}

// wraps is the rule of operations that make keys sealed under k.
func (k *key) wraps(operation string) error {
	if err := k.usableFor(types.KeyUsageTypeEncryptDecrypt, operation); err != nil {
		return err
	}
	return compatible(k, keySpecs[k.spec()].encryption, types.EncryptionAlgorithmSpecSymmetricDefault)
}

// GenerateRandom returns random bytes. It uses no key.
func (s *Service) GenerateRandom(ctx context.Context, in *kms.GenerateRandomInput) (*kms.GenerateRandomOutput, error) {
	if err := s.authz.Authorize(ctx, &authz.Access{Action: "kms:GenerateRandom", Resource: "*"}); err != nil {
		return nil, err
	}
	switch {
	case in.NumberOfBytes == nil:
		return nil, validation("NumberOfBytes is required.")
	case in.CustomKeyStoreId != nil:
		return nil, noKeyStore(*in.CustomKeyStoreId)
	case in.Recipient != nil:
		return nil, unsupported("Recipient is not supported.")
	}
	random := make([]byte, *in.NumberOfBytes)
	rand.Read(random)
	return &kms.GenerateRandomOutput{Plaintext: random}, nil
}
