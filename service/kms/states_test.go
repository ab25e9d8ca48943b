package kms_test

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/malote/malote/malotetest"
)

// A key with imported material in every state, from the table of key states: "" works.
func TestImportedKeyStates(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	client := kms.NewFromConfig(sys.Config())
	sys.User(t, "bob", "")
	bob := aws.String(userARN + "bob")
	own := createKey(t, client)
	const disabled, pending, waiting, origin = "DisabledException", "KMSInvalidStateException is pending deletion.", "KMSInvalidStateException is pending import.", "UnsupportedOperationException"
	grant := func(id *string) *kms.CreateGrantOutput {
		return grantTo(t, client, &kms.CreateGrantInput{KeyId: id, GranteePrincipal: bob, Operations: []types.GrantOperation{"Decrypt"}})
	}
	type key struct {
		id    *string
		blob  []byte
		grant *kms.CreateGrantOutput
		again *kms.ImportKeyMaterialInput
	}
	for _, tt := range []struct {
		name                                                   string
		call                                                   func(k key) error
		whenEnabled, whenDisabled, whenDeleted, whenWithoutAny string
	}{
		{"Encrypt", func(k key) error {
			_, err := client.Encrypt(t.Context(), &kms.EncryptInput{KeyId: k.id, Plaintext: []byte("x")})
			return err
		}, "", disabled, pending, waiting},
		{"Decrypt", func(k key) error {
			_, err := client.Decrypt(t.Context(), &kms.DecryptInput{CiphertextBlob: k.blob})
			return err
		}, "", disabled, pending, waiting},
		{"ReEncrypt", func(k key) error {
			_, err := client.ReEncrypt(t.Context(), &kms.ReEncryptInput{CiphertextBlob: k.blob, DestinationKeyId: own.KeyId})
			return err
		}, "", disabled, pending, waiting},
		{"GenerateDataKey", func(k key) error {
			_, err := client.GenerateDataKey(t.Context(), &kms.GenerateDataKeyInput{KeyId: k.id, KeySpec: "AES_256"})
			return err
		}, "", disabled, pending, waiting},
		{"CreateGrant", func(k key) error {
			_, err := client.CreateGrant(t.Context(), &kms.CreateGrantInput{KeyId: k.id, GranteePrincipal: bob, Operations: []types.GrantOperation{"Decrypt"}})
			return err
		}, "", disabled, pending, waiting},
		{"ListGrants", func(k key) error {
			_, err := client.ListGrants(t.Context(), &kms.ListGrantsInput{KeyId: k.id})
			return err
		}, "", "", "", ""},
		{"RevokeGrant", func(k key) error {
			_, err := client.RevokeGrant(t.Context(), &kms.RevokeGrantInput{KeyId: k.id, GrantId: k.grant.GrantId})
			return err
		}, "", "", "", ""},
		{"RetireGrant", func(k key) error {
			_, err := client.RetireGrant(t.Context(), &kms.RetireGrantInput{GrantToken: k.grant.GrantToken})
			return err
		}, "", "", "", ""},
		{"EnableKey", func(k key) error {
			_, err := client.EnableKey(t.Context(), &kms.EnableKeyInput{KeyId: k.id})
			return err
		}, "", "", pending, waiting},
		{"DisableKey", func(k key) error {
			_, err := client.DisableKey(t.Context(), &kms.DisableKeyInput{KeyId: k.id})
			return err
		}, "", "", pending, waiting},
		{"TagResource", func(k key) error {
			_, err := client.TagResource(t.Context(), &kms.TagResourceInput{KeyId: k.id, Tags: []types.Tag{{TagKey: aws.String("a"), TagValue: aws.String("b")}}})
			return err
		}, "", "", pending, ""},
		{"EnableKeyRotation", func(k key) error {
			_, err := client.EnableKeyRotation(t.Context(), &kms.EnableKeyRotationInput{KeyId: k.id})
			return err
		}, origin, origin, origin, origin},
		{"GetKeyRotationStatus", func(k key) error {
			_, err := client.GetKeyRotationStatus(t.Context(), &kms.GetKeyRotationStatusInput{KeyId: k.id})
			return err
		}, "", "", "", origin},
		{"ListKeyRotations", func(k key) error {
			_, err := client.ListKeyRotations(t.Context(), &kms.ListKeyRotationsInput{KeyId: k.id})
			return err
		}, "", "", "", ""},
		{"RotateKeyOnDemand", func(k key) error {
			_, err := client.RotateKeyOnDemand(t.Context(), &kms.RotateKeyOnDemandInput{KeyId: k.id})
			return err
		}, "KMSInvalidStateException No available key material", disabled, pending, waiting},
		{"GetParametersForImport", func(k key) error {
			_, err := client.GetParametersForImport(t.Context(), &kms.GetParametersForImportInput{KeyId: k.id, WrappingAlgorithm: "RSAES_OAEP_SHA_256", WrappingKeySpec: "RSA_2048"})
			return err
		}, "", "", pending, ""},
		{"ImportKeyMaterial", func(k key) error {
			_, err := client.ImportKeyMaterial(t.Context(), k.again)
			return err
		}, "", "", pending, ""},
		{"DeleteImportedKeyMaterial", func(k key) error {
			_, err := client.DeleteImportedKeyMaterial(t.Context(), &kms.DeleteImportedKeyMaterialInput{KeyId: k.id})
			return err
		}, "", "", "", ""},
		{"ScheduleKeyDeletion", func(k key) error {
			_, err := client.ScheduleKeyDeletion(t.Context(), &kms.ScheduleKeyDeletionInput{KeyId: k.id})
			return err
		}, "", "", pending, ""},
		{"CancelKeyDeletion", func(k key) error {
			_, err := client.CancelKeyDeletion(t.Context(), &kms.CancelKeyDeletionInput{KeyId: k.id})
			return err
		}, "KMSInvalidStateException is not pending deletion.", "KMSInvalidStateException is not pending deletion.", "", "KMSInvalidStateException is not pending deletion."},
		{"ReplicateKey", func(k key) error {
			_, err := client.ReplicateKey(t.Context(), &kms.ReplicateKeyInput{KeyId: k.id, ReplicaRegion: aws.String("eu-west-1")})
			return err
		}, "", disabled, pending, waiting},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for state, want := range map[string]string{"Enabled": tt.whenEnabled, "Disabled": tt.whenDisabled, "PendingDeletion": tt.whenDeleted, "PendingImport": tt.whenWithoutAny} {
				made := externalKey(t, client, true)
				k := key{id: made.KeyId, again: wrapped(t, client, made.KeyId, "RSA_2048", "RSAES_OAEP_SHA_256", newMaterial())}
				imported(t, client, k.again)
				k.blob, k.grant = encrypt(t, client, k.id, "x", nil), grant(k.id)
				var err error
				switch state {
				case "Disabled":
					_, err = client.DisableKey(t.Context(), &kms.DisableKeyInput{KeyId: k.id})
				case "PendingDeletion":
					_, err = client.ScheduleKeyDeletion(t.Context(), &kms.ScheduleKeyDeletionInput{KeyId: k.id})
				case "PendingImport":
					_, err = client.DeleteImportedKeyMaterial(t.Context(), &kms.DeleteImportedKeyMaterialInput{KeyId: k.id})
				}
				if err != nil {
					t.Fatal(err)
				}
				if got := stateOf(t, client, k.id); string(got.KeyState) != state {
					t.Fatalf("state %s, want %s", got.KeyState, state)
				}
				err = tt.call(k)
				if want == "" {
					if err != nil {
						t.Errorf("of a key that is %s: %v", state, err)
					}
					continue
				}
				code, text := cutSpace(want)
				wantError(t, err, code, text)
			}
		})
	}
}

// cutSpace returns an error's code and a part of its message; a space if any will do.
func cutSpace(want string) (code, text string) {
	for i := range want {
		if want[i] == ' ' {
			return want[:i], want[i+1:]
		}
	}
	return want, " "
}
