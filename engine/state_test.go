package engine

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/malote/malote/acs"
)

// A story is a sequence of events with what each makes the engine do. Events and
// actions are written "verb container", the events with a remark after that:
//
//	pulled app | failed-pull app REASON | started app | exited app 3 | health app HEALTHY | stop | tick | …
type line struct {
	event string
	want  string // the actions, sorted, joined by ", "
}

func TestStories(t *testing.T) {
	t.Parallel()
	app := func(deps ...dependency) container { return container{name: "app", essential: true, dependsOn: deps} }
	side := func(c container) container { c.name = "side"; return c }
	on := func(c condition) dependency { return dependency{1, c} }
	const (
		start    = types.ContainerConditionStart
		complete = types.ContainerConditionComplete
		success  = types.ContainerConditionSuccess
		healthy  = types.ContainerConditionHealthy
	)
	ready := []line{{"begin", "prepare, pull app, pull side, resolve"}, {"pulled app", ""}, {"pulled side", ""}, {"prepared", ""}, {"resolved", "create side"}, {"created side", "start side"}}
	with := func(more ...line) []line { return append(slices.Clone(ready), more...) }

	for _, tt := range []struct {
		name       string
		containers []container
		lines      []line
		end        string // status, stop code, reason
	}{
		{"one container", []container{app()}, []line{
			{"begin", "prepare, pull app, resolve"}, {"resolved", ""}, {"pulled app", ""}, {"prepared", "create app"}, {"created app", "start app"},
			{"started app", ""}, {"exited app 0", "cancel, cleanup"}, {"cleaned", ""},
		}, "STOPPED EssentialContainerExited Essential container in task exited"},
		{"it may exit before its start is told", []container{app()}, []line{
			{"begin", "prepare, pull app, resolve"}, {"resolved", ""}, {"pulled app", ""}, {"prepared", "create app"}, {"created app", "start app"},
			{"exited app 0", "cancel"}, {"started app", "cleanup"}, {"cleaned", ""},
		}, "STOPPED EssentialContainerExited Essential container in task exited"},
		{"a bad secret: nothing is created", []container{app()}, []line{
			{"begin", "prepare, pull app, resolve"}, {"pulled app", ""}, {"prepared", ""}, {"failed-resolve NOPE", "cancel, cleanup"}, {"cleaned", ""},
		}, "STOPPED TaskFailedToStart NOPE"},
		{"cleanup waits for what is under way", []container{app()}, []line{
			{"begin", "prepare, pull app, resolve"}, {"failed-resolve NOPE", "cancel"}, {"failed-prepare cancelled", ""}, {"failed-pull app cancelled", "cleanup"}, {"cleaned", ""},
		}, "STOPPED TaskFailedToStart NOPE"},
		{"an image that is not essential", []container{app(), side(container{})}, []line{
			{"begin", "prepare, pull app, pull side, resolve"}, {"failed-pull side NOPE", ""}, {"pulled app", ""}, {"prepared", ""}, {"resolved", "create app"},
		}, "PENDING  "},
		{"START", []container{app(on(start)), side(container{})}, with(line{"started side", "create app"}, line{"created app", "start app"}, line{"started app", ""}), "RUNNING  "},
		{"START of one that has exited", []container{app(on(start)), side(container{})}, with(line{"exited side 1", "create app"}), "PENDING  "},
		{"START of one that cannot start", []container{app(on(start)), side(container{})}, with(line{"failed-start side NOPE", "cancel, cleanup"}, line{"cleaned", ""}),
			"STOPPED TaskFailedToStart CannotStartContainerError: dependency graph: container ordering dependency [side] for target [app] cannot be satisfied because dependency will never start: NOPE"},
		{"COMPLETE", []container{app(on(complete)), side(container{})}, with(line{"started side", ""}, line{"exited side 1", "create app"}), "PENDING  "},
		{"SUCCESS", []container{app(on(success)), side(container{})}, with(line{"started side", ""}, line{"exited side 0", "create app"}), "PENDING  "},
		{"no SUCCESS", []container{app(on(success)), side(container{})}, with(line{"started side", ""}, line{"exited side 2", "cancel, cleanup"}, line{"cleaned", ""}),
			"STOPPED TaskFailedToStart CannotStartContainerError: dependency graph: container ordering dependency [side] for target [app] cannot be satisfied as dependency did not exit successfully. (exit code 2)"},
		{"HEALTHY", []container{app(on(healthy)), side(container{checked: true})}, with(line{"started side", ""}, line{"health side UNHEALTHY", ""}, line{"health side HEALTHY", "create app"}), "PENDING  "},
		{"dead before HEALTHY", []container{app(on(healthy)), side(container{checked: true})}, with(line{"started side", ""}, line{"exited side 0", "cancel, cleanup"}),
			"PENDING TaskFailedToStart CannotStartContainerError: dependency graph: container ordering dependency [side] for target [app] cannot be satisfied because dependency stopped before it was healthy"},
		{"startTimeout", []container{app(on(complete)), side(container{startTimeout: 5 * time.Second})}, with(line{"started side", ""}, line{"tick 4", ""}, line{"tick 1", "cancel, stop side"}, line{"exited side 143", "cleanup"}, line{"cleaned", ""}),
			"STOPPED TaskFailedToStart CannotStartContainerError: dependency graph: container ordering dependency [side] for target [app] has timed out. (startTimeout of 5 seconds, condition COMPLETE)"},
		{"what the image needs of the secrets", []container{{name: "app", essential: true, needsAuth: true}}, []line{{"begin", "prepare, resolve"}, {"prepared", ""}, {"resolved", "pull app"}}, "PENDING  "},
		{"reverse order", []container{app(on(start)), side(container{})}, with(line{"started side", "create app"}, line{"created app", "start app"}, line{"started app", ""},
			line{"stop", "cancel, stop app"}, line{"exited app 0", "stop side"}, line{"exited side 0", "cleanup"}, line{"cleaned", ""}), "STOPPED UserInitiated asked"},
		{"stop before anything", []container{app()}, []line{{"stop", "cancel, cleanup"}, {"cleaned", ""}}, "STOPPED UserInitiated asked"},
		{"stop while creating", []container{app()}, []line{
			{"begin", "prepare, pull app, resolve"}, {"resolved", ""}, {"pulled app", ""}, {"prepared", "create app"}, {"stop", "cancel"}, {"created app", "cleanup"},
		}, "PENDING UserInitiated asked"},
		{"stop while starting", []container{app()}, []line{
			{"begin", "prepare, pull app, resolve"}, {"resolved", ""}, {"pulled app", ""}, {"prepared", "create app"}, {"created app", "start app"}, {"stop", "cancel"}, {"started app", "stop app"},
		}, "PENDING UserInitiated asked"},
		{"the first reason stays", []container{app(on(start)), side(container{essential: true})}, with(line{"started side", "create app"}, line{"created app", "start app"}, line{"started app", ""},
			line{"exited side 1", "cancel, stop app"}, line{"stop", ""}, line{"exited app 0", "cleanup"}), "RUNNING EssentialContainerExited Essential container in task exited"},
		{"restart", []container{{name: "app", essential: true, restart: restartPolicy{true, []int32{7}, 10 * time.Second}}}, []line{
			{"begin", "prepare, pull app, resolve"}, {"resolved", ""}, {"pulled app", ""}, {"prepared", "create app"}, {"created app", "start app"}, {"started app", ""},
			{"tick 10", ""}, {"exited app 1", "start app"}, {"started app", ""}, {"tick 10", ""}, {"exited app 7", "cancel, cleanup"},
		}, "RUNNING EssentialContainerExited Essential container in task exited"},
		{"no restart so soon", []container{{name: "app", essential: true, restart: restartPolicy{true, nil, 10 * time.Second}}}, []line{
			{"begin", "prepare, pull app, resolve"}, {"resolved", ""}, {"pulled app", ""}, {"prepared", "create app"}, {"created app", "start app"}, {"started app", ""},
			{"tick 9", ""}, {"exited app 1", "cancel, cleanup"},
		}, "RUNNING EssentialContainerExited Essential container in task exited"},
		{"refresh", []container{app(on(success)), side(container{})}, with(line{"started side", ""}, line{"exited side 0", "create app"}, line{"created app", "start app"}, line{"started app", ""},
			line{"refresh side a", "refresh"}, line{"exited side 3", ""}, line{"refresh side a", ""}, line{"refreshed", ""}, line{"refresh side a", ""},
			line{"refresh side b", "refresh"}, line{"refresh side c", ""}, line{"refreshed", "refresh"}, line{"refreshed", ""}), "RUNNING  "},
		{"stop while refreshing", []container{app(on(success)), side(container{})}, with(line{"started side", ""}, line{"exited side 0", "create app"}, line{"created app", "start app"}, line{"started app", ""},
			line{"refresh side a", "refresh"}, line{"refresh side b", ""}, line{"stop", "cancel, stop app"}, line{"exited app 0", ""}, line{"refreshed the task stops", "cleanup"}, line{"cleaned", ""}), "STOPPED UserInitiated asked"},
		{"no refresh of what runs", []container{app(), side(container{})}, []line{
			{"begin", "prepare, pull app, pull side, resolve"}, {"refresh side a", ""}, {"prepared", ""}, {"resolved", ""}, {"pulled side", "create side"}, {"created side", "start side"}, {"started side", ""},
			{"refresh side b", ""}, {"exited side 0", ""}, {"refresh app c", ""}, {"refresh none d", ""}, {"refresh side e", "refresh"},
		}, "PENDING  "},
		{"vanished", []container{app()}, []line{
			{"begin", "prepare, pull app, resolve"}, {"resolved", ""}, {"pulled app", ""}, {"prepared", "create app"}, {"created app", "start app"}, {"started app", ""}, {"vanished app", "cancel, cleanup"},
		}, "RUNNING EssentialContainerExited Essential container in task exited"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := state{containers: tt.containers}
			now := time.Unix(1000, 0)
			for _, l := range tt.lines {
				e := parse(t, &s, l.event, &now)
				before := fmt.Sprintf("%+v", s)
				old := s
				var actions []action
				s, actions = step(s, e)
				if after := fmt.Sprintf("%+v", old); after != before {
					t.Fatalf("%q changed the state it was given:\n%s\n%s", l.event, before, after)
				}
				if got := render(&s, actions); got != l.want {
					t.Fatalf("after %q: %q, want %q", l.event, got, l.want)
				}
			}
			if got := fmt.Sprintf("%s %s %s", s.status(), s.code, s.reason); got != tt.end {
				t.Errorf("the end is %q, want %q", got, tt.end)
			}
		})
	}
}

func parse(t *testing.T, s *state, text string, now *time.Time) event {
	t.Helper()
	words := strings.SplitN(text, " ", 3)
	e := event{i: 0}
	if len(words) > 1 {
		e.i = max(0, slices.IndexFunc(s.containers, func(c container) bool { return c.name == words[1] }))
	}
	rest := ""
	if len(words) > 2 {
		rest = words[2]
	}
	switch words[0] {
	case "begin":
		e.kind = evBegin
	case "prepared":
		e.kind = evPrepared
	case "resolved":
		e.kind = evResolved
	case "failed-prepare":
		e.kind, e.reason = evPrepared, words[1]
	case "failed-resolve":
		e.kind, e.reason = evResolved, words[1]
	case "pulled":
		e.kind = evPulled
	case "failed-pull":
		e.kind, e.reason = evPulled, rest
	case "created":
		e.kind, e.id = evCreated, "id-"+words[1]
	case "started":
		e.kind = evStarted
	case "failed-start":
		e.kind, e.reason = evStarted, rest
	case "exited":
		e.kind = evExited
		fmt.Sscan(rest, &e.exitCode)
	case "vanished":
		e.kind, e.reason = evVanished, "gone"
	case "health":
		e.kind, e.health = evHealth, types.HealthStatus(rest)
	case "stop":
		e.kind, e.reason, e.code = evStop, "asked", types.TaskStopCodeUserInitiated
	case "tick":
		e.kind = evTick
		var seconds int
		fmt.Sscan(words[1], &seconds)
		*now = now.Add(time.Duration(seconds) * time.Second)
	case "cleaned":
		e.kind = evCleaned
	case "refresh":
		e.kind, e.refresh = evRefresh, &acs.Refresh{ID: words[2], Containers: []string{words[1]}}
	case "refreshed":
		e.kind, e.reason = evRefreshed, strings.Join(words[1:], " ")
	default:
		t.Fatalf("no event %q", text)
	}
	e.at = *now
	return e
}

func render(s *state, actions []action) string {
	var out []string
	for _, a := range actions {
		name := map[actionKind]string{doPrepare: "prepare", doResolve: "resolve", doPull: "pull", doCreate: "create", doStart: "start", doStop: "stop", doCancel: "cancel", doCleanup: "cleanup", doRefresh: "refresh"}[a.kind]
		switch a.kind {
		case doPull, doCreate, doStart, doStop:
			name += " " + s.containers[a.i].name
		}
		out = append(out, name)
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}
