package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/malote/malote/acs"
	"github.com/malote/malote/engine/docker"
)

// recover takes up the tasks that an earlier engine of this name wrote down.
func (e *Engine) recover(ctx context.Context) error {
	records, err := readRecords(e.recordDir())
	if err != nil {
		return fmt.Errorf("reading what is known of running tasks: %w", err)
	}
	for _, r := range records {
		if err := e.match(ctx, r); err != nil {
			return fmt.Errorf("looking for the containers of task %s: %w", r.Task.ARN, err)
		}
		work := r.Task
		if _, err := e.begin(&work, r); err != nil {
			return err
		}
		e.log.Info("found a task", "task", taskID(work.ARN))
	}
	return nil
}

// match completes a record by what Docker has: it finds containers that were created
// just before the end, and removes those that never started, since what they were to be
// given has to be fetched again.
func (e *Engine) match(ctx context.Context, r *record) error {
	listed, err := e.docker.List(ctx, map[string]string{labelEngine: e.Name, labelTask: r.Task.ARN})
	if err != nil {
		return err
	}
	for i := range r.Containers {
		c := &r.Containers[i]
		if c.Stopped {
			continue
		}
		for _, l := range listed {
			if l.Labels[labelContainer] != c.Name {
				continue
			}
			if l.Status == "created" {
				if err := e.docker.Remove(ctx, l.ID); err != nil {
					return err
				}
				if c.ID == l.ID {
					c.ID = ""
				}
				continue
			}
			in, err := e.docker.Inspect(ctx, l.ID)
			if docker.IsNotFound(err) {
				continue
			} else if err != nil {
				return err
			}
			c.ID = l.ID
			if c.Started.IsZero() {
				c.Started = in.Started
			}
			if c.Versions == nil {
				json.Unmarshal([]byte(l.Labels[labelVersions]), &c.Versions) // ours, or else none
			}
			if c.Ports == nil {
				c.Ports = bindings(in.Ports)
			}
		}
	}
	return nil
}

// adopt begins a task that the control plane sent, from its containers if there are any.
func (e *Engine) adopt(ctx context.Context, work *acs.Task) error {
	if e.task(work.ARN) != nil {
		_, err := e.begin(work, nil) // fresh credentials
		return err
	}
	listed, err := e.docker.List(ctx, map[string]string{labelEngine: e.Name, labelTask: work.ARN})
	if err != nil {
		return err
	}
	var r *record
	if len(listed) > 0 {
		r = recordOf(work)
		if err := e.match(ctx, r); err != nil {
			return err
		}
	}
	_, err = e.begin(work, r)
	return err
}

// Sweep stops and reports every task that wanted does not list, and removes what bears this
// engine's name and belongs to no task.
func (e *Engine) Sweep(ctx context.Context, wanted []string) error {
	for _, t := range e.all() {
		if !slices.Contains(wanted, t.work.ARN) {
			t.stopTask("Task is no longer wanted on this container instance", types.TaskStopCodeUserInitiated)
		}
	}
	have := map[string]bool{} // by ARN
	ids := map[string]bool{}
	for _, t := range e.all() {
		have[t.work.ARN], ids[taskID(t.work.ARN)] = true, true
	}
	mine := map[string]string{labelEngine: e.Name}
	var errs []error
	orphans := map[string]bool{}
	containers, err := e.docker.List(ctx, mine)
	errs = append(errs, err)
	for _, c := range containers {
		if arn := c.Labels[labelTask]; !have[arn] {
			orphans[arn] = true
		}
	}
	volumes, err := e.docker.Volumes(ctx, mine)
	errs = append(errs, err)
	for _, v := range volumes {
		if arn := v.Labels[labelTask]; !have[arn] {
			orphans[arn] = true
		}
	}
	for arn := range orphans {
		e.log.Info("removing what is left of a task", "task", taskID(arn))
		errs = append(errs, e.removeTask(ctx, arn))
	}
	dirs, err := e.volumes.Tasks()
	errs = append(errs, err)
	for _, id := range dirs {
		if !ids[id] {
			errs = append(errs, e.volumes.Remove(id))
		}
	}
	errs = append(errs, e.shim.Sweep(func(name string) bool {
		i := strings.LastIndex(name, "-")
		return i > 0 && ids[name[:i]]
	}))
	return errors.Join(errs...)
}
