package volume

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// contents makes what Fill is given.
func contents(t *testing.T, entries ...tar.Header) func() (io.ReadCloser, error) {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range entries {
		if h.Typeflag == tar.TypeReg {
			h.Size = int64(len(h.Name))
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			io.WriteString(w, h.Name)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil }
}

func TestFillKeepsWhatFilesAre(t *testing.T) {
	m := newManager(t)
	dir, err := m.Create("task1", "v", Options{})
	if err != nil {
		t.Fatal(err)
	}
	then := time.Unix(1_000_000_000, 0)
	fill := contents(t,
		tar.Header{Name: "./", Typeflag: tar.TypeDir, Mode: 0o1770, Uid: 7, Gid: 8, ModTime: then},
		tar.Header{Name: "./sub/", Typeflag: tar.TypeDir, Mode: 0o555, Uid: 9, Gid: 9, ModTime: then},
		tar.Header{Name: "./sub/file", Typeflag: tar.TypeReg, Mode: 0o4640, Uid: 1000, Gid: 1001, ModTime: then},
		tar.Header{Name: "./link", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd", Mode: 0o777, Uid: 5, Gid: 6},
		tar.Header{Name: "./twin", Typeflag: tar.TypeLink, Linkname: "./sub/file"},
		tar.Header{Name: "./pipe", Typeflag: tar.TypeFifo, Mode: 0o620, Uid: 3, Gid: 4},
	)
	if err := m.Fill("task1", "v", fill); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]struct {
		mode     os.FileMode
		uid, gid uint32
	}{
		".":        {os.ModeDir | os.ModeSticky | 0o770, 7, 8},
		"sub":      {os.ModeDir | 0o555, 9, 9},
		"sub/file": {os.ModeSetuid | 0o640, 1000, 1001},
		"twin":     {os.ModeSetuid | 0o640, 1000, 1001},
		"link":     {os.ModeSymlink | 0o777, 5, 6},
		"pipe":     {os.ModeNamedPipe | 0o620, 3, 4},
	} {
		var st unix.Stat_t
		info, err := os.Lstat(filepath.Join(dir, name))
		if err != nil || unix.Lstat(filepath.Join(dir, name), &st) != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if info.Mode() != want.mode || st.Uid != want.uid || st.Gid != want.gid {
			t.Errorf("%s: %v %d:%d, want %v %d:%d", name, info.Mode(), st.Uid, st.Gid, want.mode, want.uid, want.gid)
		}
		if info.Mode().IsRegular() && !info.ModTime().Equal(then) {
			t.Errorf("%s: changed at %v, want %v", name, info.ModTime(), then)
		}
	}
	if to, err := os.Readlink(filepath.Join(dir, "link")); to != "/etc/passwd" {
		t.Errorf("link = %q, %v", to, err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "twin")); string(b) != "./sub/file" {
		t.Errorf("twin = %q, %v", b, err)
	}
	// What is there stays.
	err = m.Fill("task1", "v", func() (io.ReadCloser, error) { t.Error("a full volume was filled"); return nil, nil })
	if err != nil {
		t.Error(err)
	}
}

func TestFillStaysInside(t *testing.T) {
	m := newManager(t)
	outside := t.TempDir()
	victim := filepath.Join(outside, "victim")
	if err := os.WriteFile(victim, []byte("untouched"), 0o600); err != nil {
		t.Fatal(err)
	}
	for i, entries := range [][]tar.Header{
		{{Name: "../../../victim", Typeflag: tar.TypeReg, Mode: 0o644}},
		{{Name: victim, Typeflag: tar.TypeReg, Mode: 0o644}},
		{{Name: "out", Typeflag: tar.TypeSymlink, Linkname: outside}, {Name: "out/victim", Typeflag: tar.TypeReg, Mode: 0o644}},
		{{Name: "out", Typeflag: tar.TypeSymlink, Linkname: outside}, {Name: "out/", Typeflag: tar.TypeDir, Mode: 0o777}},
		{{Name: "out", Typeflag: tar.TypeSymlink, Linkname: victim}, {Name: "out", Typeflag: tar.TypeReg, Mode: 0o644}},
		{{Name: "twin", Typeflag: tar.TypeLink, Linkname: "../../../victim"}},
		{{Name: "out", Typeflag: tar.TypeSymlink, Linkname: outside}, {Name: "out/node", Typeflag: tar.TypeFifo}},
	} {
		name := string(rune('a' + i))
		if _, err := m.Create("task1", name, Options{}); err != nil {
			t.Fatal(err)
		}
		err := m.Fill("task1", name, contents(t, entries...))
		t.Logf("%d: %v", i, err) // some are simply put inside
		if b, err := os.ReadFile(victim); string(b) != "untouched" {
			t.Fatalf("%d: wrote outside: %q, %v", i, b, err)
		}
		if info, err := os.Stat(outside); err != nil || info.Mode().Perm() == 0o777 {
			t.Fatalf("%d: changed the directory outside: %v, %v", i, info.Mode(), err)
		}
		if left, err := os.ReadDir(outside); len(left) != 1 {
			t.Fatalf("%d: outside are %v, %v", i, left, err)
		}
	}
}

// What a killed engine left half done is done again, and by nobody else's leave.
func TestFillGoesOnAfterAKill(t *testing.T) {
	m := newManager(t)
	dir, err := m.Create("task1", "v", Options{})
	if err != nil {
		t.Fatal(err)
	}
	whole := contents(t,
		tar.Header{Name: "./", Typeflag: tar.TypeDir, Mode: 0o700},
		tar.Header{Name: "./a", Typeflag: tar.TypeReg, Mode: 0o600},
		tar.Header{Name: "./b", Typeflag: tar.TypeReg, Mode: 0o600})
	broken := errors.New("killed")
	err = m.Fill("task1", "v", func() (io.ReadCloser, error) {
		in, _ := whole()
		return io.NopCloser(io.MultiReader(io.LimitReader(in, 3*512), failing{broken})), nil
	})
	if !errors.Is(err, broken) {
		t.Fatalf("Fill = %v", err)
	}
	if err := m.Fill("task1", "v", whole); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b"} {
		if b, err := os.ReadFile(filepath.Join(dir, name)); string(b) != "./"+name {
			t.Errorf("%s = %q, %v", name, b, err)
		}
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }
