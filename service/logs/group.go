package logs

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/malote/malote/authz"
	"github.com/malote/malote/caller"
	"github.com/malote/malote/store"
)

// group is a stored record.
type group struct {
	ID        string
	Name      string
	Created   int64             // ms
	Retention int32             `json:",omitempty"` // days; 0 for ever
	KmsKeyID  string            `json:",omitempty"` // ARN
	Tags      map[string]string `json:",omitempty"`
	Bytes     int64             `json:",omitempty"` // stored, as of the last upkeep
}

func newID() string {
	b := make([]byte, 8)
	rand.Read(b)
	return hex.EncodeToString(b)
}

// place is where groups are: the part of keys and ARNs that they share.
type place struct{ account, region string }

func here(ctx context.Context) place {
	request := caller.From(ctx)
	return place{request.Principal.Account, request.Region}
}

func (p place) prefix(kind string) string {
	return "logs/" + p.account + "/" + p.region + "/" + kind + "/"
}

// arn is that of a log group, as tags and logGroupIdentifier have it.
func (p place) arn(group string) string {
	return "arn:aws:logs:" + p.region + ":" + p.account + ":log-group:" + group
}

// access is the resource that a decision is about: a stream, or, as AWS asks, the empty
// stream of a group, which the policies' log-group:NAME:* matches.
//
// https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/iam-access-control-overview-cwl.html
func (p place) access(group, stream string) string {
	return p.arn(group) + ":log-stream:" + stream
}

// ref is a group that a request names.
type ref struct {
	place
	name string
	err  error // what is wrong with how it is named
}

func (r *ref) key() string { return r.prefix("group") + r.name }
func (r *ref) arn() string { return r.place.arn(r.name) }

func named(ctx context.Context, name string) *ref { return &ref{place: here(ctx), name: name} }

// identified is the group that one of logGroupName and logGroupIdentifier names: the
// latter is a name or an ARN.
func identified(ctx context.Context, name, identifier *string) *ref {
	switch {
	case name != nil && identifier != nil:
		return &ref{place: here(ctx), name: *name, err: invalid("LogGroupName and LogGroupIdentifier cannot both be provided. Please provide only one of them.")}
	case name != nil:
		return named(ctx, *name)
	case identifier == nil:
		return &ref{place: here(ctx), err: invalid("Either LogGroupName or LogGroupIdentifier must be provided.")}
	case !strings.HasPrefix(*identifier, "arn:"):
		return named(ctx, *identifier)
	}
	return byARN(ctx, *identifier)
}

// byARN is the group of an ARN, which may end in ":*".
func byARN(ctx context.Context, arn string) *ref {
	r := named(ctx, "")
	parts := strings.SplitN(arn, ":", 7)
	if len(parts) < 7 || parts[0] != "arn" || parts[2] != "logs" || parts[5] != "log-group" || len(parts[4]) != 12 || strings.Trim(parts[4], "0123456789") != "" {
		r.err = invalid("%q is no ARN of a log group: it is arn:aws:logs:REGION:ACCOUNT:log-group:NAME.", arn)
		return r
	}
	r.account, r.name = parts[4], strings.TrimSuffix(parts[6], ":*")
	if parts[3] != r.region {
		r.err = invalid("The log group %s is in another Region than %s, where the request was sent.", arn, r.region)
	}
	if r.name == "" || strings.ContainsAny(r.name, ":*") {
		r.err = invalid("%q is no ARN of a log group: it is arn:aws:logs:REGION:ACCOUNT:log-group:NAME.", arn)
	}
	return r
}

// door is what an operation asks authz about a group.
type door struct {
	action      string
	resource    string // "" for the group with an empty stream
	requestTags map[string]string
	tagKeys     []string
}

// authorized reads the group and asks whether the caller may go through the door. Those
// who may not learn nothing of whether it exists. The group must not be changed.
func (s *Service) authorized(ctx context.Context, r *ref, d door) (*group, error) {
	var g *group
	var err error
	if r.err == nil {
		err = store.Look(ctx, s.store, func(tx store.Tx) error {
			g, err = s.groups.Get(tx, r.key())
			return err
		})
	}
	access := &authz.Access{Action: d.action, Resource: d.resource, Account: r.account, RequestTags: d.requestTags, TagKeys: d.tagKeys}
	if access.Resource == "" {
		access.Resource = r.access(r.name, "")
	}
	if err == nil && g != nil {
		access.Tags = g.Tags
	}
	if denied := s.authz.Authorize(ctx, access); denied != nil {
		return nil, denied
	}
	switch {
	case r.err != nil:
		return nil, r.err
	case errors.Is(err, store.ErrNotFound):
		return nil, groupNotFound()
	case err != nil:
		return nil, fmt.Errorf("reading log group %s: %w", r.name, err)
	}
	return g, nil
}

const maxAttempts = 5

// withGroup authorizes and then lets fn write, in a transaction in which the group is
// still the one that was asked about, with the same tags; else it asks again. fn gets a
// copy that it may change and put.
func (s *Service) withGroup(ctx context.Context, r *ref, d door, fn func(tx store.Tx, g *group) error) error {
	for range maxAttempts {
		was, err := s.authorized(ctx, r, d)
		if err != nil {
			return err
		}
		if err := s.update(ctx, r, was, fn); !errors.Is(err, errChanged) {
			return err
		}
	}
	return aborted()
}

// update is the second half of withGroup: errChanged says that was is not the group any more.
func (s *Service) update(ctx context.Context, r *ref, was *group, fn func(tx store.Tx, g *group) error) error {
	return s.store.Update(ctx, func(tx store.Tx) error {
		g, err := s.groups.Get(tx, r.key())
		if errors.Is(err, store.ErrNotFound) {
			return groupNotFound()
		}
		if err != nil {
			return err
		}
		if g.ID != was.ID || !maps.Equal(g.Tags, was.Tags) {
			return errChanged
		}
		changed := *g
		changed.Tags = maps.Clone(g.Tags)
		return fn(tx, &changed)
	})
}

// changeGroup is withGroup for operations that change the record alone.
func (s *Service) changeGroup(ctx context.Context, r *ref, d door, fn func(g *group) error) error {
	return s.withGroup(ctx, r, d, func(tx store.Tx, g *group) error {
		if err := fn(g); err != nil {
			return err
		}
		return s.groups.Put(tx, r.key(), g)
	})
}

// oldest is the time before which the group's events are expired, in ms.
func (g *group) oldest(now time.Time) int64 {
	if g.Retention == 0 {
		return 0
	}
	return now.Add(-time.Duration(g.Retention) * 24 * time.Hour).UnixMilli()
}

func ms(t time.Time) *int64 { return aws.Int64(t.UnixMilli()) }
