package ecs

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/malote/malote/store"
)

// wake says that a service is to be looked at, at a time or later. It is written with
// whatever makes that necessary, so that no crash loses it, and is gone when nothing is
// left to do: services that have what was asked of them cost nothing.
type wake struct{ Due time.Time }

const (
	wakePrefix = "ecs-wake/"
	// everyService is the name of a cluster's wake that is for all of its services. No
	// service can be called that.
	everyService = "*"
)

// wakeKey is ecs-wake/ACCOUNT/REGION/CLUSTER/SERVICE.
func wakeKey(sc scope, cluster, name string) string {
	return wakePrefix + sc.account + "/" + sc.region + "/" + cluster + "/" + name
}

// wake has a service looked at.
func (s *Service) wake(tx store.Tx, sc scope, cluster, name string) error {
	return s.wakes.Put(tx, wakeKey(sc, cluster, name), &wake{s.now().UTC()})
}

// wakeCluster has all services of a cluster looked at: its instances changed.
func (s *Service) wakeCluster(tx store.Tx, sc scope, cluster string) error {
	return s.wake(tx, sc, cluster, everyService)
}

// Schedule keeps services as they should be until ctx ends. Any number of control planes
// may run it on one store.
func Schedule(ctx context.Context, s *Service) {
	nudges := s.store.Watch(ctx, wakePrefix)
	sulking := map[string]time.Time{} // what failed, and when to try again
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case _, ok := <-nudges:
			if !ok {
				return
			}
		case <-timer.C:
		}
		wait, err := s.attend(ctx, sulking)
		if err != nil && ctx.Err() == nil {
			s.log.ErrorContext(ctx, "looking for services to reconcile", "err", err)
			wait = time.Second
		}
		timer.Stop()
		if wait > 0 {
			// Not longer than a second: s.now may be another clock than the timer's.
			timer.Reset(min(wait, time.Second))
		}
	}
}

// attend reconciles what is due and returns how long the next has time; 0 when there is none.
func (s *Service) attend(ctx context.Context, sulking map[string]time.Time) (time.Duration, error) {
	var due []string
	now := s.now()
	var next time.Time
	sooner := func(at time.Time) {
		if next.IsZero() || at.Before(next) {
			next = at
		}
	}
	err := s.store.View(ctx, func(tx store.Tx) error {
		due, next = nil, time.Time{}
		for row, err := range s.wakes.Scan(tx, wakePrefix, "") {
			if err != nil {
				return err
			}
			at := row.Value.Due
			if until := sulking[row.Key]; until.After(at) {
				at = until
			}
			if at.After(now) {
				sooner(at)
				continue
			}
			due = append(due, row.Key)
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	for _, key := range due {
		parts := strings.Split(strings.TrimPrefix(key, wakePrefix), "/")
		sc, cluster, name := scope{parts[0], parts[1]}, parts[2], parts[3]
		if name == everyService {
			err = s.wakeAll(ctx, sc, cluster)
		} else {
			err = s.reconcile(ctx, sc, cluster, name)
		}
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		delete(sulking, key)
		if err != nil {
			s.log.ErrorContext(ctx, "reconciling a service", "service", sc.serviceARN(cluster, name), "err", err)
			sulking[key] = now.Add(5 * time.Second)
			sooner(sulking[key])
		}
	}
	if next.IsZero() {
		return 0, nil
	}
	return max(next.Sub(now), time.Millisecond), nil
}

// wakeAll turns the wake of a cluster into those of its services, some at a time.
func (s *Service) wakeAll(ctx context.Context, sc scope, cluster string) error {
	key := wakeKey(sc, cluster, everyService)
	var seen *wake
	after := ""
	for done := false; !done; {
		var last string
		err := s.store.Update(ctx, func(tx store.Tx) error {
			now, err := s.wakes.Get(tx, key)
			if errors.Is(err, store.ErrNotFound) {
				done = true
				return nil
			}
			if err != nil {
				return err
			}
			if seen == nil {
				seen = now
			}
			last, done = after, true
			n := 0
			for row, err := range s.services.Scan(tx, sc.prefix("service", cluster), after) {
				if err != nil {
					return err
				}
				if n++; n > store.MaxWrites/2 {
					done = false
					break
				}
				last = row.Key
				if row.Value.Status == statusInactive {
					continue
				}
				if err := s.wake(tx, sc, cluster, row.Value.Name); err != nil {
					return err
				}
			}
			// Another change meanwhile has them all woken once more.
			if done && now.Due.Equal(seen.Due) {
				return s.wakes.Delete(tx, key)
			}
			return nil
		})
		if err != nil {
			return err
		}
		after = last
	}
	return nil
}
