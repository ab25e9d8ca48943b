package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Every start of a container reads this program from disk, so its size is a promise.
func TestSmall(t *testing.T) {
	t.Parallel()
	const limit = 1_500_000
	for _, arch := range []string{"amd64", "arm64"} {
		out := filepath.Join(t.TempDir(), arch)
		build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags=-s -w", "-o", out, ".")
		build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
		if message, err := build.CombinedOutput(); err != nil {
			t.Fatalf("building for %s: %v\n%s", arch, err, message)
		}
		info, err := os.Stat(out)
		if err != nil {
			t.Fatal(err)
		}
		if info.Size() > limit {
			t.Errorf("malote-init for %s has %d bytes, more than %d", arch, info.Size(), limit)
		}
	}
	list, err := exec.CommandContext(t.Context(), "go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for dep := range strings.Lines(string(list)) {
		dep = strings.TrimSpace(dep)
		if slices.Contains([]string{"fmt", "net", "encoding/json", "crypto/tls"}, dep) ||
			strings.Contains(dep, ".") && dep != "github.com/malote/malote/cmd/malote-init" {
			t.Errorf("malote-init depends on %s", dep)
		}
	}
}
