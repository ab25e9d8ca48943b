package kms

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"hash"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/malote/malote/internal/xaes"
)

const importValidity = 24 * time.Hour

// GetParametersForImport returns a public key to wrap material with, and the token that
// ImportKeyMaterial wants with it. Nothing is stored: the private key is in the token,
// sealed under a secret of the KMS key.
func (s *Service) GetParametersForImport(ctx context.Context, in *kms.GetParametersForImportInput) (*kms.GetParametersForImportOutput, error) {
	k, err := s.authorizedKey(ctx, use{
		action: "kms:GetParametersForImport", keyID: *in.KeyId,
		conditions: map[string][]string{"kms:WrappingAlgorithm": {string(in.WrappingAlgorithm)}, "kms:WrappingKeySpec": {string(in.WrappingKeySpec)}},
	})
	if err != nil {
		return nil, err
	}
	if err := k.importable(); err != nil {
		return nil, err
	}
	if _, ok := wrappings[in.WrappingAlgorithm]; !ok {
		return nil, unsupported("WrappingAlgorithm %s is not supported.", in.WrappingAlgorithm)
	}
	bits, ok := wrappingBits[in.WrappingKeySpec]
	if !ok {
		return nil, unsupported("WrappingKeySpec %s is not supported.", in.WrappingKeySpec)
	}
	private, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		return nil, fmt.Errorf("making a wrapping key: %w", err)
	}
	public, err := x509.MarshalPKIXPublicKey(&private.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("encoding a wrapping key: %w", err)
	}
	until := s.now().Add(importValidity)
	token, err := k.sealImportToken(importToken{Until: until, Algorithm: in.WrappingAlgorithm}, private)
	if err != nil {
		return nil, err
	}
	return &kms.GetParametersForImportOutput{
		KeyId: aws.String(k.arn()), ImportToken: token, PublicKey: public, ParametersValidTo: aws.Time(until),
	}, nil
}

// importable is the rule of operations that bring material in.
func (k *key) importable() error {
	if k.Origin != types.OriginTypeExternal {
		return badOrigin(k)
	}
	return k.notPending()
}

var wrappingBits = map[types.WrappingKeySpec]int{
	types.WrappingKeySpecRsa2048: 2048, types.WrappingKeySpecRsa3072: 3072, types.WrappingKeySpecRsa4096: 4096,
}

// wrapping is how material is wrapped: under RSA-OAEP itself, or under an AES key that is.
type wrapping struct {
	hash func() hash.Hash
	aes  bool
}

var wrappings = map[types.AlgorithmSpec]wrapping{
	types.AlgorithmSpecRsaesOaepSha1:       {sha1.New, false},
	types.AlgorithmSpecRsaesOaepSha256:     {sha256.New, false},
	types.AlgorithmSpecRsaAesKeyWrapSha1:   {sha1.New, true},
	types.AlgorithmSpecRsaAesKeyWrapSha256: {sha256.New, true},
}

// importToken is what a token says, sealed.
type importToken struct {
	Until     time.Time
	Algorithm types.AlgorithmSpec
	Private   []byte // PKCS #8

	key *rsa.PrivateKey
}

const importTokenFormat = 0x01

func (k *key) importTokenData() []byte { return []byte("import token of " + k.arn()) }

func (k *key) sealImportToken(t importToken, private *rsa.PrivateKey) ([]byte, error) {
	var err error
	if t.Private, err = x509.MarshalPKCS8PrivateKey(private); err != nil {
		return nil, fmt.Errorf("encoding a wrapping key: %w", err)
	}
	defer clear(t.Private)
	text, err := json.Marshal(t)
	if err != nil {
		return nil, fmt.Errorf("encoding an import token: %w", err)
	}
	defer clear(text)
	return xaes.New(k.ImportSecret).Seal([]byte{importTokenFormat}, text, k.importTokenData()), nil
}

// openImportToken refuses what GetParametersForImport did not give out for this very key,
// and what it gave out too long ago.
func (k *key) openImportToken(token []byte, now time.Time) (*importToken, error) {
	invalid := &types.InvalidImportTokenException{Message: aws.String("The import token is not valid for " + k.arn() + ".")}
	if len(token) < 1+xaes.Overhead || token[0] != importTokenFormat || len(k.ImportSecret) != xaes.KeySize {
		return nil, invalid
	}
	text, err := xaes.New(k.ImportSecret).Open(token[1:], k.importTokenData())
	if err != nil {
		return nil, invalid
	}
	defer clear(text)
	t := new(importToken)
	if err := json.Unmarshal(text, t); err != nil {
		return nil, invalid
	}
	defer clear(t.Private)
	if !now.Before(t.Until) {
		return nil, &types.ExpiredImportTokenException{Message: aws.String("The import token has expired.")}
	}
	private, err := x509.ParsePKCS8PrivateKey(t.Private)
	if err != nil {
		return nil, invalid
	}
	var ok bool
	if t.key, ok = private.(*rsa.PrivateKey); !ok {
		return nil, invalid
	}
	return t, nil
}

// unwrap returns the material in wrapped. Its error is InvalidCiphertextException,
// whatever is wrong: it would tell of the plaintext otherwise.
func (t *importToken) unwrap(wrapped []byte) ([]byte, error) {
	w, ok := wrappings[t.Algorithm]
	if !ok {
		return nil, invalidCiphertext()
	}
	first, rest := wrapped, []byte(nil)
	if w.aes {
		size := t.key.Size()
		if len(wrapped) <= size {
			return nil, invalidCiphertext()
		}
		first, rest = wrapped[:size], wrapped[size:]
	}
	plaintext, err := rsa.DecryptOAEP(w.hash(), nil, t.key, first, nil)
	if err != nil {
		return nil, invalidCiphertext()
	}
	if !w.aes {
		return plaintext, nil
	}
	defer clear(plaintext)
	material, ok := unwrapPadded(plaintext, rest)
	if !ok {
		return nil, invalidCiphertext()
	}
	return material, nil
}
