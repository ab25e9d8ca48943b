// Package keyring seals what a store keeps, so that whoever holds only the disk learns
// no value.
//
// It promises: a value opens only at the key it was stored at, so records cannot be
// swapped, and any change to it is an error. It hides neither keys, nor the length of
// values, nor which changed; and it cannot tell an old record, put back at its own key
// by someone who can write to the disk, from the current one.
//
// It does not decide who may read what (see policy), nor keep anything (see store). On
// top of it, secret values are enveloped under their KMS keys.
//
// # Format of a value
//
//	byte 0       format, 1
//	bytes 1-4    number of the key it is sealed with, big-endian
//	bytes 5-28   random nonce
//	then         ciphertext, as long as the value
//	last 16      tag
//
// The cipher is XAES-256-GCM. Its associated data is bytes 0 to 4 followed by the store
// key. XAES is chosen over AES-256-GCM since its 192-bit nonces may be drawn at random
// 2^80 times under a key: with AES-GCM's 96 bits, keys would have to be replaced well
// before 2^32 seals, and the seals counted durably over all processes on one store.
//
// # The keyring's own record
//
// Everything below the store key "keyring/" is the keyring's own and hidden from those
// above. "keyring/ring" holds the keys:
//
//	byte 0       format, 1
//	then         JSON: {"SealID": …, "Wrapped": …, "Keys": …}
//
// Wrapped is a random 256-bit key, wrapped by the seal (see package seal) that SealID
// names. Keys is JSON, sealed with XAES-256-GCM under that key, with the store key as
// associated data: [{"ID": 1, "Key": 32 bytes, "Made": time}, …]. The last one seals, all
// of them open. There is never a ring in the store that the seal in use cannot unwrap.
package keyring
