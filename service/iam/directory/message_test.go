package directory_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/malote/malote/service/iam/directory"
	"github.com/malote/malote/store/memory"
)

func TestMessages(t *testing.T) {
	t.Parallel()
	f := open(t)
	for _, text := range []string{"", "short", strings.Repeat("a text that deflates ", 500)} {
		message, err := f.SealMessage(t.Context(), account, []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if len(message) > 4096 || strings.Contains(message, "short") {
			t.Errorf("message of %d bytes", len(message))
		}
		if got, err := f.OpenMessage(t.Context(), account, message); err != nil || string(got) != text {
			t.Errorf("OpenMessage = %d bytes, %v, want %d", len(got), err, len(text))
		}
		if _, err := f.OpenMessage(t.Context(), "999999999999", message); !errors.Is(err, directory.ErrMessage) {
			t.Errorf("another account's: %v", err)
		}
	}
}

// What was not sealed here opens nowhere.
func FuzzOpenMessage(f *testing.F) {
	st := memory.New()
	f.Cleanup(func() { st.Close() })
	dir := directory.New(directory.Config{Store: st})
	f.Cleanup(func() { dir.Close() })
	f.Add("")
	f.Add("AQ")
	f.Add("Ag" + strings.Repeat("A", 100))
	f.Fuzz(func(t *testing.T, message string) {
		if text, err := dir.OpenMessage(t.Context(), account, message); !errors.Is(err, directory.ErrMessage) {
			t.Fatalf("OpenMessage(%q) = %q, %v", message, text, err)
		}
	})
}
