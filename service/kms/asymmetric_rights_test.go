package kms_test

import (
	"fmt"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/malote/malote/malotetest"
)

// operation is one with a key that is not a symmetric encryption key.
type operation struct {
	name, action string
	spec         types.KeySpec
	usage        types.KeyUsageType
	condition    string // its own condition key, and the value that the call has
	value        string
	call         func(t *testing.T, client *kms.Client, id *string, dryRun bool) error
}

// operations are those that Sign and its kind are: what Verify and VerifyMac are given is not
// valid, and so says who was let through.
var operations = []operation{
	{"Sign", "kms:Sign", "ECC_NIST_P256", "SIGN_VERIFY", "kms:SigningAlgorithm", "ECDSA_SHA_256", func(t *testing.T, client *kms.Client, id *string, dryRun bool) error {
		_, err := client.Sign(t.Context(), &kms.SignInput{KeyId: id, Message: []byte("m"), SigningAlgorithm: "ECDSA_SHA_256", DryRun: &dryRun})
		return err
	}},
	{"Sign", "kms:Sign", "ECC_NIST_P256", "SIGN_VERIFY", "kms:MessageType", "RAW", func(t *testing.T, client *kms.Client, id *string, dryRun bool) error {
		_, err := client.Sign(t.Context(), &kms.SignInput{KeyId: id, Message: []byte("m"), SigningAlgorithm: "ECDSA_SHA_256", DryRun: &dryRun})
		return err
	}},
	{"Verify", "kms:Verify", "ECC_NIST_P256", "SIGN_VERIFY", "kms:SigningAlgorithm", "ECDSA_SHA_256", func(t *testing.T, client *kms.Client, id *string, dryRun bool) error {
		_, err := client.Verify(t.Context(), &kms.VerifyInput{KeyId: id, Message: []byte("m"), SigningAlgorithm: "ECDSA_SHA_256", Signature: []byte("x"), DryRun: &dryRun})
		return letThrough(err, "KMSInvalidSignatureException")
	}},
	{"GenerateMac", "kms:GenerateMac", "HMAC_256", "GENERATE_VERIFY_MAC", "kms:MacAlgorithm", "HMAC_SHA_256", func(t *testing.T, client *kms.Client, id *string, dryRun bool) error {
		_, err := client.GenerateMac(t.Context(), &kms.GenerateMacInput{KeyId: id, Message: []byte("m"), MacAlgorithm: "HMAC_SHA_256", DryRun: &dryRun})
		return err
	}},
	{"VerifyMac", "kms:VerifyMac", "HMAC_256", "GENERATE_VERIFY_MAC", "kms:MacAlgorithm", "HMAC_SHA_256", func(t *testing.T, client *kms.Client, id *string, dryRun bool) error {
		_, err := client.VerifyMac(t.Context(), &kms.VerifyMacInput{KeyId: id, Message: []byte("m"), MacAlgorithm: "HMAC_SHA_256", Mac: []byte("x"), DryRun: &dryRun})
		return letThrough(err, "KMSInvalidMacException")
	}},
	{"GetPublicKey", "kms:GetPublicKey", "ECC_NIST_P256", "KEY_AGREEMENT", "kms:KeyUsage", "KEY_AGREEMENT", func(t *testing.T, client *kms.Client, id *string, _ bool) error {
		_, err := client.GetPublicKey(t.Context(), &kms.GetPublicKeyInput{KeyId: id})
		return err
	}},
	{"DeriveSharedSecret", "kms:DeriveSharedSecret", "ECC_NIST_P256", "KEY_AGREEMENT", "kms:KeyAgreementAlgorithm", "ECDH", func(t *testing.T, client *kms.Client, id *string, dryRun bool) error {
		_, err := client.DeriveSharedSecret(t.Context(), &kms.DeriveSharedSecretInput{KeyId: id, KeyAgreementAlgorithm: "ECDH", PublicKey: p256SPKI, DryRun: &dryRun})
		return err
	}},
	{"Encrypt", "kms:Encrypt", "RSA_2048", "ENCRYPT_DECRYPT", "kms:EncryptionAlgorithm", "RSAES_OAEP_SHA_256", func(t *testing.T, client *kms.Client, id *string, dryRun bool) error {
		_, err := client.Encrypt(t.Context(), &kms.EncryptInput{KeyId: id, Plaintext: []byte("x"), EncryptionAlgorithm: "RSAES_OAEP_SHA_256", DryRun: &dryRun})
		return err
	}},
	{"Decrypt", "kms:Decrypt", "RSA_2048", "ENCRYPT_DECRYPT", "kms:EncryptionAlgorithm", "RSAES_OAEP_SHA_256", func(t *testing.T, client *kms.Client, id *string, dryRun bool) error {
		_, err := client.Decrypt(t.Context(), &kms.DecryptInput{KeyId: id, CiphertextBlob: []byte("x"), EncryptionAlgorithm: "RSAES_OAEP_SHA_256", DryRun: &dryRun})
		return letThrough(err, "InvalidCiphertextException")
	}},
	{"GenerateDataKeyPair", "kms:GenerateDataKeyPair", "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", "kms:DataKeyPairSpec", "ECC_NIST_P256", func(t *testing.T, client *kms.Client, id *string, dryRun bool) error {
		_, err := client.GenerateDataKeyPair(t.Context(), &kms.GenerateDataKeyPairInput{KeyId: id, KeyPairSpec: "ECC_NIST_P256", DryRun: &dryRun})
		return err
	}},
	{"GenerateDataKeyPairWithoutPlaintext", "kms:GenerateDataKeyPairWithoutPlaintext", "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", "kms:DataKeyPairSpec", "ECC_NIST_P256", func(t *testing.T, client *kms.Client, id *string, dryRun bool) error {
		_, err := client.GenerateDataKeyPairWithoutPlaintext(t.Context(), &kms.GenerateDataKeyPairWithoutPlaintextInput{KeyId: id, KeyPairSpec: "ECC_NIST_P256", DryRun: &dryRun})
		return err
	}},
}

// letThrough makes nothing of the error that says that what was given is not valid, to those
// who may ask.
func letThrough(err error, code string) error {
	if codeOf(err) == code {
		return nil
	}
	return err
}

// Each operation is let by a policy with its condition key, by a grant of it, and by nothing
// else; it does nothing in the states that forbid it.
func TestOperationsOfOtherSpecs(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	client := kms.NewFromConfig(sys.Config())
	for i, op := range operations {
		t.Run(op.name+" "+op.condition, func(t *testing.T) {
			t.Parallel()
			made := keyOf(t, client, op.spec, op.usage)
			other := keyOf(t, client, "HMAC_224", "GENERATE_VERIFY_MAC")
			if op.call(t, client, other.KeyId, false) == nil {
				t.Error("works with a key of another usage")
			}
			policy := func(value string) string {
				return fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":%q,"Resource":"*","Condition":{"StringEquals":{%q:%q}}}]}`, op.action, op.condition, value)
			}
			user := func(name, policy string) *kms.Client {
				return kms.NewFromConfig(sys.User(t, fmt.Sprintf("%s%d", name, i), policy))
			}
			if err := op.call(t, user("allowed", policy(op.value)), made.Arn, false); err != nil {
				t.Errorf("allowed by %s = %s: %v", op.condition, op.value, err)
			}
			wantError(t, op.call(t, user("refused", policy("another")), made.Arn, false), "AccessDeniedException", op.action)

			grantee := user("grantee", "")
			wantError(t, op.call(t, grantee, made.Arn, false), "AccessDeniedException", op.action)
			grantTo(t, client, &kms.CreateGrantInput{
				KeyId: made.KeyId, GranteePrincipal: aws.String(fmt.Sprintf("%sgrantee%d", userARN, i)), Operations: []types.GrantOperation{types.GrantOperation(op.name)},
			})
			if err := op.call(t, grantee, made.Arn, false); err != nil {
				t.Errorf("by a grant: %v", err)
			}
			_, err := client.CreateGrant(t.Context(), &kms.CreateGrantInput{
				KeyId: other.KeyId, GranteePrincipal: aws.String(fmt.Sprintf("%sgrantee%d", userARN, i)), Operations: []types.GrantOperation{types.GrantOperation(op.name)},
			})
			if op.usage != "GENERATE_VERIFY_MAC" {
				wantError(t, err, "ValidationException", op.name)
			}
			if op.spec != "SYMMETRIC_DEFAULT" {
				_, err = client.CreateGrant(t.Context(), &kms.CreateGrantInput{
					KeyId: made.KeyId, GranteePrincipal: aws.String(fmt.Sprintf("%sgrantee%d", userARN, i)), Operations: []types.GrantOperation{types.GrantOperation(op.name)},
					Constraints: &types.GrantConstraints{EncryptionContextEquals: map[string]string{"a": "b"}},
				})
				wantError(t, err, "ValidationException", "symmetric")
			}

			if err := op.call(t, client, made.KeyId, true); err != nil {
				wantError(t, err, "DryRunOperationException", "would have succeeded")
			} else if op.name == "Sign" || op.name == "GenerateMac" || op.name == "DeriveSharedSecret" || op.name == "Encrypt" {
				t.Error("DryRun is an answer")
			}
			if _, err := client.DisableKey(t.Context(), &kms.DisableKeyInput{KeyId: made.KeyId}); err != nil {
				t.Fatal(err)
			}
			wantError(t, op.call(t, client, made.KeyId, false), "DisabledException", *made.Arn+" is disabled.")
			if _, err := client.ScheduleKeyDeletion(t.Context(), &kms.ScheduleKeyDeletionInput{KeyId: made.KeyId}); err != nil {
				t.Fatal(err)
			}
			wantError(t, op.call(t, client, made.KeyId, false), "KMSInvalidStateException", *made.Arn+" is pending deletion.")
		})
	}
}

// An alias stays with keys of one class and usage.
func TestUpdateAliasAcrossSpecs(t *testing.T) {
	t.Parallel()
	client := kms.NewFromConfig(malotetest.New(t).Config())
	p256 := keyOf(t, client, "ECC_NIST_P256", "SIGN_VERIFY")
	if _, err := client.CreateAlias(t.Context(), &kms.CreateAliasInput{AliasName: aws.String("alias/a"), TargetKeyId: p256.KeyId}); err != nil {
		t.Fatal(err)
	}
	update := func(to *types.KeyMetadata) error {
		_, err := client.UpdateAlias(t.Context(), &kms.UpdateAliasInput{AliasName: aws.String("alias/a"), TargetKeyId: to.KeyId})
		return err
	}
	for _, other := range []*types.KeyMetadata{createKey(t, client), keyOf(t, client, "ECC_NIST_P256", "KEY_AGREEMENT"), keyOf(t, client, "HMAC_256", "GENERATE_VERIFY_MAC")} {
		wantError(t, update(other), "ValidationException", "alias/a")
	}
	if err := update(keyOf(t, client, "RSA_2048", "SIGN_VERIFY")); err != nil {
		t.Error(err)
	}
	if _, err := client.Sign(t.Context(), &kms.SignInput{KeyId: aws.String("alias/a"), Message: []byte("m"), SigningAlgorithm: "RSASSA_PSS_SHA_256"}); err != nil {
		t.Error(err)
	}
}

func TestCreateKeySpecs(t *testing.T) {
	t.Parallel()
	client := kms.NewFromConfig(malotetest.New(t).Config())
	for _, tt := range []struct {
		in         *kms.CreateKeyInput
		code, text string
	}{
		{&kms.CreateKeyInput{KeySpec: "HMAC_256"}, "ValidationException", "You must specify a KeyUsage value for all KMS keys except for symmetric encryption keys."},
		{&kms.CreateKeyInput{KeySpec: "HMAC_256", KeyUsage: "SIGN_VERIFY"}, "ValidationException", "KeyUsage SIGN_VERIFY is not compatible with KeySpec HMAC_256"},
		{&kms.CreateKeyInput{KeySpec: "RSA_2048", KeyUsage: "KEY_AGREEMENT"}, "ValidationException", "KeyUsage KEY_AGREEMENT is not compatible with KeySpec RSA_2048"},
		{&kms.CreateKeyInput{KeySpec: "ECC_NIST_P256", KeyUsage: "ENCRYPT_DECRYPT"}, "ValidationException", "KeyUsage ENCRYPT_DECRYPT is not compatible with KeySpec ECC_NIST_P256"},
		{&kms.CreateKeyInput{KeySpec: "ECC_SECG_P256K1", KeyUsage: "KEY_AGREEMENT"}, "ValidationException", "KeyUsage KEY_AGREEMENT is not compatible with KeySpec ECC_SECG_P256K1"},
		{&kms.CreateKeyInput{KeySpec: "SM2", KeyUsage: "SIGN_VERIFY"}, "UnsupportedOperationException", "SM2"},
		{&kms.CreateKeyInput{Origin: "EXTERNAL_KEY_STORE"}, "ValidationException", "CustomKeyStoreId"},
		{&kms.CreateKeyInput{CustomKeyStoreId: aws.String("cks-1")}, "ValidationException", "CustomKeyStoreId"},
		{&kms.CreateKeyInput{XksKeyId: aws.String("k")}, "ValidationException", "XksKeyId"},
		{&kms.CreateKeyInput{Origin: "EXTERNAL_KEY_STORE", CustomKeyStoreId: aws.String("cks-1"), XksKeyId: aws.String("k")}, "CustomKeyStoreNotFoundException", "cks-1"},
	} {
		_, err := client.CreateKey(t.Context(), tt.in)
		wantError(t, err, tt.code, tt.text)
	}
	legacy, err := client.CreateKey(t.Context(), &kms.CreateKeyInput{CustomerMasterKeySpec: "ECC_NIST_P256", KeyUsage: "SIGN_VERIFY"})
	if err != nil || legacy.KeyMetadata.KeySpec != "ECC_NIST_P256" {
		t.Errorf("CustomerMasterKeySpec: %v", err)
	}
	_, err = client.GetPublicKey(t.Context(), &kms.GetPublicKeyInput{KeyId: createKey(t, client).KeyId})
	wantError(t, err, "UnsupportedOperationException", "SYMMETRIC_DEFAULT")
}

func TestCustomKeyStores(t *testing.T) {
	t.Parallel()
	client := kms.NewFromConfig(malotetest.New(t).Config())
	list, err := client.DescribeCustomKeyStores(t.Context(), &kms.DescribeCustomKeyStoresInput{})
	if err != nil || list.CustomKeyStores == nil || len(list.CustomKeyStores) != 0 || list.Truncated {
		t.Errorf("%+v, %v", list, err)
	}
	id := aws.String("cks-1234567890abcdef0")
	for name, call := range map[string]func() error{
		"DescribeCustomKeyStores by id": func() error {
			_, err := client.DescribeCustomKeyStores(t.Context(), &kms.DescribeCustomKeyStoresInput{CustomKeyStoreId: id})
			return err
		},
		"DescribeCustomKeyStores by name": func() error {
			_, err := client.DescribeCustomKeyStores(t.Context(), &kms.DescribeCustomKeyStoresInput{CustomKeyStoreName: id})
			return err
		},
		"ConnectCustomKeyStore": func() error {
			_, err := client.ConnectCustomKeyStore(t.Context(), &kms.ConnectCustomKeyStoreInput{CustomKeyStoreId: id})
			return err
		},
		"DisconnectCustomKeyStore": func() error {
			_, err := client.DisconnectCustomKeyStore(t.Context(), &kms.DisconnectCustomKeyStoreInput{CustomKeyStoreId: id})
			return err
		},
		"UpdateCustomKeyStore": func() error {
			_, err := client.UpdateCustomKeyStore(t.Context(), &kms.UpdateCustomKeyStoreInput{CustomKeyStoreId: id})
			return err
		},
		"DeleteCustomKeyStore": func() error {
			_, err := client.DeleteCustomKeyStore(t.Context(), &kms.DeleteCustomKeyStoreInput{CustomKeyStoreId: id})
			return err
		},
		"GenerateRandom": func() error {
			_, err := client.GenerateRandom(t.Context(), &kms.GenerateRandomInput{NumberOfBytes: aws.Int32(1), CustomKeyStoreId: id})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) { wantError(t, call(), "CustomKeyStoreNotFoundException", *id) })
	}
	_, err = client.CreateCustomKeyStore(t.Context(), &kms.CreateCustomKeyStoreInput{CustomKeyStoreName: aws.String("a")})
	wantError(t, err, "CloudHsmClusterNotFoundException", "custom key stores")
	_, err = client.CreateCustomKeyStore(t.Context(), &kms.CreateCustomKeyStoreInput{CustomKeyStoreName: aws.String("a"), CustomKeyStoreType: "EXTERNAL_KEY_STORE", XksProxyConnectivity: "PUBLIC_ENDPOINT"})
	wantError(t, err, "XksProxyUriUnreachableException", "custom key stores")
}
