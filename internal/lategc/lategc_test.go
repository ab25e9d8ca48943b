package lategc_test

import (
	"os"
	"os/exec"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"

	"github.com/malote/malote/internal/lategc"
)

// The environment is read when a process starts: each case is one of its own.
func TestBegin(t *testing.T) {
	t.Parallel()
	if os.Getenv("LATEGC_TEST") != "" {
		lategc.Begin(200)
		os.Stdout.WriteString("percent " + strconv.Itoa(debug.SetGCPercent(100)) + "\n")
		return
	}
	for gogc, want := range map[string]int{"": 200, "50": 50, "off": -1} {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestBegin$")
		cmd.Env = append(os.Environ(), "LATEGC_TEST=1", "GOGC="+gogc)
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "percent "+strconv.Itoa(want)+"\n") {
			t.Errorf("GOGC=%s: %s, %v, want percent %d", gogc, out, err, want)
		}
	}
}
