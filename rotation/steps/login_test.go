package steps

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

func TestParseLogin(t *testing.T) {
	t.Parallel()
	const base = `"engine":"e","host":"h","username":"u","password":"p"`
	for value, want := range map[string]string{
		`{` + base + `}`: "",
		`{` + base + `,"port":"17","ssl":"True","masterarn":"m","dbname":"d"}`: "",
		`x`:    "the secret is not a JSON object",
		`null`: "the secret is not a JSON object",
		`[]`:   "the secret is not a JSON object",
		`{"engine":"e","host":"h","username":"u"}`:                "the secret has no password",
		`{"host":"h","username":"u","password":"p"}`:              "the secret has no engine",
		`{` + base + `,"dbname":7}`:                               "dbname in the secret is not a string",
		`{` + base + `,"port":0}`:                                 "port in the secret is not a number from 1 to 65535",
		`{` + base + `,"port":"65536"}`:                           "port in the secret is not a number from 1 to 65535",
		`{` + base + `,"ssl":"maybe"}`:                            "ssl in the secret is neither true nor false",
		`{"engine":"f","host":"h","username":"u","password":"p"}`: "engine in the secret is not e or e2",
	} {
		login, err := ParseLogin(value, 99, "e", "e2")
		switch {
		case want == "" && err != nil || want != "" && (err == nil || err.Error() != want):
			t.Errorf("%s: %v, want %q", value, err, want)
		case err == nil && strings.Contains(value, "port") && (login.Port != 17 || login.TLS != TLSVerified || login.Master != "m" || login.Database != "d"):
			t.Errorf("%s: %+v", value, login)
		case err == nil && !strings.Contains(value, "port") && (login.Address() != "h:99" || login.TLS != TLSPreferred):
			t.Errorf("%s: %+v", value, login)
		}
	}
}

// What is read can be written for another user, and nothing else changes.
func FuzzParseLogin(f *testing.F) {
	f.Add(`{"engine":"e","host":"h","username":"u","password":"p","port":"17","ssl":false,"more":[1]}`, "n")
	f.Add(`{"engine":"e","host":"::1","username":"u\u0000","password":"\"","port":1}`, `"`)
	f.Fuzz(func(t *testing.T, value, user string) {
		login, err := ParseLogin(value, 99, "e")
		if err != nil {
			return
		}
		if login.Port < 1 || login.Port > 65535 || login.User == "" || login.Password == "" || login.Host == "" {
			t.Fatalf("%+v", login)
		}
		text, err := login.with(user, "new")
		if err != nil {
			t.Fatal(err)
		}
		next, err := ParseLogin(text, 99, "e")
		if user == "" {
			if err == nil {
				t.Fatal("a secret without a user is read")
			}
			return
		}
		if err != nil || next.Password != "new" || next.User != strings.ToValidUTF8(user, "\ufffd") && strings.ToValidUTF8(user, "") == user {
			t.Fatalf("%+v, %v", next, err)
		}
		for _, members := range []map[string]json.RawMessage{login.members, next.members} {
			delete(members, "username")
			delete(members, "password")
		}
		if len(login.members) != len(next.members) || !reflect.DeepEqual([]any{login.Host, login.Port, login.TLS, login.Master, login.Database}, []any{next.Host, next.Port, next.TLS, next.Master, next.Database}) {
			t.Fatalf("%+v became %+v", login, next)
		}
	})
}
