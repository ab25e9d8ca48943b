package ecs_test

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/malote/malote/acs"
	"github.com/malote/malote/malotetest"
)

// worker is an engine that carries out what it is told: tasks run at once, or fail, or wait
// to be called healthy, by their family.
type worker struct {
	*fakeEngine
	mu      sync.Mutex
	running map[string]*acs.Task // by ARN
	fails   map[string]string    // family:revision to the reason
	checked bool                 // tasks have a health of their own
	most    int                  // tasks at the same time
	// given is what a task is given of secrets, and why it then fails; nil: nothing.
	given func(*acs.Task) (held []acs.Held, why string)
	// renew is what a task is given when containers are run again, and why that fails; nil: the
	// engine never answers.
	renew func(*acs.Refresh) (held []acs.Held, failure string)
	// also are containers besides app, which ended well before it began.
	also []string
}

func work(t *testing.T, sys *malotetest.System) *worker {
	t.Helper()
	w := &worker{fakeEngine: register(t, sys, sys.Config()), running: map[string]*acs.Task{}, fails: map[string]string{}}
	go w.listen(w.messages)
	return w
}

// listen carries out what one connection brings.
func (w *worker) listen(messages <-chan acs.Message) {
	for m := range messages {
		switch {
		case m.Task != nil:
			w.take(m.Task)
		case m.Refresh != nil:
			w.mu.Lock()
			renew := w.renew
			w.mu.Unlock()
			if renew != nil {
				go w.refresh(m.Refresh, renew)
			}
		case m.Stop != nil:
			w.mu.Lock()
			delete(w.running, m.Stop.TaskARN)
			w.mu.Unlock()
			w.report(m.Stop.TaskARN, "STOPPED", "")
		}
	}
}

// report is status for another goroutine than the test's. The system may be closing.
func (w *worker) report(task, status, reason string) {
	in := &ecs.SubmitTaskStateChangeInput{Task: &task, Status: &status, Containers: []types.ContainerStateChange{
		{ContainerName: aws.String("app"), Status: &status},
	}}
	for _, name := range w.also {
		in.Containers = append(in.Containers, types.ContainerStateChange{ContainerName: &name, Status: aws.String("STOPPED"), ExitCode: aws.Int32(0), RuntimeId: aws.String("c0ffee")})
	}
	if reason != "" {
		in.Reason = &reason
	}
	if _, err := w.client.SubmitTaskStateChange(w.t.Context(), in); err != nil && w.t.Context().Err() == nil {
		w.t.Errorf("SubmitTaskStateChange: %v", err)
	}
}

func (w *worker) take(task *acs.Task) {
	var held []acs.Held
	refused := ""
	if w.given != nil {
		held, refused = w.given(task)
	}
	w.mu.Lock()
	why := cmp.Or(refused, w.fails[fmt.Sprintf("%s:%d", *task.Definition.Family, task.Definition.Revision)])
	if why == "" {
		w.running[task.ARN] = task
		w.most = max(w.most, len(w.running))
	}
	checked := w.checked
	w.mu.Unlock()
	if why != "" {
		w.report(task.ARN, "STOPPED", why)
		return
	}
	w.report(task.ARN, "RUNNING", "")
	if w.given != nil {
		w.hold(task.ARN, held...)
	}
	if checked {
		w.health(task.ARN, types.HealthStatusHealthy)
	}
}

func (w *worker) health(task string, status types.HealthStatus) {
	body := fmt.Sprintf(`{"taskArn":%q,"containers":{"app":%q}}`, task, status)
	response, err := w.request(w.t.Context(), "POST", "/acs/health", body)
	if err != nil {
		if w.t.Context().Err() == nil {
			w.t.Error(err)
		}
		return
	}
	response.Body.Close()
}

func (w *worker) tasks() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Sorted(maps.Keys(w.running))
}

// die has a task end by itself.
func (w *worker) die(task string) {
	w.mu.Lock()
	delete(w.running, task)
	w.mu.Unlock()
	w.report(task, "STOPPED", "Essential container in task exited")
}

func service(t *testing.T, client *ecs.Client, name string) types.Service {
	t.Helper()
	out, err := client.DescribeServices(t.Context(), &ecs.DescribeServicesInput{Services: []string{name}, Include: []types.ServiceField{"TAGS"}})
	if err != nil || len(out.Services) != 1 {
		t.Fatalf("DescribeServices(%s) = %+v, %v", name, out, err)
	}
	return out.Services[0]
}

// until waits for the service to become what ok says, and returns it.
func until(t *testing.T, client *ecs.Client, name, what string, ok func(*types.Service) bool) types.Service {
	t.Helper()
	var v types.Service
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if v = service(t, client, name); ok(&v) {
			return v
		}
	}
	t.Fatalf("%s never was %s; it is %s", name, what, text(&v))
	return v
}

func text(v *types.Service) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %d desired, %d pending, %d running", *v.Status, v.DesiredCount, v.PendingCount, v.RunningCount)
	for _, d := range v.Deployments {
		fmt.Fprintf(&b, "\n  %s %s %s %s, %d desired, %d pending, %d running, %d failed: %s", *d.Status, *d.Id, *d.TaskDefinition, d.RolloutState, d.DesiredCount, d.PendingCount, d.RunningCount, d.FailedTasks, *d.RolloutStateReason)
	}
	for _, e := range v.Events {
		fmt.Fprintf(&b, "\n  %s", *e.Message)
	}
	return b.String()
}

// stable is what "aws ecs wait services-stable" waits for.
func stable(v *types.Service) bool {
	return len(v.Deployments) == 1 && v.RunningCount == v.DesiredCount
}

func completed(v *types.Service) bool {
	return stable(v) && v.Deployments[0].RolloutState == types.DeploymentRolloutStateCompleted
}

// passing moves the clock while the test waits, a second at a time and not so far that the
// engine, which the clock does not move, would be taken for lost.
func passing(sys *malotetest.System) func() {
	left := 100
	return func() {
		if left--; left > 0 {
			sys.Clock.Advance(time.Second)
			time.Sleep(40 * time.Millisecond)
		}
	}
}

// said tells whether an event begins with a text.
func said(v *types.Service, message string) bool {
	return slices.ContainsFunc(v.Events, func(e types.ServiceEvent) bool {
		return strings.HasPrefix(*e.Message, "(service "+*v.ServiceName+") "+message)
	})
}

func create(t *testing.T, client *ecs.Client, in *ecs.CreateServiceInput) types.Service {
	t.Helper()
	out, err := client.CreateService(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	return *out.Service
}

func TestLifeOfAService(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	w := work(t, sys)
	client := w.client
	define(t, client, "web", "", "")

	in := &ecs.CreateServiceInput{
		ServiceName: aws.String("web"), TaskDefinition: aws.String("web"), DesiredCount: aws.Int32(2), EnableECSManagedTags: true,
		PropagateTags: types.PropagateTagsService, Tags: []types.Tag{{Key: aws.String("team"), Value: aws.String("a")}},
	}
	v := create(t, client, in)
	if *v.ServiceArn != arnPrefix+"service/default/web" || *v.Status != "ACTIVE" || v.SchedulingStrategy != "REPLICA" ||
		*v.DeploymentConfiguration.MinimumHealthyPercent != 100 || *v.DeploymentConfiguration.MaximumPercent != 200 ||
		len(v.Deployments) != 1 || *v.Deployments[0].Status != "PRIMARY" || v.Deployments[0].RolloutState != "IN_PROGRESS" {
		t.Errorf("created %s %s", *v.ServiceArn, text(&v))
	}
	if again := create(t, client, in); *again.Deployments[0].Id != *v.Deployments[0].Id {
		t.Errorf("created again: %s", text(&again))
	}
	other := *in
	other.DesiredCount = aws.Int32(3)
	_, err := client.CreateService(t.Context(), &other)
	wantError(t, err, "InvalidParameterException", "Creation of service was not idempotent.")

	v = until(t, client, "web", "stable", stable)
	list, err := client.ListTasks(t.Context(), &ecs.ListTasksInput{ServiceName: aws.String("web")})
	if err != nil || len(list.TaskArns) != 2 {
		t.Fatalf("ListTasks = %v, %v", list, err)
	}
	task := describe(t, client, list.TaskArns[0])
	tags := map[string]string{}
	for _, tag := range task.Tags {
		tags[*tag.Key] = *tag.Value
	}
	if *task.StartedBy != *v.Deployments[0].Id || !strings.HasPrefix(*task.StartedBy, "ecs-svc/") || *task.Group != "service:web" ||
		!maps.Equal(tags, map[string]string{"team": "a", "aws:ecs:clusterName": "default", "aws:ecs:serviceName": "web"}) {
		t.Errorf("the task: startedBy %s, group %s, tags %v", *task.StartedBy, *task.Group, tags)
	}
	sys.Clock.Advance(41 * time.Second)
	v = until(t, client, "web", "completed", completed)
	for _, message := range []string{"has started 2 tasks: (task ", "has reached a steady state.", "(deployment " + *v.Deployments[0].Id + ") deployment completed."} {
		if !said(&v, message) {
			t.Errorf("no event %q in %s", message, text(&v))
		}
	}

	// One dies and is replaced; one is stopped by hand and is replaced.
	before := w.tasks()
	w.die(before[0])
	if _, err := client.StopTask(t.Context(), &ecs.StopTaskInput{Task: &before[1]}); err != nil {
		t.Fatal(err)
	}
	until(t, client, "web", "whole again", func(v *types.Service) bool {
		now := w.tasks()
		return stable(v) && len(now) == 2 && !slices.Contains(now, before[0]) && !slices.Contains(now, before[1])
	})

	// Scaled out and in.
	for _, n := range []int32{5, 1} {
		out, err := client.UpdateService(t.Context(), &ecs.UpdateServiceInput{Service: aws.String("web"), DesiredCount: &n})
		if err != nil || out.Service.DesiredCount != n || len(out.Service.Deployments) != 1 {
			t.Fatalf("UpdateService = %+v, %v", out, err)
		}
		until(t, client, "web", "scaled", func(v *types.Service) bool { return stable(v) && len(w.tasks()) == int(n) })
	}
	stopped, err := client.ListTasks(t.Context(), &ecs.ListTasksInput{ServiceName: aws.String("web"), DesiredStatus: "STOPPED"})
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, arn := range stopped.TaskArns {
		if d := describe(t, client, arn); d.StopCode == "ServiceSchedulerInitiated" {
			found = found || *d.StoppedReason == "Scaling activity initiated by (deployment "+*v.Deployments[0].Id+")"
		}
	}
	if !found {
		t.Error("no task was stopped by the service scheduler")
	}

	clusters, err := client.DescribeClusters(t.Context(), &ecs.DescribeClustersInput{})
	if err != nil || clusters.Clusters[0].ActiveServicesCount != 1 {
		t.Errorf("the cluster = %+v, %v", clusters, err)
	}
	_, err = client.DeleteService(t.Context(), &ecs.DeleteServiceInput{Service: aws.String("web")})
	wantError(t, err, "InvalidParameterException", "The service cannot be stopped while it is scaled above 0.")
	deleted, err := client.DeleteService(t.Context(), &ecs.DeleteServiceInput{Service: aws.String("web"), Force: aws.Bool(true)})
	if err != nil || *deleted.Service.Status != "DRAINING" {
		t.Fatalf("DeleteService = %+v, %v", deleted, err)
	}
	until(t, client, "web", "inactive", func(v *types.Service) bool { return *v.Status == "INACTIVE" })
	if left := w.tasks(); len(left) != 0 {
		t.Errorf("tasks are left: %v", left)
	}
	_, err = client.UpdateService(t.Context(), &ecs.UpdateServiceInput{Service: aws.String("web"), DesiredCount: aws.Int32(1)})
	wantError(t, err, "ServiceNotActiveException", "Service was not ACTIVE.")
	services, err := client.ListServices(t.Context(), &ecs.ListServicesInput{})
	if err != nil || len(services.ServiceArns) != 0 {
		t.Errorf("ListServices = %v, %v", services, err)
	}
	v = create(t, client, in)
	if *v.Status != "ACTIVE" {
		t.Errorf("created after its deletion: %s", text(&v))
	}
}

func TestRollingDeployment(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	w := work(t, sys)
	w.checked = true
	client := w.client
	check := `'healthCheck':{'command':['CMD','true']}`
	define(t, client, "web", check, "")
	first := create(t, client, &ecs.CreateServiceInput{ServiceName: aws.String("web"), TaskDefinition: aws.String("web"), DesiredCount: aws.Int32(3)})
	until(t, client, "web", "completed", completed)
	old := w.tasks()

	// Nothing changed: no deployment. forced: the same definition, other tasks.
	same, err := client.UpdateService(t.Context(), &ecs.UpdateServiceInput{Service: aws.String("web"), TaskDefinition: aws.String("web:1")})
	if err != nil || len(same.Service.Deployments) != 1 || *same.Service.Deployments[0].Id != *first.Deployments[0].Id {
		t.Fatalf("an update without a change = %+v, %v", same, err)
	}
	forced, err := client.UpdateService(t.Context(), &ecs.UpdateServiceInput{Service: aws.String("web"), ForceNewDeployment: true})
	if err != nil || len(forced.Service.Deployments) != 2 || *forced.Service.Deployments[1].Status != "ACTIVE" || forced.Service.CurrentServiceDeployment == nil {
		t.Fatalf("forced = %+v, %v", forced, err)
	}
	v := until(t, client, "web", "completed", completed)
	for _, task := range w.tasks() {
		if slices.Contains(old, task) {
			t.Errorf("%s is from before the deployment", task)
		}
	}
	if w.most > 6 {
		t.Errorf("%d tasks at the same time, maximumPercent allows 6", w.most)
	}

	list, err := client.ListServiceDeployments(t.Context(), &ecs.ListServiceDeploymentsInput{Service: aws.String("web")})
	if err != nil || len(list.ServiceDeployments) != 2 {
		t.Fatalf("ListServiceDeployments = %+v, %v", list, err)
	}
	arn := *list.ServiceDeployments[0].ServiceDeploymentArn
	if arn != *forced.Service.CurrentServiceDeployment {
		t.Errorf("the newest is %s, want %s", arn, *forced.Service.CurrentServiceDeployment)
	}
	described, err := client.DescribeServiceDeployments(t.Context(), &ecs.DescribeServiceDeploymentsInput{ServiceDeploymentArns: []string{arn}})
	if err != nil || len(described.ServiceDeployments) != 1 {
		t.Fatalf("DescribeServiceDeployments = %+v, %v", described, err)
	}
	d := described.ServiceDeployments[0]
	if d.Status != "SUCCESSFUL" || d.FinishedAt == nil || d.TargetServiceRevision.RunningTaskCount != 3 || len(d.SourceServiceRevisions) != 1 {
		t.Errorf("the deployment = %+v", d)
	}
	revisions, err := client.DescribeServiceRevisions(t.Context(), &ecs.DescribeServiceRevisionsInput{ServiceRevisionArns: []string{*d.TargetServiceRevision.Arn}})
	if err != nil || len(revisions.ServiceRevisions) != 1 || *revisions.ServiceRevisions[0].TaskDefinition != *v.TaskDefinition {
		t.Errorf("DescribeServiceRevisions = %+v, %v", revisions, err)
	}

	// An unhealthy task is replaced.
	sick := w.tasks()[0]
	w.health(sick, types.HealthStatusUnhealthy)
	until(t, client, "web", "healed", func(v *types.Service) bool { return stable(v) && !slices.Contains(w.tasks(), sick) })
	if got := describe(t, client, sick); *got.StoppedReason != "Task failed container health checks" || got.StopCode != "ServiceSchedulerInitiated" {
		t.Errorf("the unhealthy task: %s %s", got.StopCode, *got.StoppedReason)
	}
}

func TestCircuitBreaker(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	w := work(t, sys)
	w.checked = true
	client := w.client
	check := `'healthCheck':{'command':['CMD','true']}`
	define(t, client, "web", check, "")
	define(t, client, "web", check, "")
	why := "ResourceInitializationError: unable to pull secrets: the role may not"
	w.fails["web:2"] = why
	first := create(t, client, &ecs.CreateServiceInput{
		ServiceName: aws.String("web"), TaskDefinition: aws.String("web:1"), DesiredCount: aws.Int32(2),
		DeploymentConfiguration: &types.DeploymentConfiguration{DeploymentCircuitBreaker: &types.DeploymentCircuitBreaker{Enable: true, Rollback: true}},
	})
	until(t, client, "web", "completed", completed)
	serving := w.tasks()
	out, err := client.UpdateService(t.Context(), &ecs.UpdateServiceInput{Service: aws.String("web"), TaskDefinition: aws.String("web:2")})
	if err != nil {
		t.Fatal(err)
	}
	tick := passing(sys)
	v := until(t, client, "web", "rolled back", func(v *types.Service) bool {
		tick()
		return completed(v) && *v.Deployments[0].Id == *first.Deployments[0].Id
	})
	if now := w.tasks(); !slices.Equal(now, serving) {
		t.Errorf("the old tasks did not keep serving: %v, then %v", serving, now)
	}
	bad, good := *out.Service.Deployments[0].Id, *first.Deployments[0].Id
	for _, message := range []string{
		"failed to launch a task with (error " + why, "is unable to consistently start tasks successfully.",
		"(deployment " + bad + ") deployment failed: tasks failed to start.", "rolling back to deployment " + good + ".",
	} {
		if !said(&v, message) {
			t.Errorf("no event %q in %s", message, text(&v))
		}
	}
	described, err := client.DescribeServiceDeployments(t.Context(), &ecs.DescribeServiceDeploymentsInput{ServiceDeploymentArns: []string{*out.Service.CurrentServiceDeployment}})
	if err != nil {
		t.Fatal(err)
	}
	if d := described.ServiceDeployments[0]; d.Status != "ROLLBACK_SUCCESSFUL" || d.Rollback == nil || d.DeploymentCircuitBreaker.Status != "TRIGGERED" || d.DeploymentCircuitBreaker.Threshold != 3 {
		t.Errorf("the deployment = %+v", d)
	}

	// Without anything to go back to, it stays FAILED and launches nothing more.
	create(t, client, &ecs.CreateServiceInput{
		ServiceName: aws.String("bad"), TaskDefinition: aws.String("web:2"), DesiredCount: aws.Int32(1),
		DeploymentConfiguration: &types.DeploymentConfiguration{DeploymentCircuitBreaker: &types.DeploymentCircuitBreaker{Enable: true, Rollback: true}},
	})
	v = until(t, client, "bad", "failed", func(v *types.Service) bool {
		tick()
		return v.Deployments[0].RolloutState == "FAILED"
	})
	if got := *v.Deployments[0].RolloutStateReason; got != "ECS deployment circuit breaker: tasks failed to start." || v.Deployments[0].FailedTasks != 3 {
		t.Errorf("%s", text(&v))
	}
}

func TestLaunchesAreThrottled(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	w := work(t, sys)
	define(t, w.client, "web", "", "")
	w.fails["web:1"] = "CannotPullContainerError: no such image"
	create(t, w.client, &ecs.CreateServiceInput{ServiceName: aws.String("web"), TaskDefinition: aws.String("web"), DesiredCount: aws.Int32(1)})
	tick := passing(sys)
	v := until(t, w.client, "web", "impaired", func(v *types.Service) bool {
		tick()
		return v.Deployments[0].FailedTasks >= 6
	})
	if !said(&v, "is unable to consistently start tasks successfully.") || v.Deployments[0].RolloutState != "IN_PROGRESS" {
		t.Errorf("%s", text(&v))
	}
	n := 0
	for _, e := range v.Events {
		if strings.Contains(*e.Message, "unable to consistently") {
			n++
		}
	}
	if n != 1 {
		t.Errorf("the same event %d times", n)
	}
}

func TestDaemonService(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	a := work(t, sys)
	client := a.client
	define(t, client, "agent", `'portMappings':[{'containerPort':80,'hostPort':8080}]`, "")
	v := create(t, client, &ecs.CreateServiceInput{ServiceName: aws.String("agent"), TaskDefinition: aws.String("agent"), SchedulingStrategy: "DAEMON"})
	if v.SchedulingStrategy != "DAEMON" || *v.DeploymentConfiguration.MinimumHealthyPercent != 0 || *v.DeploymentConfiguration.MaximumPercent != 100 {
		t.Errorf("created %+v", v)
	}
	until(t, client, "agent", "on the first host", func(v *types.Service) bool { return v.DesiredCount == 1 && stable(v) && len(a.tasks()) == 1 })
	b := work(t, sys)
	until(t, client, "agent", "on both hosts", func(v *types.Service) bool {
		return v.DesiredCount == 2 && stable(v) && len(a.tasks()) == 1 && len(b.tasks()) == 1
	})

	// A deployment: the port is free before the new one starts.
	before := a.tasks()[0]
	if _, err := client.UpdateService(t.Context(), &ecs.UpdateServiceInput{Service: aws.String("agent"), ForceNewDeployment: true}); err != nil {
		t.Fatal(err)
	}
	until(t, client, "agent", "replaced", func(v *types.Service) bool {
		now := a.tasks()
		return stable(v) && len(now) == 1 && now[0] != before && len(b.tasks()) == 1
	})
	if a.most > 1 || b.most > 1 {
		t.Errorf("%d and %d tasks on one host", a.most, b.most)
	}

	// A draining host has none.
	if _, err := client.UpdateContainerInstancesState(t.Context(), &ecs.UpdateContainerInstancesStateInput{ContainerInstances: []string{b.instance}, Status: "DRAINING"}); err != nil {
		t.Fatal(err)
	}
	until(t, client, "agent", "drained", func(v *types.Service) bool { return v.DesiredCount == 1 && stable(v) && len(b.tasks()) == 0 })

	if _, err := client.DeleteService(t.Context(), &ecs.DeleteServiceInput{Service: aws.String("agent")}); err != nil {
		t.Fatal(err)
	}
	until(t, client, "agent", "inactive", func(v *types.Service) bool { return *v.Status == "INACTIVE" && len(a.tasks()) == 0 })
}

func TestDrainingReplacesTasks(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	a, b := work(t, sys), work(t, sys)
	a.checked, b.checked = true, true
	client := a.client
	define(t, client, "web", `'healthCheck':{'command':['CMD','true']}`, "")
	create(t, client, &ecs.CreateServiceInput{
		ServiceName: aws.String("web"), TaskDefinition: aws.String("web"), DesiredCount: aws.Int32(4),
		PlacementStrategy: []types.PlacementStrategy{{Type: "spread", Field: aws.String("instanceId")}},
	})
	until(t, client, "web", "spread", func(v *types.Service) bool { return stable(v) && len(a.tasks()) == 2 && len(b.tasks()) == 2 })
	if _, err := client.UpdateContainerInstancesState(t.Context(), &ecs.UpdateContainerInstancesStateInput{ContainerInstances: []string{a.instance}, Status: "DRAINING"}); err != nil {
		t.Fatal(err)
	}
	until(t, client, "web", "moved", func(v *types.Service) bool { return stable(v) && len(a.tasks()) == 0 && len(b.tasks()) == 4 })
}

func TestUnplacedTasks(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	client := ecs.NewFromConfig(sys.Config())
	define(t, client, "web", `'cpu':600`, "")
	create(t, client, &ecs.CreateServiceInput{ServiceName: aws.String("web"), TaskDefinition: aws.String("web"), DesiredCount: aws.Int32(2)})
	until(t, client, "web", "without a host", func(v *types.Service) bool {
		return said(v, "was unable to place a task because no container instance met all of its requirements. Reason: No Container Instances were found in your cluster.")
	})
	w := work(t, sys)
	id := w.instance[strings.LastIndexByte(w.instance, '/')+1:]
	until(t, client, "web", "half", func(v *types.Service) bool {
		return v.RunningCount == 1 && said(v, "was unable to place a task because no container instance met all of its requirements. "+
			"The closest matching (container-instance "+id+") has insufficient CPU units available.")
	})
	work(t, sys)
	until(t, client, "web", "whole", stable)
}

func TestServiceRefusals(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	client := ecs.NewFromConfig(sys.Config())
	define(t, client, "web", "", "")
	for _, tt := range []struct {
		name          string
		change        func(*ecs.CreateServiceInput)
		code, message string
	}{
		{"no definition", func(in *ecs.CreateServiceInput) { in.TaskDefinition = aws.String("none") }, "ClientException", "TaskDefinition not found."},
		{"a strange name", func(in *ecs.CreateServiceInput) { in.ServiceName = aws.String("a b") }, "InvalidParameterException", "Invalid service name: 'a b'."},
		{"no such cluster", func(in *ecs.CreateServiceInput) { in.Cluster = aws.String("none") }, "ClusterNotFoundException", "Cluster not found."},
		{"no count", func(in *ecs.CreateServiceInput) { in.DesiredCount = nil }, "InvalidParameterException", "desiredCount is required"},
		{"a daemon's count", func(in *ecs.CreateServiceInput) { in.SchedulingStrategy = "DAEMON" }, "InvalidParameterException",
			"The daemon scheduling strategy does not support a desired count for services."},
		{"load balancers", func(in *ecs.CreateServiceInput) {
			in.LoadBalancers = []types.LoadBalancer{{ContainerName: aws.String("app")}}
		}, "InvalidParameterException", "malote does not support 'loadBalancers'."},
		{"registries", func(in *ecs.CreateServiceInput) {
			in.ServiceRegistries = []types.ServiceRegistry{{RegistryArn: aws.String("a")}}
		}, "InvalidParameterException", "malote does not support 'serviceRegistries'."},
		{"service connect", func(in *ecs.CreateServiceInput) {
			in.ServiceConnectConfiguration = &types.ServiceConnectConfiguration{Enabled: true}
		}, "InvalidParameterException", "malote does not support 'serviceConnectConfiguration'."},
		{"external controllers", func(in *ecs.CreateServiceInput) {
			in.DeploymentController = &types.DeploymentController{Type: "EXTERNAL"}
		}, "InvalidParameterException", "malote does not support 'deploymentController: EXTERNAL'."},
		{"blue and green", func(in *ecs.CreateServiceInput) {
			in.DeploymentConfiguration = &types.DeploymentConfiguration{Strategy: "BLUE_GREEN"}
		}, "InvalidParameterException", "malote does not support 'deploymentConfiguration.strategy: BLUE_GREEN'."},
		{"too little", func(in *ecs.CreateServiceInput) {
			in.DeploymentConfiguration = &types.DeploymentConfiguration{MaximumPercent: aws.Int32(50)}
		}, "InvalidParameterException", "maximumPercent must be between 100 and 1000, not 50."},
		{"a provider", func(in *ecs.CreateServiceInput) {
			in.CapacityProviderStrategy = []types.CapacityProviderStrategyItem{{CapacityProvider: aws.String("mine"), Weight: 1}}
		}, "InvalidParameterException", "The specified capacity provider strategy cannot contain a capacity provider that is not associated with the cluster."},
		{"a bad expression", func(in *ecs.CreateServiceInput) {
			in.PlacementConstraints = []types.PlacementConstraint{{Type: "memberOf", Expression: aws.String("((")}}
		}, "InvalidParameterException", "Invalid placement constraint expression '(('"},
	} {
		in := &ecs.CreateServiceInput{ServiceName: aws.String("web"), TaskDefinition: aws.String("web"), DesiredCount: aws.Int32(1)}
		tt.change(in)
		t.Run(tt.name, func(t *testing.T) {
			_, err := client.CreateService(t.Context(), in)
			wantError(t, err, tt.code, tt.message)
		})
	}
	_, err := client.UpdateService(t.Context(), &ecs.UpdateServiceInput{Service: aws.String("none")})
	wantError(t, err, "ServiceNotFoundException", "Service not found.")
	_, err = client.DeleteService(t.Context(), &ecs.DeleteServiceInput{Service: aws.String("none")})
	wantError(t, err, "ServiceNotFoundException", "Service not found.")
	described, err := client.DescribeServices(t.Context(), &ecs.DescribeServicesInput{Services: []string{"none"}})
	if err != nil || len(described.Failures) != 1 || *described.Failures[0].Reason != "MISSING" || *described.Failures[0].Arn != arnPrefix+"service/default/none" {
		t.Errorf("DescribeServices = %+v, %v", described, err)
	}
}

// Whoever may not pass the roles of a definition may not have a service run it; a policy can
// name one service, and ask for its tags.
func TestServicesRights(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	admin := ecs.NewFromConfig(sys.Config())
	arn := role(t, sys, "app", "")
	define(t, admin, "web", "", `'taskRoleArn':'`+arn+`'`)
	in := &ecs.CreateServiceInput{
		ServiceName: aws.String("web"), TaskDefinition: aws.String("web"), DesiredCount: aws.Int32(0),
		Tags: []types.Tag{{Key: aws.String("team"), Value: aws.String("a")}},
	}
	mallory := ecs.NewFromConfig(sys.User(t, "mallory", malotetest.Allow("*", "ecs:*")))
	_, err := mallory.CreateService(t.Context(), in)
	wantError(t, err, "AccessDeniedException", "User: arn:aws:iam::"+malotetest.Account+":user/mallory is not authorized to perform: iam:PassRole")
	create(t, admin, in)
	_, err = mallory.UpdateService(t.Context(), &ecs.UpdateServiceInput{Service: aws.String("web"), TaskDefinition: aws.String("web")})
	wantError(t, err, "AccessDeniedException", "User: arn:aws:iam::"+malotetest.Account+":user/mallory is not authorized to perform: iam:PassRole")

	tagged := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ecs:UpdateService","Resource":"` + arnPrefix + `service/default/web","Condition":{"StringEquals":{"aws:ResourceTag/team":"a"}}}]}`
	alice := ecs.NewFromConfig(sys.User(t, "alice", tagged))
	if _, err := alice.UpdateService(t.Context(), &ecs.UpdateServiceInput{Service: aws.String("web"), ForceNewDeployment: true}); err != nil {
		t.Error(err)
	}
	if _, err := admin.TagResource(t.Context(), &ecs.TagResourceInput{ResourceArn: aws.String(arnPrefix + "service/default/web"), Tags: []types.Tag{{Key: aws.String("team"), Value: aws.String("b")}}}); err != nil {
		t.Fatal(err)
	}
	_, err = alice.UpdateService(t.Context(), &ecs.UpdateServiceInput{Service: aws.String("web"), ForceNewDeployment: true})
	wantError(t, err, "AccessDeniedException", "User: arn:aws:iam::"+malotetest.Account+":user/alice is not authorized to perform: ecs:UpdateService")
	_, err = alice.DescribeServices(t.Context(), &ecs.DescribeServicesInput{Services: []string{"a b"}})
	wantError(t, err, "AccessDeniedException", "")

	_, err = admin.DeleteCluster(t.Context(), &ecs.DeleteClusterInput{Cluster: aws.String("default")})
	wantError(t, err, "ClusterContainsServicesException", "The Cluster cannot be deleted while Services are active.")
}

func TestStopServiceDeployment(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	w := work(t, sys)
	w.checked = true
	client := w.client
	check := `'healthCheck':{'command':['CMD','true']}`
	define(t, client, "web", check, "")
	first := create(t, client, &ecs.CreateServiceInput{ServiceName: aws.String("web"), TaskDefinition: aws.String("web"), DesiredCount: aws.Int32(1)})
	until(t, client, "web", "completed", completed)
	serving := w.tasks()
	w.checked = false // what comes now never becomes healthy
	out, err := client.UpdateService(t.Context(), &ecs.UpdateServiceInput{Service: aws.String("web"), ForceNewDeployment: true})
	if err != nil {
		t.Fatal(err)
	}
	until(t, client, "web", "in between", func(v *types.Service) bool { return v.RunningCount == 2 })
	if _, err := client.StopServiceDeployment(t.Context(), &ecs.StopServiceDeploymentInput{ServiceDeploymentArn: out.Service.CurrentServiceDeployment}); err != nil {
		t.Fatal(err)
	}
	v := until(t, client, "web", "back", completed)
	if *v.Deployments[0].Id != *first.Deployments[0].Id || !slices.Equal(w.tasks(), serving) {
		t.Errorf("tasks %v, want %v: %s", w.tasks(), serving, text(&v))
	}
	_, err = client.StopServiceDeployment(t.Context(), &ecs.StopServiceDeploymentInput{ServiceDeploymentArn: out.Service.CurrentServiceDeployment})
	wantError(t, err, "ConflictException", "The service deployment is not in progress")
}
