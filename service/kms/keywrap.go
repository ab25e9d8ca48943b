package kms

import (
	"crypto/aes"
	"crypto/subtle"
	"encoding/binary"
)

// unwrapPadded is the inverse of AES key wrap with padding (RFC 5649, KWP of NIST SP
// 800-38F). It reports false for what was not wrapped under key.
func unwrapPadded(key, wrapped []byte) ([]byte, bool) {
	block, err := aes.NewCipher(key)
	if err != nil || len(wrapped) < 16 || len(wrapped)%8 != 0 {
		return nil, false
	}
	n := len(wrapped)/8 - 1
	var b [16]byte
	padded := make([]byte, 8*n)
	if n == 1 {
		block.Decrypt(b[:], wrapped)
		copy(padded, b[8:])
	} else {
		copy(b[:8], wrapped)
		copy(padded, wrapped[8:])
		for j := 5; j >= 0; j-- {
			for i := n; i >= 1; i-- {
				binary.BigEndian.PutUint64(b[:], binary.BigEndian.Uint64(b[:])^uint64(n*j+i))
				copy(b[8:], padded[8*(i-1):8*i])
				block.Decrypt(b[:], b[:])
				copy(padded[8*(i-1):], b[8:])
			}
		}
	}
	// The first half says A65959A6 and how long the plaintext is; zeroes follow that.
	size := int64(binary.BigEndian.Uint32(b[4:]))
	good := subtle.ConstantTimeCompare(b[:4], []byte{0xa6, 0x59, 0x59, 0xa6}) == 1
	if !good || size > int64(len(padded)) || size <= int64(len(padded)-8) {
		clear(padded)
		return nil, false
	}
	var rest byte
	for _, c := range padded[size:] {
		rest |= c
	}
	if rest != 0 {
		clear(padded)
		return nil, false
	}
	return padded[:size], true
}
