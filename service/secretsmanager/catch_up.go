package secretsmanager

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/malote/malote/store"
)

// maxFollowing values fit into one transaction with the records.
const maxFollowing = 8

// catchUp brings the replicas of x that lag up to date, as the caller: makes those that
// are not there, in place of another secret of that name if overwrite says so, and gives
// them the versions they lack. It returns x as it is then. What is in the way of a replica
// becomes its status; x itself is stored already, so that a failure here is the log's and
// failInterrupted's.
func (s *Service) catchUp(ctx context.Context, x *secret, overwrite bool) *secret {
	for _, r := range x.Replicas {
		if r.Status != types.StatusTypeInProgress {
			continue
		}
		moved := 0
		for more := true; more; {
			now, again, err := s.catchUpOnce(ctx, x, r.Region, overwrite)
			switch {
			case (errors.Is(err, errMoved) || errors.Is(err, errRights)) && moved < attempts:
				moved++
				continue
			case err != nil:
				s.log.ErrorContext(ctx, "replicating a secret failed", "arn", x.arn, "region", r.Region, "err", err)
			case now != nil:
				x = now
			}
			more = again
		}
	}
	return x
}

// catchUpOnce gives one replica as many versions as one transaction takes.
func (s *Service) catchUpOnce(ctx context.Context, x *secret, region string, overwrite bool) (changed *secret, again bool, err error) {
	if err := ctx.Err(); err != nil {
		return nil, false, err
	}
	now, there, err := s.readReplica(ctx, x, region)
	if err != nil {
		return nil, false, err
	}
	r := now.replica(region)
	if r == nil || r.Status != types.StatusTypeInProgress {
		return now, false, nil
	}
	y, isNew := there, there == nil || !there.replicates(now)
	if isNew {
		y = now.in(region)
	}
	var reason string
	switch {
	case !isNew || there == nil || there.gone(s.now):
	case !overwrite:
		reason = nameTaken(now, region)
	case there.Primary != "" || len(there.Replicas) > 0:
		reason = nameTaken(now, region) + " It is replicated itself, and can't be overwritten."
	case len(there.Versions) > maxAtOnce/2:
		return nil, true, cmp.Or(s.fallDue(ctx, there), s.purge(ctx, there.path()))
	}
	var sealed []follower
	if reason == "" {
		if sealed, reason, err = s.sealMissing(ctx, now, *r, y, isNew); err != nil {
			return nil, false, err
		}
	}

	changed, err = s.changeAnyway(ctx, now, func(tx store.Tx, x *secret) error {
		to := x.replica(region)
		if to == nil || *to != *r {
			return errMoved
		}
		if reason != "" {
			to.fail(reason)
			if isNew && len(sealed) == 0 {
				return nil
			}
		}
		return s.putReplica(tx, x, there, r.KmsKeyID, region, sealed)
	})
	if err != nil {
		return nil, false, err
	}
	to := changed.replica(region)
	return changed, to != nil && to.Status == types.StatusTypeInProgress, nil
}

// readReplica reads a primary secret, and what is in the place of its replica, or nil.
func (s *Service) readReplica(ctx context.Context, x *secret, region string) (now, there *secret, err error) {
	err = s.store.View(ctx, func(tx store.Tx) error {
		var err error
		now, err = s.secrets.Get(tx, x.path())
		if errors.Is(err, store.ErrNotFound) || err == nil && now.Suffix != x.Suffix {
			now = x.clone()
			now.Replicas = nil
			return nil
		}
		if err != nil {
			return err
		}
		there, err = s.secrets.Get(tx, x.in(region).path())
		if errors.Is(err, store.ErrNotFound) {
			there, err = nil, nil
		}
		return err
	})
	return now, there, err
}

// sealMissing opens what y lacks, and seals it for y. A reason says why that ended early.
func (s *Service) sealMissing(ctx context.Context, x *secret, r replica, y *secret, isNew bool) (sealed []follower, reason string, err error) {
	told := func(err error) ([]follower, string, error) {
		switch {
		case errors.Is(err, store.ErrNotFound):
			return nil, "", errMoved
		case isAnswer(err):
			return sealed, failure(err), nil
		}
		return nil, "", err
	}
	missing := x.missing(y)
	if len(missing) == 0 && isNew && r.KmsKeyID != "" {
		empty := x.in(r.Region)
		empty.KmsKeyID = r.KmsKeyID
		if err := s.checkKey(inRegion(ctx, r.Region), empty); err != nil {
			return told(err)
		}
	}
	for _, v := range missing[:min(len(missing), maxFollowing)] {
		stored, err := s.readValue(ctx, x, v)
		if err != nil {
			return told(err)
		}
		p, err := s.open(inRegion(ctx, x.Region), x, v, stored)
		if err != nil {
			return told(err)
		}
		version, value, err := s.sealFor(ctx, x, r, *v, p)
		clear(p.bytes)
		if err != nil {
			return told(err)
		}
		sealed = append(sealed, follower{version: version, value: value})
	}
	return sealed, "", nil
}

// putReplica stores versions of x's replica, and the replica itself if it is not there; was
// is what was seen in its place. What x has besides follows when x is stored.
func (s *Service) putReplica(tx store.Tx, x, was *secret, keyID, region string, sealed []follower) error {
	y := x.in(region)
	there, err := s.secrets.Get(tx, y.path())
	absent := errors.Is(err, store.ErrNotFound)
	if err != nil && !absent {
		return err
	}
	if absent != (was == nil) || !absent && (there.Suffix != was.Suffix || there.Primary != was.Primary || len(there.Replicas) != len(was.Replicas)) {
		return errMoved
	}
	if !absent && there.replicates(x) {
		y = there.clone()
	} else {
		if !absent {
			if done, err := s.remove(tx, there); err != nil || !done {
				return cmp.Or(err, errMoved)
			}
		}
		y.Created = s.timestamp()
		if err := tx.Put(y.createdPath(), []byte{1}); err != nil {
			return err
		}
	}
	y.KmsKeyID = keyID
	for _, f := range sealed {
		if x.version(f.version.ID) == nil || y.version(f.version.ID) != nil {
			continue
		}
		y.Versions = append(y.Versions, f.version)
		if err := s.values.Put(tx, y.valuePath(f.version.ID), f.value); err != nil {
			return err
		}
	}
	return s.secrets.Put(tx, y.path(), y)
}

// interruptedAfter is how long a replication is given before it counts as interrupted.
const interruptedAfter = 10 * time.Minute

// failInterrupted ends what a crash or a lost store interrupted. It cannot be taken up
// without a caller: KMS decides by who asks.
func (s *Service) failInterrupted(ctx context.Context) error {
	var lagging []*secret
	err := s.store.View(ctx, func(tx store.Tx) error {
		lagging = nil
		for entry, err := range tx.Scan(lagPrefix, "") {
			if err != nil {
				return err
			}
			parts := strings.SplitN(strings.TrimPrefix(entry.Key, lagPrefix), "/", 3)
			if len(parts) != 3 {
				return fmt.Errorf("secretsmanager: strange entry %q", entry.Key)
			}
			x, err := s.secrets.Get(tx, secretPath(parts[0], parts[1], parts[2]))
			if errors.Is(err, store.ErrNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			lagging = append(lagging, x)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("looking for replications: %w", err)
	}
	limit := s.now().Add(-interruptedAfter)
	late := func(r *replica) bool { return r.Status == types.StatusTypeInProgress && !r.Since.After(limit) }
	var errs []error
	for _, x := range lagging {
		_, err := s.changeAnyway(ctx, x, func(_ store.Tx, x *secret) error {
			for i := range x.Replicas {
				if r := &x.Replicas[i]; late(r) {
					r.fail("Replication failed: it was interrupted. Call ReplicateSecretToRegions for this region to try again.")
				}
			}
			return nil
		})
		var gone *types.ResourceNotFoundException
		if err != nil && !errors.As(err, &gone) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
