package kms

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	k1ecdsa "github.com/decred/dcrd/dcrec/secp256k1/v4/ecdsa"
)

// Sign signs a message of up to 4096 bytes, or its digest. Signatures are those of PKCS #1,
// of RFC 3279 (ECDSA, in DER) and of RFC 8032; the salt of RSASSA-PSS is as long as the digest.
func (s *Service) Sign(ctx context.Context, in *kms.SignInput) (*kms.SignOutput, error) {
	k, p, message, err := s.signing(ctx, "Sign", signRequest{in.KeyId, in.Message, in.MessageType, in.SigningAlgorithm, in.GrantTokens})
	if err != nil {
		return nil, err
	}
	if aws.ToBool(in.DryRun) {
		return nil, dryRun()
	}
	signature, err := p.sign(in.SigningAlgorithm, message)
	if err != nil {
		return nil, err
	}
	s.used(ctx, k, types.KeyLastUsageTrackingOperationSign)
	return &kms.SignOutput{KeyId: aws.String(k.arn()), Signature: signature, SigningAlgorithm: in.SigningAlgorithm}, nil
}

// Verify checks a signature. One that is not valid is KMSInvalidSignatureException, never
// an answer.
func (s *Service) Verify(ctx context.Context, in *kms.VerifyInput) (*kms.VerifyOutput, error) {
	k, p, message, err := s.signing(ctx, "Verify", signRequest{in.KeyId, in.Message, in.MessageType, in.SigningAlgorithm, in.GrantTokens})
	if err != nil {
		return nil, err
	}
	if !p.verify(in.SigningAlgorithm, message, in.Signature) {
		return nil, &types.KMSInvalidSignatureException{Message: aws.String("")}
	}
	if aws.ToBool(in.DryRun) {
		return nil, dryRun()
	}
	s.used(ctx, k, types.KeyLastUsageTrackingOperationVerify)
	return &kms.VerifyOutput{KeyId: aws.String(k.arn()), SignatureValid: true, SigningAlgorithm: in.SigningAlgorithm}, nil
}

// signRequest is what Sign and Verify have in common.
type signRequest struct {
	keyID       *string
	message     []byte
	kind        types.MessageType
	algorithm   types.SigningAlgorithmSpec
	grantTokens []string
}

// signing returns the key of a request, and what is to be signed under it: a digest, or of
// ED25519_SHA_512 the message.
func (s *Service) signing(ctx context.Context, operation string, r signRequest) (*key, *privateKey, []byte, error) {
	kind := r.kind
	if kind == "" {
		kind = types.MessageTypeRaw
	}
	k, err := s.authorizedKey(ctx, use{
		action: "kms:" + operation, keyID: *r.keyID, takesAlias: true, grantTokens: r.grantTokens,
		conditions: map[string][]string{"kms:SigningAlgorithm": {string(r.algorithm)}, "kms:MessageType": {string(kind)}},
	})
	if err != nil {
		return nil, nil, nil, err
	}
	if err := k.usableFor(types.KeyUsageTypeSignVerify, operation); err != nil {
		return nil, nil, nil, err
	}
	if err := compatible(k, keySpecs[k.spec()].signing, r.algorithm); err != nil {
		return nil, nil, nil, err
	}
	message, err := toSign(r.algorithm, kind, r.message)
	if err != nil {
		return nil, nil, nil, err
	}
	p, err := k.private()
	return k, p, message, err
}

// toSign hashes what has yet to be hashed.
func toSign(algorithm types.SigningAlgorithmSpec, kind types.MessageType, message []byte) ([]byte, error) {
	hash := signingHashes[algorithm]
	switch {
	case kind == types.MessageTypeExternalMu:
		return nil, validation("MessageType EXTERNAL_MU is not valid for algorithm %s.", algorithm)
	case algorithm == types.SigningAlgorithmSpecEd25519Sha512:
		if kind != types.MessageTypeRaw {
			return nil, validation("Algorithm %s requires MessageType RAW.", algorithm)
		}
		return message, nil
	case algorithm == types.SigningAlgorithmSpecEd25519PhSha512 && kind != types.MessageTypeDigest:
		return nil, validation("Algorithm %s requires MessageType DIGEST.", algorithm)
	case kind == types.MessageTypeDigest:
		if len(message) != hash.Size() {
			return nil, validation("Digest is invalid length for algorithm %s.", algorithm)
		}
		return message, nil
	}
	h := hash.New()
	h.Write(message)
	return h.Sum(nil), nil
}

func isPSS(algorithm types.SigningAlgorithmSpec) bool {
	return strings.HasPrefix(string(algorithm), "RSASSA_PSS_")
}

// sign signs what toSign returned.
func (p *privateKey) sign(algorithm types.SigningAlgorithmSpec, message []byte) ([]byte, error) {
	hash := signingHashes[algorithm] // 0 of pure Ed25519, as crypto/ed25519 has it
	switch {
	case p.k1 != nil:
		return k1ecdsa.Sign(p.k1, message).Serialize(), nil
	case p.rsa != nil && isPSS(algorithm):
		return rsa.SignPSS(rand.Reader, p.rsa, hash, message, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
	}
	return p.standard().Sign(rand.Reader, message, hash)
}

func (p *privateKey) verify(algorithm types.SigningAlgorithmSpec, message, signature []byte) bool {
	hash := signingHashes[algorithm]
	switch {
	case p.k1 != nil:
		parsed, err := k1ecdsa.ParseDERSignature(signature)
		return err == nil && parsed.Verify(message, p.k1.PubKey())
	case p.ecdsa != nil:
		return ecdsa.VerifyASN1(&p.ecdsa.PublicKey, message, signature)
	case p.ed25519 != nil:
		return ed25519.VerifyWithOptions(p.ed25519.Public().(ed25519.PublicKey), message, signature, &ed25519.Options{Hash: hash}) == nil
	case isPSS(algorithm):
		return rsa.VerifyPSS(&p.rsa.PublicKey, hash, message, signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil
	}
	return rsa.VerifyPKCS1v15(&p.rsa.PublicKey, hash, message, signature) == nil
}
