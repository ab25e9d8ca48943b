package engine

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/malote/malote/acs"
	"github.com/malote/malote/engine/docker"
	"github.com/malote/malote/inject"
)

// refreshedTask is a task on a Docker of which all containers have ended with 0, and what was
// asked of that.
func refreshedTask(t *testing.T, asked *acs.Refresh, ids map[string]string) (*task, func() []string) {
	t.Helper()
	var mu sync.Mutex
	var posts []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Api-Version", "1.41")
		_, path, _ := strings.Cut(r.URL.Path, "/containers/")
		switch {
		case r.Method == http.MethodPost:
			mu.Lock()
			defer mu.Unlock()
			posts = append(posts, strings.TrimSuffix(path+" "+r.URL.Query().Get("signal"), " "))
			w.WriteHeader(http.StatusNoContent)
		case strings.HasSuffix(path, "/json"):
			w.Header().Set("Content-Type", "application/json")
			w.Write([]byte(`{"Id":"` + strings.TrimSuffix(path, "/json") + `","State":{"Status":"exited","ExitCode":0,"StartedAt":"2026-01-01T00:00:00Z","FinishedAt":"2026-01-01T00:00:01Z"},"Config":{},"HostConfig":{"LogConfig":{"Type":"none"}}}`))
		}
	}))
	t.Cleanup(server.Close)
	d, err := docker.New("tcp://" + server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	out := &task{
		engine: &Engine{Config: Config{Dir: t.TempDir()}, docker: d, now: time.Now}, record: &record{}, log: slog.New(slog.DiscardHandler), work: &acs.Task{Region: "us-east-1"},
		events: make(chan event, 16), ended: make(chan struct{}), asked: asked, ids: ids,
	}
	if err := os.Mkdir(out.engine.recordDir(), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"files", "app", "doomed"} {
		out.defs = append(out.defs, types.ContainerDefinition{Name: aws.String(name)})
	}
	out.ctx, out.giveUp = context.WithCancel(t.Context())
	t.Cleanup(out.giveUp)
	out.effort = out.ctx
	return out, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return posts
	}
}

// What an engine that ends did not finish has not failed.
func TestARefreshThatTheEngineLeavesIsNotToldOf(t *testing.T) {
	t.Parallel()
	task, _ := refreshedTask(t, &acs.Refresh{ID: "a", Containers: []string{"files"}}, map[string]string{"files": "f"})
	task.giveUp()
	for range 64 { // to send or to end was a matter of chance
		task.act(action{kind: doRefresh})
	}
	select {
	case ev := <-task.events:
		t.Errorf("it was told: %q", ev.reason)
	default:
	}
}

// A container that never was, because what it waited for failed, is not signalled; others are.
func TestSignalsToAContainerThatNeverWas(t *testing.T) {
	t.Parallel()
	task, posts := refreshedTask(t, &acs.Refresh{
		ID: "a", Containers: []string{"files"}, Signals: []acs.Signal{{Container: "doomed", Signal: "SIGHUP"}, {Container: "app", Signal: "SIGHUP"}},
	}, map[string]string{"files": "f", "app": "a"})
	if err := task.refresh(); err != nil {
		t.Error(err)
	}
	if got := strings.Join(posts(), ", "); got != "f/start, a/kill SIGHUP" {
		t.Errorf("Docker was asked for %s", got)
	}
}

// What a task had, and what a refresh that failed was to give it, stays out of its logs.
func TestValuesOfAFailedRefreshStayMasked(t *testing.T) {
	t.Parallel()
	with := func(values ...string) *resolved {
		r := &resolved{secrets: map[string][]variable{}}
		for _, v := range values {
			r.secrets["files"] = append(r.secrets["files"], variable{"A", inject.NewValue(v, "arn", "1")})
		}
		return r
	}
	old, failed, good, last := with("old", "same"), with("failed", "same"), with("good", "same"), with("last", "same")
	task := &task{resolved: old}
	task.masked(failed)
	masks := func(fresh *resolved, want string) {
		t.Helper()
		values, _ := task.masked(fresh)
		slices.Sort(values)
		if got := strings.Join(slices.Compact(values), " "); got != want {
			t.Errorf("masked: %s, want %s", got, want)
		}
	}
	masks(good, "failed good old same")
	task.resolved = good // as when it goes well
	task.outlive(old.values())
	masks(last, "failed good last old same")

	// The oldest go first, and what the task has takes no room.
	task.resolved = last
	task.outlive(good.values())
	var many []string
	for i := range maxFormer {
		many = append(many, fmt.Sprint("v", i))
	}
	task.masked(with(many...))
	task.masked(with(many[0]))
	if len(task.former) != maxFormer || slices.Contains(task.former, "good") || slices.Contains(task.former, "same") || task.former[maxFormer-1] != many[0] {
		t.Errorf("former: %d, %q", len(task.former), task.former)
	}
}

// A container is run again after those that it waits for, if only by way of one that is not run again.
func TestInOrder(t *testing.T) {
	t.Parallel()
	on := func(names ...string) (out []types.ContainerDependency) {
		for _, name := range names {
			out = append(out, types.ContainerDependency{ContainerName: &name})
		}
		return out
	}
	task := &task{defs: []types.ContainerDefinition{
		{Name: aws.String("render"), DependsOn: on("between")}, {Name: aws.String("between"), DependsOn: on("files")}, {Name: aws.String("files")}, {Name: aws.String("app"), DependsOn: on("render", "files")},
	}}
	if got := fmt.Sprint(task.inOrder([]string{"render", "gone", "files"})); got != "[2 0]" {
		t.Errorf("order %s, want files before render", got)
	}
}

// A refresh waits a while for an engine to have again what the task was given, and then fails. One
// that another engine did not end is begun when it has.
func TestARefreshDoesNotWaitForWhatNeverComes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, missing, want string
	}{
		{"and why is known", "AccessDeniedException: no", "what the task was given before cannot be had again, which comes first: AccessDeniedException: no"},
		{"and why is not", "", "what the task was given before was not had again in time, which comes first"},
	} {
		begun := time.Unix(1000, 0)
		s := state{
			containers: []container{{name: "files", phase: stopped, id: "f", started: begun}, {name: "app", essential: true, phase: running, id: "a", started: begun}},
			refresh:    refresh{next: &acs.Refresh{ID: "a", Containers: []string{"files"}}},
		}
		after := func(d time.Duration, e event) (actions []action) {
			e.at = begun.Add(d)
			s, actions = step(s, e)
			return actions
		}
		after(0, event{kind: evBegin})
		after(time.Second, event{kind: evPrepared})
		if tt.missing != "" {
			after(time.Second, event{kind: evMissing, reason: tt.missing})
		}
		after(50*time.Second, event{kind: evRefresh, refresh: &acs.Refresh{ID: "a", Containers: []string{"files"}}}) // told again
		at := s.wake()
		if at != begun.Add(time.Minute) {
			t.Fatalf("%s: it wakes at %v", tt.name, at)
		}
		if r := s.refresh; r.next == nil || r.last != nil {
			t.Fatalf("%s: before that it is %+v", tt.name, r)
		}
		early := s
		if actions := after(at.Sub(begun), event{kind: evTick}); len(actions) > 0 {
			t.Errorf("%s: %v", tt.name, actions)
		}
		if r := s.refresh; r.next != nil || r.last == nil || r.is != done || r.failure != tt.want {
			t.Errorf("%s: %+v, want failed: %s", tt.name, r, tt.want)
		}
		if at := s.wake(); !at.IsZero() {
			t.Errorf("%s: it wakes again at %v", tt.name, at)
		}
		s = early
		if actions := after(55*time.Second, event{kind: evResolved}); len(actions) != 1 || actions[0].kind != doRefresh {
			t.Errorf("%s: once resolved it does %v", tt.name, actions)
		}
	}
}
