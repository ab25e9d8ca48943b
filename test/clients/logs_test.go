//go:build clients

package clients_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/malote/malote/malotetest"
)

// second is the AWS CLI 2, where there are both: the first has no "aws logs tail".
func second(t *testing.T) string {
	t.Helper()
	for _, path := range []string{"aws", "/usr/local/bin/aws", "/usr/bin/aws"} {
		if out, err := exec.CommandContext(t.Context(), path, "--version").Output(); err == nil && strings.HasPrefix(string(out), "aws-cli/2") {
			return path
		}
	}
	t.Fatal("aws logs tail needs the AWS CLI 2 (on Debian: apt-get install awscli)")
	return ""
}

// The commands with which people read logs: aws logs tail, with and without --follow, and
// filter-log-events with the three kinds of pattern.
func TestAWSCLILogs(t *testing.T) {
	sys := malotetest.New(t)
	aws := cli{t, environ(t, sys)}
	aws.json("logs", "create-log-group", "--log-group-name", "/ecs/shop", "--tags", "team=shop")
	aws.json("logs", "put-retention-policy", "--log-group-name", "/ecs/shop", "--retention-in-days", "7")
	aws.json("logs", "create-log-stream", "--log-group-name", "/ecs/shop", "--log-stream-name", "web/app/1")
	put := func(messages ...string) {
		t.Helper()
		var events []map[string]any
		for i, m := range messages {
			events = append(events, map[string]any{"timestamp": time.Now().UnixMilli() + int64(i), "message": m})
		}
		text, err := json.Marshal(events)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "events")
		write(t, file, string(text))
		aws.json("logs", "put-log-events", "--log-group-name", "/ecs/shop", "--log-stream-name", "web/app/1", "--log-events", "file://"+file)
	}
	value := sys.Canary()
	put(`{"level":"error","ms":150,"value":"`+value+`"}`, `{"level":"info","ms":3}`, "ERROR plain text", `10.0.0.1 - ann [x] "GET /" 404 12`)

	v2 := second(t)
	tail := func(args ...string) *exec.Cmd {
		command := exec.CommandContext(t.Context(), v2, append([]string{"logs", "tail", "/ecs/shop", "--endpoint-url", sys.Endpoint()}, args...)...)
		command.Env = append(aws.env, "PYTHONUNBUFFERED=1")
		return command
	}
	out, err := tail("--since", "1h", "--format", "short").Output()
	if err != nil || !strings.Contains(string(out), value) || strings.Count(string(out), "\n") != 4 {
		t.Errorf("aws logs tail: %v\n%d lines", err, strings.Count(string(out), "\n"))
	}
	for pattern, want := range map[string]string{
		`{ $.level = "error" && $.ms > 100 }`: `{"level":"error"`,
		`{ $.ms < 10 }`:                       `{"level":"info"`,
		`ERROR -info`:                         "ERROR plain",
		`?nothing ?plain`:                     "ERROR plain",
		`[ip, user, name, x, request, status = 4*, size]`: "10.0.0.1",
	} {
		events := aws.json("logs", "filter-log-events", "--log-group-name", "/ecs/shop", "--filter-pattern", pattern)["events"].([]any)
		if len(events) != 1 || !strings.HasPrefix(events[0].(map[string]any)["message"].(string), want) {
			t.Errorf("%s finds %d events, want one that begins with %s", pattern, len(events), want)
		}
	}
	aws.refused("InvalidParameterException", "logs", "filter-log-events", "--log-group-name", "/ecs/shop", "--filter-pattern", "{ $.level = }")
	if got := aws.json("logs", "get-log-events", "--log-group-name", "/ecs/shop", "--log-stream-name", "web/app/1", "--limit", "1")["events"].([]any); len(got) != 1 || !strings.HasPrefix(got[0].(map[string]any)["message"].(string), "10.0.0.1") {
		t.Errorf("get-log-events = %v", got)
	}
	group := aws.json("logs", "describe-log-groups", "--log-group-name-prefix", "/ecs")["logGroups"].([]any)[0].(map[string]any)
	if group["retentionInDays"] != 7.0 || group["arn"] != "arn:aws:logs:us-east-1:123456789012:log-group:/ecs/shop:*" {
		t.Errorf("describe-log-groups = %v", group)
	}
	if tags := aws.json("logs", "list-tags-for-resource", "--resource-arn", group["logGroupArn"].(string))["tags"]; fmt.Sprint(tags) != "map[team:shop]" {
		t.Errorf("tags = %v", tags)
	}

	follow := tail("--follow", "--since", "1h", "--format", "short")
	lines, err := follow.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := follow.Start(); err != nil {
		t.Fatal(err)
	}
	defer follow.Wait()
	defer follow.Process.Kill()
	deadline := time.AfterFunc(2*time.Minute, func() { follow.Process.Kill() })
	defer deadline.Stop()
	scanner := bufio.NewScanner(lines)
	for range 4 {
		if !scanner.Scan() {
			t.Fatal("aws logs tail --follow ended")
		}
	}
	put("later")
	if !scanner.Scan() || !strings.HasSuffix(scanner.Text(), "later") {
		t.Errorf("--follow prints %q, want the line that came later", scanner.Text())
	}

	aws.json("logs", "delete-log-group", "--log-group-name", "/ecs/shop")
	aws.refused("The specified log group does not exist", "logs", "filter-log-events", "--log-group-name", "/ecs/shop")
}
