package kms_test

import (
	"bytes"
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	_ "crypto/sha512"
	"crypto/x509"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/smithy-go"

	"github.com/malote/malote/malotetest"
)

func keyOf(t *testing.T, client *kms.Client, spec types.KeySpec, usage types.KeyUsageType) *types.KeyMetadata {
	t.Helper()
	out, err := client.CreateKey(t.Context(), &kms.CreateKeyInput{KeySpec: spec, KeyUsage: usage})
	if err != nil {
		t.Fatal(err)
	}
	return out.KeyMetadata
}

func publicOf(t *testing.T, client *kms.Client, id *string) *kms.GetPublicKeyOutput {
	t.Helper()
	out, err := client.GetPublicKey(t.Context(), &kms.GetPublicKeyInput{KeyId: id})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func hashed(h crypto.Hash, message []byte) []byte {
	d := h.New()
	d.Write(message)
	return d.Sum(nil)
}

// Signatures of every key spec verify with the standard library under the public key.
func TestSignVerify(t *testing.T) {
	t.Parallel()
	client := kms.NewFromConfig(malotetest.New(t).Config())
	hashes := map[types.SigningAlgorithmSpec]crypto.Hash{
		"RSASSA_PKCS1_V1_5_SHA_256": crypto.SHA256, "RSASSA_PKCS1_V1_5_SHA_384": crypto.SHA384, "RSASSA_PKCS1_V1_5_SHA_512": crypto.SHA512,
		"RSASSA_PSS_SHA_256": crypto.SHA256, "RSASSA_PSS_SHA_384": crypto.SHA384, "RSASSA_PSS_SHA_512": crypto.SHA512,
		"ECDSA_SHA_256": crypto.SHA256, "ECDSA_SHA_384": crypto.SHA384, "ECDSA_SHA_512": crypto.SHA512,
		"ED25519_SHA_512": 0, "ED25519_PH_SHA_512": crypto.SHA512,
	}
	rsaAlgorithms := []types.SigningAlgorithmSpec{
		"RSASSA_PKCS1_V1_5_SHA_256", "RSASSA_PKCS1_V1_5_SHA_384", "RSASSA_PKCS1_V1_5_SHA_512", "RSASSA_PSS_SHA_256", "RSASSA_PSS_SHA_384", "RSASSA_PSS_SHA_512",
	}
	for spec, algorithms := range map[types.KeySpec][]types.SigningAlgorithmSpec{
		"RSA_2048": rsaAlgorithms, "RSA_3072": rsaAlgorithms, "RSA_4096": rsaAlgorithms,
		"ECC_NIST_P256": {"ECDSA_SHA_256"}, "ECC_NIST_P384": {"ECDSA_SHA_384"}, "ECC_NIST_P521": {"ECDSA_SHA_512"},
		"ECC_SECG_P256K1": {"ECDSA_SHA_256"}, "ECC_NIST_EDWARDS25519": {"ED25519_SHA_512", "ED25519_PH_SHA_512"},
	} {
		t.Run(string(spec), func(t *testing.T) {
			t.Parallel()
			made := keyOf(t, client, spec, "SIGN_VERIFY")
			if !slices.Equal(made.SigningAlgorithms, algorithms) || made.KeySpec != spec || string(made.CustomerMasterKeySpec) != string(spec) ||
				made.KeyUsage != "SIGN_VERIFY" || made.EncryptionAlgorithms != nil || made.CurrentKeyMaterialId != nil {
				t.Errorf("metadata %+v", made)
			}
			public := publicOf(t, client, made.Arn)
			if *public.KeyId != *made.Arn || public.KeySpec != spec || public.KeyUsage != "SIGN_VERIFY" || !slices.Equal(public.SigningAlgorithms, algorithms) {
				t.Errorf("GetPublicKey: %+v", public)
			}
			message := []byte("what is signed")
			for _, algorithm := range algorithms {
				hash := hashes[algorithm]
				kinds := []types.MessageType{"", "RAW", "DIGEST"}
				switch algorithm {
				case "ED25519_SHA_512":
					kinds = []types.MessageType{"", "RAW"}
				case "ED25519_PH_SHA_512":
					kinds = []types.MessageType{"DIGEST"}
				}
				for _, kind := range kinds {
					given := message
					if kind == "DIGEST" {
						given = hashed(hash, message)
					}
					out, err := client.Sign(t.Context(), &kms.SignInput{KeyId: made.KeyId, Message: given, MessageType: kind, SigningAlgorithm: algorithm})
					if err != nil {
						t.Fatalf("%s, %s: %v", algorithm, kind, err)
					}
					if *out.KeyId != *made.Arn || out.SigningAlgorithm != algorithm {
						t.Errorf("%s: %s, %s", algorithm, *out.KeyId, out.SigningAlgorithm)
					}
					if !verifies(t, spec, public.PublicKey, algorithm, hash, message, out.Signature) {
						t.Errorf("the signature of %s, %s does not verify outside", algorithm, kind)
					}
					verify := &kms.VerifyInput{KeyId: made.KeyId, Message: given, MessageType: kind, SigningAlgorithm: algorithm, Signature: out.Signature}
					if valid, err := client.Verify(t.Context(), verify); err != nil || !valid.SignatureValid || *valid.KeyId != *made.Arn {
						t.Errorf("Verify of %s, %s: %v", algorithm, kind, err)
					}
					verify.DryRun = aws.Bool(true)
					_, err = client.Verify(t.Context(), verify)
					wantError(t, err, "DryRunOperationException", "would have succeeded")
					verify.DryRun, verify.Message = nil, bytes.Clone(given)
					verify.Message[3] ^= 1
					_, err = client.Verify(t.Context(), verify)
					wantError(t, err, "KMSInvalidSignatureException", "")
					verify.Message, verify.Signature = given, []byte("nonsense")
					_, err = client.Verify(t.Context(), verify)
					wantError(t, err, "KMSInvalidSignatureException", "")
				}
				if hash != 0 {
					in := &kms.SignInput{KeyId: made.KeyId, Message: []byte("short"), MessageType: "DIGEST", SigningAlgorithm: algorithm}
					_, err := client.Sign(t.Context(), in)
					wantError(t, err, "ValidationException", "Digest is invalid length for algorithm "+string(algorithm)+".")
					_, err = client.Verify(t.Context(), &kms.VerifyInput{KeyId: in.KeyId, Message: in.Message, MessageType: "DIGEST", SigningAlgorithm: algorithm, Signature: []byte("x")})
					wantError(t, err, "ValidationException", "Digest is invalid length for algorithm "+string(algorithm)+".")
				}
				_, err := client.Sign(t.Context(), &kms.SignInput{KeyId: made.KeyId, Message: make([]byte, 64), MessageType: "EXTERNAL_MU", SigningAlgorithm: algorithm})
				wantError(t, err, "ValidationException", "EXTERNAL_MU")
			}
			wrong := types.SigningAlgorithmSpec("ECDSA_SHA_384")
			if spec == "ECC_NIST_P384" {
				wrong = "ECDSA_SHA_256"
			}
			_, err := client.Sign(t.Context(), &kms.SignInput{KeyId: made.KeyId, Message: message, SigningAlgorithm: wrong})
			wantError(t, err, "InvalidKeyUsageException", "Algorithm "+string(wrong)+" is incompatible with key spec "+string(spec)+".")
		})
	}
}

// p256SPKI is somebody's public key on P-256.
var p256SPKI = func() []byte {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&private.PublicKey)
	if err != nil {
		panic(err)
	}
	return der
}()

// codeOf is the code of an AWS error, else "".
func codeOf(err error) string {
	var api smithy.APIError
	if !errors.As(err, &api) {
		return ""
	}
	return api.ErrorCode()
}

// verifies asks the standard library, or openssl, which alone knows secp256k1.
func verifies(t *testing.T, spec types.KeySpec, spki []byte, algorithm types.SigningAlgorithmSpec, hash crypto.Hash, message, signature []byte) bool {
	t.Helper()
	if spec == "ECC_SECG_P256K1" {
		dir := t.TempDir()
		for name, data := range map[string][]byte{"key": spki, "message": message, "signature": signature} {
			if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		cmd := exec.CommandContext(t.Context(), "openssl", "dgst", "-sha256", "-verify", "key", "-keyform", "DER", "-signature", "signature", "message")
		cmd.Dir = dir
		said, err := cmd.CombinedOutput()
		if err != nil {
			t.Logf("openssl: %v: %s", err, said)
		}
		return err == nil
	}
	public, err := x509.ParsePKIXPublicKey(spki)
	if err != nil {
		t.Fatal(err)
	}
	switch p := public.(type) {
	case *rsa.PublicKey:
		if algorithm[:10] == "RSASSA_PSS" {
			return rsa.VerifyPSS(p, hash, hashed(hash, message), signature, &rsa.PSSOptions{SaltLength: hash.Size()}) == nil
		}
		return rsa.VerifyPKCS1v15(p, hash, hashed(hash, message), signature) == nil
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(p, hashed(hash, message), signature)
	case ed25519.PublicKey:
		if hash == crypto.SHA512 {
			message = hashed(hash, message)
		}
		return ed25519.VerifyWithOptions(p, message, signature, &ed25519.Options{Hash: hash}) == nil
	}
	return false
}

func TestMac(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	client := kms.NewFromConfig(sys.Config())
	for spec, hash := range map[types.KeySpec]crypto.Hash{"HMAC_224": crypto.SHA224, "HMAC_256": crypto.SHA256, "HMAC_384": crypto.SHA384, "HMAC_512": crypto.SHA512} {
		t.Run(string(spec), func(t *testing.T) {
			t.Parallel()
			algorithm := types.MacAlgorithmSpec("HMAC_SHA_" + spec[len("HMAC_"):])
			made := keyOf(t, client, spec, "GENERATE_VERIFY_MAC")
			if !slices.Equal(made.MacAlgorithms, []types.MacAlgorithmSpec{algorithm}) || made.CurrentKeyMaterialId != nil {
				t.Errorf("metadata %+v", made)
			}
			message := []byte(sys.Canary())
			out, err := client.GenerateMac(t.Context(), &kms.GenerateMacInput{KeyId: made.KeyId, MacAlgorithm: algorithm, Message: message})
			if err != nil {
				t.Fatal(err)
			}
			if len(out.Mac) != hash.Size() || *out.KeyId != *made.Arn || out.MacAlgorithm != algorithm {
				t.Errorf("GenerateMac: %d bytes, %s", len(out.Mac), *out.KeyId)
			}
			verify := &kms.VerifyMacInput{KeyId: made.KeyId, MacAlgorithm: algorithm, Message: message, Mac: out.Mac}
			if valid, err := client.VerifyMac(t.Context(), verify); err != nil || !valid.MacValid {
				t.Errorf("VerifyMac: %v", err)
			}
			verify.DryRun = aws.Bool(true)
			_, err = client.VerifyMac(t.Context(), verify)
			wantError(t, err, "DryRunOperationException", "would have succeeded")
			_, err = client.GenerateMac(t.Context(), &kms.GenerateMacInput{KeyId: made.KeyId, MacAlgorithm: algorithm, Message: message, DryRun: aws.Bool(true)})
			wantError(t, err, "DryRunOperationException", "would have succeeded")
			verify.Message, verify.DryRun = []byte("other"), nil
			_, err = client.VerifyMac(t.Context(), verify)
			wantError(t, err, "KMSInvalidMacException", "")
			wrong := types.MacAlgorithmSpec("HMAC_SHA_512")
			if algorithm == wrong {
				wrong = "HMAC_SHA_256"
			}
			_, err = client.GenerateMac(t.Context(), &kms.GenerateMacInput{KeyId: made.KeyId, MacAlgorithm: wrong, Message: message})
			wantError(t, err, "InvalidKeyUsageException", "Algorithm "+string(wrong)+" is incompatible with key spec "+string(spec)+".")
			_, err = client.GetPublicKey(t.Context(), &kms.GetPublicKeyInput{KeyId: made.KeyId})
			wantError(t, err, "UnsupportedOperationException", string(spec))
		})
	}
}

func TestRSAEncryption(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	client := kms.NewFromConfig(sys.Config())
	symmetric := createKey(t, client)
	for spec, most := range map[types.KeySpec]map[types.EncryptionAlgorithmSpec]int{
		"RSA_2048": {"RSAES_OAEP_SHA_1": 214, "RSAES_OAEP_SHA_256": 190},
		"RSA_3072": {"RSAES_OAEP_SHA_1": 342, "RSAES_OAEP_SHA_256": 318},
		"RSA_4096": {"RSAES_OAEP_SHA_1": 470, "RSAES_OAEP_SHA_256": 446},
	} {
		t.Run(string(spec), func(t *testing.T) {
			t.Parallel()
			made := keyOf(t, client, spec, "ENCRYPT_DECRYPT")
			if !slices.Equal(made.EncryptionAlgorithms, []types.EncryptionAlgorithmSpec{"RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256"}) {
				t.Errorf("metadata %+v", made)
			}
			parsed, err := x509.ParsePKIXPublicKey(publicOf(t, client, made.KeyId).PublicKey)
			if err != nil {
				t.Fatal(err)
			}
			for algorithm, size := range most {
				plaintext := bytes.Repeat([]byte("x"), size)
				sealed, err := client.Encrypt(t.Context(), &kms.EncryptInput{KeyId: made.KeyId, Plaintext: plaintext, EncryptionAlgorithm: algorithm})
				if err != nil {
					t.Fatal(err)
				}
				hash := crypto.SHA1
				if algorithm == "RSAES_OAEP_SHA_256" {
					hash = crypto.SHA256
				}
				outside, err := rsa.EncryptOAEP(hash.New(), rand.Reader, parsed.(*rsa.PublicKey), plaintext, nil)
				if err != nil {
					t.Fatal(err)
				}
				for _, blob := range [][]byte{sealed.CiphertextBlob, outside} {
					out, err := client.Decrypt(t.Context(), &kms.DecryptInput{KeyId: made.KeyId, CiphertextBlob: blob, EncryptionAlgorithm: algorithm})
					if err != nil || !bytes.Equal(out.Plaintext, plaintext) || out.KeyMaterialId != nil || out.EncryptionAlgorithm != algorithm || *out.KeyId != *made.Arn {
						t.Errorf("Decrypt: %v", err)
					}
				}
				_, err = client.Encrypt(t.Context(), &kms.EncryptInput{KeyId: made.KeyId, Plaintext: append(plaintext, 'x'), EncryptionAlgorithm: algorithm})
				wantError(t, err, "ValidationException", "Algorithm "+string(algorithm)+" and key spec "+string(spec)+" cannot encrypt data larger than ")
				// Out of RSA and into it.
				there, err := client.ReEncrypt(t.Context(), &kms.ReEncryptInput{CiphertextBlob: outside, SourceKeyId: made.KeyId, SourceEncryptionAlgorithm: algorithm, DestinationKeyId: symmetric.KeyId})
				if err != nil || there.SourceKeyMaterialId != nil || there.DestinationKeyMaterialId == nil || there.SourceEncryptionAlgorithm != algorithm {
					t.Fatalf("ReEncrypt: %v", err)
				}
				back, err := client.ReEncrypt(t.Context(), &kms.ReEncryptInput{CiphertextBlob: there.CiphertextBlob, DestinationKeyId: made.KeyId, DestinationEncryptionAlgorithm: algorithm})
				if err != nil || back.SourceKeyMaterialId == nil || back.DestinationKeyMaterialId != nil {
					t.Fatalf("ReEncrypt: %v", err)
				}
				if out, err := client.Decrypt(t.Context(), &kms.DecryptInput{KeyId: made.KeyId, CiphertextBlob: back.CiphertextBlob, EncryptionAlgorithm: algorithm}); err != nil || !bytes.Equal(out.Plaintext, plaintext) {
					t.Errorf("Decrypt of what was encrypted again: %v", err)
				}
				other := types.EncryptionAlgorithmSpec("RSAES_OAEP_SHA_1")
				if other == algorithm {
					other = "RSAES_OAEP_SHA_256"
				}
				_, err = client.Decrypt(t.Context(), &kms.DecryptInput{KeyId: made.KeyId, CiphertextBlob: outside, EncryptionAlgorithm: other})
				wantError(t, err, "InvalidCiphertextException", "")
				_, err = client.Decrypt(t.Context(), &kms.DecryptInput{CiphertextBlob: outside, EncryptionAlgorithm: algorithm})
				wantError(t, err, "InvalidCiphertextException", "")
				_, err = client.Encrypt(t.Context(), &kms.EncryptInput{KeyId: made.KeyId, Plaintext: []byte("x"), EncryptionAlgorithm: algorithm, EncryptionContext: map[string]string{"a": "b"}})
				wantError(t, err, "ValidationException", "EncryptionContext")
			}
			_, err = client.Encrypt(t.Context(), &kms.EncryptInput{KeyId: made.KeyId, Plaintext: []byte("x")})
			wantError(t, err, "InvalidKeyUsageException", "Algorithm SYMMETRIC_DEFAULT is incompatible with key spec "+string(spec)+".")
			_, err = client.GenerateDataKey(t.Context(), &kms.GenerateDataKeyInput{KeyId: made.KeyId, KeySpec: "AES_256"})
			wantError(t, err, "InvalidKeyUsageException", string(spec))
			_, err = client.Sign(t.Context(), &kms.SignInput{KeyId: made.KeyId, Message: []byte("x"), SigningAlgorithm: "RSASSA_PSS_SHA_256"})
			wantError(t, err, "InvalidKeyUsageException", *made.Arn+" key usage is ENCRYPT_DECRYPT which is not valid for Sign.")
			_, err = client.RotateKeyOnDemand(t.Context(), &kms.RotateKeyOnDemandInput{KeyId: made.KeyId})
			wantError(t, err, "UnsupportedOperationException", "")
			_, err = client.EnableKeyRotation(t.Context(), &kms.EnableKeyRotationInput{KeyId: made.KeyId})
			wantError(t, err, "UnsupportedOperationException", "")
			if status, err := client.GetKeyRotationStatus(t.Context(), &kms.GetKeyRotationStatusInput{KeyId: made.KeyId}); err != nil || status.KeyRotationEnabled {
				t.Errorf("rotation status: %v", err)
			}
		})
	}
}

func TestDeriveSharedSecret(t *testing.T) {
	t.Parallel()
	client := kms.NewFromConfig(malotetest.New(t).Config())
	for spec, curve := range map[types.KeySpec]elliptic.Curve{"ECC_NIST_P256": elliptic.P256(), "ECC_NIST_P384": elliptic.P384(), "ECC_NIST_P521": elliptic.P521()} {
		made := keyOf(t, client, spec, "KEY_AGREEMENT")
		if !slices.Equal(made.KeyAgreementAlgorithms, []types.KeyAgreementAlgorithmSpec{"ECDH"}) {
			t.Errorf("metadata %+v", made)
		}
		mine, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		spki, _ := x509.MarshalPKIXPublicKey(&mine.PublicKey)
		in := &kms.DeriveSharedSecretInput{KeyId: made.KeyId, KeyAgreementAlgorithm: "ECDH", PublicKey: spki}
		out, err := client.DeriveSharedSecret(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := x509.ParsePKIXPublicKey(publicOf(t, client, made.KeyId).PublicKey)
		if err != nil {
			t.Fatal(err)
		}
		private, _ := mine.ECDH()
		var public *ecdh.PublicKey
		public, _ = theirs.(*ecdsa.PublicKey).ECDH()
		want, _ := private.ECDH(public)
		if !bytes.Equal(out.SharedSecret, want) || *out.KeyId != *made.Arn || out.KeyOrigin != "AWS_KMS" || out.KeyAgreementAlgorithm != "ECDH" {
			t.Errorf("%s: %+v", spec, out.KeyOrigin)
		}
		in.DryRun = aws.Bool(true)
		_, err = client.DeriveSharedSecret(t.Context(), in)
		wantError(t, err, "DryRunOperationException", "would have succeeded")
		other, _ := rsa.GenerateKey(rand.Reader, 2048)
		foreign, _ := x509.MarshalPKIXPublicKey(&other.PublicKey)
		for _, bad := range [][]byte{[]byte("nonsense"), foreign} {
			_, err = client.DeriveSharedSecret(t.Context(), &kms.DeriveSharedSecretInput{KeyId: made.KeyId, KeyAgreementAlgorithm: "ECDH", PublicKey: bad})
			wantError(t, err, "ValidationException", "UnknownError") // the SDK's word for no message
		}
		_, err = client.Sign(t.Context(), &kms.SignInput{KeyId: made.KeyId, Message: []byte("x"), SigningAlgorithm: "ECDSA_SHA_256"})
		wantError(t, err, "InvalidKeyUsageException", *made.Arn+" key usage is KEY_AGREEMENT which is not valid for Sign.")
	}
}

func TestGenerateDataKeyPair(t *testing.T) {
	t.Parallel()
	client := kms.NewFromConfig(malotetest.New(t).Config())
	made := createKey(t, client)
	context := map[string]string{"for": "pairs"}
	for _, spec := range []types.DataKeyPairSpec{"RSA_2048", "RSA_3072", "RSA_4096", "ECC_NIST_P256", "ECC_NIST_P384", "ECC_NIST_P521", "ECC_NIST_EDWARDS25519", "ECC_SECG_P256K1"} {
		t.Run(string(spec), func(t *testing.T) {
			t.Parallel()
			out, err := client.GenerateDataKeyPair(t.Context(), &kms.GenerateDataKeyPairInput{KeyId: made.KeyId, KeyPairSpec: spec, EncryptionContext: context})
			if err != nil {
				t.Fatal(err)
			}
			opened, err := client.Decrypt(t.Context(), &kms.DecryptInput{CiphertextBlob: out.PrivateKeyCiphertextBlob, EncryptionContext: context})
			if err != nil || !bytes.Equal(opened.Plaintext, out.PrivateKeyPlaintext) || *out.KeyId != *made.Arn || *out.KeyMaterialId != *made.CurrentKeyMaterialId || out.KeyPairSpec != spec {
				t.Errorf("%v", err)
			}
			if !bytes.Equal(publicHalf(t, out.PrivateKeyPlaintext), out.PublicKey) {
				t.Error("the public key is not that of the private one")
			}
			sealed, err := client.GenerateDataKeyPairWithoutPlaintext(t.Context(), &kms.GenerateDataKeyPairWithoutPlaintextInput{KeyId: made.KeyId, KeyPairSpec: spec})
			if err != nil {
				t.Fatal(err)
			}
			opened, err = client.Decrypt(t.Context(), &kms.DecryptInput{CiphertextBlob: sealed.PrivateKeyCiphertextBlob})
			if err != nil || !bytes.Equal(publicHalf(t, opened.Plaintext), sealed.PublicKey) {
				t.Errorf("without plaintext: %v", err)
			}
		})
	}
	_, err := client.GenerateDataKeyPair(t.Context(), &kms.GenerateDataKeyPairInput{KeyId: made.KeyId, KeyPairSpec: "RSA_2048", DryRun: aws.Bool(true)})
	wantError(t, err, "DryRunOperationException", "would have succeeded")
	_, err = client.GenerateDataKeyPair(t.Context(), &kms.GenerateDataKeyPairInput{KeyId: made.KeyId, KeyPairSpec: "SM2"})
	wantError(t, err, "UnsupportedOperationException", "SM2")
	signing := keyOf(t, client, "ECC_NIST_P256", "SIGN_VERIFY")
	_, err = client.GenerateDataKeyPair(t.Context(), &kms.GenerateDataKeyPairInput{KeyId: signing.KeyId, KeyPairSpec: "RSA_2048"})
	wantError(t, err, "InvalidKeyUsageException", *signing.Arn+" key usage is SIGN_VERIFY which is not valid for GenerateDataKeyPair.")
}

// publicHalf asks openssl, which knows every spec there is.
func publicHalf(t *testing.T, private []byte) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "openssl", "pkey", "-inform", "DER", "-pubout", "-outform", "DER")
	cmd.Stdin = bytes.NewReader(private)
	public, err := cmd.Output()
	if err != nil {
		t.Fatalf("openssl does not read the private key: %v", err)
	}
	return public
}

// What crypto/* computes from imported material is what KMS computes.
func TestImportOtherSpecs(t *testing.T) {
	t.Parallel()
	client := kms.NewFromConfig(malotetest.New(t).Config())
	external := func(t *testing.T, spec types.KeySpec, usage types.KeyUsageType) *types.KeyMetadata {
		out, err := client.CreateKey(t.Context(), &kms.CreateKeyInput{KeySpec: spec, KeyUsage: usage, Origin: "EXTERNAL"})
		if err != nil {
			t.Fatal(err)
		}
		if out.KeyMetadata.KeyState != "PendingImport" {
			t.Errorf("state %s", out.KeyMetadata.KeyState)
		}
		return out.KeyMetadata
	}
	t.Run("HMAC", func(t *testing.T) {
		t.Parallel()
		made := external(t, "HMAC_256", "GENERATE_VERIFY_MAC")
		in := &kms.GenerateMacInput{KeyId: made.KeyId, MacAlgorithm: "HMAC_SHA_256", Message: []byte("m")}
		_, err := client.GenerateMac(t.Context(), in)
		wantError(t, err, "KMSInvalidStateException", *made.Arn+" is pending import.")
		material := newMaterial()
		imported(t, client, wrapped(t, client, made.KeyId, "RSA_2048", "RSAES_OAEP_SHA_256", material))
		out, err := client.GenerateMac(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		h := hmac.New(sha256.New, material)
		h.Write([]byte("m"))
		if !hmac.Equal(out.Mac, h.Sum(nil)) {
			t.Error("another MAC than crypto/hmac's")
		}
		_, err = client.ImportKeyMaterial(t.Context(), wrapped(t, client, made.KeyId, "RSA_2048", "RSAES_OAEP_SHA_256", material[1:]))
		wantError(t, err, "IncorrectKeyMaterialException", "32 bytes")
	})
	p256, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	p521, _ := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	rsaKey, _ := rsa.GenerateKey(rand.Reader, 2048)
	_, ed, _ := ed25519.GenerateKey(rand.Reader)
	k1, err := exec.CommandContext(t.Context(), "sh", "-c", "openssl ecparam -name secp256k1 -genkey -noout | openssl pkcs8 -topk8 -nocrypt -outform DER").Output()
	if err != nil {
		t.Fatal(err)
	}
	encode := func(key any) []byte {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	for _, tt := range []struct {
		spec      types.KeySpec
		algorithm types.SigningAlgorithmSpec
		hash      crypto.Hash
		material  []byte
	}{
		{"ECC_NIST_P256", "ECDSA_SHA_256", crypto.SHA256, encode(p256)},
		{"ECC_NIST_P521", "ECDSA_SHA_512", crypto.SHA512, encode(p521)},
		{"RSA_2048", "RSASSA_PSS_SHA_384", crypto.SHA384, encode(rsaKey)},
		{"ECC_NIST_EDWARDS25519", "ED25519_SHA_512", 0, encode(ed)},
		{"ECC_SECG_P256K1", "ECDSA_SHA_256", crypto.SHA256, k1},
	} {
		t.Run(string(tt.spec), func(t *testing.T) {
			t.Parallel()
			made := external(t, tt.spec, "SIGN_VERIFY")
			_, err := client.GetPublicKey(t.Context(), &kms.GetPublicKeyInput{KeyId: made.KeyId})
			wantError(t, err, "KMSInvalidStateException", *made.Arn+" is pending import.")
			_, err = client.ImportKeyMaterial(t.Context(), wrapped(t, client, made.KeyId, "RSA_4096", "RSA_AES_KEY_WRAP_SHA_256", []byte("nonsense nonsense")))
			wantError(t, err, "IncorrectKeyMaterialException", string(tt.spec))
			in := wrapped(t, client, made.KeyId, "RSA_4096", "RSA_AES_KEY_WRAP_SHA_256", tt.material)
			imported(t, client, in)
			public := publicOf(t, client, made.KeyId)
			if !bytes.Equal(public.PublicKey, publicHalf(t, tt.material)) {
				t.Error("another public key than that of the material")
			}
			out, err := client.Sign(t.Context(), &kms.SignInput{KeyId: made.KeyId, Message: []byte("m"), SigningAlgorithm: tt.algorithm})
			if err != nil {
				t.Fatal(err)
			}
			if !verifies(t, tt.spec, public.PublicKey, tt.algorithm, tt.hash, []byte("m"), out.Signature) {
				t.Error("the signature does not verify outside")
			}
			if _, err := client.DeleteImportedKeyMaterial(t.Context(), &kms.DeleteImportedKeyMaterialInput{KeyId: made.KeyId}); err != nil {
				t.Fatal(err)
			}
			if m := stateOf(t, client, made.KeyId); m.KeyState != "PendingImport" || m.ExpirationModel != "" {
				t.Errorf("after deletion %s, %s", m.KeyState, m.ExpirationModel)
			}
			_, err = client.Sign(t.Context(), &kms.SignInput{KeyId: made.KeyId, Message: []byte("m"), SigningAlgorithm: tt.algorithm})
			wantError(t, err, "KMSInvalidStateException", *made.Arn+" is pending import.")
			imported(t, client, in)
			if _, err := client.Verify(t.Context(), &kms.VerifyInput{KeyId: made.KeyId, Message: []byte("m"), SigningAlgorithm: tt.algorithm, Signature: out.Signature}); err != nil {
				t.Error(err)
			}
		})
	}
}

// A replica signs and verifies as its primary does.
func TestMultiRegionSpecs(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	client := kms.NewFromConfig(sys.Config())
	config := sys.Config()
	config.Region = "eu-west-1"
	there := kms.NewFromConfig(config)
	for spec, usage := range map[types.KeySpec]types.KeyUsageType{"ECC_NIST_P256": "SIGN_VERIFY", "HMAC_512": "GENERATE_VERIFY_MAC"} {
		made, err := client.CreateKey(t.Context(), &kms.CreateKeyInput{KeySpec: spec, KeyUsage: usage, MultiRegion: aws.Bool(true)})
		if err != nil {
			t.Fatal(err)
		}
		id := made.KeyMetadata.KeyId
		replica, err := client.ReplicateKey(t.Context(), &kms.ReplicateKeyInput{KeyId: id, ReplicaRegion: aws.String("eu-west-1")})
		if err != nil || replica.ReplicaKeyMetadata.KeySpec != spec || replica.ReplicaKeyMetadata.KeyUsage != usage {
			t.Fatalf("%+v: %v", replica, err)
		}
		if spec == "HMAC_512" {
			a, err := client.GenerateMac(t.Context(), &kms.GenerateMacInput{KeyId: id, MacAlgorithm: "HMAC_SHA_512", Message: []byte("m")})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := there.VerifyMac(t.Context(), &kms.VerifyMacInput{KeyId: id, MacAlgorithm: "HMAC_SHA_512", Message: []byte("m"), Mac: a.Mac}); err != nil {
				t.Error(err)
			}
			continue
		}
		a, err := client.Sign(t.Context(), &kms.SignInput{KeyId: id, SigningAlgorithm: "ECDSA_SHA_256", Message: []byte("m")})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := there.Verify(t.Context(), &kms.VerifyInput{KeyId: id, SigningAlgorithm: "ECDSA_SHA_256", Message: []byte("m"), Signature: a.Signature}); err != nil {
			t.Error(err)
		}
	}
}
