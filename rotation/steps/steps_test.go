package steps_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/malote/malote/rotation"
	"github.com/malote/malote/rotation/rotationtest"
	"github.com/malote/malote/rotation/steps"
)

// server is one at db:99 whose errors repeat the passwords that it is given.
type server struct {
	mu        sync.Mutex
	passwords map[string]string
	set       int  // changes of passwords
	down      bool // for changes
}

func (s *server) Parse(value string) (steps.Login, error) { return steps.ParseLogin(value, 99, "db") }

func (s *server) LogIn(_ context.Context, as steps.Login) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if as.Address() != "db:99" || s.passwords[as.User] != as.Password {
		return fmt.Errorf("no %s with %s", as.User, as.Password)
	}
	return nil
}

func (s *server) SetPassword(ctx context.Context, as, _, next steps.Login) error {
	if err := s.LogIn(ctx, as); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return fmt.Errorf("cannot set %s as %s", next.Password, as.Password)
	}
	s.passwords[next.User] = next.Password
	s.set++
	return nil
}

func (s *server) Clone(ctx context.Context, master, now, next steps.Login) error {
	return s.SetPassword(ctx, master, now, next)
}

// world is a server with the users app and master, and a system that rotates the secret app.
type world struct {
	*rotationtest.System
	*server
	client   *secretsmanager.Client
	function rotation.Function
	arn      string
	first    string
}

func begin(t *testing.T, kind func(steps.Server, steps.Password) rotation.Function, master bool) *world {
	t.Helper()
	password, err := steps.ParsePassword(map[string]string{})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{server: &server{passwords: map[string]string{}}}
	w.function = kind(w.server, password)
	w.System = rotationtest.New(t, w.function)
	w.client = secretsmanager.NewFromConfig(w.Config())
	w.first = w.Canary()
	w.passwords["app"], w.passwords["master"] = w.first, w.first
	arn := ""
	if master {
		arn = rotationtest.Secret(t, w.System, "master", w.value("db", "master", w.first, ""))
	}
	w.arn = rotationtest.Secret(t, w.System, "app", w.value("db", "app", w.first, arn))
	return w
}

func (w *world) value(host, user, password, master string) string {
	return fmt.Sprintf(`{"engine":"db","host":%q,"username":%q,"password":%q,"masterarn":%q}`, host, user, password, master)
}

// works is whether the current secret logs in, as whom.
func (w *world) works(t *testing.T, user string) {
	t.Helper()
	value, err := rotationtest.Value(t.Context(), w.System, w.arn)
	if err != nil {
		t.Fatal(err)
	}
	login, err := w.Parse(value)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.LogIn(t.Context(), login); err != nil || login.User != user {
		t.Errorf("the secret logs in as %s: %v, want %s", login.User, err, user)
	}
}

// refused is that err has the text and no value.
func (w *world) refused(t *testing.T, err error, text string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), text) {
		t.Errorf("%v, want %q", err, text)
	}
	if err == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, password := range w.passwords {
		if strings.Contains(err.Error(), password) {
			t.Error("the error has a password")
		}
	}
}

func (w *world) step(t *testing.T, step, token string) error {
	return w.function.Rotate(t.Context(), w.Config(), rotation.Event{Step: step, SecretId: w.arn, ClientRequestToken: token})
}

// pending stores a version as somebody may who is not the function.
func (w *world) pending(t *testing.T, token, value string) {
	t.Helper()
	if _, err := w.client.PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{SecretId: &w.arn, ClientRequestToken: &token, SecretString: &value, VersionStages: []string{"AWSPENDING"}}); err != nil {
		t.Fatal(err)
	}
}

// Each step is done twice; the password is set once, and users alternate.
func TestRepeats(t *testing.T) {
	t.Parallel()
	w := begin(t, steps.SingleUser, false)
	a := begin(t, steps.AlternatingUsers, true)
	for n := 1; n <= 3; n++ {
		for _, w := range []*world{w, a} {
			if err := w.Rotate(t, w.arn, rotationtest.Token(n)); err != nil {
				t.Fatal(err)
			}
			if w.set != n {
				t.Errorf("%d rotations set %d passwords", n, w.set)
			}
		}
		w.works(t, "app")
		a.works(t, []string{"app", "app_clone"}[n%2])
	}
	// A step of a rotation that is over does nothing.
	if err := w.step(t, rotation.SetSecret, rotationtest.Token(3)); err != nil || w.set != 3 {
		t.Errorf("%v, set %d times", err, w.set)
	}
}

// A rotation that fails leaves the current value, and its next attempt has the same password.
func TestAbandoned(t *testing.T) {
	t.Parallel()
	for _, kind := range []func(steps.Server, steps.Password) rotation.Function{steps.SingleUser, steps.AlternatingUsers} {
		w := begin(t, kind, true)
		w.down = true
		w.refused(t, w.Rotate(t, w.arn, rotationtest.Token(1)), "setSecret of "+w.arn+": ")
		w.works(t, "app")
		was, err := w.client.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: &w.arn, VersionStage: aws.String("AWSPENDING")})
		if err != nil {
			t.Fatal(err)
		}
		w.mu.Lock()
		w.down = false
		w.mu.Unlock()
		if err := w.Rotate(t, w.arn, rotationtest.Token(1)); err != nil {
			t.Fatal(err)
		}
		if now, err := rotationtest.Value(t.Context(), w.System, w.arn); err != nil || now != *was.SecretString {
			t.Errorf("the next attempt made another value (%v)", err)
		}
	}
}

// A single user whose current password was never set is found by the one before.
func TestPrevious(t *testing.T) {
	t.Parallel()
	w := begin(t, steps.SingleUser, false)
	if _, err := w.client.PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{SecretId: &w.arn, SecretString: aws.String(w.value("db", "app", w.Canary(), ""))}); err != nil {
		t.Fatal(err)
	}
	if err := w.Rotate(t, w.arn, rotationtest.Token(1)); err != nil {
		t.Fatal(err)
	}
	w.works(t, "app")
}

// Nothing that somebody puts into the pending version or into masterarn leads the function astray.
func TestRefusals(t *testing.T) {
	t.Parallel()
	w := begin(t, steps.AlternatingUsers, true)
	current, err := rotationtest.Value(t.Context(), w.System, w.arn)
	if err != nil {
		t.Fatal(err)
	}
	login, err := w.Parse(current)
	if err != nil {
		t.Fatal(err)
	}
	for i, tt := range []struct{ host, user, want string }{
		{"evil", "app_clone", "the AWSPENDING version is for evil:99 and the AWSCURRENT version for db:99"},
		{"db", "master", `the AWSPENDING version is for user "master", where "app" alternates with "app_clone"`},
	} {
		token := rotationtest.Token(10 + i)
		w.pending(t, token, w.value(tt.host, tt.user, w.Canary(), login.Master))
		w.refused(t, w.step(t, rotation.SetSecret, token), tt.want)
	}
	w.refused(t, w.step(t, rotation.TestSecret, rotationtest.Token(11)), `logging in at db:99 as user "master" with the AWSPENDING version: no master with ***`)
	w.refused(t, w.step(t, rotation.SetSecret, rotationtest.Token(10)), "the secret has no staged version "+rotationtest.Token(10))
	w.refused(t, w.step(t, rotation.SetSecret, rotationtest.Token(99)), "the secret has no staged version "+rotationtest.Token(99))
	w.refused(t, w.step(t, "dropSecret", rotationtest.Token(11)), "no such step")
	if w.set != 0 {
		t.Error("a password was set")
	}

	// The version before the current one is staged, but AWSPREVIOUS.
	last := rotationtest.Token(12)
	for _, token := range []string{last, rotationtest.Token(13)} {
		if _, err := w.client.PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{SecretId: &w.arn, ClientRequestToken: &token, SecretString: aws.String(current)}); err != nil {
			t.Fatal(err)
		}
	}
	w.refused(t, w.step(t, rotation.SetSecret, last), "version "+last+" is not staged AWSPENDING but AWSPREVIOUS")

	elsewhere := rotationtest.Secret(t, w.System, "master-2", w.value("evil", "master", w.Canary(), ""))
	if _, err := w.client.PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{SecretId: &w.arn, SecretString: aws.String(w.value("db", "app", w.first, elsewhere))}); err != nil {
		t.Fatal(err)
	}
	w.refused(t, w.Rotate(t, w.arn, rotationtest.Token(20)), "the secret that masterarn names is for evil:99 and not for db:99")

	alone := begin(t, steps.AlternatingUsers, false)
	alone.refused(t, alone.Rotate(t, alone.arn, rotationtest.Token(1)), "the secret has no masterarn")
}

func TestRedact(t *testing.T) {
	t.Parallel()
	err := errors.New("no one with one")
	if got := steps.Redact(err, "", "one"); got.Error() != "no *** with ***" || steps.Redact(err, "two") != err || steps.Redact(nil, "one") != nil {
		t.Error(got)
	}
}
