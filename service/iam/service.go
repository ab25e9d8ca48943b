// Package iam is AWS Identity and Access Management: users, groups, roles, access keys and
// policies. Each exported method of Service is an operation of the API.
//
// It promises that what it answers, and above all what it refuses, is what IAM would: names
// unique without regard to case, documents kept byte for byte, entities deleted only when
// nothing hangs on them.
//
// It keeps nothing itself (see directory, which every service asks who somebody is) and
// does not evaluate policies (see policy and authz).
package iam

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/malote/malote/authz"
	"github.com/malote/malote/caller"
	"github.com/malote/malote/service/iam/directory"
	"github.com/malote/malote/store"
)

// Config says what a Service stands on.
type Config struct {
	Directory *directory.Directory // required
	Authz     *authz.Authorizer    // required
	Now       func() time.Time     // nil: time.Now
}

// Service is IAM. Its exported methods are operations.
type Service struct {
	dir   *directory.Directory
	authz *authz.Authorizer
	now   func() time.Time
}

// New returns IAM over a directory.
func New(c Config) *Service {
	s := &Service{dir: c.Directory, authz: c.Authz, now: c.Now}
	if s.now == nil {
		s.now = time.Now
	}
	return s
}

func account(ctx context.Context) string { return caller.From(ctx).Principal.Account }

// authorize asks whether the caller may. Credentials of GetSessionToken may not call IAM at
// all, for they carry no MFA, and those of GetFederationToken never may.
func (s *Service) authorize(ctx context.Context, a *authz.Access) error {
	if p := caller.From(ctx).Principal; p.Type != caller.AssumedRole && !p.IssuedAt.IsZero() {
		return errSessionToken
	}
	return s.authz.Authorize(ctx, a)
}

// subject is a user, role, group or instance profile with its record: the entity that an
// operation is about.
type subject struct {
	*directory.Entity
	kind directory.Kind

	// One of these is set and holds the Entity.
	user    *directory.User
	role    *directory.Role
	group   *directory.Group
	profile *directory.InstanceProfile
}

func (s *subject) arn() string {
	switch s.kind {
	case directory.KindUser:
		return s.user.ARN()
	case directory.KindRole:
		return s.role.ARN()
	case directory.KindGroup:
		return s.group.ARN()
	}
	return s.profile.ARN()
}

func (s *subject) put(tx *directory.Tx) error {
	switch s.kind {
	case directory.KindUser:
		return tx.PutUser(s.user)
	case directory.KindRole:
		return tx.PutRole(s.role)
	case directory.KindGroup:
		return tx.PutGroup(s.group)
	}
	return tx.PutInstanceProfile(s.profile)
}

func (s *subject) delete(tx *directory.Tx) error {
	switch s.kind {
	case directory.KindUser:
		return tx.DeleteUser(s.user)
	case directory.KindRole:
		return tx.DeleteRole(s.role)
	case directory.KindGroup:
		return tx.DeleteGroup(s.group)
	}
	return tx.DeleteInstanceProfile(s.profile)
}

// find reads a subject, or is NoSuchEntity.
func find(tx *directory.Tx, account string, kind directory.Kind, name string) (*subject, error) {
	s := &subject{kind: kind}
	var err error
	switch kind {
	case directory.KindUser:
		if s.user, err = tx.User(account, name); err == nil {
			s.Entity = &s.user.Entity
		}
	case directory.KindRole:
		if s.role, err = tx.Role(account, name); err == nil {
			s.Entity = &s.role.Entity
		}
	case directory.KindGroup:
		if s.group, err = tx.Group(account, name); err == nil {
			s.Entity = &s.group.Entity
		}
	case directory.KindInstanceProfile:
		if s.profile, err = tx.InstanceProfile(account, name); err == nil {
			s.Entity = &s.profile.Entity
		}
	}
	if errors.Is(err, store.ErrNotFound) && kind == directory.KindInstanceProfile {
		return nil, noSuchEntity("Instance Profile %s cannot be found.", name)
	}
	if errors.Is(err, store.ErrNotFound) {
		return nil, noSuchEntity("The %s with name %s cannot be found.", kind, name)
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

// permit asks whether the caller may do what access says to a subject, whether or not the
// subject exists: denial outranks absence. It fills in the resource, and from the subject's
// record what conditions may ask about.
func (s *Service) permit(ctx context.Context, kind directory.Kind, name string, access *authz.Access) error {
	access.Resource = "arn:aws:iam::" + account(ctx) + ":" + string(kind) + "/" + name
	access.Named = named(kind, name)
	err := s.dir.View(ctx, func(tx *directory.Tx) error {
		sub, err := find(tx, account(ctx), kind, name)
		if isNoSuchEntity(err) {
			return nil
		}
		if err != nil {
			return err
		}
		sub.describe(access)
		return nil
	})
	if err != nil {
		return err
	}
	return s.authorize(ctx, access)
}

// named is how a denial calls an entity.
func named(kind directory.Kind, name string) string {
	return strings.ReplaceAll(string(kind), "-", " ") + " " + name
}

// describe fills into access what the subject's record says of it.
func (s *subject) describe(access *authz.Access) {
	access.Resource = s.arn()
	access.Named = named(s.kind, s.Name)
	access.Tags = directory.TagMap(s.Tags)
	if _, asked := access.Conditions[boundaryCondition]; !asked && s.Boundary != "" {
		condition(access, boundaryCondition, s.Boundary)
	}
}

// errRights says that what a decision rests on changed before the write.
var errRights = errors.New("iam: the subject changed after it was asked about")

// attempts is how often a write is decided anew before its caller has to ask again.
const attempts = 10

// write runs fn with the subject in a transaction that may change records, for a caller
// who may, and not only could a moment ago: when the subject has another ARN, other tags or
// another boundary by then, permit decides again.
func (s *Service) write(ctx context.Context, kind directory.Kind, name string, access *authz.Access, fn func(*directory.Tx, *subject) error) error {
	return s.writeAlso(ctx, kind, name, access, func() error { return nil }, fn)
}

// writeAlso is write for a caller who also needs what also asks for. fn says errRights when
// that is another by then.
func (s *Service) writeAlso(ctx context.Context, kind directory.Kind, name string, access *authz.Access, also func() error, fn func(*directory.Tx, *subject) error) error {
	for range attempts {
		asked := *access
		if err := s.permit(ctx, kind, name, &asked); err != nil {
			return err
		}
		if err := also(); err != nil {
			return err
		}
		err := s.dir.Update(ctx, func(tx *directory.Tx) error {
			sub, err := find(tx, account(ctx), kind, name)
			if err != nil {
				return err
			}
			now := *access
			sub.describe(&now)
			if now.Resource != asked.Resource || !maps.Equal(now.Tags, asked.Tags) || !maps.EqualFunc(now.Conditions, asked.Conditions, slices.Equal[[]string]) {
				return errRights
			}
			return fn(tx, sub)
		})
		if !errors.Is(err, errRights) {
			return err
		}
	}
	return concurrentModification()
}

// Condition keys of IAM's own.
const (
	boundaryCondition = "iam:PermissionsBoundary"
	policyCondition   = "iam:PolicyARN"
)

// condition adds a condition key without touching a map that is shared.
func condition(a *authz.Access, key string, values ...string) {
	a.Conditions = maps.Clone(a.Conditions)
	if a.Conditions == nil {
		a.Conditions = map[string][]string{}
	}
	a.Conditions[key] = values
}

// read runs fn with the subject, for a caller who may.
func (s *Service) read(ctx context.Context, kind directory.Kind, name string, access *authz.Access, fn func(*directory.Tx, *subject) error) error {
	if err := s.permit(ctx, kind, name, access); err != nil {
		return err
	}
	return s.dir.View(ctx, func(tx *directory.Tx) error {
		sub, err := find(tx, account(ctx), kind, name)
		if err != nil {
			return err
		}
		return fn(tx, sub)
	})
}

// change runs fn with the subject, for a caller who may, and writes the subject back.
func (s *Service) change(ctx context.Context, kind directory.Kind, name string, access *authz.Access, fn func(*directory.Tx, *subject) error) error {
	return s.write(ctx, kind, name, access, func(tx *directory.Tx, sub *subject) error {
		if err := fn(tx, sub); err != nil {
			return err
		}
		return sub.put(tx)
	})
}

// remove deletes the subject after fn, for a caller who may.
func (s *Service) remove(ctx context.Context, kind directory.Kind, name string, access *authz.Access, fn func(*directory.Tx, *subject) error) error {
	return s.write(ctx, kind, name, access, func(tx *directory.Tx, sub *subject) error {
		if err := modifiable(sub); err != nil {
			return err
		}
		if err := deletable(sub.Entity); err != nil {
			return err
		}
		if err := fn(tx, sub); err != nil {
			return err
		}
		return sub.delete(tx)
	})
}

// deletable refuses to delete what policies hang on.
func deletable(e *directory.Entity) error {
	switch {
	case len(e.Attached) > 0:
		return deleteConflict("Cannot delete entity, must detach all policies first.")
	case len(e.Inline) > 0:
		return deleteConflict("Cannot delete entity, must delete policies first.")
	}
	return nil
}
