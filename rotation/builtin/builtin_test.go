package builtin_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/malote/malote/rotation/builtin"
	"github.com/malote/malote/rotation/rotationtest"
)

func TestNamed(t *testing.T) {
	t.Parallel()
	for _, name := range builtin.Names() {
		if f, err := builtin.Named(name, nil); err != nil || f == nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, tt := range []struct{ name, option, value, want string }{
		{"oracle", "", "", `there is no rotation function "oracle": there are mysql-alternating-users, `},
		{"random", "KEYS", "a", "rotation function random has no option KEYS"},
		{"redis-single-user", "KEY", "a", "rotation function redis-single-user has no option KEY"},
		{"random", "PASSWORD_LENGTH", "7", `PASSWORD_LENGTH is "7": a number from 8 to 4096 is wanted`},
		{"random", "PASSWORD_LENGTH", "many", `PASSWORD_LENGTH is "many"`},
		{"random", "EXCLUDE_NUMBERS", "perhaps", `EXCLUDE_NUMBERS is "perhaps": true or false is wanted`},
	} {
		options := map[string]string{}
		if tt.option != "" {
			options[tt.option] = tt.value
		}
		if _, err := builtin.Named(tt.name, options); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v", tt, err)
		}
		if tt.option != "" && options[tt.option] != tt.value {
			t.Errorf("%+v: the caller's options are changed", tt)
		}
	}
}

func TestRandom(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		options     map[string]string
		value, fail string
	}{
		{map[string]string{"PASSWORD_LENGTH": "20", "EXCLUDE_PUNCTUATION": "true"}, "CANARY", ""},
		{map[string]string{"PASSWORD_LENGTH": "20", "KEY": "token"}, `{"id":[1, 2],"token":"CANARY"}`, ""},
		{map[string]string{"PASSWORD_LENGTH": "20", "KEY": "token"}, `CANARY`, "the AWSCURRENT version is not a JSON object"},
	} {
		function, err := builtin.Named("random", tt.options)
		if err != nil {
			t.Fatal(err)
		}
		sys := rotationtest.New(t, function)
		first := strings.ReplaceAll(tt.value, "CANARY", sys.Canary())
		arn := rotationtest.Secret(t, sys, "app", first)
		err = sys.Rotate(t, arn, rotationtest.Token(1))
		if tt.fail != "" {
			if err == nil || !strings.HasSuffix(err.Error(), "createSecret of "+arn+": "+tt.fail) {
				t.Errorf("%s: %v", tt.value, err)
			}
		} else if err != nil {
			t.Fatal(err)
		}
		value, err := rotationtest.Value(t.Context(), sys, arn)
		if err != nil {
			t.Fatal(err)
		}
		if (value == first) != (tt.fail != "") {
			t.Errorf("%s: it has changed: %v", tt.value, value != first)
		}
		password := value
		if tt.options["KEY"] != "" && tt.fail == "" {
			var members struct {
				ID    []int
				Token string
			}
			if err := json.Unmarshal([]byte(value), &members); err != nil || len(members.ID) != 2 {
				t.Fatalf("%s: the other members are lost: %v", tt.value, err)
			}
			password = members.Token
		}
		if tt.fail == "" && len(password) != 20 {
			t.Errorf("%s: the password has %d characters", tt.value, len(password))
		}
	}
}
