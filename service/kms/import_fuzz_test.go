package kms

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"encoding/hex"
	"testing"
	"time"

	"github.com/malote/malote/service/kms/kwptest"
)

// The test vectors of RFC 5649.
func TestUnwrapPadded(t *testing.T) {
	t.Parallel()
	key, _ := hex.DecodeString("5840df6e29b02af1ab493b705bf16ea1ae8338f4dcc176a8")
	for _, tt := range []struct{ plaintext, wrapped string }{
		{"c37b7e6492584340bed12207808941155068f738", "138bdeaa9b8fa7fc61f97742e72248ee5ae6ae5360d1ae6a5f54f373fa543b6a"},
		{"466f7250617369", "afbeb0f07dfbf5419200f2ccb50bb24f"},
	} {
		wrapped, _ := hex.DecodeString(tt.wrapped)
		if got, ok := unwrapPadded(key, wrapped); !ok || hex.EncodeToString(got) != tt.plaintext {
			t.Errorf("unwrapPadded(%s) = %x, %t", tt.wrapped, got, ok)
		}
		plaintext, _ := hex.DecodeString(tt.plaintext)
		if got := kwptest.Wrap(key, plaintext); !bytes.Equal(got, wrapped) {
			t.Errorf("Wrap(%s) = %x", tt.plaintext, got)
		}
	}
}

func FuzzUnwrapPadded(f *testing.F) {
	key := bytes.Repeat([]byte{1}, 32)
	f.Add(kwptest.Wrap(key, bytes.Repeat([]byte{2}, 32)))
	f.Add(kwptest.Wrap(key, []byte{2}))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if plaintext, ok := unwrapPadded(key, b); ok && !bytes.Equal(kwptest.Wrap(key, plaintext), b) {
			t.Errorf("%x unwraps, and wraps to something else", b)
		}
		if len(b) == 0 || len(b) > 4096 {
			return
		}
		wrapped := kwptest.Wrap(key, b)
		if got, ok := unwrapPadded(key, wrapped); !ok || !bytes.Equal(got, b) {
			t.Errorf("%x does not come back", b)
		}
		wrapped[int(b[0])%len(wrapped)] ^= 1
		if _, ok := unwrapPadded(key, wrapped); ok {
			t.Errorf("%x altered unwraps", b)
		}
	})
}

// FuzzImport: made-up tokens do not open, and made-up material does not unwrap.
func FuzzImport(f *testing.F) {
	k := testKey()
	k.makeExternal()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		f.Fatal(err)
	}
	now := time.Unix(0, 0)
	good, err := k.sealImportToken(importToken{Until: now.Add(importValidity), Algorithm: "RSA_AES_KEY_WRAP_SHA_256"}, private)
	if err != nil {
		f.Fatal(err)
	}
	if len(good) > 6144 {
		f.Fatalf("a token of %d bytes", len(good))
	}
	token, err := k.openImportToken(good, now)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good, []byte("x"))
	f.Add([]byte{importTokenFormat}, make([]byte, private.Size()+16))
	f.Fuzz(func(t *testing.T, blob, wrapped []byte) {
		if _, err := k.openImportToken(blob, now); err == nil && !bytes.Equal(blob, good) {
			t.Error("a made-up token opens")
		}
		if _, err := token.unwrap(wrapped); !isInvalid(err) {
			t.Errorf("made-up material: %v", err)
		}
	})
}
