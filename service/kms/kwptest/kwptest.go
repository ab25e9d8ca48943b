// Package kwptest wraps key material as clients of ImportKeyMaterial do: for tests.
package kwptest

import (
	"crypto/aes"
	"encoding/binary"
)

// Wrap is AES key wrap with padding (RFC 5649).
func Wrap(key, plaintext []byte) []byte {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err)
	}
	n := (len(plaintext) + 7) / 8
	wrapped := make([]byte, 8*(n+1))
	copy(wrapped, []byte{0xa6, 0x59, 0x59, 0xa6})
	binary.BigEndian.PutUint32(wrapped[4:], uint32(len(plaintext)))
	copy(wrapped[8:], plaintext)
	if n == 1 {
		block.Encrypt(wrapped, wrapped)
		return wrapped
	}
	var b [16]byte
	copy(b[:8], wrapped)
	for j := range 6 {
		for i := 1; i <= n; i++ {
			copy(b[8:], wrapped[8*i:])
			block.Encrypt(b[:], b[:])
			binary.BigEndian.PutUint64(b[:], binary.BigEndian.Uint64(b[:])^uint64(n*j+i))
			copy(wrapped[8*i:], b[8:])
		}
	}
	copy(wrapped, b[:8])
	return wrapped
}
