package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/malote/malote/engine"
)

func TestStatusOfRun(t *testing.T) {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	container := func(name string, essential bool, code, second int) engine.ContainerReport {
		return engine.ContainerReport{Name: name, Essential: essential, ExitCode: aws.Int32(int32(code)), Ended: at.Add(time.Duration(second) * time.Second)}
	}
	reason := func(c engine.ContainerReport, reason string) engine.ContainerReport {
		c.Reason = reason
		return c
	}
	for _, tt := range []struct {
		name   string
		report engine.Report
		want   int
		stderr string
	}{
		{"the first to end decides, not who is killed on its account", engine.Report{
			Containers: []engine.ContainerReport{container("proxy", true, 137, 2), container("app", true, 0, 1)}}, 0, ""},
		{"nor who is first in the file", engine.Report{
			Containers: []engine.ContainerReport{container("proxy", true, 143, 2), container("app", true, 7, 1)}}, 7, ""},
		{"what is not essential decides nothing", engine.Report{
			Containers: []engine.ContainerReport{container("side", false, 3, 1), container("app", true, 0, 2)}}, 0, ""},
		{"a task that did not start, told once", engine.Report{
			StopCode: types.TaskStopCodeTaskFailedToStart, Reason: "CannotStartContainerError: no",
			Containers: []engine.ContainerReport{reason(container("app", true, 143, 0), "CannotStartContainerError: no")}}, exitOurs,
			"malote: the task failed to start: CannotStartContainerError: no\n"},
		{"another container's reason", engine.Report{
			Reason:     "Essential container in task exited",
			Containers: []engine.ContainerReport{reason(container("app", true, 137, 0), "OutOfMemoryError: killed")}}, 137,
			"malote: container app: OutOfMemoryError: killed\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var stderr bytes.Buffer
			err := new(runCommand).status(&program{stdout: io.Discard, stderr: &stderr}, tt.report)
			status := exitStatus(0)
			if errors.As(err, &status); int(status) != tt.want || status == 0 && err != nil {
				t.Errorf("status %d, error %v, want %d", status, err, tt.want)
			}
			if stderr.String() != tt.stderr {
				t.Errorf("stderr: %q", stderr.String())
			}
		})
	}
}

// A script can tell the fault of malote run from that of what it runs.
func TestRunThatCannotStart(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "task.json")
	if err := os.WriteFile(file, []byte(`{"family": "x", "containerDefinitions": [{"name": "app", "image": "x", "memory": 64}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args   []string
		status int
		says   string
	}{
		{[]string{"run", "--image", "web=x", file}, 2, `malote: --image web=x: the task definition has no container "web"`},
		{[]string{"run", "--docker-host", "nowhere", "--data-dir", t.TempDir(), file}, exitOurs, "malote: making a Docker client: "},
	} {
		var stderr bytes.Buffer
		if status := run(t.Context(), tt.args, nil, io.Discard, &stderr); status != tt.status || !strings.Contains(stderr.String(), tt.says) {
			t.Errorf("%q ends with %d, %q, want %d, %q", tt.args, status, &stderr, tt.status, tt.says)
		}
	}
}
