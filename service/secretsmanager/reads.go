package secretsmanager

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/malote/malote/store"
)

// reads remembers on which day a secret was read until storeReads has stored it, so that
// reading does not write: a secret that is read a thousand times a day is written once.
type reads struct {
	mu    sync.Mutex // guards byARN
	byARN map[string]*read
}

// read is a secret that was read on a day that its record does not tell yet.
type read struct {
	secret   *secret // what names it, and no more
	day      time.Time
	versions map[string]time.Time
}

const daySeconds = 24 * 60 * 60

func day(t time.Time) time.Time { return t.UTC().Truncate(24 * time.Hour) }

// noteRead notes that a version is read now.
func (s *Service) noteRead(x *secret, v *version) {
	now, last := s.now(), x.lastRead(v.ID)
	number := now.Unix() / daySeconds
	if last.day.Load() == number {
		return
	}
	last.day.Store(number)
	today := day(now)
	if x.Accessed.Equal(today) && v.Accessed.Equal(today) {
		return
	}
	s.reads.mu.Lock()
	defer s.reads.mu.Unlock()
	r := s.reads.byARN[x.arn]
	if r == nil {
		if s.reads.byARN == nil {
			s.reads.byARN = map[string]*read{}
		}
		// Not x itself: a million secrets may be read before the next storeReads.
		name := &secret{Name: x.Name, Suffix: x.Suffix, Account: x.Account, Region: x.Region, arn: x.arn}
		r = &read{secret: name, versions: map[string]time.Time{}}
		s.reads.byARN[x.arn] = r
	}
	r.day = today
	r.versions[v.ID] = today
}

// accessed returns when the secret was last read, or the version if versionID is not "".
func (s *Service) accessed(x *secret, versionID string, stored time.Time) *time.Time {
	s.reads.mu.Lock()
	defer s.reads.mu.Unlock()
	if r := s.reads.byARN[x.arn]; r != nil {
		at := r.day
		if versionID != "" {
			at = r.versions[versionID]
		}
		if at.After(stored) {
			stored = at
		}
	}
	if stored.IsZero() {
		return nil
	}
	return &stored
}

// readsAtOnce is how many secrets' days storeReads writes in one transaction. Each may be
// written with its replicas: a transaction that becomes too large is done in halves.
const readsAtOnce = 64

// storeReads writes what noteRead noted, as far as there is time.
func (s *Service) storeReads(ctx context.Context) error {
	s.reads.mu.Lock()
	noted := slices.Collect(maps.Values(s.reads.byARN))
	for i, r := range noted {
		noted[i] = &read{r.secret, r.day, maps.Clone(r.versions)}
	}
	s.reads.mu.Unlock()

	var errs []error
	for some := range slices.Chunk(noted, readsAtOnce) {
		if ctx.Err() != nil {
			return errors.Join(append(errs, fmt.Errorf("the days of reads: %w", ctx.Err()))...)
		}
		errs = append(errs, s.storeSome(ctx, some))
	}
	return errors.Join(errs...)
}

func (s *Service) storeSome(ctx context.Context, some []*read) error {
	err := s.store.Update(ctx, func(tx store.Tx) error {
		for _, r := range some {
			_, err := s.changeIn(tx, r.secret, func(x *secret) error {
				x.Accessed = r.day
				for i := range x.Versions {
					if at, ok := r.versions[x.Versions[i].ID]; ok {
						x.Versions[i].Accessed = at
					}
				}
				return nil
			})
			var gone *types.ResourceNotFoundException
			if err != nil && !errors.As(err, &gone) {
				return err
			}
		}
		return nil
	})
	if err != nil {
		if len(some) == 1 || ctx.Err() != nil {
			return err
		}
		half := len(some) / 2
		return errors.Join(s.storeSome(ctx, some[:half]), s.storeSome(ctx, some[half:]))
	}
	s.reads.mu.Lock()
	defer s.reads.mu.Unlock()
	for _, r := range some {
		if now := s.reads.byARN[r.secret.arn]; now != nil && now.day.Equal(r.day) && maps.Equal(now.versions, r.versions) {
			delete(s.reads.byARN, r.secret.arn)
		}
	}
	return nil
}
