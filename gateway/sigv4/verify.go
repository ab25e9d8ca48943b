package sigv4

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"hash"
	"net/http"
	"strings"
	"sync"
)

// ErrMismatch is the error of a signature that does not verify.
var ErrMismatch = &Error{Invalid, "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details."}

// A Verifier checks signatures and remembers derived keys. The zero value is ready.
type Verifier struct {
	mu sync.Mutex // guards the rest
	// Two generations bound the memory: when young is full, it becomes old, and what
	// was old and not asked for since is forgotten.
	young, old map[keyID]*signingKey
}

// maxKeys is how many derived keys one generation holds.
const maxKeys = 4096

type keyID struct{ accessKeyID, date, region, service string }

// signingKey is a key derived for one day, region and service.
type signingKey struct {
	secret string    // that it was derived from: the owner may get another
	macs   sync.Pool // of hash.Hash, keyed and reset
}

// Verify reports whether a is r's signature under secret. The payload is the lower-case
// hexadecimal SHA-256 of the body, or what S3 allows in its place.
func (v *Verifier) Verify(a *Authorization, r *http.Request, payload, secret string) bool {
	id := keyID{a.AccessKeyID, a.scopeDate, a.Region, a.Service}
	key, known := v.find(id, secret)
	if !known {
		key = derive(secret, a)
	}
	sum := key.sign(a, r, payload)
	ok := subtle.ConstantTimeCompare(sum[:], a.signature[:]) == 1 && !a.broken
	switch {
	case ok && !known:
		v.keep(id, key)
	case !ok && known:
		derive(secret, a) // so that a refusal takes as long as that of a key which nobody has
	}
	return ok
}

// sign computes what a's signature should be.
func (k *signingKey) sign(a *Authorization, r *http.Request, payload string) (sum [sha256.Size]byte) {
	w := work.Get().(*workspace)
	defer func() {
		if cap(w.canonical) <= maxKept {
			work.Put(w)
		}
	}()

	w.canonical = appendCanonical(w.canonical[:0], a, r, payload, a.Service == "s3")
	canonicalHash := sha256.Sum256(w.canonical)

	b := append(w.toSign[:0], algorithm...)
	b = append(b, '\n')
	b = append(b, a.stamp...)
	b = append(b, '\n')
	b = append(b, a.scopeDate...)
	b = append(b, '/')
	b = append(b, a.Region...)
	b = append(b, '/')
	b = append(b, a.Service...)
	b = append(b, '/')
	b = append(b, terminator...)
	b = append(b, '\n')
	b = hex.AppendEncode(b, canonicalHash[:])
	w.toSign = b

	mac := k.macs.Get().(hash.Hash)
	mac.Write(b)
	w.sum = mac.Sum(w.sum[:0])
	mac.Reset()
	k.macs.Put(mac)
	copy(sum[:], w.sum)
	return sum
}

// maxKept is how long a canonical request may be whose room is used again.
const maxKept = 64 << 10

// workspace is what one verification writes and throws away.
type workspace struct{ canonical, toSign, sum []byte }

var work = sync.Pool{New: func() any {
	return &workspace{canonical: make([]byte, 0, 1024), toSign: make([]byte, 0, 256), sum: make([]byte, 0, sha256.Size)}
}}

func derive(secret string, a *Authorization) *signingKey {
	sum := []byte("AWS4" + secret)
	for _, part := range []string{a.scopeDate, a.Region, a.Service, terminator} {
		mac := hmac.New(sha256.New, sum)
		mac.Write([]byte(part))
		sum = mac.Sum(nil)
	}
	key := &signingKey{secret: strings.Clone(secret)}
	key.macs.New = func() any { return hmac.New(sha256.New, sum) }
	return key
}

func (v *Verifier) find(id keyID, secret string) (*signingKey, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	key, ok := v.young[id]
	if !ok {
		if key, ok = v.old[id]; ok {
			v.put(id, key)
		}
	}
	if !ok || subtle.ConstantTimeCompare([]byte(key.secret), []byte(secret)) != 1 {
		return nil, false
	}
	return key, true
}

// keep remembers a key. Only keys that have verified a signature are kept, so that
// nobody without a secret can fill the memory.
func (v *Verifier) keep(id keyID, key *signingKey) {
	// The strings of id are parts of a request's, which may be long.
	id = keyID{strings.Clone(id.accessKeyID), strings.Clone(id.date), strings.Clone(id.region), strings.Clone(id.service)}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.put(id, key)
}

func (v *Verifier) put(id keyID, key *signingKey) {
	if v.young == nil || len(v.young) >= maxKeys {
		v.old, v.young = v.young, make(map[keyID]*signingKey)
	}
	v.young[id] = key
}
