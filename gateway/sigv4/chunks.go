package sigv4

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"hash"
)

// What S3 takes in the place of a body's hash.
//
// https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
const (
	UnsignedPayload        = "UNSIGNED-PAYLOAD"
	StreamingSigned        = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
	StreamingSignedTrailer = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
	StreamingUnsigned      = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
)

// Chunks verifies the signatures of a body's chunks, each of which signs the one before.
type Chunks struct {
	key      *signingKey
	a        *Authorization
	previous [sha256.Size]byte
}

// Chunks returns what verifies the chunks of a request whose signature Verify has found to
// be right.
func (v *Verifier) Chunks(a *Authorization, secret string) *Chunks {
	key, known := v.find(keyID{a.AccessKeyID, a.scopeDate, a.Region, a.Service}, secret)
	if !known {
		key = derive(secret, a)
	}
	return &Chunks{key: key, a: a, previous: a.signature}
}

// Chunk reports whether the signature, in hexadecimal, is that of the next chunk, whose
// data hashes to sum.
func (c *Chunks) Chunk(sum [sha256.Size]byte, signature string) bool {
	empty := sha256.Sum256(nil)
	return c.next("AWS4-HMAC-SHA256-PAYLOAD", hex.EncodeToString(empty[:])+"\n", sum, signature)
}

// Trailer is Chunk for the lines behind the last one ("name:value\n").
func (c *Chunks) Trailer(sum [sha256.Size]byte, signature string) bool {
	return c.next("AWS4-HMAC-SHA256-TRAILER", "", sum, signature)
}

func (c *Chunks) next(kind, between string, sum [sha256.Size]byte, signature string) bool {
	b := []byte(kind + "\n" + c.a.stamp + "\n" + c.a.scopeDate + "/" + c.a.Region + "/" + c.a.Service + "/" + terminator + "\n")
	b = hex.AppendEncode(b, c.previous[:])
	b = append(b, "\n"+between...)
	b = hex.AppendEncode(b, sum[:])
	mac := c.key.macs.Get().(hash.Hash)
	mac.Write(b)
	mac.Sum(c.previous[:0])
	mac.Reset()
	c.key.macs.Put(mac)
	var given [sha256.Size]byte
	if n, err := hex.Decode(given[:], []byte(signature[:min(len(signature), 2*sha256.Size)])); err != nil || n != len(given) {
		return false
	}
	return len(signature) == 2*sha256.Size && subtle.ConstantTimeCompare(c.previous[:], given[:]) == 1
}
