package canary_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/malote/malote/malotetest/canary"
)

func TestSetFindsEveryForm(t *testing.T) {
	t.Parallel()
	set := new(canary.Set)
	value := set.New()
	for name, text := range map[string]string{
		"plain":                value,
		"inside JSON":          `{"password":"` + value + `"}`,
		"hex":                  hex.EncodeToString([]byte(value)),
		"upper-case hex":       strings.ToUpper(hex.EncodeToString([]byte(value))),
		"base64":               base64.StdEncoding.EncodeToString([]byte(value)),
		"base64, shifted by 1": base64.StdEncoding.EncodeToString([]byte("x" + value + "yz")),
		"base64, shifted by 2": base64.StdEncoding.EncodeToString([]byte("xx" + value + "y")),
		"base64 of a document": base64.StdEncoding.EncodeToString([]byte(`{"a":"` + value + `"}`)),
		"across a window":      strings.Repeat("x", 1<<20-10) + value,
	} {
		if hits := set.Bytes(name, []byte(text)); len(hits) == 0 {
			t.Errorf("%s: not found", name)
		} else if strings.Contains(hits[0].String(), value) {
			t.Errorf("%s: the hit holds the value", name)
		}
	}
	if hits := set.Bytes("nothing", bytes.Repeat([]byte("canary-"), 1000)); len(hits) != 0 {
		t.Errorf("hits in nothing: %v", hits)
	}
}

func TestSetDir(t *testing.T) {
	t.Parallel()
	set := new(canary.Set)
	value, dir := set.New(), t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("clean", "nothing")
	if hits, err := set.Dir(dir); err != nil || len(hits) != 0 {
		t.Fatalf("Dir = %v, %v, want nothing", hits, err)
	}
	write("leak", "x"+value)
	hits, err := set.Dir(dir)
	if err != nil || len(hits) != 1 || hits[0].At != 1 || filepath.Base(hits[0].Where) != "leak" {
		t.Errorf("Dir = %v, %v, want one hit in leak at byte 1", hits, err)
	}
}
