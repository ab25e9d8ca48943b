package secretsmanager_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"

	"github.com/malote/malote/malotetest"
)

// model is what AWS documents of versions and labels, as plainly as it can be put: who has
// which value, and where each label is. Methods return an error code, "" for none.
type model struct {
	ids     []string
	values  map[string]string
	at      map[string]string // label to version
	deleted bool
}

func (m *model) put(id, value string, labels []string) string {
	if m.deleted {
		return "InvalidRequestException"
	}
	if old, ok := m.values[id]; ok {
		if old != value {
			return "ResourceExistsException"
		}
		return ""
	}
	if len(labels) == 0 || len(m.ids) == 0 && !slices.Contains(labels, "AWSCURRENT") {
		labels = append([]string{"AWSCURRENT"}, labels...)
	}
	m.ids = append(m.ids, id)
	m.values[id] = value
	for _, l := range labels {
		m.move(l, id)
	}
	return ""
}

func (m *model) move(label, to string) {
	old := m.at[label]
	m.at[label] = to
	if label == "AWSCURRENT" && old != "" && old != to {
		m.at["AWSPREVIOUS"] = old
	}
}

func (m *model) stage(label, from, to string) string {
	known := func(id string) bool { return id == "" || slices.Contains(m.ids, id) }
	switch on := m.at[label]; {
	case m.deleted:
		return "InvalidRequestException"
	case !known(from) || !known(to):
		return "ResourceNotFoundException"
	case from == "" && to == "", from != on && from != "", from == "" && on != "" && on != to:
		return "InvalidParameterException"
	case to == "" && label == "AWSCURRENT":
		return "InvalidParameterException"
	case to == "":
		delete(m.at, label)
	default:
		m.move(label, to)
	}
	return ""
}

// read returns the value that GetSecretValue finds.
func (m *model) read(id, label string) (value, code string) {
	if m.deleted {
		return "", "InvalidRequestException"
	}
	if id == "" && label == "" {
		label = "AWSCURRENT"
	}
	if id == "" {
		id = m.at[label]
	}
	value, ok := m.values[id]
	switch {
	case !ok:
		return "", "ResourceNotFoundException"
	case label != "" && m.at[label] != id:
		return "", "InvalidRequestException"
	}
	return value, ""
}

// labels is VersionIdsToStages.
func (m *model) labels() map[string][]string {
	all := map[string][]string{}
	for _, label := range slices.Sorted(maps.Keys(m.at)) {
		all[m.at[label]] = append(all[m.at[label]], label)
	}
	return all
}

func codeOf(err error) string {
	var api smithy.APIError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &api):
		return api.ErrorCode()
	}
	return err.Error()
}

// Whatever is asked in whatever order, a secret does as the model, and its replica as the
// secret.
func TestAgainstModel(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	home, there := in(sys.Config(), "us-east-1"), in(sys.Config(), europe)
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(seed, 2))
			name := aws.String(fmt.Sprintf("s%d", seed))
			create := &secretsmanager.CreateSecretInput{Name: name}
			replicated := seed%2 == 0
			if replicated {
				create.AddReplicaRegions = regions(europe)
			}
			if _, err := home.CreateSecret(t.Context(), create); err != nil {
				t.Fatal(err)
			}
			m := &model{values: map[string]string{}, at: map[string]string{}}
			for step := range 60 {
				what, got, want := walk(t, r, home, name, m, step, replicated)
				if got != want {
					t.Fatalf("step %d, %s: %q, want %q", step, what, got, want)
				}
				agrees(t, r, home, name, m)
				if replicated {
					agrees(t, r, there, name, m)
				}
				if t.Failed() {
					t.Fatalf("after step %d, %s", step, what)
				}
				sys.Clock.Advance(time.Second)
			}
		})
	}
}

// walk does one thing to the secret and to the model.
func walk(t *testing.T, r *rand.Rand, client *secretsmanager.Client, name *string, m *model, step int, replicated bool) (what, got, want string) {
	labels := []string{"AWSCURRENT", "AWSPREVIOUS", "AWSPENDING", "BLUE", "AWSSOMETHING"}
	some := func() string {
		switch n := r.IntN(len(m.ids) + 2); {
		case n == 0:
			return ""
		case n == 1:
			return *token(99999) // there is none
		default:
			return m.ids[n-2]
		}
	}
	id, value := *token(step + 1), fmt.Sprint("value ", step)
	if len(m.ids) > 0 && r.IntN(5) == 0 {
		id = m.ids[r.IntN(len(m.ids))]
		if r.IntN(2) == 0 {
			value = m.values[id]
		}
	}
	var err error
	switch r.IntN(7) {
	case 0, 1:
		var on []string
		for _, l := range labels {
			// Both at once is not documented.
			if r.IntN(3) == 0 && !(l == "AWSPREVIOUS" && slices.Contains(on, "AWSCURRENT")) {
				on = append(on, l)
			}
		}
		if len(m.ids) == 0 {
			on = slices.DeleteFunc(on, func(l string) bool { return l == "AWSPREVIOUS" })
		}
		_, err = client.PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{SecretId: name, SecretString: &value, ClientRequestToken: &id, VersionStages: on})
		return fmt.Sprintf("PutSecretValue %s on %v", id, on), codeOf(err), m.put(id, value, on)
	case 2:
		_, err = client.UpdateSecret(t.Context(), &secretsmanager.UpdateSecretInput{SecretId: name, SecretString: &value, ClientRequestToken: &id})
		return "UpdateSecret " + id, codeOf(err), m.put(id, value, nil)
	case 3, 4, 5:
		label, from, to := labels[r.IntN(len(labels))], some(), some()
		if r.IntN(2) == 0 {
			from = m.at[label]
		}
		in := &secretsmanager.UpdateSecretVersionStageInput{SecretId: name, VersionStage: &label}
		if from != "" {
			in.RemoveFromVersionId = &from
		}
		if to != "" {
			in.MoveToVersionId = &to
		}
		_, err = client.UpdateSecretVersionStage(t.Context(), in)
		return fmt.Sprintf("UpdateSecretVersionStage %s from %q to %q", label, from, to), codeOf(err), m.stage(label, from, to)
	}
	if m.deleted {
		_, err = client.RestoreSecret(t.Context(), &secretsmanager.RestoreSecretInput{SecretId: name})
		m.deleted = false
		return "RestoreSecret", codeOf(err), ""
	}
	_, err = client.DeleteSecret(t.Context(), &secretsmanager.DeleteSecretInput{SecretId: name})
	if replicated {
		return "DeleteSecret", codeOf(err), "InvalidParameterException"
	}
	m.deleted = true
	return "DeleteSecret", codeOf(err), ""
}

// agrees compares what the service tells with the model.
func agrees(t *testing.T, r *rand.Rand, client *secretsmanager.Client, name *string, m *model) {
	t.Helper()
	got := describe(t, client, *name).VersionIdsToStages
	if got == nil {
		got = map[string][]string{}
	}
	if diff := cmp.Diff(m.labels(), got); diff != "" {
		t.Errorf("in %s: labels (-want +got)\n%s", client.Options().Region, diff)
	}
	id, label := "", ""
	in := &secretsmanager.GetSecretValueInput{SecretId: name}
	if len(m.ids) > 0 && r.IntN(2) == 0 && client.Options().Region != europe { // where versions without a label may lack
		id = m.ids[r.IntN(len(m.ids))]
		in.VersionId = &id
	}
	if r.IntN(2) == 0 {
		label = []string{"AWSCURRENT", "AWSPREVIOUS", "BLUE"}[r.IntN(3)]
		in.VersionStage = &label
	}
	out, err := client.GetSecretValue(t.Context(), in)
	value, code := m.read(id, label)
	if codeOf(err) != code || err == nil && *out.SecretString != value {
		t.Errorf("in %s: GetSecretValue %q %q: %v, want %q", client.Options().Region, id, label, err, code)
	}
	if client.Options().Region == europe {
		return
	}
	list, err := client.ListSecretVersionIds(t.Context(), &secretsmanager.ListSecretVersionIdsInput{SecretId: name, IncludeDeprecated: aws.Bool(true)})
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, v := range list.Versions {
		ids = append(ids, *v.VersionId)
	}
	if !slices.Equal(ids, m.ids) {
		t.Errorf("versions %v, want %v", ids, m.ids)
	}
}
