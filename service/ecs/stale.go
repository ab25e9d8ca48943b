package ecs

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/malote/malote/acs"
	"github.com/malote/malote/authz"
	"github.com/malote/malote/store"
)

// Holdings answers GET …/holdings?cluster=…&serviceName=… with acs.Holdings in JSON: which
// version of each secret the cluster's running tasks hold, and which is the current one. Who
// may ListTasks of the cluster and DescribeTasks of all of them may know it.
func Holdings(s *Service) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			w.Header().Set("Allow", http.MethodGet)
			http.Error(w, "want GET", http.StatusMethodNotAllowed)
			return
		}
		query := r.URL.Query()
		out, err := s.holdings(r.Context(), query.Get("cluster"), query.Get("serviceName"))
		if err != nil {
			s.answerError(w, r, err)
			return
		}
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		json.NewEncoder(w).Encode(out)
	})
}

func (s *Service) holdings(ctx context.Context, clusterRef, serviceName string) (*acs.Holdings, error) {
	sc := scopeOf(ctx)
	cluster, refErr := sc.clusterName(&clusterRef)
	if err := s.authz.Authorize(ctx, &authz.Access{Action: "ecs:ListTasks", Resource: "*", Conditions: map[string][]string{"ecs:cluster": {sc.clusterARN(cluster)}}}); err != nil {
		return nil, err
	}
	if err := s.authorizeTask(ctx, "ecs:DescribeTasks", cluster, "*"); err != nil {
		return nil, err
	}
	if refErr != nil {
		return nil, refErr
	}
	var tasks []*task
	err := s.store.View(ctx, func(tx store.Tx) error {
		tasks = nil
		if _, err := s.activeCluster(tx, sc, cluster); err != nil {
			return err
		}
		if serviceName != "" {
			if v, err := s.findService(tx, sc, cluster, serviceName); err != nil {
				return err
			} else if v == nil {
				return serviceNotFound()
			}
		}
		for row, err := range s.tasks.Scan(tx, sc.prefix("task", cluster), "") {
			if err != nil {
				return err
			}
			t := row.Value
			if len(t.has()) == 0 || *t.Task.DesiredStatus != string(types.DesiredStatusRunning) || serviceName != "" && t.Service != serviceName {
				continue
			}
			tasks = append(tasks, t)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	out := &acs.Holdings{Tasks: []acs.TaskHoldings{}}
	known := currentVersions{s: s}
	for _, t := range tasks {
		h := acs.TaskHoldings{TaskARN: *t.Task.TaskArn, Group: aws.ToString(t.Task.Group), Secrets: []acs.Holding{}}
		for _, held := range t.has() {
			current, err := known.of(ctx, t, held)
			if err != nil {
				return nil, err
			}
			h.Secrets = append(h.Secrets, acs.Holding{Held: held, Current: current, Stale: current != held.Version})
		}
		out.Tasks = append(out.Tasks, h)
	}
	slices.SortFunc(out.Tasks, func(a, b acs.TaskHoldings) int {
		return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.TaskARN, b.TaskARN))
	})
	return out, nil
}

// has is what a task's containers were given. One that ended without having been made, since what
// it waited for failed or its image could not be pulled, got nothing of what was there for it; but
// the log router, which is another one, has what is for its log.
func (t *task) has() []acs.Held {
	never := func(h acs.Held) bool {
		return !strings.HasPrefix(h.Name, "log:") && slices.ContainsFunc(t.Task.Containers, func(c types.Container) bool {
			return aws.ToString(c.Name) == h.Container && aws.ToString(c.LastStatus) == "STOPPED" && aws.ToString(c.RuntimeId) == ""
		})
	}
	if !slices.ContainsFunc(t.Held, never) {
		return t.Held
	}
	return slices.DeleteFunc(slices.Clone(t.Held), never)
}

// currentVersions asks for each version once.
type currentVersions struct {
	s     *Service
	known map[[2]string]string // by ARN and selector
}

// of is the version that a container of t would be given today; "" when there is none. Of what
// is another account's and not open to the task, nothing is said but what it holds: engines
// tell what tasks hold, and one might tell of a secret to learn its versions.
func (c *currentVersions) of(ctx context.Context, t *task, h acs.Held) (string, error) {
	if h.Fixed || c.s.current == nil {
		return h.Version, nil
	}
	if open, err := c.s.openTo(ctx, t, h); err != nil || !open {
		return h.Version, err
	}
	key := [2]string{h.ARN, h.Selector}
	if version, ok := c.known[key]; ok {
		return version, nil
	}
	version, err := c.s.current.Current(ctx, h.ARN, h.Selector)
	if err != nil {
		return "", err
	}
	if c.known == nil {
		c.known = map[[2]string]string{}
	}
	c.known[key] = version
	return version, nil
}

// openTo tells whether a task may have been given what it is said to hold: a secret of its own
// account, or one that its execution role may read.
func (s *Service) openTo(ctx context.Context, t *task, h acs.Held) (bool, error) {
	own, secret := strings.Split(*t.Task.TaskArn, ":"), strings.SplitN(h.ARN, ":", 6)
	switch {
	case len(secret) == 6 && secret[4] == own[4]:
		return true, nil
	case s.current == nil || t.ExecutionRole == "":
		return false, nil
	}
	return s.current.MayRead(ctx, Reader{t.ExecutionRole, t.ID, t.HeldBy}, h.ARN, h.Selector)
}

// Holders tells which tasks that have not stopped, of any account and region, were given a
// version of one of the secrets or parameters. Those of other accounts count while they may
// read it, so that a stranger who claims to hold a secret does not keep it from rotating.
func Holders(ctx context.Context, s *Service, arns []string) ([]acs.TaskHoldings, error) {
	var tasks []*task
	err := s.store.View(ctx, func(tx store.Tx) error {
		tasks = nil
		scopes, err := allScopes(tx)
		if err != nil {
			return err
		}
		for _, sc := range scopes {
			for row, err := range s.tasks.Scan(tx, sc.prefix("task"), "") {
				if err != nil {
					return err
				}
				t := row.Value
				if *t.Task.LastStatus != "STOPPED" && slices.ContainsFunc(t.has(), func(h acs.Held) bool { return slices.Contains(arns, h.ARN) }) {
					tasks = append(tasks, t)
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	var out []acs.TaskHoldings
	for _, t := range tasks {
		h := acs.TaskHoldings{TaskARN: *t.Task.TaskArn, Group: aws.ToString(t.Task.Group)}
		for _, held := range t.has() {
			if !slices.Contains(arns, held.ARN) {
				continue
			}
			if open, err := s.openTo(ctx, t, held); err != nil {
				return nil, err
			} else if open {
				h.Secrets = append(h.Secrets, acs.Holding{Held: held})
			}
		}
		if len(h.Secrets) > 0 {
			out = append(out, h)
		}
	}
	return out, nil
}

// Count is of the running tasks of a group that were given secrets or parameters.
type Count struct {
	Account, Region, Cluster string
	Group                    string // service:NAME, or what RunTask was told
	Holding, Stale           int    // tasks; the stale ones are holding ones
}

// Counts tells how many tasks of every account and region hold what is no longer current.
func Counts(ctx context.Context, s *Service) ([]Count, error) {
	var tasks []*task
	var of []scope
	err := s.store.View(ctx, func(tx store.Tx) error {
		tasks, of = nil, nil
		scopes, err := allScopes(tx)
		if err != nil {
			return err
		}
		for _, sc := range scopes {
			for row, err := range s.tasks.Scan(tx, sc.prefix("task"), "") {
				if err != nil {
					return err
				}
				if t := row.Value; len(t.has()) > 0 && *t.Task.DesiredStatus == string(types.DesiredStatusRunning) {
					tasks, of = append(tasks, t), append(of, sc)
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	known := currentVersions{s: s}
	counts := map[Count]*Count{}
	for i, t := range tasks {
		_, cluster, _ := strings.Cut(*t.Task.ClusterArn, ":cluster/")
		group := Count{Account: of[i].account, Region: of[i].region, Cluster: cluster, Group: aws.ToString(t.Task.Group)}
		if counts[group] == nil {
			c := group
			counts[group] = &c
		}
		counts[group].Holding++
		for _, held := range t.has() {
			current, err := known.of(ctx, t, held)
			if err != nil {
				return nil, err
			}
			if current != held.Version {
				counts[group].Stale++
				break
			}
		}
	}
	out := make([]Count, 0, len(counts))
	for _, c := range counts {
		out = append(out, *c)
	}
	return out, nil
}
