package kms

import (
	"crypto/rand"
	"crypto/rsa"

	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// algorithmCondition is the condition of a request that names an algorithm. Else the
// algorithm is SYMMETRIC_DEFAULT, which use.crypto says.
func algorithmCondition(algorithm types.EncryptionAlgorithmSpec) map[string][]string {
	if algorithm == "" || algorithm == types.EncryptionAlgorithmSpecSymmetricDefault {
		return nil
	}
	return map[string][]string{"kms:EncryptionAlgorithm": {string(algorithm)}}
}

// encryption returns the algorithm that a request means, if k has it, and refuses an
// encryption context where nothing can be bound to it.
func (k *key) encryption(asked types.EncryptionAlgorithmSpec, context map[string]string) (types.EncryptionAlgorithmSpec, error) {
	if asked == "" {
		asked = types.EncryptionAlgorithmSpecSymmetricDefault
	}
	if err := compatible(k, keySpecs[k.spec()].encryption, asked); err != nil {
		return "", err
	}
	if !k.isSymmetric() && len(context) > 0 {
		return "", validation("EncryptionContext is not valid for key spec %s: only symmetric encryption keys have one.", k.spec())
	}
	return asked, nil
}

// seal encrypts under k's current material.
func (k *key) seal(algorithm types.EncryptionAlgorithmSpec, plaintext []byte, context map[string]string) ([]byte, error) {
	if k.isSymmetric() {
		return k.encrypt(plaintext, context)
	}
	p, err := k.private()
	if err != nil {
		return nil, err
	}
	hash := encryptionHashes[algorithm]
	if most := p.rsa.Size() - 2*hash.Size() - 2; len(plaintext) > most {
		return nil, validation("Algorithm %s and key spec %s cannot encrypt data larger than %d bytes.", algorithm, k.spec(), most)
	}
	return rsa.EncryptOAEP(hash.New(), rand.Reader, &p.rsa.PublicKey, plaintext, nil)
}

// open is the inverse of seal. The material id is nil but of a symmetric encryption key.
func (k *key) open(h header, algorithm types.EncryptionAlgorithmSpec, blob []byte, context map[string]string) (plaintext []byte, materialID *string, err error) {
	if k.isSymmetric() {
		return k.decrypt(h, blob, context)
	}
	p, err := k.private()
	if err != nil {
		return nil, nil, err
	}
	plaintext, err = rsa.DecryptOAEP(encryptionHashes[algorithm].New(), nil, p.rsa, blob, nil)
	if err != nil {
		return nil, nil, invalidCiphertext()
	}
	return plaintext, nil, nil
}
