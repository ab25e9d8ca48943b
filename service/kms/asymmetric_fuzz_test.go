package kms

import (
	"bytes"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

var asymmetricSpecs = []types.KeySpec{
	"RSA_2048", "ECC_NIST_P256", "ECC_NIST_P384", "ECC_NIST_P521", "ECC_NIST_EDWARDS25519", "ECC_SECG_P256K1",
}

// FuzzParsePrivate: what parses is of the spec, and encodes to what parses to the same key.
func FuzzParsePrivate(f *testing.F) {
	for i, spec := range asymmetricSpecs {
		p, err := generate(spec)
		if err != nil {
			f.Fatal(err)
		}
		der, err := p.marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(der, i)
		f.Add(der, i+1)
		f.Add(der[:len(der)-1], i)
		f.Add(append(der, 0), i)
	}
	f.Fuzz(func(t *testing.T, der []byte, i int) {
		spec := asymmetricSpecs[uint(i)%uint(len(asymmetricSpecs))]
		p, err := parsePrivate(spec, der)
		if err != nil {
			return
		}
		one, err := p.marshal()
		if err != nil {
			t.Fatal(err)
		}
		again, err := parsePrivate(spec, one)
		if err != nil {
			t.Fatalf("%s: what was encoded does not parse", spec)
		}
		two, err := again.marshal()
		if err != nil || !bytes.Equal(one, two) {
			t.Errorf("%s: two encodings of one key", spec)
		}
		a, err := p.public()
		if err != nil {
			t.Fatal(err)
		}
		if b, err := again.public(); err != nil || !bytes.Equal(a, b) {
			t.Errorf("%s: two public keys of one key", spec)
		}
	})
}

// FuzzAgree: whatever is given for a public key, there is a secret or none, and no panic.
func FuzzAgree(f *testing.F) {
	p, err := generate("ECC_NIST_P256")
	if err != nil {
		f.Fatal(err)
	}
	for _, spec := range asymmetricSpecs {
		other, err := generate(spec)
		if err != nil {
			f.Fatal(err)
		}
		der, err := other.public()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(der)
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		if secret, ok := p.agree(der); ok != (len(secret) == 32) {
			t.Errorf("agree(%x) = %d bytes, %t", der, len(secret), ok)
		}
	})
}

// FuzzVerify: what was not signed does not verify, under any algorithm.
func FuzzVerify(f *testing.F) {
	keys := map[types.KeySpec]*privateKey{}
	for _, spec := range asymmetricSpecs {
		p, err := generate(spec)
		if err != nil {
			f.Fatal(err)
		}
		keys[spec] = p
		for _, algorithm := range keySpecs[spec].signing {
			message, err := toSign(algorithm, "", []byte("m"))
			if err != nil {
				continue // digests alone
			}
			signature, err := p.sign(algorithm, message)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(signature)
		}
	}
	message := bytes.Repeat([]byte{7}, 64)
	f.Fuzz(func(t *testing.T, signature []byte) {
		for spec, p := range keys {
			for _, algorithm := range keySpecs[spec].signing {
				digest := message
				if hash := signingHashes[algorithm]; hash != 0 {
					digest = message[:hash.Size()]
				}
				if p.verify(algorithm, digest, signature) {
					t.Errorf("%x verifies under %s", signature, algorithm)
				}
			}
		}
	})
}

func benchmarkKey(b *testing.B, spec types.KeySpec, usage types.KeyUsageType) (*testService, *string) {
	s := newTestService(b)
	key, err := s.CreateKey(rootUser(b.Context()), &kms.CreateKeyInput{KeySpec: spec, KeyUsage: usage})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	return s, key.KeyMetadata.Arn
}

var signingBenchmarks = map[types.KeySpec]types.SigningAlgorithmSpec{
	"RSA_2048": "RSASSA_PSS_SHA_256", "RSA_4096": "RSASSA_PKCS1_V1_5_SHA_512", "ECC_NIST_P256": "ECDSA_SHA_256", "ECC_NIST_P521": "ECDSA_SHA_512",
	"ECC_SECG_P256K1": "ECDSA_SHA_256", "ECC_NIST_EDWARDS25519": "ED25519_SHA_512",
}

func BenchmarkSign(b *testing.B) {
	for spec, algorithm := range signingBenchmarks {
		b.Run(string(spec), func(b *testing.B) {
			s, id := benchmarkKey(b, spec, "SIGN_VERIFY")
			ctx, in := rootUser(b.Context()), &kms.SignInput{KeyId: id, Message: []byte("m"), SigningAlgorithm: algorithm}
			for b.Loop() {
				if _, err := s.Sign(ctx, in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkVerify(b *testing.B) {
	for spec, algorithm := range signingBenchmarks {
		b.Run(string(spec), func(b *testing.B) {
			s, id := benchmarkKey(b, spec, "SIGN_VERIFY")
			ctx := rootUser(b.Context())
			signed, err := s.Sign(ctx, &kms.SignInput{KeyId: id, Message: []byte("m"), SigningAlgorithm: algorithm})
			if err != nil {
				b.Fatal(err)
			}
			in := &kms.VerifyInput{KeyId: id, Message: []byte("m"), SigningAlgorithm: algorithm, Signature: signed.Signature}
			for b.Loop() {
				if _, err := s.Verify(ctx, in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkGenerateMac(b *testing.B) {
	s, id := benchmarkKey(b, "HMAC_256", "GENERATE_VERIFY_MAC")
	ctx, in := rootUser(b.Context()), &kms.GenerateMacInput{KeyId: id, Message: []byte("m"), MacAlgorithm: "HMAC_SHA_256"}
	for b.Loop() {
		if _, err := s.GenerateMac(ctx, in); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecryptRSA(b *testing.B) {
	s, id := benchmarkKey(b, "RSA_2048", "ENCRYPT_DECRYPT")
	ctx := rootUser(b.Context())
	sealed, err := s.Encrypt(ctx, &kms.EncryptInput{KeyId: id, Plaintext: []byte("x"), EncryptionAlgorithm: "RSAES_OAEP_SHA_256"})
	if err != nil {
		b.Fatal(err)
	}
	in := &kms.DecryptInput{KeyId: id, CiphertextBlob: sealed.CiphertextBlob, EncryptionAlgorithm: "RSAES_OAEP_SHA_256"}
	for b.Loop() {
		if _, err := s.Decrypt(ctx, in); err != nil {
			b.Fatal(err)
		}
	}
}
