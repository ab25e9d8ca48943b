package kms

import (
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/decred/dcrd/dcrec/secp256k1/v4"
)

// privateKey is the material of an asymmetric key, ready for use: exactly one of its
// pointers is not nil. What is stored of it is PKCS #8.
type privateKey struct {
	rsa     *rsa.PrivateKey
	ecdsa   *ecdsa.PrivateKey // of the NIST curves
	ed25519 ed25519.PrivateKey
	k1      *secp256k1.PrivateKey
}

var nistCurves = map[types.KeySpec]elliptic.Curve{
	types.KeySpecEccNistP256: elliptic.P256(), types.KeySpecEccNistP384: elliptic.P384(), types.KeySpecEccNistP521: elliptic.P521(),
}

// generate returns a fresh key of an asymmetric spec. That of an RSA key takes its time.
func generate(spec types.KeySpec) (*privateKey, error) {
	p := new(privateKey)
	var err error
	switch curve := nistCurves[spec]; {
	case curve != nil:
		p.ecdsa, err = ecdsa.GenerateKey(curve, rand.Reader)
	case spec == types.KeySpecEccSecgP256k1:
		p.k1, err = secp256k1.GeneratePrivateKey()
	case spec == types.KeySpecEccNistEdwards25519:
		_, p.ed25519, err = ed25519.GenerateKey(rand.Reader)
	case keySpecs[spec].bits > 0:
		p.rsa, err = rsa.GenerateKey(rand.Reader, keySpecs[spec].bits)
	default:
		err = errors.New("not an asymmetric key spec")
	}
	if err != nil {
		return nil, fmt.Errorf("making a key of spec %s: %w", spec, err)
	}
	return p, nil
}

// errOtherSpec says that bytes are no private key of the spec that they should be of. It
// does not say what they are instead: they are secret.
var errOtherSpec = errors.New("not a PKCS #8 private key of the key spec")

// parsePrivate reads PKCS #8. Its error is errOtherSpec.
func parsePrivate(spec types.KeySpec, der []byte) (*privateKey, error) {
	if spec == types.KeySpecEccSecgP256k1 {
		k1, ok := parseK1(der)
		if !ok {
			return nil, errOtherSpec
		}
		return &privateKey{k1: k1}, nil
	}
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, errOtherSpec
	}
	switch p := parsed.(type) {
	case *rsa.PrivateKey:
		if bits := keySpecs[spec].bits; bits > 0 && p.N.BitLen() == bits {
			return &privateKey{rsa: p}, nil
		}
	case *ecdsa.PrivateKey:
		if nistCurves[spec] == p.Curve {
			return &privateKey{ecdsa: p}, nil
		}
	case ed25519.PrivateKey:
		if spec == types.KeySpecEccNistEdwards25519 {
			return &privateKey{ed25519: p}, nil
		}
	}
	return nil, errOtherSpec
}

// standard is p as the standard library knows it; nil of secp256k1.
func (p *privateKey) standard() crypto.Signer {
	switch {
	case p.rsa != nil:
		return p.rsa
	case p.ecdsa != nil:
		return p.ecdsa
	case p.ed25519 != nil:
		return p.ed25519
	}
	return nil
}

// marshal returns p as PKCS #8: the same bytes for the same key.
func (p *privateKey) marshal() ([]byte, error) {
	if p.k1 != nil {
		return marshalK1(p.k1)
	}
	der, err := x509.MarshalPKCS8PrivateKey(p.standard())
	if err != nil {
		return nil, fmt.Errorf("encoding a private key: %w", err)
	}
	return der, nil
}

// public returns the public half as a SubjectPublicKeyInfo, DER.
func (p *privateKey) public() ([]byte, error) {
	if p.k1 != nil {
		return marshalK1Public(p.k1.PubKey())
	}
	der, err := x509.MarshalPKIXPublicKey(p.standard().Public())
	if err != nil {
		return nil, fmt.Errorf("encoding a public key: %w", err)
	}
	return der, nil
}

// agree returns what p and the other side's public key, a SubjectPublicKeyInfo, have in
// common: the X coordinate. It reports false for what is no public key on p's curve.
func (p *privateKey) agree(other []byte) ([]byte, bool) {
	if p.ecdsa == nil {
		return nil, false
	}
	parsed, err := x509.ParsePKIXPublicKey(other)
	if err != nil {
		return nil, false
	}
	var theirs *ecdh.PublicKey
	switch q := parsed.(type) {
	case *ecdsa.PublicKey:
		if theirs, err = q.ECDH(); err != nil {
			return nil, false
		}
	default:
		return nil, false
	}
	own, err := p.ecdsa.ECDH()
	if err != nil {
		return nil, false
	}
	secret, err := own.ECDH(theirs)
	return secret, err == nil
}

// private returns the material of an asymmetric key. It is parsed once per record.
func (k *key) private() (*privateKey, error) {
	c, err := k.compiled()
	if err != nil {
		return nil, err
	}
	if len(k.Materials) == 0 || k.current().Key == nil {
		return nil, pendingImport(k.arn())
	}
	return c.private()
}

// parseCurrent is what compiled.private does the first time.
func (k *key) parseCurrent() (*privateKey, error) {
	p, err := parsePrivate(k.Spec, k.current().Key)
	if err != nil {
		return nil, fmt.Errorf("key material of %s: %w", k.arn(), err)
	}
	return p, nil
}
