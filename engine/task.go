package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/malote/malote/acs"
	"github.com/malote/malote/engine/docker"
	"github.com/malote/malote/engine/logs"
	"github.com/malote/malote/engine/metadata"
	"github.com/malote/malote/engine/shim"
	"github.com/malote/malote/internal/firelens"
	"github.com/malote/malote/internal/spoken"
)

// task is one task and the goroutine that owns it: run. All else sends events.
type task struct {
	engine *Engine
	log    *slog.Logger
	work   *acs.Task // as it came, without credentials
	defs   []types.ContainerDefinition
	broken string // why it cannot even begin
	events chan event
	ended  chan struct{} // closed when it takes no more events
	over   chan struct{} // closed when nothing is left of it and that was reported
	looks  chan int      // containers to inspect; -1: all
	known  chan struct{} // closed when what its containers have is known, also of ones that were found running

	ctx       context.Context // ends with the engine
	effort    context.Context // ends when the task is to stop as well
	giveUp    context.CancelFunc
	actions   sync.WaitGroup
	followers sync.WaitGroup // of logs
	reports   *reporter
	served    *metadata.Task   // nil: no metadata
	router    *firelens.Router // of logs; nil: none

	state   state // run's own
	record  *record
	filling sync.Mutex // held while volumes get what images have

	mu          sync.Mutex // guards the rest
	execution   *acs.Credentials
	application *acs.Credentials
	// infrastructure is who asks for the keys of volumes.
	infrastructure *acs.Credentials
	// storage is the key of its ephemeral storage, until that is made.
	storage     []byte
	noStorage   bool          // no key of it is wanted any more
	credentials chan struct{} // closed and replaced when they change
	resolved    *resolved
	former      []string                  // values that it had before
	endpoints   map[string]*shim.Endpoint // by container
	streams     []*logs.Stream            // of log forwarding
	routed      map[string]*logs.Stream   // those to the router, by container
	routerGone  bool                      // it ended for good
	ids         map[string]string         // Docker's, by container
	images      map[string]*docker.Image
	pause       string
	binds       map[string]string // by volume
	owned       map[string]bool   // volumes that are the engine's directories
	report      Report
	asked       *acs.Refresh // to be refreshed, or being so
}

// Report is what a task has come to.
type Report struct {
	TaskARN    string
	Status     types.DesiredStatus // PENDING, RUNNING, STOPPED
	StopCode   types.TaskStopCode
	Reason     string
	Containers []ContainerReport

	Held      []acs.Held     // the versions of its secrets
	Refreshed *acs.Refreshed // the last time that containers were run again; nil: never

	PullStarted, PullStopped, ExecutionStopped time.Time
}

// ContainerReport is what a container has come to.
type ContainerReport struct {
	Name      string
	Essential bool
	Status    types.DesiredStatus
	ID        string // Docker's
	Digest    string // of the image
	ExitCode  *int32 // nil: it never ran
	Ended     time.Time
	Reason    string
	Health    types.HealthStatus // empty: no health check
	Restarts  int
	Ports     []types.NetworkBinding
	Versions  map[string]string // version id by name of secret
}

func newTask(e *Engine, work *acs.Task, rec *record) *task {
	copied := *work
	t := &task{
		engine: e, log: e.log.With("task", taskID(work.ARN)), work: &copied,
		events: make(chan event, 16), ended: make(chan struct{}), over: make(chan struct{}), looks: make(chan int, 64), known: make(chan struct{}),
		credentials: make(chan struct{}), endpoints: map[string]*shim.Endpoint{}, ids: map[string]string{},
		images: map[string]*docker.Image{}, binds: map[string]string{}, owned: map[string]bool{}, routed: map[string]*logs.Stream{}, record: rec,
	}
	t.execution, t.application, t.infrastructure = work.ExecutionRole, work.TaskRole, work.InfrastructureRole
	t.storage = work.StorageKey
	t.work.ExecutionRole, t.work.TaskRole, t.work.InfrastructureRole, t.work.StorageKey = nil, nil, nil, nil
	for _, def := range work.Definition.ContainerDefinitions {
		t.defs = append(t.defs, override(def, work.Overrides))
	}
	t.ctx = e.ctx
	t.effort, t.giveUp = context.WithCancel(e.ctx)
	t.reports = newReporter(t)
	s, err := newState(work)
	if err != nil {
		t.broken = err.Error()
	} else {
		t.router, _ = firelens.Of(t.defs) // newState asked already
	}
	t.state = s
	if rec == nil {
		t.record = &record{Task: *t.work}
	} else {
		rec.restore(t)
	}
	t.open()
	return t
}

// give replaces the roles' credentials.
func (t *task) give(execution, application, infrastructure *acs.Credentials, storage []byte) {
	t.mu.Lock()
	if t.noStorage {
		clear(storage)
	} else if storage != nil {
		clear(t.storage)
		t.storage = storage
	}
	if execution != nil {
		t.execution = execution
	}
	if application != nil {
		t.application = application
	}
	if infrastructure != nil {
		t.infrastructure = infrastructure
	}
	close(t.credentials)
	t.credentials = make(chan struct{})
	application = t.application
	t.mu.Unlock()
	t.engine.refresh(t, application)
}

// send hands an event to run.
func (t *task) send(ev event) {
	ev.at = t.engine.now()
	select {
	case t.events <- ev:
	case <-t.ended:
	case <-t.ctx.Done():
	}
}

func (t *task) stopTask(reason string, code types.TaskStopCode) {
	t.send(event{kind: evStop, reason: reason, code: code})
}

func (t *task) lookAt(container string) {
	if i := t.index(container); i >= 0 {
		t.look(i)
	}
}

func (t *task) lookAtAll() { t.look(-1) }

func (t *task) look(i int) {
	select {
	case t.looks <- i:
	case <-t.ended:
	case <-t.ctx.Done():
	}
}

func (t *task) index(container string) int {
	return slices.IndexFunc(t.defs, func(d types.ContainerDefinition) bool { return aws.ToString(d.Name) == container })
}

// run owns the task's state until the task is over or the engine ends.
func (t *task) run() {
	defer t.actions.Wait()
	defer t.giveUp()
	t.actions.Go(t.watch)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()

	first := event{kind: evBegin, at: t.engine.now()}
	if t.broken != "" {
		first = event{kind: evStop, at: first.at, reason: t.broken, code: types.TaskStopCodeTaskFailedToStart}
	}
	t.advance(first)
	t.lookAtAll()
	for t.state.cleaned != done {
		if at := t.state.wake(); !at.IsZero() {
			timer.Reset(max(at.Sub(t.engine.now()), time.Millisecond))
		}
		select {
		case ev := <-t.events:
			t.advance(ev)
		case <-timer.C:
			t.advance(event{kind: evTick, at: t.engine.now()})
		case <-t.ctx.Done():
			return
		}
	}
	t.finish()
}

// advance makes one step, remembers it, tells of it and acts.
func (t *task) advance(ev event) {
	if t.log.Enabled(t.ctx, slog.LevelDebug) {
		t.log.Debug("task event", "kind", ev.kind, "container", ev.i, "reason", ev.reason)
	}
	next, actions := step(t.state, ev)
	t.state = next
	t.watchRouter()
	t.record.update(t)
	report := t.describe()
	t.mu.Lock()
	t.asked = next.refresh.last
	changed := !report.same(t.report)
	t.report = report
	t.mu.Unlock()
	if changed {
		t.reports.changed(report)
		t.engine.announce(report)
	}
	for _, a := range actions {
		t.actions.Go(func() { t.act(a) })
	}
}

// finish ends the life of a task of which nothing is left.
func (t *task) finish() {
	close(t.ended)
	report := t.final()
	t.log.Info("task stopped", "reason", report.Reason, "code", report.StopCode)
	if t.reports.close() {
		t.record.remove(t)
	} // else the next engine reports it
	t.engine.forget(t)
	close(t.over)
}

func (t *task) final() Report {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.report
}

func (t *task) describe() Report {
	s := &t.state
	r := Report{TaskARN: t.work.ARN, Status: s.status(), PullStarted: s.pullStarted, PullStopped: s.pullStopped, ExecutionStopped: s.executionStopped}
	if s.stop {
		r.StopCode, r.Reason = s.code, clip(s.reason)
	}
	if f := &s.refresh; f.last != nil && f.is == done && !s.stop {
		r.Refreshed = &acs.Refreshed{TaskARN: t.work.ARN, ID: f.last.ID, Failure: clip(f.failure)}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.resolved != nil {
		r.Held = t.resolved.held
	}
	for _, c := range s.containers {
		out := ContainerReport{
			Name: c.name, Essential: c.essential, ID: c.id, Digest: c.digest, ExitCode: c.exitCode, Ended: c.ended, Reason: clip(c.reason),
			Health: c.healthOf(), Restarts: c.restarts, Ports: c.ports,
		}
		switch {
		case c.phase == stopped:
			out.Status = types.DesiredStatusStopped
		case c.phase >= running || c.restarts > 0:
			out.Status = types.DesiredStatusRunning
		default:
			out.Status = types.DesiredStatusPending
		}
		if t.resolved != nil {
			out.Versions = t.resolved.versions[c.name]
		}
		r.Containers = append(r.Containers, out)
	}
	return r
}

// watch inspects containers one at a time, so that what it learns comes in order.
func (t *task) watch() {
	finished := map[string]time.Time{} // the ends already told, by id
	for {
		var i int
		select {
		case i = <-t.looks:
		case <-t.ended:
			return
		case <-t.ctx.Done():
			return
		}
		which := []int{i}
		if i < 0 {
			which = which[:0]
			for i := range t.defs {
				which = append(which, i)
			}
		}
		for _, i := range which {
			t.inspect(i, finished)
		}
	}
}

func (t *task) inspect(i int, finished map[string]time.Time) {
	id := t.id(aws.ToString(t.defs[i].Name))
	if id == "" {
		return
	}
	c, err := t.engine.docker.Inspect(t.ctx, id)
	switch {
	case docker.IsNotFound(err):
		t.send(event{kind: evVanished, i: i, reason: "ContainerVanishedError: No container matching saved ID found"})
	case err != nil:
		// Docker is away. Its events break off with it, and all is looked at again.
		if t.ctx.Err() == nil {
			t.log.Warn("inspecting a container", "err", err)
		}
	case c.Exited():
		if finished[id].Equal(c.Finished) {
			return
		}
		finished[id] = c.Finished
		ev := event{kind: evExited, i: i, exitCode: int32(c.ExitCode), oom: c.OOMKilled}
		if c.Error != "" {
			ev.reason = "CannotStartContainerError: " + c.Error
		}
		t.send(ev)
	case c.Running() && t.defs[i].HealthCheck != nil:
		t.send(event{kind: evHealth, i: i, health: health(c.Health)})
	}
}

func health(docker string) types.HealthStatus {
	switch docker {
	case "healthy":
		return types.HealthStatusHealthy
	case "unhealthy":
		return types.HealthStatusUnhealthy
	}
	return types.HealthStatusUnknown
}

func (t *task) id(container string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.ids[container]
}

// act does one thing and says how it ended.
func (t *task) act(a action) {
	outcome := func(kind eventKind, err error) event {
		ev := event{kind: kind, i: a.i}
		if err != nil {
			ev.reason = spoken.Text(err)
			if t.effort.Err() == nil { // whoever wants the task hears of it in its reason
				t.log.Info("task could not go on", "err", err)
			}
		}
		return ev
	}
	switch a.kind {
	case doPrepare:
		t.send(outcome(evPrepared, t.prepare()))
	case doResolve:
		err := t.resolve()
		if err == nil {
			close(t.known)
		}
		t.send(outcome(evResolved, err))
	case doPull:
		digest, err := t.pull(a.i)
		ev := outcome(evPulled, err)
		ev.digest = digest
		t.send(ev)
	case doCreate:
		id, err := t.create(a.i)
		ev := outcome(evCreated, err)
		ev.id = id
		t.send(ev)
	case doStart:
		ports, err := t.start(a.i)
		ev := outcome(evStarted, err)
		ev.ports = ports
		t.send(ev)
		t.look(a.i) // it may be gone already
	case doStop:
		t.halt(a.i)
		t.look(a.i)
	case doCancel:
		t.giveUp()
	case doRefresh:
		ev := event{kind: evRefreshed}
		if err := t.refresh(); err != nil {
			ev.reason = spoken.Text(err)
			if t.effort.Err() == nil {
				t.log.Warn("containers could not be run again", "err", err)
			}
		}
		if t.ctx.Err() == nil { // else the next engine does it again, and the record is not to say that it failed
			t.send(ev)
		}
	case doCleanup:
		t.cleanup()
		t.send(event{kind: evCleaned})
	}
}

// halt stops a container, however long it takes Docker to listen.
func (t *task) halt(i int) {
	t.drainTo(aws.ToString(t.defs[i].Name))
	id, timeout := t.id(aws.ToString(t.defs[i].Name)), stopTimeout(t.defs[i])
	for wait := time.Second; ; wait = min(2*wait, 5*time.Second) {
		ctx, cancel := context.WithTimeout(t.ctx, timeout+2*time.Minute)
		err := t.engine.docker.Stop(ctx, id, timeout)
		cancel()
		if err == nil || t.ctx.Err() != nil {
			return
		}
		t.log.Warn("stopping a container", "container", aws.ToString(t.defs[i].Name), "err", err)
		t.sleep(wait)
	}
}

func (t *task) sleep(d time.Duration) {
	select {
	case <-t.ctx.Done():
	case <-time.After(d):
	}
}

// cleanup removes all that was made for the task. It tries for a minute, longer while no
// Docker answers; what is left after that the next start of an engine sweeps away.
func (t *task) cleanup() {
	t.forgetStorage()
	t.drain()
	deadline := time.Now().Add(time.Minute)
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		err := t.engine.removeTask(t.ctx, t.work.ARN)
		if err == nil || t.ctx.Err() != nil {
			break
		}
		t.log.Warn("cleaning up after a task", "err", err)
		if time.Now().After(deadline) && !docker.IsUnavailable(err) {
			break
		}
		t.sleep(wait)
	}
	t.mu.Lock()
	endpoints, streams := t.endpoints, t.streams
	t.endpoints, t.streams, t.routed, t.resolved, t.former = map[string]*shim.Endpoint{}, nil, map[string]*logs.Stream{}, t.resolved.withoutValues(), nil
	t.mu.Unlock()
	for _, e := range endpoints {
		if err := e.Close(); err != nil {
			t.log.Warn("closing a container's socket", "err", err)
		}
	}
	for _, s := range streams {
		s.Close()
	}
	if err := t.engine.shim.Sweep(func(name string) bool { return !strings.HasPrefix(name, taskID(t.work.ARN)+"-") }); err != nil {
		t.log.Warn("removing sockets", "err", err)
	}
	t.retire()
}

// drain waits until all that the containers wrote was read.
func (t *task) drain() {
	read := make(chan struct{})
	go func() { t.followers.Wait(); close(read) }()
	select {
	case <-read:
	case <-t.ctx.Done():
	case <-time.After(10 * time.Second):
		t.log.Warn("gave up reading a container's log to its end")
	}
}

// removeTask drops every container and volume that bears a task's ARN.
func (e *Engine) removeTask(ctx context.Context, arn string) error {
	which := map[string]string{labelEngine: e.Name, labelTask: arn}
	containers, err := e.docker.List(ctx, which)
	if err != nil {
		return err
	}
	var errs []error
	// What shares the pause container's namespaces goes first.
	slices.SortStableFunc(containers, func(a, b docker.Listed) int {
		return strings.Compare(b.Labels[labelContainer], a.Labels[labelContainer])
	})
	for _, late := range []bool{false, true} {
		for _, c := range containers {
			if late == (c.Labels[labelContainer] == pauseName) {
				errs = append(errs, e.docker.Remove(ctx, c.ID))
			}
		}
	}
	volumes, err := e.docker.Volumes(ctx, which)
	errs = append(errs, err)
	for _, v := range volumes {
		errs = append(errs, e.docker.RemoveVolume(ctx, v.Name))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return e.volumes.Remove(taskID(arn))
}

// endpointName names a container's socket: the same after a restart.
func endpointName(arn string, i int) string { return fmt.Sprintf("%s-%d", taskID(arn), i) }
