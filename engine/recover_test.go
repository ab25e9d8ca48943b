package engine_test

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/moby/moby/client"

	"github.com/malote/malote/acs"
	"github.com/malote/malote/engine"
	"github.com/malote/malote/engine/docker"
	"github.com/malote/malote/engine/enginetest"
)

// victim is an engine in a process of its own, to be killed.
type victim struct {
	Name, Dir, InitPath, Endpoint string
	Task                          acs.Task
}

const victimEnv = "MALOTE_TEST_VICTIM"

// runVictim is what the process does.
func runVictim(path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var v victim
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	d, err := docker.New("")
	if err != nil {
		return err
	}
	e, err := engine.New(engine.Config{
		AWS:    aws.Config{Region: region, BaseEndpoint: &v.Endpoint, Credentials: credentials.NewStaticCredentialsProvider("AKIA", "x", "")},
		Docker: d, Name: v.Name, Dir: v.Dir, InitPath: v.InitPath, NoMetadata: true,
	})
	if err != nil {
		return err
	}
	if err := e.Start(context.Background()); err != nil {
		return err
	}
	_, err = e.RunTask(context.Background(), v.Task)
	return err
}

// killed runs a task on an engine in another process and kills that as soon as ready holds.
func (w *world) killed(task acs.Task, ready func() bool) {
	w.t.Helper()
	b, err := json.Marshal(victim{w.config.Name, w.config.Dir, w.config.InitPath, *w.config.AWS.BaseEndpoint, task})
	if err != nil {
		w.t.Fatal(err)
	}
	path := filepath.Join(w.t.TempDir(), "victim.json")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		w.t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), victimEnv+"="+path)
	cmd.Stderr = w.log
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	for deadline := time.Now().Add(time.Minute); !ready(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Fatal("the engine did not get that far")
		}
	}
}

// containers returns the id of each of the engine's containers by name.
func (w *world) containers() map[string]string {
	w.t.Helper()
	list, err := w.docker.ContainerList(context.Background(), client.ContainerListOptions{All: true, Filters: client.Filters{}.Add("label", "malote.engine="+w.config.Name)})
	if err != nil {
		w.t.Fatal(err)
	}
	out := map[string]string{}
	for _, c := range list.Items {
		out[c.Labels["com.amazonaws.ecs.container-name"]] = c.ID
	}
	return out
}

func (w *world) logged(name, text string) func() bool {
	return func() bool {
		id := w.containers()[name]
		res, err := w.docker.ContainerInspect(w.t.Context(), id, client.ContainerInspectOptions{})
		return err == nil && res.Container.State.Status != "created" && strings.Contains(enginetest.Logs(w.t, w.docker, id), text)
	}
}

func TestAKilledEngineFindsItsTasksAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	image := w.image(enginetest.Image{Shell: true})
	w.stores.secrets[secretARN("a")] = canary
	app := container("app", image, "print", "up", "then", "trap", "0")
	app.Secrets = []types.Secret{{Name: aws.String("A"), ValueFrom: aws.String(secretARN("a"))}}
	sum := digestLine("A", canary)
	app.HealthCheck = &types.HealthCheck{Command: []string{"CMD", "/app", "check", "A", strings.Fields(sum)[1]}, Interval: aws.Int32(5), Retries: aws.Int32(1)}
	sidecar := container("sidecar", image, "write", "/vol/x", "y")
	sidecar.Essential = aws.Bool(false)
	sidecar.MountPoints = []types.MountPoint{{SourceVolume: aws.String("files"), ContainerPath: aws.String("/vol")}}
	app.MountPoints = sidecar.MountPoints
	app.DependsOn = []types.ContainerDependency{{ContainerName: aws.String("sidecar"), Condition: types.ContainerConditionSuccess}}
	task := newTask(app, sidecar)
	task.Definition.Volumes = []types.Volume{{Name: aws.String("files")}}
	w.killed(task, w.logged("app", "ready"))
	before := w.containers()

	// The value has changed since; the containers' health checks must see what they had.
	w.stores.mu.Lock()
	asked := len(w.stores.asked)
	w.stores.mu.Unlock()

	e := w.start()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	type result struct {
		r   engine.Report
		err error
	}
	ended := make(chan result, 1)
	go func() { // as the control plane sends the task again, with credentials
		r, err := e.RunTask(ctx, task)
		ended <- result{r, err}
	}()
	healthy := func() bool {
		res, err := w.docker.ContainerInspect(t.Context(), before["app"], client.ContainerInspectOptions{})
		return err == nil && res.Container.State.Health != nil && res.Container.State.Health.Status == "healthy"
	}
	for deadline := time.Now().Add(30 * time.Second); !healthy(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the container did not become healthy")
		}
	}
	if now := w.containers(); now["app"] != before["app"] || now["sidecar"] != before["sidecar"] {
		t.Errorf("containers %v became %v", before, now)
	}
	w.stores.mu.Lock()
	again := slices.Clone(w.stores.asked[asked:])
	w.stores.mu.Unlock()
	if want := "GetSecretValue " + secretARN("a") + " 11111111-2222-3333-4444-555555555555"; !slices.Contains(again, want) {
		t.Errorf("asked again for %v, want %q: the version that the container has", again, want)
	}
	cancel()
	got := <-ended
	if got.err != nil || exitCode(report(t, got.r, "app")) != 0 || exitCode(report(t, got.r, "sidecar")) != 0 {
		t.Errorf("the end: %+v, %v", got.r, got.err)
	}
}

func TestAnExitWhileNoEngineRanIsReported(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	image := w.image(enginetest.Image{})
	app := container("app", image, "print", "up", "then", "sleep", "2s", "then", "exit", "9")
	task := newTask(app, container("other", image, "trap", "0"))
	w.killed(task, w.logged("app", "up"))
	id := w.containers()["app"]
	enginetest.Wait(t, w.docker, id)
	r, err := w.start().RunTask(t.Context(), task)
	if err != nil || exitCode(report(t, r, "app")) != 9 || r.Reason != "Essential container in task exited" {
		t.Errorf("RunTask = %+v, %v", r, err)
	}
}

func TestAVanishedContainerIsReported(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	image := w.image(enginetest.Image{})
	task := newTask(container("app", image, "print", "up", "then", "trap", "0"))
	w.killed(task, w.logged("app", "ready"))
	if _, err := w.docker.ContainerRemove(t.Context(), w.containers()["app"], client.ContainerRemoveOptions{Force: true}); err != nil {
		t.Fatal(err)
	}
	r, err := w.start().RunTask(t.Context(), task)
	if err != nil || report(t, r, "app").Reason != "ContainerVanishedError: No container matching saved ID found" {
		t.Errorf("RunTask = %+v, %v", r, err)
	}
}

// Whatever the moment, the next engine gets the task to its end and nothing is left.
func TestKilledAtAnyMoment(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	image := w.image(enginetest.Image{})
	w.stores.secrets[secretARN("a")] = canary
	for _, delay := range []time.Duration{50, 100, 150, 200, 300, 400, 600, 900} {
		sidecar := container("sidecar", image, "write", "/vol/x", "y", "then", "sleep", "200ms")
		sidecar.Essential = aws.Bool(false)
		sidecar.MountPoints = []types.MountPoint{{SourceVolume: aws.String("files"), ContainerPath: aws.String("/vol")}}
		app := container("app", image, "cat", "/vol/x", "then", "env", "A", "then", "exit", "0")
		app.MountPoints = sidecar.MountPoints
		app.Secrets = []types.Secret{{Name: aws.String("A"), ValueFrom: aws.String(secretARN("a"))}}
		app.DependsOn = []types.ContainerDependency{{ContainerName: aws.String("sidecar"), Condition: types.ContainerConditionSuccess}}
		task := newTask(app, sidecar)
		task.Definition.Volumes = []types.Volume{{Name: aws.String("files")}}
		begun := time.Now()
		w.killed(task, func() bool { return time.Since(begun) > delay*time.Millisecond })
		e := w.start()
		r, err := e.RunTask(t.Context(), task)
		if err != nil || exitCode(report(t, r, "app")) != 0 {
			t.Errorf("killed after %d ms: %+v, %v", delay, r, err)
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
		w.nothingLeft()
	}
}

func TestSweepRemovesWhatBelongsToNoTask(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	image := w.image(enginetest.Image{})
	app := container("app", image, "trap", "0")
	app.MountPoints = []types.MountPoint{{SourceVolume: aws.String("files"), ContainerPath: aws.String("/vol")}}
	task := newTask(app)
	task.Definition.Volumes = []types.Volume{{Name: aws.String("files")}}
	w.killed(task, w.logged("app", "ready"))
	// As after a boot, which empties /run; the mount is left to show that it goes as well.
	if err := os.RemoveAll(filepath.Join(w.config.Dir, "tasks")); err != nil {
		t.Fatal(err)
	}
	if err := w.start().Sweep(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	w.nothingLeft()
}
