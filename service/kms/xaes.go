package kms

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/subtle"
	"fmt"
)

const (
	materialSize = 32
	nonceSize    = 24
	tagSize      = 16
)

// xaes is XAES-256-GCM with one key: https://c2sp.org/XAES-256-GCM. It is safe for
// concurrent use.
type xaes struct {
	block  cipher.Block
	subkey [aes.BlockSize]byte // K1 of CMAC
}

func newXAES(key []byte) (*xaes, error) {
	if len(key) != materialSize {
		return nil, fmt.Errorf("kms: key material of %d bytes", len(key))
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	x := &xaes{block: block}
	x.block.Encrypt(x.subkey[:], x.subkey[:])
	// Doubling in GF(2^128), without a branch on secret bits.
	var carry byte
	for i := len(x.subkey) - 1; i >= 0; i-- {
		next := x.subkey[i] >> 7
		x.subkey[i] = x.subkey[i]<<1 | carry
		carry = next
	}
	x.subkey[len(x.subkey)-1] ^= -carry & 0x87
	return x, nil
}

// derive returns the AES-256-GCM that the first half of nonce selects.
func (x *xaes) derive(nonce []byte) (cipher.AEAD, error) {
	var key [2 * aes.BlockSize]byte
	for i := range 2 {
		half := key[i*aes.BlockSize:][:aes.BlockSize]
		half[1], half[2] = byte(i+1), 'X'
		copy(half[4:], nonce[:12])
		subtle.XORBytes(half, half, x.subkey[:])
		x.block.Encrypt(half, half)
	}
	block, err := aes.NewCipher(key[:])
	clear(key[:])
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

func (x *xaes) seal(dst, nonce, plaintext, data []byte) ([]byte, error) {
	gcm, err := x.derive(nonce)
	if err != nil {
		return nil, err
	}
	return gcm.Seal(dst, nonce[12:], plaintext, data), nil
}

func (x *xaes) open(nonce, ciphertext, data []byte) ([]byte, error) {
	gcm, err := x.derive(nonce)
	if err != nil {
		return nil, err
	}
	return gcm.Open(nil, nonce[12:], ciphertext, data)
}
