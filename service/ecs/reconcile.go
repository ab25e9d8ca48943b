package ecs

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/malote/malote/service/ecs/deployment"
	"github.com/malote/malote/service/ecs/taskdef"
	"github.com/malote/malote/store"
)

const (
	// settleFor is how long a task without a health check runs before it counts, as
	// "minimumHealthyPercent" of DeploymentConfiguration says.
	settleFor = 40 * time.Second
	// forgetAfter is how long an INACTIVE service can be described.
	forgetAfter = time.Hour
	// impairedAfter is how many failures in a row an event tells of.
	impairedAfter = 3

	// What one pass does at most, so that it fits into a transaction (store.MaxWrites).
	endsAtOnce, startsAtOnce, stopsAtOnce = 15, 8, 6

	unhealthyReason = "Task failed container health checks"
)

// reconcile brings a service one step nearer to what was asked of it, in one transaction.
// That of several control planes one acts is the transaction's doing: whoever comes second
// finds the service's wake gone.
func (s *Service) reconcile(ctx context.Context, sc scope, cluster, name string) error {
	return s.store.Update(ctx, func(tx store.Tx) error {
		key := wakeKey(sc, cluster, name)
		w, err := s.wakes.Get(tx, key)
		if errors.Is(err, store.ErrNotFound) || err == nil && w.Due.After(s.now()) {
			return nil
		}
		if err != nil {
			return err
		}
		v, err := s.findService(tx, sc, cluster, name)
		if err != nil {
			return err
		}
		if v == nil {
			return s.wakes.Delete(tx, key)
		}
		p := &pass{s: s, tx: tx, sc: sc, v: copyOf(v), now: s.now().UTC(), members: map[string]int{}}
		if v.Status == statusInactive {
			err = p.forget()
		} else if err = p.run(); err == nil {
			if err = s.putService(tx, sc, p.v); err == nil {
				err = s.tellEvents(tx, sc, p.v, p.said)
			}
		}
		if err != nil {
			return err
		}
		if p.next.IsZero() {
			return s.wakes.Delete(tx, key)
		}
		return s.wakes.Put(tx, key, &wake{p.next})
	})
}

// pass is one look at a service. It changes v.
type pass struct {
	s   *Service
	tx  store.Tx
	sc  scope
	v   *service
	now time.Time

	tasks   []deployment.Task
	records map[string]*task
	members map[string]int // tasks not yet counted, by rollout
	failed  bool           // one more did, in the PRIMARY rollout
	said    []string
	next    time.Time // when to look again; zero for not before something changes
}

func (p *pass) again(at time.Time) {
	if p.next.IsZero() || at.Before(p.next) {
		p.next = at
	}
}

func (p *pass) say(format string, args ...any) { p.said = append(p.said, p.v.say(format, args...)) }

func (p *pass) run() error {
	if err := p.look(); err != nil {
		return err
	}
	if err := p.judge(); err != nil {
		return err
	}
	v := p.v
	o := v.primary()
	state := &deployment.State{
		Desired: int(v.Desired), MinimumHealthy: int(*v.Configuration.MinimumHealthyPercent), Maximum: int(*v.Configuration.MaximumPercent),
		Unplaced: v.Unplaced, Tasks: p.tasks, Failed: o.State == types.DeploymentRolloutStateFailed, Halted: v.RetryAt.After(p.now),
	}
	for i := range state.Tasks {
		t := &state.Tasks[i]
		t.Outdated = t.Outdated || p.records[t.ID].Rollout != o.ID
	}
	if v.daemon() {
		state.Daemon = true
		if v.Status == statusActive {
			var err error
			if state.Hosts, err = p.daemonHosts(); err != nil {
				return err
			}
		}
		v.Desired = int32(len(state.Hosts))
	}
	plan := deployment.Decide(state)
	if err := p.stop(plan.Stop); err != nil {
		return err
	}
	if plan.Start > 0 {
		if err := p.start(plan); err != nil {
			return err
		}
	} else {
		v.Unplaced, v.Tries = 0, 0
	}
	if state.Halted && !state.Failed && v.Status == statusActive {
		p.again(v.RetryAt)
	}
	if plan.Stuck {
		p.say("was unable to stop or start tasks during a deployment because of the service deployment configuration. Update the minimumHealthyPercent or maximumPercent value and try again.")
	}
	return p.conclude(state, plan)
}

// look counts what became of tasks that ended and sees how the others are.
func (p *pass) look() error {
	s, v := p.s, p.v
	p.records = map[string]*task{}
	prefix := p.sc.prefix("service-task", v.Cluster, v.Name)
	ends := 0
	for row, err := range s.members.Scan(p.tx, prefix, "") {
		if err != nil {
			return err
		}
		m, id := row.Value, strings.TrimPrefix(row.Key, prefix)
		if m.Ended {
			if ends++; ends > endsAtOnce {
				p.members[m.Rollout]++
				p.again(p.now)
				continue
			}
			if err := p.count(m); err != nil {
				return err
			}
			if err := s.members.Delete(p.tx, row.Key); err != nil {
				return err
			}
			continue
		}
		t, err := s.tasks.Get(p.tx, p.sc.key("task", v.Cluster, id))
		if err != nil {
			return err
		}
		p.members[m.Rollout]++
		p.records[id] = t
		seen, err := p.see(t)
		if err != nil {
			return err
		}
		p.tasks = append(p.tasks, seen)
	}
	return nil
}

// count keeps what the end of a task says about its rollout.
func (p *pass) count(m *member) error {
	i := slices.IndexFunc(p.v.Rollouts, func(o rollout) bool { return o.ID == m.Rollout })
	if m.Failure == "" || i < 0 {
		return nil
	}
	o := &p.v.Rollouts[i]
	o.Failed++
	o.FailedAt, o.UpdatedAt = p.now, p.now
	if m.Launch {
		p.say("failed to launch a task with (error %s).", strings.TrimSuffix(m.Failure, "."))
	}
	if i == 0 {
		p.failed = true
		p.v.RetryAt = p.now.Add(deployment.Delay(int(o.Failed)))
	}
	return p.s.changeDeployment(p.tx, p.sc, p.v, o, func(d *serviceDeployment) { d.Failures = o.Failed })
}

// see tells how a task is.
func (p *pass) see(t *task) (deployment.Task, error) {
	seen := deployment.Task{ID: t.ID, Host: t.Instance, Started: *t.Task.CreatedAt, Protected: t.protected(p.now)}
	if seen.Protected {
		p.again(*t.Protected)
	}
	i, err := p.s.instance(p.tx, p.sc, t.Cluster, t.Instance)
	if err != nil {
		return seen, err
	}
	seen.Outdated = i == nil || i.Status != statusActive
	d, err := p.s.definition(p.tx, p.sc, definitionRef{t.Family, t.Revision})
	if err != nil {
		return seen, err
	}
	switch at := rank(*t.Task.LastStatus); {
	case *t.Task.DesiredStatus == "STOPPED":
		seen.Phase, seen.Protected = deployment.Stopping, false
		return seen, nil
	case at < rank("RUNNING") || t.Task.StartedAt == nil:
		seen.Phase = deployment.Pending
		return seen, nil
	}
	started := *t.Task.StartedAt
	seen.Phase = deployment.Starting
	if d == nil || !checked(&d.Definition) {
		if settled := started.Add(settleFor); settled.After(p.now) {
			p.again(settled)
		} else {
			seen.Phase = deployment.Healthy
		}
		return seen, nil
	}
	switch t.Task.HealthStatus {
	case types.HealthStatusHealthy:
		seen.Phase = deployment.Healthy
	case types.HealthStatusUnhealthy:
		if end := started.Add(time.Duration(aws.ToInt32(p.v.GracePeriod)) * time.Second); end.After(p.now) {
			p.again(end)
		} else {
			seen.Phase = deployment.Unhealthy
		}
	}
	return seen, nil
}

// checked tells whether a task has a health of its own: an essential container's check.
func checked(d *types.TaskDefinition) bool {
	return slices.ContainsFunc(d.ContainerDefinitions, func(c types.ContainerDefinition) bool {
		return c.HealthCheck != nil && taskdef.Essential(&c)
	})
}

// failure is why a task of a service that has just ended counts as failed; "" when it does
// not: it was told to stop, or it served first.
func (t *task) failure(d *definition, now time.Time) (why string, launch bool) {
	reason := aws.ToString(t.Task.StoppedReason)
	switch t.Task.StopCode {
	case types.TaskStopCodeTaskFailedToStart:
		return reason, true
	case types.TaskStopCodeServiceSchedulerInitiated:
		if reason == unhealthyReason {
			return reason, false
		}
	case types.TaskStopCodeEssentialContainerExited:
		served := t.Task.HealthStatus == types.HealthStatusHealthy
		if d == nil || !checked(&d.Definition) {
			served = t.Task.StartedAt != nil && now.Sub(*t.Task.StartedAt) >= settleFor
		}
		if !served {
			return reason, false
		}
	}
	return "", false
}

// judge resets the count of failures when a task is well, and opens the circuit breaker when
// there are too many.
func (p *pass) judge() error {
	v := p.v
	for i := range v.Rollouts {
		o := &v.Rollouts[i]
		if o.Failed == 0 || !slices.ContainsFunc(p.tasks, func(t deployment.Task) bool {
			r := p.records[t.ID]
			return t.Phase == deployment.Healthy && r.Rollout == o.ID && r.Task.StartedAt.After(o.FailedAt)
		}) {
			continue
		}
		o.Failed, o.UpdatedAt = 0, p.now
		if i == 0 {
			v.RetryAt = p.now
		}
		if err := p.s.changeDeployment(p.tx, p.sc, v, o, func(d *serviceDeployment) { d.Failures = 0 }); err != nil {
			return err
		}
	}
	o, breaker := v.primary(), v.Configuration.DeploymentCircuitBreaker
	if p.failed && o.Failed >= impairedAfter {
		p.say("is unable to consistently start tasks successfully.")
	}
	if breaker == nil || !breaker.Enable || o.State != types.DeploymentRolloutStateInProgress || v.Status != statusActive ||
		int(o.Failed) < deployment.Threshold(int(v.Desired)) {
		return nil
	}
	p.say("(deployment %s) deployment failed: tasks failed to start.", deploymentID(o.ID))
	if breaker.Rollback && v.Completed != "" && v.Completed != o.ID {
		p.say("rolling back to deployment %s.", deploymentID(v.Completed))
		if len(o.Cause) > 0 {
			p.say("tasks are given the versions of secrets from before, until there is another deployment. It is not redeployed for %s.", versionsText(o.Cause))
		}
		return p.s.rollBack(p.tx, p.sc, v, "Service deployment rolled back because the circuit breaker threshold was exceeded.", true)
	}
	o.change(types.DeploymentRolloutStateFailed, p.now, "ECS deployment circuit breaker: tasks failed to start.")
	return p.s.changeDeployment(p.tx, p.sc, v, o, func(d *serviceDeployment) {
		d.Tripped = true
		if d.BackTo != "" {
			d.finish(types.ServiceDeploymentStatusRollbackFailed, p.now, o.Reason)
			return
		}
		d.finish(types.ServiceDeploymentStatusStopped, p.now, o.Reason)
	})
}

// rollBack makes the last completed rollout PRIMARY again. Its tasks that still run are kept.
func (s *Service) rollBack(tx store.Tx, sc scope, v *service, reason string, tripped bool) error {
	now := s.now().UTC()
	bad := v.primary()
	old, err := s.revision(tx, sc, v.Cluster, v.Name, v.Completed)
	if err != nil {
		return err
	}
	if old == nil {
		return errors.New("the revision to roll back to is gone")
	}
	if err := s.changeDeployment(tx, sc, v, bad, func(d *serviceDeployment) {
		d.Status, d.Reason, d.Tripped, d.BackTo = types.ServiceDeploymentStatusRollbackInProgress, reason, tripped, old.ID
		d.Rollback = &types.Rollback{Reason: aws.String(reason), StartedAt: &now, ServiceRevisionArn: aws.String(sc.revisionARN(v.Cluster, v.Name, old.ID))}
	}); err != nil {
		return err
	}
	if tripped {
		bad.change(types.DeploymentRolloutStateFailed, now, "ECS deployment circuit breaker: rolling back to deploymentId %s.", deploymentID(old.ID))
	} else {
		bad.change(types.DeploymentRolloutStateFailed, now, "ECS deployment stopped: rolling back to deploymentId %s.", deploymentID(old.ID))
	}
	next := rollout{ID: old.ID, Family: old.Family, Revision: old.Revision, CreatedAt: now}
	if i := slices.IndexFunc(v.Rollouts, func(o rollout) bool { return o.ID == old.ID }); i >= 0 {
		next = v.Rollouts[i]
		v.Rollouts = slices.Delete(v.Rollouts, i, i+1)
	}
	next.Deployment, next.Failed = v.primary().Deployment, 0
	if len(bad.Cause) > 0 {
		next.Pins, v.Refused = v.Given, bad.Cause
	}
	next.change(types.DeploymentRolloutStateInProgress, now, "ECS deployment %s in progress.", deploymentID(old.ID))
	v.Rollouts = slices.Insert(v.Rollouts, 0, next)
	v.RetryAt, v.Unplaced, v.Tries, v.Steady = now, 0, 0, false
	return nil
}

// stop tells tasks to.
func (p *pass) stop(tasks []deployment.Task) error {
	if len(tasks) > stopsAtOnce {
		tasks = tasks[:stopsAtOnce]
		p.again(p.now)
	}
	var stopped []string
	for _, t := range tasks {
		record := copyOf(p.records[t.ID])
		reason := "Scaling activity initiated by (deployment " + deploymentID(p.v.primary().ID) + ")"
		if t.Phase == deployment.Unhealthy {
			reason = unhealthyReason
		}
		if err := p.s.stop(p.tx, p.sc, record, types.TaskStopCodeServiceSchedulerInitiated, reason); err != nil {
			return err
		}
		stopped = append(stopped, t.ID)
	}
	if len(stopped) > 0 {
		p.say("has stopped %d running tasks: %s.", len(stopped), listed(stopped))
	}
	return nil
}

// conclude says what the service has come to.
func (p *pass) conclude(state *deployment.State, plan deployment.Plan) error {
	v := p.v
	for i := len(v.Rollouts) - 1; i > 0; i-- {
		o := v.Rollouts[i]
		if p.members[o.ID] > 0 {
			continue
		}
		v.Rollouts = slices.Delete(v.Rollouts, i, i+1)
		if err := p.s.putService(p.tx, p.sc, v); err != nil { // which removeDeleted reads
			return err
		}
		if err := p.s.removeDeleted(p.tx, p.sc, definitionRef{o.Family, o.Revision}); err != nil {
			return err
		}
	}
	all := 0
	for _, n := range p.members {
		all += n
	}
	if v.Status == statusDraining {
		if all == 0 {
			return p.end()
		}
		return nil
	}
	well := !slices.ContainsFunc(state.Tasks, func(t deployment.Task) bool { return t.Outdated || t.Phase != deployment.Healthy })
	done := well && plan.Start == 0 && len(plan.Stop) == 0 && all == int(v.Desired) && len(state.Tasks) == all
	o := v.primary()
	if done && o.State == types.DeploymentRolloutStateInProgress {
		o.change(types.DeploymentRolloutStateCompleted, p.now, "ECS deployment %s completed.", deploymentID(o.ID))
		v.Completed = o.ID
		p.say("(deployment %s) deployment completed.", deploymentID(o.ID))
		if err := p.s.changeDeployment(p.tx, p.sc, v, o, func(d *serviceDeployment) {
			if d.BackTo != "" {
				d.finish(types.ServiceDeploymentStatusRollbackSuccessful, p.now, d.Reason)
				return
			}
			d.finish(types.ServiceDeploymentStatusSuccessful, p.now, "")
		}); err != nil {
			return err
		}
	}
	if done && !v.Steady {
		p.say(steadyState)
	}
	v.Steady = done
	return nil
}

// end makes a service whose last task has stopped INACTIVE.
func (p *pass) end() error {
	v := p.v
	v.Status, v.EndedAt = statusInactive, p.now
	p.again(p.now.Add(forgetAfter))
	if err := p.s.overtake(p.tx, p.sc, v); err != nil {
		return err
	}
	if err := p.s.putService(p.tx, p.sc, v); err != nil {
		return err
	}
	for _, o := range v.Rollouts {
		if err := p.s.removeDeleted(p.tx, p.sc, definitionRef{o.Family, o.Revision}); err != nil {
			return err
		}
	}
	return nil
}

// forget removes what is kept of a service that was deleted.
func (p *pass) forget() error {
	v := p.v
	if end := v.EndedAt.Add(forgetAfter); end.After(p.now) {
		p.again(end)
		return nil
	}
	var keys []string
	for _, kind := range []string{"service-revision", "service-deployment"} {
		for e, err := range p.tx.Scan(p.sc.prefix(kind, v.Cluster, v.Name), "") {
			if err != nil {
				return err
			}
			keys = append(keys, e.Key)
		}
	}
	const most = store.MaxWrites - 10
	if len(keys) > most {
		keys = keys[:most]
		p.again(p.now)
	} else {
		keys = append(keys, p.sc.key("service", v.Cluster, v.Name), p.sc.key("service-event", v.Cluster, v.Name))
	}
	for _, key := range keys {
		if err := p.tx.Delete(key); err != nil {
			return err
		}
	}
	return nil
}
