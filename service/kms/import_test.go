package kms_test

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"hash"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/malote/malote/malotetest"
	"github.com/malote/malote/service/kms/kwptest"
)

// wrapped asks for parameters and wraps material as a client does.
func wrapped(t *testing.T, client *kms.Client, keyID *string, spec types.WrappingKeySpec, algorithm types.AlgorithmSpec, material []byte) *kms.ImportKeyMaterialInput {
	t.Helper()
	p, err := client.GetParametersForImport(t.Context(), &kms.GetParametersForImportInput{KeyId: keyID, WrappingAlgorithm: algorithm, WrappingKeySpec: spec})
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.ParsePKIXPublicKey(p.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	newHash := map[bool]func() hash.Hash{true: sha256.New, false: sha1.New}[strings.HasSuffix(string(algorithm), "SHA_256")]
	first, rest := material, []byte(nil)
	if strings.HasPrefix(string(algorithm), "RSA_AES") {
		first = make([]byte, 32)
		rand.Read(first)
		rest = kwptest.Wrap(first, material)
	}
	sealed, err := rsa.EncryptOAEP(newHash(), rand.Reader, public.(*rsa.PublicKey), first, nil)
	if err != nil {
		t.Fatal(err)
	}
	return &kms.ImportKeyMaterialInput{
		KeyId: keyID, ImportToken: p.ImportToken, EncryptedKeyMaterial: append(sealed, rest...),
		ExpirationModel: types.ExpirationModelTypeKeyMaterialDoesNotExpire,
	}
}

func externalKey(t *testing.T, client *kms.Client, multiRegion bool) *types.KeyMetadata {
	t.Helper()
	out, err := client.CreateKey(t.Context(), &kms.CreateKeyInput{Origin: types.OriginTypeExternal, MultiRegion: &multiRegion})
	if err != nil {
		t.Fatal(err)
	}
	return out.KeyMetadata
}

func newMaterial() []byte {
	material := make([]byte, 32)
	rand.Read(material)
	return material
}

func imported(t *testing.T, client *kms.Client, in *kms.ImportKeyMaterialInput) string {
	t.Helper()
	out, err := client.ImportKeyMaterial(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	return *out.KeyMaterialId
}

func stateOf(t *testing.T, client *kms.Client, id *string) *types.KeyMetadata {
	t.Helper()
	out, err := client.DescribeKey(t.Context(), &kms.DescribeKeyInput{KeyId: id})
	if err != nil {
		t.Fatal(err)
	}
	return out.KeyMetadata
}

func wantDecrypts(t *testing.T, client *kms.Client, blob []byte, text string) {
	t.Helper()
	out, err := client.Decrypt(t.Context(), &kms.DecryptInput{CiphertextBlob: blob})
	if err != nil {
		t.Error(err)
	} else if string(out.Plaintext) != text {
		t.Error("decrypted to something else")
	}
}

func TestImportKeyMaterial(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	client := kms.NewFromConfig(sys.Config())
	for _, tt := range []struct {
		spec      types.WrappingKeySpec
		algorithm types.AlgorithmSpec
	}{
		{"RSA_2048", "RSAES_OAEP_SHA_1"}, {"RSA_2048", "RSAES_OAEP_SHA_256"}, {"RSA_2048", "RSA_AES_KEY_WRAP_SHA_1"},
		{"RSA_3072", "RSA_AES_KEY_WRAP_SHA_256"}, {"RSA_4096", "RSAES_OAEP_SHA_256"},
	} {
		t.Run(string(tt.spec+" ")+string(tt.algorithm), func(t *testing.T) {
			key := externalKey(t, client, false)
			if key.KeyState != "PendingImport" || key.Enabled || key.Origin != "EXTERNAL" || key.CurrentKeyMaterialId != nil || key.ExpirationModel != "" {
				t.Errorf("new: %+v", key)
			}
			_, err := client.Encrypt(t.Context(), &kms.EncryptInput{KeyId: key.KeyId, Plaintext: []byte("x")})
			wantError(t, err, "KMSInvalidStateException", *key.Arn+" is pending import.")
			id := imported(t, client, wrapped(t, client, key.KeyId, tt.spec, tt.algorithm, newMaterial()))
			got := stateOf(t, client, key.KeyId)
			if got.KeyState != "Enabled" || aws.ToString(got.CurrentKeyMaterialId) != id || got.ExpirationModel != "KEY_MATERIAL_DOES_NOT_EXPIRE" || got.ValidTo != nil {
				t.Errorf("imported: %+v", got)
			}
			canary := sys.Canary()
			wantDecrypts(t, client, encrypt(t, client, key.KeyId, canary, nil), canary)
		})
	}
}

func TestImportRefused(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	client := kms.NewFromConfig(sys.Config())
	own, key, other := createKey(t, client), externalKey(t, client, false), externalKey(t, client, false)
	good := wrapped(t, client, key.KeyId, "RSA_2048", "RSAES_OAEP_SHA_256", newMaterial())
	foreign := wrapped(t, client, other.KeyId, "RSA_2048", "RSAES_OAEP_SHA_256", newMaterial())
	short := wrapped(t, client, key.KeyId, "RSA_2048", "RSAES_OAEP_SHA_256", newMaterial()[:31])
	year := time.Now().Add(366 * 24 * time.Hour)
	for _, tt := range []struct {
		name       string
		change     func(in *kms.ImportKeyMaterialInput)
		code, text string
	}{
		{"no date", func(in *kms.ImportKeyMaterialInput) { in.ExpirationModel = "" }, "ValidationException", "A validTo date must be set if the ExpirationModel is KEY_MATERIAL_EXPIRES"},
		{"date without expiry", func(in *kms.ImportKeyMaterialInput) { in.ValidTo = &year }, "ValidationException", "must not be set"},
		{"past", func(in *kms.ImportKeyMaterialInput) { in.ExpirationModel, in.ValidTo = "", aws.Time(time.Unix(1, 0)) }, "ValidationException", "future"},
		{"far", func(in *kms.ImportKeyMaterialInput) { in.ExpirationModel, in.ValidTo = "", &year }, "ValidationException", "365 days"},
		{"token of another key", func(in *kms.ImportKeyMaterialInput) { in.ImportToken = foreign.ImportToken }, "InvalidImportTokenException", "import token"},
		{"made-up token", func(in *kms.ImportKeyMaterialInput) { in.ImportToken = []byte("x") }, "InvalidImportTokenException", "import token"},
		{"material of another token", func(in *kms.ImportKeyMaterialInput) { in.EncryptedKeyMaterial = foreign.EncryptedKeyMaterial }, "InvalidCiphertextException", ""},
		{"material not wrapped", func(in *kms.ImportKeyMaterialInput) { in.EncryptedKeyMaterial = newMaterial() }, "InvalidCiphertextException", ""},
		{"short material", func(in *kms.ImportKeyMaterialInput) { *in = *short }, "IncorrectKeyMaterialException", "32 bytes"},
		{"nothing there yet", func(in *kms.ImportKeyMaterialInput) { in.ImportType = "EXISTING_KEY_MATERIAL" }, "IncorrectKeyMaterialException", "previously imported"},
		{"another id", func(in *kms.ImportKeyMaterialInput) { in.KeyMaterialId = aws.String(strings.Repeat("0", 64)) }, "IncorrectKeyMaterialException", "KeyMaterialId"},
		{"id of new material", func(in *kms.ImportKeyMaterialInput) {
			in.ImportType, in.KeyMaterialId = "NEW_KEY_MATERIAL", aws.String(strings.Repeat("0", 64))
		}, "ValidationException", "KeyMaterialId"},
		{"key of our own", func(in *kms.ImportKeyMaterialInput) { in.KeyId = own.KeyId }, "UnsupportedOperationException", *own.Arn + " origin is AWS_KMS which is not valid for this operation."},
	} {
		in := *good
		tt.change(&in)
		_, err := client.ImportKeyMaterial(t.Context(), &in)
		if err == nil {
			t.Errorf("%s: no error", tt.name)
			continue
		}
		wantError(t, err, tt.code, tt.text)
	}
	for _, tt := range []struct {
		in   kms.GetParametersForImportInput
		text string
	}{
		{kms.GetParametersForImportInput{KeyId: own.KeyId, WrappingKeySpec: "RSA_2048", WrappingAlgorithm: "RSAES_OAEP_SHA_256"}, *own.Arn + " origin is AWS_KMS which is not valid for this operation."},
		{kms.GetParametersForImportInput{KeyId: key.KeyId, WrappingKeySpec: "RSA_2048", WrappingAlgorithm: "RSAES_PKCS1_V1_5"}, "RSAES_PKCS1_V1_5"},
		{kms.GetParametersForImportInput{KeyId: key.KeyId, WrappingKeySpec: "SM2", WrappingAlgorithm: "RSAES_OAEP_SHA_256"}, "SM2"},
	} {
		_, err := client.GetParametersForImport(t.Context(), &tt.in)
		wantError(t, err, "UnsupportedOperationException", tt.text)
	}
	_, err := client.DeleteImportedKeyMaterial(t.Context(), &kms.DeleteImportedKeyMaterialInput{KeyId: own.KeyId})
	wantError(t, err, "UnsupportedOperationException", *own.Arn+" origin is AWS_KMS which is not valid for this operation.")
	_, err = client.EnableKeyRotation(t.Context(), &kms.EnableKeyRotationInput{KeyId: key.KeyId})
	wantError(t, err, "UnsupportedOperationException", "EXTERNAL")
	_, err = client.EnableKey(t.Context(), &kms.EnableKeyInput{KeyId: key.KeyId})
	wantError(t, err, "KMSInvalidStateException", "is pending import.")

	// Whoever may not import does not, and conditions on how are obeyed.
	bob := kms.NewFromConfig(sys.User(t, "bob", `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":"kms:ImportKeyMaterial","Resource":"*","Condition":{"StringEquals":{"kms:ExpirationModel":"KEY_MATERIAL_EXPIRES"},"NumericLessThan":{"kms:ValidTo":"4000000000"}}},
		{"Effect":"Allow","Action":"kms:GetParametersForImport","Resource":"*","Condition":{"StringEquals":{"kms:WrappingKeySpec":"RSA_4096","kms:WrappingAlgorithm":"RSAES_OAEP_SHA_256"}}}]}`))
	_, err = bob.ImportKeyMaterial(t.Context(), good)
	wantError(t, err, "AccessDeniedException", "kms:ImportKeyMaterial")
	_, err = bob.GetParametersForImport(t.Context(), &kms.GetParametersForImportInput{KeyId: key.KeyId, WrappingKeySpec: "RSA_2048", WrappingAlgorithm: "RSAES_OAEP_SHA_256"})
	wantError(t, err, "AccessDeniedException", "kms:GetParametersForImport")
	_, err = bob.DeleteImportedKeyMaterial(t.Context(), &kms.DeleteImportedKeyMaterialInput{KeyId: key.KeyId})
	wantError(t, err, "AccessDeniedException", "kms:DeleteImportedKeyMaterial")
	allowed := *good
	allowed.ExpirationModel, allowed.ValidTo = "", aws.Time(time.Now().Add(time.Hour))
	if _, err := bob.ImportKeyMaterial(t.Context(), &allowed); err != nil {
		t.Error(err)
	}

	sys.Clock.Advance(24*time.Hour + time.Minute)
	_, err = client.ImportKeyMaterial(t.Context(), good)
	wantError(t, err, "ExpiredImportTokenException", "expired")
}

// Material goes when it expires or is deleted, and comes back by the same bytes alone.
func TestImportedMaterialComesAndGoes(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	client := kms.NewFromConfig(sys.Config())
	key := externalKey(t, client, false)
	if out, err := client.DeleteImportedKeyMaterial(t.Context(), &kms.DeleteImportedKeyMaterialInput{KeyId: key.KeyId}); err != nil || *out.KeyId != *key.Arn {
		t.Errorf("deleting what is not there: %+v, %v", out, err)
	}
	material := newMaterial()
	in := wrapped(t, client, key.KeyId, "RSA_2048", "RSAES_OAEP_SHA_256", material)
	expiring := *in
	until := sys.Clock.Now().Add(time.Hour).Truncate(time.Second)
	expiring.ExpirationModel, expiring.ValidTo = "", &until
	id := imported(t, client, &expiring)
	got := stateOf(t, client, key.KeyId)
	if got.ExpirationModel != "KEY_MATERIAL_EXPIRES" || got.ValidTo == nil || !got.ValidTo.Equal(until) {
		t.Errorf("expiring: %+v", got)
	}
	canary := sys.Canary()
	blob := encrypt(t, client, key.KeyId, canary, nil)

	wantGone := func() {
		t.Helper()
		_, err := client.Decrypt(t.Context(), &kms.DecryptInput{CiphertextBlob: blob})
		wantError(t, err, "KMSInvalidStateException", "is pending import.")
		got := stateOf(t, client, key.KeyId)
		if got.KeyState != "PendingImport" || aws.ToString(got.CurrentKeyMaterialId) != id || got.ExpirationModel != "" || got.ValidTo != nil {
			t.Errorf("without material: %+v", got)
		}
	}
	sys.Clock.Advance(time.Hour)
	wantGone()
	_, err := client.ImportKeyMaterial(t.Context(), wrapped(t, client, key.KeyId, "RSA_2048", "RSAES_OAEP_SHA_256", newMaterial()))
	wantError(t, err, "IncorrectKeyMaterialException", "previously imported")
	if again := imported(t, client, in); again != id {
		t.Errorf("the same material has id %s, had %s", again, id)
	}
	wantDecrypts(t, client, blob, canary)
	out, err := client.DeleteImportedKeyMaterial(t.Context(), &kms.DeleteImportedKeyMaterialInput{KeyId: key.KeyId})
	if err != nil || *out.KeyMaterialId != id {
		t.Errorf("DeleteImportedKeyMaterial = %+v, %v", out, err)
	}
	wantGone()

	// Pending deletion stays that, and material that went meanwhile shows afterwards.
	imported(t, client, in)
	if _, err := client.ScheduleKeyDeletion(t.Context(), &kms.ScheduleKeyDeletionInput{KeyId: key.KeyId}); err != nil {
		t.Fatal(err)
	}
	_, err = client.ImportKeyMaterial(t.Context(), in)
	wantError(t, err, "KMSInvalidStateException", "is pending deletion.")
	if _, err := client.DeleteImportedKeyMaterial(t.Context(), &kms.DeleteImportedKeyMaterialInput{KeyId: key.KeyId}); err != nil {
		t.Error(err)
	}
	if got := stateOf(t, client, key.KeyId); got.KeyState != "PendingDeletion" {
		t.Errorf("state %s", got.KeyState)
	}
	if _, err := client.CancelKeyDeletion(t.Context(), &kms.CancelKeyDeletionInput{KeyId: key.KeyId}); err != nil {
		t.Fatal(err)
	}
	wantGone()
}

// New material waits for RotateKeyOnDemand; what the old one encrypted opens for ever.
func TestImportedMaterialRotates(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	client := kms.NewFromConfig(sys.Config())
	key := externalKey(t, client, false)
	rotate := func() error {
		_, err := client.RotateKeyOnDemand(t.Context(), &kms.RotateKeyOnDemandInput{KeyId: key.KeyId})
		return err
	}
	wantError(t, rotate(), "KMSInvalidStateException", *key.Arn+" is pending import.")
	one, two, three := newMaterial(), newMaterial(), newMaterial()
	first := imported(t, client, wrapped(t, client, key.KeyId, "RSA_2048", "RSAES_OAEP_SHA_256", one))
	blob := encrypt(t, client, key.KeyId, "before", nil)
	wantError(t, rotate(), "KMSInvalidStateException", "No available key material pending rotation for the key: "+*key.Arn+".")

	next := wrapped(t, client, key.KeyId, "RSA_2048", "RSAES_OAEP_SHA_256", two)
	next.ImportType, next.KeyMaterialDescription = "NEW_KEY_MATERIAL", aws.String("second")
	second := imported(t, client, next)
	if got := stateOf(t, client, key.KeyId); *got.CurrentKeyMaterialId != first {
		t.Error("pending material is the current one")
	}
	another := wrapped(t, client, key.KeyId, "RSA_2048", "RSAES_OAEP_SHA_256", three)
	another.ImportType = "NEW_KEY_MATERIAL"
	_, err := client.ImportKeyMaterial(t.Context(), another)
	wantError(t, err, "KMSInvalidStateException", ") cannot be imported into KMS key "+*key.Arn+", because another key material (id: "+second+") is pending rotation.")
	list := func(include types.IncludeKeyMaterial) (states []string) {
		out, err := client.ListKeyRotations(t.Context(), &kms.ListKeyRotationsInput{KeyId: key.KeyId, IncludeKeyMaterial: include})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range out.Rotations {
			states = append(states, string(r.KeyMaterialState)+" "+string(r.ImportState)+" "+aws.ToString(r.KeyMaterialDescription))
		}
		return states
	}
	if got := strings.Join(list("ALL_KEY_MATERIAL"), ","); got != "CURRENT IMPORTED ,PENDING_ROTATION IMPORTED second" {
		t.Errorf("pending: %s", got)
	}
	if got := list(""); len(got) != 0 {
		t.Errorf("rotations so far: %s", got)
	}
	if err := rotate(); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(list("ALL_KEY_MATERIAL"), ","); got != "NON_CURRENT IMPORTED ,CURRENT IMPORTED second" {
		t.Errorf("rotated: %s", got)
	}
	wantDecrypts(t, client, blob, "before")
	wantDecrypts(t, client, encrypt(t, client, key.KeyId, "after", nil), "after")

	// Without any of its material the key is of no use.
	if _, err := client.DeleteImportedKeyMaterial(t.Context(), &kms.DeleteImportedKeyMaterialInput{KeyId: key.KeyId, KeyMaterialId: &first}); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(list("ALL_KEY_MATERIAL"), ","); got != "NON_CURRENT PENDING_IMPORT ,CURRENT IMPORTED second" || stateOf(t, client, key.KeyId).KeyState != "PendingImport" {
		t.Errorf("the first deleted: %s", got)
	}
	back := wrapped(t, client, key.KeyId, "RSA_2048", "RSAES_OAEP_SHA_256", one)
	back.KeyMaterialId = &first
	imported(t, client, back)
	wantDecrypts(t, client, blob, "before")
	_, err = client.DeleteImportedKeyMaterial(t.Context(), &kms.DeleteImportedKeyMaterialInput{KeyId: key.KeyId, KeyMaterialId: aws.String(strings.Repeat("0", 64))})
	wantError(t, err, "NotFoundException", "not associated")

	// Pending material that is deleted is forgotten, so that other may come in its place.
	third := imported(t, client, another)
	if _, err := client.DeleteImportedKeyMaterial(t.Context(), &kms.DeleteImportedKeyMaterialInput{KeyId: key.KeyId, KeyMaterialId: &third}); err != nil {
		t.Fatal(err)
	}
	if got := stateOf(t, client, key.KeyId); got.KeyState != "Enabled" {
		t.Errorf("pending material deleted: %s", got.KeyState)
	}
	fourth := wrapped(t, client, key.KeyId, "RSA_2048", "RSAES_OAEP_SHA_256", bytes.Repeat([]byte{4}, 32))
	fourth.ImportType = "NEW_KEY_MATERIAL"
	imported(t, client, fourth)
}
