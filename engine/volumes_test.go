package engine_test

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/moby/moby/client"

	"github.com/malote/malote/engine"
	"github.com/malote/malote/engine/enginetest"
)

func TestVolumesStartAsTheImageHasThem(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	image := w.image(enginetest.Image{Files: []enginetest.File{
		{Path: "/data", Mode: fs.ModeDir | 0o750, UID: 7, GID: 8}, {Path: "/data/seed", Content: []byte("from the image"), Mode: 0o640},
	}})
	mount := func(c types.ContainerDefinition, volume, path string) types.ContainerDefinition {
		c.MountPoints = append(c.MountPoints, types.MountPoint{SourceVolume: aws.String(volume), ContainerPath: aws.String(path)})
		return c
	}
	app := mount(mount(container("app", image, "sum", "/data/seed", "then", "sum", "/empty", "then", "write", "/empty/x", "y"), "data", "/data"), "empty", "/empty")
	app.Command = []string{"sum", "/data/seed", "then", "write", "/empty/x", "y", "then", "sleep", "1s"}
	task := newTask(app)
	task.Definition.Volumes = []types.Volume{
		{Name: aws.String("data")},
		{Name: aws.String("empty"), DockerVolumeConfiguration: &types.DockerVolumeConfiguration{Scope: types.ScopeTask, DriverOpts: map[string]string{"type": "tmpfs", "device": "tmpfs", "o": "size=1m"}}},
	}
	e := w.start()
	type seen struct {
		data, empty os.FileInfo
		disk        []string
	}
	found := make(chan seen, 1)
	go func() {
		var s seen
		id := task.ARN[strings.LastIndex(task.ARN, "/")+1:]
		for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
			if _, err := os.Stat(filepath.Join(w.config.Dir, "volumes", id, "empty/data/x")); err == nil {
				s.data, _ = os.Stat(filepath.Join(w.config.Dir, "volumes", id, "data/data"))
				s.empty, _ = os.Stat(filepath.Join(w.config.Dir, "volumes", id, "empty/data"))
				break
			}
		}
		found <- s
	}()
	r, err := e.RunTask(t.Context(), task)
	if err != nil || exitCode(report(t, r, "app")) != 0 {
		t.Fatalf("RunTask = %+v, %v; output %q", r, err, w.output())
	}
	s := <-found
	if s.data == nil || s.data.Mode().Perm() != 0o750 {
		t.Errorf("data = %v, want the image's mode 0750", s.data)
	}
	if s.empty == nil || s.empty.Mode().Perm() != 0o755 {
		t.Errorf("empty = %v, want mode 0755", s.empty)
	}
	if len(w.output()) == 0 || !strings.HasPrefix(w.output()[0], "app: /data/seed ") {
		t.Errorf("output %q, want the image's file", w.output())
	}
}

// Docker fills a volume from the first container whose image has something for it; one with
// nothing, or with a file of its own there, changes nothing.
func TestTheFirstImageWithContentFillsAVolume(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	nothing := w.image(enginetest.Image{})
	first := w.image(enginetest.Image{Files: []enginetest.File{
		{Path: "/data", Mode: fs.ModeDir | 0o755}, {Path: "/data/deep", Mode: fs.ModeDir | 0o700, UID: 1000, GID: 1000},
		{Path: "/data/deep/seed", Content: []byte("first"), Mode: 0o600, UID: 1000, GID: 1000},
	}, Volumes: []string{"/data"}})
	second := w.image(enginetest.Image{Files: []enginetest.File{{Path: "/data/other", Content: []byte("second")}}})
	var containers []types.ContainerDefinition
	for i, c := range []struct {
		image   string
		command []string
	}{
		{nothing, []string{"exit", "0"}},
		{first, []string{"exit", "0"}},
		{second, []string{"cat", "/data/deep/seed", "then", "print", "", "then", "cat", "/data/other"}},
	} {
		def := container(string(rune('a'+i)), c.image, c.command...)
		def.Essential = aws.Bool(i == 2)
		def.MountPoints = []types.MountPoint{{SourceVolume: aws.String("data"), ContainerPath: aws.String("/data"), ReadOnly: aws.Bool(i == 1)}}
		if i > 0 {
			def.DependsOn = []types.ContainerDependency{{ContainerName: containers[i-1].Name, Condition: types.ContainerConditionSuccess}}
		}
		if i == 1 {
			def.User = aws.String("1000")
		}
		containers = append(containers, def)
	}
	task := newTask(containers...)
	task.Definition.Volumes = []types.Volume{{Name: aws.String("data"), Host: &types.HostVolumeProperties{}}}
	r := w.run(task)
	if !slices.Contains(w.output(), "c: first") || exitCode(report(t, r, "c")) != 1 {
		t.Errorf("%+v; output %q, want the first image's file alone", r, w.output())
	}
}

// What a sidecar writes for the app is memory, and to be seen nowhere below the
// directory that an administrator backs up.
func TestAVolumeIsNotInDockersDirectory(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	image := w.image(enginetest.Image{})
	w.stores.secrets[secretARN("a")] = canary
	app := container("app", image, "writeenv", "/vol/"+canary, "A", "then", "trap", "0")
	app.Secrets = []types.Secret{{Name: aws.String("A"), ValueFrom: aws.String(secretARN("a"))}}
	app.MountPoints = []types.MountPoint{{SourceVolume: aws.String("files"), ContainerPath: aws.String("/vol")}}
	task := newTask(app)
	task.Definition.Volumes = []types.Volume{{Name: aws.String("files"), DockerVolumeConfiguration: &types.DockerVolumeConfiguration{Scope: types.ScopeTask, Driver: aws.String("local")}}}
	e := w.start()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan struct{})
	go func() { defer close(done); e.RunTask(ctx, task) }()
	w.waitFor("app: ready")
	info, err := w.docker.Info(t.Context(), client.InfoOptions{})
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	err = filepath.WalkDir(info.Info.DockerRootDir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil { // other tests' containers come and go
			return nil
		}
		seen++
		if strings.Contains(path, canary) {
			t.Errorf("below Docker's directory is %s", strings.ReplaceAll(path, canary, "[the secret]"))
		}
		return nil
	})
	if err != nil || seen < 10 {
		t.Errorf("looked at %d files, %v", seen, err)
	}
	volumes, err := w.docker.VolumeList(t.Context(), client.VolumeListOptions{Filters: client.Filters{}.Add("label", "malote.engine="+w.config.Name)})
	if err != nil || len(volumes.Items) != 0 {
		t.Errorf("Docker's volumes: %+v, %v", volumes.Items, err)
	}
	cancel()
	<-done
}

func TestATaskVolumeInMemoryHasNoLabels(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	task := newTask(container("app", w.image(enginetest.Image{}), "exit", "0"))
	task.Definition.Volumes = []types.Volume{{Name: aws.String("files"), DockerVolumeConfiguration: &types.DockerVolumeConfiguration{Labels: map[string]string{"a": "b"}}}}
	if r := w.run(task); !strings.Contains(r.Reason, "volume files: dockerVolumeConfiguration.labels") {
		t.Errorf("%+v", r)
	}
	// Docker's own volumes have them.
	dir, volume := t.TempDir(), ""
	app := container("app", w.image(enginetest.Image{}), "write", "/vol/x", "y", "then", "trap", "0")
	app.MountPoints = []types.MountPoint{{SourceVolume: aws.String("files"), ContainerPath: aws.String("/vol")}}
	task = newTask(app)
	task.Definition.Volumes = []types.Volume{{Name: aws.String("files"), DockerVolumeConfiguration: &types.DockerVolumeConfiguration{
		Labels: map[string]string{"a": "b"}, DriverOpts: map[string]string{"type": "none", "o": "bind", "device": dir},
	}}}
	e := w.start()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan struct{})
	go func() { defer close(done); e.RunTask(ctx, task) }()
	w.waitFor("app: ready")
	volumes, err := w.docker.VolumeList(t.Context(), client.VolumeListOptions{Filters: client.Filters{}.Add("label", "malote.engine="+w.config.Name)})
	if err == nil && len(volumes.Items) == 1 {
		volume = volumes.Items[0].Labels["a"]
	}
	if volume != "b" {
		t.Errorf("volumes %+v, %v, want one with the label", volumes.Items, err)
	}
	cancel()
	<-done
	if _, err := os.Stat(filepath.Join(dir, "x")); err != nil {
		t.Error(err)
	}
}

func TestHostAndSharedVolumesOutliveTheTask(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	image := w.image(enginetest.Image{})
	dir, shared := t.TempDir(), enginetest.Name(t)
	t.Cleanup(func() { w.docker.VolumeRemove(context.Background(), shared, client.VolumeRemoveOptions{Force: true}) })
	app := container("app", image, "write", "/host/x", "1", "then", "write", "/shared/x", "2")
	app.MountPoints = []types.MountPoint{{SourceVolume: aws.String("host"), ContainerPath: aws.String("/host")}, {SourceVolume: &shared, ContainerPath: aws.String("/shared")}}
	other := container("other", image, "cat", "/host/x", "then", "cat", "/shared/x", "then", "print", "", "then", "exit", "0")
	other.VolumesFrom = []types.VolumeFrom{{SourceContainer: aws.String("app"), ReadOnly: aws.Bool(true)}}
	other.DependsOn = []types.ContainerDependency{{ContainerName: aws.String("app"), Condition: types.ContainerConditionSuccess}}
	app.Essential = aws.Bool(false)
	task := newTask(app, other)
	task.Definition.Volumes = []types.Volume{
		{Name: aws.String("host"), Host: &types.HostVolumeProperties{SourcePath: &dir}},
		{Name: &shared, DockerVolumeConfiguration: &types.DockerVolumeConfiguration{Scope: types.ScopeShared, Autoprovision: aws.Bool(true)}},
	}
	r := w.run(task)
	if exitCode(report(t, r, "other")) != 0 || !slices.Contains(w.output(), "other: 12") {
		t.Errorf("%+v; output %q", r, w.output())
	}
	if b, err := os.ReadFile(filepath.Join(dir, "x")); err != nil || string(b) != "1" {
		t.Errorf("host file = %q, %v", b, err)
	}
	if _, err := w.docker.VolumeInspect(t.Context(), shared, client.VolumeInspectOptions{}); err != nil {
		t.Errorf("the shared volume: %v", err)
	}
}

func TestAwsvpcSharesOneNetwork(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	image := w.image(enginetest.Image{})
	web := container("web", image, "serve", ":18080")
	web.PortMappings = []types.PortMapping{{ContainerPort: aws.Int32(18080), HostPort: aws.Int32(18080)}}
	app := container("app", image, "fetch", "http://localhost:18080/", "200", "then", "print", "fetched", "then", "trap", "0")
	task := newTask(web, app)
	task.Definition.NetworkMode = types.NetworkModeAwsvpc
	task.Definition.PidMode, task.Definition.IpcMode = types.PidModeTask, types.IpcModeTask
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
	w.waitFor("app: fetched")
	res, err := http.Get("http://127.0.0.1:18080/")
	if err != nil {
		t.Errorf("from the host: %v", err)
	} else {
		b, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if !strings.HasPrefix(string(b), "ok") {
			t.Errorf("from the host: %q", b)
		}
	}
	cancel()
	r := <-done
	ports := report(t, r, "web").Ports
	if len(ports) != 1 || *ports[0].HostPort != 18080 || *ports[0].ContainerPort != 18080 {
		t.Errorf("ports = %+v", ports)
	}
}

func TestNetworkModes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	image := w.image(enginetest.Image{})
	t.Run("bridge with a dynamic port and a link", func(t *testing.T) {
		web := container("web", image, "serve", ":8080")
		web.PortMappings = []types.PortMapping{{ContainerPort: aws.Int32(8080)}}
		app := container("app", image, "fetch", "http://backend:8080/", "200", "then", "exit", "0")
		app.Links = []string{"web:backend"}
		r := w.run(newTask(web, app))
		if exitCode(report(t, r, "app")) != 0 {
			t.Errorf("%+v; output %q", r, w.output())
		}
		ports := report(t, r, "web").Ports
		if len(ports) != 1 || *ports[0].HostPort < 1024 || *ports[0].ContainerPort != 8080 || ports[0].Protocol != types.TransportProtocolTcp {
			t.Errorf("ports = %+v", ports)
		}
	})
	for _, mode := range []types.NetworkMode{types.NetworkModeHost, types.NetworkModeNone} {
		t.Run(string(mode), func(t *testing.T) {
			task := newTask(container("app", image, "exit", "0"))
			task.Definition.NetworkMode = mode
			if r := w.run(task); exitCode(report(t, r, "app")) != 0 {
				t.Errorf("%+v", r)
			}
		})
	}
}

func TestSettingsReachDocker(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	image := w.image(enginetest.Image{})
	app := container("app", image, "trap", "0")
	app.Cpu, app.Memory, app.MemoryReservation = 512, aws.Int32(64), aws.Int32(32)
	app.User, app.WorkingDirectory, app.Hostname = aws.String("1000:1000"), aws.String("/tmp"), aws.String("box")
	app.ReadonlyRootFilesystem = aws.Bool(true)
	app.Ulimits = []types.Ulimit{{Name: types.UlimitNameNofile, SoftLimit: 100, HardLimit: 200}}
	app.SystemControls = []types.SystemControl{{Namespace: aws.String("net.ipv4.ip_unprivileged_port_start"), Value: aws.String("80")}}
	app.ExtraHosts = []types.HostEntry{{Hostname: aws.String("db"), IpAddress: aws.String("10.0.0.9")}}
	app.DnsServers, app.DnsSearchDomains = []string{"10.0.0.2"}, []string{"example.com"}
	app.DockerLabels = map[string]string{"mine": "yes", "com.amazonaws.ecs.cluster": "overwritten"}
	app.DockerSecurityOptions = []string{"no-new-privileges"}
	app.LogConfiguration = &types.LogConfiguration{LogDriver: types.LogDriverJsonFile, Options: map[string]string{"max-size": "1m"}}
	app.LinuxParameters = &types.LinuxParameters{
		Capabilities: &types.KernelCapabilities{Add: []string{"SYS_PTRACE"}, Drop: []string{"MKNOD"}}, InitProcessEnabled: aws.Bool(true), SharedMemorySize: aws.Int32(8),
		Tmpfs:   []types.Tmpfs{{ContainerPath: aws.String("/scratch"), Size: 4, MountOptions: []string{"noexec"}}},
		Devices: []types.Device{{HostPath: aws.String("/dev/null"), ContainerPath: aws.String("/dev/nix"), Permissions: []types.DeviceCgroupPermission{types.DeviceCgroupPermissionRead}}},
	}
	task := newTask(app)
	task.Definition.Cpu, task.Definition.Memory = aws.String(".5 vCPU"), aws.String("1GB")
	e := w.start()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan struct{})
	go func() { defer close(done); e.RunTask(ctx, task) }()
	w.waitFor("app: ready")
	res, err := w.docker.ContainerInspect(t.Context(), w.containers()["app"], client.ContainerInspectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c, h := res.Container.Config, res.Container.HostConfig
	for what, pair := range map[string][2]any{
		"CPUShares": {h.CPUShares, int64(512)}, "NanoCPUs": {h.NanoCPUs, int64(5e8)}, "Memory": {h.Memory, int64(64 << 20)}, "MemoryReservation": {h.MemoryReservation, int64(32 << 20)},
		"User": {c.User, "1000:1000"}, "WorkingDir": {c.WorkingDir, "/tmp"}, "Hostname": {c.Hostname, "box"}, "ReadonlyRootfs": {h.ReadonlyRootfs, true},
		"Ulimits": {fmt.Sprint(*h.Ulimits[0]), "{nofile 200 100}"}, "Sysctls": {h.Sysctls["net.ipv4.ip_unprivileged_port_start"], "80"},
		"ExtraHosts": {fmt.Sprint(h.ExtraHosts), "[db:10.0.0.9]"}, "DNS": {fmt.Sprint(h.DNS, h.DNSSearch), "[10.0.0.2] [example.com]"},
		"label": {c.Labels["mine"], "yes"}, "label of ECS": {c.Labels["com.amazonaws.ecs.cluster"], "default"}, "SecurityOpt": {fmt.Sprint(h.SecurityOpt), "[no-new-privileges]"},
		"LogConfig": {fmt.Sprint(h.LogConfig), "{json-file map[max-size:1m]}"}, "CapAdd": {fmt.Sprint(h.CapAdd, h.CapDrop), "[CAP_SYS_PTRACE] [CAP_MKNOD]"},
		"Init": {h.Init != nil && *h.Init, true}, "ShmSize": {h.ShmSize, int64(8 << 20)}, "Tmpfs": {h.Tmpfs["/scratch"], "noexec,size=4m"},
		"Devices": {fmt.Sprint(h.Devices), "[{/dev/null /dev/nix r}]"}, "NetworkMode": {string(h.NetworkMode), "bridge"},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s = %v, want %v", what, pair[0], pair[1])
		}
	}
	cancel()
	<-done
}
