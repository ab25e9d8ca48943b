package rotationtest

import (
	"context"
	"encoding/json"
	"testing"
)

// Check rotates a secret 50 times, each step twice, while a client logs in, then looks for
// every password in the logs. refusals is whether a login may be refused meanwhile; then
// ten times will do, for nothing is shown by how often it is.
func Check(t *testing.T, sys *System, name, value string, refusals bool, login func(ctx context.Context, user, password string) error, logs ...string) {
	t.Helper()
	arn := Secret(t, sys, name, value)
	log := func(ctx context.Context, value string) error {
		var secret struct{ Username, Password string }
		if err := json.Unmarshal([]byte(value), &secret); err != nil {
			return err
		}
		return login(ctx, secret.Username, secret.Password)
	}
	rotations := 50
	if refusals {
		rotations = 10
	}
	seen := map[string]bool{}
	logins, refused := Loop(t, sys, arn, rotations, func(n int) {
		if err := sys.Rotate(t, arn, Token(n)); err != nil {
			t.Fatal(err)
		}
		value, err := Value(t.Context(), sys, arn)
		if err != nil {
			t.Fatal(err)
		}
		var secret struct{ Password string }
		if err := json.Unmarshal([]byte(value), &secret); err != nil {
			t.Fatal(err)
		}
		seen[secret.Password] = true
		sys.Canaries.Add(secret.Password)
	}, log)
	t.Logf("%d logins during %d rotations, %d refused", logins, rotations, refused)
	if refused > 0 && !refusals {
		t.Errorf("%d of %d logins were refused", refused, logins)
	}
	if len(seen) != rotations {
		t.Errorf("%d rotations made %d different passwords", rotations, len(seen))
	}
	Sweep(t, sys, logs...)
}
