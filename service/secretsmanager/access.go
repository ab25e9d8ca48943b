package secretsmanager

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/malote/malote/authz"
	"github.com/malote/malote/caller"
	"github.com/malote/malote/policy"
	"github.com/malote/malote/store"
)

// access is what an operation wants to do with one secret.
type access struct {
	action      string              // "secretsmanager:GetSecretValue"
	secretID    string              // as the request names it
	conditions  map[string][]string // what the request says beside that; not to be changed once it was asked about
	requestTags map[string]string
	tagKeys     []string
	replica     bool // whether it may be done to a replica, and not only where its primary is

	// also reads more of a secret that there is, in the transaction that reads it.
	also reader
}

// reader reads more of a secret. It may be asked again.
type reader interface {
	read(s *Service, tx store.Tx, x *secret) error
}

// authorizedSecret finds the secret that a names and asks whether the caller may do that
// with it. A denial comes before any word on whether it exists; as on AWS, one to somebody
// of the secret's own account names the ARN of what exists, and what was sent otherwise.
func (s *Service) authorizedSecret(ctx context.Context, a access) (*secret, error) {
	request := caller.From(ctx)
	id := parseSecretID(a.secretID, request.Region, request.Principal.Account)
	x, err := s.find(ctx, &id, request.Region, a.also)
	switch {
	case err == nil:
		return x, s.authorizeSecret(ctx, a, x)
	case !errors.Is(err, store.ErrNotFound):
		return nil, err
	}
	err = s.authz.Authorize(ctx, &authz.Access{
		Action: a.action, Resource: id.literal, Account: id.account,
		Conditions: a.conditions, RequestTags: a.requestTags, TagKeys: a.tagKeys,
	})
	switch {
	case err != nil:
		return nil, err
	case id.err != nil:
		return nil, id.err
	}
	return nil, secretNotFound()
}

// find returns the secret that id refers to, or store.ErrNotFound.
func (s *Service) find(ctx context.Context, id *secretID, region string, also reader) (*secret, error) {
	if id.err != nil {
		return nil, store.ErrNotFound
	}
	var x *secret
	err := store.Look(ctx, s.store, func(tx store.Tx) error {
		var err error
		x, err = s.secrets.Get(tx, secretPath(id.account, region, id.name))
		if err != nil {
			return err
		}
		if id.suffix != "" && id.suffix != x.Suffix || x.gone(s.now) {
			return store.ErrNotFound
		}
		if also != nil {
			return also.read(s, tx, x)
		}
		return nil
	})
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("reading secret %s: %w", id.name, err)
	}
	return x, err
}

// authorizeSecret asks the secret's policy and the caller's own.
func (s *Service) authorizeSecret(ctx context.Context, a access, x *secret) error {
	question, err := accessTo(ctx, a, x)
	if err != nil {
		return err
	}
	return s.authz.Authorize(ctx, question)
}

// stillMay reports whether the caller might do again what a says if the secret became x.
func (s *Service) stillMay(ctx context.Context, a access, x *secret) (bool, error) {
	question, err := accessTo(ctx, a, x)
	if err != nil {
		return false, err
	}
	decision, err := s.authz.Decide(ctx, question)
	return decision.Allowed, err
}

// accessTo is what a says of x, for authz.
func accessTo(ctx context.Context, a access, x *secret) (*authz.Access, error) {
	if err := x.made.ready(); err != nil {
		return nil, err
	}
	named := ""
	if x.Account != caller.From(ctx).Principal.Account {
		named = a.secretID // a stranger does not learn the ARN, and with it that there is one
	}
	return &authz.Access{
		Action: a.action, Resource: x.arn, Account: x.Account, Named: named,
		Tags: x.tags, RequestTags: a.requestTags, TagKeys: a.tagKeys,
		Conditions: a.conditions, ResourceConditions: x.made.conditions, Policy: x.made.policy, Kind: policy.Resource,
	}, nil
}

// authorize asks for an action that is on no secret.
func (s *Service) authorize(ctx context.Context, action string) error {
	return s.authz.Authorize(ctx, &authz.Access{Action: action, Resource: "*"})
}

// errMoved says that a secret changed between looking and writing: look again.
var errMoved = errors.New("secretsmanager: the secret changed meanwhile")

const attempts = 10

// sameRights reports whether x gives everybody the rights that y gives.
func (x *secret) sameRights(y *secret) bool {
	return x.Policy.Text == y.Policy.Text && maps.Equal(x.Policy.IDs, y.Policy.IDs) && slices.Equal(x.Tags, y.Tags) && x.function() == y.function() && x.Primary == y.Primary
}

// function is the ARN of the function that rotates the secret, "" for none.
func (x *secret) function() string {
	if x.Rotation == nil {
		return ""
	}
	return x.Rotation.Function
}

// again reads x once more, and asks once more whether the caller may do what a says when
// x's policy or tags are others by now.
func (s *Service) again(ctx context.Context, a access, x *secret) (*secret, error) {
	now, err := s.find(ctx, &secretID{account: x.Account, name: x.Name, suffix: x.Suffix}, x.Region, nil)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, secretNotFound()
	case err != nil:
		return nil, err
	case now.sameRights(x):
		return now, nil
	}
	return now, s.authorizeSecret(ctx, a, now)
}

// change replaces the stored secret by what fn makes of a copy, and returns it. When the
// secret has gone, or another has taken its name, it is not found. The caller was allowed
// a on x, and is asked about again if x's policy or tags are others by now. Replicas follow,
// in the same transaction as far as that needs no key, and at once for the rest.
func (s *Service) change(ctx context.Context, a access, x *secret, fn func(tx store.Tx, x *secret) error) (*secret, error) {
	x, err := s.changeWaiting(ctx, a, x, fn)
	if err == nil && x.lags() {
		x = s.catchUp(ctx, x, false)
	}
	return x, err
}

// changeWaiting is change without the rest.
func (s *Service) changeWaiting(ctx context.Context, a access, x *secret, fn func(tx store.Tx, x *secret) error) (*secret, error) {
	for range attempts {
		changed, err := s.changeAnyway(ctx, x, func(tx store.Tx, now *secret) error {
			if !now.sameRights(x) {
				return errRights
			}
			if !a.replica {
				if err := now.mayChange(); err != nil {
					return err
				}
			}
			return fn(tx, now)
		})
		if errors.Is(err, store.ErrTooLarge) && len(x.Replicas) > 0 {
			return nil, errTooMuch
		}
		if !errors.Is(err, errRights) {
			return changed, err
		}
		if x, err = s.again(ctx, a, x); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("changing secret %s: %w", x.Name, errRights)
}

var errRights = errors.New("secretsmanager: the secret's policy or tags changed meanwhile")

// errTooMuch says that a secret and its replicas are too much for one transaction.
var errTooMuch = invalidRequest("The secret and its replicas are too large to be changed together. Remove replica regions, tags or versions first.")

// changeAnyway is change on nobody's behalf.
func (s *Service) changeAnyway(ctx context.Context, x *secret, fn func(tx store.Tx, x *secret) error) (*secret, error) {
	var changed *secret
	err := s.store.Update(ctx, func(tx store.Tx) (err error) {
		changed, err = s.changeIn(tx, x, func(x *secret) error { return fn(tx, x) })
		return err
	})
	if err != nil {
		return nil, err
	}
	return changed, nil
}

// changeIn changes a secret and its replicas within a transaction.
func (s *Service) changeIn(tx store.Tx, x *secret, fn func(x *secret) error) (*secret, error) {
	now, err := s.secrets.Get(tx, x.path())
	if errors.Is(err, store.ErrNotFound) || err == nil && (now.Suffix != x.Suffix || now.gone(s.now)) {
		return nil, secretNotFound()
	}
	if err != nil {
		return nil, fmt.Errorf("reading secret %s: %w", x.Name, err)
	}
	changed := now.clone()
	if err := fn(changed); err != nil {
		return nil, err
	}
	changed.Prepare()
	if err := s.share(tx, changed); err != nil {
		return nil, err
	}
	return changed, s.secrets.Put(tx, changed.path(), changed)
}

// timestamp is now, as finely as AWS tells it.
func (s *Service) timestamp() time.Time { return s.now().UTC().Truncate(time.Millisecond) }
