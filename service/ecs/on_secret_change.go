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
	v       *service
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

// follow looks at every follower once. Waiting tells that one is not ready for what it is to do.
func (s *Service) follow(ctx context.Context) (waiting bool, err error) {
	var all []*following
	var busy map[string]int // by account
	err = s.store.View(ctx, func(tx store.Tx) error {
		all, busy = nil, map[string]int{}
		for row, err := range s.followers.Scan(tx, followerPrefix, "") {
			if err != nil {
				return err
			}
			parts := strings.Split(strings.TrimPrefix(row.Key, followerPrefix), "/")
			f := &following{sc: scope{parts[0], parts[1]}}
			if f.v, err = s.findService(tx, f.sc, row.Value.Cluster, row.Value.Name); err != nil {
				return err
			}
			if f.v == nil || f.v.Status != statusActive {
				continue
			}
			if tagValue(f.v.Tags, ourtags.OnSecretChange) == ourtags.Refresh {
				if err := s.candidatesOf(tx, f); err != nil {
					return err
				}
				if f.outstanding() > 0 {
					busy[f.sc.account]++
				}
				all = append(all, f)
				continue
			}
			if o := f.v.primary(); o.State == types.DeploymentRolloutStateInProgress {
				waiting = true
				if len(o.Cause) > 0 {
					busy[f.sc.account]++
				}
				continue
			}
			if err := s.holdingsOf(tx, f); err != nil {
				return err
			}
			all = append(all, f)
		}
		return nil
	})
	if err != nil {
		return false, err
	}
	known := currentVersions{s: s}
	for _, f := range all {
		if tagValue(f.v.Tags, ourtags.OnSecretChange) == ourtags.Refresh {
			more, err := s.refreshFor(ctx, f, &known, func() bool {
				if busy[f.sc.account] >= wave {
					return false
				}
				busy[f.sc.account]++
				return true
			})
			if err != nil {
				return false, fmt.Errorf("%s: %w", f.sc.serviceARN(f.v.Cluster, f.v.Name), err)
			}
			waiting = waiting || more
			continue
		}
		if err := f.compare(ctx, &known); err != nil {
			return false, err
		}
		switch mode := tagValue(f.v.Tags, ourtags.OnSecretChange); {
		case len(f.stale) == 0:
		case mode == ourtags.Alert:
			err = s.alert(ctx, f)
		case f.v.primary().State != types.DeploymentRolloutStateCompleted, covers(f.v.Refused, f.current):
			// It failed, or was tried and rolled back: that is for people.
		case busy[f.sc.account] >= wave:
			waiting = true
		default:
			busy[f.sc.account]++
			waiting = true
			err = s.redeployFor(ctx, f)
		}
		if err != nil {
			return false, fmt.Errorf("%s: %w", f.sc.serviceARN(f.v.Cluster, f.v.Name), err)
		}
	}
	return waiting, nil
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
		if err := s.tellEvents(tx, f.sc, v, []string{v.say("%d tasks hold %s, while %s is current. A new deployment would give it to them.", f.count, versionsText(f.stale), versionsText(f.current))}); err != nil {
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
		if err := s.tellEvents(tx, f.sc, v, []string{v.say("is redeployed (deployment %s): %d tasks hold %s, while %s is current.", deploymentID(v.primary().ID), f.count, versionsText(f.stale), versionsText(f.current))}); err != nil {
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
