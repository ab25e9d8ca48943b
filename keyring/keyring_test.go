package keyring_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/malote/malote/keyring"
	"github.com/malote/malote/keyring/seal"
	"github.com/malote/malote/store"
	"github.com/malote/malote/store/bolt"
	"github.com/malote/malote/store/etcd/etcdtest"
	"github.com/malote/malote/store/memory"
	"github.com/malote/malote/store/storetest"
)

var shared etcdtest.Shared

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(shared.Main(m))
}

func over(tb testing.TB, under store.Store, root string) *keyring.Keyring {
	tb.Helper()
	k, err := keyring.Open(tb.Context(), under, seal.NewFile(root))
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

func openBolt(tb testing.TB, dir string) store.Store {
	tb.Helper()
	s, err := bolt.Open(filepath.Join(dir, "store.db"))
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func TestStore(t *testing.T) {
	for name, under := range map[string]func(testing.TB) store.Store{
		"memory": func(testing.TB) store.Store { return memory.New() },
		"bolt":   func(tb testing.TB) store.Store { return openBolt(tb, tb.TempDir()) },
		"etcd":   func(tb testing.TB) store.Store { return shared.Server(tb).Store(tb) },
	} {
		t.Run(name, func(t *testing.T) {
			storetest.Test(t, func(tb testing.TB) store.Store {
				return over(tb, under(tb), filepath.Join(tb.TempDir(), "root.key"))
			})
		})
	}
}

func TestCrash(t *testing.T) {
	storetest.Crash(t, t.TempDir(), func(tb testing.TB, dir string) store.Store {
		return over(tb, openBolt(tb, dir), filepath.Join(dir, "root.key"))
	})
}

func put(tb testing.TB, s store.Store, key, value string) {
	tb.Helper()
	if err := s.Update(tb.Context(), func(tx store.Tx) error { return tx.Put(key, []byte(value)) }); err != nil {
		tb.Fatalf("Put(%q): %v", key, err)
	}
}

func get(tb testing.TB, s store.Store, key string) (value string, err error) {
	tb.Helper()
	err = s.View(tb.Context(), func(tx store.Tx) error {
		b, err := tx.Get(key)
		value = string(b)
		return err
	})
	return value, err
}

func dump(tb testing.TB, s store.Store) map[string][]byte {
	tb.Helper()
	all := map[string][]byte{}
	err := s.View(tb.Context(), func(tx store.Tx) error {
		for e, err := range tx.Scan("", "") {
			if err != nil {
				return err
			}
			all[e.Key] = e.Value
		}
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	return all
}

// What is stored appears nowhere underneath: not in the store, not in its file, not
// beside the root key.
func TestNothingReadable(t *testing.T) {
	dir := t.TempDir()
	k := over(t, openBolt(t, dir), filepath.Join(dir, "root.key"))
	const canary = "canary-7f3a9c1e-plaintext"
	for i := range 50 {
		put(t, k, fmt.Sprintf("secret/%d", i), fmt.Sprintf("%s %d", canary, i))
	}
	if err := k.RotateKey(t.Context()); err != nil {
		t.Fatal(err)
	}
	put(t, k, "secret/last", strings.Repeat(canary, 500))
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	forms := [][]byte{[]byte(canary), []byte(hex.EncodeToString([]byte(canary)))}
	for i := range 3 { // base64 of it at each alignment, but for the ends
		encoded := base64.StdEncoding.EncodeToString([]byte("aaa"[:i] + canary))
		forms = append(forms, []byte(encoded[4:len(encoded)-4]))
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) != 2 {
		t.Fatalf("files: %q, %v; want the store and the root key", files, err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, form := range forms {
			if bytes.Contains(content, form) {
				t.Errorf("%s holds %q", file, form)
			}
		}
	}
}

func TestTampering(t *testing.T) {
	t.Parallel()
	under := memory.New()
	root := filepath.Join(t.TempDir(), "root.key")
	k := over(t, under, root)
	put(t, k, "a", "value of a")
	put(t, k, "b", "value of b")
	sealed := dump(t, under)

	t.Run("two records swapped", func(t *testing.T) {
		put(t, under, "a", string(sealed["b"]))
		put(t, under, "b", string(sealed["a"]))
		// Both by the keyring that has them in memory and by one that has not.
		for _, k := range []*keyring.Keyring{k, over(t, under, root)} {
			for _, key := range []string{"a", "b"} {
				if got, err := get(t, k, key); err == nil {
					t.Errorf("Get(%q) = %q, want an error", key, got)
				} else if strings.Contains(err.Error(), "value of") {
					t.Errorf("Get(%q): the error holds the value: %v", key, err)
				}
			}
			err := k.View(t.Context(), func(tx store.Tx) error {
				for _, err := range tx.Scan("", "") {
					return err
				}
				return nil
			})
			if err == nil {
				t.Error("Scan found nothing wrong")
			}
		}
	})
	t.Run("put back", func(t *testing.T) {
		put(t, under, "a", string(sealed["a"]))
		if got, err := get(t, k, "a"); err != nil || got != "value of a" {
			t.Errorf("Get(a) = %q, %v", got, err)
		}
	})
	t.Run("each byte", func(t *testing.T) {
		for i := range sealed["a"] {
			changed := bytes.Clone(sealed["a"])
			changed[i] ^= 0x20
			put(t, under, "a", string(changed))
			if got, err := get(t, k, "a"); err == nil {
				t.Errorf("byte %d changed: Get(a) = %q, want an error", i, got)
			}
		}
		for i := range sealed["a"] {
			put(t, under, "a", string(sealed["a"][:i]))
			if got, err := get(t, k, "a"); err == nil {
				t.Errorf("cut to %d bytes: Get(a) = %q, want an error", i, got)
			}
		}
	})
}

func FuzzTampering(f *testing.F) {
	under := memory.New()
	k := over(f, under, filepath.Join(f.TempDir(), "root.key"))
	put(f, k, "key", "value")
	original := dump(f, under)["key"]
	f.Add(original)
	f.Add([]byte{})
	f.Add([]byte{1, 0, 0, 0, 2})
	f.Add(append(bytes.Clone(original), 0))
	f.Fuzz(func(t *testing.T, sealed []byte) {
		err := under.Update(t.Context(), func(tx store.Tx) error { return tx.Put("key", sealed) })
		if err != nil {
			t.Skip(err)
		}
		got, err := get(t, k, "key")
		if err == nil && !bytes.Equal(sealed, original) {
			t.Errorf("%x opens to %q", sealed, got)
		}
	})
}

func TestReservedKeys(t *testing.T) {
	t.Parallel()
	k := over(t, memory.New(), filepath.Join(t.TempDir(), "root.key"))
	put(t, k, "keyring", "beside")
	if _, err := get(t, k, "keyring/ring"); err == nil || errors.Is(err, store.ErrNotFound) {
		t.Errorf("Get(keyring/ring): %v", err)
	}
	for name, write := range map[string]func(store.Tx) error{
		"Put":    func(tx store.Tx) error { return tx.Put("keyring/ring", nil) },
		"Delete": func(tx store.Tx) error { return tx.Delete("keyring/ring") },
	} {
		if err := k.Update(t.Context(), write); err == nil {
			t.Errorf("%s(keyring/ring) succeeded", name)
		}
	}
	if diff := cmp.Diff(map[string][]byte{"keyring": []byte("beside")}, dump(t, k)); diff != "" {
		t.Errorf("content (-want +got):\n%s", diff)
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	under := memory.New()
	k := over(t, under, filepath.Join(dir, "root.key"))
	put(t, k, "a", "1")
	before := dump(t, under)

	other := filepath.Join(dir, "other.key")
	over(t, memory.New(), other)
	missing := filepath.Join(dir, "missing.key")
	shown := filepath.Join(dir, "shown.key")
	content, err := os.ReadFile(filepath.Join(dir, "root.key"))
	if err != nil {
		t.Fatal(err)
	}
	for file, content := range map[string][]byte{shown: content} {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(file, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct{ root, want string }{
		{other, "is not the one the data was sealed under"},
		{missing, "is missing"},
		{shown, "may be read by others (mode 0644)"},
	} {
		_, err := keyring.Open(t.Context(), under, seal.NewFile(tt.root))
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), tt.root) {
			t.Errorf("Open with %s: %v, want %q and the file's name", filepath.Base(tt.root), err, tt.want)
		}
	}
	if _, err := os.Stat(missing); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s was made: %v", missing, err)
	}
	if diff := cmp.Diff(before, dump(t, under)); diff != "" {
		t.Errorf("the store was written to:\n%s", diff)
	}

	plain := memory.New()
	put(t, plain, "a", "unsealed")
	if _, err := keyring.Open(t.Context(), plain, seal.NewFile(filepath.Join(dir, "root.key"))); err == nil {
		t.Error("Open of a store with records and no keyring succeeded")
	}
}

func TestRotateKey(t *testing.T) {
	t.Parallel()
	under := memory.New()
	root := filepath.Join(t.TempDir(), "root.key")
	k := over(t, under, root)
	other := over(t, under, root) // another process on the same store
	put(t, k, "old", "1")
	for range 3 {
		if err := k.RotateKey(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	put(t, k, "new", "2")
	put(t, other, "from other", "3")
	if err := other.RotateKey(t.Context()); err != nil {
		t.Fatal(err)
	}
	put(t, other, "newest", "4")
	want := map[string][]byte{"old": []byte("1"), "new": []byte("2"), "from other": []byte("3"), "newest": []byte("4")}
	for i, k := range []*keyring.Keyring{k, other, over(t, under, root)} {
		if diff := cmp.Diff(want, dump(t, k)); diff != "" {
			t.Errorf("keyring %d (-want +got):\n%s", i, diff)
		}
	}
	for key, number := range map[string]byte{"old": 1, "new": 4, "newest": 5} {
		if got := dump(t, under)[key][4]; got != number {
			t.Errorf("%s is sealed with key %d, want %d", key, got, number)
		}
	}
}

// TestRotateSeal stops a rotation after each of its steps. Whichever files are there
// then, a start opens the data.
func TestRotateSeal(t *testing.T) {
	t.Parallel()
	for steps, name := range []string{"nothing", "staged", "wrapped", "promoted"} {
		t.Run("stopped when "+name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			root := filepath.Join(dir, "root.key")
			under := memory.New()
			file := seal.NewFile(root)
			k, err := keyring.Open(t.Context(), under, file)
			if err != nil {
				t.Fatal(err)
			}
			put(t, k, "a", "1")
			old, err := os.ReadFile(root)
			if err != nil {
				t.Fatal(err)
			}

			var next *seal.File
			for _, step := range []func() error{
				func() error { next, err = file.Stage(); return err },
				func() error { return k.RotateSeal(t.Context(), next) },
				func() error { return next.Promote() },
			}[:steps] {
				if err := step(); err != nil {
					t.Fatal(err)
				}
			}

			for range 2 { // the second start sees what the first left
				k := over(t, under, root)
				if got, err := get(t, k, "a"); err != nil || got != "1" {
					t.Fatalf("Get(a) = %q, %v", got, err)
				}
			}
			now, err := os.ReadFile(root)
			if err != nil {
				t.Fatal(err)
			}
			if rotated := steps >= 2; rotated == bytes.Equal(now, old) {
				t.Errorf("root key changed: %v, want %v", !rotated, rotated)
			}

			// And a rotation from there on works to the end.
			file = seal.NewFile(root)
			k, err = keyring.Open(t.Context(), under, file)
			if err != nil {
				t.Fatal(err)
			}
			if next, err = file.Stage(); err != nil {
				t.Fatal(err)
			}
			if err := k.RotateSeal(t.Context(), next); err != nil {
				t.Fatal(err)
			}
			if err := next.Promote(); err != nil {
				t.Fatal(err)
			}
			put(t, k, "b", "2")
			if err := k.RotateKey(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got, err := get(t, over(t, under, root), "b"); err != nil || got != "2" {
				t.Errorf("Get(b) = %q, %v", got, err)
			}
			files, _ := filepath.Glob(filepath.Join(dir, "*"))
			hidden, _ := filepath.Glob(filepath.Join(dir, ".*"))
			if files = append(files, hidden...); len(files) != 1 {
				t.Errorf("left behind: %q", files)
			}
			if err := os.WriteFile(root, old, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := keyring.Open(t.Context(), under, seal.NewFile(root)); err == nil {
				t.Error("the old root key still opens the store")
			}
		})
	}
}

// broken wraps and does not unwrap, as a KMS key does for whom only kms:Encrypt is allowed.
type broken struct{}

func (broken) ID() string                                           { return "broken://" }
func (broken) Wrap(context.Context, []byte) ([]byte, error)         { return []byte("wrapped"), nil }
func (broken) Unwrap(context.Context, []byte) (b []byte, err error) { return nil, errors.New("denied") }

func TestRotateToBrokenSeal(t *testing.T) {
	t.Parallel()
	under := memory.New()
	root := filepath.Join(t.TempDir(), "root.key")
	k := over(t, under, root)
	put(t, k, "a", "1")
	before := dump(t, under)
	if err := k.RotateSeal(t.Context(), broken{}); err == nil || !strings.Contains(err.Error(), "denied") {
		t.Errorf("RotateSeal = %v, want the seal's error", err)
	}
	if diff := cmp.Diff(before, dump(t, under)); diff != "" {
		t.Errorf("the store was written to:\n%s", diff)
	}
	if _, err := keyring.Open(t.Context(), memory.New(), broken{}); err == nil {
		t.Error("Open of a new store with a seal that does not unwrap succeeded")
	}
}

var update = flag.Bool("update", false, "write the fixture of the current format anew")

// Whatever a released version wrote must open for ever. testdata has a directory for
// each format: the root key, the store's content, and what it means.
func TestOldFormats(t *testing.T) {
	type fixture struct{ Sealed, Plain map[string][]byte }
	if *update {
		dir := filepath.Join("testdata", "v1")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		under := memory.New()
		k := over(t, under, filepath.Join(dir, "root.key"))
		put(t, k, "secretsmanager/a", "first")
		put(t, k, "empty", "")
		if err := k.RotateKey(t.Context()); err != nil {
			t.Fatal(err)
		}
		put(t, k, "secretsmanager/b", "sealed with the second key")
		text, err := json.MarshalIndent(fixture{dump(t, under), dump(t, k)}, "", "\t")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "store.json"), append(text, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	dirs, err := filepath.Glob("testdata/v*")
	if err != nil || len(dirs) == 0 {
		t.Fatalf("no fixtures: %v", err)
	}
	for _, dir := range dirs {
		text, err := os.ReadFile(filepath.Join(dir, "store.json"))
		if err != nil {
			t.Fatal(err)
		}
		var f fixture
		if err := json.Unmarshal(text, &f); err != nil {
			t.Fatal(err)
		}
		under := memory.New()
		for key, value := range f.Sealed {
			put(t, under, key, string(value))
		}
		key, err := os.ReadFile(filepath.Join(dir, "root.key"))
		if err != nil {
			t.Fatal(err)
		}
		root := filepath.Join(t.TempDir(), "root.key") // a checkout does not keep modes
		if err := os.WriteFile(root, key, 0o600); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(f.Plain, dump(t, over(t, under, root))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", dir, diff)
		}
	}
}

func BenchmarkGet(b *testing.B) {
	for _, hot := range []bool{true, false} {
		b.Run(fmt.Sprintf("hot=%v", hot), func(b *testing.B) {
			dir := b.TempDir()
			k := over(b, openBolt(b, dir), filepath.Join(dir, "root.key"))
			const n = 2000
			for i := range n {
				put(b, k, fmt.Sprintf("key/%08d", i), strings.Repeat("x", 1024))
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				if i = (i + 1) % n; i == 0 && !hot {
					b.StopTimer()
					k.Close()
					k = over(b, openBolt(b, dir), filepath.Join(dir, "root.key"))
					b.StartTimer()
				}
				if _, err := get(b, k, fmt.Sprintf("key/%08d", i)); err != nil {
					b.Fatal(err)
				}
			}
			k.Close()
		})
	}
}

func BenchmarkPut(b *testing.B) {
	for _, parallel := range []int{0, 32} {
		b.Run(fmt.Sprintf("writers=%d", max(1, 2*parallel)), func(b *testing.B) {
			dir := b.TempDir()
			k := over(b, openBolt(b, dir), filepath.Join(dir, "root.key"))
			defer k.Close()
			value := make([]byte, 1024)
			b.ReportAllocs()
			if parallel == 0 {
				for i := 0; b.Loop(); i++ {
					put(b, k, fmt.Sprintf("key/%08d", i%10_000), string(value))
				}
				return
			}
			b.SetParallelism(parallel)
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i++ {
					key := fmt.Sprintf("key/%08d", i%10_000)
					if err := k.Update(context.Background(), func(tx store.Tx) error { return tx.Put(key, value) }); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}
