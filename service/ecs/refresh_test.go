package ecs_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/malote/malote/acs"
)

// refresh runs containers again, as far as the control plane can tell.
func (w *worker) refresh(r *acs.Refresh, renew func(*acs.Refresh) ([]acs.Held, string)) {
	held, failure := renew(r)
	if failure == "" {
		w.hold(r.TaskARN, held...)
	}
	body, err := json.Marshal(acs.Refreshed{TaskARN: r.TaskARN, ID: r.ID, Failure: failure})
	if err != nil {
		w.t.Error(err)
	}
	response, err := w.request(w.t.Context(), "POST", "/acs/refreshes", string(body))
	if err != nil {
		if w.t.Context().Err() == nil {
			w.t.Error(err)
		}
		return
	}
	response.Body.Close()
	if response.StatusCode != 204 {
		w.t.Errorf("POST /acs/refreshes = %s", response.Status)
	}
}

// fileVault is a vault whose tasks get the secret from a sidecar, files, that ran to its end.
type fileVault struct {
	*vault
	asked   []acs.Refresh
	now     int // refreshes under way
	most    int
	failing string
	during  func() // a refresh
}

const (
	fileMount   = `'mountPoints':[{'sourceVolume':'secrets','containerPath':'/s'}]`
	fileVolumes = `'executionRoleArn':'exec','volumes':[{'name':'secrets'}]`
)

func newFileVault(t *testing.T, app string) *fileVault {
	t.Helper()
	v := &fileVault{vault: newVault(t)}
	v.also = []string{"files"}
	define(t, v.client, "web", checkedContainer+app+`,'dockerLabels':{'malote.refresh-signal':'HUP'},'dependsOn':[{'containerName':'files','condition':'SUCCESS'}],`+fileMount+
		`},{'name':'files','image':'inject','memory':32,'essential':false,'secrets':[{'name':'PASSWORD','valueFrom':'`+v.arn+`'}],`+fileMount, fileVolumes)
	v.given = func(*acs.Task) ([]acs.Held, string) { return v.hold(""), "" }
	v.allow()
	return v
}

// hold is what a task holds: the secret as it is now, or another version.
func (v *fileVault) hold(version string) []acs.Held {
	if version == "" {
		version = v.current()
	}
	return []acs.Held{{Container: "files", Name: "PASSWORD", ARN: v.arn, Selector: "AWSCURRENT", Version: version}}
}

// allow has the engine do what it is asked from now on.
func (v *fileVault) allow() {
	v.worker.mu.Lock()
	defer v.worker.mu.Unlock()
	v.renew = func(r *acs.Refresh) ([]acs.Held, string) {
		held := v.hold("")
		v.vault.mu.Lock()
		v.asked = append(v.asked, *r)
		v.now++
		v.most = max(v.most, v.now)
		during, failing := v.during, v.failing
		v.vault.mu.Unlock()
		if during != nil {
			during()
		}
		v.vault.mu.Lock()
		v.now--
		v.vault.mu.Unlock()
		return held, failing
	}
}

func (v *fileVault) set(fn func()) {
	v.vault.mu.Lock()
	defer v.vault.mu.Unlock()
	fn()
}

// renewed waits until all tasks of a service hold the version, and the service says so.
func (v *fileVault) renewed(name, version string, count int) types.Service {
	v.t.Helper()
	want := "was refreshed: its tasks hold version " + version + " of " + v.arn + "."
	for end := time.Now().Add(60 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		s := service(v.t, v.client, name)
		if held := v.holding(name); len(held) == 1 && held[version] == count && said(&s, want) {
			return s
		}
		if time.Now().After(end) {
			v.t.Fatalf("%v, want %d of %s; %s", v.holding(name), count, version, text(&s))
		}
	}
}

// Tasks get other files and stay: first one of them, then several at the same time.
func TestRefresh(t *testing.T) {
	t.Parallel()
	v := newFileVault(t, "")
	first := v.current()
	v.service("web", 7, "malote:on-secret-change", "refresh")
	before := v.tasks()
	wentWell := false
	v.set(func() {
		v.during = func() {
			v.set(func() {
				if len(v.asked) > 1 && !wentWell {
					t.Error("several were asked before the first went well")
				}
			})
			time.Sleep(200 * time.Millisecond)
			v.set(func() { wentWell = true })
		}
	})
	v.put()
	last := v.put() // one wave for both
	web := v.renewed("web", last, 7)
	if n := v.deployments("web"); n != 1 || !slices.Equal(v.tasks(), before) {
		t.Errorf("%d deployments; tasks %v became %v", n, before, v.tasks())
	}
	v.set(func() {
		if len(v.asked) != 7 || v.most != 5 {
			t.Errorf("%d refreshes, %d at the same time; want one for each of 7 tasks, 5 at the same time", len(v.asked), v.most)
		}
		for _, r := range v.asked {
			if got := fmt.Sprint(r.Containers, r.Signals); got != "[files] [{app SIGHUP}]" {
				t.Errorf("asked for %s", got)
			}
		}
	})
	if want := "is refreshed: 7 tasks hold version " + first + " of " + v.arn + ", while version " + last + " of " + v.arn + " is current."; !said(&web, want) {
		t.Errorf("no event %q in %s", want, text(&web))
	}
	metric(t, v.sys, `malote_tasks_stale{account="123456789012",cluster="default",group="service:web",region="us-east-1"} 0`)
}

// A container that was never made, because what it waited for failed, has nothing that could be
// renewed: it is not stale, and nobody is asked to run it again.
func TestRefreshOfWhatNeverRan(t *testing.T) {
	t.Parallel()
	v := newFileVault(t, "")
	secret := `'secrets':[{'name':'PASSWORD','valueFrom':'` + v.arn + `'}],` + fileMount
	after := func(name string) string {
		return `'memory':32,'essential':false,'dependsOn':[{'containerName':'` + name + `','condition':'SUCCESS'}],`
	}
	define(t, v.client, "web", checkedContainer+`,'dockerLabels':{'malote.refresh-signal':'HUP'},'dependsOn':[{'containerName':'files','condition':'SUCCESS'}],`+fileMount+
		`},{'name':'files','image':'inject','memory':32,'essential':false,`+secret+
		`},{'name':'probe','image':'probe','memory':32,'essential':false},{'name':'more','image':'inject',`+after("probe")+secret+
		`},{'name':'last','image':'last',`+after("more")+fileMount, fileVolumes)
	hold := func() []acs.Held {
		more := v.hold("")[0]
		more.Container = "more"
		return append(v.hold(""), more)
	}
	v.given = func(task *acs.Task) ([]acs.Held, string) {
		for _, name := range []string{"more", "last"} { // as an engine tells of what it did not make
			if _, err := v.client.SubmitContainerStateChange(t.Context(), &ecs.SubmitContainerStateChangeInput{
				Task: &task.ARN, ContainerName: &name, Status: aws.String("STOPPED"), ExitCode: aws.Int32(143),
				Reason: aws.String("CannotStartContainerError: dependency graph: container ordering dependency [probe] for target [more] cannot be satisfied as dependency did not exit successfully. (exit code 1)"),
			}); err != nil && t.Context().Err() == nil {
				t.Error(err)
			}
		}
		return hold(), ""
	}
	v.worker.mu.Lock()
	v.renew = func(r *acs.Refresh) ([]acs.Held, string) {
		held := hold()
		v.set(func() { v.asked = append(v.asked, *r) })
		if slices.Contains(r.Containers, "more") {
			return nil, "container more has not run to its end"
		}
		return held, ""
	}
	v.worker.mu.Unlock()
	v.service("web", 1, "malote:on-secret-change", "refresh")
	if held := v.holding("web"); held[v.current()] != 1 {
		t.Errorf("held: %v, want one by files alone", held)
	}
	last := v.put()
	web := v.renewed("web", last, 1)
	v.set(func() {
		if len(v.asked) != 1 || !slices.Equal(v.asked[0].Containers, []string{"files"}) {
			t.Errorf("asked for %+v", v.asked)
		}
	})
	if said(&web, "was unable") || said(&web, "does not reach") {
		t.Error(text(&web))
	}
	metric(t, v.sys, `malote_tasks_stale{account="123456789012",cluster="default",group="service:web",region="us-east-1"} 0`)
}

// What fails is told, tried again later and not with all at once; what comes during it is done after it.
func TestRefreshThatFails(t *testing.T) {
	t.Parallel()
	v := newFileVault(t, "")
	v.service("web", 3, "malote:on-secret-change", "refresh")
	first := v.current()
	v.set(func() { v.failing = "container files ended with exit code 3" })
	v.put()
	web := until(t, v.client, "web", "told", func(s *types.Service) bool { return said(s, "was unable to refresh (task ") })
	if !slices.ContainsFunc(web.Events, func(e types.ServiceEvent) bool {
		return strings.HasSuffix(*e.Message, "): container files ended with exit code 3. It is tried again.")
	}) {
		t.Error(text(&web))
	}
	v.set(func() {
		if len(v.asked) != 1 || v.holding("web")[first] != 3 {
			t.Errorf("%d tasks were asked, and hold %v", len(v.asked), v.holding("web"))
		}
	})
	v.sys.Clock.Advance(2 * time.Second)
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		var asked []acs.Refresh
		v.set(func() { asked = slices.Clone(v.asked) })
		if len(asked) == 2 {
			if asked[0].TaskARN == asked[1].TaskARN {
				t.Error("the same task was asked again, though there are others")
			}
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d refreshes in 20 s", len(asked))
		}
	}
	// A refresh that ends well, and the next change before it has ended.
	var once sync.Once
	v.set(func() {
		v.failing = ""
		v.during = func() { once.Do(func() { v.put() }) }
	})
	v.sys.Clock.Advance(3 * time.Second)
	for end := time.Now().Add(20 * time.Second); v.current() == first || v.holding("web")[first] == 3; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("nothing was refreshed: %v", v.holding("web"))
		}
	}
	v.renewed("web", v.current(), 3)
}

// An engine that says it did what it did not is not asked again at once.
func TestRefreshWithoutEffect(t *testing.T) {
	t.Parallel()
	v := newFileVault(t, "")
	v.service("web", 1, "malote:on-secret-change", "refresh")
	first := v.current()
	v.worker.mu.Lock()
	v.renew = func(r *acs.Refresh) ([]acs.Held, string) {
		v.set(func() { v.asked = append(v.asked, *r) })
		return v.hold(first), ""
	}
	v.worker.mu.Unlock()
	v.put()
	until(t, v.client, "web", "told", func(s *types.Service) bool {
		return slices.ContainsFunc(s.Events, func(e types.ServiceEvent) bool {
			return strings.HasSuffix(*e.Message, "): it holds what it held before. It is tried again.")
		})
	})
}

// What an engine was asked for while it was not there it is asked for when it is back; a task that
// ends meanwhile is nobody's business.
func TestRefreshAfterAnAbsence(t *testing.T) {
	t.Parallel()
	v := newFileVault(t, "")
	v.service("web", 2, "malote:on-secret-change", "refresh")
	heard := make(chan acs.Refresh, 10)
	var silent sync.WaitGroup
	v.worker.mu.Lock()
	v.renew = func(r *acs.Refresh) ([]acs.Held, string) { // never answers
		silent.Add(1)
		defer silent.Done()
		heard <- *r
		<-t.Context().Done()
		return nil, "gone"
	}
	v.worker.mu.Unlock()
	t.Cleanup(silent.Wait)
	last := v.put()
	asked := <-heard
	v.connect()
	v.allow()
	go v.listen(v.messages)
	web := v.renewed("web", last, 2)
	again := 0
	v.set(func() {
		for _, r := range v.asked {
			if r.ID == asked.ID {
				again++
			}
		}
	})
	if again != 1 {
		t.Errorf("the refresh from before came %d times", again)
	}
	if said(&web, "was unable") {
		t.Error(text(&web))
	}
	// News of what was not asked for changes nothing.
	v.worker.refresh(&acs.Refresh{ID: "other", TaskARN: v.tasks()[0]}, func(*acs.Refresh) ([]acs.Held, string) { return nil, "nonsense" })
	if web := service(t, v.client, "web"); said(&web, "was unable") {
		t.Error(text(&web))
	}
}

// What only a new task could have is told as with alert, and what files can have is refreshed.
func TestRefreshDoesNotReachTheApp(t *testing.T) {
	t.Parallel()
	v := newFileVault(t, `,'secrets':[{'name':'ALSO','valueFrom':'arn:aws:secretsmanager:us-east-1:123456789012:secret:none-AbCdEf'}]`)
	first := v.current()
	app := acs.Held{Container: "app", Name: "ALSO", ARN: v.arn, Selector: "AWSCURRENT", Version: first}
	v.given = func(*acs.Task) ([]acs.Held, string) { return append(v.hold(""), app), "" }
	v.worker.mu.Lock()
	v.renew = func(*acs.Refresh) ([]acs.Held, string) { return append(v.hold(""), app), "" }
	v.worker.mu.Unlock()
	v.service("web", 2, "malote:on-secret-change", "refresh")
	last := v.put()
	want := "2 tasks hold version " + first + " of " + v.arn + ", while version " + last + " of " + v.arn + " is current. A refresh does not reach container app, which is essential. A new deployment would change that."
	web := until(t, v.client, "web", "told and refreshed", func(s *types.Service) bool {
		held := v.holding("web")
		return said(s, want) && held[last] == 2 && held[first] == 2
	})
	if n := v.deployments("web"); n != 1 {
		t.Errorf("%d deployments", n)
	}
	n := 0
	for _, e := range web.Events {
		if strings.Contains(*e.Message, "A refresh does not reach") {
			n++
		}
	}
	if n != 1 {
		t.Error(text(&web))
	}
}

// An agent from before knows nothing of it, and is not asked until there is a new one.
func TestRefreshOfAnOldAgent(t *testing.T) {
	t.Parallel()
	v := newFileVault(t, "")
	resources := []types.Resource{
		{Name: aws.String("CPU"), Type: aws.String("INTEGER"), IntegerValue: 1024}, {Name: aws.String("MEMORY"), Type: aws.String("INTEGER"), IntegerValue: 1024},
	}
	if _, err := v.client.RegisterContainerInstance(t.Context(), &ecs.RegisterContainerInstanceInput{
		ContainerInstanceArn: &v.instance, TotalResources: resources,
	}); err != nil {
		t.Fatal(err)
	}
	v.service("web", 1, "malote:on-secret-change", "refresh")
	v.put()
	id := v.instance[strings.LastIndexByte(v.instance, '/')+1:]
	until(t, v.client, "web", "told", func(s *types.Service) bool {
		return slices.ContainsFunc(s.Events, func(e types.ServiceEvent) bool {
			return strings.Contains(*e.Message, " A refresh does not reach container files, whose agent, of (container-instance "+id+"), is older than this. A new deployment")
		})
	})
	v.set(func() {
		if len(v.asked) > 0 {
			t.Errorf("it was asked for %v", v.asked)
		}
	})
	if _, err := v.client.RegisterContainerInstance(t.Context(), &ecs.RegisterContainerInstanceInput{
		ContainerInstanceArn: &v.instance, Attributes: []types.Attribute{{Name: aws.String(acs.CanRefresh)}}, TotalResources: resources,
	}); err != nil {
		t.Fatal(err)
	}
	v.renewed("web", v.current(), 1)
}

// However many services have a secret, few are refreshed at the same time.
func TestNoStampedeOfRefreshes(t *testing.T) {
	t.Parallel()
	v := newFileVault(t, "")
	const services = 8
	var names []string
	for i := range services {
		names = append(names, fmt.Sprintf("web-%d", i))
		v.service(names[i], 1, "malote:on-secret-change", "refresh")
	}
	v.set(func() { v.during = func() { time.Sleep(300 * time.Millisecond) } })
	last := v.put()
	for _, name := range names {
		v.renewed(name, last, 1)
	}
	v.set(func() {
		if len(v.asked) != services || v.most > 5 {
			t.Errorf("%d refreshes, %d at the same time", len(v.asked), v.most)
		}
	})
}
