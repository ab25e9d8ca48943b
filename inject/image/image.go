// Package image makes the image of the sidecar: one static program, and the roots by which it
// knows AWS. There is no shell, no user database and no directory that could take a secret for
// want of a volume.
//
// The same program makes the same image, byte for byte. The package writes it as docker save
// would; who loads it, and where, is not its matter.
package image

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// Entrypoint is what the image runs.
var Entrypoint = []string{"/malote", "inject"}

// Write writes an image of the program at path, for arch, as refs.
func Write(w io.Writer, path, arch string, refs ...string) error {
	program, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := static(program); err != nil {
		return err
	}
	var layer bytes.Buffer
	err = archive(&layer, []file{
		{"etc/", 0o755, nil}, {"etc/ssl/", 0o755, nil}, {"etc/ssl/certs/", 0o755, nil},
		{"etc/ssl/certs/ca-certificates.crt", 0o644, roots()},
		{"malote", 0o755, program},
	})
	if err != nil {
		return err
	}
	id := digest(layer.Bytes())
	config, err := json.Marshal(map[string]any{
		"architecture": arch, "os": "linux", "created": "1970-01-01T00:00:00Z",
		"config": map[string]any{"Entrypoint": Entrypoint},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + id}},
	})
	if err != nil {
		return err
	}
	manifest, err := json.Marshal([]map[string]any{{"Config": digest(config) + ".json", "RepoTags": refs, "Layers": []string{id + "/layer.tar"}}})
	if err != nil {
		return err
	}
	return archive(w, []file{
		{id + "/", 0o755, nil}, {id + "/layer.tar", 0o644, layer.Bytes()},
		{digest(config) + ".json", 0o644, config},
		{"manifest.json", 0o644, manifest},
	})
}

// static refuses a program that wants a loader, which the image does not have.
func static(program []byte) error {
	binary, err := elf.NewFile(bytes.NewReader(program))
	if err != nil {
		return fmt.Errorf("the program is none of Linux: %w", err)
	}
	for _, p := range binary.Progs {
		if p.Type == elf.PT_INTERP {
			return errors.New("the program is not static, and the image has no libraries: build it with CGO_ENABLED=0")
		}
	}
	return nil
}

// roots are Mozilla's in PEM, but for those that it trusts in part: a file cannot say in which.
func roots() []byte {
	var out bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint == nil {
			pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}) // to memory
		}
	}
	return out.Bytes()
}

// A file whose name ends in / is a directory.
type file struct {
	name    string
	mode    int64
	content []byte
}

func archive(w io.Writer, files []file) error {
	out := tar.NewWriter(w)
	for _, f := range files {
		if err := out.WriteHeader(&tar.Header{Name: f.name, Mode: f.mode, Size: int64(len(f.content)), Format: tar.FormatPAX}); err != nil {
			return err
		}
		if _, err := out.Write(f.content); err != nil {
			return err
		}
	}
	return out.Close()
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
