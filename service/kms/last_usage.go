package kms

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/malote/malote/caller"
	"github.com/malote/malote/store"
)

// usage is the last successful cryptographic operation with a key, as stored. A key that
// was never used has none.
type usage struct {
	Operation types.KeyLastUsageTrackingOperation
	Time      time.Time
	RequestID string
}

// usageEvery is how often, at most, the last usage of a key is written. What is answered is
// what this process has seen since, or what is stored, whichever is later: a process that
// dies forgets no more than this.
const usageEvery = time.Hour

func usagePath(account, region, id string) string {
	return "kms/usage/" + account + "/" + region + "/" + id
}

func (k *key) usagePath() string {
	if k.usageAt != "" {
		return k.usageAt
	}
	return usagePath(k.Account, k.Region, k.ID)
}

// tracker keeps what this process has seen of the usage of keys.
type tracker struct {
	mu   sync.Mutex
	seen map[string]seen // by usagePath
}

// seen is what this process knows of the usage of a key.
type seen struct {
	usage
	written time.Time // the Time of the usage that was stored last
}

// used notes that operation succeeded with k. It writes nothing: Maintain does.
func (s *Service) used(ctx context.Context, k *key, operation types.KeyLastUsageTrackingOperation) {
	u := usage{operation, s.now(), caller.From(ctx).ID}
	path := k.usagePath()
	s.tracker.mu.Lock()
	defer s.tracker.mu.Unlock()
	s.tracker.seen[path] = seen{u, s.tracker.seen[path].written}
}

// writeUsage stores the usage of the keys whose stored one is too old.
func (s *Service) writeUsage(ctx context.Context) error {
	due := map[string]usage{}
	s.tracker.mu.Lock()
	for path, known := range s.tracker.seen {
		switch {
		case s.now().Sub(known.written) < usageEvery:
		case known.Time.Equal(known.written): // the store knows it all
			delete(s.tracker.seen, path)
		default:
			due[path] = known.usage
		}
	}
	s.tracker.mu.Unlock()
	var errs []error
	for path, u := range due {
		there := false
		err := s.store.Update(ctx, func(tx store.Tx) error {
			// A key that has gone meanwhile leaves nothing behind.
			_, err := s.keys.Get(tx, keyOfUsage(path))
			if there = err == nil; errors.Is(err, store.ErrNotFound) {
				return nil
			}
			if err != nil {
				return err
			}
			stored, err := s.usages.Get(tx, path)
			if err == nil && stored.Time.After(u.Time) {
				return nil // another control plane's
			}
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				return err
			}
			return s.usages.Put(tx, path, &u)
		})
		if err != nil {
			errs = append(errs, fmt.Errorf("writing the last usage of a key: %w", err))
			continue
		}
		s.tracker.mu.Lock()
		if known, ok := s.tracker.seen[path]; ok && there {
			s.tracker.seen[path] = seen{known.usage, u.Time}
		} else {
			delete(s.tracker.seen, path)
		}
		s.tracker.mu.Unlock()
	}
	return errors.Join(errs...)
}

// keyOfUsage is the path of the key of a usagePath.
func keyOfUsage(path string) string {
	const prefix = "kms/usage/"
	rest := path[len(prefix):]
	slash := len(rest) - 36 // the key id, with the slash before it
	return "kms/" + rest[:slash-1] + "/key/" + rest[slash:]
}

// GetKeyLastUsage tells the last successful cryptographic operation with a key, in every
// state. A key is tracked since it was made. There is no CloudTrail, so there is no event id:
// the request id finds the audit record.
func (s *Service) GetKeyLastUsage(ctx context.Context, in *kms.GetKeyLastUsageInput) (*kms.GetKeyLastUsageOutput, error) {
	k, err := s.authorizedKey(ctx, use{action: "kms:GetKeyLastUsage", keyID: *in.KeyId})
	if err != nil {
		return nil, err
	}
	if k.Account != caller.From(ctx).Principal.Account {
		return nil, keyNotFound(k.arn())
	}
	var last usage
	err = s.store.View(ctx, func(tx store.Tx) error {
		stored, err := s.usages.Get(tx, k.usagePath())
		switch {
		case err == nil:
			last = *stored
		case errors.Is(err, store.ErrNotFound):
			last = usage{}
		default:
			return err
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the last usage of %s: %w", k.arn(), err)
	}
	s.tracker.mu.Lock()
	if known, ok := s.tracker.seen[k.usagePath()]; ok && known.Time.After(last.Time) {
		last = known.usage
	}
	s.tracker.mu.Unlock()

	out := &kms.GetKeyLastUsageOutput{
		KeyId: aws.String(k.arn()), KeyCreationDate: aws.Time(k.Created), TrackingStartDate: aws.Time(k.Created),
		KeyLastUsage: &types.KeyLastUsageData{},
	}
	if last.Operation != "" {
		out.KeyLastUsage = &types.KeyLastUsageData{Operation: last.Operation, Timestamp: aws.Time(last.Time), KmsRequestId: aws.String(last.RequestID)}
	}
	return out, nil
}
