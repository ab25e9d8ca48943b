package kms

import (
	"context"
	"maps"

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
		conditions: reEncryptConditions(same, in.SourceEncryptionAlgorithm),
	})
	if err != nil {
		return nil, err
	}
	destination, err := s.authorizedKey(ctx, use{
		action: "kms:ReEncryptTo", keyID: *in.DestinationKeyId, takesAlias: true,
		crypto: true, context: in.DestinationEncryptionContext, grantTokens: in.GrantTokens,
		conditions: reEncryptConditions(same, in.DestinationEncryptionAlgorithm),
	})
	if err != nil {
		return nil, err
	}
	if err := destination.usableFor(types.KeyUsageTypeEncryptDecrypt, "ReEncrypt"); err != nil {
		return nil, err
	}
	if len(in.DryRunModifiers) > 0 {
		return nil, unsupported("DryRunModifiers is not supported.")
	}
	from, err := source.encryption(in.SourceEncryptionAlgorithm, in.SourceEncryptionContext)
	if err != nil {
		return nil, err
	}
	to, err := destination.encryption(in.DestinationEncryptionAlgorithm, in.DestinationEncryptionContext)
	if err != nil {
		return nil, err
	}
	plaintext, materialID, err := source.open(h, from, in.CiphertextBlob, in.SourceEncryptionContext)
	if err != nil {
		return nil, err
	}
	defer clear(plaintext)
	blob, err := destination.seal(to, plaintext, in.DestinationEncryptionContext)
	if err != nil {
		return nil, err
	}
	if aws.ToBool(in.DryRun) {
		return nil, dryRun()
	}
	s.used(ctx, source, types.KeyLastUsageTrackingOperationReEncrypt)
	s.used(ctx, destination, types.KeyLastUsageTrackingOperationReEncrypt)
	out := &kms.ReEncryptOutput{
		CiphertextBlob:                 blob,
		SourceKeyId:                    aws.String(source.arn()),
		KeyId:                          aws.String(destination.arn()),
		SourceEncryptionAlgorithm:      from,
		DestinationEncryptionAlgorithm: to,
		SourceKeyMaterialId:            materialID,
	}
	if destination.isSymmetric() {
		out.DestinationKeyMaterialId = aws.String(destination.current().ID)
	}
	return out, nil
}

func reEncryptConditions(same []string, algorithm types.EncryptionAlgorithmSpec) map[string][]string {
	conditions := map[string][]string{"kms:ReEncryptOnSameKey": same}
	maps.Copy(conditions, algorithmCondition(algorithm))
	return conditions
}

// reEncryptsOnSameKey is asked before either key is authorized, so its failure to find
// one is no answer: the authorization that follows gives that.
func (s *Service) reEncryptsOnSameKey(ctx context.Context, in *kms.ReEncryptInput) bool {
	request := caller.From(ctx)
	k, err := s.find(ctx, request, parseRef(*in.DestinationKeyId, request.Region, request.Principal.Account, true))
	if err != nil {
		return false
	}
	if in.SourceKeyId != nil { // which of RSA alone names the key
		source, err := s.find(ctx, request, parseRef(*in.SourceKeyId, request.Region, request.Principal.Account, true))
		return err == nil && k.ID == source.ID && k.Account == source.Account
	}
	h, ok := parseHeader(in.CiphertextBlob)
	return ok && k.ID == h.keyID && k.Account == h.account
}
