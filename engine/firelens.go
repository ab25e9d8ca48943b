package engine

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/malote/malote/engine/docker"
	"github.com/malote/malote/engine/logs"
	"github.com/malote/malote/engine/volume"
	"github.com/malote/malote/internal/firelens"
)

// Volumes of a task with a log router. They are in memory, and go when the task does.
const (
	routerConfig = ".firelens-config" // for the engine to write
	routerSocket = ".firelens-socket" // for the router
)

// routerPatience is how long a router that is to stop is waited for to take what it has
// not got yet.
const routerPatience = 15 * time.Second

// routerFiles are what a log router is given.
type routerFiles struct {
	router         *firelens.Router
	config, socket string // a file and a directory
	external       string // a file, if the definition has one in S3
}

// routerFiles returns what a container is given if it is the log router, making what is not
// there yet.
func (t *task) routerFiles(container string) (*routerFiles, error) {
	if t.router == nil || t.router.Container != container {
		return nil, nil
	}
	volumes, task := t.engine.volumes, taskID(t.work.ARN)
	config, err := volumes.Create(task, routerConfig, volume.Options{})
	if err != nil {
		return nil, err
	}
	socket, err := volumes.Create(task, routerSocket, volume.Options{UID: t.router.UID, GID: t.router.GID})
	if err != nil {
		return nil, err
	}
	files := &routerFiles{router: t.router, config: filepath.Join(config, "fluent.conf"), socket: socket}
	if t.router.S3 != "" {
		files.external = filepath.Join(config, "external.conf")
	}
	return files, nil
}

// prepareRouter writes the router's configuration, which is the same for the same task.
func (t *task) prepareRouter() error {
	files, err := t.routerFiles(t.router.Container)
	if err != nil {
		return err
	}
	if _, err := os.Stat(files.config); errors.Is(err, fs.ErrNotExist) {
		d := t.work.Definition
		err := writeFile(files.config, t.router.Config(firelens.Task{
			Cluster: clusterName(t.work.ClusterARN), ARN: t.work.ARN,
			Definition: aws.ToString(d.Family) + ":" + strconv.Itoa(int(d.Revision)), Network: networkMode(t.work),
		}))
		if err != nil {
			return err
		}
	}
	return os.Chmod(files.config, 0o644) // the router's user may be any
}

// apply gives a container what a log router has.
func (f *routerFiles) apply(spec *docker.Spec) {
	spec.Binds = append(spec.Binds, f.config+":"+f.router.ConfigPath()+":ro", f.socket+":"+firelens.SocketDir)
	if f.external != "" {
		spec.Binds = append(spec.Binds, f.external+":"+f.router.ExternalPath()+":ro")
	}
	if spec.User == "" {
		spec.User = "0" // as on ECS: the image's may not make a socket
	}
}

// fluentEnvironment is what a container of a task with a log router is told: one that uses
// it where it takes records, and Fluentd's image not to give up being root.
func (t *task) fluentEnvironment(ctx context.Context, def types.ContainerDefinition) ([]string, error) {
	switch {
	case t.router == nil:
		return nil, nil
	case t.router.Container == aws.ToString(def.Name):
		if t.router.Type == types.FirelensConfigurationTypeFluentd && t.router.UID == 0 {
			return []string{"FLUENT_UID=0"}, nil
		}
		return nil, nil
	case !firelens.Uses(&def) || aws.ToBool(def.DisableNetworking):
		return nil, nil
	}
	host := ""
	switch networkMode(t.work) {
	case types.NetworkModeAwsvpc:
		host = "127.0.0.1"
	case types.NetworkModeBridge:
		router := t.id(t.router.Container)
		if router == "" {
			return nil, nil // it waits for this container
		}
		c, err := t.engine.docker.Inspect(ctx, router)
		if err != nil {
			return nil, err
		}
		host = c.Networks["bridge"].IPAddress
	}
	if host == "" {
		return nil, nil
	}
	return []string{"FLUENT_HOST=" + host, "FLUENT_PORT=" + firelens.Port}, nil
}

// route has a container's log forwarded to the router.
func (t *task) route(spec *logs.Spec, source *firelens.Source) {
	// The container's options are the router's business, and in its configuration.
	spec.Options = map[string]string{"tag": source.Container + "-firelens-" + taskID(t.work.ARN)}
	spec.Secrets = nil
	spec.Router = logs.Router{
		Socket: filepath.Join(t.engine.volumes.Path(taskID(t.work.ARN), routerSocket), firelens.SocketName),
		Acks:   t.router.Type == types.FirelensConfigurationTypeFluentbit, // Fluentd's unix input does not
		Lines:  source.BufferMax,
	}
}

// watchRouter drops what is for a router that has ended for good: the applications that go on
// without it are not to wait for it when they print.
func (t *task) watchRouter() {
	if t.router == nil || t.state.containers[t.index(t.router.Container)].phase != stopped {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.routerGone = true
	for _, s := range t.routed {
		s.Abandon()
	}
}

// drainTo waits, before a container is stopped that is the log router, until it has what those
// wrote that stopped before.
func (t *task) drainTo(container string) {
	if t.router == nil || t.router.Container != container {
		return
	}
	t.mu.Lock()
	var last []*logs.Stream
	for name, s := range t.routed {
		if t.router.Source(name).Waits {
			last = append(last, s)
		}
	}
	t.mu.Unlock()
	for _, s := range last {
		s.Close()
	}
	patience := time.NewTimer(routerPatience)
	defer patience.Stop()
	for _, s := range last {
		select {
		case <-s.Shipped():
		case <-patience.C:
			t.log.Warn("the log router did not take the last lines of the task", "container", container)
			return
		case <-t.ctx.Done():
			return
		}
	}
}
