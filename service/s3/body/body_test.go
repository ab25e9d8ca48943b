package body_test

import (
	"bytes"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/malote/malote/internal/xaes"
	"github.com/malote/malote/service/s3/body"
)

func key(b byte) *xaes.Key { return xaes.New(bytes.Repeat([]byte{b}, xaes.KeySize)) }

func seal(t testing.TB, keys []*xaes.Key, id string, plain []byte) []byte {
	t.Helper()
	var sealed bytes.Buffer
	w := body.NewWriter(&sealed, keys, id)
	defer w.Release()
	for rest := plain; len(rest) > 0; {
		n := min(len(rest), 50_000)
		if _, err := w.Write(rest[:n]); err != nil {
			t.Fatal(err)
		}
		rest = rest[n:]
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return sealed.Bytes()
}

func opener(sealed []byte) body.Opener {
	return func(offset, length int64) (io.ReadCloser, error) {
		return io.NopCloser(io.NewSectionReader(bytes.NewReader(sealed), offset, length)), nil
	}
}

func content(size int) []byte {
	b := make([]byte, size)
	r := rand.New(rand.NewPCG(uint64(size), 1))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func read(sealed []byte, keys []*xaes.Key, id string, size, offset, length int64) ([]byte, error) {
	r, err := body.NewReader(opener(sealed), keys, id, size, offset, length)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

func TestRanges(t *testing.T) {
	t.Parallel()
	for _, keys := range [][]*xaes.Key{{key(1)}, {key(1), key(2)}} {
		for _, size := range []int{0, 1, body.Piece - 1, body.Piece, body.Piece + 1, 3*body.Piece + 17} {
			plain := content(size)
			sealed := seal(t, keys, "id", plain)
			if got := body.SealedSize(int64(size), len(keys)); got != int64(len(sealed)) {
				t.Errorf("SealedSize(%d, %d) = %d, want %d", size, len(keys), got, len(sealed))
			}
			for _, at := range [][2]int{{0, size}, {size, 0}, {0, min(1, size)}, {size / 2, size - size/2}, {size / 3, size / 3}, {min(size, body.Piece), size - min(size, body.Piece)}} {
				got, err := read(sealed, keys, "id", int64(size), int64(at[0]), int64(at[1]))
				if err != nil || !bytes.Equal(got, plain[at[0]:at[0]+at[1]]) {
					t.Errorf("%d bytes from %d of %d: %d bytes, %v", at[1], at[0], size, len(got), err)
				}
			}
		}
	}
}

func TestWhatIsNotTheBodyDoesNotOpen(t *testing.T) {
	t.Parallel()
	keys := []*xaes.Key{key(1)}
	size := int64(2*body.Piece + 5)
	sealed := seal(t, keys, "id", content(int(size)))
	other := seal(t, keys, "other", content(int(size)))
	piece := body.Piece + xaes.Overhead
	swapped := bytes.Clone(sealed)
	copy(swapped, sealed[piece:2*piece])
	copy(swapped[piece:], sealed[:piece])
	for name, given := range map[string][]byte{
		"cut":           sealed[:2*piece],
		"of another id": other,
		"swapped":       swapped,
		"empty":         nil,
	} {
		if _, err := read(given, keys, "id", size, 0, size); err == nil {
			t.Errorf("a body %s opens", name)
		}
	}
	// The same cut, with the size to fit, ends with a piece that is not the last.
	if _, err := read(sealed[:2*piece], keys, "id", 2*body.Piece, 0, 2*body.Piece); err == nil {
		t.Error("a body without its last piece opens")
	}
	if _, err := read(sealed, []*xaes.Key{key(2)}, "id", size, 0, size); err == nil {
		t.Error("another key opens it")
	}
}

func FuzzOpen(f *testing.F) {
	keys := []*xaes.Key{key(1)}
	good := seal(f, keys, "id", []byte("content"))
	f.Add(good, int64(7))
	f.Add([]byte{}, int64(0))
	f.Fuzz(func(t *testing.T, sealed []byte, size int64) {
		if size < 0 || size > 1<<20 {
			return
		}
		got, err := read(sealed, keys, "id", size, 0, size)
		if err == nil && !bytes.HasPrefix(sealed, good) {
			t.Errorf("%x opens to %q", sealed, got)
		}
	})
}
