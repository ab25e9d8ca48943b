//go:build clients

// Package clients_test drives malote with the programs that people have: the AWS CLI and
// Terraform. Both must be installed; the rest of the tests do not need them.
package clients_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/malote/malote/malotetest"
)

// environ is this process's environment with a malote in it.
func environ(t *testing.T, sys *malotetest.System) []string {
	t.Helper()
	keys, err := sys.Config().Credentials.Retrieve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return append(os.Environ(),
		"AWS_ENDPOINT_URL="+sys.Endpoint(), "AWS_REGION=us-east-1", "AWS_DEFAULT_REGION=us-east-1",
		"AWS_ACCESS_KEY_ID="+keys.AccessKeyID, "AWS_SECRET_ACCESS_KEY="+keys.SecretAccessKey,
		"AWS_EC2_METADATA_DISABLED=true", "AWS_PAGER=")
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// cli runs the AWS CLI.
type cli struct {
	t   *testing.T
	env []string
}

func (c cli) run(args ...string) (string, error) {
	command := exec.CommandContext(c.t.Context(), "aws", args...)
	command.Env = c.env
	out, err := command.CombinedOutput()
	return string(out), err
}

// json runs the CLI, which must succeed, and returns what it printed.
func (c cli) json(args ...string) map[string]any {
	c.t.Helper()
	out, err := c.run(append(args, "--output", "json")...)
	if err != nil {
		c.t.Fatalf("aws %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	var answer map[string]any
	if out = strings.TrimSpace(out); out != "" {
		if err := json.Unmarshal([]byte(out), &answer); err != nil {
			c.t.Fatalf("aws %s printed %q: %v", strings.Join(args, " "), out, err)
		}
	}
	return answer
}

// refused runs the CLI, which must fail and say want.
func (c cli) refused(want string, args ...string) {
	c.t.Helper()
	out, err := c.run(args...)
	if err == nil || !strings.Contains(out, want) {
		c.t.Errorf("aws %s: %v\n%s\nwant a refusal that says %q", strings.Join(args, " "), err, out, want)
	}
}

// The commands of the issue that a user types after `eval "$(malote env)"`, without a task.
func TestAWSCLI(t *testing.T) {
	sys := malotetest.New(t)
	aws := cli{t, environ(t, sys)}
	file := filepath.Join(t.TempDir(), "value")
	value := sys.Canary()
	write(t, file, value)

	if got := aws.json("sts", "get-caller-identity")["Account"]; got != "123456789012" {
		t.Errorf("account = %v", got)
	}
	aws.json("secretsmanager", "create-secret", "--name", "shop/db", "--secret-string", "file://"+file)
	if got := aws.json("secretsmanager", "get-secret-value", "--secret-id", "shop/db")["SecretString"]; got != value {
		t.Error("get-secret-value does not return what create-secret was given")
	}
	aws.json("ssm", "put-parameter", "--name", "/shop/key", "--type", "SecureString", "--value", "file://"+file)
	parameter, _ := aws.json("ssm", "get-parameter", "--name", "/shop/key", "--with-decryption")["Parameter"].(map[string]any)
	if parameter["Value"] != value {
		t.Error("get-parameter does not return what put-parameter was given")
	}

	key := aws.json("kms", "create-key")["KeyMetadata"].(map[string]any)["KeyId"].(string)
	blob := aws.json("kms", "encrypt", "--key-id", key, "--plaintext", "fileb://"+file)["CiphertextBlob"].(string)
	if strings.Contains(blob, value) {
		t.Error("kms encrypt returns its plaintext")
	}

	trust := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ecs-tasks.amazonaws.com"},"Action":"sts:AssumeRole"}]}`
	aws.json("iam", "create-role", "--role-name", "shop", "--assume-role-policy-document", trust)
	aws.json("iam", "attach-role-policy", "--role-name", "shop", "--policy-arn", "arn:aws:iam::aws:policy/service-role/AmazonECSTaskExecutionRolePolicy")
	if got := aws.json("iam", "list-attached-role-policies", "--role-name", "shop")["AttachedPolicies"].([]any); len(got) != 1 {
		t.Errorf("attached policies = %v, want one", got)
	}
	// A user without any right is told so, in AWS's words.
	aws.json("iam", "create-user", "--user-name", "bob")
	made := aws.json("iam", "create-access-key", "--user-name", "bob")["AccessKey"].(map[string]any)
	bob := cli{t, append(environ(t, sys), "AWS_ACCESS_KEY_ID="+made["AccessKeyId"].(string), "AWS_SECRET_ACCESS_KEY="+made["SecretAccessKey"].(string))}
	bob.json("sts", "get-caller-identity")
	bob.refused("no identity-based policy allows the secretsmanager:GetSecretValue action", "secretsmanager", "get-secret-value", "--secret-id", "shop/db")
	bob.refused("AccessDenied", "iam", "list-roles")
	aws.refused("ResourceNotFoundException", "secretsmanager", "get-secret-value", "--secret-id", "nowhere")
	aws.refused("NoSuchEntity", "iam", "get-role", "--role-name", "nowhere")
}
