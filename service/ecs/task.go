package ecs

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/malote/malote/acs"
	"github.com/malote/malote/authz"
	"github.com/malote/malote/store"
)

// task is the record of one. Task is what DescribeTasks answers but for its
// connectivity, which is its instance's.
type task struct {
	Task     types.Task
	ID       string
	Cluster  string
	Instance string
	Family   string
	Revision int32
	// The roles' ARNs, after overrides; "" for none.
	ExecutionRole, TaskRole string
	// Volumes are those that its launch configured, InfrastructureRole who makes them.
	Volumes            []acs.Volume `json:",omitempty"`
	InfrastructureRole string       `json:",omitempty"`
	// Service and Rollout are what it belongs to; "" for a task of its own.
	Service, Rollout string `json:",omitempty"`
	// Protected is until when its service may not stop it.
	Protected *time.Time `json:",omitempty"`
	// Held is the versions of secrets that were had for its containers; see has.
	Held []acs.Held `json:",omitempty"`
	// HeldBy is the address of the engine that told of them, from which it reads secrets.
	HeldBy netip.Addr `json:",omitzero"`
	// Pins is the versions that they are to be given; see rollout.
	Pins []acs.Held `json:",omitempty"`
	// Token is the client token that made it.
	Token string `json:",omitempty"`
	// Delivered tells that an engine may have heard of it. Before, the control plane
	// alone decides its end.
	Delivered bool
}

// placement says that a task that has not stopped is an instance's. It is what the
// instance's stream watches, so it changes only when the engine is to hear of it.
type placement struct {
	Task        string
	Family      string
	Revision    int32
	Group       string
	CPU, Memory int
	Ports       []string `json:",omitempty"` // "80/tcp": fixed ports of the host
	Stop        bool     `json:",omitempty"`
	Reason      string   `json:",omitempty"`
	// Refresh is what its engine is to do for a running task.
	Refresh *refreshAsked `json:",omitempty"`
}

// keepStopped is how long a stopped task can be described.
const keepStopped = time.Hour

// statuses in the order of a task's life.
var statuses = []string{"PROVISIONING", "PENDING", "ACTIVATING", "RUNNING", "DEACTIVATING", "STOPPING", "DEPROVISIONING", "STOPPED"}

func rank(status string) int {
	for i, s := range statuses {
		if s == status {
			return i
		}
	}
	return -1
}

// advance moves a task to a later status; an earlier one is old news.
func (t *task) advance(status string) bool {
	if rank(status) <= rank(aws.ToString(t.Task.LastStatus)) {
		return false
	}
	t.Task.LastStatus = aws.String(status)
	return true
}

// findTask reads a task; nil when there is none.
func (s *Service) findTask(tx store.Tx, sc scope, cluster, id string) (*task, error) {
	t, err := s.tasks.Get(tx, sc.key("task", cluster, id))
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err == nil && s.forgotten(t) {
		return nil, nil
	}
	return t, err
}

// forgotten tells that a task stopped so long ago that it is no longer shown, whether
// its record is gone yet or not.
func (s *Service) forgotten(t *task) bool {
	return t.Task.StoppedAt != nil && s.now().Sub(*t.Task.StoppedAt) > keepStopped+10*time.Minute
}

// putTask writes a changed task as its next version.
func (s *Service) putTask(tx store.Tx, sc scope, t *task) error {
	t.Task.Version++
	return s.tasks.Put(tx, sc.key("task", t.Cluster, t.ID), t)
}

// stopped ends a task: its place is free, and in an hour its record goes.
func (s *Service) stopped(tx store.Tx, sc scope, t *task) error {
	now := s.now().UTC()
	t.Task.LastStatus = aws.String("STOPPED")
	t.Task.DesiredStatus = aws.String("STOPPED")
	t.Task.StoppedAt = &now
	if t.Task.StoppingAt == nil {
		t.Task.StoppingAt = &now
	}
	if t.Task.ExecutionStoppedAt == nil && t.Task.StartedAt != nil {
		t.Task.ExecutionStoppedAt = &now
	}
	for i := range t.Task.Containers {
		t.Task.Containers[i].LastStatus = aws.String("STOPPED")
	}
	for i := range t.Task.Attachments {
		t.Task.Attachments[i].Status = aws.String("DELETED")
	}
	if err := s.placements.Delete(tx, sc.key("placement", t.Cluster, t.Instance, t.ID)); err != nil {
		return err
	}
	if err := s.putTask(tx, sc, t); err != nil {
		return err
	}
	if err := s.leave(tx, sc, t, now); err != nil {
		return err
	}
	if err := s.removeDeleted(tx, sc, definitionRef{t.Family, t.Revision}); err != nil {
		return err
	}
	return tx.Put(sc.key("stopped", t.Cluster, fmt.Sprintf("%012d", now.Unix()), t.ID), []byte{})
}

// ended is stopped where it is the one task that the transaction ends: there is room to
// sweep.
func (s *Service) ended(tx store.Tx, sc scope, t *task) error {
	if err := s.stopped(tx, sc, t); err != nil {
		return err
	}
	return s.sweep(tx, sc, t.Cluster)
}

// leave tells a task's service of its end.
func (s *Service) leave(tx store.Tx, sc scope, t *task, at time.Time) error {
	if t.Service == "" {
		return nil
	}
	d, err := s.definition(tx, sc, definitionRef{t.Family, t.Revision})
	if err != nil {
		return err
	}
	m := &member{Rollout: t.Rollout, Ended: true}
	m.Failure, m.Launch = t.failure(d, at)
	if err := s.members.Put(tx, sc.key("service-task", t.Cluster, t.Service, t.ID), m); err != nil {
		return err
	}
	return s.wake(tx, sc, t.Cluster, t.Service)
}

// changed is putTask for news that a task's service is to hear.
func (s *Service) changed(tx store.Tx, sc scope, t *task) error {
	if t.Service != "" {
		if err := s.wake(tx, sc, t.Cluster, t.Service); err != nil {
			return err
		}
	}
	return s.putTask(tx, sc, t)
}

// protected tells whether a task's service must leave it alone.
func (t *task) protected(now time.Time) bool { return t.Protected != nil && t.Protected.After(now) }

// sweep removes tasks that stopped more than an hour ago: more of them at a time than
// one stop adds, so that they cannot pile up.
func (s *Service) sweep(tx store.Tx, sc scope, cluster string) error {
	prefix := sc.prefix("stopped", cluster)
	limit := fmt.Sprintf("%s%012d", prefix, s.now().Add(-keepStopped-10*time.Minute).Unix())
	var old []string
	for e, err := range tx.Scan(prefix, "") {
		if err != nil {
			return err
		}
		if e.Key >= limit || len(old) == 10 {
			break
		}
		old = append(old, e.Key)
	}
	for _, key := range old {
		id := key[strings.LastIndexByte(key, '/')+1:]
		t, err := s.tasks.Get(tx, sc.key("task", cluster, id))
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if err == nil && t.Token != "" {
			if err := s.tokens.Delete(tx, sc.key("token", cluster, t.Token)); err != nil {
				return err
			}
		}
		if err := s.tasks.Delete(tx, sc.key("task", cluster, id)); err != nil {
			return err
		}
		if err := tx.Delete(key); err != nil {
			return err
		}
	}
	return nil
}

// answer is a task as the API shows it.
func (s *Service) answer(tx store.Tx, sc scope, t *task, tags bool) (types.Task, error) {
	d := t.Task
	if !tags {
		d.Tags = []types.Tag{}
	}
	i, err := s.instance(tx, sc, t.Cluster, t.Instance)
	if err != nil {
		return d, err
	}
	connected := false
	if i != nil {
		if connected, err = s.connected(tx, sc, i); err != nil {
			return d, err
		}
	}
	if t.Delivered {
		d.Connectivity = types.ConnectivityDisconnected
		if connected || *d.LastStatus == "STOPPED" {
			d.Connectivity = types.ConnectivityConnected
		}
	}
	return d, nil
}

// authorizeTask asks for an action on a task with its tags.
func (s *Service) authorizeTask(ctx context.Context, action, cluster, id string) error {
	sc := scopeOf(ctx)
	var tags []types.Tag
	err := s.store.View(ctx, func(tx store.Tx) error {
		t, err := s.findTask(tx, sc, cluster, id)
		if t != nil {
			tags = t.Task.Tags
		}
		return err
	})
	if err != nil {
		return err
	}
	return s.authz.Authorize(ctx, &authz.Access{
		Action: action, Resource: sc.taskARN(cluster, id), Tags: tagMap(tags),
		Conditions: map[string][]string{"ecs:cluster": {sc.clusterARN(cluster)}},
	})
}
