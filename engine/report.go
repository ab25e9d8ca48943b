package engine

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/smithy-go"

	"github.com/malote/malote/acs"
)

// same reports whether nothing that anybody is told differs.
func (r Report) same(o Report) bool {
	return r.Status == o.Status && r.Reason == o.Reason && r.StopCode == o.StopCode && slices.Equal(r.Held, o.Held) && sameRefresh(r.Refreshed, o.Refreshed) &&
		slices.EqualFunc(r.Containers, o.Containers, func(a, b ContainerReport) bool {
			return a.sameState(b) && a.Health == b.Health && a.Restarts == b.Restarts && maps.Equal(a.Versions, b.Versions)
		})
}

func sameRefresh(a, b *acs.Refreshed) bool { return a == b || a != nil && b != nil && *a == *b }

// sameState compares what is submitted.
func (c ContainerReport) sameState(o ContainerReport) bool {
	sameCode := (c.ExitCode == nil) == (o.ExitCode == nil) && (c.ExitCode == nil || *c.ExitCode == *o.ExitCode)
	return c.Status == o.Status && sameCode && c.Reason == o.Reason && c.ID == o.ID && c.Digest == o.Digest && len(c.Ports) == len(o.Ports)
}

// reporter tells the control plane what a task comes to, until it acknowledges. What is
// overtaken by later news before it was sent is not sent.
type reporter struct {
	task *task
	news chan struct{}
	done chan struct{} // closed when run has ended; told is then final
	told bool          // the last report

	mu     sync.Mutex // guards the rest
	latest Report
	last   bool
}

func newReporter(t *task) *reporter {
	r := &reporter{task: t, news: make(chan struct{}, 1), done: make(chan struct{})}
	if !t.engine.controlled {
		r.told = true // there is nobody to tell
		close(r.done)
		return r
	}
	t.engine.running.Go(r.run)
	return r
}

func (r *reporter) changed(report Report) {
	r.mu.Lock()
	r.latest = report
	r.mu.Unlock()
	r.nudge()
}

func (r *reporter) nudge() {
	select {
	case r.news <- struct{}{}:
	default:
	}
}

// close returns when the last report was acknowledged or refused for good, and true, or
// when the engine ends.
func (r *reporter) close() bool {
	r.mu.Lock()
	r.last = true
	r.mu.Unlock()
	r.nudge()
	<-r.done
	return r.told
}

func (r *reporter) run() {
	defer close(r.done)
	ctx := r.task.ctx
	var told Report
	for {
		select {
		case <-r.news:
		case <-ctx.Done():
			return
		}
		for wait := 200 * time.Millisecond; ; wait = min(2*wait, 30*time.Second) {
			r.mu.Lock()
			now, last := r.latest, r.last
			r.mu.Unlock()
			err := r.submit(ctx, told, now)
			if err == nil || refused(err) {
				if err != nil {
					r.task.log.Error("the control plane refuses a report", "status", now.Status, "err", err)
				}
				told = now
				if last {
					r.told = true
					return
				}
				break
			}
			if ctx.Err() != nil {
				return
			}
			r.task.log.Warn("reporting to the control plane", "status", now.Status, "err", err)
			r.task.sleep(wait)
		}
	}
}

// refused reports whether the control plane will say the same again.
func refused(err error) bool {
	api, ok := errors.AsType[smithy.APIError](err)
	if !ok {
		return false
	}
	switch api.ErrorCode() {
	case "ClientException", "InvalidParameterException", "ClusterNotFoundException":
		return true
	}
	return false
}

// submit tells what is new. Empty members are what was told to nobody.
func (r *reporter) submit(ctx context.Context, told, now Report) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	client, work := r.task.engine.ecs(), r.task.work
	if now.Status != told.Status && now.Status != types.DesiredStatusPending {
		in := &ecs.SubmitTaskStateChangeInput{
			Cluster: aws.String(work.ClusterARN), Task: aws.String(work.ARN), Status: aws.String(string(now.Status)),
			PullStartedAt: moment(now.PullStarted), PullStoppedAt: moment(now.PullStopped), ExecutionStoppedAt: moment(now.ExecutionStopped),
		}
		if now.Reason != "" {
			in.Reason = aws.String(now.Reason)
		}
		for _, c := range now.Containers {
			change := types.ContainerStateChange{
				ContainerName: aws.String(c.Name), Status: aws.String(string(c.Status)), ExitCode: c.ExitCode,
				NetworkBindings: c.Ports, RuntimeId: text(c.ID), Reason: text(c.Reason), ImageDigest: text(c.Digest),
			}
			in.Containers = append(in.Containers, change)
		}
		if _, err := client.SubmitTaskStateChange(ctx, in); err != nil {
			return err
		}
	} else {
		for i, c := range now.Containers {
			if c.Status == types.DesiredStatusPending || i < len(told.Containers) && c.sameState(told.Containers[i]) {
				continue
			}
			_, err := client.SubmitContainerStateChange(ctx, &ecs.SubmitContainerStateChangeInput{
				Cluster: aws.String(work.ClusterARN), Task: aws.String(work.ARN), ContainerName: aws.String(c.Name),
				Status: aws.String(string(c.Status)), ExitCode: c.ExitCode, NetworkBindings: c.Ports, RuntimeId: text(c.ID), Reason: text(c.Reason),
			})
			if err != nil {
				return err
			}
		}
	}
	if now.Status != types.DesiredStatusStopped && !slices.Equal(now.Held, told.Held) {
		if err := r.task.engine.post(ctx, "/acs/secrets", acs.Secrets{TaskARN: work.ARN, Held: now.Held}); err != nil {
			return err
		}
	}
	if now.Refreshed != nil && now.Status != types.DesiredStatusStopped && !sameRefresh(now.Refreshed, told.Refreshed) {
		if err := r.task.engine.post(ctx, "/acs/refreshes", now.Refreshed); err != nil {
			return err
		}
	}
	health := acs.Health{TaskARN: work.ARN, Containers: map[string]types.HealthStatus{}}
	fresh := false
	for i, c := range now.Containers {
		if c.Health == "" {
			continue
		}
		health.Containers[c.Name] = c.Health
		fresh = fresh || i >= len(told.Containers) || told.Containers[i].Health != c.Health
	}
	if !fresh || now.Status == types.DesiredStatusStopped {
		return nil
	}
	return r.task.engine.post(ctx, "/acs/health", health)
}

func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func text(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
