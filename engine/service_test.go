package engine_test

import (
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/moby/moby/client"

	"github.com/malote/malote/engine/enginetest"
	"github.com/malote/malote/malotetest"
)

const definitionOne = "arn:aws:ecs:" + malotetest.Region + ":" + malotetest.Account + ":task-definition/shop:1"

var failedToLaunch = regexp.MustCompile(`^\(service shop\) failed to launch a task with \(error .*role/exec.*shop/forbidden`)

// ids are those of the engine's containers.
func (w *world) ids() (ids []string) {
	w.t.Helper()
	list, err := w.docker.ContainerList(w.t.Context(), client.ContainerListOptions{All: true, Filters: client.Filters{}.Add("label", "malote.engine="+w.config.Name)})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, c := range list.Items {
		ids = append(ids, c.ID)
	}
	return ids
}

// A secret changes; a new deployment of the service brings it to containers, one after the
// other, and none that holds the old value is left. A secret that cannot be read stops no
// task that serves: the circuit breaker goes back, and an event says why.
func TestAChangedSecretReachesAService(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	image := c.image(enginetest.Image{})
	arn, first := c.secret("shop/password")
	forbidden, _ := c.secret("shop/forbidden")
	role := c.role("exec", malotetest.Allow(arn, "secretsmanager:GetSecretValue"))
	app := container("app", image, "env", "PASSWORD", "then", "trap", "0")
	app.StopTimeout = aws.Int32(2)
	define := func(secret string) {
		t.Helper()
		app.Secrets = []types.Secret{{Name: aws.String("PASSWORD"), ValueFrom: &secret}}
		if _, err := c.ecs.RegisterTaskDefinition(t.Context(), &ecs.RegisterTaskDefinitionInput{
			Family: aws.String("shop"), ExecutionRoleArn: &role, ContainerDefinitions: []types.ContainerDefinition{app},
		}); err != nil {
			t.Fatal(err)
		}
	}
	// settled waits for the service to be what ok says; time passes meanwhile.
	settled := func(ok func(*types.Service) bool) types.Service {
		t.Helper()
		var v types.Service
		for end := time.Now().Add(90 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
			out, err := c.ecs.DescribeServices(t.Context(), &ecs.DescribeServicesInput{Services: []string{"shop"}})
			if err != nil {
				t.Fatal(err)
			}
			if v = out.Services[0]; ok(&v) {
				return v
			}
		}
		for _, e := range v.Events {
			t.Log(*e.Message)
		}
		t.Fatalf("%d desired, %d running, deployments %+v", v.DesiredCount, v.RunningCount, v.Deployments)
		return v
	}
	running := func(v *types.Service) bool { return v.RunningCount >= 2 && v.PendingCount == 0 }
	completed := func(v *types.Service) bool {
		return len(v.Deployments) == 1 && v.RunningCount == 2 && v.Deployments[0].RolloutState == types.DeploymentRolloutStateCompleted
	}

	define(arn)
	if _, err := c.ecs.CreateService(t.Context(), &ecs.CreateServiceInput{
		ServiceName: aws.String("shop"), TaskDefinition: aws.String("shop"), DesiredCount: aws.Int32(2),
		DeploymentConfiguration: &types.DeploymentConfiguration{DeploymentCircuitBreaker: &types.DeploymentCircuitBreaker{Enable: true, Rollback: true}},
	}); err != nil {
		t.Fatal(err)
	}
	settled(running)
	c.waitFor("app: " + digestLine("PASSWORD", first))
	c.sys.Clock.Advance(41 * time.Second)
	settled(completed)
	before := c.ids()

	second := c.sys.Canary()
	if _, err := secretsmanager.NewFromConfig(c.sys.Config()).PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{SecretId: &arn, SecretString: &second}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.ecs.UpdateService(t.Context(), &ecs.UpdateServiceInput{Service: aws.String("shop"), ForceNewDeployment: true}); err != nil {
		t.Fatal(err)
	}
	settled(func(v *types.Service) bool { return v.RunningCount == 4 })
	c.waitFor("app: " + digestLine("PASSWORD", second))
	c.sys.Clock.Advance(41 * time.Second)
	settled(completed)
	after := c.ids()
	for _, id := range before {
		if slices.Contains(after, id) {
			t.Errorf("container %s still holds the old value", id)
		}
	}

	define(forbidden)
	if _, err := c.ecs.UpdateService(t.Context(), &ecs.UpdateServiceInput{Service: aws.String("shop"), TaskDefinition: aws.String("shop")}); err != nil {
		t.Fatal(err)
	}
	v := settled(func(v *types.Service) bool { return completed(v) && *v.TaskDefinition == definitionOne })
	if !slices.ContainsFunc(v.Events, func(e types.ServiceEvent) bool { return failedToLaunch.MatchString(*e.Message) }) {
		for _, e := range v.Events {
			t.Log(*e.Message)
		}
		t.Error("no event says which secret could not be read, by which role")
	}
	for _, id := range after {
		if !slices.Contains(c.ids(), id) {
			t.Errorf("container %s did not keep serving", id)
		}
	}
	if _, err := c.ecs.DeleteService(t.Context(), &ecs.DeleteServiceInput{Service: aws.String("shop"), Force: aws.Bool(true)}); err != nil {
		t.Fatal(err)
	}
	settled(func(v *types.Service) bool { return *v.Status == "INACTIVE" })
}

// Who asks for it gets a deployment when a secret changes: nobody has to, and nothing stale is left.
func TestAServiceFollowsItsSecret(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	image := c.image(enginetest.Image{})
	arn, first := c.secret("shop/password")
	role := c.role("exec", malotetest.Allow(arn, "secretsmanager:GetSecretValue"))
	app := container("app", image, "env", "PASSWORD", "then", "trap", "0")
	app.StopTimeout = aws.Int32(2)
	app.Secrets = []types.Secret{{Name: aws.String("PASSWORD"), ValueFrom: &arn}}
	if _, err := c.ecs.RegisterTaskDefinition(t.Context(), &ecs.RegisterTaskDefinitionInput{
		Family: aws.String("shop"), ExecutionRoleArn: &role, ContainerDefinitions: []types.ContainerDefinition{app},
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.ecs.CreateService(t.Context(), &ecs.CreateServiceInput{
		ServiceName: aws.String("shop"), TaskDefinition: aws.String("shop"), DesiredCount: aws.Int32(2),
		Tags: []types.Tag{{Key: aws.String("malote:on-secret-change"), Value: aws.String("redeploy")}},
	}); err != nil {
		t.Fatal(err)
	}
	settled := func(what string, ok func(*types.Service) bool) {
		t.Helper()
		for end := time.Now().Add(90 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
			out, err := c.ecs.DescribeServices(t.Context(), &ecs.DescribeServicesInput{Services: []string{"shop"}})
			if err != nil {
				t.Fatal(err)
			}
			if ok(&out.Services[0]) {
				return
			}
		}
		t.Fatalf("the service never was %s", what)
	}
	completed := func(v *types.Service) bool {
		return len(v.Deployments) == 1 && v.RunningCount == 2 && v.Deployments[0].RolloutState == types.DeploymentRolloutStateCompleted
	}
	settled("running", func(v *types.Service) bool { return v.RunningCount == 2 })
	c.waitFor("app: " + digestLine("PASSWORD", first))
	c.sys.Clock.Advance(41 * time.Second)
	settled("completed", completed)
	before := c.ids()

	second := c.sys.Canary()
	if _, err := secretsmanager.NewFromConfig(c.sys.Config()).PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{SecretId: &arn, SecretString: &second}); err != nil {
		t.Fatal(err)
	}
	settled("redeployed", func(v *types.Service) bool { return v.RunningCount == 4 })
	c.waitFor("app: " + digestLine("PASSWORD", second))
	c.sys.Clock.Advance(41 * time.Second)
	settled("completed", completed)
	for _, id := range before {
		if slices.Contains(c.ids(), id) {
			t.Errorf("container %s still holds the old value", id)
		}
	}
	if _, err := c.ecs.DeleteService(t.Context(), &ecs.DeleteServiceInput{Service: aws.String("shop"), Force: aws.Bool(true)}); err != nil {
		t.Fatal(err)
	}
	settled("INACTIVE", func(v *types.Service) bool { return *v.Status == "INACTIVE" })
}
