package image_test

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/malote/malote/inject/image"
)

func contents(t *testing.T, r io.Reader) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	for archive := tar.NewReader(r); ; {
		header, err := archive.Next()
		if err == io.EOF {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		if out[header.Name], err = io.ReadAll(archive); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWrite(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	source, program := filepath.Join(dir, "main.go"), filepath.Join(dir, "program")
	if err := os.WriteFile(source, []byte("package main\nfunc main() {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	build := exec.Command("go", "build", "-o", program, source)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var first, second bytes.Buffer
	for _, out := range []*bytes.Buffer{&first, &second} {
		if err := image.Write(out, program, "arm64", "a:latest", "a:1"); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("twice the same program makes two images")
	}
	parts := contents(t, &first)
	var manifest []struct {
		Config           string
		RepoTags, Layers []string
	}
	if err := json.Unmarshal(parts["manifest.json"], &manifest); err != nil || len(manifest) != 1 || !slices.Equal(manifest[0].RepoTags, []string{"a:latest", "a:1"}) {
		t.Fatalf("manifest %s, %v", parts["manifest.json"], err)
	}
	layer := parts[manifest[0].Layers[0]]
	config := string(parts[manifest[0].Config])
	for _, want := range []string{`"architecture":"arm64"`, `"Entrypoint":["/malote","inject"]`, fmt.Sprintf("sha256:%x", sha256.Sum256(layer))} {
		if !strings.Contains(config, want) {
			t.Errorf("config %s, want %s", config, want)
		}
	}
	inside := contents(t, bytes.NewReader(layer))
	if want, err := os.ReadFile(program); err != nil || !bytes.Equal(inside["malote"], want) {
		t.Error("the program is another")
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(inside["etc/ssl/certs/ca-certificates.crt"]) || len(pool.Subjects()) < 50 {
		t.Error("the roots are not there")
	}
	for name := range inside {
		if strings.HasPrefix(name, "tmp") || strings.HasPrefix(name, "run") {
			t.Errorf("%s is in the image, and would take a secret for a volume", name)
		}
	}
}

func TestWhatIsNoProgramOfAnImage(t *testing.T) {
	t.Parallel()
	shell, err := exec.LookPath("sh")
	if err != nil {
		t.Fatal(err)
	}
	if err := image.Write(io.Discard, shell, "amd64", "a"); err == nil || !strings.Contains(err.Error(), "CGO_ENABLED=0") {
		t.Errorf("of a dynamic program: %v", err)
	}
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := image.Write(io.Discard, text, "amd64", "a"); err == nil || !strings.Contains(err.Error(), "none of Linux") {
		t.Errorf("of a text: %v", err)
	}
}
