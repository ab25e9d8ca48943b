package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestShop is the acceptance of the whole: it builds the two binaries, runs the example
// as `make demo` does, and fails on any leak or anything left behind.
func TestShop(t *testing.T) {
	if strings.Contains(os.Getenv("MALOTE_TEST_WITHOUT"), "docker") {
		t.Skip("MALOTE_TEST_WITHOUT says docker")
	}
	bin := t.TempDir()
	for _, name := range []string{"malote", "malote-init"} {
		build := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(bin, name), "../../cmd/"+name)
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("building %s: %v\n%s", name, err, out)
		}
	}
	var out bytes.Buffer
	err := run(t.Context(), filepath.Join(bin, "malote"), ".", &out)
	t.Log(out.String())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"env DATABASE_PASSWORD_PINNED", "env COUPON_KEY", "file tls.pem", "task role read shop/tls",
		"task role was refused shop/db", "mailer ready (token accepted", "nothing found, nothing left",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the output has no %q", want)
		}
	}
}
