package kms

import (
	"bytes"
	"encoding/hex"
	"testing"
)

// The vectors of https://c2sp.org/XAES-256-GCM: one for each value of the bit that
// doubling carries.
func TestXAESVectors(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		key  byte
		data string
		want string
	}{
		{0x01, "", "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"},
		{0x03, "c2sp.org/XAES-256-GCM", "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d"},
	} {
		x, err := newXAES(bytes.Repeat([]byte{tt.key}, materialSize))
		if err != nil {
			t.Fatal(err)
		}
		nonce := []byte("ABCDEFGHIJKLMNOPQRSTUVWX")
		sealed, err := x.seal(nil, nonce, []byte("XAES-256-GCM"), []byte(tt.data))
		if err != nil {
			t.Fatal(err)
		}
		if got := hex.EncodeToString(sealed); got != tt.want {
			t.Errorf("seal under %#x = %s, want %s", tt.key, got, tt.want)
		}
		opened, err := x.open(nonce, sealed, []byte(tt.data))
		if err != nil || string(opened) != "XAES-256-GCM" {
			t.Errorf("open = %q, %v", opened, err)
		}
	}
}
