package engine_test

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/moby/moby/client"
	"golang.org/x/sys/unix"

	"github.com/malote/malote/acs"
	"github.com/malote/malote/engine"
	"github.com/malote/malote/engine/docker"
	"github.com/malote/malote/engine/enginetest"
	canaries "github.com/malote/malote/malotetest/canary"
)

// canaryOnDisk is in no other test's containers.
const canaryOnDisk = "c4n4ry-0n-d1sk-vAlue-3Wz"

// onDisk makes a task's volume "files" one on disk. A definition could not ask for so little.
func onDisk(task acs.Task) acs.Task {
	task.Definition.Volumes = []types.Volume{{Name: aws.String("files"), Host: &types.HostVolumeProperties{}}}
	task.Definition.EphemeralStorage = &types.EphemeralStorage{SizeInGiB: 1}
	return task
}

func mounting(c types.ContainerDefinition) types.ContainerDefinition {
	c.MountPoints = []types.MountPoint{{SourceVolume: aws.String("files"), ContainerPath: aws.String("/vol")}}
	return c
}

// sweepDisks looks for a value where the engine has its disks, and in Docker's directory.
func (w *world) sweepDisks(value, disks string) {
	w.t.Helper()
	unix.Sync()
	info, err := w.docker.Info(context.Background(), client.InfoOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	var set canaries.Set
	set.Add(value)
	for _, dir := range []string{disks, info.Info.DockerRootDir} {
		hits, err := set.Dir(dir)
		if err != nil {
			w.t.Errorf("looking through %s: %v", dir, err)
		}
		for _, h := range hits {
			w.t.Errorf("on disk: %s", h)
		}
	}
}

// What a sidecar writes on disk is read by the app, and by nobody without the key.
func TestAVolumeOnDiskIsUnreadableOutside(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.config.StateDir = t.TempDir()
	image := w.image(enginetest.Image{Files: []enginetest.File{{Path: "/vol", Mode: fs.ModeDir | 0o750}, {Path: "/vol/seed", Content: []byte("from the image")}}})
	w.stores.secrets[secretARN("a")] = canaryOnDisk
	sidecar := mounting(container("sidecar", image, "writeenv", "/vol/secret", "A"))
	sidecar.Essential = aws.Bool(false)
	sidecar.Secrets = []types.Secret{{Name: aws.String("A"), ValueFrom: aws.String(secretARN("a"))}}
	app := mounting(container("app", image, "sum", "/vol/secret", "then", "sum", "/vol/seed", "then", "trap", "0"))
	app.DependsOn = []types.ContainerDependency{{ContainerName: aws.String("sidecar"), Condition: types.ContainerConditionSuccess}, {ContainerName: aws.String("reader"), Condition: types.ContainerConditionComplete}}
	reader := container("reader", image, "sum", "/vol/secret", "then", "write", "/vol/more", "x")
	reader.Essential = aws.Bool(false)
	reader.VolumesFrom = []types.VolumeFrom{{SourceContainer: aws.String("sidecar"), ReadOnly: aws.Bool(true)}}
	reader.DependsOn = app.DependsOn[:1]
	e := w.start()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan engine.Report, 1)
	task := onDisk(newTask(app, sidecar, reader))
	go func() { r, _ := e.RunTask(ctx, task); done <- r }()
	w.waitFor("app: ready")
	hash := strings.TrimSuffix(digestLine("/vol/secret", canaryOnDisk), " "+strconv.Itoa(len(canaryOnDisk)))
	for _, name := range []string{"app", "reader"} {
		if !slices.ContainsFunc(w.output(), func(line string) bool { return strings.HasPrefix(line, name+": "+hash) }) {
			t.Errorf("output %q, want the hash of what the sidecar wrote from %s", w.output(), name)
		}
	}
	id := task.ARN[strings.LastIndex(task.ARN, "/")+1:]
	disk, err := os.Stat(filepath.Join(w.config.StateDir, "disks", id, ".ephemeral"))
	if err != nil || disk.Size() != 1<<30 || disk.Mode().Perm() != 0o600 {
		t.Errorf("the disk's file: %+v, %v", disk, err)
	}
	w.sweepDisks(canaryOnDisk, w.config.StateDir)
	cancel()
	if r := <-done; exitCode(report(t, r, "app")) != 0 || exitCode(report(t, r, "reader")) != 1 {
		t.Errorf("%+v, want that the reader may not write", r)
	}
	w.sweepDisks(canaryOnDisk, w.config.StateDir)
}

func TestAVolumeOnDiskHasItsSize(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	task := onDisk(newTask(mounting(container("app", w.image(enginetest.Image{}), "fill", "/vol/big"))))
	if r := w.run(task); exitCode(report(t, r, "app")) != 0 {
		t.Fatalf("%+v; output %q", r, w.output())
	}
	full := regexp.MustCompile(`^app: (\d+) MiB: .*no space left on device`).FindStringSubmatch(strings.Join(w.output(), "\n"))
	if full == nil {
		t.Fatalf("output %q, want no space left", w.output())
	}
	if n, _ := strconv.Atoi(full[1]); n < 900 || n > 1024 {
		t.Errorf("%d MiB were free on a disk of 1 GiB", n)
	}
}

func TestAKilledEngineFindsADiskAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	image := w.image(enginetest.Image{})
	app := mounting(container("app", image, "write", "/vol/x", "kept", "then", "trap", "0"))
	task := onDisk(newTask(app))
	w.killed(task, w.logged("app", "ready"))
	before := w.containers()
	e := w.start()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan engine.Report, 1)
	go func() { r, _ := e.RunTask(ctx, task); done <- r }()
	if err := e.Sweep(ctx, []string{task.ARN}); err != nil {
		t.Fatal(err)
	}
	id := task.ARN[strings.LastIndex(task.ARN, "/")+1:]
	if b, err := os.ReadFile(filepath.Join(w.config.Dir, "volumes", id, "files/data/x")); string(b) != "kept" {
		t.Errorf("the file = %q, %v", b, err)
	}
	if now := w.containers(); now["app"] != before["app"] {
		t.Errorf("containers %v became %v", before, now)
	}
	cancel()
	if r := <-done; exitCode(report(t, r, "app")) != 0 {
		t.Errorf("%+v", r)
	}
}

func TestADiskOfNoTaskIsSwept(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.killed(onDisk(newTask(mounting(container("app", w.image(enginetest.Image{}), "trap", "0")))), w.logged("app", "ready"))
	if err := os.RemoveAll(filepath.Join(w.config.Dir, "tasks")); err != nil {
		t.Fatal(err)
	}
	// And one of before a boot, of which the file alone is left.
	if err := os.MkdirAll(filepath.Join(w.config.Dir, "disks", "0123"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(w.config.Dir, "disks", "0123", ".ephemeral"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := w.start().Sweep(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	w.nothingLeft()
}

// Whatever the moment, the next engine gets the task to its end and nothing is left.
func TestKilledWhileADiskIsMade(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	image := w.image(enginetest.Image{})
	for _, delay := range []time.Duration{30, 60, 90, 120, 160, 200, 300, 500} {
		task := onDisk(newTask(mounting(container("app", image, "write", "/vol/x", "y", "then", "sum", "/vol/x", "then", "exit", "0"))))
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

func TestWithoutMkfsATaskFails(t *testing.T) {
	w := newWorld(t)
	task := onDisk(newTask(mounting(container("app", w.image(enginetest.Image{}), "exit", "0"))))
	t.Setenv("PATH", t.TempDir())
	r := w.run(task)
	if want := "VolumeError: Agent could not create task's volume resources: volume files: an encrypted volume on disk needs mkfs.ext4, of the package e2fsprogs"; !strings.HasPrefix(r.Reason, want) {
		t.Errorf("reason %q, want %q", r.Reason, want)
	}
}

// A Docker that does not see what the engine has mounted refuses, and makes nothing.
func TestDockerMakesNoDirectoryForAVolume(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	missing := filepath.Join(t.TempDir(), "data")
	id, err := w.config.Docker.Create(t.Context(), docker.Spec{
		Name: w.config.Name, Image: w.image(enginetest.Image{}), Labels: map[string]string{"malote.engine": w.config.Name},
		Mounts: []docker.Mount{{Source: missing, Target: "/vol"}},
	})
	if err == nil {
		w.config.Docker.Remove(t.Context(), id)
		t.Error("a container was made")
	}
	if _, err := os.Stat(missing); !os.IsNotExist(err) {
		t.Errorf("the directory: %v, want none", err)
	}
}
