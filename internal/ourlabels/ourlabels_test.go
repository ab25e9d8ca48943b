package ourlabels_test

import (
	"maps"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/malote/malote/internal/ourlabels"
)

func container(labels ...string) *types.ContainerDefinition {
	def := &types.ContainerDefinition{DockerLabels: map[string]string{}, Secrets: []types.Secret{{Name: aws.String("DB")}, {Name: aws.String("KEY")}}}
	for i := 0; i < len(labels); i += 2 {
		def.DockerLabels[labels[i]] = labels[i+1]
	}
	return def
}

func TestLabelsThatMeanNothing(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ label, value, want string }{
		{"malote.secret", "docker-env", "is not known to malote"},
		{"malote.versions", "{}", "is not known to malote"},
		{"malote.secrets", "env", "can be docker-env"},
		{"malote.optional.NONE", "x", "has none of that name"},
		{"malote.expand.NONE", "", "has none of that name"},
		{"malote.expand.DB", "prefix", "'prefix' is not understood"},
		{"malote.expand.DB", "prefix=", "is not understood"},
		{"malote.expand.DB", "prefix=A prefix=B", "'prefix=B' is not understood"},
		{"malote.expand.DB", "prefix=9", "cannot be the name of a variable"},
		{"malote.expand.DB", "allow=a, b", "empty name"},
		{"malote.expand.DB", "only=a", "'only=a' is not understood"},
		{"malote.expand.DB", "upper=yes", "'upper=yes' is not understood"},
		{"malote.bind", "localhost", "is 'localhost'; it can be an address of the host such as 127.0.0.1"},
		{"malote.bind", "", "is ''; it can be an address"},
		{"malote.endpoint", "SECRETS-MANAGER", "is 'SECRETS-MANAGER'; it can be the name of a variable"},
		{"malote.endpoint", "", "is ''; it can be the name of a variable"},
		{"malote.refresh-signal", "", "'' is no signal"},
		{"malote.refresh-signal", "HANGUP", "'HANGUP' is no signal"},
		{"malote.refresh-signal", "0", "'0' is no signal"},
		{"malote.refresh-signal", "KILL", "ends or halts the container"},
		{"malote.refresh-signal", "19", "ends or halts the container"},
	} {
		if _, err := ourlabels.Of(container(c.label, c.value)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s=%s: %v, want %q", c.label, c.value, err, c.want)
		}
	}
	if _, err := ourlabels.Of(container("malote.optional.DB", "x", "malote.expand.DB", "")); err == nil || !strings.Contains(err.Error(), "many variables have no default") {
		t.Error(err)
	}
	if _, err := ourlabels.Of(container("other", "x", "maloteish", "x", "malote.secrets", "docker-env", "malote.bind", "127.0.0.1", "malote.endpoint", "X")); err != nil {
		t.Error(err)
	}
}

func TestRefreshSignal(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{"HUP": "SIGHUP", "SIGUSR1": "SIGUSR1", "usr2": "SIGUSR2", "1": "SIGHUP"} {
		if w, err := ourlabels.Of(container("malote.refresh-signal", text)); err != nil || w.Signal != want {
			t.Errorf("%s: %q, %v, want %s", text, w.Signal, err, want)
		}
	}
}

func TestVariables(t *testing.T) {
	t.Parallel()
	keys := []string{"username", "db/password", "api-key"}
	for _, c := range []struct {
		text string
		want map[string]string
		err  string
		more []string
	}{
		{"", map[string]string{"username": "username", "db/password": "db_password", "api-key": "api_key"}, "", nil},
		{"prefix=APP_ upper", map[string]string{"username": "APP_USERNAME", "db/password": "APP_DB_PASSWORD", "api-key": "APP_API_KEY"}, "", nil},
		{"allow=username", map[string]string{"username": "username"}, "", []string{"not a name"}},
		{"allow=username,gone", nil, `no "gone"`, nil},
		{"", nil, `"not a name" cannot be the name`, []string{"not a name"}},
		{"", nil, `"9lives" cannot be the name`, []string{"9lives"}},
		{"", nil, `"" cannot be the name`, []string{""}},
		{"prefix=N_ allow=9lives", map[string]string{"9lives": "N_9lives"}, "", []string{"9lives"}},
		{"", nil, `"api-key" and "api.key" would both be the variable api_key`, []string{"api.key"}},
	} {
		w, err := ourlabels.Of(container("malote.expand.DB", c.text))
		if err != nil {
			t.Fatal(err)
		}
		got, err := w.Expand["DB"].Variables(append(c.more, keys...))
		switch {
		case c.err != "":
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%q: %v, want %q", c.text, err, c.err)
			}
		case err != nil || !maps.Equal(got, c.want):
			t.Errorf("%q: %v, %v, want %v", c.text, got, err, c.want)
		}
	}
}
