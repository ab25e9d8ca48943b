//go:build clients

package clients_test

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/malote/malote/engine/enginetest"
	"github.com/malote/malote/malotetest/canary"
)

// up starts malote up and returns the environment that malote env prints for a shell.
func up(t *testing.T) []string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"malote", "malote-init"} {
		build := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(dir, name), "../../cmd/"+name)
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("building %s: %v\n%s", name, err, out)
		}
	}
	binary, data := filepath.Join(dir, "malote"), filepath.Join(dir, "data")
	server := exec.Command(binary, "up", "--data-dir", data, "--runtime-dir", filepath.Join("/run", enginetest.Name(t)), "--listen", "127.0.0.1:0", "--log-level", "warn")
	server.Stderr = os.Stderr
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		server.Process.Signal(syscall.SIGTERM)
		if err := server.Wait(); err != nil {
			t.Errorf("malote up: %v", err)
		}
		os.RemoveAll(filepath.Join("/run", enginetest.Name(t)))
	})
	for range 100 {
		out, err := exec.CommandContext(t.Context(), binary, "env", "--data-dir", data).Output()
		if err == nil {
			env := append(os.Environ(), "AWS_EC2_METADATA_DISABLED=true", "AWS_PAGER=")
			for line := range strings.Lines(string(out)) {
				if assignment, ok := strings.CutPrefix(strings.TrimSpace(line), "export "); ok {
					name, value, _ := strings.Cut(assignment, "=")
					env = append(env, name+"="+strings.Trim(value, "'"))
				}
			}
			return env
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatal("malote up does not answer")
	return nil
}

// A user types nothing but the AWS CLI, from the secret to the stopped task.
func TestTaskByCLI(t *testing.T) {
	docker := enginetest.Docker(t)
	enginetest.Exclusive(t, "169.254.170.2")
	image := enginetest.Build(t, docker, enginetest.Image{Entrypoint: []string{"/app"}})
	aws := cli{t, up(t)}
	dir := t.TempDir()
	value := new(canary.Set).New()
	sum := sha256.Sum256([]byte(value))
	write(t, filepath.Join(dir, "value"), value)
	write(t, filepath.Join(dir, "db.json"), `{"password":"`+value+`"}`)

	aws.json("secretsmanager", "create-secret", "--name", "shop/db", "--secret-string", "file://"+filepath.Join(dir, "db.json"))
	aws.json("ssm", "put-parameter", "--name", "/shop/key", "--type", "SecureString", "--value", "file://"+filepath.Join(dir, "value"))
	trust := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ecs-tasks.amazonaws.com"},"Action":"sts:AssumeRole"}]}`
	aws.json("iam", "create-role", "--role-name", "shop", "--assume-role-policy-document", trust)
	run := func(definition string) map[string]any {
		t.Helper()
		file := filepath.Join(dir, "task.json")
		write(t, file, definition)
		aws.json("ecs", "register-task-definition", "--cli-input-json", "file://"+file)
		started := aws.json("ecs", "run-task", "--task-definition", "shop")
		tasks, _ := started["tasks"].([]any)
		if len(tasks) != 1 {
			t.Fatalf("run-task = %v", started)
		}
		task := tasks[0].(map[string]any)["taskArn"].(string)
		if out, err := aws.run("ecs", "wait", "tasks-stopped", "--tasks", task); err != nil {
			t.Fatalf("wait tasks-stopped: %v\n%s", err, out)
		}
		return aws.json("ecs", "describe-tasks", "--tasks", task)["tasks"].([]any)[0].(map[string]any)
	}
	definition := `{"family":"shop","executionRoleArn":"arn:aws:iam::123456789012:role/shop","containerDefinitions":[{"name":"app","image":"` + image + `","memory":64,
		"command":["check","DB","` + hex.EncodeToString(sum[:]) + `","then","check","KEY","` + hex.EncodeToString(sum[:]) + `","then","exit","7"],
		"secrets":[{"name":"DB","valueFrom":"arn:aws:secretsmanager:us-east-1:123456789012:secret:shop/db:password::"},{"name":"KEY","valueFrom":"/shop/key"}]}]}`

	refused := run(definition)
	reason, _ := refused["stoppedReason"].(string)
	for _, want := range []string{"ResourceInitializationError", "role/shop", "secretsmanager:GetSecretValue", "no identity-based policy allows"} {
		if refused["stopCode"] != "TaskFailedToStart" || !strings.Contains(reason, want) {
			t.Errorf("without a policy: %v: %s, want %q in it", refused["stopCode"], reason, want)
		}
	}

	aws.json("iam", "put-role-policy", "--role-name", "shop", "--policy-name", "secrets", "--policy-document",
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["secretsmanager:GetSecretValue","ssm:GetParameters"],"Resource":"*"}]}`)
	ran := run(definition)
	container := ran["containers"].([]any)[0].(map[string]any)
	if container["exitCode"] != 7.0 || ran["stopCode"] != "EssentialContainerExited" {
		t.Errorf("with the policy: %v %v, container %v", ran["stopCode"], ran["stoppedReason"], container)
	}
}
