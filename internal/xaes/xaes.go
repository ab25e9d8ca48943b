// Package xaes is XAES-256-GCM (https://c2sp.org/XAES-256-GCM): AES-256-GCM under a key
// derived from the main key and the first half of a 192-bit nonce.
//
// AES-GCM by itself allows 2^32 random nonces to a key; whoever goes beyond has to count
// seals, durably, and over all processes that share the key. XAES allows 2^80, so random
// nonces need no counting at all. It costs two AES blocks and a key schedule per message,
// about a microsecond, and is built of nothing but FIPS-approved parts (SP 800-108 KDF in counter
// mode with CMAC, AES-GCM).
package xaes

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/subtle"
	"errors"
)

const (
	KeySize   = 32
	NonceSize = 24
	Overhead  = NonceSize + 16 // of Seal over its plaintext
)

// ErrOpen says that a message was not sealed under this key and associated data, or was
// changed since. Which, cannot be told.
var ErrOpen = errors.New("message authentication failed")

// Key seals and opens. It does not change, and is safe for concurrent use.
type Key struct {
	block cipher.Block
	k1    [aes.BlockSize]byte // CMAC's subkey for a complete last block
}

// New returns the Key made of KeySize bytes.
func New(key []byte) *Key {
	if len(key) != KeySize {
		panic("xaes: wrong key size")
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err) // the size is right
	}
	k := &Key{block: block}
	block.Encrypt(k.k1[:], k.k1[:])
	msb := byte(0)
	for i := len(k.k1) - 1; i >= 0; i-- {
		k.k1[i], msb = k.k1[i]<<1|msb, k.k1[i]>>7
	}
	k.k1[len(k.k1)-1] ^= msb * 0b10000111
	return k
}

// aead returns the cipher of one message.
func (k *Key) aead(nonce []byte) cipher.AEAD {
	derived := make([]byte, 2*aes.BlockSize)
	for half := range 2 {
		m := derived[half*aes.BlockSize:][:aes.BlockSize]
		m[1], m[2] = byte(half+1), 'X'
		copy(m[4:], nonce[:12])
		subtle.XORBytes(m, m, k.k1[:])
		k.block.Encrypt(m, m)
	}
	block, err := aes.NewCipher(derived)
	if err != nil {
		panic(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	return aead
}

// Seal appends nonce, ciphertext and tag to dst. The nonce is random.
func (k *Key) Seal(dst, plaintext, associated []byte) []byte {
	var nonce [NonceSize]byte
	rand.Read(nonce[:]) // never fails
	return k.seal(dst, nonce[:], plaintext, associated)
}

func (k *Key) seal(dst, nonce, plaintext, associated []byte) []byte {
	dst = append(dst, nonce...)
	return k.aead(nonce).Seal(dst, nonce[12:], plaintext, associated)
}

// Open returns the plaintext of what Seal appended, or ErrOpen.
func (k *Key) Open(sealed, associated []byte) ([]byte, error) {
	return k.AppendOpen(nil, sealed, associated)
}

// AppendOpen is Open into the room behind dst.
func (k *Key) AppendOpen(dst, sealed, associated []byte) ([]byte, error) {
	if len(sealed) < Overhead {
		return nil, ErrOpen
	}
	nonce := sealed[:NonceSize]
	plaintext, err := k.aead(nonce).Open(dst, nonce[12:], sealed[NonceSize:], associated)
	if err != nil {
		return nil, ErrOpen
	}
	return plaintext, nil
}
