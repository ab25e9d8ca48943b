package engine_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/moby/moby/client"

	"github.com/malote/malote/engine/enginetest"
)

func digestLine(name, value string) string {
	return fmt.Sprintf("%s %x %d", name, sha256.Sum256([]byte(value)), len(value))
}

func TestSecretsReachAContainerAndNothingElse(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	image := w.image(enginetest.Image{})
	w.stores.secrets[secretARN("plain")] = canary + "-plain"
	w.stores.secrets[secretARN("json")] = `{"password": "` + canary + `-json", "port": 5432}`
	w.stores.params["/shop/token"] = canary + "-param"

	app := container("app", image, "env", "PLAIN", "PASSWORD", "PORT", "TOKEN", "COLOUR", "then", "trap", "0")
	app.Environment = []types.KeyValuePair{{Name: aws.String("COLOUR"), Value: aws.String("blue")}}
	app.Secrets = []types.Secret{
		{Name: aws.String("PLAIN"), ValueFrom: aws.String(secretARN("plain"))},
		{Name: aws.String("PASSWORD"), ValueFrom: aws.String(secretARN("json") + ":password::")},
		{Name: aws.String("PORT"), ValueFrom: aws.String(secretARN("json") + ":port::")},
		{Name: aws.String("TOKEN"), ValueFrom: aws.String("/shop/token")},
	}
	e := w.start()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	task := newTask(app)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r, err := e.RunTask(ctx, task)
		if err != nil || r.StopCode != types.TaskStopCodeUserInitiated || r.Reason != "Task stopped by user" {
			t.Errorf("RunTask = %+v, %v", r, err)
		}
		c := report(t, r, "app")
		if exitCode(c) != 0 {
			t.Errorf("exit code %d, want 0", exitCode(c))
		}
		if c.Versions["PASSWORD"] != "11111111-2222-3333-4444-555555555555" || c.Versions["TOKEN"] != "3" {
			t.Errorf("versions = %v", c.Versions)
		}
	}()
	w.waitFor("app: ready")

	for _, want := range []string{
		digestLine("PLAIN", canary+"-plain"), digestLine("PASSWORD", canary+"-json"), digestLine("PORT", "5432"),
		digestLine("TOKEN", canary+"-param"), digestLine("COLOUR", "blue"),
	} {
		if !slices.Contains(w.output(), "app: "+want) {
			t.Errorf("no line %q in %q", want, w.output())
		}
	}
	list, err := w.docker.ContainerList(t.Context(), client.ContainerListOptions{Filters: client.Filters{}.Add("label", "malote.engine="+w.config.Name)})
	if err != nil || len(list.Items) != 1 {
		t.Fatalf("containers: %v, %v", list.Items, err)
	}
	res, err := w.docker.ContainerInspect(t.Context(), list.Items[0].ID, client.ContainerInspectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(res.Container)
	if err != nil {
		t.Fatal(err)
	}
	for _, needle := range []string{canary, base64.StdEncoding.EncodeToString([]byte(canary))[:16], hex.EncodeToString([]byte(canary))} {
		if strings.Contains(string(raw), needle) {
			t.Errorf("docker inspect shows a secret as %s", needle)
		}
	}
	for label, want := range map[string]string{
		"com.amazonaws.ecs.task-arn": task.ARN, "com.amazonaws.ecs.container-name": "app", "com.amazonaws.ecs.cluster": "default",
		"com.amazonaws.ecs.task-definition-family": "shop", "com.amazonaws.ecs.task-definition-version": "7",
	} {
		if got := res.Container.Config.Labels[label]; got != want {
			t.Errorf("label %s = %q, want %q", label, got, want)
		}
	}
	cancel()
	<-ended
	for _, key := range w.stores.as {
		if key != "ASIAEXECUTION" {
			t.Errorf("a secret was fetched as %s, want the execution role", key)
		}
	}
}

func TestAnEssentialExitStopsTheTask(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	image := w.image(enginetest.Image{})
	app := container("app", image, "exit", "3")
	app.DependsOn = []types.ContainerDependency{{ContainerName: aws.String("db"), Condition: types.ContainerConditionStart}}
	r := w.run(newTask(app, container("db", image, "trap", "4")))
	if r.StopCode != types.TaskStopCodeEssentialContainerExited || r.Reason != "Essential container in task exited" {
		t.Errorf("stopped with %s, %q", r.StopCode, r.Reason)
	}
	if got := exitCode(report(t, r, "app")); got != 3 {
		t.Errorf("app exited with %d, want 3", got)
	}
	if got := exitCode(report(t, r, "db")); got != 4 && got != 143 && got != 2 {
		t.Errorf("db exited with %d, want 4: it was to be stopped by SIGTERM", got)
	}
}

func TestOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	image := w.image(enginetest.Image{})
	no := aws.Bool(false)
	sidecar := container("sidecar", image, "write", "/vol/file", "hello", "then", "print", "written")
	sidecar.Essential = no
	sidecar.MountPoints = []types.MountPoint{{SourceVolume: aws.String("shared"), ContainerPath: aws.String("/vol")}}
	app := container("app", image, "cat", "/vol/file", "then", "print", "", "then", "exit", "0")
	app.MountPoints = []types.MountPoint{{SourceVolume: aws.String("shared"), ContainerPath: aws.String("/vol"), ReadOnly: aws.Bool(true)}}
	app.DependsOn = []types.ContainerDependency{{ContainerName: aws.String("sidecar"), Condition: types.ContainerConditionSuccess}}
	task := newTask(app, sidecar)
	task.Definition.Volumes = []types.Volume{{Name: aws.String("shared"), DockerVolumeConfiguration: &types.DockerVolumeConfiguration{Scope: types.ScopeTask, Driver: aws.String("local")}}}
	r := w.run(task)
	if got := exitCode(report(t, r, "app")); got != 0 {
		t.Errorf("app exited with %d: %+v; output %q", got, r, w.output())
	}
	if !slices.Contains(w.output(), "app: hello") {
		t.Errorf("output %q, want the file that the sidecar wrote", w.output())
	}
}

func TestAStopIsInReverseOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	image := w.image(enginetest.Image{})
	db := container("db", image, "trap", "0")
	app := container("app", image, "trap", "0")
	app.DependsOn = []types.ContainerDependency{{ContainerName: aws.String("db"), Condition: types.ContainerConditionStart}}
	web := container("web", image, "trap", "0")
	web.Links = []string{"app:backend"}
	e := w.start()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer cancel()
		for _, line := range []string{"db: ready", "app: ready", "web: ready"} {
			w.waitFor(line)
		}
	}()
	if _, err := e.RunTask(ctx, newTask(web, app, db)); err != nil {
		t.Fatal(err)
	}
	var order []string
	for _, line := range w.output() {
		if name, ok := strings.CutSuffix(line, ": terminated"); ok {
			order = append(order, name)
		}
	}
	if want := []string{"web", "app", "db"}; !slices.Equal(order, want) {
		t.Errorf("terminated in the order %v, want %v", order, want)
	}
}

func TestAStopThatIsIgnoredEndsInSIGKILL(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	image := w.image(enginetest.Image{})
	// As process 1 a program without a handler does not notice SIGTERM.
	app := container("app", image, "print", "up", "then", "sleep", "1h")
	app.StopTimeout = aws.Int32(2)
	e := w.start()
	ctx, cancel := context.WithCancel(t.Context())
	go func() { defer cancel(); w.waitFor("app: up") }()
	began := time.Now()
	r, err := e.RunTask(ctx, newTask(app))
	if err != nil {
		t.Fatal(err)
	}
	if got := exitCode(report(t, r, "app")); got != 137 && got != 2 && got != 143 {
		t.Errorf("exit code %d, want 137", got)
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("took %v, want about the stopTimeout of 2 s", took)
	}
}
