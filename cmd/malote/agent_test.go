package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/malote/malote/engine/enginetest"
	"github.com/malote/malote/malotetest"
	"github.com/malote/malote/malotetest/canary"
)

// hosts is a malote server and a malote agent, each a process of its own.
type hosts struct {
	t              *testing.T
	dir, endpoint  string
	runtime        string // is short: sockets lie below it
	server, agent  *exec.Cmd
	dockerd        *exec.Cmd // the test's own, if it has one, and the containerd beneath
	containerd     *exec.Cmd
	bridge         string // its network
	admin          aws.Config
	agentEnv       []string
	docker         *client.Client
	serverLog, log string
	ca             string // of a server with TLS; "" without
}

// overTLS has the server make its certificate itself.
func (h *hosts) overTLS() {
	h.endpoint = "https" + strings.TrimPrefix(h.endpoint, "http")
	h.ca = filepath.Join(h.dir, "server", caFile)
	h.admin.BaseEndpoint = &h.endpoint
}

const (
	hostAdminKey    = "AKIAHOSTSADMIN000001"
	hostAdminSecret = "only-for-hosts/only-for-hosts/0000000001"
)

func newHosts(t *testing.T) *hosts {
	t.Helper()
	h := &hosts{t: t, dir: t.TempDir(), runtime: filepath.Join("/run", enginetest.Name(t)), docker: enginetest.Docker(t)}
	for _, name := range []string{"malote", "malote-init"} {
		program, err := enginetest.Compile("github.com/malote/malote/cmd/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(h.dir, name), program, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h.endpoint = "http://" + listener.Addr().String()
	listener.Close()
	h.admin = staticConfig(&connection{Endpoint: h.endpoint, Region: "us-east-1", AccessKeyID: hostAdminKey, SecretAccessKey: hostAdminSecret})
	h.serverLog, h.log = filepath.Join(h.dir, "server.log"), filepath.Join(h.dir, "agent.log")
	t.Cleanup(func() {
		h.kill(&h.agent, os.Interrupt)
		h.kill(&h.server, os.Interrupt)
		os.RemoveAll(h.runtime)
		if t.Failed() {
			for _, log := range []string{h.serverLog, h.log} {
				text, _ := os.ReadFile(log)
				t.Logf("%s:\n%s", log, text[max(0, len(text)-4096):])
			}
		}
	})
	return h
}

func (h *hosts) start(which **exec.Cmd, log string, env []string, args ...string) {
	h.t.Helper()
	file, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		h.t.Fatal(err)
	}
	defer file.Close()
	cmd := exec.Command(filepath.Join(h.dir, "malote"), args...)
	cmd.Stdout, cmd.Stderr = file, file
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + h.dir, "AWS_EC2_METADATA_DISABLED=true"}, env...)
	if err := cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	*which = cmd
}

func (h *hosts) kill(which **exec.Cmd, with os.Signal) {
	h.t.Helper()
	cmd := *which
	if cmd == nil {
		return
	}
	*which = nil
	if err := cmd.Process.Signal(with); err != nil {
		h.t.Error(err)
	}
	if err := cmd.Wait(); with != syscall.SIGKILL && err != nil {
		h.t.Errorf("%s: %v", cmd, err)
	}
}

func (h *hosts) startServer() {
	h.t.Helper()
	u, err := url.Parse(h.endpoint)
	if err != nil {
		h.t.Fatal(err)
	}
	args, ask := []string{"server", "--listen", u.Host, "--data-dir", filepath.Join(h.dir, "server")}, aws.HTTPClient(http.DefaultClient)
	if h.ca != "" {
		args = append(args, "--tls")
	}
	h.start(&h.server, h.serverLog, []string{"MALOTE_ADMIN_ACCESS_KEY_ID=" + hostAdminKey, "MALOTE_ADMIN_SECRET_ACCESS_KEY=" + hostAdminSecret}, args...)
	h.until("the server answers", func() bool {
		if h.ca != "" {
			var err error
			if ask, err = trusting(h.ca); err != nil {
				return false
			}
			h.admin.HTTPClient = ask
		}
		request, err := http.NewRequestWithContext(h.t.Context(), http.MethodGet, h.endpoint+"/health", nil)
		if err != nil {
			h.t.Fatal(err)
		}
		response, err := ask.Do(request)
		if err != nil {
			return false
		}
		response.Body.Close()
		return response.StatusCode == http.StatusOK
	})
}

func (h *hosts) startAgent() {
	h.t.Helper()
	h.start(&h.agent, h.log, append(h.agentEnv, "DOCKER_HOST="+h.docker.DaemonHost()), "agent", "--data-dir", filepath.Join(h.dir, "agent"), "--runtime-dir", h.runtime, "--attribute", "room=cellar")
}

func (h *hosts) until(what string, ok func() bool) {
	h.t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			h.t.Fatalf("waited in vain until %s", what)
		}
	}
}

// containers are the agent's.
func (h *hosts) containers() []container.Summary {
	h.t.Helper()
	name, err := os.ReadFile(filepath.Join(h.dir, "agent", "engine-name"))
	if err != nil {
		h.t.Fatal(err)
	}
	list, err := h.docker.ContainerList(context.WithoutCancel(h.t.Context()), client.ContainerListOptions{All: true, Filters: client.Filters{}.Add("label", "malote.engine="+string(name))})
	if err != nil {
		h.t.Fatal(err)
	}
	return list.Items
}

// addHost makes a user for the agent, and tells it its access key.
func (h *hosts) addHost(people *iam.Client) *iamtypes.AccessKey {
	h.t.Helper()
	ctx, user := h.t.Context(), aws.String("host-1")
	if _, err := people.CreateUser(ctx, &iam.CreateUserInput{UserName: user}); err != nil {
		h.t.Fatal(err)
	}
	if _, err := people.AttachUserPolicy(ctx, &iam.AttachUserPolicyInput{
		UserName: user, PolicyArn: aws.String("arn:aws:iam::aws:policy/service-role/AmazonEC2ContainerServiceforEC2Role"),
	}); err != nil {
		h.t.Fatal(err)
	}
	key, err := people.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: user})
	if err != nil {
		h.t.Fatal(err)
	}
	h.agentEnv = []string{
		"AWS_ENDPOINT_URL=" + h.endpoint, "AWS_REGION=us-east-1",
		"AWS_ACCESS_KEY_ID=" + *key.AccessKey.AccessKeyId, "AWS_SECRET_ACCESS_KEY=" + *key.AccessKey.SecretAccessKey,
	}
	if h.ca != "" {
		h.agentEnv = append(h.agentEnv, "AWS_CA_BUNDLE="+h.ca)
	}
	return key.AccessKey
}

// taskRole makes a role for tasks, and returns its ARN.
func (h *hosts) taskRole(people *iam.Client, policy string) string {
	h.t.Helper()
	trust := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ecs-tasks.amazonaws.com"},"Action":"sts:AssumeRole"}]}`
	role, err := people.CreateRole(h.t.Context(), &iam.CreateRoleInput{RoleName: aws.String("shop"), AssumeRolePolicyDocument: &trust})
	if err != nil {
		h.t.Fatal(err)
	}
	if _, err := people.PutRolePolicy(h.t.Context(), &iam.PutRolePolicyInput{RoleName: aws.String("shop"), PolicyName: aws.String("read"), PolicyDocument: &policy}); err != nil {
		h.t.Fatal(err)
	}
	return *role.Role.Arn
}

// An agent on a host of its own: with a user of its own it gets the tasks that are placed
// there, and their secrets, over TLS. Neither end of it is the end of a task, and nothing is left behind.
func TestAgent(t *testing.T) {
	enginetest.Exclusive(t, "169.254.170.2")
	h := newHosts(t)
	h.overTLS()
	image := enginetest.Build(t, h.docker, enginetest.Image{SDK: true, Entrypoint: []string{"/app"}})
	h.startServer()
	ctx := t.Context()
	people, secrets, tasks := iam.NewFromConfig(h.admin), secretsmanager.NewFromConfig(h.admin), ecs.NewFromConfig(h.admin)
	if poll, err := tasks.DiscoverPollEndpoint(ctx, &ecs.DiscoverPollEndpointInput{}); err != nil || *poll.Endpoint != *h.admin.BaseEndpoint {
		t.Errorf("DiscoverPollEndpoint = %v, %v; want the way by which it was asked", aws.ToString(poll.Endpoint), err)
	}
	if poll, err := tasks.DiscoverPollEndpoint(ctx, &ecs.DiscoverPollEndpointInput{ContainerInstance: aws.String("any")}); err != nil || poll.Endpoint != nil {
		t.Errorf("DiscoverPollEndpoint = %v, %v; an agent knows better by which way it came", aws.ToString(poll.Endpoint), err)
	}
	canaries := new(canary.Set)
	value := canaries.New()
	secret, err := secrets.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: aws.String("db"), SecretString: &value})
	if err != nil {
		t.Fatal(err)
	}
	key := h.addHost(people)
	role := h.taskRole(people, malotetest.Allow(*secret.ARN, "secretsmanager:GetSecretValue"))
	if _, err := tasks.RegisterTaskDefinition(ctx, &ecs.RegisterTaskDefinitionInput{
		Family: aws.String("shop"), ExecutionRoleArn: &role, TaskRoleArn: &role,
		PlacementConstraints: []types.TaskDefinitionPlacementConstraint{{Type: "memberOf", Expression: aws.String("attribute:room == cellar")}},
		ContainerDefinitions: []types.ContainerDefinition{
			{
				Name: aws.String("app"), Image: &image, Memory: aws.Int32(64), Command: []string{"env", "PASSWORD", "then", "trap", "0"},
				Secrets: []types.Secret{{Name: aws.String("PASSWORD"), ValueFrom: secret.ARN}},
			},
			{
				Name: aws.String("caller"), Image: &image, Memory: aws.Int32(64), Essential: aws.Bool(false),
				EntryPoint: []string{"/aws"}, Command: []string{"secret", "db"},
			},
		},
	}); err != nil {
		t.Fatal(err)
	}

	h.startAgent()
	var instance string
	h.until("the agent is connected", func() bool {
		list, err := tasks.ListContainerInstances(ctx, &ecs.ListContainerInstancesInput{})
		if err != nil || len(list.ContainerInstanceArns) != 1 {
			return false
		}
		instance = list.ContainerInstanceArns[0]
		described, err := tasks.DescribeContainerInstances(ctx, &ecs.DescribeContainerInstancesInput{ContainerInstances: list.ContainerInstanceArns})
		return err == nil && described.ContainerInstances[0].AgentConnected
	})
	ran, err := tasks.RunTask(ctx, &ecs.RunTaskInput{TaskDefinition: aws.String("shop"), EnableExecuteCommand: true})
	if err != nil || len(ran.Tasks) != 1 {
		t.Fatalf("RunTask = %+v, %v", ran, err)
	}
	task := ran.Tasks[0].TaskArn
	is := func(status string) func() bool {
		return func() bool {
			out, err := tasks.DescribeTasks(ctx, &ecs.DescribeTasksInput{Tasks: []string{*task}})
			return err == nil && len(out.Tasks) == 1 && *out.Tasks[0].LastStatus == status
		}
	}
	h.until("the task runs", is("RUNNING"))
	digest := fmt.Sprintf("%x %d", sha256.Sum256([]byte(value)), len(value))
	var app string
	for _, c := range h.containers() {
		if c.Labels["com.amazonaws.ecs.container-name"] == "app" {
			app = c.ID
		}
	}
	enginetest.WaitFor(t, h.docker, app, "PASSWORD "+digest)
	h.until("the container that calls Secrets Manager with its task role has ended", func() bool {
		out, err := tasks.DescribeTasks(ctx, &ecs.DescribeTasksInput{Tasks: []string{*task}})
		if err != nil {
			t.Fatal(err)
		}
		return slices.ContainsFunc(out.Tasks[0].Containers, func(c types.Container) bool {
			if *c.Name == "caller" && c.ExitCode != nil && *c.ExitCode != 0 {
				t.Fatalf("it ended with %d", *c.ExitCode)
			}
			return *c.Name == "caller" && c.ExitCode != nil
		})
	})
	inspected, err := h.docker.ContainerInspect(ctx, app, client.ContainerInspectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, hit := range canaries.Bytes("docker inspect", inspected.Raw) {
		t.Errorf("%s: a secret leaked", hit)
	}

	// ECS Exec, by the program's own client.
	command := exec.CommandContext(ctx, filepath.Join(h.dir, "malote"), "exec-task", *task, "--container", "app", "--", "/app", "env", "PASSWORD", "then", "warn", "it's", "then", "exit", "3")
	command.Env = append(os.Environ(), "AWS_ENDPOINT_URL="+h.endpoint, "AWS_REGION=us-east-1", "AWS_ACCESS_KEY_ID="+hostAdminKey, "AWS_SECRET_ACCESS_KEY="+hostAdminSecret, "AWS_CA_BUNDLE="+h.ca)
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	err = command.Run()
	if command.ProcessState.ExitCode() != 3 || stdout.String() != "PASSWORD "+digest+"\n" || stderr.String() != "it's\n" {
		t.Errorf("malote exec-task: %v\n%s%s", err, &stdout, &stderr)
	}

	runs := func(when string) {
		t.Helper()
		for _, c := range h.containers() {
			if c.ID == app && c.State == container.StateRunning {
				return
			}
		}
		t.Errorf("%s the container no longer runs", when)
	}
	h.kill(&h.server, syscall.SIGKILL)
	runs("without a server")
	h.kill(&h.agent, syscall.SIGKILL)
	runs("without either")
	h.startAgent() // which waits for the server
	h.startServer()
	h.until("the agent is connected again", func() bool {
		log, err := os.ReadFile(h.log)
		return err == nil && bytes.Count(log, []byte(`msg="listening to the control plane"`)) == 2
	})
	if log, err := os.ReadFile(h.log); err != nil || bytes.Count(log, []byte("container_instance="+instance)) != 2 {
		t.Errorf("it is another instance than before, %s: %v", instance, err)
	}
	runs("with another server and another agent")
	h.until("the task still runs", is("RUNNING"))
	if _, err := tasks.StopTask(ctx, &ecs.StopTaskInput{Task: task}); err != nil {
		t.Fatal(err)
	}
	h.until("the task has stopped", is("STOPPED"))
	if left := h.containers(); len(left) != 0 {
		t.Errorf("%d containers are left", len(left))
	}
	// An agent that knows nothing of a task any more still leaves nothing of it.
	if ran, err = tasks.RunTask(ctx, &ecs.RunTaskInput{TaskDefinition: aws.String("shop")}); err != nil || len(ran.Tasks) != 1 {
		t.Fatalf("RunTask = %+v, %v", ran, err)
	}
	task = ran.Tasks[0].TaskArn
	h.until("the second task runs", is("RUNNING"))
	h.kill(&h.agent, syscall.SIGKILL)
	if err := os.RemoveAll(filepath.Join(h.runtime, "tasks")); err != nil {
		t.Fatal(err)
	}
	if _, err := tasks.StopTask(ctx, &ecs.StopTaskInput{Task: task}); err != nil {
		t.Fatal(err)
	}
	h.startAgent()
	h.until("the second task has stopped", is("STOPPED"))
	if left := h.containers(); len(left) != 0 {
		t.Errorf("%d containers of the second task are left", len(left))
	}
	// The host's own credentials reach no secret.
	host := staticConfig(&connection{Endpoint: h.endpoint, Region: "us-east-1", AccessKeyID: *key.AccessKeyId, SecretAccessKey: *key.SecretAccessKey})
	host.HTTPClient = h.admin.HTTPClient
	if _, err := secretsmanager.NewFromConfig(host).GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: secret.ARN}); err == nil || !strings.Contains(err.Error(), "AccessDenied") {
		t.Errorf("GetSecretValue by the host: %v", err)
	}
	h.kill(&h.agent, os.Interrupt)
	h.kill(&h.server, os.Interrupt)
	for _, dir := range []string{filepath.Join(h.dir, "server"), filepath.Join(h.dir, "agent"), h.serverLog, h.log} {
		hits, err := canaries.Dir(dir)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Error(err)
		}
		for _, hit := range hits {
			t.Errorf("%s: a secret leaked", hit)
		}
	}
}
