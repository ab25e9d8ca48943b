package ecs

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/malote/malote/acs"
	"github.com/malote/malote/store"
	"github.com/malote/malote/store/memory"
)

// readers are the roles that may read another account's secret.
type readers []string

func (r readers) MayRead(_ context.Context, who Reader, arn, selector string) (bool, error) {
	if who.Session == "" || arn == "" || selector != "AWSCURRENT" {
		return false, errors.New("asked about nothing")
	}
	return slices.Contains(r, who.Role), nil
}

func (readers) Current(context.Context, string, string) (string, error) { return "current", nil }
func (readers) Changes(context.Context) <-chan struct{}                 { return nil }

// What a container was to be given that was never made, nobody has; the log router has what is for
// such a container's log.
func TestHas(t *testing.T) {
	t.Parallel()
	held := []acs.Held{{Container: "ran", Name: "A"}, {Container: "never", Name: "A"}, {Container: "never", Name: "log:token"}, {Container: "soon", Name: "A"}, {Container: "lost", Name: "A"}}
	container := func(name, status, id string) types.Container {
		return types.Container{Name: &name, LastStatus: &status, RuntimeId: aws.String(id)}
	}
	one := &task{Held: held, Task: types.Task{Containers: []types.Container{
		container("ran", "STOPPED", "id"), {Name: aws.String("never"), LastStatus: aws.String("STOPPED"), ExitCode: aws.Int32(143)}, container("soon", "PENDING", ""),
	}}}
	if got, want := one.has(), slices.Delete(slices.Clone(held), 1, 2); !slices.Equal(got, want) {
		t.Errorf("it has %v, want %v", got, want)
	}
	if len(one.Held) != 5 || one.Held[1] != held[1] {
		t.Errorf("the record became %v", one.Held)
	}
}

// A secret's rotation waits for the tasks of its own account that hold it, and for those of
// others that may read it: not for whoever says to hold it.
func TestHolders(t *testing.T) {
	t.Parallel()
	const secret, owner, stranger = "arn:aws:secretsmanager:us-east-1:111122223333:secret:db-AbCdEf", "111122223333", "444455556666"
	s := New(Config{Store: memory.New(), Versions: readers{"reader"}})
	defer s.store.Close()
	put := func(id, account, role, status, arn string, containers ...types.Container) {
		t.Helper()
		sc := scope{account, "us-east-1"}
		err := s.store.Update(t.Context(), func(tx store.Tx) error {
			return s.putTask(tx, sc, &task{
				ID: id, Cluster: "default", ExecutionRole: role, Held: []acs.Held{{Container: "app", ARN: arn, Selector: "AWSCURRENT", Version: "v-" + id}},
				Task: types.Task{TaskArn: aws.String(sc.taskARN("default", id)), LastStatus: &status, DesiredStatus: aws.String("RUNNING"), Containers: containers},
			})
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	put("own", owner, "", "RUNNING", secret)
	put("ended", owner, "", "STOPPED", secret)
	put("else", owner, "", "RUNNING", secret+"2")
	put("reader", stranger, "reader", "RUNNING", secret)
	put("liar", stranger, "liar", "RUNNING", secret)
	put("never", owner, "", "RUNNING", secret, types.Container{Name: aws.String("app"), LastStatus: aws.String("STOPPED"), ExitCode: aws.Int32(143)})
	put("nobody", stranger, "", "RUNNING", secret)

	found, err := Holders(t.Context(), s, []string{secret})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, h := range found {
		for _, held := range h.Secrets {
			got = append(got, held.Version)
		}
	}
	if slices.Sort(got); !slices.Equal(got, []string{"v-own", "v-reader"}) {
		t.Errorf("holders have %v, want v-own and v-reader", got)
	}
}
