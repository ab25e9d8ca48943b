package seal_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/malote/malote/keyring/seal"
)

var secret = []byte("0123456789abcdef0123456789abcdef")

func TestFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "root.key")
	file := seal.NewFile(path)
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("NewFile made the file: %v", err)
	}
	wrapped, err := file.Wrap(t.Context(), secret)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(wrapped, secret[:8]) {
		t.Error("wrapped holds what was wrapped")
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, want 0600", info.Mode())
	}
	got, err := seal.NewFile(path).Unwrap(t.Context(), wrapped)
	if err != nil || !bytes.Equal(got, secret) {
		t.Errorf("Unwrap = %q, %v", got, err)
	}
	for i := range wrapped {
		changed := bytes.Clone(wrapped)
		changed[i] ^= 1
		if got, err := file.Unwrap(t.Context(), changed); err == nil {
			t.Errorf("byte %d changed: Unwrap = %q", i, got)
		} else if !strings.Contains(err.Error(), path) {
			t.Errorf("byte %d changed: %v does not name the file", i, err)
		}
	}
}

// A rotation that was killed leaves no name of a key that outlives the next one.
func TestStageSweeps(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "root.key")
	file := seal.NewFile(path)
	if _, err := file.Wrap(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	for _, left := range []string{".root.key-1234", ".root.key.next-5678"} { // as makeKey names them
		if err := os.Link(path, filepath.Join(dir, left)); err != nil {
			t.Fatal(err)
		}
	}
	other := filepath.Join(dir, ".root.keys-of-mine")
	if err := os.WriteFile(other, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	next, err := file.Stage()
	if err != nil {
		t.Fatal(err)
	}
	if err := next.Promote(); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	if want := []string{".root.keys-of-mine", "root.key"}; !slices.Equal(names, want) {
		t.Errorf("after a rotation: %q, want %q", names, want)
	}
}

// Two that start at the same time end up with one key.
func TestFileRace(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "root.key")
	wrapped := make([][]byte, 8)
	var wg sync.WaitGroup
	for i := range wrapped {
		wg.Go(func() {
			var err error
			if wrapped[i], err = seal.NewFile(path).Wrap(context.Background(), secret); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, w := range wrapped {
		if _, err := seal.NewFile(path).Unwrap(t.Context(), w); err != nil {
			t.Error(err)
		}
	}
}

func TestFileRefuses(t *testing.T) {
	t.Parallel()
	good := "malote-root-key-1 AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"
	for name, tt := range map[string]struct {
		content string
		mode    os.FileMode
		want    string // "" for no error
	}{
		"good":               {good, 0o600, ""},
		"read-only":          {good, 0o400, ""},
		"group may read":     {good, 0o640, "may be read by others (mode 0640)"},
		"world may read":     {good, 0o604, "may be read by others (mode 0604)"},
		"group may write":    {good, 0o620, "may be read by others (mode 0620)"},
		"empty":              {"", 0o600, "is not a root key file"},
		"cut short":          {good[:40], 0o600, "is not a root key file"},
		"other header":       {strings.Replace(good, "-1 ", "-2 ", 1), 0o600, "is not a root key file"},
		"something appended": {good + "x", 0o600, "is not a root key file"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "root.key")
			if err := os.WriteFile(path, []byte(tt.content), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, tt.mode); err != nil {
				t.Fatal(err)
			}
			_, err := seal.NewFile(path).Wrap(t.Context(), secret)
			switch {
			case tt.want == "" && err != nil:
				t.Error(err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), path)):
				t.Errorf("Wrap = %v, want %q and the file's name", err, tt.want)
			}
			if content, _ := os.ReadFile(path); string(content) != tt.content {
				t.Error("the file was overwritten")
			}
		})
	}
}

// keeper reverses bytes: enough to see who was asked.
type keeper struct{}

func (keeper) Encrypt(_ context.Context, b []byte) ([]byte, error) {
	c := bytes.Clone(b)
	for i := range c {
		c[i] = b[len(b)-1-i]
	}
	return c, nil
}

func (k keeper) Decrypt(ctx context.Context, b []byte) ([]byte, error) {
	if len(b) == 0 {
		return nil, errors.New("nothing")
	}
	return k.Encrypt(ctx, b)
}

func TestOpen(t *testing.T) {
	t.Parallel()
	openers := map[string]seal.Opener{
		"awskms": func(context.Context, string) (seal.Keeper, error) { return keeper{}, nil },
		"down":   func(context.Context, string) (seal.Keeper, error) { return nil, errors.New("unreachable") },
	}
	for _, tt := range []struct{ ref, id, err string }{
		{"/var/lib/malote/root.key", "file:///var/lib/malote/root.key", ""},
		{"file:///var/lib/malote/root.key", "file:///var/lib/malote/root.key", ""},
		{"awskms://alias/malote?region=eu-west-1&secret=x", "awskms://alias/malote", ""},
		{"awskms://token@host/key", "awskms://host/key", ""},
		{"", "", "no path"},
		{"file://host/root.key", "", "file:///path"},
		{"vault://x", "", `unknown scheme "vault", known are: awskms, down, file`},
		{"down://x?token=hush", "", "opening down://x: unreachable"},
	} {
		s, err := seal.Open(t.Context(), tt.ref, openers)
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) || strings.Contains(err.Error(), "hush") {
				t.Errorf("Open(%q) = %v, want %q", tt.ref, err, tt.err)
			}
			continue
		}
		if err != nil || s.ID() != tt.id {
			t.Errorf("Open(%q) = %v, %v, want %s", tt.ref, s, err, tt.id)
		}
	}
	s, err := seal.Open(t.Context(), "awskms://alias/malote", openers)
	if err != nil {
		t.Fatal(err)
	}
	wrapped, err := s.Wrap(t.Context(), secret)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.Unwrap(t.Context(), wrapped); err != nil || !bytes.Equal(got, secret) {
		t.Errorf("Unwrap = %q, %v", got, err)
	}
	if _, err := s.Unwrap(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "awskms://alias/malote") {
		t.Errorf("Unwrap = %v, want an error that names the seal", err)
	}
}
