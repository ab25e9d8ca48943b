package ssm

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/aws/smithy-go"

	"github.com/malote/malote/caller"
)

const defaultKey = "alias/aws/ssm"

// A standard parameter's value is encrypted by KMS itself; an advanced one's, which may be
// longer than KMS takes, under a data key (see envelope).
//
// https://docs.aws.amazon.com/kms/latest/developerguide/services-parameter-store.html

func encryptionContext(arn string) map[string]string {
	return map[string]string{"PARAMETER_ARN": arn}
}

// seal encrypts a value for the parameter arn, as the caller.
func (s *Service) seal(ctx context.Context, arn, keyID string, tier types.ParameterTier, value string) (string, error) {
	ctx = caller.Forward(ctx, "ssm")
	if tier == types.ParameterTierAdvanced {
		key, err := s.keys.GenerateDataKey(ctx, &kms.GenerateDataKeyInput{KeyId: &keyID, KeySpec: "AES_256", EncryptionContext: encryptionContext(arn)})
		if err != nil {
			return "", keyError(ctx, err)
		}
		message, err := envelope(*key.KeyId, key.CiphertextBlob, key.Plaintext, encryptionContext(arn), []byte(value))
		clear(key.Plaintext)
		if err != nil {
			return "", fmt.Errorf("encrypting %s: %w", arn, err)
		}
		return base64.StdEncoding.EncodeToString(message), nil
	}
	out, err := s.keys.Encrypt(ctx, &kms.EncryptInput{KeyId: &keyID, Plaintext: []byte(value), EncryptionContext: encryptionContext(arn)})
	if err != nil {
		return "", keyError(ctx, err)
	}
	return base64.StdEncoding.EncodeToString(out.CiphertextBlob), nil
}

// open decrypts the value of a SecureString, as the caller.
func (s *Service) open(ctx context.Context, arn string, v *version) (string, error) {
	ctx = caller.Forward(ctx, "ssm")
	stored, err := base64.StdEncoding.DecodeString(v.Value)
	if err != nil {
		return "", fmt.Errorf("decoding version %d of %s: %w", v.Number, arn, err)
	}
	blob := stored
	var m *message
	if v.Tier == types.ParameterTierAdvanced {
		if m, err = parseEnvelope(stored); err != nil {
			return "", fmt.Errorf("reading version %d of %s: %w", v.Number, arn, err)
		}
		blob = m.dataKey
	}
	out, err := s.keys.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: blob, EncryptionContext: encryptionContext(arn)})
	if err != nil {
		return "", keyError(ctx, err)
	}
	defer clear(out.Plaintext)
	if m == nil {
		return string(out.Plaintext), nil
	}
	value, err := m.open(out.Plaintext, encryptionContext(arn))
	if err != nil {
		return "", fmt.Errorf("decrypting version %d of %s: %w", v.Number, arn, err)
	}
	return string(value), nil
}

// keyError passes on what KMS says: that the caller may not, as a denial; that the key
// is not there or not usable, as InvalidKeyId.
func keyError(ctx context.Context, err error) error {
	var api smithy.APIError
	if !errors.As(err, &api) {
		return err
	}
	switch api.ErrorCode() {
	case "AccessDeniedException":
		return accessDenied("%s (Service: AWSKMS; Status Code: 400; Error Code: AccessDeniedException; Request ID: %s)", api.ErrorMessage(), caller.From(ctx).ID)
	case "NotFoundException", "DisabledException", "KMSInvalidStateException", "InvalidKeyUsageException",
		"InvalidArnException", "KeyUnavailableException", "IncorrectKeyException", "ValidationException":
		message := api.ErrorMessage()
		return &types.InvalidKeyId{Message: &message}
	}
	return err
}
