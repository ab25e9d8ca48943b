package engine

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
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
		engine: &Engine{docker: d, now: time.Now}, log: slog.New(slog.DiscardHandler), work: &acs.Task{Region: "us-east-1"},
		events: make(chan event, 16), ended: make(chan struct{}), asked: asked, ids: ids,
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
	task.outlive(old)
	masks(last, "failed good last old same")

	// The oldest go first, and what the task has takes no room.
	task.resolved = last
	task.outlive(good)
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
