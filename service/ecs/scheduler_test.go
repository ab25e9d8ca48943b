package ecs

import (
	"context"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/malote/malote/store"
)

// another is a control plane on the same store.
func (p *plane) another() *Service {
	return New(Config{Store: p.Service.store, Authz: allowAll{}, Roles: p.vendor, Now: p.clock.now})
}

// obey is what an engine does, without the stream: what is placed runs, what is to stop
// stops. It returns how many tasks should run.
func (p *plane) obey(t testing.TB) int {
	t.Helper()
	sc := scopeOf(p.ctx)
	type news struct{ task, status string }
	var all []news
	wanted := 0
	if err := p.Service.store.View(p.ctx, func(tx store.Tx) error {
		all, wanted = nil, 0
		for row, err := range p.placements.Scan(tx, sc.prefix("placement"), "") {
			if err != nil {
				return err
			}
			task, err := p.tasks.Get(tx, sc.key("task", "default", row.Value.Task))
			if err != nil {
				return err
			}
			switch {
			case row.Value.Stop:
				all = append(all, news{task.ID, "STOPPED"})
			case *task.Task.LastStatus != "RUNNING":
				all = append(all, news{task.ID, "RUNNING"})
				wanted++
			default:
				wanted++
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for _, n := range all {
		if err := p.Service.store.Update(p.ctx, func(tx store.Tx) error {
			task, err := p.findTask(tx, sc, "default", n.task)
			if err != nil || task.Delivered {
				return err
			}
			task = copyOf(task)
			task.Delivered = true
			return p.putTask(tx, sc, task)
		}); err != nil {
			t.Fatal(err)
		}
		if _, err := p.SubmitTaskStateChange(p.ctx, &ecs.SubmitTaskStateChangeInput{Task: &n.task, Status: &n.status}); err != nil {
			t.Fatal(err)
		}
	}
	return wanted
}

func (p *plane) service(t testing.TB, name string) types.Service {
	t.Helper()
	out, err := p.DescribeServices(p.ctx, &ecs.DescribeServicesInput{Services: []string{name}})
	if err != nil || len(out.Services) != 1 {
		t.Fatalf("DescribeServices = %+v, %v", out, err)
	}
	return out.Services[0]
}

// Three control planes on one store, each ended at random and begun anew, start not one task
// too many, and what was asked for comes about.
func TestSeveralControlPlanes(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	var running sync.WaitGroup
	defer running.Wait()
	ctx, cancel := context.WithCancel(p.ctx)
	defer cancel()
	for n := range 3 {
		running.Go(func() {
			for ctx.Err() == nil {
				life, end := context.WithTimeout(ctx, time.Duration(n+1)*37*time.Millisecond)
				Schedule(life, p.another())
				end()
			}
		})
	}
	const desired, rounds = 10, 3
	if _, err := p.CreateService(p.ctx, &ecs.CreateServiceInput{
		ServiceName: aws.String("web"), TaskDefinition: aws.String("web"), DesiredCount: aws.Int32(desired),
	}); err != nil {
		t.Fatal(err)
	}
	for round := range rounds {
		if round > 0 {
			if _, err := p.UpdateService(p.ctx, &ecs.UpdateServiceInput{Service: aws.String("web"), ForceNewDeployment: true}); err != nil {
				t.Fatal(err)
			}
		}
		end := time.Now().Add(30 * time.Second)
		for {
			wanted := p.obey(t)
			if wanted > 2*desired {
				t.Fatalf("%d tasks, maximumPercent allows %d", wanted, 2*desired)
			}
			if v := p.service(t, "web"); len(v.Deployments) == 1 && v.Deployments[0].RolloutState == types.DeploymentRolloutStateCompleted && v.RunningCount == desired {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("round %d: %+v", round, p.service(t, "web"))
			}
			p.clock.advance(50 * time.Millisecond)
			time.Sleep(time.Millisecond)
			if wanted == desired || wanted == 2*desired {
				p.clock.advance(time.Second)
			}
			// The engine is there.
			if err := p.Service.store.Update(p.ctx, func(tx store.Tx) error {
				return p.sawInstance(tx, scopeOf(p.ctx), "default", lastPart(p.instance))
			}); err != nil {
				t.Fatal(err)
			}
		}
	}
	started := 0
	if err := p.Service.store.View(p.ctx, func(tx store.Tx) error {
		started = 0
		for _, err := range p.tasks.Scan(tx, scopeOf(p.ctx).prefix("task", "default"), "") {
			if err != nil {
				return err
			}
			started++
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if started != rounds*desired {
		t.Errorf("%d tasks were started, want %d", started, rounds*desired)
	}
}

func lastPart(arn string) string {
	_, resource, _ := splitARN(arn)
	for i := len(resource) - 1; i >= 0; i-- {
		if resource[i] == '/' {
			return resource[i+1:]
		}
	}
	return resource
}

// An INACTIVE service is forgotten after an hour, with all that was kept of it.
func TestDeletedServicesAreForgotten(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	for range 3 {
		if _, err := p.CreateService(p.ctx, &ecs.CreateServiceInput{ServiceName: aws.String("web"), TaskDefinition: aws.String("web"), DesiredCount: aws.Int32(0)}); err != nil {
			t.Fatal(err)
		}
		for range 60 {
			if _, err := p.UpdateService(p.ctx, &ecs.UpdateServiceInput{Service: aws.String("web"), ForceNewDeployment: true}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := p.DeleteService(p.ctx, &ecs.DeleteServiceInput{Service: aws.String("web")}); err != nil {
			t.Fatal(err)
		}
		if _, err := p.attend(p.ctx, map[string]time.Time{}); err != nil {
			t.Fatal(err)
		}
		if v := p.service(t, "web"); *v.Status != "INACTIVE" {
			t.Fatalf("it is %s", *v.Status)
		}
	}
	p.clock.advance(time.Hour + time.Second)
	for range 10 {
		if _, err := p.attend(p.ctx, map[string]time.Time{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Service.store.View(p.ctx, func(tx store.Tx) error {
		for _, prefix := range []string{wakePrefix, scopeOf(p.ctx).key("service"), scopeOf(p.ctx).prefix("service-event"), scopeOf(p.ctx).prefix("service-revision"), scopeOf(p.ctx).prefix("service-deployment")} {
			for e, err := range tx.Scan(prefix, "") {
				if err != nil {
					return err
				}
				t.Errorf("%s is left", e.Key)
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// BenchmarkIdleServices is what a second of 1,000 services that have what was asked of them
// costs: %cpu of one core.
func BenchmarkIdleServices(b *testing.B) {
	p := newPlane(b)
	for n := range 1000 {
		if _, err := p.CreateService(p.ctx, &ecs.CreateServiceInput{
			ServiceName: aws.String(fmt.Sprint("web", n)), TaskDefinition: aws.String("web"), DesiredCount: aws.Int32(0),
		}); err != nil {
			b.Fatal(err)
		}
	}
	if _, err := p.attend(p.ctx, map[string]time.Time{}); err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(p.ctx)
	var running sync.WaitGroup
	running.Go(func() { Schedule(ctx, p.Service) })
	before := cpu(b)
	rounds := 0
	for b.Loop() {
		time.Sleep(time.Second)
		rounds++
	}
	b.ReportMetric(float64(cpu(b)-before)/float64(time.Duration(rounds)*time.Second)*100, "%cpu")
	cancel()
	running.Wait()
}

// cpu is the processor time that this process has had.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// Tasks that services stop leave nothing behind either, and the store does not grow by
// deployments.
func TestServicesTasksAreSwept(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	if _, err := p.CreateService(p.ctx, &ecs.CreateServiceInput{ServiceName: aws.String("web"), TaskDefinition: aws.String("web"), DesiredCount: aws.Int32(3)}); err != nil {
		t.Fatal(err)
	}
	tasks := 0
	for range 20 {
		if _, err := p.UpdateService(p.ctx, &ecs.UpdateServiceInput{Service: aws.String("web"), ForceNewDeployment: true}); err != nil {
			t.Fatal(err)
		}
		for range 8 {
			if _, err := p.attend(p.ctx, map[string]time.Time{}); err != nil {
				t.Fatal(err)
			}
			p.obey(t)
			p.clock.advance(20 * time.Second)
		}
		p.clock.advance(30 * time.Minute)
		if _, err := p.RegisterContainerInstance(p.ctx, &ecs.RegisterContainerInstanceInput{ContainerInstanceArn: &p.instance}); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Service.store.View(p.ctx, func(tx store.Tx) error {
		tasks = 0
		for _, err := range p.tasks.Scan(tx, scopeOf(p.ctx).prefix("task", "default"), "") {
			if err != nil {
				return err
			}
			tasks++
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if v := p.service(t, "web"); v.RunningCount != 3 || tasks > 20 {
		t.Errorf("%d records of tasks after 20 deployments of 3, %d running", tasks, v.RunningCount)
	}
}
