package kms

import (
	"crypto"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// keySpec says what keys of a spec are for. Of a spec that has none KMS here makes no keys:
// ML_DSA and ML_KEM (the Go standard library does not export ML-DSA), SM2 (China alone).
type keySpec struct {
	bits  int // of an RSA key
	bytes int // of an HMAC key

	encryption []types.EncryptionAlgorithmSpec
	signing    []types.SigningAlgorithmSpec
	macs       []types.MacAlgorithmSpec
	agreement  []types.KeyAgreementAlgorithmSpec
}

var (
	rsaEncryption = []types.EncryptionAlgorithmSpec{types.EncryptionAlgorithmSpecRsaesOaepSha1, types.EncryptionAlgorithmSpecRsaesOaepSha256}
	rsaSigning    = []types.SigningAlgorithmSpec{
		types.SigningAlgorithmSpecRsassaPkcs1V15Sha256, types.SigningAlgorithmSpecRsassaPkcs1V15Sha384, types.SigningAlgorithmSpecRsassaPkcs1V15Sha512,
		types.SigningAlgorithmSpecRsassaPssSha256, types.SigningAlgorithmSpecRsassaPssSha384, types.SigningAlgorithmSpecRsassaPssSha512,
	}
	ecdhAgreement = []types.KeyAgreementAlgorithmSpec{types.KeyAgreementAlgorithmSpecEcdh}
)

var keySpecs = map[types.KeySpec]keySpec{
	types.KeySpecSymmetricDefault: {encryption: []types.EncryptionAlgorithmSpec{types.EncryptionAlgorithmSpecSymmetricDefault}},

	types.KeySpecRsa2048: {bits: 2048, encryption: rsaEncryption, signing: rsaSigning},
	types.KeySpecRsa3072: {bits: 3072, encryption: rsaEncryption, signing: rsaSigning},
	types.KeySpecRsa4096: {bits: 4096, encryption: rsaEncryption, signing: rsaSigning},

	types.KeySpecEccNistP256:   {signing: []types.SigningAlgorithmSpec{types.SigningAlgorithmSpecEcdsaSha256}, agreement: ecdhAgreement},
	types.KeySpecEccNistP384:   {signing: []types.SigningAlgorithmSpec{types.SigningAlgorithmSpecEcdsaSha384}, agreement: ecdhAgreement},
	types.KeySpecEccNistP521:   {signing: []types.SigningAlgorithmSpec{types.SigningAlgorithmSpecEcdsaSha512}, agreement: ecdhAgreement},
	types.KeySpecEccSecgP256k1: {signing: []types.SigningAlgorithmSpec{types.SigningAlgorithmSpecEcdsaSha256}},
	types.KeySpecEccNistEdwards25519: {signing: []types.SigningAlgorithmSpec{
		types.SigningAlgorithmSpecEd25519Sha512, types.SigningAlgorithmSpecEd25519PhSha512,
	}},

	types.KeySpecHmac224: {bytes: 28, macs: []types.MacAlgorithmSpec{types.MacAlgorithmSpecHmacSha224}},
	types.KeySpecHmac256: {bytes: 32, macs: []types.MacAlgorithmSpec{types.MacAlgorithmSpecHmacSha256}},
	types.KeySpecHmac384: {bytes: 48, macs: []types.MacAlgorithmSpec{types.MacAlgorithmSpecHmacSha384}},
	types.KeySpecHmac512: {bytes: 64, macs: []types.MacAlgorithmSpec{types.MacAlgorithmSpecHmacSha512}},
}

// serves reports whether there are keys of the spec and this usage.
func (s keySpec) serves(usage types.KeyUsageType) bool {
	switch usage {
	case types.KeyUsageTypeEncryptDecrypt:
		return s.encryption != nil
	case types.KeyUsageTypeSignVerify:
		return s.signing != nil
	case types.KeyUsageTypeGenerateVerifyMac:
		return s.macs != nil
	case types.KeyUsageTypeKeyAgreement:
		return s.agreement != nil
	}
	return false
}

func (k *key) spec() types.KeySpec {
	if k.Spec == "" {
		return types.KeySpecSymmetricDefault
	}
	return k.Spec
}

func (k *key) usage() types.KeyUsageType {
	if k.Usage == "" {
		return types.KeyUsageTypeEncryptDecrypt
	}
	return k.Usage
}

// isSymmetric reports whether k is a symmetric encryption key: the only ones with an
// encryption context, data keys, rotation.
func (k *key) isSymmetric() bool { return k.Spec == "" }

func (k *key) isMAC() bool { return keySpecs[k.Spec].macs != nil }

// class is what an alias must not change of the key that it names, beside its usage.
func (k *key) class() string {
	switch {
	case k.isSymmetric():
		return "symmetric"
	case k.isMAC():
		return "HMAC"
	}
	return "asymmetric"
}

// describeSpec adds to m what follows from k's spec and usage.
func (k *key) describeSpec(m *types.KeyMetadata) {
	m.KeySpec, m.CustomerMasterKeySpec, m.KeyUsage = k.spec(), types.CustomerMasterKeySpec(k.spec()), k.usage()
	s := keySpecs[k.spec()]
	switch m.KeyUsage {
	case types.KeyUsageTypeEncryptDecrypt:
		m.EncryptionAlgorithms = slices.Clone(s.encryption)
	case types.KeyUsageTypeSignVerify:
		m.SigningAlgorithms = slices.Clone(s.signing)
	case types.KeyUsageTypeGenerateVerifyMac:
		m.MacAlgorithms = slices.Clone(s.macs)
	case types.KeyUsageTypeKeyAgreement:
		m.KeyAgreementAlgorithms = slices.Clone(s.agreement)
	}
}

// usableFor is the rule of the cryptographic operation called operation, which wants keys
// of one usage.
func (k *key) usableFor(usage types.KeyUsageType, operation string) error {
	if err := k.usable(); err != nil {
		return err
	}
	if k.usage() != usage {
		return &types.InvalidKeyUsageException{Message: aws.String(k.arn() + " key usage is " + string(k.usage()) + " which is not valid for " + operation + ".")}
	}
	return nil
}

// compatible refuses an algorithm that is not one of those that keys of k's spec have.
func compatible[T ~string](k *key, have []T, algorithm T) error {
	if slices.Contains(have, algorithm) {
		return nil
	}
	return &types.InvalidKeyUsageException{Message: aws.String("Algorithm " + string(algorithm) + " is incompatible with key spec " + string(k.spec()) + ".")}
}

// hashes are those that algorithms are named for.
var (
	signingHashes = map[types.SigningAlgorithmSpec]crypto.Hash{
		types.SigningAlgorithmSpecRsassaPkcs1V15Sha256: crypto.SHA256,
		types.SigningAlgorithmSpecRsassaPkcs1V15Sha384: crypto.SHA384,
		types.SigningAlgorithmSpecRsassaPkcs1V15Sha512: crypto.SHA512,
		types.SigningAlgorithmSpecRsassaPssSha256:      crypto.SHA256,
		types.SigningAlgorithmSpecRsassaPssSha384:      crypto.SHA384,
		types.SigningAlgorithmSpecRsassaPssSha512:      crypto.SHA512,
		types.SigningAlgorithmSpecEcdsaSha256:          crypto.SHA256,
		types.SigningAlgorithmSpecEcdsaSha384:          crypto.SHA384,
		types.SigningAlgorithmSpecEcdsaSha512:          crypto.SHA512,
		types.SigningAlgorithmSpecEd25519PhSha512:      crypto.SHA512,
	}
	macHashes = map[types.MacAlgorithmSpec]crypto.Hash{
		types.MacAlgorithmSpecHmacSha224: crypto.SHA224,
		types.MacAlgorithmSpecHmacSha256: crypto.SHA256,
		types.MacAlgorithmSpecHmacSha384: crypto.SHA384,
		types.MacAlgorithmSpecHmacSha512: crypto.SHA512,
	}
	encryptionHashes = map[types.EncryptionAlgorithmSpec]crypto.Hash{
		types.EncryptionAlgorithmSpecRsaesOaepSha1:   crypto.SHA1,
		types.EncryptionAlgorithmSpecRsaesOaepSha256: crypto.SHA256,
	}
)
