package enginetest_test

import (
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"

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
