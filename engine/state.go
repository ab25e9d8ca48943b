package engine

import (
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/malote/malote/acs"
)

// A phase is how far a container has come. Those that end in -ing wait for an event.
type phase int

const (
	none phase = iota
	pulling
	pulled
	creating
	created
	starting
	running
	stopping
	stopped
)

// progress of work for a whole task.
type progress int

const (
	toDo progress = iota
	busy
	done
)

// state is all that decides what happens next to a task. It holds no clock, no
// connection and no value: step makes the next one from it and an event.
type state struct {
	containers []container

	prepared progress // namespaces and volumes
	resolved progress // secrets
	cleaned  progress // everything removed again
	refresh  refresh
	missing  string // why secrets that a task was given cannot be had again yet; "": they can, or nobody knows

	ran       bool // it was RUNNING at some time
	stop      bool // wanted STOPPED
	cancelled bool // work under way was told to give up
	reason    string
	code      types.TaskStopCode

	pullStarted, pullStopped, executionStopped, stoppedAt time.Time
}

// refresh is the running again of containers that ran to their end. They stay stopped by their
// phases: nothing depends on how that ends.
type refresh struct {
	next    *acs.Refresh // asked for, and not begun
	asked   time.Time    // for the next
	last    *acs.Refresh // begun
	is      progress     // of the last
	failure string       // and why it failed
}

// container is one container's part of a task's state.
type container struct {
	name         string
	essential    bool
	dependsOn    []dependency
	startTimeout time.Duration
	checked      bool // has a health check of the task definition's
	needsAuth    bool // its image is pulled with a secret
	restart      restartPolicy

	phase     phase
	launching bool   // its start is under way, even if its end is known already
	id        string // Docker's
	digest    string // of its image
	started   time.Time
	ended     time.Time // of its last run
	exitCode  *int32
	health    types.HealthStatus
	reason    string // ErrorName: text
	oom       bool
	restarts  int
	restarted time.Time
	ports     []types.NetworkBinding
}

// dependency on a container, by index.
type dependency struct {
	on        int
	condition condition
}

// condition is a types.ContainerCondition or conditionCreate, which volumesFrom means.
type condition = types.ContainerCondition

const conditionCreate condition = "CREATE"

type restartPolicy struct {
	enabled bool
	ignored []int32
	period  time.Duration
}

// An event is something that happened to a task, or to the container at index i.
type event struct {
	kind   eventKind
	i      int
	at     time.Time
	reason string // what went wrong: ErrorName: text. Empty: nothing

	id, digest string
	exitCode   int32
	oom        bool
	health     types.HealthStatus
	ports      []types.NetworkBinding
	code       types.TaskStopCode
	refresh    *acs.Refresh
}

type eventKind int

const (
	evBegin    eventKind = iota
	evPrepared           // or not: reason
	evResolved           // or not: reason
	evMissing            // not resolved yet: reason
	evPulled             // or not: reason
	evCreated            // or not: reason
	evStarted            // or not: reason
	evExited
	evVanished // the container is gone though nobody here removed it
	evHealth
	evStop // somebody wants the task stopped: reason, code
	evTick // time passed
	evCleaned
	evRefresh   // somebody wants containers run again: refresh
	evRefreshed // or not: reason
)

// An action is something to do that ends in an event.
type action struct {
	kind actionKind
	i    int
}

type actionKind int

const (
	doPrepare actionKind = iota
	doResolve
	doPull
	doCreate
	doStart
	doStop
	doCancel // what is under way; its events still come
	doCleanup
	doRefresh
)

// step returns what a task is after an event and what is to be done about it.
func step(s state, e event) (state, []action) {
	s.containers = slices.Clone(s.containers)
	s.apply(e)
	var actions []action
	// What is decided of one container may unblock or doom another.
	for {
		more, changed := s.plan(e.at)
		actions = append(actions, more...)
		if !changed {
			s.mark()
			return s, actions
		}
	}
}

// apply records what happened.
func (s *state) apply(e event) {
	var c *container
	if e.kind != evBegin && e.i < len(s.containers) {
		c = &s.containers[e.i]
	}
	switch e.kind {
	case evBegin:
		s.refresh.asked = e.at // of an engine that did not end it
	case evMissing:
		s.missing = e.reason
	case evPrepared:
		s.prepared = done
		if e.reason != "" {
			s.halt(e.reason, types.TaskStopCodeTaskFailedToStart)
		}
	case evResolved:
		s.resolved = done
		if e.reason != "" {
			s.halt(e.reason, types.TaskStopCodeTaskFailedToStart)
		}
	case evPulled:
		s.pullStopped = e.at
		if e.reason != "" {
			s.fail(c, e)
			return
		}
		c.phase, c.digest = pulled, e.digest
	case evCreated:
		if e.reason != "" {
			s.fail(c, e)
			return
		}
		c.phase, c.id = created, e.id
	case evStarted:
		c.launching = false
		if e.reason != "" {
			if c.phase == stopped { // it started after all, and ended
				return
			}
			s.fail(c, e)
			return
		}
		if c.phase == starting { // it may have exited already
			c.phase = running
		}
		if c.started.IsZero() {
			c.started = e.at
		}
		c.ports = e.ports
	case evExited:
		if c.phase == stopped {
			return
		}
		if c.started.IsZero() {
			c.started = e.at
		}
		if c.phase == starting { // its start has yet to be told
			c.phase = running
		}
		s.mark()
		if s.mayRestart(c, e) {
			c.phase, c.restarted, c.health = created, e.at, types.HealthStatusUnknown
			c.restarts++
			return
		}
		c.phase, c.exitCode, c.oom, c.ended = stopped, &e.exitCode, e.oom, e.at
		if e.oom {
			c.reason = "OutOfMemoryError: Container killed due to memory usage"
		} else if e.reason != "" {
			c.reason = e.reason
		}
		s.ended(c, e.at)
	case evVanished:
		if c.phase == stopped {
			return
		}
		c.phase, c.reason = stopped, e.reason
		s.ended(c, e.at)
	case evHealth:
		if c.phase != stopped { // else it runs again, which is nobody's business
			c.health = e.health
		}
	case evStop:
		s.halt(e.reason, e.code)
	case evCleaned:
		s.cleaned, s.stoppedAt = done, e.at
	case evRefresh:
		if r := &s.refresh; r.last == nil || r.last.ID != e.refresh.ID {
			if r.next == nil || r.next.ID != e.refresh.ID {
				r.asked = e.at
			}
			r.next = e.refresh
		}
	case evRefreshed:
		s.refresh.is, s.refresh.failure = done, e.reason
	}
}

// fail records that a container cannot run.
func (s *state) fail(c *container, e event) {
	c.phase, c.reason = stopped, e.reason
	if s.stop { // it was told to give up
		c.reason = ""
		return
	}
	if c.essential {
		s.halt(e.reason, types.TaskStopCodeTaskFailedToStart)
	}
}

// ended draws the consequence of a container that ran and ended.
func (s *state) ended(c *container, at time.Time) {
	if !c.essential {
		return
	}
	if s.executionStopped.IsZero() {
		s.executionStopped = at
	}
	s.halt("Essential container in task exited", types.TaskStopCodeEssentialContainerExited)
}

// halt wants the task stopped. The first reason stays.
func (s *state) halt(reason string, code types.TaskStopCode) {
	if s.stop {
		return
	}
	s.stop, s.reason, s.code = true, reason, code
}

func (s *state) mayRestart(c *container, e event) bool {
	since := c.started
	if !c.restarted.IsZero() {
		since = c.restarted
	}
	return c.restart.enabled && !s.stop && c.phase != stopping && !slices.Contains(c.restart.ignored, e.exitCode) &&
		e.at.Sub(since) >= c.restart.period
}

// plan finds what can be done now, marks it as under way, and says whether it changed
// anything.
func (s *state) plan(now time.Time) (actions []action, changed bool) {
	if s.stop {
		return s.planStop()
	}
	if s.prepared == toDo {
		s.prepared, changed = busy, true
		actions = append(actions, action{kind: doPrepare})
	}
	if s.resolved == toDo {
		s.resolved, changed = busy, true
		actions = append(actions, action{kind: doResolve})
	}
	for i := range s.containers {
		c := &s.containers[i]
		switch c.phase {
		case none:
			if c.needsAuth && s.resolved != done {
				continue
			}
			if s.pullStarted.IsZero() {
				s.pullStarted = now
			}
			c.phase, changed = pulling, true
			actions = append(actions, action{doPull, i})
		case pulled:
			if s.prepared != done || s.resolved != done {
				continue
			}
			ready, doomed := s.dependencies(c, now)
			switch {
			case doomed != "":
				code := int32(143)
				c.phase, c.exitCode, c.reason, changed = stopped, &code, "CannotStartContainerError: "+doomed, true
				if c.essential {
					s.halt(c.reason, types.TaskStopCodeTaskFailedToStart)
				}
				return actions, true
			case ready:
				c.phase, changed = creating, true
				actions = append(actions, action{doCreate, i})
			}
		case created:
			c.phase, c.launching, changed = starting, true, true
			actions = append(actions, action{doStart, i})
		}
	}
	if r := &s.refresh; r.next != nil && r.is != busy && (s.ready() || now.Sub(r.asked) >= takeOver) {
		r.last, r.next, changed = r.next, nil, true
		if r.is, r.failure = done, s.unrefreshable(r.last); r.failure == "" {
			r.is = busy
			actions = append(actions, action{kind: doRefresh})
		}
	}
	return actions, changed
}

// takeOver is how long a refresh waits for what comes before it: that an engine which found the
// task has what it was given.
const takeOver = time.Minute

// ready reports whether what all containers need is there.
func (s *state) ready() bool { return s.prepared == done && s.resolved == done }

// unrefreshable says why containers cannot be run again; "" when they can.
func (s *state) unrefreshable(r *acs.Refresh) string {
	switch {
	case s.ready():
	case s.missing != "":
		return "what the task was given before cannot be had again, which comes first: " + s.missing
	default:
		return "what the task was given before was not had again in time, which comes first"
	}
	for _, name := range r.Containers {
		i := slices.IndexFunc(s.containers, func(c container) bool { return c.name == name })
		switch {
		case i < 0:
			return fmt.Sprintf("the task has no container %s", name)
		case s.containers[i].essential:
			return fmt.Sprintf("container %s is essential", name)
		case s.containers[i].phase != stopped || s.containers[i].started.IsZero():
			return fmt.Sprintf("container %s has not run to its end", name)
		}
	}
	return ""
}

// planStop stops what runs, dependents before what they depend on, and cleans up when
// nothing is left.
func (s *state) planStop() (actions []action, changed bool) {
	if !s.cancelled {
		s.cancelled, changed = true, true
		actions = append(actions, action{kind: doCancel})
	}
	over := s.prepared != busy && s.resolved != busy && s.refresh.is != busy
	for i := range s.containers {
		c := &s.containers[i]
		switch c.phase {
		case none, pulled, created:
			c.phase, changed = stopped, true
		case running:
			if s.needed(i) {
				break
			}
			c.phase, changed = stopping, true
			actions = append(actions, action{doStop, i})
		}
		over = over && c.phase == stopped && !c.launching
	}
	if over && s.cleaned == toDo {
		s.cleaned, changed = busy, true
		actions = append(actions, action{kind: doCleanup})
	}
	return actions, changed
}

// needed reports whether a container that depends on this one has not stopped yet.
func (s *state) needed(i int) bool {
	for _, c := range s.containers {
		if c.phase == stopped {
			continue
		}
		for _, d := range c.dependsOn {
			if d.on == i {
				return true
			}
		}
	}
	return false
}

// dependencies says whether all that c waits for has come, or why it never will.
func (s *state) dependencies(c *container, now time.Time) (ready bool, doomed string) {
	ready = true
	for _, d := range c.dependsOn {
		ok, never := s.satisfied(d, now)
		if never != "" {
			return false, fmt.Sprintf("dependency graph: container ordering dependency [%s] for target [%s] %s", s.containers[d.on].name, c.name, never)
		}
		ready = ready && ok
	}
	return ready, ""
}

func (s *state) satisfied(d dependency, now time.Time) (ok bool, never string) {
	on := &s.containers[d.on]
	ended := on.phase == stopped
	ran := !on.started.IsZero()
	failed := "cannot be satisfied because dependency will never start"
	if on.reason != "" {
		failed += ": " + on.reason
	}
	switch d.condition {
	case conditionCreate:
		if ended && on.id == "" {
			return false, failed
		}
		return on.phase >= created, ""
	case types.ContainerConditionStart:
		if ended && !ran {
			return false, failed
		}
		return ran && on.phase >= running, ""
	case types.ContainerConditionComplete, types.ContainerConditionSuccess:
		switch {
		case ended && (on.exitCode == nil || !ran):
			return false, failed
		case ended && d.condition == types.ContainerConditionSuccess && *on.exitCode != 0:
			return false, fmt.Sprintf("cannot be satisfied as dependency did not exit successfully. (exit code %d)", *on.exitCode)
		case ended:
			return true, ""
		}
	case types.ContainerConditionHealthy:
		switch {
		case ended && !ran:
			return false, failed
		case ended:
			return false, "cannot be satisfied because dependency stopped before it was healthy"
		case on.phase == running && on.health == types.HealthStatusHealthy:
			return true, ""
		}
	}
	if on.startTimeout > 0 && ran && now.Sub(on.started) >= on.startTimeout {
		return false, fmt.Sprintf("has timed out. (startTimeout of %d seconds, condition %s)", int(on.startTimeout/time.Second), d.condition)
	}
	return false, ""
}

// wake returns when time alone may change something, or zero.
func (s *state) wake() time.Time {
	var first time.Time
	if s.stop {
		return first
	}
	if r := &s.refresh; r.next != nil && !s.ready() {
		first = r.asked.Add(takeOver)
	}
	for _, c := range s.containers {
		if c.phase >= creating {
			continue
		}
		for _, d := range c.dependsOn {
			on := s.containers[d.on]
			if on.startTimeout == 0 || on.started.IsZero() || on.phase == stopped || d.condition == types.ContainerConditionStart || d.condition == conditionCreate {
				continue
			}
			if at := on.started.Add(on.startTimeout); first.IsZero() || at.Before(first) {
				first = at
			}
		}
	}
	return first
}

// mark notes that the task is RUNNING: every container is, or has ended, and nobody wants
// it stopped.
func (s *state) mark() {
	s.ran = s.ran || !s.stop && !slices.ContainsFunc(s.containers, func(c container) bool { return c.phase < running })
}

// status is the task's, in the API's words.
func (s *state) status() types.DesiredStatus {
	switch {
	case s.stop && s.cleaned == done:
		return types.DesiredStatusStopped
	case s.ran:
		return types.DesiredStatusRunning
	}
	return types.DesiredStatusPending
}

// healthOf is a container's health in the API's words, or empty when nobody asked for it.
func (c *container) healthOf() types.HealthStatus {
	switch {
	case !c.checked:
		return ""
	case c.health == "":
		return types.HealthStatusUnknown
	}
	return c.health
}
