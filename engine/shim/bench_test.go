package shim_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/client"

	"github.com/malote/malote/engine/enginetest"
	"github.com/malote/malote/engine/shim"
)

// BenchmarkContainer is create, start, wait and remove of a container with ten
// values: as Docker's Env, and by way of the shim. They take turns, so that what
// else the machine does weighs on both; the figures are medians.
func BenchmarkContainer(b *testing.B) {
	docker := enginetest.Docker(b)
	content, err := compileInit()
	if err != nil {
		b.Fatal(err)
	}
	program := filepath.Join(b.TempDir(), "malote-init")
	if err := os.WriteFile(program, content, 0o755); err != nil {
		b.Fatal(err)
	}
	server, err := shim.New(shim.Config{Dir: filepath.Join(b.TempDir(), "sockets"), InitPath: program})
	if err != nil {
		b.Fatal(err)
	}
	defer server.Close()
	image := enginetest.Build(b, docker, enginetest.Image{})
	var env []string
	for i := range 10 {
		env = append(env, fmt.Sprintf("SECRET_%d=%s", i, strings.Repeat("x", 40)))
	}
	command := []string{"/app", "exit", "0"}
	run := func(config container.Config, host container.HostConfig, bind func(id string)) {
		config.Image, host.NetworkMode = image, "host"
		made, err := docker.ContainerCreate(b.Context(), client.ContainerCreateOptions{Config: &config, HostConfig: &host})
		if err != nil {
			b.Fatal(err)
		}
		bind(made.ID)
		wait := docker.ContainerWait(b.Context(), made.ID, client.ContainerWaitOptions{Condition: container.WaitConditionNextExit})
		if _, err := docker.ContainerStart(b.Context(), made.ID, client.ContainerStartOptions{}); err != nil {
			b.Fatal(err)
		}
		select {
		case end := <-wait.Result:
			if end.StatusCode != 0 {
				b.Fatalf("status %d", end.StatusCode)
			}
		case err := <-wait.Error:
			b.Fatal(err)
		}
		if _, err := docker.ContainerRemove(b.Context(), made.ID, client.ContainerRemoveOptions{Force: true}); err != nil {
			b.Fatal(err)
		}
	}
	var plain, shimmed []time.Duration
	for b.Loop() {
		start := time.Now()
		run(container.Config{Entrypoint: command, Env: env}, container.HostConfig{}, func(string) {})
		plain = append(plain, time.Since(start))

		start = time.Now()
		endpoint, err := server.Open(enginetest.Name(b), shim.Payload{Env: env})
		if err != nil {
			b.Fatal(err)
		}
		host := container.HostConfig{Mounts: []mount.Mount{{Type: mount.TypeBind, Source: endpoint.Dir(), Target: shim.MountPoint, ReadOnly: true}}}
		run(container.Config{Entrypoint: shim.Entrypoint(command, nil)}, host, func(id string) {
			if err := endpoint.Bind(id); err != nil {
				b.Fatal(err)
			}
		})
		if err := endpoint.Close(); err != nil {
			b.Fatal(err)
		}
		shimmed = append(shimmed, time.Since(start))
	}
	slices.Sort(plain)
	slices.Sort(shimmed)
	one, other := plain[len(plain)/2], shimmed[len(shimmed)/2]
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(one.Seconds()*1000, "plain-ms")
	b.ReportMetric(other.Seconds()*1000, "shim-ms")
	b.ReportMetric(float64(other)/float64(one), "ratio")
}
