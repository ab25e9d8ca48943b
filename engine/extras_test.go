package engine_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/moby/moby/client"

	"github.com/malote/malote/acs"
	"github.com/malote/malote/engine"
	"github.com/malote/malote/engine/docker"
	"github.com/malote/malote/engine/enginetest"
)

// withMetadata gives the engine a network of its own, beside the real 169.254.170.2.
func (w *world) withMetadata(third int) {
	w.t.Helper()
	name := enginetest.Name(w.t)
	w.config.NoMetadata = false
	w.config.MetadataNetwork = docker.Network{
		Name: name, Bridge: "mtest" + name[len(name)-8:], Internal: true,
		Subnet: netip.MustParsePrefix(fmt.Sprintf("10.213.%d.0/24", third)), Gateway: netip.MustParseAddr(fmt.Sprintf("10.213.%d.2", third)),
		Labels: map[string]string{"malote.network": "test"},
	}
	w.t.Cleanup(func() {
		if w.hasNetwork() {
			w.t.Error("the metadata network is left")
			w.config.Docker.RemoveNetwork(context.Background(), name)
		}
		if _, err := os.Stat("/run/malote-network-" + name + ".lock"); err == nil {
			w.t.Error("the metadata network's lock is left")
		}
	})
}

func (w *world) hasNetwork() bool {
	_, err := w.docker.NetworkInspect(context.Background(), w.config.MetadataNetwork.Name, client.NetworkInspectOptions{})
	return err == nil
}

func TestTheLastEngineTakesTheNetworkAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.withMetadata(44)
	image := w.image(enginetest.Image{})
	w.config.StateDir = t.TempDir() // what outlives a host's start stays there
	one := w.start()
	other := w.config
	other.Name, other.Dir, other.StateDir = enginetest.Name(t), t.TempDir(), t.TempDir()
	two, err := engine.New(other)
	if err != nil {
		t.Fatal(err)
	}
	if err := two.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := one.Close(); err != nil {
		t.Fatal(err)
	}
	if !w.hasNetwork() {
		t.Error("the network was taken away under another engine")
	}
	// Somebody prunes networks; the next container has one again.
	if err := w.config.Docker.RemoveNetwork(t.Context(), w.config.MetadataNetwork.Name); err != nil {
		t.Fatal(err)
	}
	app := container("app", w.image(enginetest.Image{Shell: true}))
	app.EntryPoint = []string{"/bin/sh"}
	app.Command = []string{"-c", "fetch $ECS_CONTAINER_METADATA_URI_V4 200 then exit 0"}
	if r, err := two.RunTask(t.Context(), newTask(app)); err != nil || exitCode(report(t, r, "app")) != 0 {
		t.Errorf("RunTask after the network was pruned = %+v, %v", r, err)
	}
	// A task that goes on keeps it.
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	task := newTask(container("app", image, "trap", "0"))
	go two.RunTask(ctx, task)
	w.waitFor("app: ready")
	if err := two.Close(); err != nil {
		t.Fatal(err)
	}
	if !w.hasNetwork() {
		t.Error("the network was taken away from a task")
	}
	three, err := engine.New(other)
	if err != nil {
		t.Fatal(err)
	}
	if err := three.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := three.Shutdown("over"); err != nil {
		t.Fatal(err)
	}
	if w.hasNetwork() {
		t.Error("the network is left")
	}
	for _, dir := range []string{w.config.Dir, other.Dir} {
		if _, err := os.Stat(dir); err == nil {
			left, _ := os.ReadDir(dir)
			for _, e := range left {
				t.Errorf("%s is left", e.Name())
			}
		}
	}
}

func TestMetadataAndCredentialsReachContainers(t *testing.T) {
	t.Parallel()
	for i, mode := range []types.NetworkMode{types.NetworkModeBridge, types.NetworkModeAwsvpc, types.NetworkModeHost} {
		t.Run(string(mode), func(t *testing.T) {
			w := newWorld(t)
			w.withMetadata(40 + i)
			image := w.image(enginetest.Image{Shell: true})
			app := container("app", image)
			app.EntryPoint = []string{"/bin/sh"}
			app.Command = []string{"-c", "env ECS_CONTAINER_METADATA_URI_V4 AWS_CONTAINER_CREDENTIALS_RELATIVE_URI AWS_REGION then get $ECS_CONTAINER_METADATA_URI_V4 then exit 0"}
			task := newTask(app)
			task.Definition.NetworkMode = mode
			task.Definition.TaskRoleArn = aws.String("arn:aws:iam::" + account + ":role/app")
			task.TaskRole = &acs.Credentials{
				TaskARN: task.ARN, RoleType: acs.TaskApplication, RoleARN: *task.Definition.TaskRoleArn,
				AccessKeyID: "ASIATASK", SecretAccessKey: canary, SessionToken: "t", Expiration: time.Now().Add(time.Hour),
			}
			r := w.run(task)
			out := strings.Join(w.output(), "\n")
			if exitCode(report(t, r, "app")) != 0 || !strings.Contains(out, "app: 200") && !strings.Contains(out, "200 ") || !strings.Contains(out, `"Name":"app"`) {
				t.Errorf("%+v; output %s", r, out)
			}
			if strings.Contains(out, "RELATIVE_URI absent") || strings.Contains(out, "AWS_REGION absent") {
				t.Errorf("output %s", out)
			}
		})
	}
}

func TestALogTokenIsForwardedWithoutDocker(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	image := w.image(enginetest.Image{})
	var mu sync.Mutex
	var events, tokens []string
	splunk := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		events = append(events, string(b))
		if token := r.Header.Get("Authorization"); token != "" {
			tokens = append(tokens, token)
		}
		json.NewEncoder(rw).Encode(map[string]any{"text": "Success", "code": 0})
	}))
	defer splunk.Close()
	w.stores.secrets[secretARN("token")] = canary + "-token"
	w.stores.secrets[secretARN("password")] = canary + "-password"
	app := container("app", image, "print", "hello", "then", "printenv", "PASSWORD", "then", "sleep", "1s", "then", "trap", "0")
	app.Secrets = []types.Secret{{Name: aws.String("PASSWORD"), ValueFrom: aws.String(secretARN("password"))}}
	app.LogConfiguration = &types.LogConfiguration{
		LogDriver: types.LogDriverSplunk, Options: map[string]string{"splunk-url": splunk.URL},
		SecretOptions: []types.Secret{{Name: aws.String("splunk-token"), ValueFrom: aws.String(secretARN("token"))}},
	}
	e := w.start()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		if r, err := e.RunTask(ctx, newTask(app)); err != nil || exitCode(report(t, r, "app")) != 0 {
			t.Errorf("RunTask = %+v, %v", r, err)
		}
	}()
	w.waitFor("app: ready")
	res, err := w.docker.ContainerInspect(t.Context(), w.containers()["app"], client.ContainerInspectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if raw, _ := json.Marshal(res.Container); strings.Contains(string(raw), canary) {
		t.Error("docker inspect shows the token")
	}
	cancel()
	<-done
	if err := e.Close(); err != nil { // ships what waits
		t.Error(err)
	}
	mu.Lock()
	defer mu.Unlock()
	all := strings.Join(events, "\n")
	if !strings.Contains(all, "hello") || !strings.Contains(all, "[sealed]") || strings.Contains(all, canary) {
		t.Errorf("splunk got %q, want the lines with values masked", all)
	}
	if !slices.Contains(tokens, "Splunk "+canary+"-token") {
		t.Errorf("splunk was shown %d tokens, none of them the secret", len(tokens))
	}
}

func TestAPrivateRegistry(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	registry := enginetest.NewRegistry(t, "shop", canary+"-registry")
	ref := registry.Push(t, w.docker, "shop/app:1", enginetest.Image{Entrypoint: []string{"/app"}})
	w.stores.secrets[secretARN("login")] = `{"username":"shop","password":"` + canary + `-registry"}`
	w.stores.secrets[secretARN("wrong")] = `{"username":"shop","password":"` + canary + `-wrong"}`
	w.stores.secrets[secretARN("malformed")] = `{"user":"` + canary + `"}`
	run := func(parameter string) engine.Report {
		app := container("app", ref, "exit", "0")
		if parameter != "" {
			app.RepositoryCredentials = &types.RepositoryCredentials{CredentialsParameter: aws.String(parameter)}
		}
		return w.run(newTask(app))
	}
	for parameter, want := range map[string]string{
		"":                     "CannotPullContainerError: The registry wants credentials",
		secretARN("wrong"):     "CannotPullContainerError: The registry refused the credentials of " + secretARN("wrong"),
		secretARN("malformed"): "AuthorizationData is malformed, empty field",
		secretARN("absent"):    "ResourceNotFoundException",
	} {
		if r := run(parameter); !strings.Contains(r.Reason, want) || r.StopCode != types.TaskStopCodeTaskFailedToStart {
			t.Errorf("with %q: %s, %q, want %q", parameter, r.StopCode, r.Reason, want)
		}
	}
	r := run(secretARN("login"))
	if exitCode(report(t, r, "app")) != 0 || !strings.HasPrefix(report(t, r, "app").Digest, "sha256:") {
		t.Errorf("with the right credentials: %+v", r)
	}
	registry.Forget(t, w.docker, ref)
}
