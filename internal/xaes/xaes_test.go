package xaes

import (
	"bytes"
	"crypto/sha3"
	"encoding/hex"
	"testing"
)

// The vectors of https://c2sp.org/XAES-256-GCM.
func TestVectors(t *testing.T) {
	nonce := []byte("ABCDEFGHIJKLMNOPQRSTUVWX")
	for _, tt := range []struct {
		key        byte
		associated string
		want       string
	}{
		{1, "", "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"},
		{3, "c2sp.org/XAES-256-GCM", "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d"},
	} {
		k := New(bytes.Repeat([]byte{tt.key}, KeySize))
		sealed := k.seal(nil, nonce, []byte("XAES-256-GCM"), []byte(tt.associated))
		if got := hex.EncodeToString(sealed[NonceSize:]); got != tt.want {
			t.Errorf("sealed = %s, want %s", got, tt.want)
		}
		if got, err := k.Open(sealed, []byte(tt.associated)); err != nil || string(got) != "XAES-256-GCM" {
			t.Errorf("Open = %q, %v", got, err)
		}
		if _, err := k.Open(sealed, []byte("other")); err != ErrOpen {
			t.Errorf("Open with other associated data: %v", err)
		}
	}
}

func TestAccumulated(t *testing.T) {
	source, digest := sha3.NewSHAKE128(), sha3.NewSHAKE128()
	read := func(n int) []byte {
		b := make([]byte, n)
		source.Read(b)
		return b
	}
	length := func() int { return int(read(1)[0]) }
	for range 10_000 {
		k := New(read(KeySize))
		nonce := read(NonceSize)
		plaintext := read(length())
		associated := read(length())
		digest.Write(k.seal(nil, nonce, plaintext, associated)[NonceSize:])
	}
	sum := make([]byte, 32)
	digest.Read(sum)
	if got, want := hex.EncodeToString(sum), "e6b9edf2df6cec60c8cbd864e2211b597fb69a529160cd040d56c0c210081939"; got != want {
		t.Errorf("digest = %s, want %s", got, want)
	}
}

func FuzzOpen(f *testing.F) {
	k := New(bytes.Repeat([]byte{7}, KeySize))
	sealed := k.Seal(nil, []byte("plaintext"), []byte("key"))
	f.Add(5, byte(1))
	f.Add(30, byte(128))
	f.Fuzz(func(t *testing.T, at int, mask byte) {
		if mask == 0 || at < 0 {
			return
		}
		changed := bytes.Clone(sealed)
		changed[at%len(changed)] ^= mask
		if _, err := k.Open(changed, []byte("key")); err != ErrOpen {
			t.Errorf("opened with byte %d changed: %v", at%len(changed), err)
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	k := New(make([]byte, KeySize))
	plaintext := make([]byte, 1024)
	b.ReportAllocs()
	for b.Loop() {
		k.Seal(nil, plaintext, nil)
	}
}
