package kms

import (
	"encoding/asn1"
	"fmt"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"
	"golang.org/x/crypto/cryptobyte"
	cryptobyteasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// The standard library does not know secp256k1, so its keys are encoded here, as RFC 5480,
// 5915 and 5958 have it.
var (
	oidECPublicKey = asn1.ObjectIdentifier{1, 2, 840, 10045, 2, 1}
	oidSecp256k1   = asn1.ObjectIdentifier{1, 3, 132, 0, 10}
)

const k1Size = 32

func addK1Algorithm(b *cryptobyte.Builder) {
	b.AddASN1(cryptobyteasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(oidECPublicKey)
		b.AddASN1ObjectIdentifier(oidSecp256k1)
	})
}

// marshalK1 returns PKCS #8.
func marshalK1(p *secp256k1.PrivateKey) ([]byte, error) {
	scalar := p.Serialize()
	defer clear(scalar)
	var b cryptobyte.Builder
	b.AddASN1(cryptobyteasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1Int64(0)
		addK1Algorithm(b)
		b.AddASN1(cryptobyteasn1.OCTET_STRING, func(b *cryptobyte.Builder) {
			b.AddASN1(cryptobyteasn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1Int64(1)
				b.AddASN1OctetString(scalar)
				b.AddASN1(cryptobyteasn1.Tag(1).Constructed().ContextSpecific(), func(b *cryptobyte.Builder) {
					b.AddASN1BitString(p.PubKey().SerializeUncompressed())
				})
			})
		})
	})
	der, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("encoding a secp256k1 private key: %w", err)
	}
	return der, nil
}

// marshalK1Public returns a SubjectPublicKeyInfo.
func marshalK1Public(p *secp256k1.PublicKey) ([]byte, error) {
	var b cryptobyte.Builder
	b.AddASN1(cryptobyteasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		addK1Algorithm(b)
		b.AddASN1BitString(p.SerializeUncompressed())
	})
	der, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("encoding a secp256k1 public key: %w", err)
	}
	return der, nil
}

// parseK1 reads PKCS #8, with or without the public key and attributes. A public key that
// is there must be that of the private one.
func parseK1(der []byte) (*secp256k1.PrivateKey, bool) {
	input := cryptobyte.String(der)
	var outer, algorithm, inner, key, scalar cryptobyte.String
	var version int64
	var kind, curve asn1.ObjectIdentifier
	if !input.ReadASN1(&outer, cryptobyteasn1.SEQUENCE) || !input.Empty() ||
		!outer.ReadASN1Integer(&version) || version < 0 || version > 1 ||
		!outer.ReadASN1(&algorithm, cryptobyteasn1.SEQUENCE) ||
		!algorithm.ReadASN1ObjectIdentifier(&kind) || !kind.Equal(oidECPublicKey) ||
		!algorithm.ReadASN1ObjectIdentifier(&curve) || !curve.Equal(oidSecp256k1) || !algorithm.Empty() ||
		!outer.ReadASN1(&inner, cryptobyteasn1.OCTET_STRING) ||
		!inner.ReadASN1(&key, cryptobyteasn1.SEQUENCE) || !inner.Empty() ||
		!key.ReadASN1Integer(&version) || version != 1 ||
		!key.ReadASN1(&scalar, cryptobyteasn1.OCTET_STRING) || len(scalar) != k1Size {
		return nil, false
	}
	var n secp256k1.ModNScalar
	if overflow := n.SetByteSlice(scalar); overflow || n.IsZero() {
		return nil, false
	}
	p := secp256k1.NewPrivateKey(&n)

	var parameters, public cryptobyte.String
	var has bool
	if !key.ReadOptionalASN1(&parameters, &has, cryptobyteasn1.Tag(0).Constructed().ContextSpecific()) {
		return nil, false
	}
	if has && (!parameters.ReadASN1ObjectIdentifier(&curve) || !curve.Equal(oidSecp256k1) || !parameters.Empty()) {
		return nil, false
	}
	if !key.ReadOptionalASN1(&public, &has, cryptobyteasn1.Tag(1).Constructed().ContextSpecific()) || !key.Empty() {
		return nil, false
	}
	if !has {
		return p, true
	}
	var point asn1.BitString
	if !public.ReadASN1BitString(&point) || !public.Empty() || point.BitLength%8 != 0 {
		return nil, false
	}
	q, err := secp256k1.ParsePubKey(point.Bytes)
	return p, err == nil && q.IsEqual(p.PubKey())
}
