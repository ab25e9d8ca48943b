package ecs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/malote/malote/acs"
	"github.com/malote/malote/internal/ourtags"
	"github.com/malote/malote/store"
)

const (
	// Versions that change within quiet of one another, for as long as patience, are one change.
	quiet    = 2 * time.Second
	patience = 10 * time.Second
	// wave is how many services of an account are redeployed or refreshed for changed secrets at
	// the same time.
	wave = 5
	// lookAgain is when services are looked at while some wait for their turn.
	lookAgain = 5 * time.Second
)

// tagValue is a tag's value; off is said by saying nothing.
func tagValue(tags []types.Tag, key string) string {
	for _, t := range tags {
		if aws.ToString(t.Key) == key {
			return aws.ToString(t.Value)
		}
	}
	return ourtags.Off
}

// validateServiceTags refuses tags that ask malote for what it does not know.
func validateServiceTags(tags []types.Tag) error {
	for _, t := range tags {
		if err := ourtags.Check(aws.ToString(t.Key), aws.ToString(t.Value)); err != nil {
			return invalidParameter("The service's tags are not valid: %v.", err)
		}
	}
	if err := contradicts(tags); err != nil {
		return invalidParameter("The service's tags are not valid: %v.", err)
	}
	return nil
}

// follower is an index of the services that do something when a secret changes.
type follower struct{ Cluster, Name string }

const followerPrefix = "ecs-follower/"

func followerKey(sc scope, v *service) string {
	return followerPrefix + sc.account + "/" + sc.region + "/" + v.Cluster + "/" + v.Name
}

// followSecrets has the index know whether v is in it.
func (s *Service) followSecrets(tx store.Tx, sc scope, v *service) error {
	key := followerKey(sc, v)
	_, err := s.followers.Get(tx, key)
	is := err == nil
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	switch should := v.Status == statusActive && tagValue(v.Tags, ourtags.OnSecretChange) != ourtags.Off; {
	case should == is:
		return nil
	case should:
		return s.followers.Put(tx, key, &follower{v.Cluster, v.Name})
	}
	return s.followers.Delete(tx, key)
}

// FollowSecrets does for services, until ctx ends, what they ask for when a secret of theirs
// changes: an event, a new deployment, or other files. Any number of control planes may do so on one store.
func FollowSecrets(ctx context.Context, s *Service) {
	if s.current == nil {
		return
	}
	changes := s.current.Changes(ctx)
	tags := s.store.Watch(ctx, followerPrefix)
	timer := time.NewTimer(0)
	defer timer.Stop()
	var since time.Time // the first change that was not looked at
	for {
		select {
		case <-ctx.Done():
			return
		case <-changes:
		case <-tags:
		case <-timer.C:
			since = time.Time{}
			waiting, err := s.follow(ctx)
			if err != nil && ctx.Err() == nil {
				s.log.ErrorContext(ctx, "looking for services whose secrets changed", "err", err)
			}
			if waiting || err != nil {
				timer.Reset(lookAgain)
			}
			continue
		}
		now := time.Now()
		if since.IsZero() {
			since = now
		}
		timer.Reset(min(quiet, max(0, patience-now.Sub(since))))
	}
}

// following is a service that does something about secrets, and what of its tasks' is stale.
type following struct {
	sc      scope
	name    follower
	v       *service   // nil: it does nothing any more
	held    []acs.Held // of a task of its PRIMARY deployment
	tasks   []*task    // that hold something
	stale   []acs.Held // with the versions that they hold
	current []acs.Held // with the current versions
	count   int        // tasks that hold something stale

	// Of a service that refreshes there are these instead.
	candidates      []*candidate
	reached, beyond versions
	why             []string // what is beyond reach is so
}

func (f *following) refreshes() bool {
	return tagValue(f.v.Tags, ourtags.OnSecretChange) == ourtags.Refresh
}

// deploys reports whether a deployment is to end before anything is done.
func (f *following) deploys() bool {
	return !f.refreshes() && f.v.primary().State == types.DeploymentRolloutStateInProgress
}

// occupied reports whether it is redeployed or refreshed for secrets.
func (f *following) occupied() bool {
	if f.refreshes() {
		return f.outstanding() > 0
	}
	return f.deploys() && len(f.v.primary().Cause) > 0
}

// follow looks at every follower once. Waiting tells that one is not ready for what it is to do, or
// that it failed for one, which keeps no other from its turn.
func (s *Service) follow(ctx context.Context) (waiting bool, err error) {
	all, err := s.allFollowers(ctx)
	if err != nil {
		return false, err
	}
	var ready []*following
	busy := map[string]int{} // by account
	for _, f := range all {
		if err := s.readFollower(ctx, f); err != nil {
			if err := s.unfollowed(ctx, f, err); err != nil {
				return false, err
			}
			waiting = true
			continue
		}
		if f.v == nil {
			continue
		}
		if f.occupied() {
			busy[f.sc.account]++
		}
		if f.deploys() {
			waiting = true
			continue
		}
		ready = append(ready, f)
	}
	known := currentVersions{s: s}
	for _, f := range ready {
		more, err := s.followOne(ctx, f, &known, busy)
		if err != nil {
			if err := s.unfollowed(ctx, f, err); err != nil {
				return false, err
			}
		}
		waiting = waiting || more || err != nil
	}
	return waiting, nil
}

func (s *Service) allFollowers(ctx context.Context) (all []*following, err error) {
	err = s.store.View(ctx, func(tx store.Tx) error {
		all = nil
		for row, err := range s.followers.Scan(tx, followerPrefix, "") {
			if err != nil {
				return err
			}
			parts := strings.Split(strings.TrimPrefix(row.Key, followerPrefix), "/")
			all = append(all, &following{sc: scope{parts[0], parts[1]}, name: *row.Value})
		}
		return nil
	})
	return all, err
}

func (s *Service) readFollower(ctx context.Context, f *following) error {
	return s.store.View(ctx, func(tx store.Tx) error {
		f.candidates, f.tasks = nil, nil
		v, err := s.findService(tx, f.sc, f.name.Cluster, f.name.Name)
		if f.v = v; err != nil || v == nil {
			return err
		}
		switch {
		case v.Status != statusActive:
			f.v = nil
			return nil
		case f.refreshes():
			return s.candidatesOf(tx, f)
		case f.deploys():
			return nil
		}
		return s.holdingsOf(tx, f)
	})
}

// unfollowed tells what went wrong for one service. The error is that of a store which does not
// answer, for then no other service fares better.
func (s *Service) unfollowed(ctx context.Context, f *following, why error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	s.log.ErrorContext(ctx, "looking whether secrets of a service changed", "service", f.sc.serviceARN(f.name.Cluster, f.name.Name), "err", why)
	return s.store.View(ctx, func(tx store.Tx) error {
		if _, err := tx.Get(followerPrefix); !errors.Is(err, store.ErrNotFound) {
			return err
		}
		return nil
	})
}

// followOne does for a service what it asks for.
func (s *Service) followOne(ctx context.Context, f *following, known *currentVersions, busy map[string]int) (waiting bool, err error) {
	took := 0
	free := func() bool {
		if busy[f.sc.account] >= wave {
			return false
		}
		busy[f.sc.account]++
		took++
		return true
	}
	defer func() {
		if err != nil { // the next one's turn
			busy[f.sc.account] -= took
		}
	}()
	if f.refreshes() {
		return s.refreshFor(ctx, f, known, free)
	}
	if err := f.compare(ctx, known); err != nil {
		return false, err
	}
	switch mode := tagValue(f.v.Tags, ourtags.OnSecretChange); {
	case len(f.stale) == 0:
		return false, nil
	case mode == ourtags.Alert:
		return false, s.alert(ctx, f)
	case f.v.primary().State != types.DeploymentRolloutStateCompleted, covers(f.v.Refused, f.current):
		return false, nil // It failed, or was tried and rolled back: that is for people.
	case !free():
		return true, nil
	}
	return true, s.redeployFor(ctx, f)
}

// holdingsOf reads what the tasks of a service's PRIMARY deployment hold.
func (s *Service) holdingsOf(tx store.Tx, f *following) error {
	prefix := f.sc.prefix("service-task", f.v.Cluster, f.v.Name)
	for row, err := range s.members.Scan(tx, prefix, "") {
		if err != nil {
			return err
		}
		if row.Value.Ended || row.Value.Rollout != f.v.primary().ID {
			continue
		}
		t, err := s.findTask(tx, f.sc, f.v.Cluster, strings.TrimPrefix(row.Key, prefix))
		if err != nil {
			return err
		}
		if t != nil && len(t.has()) > 0 && *t.Task.DesiredStatus == string(types.DesiredStatusRunning) {
			f.tasks = append(f.tasks, t)
		}
	}
	return nil
}

// compare finds what is stale. A secret that is gone is not: a new task could not have it.
func (f *following) compare(ctx context.Context, known *currentVersions) error {
	for _, t := range f.tasks {
		stale := false
		for _, h := range t.has() {
			current, err := known.of(ctx, t, h)
			if err != nil {
				return err
			}
			if current == "" || current == h.Version {
				continue
			}
			stale = true
			now := acs.Held{ARN: h.ARN, Selector: h.Selector, Version: current}
			if !slices.Contains(f.current, now) {
				f.current = append(f.current, now)
				f.stale = append(f.stale, acs.Held{ARN: h.ARN, Selector: h.Selector, Version: h.Version})
			}
		}
		if stale {
			f.count++
			f.held = t.Held
		}
	}
	return nil
}

// covers reports whether all has each of some.
func covers(all, some []acs.Held) bool {
	return !slices.ContainsFunc(some, func(h acs.Held) bool { return !slices.Contains(all, h) })
}

// versionsText names versions for people.
func versionsText(versions []acs.Held) string {
	texts := make([]string, 0, len(versions))
	for _, h := range versions {
		texts = append(texts, "version "+h.Version+" of "+h.ARN)
	}
	return strings.Join(texts, ", ")
}

// holding says that count tasks hold what is no longer current.
func holding(count int, stale, current []acs.Held) string {
	tasks, are := fmt.Sprintf("%d tasks hold", count), "is"
	if count == 1 {
		tasks = "1 task holds"
	}
	if len(current) > 1 {
		are = "are"
	}
	return fmt.Sprintf("%s %s, while %s %s current.", tasks, versionsText(stale), versionsText(current), are)
}

// unchanged returns a copy of the service if it is still as f has it, else nil.
func (s *Service) unchanged(tx store.Tx, f *following) (*service, error) {
	v, err := s.findService(tx, f.sc, f.v.Cluster, f.v.Name)
	if err != nil || v == nil || v.Status != statusActive || v.primary().ID != f.v.primary().ID ||
		v.primary().State != f.v.primary().State || tagValue(v.Tags, ourtags.OnSecretChange) != tagValue(f.v.Tags, ourtags.OnSecretChange) {
		return nil, err
	}
	return copyOf(v), nil
}

// alert tells of each version once.
func (s *Service) alert(ctx context.Context, f *following) error {
	return s.store.Update(ctx, func(tx store.Tx) error {
		v, err := s.unchanged(tx, f)
		if err != nil || v == nil || covers(v.Alerted, f.current) {
			return err
		}
		v.Alerted = f.current
		if err := s.tellEvents(tx, f.sc, v, []string{v.say("%s A new deployment would change that.", holding(f.count, f.stale, f.current))}); err != nil {
			return err
		}
		return s.putService(tx, f.sc, v)
	})
}

// redeployFor starts a deployment of what runs, for versions that changed.
func (s *Service) redeployFor(ctx context.Context, f *following) error {
	return s.store.Update(ctx, func(tx store.Tx) error {
		v, err := s.unchanged(tx, f)
		if err != nil || v == nil || v.primary().State != types.DeploymentRolloutStateCompleted {
			return err
		}
		r, err := s.revision(tx, f.sc, v.Cluster, v.Name, v.primary().ID)
		if err != nil {
			return err
		}
		if r == nil {
			return errors.New("the revision of the deployment is gone")
		}
		next := *r
		next.CreatedAt = s.now().UTC()
		v.Given = f.held
		if err := s.deploy(tx, f.sc, v, &next); err != nil {
			return err
		}
		v.primary().Cause = f.current
		if err := s.tellEvents(tx, f.sc, v, []string{v.say("is redeployed (deployment %s): %s", deploymentID(v.primary().ID), holding(f.count, f.stale, f.current))}); err != nil {
			return err
		}
		if err := s.putService(tx, f.sc, v); err != nil {
			return err
		}
		return s.wake(tx, f.sc, v.Cluster, v.Name)
	})
}

// pinRollout has later tasks of a pinned deployment be given what its first one was.
func (s *Service) pinRollout(tx store.Tx, sc scope, t *task) error {
	if t.Service == "" || len(t.Held) == 0 {
		return nil
	}
	v, err := s.findService(tx, sc, t.Cluster, t.Service)
	if err != nil || v == nil || tagValue(v.Tags, ourtags.PinSecrets) != ourtags.Deployment || v.primary().ID != t.Rollout || v.primary().Pins != nil {
		return err
	}
	v = copyOf(v)
	v.primary().Pins = t.Held
	if err := s.putService(tx, sc, v); err != nil {
		return err
	}
	return s.wake(tx, sc, v.Cluster, v.Name)
}

// unpinned is how many tasks may be started: of a deployment that is to be pinned one, and no
// other until it is known what that was given.
func (p *pass) unpinned(l *launch) int {
	o := p.v.primary()
	if tagValue(p.v.Tags, ourtags.PinSecrets) != ourtags.Deployment || o.Pins != nil || !hasSecrets(&l.definition.Definition) {
		return startsAtOnce
	}
	for _, t := range p.records {
		if t.Rollout == o.ID {
			return 0
		}
	}
	return 1
}

// hasSecrets reports whether containers hold versions: a parameter that refers to a secret has
// none of its own.
func hasSecrets(d *types.TaskDefinition) bool {
	versioned := func(s types.Secret) bool { return !strings.Contains(aws.ToString(s.ValueFrom), "/aws/reference/") }
	return slices.ContainsFunc(d.ContainerDefinitions, func(c types.ContainerDefinition) bool {
		return slices.ContainsFunc(c.Secrets, versioned) || c.LogConfiguration != nil && slices.ContainsFunc(c.LogConfiguration.SecretOptions, versioned)
	})
}
