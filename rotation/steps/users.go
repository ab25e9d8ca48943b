package steps

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/malote/malote/rotation"
)

// Server is a kind of server with users and passwords. Its errors hold no password.
type Server interface {
	Parse(value string) (Login, error)
	LogIn(ctx context.Context, as Login) error
	// SetPassword has the user of next take its password; now is what the secret's current version says.
	SetPassword(ctx context.Context, as, now, next Login) error
	// Clone makes the user of next where it is missing, with what the user of now may do, and sets its password.
	Clone(ctx context.Context, master, now, next Login) error
}

const cloned = "_clone"

// SingleUser changes the password of the secret's user, as that user, or as the user of
// the secret masterarn where there is one.
func SingleUser(server Server, password Password) rotation.Function {
	return Function(single{users{server, password}})
}

// AlternatingUsers rotates between a user and its clone, so that the user of the current
// version keeps its password until the rotation after the next.
func AlternatingUsers(server Server, password Password) rotation.Function {
	return Function(alternating{users{server, password}})
}

type users struct {
	server   Server
	password Password
}

func (u users) parse(stage, value string) (Login, error) {
	login, err := u.server.Parse(value)
	if err != nil {
		return login, fmt.Errorf("the %s version: %w", stage, err)
	}
	return login, nil
}

func (u users) make(ctx context.Context, run *Run, now Login, user string) (string, error) {
	password, err := u.password.Make(ctx, run)
	if err != nil {
		return "", err
	}
	return now.with(user, password)
}

func (u users) logIn(ctx context.Context, stage string, as Login) error {
	if err := u.server.LogIn(ctx, as); err != nil {
		return fmt.Errorf("logging in at %s as user %q with the %s version: %w", as.Address(), as.User, stage, Redact(err, as.Password))
	}
	return nil
}

// both reads the two versions. A pending version that names another host would send the
// password there.
func (u users) both(old, value string) (now, next Login, err error) {
	if now, err = u.parse(current, old); err != nil {
		return
	}
	if next, err = u.parse(pending, value); err != nil {
		return
	}
	if now.Address() != next.Address() {
		err = fmt.Errorf("the AWSPENDING version is for %s and the AWSCURRENT version for %s", next.Address(), now.Address())
	}
	return
}

// Test logs in with the pending version.
func (u users) Test(ctx context.Context, run *Run, value string) error {
	next, err := u.parse(pending, value)
	if err != nil {
		return err
	}
	return u.logIn(ctx, pending, next)
}

// master is the login in the secret that masterarn names, which must be for the same server.
func (u users) master(ctx context.Context, run *Run, now Login) (Login, error) {
	out, err := run.client.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &now.Master, VersionStage: aws.String(current)})
	if err != nil {
		return Login{}, fmt.Errorf("reading the secret that masterarn names: %w", err)
	}
	if out.SecretString == nil {
		return Login{}, errors.New("the secret that masterarn names is binary")
	}
	master, err := u.server.Parse(*out.SecretString)
	if err != nil {
		return master, fmt.Errorf("the secret that masterarn names: %w", err)
	}
	if master.Address() != now.Address() {
		return master, fmt.Errorf("the secret that masterarn names is for %s and not for %s", master.Address(), now.Address())
	}
	return master, nil
}

type single struct{ users }

func (s single) New(ctx context.Context, run *Run, old string) (string, error) {
	now, err := s.parse(current, old)
	if err != nil {
		return "", err
	}
	return s.make(ctx, run, now, now.User)
}

func (s single) Set(ctx context.Context, run *Run, old, value string) error {
	now, next, err := s.both(old, value)
	if err != nil {
		return err
	}
	if now.User != next.User {
		return fmt.Errorf("the AWSPENDING version is for user %q and the AWSCURRENT version for user %q", next.User, now.User)
	}
	if s.logIn(ctx, pending, next) == nil {
		return nil // set before
	}
	// That it logs in shows that it is the secret's own user, before a master changes it.
	as, err := s.owner(ctx, run, now)
	if err != nil {
		return err
	}
	if now.Master != "" {
		if as, err = s.master(ctx, run, now); err != nil {
			return err
		}
	}
	if err := s.server.SetPassword(ctx, as, now, next); err != nil {
		return fmt.Errorf("setting the password of user %q at %s as user %q: %w", next.User, next.Address(), as.User, Redact(err, next.Password, as.Password))
	}
	return nil
}

// owner is the secret's user with the password that works: the current one or, as in
// AWS's functions, the one before, for a rotation that stopped half-way.
func (s single) owner(ctx context.Context, run *Run, now Login) (Login, error) {
	refused := s.logIn(ctx, current, now)
	if refused == nil {
		return now, nil
	}
	value, err := run.value(ctx, previous, "")
	if absent(err) {
		return now, refused
	} else if err != nil {
		return now, errors.Join(refused, err)
	}
	before, err := s.parse(previous, value)
	if err != nil {
		return now, errors.Join(refused, err)
	}
	if before.User != now.User || before.Address() != now.Address() {
		return now, refused
	}
	if err := s.logIn(ctx, previous, before); err != nil {
		return now, errors.Join(refused, err)
	}
	return before, nil
}

type alternating struct{ users }

func other(user string) string {
	if base, is := strings.CutSuffix(user, cloned); is {
		return base
	}
	return user + cloned
}

func (a alternating) New(ctx context.Context, run *Run, old string) (string, error) {
	now, err := a.parse(current, old)
	if err != nil {
		return "", err
	}
	if now.Master == "" {
		return "", errors.New("the secret has no masterarn: alternating users need the ARN of a secret whose user may make users")
	}
	return a.make(ctx, run, now, other(now.User))
}

func (a alternating) Set(ctx context.Context, run *Run, old, value string) error {
	now, next, err := a.both(old, value)
	if err != nil {
		return err
	}
	if next.User != other(now.User) {
		return fmt.Errorf("the AWSPENDING version is for user %q, where %q alternates with %q", next.User, now.User, other(now.User))
	}
	if a.logIn(ctx, pending, next) == nil {
		return nil // set before
	}
	// Whoever may write the secret could name any user in it; that the current version
	// logs in shows that it has the rights which the clone is given.
	if err := a.logIn(ctx, current, now); err != nil {
		return err
	}
	master, err := a.master(ctx, run, now)
	if err != nil {
		return err
	}
	if err := a.server.Clone(ctx, master, now, next); err != nil {
		return fmt.Errorf("giving user %q at %s its rights and password as user %q: %w", next.User, next.Address(), master.User, Redact(err, next.Password, master.Password))
	}
	return nil
}
