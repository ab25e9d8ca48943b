package kms_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"

	"github.com/malote/malote/malotetest"
)

// wantError fails unless err is an AWS error with this code and a message that contains
// text; "" means an empty message.
func wantError(t *testing.T, err error, code, text string) {
	t.Helper()
	var api smithy.APIError
	if !errors.As(err, &api) || api.ErrorCode() != code || !strings.Contains(api.ErrorMessage(), text) || text == "" && api.ErrorMessage() != "" {
		t.Errorf("error = %v, want %s: …%s…", err, code, text)
	}
}

func createKey(t *testing.T, client *kms.Client) *types.KeyMetadata {
	t.Helper()
	out, err := client.CreateKey(t.Context(), &kms.CreateKeyInput{})
	if err != nil {
		t.Fatal(err)
	}
	return out.KeyMetadata
}

func encrypt(t *testing.T, client *kms.Client, keyID *string, text string, context map[string]string) []byte {
	t.Helper()
	out, err := client.Encrypt(t.Context(), &kms.EncryptInput{KeyId: keyID, Plaintext: []byte(text), EncryptionContext: context})
	if err != nil {
		t.Fatal(err)
	}
	return out.CiphertextBlob
}

func TestCreateKey(t *testing.T) {
	t.Parallel()
	client := kms.NewFromConfig(malotetest.New(t).Config())
	got := createKey(t, client)
	want := &types.KeyMetadata{
		AWSAccountId: aws.String(malotetest.Account), KeyId: got.KeyId, CreationDate: got.CreationDate,
		Arn:     aws.String("arn:aws:kms:us-east-1:123456789012:key/" + *got.KeyId),
		Enabled: true, Description: aws.String(""), KeyUsage: "ENCRYPT_DECRYPT", KeyState: "Enabled", Origin: "AWS_KMS", KeyManager: "CUSTOMER",
		CustomerMasterKeySpec: "SYMMETRIC_DEFAULT", KeySpec: "SYMMETRIC_DEFAULT", EncryptionAlgorithms: []types.EncryptionAlgorithmSpec{"SYMMETRIC_DEFAULT"},
		MultiRegion: aws.Bool(false), CurrentKeyMaterialId: got.CurrentKeyMaterialId,
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(types.KeyMetadata{}), cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".noSmithyDocumentSerde" }, cmp.Ignore())); diff != "" {
		t.Error(diff)
	}
	if len(*got.CurrentKeyMaterialId) != 64 {
		t.Errorf("CurrentKeyMaterialId = %q, want 64 digits", *got.CurrentKeyMaterialId)
	}

	for _, tt := range []struct {
		name string
		in   *kms.CreateKeyInput
		code string
		text string
	}{
		{"asymmetric without usage", &kms.CreateKeyInput{KeySpec: "RSA_2048"}, "ValidationException", "You must specify a KeyUsage value for all KMS keys except for symmetric encryption keys."},
		{"post-quantum", &kms.CreateKeyInput{KeySpec: "ML_DSA_44", KeyUsage: "SIGN_VERIFY"}, "UnsupportedOperationException", "ML_DSA_44"},
		{"usage that does not fit", &kms.CreateKeyInput{KeyUsage: "SIGN_VERIFY"}, "ValidationException", "KeyUsage SIGN_VERIFY is not compatible with KeySpec SYMMETRIC_DEFAULT"},
		{"custom key store", &kms.CreateKeyInput{Origin: "AWS_CLOUDHSM", CustomKeyStoreId: aws.String("cks-1234567890abcdef0")}, "CustomKeyStoreNotFoundException", "cks-1234567890abcdef0"},
		{"duplicate tags", &kms.CreateKeyInput{Tags: []types.Tag{{TagKey: aws.String("a"), TagValue: aws.String("")}, {TagKey: aws.String("a"), TagValue: aws.String("")}}}, "TagException", "Duplicate tag keys"},
		{"reserved tag", &kms.CreateKeyInput{Tags: []types.Tag{{TagKey: aws.String("AWS:x"), TagValue: aws.String("")}}}, "TagException", "Tags beginning with aws: are reserved"},
		{"no policy", &kms.CreateKeyInput{Policy: aws.String("nonsense")}, "MalformedPolicyDocumentException", " "},
		{"policy that locks out", &kms.CreateKeyInput{Policy: aws.String(keyPolicy("arn:aws:iam::210987654321:root", "kms:*"))}, "MalformedPolicyDocumentException", "The new key policy will not allow you to update the key policy in the future."},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := client.CreateKey(t.Context(), tt.in)
			wantError(t, err, tt.code, tt.text)
		})
	}
}

func keyPolicy(principal, action string) string {
	return fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":%q},"Action":%q,"Resource":"*"}]}`, principal, action)
}

func TestEncryptDecrypt(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	client := kms.NewFromConfig(sys.Config())
	key, other := createKey(t, client), createKey(t, client)
	canary := sys.Canary()
	context := map[string]string{"Tenant": "a", "tenant": "b"}
	blob := encrypt(t, client, key.KeyId, canary, context)
	if bytes.Contains(blob, []byte(*key.KeyId)) {
		t.Error("the ciphertext tells the key id in clear text")
	}

	for _, id := range []*string{nil, key.KeyId, key.Arn} {
		out, err := client.Decrypt(t.Context(), &kms.DecryptInput{CiphertextBlob: blob, EncryptionContext: context, KeyId: id})
		if err != nil {
			t.Fatal(err)
		}
		if string(out.Plaintext) != canary || *out.KeyId != *key.Arn || *out.KeyMaterialId != *key.CurrentKeyMaterialId || out.EncryptionAlgorithm != "SYMMETRIC_DEFAULT" {
			t.Errorf("decrypted with key %v: key %s, material %s", aws.ToString(id), *out.KeyId, *out.KeyMaterialId)
		}
	}
	for _, wrong := range []map[string]string{nil, {"Tenant": "a"}, {"Tenant": "a", "tenant": "B"}, {"Tenant": "b", "tenant": "a"}} {
		_, err := client.Decrypt(t.Context(), &kms.DecryptInput{CiphertextBlob: blob, EncryptionContext: wrong})
		wantError(t, err, "InvalidCiphertextException", "")
	}
	_, err := client.Decrypt(t.Context(), &kms.DecryptInput{CiphertextBlob: []byte("nonsense")})
	wantError(t, err, "InvalidCiphertextException", "")
	_, err = client.Decrypt(t.Context(), &kms.DecryptInput{CiphertextBlob: blob, EncryptionContext: context, KeyId: other.KeyId})
	wantError(t, err, "IncorrectKeyException", "The key ID in the request does not identify a CMK that can perform this operation.")
	_, err = client.Encrypt(t.Context(), &kms.EncryptInput{KeyId: key.KeyId, Plaintext: []byte("x"), EncryptionAlgorithm: "RSAES_OAEP_SHA_1"})
	wantError(t, err, "InvalidKeyUsageException", "Algorithm RSAES_OAEP_SHA_1 is incompatible with key spec SYMMETRIC_DEFAULT.")
	_, err = client.Encrypt(t.Context(), &kms.EncryptInput{KeyId: key.KeyId, Plaintext: make([]byte, 4097)})
	wantError(t, err, "ValidationException", "1 validation error detected: Value at 'plaintext' failed to satisfy constraint: Member must have length less than or equal to 4096")
	_, err = client.Decrypt(t.Context(), &kms.DecryptInput{CiphertextBlob: blob, EncryptionContext: context, DryRun: aws.Bool(true)})
	wantError(t, err, "DryRunOperationException", "The request would have succeeded, but the DryRun option is set.")
	_, err = client.Encrypt(t.Context(), &kms.EncryptInput{KeyId: key.KeyId, Plaintext: []byte("x"), GrantTokens: []string{"made-up"}})
	wantError(t, err, "InvalidGrantTokenException", "grant token")

	// The largest plaintext is no larger, sealed, than Decrypt takes.
	largest := encrypt(t, client, key.KeyId, strings.Repeat("x", 4096), context)
	if _, err := client.Decrypt(t.Context(), &kms.DecryptInput{CiphertextBlob: largest, EncryptionContext: context}); err != nil {
		t.Error(err)
	}

	bob := kms.NewFromConfig(sys.User(t, "bob", malotetest.Allow("*", "kms:Encrypt", "kms:DescribeKey")))
	_, err = bob.Decrypt(t.Context(), &kms.DecryptInput{CiphertextBlob: blob, EncryptionContext: context})
	wantError(t, err, "AccessDeniedException", "The ciphertext refers to a customer master key that does not exist, does not exist in this region, or you are not allowed to access.")
	_, err = bob.Decrypt(t.Context(), &kms.DecryptInput{CiphertextBlob: blob, EncryptionContext: context, KeyId: key.KeyId})
	wantError(t, err, "AccessDeniedException", "User: arn:aws:iam::123456789012:user/bob is not authorized to perform: kms:Decrypt on resource: "+*key.Arn+" because no identity-based policy allows the kms:Decrypt action")
}

func TestKeyIdentifiers(t *testing.T) {
	t.Parallel()
	client := kms.NewFromConfig(malotetest.New(t).Config())
	key := createKey(t, client)
	if _, err := client.CreateAlias(t.Context(), &kms.CreateAliasInput{AliasName: aws.String("alias/app/key"), TargetKeyId: key.KeyId}); err != nil {
		t.Fatal(err)
	}
	const unknown = "00000000-0000-4000-8000-000000000000"
	for _, tt := range []struct{ id, code, text string }{
		{*key.KeyId, "", ""},
		{*key.Arn, "", ""},
		{"alias/app/key", "", ""},
		{"arn:aws:kms:us-east-1:123456789012:alias/app/key", "", ""},
		{unknown, "NotFoundException", "Key 'arn:aws:kms:us-east-1:123456789012:key/" + unknown + "' does not exist"},
		{strings.ReplaceAll(unknown, "-", ""), "NotFoundException", "Invalid keyId '" + strings.ReplaceAll(unknown, "-", "") + "'"},
		{"mrk-fake", "NotFoundException", "Invalid keyId 'mrk-fake'"},
		{"arn:aws:kms:eu-west-1:123456789012:key/" + *key.KeyId, "NotFoundException", "Invalid arn eu-west-1"},
		{"alias/none", "NotFoundException", "Alias arn:aws:kms:us-east-1:123456789012:alias/none is not found."},
		{"arn:aws:kms:us-east-1:210987654321:key/" + *key.KeyId, "AccessDeniedException", "on this resource because the resource does not exist in this Region, no resource-based policies allow access, or a resource-based policy explicitly denies access"},
	} {
		out, err := client.Encrypt(t.Context(), &kms.EncryptInput{KeyId: aws.String(tt.id), Plaintext: []byte("x")})
		if tt.code != "" {
			wantError(t, err, tt.code, tt.text)
			continue
		}
		if err != nil || *out.KeyId != *key.Arn {
			t.Errorf("Encrypt(%s): %v", tt.id, err)
		}
	}
	_, err := client.DisableKey(t.Context(), &kms.DisableKeyInput{KeyId: aws.String("alias/app/key")})
	wantError(t, err, "NotFoundException", "Invalid keyId 'alias/app/key'")
}

// Every operation in every state, from the table of key states.
func TestKeyStates(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	client := kms.NewFromConfig(sys.Config())
	target := createKey(t, client)
	policy, err := client.GetKeyPolicy(t.Context(), &kms.GetKeyPolicyInput{KeyId: target.KeyId})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	const ok, disabled, pending, notPending = "", "DisabledException is disabled.", "KMSInvalidStateException is pending deletion.", "KMSInvalidStateException is not pending deletion."
	for _, tt := range []struct {
		name                                string
		call                                func(id *string, blob []byte) error
		whenEnabled, whenDisabled, whenDead string
	}{
		{"Encrypt", func(id *string, _ []byte) error {
			_, err := client.Encrypt(t.Context(), &kms.EncryptInput{KeyId: id, Plaintext: []byte("x")})
			return err
		}, ok, disabled, pending},
		{"Decrypt", func(_ *string, blob []byte) error {
			_, err := client.Decrypt(t.Context(), &kms.DecryptInput{CiphertextBlob: blob})
			return err
		}, ok, disabled, pending},
		{"ReEncrypt from", func(_ *string, blob []byte) error {
			_, err := client.ReEncrypt(t.Context(), &kms.ReEncryptInput{CiphertextBlob: blob, DestinationKeyId: target.KeyId})
			return err
		}, ok, disabled, pending},
		{"ReEncrypt to", func(id *string, _ []byte) error {
			out, err := client.Encrypt(t.Context(), &kms.EncryptInput{KeyId: target.KeyId, Plaintext: []byte("x")})
			if err != nil {
				return err
			}
			_, err = client.ReEncrypt(t.Context(), &kms.ReEncryptInput{CiphertextBlob: out.CiphertextBlob, DestinationKeyId: id})
			return err
		}, ok, disabled, pending},
		{"GenerateDataKey", func(id *string, _ []byte) error {
			_, err := client.GenerateDataKey(t.Context(), &kms.GenerateDataKeyInput{KeyId: id, KeySpec: "AES_256"})
			return err
		}, ok, disabled, pending},
		{"GenerateDataKeyWithoutPlaintext", func(id *string, _ []byte) error {
			_, err := client.GenerateDataKeyWithoutPlaintext(t.Context(), &kms.GenerateDataKeyWithoutPlaintextInput{KeyId: id, NumberOfBytes: aws.Int32(7)})
			return err
		}, ok, disabled, pending},
		{"DescribeKey", func(id *string, _ []byte) error {
			_, err := client.DescribeKey(t.Context(), &kms.DescribeKeyInput{KeyId: id})
			return err
		}, ok, ok, ok},
		{"PutKeyPolicy", func(id *string, _ []byte) error {
			_, err := client.PutKeyPolicy(t.Context(), &kms.PutKeyPolicyInput{KeyId: id, Policy: policy.Policy})
			return err
		}, ok, ok, ok},
		{"GetKeyPolicy", func(id *string, _ []byte) error {
			_, err := client.GetKeyPolicy(t.Context(), &kms.GetKeyPolicyInput{KeyId: id})
			return err
		}, ok, ok, ok},
		{"ListKeyPolicies", func(id *string, _ []byte) error {
			_, err := client.ListKeyPolicies(t.Context(), &kms.ListKeyPoliciesInput{KeyId: id})
			return err
		}, ok, ok, ok},
		{"ListResourceTags", func(id *string, _ []byte) error {
			_, err := client.ListResourceTags(t.Context(), &kms.ListResourceTagsInput{KeyId: id})
			return err
		}, ok, ok, ok},
		{"EnableKey", func(id *string, _ []byte) error {
			_, err := client.EnableKey(t.Context(), &kms.EnableKeyInput{KeyId: id})
			return err
		}, ok, ok, pending},
		{"DisableKey", func(id *string, _ []byte) error {
			_, err := client.DisableKey(t.Context(), &kms.DisableKeyInput{KeyId: id})
			return err
		}, ok, ok, pending},
		{"CreateAlias", func(id *string, _ []byte) error {
			n++
			_, err := client.CreateAlias(t.Context(), &kms.CreateAliasInput{AliasName: aws.String(fmt.Sprintf("alias/a%d", n)), TargetKeyId: id})
			return err
		}, ok, ok, pending},
		{"TagResource", func(id *string, _ []byte) error {
			_, err := client.TagResource(t.Context(), &kms.TagResourceInput{KeyId: id, Tags: []types.Tag{{TagKey: aws.String("a"), TagValue: aws.String("b")}}})
			return err
		}, ok, ok, pending},
		{"UntagResource", func(id *string, _ []byte) error {
			_, err := client.UntagResource(t.Context(), &kms.UntagResourceInput{KeyId: id, TagKeys: []string{"a"}})
			return err
		}, ok, ok, pending},
		{"UpdateKeyDescription", func(id *string, _ []byte) error {
			_, err := client.UpdateKeyDescription(t.Context(), &kms.UpdateKeyDescriptionInput{KeyId: id, Description: aws.String("d")})
			return err
		}, ok, ok, pending},
		{"EnableKeyRotation", func(id *string, _ []byte) error {
			_, err := client.EnableKeyRotation(t.Context(), &kms.EnableKeyRotationInput{KeyId: id})
			return err
		}, ok, disabled, pending},
		{"DisableKeyRotation", func(id *string, _ []byte) error {
			_, err := client.DisableKeyRotation(t.Context(), &kms.DisableKeyRotationInput{KeyId: id})
			return err
		}, ok, disabled, pending},
		{"GetKeyRotationStatus", func(id *string, _ []byte) error {
			_, err := client.GetKeyRotationStatus(t.Context(), &kms.GetKeyRotationStatusInput{KeyId: id})
			return err
		}, ok, ok, ok},
		{"ScheduleKeyDeletion", func(id *string, _ []byte) error {
			_, err := client.ScheduleKeyDeletion(t.Context(), &kms.ScheduleKeyDeletionInput{KeyId: id})
			return err
		}, ok, ok, pending},
		{"CancelKeyDeletion", func(id *string, _ []byte) error {
			_, err := client.CancelKeyDeletion(t.Context(), &kms.CancelKeyDeletionInput{KeyId: id})
			return err
		}, notPending, notPending, ok},
	} {
		for _, state := range []string{"Enabled", "Disabled", "PendingDeletion"} {
			key := createKey(t, client)
			blob := encrypt(t, client, key.KeyId, "x", nil)
			want := tt.whenEnabled
			var err error
			switch state {
			case "Disabled":
				want = tt.whenDisabled
				_, err = client.DisableKey(t.Context(), &kms.DisableKeyInput{KeyId: key.KeyId})
			case "PendingDeletion":
				want = tt.whenDead
				_, err = client.ScheduleKeyDeletion(t.Context(), &kms.ScheduleKeyDeletionInput{KeyId: key.KeyId})
			}
			if err != nil {
				t.Fatal(err)
			}
			err = tt.call(key.KeyId, blob)
			if want == ok {
				if err != nil {
					t.Errorf("%s of a key that is %s: %v", tt.name, state, err)
				}
				continue
			}
			code, text, _ := strings.Cut(want, " ")
			wantError(t, err, code, *key.Arn+" "+text)
		}
	}
}

func TestKeyDeletion(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	client := kms.NewFromConfig(sys.Config())
	key := createKey(t, client)
	blob := encrypt(t, client, key.KeyId, "x", nil)
	_, err := client.ScheduleKeyDeletion(t.Context(), &kms.ScheduleKeyDeletionInput{KeyId: key.KeyId, PendingWindowInDays: aws.Int32(6)})
	wantError(t, err, "ValidationException", "PendingWindowInDays")

	schedule := &kms.ScheduleKeyDeletionInput{KeyId: key.KeyId, PendingWindowInDays: aws.Int32(7)}
	out, err := client.ScheduleKeyDeletion(t.Context(), schedule)
	if err != nil {
		t.Fatal(err)
	}
	if *out.KeyId != *key.Arn || out.KeyState != "PendingDeletion" || *out.PendingWindowInDays != 7 {
		t.Errorf("ScheduleKeyDeletion = %+v", out)
	}
	sys.Clock.Advance(6 * 24 * time.Hour)
	if _, err := client.CancelKeyDeletion(t.Context(), &kms.CancelKeyDeletionInput{KeyId: key.KeyId}); err != nil {
		t.Fatal(err)
	}
	described, err := client.DescribeKey(t.Context(), &kms.DescribeKeyInput{KeyId: key.KeyId})
	if err != nil || described.KeyMetadata.KeyState != "Disabled" || described.KeyMetadata.DeletionDate != nil {
		t.Errorf("after CancelKeyDeletion: %+v, %v", described, err)
	}
	if _, err := client.EnableKey(t.Context(), &kms.EnableKeyInput{KeyId: key.KeyId}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Decrypt(t.Context(), &kms.DecryptInput{CiphertextBlob: blob}); err != nil {
		t.Errorf("after EnableKey: %v", err)
	}

	if _, err := client.ScheduleKeyDeletion(t.Context(), schedule); err != nil {
		t.Fatal(err)
	}
	sys.Clock.Advance(7 * 24 * time.Hour)
	_, err = client.DescribeKey(t.Context(), &kms.DescribeKeyInput{KeyId: key.KeyId})
	wantError(t, err, "NotFoundException", "Key '"+*key.Arn+"' does not exist")
	_, err = client.Decrypt(t.Context(), &kms.DecryptInput{CiphertextBlob: blob})
	wantError(t, err, "AccessDeniedException", "The ciphertext refers to a customer master key that does not exist")
	list, err := client.ListKeys(t.Context(), &kms.ListKeysInput{})
	if err != nil || len(list.Keys) != 0 {
		t.Errorf("ListKeys = %+v, %v", list, err)
	}
}

// The key policy is the root of trust: what it does not say, no IAM policy makes good.
func TestKeyPolicyDecides(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	admin := kms.NewFromConfig(sys.Config())
	bob := kms.NewFromConfig(sys.User(t, "bob", ""))
	eve := kms.NewFromConfig(sys.User(t, "eve", malotetest.Allow("*", "kms:*")))
	key := createKey(t, admin)
	blob := encrypt(t, admin, key.KeyId, "x", map[string]string{"app": "shop"})

	policy := `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::123456789012:user/admin"},"Action":["kms:PutKeyPolicy","kms:GetKeyPolicy"],"Resource":"*"},
		{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::123456789012:user/bob"},"Action":"kms:Decrypt","Resource":"*","Condition":{"StringEquals":{"kms:EncryptionContext:app":"shop"}}}]}`
	if _, err := admin.PutKeyPolicy(t.Context(), &kms.PutKeyPolicyInput{KeyId: key.KeyId, Policy: aws.String(policy)}); err != nil {
		t.Fatal(err)
	}
	got, err := admin.GetKeyPolicy(t.Context(), &kms.GetKeyPolicyInput{KeyId: key.KeyId, PolicyName: aws.String("default")})
	if err != nil || *got.Policy != policy || *got.PolicyName != "default" {
		t.Errorf("GetKeyPolicy = %+v, %v", got, err)
	}

	decrypt := &kms.DecryptInput{CiphertextBlob: blob, EncryptionContext: map[string]string{"app": "shop"}, KeyId: key.Arn}
	if _, err := bob.Decrypt(t.Context(), decrypt); err != nil {
		t.Errorf("bob, whom the key policy names: %v", err)
	}
	_, err = bob.Decrypt(t.Context(), &kms.DecryptInput{CiphertextBlob: blob, EncryptionContext: map[string]string{"app": "other"}, KeyId: key.Arn})
	wantError(t, err, "AccessDeniedException", "bob is not authorized to perform: kms:Decrypt")
	for _, client := range []*kms.Client{eve, admin} {
		_, err = client.Decrypt(t.Context(), decrypt)
		wantError(t, err, "AccessDeniedException", "because no resource-based policy allows the kms:Decrypt action")
	}

	lock := keyPolicy("arn:aws:iam::123456789012:user/bob", "kms:*")
	_, err = admin.PutKeyPolicy(t.Context(), &kms.PutKeyPolicyInput{KeyId: key.KeyId, Policy: aws.String(lock)})
	wantError(t, err, "MalformedPolicyDocumentException", "The new key policy will not allow you to update the key policy in the future.")
	if _, err = admin.PutKeyPolicy(t.Context(), &kms.PutKeyPolicyInput{KeyId: key.KeyId, Policy: aws.String(lock), BypassPolicyLockoutSafetyCheck: true}); err != nil {
		t.Fatal(err)
	}
	_, err = admin.GetKeyPolicy(t.Context(), &kms.GetKeyPolicyInput{KeyId: key.KeyId})
	wantError(t, err, "AccessDeniedException", "kms:GetKeyPolicy")
	if _, err := bob.GetKeyPolicy(t.Context(), &kms.GetKeyPolicyInput{KeyId: key.KeyId}); err != nil {
		t.Error(err)
	}
}

// An AWS managed key comes into being when it is asked for, and is no key to decrypt with
// directly, not even for an administrator.
func TestManagedKey(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	admin := kms.NewFromConfig(sys.Config())
	id := aws.String("alias/aws/secretsmanager")
	bob := kms.NewFromConfig(sys.User(t, "bob", ""))
	_, err := bob.DescribeKey(t.Context(), &kms.DescribeKeyInput{KeyId: id})
	wantError(t, err, "AccessDeniedException", "kms:DescribeKey")

	_, err = admin.Encrypt(t.Context(), &kms.EncryptInput{KeyId: id, Plaintext: []byte("x")})
	wantError(t, err, "NotFoundException", "alias/aws/secretsmanager is not found.")
	key, err := admin.DescribeKey(t.Context(), &kms.DescribeKeyInput{KeyId: id})
	if err != nil {
		t.Fatal(err)
	}
	if m := key.KeyMetadata; m.KeyManager != "AWS" || m.KeyState != "Enabled" {
		t.Errorf("DescribeKey = %+v", m)
	}
	again, err := admin.DescribeKey(t.Context(), &kms.DescribeKeyInput{KeyId: id})
	if err != nil || *again.KeyMetadata.KeyId != *key.KeyMetadata.KeyId {
		t.Errorf("DescribeKey again: another key, or %v", err)
	}
	status, err := admin.GetKeyRotationStatus(t.Context(), &kms.GetKeyRotationStatusInput{KeyId: key.KeyMetadata.KeyId})
	if err != nil || !status.KeyRotationEnabled {
		t.Errorf("GetKeyRotationStatus = %+v, %v", status, err)
	}

	_, err = admin.Encrypt(t.Context(), &kms.EncryptInput{KeyId: id, Plaintext: []byte("x")})
	wantError(t, err, "AccessDeniedException", "because no resource-based policy allows the kms:Encrypt action")
	_, err = admin.DisableKey(t.Context(), &kms.DisableKeyInput{KeyId: key.KeyMetadata.KeyId})
	wantError(t, err, "AccessDeniedException", "kms:DisableKey")
	_, err = admin.ScheduleKeyDeletion(t.Context(), &kms.ScheduleKeyDeletionInput{KeyId: key.KeyMetadata.KeyId})
	wantError(t, err, "AccessDeniedException", "kms:ScheduleKeyDeletion")
	_, err = admin.PutKeyPolicy(t.Context(), &kms.PutKeyPolicyInput{KeyId: key.KeyMetadata.KeyId, Policy: aws.String("{}")})
	wantError(t, err, "AccessDeniedException", "kms:PutKeyPolicy")
	_, err = admin.TagResource(t.Context(), &kms.TagResourceInput{KeyId: key.KeyMetadata.KeyId, Tags: []types.Tag{{TagKey: aws.String("a"), TagValue: aws.String("b")}}})
	wantError(t, err, "AccessDeniedException", "kms:TagResource")
	_, err = admin.CreateAlias(t.Context(), &kms.CreateAliasInput{AliasName: aws.String("alias/aws/mine"), TargetKeyId: key.KeyMetadata.KeyId})
	wantError(t, err, "NotAuthorizedException", "UnknownError") // the SDK's word for an empty message
}

func TestReEncrypt(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	admin := kms.NewFromConfig(sys.Config())
	from, to := createKey(t, admin), createKey(t, admin)
	blob := encrypt(t, admin, from.KeyId, "x", map[string]string{"a": "b"})
	in := &kms.ReEncryptInput{CiphertextBlob: blob, SourceEncryptionContext: map[string]string{"a": "b"}, DestinationKeyId: to.KeyId, DestinationEncryptionContext: map[string]string{"c": "d"}}
	out, err := admin.ReEncrypt(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	if *out.SourceKeyId != *from.Arn || *out.KeyId != *to.Arn || *out.SourceKeyMaterialId != *from.CurrentKeyMaterialId || *out.DestinationKeyMaterialId != *to.CurrentKeyMaterialId {
		t.Errorf("ReEncrypt = %+v", out)
	}
	opened, err := admin.Decrypt(t.Context(), &kms.DecryptInput{CiphertextBlob: out.CiphertextBlob, EncryptionContext: map[string]string{"c": "d"}})
	if err != nil || string(opened.Plaintext) != "x" || *opened.KeyId != *to.Arn {
		t.Errorf("Decrypt = %v, %v", opened, err)
	}

	half := kms.NewFromConfig(sys.User(t, "half", malotetest.Allow(*from.Arn, "kms:ReEncrypt*")))
	_, err = half.ReEncrypt(t.Context(), in)
	wantError(t, err, "AccessDeniedException", "kms:ReEncryptTo on resource: "+*to.Arn)
	otherHalf := kms.NewFromConfig(sys.User(t, "other-half", malotetest.Allow(*to.Arn, "kms:ReEncrypt*")))
	_, err = otherHalf.ReEncrypt(t.Context(), in)
	wantError(t, err, "AccessDeniedException", "The ciphertext refers to a customer master key")

	same := kms.NewFromConfig(sys.User(t, "same", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"kms:ReEncrypt*","Resource":"*","Condition":{"Bool":{"kms:ReEncryptOnSameKey":"true"}}}]}`))
	_, err = same.ReEncrypt(t.Context(), in)
	wantError(t, err, "AccessDeniedException", "The ciphertext refers to a customer master key")
	if _, err := same.ReEncrypt(t.Context(), &kms.ReEncryptInput{CiphertextBlob: blob, SourceEncryptionContext: map[string]string{"a": "b"}, DestinationKeyId: from.Arn}); err != nil {
		t.Error(err)
	}
}

func TestDataKeys(t *testing.T) {
	t.Parallel()
	client := kms.NewFromConfig(malotetest.New(t).Config())
	key := createKey(t, client)
	for _, tt := range []struct {
		in   *kms.GenerateDataKeyInput
		want int
	}{
		{&kms.GenerateDataKeyInput{KeySpec: "AES_256"}, 32},
		{&kms.GenerateDataKeyInput{KeySpec: "AES_128"}, 16},
		{&kms.GenerateDataKeyInput{NumberOfBytes: aws.Int32(1024)}, 1024},
	} {
		tt.in.KeyId = key.KeyId
		out, err := client.GenerateDataKey(t.Context(), tt.in)
		if err != nil {
			t.Fatal(err)
		}
		if len(out.Plaintext) != tt.want || *out.KeyId != *key.Arn || *out.KeyMaterialId != *key.CurrentKeyMaterialId {
			t.Errorf("GenerateDataKey: %d bytes under %s", len(out.Plaintext), *out.KeyId)
		}
		opened, err := client.Decrypt(t.Context(), &kms.DecryptInput{CiphertextBlob: out.CiphertextBlob})
		if err != nil || !bytes.Equal(opened.Plaintext, out.Plaintext) {
			t.Errorf("a data key does not decrypt to itself: %v", err)
		}
	}
	_, err := client.GenerateDataKey(t.Context(), &kms.GenerateDataKeyInput{KeyId: key.KeyId})
	wantError(t, err, "ValidationException", "Please specify either number of bytes or key spec.")
	_, err = client.GenerateDataKey(t.Context(), &kms.GenerateDataKeyInput{KeyId: key.KeyId, KeySpec: "AES_256", NumberOfBytes: aws.Int32(32)})
	wantError(t, err, "ValidationException", "Please specify either number of bytes or key spec.")

	random, err := client.GenerateRandom(t.Context(), &kms.GenerateRandomInput{NumberOfBytes: aws.Int32(5)})
	if err != nil || len(random.Plaintext) != 5 {
		t.Errorf("GenerateRandom = %v, %v", random, err)
	}
	_, err = client.GenerateRandom(t.Context(), &kms.GenerateRandomInput{})
	wantError(t, err, "ValidationException", "NumberOfBytes is required.")
}

func TestRotation(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	client := kms.NewFromConfig(sys.Config())
	key := createKey(t, client)
	status := func() *kms.GetKeyRotationStatusOutput {
		t.Helper()
		out, err := client.GetKeyRotationStatus(t.Context(), &kms.GetKeyRotationStatusInput{KeyId: key.KeyId})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	if got := status(); got.KeyRotationEnabled || got.RotationPeriodInDays != nil || *got.KeyId != *key.Arn {
		t.Errorf("at first: %+v", got)
	}
	if _, err := client.EnableKeyRotation(t.Context(), &kms.EnableKeyRotationInput{KeyId: key.KeyId, RotationPeriodInDays: aws.Int32(90)}); err != nil {
		t.Fatal(err)
	}
	if got := status(); !got.KeyRotationEnabled || *got.RotationPeriodInDays != 90 || got.NextRotationDate == nil {
		t.Errorf("enabled: %+v", got)
	}

	blob := encrypt(t, client, key.KeyId, "old", nil)
	material := map[string]bool{*key.CurrentKeyMaterialId: true}
	for range 3 {
		sys.Clock.Advance(90*24*time.Hour + time.Minute)
		out, err := client.DescribeKey(t.Context(), &kms.DescribeKeyInput{KeyId: key.KeyId})
		if err != nil {
			t.Fatal(err)
		}
		if material[*out.KeyMetadata.CurrentKeyMaterialId] {
			t.Error("no new material after the period")
		}
		material[*out.KeyMetadata.CurrentKeyMaterialId] = true
	}
	opened, err := client.Decrypt(t.Context(), &kms.DecryptInput{CiphertextBlob: blob})
	if err != nil || string(opened.Plaintext) != "old" || *opened.KeyMaterialId != *key.CurrentKeyMaterialId {
		t.Errorf("what the first material encrypted: %v, %v", opened, err)
	}

	if _, err := client.ScheduleKeyDeletion(t.Context(), &kms.ScheduleKeyDeletionInput{KeyId: key.KeyId}); err != nil {
		t.Fatal(err)
	}
	if got := status(); got.KeyRotationEnabled {
		t.Errorf("pending deletion: %+v", got)
	}
}

func TestAliases(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	client := kms.NewFromConfig(sys.Config())
	one, two := createKey(t, client), createKey(t, client)
	create := func(name string, id *string) error {
		_, err := client.CreateAlias(t.Context(), &kms.CreateAliasInput{AliasName: aws.String(name), TargetKeyId: id})
		return err
	}
	for _, name := range []string{"alias/a", "alias/b", "alias/c"} {
		if err := create(name, one.KeyId); err != nil {
			t.Fatal(err)
		}
	}
	wantError(t, create("alias/a", two.KeyId), "AlreadyExistsException", "An alias with the name arn:aws:kms:us-east-1:123456789012:alias/a already exists")
	wantError(t, create("a", two.KeyId), "ValidationException", `Alias must start with the prefix "alias/". Please see https://docs.aws.amazon.com/kms/latest/developerguide/kms-alias.html`)
	wantError(t, create("alias/x:y", two.KeyId), "ValidationException", "alias/x:y contains invalid characters for an alias")
	wantError(t, create("alias/x", aws.String("alias/a")), "ValidationException", "Aliases must refer to keys. Not aliases")
	wantError(t, create("alias/x", aws.String("00000000-0000-4000-8000-000000000000")), "NotFoundException", "does not exist")

	names := func(in *kms.ListAliasesInput) []string {
		t.Helper()
		var all []string
		pages := kms.NewListAliasesPaginator(client, in)
		for pages.HasMorePages() {
			out, err := pages.NextPage(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range out.Aliases {
				all = append(all, *a.AliasName+" "+*a.TargetKeyId)
			}
		}
		return all
	}
	if _, err := client.UpdateAlias(t.Context(), &kms.UpdateAliasInput{AliasName: aws.String("alias/b"), TargetKeyId: two.KeyId}); err != nil {
		t.Fatal(err)
	}
	want := []string{"alias/a " + *one.KeyId, "alias/b " + *two.KeyId, "alias/c " + *one.KeyId}
	if diff := cmp.Diff(want, names(&kms.ListAliasesInput{Limit: aws.Int32(1)})); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(want[1:2], names(&kms.ListAliasesInput{KeyId: two.Arn})); diff != "" {
		t.Error(diff)
	}
	_, err := client.ListAliases(t.Context(), &kms.ListAliasesInput{Marker: aws.String("made-up")})
	wantError(t, err, "InvalidMarkerException", "marker")

	// A policy may go by the names of a key; moving a name away takes the permission along.
	byName := kms.NewFromConfig(sys.User(t, "by-name", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"kms:Encrypt","Resource":"*","Condition":{"ForAnyValue:StringEquals":{"kms:ResourceAliases":"alias/c"}}}]}`))
	encryptByName := func() error {
		_, err := byName.Encrypt(t.Context(), &kms.EncryptInput{KeyId: one.KeyId, Plaintext: []byte("x")})
		return err
	}
	if err := encryptByName(); err != nil {
		t.Error(err)
	}
	if _, err := client.DeleteAlias(t.Context(), &kms.DeleteAliasInput{AliasName: aws.String("alias/c")}); err != nil {
		t.Fatal(err)
	}
	wantError(t, encryptByName(), "AccessDeniedException", "kms:Encrypt")
	_, err = client.DeleteAlias(t.Context(), &kms.DeleteAliasInput{AliasName: aws.String("alias/c")})
	wantError(t, err, "NotFoundException", "Alias arn:aws:kms:us-east-1:123456789012:alias/c is not found.")

	// The permission is needed on both ends.
	keyOnly := kms.NewFromConfig(sys.User(t, "key-only", malotetest.Allow(*one.Arn, "kms:CreateAlias")))
	_, err = keyOnly.CreateAlias(t.Context(), &kms.CreateAliasInput{AliasName: aws.String("alias/x"), TargetKeyId: one.KeyId})
	wantError(t, err, "AccessDeniedException", "kms:CreateAlias on resource: arn:aws:kms:us-east-1:123456789012:alias/x")
	aliasOnly := kms.NewFromConfig(sys.User(t, "alias-only", malotetest.Allow("arn:aws:kms:us-east-1:123456789012:alias/*", "kms:CreateAlias")))
	_, err = aliasOnly.CreateAlias(t.Context(), &kms.CreateAliasInput{AliasName: aws.String("alias/x"), TargetKeyId: one.KeyId})
	wantError(t, err, "AccessDeniedException", "kms:CreateAlias on resource: "+*one.Arn)
}

func TestListKeys(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	client := kms.NewFromConfig(sys.Config())
	want := map[string]bool{}
	for range 5 {
		want[*createKey(t, client).KeyId] = true
	}
	pages := kms.NewListKeysPaginator(client, &kms.ListKeysInput{Limit: aws.Int32(2)})
	for pages.HasMorePages() {
		out, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range out.Keys {
			if !want[*k.KeyId] {
				t.Errorf("%s is listed twice or not ours", *k.KeyId)
			}
			delete(want, *k.KeyId)
		}
	}
	if len(want) != 0 {
		t.Errorf("not listed: %v", want)
	}
	bob := kms.NewFromConfig(sys.User(t, "bob", ""))
	_, err := bob.ListKeys(t.Context(), &kms.ListKeysInput{})
	wantError(t, err, "AccessDeniedException", "User: arn:aws:iam::123456789012:user/bob is not authorized to perform: kms:ListKeys because no identity-based policy allows the kms:ListKeys action")
}

func TestTags(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	client := kms.NewFromConfig(sys.Config())
	out, err := client.CreateKey(t.Context(), &kms.CreateKeyInput{Tags: []types.Tag{{TagKey: aws.String("z"), TagValue: aws.String("1")}, {TagKey: aws.String("a"), TagValue: aws.String("")}}})
	if err != nil {
		t.Fatal(err)
	}
	key := out.KeyMetadata
	byTag := kms.NewFromConfig(sys.User(t, "by-tag", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"kms:Encrypt","Resource":"*","Condition":{"StringEquals":{"aws:ResourceTag/z":"2"}}}]}`))
	_, err = byTag.Encrypt(t.Context(), &kms.EncryptInput{KeyId: key.KeyId, Plaintext: []byte("x")})
	wantError(t, err, "AccessDeniedException", "kms:Encrypt")
	if _, err := client.TagResource(t.Context(), &kms.TagResourceInput{KeyId: key.KeyId, Tags: []types.Tag{{TagKey: aws.String("z"), TagValue: aws.String("2")}, {TagKey: aws.String("m"), TagValue: aws.String("3")}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := byTag.Encrypt(t.Context(), &kms.EncryptInput{KeyId: key.KeyId, Plaintext: []byte("x")}); err != nil {
		t.Error(err)
	}
	if _, err := client.UntagResource(t.Context(), &kms.UntagResourceInput{KeyId: key.KeyId, TagKeys: []string{"a", "absent"}}); err != nil {
		t.Fatal(err)
	}
	var got []string
	in := &kms.ListResourceTagsInput{KeyId: key.KeyId, Limit: aws.Int32(1)}
	for {
		page, err := client.ListResourceTags(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		for _, tag := range page.Tags {
			got = append(got, *tag.TagKey+"="+*tag.TagValue)
		}
		if !page.Truncated {
			break
		}
		in.Marker = page.NextMarker
	}
	if diff := cmp.Diff([]string{"z=2", "m=3"}, got); diff != "" {
		t.Error(diff)
	}
}

// What Terraform's aws_kms_key and aws_kms_alias call, in its order.
func TestTerraform(t *testing.T) {
	t.Parallel()
	client := kms.NewFromConfig(malotetest.New(t).Config())
	policy := keyPolicy("arn:aws:iam::123456789012:root", "kms:*")
	made, err := client.CreateKey(t.Context(), &kms.CreateKeyInput{
		Description: aws.String("shop"), Policy: aws.String(policy), KeySpec: "SYMMETRIC_DEFAULT", KeyUsage: "ENCRYPT_DECRYPT",
		Tags: []types.Tag{{TagKey: aws.String("Name"), TagValue: aws.String("shop")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	id := made.KeyMetadata.KeyId
	described, err := client.DescribeKey(t.Context(), &kms.DescribeKeyInput{KeyId: id})
	if err != nil || *described.KeyMetadata.Description != "shop" {
		t.Errorf("DescribeKey = %+v, %v", described, err)
	}
	got, err := client.GetKeyPolicy(t.Context(), &kms.GetKeyPolicyInput{KeyId: id, PolicyName: aws.String("default")})
	if err != nil {
		t.Fatal(err)
	}
	var a, b any
	if json.Unmarshal([]byte(*got.Policy), &a) != nil || json.Unmarshal([]byte(policy), &b) != nil || !cmp.Equal(a, b) {
		t.Errorf("GetKeyPolicy = %s", *got.Policy)
	}
	if _, err := client.GetKeyRotationStatus(t.Context(), &kms.GetKeyRotationStatusInput{KeyId: id}); err != nil {
		t.Error(err)
	}
	tags, err := client.ListResourceTags(t.Context(), &kms.ListResourceTagsInput{KeyId: id})
	if err != nil || len(tags.Tags) != 1 {
		t.Errorf("ListResourceTags = %+v, %v", tags, err)
	}
	if _, err := client.EnableKeyRotation(t.Context(), &kms.EnableKeyRotationInput{KeyId: id}); err != nil {
		t.Error(err)
	}
	if _, err := client.UpdateKeyDescription(t.Context(), &kms.UpdateKeyDescriptionInput{KeyId: id, Description: aws.String("")}); err != nil {
		t.Error(err)
	}
	if _, err := client.CreateAlias(t.Context(), &kms.CreateAliasInput{AliasName: aws.String("alias/shop"), TargetKeyId: id}); err != nil {
		t.Error(err)
	}
	if _, err := client.DeleteAlias(t.Context(), &kms.DeleteAliasInput{AliasName: aws.String("alias/shop")}); err != nil {
		t.Error(err)
	}
	if _, err := client.ScheduleKeyDeletion(t.Context(), &kms.ScheduleKeyDeletionInput{KeyId: id, PendingWindowInDays: aws.Int32(7)}); err != nil {
		t.Error(err)
	}
	described, err = client.DescribeKey(t.Context(), &kms.DescribeKeyInput{KeyId: id})
	if err != nil || described.KeyMetadata.KeyState != "PendingDeletion" || described.KeyMetadata.DeletionDate == nil {
		t.Errorf("DescribeKey = %+v, %v", described, err)
	}
	_, err = client.ScheduleKeyDeletion(t.Context(), &kms.ScheduleKeyDeletionInput{KeyId: id})
	wantError(t, err, "KMSInvalidStateException", "is pending deletion")
}

// A key policy means the user that it named, not the name: who is deleted and made again
// has no part in it, and GetKeyPolicy tells so.
func TestKeyPolicyMeansPersons(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	admin := kms.NewFromConfig(sys.Config())
	people := iam.NewFromConfig(sys.Config())
	bob := kms.NewFromConfig(sys.User(t, "bob", ""))
	key := createKey(t, admin)
	blob := encrypt(t, admin, key.KeyId, "x", nil)
	put := func(principal string) error {
		text := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::123456789012:root"},"Action":"kms:*","Resource":"*"},
			{"Effect":"Allow","Principal":{"AWS":"` + principal + `"},"Action":"kms:Decrypt","Resource":"*"}]}`
		_, err := admin.PutKeyPolicy(t.Context(), &kms.PutKeyPolicyInput{KeyId: key.KeyId, Policy: aws.String(text)})
		return err
	}
	wantError(t, put("arn:aws:iam::123456789012:user/nobody"), "MalformedPolicyDocumentException", "Policy contains a statement with one or more invalid principals.")
	const arn = "arn:aws:iam::123456789012:user/bob"
	if err := put(arn); err != nil {
		t.Fatal(err)
	}
	decrypt := func(client *kms.Client) error {
		_, err := client.Decrypt(t.Context(), &kms.DecryptInput{CiphertextBlob: blob, KeyId: key.Arn})
		return err
	}
	if err := decrypt(bob); err != nil {
		t.Fatal(err)
	}
	policy := func() string {
		t.Helper()
		out, err := admin.GetKeyPolicy(t.Context(), &kms.GetKeyPolicyInput{KeyId: key.KeyId})
		if err != nil {
			t.Fatal(err)
		}
		return *out.Policy
	}
	if !strings.Contains(policy(), arn) {
		t.Error("the policy does not read as it was put")
	}

	list, err := people.ListAccessKeys(t.Context(), &iam.ListAccessKeysInput{UserName: aws.String("bob")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := people.DeleteAccessKey(t.Context(), &iam.DeleteAccessKeyInput{UserName: aws.String("bob"), AccessKeyId: list.AccessKeyMetadata[0].AccessKeyId}); err != nil {
		t.Fatal(err)
	}
	if _, err := people.DeleteUser(t.Context(), &iam.DeleteUserInput{UserName: aws.String("bob")}); err != nil {
		t.Fatal(err)
	}
	again := kms.NewFromConfig(sys.User(t, "bob", ""))
	wantError(t, decrypt(again), "AccessDeniedException", "kms:Decrypt")
	if strings.Contains(policy(), arn) || !strings.Contains(policy(), "AIDA") {
		t.Error("the policy still reads as if it named the new user")
	}
}
