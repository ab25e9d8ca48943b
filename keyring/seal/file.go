package seal

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/malote/malote/internal/xaes"
)

// File is the seal of a root key in a file, mode 0600, so that a reboot needs nobody.
// The first Wrap makes the file; nothing ever overwrites one.
//
// The file is one line: "malote-root-key-1", a space, 32 random bytes in base64.
//
// What it wraps is: byte 1, the format; bytes 2 to 9, the fingerprint of the root key; the
// rest, XAES-256-GCM with those nine bytes as associated data.
//
// Rotation has a moment at which nobody can know whether the store has the new wrapping
// yet. So the new key is beside the old one, in path.next, before the store changes, and
// takes its place afterwards; Unwrap uses whichever of the two fits, and finishes a
// rotation that was interrupted after the store had changed.
//
// Where several control planes share a store, each needs a copy of the file: the first
// makes it, and who rotates it copies it anew. A running one does without.
type File struct {
	path   string
	staged bool // the key is in path.next
	fits   atomic.Bool
}

const (
	fileHeader = "malote-root-key-1 "
	fileFormat = 1
	nextSuffix = ".next"
)

// NewFile returns the seal of the root key file at path. It does not touch the disk.
func NewFile(path string) *File {
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	return &File{path: path}
}

// OpenFile is NewFile for a start: what is wrong with a file that is there already shows
// at once.
func OpenFile(path string) (*File, error) {
	f := NewFile(path)
	if _, err := readKey(f.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return f, nil
}

// ID names the file.
func (f *File) ID() string { return "file://" + f.path }

type rootKey struct {
	secret      []byte
	fingerprint [8]byte
}

// newRootKey tells keys apart by a hash under a name of its own, which reveals nothing.
func newRootKey(secret []byte) *rootKey {
	k := &rootKey{secret: secret}
	sum := sha256.Sum256(append([]byte("malote root key fingerprint\x00"), secret...))
	copy(k.fingerprint[:], sum[:])
	return k
}

// Wrap makes the root key if there is none.
func (f *File) Wrap(_ context.Context, plaintext []byte) ([]byte, error) {
	key, err := readKey(f.file())
	if errors.Is(err, fs.ErrNotExist) && !f.staged {
		key, err = makeKey(f.path)
	}
	if err != nil {
		return nil, err
	}
	header := append([]byte{fileFormat}, key.fingerprint[:]...)
	f.fits.Store(true)
	return xaes.New(key.secret).Seal(header, plaintext, header[:9:9]), nil
}

func (f *File) file() string {
	if f.staged {
		return f.path + nextSuffix
	}
	return f.path
}

func (f *File) Unwrap(_ context.Context, wrapped []byte) ([]byte, error) {
	if len(wrapped) < 9+xaes.Overhead || wrapped[0] != fileFormat {
		return nil, fmt.Errorf("seal: not wrapped by a root key file, or damaged; %s cannot open it", f.path)
	}
	header, body := wrapped[:9], wrapped[9:]
	key, err := readKey(f.file())
	if (errors.Is(err, fs.ErrNotExist) || err == nil && !bytes.Equal(key.fingerprint[:], header[1:])) && !f.staged {
		next, nextErr := readKey(f.path + nextSuffix)
		switch {
		case nextErr == nil && bytes.Equal(next.fingerprint[:], header[1:]):
			if err := (&File{path: f.path, staged: true}).Promote(); err != nil {
				return nil, err
			}
			key, err = next, nil
		case nextErr != nil && !errors.Is(nextErr, fs.ErrNotExist):
			return nil, nextErr
		}
	}
	fingerprint := hex.EncodeToString(header[1:])
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("seal: root key file %s is missing; bring back the one with fingerprint %s from your backup: without it the data cannot be opened", f.file(), fingerprint)
	case err != nil:
		return nil, err
	case !bytes.Equal(key.fingerprint[:], header[1:]):
		return nil, fmt.Errorf("seal: root key file %s is not the one the data was sealed under: its fingerprint is %x, want %s", f.file(), key.fingerprint, fingerprint)
	}
	plaintext, err := xaes.New(key.secret).Open(body, header)
	if err != nil {
		return nil, fmt.Errorf("seal: what root key file %s wrapped was changed: %w", f.file(), err)
	}
	f.fits.Store(true)
	return plaintext, nil
}

// Stage makes a new root key beside the one in use and returns its seal. The new key
// takes the old one's place with Promote, once everything is wrapped under it.
func (f *File) Stage() (*File, error) {
	if f.staged || !f.fits.Load() {
		// A key in path.next might be the one in use: only Unwrap can tell.
		return nil, fmt.Errorf("seal: %s has not opened anything yet", f.path)
	}
	if err := f.sweep(); err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	if _, err := makeKey(f.path + nextSuffix); err != nil {
		return nil, err
	}
	return &File{path: f.path, staged: true}, nil
}

// sweep removes what rotations left that were killed: a key under which nothing was
// wrapped, and files that makeKey was about to link, or had linked already. Such a one is
// a second name of a key that later rotations would not take away.
func (f *File) sweep() error {
	if err := os.Remove(f.path + nextSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	dir := filepath.Dir(f.path)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		for _, made := range []string{f.path, f.path + nextSuffix} {
			if !strings.HasPrefix(entry.Name(), tempPrefix(made)) {
				continue
			}
			if err := os.Remove(filepath.Join(dir, entry.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

// tempPrefix begins the names under which makeKey writes a key for path.
func tempPrefix(path string) string { return "." + filepath.Base(path) + "-" }

// Promote puts a staged key in the place of the old one, which is gone then.
func (f *File) Promote() error {
	if !f.staged {
		return fmt.Errorf("seal: %s is not staged", f.path)
	}
	if err := os.Rename(f.path+nextSuffix, f.path); err != nil {
		return fmt.Errorf("seal: %w", err)
	}
	f.staged = false
	return syncDir(filepath.Dir(f.path))
}

func readKey(path string) (*rootKey, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("seal: root key: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("seal: root key: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("seal: root key %s is not a regular file", path)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, fmt.Errorf("seal: root key file %s may be read by others (mode %04o): chmod 600 it, and rotate it if somebody may have", path, mode)
	}
	text := make([]byte, 256)
	n, _ := file.Read(text)
	encoded, ok := strings.CutPrefix(string(text[:n]), fileHeader)
	secret, err := base64.StdEncoding.Strict().DecodeString(strings.TrimSuffix(encoded, "\n"))
	if !ok || err != nil || len(secret) != xaes.KeySize {
		return nil, fmt.Errorf("seal: %s is not a root key file, or is damaged", path)
	}
	return newRootKey(secret), nil
}

// makeKey writes a key to path, whole or not at all. When somebody else makes the file
// at the same time, one of the two keys is it, for both.
func makeKey(path string) (*rootKey, error) {
	secret := make([]byte, xaes.KeySize)
	rand.Read(secret)                                                    // never fails
	file, err := os.CreateTemp(filepath.Dir(path), tempPrefix(path)+"*") // mode 0600
	if err != nil {
		return nil, fmt.Errorf("seal: making root key file %s: %w", path, err)
	}
	defer os.Remove(file.Name())
	_, err = fmt.Fprintf(file, "%s%s\n", fileHeader, base64.StdEncoding.EncodeToString(secret))
	if err == nil {
		err = file.Sync()
	}
	if closed := file.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Link(file.Name(), path) // unlike a rename, refuses to overwrite
	}
	if errors.Is(err, fs.ErrExist) {
		return readKey(path)
	}
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		return nil, fmt.Errorf("seal: making root key file %s: %w", path, err)
	}
	return newRootKey(secret), nil
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}
