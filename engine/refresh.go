package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/malote/malote/engine/docker"
	"github.com/malote/malote/engine/logs"
	"github.com/malote/malote/engine/shim"
	"github.com/malote/malote/internal/ourlabels"
)

const (
	// fetchAgain is how long values may take that containers are run again with, runAgain
	// how long such a container may that has no startTimeout.
	fetchAgain = time.Minute
	runAgain   = 2 * time.Minute
)

var errStopping = errors.New("the task stops")

// refresh runs containers again that ran to their end, with what is current by now, and then
// sends signals. What the task holds is another only when all of that went well.
func (t *task) refresh() error {
	t.mu.Lock()
	asked, old := t.asked, t.resolved
	t.mu.Unlock()
	ctx, cancel := context.WithTimeout(t.effort, fetchAgain)
	defer cancel()
	fresh, err := t.fetchSecrets(ctx, fetching{again: asked.Containers})
	if err != nil {
		return err
	}
	next := old.refreshed(fresh, asked.Containers)
	t.maskAlso(fresh)
	t.record.remember(t, asked.Containers, old, next)
	for _, i := range t.inOrder(asked.Containers) {
		if err := t.runAgain(i, next); err != nil {
			if t.effort.Err() != nil {
				return errStopping
			}
			return err
		}
	}
	for _, s := range asked.Signals {
		id := t.id(s.Container)
		if id == "" { // one that was never created has nothing to be told
			continue
		}
		if err := t.engine.docker.Signal(t.effort, id, s.Signal); err != nil {
			return fmt.Errorf("sending %s to container %s: %w", s.Signal, s.Container, err)
		}
	}
	t.log.Info("containers were run again", "refresh", asked.ID, "containers", asked.Containers, "signals", asked.Signals)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.resolved = next
	t.outlive(old.values())
	return nil
}

// maskAlso keeps values out of the task's logs that it is about to have, and still those that
// it has or had: a program may print any.
func (t *task) maskAlso(fresh *resolved) {
	values, streams := t.masked(fresh)
	for _, s := range streams {
		s.Mask(values)
	}
}

// masked is what is kept out of which logs. Fresh values stay among it if the refresh fails: a
// container may have written them into a file, and a program may print them later.
func (t *task) masked(fresh *resolved) ([]string, []*logs.Stream) {
	t.mu.Lock()
	defer t.mu.Unlock()
	values := slices.Concat(t.resolved.values(), t.former, fresh.values())
	t.outlive(fresh.values())
	return values, slices.Clone(t.streams)
}

// inOrder are the indices of containers, each after those that it depends on, if only by way of
// others.
func (t *task) inOrder(containers []string) (order []int) {
	seen := map[int]bool{}
	var visit func(name string)
	visit = func(name string) {
		i := t.index(name)
		if i < 0 || seen[i] {
			return
		}
		seen[i] = true
		for _, d := range t.defs[i].DependsOn { // without a cycle: see newState
			visit(aws.ToString(d.ContainerName))
		}
		if slices.Contains(containers, name) {
			order = append(order, i)
		}
	}
	for _, name := range containers {
		visit(name)
	}
	return order
}

// runAgain runs one container to its end. One that an engine was killed over may still run.
func (t *task) runAgain(i int, with *resolved) error {
	e, def := t.engine, t.defs[i]
	name := aws.ToString(def.Name)
	id := t.id(name)
	if def.DockerLabels[ourlabels.Secrets] == ourlabels.DockerEnv {
		return fmt.Errorf("container %s has its secrets in Docker's configuration, as its label %s asks", name, ourlabels.Secrets)
	}
	if env := with.env(name); len(env) > 0 || t.hasEndpoint(name) {
		payload := shim.Payload{Env: env}
		endpoint, err := t.endpoint(i, payload)
		if err == nil {
			err = endpoint.Replace(payload)
		}
		if err == nil {
			err = endpoint.Bind(id)
		}
		if err != nil {
			return fmt.Errorf("container %s: %w", name, err)
		}
	}
	patience := runAgain
	if s := aws.ToInt32(def.StartTimeout); s > 0 {
		patience = time.Duration(s) * time.Second
	}
	ctx, cancel := context.WithTimeout(t.effort, patience)
	defer cancel()
	c, err := e.docker.Inspect(ctx, id)
	if err != nil {
		return fmt.Errorf("container %s: %w", name, err)
	}
	if c.Running() {
		t.halt(i)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	since := time.Now()
	// Not ctx: a request that is given up may still start it.
	starting, stop := context.WithTimeout(t.ctx, startTimeout)
	err = e.docker.Start(starting, id)
	stop()
	if err != nil {
		return fmt.Errorf("CannotStartContainerError: container %s: %w", name, err)
	}
	t.follow(def, c, since)
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		select {
		case <-ctx.Done():
			if t.ctx.Err() != nil {
				return t.ctx.Err() // the next engine goes on
			}
			t.halt(i)
			return fmt.Errorf("container %s had not ended after %v, and was stopped", name, patience)
		case <-time.After(wait):
		}
		c, err := e.docker.Inspect(ctx, id)
		switch {
		case docker.IsNotFound(err):
			return fmt.Errorf("container %s: ContainerVanishedError: No container matching saved ID found", name)
		case err != nil: // Docker is away, or the time is over
			if ctx.Err() == nil {
				t.log.Warn("inspecting a container", "container", name, "err", err)
			}
		case !c.Exited():
		case c.OOMKilled:
			return fmt.Errorf("container %s: OutOfMemoryError: Container killed due to memory usage", name)
		case c.ExitCode != 0:
			return fmt.Errorf("container %s ended with exit code %d", name, c.ExitCode)
		default:
			return nil
		}
	}
}

// refreshed is r with what containers are given now. Their logs have what they had.
func (r *resolved) refreshed(now *resolved, containers []string) *resolved {
	next := &resolved{secrets: map[string][]variable{}, versions: map[string]map[string]string{}}
	if r != nil {
		maps.Copy(next.secrets, r.secrets)
		maps.Copy(next.versions, r.versions)
		next.logOptions, next.logins = r.logOptions, r.logins
		for _, h := range r.held {
			if !slices.Contains(containers, h.Container) || strings.HasPrefix(h.Name, logOption("")) {
				next.held = append(next.held, h)
			}
		}
	}
	for _, name := range containers {
		versions := maps.Clone(now.versions[name])
		for what, version := range next.versions[name] {
			if strings.HasPrefix(what, logOption("")) {
				if versions == nil {
					versions = map[string]string{}
				}
				versions[what] = version
			}
		}
		next.secrets[name], next.versions[name] = now.secrets[name], versions
	}
	next.held = append(next.held, now.held...)
	return next
}
