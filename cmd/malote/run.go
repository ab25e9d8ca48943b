package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/malote/malote/acs"
	"github.com/malote/malote/engine"
	"github.com/malote/malote/engine/metadata"
)

type runCommand struct {
	TaskDefinition string            `arg:"" name:"taskdef" help:"A task definition file: what register-task-definition takes, or describe-task-definition prints." type:"existingfile"`
	Image          map[string]string `help:"Use another image for a container." placeholder:"NAME=IMAGE"`
	Grant          bool              `help:"Make the roles that the file names, with exactly what it needs."`
	LogLevel       string            `help:"debug, info, warn or error." env:"MALOTE_LOG_LEVEL" default:"warn"`
	engineFlags    `embed:""`
	connectFlags   `embed:""`
}

func (runCommand) Help() string {
	return `The task runs on this machine's Docker, against the control plane that AWS's
configuration names, else the malote of this machine, else an embedded one. What
containers write comes out with their names before it. Ctrl-C stops them in order.

The exit status is that of the essential container that ended first; 125 when the
task could not start.

    malote run --grant --image app=shop/app:dev task.json`
}

// Exit statuses of `docker run`.
const exitOurs = 125

func (c *runCommand) Run(ctx context.Context, p *program) error {
	err := c.run(ctx, p)
	_, ended := errors.AsType[exitStatus](err)
	if _, usage := errors.AsType[*usageError](err); err == nil || ended || usage {
		return err
	}
	return p.cannotRun(err, exitOurs)
}

func (c *runCommand) run(ctx context.Context, p *program) (err error) {
	log, err := p.logger(c.LogLevel)
	if err != nil {
		return err
	}
	definition, err := readDefinition(c.TaskDefinition)
	if err != nil {
		return err
	}
	if err := c.replaceImages(definition); err != nil {
		return err
	}
	way, err := c.link(ctx, p, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, way.close()) }()
	if err := c.prepareRoles(ctx, p, way.aws, definition); err != nil {
		return err
	}

	api, err := c.api(way)
	if err != nil {
		return err
	}
	out := &output{w: p.stdout, width: nameWidth(definition)}
	ended := make(chan engine.Report, 1)
	registered := make(chan string, 1)
	name := "run-" + strings.ToLower(rand.Text())[:8]
	dir := filepath.Join(c.RuntimeDir, name)
	defer func() {
		os.RemoveAll(dir)
		os.Remove(c.RuntimeDir) // unless somebody else is in there
	}()
	state := "" // the same as dir
	if definition.EphemeralStorage != nil {
		var release func()
		if state, release, err = runDir(dataDirOr(c.DataDir), name); err != nil {
			return fmt.Errorf("the directory of the task's storage: %w", err)
		}
		defer release()
	}
	e, err := c.engine(engine.Config{
		AWS: c.instance(way, name), Cluster: c.Cluster, Name: name, Dir: dir, StateDir: state, API: api, StopOnExit: true,
		Output: out.line, Log: log,
		Registered: func(arn string) {
			select {
			case registered <- arn:
			default:
			}
		},
		Changed: func(r engine.Report) {
			if r.Status == types.DesiredStatusStopped {
				select {
				case ended <- r:
				default:
				}
			}
		},
	})
	if err != nil {
		return err
	}
	var report engine.Report
	if onAWS(way.aws) {
		report, err = c.runAlone(ctx, way.aws, e, definition, name)
	} else {
		report, err = c.runPlaced(ctx, way.aws, e, definition, registered, ended)
	}
	if err != nil {
		return err
	}
	return c.status(p, report)
}

// replaceImages does --image.
func (c *runCommand) replaceImages(definition *ecs.RegisterTaskDefinitionInput) error {
	for name, image := range c.Image {
		found := false
		for i := range definition.ContainerDefinitions {
			if aws.ToString(definition.ContainerDefinitions[i].Name) == name {
				definition.ContainerDefinitions[i].Image = aws.String(image)
				found = true
			}
		}
		if !found {
			return &usageError{fmt.Errorf("--image %s=%s: the task definition has no container %q", name, image, name)}
		}
	}
	return nil
}

// instance is who the engine is: in an embedded control plane, its own role; else the user.
func (c *runCommand) instance(way *link, name string) aws.Config {
	cfg := way.aws.Copy()
	if way.plane != nil {
		cfg.Credentials = way.plane.Instance(way.plane.Account, name)
	}
	return cfg
}

// api is what containers reach AWS's API through; nil when they reach AWS itself.
func (c *runCommand) api(way *link) (http.Handler, error) {
	if way.plane != nil {
		return way.plane.Handler, nil
	}
	if onAWS(way.aws) {
		return nil, nil
	}
	endpoint, err := url.Parse(*way.aws.BaseEndpoint)
	if err != nil {
		return nil, fmt.Errorf("endpoint %q: %w", *way.aws.BaseEndpoint, err)
	}
	return metadata.Proxy(endpoint, nil), nil
}

// onAWS says whether the control plane is Amazon's, whose ECS sends tasks to Amazon's own
// agent alone.
func onAWS(cfg aws.Config) bool {
	return cfg.BaseEndpoint == nil || strings.HasSuffix(strings.TrimRight(*cfg.BaseEndpoint, "/"), ".amazonaws.com")
}

// runPlaced registers this process as a container instance and has the control plane start
// the task on it: the way every task goes.
func (c *runCommand) runPlaced(ctx context.Context, cfg aws.Config, e *engine.Engine, definition *ecs.RegisterTaskDefinitionInput, registered <-chan string, ended <-chan engine.Report) (report engine.Report, err error) {
	client := ecs.NewFromConfig(cfg)
	running, stop := context.WithCancel(ctx)
	defer stop()
	engineEnded := make(chan error, 1)
	go func() { engineEnded <- e.Run(running) }()
	var instance string
	select {
	case instance = <-registered:
	case err := <-engineEnded:
		return report, err
	}
	defer func() {
		stop()
		if engineErr := <-engineEnded; err == nil {
			err = engineErr
		}
		// The instance goes with the process.
		after, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		if _, deregisterErr := client.DeregisterContainerInstance(after, &ecs.DeregisterContainerInstanceInput{
			Cluster: &c.Cluster, ContainerInstance: &instance, Force: aws.Bool(true),
		}); err == nil {
			err = deregisterErr
		}
	}()

	made, err := client.RegisterTaskDefinition(ctx, definition)
	if err != nil {
		return report, err
	}
	in := &ecs.StartTaskInput{
		Cluster: &c.Cluster, TaskDefinition: made.TaskDefinition.TaskDefinitionArn, ContainerInstances: []string{instance}, StartedBy: aws.String("malote-run"),
	}
	if definition.NetworkMode == types.NetworkModeAwsvpc {
		// ECS wants to be told of a VPC; the network is Docker's.
		in.NetworkConfiguration = &types.NetworkConfiguration{AwsvpcConfiguration: &types.AwsVpcConfiguration{Subnets: []string{"subnet-none"}}}
	}
	started, err := client.StartTask(ctx, in)
	if err != nil {
		return report, err
	}
	if len(started.Tasks) != 1 {
		return report, fmt.Errorf("the task was not placed: %s", failuresText(started.Failures))
	}
	task := *started.Tasks[0].TaskArn
	// A task whose roles cannot be assumed stops before any engine hears of it.
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case report = <-ended:
			return report, nil
		case err := <-engineEnded:
			engineEnded <- nil
			select {
			case report = <-ended:
				return report, nil
			default:
				return report, errors.Join(err, ctx.Err())
			}
		case <-tick.C:
			out, err := client.DescribeTasks(ctx, &ecs.DescribeTasksInput{Cluster: &c.Cluster, Tasks: []string{task}})
			if err == nil && len(out.Tasks) == 1 && aws.ToString(out.Tasks[0].LastStatus) == "STOPPED" && len(ended) == 0 {
				return reportOf(out.Tasks[0]), nil
			}
		}
	}
}

func failuresText(failures []types.Failure) string {
	var texts []string
	for _, f := range failures {
		texts = append(texts, strings.TrimSpace(aws.ToString(f.Reason)+" "+aws.ToString(f.Detail)))
	}
	return strings.Join(texts, "; ")
}

// reportOf is what the control plane says of a stopped task.
func reportOf(task types.Task) engine.Report {
	report := engine.Report{TaskARN: aws.ToString(task.TaskArn), Status: types.DesiredStatusStopped, StopCode: task.StopCode, Reason: aws.ToString(task.StoppedReason)}
	for _, container := range task.Containers {
		report.Containers = append(report.Containers, engine.ContainerReport{Name: aws.ToString(container.Name), Essential: true, ExitCode: container.ExitCode, Reason: aws.ToString(container.Reason)})
	}
	return report
}

// runAlone assumes the roles itself and runs the task without telling ECS.
func (c *runCommand) runAlone(ctx context.Context, cfg aws.Config, e *engine.Engine, definition *ecs.RegisterTaskDefinitionInput, name string) (engine.Report, error) {
	if err := e.Start(ctx); err != nil {
		return engine.Report{}, err
	}
	defer e.Close()
	text, err := json.Marshal(definition)
	if err != nil {
		return engine.Report{}, err
	}
	id := strings.ToLower(rand.Text() + rand.Text())[:32]
	task := acs.Task{
		ARN: "arn:aws:ecs:" + cfg.Region + ":" + accountOf(definition) + ":task/" + c.Cluster + "/" + id, ClusterARN: c.Cluster,
		Region: cfg.Region, Account: accountOf(definition), StartedBy: name, CreatedAt: time.Now(),
	}
	if err := json.Unmarshal(text, &task.Definition); err != nil {
		return engine.Report{}, err
	}
	client := sts.NewFromConfig(cfg)
	for _, role := range []struct {
		arn  *string
		kind acs.RoleType
		into **acs.Credentials
	}{{definition.ExecutionRoleArn, acs.TaskExecution, &task.ExecutionRole}, {definition.TaskRoleArn, acs.TaskApplication, &task.TaskRole}} {
		if role.arn == nil {
			continue
		}
		session, err := client.AssumeRole(ctx, &sts.AssumeRoleInput{RoleArn: role.arn, RoleSessionName: &id})
		if err != nil {
			return engine.Report{}, &hintError{err, "AWS gives a task's credentials to its own agents alone: let the role's trust policy name you as well as ecs-tasks.amazonaws.com"}
		}
		*role.into = &acs.Credentials{
			TaskARN: task.ARN, RoleType: role.kind, RoleARN: *role.arn, AccessKeyID: *session.Credentials.AccessKeyId,
			SecretAccessKey: *session.Credentials.SecretAccessKey, SessionToken: *session.Credentials.SessionToken, Expiration: *session.Credentials.Expiration,
		}
	}
	return e.RunTask(ctx, task)
}

// status ends the program as `docker run` would.
func (c *runCommand) status(p *program, report engine.Report) error {
	if report.StopCode == types.TaskStopCodeTaskFailedToStart {
		fmt.Fprintf(p.stderr, "malote: the task failed to start: %s\n", report.Reason)
	}
	var first *engine.ContainerReport
	for i := range report.Containers {
		container := &report.Containers[i]
		if container.Reason != "" && !strings.Contains(report.Reason, container.Reason) {
			fmt.Fprintf(p.stderr, "malote: container %s: %s\n", container.Name, container.Reason)
		}
		// The others were stopped on its account.
		if container.Essential && container.ExitCode != nil && (first == nil || container.Ended.Before(first.Ended)) {
			first = container
		}
	}
	switch {
	case report.StopCode == types.TaskStopCodeTaskFailedToStart, first == nil:
		return exitStatus(exitOurs)
	case *first.ExitCode != 0:
		return exitStatus(*first.ExitCode)
	}
	return nil
}

// output prints containers' lines with their names.
type output struct {
	mu    sync.Mutex
	w     io.Writer
	width int
	text  bytes.Buffer // of one line
}

func nameWidth(definition *ecs.RegisterTaskDefinitionInput) int {
	width := 0
	for _, container := range definition.ContainerDefinitions {
		width = max(width, len(aws.ToString(container.Name)))
	}
	return width
}

func (o *output) line(l engine.Line) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text.Reset()
	fmt.Fprintf(&o.text, "%-*s | ", o.width, l.Container)
	o.text.Write(l.Text)
	o.text.WriteByte('\n')
	o.w.Write(o.text.Bytes())
}
