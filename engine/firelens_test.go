package engine_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/moby/moby/client"

	"github.com/malote/malote/engine"
	"github.com/malote/malote/engine/enginetest"
)

// routers are what each kind of log router has on ECS.
var routers = map[types.FirelensConfigurationType]struct{ config, output string }{
	"fluentbit": {"/fluent-bit/etc/fluent-bit.conf", "Name"},
	"fluentd":   {"/fluentd/etc/fluent.conf", "@type"},
}

func logRouter(image string, kind types.FirelensConfigurationType, args ...string) types.ContainerDefinition {
	c := container("log_router", image, append([]string{routers[kind].config}, args...)...)
	c.EntryPoint = []string{"/router"}
	c.FirelensConfiguration = &types.FirelensConfiguration{Type: kind}
	return c
}

// routed has a container's log go to the router, by a token that is a secret.
func routed(c types.ContainerDefinition, kind types.FirelensConfigurationType) types.ContainerDefinition {
	c.LogConfiguration = &types.LogConfiguration{
		LogDriver: types.LogDriverAwsfirelens, Options: map[string]string{routers[kind].output: "http", "Host": "logs.example.com"},
		SecretOptions: []types.Secret{{Name: aws.String("http-token"), ValueFrom: aws.String(secretARN("token"))}},
	}
	return c
}

// records are what the router got, by the record's log.
func (w *world) records() map[string]map[string]string {
	out := map[string]map[string]string{}
	for _, line := range w.output() {
		tag, text, ok := strings.Cut(strings.TrimPrefix(line, "log_router: "), " {")
		record := map[string]string{}
		if strings.HasPrefix(line, "log_router: ") && ok && json.Unmarshal([]byte("{"+text), &record) == nil {
			record["tag"] = tag
			out[record["log"]] = record
		}
	}
	return out
}

func TestFireLens(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		kind types.FirelensConfigurationType
		mode types.NetworkMode
		user string
		host string // what FLUENT_HOST is; "*": an address
	}{
		{"fluentbit", types.NetworkModeBridge, "", "*"},
		{"fluentbit", types.NetworkModeAwsvpc, "1000:1000", "127.0.0.1"},
		{"fluentd", types.NetworkModeHost, "", ""},
	} {
		t.Run(string(tt.kind)+" "+string(tt.mode), func(t *testing.T) {
			w := newWorld(t)
			image := w.image(enginetest.Image{Shell: true, Router: true, User: "app", Files: []enginetest.File{{Path: "/extra.conf", Content: []byte("# more\n")}}})
			w.stores.secrets[secretARN("token")] = canary + "-token"
			w.stores.secrets[secretARN("password")] = canary + "-password"
			app := routed(container("app", image), tt.kind)
			app.EntryPoint = []string{"/bin/sh"}
			app.Command = []string{"-c", "print hello then print $FLUENT_HOST then printenv PASSWORD then trap 0"}
			app.Secrets = []types.Secret{{Name: aws.String("PASSWORD"), ValueFrom: aws.String(secretARN("password"))}}
			router := logRouter(image, tt.kind)
			router.FirelensConfiguration.Options = map[string]string{"config-file-type": "file", "config-file-value": "/extra.conf"}
			if tt.user != "" {
				router.User = aws.String(tt.user)
			}
			task := newTask(app, router)
			task.Definition.NetworkMode = tt.mode
			id := task.ARN[strings.LastIndex(task.ARN, "/")+1:]
			e := w.start()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			done := make(chan engine.Report, 1)
			go func() {
				r, err := e.RunTask(ctx, task)
				if err != nil {
					t.Error(err)
				}
				done <- r
			}()
			var records map[string]map[string]string
			for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
				if records = w.records(); records["ready"] != nil {
					break
				}
				if time.Now().After(deadline) {
					t.Fatalf("no record in a minute, but %q", w.output())
				}
			}

			for key, want := range map[string]string{
				"tag": "app-firelens-" + id, "source": "stdout", "container_id": w.containers()["app"], "container_name": "/" + w.nameOf("app"),
				"ecs_cluster": "default", "ecs_task_arn": task.ARN, "ecs_task_definition": "shop:7",
			} {
				if got := records["hello"][key]; got != want {
					t.Errorf("record's %s = %q, want %q", key, got, want)
				}
			}
			if records["[sealed]"] == nil {
				t.Errorf("the password was not masked: %v", records)
			}
			if got := records[tt.host]; (got == nil) != (tt.host == "*") {
				t.Errorf("FLUENT_HOST is not %q in %v", tt.host, records)
			}
			uid := "0"
			if tt.user != "" {
				uid, _, _ = strings.Cut(tt.user, ":")
			}
			for _, want := range []string{
				"log_router: read " + routers[tt.kind].config, "log_router: read /extra.conf", "log_router: routing as " + uid, "app: hello", "app: [sealed]",
				fmt.Sprintf("log_router: option http-token %x", sha256.Sum256([]byte(canary+"-token"))),
			} {
				if !slices.Contains(w.output(), want) {
					t.Errorf("no line %q in %q", want, w.output())
				}
			}
			w.noCanary()

			cancel()
			r := <-done
			if exitCode(report(t, r, "app")) != 0 || exitCode(report(t, r, "log_router")) != 0 {
				t.Errorf("report = %+v", r)
			}
			// The router went last, with the last word of the application.
			if out := w.output(); w.records()["terminated"] == nil || out[len(out)-1] != "log_router: terminated" {
				t.Errorf("output = %q", out)
			}
			if err := e.Close(); err != nil {
				t.Error(err)
			}
			w.noCanary()
		})
	}
}

// An application that is over before its router listens loses nothing.
func TestFireLensWithASlowRouter(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	image := w.image(enginetest.Image{Router: true})
	w.stores.secrets[secretARN("token")] = canary
	r := w.run(newTask(routed(container("app", image, "burst", "300", "20000", "then", "print", "last"), "fluentbit"), logRouter(image, "fluentbit", "2s")))
	if exitCode(report(t, r, "app")) != 0 || exitCode(report(t, r, "log_router")) != 0 || !strings.Contains(r.Reason, "Essential container in task exited") {
		t.Errorf("report = %+v", r)
	}
	records := w.records()
	if len(records) != 301 || records["last"] == nil {
		t.Errorf("%d records, want 301", len(records))
	}
	for line := range records {
		if line != "last" && len(line) != 20000 {
			t.Errorf("a record of %d bytes", len(line))
		}
	}
}

// An application goes on when its router does not.
func TestFireLensWithoutItsRouter(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	image := w.image(enginetest.Image{Router: true})
	w.stores.secrets[secretARN("token")] = canary
	router := logRouter(image, "fluentbit")
	router.EntryPoint, router.Command, router.Essential = []string{"/app"}, []string{"exit", "1"}, aws.Bool(false)
	r := w.run(newTask(routed(container("app", image, "sleep", "1s", "then", "burst", "1000", "1000"), "fluentbit"), router))
	if exitCode(report(t, r, "app")) != 0 || exitCode(report(t, r, "log_router")) != 1 {
		t.Errorf("report = %+v", r)
	}
	if !strings.Contains(w.log.String(), "there is no far end any more: lines are dropped") {
		t.Error("the log does not say that lines were lost")
	}
}

// The next engine takes up a task with its router.
func TestFireLensAfterARestart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	image := w.image(enginetest.Image{Router: true})
	w.stores.secrets[secretARN("token")] = canary
	task := newTask(routed(container("app", image, "print", "one", "then", "wait", "/go", "then", "print", "two", "then", "trap", "0"), "fluentbit"), logRouter(image, "fluentbit"))
	first := w.start()
	go first.RunTask(t.Context(), task) // ends with the engine
	w.waitFor("app: one")
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second := w.start()
	go second.RunTask(t.Context(), task) // with fresh credentials
	made, err := w.docker.ExecCreate(t.Context(), w.containers()["app"], client.ExecCreateOptions{Cmd: []string{"/app", "write", "/go", ""}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.docker.ExecStart(t.Context(), made.ID, client.ExecStartOptions{}); err != nil {
		t.Fatal(err)
	}
	// What the router prints is no output of the second engine's.
	for _, line := range []string{"one", "two", "ready"} {
		got := w.logged("log_router", `"log":"`+line+`"`)
		for deadline := time.Now().Add(time.Minute); !got(); time.Sleep(20 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("the router did not get %q in a minute", line)
			}
		}
	}
	if err := second.Shutdown("over"); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(w.log.String(), "could not be shipped") || strings.Contains(w.log.String(), "lines are lost") || strings.Contains(w.log.String(), "did not take the last lines") {
		t.Error("the router did not get all")
	}
}

func TestFireLensRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.run(newTask(routed(container("app", "none"), "fluentbit")))
	if want := "a firelens configuration object must be configured in one of the containers"; !strings.Contains(r.Reason, want) || r.StopCode != types.TaskStopCodeTaskFailedToStart {
		t.Errorf("without a router: %+v, want %q", r, want)
	}
	// A secret that cannot be had stops the task as any other would.
	// Its images are there: a pull that fails too may be told of first.
	image := w.image(enginetest.Image{Router: true})
	r = w.run(newTask(routed(container("app", image), "fluentbit"), logRouter(image, "fluentbit")))
	if !strings.Contains(r.Reason, "ResourceInitializationError: unable to pull secrets or registry auth") || !strings.Contains(r.Reason, secretARN("token")) {
		t.Errorf("without its secret: %+v", r)
	}
}

func (w *world) nameOf(name string) string {
	w.t.Helper()
	res, err := w.docker.ContainerInspect(w.t.Context(), w.containers()[name], client.ContainerInspectOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	return strings.TrimPrefix(res.Container.Name, "/")
}

// noCanary looks for values in what Docker shows and keeps, and in the engine's directory.
func (w *world) noCanary() {
	w.t.Helper()
	info, err := w.docker.Info(w.t.Context(), client.InfoOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	for name, id := range w.containers() {
		res, err := w.docker.ContainerInspect(w.t.Context(), id, client.ContainerInspectOptions{})
		if err != nil {
			w.t.Error(err)
		} else if strings.Contains(string(res.Raw), canary) {
			w.t.Errorf("docker inspect shows a value of %s", name)
		}
		w.sweep(filepath.Join(info.Info.DockerRootDir, "containers", id))
	}
	w.sweep(w.config.Dir)
	if strings.Contains(strings.Join(w.output(), "\n"), canary) {
		w.t.Error("the output shows a value")
	}
}

func (w *world) sweep(dir string) {
	w.t.Helper()
	w.sweepFor(dir, canary)
}

func (w *world) sweepFor(dir, value string) {
	w.t.Helper()
	filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			if content, err := os.ReadFile(path); err == nil && strings.Contains(string(content), value) {
				w.t.Errorf("%s holds a value", path)
			}
		}
		return nil
	})
}

// A definition with a router is registered, placed on an engine that knows routers, and its
// secret is the execution role's to read.
func TestFireLensOnACluster(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	image := c.image(enginetest.Image{Router: true})
	token, value := c.secret("token")
	role := c.role("execution", fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"secretsmanager:GetSecretValue","Resource":%q}]}`, token))
	app := routed(container("app", image, "print", "hello", "then", "trap", "0"), "fluentbit")
	app.LogConfiguration.SecretOptions[0].ValueFrom = &token
	if _, err := c.ecs.RegisterTaskDefinition(t.Context(), &ecs.RegisterTaskDefinitionInput{
		Family: aws.String("routed"), ExecutionRoleArn: &role, ContainerDefinitions: []types.ContainerDefinition{logRouter(image, "fluentbit"), app},
	}); err != nil {
		t.Fatal(err)
	}
	out, err := c.ecs.RunTask(t.Context(), &ecs.RunTaskInput{TaskDefinition: aws.String("routed")})
	if err != nil || len(out.Tasks) != 1 {
		t.Fatalf("RunTask = %+v, %v", out, err)
	}
	c.waitFor("app: ready")
	c.waitFor(fmt.Sprintf("log_router: option http-token %x", sha256.Sum256([]byte(value))))
	if _, err := c.ecs.StopTask(t.Context(), &ecs.StopTaskInput{Task: out.Tasks[0].TaskArn}); err != nil {
		t.Fatal(err)
	}
	if err := ecs.NewTasksStoppedWaiter(c.ecs, func(o *ecs.TasksStoppedWaiterOptions) {
		o.MinDelay, o.MaxDelay = 50*time.Millisecond, 100*time.Millisecond
	}).
		Wait(t.Context(), &ecs.DescribeTasksInput{Tasks: []string{*out.Tasks[0].TaskArn}}, time.Minute); err != nil {
		t.Fatal(err)
	}
	if r := c.records()["terminated"]; r == nil || r["ecs_task_definition"] != "routed:1" {
		t.Errorf("the last record = %v in %q", r, c.output())
	}
}
