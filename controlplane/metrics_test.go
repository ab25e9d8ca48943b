package controlplane

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/malote/malote/gateway"
)

func TestMetrics(t *testing.T) {
	t.Parallel()
	trail := new(unwritable)
	registry := prometheus.NewRegistry()
	registry.MustRegister(auditHealth{trail}, requestCounts{new(gateway.Counts)})
	has := func(line string) {
		t.Helper()
		answer := httptest.NewRecorder()
		promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
		if !slices.Contains(strings.Split(answer.Body.String(), "\n"), line) {
			t.Errorf("metrics lack %s:\n%s", line, answer.Body)
		}
	}
	has("malote_audit_writable 1")
	trail.err = errors.New("no space left on device")
	has("malote_audit_writable 0")
}
