// Package engine runs tasks on a Docker host: the life of a task from RunTask to STOPPED.
//
// It promises: no container of a task is created before every secret of the task was
// resolved, as the task's execution role; containers start and stop in the order that
// the task definition asks for; a task that ends, however it ends, leaves no container,
// volume, mount or socket behind before it is reported STOPPED; and an engine that is
// killed at any moment finds its tasks again.
//
// It reaches secrets and the control plane through AWS SDK clients alone. What a task's
// next step is, step decides, which knows neither Docker nor a clock. One goroutine
// owns each task; Docker's events and the ends of what it began are sent to it.
//
// It does not decide which tasks run where (see service/ecs), and what it asks of
// Docker goes through engine/docker.
package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"golang.org/x/sys/unix"

	"github.com/malote/malote/acs"
	"github.com/malote/malote/engine/docker"
	"github.com/malote/malote/engine/shim"
	"github.com/malote/malote/engine/volume"
)

// PullBehavior says when an image is fetched from its registry: ECS_IMAGE_PULL_BEHAVIOR
// in Amazon's agent.
type PullBehavior string

const (
	PullPreferCached PullBehavior = "prefer-cached" // unless Docker has it
	PullDefault      PullBehavior = "default"       // always, but what Docker has will do if that fails
	PullAlways       PullBehavior = "always"
	PullOnce         PullBehavior = "once" // unless this engine pulled it before and Docker still has it
)

// Config says what an engine is and where.
type Config struct {
	// AWS reaches the control plane as the container instance. Tasks' roles use its
	// endpoint and transport with credentials of their own.
	AWS aws.Config
	// Docker is the host's. Required.
	Docker *docker.Client
	// Name tells this engine's containers from those of others on the same host, and
	// must be the same after a restart. Empty: "malote".
	Name string
	// Cluster to register with. Empty: "default".
	Cluster string
	// Attributes of the container instance, besides those that every engine has.
	Attributes map[string]string
	// Dir holds sockets, volumes and what is known of running tasks; all of it may
	// vanish when the host boots. Empty: /run/malote.
	Dir string
	// StateDir holds what must survive a boot, the container instance's ARN, and what is too
	// large for memory: the encrypted volumes on disk. Empty: Dir.
	StateDir string
	// InitPath is malote-init, a static executable. Required.
	InitPath string
	// PullBehavior: empty is PullPreferCached.
	PullBehavior PullBehavior
	// ContainerEndpoint is AWS_ENDPOINT_URL for containers. Empty sets none.
	ContainerEndpoint string
	// StopOnExit stops all tasks, in order, when Run's context ends. Without it they
	// go on, and the next engine of the same name finds them.
	StopOnExit bool
	// MetadataNetwork is the bridge of 169.254.170.2; another one is for tests.
	MetadataNetwork docker.Network
	// NoMetadata serves neither metadata nor task role credentials at 169.254.170.2.
	NoMetadata bool
	// Output, if set, gets each line that containers write.
	Output func(Line)
	// Changed, if set, is told what a task has come to whenever that changes. It must
	// not block.
	Changed func(Report)
	// Registered, if set, is told the ARN of the container instance. It must not block.
	Registered func(instance string)
	// API, if set, is AWS's API for containers: they reach it at 169.254.170.2 and have
	// AWS_ENDPOINT_URL set to it. Nil when they reach AWS by themselves.
	API http.Handler
	// Log: nil discards. No value is ever logged.
	Log *slog.Logger
	// Now: nil is time.Now.
	Now func() time.Time
}

// Line is one line that a container wrote, without its end. Text is valid during the
// call alone.
type Line struct {
	TaskARN, Container string
	Stream             string // stdout, stderr
	Text               []byte
}

// Engine runs tasks. Start it, then give it tasks by Run or RunTask.
type Engine struct {
	Config
	log     *slog.Logger
	now     func() time.Time
	docker  *docker.Client
	shim    *shim.Server
	volumes *volume.Manager
	extras  // what serves containers besides: metadata, log forwarding
	info    docker.Info
	taken   *os.File // the directory, while this engine has it

	ctx     context.Context // the engine's life
	cancel  context.CancelFunc
	running sync.WaitGroup

	controlled bool // there is a control plane to report to
	registered bool // with it, once; Run's

	mu        sync.Mutex       // guards the rest
	tasks     map[string]*task // by ARN
	pulled    map[string]bool  // images pulled by this engine
	nothingAt map[string]bool  // image's id and path: the image has no such directory
	endpoint  string           // of the control plane's stream
}

// New checks the configuration and takes the directory. It starts nothing.
func New(c Config) (*Engine, error) {
	if c.Docker == nil || c.InitPath == "" {
		return nil, errors.New("an engine needs Docker and malote-init")
	}
	if c.Name == "" {
		c.Name = "malote"
	}
	if c.Cluster == "" {
		c.Cluster = "default"
	}
	if c.Dir == "" {
		c.Dir = "/run/malote"
	}
	if c.StateDir == "" {
		c.StateDir = c.Dir
	}
	if strings.Contains(c.Dir, ":") {
		return nil, fmt.Errorf("the directory %q has a colon, which Docker takes for the end of what is to be mounted", c.Dir)
	}
	switch c.PullBehavior {
	case "":
		c.PullBehavior = PullPreferCached
	case PullDefault, PullAlways, PullOnce, PullPreferCached:
	default:
		return nil, fmt.Errorf("pull behaviour %q is none of default, always, once, prefer-cached", c.PullBehavior)
	}
	e := &Engine{Config: c, log: c.Log, now: c.Now, docker: c.Docker, tasks: map[string]*task{}, pulled: map[string]bool{}, nothingAt: map[string]bool{}}
	if e.log == nil {
		e.log = slog.New(slog.DiscardHandler)
	}
	if e.now == nil {
		e.now = time.Now
	}
	for _, dir := range []string{c.Dir, e.recordDir(), c.StateDir} {
		if err := os.MkdirAll(dir, 0o711); err != nil {
			return nil, fmt.Errorf("making the engine's directory: %w", err)
		}
	}
	if err := os.Chmod(e.recordDir(), 0o700); err != nil {
		return nil, err
	}
	return e, nil
}

func (e *Engine) recordDir() string { return filepath.Join(e.Dir, "tasks") }

// Start makes the engine ready for tasks: it serves containers and takes up the tasks of
// an earlier engine of its name. Close, or the end of ctx, ends it without stopping
// any task.
func (e *Engine) Start(ctx context.Context) error {
	var err error
	if e.info, err = e.docker.Info(ctx); err != nil {
		return err
	}
	if e.info.OS != "linux" {
		return fmt.Errorf("this engine runs Linux containers; Docker here runs %s", e.info.OS)
	}
	if err := e.take(); err != nil {
		return err
	}
	sockets := filepath.Join(e.Dir, "sockets")
	if err := executable(sockets); err != nil {
		return err
	}
	if e.shim, err = shim.New(shim.Config{Dir: sockets, InitPath: e.InitPath, Log: e.log}); err != nil {
		return err
	}
	if e.volumes, err = volume.New(filepath.Join(e.Dir, "volumes"), filepath.Join(e.StateDir, "disks")); err != nil {
		return fmt.Errorf("making the directory of volumes: %w", err)
	}
	e.ctx, e.cancel = context.WithCancel(context.WithoutCancel(ctx))
	if err := e.startExtras(ctx); err != nil {
		e.Close()
		return err
	}
	// Events first, so that nothing that happens during recovery is missed.
	ready := make(chan struct{})
	e.running.Go(func() { e.watch(ready) })
	select {
	case <-ready:
	case <-ctx.Done():
		e.Close()
		return ctx.Err()
	}
	if err := e.recover(ctx); err != nil {
		e.Close()
		return err
	}
	context.AfterFunc(ctx, func() {
		if !e.StopOnExit {
			e.cancel()
		}
	})
	return nil
}

// executable makes a directory from which programs may run. Debian mounts /run noexec;
// there a tmpfs goes on top, which an engine that starts later finds in place.
func executable(dir string) error {
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return err
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return err
	}
	if fs.Flags&unix.ST_NOEXEC == 0 {
		return nil
	}
	if err := unix.Mount("malote", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0711"); err != nil {
		return fmt.Errorf("mounting a tmpfs on %s, which is noexec: %w", dir, err)
	}
	return nil
}

// Close ends the engine and leaves every container as it is.
func (e *Engine) Close() error {
	defer e.leave()
	if e.cancel == nil {
		return nil
	}
	e.cancel()
	e.running.Wait()
	e.closeExtras()
	err := e.shim.Close()
	if len(e.all()) == 0 {
		err = errors.Join(err, e.vacate())
	}
	return err
}

// vacate removes what the engine has in its directory, as far as nothing is in there that
// somebody still needs: a report that could not be made, lines that could not be shipped.
func (e *Engine) vacate() error {
	sockets := filepath.Join(e.Dir, "sockets")
	if err := e.shim.Vacate(); err != nil {
		return err
	}
	if left, err := os.ReadDir(sockets); err == nil && len(left) == 0 {
		unix.Unmount(sockets, unix.MNT_DETACH) // if a tmpfs was mounted for them
	}
	for _, dir := range []string{sockets, filepath.Join(e.Dir, "volumes"), filepath.Join(e.Dir, "logs"), e.recordDir(), e.Dir} {
		if err := os.Remove(dir); err != nil && !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, unix.EBUSY) && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// reportPatience is how long Shutdown waits for a control plane to hear of the end of tasks.
const reportPatience = 5 * time.Second

// Shutdown stops all tasks in order and then closes.
func (e *Engine) Shutdown(reason string) error {
	for _, t := range e.all() {
		t.stopTask(reason, types.TaskStopCodeUserInitiated)
	}
	all := e.all()
	for _, t := range all {
		<-t.ended
	}
	// That nothing is left is one thing, that the control plane heard of it another: it may
	// be away for good.
	patience := time.NewTimer(reportPatience)
	defer patience.Stop()
	for _, t := range all {
		select {
		case <-t.over:
			continue
		case <-patience.C:
			e.log.Warn("the control plane did not take the last reports")
		}
		break
	}
	return e.Close()
}

func (e *Engine) all() []*task {
	e.mu.Lock()
	defer e.mu.Unlock()
	var all []*task
	for _, t := range e.tasks {
		all = append(all, t)
	}
	return all
}

func (e *Engine) task(arn string) *task {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.tasks[arn]
}

// RunTask runs a task until it has stopped and left nothing behind. When ctx ends it
// is stopped in order. It needs no control plane.
func (e *Engine) RunTask(ctx context.Context, work acs.Task) (Report, error) {
	t, err := e.begin(&work, nil)
	if err != nil {
		return Report{}, err
	}
	stop := context.AfterFunc(ctx, func() { t.stopTask("Task stopped by user", types.TaskStopCodeUserInitiated) })
	defer stop()
	select {
	case <-t.over:
		return t.final(), nil
	case <-e.ctx.Done():
		return Report{}, errors.New("the engine was closed while the task ran")
	}
}

// StopTask asks a task to stop. It does not wait.
func (e *Engine) StopTask(arn, reason string) {
	if t := e.task(arn); t != nil {
		t.stopTask(reason, types.TaskStopCodeUserInitiated)
	}
}

// begin starts a task, or gives fresh credentials to one that is there.
func (e *Engine) begin(work *acs.Task, rec *record) (*task, error) {
	if work.ARN == "" || strings.ContainsAny(taskID(work.ARN), "./") || taskID(work.ARN) == "" {
		return nil, fmt.Errorf("%q is not a task's ARN", work.ARN)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if t := e.tasks[work.ARN]; t != nil {
		t.give(work.ExecutionRole, work.TaskRole, work.InfrastructureRole, work.StorageKey)
		return t, nil
	}
	t := newTask(e, work, rec)
	e.tasks[work.ARN] = t
	e.running.Go(t.run)
	return t, nil
}

// forget drops a task that is over.
func (e *Engine) forget(t *task) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.tasks, t.work.ARN)
}

// watch passes Docker's events to tasks. When the connection breaks, which it does when
// Docker restarts, every task looks at its containers afresh.
func (e *Engine) watch(ready chan struct{}) {
	var once sync.Once
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		err := e.docker.Events(e.ctx, map[string]string{labelEngine: e.Name}, func() {
			wait = 100 * time.Millisecond
			once.Do(func() { close(ready) })
			for _, t := range e.all() {
				t.lookAtAll()
			}
		}, func(ev docker.Event) {
			if t := e.task(ev.Labels[labelTask]); t != nil {
				t.lookAt(ev.Labels[labelContainer])
			}
		})
		if e.ctx.Err() != nil {
			return
		}
		e.log.Warn("lost Docker's events", "err", err)
		select {
		case <-e.ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}
