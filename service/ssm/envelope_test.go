package ssm

import (
	"bytes"
	"errors"
	"testing"
)

var testContext = map[string]string{"PARAMETER_ARN": "arn:aws:ssm:us-east-1:123456789012:parameter/a"}

func testEnvelope(tb testing.TB, key, value []byte) []byte {
	tb.Helper()
	sealed, err := envelope("arn:aws:kms:us-east-1:123456789012:key/k", []byte("encrypted data key"), key, testContext, value)
	if err != nil {
		tb.Fatal(err)
	}
	return sealed
}

func TestEnvelope(t *testing.T) {
	t.Parallel()
	key := bytes.Repeat([]byte{7}, 32)
	for _, size := range []int{1, 4097, 8192} {
		value := bytes.Repeat([]byte("v"), size)
		sealed := testEnvelope(t, key, value)
		m, err := parseEnvelope(sealed)
		if err != nil {
			t.Fatal(err)
		}
		if string(m.dataKey) != "encrypted data key" {
			t.Errorf("data key = %q", m.dataKey)
		}
		if got, err := m.open(key, testContext); err != nil || !bytes.Equal(got, value) {
			t.Errorf("open = %.20q, %v", got, err)
		}
		if _, err := m.open(bytes.Repeat([]byte{8}, 32), testContext); err == nil {
			t.Error("opens with another key")
		}
		if _, err := m.open(key, map[string]string{"PARAMETER_ARN": "another"}); err == nil {
			t.Error("opens for another parameter")
		}
	}
	// The first bytes are what the message format says of version, type and suite.
	if got := testEnvelope(t, key, []byte("v"))[:4]; !bytes.Equal(got, []byte{0x01, 0x80, 0x01, 0x78}) {
		t.Errorf("begins with %x", got)
	}
}

func FuzzEnvelope(f *testing.F) {
	key := bytes.Repeat([]byte{7}, 32)
	original := testEnvelope(f, key, []byte("value"))
	f.Add(original)
	f.Add(original[:30])
	f.Add([]byte{1, 0x80, 1, 0x78})
	for _, at := range []int{0, 5, 25, 60, len(original) - 1} {
		changed := bytes.Clone(original)
		changed[at] ^= 1
		f.Add(changed)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parseEnvelope(b)
		if err != nil {
			if !errors.Is(err, errMessage) {
				t.Error(err)
			}
			return
		}
		// Another process of the fuzzer has made another original of the same value.
		if value, err := m.open(key, testContext); err == nil && string(value) != "value" {
			t.Errorf("%x opens to %q", b, value)
		}
	})
}
