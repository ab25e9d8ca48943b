package ecs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/malote/malote/acs"
	"github.com/malote/malote/internal/ourlabels"
	"github.com/malote/malote/internal/ourtags"
	"github.com/malote/malote/service/ecs/deployment"
	"github.com/malote/malote/service/ecs/taskdef"
	"github.com/malote/malote/store"
)

// refreshAtOnce is how many tasks of a service are refreshed at the same time, once one
// was, and went on well.
const refreshAtOnce = 5

// refreshPatience is how long an engine that is there may take to say what became of a refresh,
// besides the startTimeouts of the containers.
const refreshPatience = 15 * time.Minute

// refreshing is a service's way to versions that became current.
type refreshing struct {
	For    []acs.Held // those versions
	Proven bool       // a task has them
	// Tries is how often in a row it failed, Failed are the tasks that it did for, the last one
	// last: the others come first.
	Tries   int      `json:",omitempty"`
	Failed  []string `json:",omitempty"`
	RetryAt time.Time
}

// refreshAsked is what an engine was asked for, until it says what became of it.
type refreshAsked struct {
	acs.Refresh
	Stale []acs.Held // what the task held
	Until time.Time  // to answer
}

// candidate is a task of a service that refreshes.
type candidate struct {
	t          *task
	definition *types.TaskDefinition
	asked      bool
	overdue    string // the id of what was asked and not answered in time
	running    bool
	able       bool // its engine knows how
	connected  bool // and listens
	pinned     bool // its deployment has its versions for good

	again  []string   // containers to be run again
	stale  []acs.Held // that they hold
	beyond []acs.Held // that others hold
}

// asleep are those that nothing is asked of now.
func (c *candidate) asleep() bool { return c.asked || !c.running || !c.connected }

// candidatesOf reads the tasks of a service. Those of deployments that are on their way out are
// refreshed as well: they serve.
func (s *Service) candidatesOf(tx store.Tx, f *following) error {
	prefix := f.sc.prefix("service-task", f.v.Cluster, f.v.Name)
	for row, err := range s.members.Scan(tx, prefix, "") {
		if err != nil {
			return err
		}
		if row.Value.Ended {
			continue
		}
		t, err := s.findTask(tx, f.sc, f.v.Cluster, strings.TrimPrefix(row.Key, prefix))
		if err != nil {
			return err
		}
		if t == nil || *t.Task.DesiredStatus != string(types.DesiredStatusRunning) {
			continue
		}
		c := &candidate{t: t, running: *t.Task.LastStatus == "RUNNING"}
		p, err := s.placements.Get(tx, f.sc.key("placement", t.Cluster, t.Instance, t.ID))
		if errors.Is(err, store.ErrNotFound) || err == nil && p.Stop {
			continue
		} else if err != nil {
			return err
		}
		if c.asked = p.Refresh != nil; c.asked && s.now().After(p.Refresh.Until) {
			c.overdue = p.Refresh.ID
		}
		d, err := s.definition(tx, f.sc, definitionRef{t.Family, t.Revision})
		if err != nil {
			return err
		}
		i, err := s.instance(tx, f.sc, t.Cluster, t.Instance)
		if err != nil {
			return err
		}
		if d == nil || i == nil {
			continue
		}
		c.definition = &d.Definition
		_, c.able = i.attributes(f.sc)[acs.CanRefresh]
		if c.connected, err = s.connected(tx, f.sc, i); err != nil {
			return err
		}
		c.pinned = slices.ContainsFunc(f.v.Rollouts, func(o rollout) bool { return o.ID == t.Rollout && o.Pins != nil })
		f.candidates = append(f.candidates, c)
	}
	return nil
}

// outstanding is how many tasks of a service are being refreshed, by engines that are there.
func (f *following) outstanding() (n int) {
	for _, c := range f.candidates {
		if c.asked && c.connected {
			n++
		}
	}
	return n
}

// look finds what of a task's is stale, and which of its containers would have it renewed.
func (c *candidate) look(ctx context.Context, known *currentVersions, f *following) error {
	type renewal struct {
		acs.Held
		current string
	}
	var reach []renewal
	pair := func(r renewal) (was, now acs.Held) {
		return acs.Held{ARN: r.ARN, Selector: r.Selector, Version: r.Version}, acs.Held{ARN: r.ARN, Selector: r.Selector, Version: r.current}
	}
	pass := func(r renewal, why string) {
		c.beyond = append(c.beyond, r.Held)
		f.beyond.add(pair(r))
		if text := "container " + r.Container + ", " + why; !slices.Contains(f.why, text) {
			f.why = append(f.why, text)
		}
	}
	for _, h := range c.t.has() {
		current, err := known.of(ctx, c.t, h)
		if err != nil {
			return err
		}
		if current == "" || current == h.Version { // gone, as in compare
			continue
		}
		why := outOfReach(c.definition, c.t.Task.Containers, h)
		switch {
		case c.pinned:
			why = "whose deployment has its versions from before"
		case why == "" && !c.able:
			why = "whose agent, of (container-instance " + c.t.Instance + "), is older than this"
		}
		if why != "" {
			pass(renewal{h, current}, why)
			continue
		}
		reach = append(reach, renewal{h, current})
		if !slices.Contains(c.again, h.Container) {
			c.again = append(c.again, h.Container)
		}
	}
	// One that is not run again may be what another one was to be run again for.
	for i := 0; i < len(c.again); i++ {
		name := c.again[i]
		other := handedOn(c.definition, c.t.Task.Containers, name, c.again)
		if other == "" {
			continue
		}
		reach = slices.DeleteFunc(reach, func(r renewal) bool {
			if r.Container != name {
				return false
			}
			pass(r, "whose files container "+other+" may have made others of, which is not run again")
			return true
		})
		c.again, i = slices.Delete(c.again, i, i+1), -1
	}
	for _, r := range reach {
		c.stale = append(c.stale, r.Held)
		f.reached.add(pair(r))
	}
	return nil
}

// versions are what is held beside what is current, each pair once.
type versions struct{ stale, current []acs.Held }

func (v *versions) add(stale, current acs.Held) {
	if !slices.Contains(v.current, current) {
		v.current = append(v.current, current)
	}
	if !slices.Contains(v.stale, stale) {
		v.stale = append(v.stale, stale)
	}
}

// outOfReach says why running a container again would not renew what it holds; "" when it
// would. That is so of one that only hands files over: it ran to its end, others waited for
// that, and it can write to a volume that they have too.
func outOfReach(d *types.TaskDefinition, containers []types.Container, h acs.Held) string {
	i := slices.IndexFunc(d.ContainerDefinitions, func(c types.ContainerDefinition) bool { return aws.ToString(c.Name) == h.Container })
	if i < 0 {
		return "which the task definition does not have"
	}
	c := &d.ContainerDefinitions[i]
	switch {
	case strings.HasPrefix(h.Name, "log:"):
		return "whose log driver has it"
	case taskdef.Essential(c):
		return "which is essential"
	case c.FirelensConfiguration != nil:
		return "which is the log router"
	case c.DockerLabels[ourlabels.Secrets] == ourlabels.DockerEnv:
		return "which has it in Docker's configuration"
	}
	awaited, shares := false, false
	for j := range d.ContainerDefinitions {
		if i == j {
			continue
		}
		other := &d.ContainerDefinitions[j]
		awaited = awaited || slices.ContainsFunc(other.DependsOn, func(on types.ContainerDependency) bool {
			return aws.ToString(on.ContainerName) == h.Container && (on.Condition == types.ContainerConditionSuccess || on.Condition == types.ContainerConditionComplete)
		})
		shares = shares || handsTo(c, other)
	}
	switch {
	case !awaited:
		return "for whose COMPLETE or SUCCESS no other container waits"
	case !shares:
		return "which has no volume that it can write to and another container has too"
	}
	for _, now := range containers {
		if aws.ToString(now.Name) == h.Container && (aws.ToString(now.LastStatus) != "STOPPED" || now.ExitCode == nil) {
			return "which has not run to its end"
		}
	}
	return ""
}

// handedOn names a container that may have made other files of those that one wrote, for a third
// one: it began after that one, sees what it wrote, and has ended. "" when there is none but those
// that are run again.
func handedOn(d *types.TaskDefinition, containers []types.Container, name string, again []string) string {
	all := map[string]*types.ContainerDefinition{}
	for i := range d.ContainerDefinitions {
		all[aws.ToString(d.ContainerDefinitions[i].Name)] = &d.ContainerDefinitions[i]
	}
	for _, now := range containers {
		other := aws.ToString(now.Name)
		c := all[other]
		ran := aws.ToString(now.LastStatus) == "STOPPED" && aws.ToString(now.RuntimeId) != ""
		if c == nil || !ran || other == name || slices.Contains(again, other) || !after(all, other, name, map[string]bool{}) || !handsTo(all[name], c) {
			continue
		}
		for third, to := range all {
			if third != name && third != other && handsTo(c, to) {
				return other
			}
		}
	}
	return ""
}

// after reports whether a container depends on another one, if only by way of others. Those that
// were seen are not looked at again.
func after(all map[string]*types.ContainerDefinition, container, other string, seen map[string]bool) bool {
	if all[container] == nil || seen[container] {
		return false
	}
	seen[container] = true
	return slices.ContainsFunc(all[container].DependsOn, func(on types.ContainerDependency) bool {
		return aws.ToString(on.ContainerName) == other || after(all, aws.ToString(on.ContainerName), other, seen)
	})
}

// handsTo reports whether another container sees what one writes into a volume.
func handsTo(from, to *types.ContainerDefinition) bool {
	of := func(list []types.VolumeFrom, c *types.ContainerDefinition, write bool) bool {
		return slices.ContainsFunc(list, func(v types.VolumeFrom) bool {
			return aws.ToString(v.SourceContainer) == aws.ToString(c.Name) && !(write && aws.ToBool(v.ReadOnly))
		})
	}
	return of(to.VolumesFrom, from, false) || of(from.VolumesFrom, to, true) ||
		slices.ContainsFunc(from.MountPoints, func(m types.MountPoint) bool {
			return !aws.ToBool(m.ReadOnly) && aws.ToString(m.SourceVolume) != "" &&
				slices.ContainsFunc(to.MountPoints, func(o types.MountPoint) bool { return aws.ToString(o.SourceVolume) == *m.SourceVolume })
		})
}

// signals are what is sent when these containers have replaced their files: to those that see
// them and ask for it.
func signals(d *types.TaskDefinition, again []string) (out []acs.Signal) {
	for i := range d.ContainerDefinitions {
		c := &d.ContainerDefinitions[i]
		wishes, err := ourlabels.Of(c) // which registration has checked
		if err != nil || wishes.Signal == "" || slices.Contains(again, aws.ToString(c.Name)) {
			continue
		}
		if slices.ContainsFunc(d.ContainerDefinitions, func(from types.ContainerDefinition) bool {
			return slices.Contains(again, aws.ToString(from.Name)) && handsTo(&from, c)
		}) {
			out = append(out, acs.Signal{Container: *c.Name, Signal: wishes.Signal})
		}
	}
	return out
}

// choose says which tasks are asked now: one until it is known to go well, then a few at a
// time, those last for which it failed last.
func (f *following) choose(now time.Time) (chosen []*candidate) {
	r := f.v.Refresh
	fresh := r == nil || !covers(r.For, f.reached.current)
	if !fresh && r.RetryAt.After(now) {
		return nil
	}
	room := 1
	if !fresh && r.Proven && r.Tries == 0 {
		room = refreshAtOnce
	}
	room -= f.outstanding()
	all := slices.Clone(f.candidates)
	if !fresh {
		slices.SortStableFunc(all, func(a, b *candidate) int {
			return slices.Index(r.Failed, a.t.ID) - slices.Index(r.Failed, b.t.ID)
		})
	}
	for _, c := range all {
		if len(chosen) < room && len(c.again) > 0 && !c.asleep() {
			chosen = append(chosen, c)
		}
	}
	return chosen
}

// refreshFor takes a service one step nearer to what is current. Waiting tells that there is more.
func (s *Service) refreshFor(ctx context.Context, f *following, known *currentVersions, free func() bool) (waiting bool, err error) {
	reached, beyond := 0, 0
	for _, c := range f.candidates {
		if c.overdue != "" {
			if err := s.withdraw(ctx, f.sc, c); err != nil {
				return false, err
			}
		}
		if !c.running { // it gets what is current, or is looked at when it runs
			waiting = true
			continue
		}
		if err := c.look(ctx, known, f); err != nil {
			return false, err
		}
		if len(c.stale) > 0 {
			reached++
		}
		if len(c.beyond) > 0 {
			beyond++
		}
		// An agent that is too old may be a new one soon.
		waiting = waiting || c.asked || len(c.again) > 0 || !c.able && len(c.beyond) > 0
	}
	r := f.v.Refresh
	chosen := f.choose(s.now())
	if len(chosen) > 0 && f.outstanding() == 0 && !free() {
		chosen = nil
	}
	over := r != nil && reached == 0 && !waiting
	alert := beyond > 0 && !covers(f.v.Alerted, f.beyond.current)
	if len(chosen) == 0 && !over && !alert {
		return waiting, nil
	}
	return waiting, s.store.Update(ctx, func(tx store.Tx) error {
		v, err := s.findService(tx, f.sc, f.v.Cluster, f.v.Name)
		if err != nil || v == nil || v.Status != statusActive || tagValue(v.Tags, ourtags.OnSecretChange) != ourtags.Refresh {
			return err
		}
		v = copyOf(v)
		var said []string
		if over {
			if v.Refresh != nil && v.Refresh.Proven {
				said = append(said, v.say("was refreshed: its tasks hold %s.", versionsText(v.Refresh.For)))
			}
			v.Refresh = nil
		}
		if len(chosen) > 0 && (v.Refresh == nil || !covers(v.Refresh.For, f.reached.current)) {
			v.Refresh = &refreshing{For: f.reached.current}
			said = append(said, v.say("is refreshed: %s", holding(reached, f.reached.stale, f.reached.current)))
		}
		if alert {
			v.Alerted = f.beyond.current
			said = append(said, v.say("%s A refresh does not reach %s. A new deployment would change that.",
				holding(beyond, f.beyond.stale, f.beyond.current), strings.Join(f.why, ", nor ")))
		}
		for _, c := range chosen {
			if err := s.ask(tx, f.sc, c); err != nil {
				return err
			}
		}
		if err := s.tellEvents(tx, f.sc, v, said); err != nil {
			return err
		}
		return s.putService(tx, f.sc, v)
	})
}

// ask has a task's engine run containers again, if the task is still what it was.
func (s *Service) ask(tx store.Tx, sc scope, c *candidate) error {
	t, err := s.findTask(tx, sc, c.t.Cluster, c.t.ID)
	if err != nil || t == nil || *t.Task.LastStatus != "RUNNING" || !slices.Equal(t.Held, c.t.Held) {
		return err
	}
	key := sc.key("placement", t.Cluster, t.Instance, t.ID)
	p, err := s.placements.Get(tx, key)
	if errors.Is(err, store.ErrNotFound) || err == nil && (p.Stop || p.Refresh != nil) {
		return nil
	} else if err != nil {
		return err
	}
	p = copyOf(p)
	patience := refreshPatience
	for _, d := range c.definition.ContainerDefinitions {
		if slices.Contains(c.again, aws.ToString(d.Name)) {
			patience += time.Duration(aws.ToInt32(d.StartTimeout)) * time.Second
		}
	}
	p.Refresh = &refreshAsked{
		Until:   s.now().UTC().Add(patience),
		Refresh: acs.Refresh{ID: newUUID(), TaskARN: *t.Task.TaskArn, Containers: c.again, Signals: signals(c.definition, c.again)},
		Stale:   c.stale,
	}
	return s.placements.Put(tx, key, p)
}

// withdraw has what a task's engine did not answer in time count as failed; what an engine did not
// that is away is asked anew when it is back.
func (s *Service) withdraw(ctx context.Context, sc scope, c *candidate) error {
	return s.store.Update(ctx, func(tx store.Tx) error {
		t, err := s.findTask(tx, sc, c.t.Cluster, c.t.ID)
		if err != nil || t == nil {
			return err
		}
		key := sc.key("placement", t.Cluster, t.Instance, t.ID)
		p, err := s.placements.Get(tx, key)
		if errors.Is(err, store.ErrNotFound) || err == nil && (p.Refresh == nil || p.Refresh.ID != c.overdue) {
			return nil
		} else if err != nil {
			return err
		}
		p = copyOf(p)
		p.Refresh = nil
		if err := s.placements.Put(tx, key, p); err != nil || !c.connected {
			return err
		}
		return s.tellRefresh(tx, sc, t, "the agent of (container-instance "+t.Instance+") did not tell in time what became of it")
	})
}

// refreshes records what became of a refresh. News of one that was not asked for is old.
func (s *Service) refreshes(r *http.Request) error {
	ctx := r.Context()
	sc := scopeOf(ctx)
	var news acs.Refreshed
	if err := json.NewDecoder(io.LimitReader(r.Body, maxNews)).Decode(&news); err != nil {
		return invalidParameter("The report of a refresh is not valid JSON.")
	}
	cluster, id, err := s.ofTask(ctx, sc, news.TaskARN)
	if err != nil {
		return err
	}
	return s.store.Update(ctx, func(tx store.Tx) error {
		t, err := s.findTask(tx, sc, cluster, id)
		if err != nil || t == nil {
			return err
		}
		key := sc.key("placement", cluster, t.Instance, id)
		p, err := s.placements.Get(tx, key)
		if errors.Is(err, store.ErrNotFound) || err == nil && (p.Refresh == nil || p.Refresh.ID != news.ID) {
			return nil
		} else if err != nil {
			return err
		}
		p = copyOf(p)
		asked := p.Refresh
		p.Refresh = nil
		if err := s.placements.Put(tx, key, p); err != nil {
			return err
		}
		if *t.Task.DesiredStatus != string(types.DesiredStatusRunning) {
			return nil
		}
		if news.Failure == "" && covers(t.Held, asked.Stale) {
			news.Failure = "it holds what it held before"
		}
		return s.tellRefresh(tx, sc, t, news.Failure)
	})
}

// tellRefresh has a service know that one of its tasks was refreshed, or why not.
func (s *Service) tellRefresh(tx store.Tx, sc scope, t *task, failure string) error {
	v, err := s.findService(tx, sc, t.Cluster, t.Service)
	if err != nil || v == nil || v.Status != statusActive || tagValue(v.Tags, ourtags.OnSecretChange) != ourtags.Refresh {
		return err
	}
	v = copyOf(v)
	if r := v.Refresh; r != nil && failure == "" {
		r.Proven, r.Tries, r.RetryAt = true, 0, time.Time{}
		r.Failed = slices.DeleteFunc(r.Failed, func(id string) bool { return id == t.ID })
	} else if r != nil {
		if now := s.now().UTC(); !r.RetryAt.After(now) {
			r.Tries++
			r.RetryAt = now.Add(deployment.Delay(r.Tries))
		}
		r.Failed = append(slices.DeleteFunc(r.Failed, func(id string) bool { return id == t.ID }), t.ID)
		r.Failed = r.Failed[max(0, len(r.Failed)-100):]
	}
	if failure != "" {
		message := v.say("was unable to refresh (task %s): %s. It is tried again.", t.ID, strings.TrimSuffix(shorten(failure), "."))
		if err := s.tellEvents(tx, sc, v, []string{message}); err != nil {
			return err
		}
	}
	if err := s.putService(tx, sc, v); err != nil {
		return err
	}
	// What FollowSecrets watches: there may be more to do.
	return s.followers.Put(tx, followerKey(sc, v), &follower{v.Cluster, v.Name})
}

// contradicts says which tags of a service ask for what cannot be had together.
func contradicts(tags []types.Tag) error {
	if tagValue(tags, ourtags.OnSecretChange) == ourtags.Refresh && tagValue(tags, ourtags.PinSecrets) == ourtags.Deployment {
		return fmt.Errorf("'%s' of '%s' renews what '%s' of '%s' keeps: a service can have one of them", ourtags.Refresh, ourtags.OnSecretChange, ourtags.Deployment, ourtags.PinSecrets)
	}
	return nil
}
