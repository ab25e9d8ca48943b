//go:build clients

package clients_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/malote/malote/malotetest"
)

// Terraform with the AWS provider applies what an ECS user has, a bucket of secrets, all of IAM that goes with it and a pipeline's identity provider; it
// plans again and finds nothing to do, and destroys all of it. MALOTE_TF_PLUGINS names a filesystem mirror of the provider where the registry cannot be
// reached.
func TestTerraform(t *testing.T) {
	for _, what := range []string{"ecs", "bucket", "iam", "oidc"} {
		t.Run(what, func(t *testing.T) { applyAndDestroy(t, filepath.Join("testdata", what, "main.tf")) })
	}
}

func applyAndDestroy(t *testing.T, configuration string) {
	sys := malotetest.New(t)
	dir := t.TempDir()
	text, err := os.ReadFile(configuration)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "main.tf"), string(text))
	environment := append(environ(t, sys), "TF_IN_AUTOMATION=1", "CHECKPOINT_DISABLE=1", "TF_VAR_password="+sys.Canary())
	if mirror := os.Getenv("MALOTE_TF_PLUGINS"); mirror != "" {
		settings := filepath.Join(dir, "terraform.rc")
		write(t, settings, fmt.Sprintf("provider_installation {\n  filesystem_mirror {\n    path = %q\n  }\n}\n", mirror))
		environment = append(environment, "TF_CLI_CONFIG_FILE="+settings)
	}
	terraform := func(args ...string) string {
		t.Helper()
		command := exec.CommandContext(t.Context(), "terraform", args...)
		command.Dir, command.Env = dir, environment
		out, err := command.CombinedOutput()
		if err != nil {
			t.Fatalf("terraform %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	terraform("init", "-no-color")
	t.Log(last(terraform("apply", "-auto-approve", "-no-color")))
	t.Log(last(terraform("plan", "-detailed-exitcode", "-no-color"))) // exits 2 when there is anything to do
	if strings.Contains(string(text), `variable "again"`) {
		environment = append(environment, "TF_VAR_again=again")
		t.Log(last(terraform("apply", "-auto-approve", "-no-color")))
		t.Log(last(terraform("plan", "-detailed-exitcode", "-no-color")))
	}
	t.Log(last(terraform("destroy", "-auto-approve", "-no-color")))
}

// last is the end of an output, where Terraform says what it did.
func last(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-4):], "\n")
}
