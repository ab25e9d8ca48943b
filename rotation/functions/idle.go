package functions

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
)

// take hands out the container that waits for a rotation's next step; nil if there is none.
func (m *images) take(key run) *container {
	m.mu.Lock()
	defer m.mu.Unlock()
	x := m.waiting[key]
	if x == nil {
		return nil
	}
	delete(m.waiting, key)
	x.idle.Stop()
	return x
}

// keep lets a container wait for the next step, for a minute.
func (m *images) keep(x *container) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		go m.stop(x, nil)
		return
	}
	m.waiting[x.key] = x
	x.idle = time.AfterFunc(idleLimit, func() {
		if m.give(x) {
			m.stop(x, nil)
		}
	})
}

// give takes x itself out of those that wait, if it still does.
func (m *images) give(x *container) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.waiting[x.key] != x {
		return false
	}
	delete(m.waiting, x.key)
	return true
}

// stop ends a container that no step has. What cannot be stopped now waits as if it were
// idle, and is stopped then; the next start of malote stops what is left at its end.
func (m *images) stop(x *container, why error) {
	ctx, cancel := context.WithTimeout(context.Background(), stopLimit)
	defer cancel()
	reason := "the rotation has ended"
	if why != nil {
		reason = "the rotation has failed"
	}
	err := m.stopTask(ctx, x.task, reason)
	if err == nil {
		return
	}
	m.log.Error("a rotation function's container was not stopped", "task", x.task, "err", err)
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.closed {
		time.AfterFunc(idleLimit, func() { m.stop(x, why) })
	}
}

func (m *images) stopTask(ctx context.Context, task, reason string) error {
	_, err := m.ecs.StopTask(ctx, &ecs.StopTaskInput{Cluster: &m.engine.Cluster, Task: &task, Reason: aws.String(reason)})
	return err
}

// close stops all that wait.
func (m *images) close() {
	m.mu.Lock()
	m.closed = true
	var all []*container
	for key, x := range m.waiting {
		x.idle.Stop()
		all = append(all, x)
		delete(m.waiting, key)
	}
	m.mu.Unlock()
	for _, x := range all {
		m.stop(x, nil)
	}
}
