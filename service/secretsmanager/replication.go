package secretsmanager

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/malote/malote/caller"
	"github.com/malote/malote/store"
)

// maxReplicas bounds the records that one transaction writes.
const maxReplicas = 30

// replica is what a primary secret knows of its replica in another Region. The replica is
// a secret of its own there, with the primary's name and suffix; its values are sealed
// under its own KMS key.
type replica struct {
	Region   string
	KmsKeyID string           `json:",omitempty"` // as secret.KmsKeyID
	Status   types.StatusType `json:",omitempty"` // "" for InSync
	Message  string           `json:",omitempty"` // of a failure
	Since    time.Time        `json:",omitzero"`  // when what is in progress began
}

func (r *replica) fail(message string) {
	r.Status, r.Message, r.Since = types.StatusTypeFailed, message, time.Time{}
}

func (r *replica) begin(now time.Time) {
	r.Status, r.Message, r.Since = types.StatusTypeInProgress, "", now
}

func (r *replica) done() { r.Status, r.Message, r.Since = "", "", time.Time{} }

// follower is the new version of a secret as a replica keeps it, or why it cannot.
type follower struct {
	replica replica // as it was when the version was sealed
	version version
	value   *value
	reason  string
}

// replica returns what the secret knows of its replica in a Region, or nil.
func (x *secret) replica(region string) *replica {
	for i := range x.Replicas {
		if x.Replicas[i].Region == region {
			return &x.Replicas[i]
		}
	}
	return nil
}

// primaryRegion is the Region of the primary secret, "" when there are no replicas.
func (x *secret) primaryRegion() string {
	if x.Primary == "" && len(x.Replicas) > 0 {
		return x.Region
	}
	return x.Primary
}

// mayChange is the rule of all that a replica leaves to its primary.
func (x *secret) mayChange() error {
	if x.Primary != "" {
		return invalidParameter("Operation not permitted on a replica secret. Call must be made in primary secret's region.")
	}
	return nil
}

// mayDelete is the rule of DeleteSecret.
func (x *secret) mayDelete() error {
	if len(x.Replicas) == 0 {
		return x.mayChange()
	}
	var regions []string
	for _, r := range x.Replicas {
		regions = append(regions, r.Region)
	}
	slices.Sort(regions)
	return invalidParameter("You can't delete secret %s that still has replica regions [%s].", x.arn, strings.Join(regions, ", "))
}

// lags reports whether a replica waits to be brought up to date.
func (x *secret) lags() bool {
	return slices.ContainsFunc(x.Replicas, func(r replica) bool { return r.Status == types.StatusTypeInProgress })
}

// in is what a secret of x's name and ARN would be in another Region.
func (x *secret) in(region string) *secret {
	y := &secret{Name: x.Name, Suffix: x.Suffix, Account: x.Account, Region: region, Primary: x.Region}
	y.Prepare()
	return y
}

// replicates reports whether y, which is where a replica of x would be, is that replica.
func (y *secret) replicates(x *secret) bool { return y.Suffix == x.Suffix && y.Primary == x.Region }

// missing returns the versions that a replica needs and y lacks: those with a value and a
// label, the current one first.
func (x *secret) missing(y *secret) []*version {
	var all []*version
	for i := range x.Versions {
		v := &x.Versions[i]
		switch {
		case v.Key == "" || len(v.Stages) == 0 || y.version(v.ID) != nil:
		case slices.Contains(v.Stages, current):
			all = slices.Insert(all, 0, v)
		default:
			all = append(all, v)
		}
	}
	return all
}

// follow gives y, a replica of x, all that needs no key, and returns the versions that it
// does away with. While y lacks the current version, its labels stay on those it has: a
// reader of the replica finds what was current rather than nothing.
func (y *secret) follow(x *secret) (dropped []string, complete bool) {
	y.Description, y.Tagged, y.Policy, y.Changed = x.Description, x.Tagged, x.Policy, x.Changed
	y.Tags = slices.Clone(x.Tags)
	c := x.holder(current)
	behind := c != nil && c.Key != "" && y.version(c.ID) == nil
	y.Versions = slices.DeleteFunc(y.Versions, func(v version) bool {
		gone := x.version(v.ID) == nil && (!behind || len(v.Stages) == 0)
		if gone {
			dropped = append(dropped, v.ID)
		}
		return gone
	})
	slices.SortStableFunc(y.Versions, func(a, b version) int { return a.Created.Compare(b.Created) })
	if !behind {
		for i := range y.Versions {
			y.Versions[i].Stages = slices.Clone(x.version(y.Versions[i].ID).Stages)
		}
	}
	return dropped, len(x.missing(y)) == 0
}

// share has the replicas of x, which is about to be stored, follow it. Versions that are
// not among x.followers are left to catchUp.
func (s *Service) share(tx store.Tx, x *secret) error {
	followers := x.followers
	x.followers = nil
	for i := range x.Replicas {
		r := &x.Replicas[i]
		y, err := s.secrets.Get(tx, x.in(r.Region).path())
		if errors.Is(err, store.ErrNotFound) || err == nil && !y.replicates(x) {
			if r.Status == "" {
				r.begin(s.timestamp())
			}
			continue
		}
		if err != nil {
			return err
		}
		y = y.clone()
		f := followers[r.Region]
		if f.value != nil && y.version(f.version.ID) == nil {
			y.Versions = append(y.Versions, f.version)
			if err := s.values.Put(tx, y.valuePath(f.version.ID), f.value); err != nil {
				return err
			}
		}
		dropped, complete := y.follow(x)
		for _, id := range dropped {
			if err := s.values.Delete(tx, y.valuePath(id)); err != nil {
				return err
			}
		}
		switch {
		case complete:
			r.done()
		case f.reason != "":
			r.fail(f.reason)
		case r.Status == "":
			r.begin(s.timestamp())
		}
		if err := s.secrets.Put(tx, y.path(), y); err != nil {
			return err
		}
	}
	return x.queueLag(tx)
}

const lagPrefix = root + "replicate/"

// lagPath is the entry that leads failInterrupted to a secret whose replicas lag.
func (x *secret) lagPath() string { return lagPrefix + x.Account + "/" + x.Region + "/" + x.Name }

// queueLag keeps the entry at lagPath there exactly while a replica lags.
func (x *secret) queueLag(tx store.Tx) error {
	lags := x.lags()
	if lags == x.Lagging {
		return nil
	}
	x.Lagging = lags
	if lags {
		return tx.Put(x.lagPath(), []byte{1})
	}
	return tx.Delete(x.lagPath())
}

// sealFollowers seals a new version of x for each replica that is up to date, as the
// caller. What KMS refuses a replica is the replica's failure alone.
func (s *Service) sealFollowers(ctx context.Context, x *secret, v version, p *plain) (map[string]follower, error) {
	if len(x.Replicas) == 0 {
		return nil, nil
	}
	followers := map[string]follower{}
	for _, r := range x.Replicas {
		if r.Status != "" {
			continue
		}
		f := follower{replica: r}
		sealed, stored, err := s.sealFor(ctx, x, r, v, p)
		switch {
		case err == nil:
			f.version, f.value = sealed, stored
		case isAnswer(err):
			f.reason = failure(err)
		default:
			return nil, err
		}
		followers[r.Region] = f
	}
	return followers, nil
}

// sealFor seals version v of x, whose value is p, as the replica r keeps it.
func (s *Service) sealFor(ctx context.Context, x *secret, r replica, v version, p *plain) (version, *value, error) {
	y := x.in(r.Region)
	y.KmsKeyID = r.KmsKeyID
	sealed, stored, err := s.seal(inRegion(ctx, r.Region), y, v.ID, p)
	sealed.Created = v.Created
	return sealed, stored, err
}

// sendTo has the replicas of x follow its new version: those that lagged try again, and
// the others take what was sealed for them, unless their key is another by now.
func (x *secret) sendTo(followers map[string]follower, now time.Time) {
	x.followers = map[string]follower{}
	for i := range x.Replicas {
		r := &x.Replicas[i]
		if r.Status == types.StatusTypeFailed {
			r.begin(now)
		}
		if f, ok := followers[r.Region]; ok && f.replica == *r {
			x.followers[r.Region] = f
		}
	}
}

// failure is the StatusMessage of what AWS would answer.
func failure(err error) string {
	message := "Replication failed: " + errorMessage(err)
	const limit = 4096
	return message[:min(len(message), limit)]
}

func nameTaken(x *secret, region string) string {
	return fmt.Sprintf("Replication failed: Secret name %s already exists in region %s.", x.Name, region)
}

// inRegion is ctx of a call of the same caller's in another Region.
func inRegion(ctx context.Context, region string) context.Context {
	r := *caller.From(ctx)
	r.Region = region
	return caller.With(ctx, &r)
}

// replicationStatus is what the answers of a primary secret tell of its replicas.
func (s *Service) replicationStatus(ctx context.Context, x *secret) ([]types.ReplicationStatusType, error) {
	if len(x.Replicas) == 0 {
		return nil, nil
	}
	read := map[string]*time.Time{}
	err := s.store.View(ctx, func(tx store.Tx) error {
		for _, r := range x.Replicas {
			y, err := s.secrets.Get(tx, x.in(r.Region).path())
			switch {
			case err == nil && y.replicates(x):
				read[r.Region] = s.accessed(y, "", y.Accessed)
			case err != nil && !errors.Is(err, store.ErrNotFound):
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the replicas of %s: %w", x.arn, err)
	}
	var all []types.ReplicationStatusType
	for _, r := range x.Replicas {
		status := types.ReplicationStatusType{
			Region: aws.String(r.Region), KmsKeyId: aws.String(r.KmsKeyID), Status: r.Status,
			StatusMessage: nonEmpty(r.Message), LastAccessedDate: read[r.Region],
		}
		if r.KmsKeyID == "" {
			status.KmsKeyId = aws.String(defaultKeyAlias)
		}
		if r.Status == "" {
			status.Status = types.StatusTypeInSync
		}
		all = append(all, status)
	}
	return all, nil
}
