package kms

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/malote/malote/caller"
)

// ReEncrypt opens a ciphertext and seals it again under another key or context, without
// showing the plaintext. The caller needs both halves: kms:ReEncryptFrom on the source
// key, kms:ReEncryptTo on the destination.
func (s *Service) ReEncrypt(ctx context.Context, in *kms.ReEncryptInput) (*kms.ReEncryptOutput, error) {
	same := boolCondition(s.reEncryptsOnSameKey(ctx, in))
	source, h, err := s.sealedUnder(ctx, "kms:ReEncryptFrom", in.SourceKeyId, in.CiphertextBlob, use{
		context: in.SourceEncryptionContext, grantTokens: in.GrantTokens,
		conditions: map[string][]string{"kms:ReEncryptOnSameKey": same},
	})
	if err != nil {
		return nil, err
	}
	destination, err := s.authorizedKey(ctx, use{
		action: "kms:ReEncryptTo", keyID: *in.DestinationKeyId, takesAlias: true,
		crypto: true, context: in.DestinationEncryptionContext, grantTokens: in.GrantTokens,
		conditions: map[string][]string{"kms:ReEncryptOnSameKey": same},
	})
	if err != nil {
		return nil, err
	}
	if err := destination.usable(); err != nil {
		return nil, err
	}
	if len(in.DryRunModifiers) > 0 {
		return nil, unsupported("DryRunModifiers is not supported.")
	}
	if err := symmetric(in.SourceEncryptionAlgorithm); err != nil {
		return nil, err
	}
	if err := symmetric(in.DestinationEncryptionAlgorithm); err != nil {
		return nil, err
	}

	plaintext, materialID, err := source.decrypt(h, in.CiphertextBlob, in.SourceEncryptionContext)
	if err != nil {
		return nil, err
	}
	defer clear(plaintext)
	if aws.ToBool(in.DryRun) {
		return nil, dryRun()
	}
	blob, err := destination.encrypt(plaintext, in.DestinationEncryptionContext)
	if err != nil {
		return nil, err
	}
	return &kms.ReEncryptOutput{
		CiphertextBlob:                 blob,
		SourceKeyId:                    aws.String(source.arn()),
		KeyId:                          aws.String(destination.arn()),
		SourceEncryptionAlgorithm:      types.EncryptionAlgorithmSpecSymmetricDefault,
		DestinationEncryptionAlgorithm: types.EncryptionAlgorithmSpecSymmetricDefault,
		SourceKeyMaterialId:            aws.String(materialID),
		DestinationKeyMaterialId:       aws.String(destination.current().ID),
	}, nil
}

// reEncryptsOnSameKey is asked before either key is authorized, so its failure to find
// one is no answer: the authorization that follows gives that.
func (s *Service) reEncryptsOnSameKey(ctx context.Context, in *kms.ReEncryptInput) bool {
	request := caller.From(ctx)
	h, ok := parseHeader(in.CiphertextBlob)
	if !ok {
		return false
	}
	r := parseRef(*in.DestinationKeyId, request.Region, request.Principal.Account, true)
	k, err := s.find(ctx, request, r)
	return err == nil && k.ID == h.keyID && k.Account == h.account
}
