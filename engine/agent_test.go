package engine_test

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/malote/malote/acs"
	"github.com/malote/malote/engine"
	"github.com/malote/malote/engine/enginetest"
	"github.com/malote/malote/malotetest"
)

const trustTasks = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ecs-tasks.amazonaws.com"},"Action":"sts:AssumeRole"}]}`

// cluster is a control plane with one engine that listens to it.
type cluster struct {
	*world
	sys  *malotetest.System
	ecs  *ecs.Client
	stop func() // the engine, leaving its tasks
}

func newCluster(t *testing.T, with ...malotetest.Option) *cluster {
	w := newWorld(t)
	sys := malotetest.New(t, with...)
	c := &cluster{world: w, sys: sys, ecs: ecs.NewFromConfig(sys.Config())}
	w.config.AWS = sys.Config()
	w.config.Now = sys.Clock.Now
	c.listen()
	return c
}

// listen starts an engine and returns when it is registered.
func (c *cluster) listen() {
	c.t.Helper()
	registered := make(chan string, 8)
	config := c.config
	config.Registered = func(arn string) { registered <- arn }
	e, err := engine.New(config)
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	c.stop = sync.OnceFunc(func() { cancel(); <-ended })
	c.t.Cleanup(c.stop)
	select {
	case <-registered:
	case err := <-ended:
		c.t.Fatalf("the engine ended: %v", err)
	case <-time.After(30 * time.Second):
		c.t.Fatal("the engine did not register")
	}
}

// role makes one that tasks may assume.
func (c *cluster) role(name, policy string) string {
	c.t.Helper()
	client := iam.NewFromConfig(c.sys.Config())
	out, err := client.CreateRole(c.t.Context(), &iam.CreateRoleInput{RoleName: &name, AssumeRolePolicyDocument: aws.String(trustTasks)})
	if err != nil {
		c.t.Fatal(err)
	}
	if policy != "" {
		if _, err := client.PutRolePolicy(c.t.Context(), &iam.PutRolePolicyInput{RoleName: &name, PolicyName: aws.String("p"), PolicyDocument: &policy}); err != nil {
			c.t.Fatal(err)
		}
	}
	return *out.Role.Arn
}

func (c *cluster) secret(name string) (arn, value string) {
	c.t.Helper()
	value = c.sys.Canary()
	out, err := secretsmanager.NewFromConfig(c.sys.Config()).CreateSecret(c.t.Context(), &secretsmanager.CreateSecretInput{Name: &name, SecretString: &value})
	if err != nil {
		c.t.Fatal(err)
	}
	return *out.ARN, value
}

// ask gets what malote answers beyond AWS's operations.
func (c *cluster) ask(service, path string, out any) {
	c.t.Helper()
	cfg := c.sys.Config()
	request, err := http.NewRequestWithContext(c.t.Context(), http.MethodGet, c.sys.Endpoint()+path, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	keys, err := cfg.Credentials.Retrieve(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	const empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	if err := v4.NewSigner().SignHTTP(c.t.Context(), keys, request, empty, service, cfg.Region, time.Now()); err != nil {
		c.t.Fatal(err)
	}
	response, err := cfg.HTTPClient.Do(request)
	if err != nil {
		c.t.Fatal(err)
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(out); err != nil || response.StatusCode != http.StatusOK {
		c.t.Fatalf("GET %s: %s, %v", path, response.Status, err)
	}
}

// stale is what running tasks hold and is not the current version.
func (c *cluster) stale() (stale []acs.Holding) {
	c.t.Helper()
	var all acs.Holdings
	c.ask("ecs", "/holdings", &all)
	for _, task := range all.Tasks {
		for _, h := range task.Secrets {
			if h.Stale {
				stale = append(stale, h)
			}
		}
	}
	return stale
}

// runTask registers a task definition and runs it.
func (c *cluster) runTask(role string, containers ...types.ContainerDefinition) string {
	c.t.Helper()
	in := &ecs.RegisterTaskDefinitionInput{Family: aws.String("shop"), ContainerDefinitions: containers}
	if role != "" {
		in.ExecutionRoleArn = &role
	}
	if _, err := c.ecs.RegisterTaskDefinition(c.t.Context(), in); err != nil {
		c.t.Fatal(err)
	}
	out, err := c.ecs.RunTask(c.t.Context(), &ecs.RunTaskInput{TaskDefinition: aws.String("shop")})
	if err != nil {
		c.t.Fatal(err)
	}
	if len(out.Tasks) != 1 {
		c.t.Fatalf("RunTask: %+v", out.Failures)
	}
	return *out.Tasks[0].TaskArn
}

// until returns the task once it has that status.
func (c *cluster) until(arn, status string) types.Task {
	c.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		out, err := c.ecs.DescribeTasks(c.t.Context(), &ecs.DescribeTasksInput{Tasks: []string{arn}})
		if err != nil {
			c.t.Fatal(err)
		}
		if len(out.Tasks) == 1 && *out.Tasks[0].LastStatus == status {
			if status == "STOPPED" {
				c.settle(arn)
			}
			return out.Tasks[0]
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("task is not %s: %+v", status, out)
		}
	}
}

// settle gives the engine the moment between a report that was heard and its knowing so:
// only then it forgets the task, and a test that ends before finds what it remembers.
func (c *cluster) settle(arn string) {
	c.t.Helper()
	path := filepath.Join(c.config.Dir, "tasks", arn[strings.LastIndexByte(arn, '/')+1:]+".json")
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			return
		}
	}
}

func TestATaskOfTheControlPlaneRuns(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	image := c.image(enginetest.Image{})
	arn, value := c.secret("shop/password")
	app := container("app", image, "env", "PASSWORD", "then", "exit", "3")
	app.Secrets = []types.Secret{{Name: aws.String("PASSWORD"), ValueFrom: &arn}}

	t.Run("with permission", func(t *testing.T) {
		role := c.role("exec", malotetest.Allow(arn, "secretsmanager:GetSecretValue"))
		task := c.until(c.runTask(role, app), "STOPPED")
		if task.StopCode != types.TaskStopCodeEssentialContainerExited || *task.StoppedReason != "Essential container in task exited" || aws.ToInt32(task.Containers[0].ExitCode) != 3 {
			t.Errorf("stopped with %s, %q, %+v", task.StopCode, *task.StoppedReason, task.Containers)
		}
		if task.StartedAt == nil || task.PullStartedAt == nil || task.StoppedAt == nil || aws.ToString(task.Containers[0].RuntimeId) == "" {
			t.Errorf("times or runtime id are missing: %+v", task)
		}
		if want := "app: " + digestLine("PASSWORD", value); len(c.output()) == 0 || c.output()[0] != want {
			t.Errorf("output %q, want %q", c.output(), want)
		}
	})
	t.Run("without permission", func(t *testing.T) {
		role := c.role("powerless", "")
		task := c.until(c.runTask(role, app), "STOPPED")
		if task.StopCode != types.TaskStopCodeTaskFailedToStart || task.Containers[0].ExitCode != nil {
			t.Errorf("stopped with %s, %+v", task.StopCode, task.Containers)
		}
		for _, want := range []string{"ResourceInitializationError: ", "AccessDeniedException", "assumed-role/powerless/", "secretsmanager:GetSecretValue", arn} {
			if !strings.Contains(*task.StoppedReason, want) {
				t.Errorf("reason %q does not say %q", *task.StoppedReason, want)
			}
		}
	})
}

func TestStopTaskStops(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	image := c.image(enginetest.Image{})
	web := container("web", image, "print", "up", "then", "trap", "0")
	web.PortMappings = []types.PortMapping{{ContainerPort: aws.Int32(80)}}
	arn := c.runTask("", web)
	task := c.until(arn, "RUNNING")
	if b := task.Containers[0].NetworkBindings; len(b) != 1 || aws.ToInt32(b[0].HostPort) == 0 {
		t.Errorf("network bindings = %+v", b)
	}
	c.waitFor("web: ready")
	if _, err := c.ecs.StopTask(t.Context(), &ecs.StopTaskInput{Task: &arn, Reason: aws.String("enough")}); err != nil {
		t.Fatal(err)
	}
	task = c.until(arn, "STOPPED")
	if task.StopCode != types.TaskStopCodeUserInitiated || *task.StoppedReason != "enough" || aws.ToInt32(task.Containers[0].ExitCode) != 0 {
		t.Errorf("stopped with %s, %q, %+v", task.StopCode, *task.StoppedReason, task.Containers)
	}
}

func TestTheContainerInstanceStaysTheSame(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	image := c.image(enginetest.Image{})
	arn := c.runTask("", container("web", image, "print", "up", "then", "trap", "7"))
	was := c.until(arn, "RUNNING")
	c.waitFor("web: ready")
	before := c.containers()["web"]
	c.stop()
	c.listen()
	if now := c.containers()["web"]; now != before {
		t.Errorf("container %s became %s", before, now)
	}
	if _, err := c.ecs.StopTask(t.Context(), &ecs.StopTaskInput{Task: &arn}); err != nil {
		t.Fatal(err)
	}
	task := c.until(arn, "STOPPED")
	if *task.ContainerInstanceArn != *was.ContainerInstanceArn || aws.ToInt32(task.Containers[0].ExitCode) != 7 {
		t.Errorf("the task ended as %+v", task)
	}
	out, err := c.ecs.ListContainerInstances(t.Context(), &ecs.ListContainerInstancesInput{})
	if err != nil || len(out.ContainerInstanceArns) != 1 {
		t.Errorf("container instances: %v, %v, want one", out, err)
	}
}

func TestATaskStoppedWhileNoEngineListenedIsReported(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	image := c.image(enginetest.Image{})
	arn := c.runTask("", container("web", image, "print", "up", "then", "trap", "0"))
	c.until(arn, "RUNNING")
	c.waitFor("web: ready")
	c.stop()
	if _, err := c.ecs.StopTask(t.Context(), &ecs.StopTaskInput{Task: &arn}); err != nil {
		t.Fatal(err)
	}
	c.listen()
	if task := c.until(arn, "STOPPED"); task.StopCode != types.TaskStopCodeUserInitiated {
		t.Errorf("stopped with %s, %q", task.StopCode, *task.StoppedReason)
	}
}
