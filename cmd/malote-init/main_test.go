package main

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
)

func encode(env ...string) []byte {
	answer := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(env)))
	for _, pair := range env {
		answer = binary.BigEndian.AppendUint32(answer, uint32(len(pair)))
		answer = append(answer, pair...)
	}
	return answer
}

func TestDecode(t *testing.T) {
	whole := encode("A=b", "EMPTY=", "LINES=a\nb\n")
	got, err := decode(whole)
	if want := []string{"A=b", "EMPTY=", "LINES=a\nb\n"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("decode = %q, %v, want %q", got, err, want)
	}
	for n := range whole {
		if _, err := decode(whole[:n]); err == nil {
			t.Errorf("decode accepts the first %d of %d bytes", n, len(whole))
		}
	}
	if _, err := decode(append(whole, 0)); err == nil {
		t.Error("decode accepts a byte too many")
	}
	if _, err := decode([]byte{1, 0, 0, 0, 2, 'n', 'o'}); err == nil || err.Error() != "no" {
		t.Errorf("decode of a refusal = %v, want no", err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(encode("A=b"))
	f.Add([]byte{0, 0xff, 0xff, 0xff, 0xff})
	f.Add([]byte{1, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, answer []byte) {
		if env, err := decode(answer); err == nil && !bytes.Equal(encode(env...), answer) {
			t.Errorf("decode(%q) = %q, which is encoded otherwise", answer, env)
		}
	})
}

func TestMerge(t *testing.T) {
	got := merge([]string{"A=image", "B=image", "AB=image"}, []string{"A=secret", "C=secret"})
	if want := []string{"B=image", "AB=image", "A=secret", "C=secret"}; !slices.Equal(got, want) {
		t.Errorf("merge = %q, want %q", got, want)
	}
}

func TestVariables(t *testing.T) {
	got := variables([]byte("A=b\x00LINES=a\nb\x00EMPTY=\x00garbage\x00=x\x00\x00D=cut"))
	if want := []string{"A=b", "LINES=a\nb", "EMPTY="}; !slices.Equal(got, want) {
		t.Errorf("variables = %q, want %q", got, want)
	}
}

func TestLookPath(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for name, mode := range map[string]os.FileMode{"here": 0o755, "bin/tool": 0o755, "bin/text": 0o644, "sbin/text": 0o755, "plain/only": 0o644} {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		command, path, want string
		err                 error
	}{
		{"tool", dir + "/bin", dir + "/bin/tool", nil},
		{"tool", "/none:bin", "bin/tool", nil},
		{"bin/tool", "", "bin/tool", nil},
		{"./here", "/bin", "./here", nil},
		{"here", ":/bin", "./here", nil},
		{"here", "/none:", "./here", nil},
		{"text", dir + "/bin:" + dir + "/sbin", dir + "/sbin/text", nil},
		{"only", dir + "/plain:" + dir + "/bin", "", syscall.EACCES},
		{"bin", dir, "", syscall.ENOENT},
		{"./bin", "", "", syscall.EISDIR},
		{"absent", dir + "/bin", "", syscall.ENOENT},
		{"tool", dir + "/here:" + dir + "/bin", dir + "/bin/tool", nil},
		{"", dir, "", syscall.ENOENT},
	} {
		if got, err := lookPath(tt.command, tt.path); got != tt.want || err != tt.err {
			t.Errorf("lookPath(%q, %q) = %q, %v, want %q, %v", tt.command, tt.path, got, err, tt.want, tt.err)
		}
	}
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{{"init"}, {"init", "run"}, {"init", "run", "--"}, {"init", "run", "app", "x"}, {"init", "walk", "--", "x"}} {
		if got := run(args); got.status != 125 {
			t.Errorf("run(%q) = %d %s, want 125", args, got.status, got.message)
		}
	}
}
