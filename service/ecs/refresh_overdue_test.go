package ecs

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/malote/malote/acs"
	"github.com/malote/malote/internal/ourtags"
	"github.com/malote/malote/store"
	"github.com/malote/malote/store/memory"
)

// hosts are accounts with a host of their own, whose agents never answer, and services with one
// task each that holds version 1 of a secret in a file. Version 2 is current.
type hosts struct {
	*Service
	t     *testing.T
	clock *clock
}

func newHosts(t *testing.T) *hosts {
	t.Helper()
	ticking := &clock{t: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	st := memory.New()
	t.Cleanup(func() { st.Close() })
	return &hosts{New(Config{Store: st, Versions: currentOf{versions: map[string]string{"db": "2"}}, Now: ticking.now}), t, ticking}
}

func (h *hosts) update(fn func(tx store.Tx) error) {
	h.t.Helper()
	if err := h.store.Update(h.t.Context(), fn); err != nil {
		h.t.Fatal(err)
	}
}

// seen has an account's host have been heard of just now.
func (h *hosts) seen(account string) {
	h.t.Helper()
	h.update(func(tx store.Tx) error { return h.sawInstance(tx, scope{account, "us-east-1"}, "default", "host") })
}

func (h *hosts) service(account, name string) {
	h.t.Helper()
	sc := scope{account, "us-east-1"}
	d := pod()
	d.ContainerDefinitions[0].StartTimeout = aws.Int32(60)
	tagged := types.Tag{Key: aws.String(ourtags.OnSecretChange), Value: aws.String(ourtags.Refresh)}
	secret := acs.Held{Container: "files", Name: "A", ARN: "arn:aws:secretsmanager:us-east-1:" + account + ":secret:db", Selector: "AWSCURRENT", Version: "1"}
	h.update(func(tx store.Tx) error {
		for _, put := range []func() error{
			func() error {
				return h.putService(tx, sc, &service{Name: name, Cluster: "default", Status: statusActive, Tags: []types.Tag{tagged}, Rollouts: []rollout{{ID: "1"}}})
			},
			func() error {
				return h.definitions.Put(tx, sc.definitionKey("web", 1), &definition{Definition: *d})
			},
			func() error {
				return h.instances.Put(tx, sc.key("instance", "default", "host"), &instance{ID: "host", Cluster: "default", Attributes: []types.Attribute{{Name: aws.String(acs.CanRefresh)}}})
			},
			func() error {
				return h.putTask(tx, sc, &task{
					ID: "of-" + name, Cluster: "default", Instance: "host", Service: name, Rollout: "1", Family: "web", Revision: 1, Held: []acs.Held{secret},
					Task: types.Task{TaskArn: aws.String(sc.taskARN("default", "of-"+name)), LastStatus: aws.String("RUNNING"), DesiredStatus: aws.String("RUNNING")},
				})
			},
			func() error {
				return h.members.Put(tx, sc.key("service-task", "default", name, "of-"+name), &member{Rollout: "1"})
			},
			func() error {
				return h.placements.Put(tx, sc.key("placement", "default", "host", "of-"+name), &placement{Task: "of-" + name})
			},
		} {
			if err := put(); err != nil {
				return err
			}
		}
		return nil
	})
	h.seen(account)
}

// follow looks at all services, and returns what an account's host is asked for by task.
func (h *hosts) follow(account string) map[string]string {
	h.t.Helper()
	if _, err := h.Service.follow(h.t.Context()); err != nil {
		h.t.Fatal(err)
	}
	var asked map[string]string
	if err := h.store.View(h.t.Context(), func(tx store.Tx) error {
		asked = map[string]string{}
		for row, err := range h.placements.Scan(tx, scope{account, "us-east-1"}.prefix("placement"), "") {
			if err != nil {
				return err
			}
			if row.Value.Refresh != nil {
				asked[row.Value.Task] = row.Value.Refresh.ID
			}
		}
		return nil
	}); err != nil {
		h.t.Fatal(err)
	}
	return asked
}

// said are a service's events, newest first.
func (h *hosts) said(account, name string) string {
	h.t.Helper()
	var text []string
	if err := h.store.View(h.t.Context(), func(tx store.Tx) error {
		text = nil
		sc := scope{account, "us-east-1"}
		v, err := h.findService(tx, sc, "default", name)
		if err != nil {
			return err
		}
		e, err := h.eventsFor(tx, sc, v)
		for _, e := range e.Events {
			text = append(text, *e.Message)
		}
		return err
	}); err != nil {
		h.t.Fatal(err)
	}
	return strings.Join(text, "\n")
}

// A refresh that an agent never answers fails after a while, and is tried again.
func TestARefreshIsAnsweredInTime(t *testing.T) {
	t.Parallel()
	const account = "111122223333"
	h := newHosts(t)
	h.service(account, "web")
	first := h.follow(account)["of-web"]
	if first == "" {
		t.Fatal("nothing was asked for")
	}
	h.clock.advance(16*time.Minute - time.Second) // 15, and the startTimeout
	h.seen(account)
	if now := h.follow(account)["of-web"]; now != first {
		t.Errorf("%q is asked for, want still %q", now, first)
	}
	h.clock.advance(2 * time.Second)
	if asked := h.follow(account); len(asked) > 0 {
		t.Errorf("still asked for: %v", asked)
	}
	const want = "was unable to refresh (task of-web): the agent of (container-instance host) did not tell in time what became of it. It is tried again."
	if got := h.said(account, "web"); !strings.Contains(got, want) {
		t.Errorf("events:\n%s\nwant\n%s", got, want)
	}
	h.clock.advance(time.Second)
	if now := h.follow(account)["of-web"]; now == "" || now == first {
		t.Errorf("%q is asked for after %q, want another", now, first)
	}
}

// An agent that was away is asked anew when it is back, and nothing has failed.
func TestARefreshOfAnAgentThatIsAwayDoesNotFail(t *testing.T) {
	t.Parallel()
	const account = "111122223333"
	h := newHosts(t)
	h.service(account, "web")
	first := h.follow(account)["of-web"]
	h.clock.advance(time.Hour)
	h.follow(account)
	if asked := h.follow(account); len(asked) > 0 {
		t.Errorf("asked for of an agent that is away: %v", asked)
	}
	h.seen(account)
	if now := h.follow(account)["of-web"]; now == "" || now == first {
		t.Errorf("%q is asked for after %q, want another", now, first)
	}
	if got := h.said(account, "web"); strings.Contains(got, "unable") {
		t.Error(got)
	}
}

// However many services of one account wait for its agents, another account's are refreshed.
func TestAnAccountsRefreshesDoNotHoldUpAnothers(t *testing.T) {
	t.Parallel()
	const many, other = "111122223333", "444455556666"
	h := newHosts(t)
	for i := range 8 {
		h.service(many, fmt.Sprint("web-", i))
	}
	h.service(other, "web")
	h.follow(many)
	if asked := h.follow(many); len(asked) != wave {
		t.Errorf("%d services are refreshed at the same time, want %d: %v", len(asked), wave, asked)
	}
	if asked := h.follow(other); len(asked) != 1 {
		t.Error("the other account's service is not refreshed")
	}
}
