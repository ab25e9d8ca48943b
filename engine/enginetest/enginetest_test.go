package enginetest_test

import (
	"strings"
	"testing"

	"github.com/moby/moby/api/pkg/authconfig"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/client"

	"github.com/malote/malote/engine/enginetest"
)

func TestImage(t *testing.T) {
	docker := enginetest.Docker(t)
	ref := enginetest.Build(t, docker, enginetest.Image{
		Entrypoint: []string{"/app"},
		Cmd:        []string{"print", "hello"},
		WorkingDir: "/work",
		User:       "app",
		Env:        []string{"A=b"},
		Shell:      true,
		Files:      []enginetest.File{{Path: "/data/x", Content: []byte("content")}},
	})
	for _, tt := range []struct {
		name   string
		config container.Config
		code   int
		out    string
	}{
		{"defaults", container.Config{}, 0, "hello\n"},
		{"id", container.Config{Cmd: []string{"id"}}, 0, "pid=1 uid=1000 gid=1000 cwd=/work"},
		{"several", container.Config{Cmd: []string{"cat", "/data/x", "then", "exit", "3"}}, 3, "content"},
		{"shell", container.Config{Entrypoint: []string{"/bin/sh", "-c"}, Cmd: []string{"print $A"}}, 0, "b\n"},
		{"failure", container.Config{Cmd: []string{"cat", "/absent"}}, 1, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.config.Image = ref
			id := enginetest.Create(t, docker, &tt.config, nil)
			enginetest.Start(t, docker, id)
			got := enginetest.Wait(t, docker, id)
			if got.ExitCode != tt.code || !strings.HasPrefix(got.Stdout, tt.out) {
				t.Errorf("exit code %d, stdout %q, stderr %q; want %d, %q", got.ExitCode, got.Stdout, got.Stderr, tt.code, tt.out)
			}
		})
	}
}

func TestRegistry(t *testing.T) {
	docker := enginetest.Docker(t)
	r := enginetest.NewRegistry(t, "me", "pass word")
	ref := r.Push(t, docker, "private/app:1", enginetest.Image{Entrypoint: []string{"/app", "print", "private"}})
	pull := func(password string) error {
		auth, err := authconfig.Encode(registry.AuthConfig{Username: "me", Password: password})
		if err != nil {
			t.Fatal(err)
		}
		pulled, err := docker.ImagePull(t.Context(), ref, client.ImagePullOptions{RegistryAuth: auth})
		if err != nil {
			return err
		}
		return pulled.Wait(t.Context())
	}
	if err := pull("wrong"); err == nil {
		t.Fatal("the registry takes any password")
	}
	if err := pull("pass word"); err != nil {
		t.Fatal(err)
	}
	id := enginetest.Create(t, docker, &container.Config{Image: ref}, nil)
	enginetest.Start(t, docker, id)
	if got := enginetest.Wait(t, docker, id); got.Stdout != "private\n" {
		t.Errorf("stdout %q", got.Stdout)
	}
}
