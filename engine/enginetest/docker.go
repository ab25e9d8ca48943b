package enginetest

import (
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
)

// Docker returns a client of the Engine that the environment names. Without an
// Engine the test fails, or is skipped if MALOTE_TEST_WITHOUT contains "docker".
func Docker(t testing.TB) *client.Client {
	t.Helper()
	if slices.Contains(strings.FieldsFunc(os.Getenv("MALOTE_TEST_WITHOUT"), func(r rune) bool { return r == ',' || r == ' ' }), "docker") {
		t.Skip("MALOTE_TEST_WITHOUT names docker")
	}
	docker, err := client.New(client.FromEnv)
	if err != nil {
		t.Fatalf("making a Docker client: %v", err)
	}
	t.Cleanup(func() { docker.Close() })
	if _, err := docker.Ping(t.Context(), client.PingOptions{}); err != nil {
		t.Fatalf("no Docker Engine answers (MALOTE_TEST_WITHOUT=docker skips this test): %v", err)
	}
	return docker
}

// Name returns a name that no other test uses, as containers and images may have.
func Name(t testing.TB) string {
	return "malote-test-" + strings.ToLower(rand.Text()[:12])
}

// Result is what a container left.
type Result struct {
	ID             string
	ExitCode       int
	Stdout, Stderr string
}

// Create makes a container and removes it, with its anonymous volumes, when the
// test ends. A nil host config is an empty one, without network.
func Create(t testing.TB, docker *client.Client, config *container.Config, host *container.HostConfig) string {
	t.Helper()
	if host == nil {
		host = &container.HostConfig{}
	}
	if host.NetworkMode == "" {
		host.NetworkMode = "none"
	}
	made, err := docker.ContainerCreate(t.Context(), client.ContainerCreateOptions{Name: Name(t), Config: config, HostConfig: host})
	if err != nil {
		t.Fatalf("creating a container: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		docker.ContainerRemove(ctx, made.ID, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
	})
	return made.ID
}

// Start starts a container that exists.
func Start(t testing.TB, docker *client.Client, id string) {
	t.Helper()
	if _, err := docker.ContainerStart(t.Context(), id, client.ContainerStartOptions{}); err != nil {
		t.Fatalf("starting container: %v", err)
	}
}

// Wait waits for the end of a container, two minutes at most, and returns what
// it printed. Its log driver must be one that Docker can read.
func Wait(t testing.TB, docker *client.Client, id string) Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	result := Result{ID: id}
	wait := docker.ContainerWait(ctx, id, client.ContainerWaitOptions{Condition: container.WaitConditionNotRunning})
	select {
	case err := <-wait.Error:
		t.Fatalf("waiting for container: %v\n%s", err, Logs(t, docker, id))
	case end := <-wait.Result:
		result.ExitCode = int(end.StatusCode)
	}
	result.Stdout, result.Stderr = split(t, docker, id)
	return result
}

// Logs returns what a container has printed so far, stdout before stderr.
func Logs(t testing.TB, docker *client.Client, id string) string {
	t.Helper()
	stdout, stderr := split(t, docker, id)
	return stdout + stderr
}

func split(t testing.TB, docker *client.Client, id string) (stdout, stderr string) {
	t.Helper()
	stream, err := docker.ContainerLogs(context.WithoutCancel(t.Context()), id, client.ContainerLogsOptions{ShowStdout: true, ShowStderr: true})
	if err != nil {
		t.Fatalf("reading the container's log: %v", err)
	}
	defer stream.Close()
	var out, bad bytes.Buffer
	if _, err := stdcopy.StdCopy(&out, &bad, stream); err != nil && err != io.EOF {
		t.Fatalf("reading the container's log: %v", err)
	}
	return out.String(), bad.String()
}

// WaitFor waits until a container has printed text, a minute at most.
func WaitFor(t testing.TB, docker *client.Client, id, text string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		logs := Logs(t, docker, id)
		if strings.Contains(logs, text) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("container did not print %q in a minute, but:\n%s", text, logs)
		}
	}
}
