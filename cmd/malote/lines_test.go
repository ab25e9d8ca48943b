package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/aws/smithy-go"
)

// What a service said is logged without what the SDK puts around it.
func TestLogSpeaksOfErrors(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log, err := (&program{stderr: &out}).logger("info")
	if err != nil {
		t.Fatal(err)
	}
	log.Warn("trying again", "err", fmt.Errorf("registering: %w", &smithy.OperationError{
		ServiceID: "ECS", OperationName: "RegisterContainerInstance", Err: &smithy.GenericAPIError{Code: "ClusterNotFoundException", Message: "Cluster not found."},
	}), "n", 1)
	if want := `msg="trying again" err="registering: ClusterNotFoundException: Cluster not found." n=1`; !strings.Contains(out.String(), want) {
		t.Errorf("logged %q, want %q", out.String(), want)
	}
}

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
