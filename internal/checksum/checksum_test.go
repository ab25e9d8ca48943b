package checksum_test

import (
	"bytes"
	"encoding/base64"
	"testing"

	"github.com/malote/malote/internal/checksum"
)

// The check values of the CRCs' catalogue, and digests of the same text.
func TestValues(t *testing.T) {
	t.Parallel()
	for algorithm, want := range map[checksum.Algorithm]string{
		checksum.CRC32:     "y/Q5Jg==",
		checksum.CRC32C:    "4waSgw==",
		checksum.CRC64NVME: "rosUhgp5mIg=",
		checksum.SHA1:      "98O8HYCOBHMq32eZZczDTKeuNEE=",
		checksum.SHA256:    "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU=",
		checksum.MD5:       "JfnnlDI7RTiF9RgfG2JNCw==",
	} {
		h := checksum.New(algorithm)
		h.Write([]byte("123456789"))
		if got := base64.StdEncoding.EncodeToString(h.Sum(nil)); got != want {
			t.Errorf("%s = %s, want %s", algorithm, got, want)
		}
	}
}

func TestHeaders(t *testing.T) {
	t.Parallel()
	for _, a := range checksum.All {
		if of, ok := checksum.Of(a.Header()); !ok || of != a {
			t.Errorf("Of(%q) = %q, %v", a.Header(), of, ok)
		}
	}
	if _, ok := checksum.Of("x-amz-checksum-xxhash64"); ok {
		t.Error("an algorithm that is not known is known by its header")
	}
	if _, ok := checksum.CRC32.Parse("AAAAAAA="); ok {
		t.Error("CRC32 reads five bytes")
	}
}

func FuzzCombine(f *testing.F) {
	f.Add([]byte("1234"), []byte("56789"))
	f.Add([]byte(""), []byte("x"))
	f.Add(bytes.Repeat([]byte("a"), 1000), []byte(""))
	f.Fuzz(func(t *testing.T, first, second []byte) {
		for _, a := range []checksum.Algorithm{checksum.CRC32, checksum.CRC32C, checksum.CRC64NVME} {
			one, two, both := checksum.New(a), checksum.New(a), checksum.New(a)
			one.Write(first)
			two.Write(second)
			both.Write(first)
			both.Write(second)
			got := checksum.Combine(a, one.Sum(nil), two.Sum(nil), int64(len(second)))
			if !bytes.Equal(got, both.Sum(nil)) {
				t.Errorf("Combine(%s, %q, %q) = %x, want %x", a, first, second, got, both.Sum(nil))
			}
		}
	})
}
