package kms

import (
	"bytes"
	"encoding/hex"
	"errors"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/malote/malote/service/attached"
)

// testKey has a fixed id, and material made for the occasion.
func testKey() *key {
	k := newKey("123456789012", "us-east-1", time.Unix(0, 0))
	k.ID = "1234abcd-12ab-34cd-56ef-1234567890ab"
	k.Policy = attached.Policy{Text: defaultPolicy(k.Account)}
	return k
}

// FuzzHeader: what parses is what the header says, to the byte.
func FuzzHeader(f *testing.F) {
	k := testKey()
	blob, err := k.encrypt([]byte("plaintext"), map[string]string{"a": "b"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(blob)
	f.Add(blob[:overhead])
	f.Add(blob[:overhead-1])
	mrk, _ := hex.DecodeString("0101000000e8d4a50fff")
	f.Add(append(mrk, make([]byte, overhead)...))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, blob []byte) {
		h, ok := parseHeader(blob)
		if !ok {
			return
		}
		if !isKeyID(h.keyID) || !isAccount(h.account) {
			t.Fatalf("parseHeader(%x) = %+v", blob, h)
		}
		again, err := appendHeader(nil, h)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(again, blob[:headerSize]) {
			t.Errorf("appendHeader(parseHeader(b)) = %x, want %x", again, blob[:headerSize])
		}
		if _, _, err := k.decrypt(h, blob, nil); err == nil {
			t.Error("a made-up ciphertext opens")
		}
	})
}

// FuzzTamper: one altered byte, wherever it is, never opens.
func FuzzTamper(f *testing.F) {
	f.Add([]byte("secret"), "SecretARN", "arn", 0, byte(1))
	f.Add([]byte("secret"), "SecretARN", "arn", headerSize, byte(0x80))
	f.Add([]byte{0}, "", "", overhead, byte(1))
	k := testKey()
	f.Fuzz(func(t *testing.T, plaintext []byte, name, value string, at int, flip byte) {
		context := map[string]string{name: value}
		blob, err := k.encrypt(plaintext, context)
		if err != nil {
			t.Fatal(err)
		}
		h, ok := parseHeader(blob)
		if !ok {
			t.Fatal("an own ciphertext does not parse")
		}
		got, id, err := k.decrypt(h, blob, context)
		if err != nil || !bytes.Equal(got, plaintext) || *id != k.current().ID {
			t.Fatalf("decrypt(encrypt(%q)) = %q, %q, %v", plaintext, got, *id, err)
		}
		for _, other := range []map[string]string{nil, {name + "x": value}, {name: value + "x"}, {name: value, name + "x": ""}} {
			if _, _, err := k.decrypt(h, blob, other); !isInvalid(err) {
				t.Errorf("decrypt in context %v: %v, want InvalidCiphertextException", other, err)
			}
		}
		if flip == 0 {
			return
		}
		blob[uint(at)%uint(len(blob))] ^= flip
		if h, ok = parseHeader(blob); ok {
			if _, _, err := k.decrypt(h, blob, context); !isInvalid(err) {
				t.Errorf("decrypt with byte %d altered: %v, want InvalidCiphertextException", uint(at)%uint(len(blob)), err)
			}
		}
	})
}

// Contexts that would read the same side by side are different contexts.
func TestContextIsUnambiguous(t *testing.T) {
	t.Parallel()
	seen := map[string]int{}
	for i, context := range []map[string]string{
		nil, {"": ""}, {"a": "b"}, {"ab": ""}, {"": "ab"}, {"a": "", "b": ""}, {"a": "b", "c": "d"}, {"a": "bcd"}, {"a": "b\x00\x00\x00\x01c"},
	} {
		text := string(appendContext(nil, context))
		if j, ok := seen[text]; ok {
			t.Errorf("contexts %d and %d have one text", i, j)
		}
		seen[text] = i
	}
}

func isInvalid(err error) bool {
	var invalid *types.InvalidCiphertextException
	return errors.As(err, &invalid)
}

func FuzzParseRef(f *testing.F) {
	for _, seed := range []string{
		"alias/x", "1234abcd-12ab-34cd-56ef-1234567890ab", "mrk-1234abcd12ab34cd56ef1234567890ab",
		"arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab",
		"arn:aws:kms:us-east-1:123456789012:alias/x", "arn:aws:kms:eu-west-1:123456789012:alias/x", "arn:", "arn:aws:kms::::", "",
	} {
		f.Add(seed, true)
	}
	f.Fuzz(func(t *testing.T, given string, takesAlias bool) {
		r := parseRef(given, "us-east-1", "123456789012", takesAlias)
		if r.arn == "" {
			t.Errorf("parseRef(%q) has no ARN to authorize", given)
		}
		if r.err != nil {
			return
		}
		if (r.id == "") == (r.alias == "") {
			t.Errorf("parseRef(%q) = %+v, want a key or an alias", given, r)
		}
		if r.id != "" && !isKeyID(r.id) || !isAccount(r.account) {
			t.Errorf("parseRef(%q) = %+v", given, r)
		}
	})
}
