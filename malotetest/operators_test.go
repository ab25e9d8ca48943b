package malotetest_test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/malote/malote/malotetest"
)

// What operators are told of a control plane: whether it is ready, how requests ended, and
// that the audit can be written.
func TestOperators(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	client := secretsmanager.NewFromConfig(sys.Config())
	if _, err := client.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: aws.String("db"), SecretString: aws.String(sys.Canary())}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: aws.String("none")}); err == nil {
		t.Fatal("read a secret that there is not")
	}
	response, err := http.Get(sys.Endpoint() + "/ready")
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Errorf("GET /ready = %d", response.StatusCode)
	}
	answer := httptest.NewRecorder()
	sys.Metrics().ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
	lines := strings.Split(answer.Body.String(), "\n")
	for _, line := range []string{
		`malote_requests_total{code="ok",operation="CreateSecret",service="secretsmanager"} 1`,
		`malote_requests_total{code="ResourceNotFoundException",operation="GetSecretValue",service="secretsmanager"} 1`,
		`malote_audit_writable 1`,
	} {
		if !slices.Contains(lines, line) {
			t.Errorf("metrics lack %s:\n%s", line, answer.Body)
		}
	}
}
