package kms

import (
	"context"
	"crypto/hmac"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// GenerateMac returns the HMAC (RFC 2104) of a message of up to 4096 bytes.
func (s *Service) GenerateMac(ctx context.Context, in *kms.GenerateMacInput) (*kms.GenerateMacOutput, error) {
	k, mac, err := s.mac(ctx, "GenerateMac", in.KeyId, in.MacAlgorithm, in.Message, in.GrantTokens)
	if err != nil {
		return nil, err
	}
	if aws.ToBool(in.DryRun) {
		return nil, dryRun()
	}
	s.used(ctx, k, types.KeyLastUsageTrackingOperationGenerateMac)
	return &kms.GenerateMacOutput{KeyId: aws.String(k.arn()), Mac: mac, MacAlgorithm: in.MacAlgorithm}, nil
}

// VerifyMac checks a MAC. One that is not valid is KMSInvalidMacException, never an answer.
func (s *Service) VerifyMac(ctx context.Context, in *kms.VerifyMacInput) (*kms.VerifyMacOutput, error) {
	k, mac, err := s.mac(ctx, "VerifyMac", in.KeyId, in.MacAlgorithm, in.Message, in.GrantTokens)
	if err != nil {
		return nil, err
	}
	if !hmac.Equal(mac, in.Mac) {
		return nil, &types.KMSInvalidMacException{Message: aws.String("")}
	}
	if aws.ToBool(in.DryRun) {
		return nil, dryRun()
	}
	s.used(ctx, k, types.KeyLastUsageTrackingOperationVerifyMac)
	return &kms.VerifyMacOutput{KeyId: aws.String(k.arn()), MacAlgorithm: in.MacAlgorithm, MacValid: true}, nil
}

// mac returns the key of a request and the MAC that message has under it.
func (s *Service) mac(ctx context.Context, operation string, keyID *string, algorithm types.MacAlgorithmSpec, message []byte, grantTokens []string) (*key, []byte, error) {
	k, err := s.authorizedKey(ctx, use{
		action: "kms:" + operation, keyID: *keyID, takesAlias: true, grantTokens: grantTokens,
		conditions: map[string][]string{"kms:MacAlgorithm": {string(algorithm)}},
	})
	if err != nil {
		return nil, nil, err
	}
	if err := k.usableFor(types.KeyUsageTypeGenerateVerifyMac, operation); err != nil {
		return nil, nil, err
	}
	if err := compatible(k, keySpecs[k.spec()].macs, algorithm); err != nil {
		return nil, nil, err
	}
	if len(k.Materials) == 0 || k.current().Key == nil {
		return nil, nil, pendingImport(k.arn())
	}
	h := hmac.New(macHashes[algorithm].New, k.current().Key)
	h.Write(message)
	return k, h.Sum(nil), nil
}
