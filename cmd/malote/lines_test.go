package main

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"
)

// Lines about requests are written together; whatever else is logged takes them along.
func TestServerLogGathersRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log, flush, err := (&program{stderr: &out}).serverLogger("info")
		if err != nil {
			t.Fatal(err)
		}
		log.Info("request", "op", "first")
		if out.Len() > 0 {
			t.Errorf("a request's line did not wait: %q", out.String())
		}
		log.With("service", "kms").Warn("upkeep failed")
		if got := out.String(); !strings.Contains(got, "first") || !strings.Contains(got, "upkeep failed") {
			t.Errorf("a warning waits, or comes before what was said earlier: %q", got)
		}
		log.Info("request", "op", "second")
		synctest.Wait()
		before := out.Len()
		flush()
		if out.Len() == before || !strings.Contains(out.String(), "second") {
			t.Errorf("flush left a line behind: %q", out.String())
		}
	})
}
