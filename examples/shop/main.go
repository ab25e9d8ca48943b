// Command shop runs examples/shop/task.json on a malote of its own, from an empty data
// directory to nothing left behind, and shows what the containers were given and what
// Docker, the disk and the logs hold of it.
//
// It uses what a user uses: the malote binary, AWS's SDK with AWS_ENDPOINT_URL, and docker.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/malote/malote/malotetest/canary"
)

func main() {
	binary := flag.String("malote", "bin/malote", "the malote binary, with malote-init beside it")
	folder := flag.String("folder", "examples/shop", "where task.json is")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *binary, *folder, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "shop:", err)
		os.Exit(1)
	}
}

// pinned is the version that task.json names by id.
const pinned = "5b0c3f2e-0d3c-4a8f-9a53-0a6f1d1f7c11"

// shop is one run.
type shop struct {
	binary, folder, temp string
	out                  io.Writer
	canaries             canary.Set
	log                  *os.File // malote's own, at debug level
	environment          []string // of malote commands and the SDK
	aws                  aws.Config
	registry             *registry
	splunk               *splunk
}

// run returns an error when anything is not as promised, a leak above all.
func run(ctx context.Context, binary, folder string, out io.Writer) (err error) {
	s := &shop{folder: folder, out: out}
	if s.binary, err = filepath.Abs(binary); err != nil {
		return err
	}
	if s.temp, err = os.MkdirTemp("", "malote-shop-"); err != nil {
		return err
	}
	defer os.RemoveAll(s.temp)

	s.say("starting what a real shop has already: a private registry and a Splunk collector")
	if s.registry, err = startRegistry(ctx, s.temp, s.canaries.New()); err != nil {
		return err
	}
	defer s.registry.stop()
	if s.splunk, err = startSplunk(s.canaries.New()); err != nil {
		return err
	}
	defer s.splunk.stop()
	if err := s.images(ctx); err != nil {
		return err
	}
	defer s.removeImages()

	s.say("malote up, on an empty data directory")
	stop, err := s.up(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()

	s.say("secrets in Secrets Manager and Parameter Store")
	if err := s.secrets(ctx); err != nil {
		return err
	}
	task, err := s.task()
	if err != nil {
		return err
	}
	s.say("the two roles, with what `malote policy` says and no more")
	if err := s.roles(ctx, task); err != nil {
		return err
	}
	if err := s.command(ctx, "verify", task); err != nil {
		return fmt.Errorf("malote verify: %w", err)
	}
	return s.runTask(ctx, task)
}

func (s *shop) say(format string, args ...any) {
	fmt.Fprintf(s.out, "\n== %s\n", fmt.Sprintf(format, args...))
}

// up starts malote and waits until it answers.
func (s *shop) up(ctx context.Context) (stop func() error, err error) {
	if s.log, err = os.Create(filepath.Join(s.temp, "malote.log")); err != nil {
		return nil, err
	}
	data := filepath.Join(s.temp, "data")
	command := exec.Command(s.binary, "up", "--listen", "127.0.0.1:0", "--data-dir", data, "--log-level", "debug")
	command.Stderr = s.log // stdout has admin's access key, once
	if err := command.Start(); err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	stop = func() error {
		command.Process.Signal(syscall.SIGTERM)
		select {
		case err := <-ended:
			if err != nil {
				return fmt.Errorf("malote up ended with %w", err)
			}
			return nil
		case <-time.After(60 * time.Second):
			command.Process.Kill()
			return errors.New("malote up did not stop within a minute")
		}
	}
	for deadline := time.Now().Add(30 * time.Second); ; {
		out, err := exec.CommandContext(ctx, s.binary, "env", "--data-dir", data).Output()
		if err == nil {
			s.readEnvironment(string(out))
			break
		}
		select {
		case err := <-ended:
			return nil, fmt.Errorf("malote up ended: %w\n%s", err, s.tail())
		case <-time.After(100 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			stop()
			return nil, fmt.Errorf("malote up does not answer:\n%s", s.tail())
		}
	}
	value := func(name string) string {
		for _, entry := range s.environment {
			if v, ok := strings.CutPrefix(entry, name+"="); ok {
				return v
			}
		}
		return ""
	}
	s.canaries.Add(value("AWS_SECRET_ACCESS_KEY"))
	s.aws, err = config.LoadDefaultConfig(ctx, config.WithRegion(value("AWS_REGION")), config.WithBaseEndpoint(value("AWS_ENDPOINT_URL")),
		config.WithCredentialsProvider(credentials.NewStaticCredentialsProvider(value("AWS_ACCESS_KEY_ID"), value("AWS_SECRET_ACCESS_KEY"), "")))
	if err != nil {
		stop()
		return nil, err
	}
	return stop, nil
}

// readEnvironment takes what `malote env` printed for a shell.
func (s *shop) readEnvironment(text string) {
	s.environment = os.Environ()
	for line := range strings.Lines(text) {
		if assignment, ok := strings.CutPrefix(strings.TrimSpace(line), "export "); ok {
			name, value, _ := strings.Cut(assignment, "=")
			s.environment = append(s.environment, name+"="+strings.Trim(value, "'"))
		}
	}
}

func (s *shop) tail() string {
	b, _ := os.ReadFile(s.log.Name())
	return string(b[max(0, len(b)-4000):])
}

// command runs malote as a user at a shell would.
func (s *shop) command(ctx context.Context, args ...string) error {
	command := exec.CommandContext(ctx, s.binary, args...)
	command.Env, command.Stdout, command.Stderr = s.environment, s.out, s.out
	return command.Run()
}

// secrets creates what task.json refers to.
func (s *shop) secrets(ctx context.Context) error {
	manager, store := secretsmanager.NewFromConfig(s.aws), ssm.NewFromConfig(s.aws)
	database := func() *string {
		return aws.String(fmt.Sprintf(`{"host":"db","port":5432,"password":%q}`, s.canaries.New()))
	}
	if _, err := manager.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: aws.String("shop/db"), SecretString: database(), ClientRequestToken: aws.String(pinned)}); err != nil {
		return err
	}
	if _, err := manager.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{SecretId: aws.String("shop/db"), SecretString: database()}); err != nil {
		return err
	}
	for name, value := range map[string]string{
		"shop/tls":      "-----BEGIN PRIVATE KEY-----\n" + s.canaries.New() + "\n-----END PRIVATE KEY-----\n",
		"shop/coupon":   s.canaries.New(),
		"shop/splunk":   fmt.Sprintf(`{"token":%q}`, s.splunk.token),
		"shop/registry": fmt.Sprintf(`{"username":"shop","password":%q}`, s.registry.password),
	} {
		if _, err := manager.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: &name, SecretString: &value}); err != nil {
			return err
		}
	}
	for _, name := range []string{"/shop/api-key", "/shop/mail-key"} {
		if _, err := store.PutParameter(ctx, &ssm.PutParameterInput{Name: &name, Value: aws.String(s.canaries.New()), Type: ssmtypes.ParameterTypeSecureString}); err != nil {
			return err
		}
	}
	return nil
}

// task writes task.json with this run's addresses and returns its path.
func (s *shop) task() (string, error) {
	text, err := os.ReadFile(filepath.Join(s.folder, "task.json"))
	if err != nil {
		return "", err
	}
	text = bytes.ReplaceAll(text, []byte("localhost:5000"), []byte(s.registry.address))
	text = bytes.ReplaceAll(text, []byte("127.0.0.1:8088"), []byte(s.splunk.address))
	path := filepath.Join(s.temp, "task.json")
	return path, os.WriteFile(path, text, 0o600)
}

// roles makes the roles that task.json names.
func (s *shop) roles(ctx context.Context, task string) error {
	command := exec.CommandContext(ctx, s.binary, "policy", task)
	command.Env, command.Stderr = s.environment, s.out
	out, err := command.Output()
	if err != nil {
		return fmt.Errorf("malote policy: %w", err)
	}
	var policies map[string]*struct {
		RoleArn                  string
		AssumeRolePolicyDocument json.RawMessage
		PolicyDocument           json.RawMessage
	}
	if err := json.Unmarshal(out, &policies); err != nil {
		return fmt.Errorf("malote policy printed: %w", err)
	}
	client := iam.NewFromConfig(s.aws)
	for _, role := range policies {
		name := aws.String(role.RoleArn[strings.LastIndex(role.RoleArn, "/")+1:])
		if _, err := client.CreateRole(ctx, &iam.CreateRoleInput{RoleName: name, AssumeRolePolicyDocument: aws.String(string(role.AssumeRolePolicyDocument))}); err != nil {
			return err
		}
		if _, err := client.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: name, PolicyName: aws.String("shop"), PolicyDocument: aws.String(string(role.PolicyDocument))}); err != nil {
			return err
		}
	}
	return nil
}

// runTask registers and runs the task, looks at it while it runs, and stops it.
func (s *shop) runTask(ctx context.Context, path string) (err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var definition ecs.RegisterTaskDefinitionInput
	if err := json.Unmarshal(text, &definition); err != nil {
		return err
	}
	client := ecs.NewFromConfig(s.aws)
	if _, err := client.RegisterTaskDefinition(ctx, &definition); err != nil {
		return err
	}
	s.say("aws ecs run-task --task-definition shop")
	started, err := client.RunTask(ctx, &ecs.RunTaskInput{TaskDefinition: aws.String("shop")})
	if err != nil {
		return err
	}
	if len(started.Tasks) != 1 {
		return fmt.Errorf("run-task placed nothing: %v", started.Failures)
	}
	task := &ecs.DescribeTasksInput{Tasks: []string{*started.Tasks[0].TaskArn}}
	defer func() {
		if err != nil { // a task outlives malote unless it is stopped
			after := context.WithoutCancel(ctx)
			client.StopTask(after, &ecs.StopTaskInput{Task: started.Tasks[0].TaskArn})
			ecs.NewTasksStoppedWaiter(client).Wait(after, task, time.Minute)
		}
	}()
	if err := ecs.NewTasksRunningWaiter(client, func(o *ecs.TasksRunningWaiterOptions) { o.MinDelay = time.Second; o.MaxDelay = time.Second }).Wait(ctx, task, 2*time.Minute); err != nil {
		described, _ := client.DescribeTasks(ctx, task)
		if described != nil && len(described.Tasks) == 1 {
			err = fmt.Errorf("%w: %s %s", err, described.Tasks[0].StopCode, aws.ToString(described.Tasks[0].StoppedReason))
			for _, container := range described.Tasks[0].Containers {
				err = fmt.Errorf("%w\n%s: %s", err, aws.ToString(container.Name), aws.ToString(container.Reason))
			}
		}
		return fmt.Errorf("%w\n%s", err, s.tail())
	}

	containers, err := s.containers(ctx, *started.Tasks[0].TaskArn)
	if err != nil {
		return err
	}
	s.say("what the containers say they received")
	if err := s.showLogs(ctx, containers); err != nil {
		return err
	}
	select {
	case event := <-s.splunk.events:
		fmt.Fprintf(s.out, "splunk collector, from mailer: %s (token accepted, %d bytes)\n", event, len(s.splunk.token))
	case <-time.After(30 * time.Second):
		return errors.New("nothing reached the Splunk collector")
	case err := <-s.splunk.refused:
		return err
	}
	if err := s.healthy(ctx, client, task); err != nil {
		return err
	}
	if err := s.sweep(ctx, "while it runs"); err != nil {
		return err
	}

	s.say("aws ecs stop-task")
	if _, err := client.StopTask(ctx, &ecs.StopTaskInput{Task: started.Tasks[0].TaskArn}); err != nil {
		return err
	}
	if err := ecs.NewTasksStoppedWaiter(client, func(o *ecs.TasksStoppedWaiterOptions) { o.MinDelay = time.Second; o.MaxDelay = time.Second }).Wait(ctx, task, 2*time.Minute); err != nil {
		return err
	}
	described, err := client.DescribeTasks(ctx, task)
	if err != nil {
		return err
	}
	stopped := described.Tasks[0]
	fmt.Fprintf(s.out, "%s: %s\n", stopped.StopCode, aws.ToString(stopped.StoppedReason))
	for _, container := range stopped.Containers {
		fmt.Fprintf(s.out, "%-15s exit code %d\n", *container.Name, aws.ToInt32(container.ExitCode))
		if aws.ToInt32(container.ExitCode) != 0 {
			return fmt.Errorf("%s ended with %d: %s", *container.Name, aws.ToInt32(container.ExitCode), aws.ToString(container.Reason))
		}
	}
	if err := s.sweep(ctx, "after it stopped"); err != nil {
		return err
	}
	left, err := s.containers(ctx, *started.Tasks[0].TaskArn)
	if err != nil || len(left) > 0 {
		return fmt.Errorf("containers left behind: %v %v", left, err)
	}
	s.say("done: nothing found, nothing left")
	return nil
}

// healthy waits for the app's health check, which needs a secret.
func (s *shop) healthy(ctx context.Context, client *ecs.Client, task *ecs.DescribeTasksInput) error {
	for deadline := time.Now().Add(40 * time.Second); time.Now().Before(deadline); time.Sleep(500 * time.Millisecond) {
		described, err := client.DescribeTasks(ctx, task)
		if err != nil {
			return err
		}
		if described.Tasks[0].HealthStatus == "HEALTHY" {
			fmt.Fprintln(s.out, "app's health check, which needs API_KEY: HEALTHY")
			return nil
		}
	}
	return errors.New("the app's health check, which needs API_KEY, never became HEALTHY")
}

// showLogs prints the containers' own reports until the app is ready.
func (s *shop) showLogs(ctx context.Context, containers map[string]string) error {
	app, ok := containers["app"]
	if !ok {
		return fmt.Errorf("no container of the app among %v", containers)
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if sidecar, ok := containers["secret-sidecar"]; ok {
		out, _ := exec.CommandContext(ctx, "docker", "logs", sidecar).CombinedOutput()
		fmt.Fprintf(s.out, "secret-sidecar | %s", out)
	}
	logs := exec.CommandContext(ctx, "docker", "logs", "--follow", app)
	pipe, err := logs.StdoutPipe()
	if err != nil {
		return err
	}
	logs.Stderr = logs.Stdout
	if err := logs.Start(); err != nil {
		return err
	}
	defer logs.Wait()
	defer cancel()
	for lines := bufio.NewScanner(pipe); lines.Scan(); {
		fmt.Fprintf(s.out, "app | %s\n", lines.Text())
		if lines.Text() == "ready" {
			return nil
		}
	}
	return errors.New("the app did not become ready")
}
