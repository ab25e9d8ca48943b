package rotationtest

import (
	"context"
	"encoding/json"
	"testing"
)

// Check rotates a secret 50 times, each step twice, while a client logs in, then looks for
// every password in the logs. refusals is whether a login may be refused meanwhile.
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
	seen := map[string]bool{}
	logins, refused := Loop(t, sys, arn, 50, func(n int) {
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
	t.Logf("%d logins during 50 rotations, %d refused", logins, refused)
	if refused > 0 && !refusals {
		t.Errorf("%d of %d logins were refused", refused, logins)
	}
	if len(seen) != 50 {
		t.Errorf("50 rotations made %d different passwords", len(seen))
	}
	Sweep(t, sys, logs...)
}
