package functions

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/malote/malote/internal/lazyregexp"
	"github.com/malote/malote/internal/ourlabels"
)

// Engine is the engine on the control plane's own host, where images run as tasks.
type Engine struct {
	// Account and Cluster are the engine's.
	Account, Cluster string
	// Name is its container instance's attribute EngineAttribute: the ports of another
	// host's tasks are not reached from here.
	Name string
	// AWS reaches ECS in the engine's region, as a principal that may register and run
	// FamilyPrefix's task definitions and look for and stop tasks of Cluster.
	AWS aws.Config
}

// EngineAttribute is the container instance's attribute that names an engine.
const EngineAttribute = "malote.engine"

// FamilyPrefix is what the families of functions' task definitions begin with.
const FamilyPrefix = "malote-rotation-"

const (
	idleLimit   = time.Minute // how long a container waits for a next step
	stopLimit   = 10 * time.Second
	port        = 8080 // of Lambda's runtime interface emulator
	reservation = 128  // MiB; what the function takes besides is not limited
	name        = "function"
)

// images runs functions' containers, through the API alone.
type images struct {
	engine Engine
	ecs    *ecs.Client
	http   *http.Client
	log    *slog.Logger

	sweeping sync.Mutex // guards swept, and is held while sweeping
	swept    bool

	registering sync.Mutex // guards registered, and is held while registering
	registered  map[string]string

	mu      sync.Mutex // guards the rest
	waiting map[run]*container
	closed  bool
}

// run is one rotation of a secret by a function.
type run struct{ function, secret, token string }

// container is a task of one function. Either a step has it or it is in waiting.
type container struct {
	key  run
	task string // ARN
	url  string // "" until its port is known
	idle *time.Timer
}

func newImages(e Engine, log *slog.Logger) *images {
	return &images{
		engine: e, ecs: ecs.NewFromConfig(e.AWS), log: log,
		// A container that is gone, and another at its port, must not be confused.
		http: &http.Client{
			Transport:     &http.Transport{DisableKeepAlives: true},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		registered: map[string]string{}, waiting: map[run]*container{},
	}
}

// startedBy marks the tasks of this engine's functions.
func (m *images) startedBy() string { return FamilyPrefix + m.engine.Name }

// sweep stops, once, the tasks that an earlier process has left. It has to come before
// the first start: what runs now is not told from what is left.
func (m *images) sweep(ctx context.Context) error {
	m.sweeping.Lock()
	defer m.sweeping.Unlock()
	if m.swept {
		return nil
	}
	pages := ecs.NewListTasksPaginator(m.ecs, &ecs.ListTasksInput{Cluster: &m.engine.Cluster, StartedBy: aws.String(m.startedBy())})
	var left []string
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if none := new(types.ClusterNotFoundException); errors.As(err, &none) {
			break // the engine has not been here before
		}
		if err != nil {
			return fmt.Errorf("looking for what an earlier run has left: %w", err)
		}
		left = append(left, page.TaskArns...)
	}
	for _, task := range left {
		if err := m.stopTask(ctx, task, "malote has restarted"); err != nil {
			return fmt.Errorf("stopping what an earlier run has left: %w", err)
		}
	}
	m.swept = true
	return nil
}

// start runs a task of the function.
func (m *images) start(ctx context.Context, key run, c call) (*container, error) {
	if account := strings.Split(c.arn, ":")[4]; account != m.engine.Account {
		return nil, fmt.Errorf("the function is of account %s, the engine of account %s", account, m.engine.Account)
	}
	if err := m.sweep(ctx); err != nil {
		return nil, err
	}
	definition, err := m.definition(ctx, c)
	if err != nil {
		return nil, err
	}
	out, err := m.ecs.RunTask(ctx, &ecs.RunTaskInput{
		Cluster: &m.engine.Cluster, TaskDefinition: &definition, StartedBy: aws.String(m.startedBy()), LaunchType: types.LaunchTypeEc2,
		PlacementConstraints: []types.PlacementConstraint{{
			Type: types.PlacementConstraintTypeMemberOf, Expression: aws.String("attribute:" + EngineAttribute + " == " + m.engine.Name),
		}},
		Overrides: &types.TaskOverride{ContainerOverrides: []types.ContainerOverride{{Name: aws.String(name), Environment: variables(map[string]string{
			"AWS_REGION": c.region, "AWS_DEFAULT_REGION": c.region,
		})}}},
	})
	if gone := new(types.ClientException); errors.As(err, &gone) {
		m.forget(c.arn) // the definition may have been taken away
	}
	if err != nil {
		return nil, err
	}
	if len(out.Tasks) == 0 {
		var reasons []string
		for _, f := range out.Failures {
			reasons = append(reasons, aws.ToString(f.Reason))
		}
		return nil, fmt.Errorf("this control plane's engine has no place for it (%s)", strings.Join(reasons, ", "))
	}
	return &container{key: key, task: *out.Tasks[0].TaskArn}, nil
}

// definition registers the function's task definition, once in a process: whoever may
// write the family cannot choose what runs here, for it is run by its revision.
func (m *images) definition(ctx context.Context, c call) (string, error) {
	m.registering.Lock()
	defer m.registering.Unlock()
	if known := m.registered[c.arn]; known != "" {
		return known, nil
	}
	d := c.definition
	function, version, ok := strings.Cut(strings.SplitN(c.arn, ":", 7)[6], ":")
	if !ok {
		version = "$LATEST"
	}
	environment := map[string]string{
		"AWS_LAMBDA_FUNCTION_NAME": function, "AWS_LAMBDA_FUNCTION_VERSION": version,
		"AWS_LAMBDA_FUNCTION_TIMEOUT": strconv.Itoa(int(math.Ceil(c.timeout.Seconds()))),
	}
	maps.Copy(environment, d.Environment)
	out, err := m.ecs.RegisterTaskDefinition(ctx, &ecs.RegisterTaskDefinitionInput{
		Family: aws.String(family(c.arn)), TaskRoleArn: &d.Role, NetworkMode: types.NetworkModeBridge,
		ContainerDefinitions: []types.ContainerDefinition{{
			Name: aws.String(name), Image: &d.Image, Essential: aws.Bool(true), MemoryReservation: aws.Int32(reservation),
			PortMappings: []types.PortMapping{{ContainerPort: aws.Int32(port), Protocol: types.TransportProtocolTcp}},
			Environment:  variables(environment),
			DockerLabels: map[string]string{
				ourlabels.Bind:     "127.0.0.1",                // whoever reaches the port calls the function: other hosts must not
				ourlabels.Endpoint: "SECRETS_MANAGER_ENDPOINT", // where AWS's templates look for it
			},
		}},
	})
	if err != nil {
		return "", err
	}
	m.registered[c.arn] = *out.TaskDefinition.TaskDefinitionArn
	return m.registered[c.arn], nil
}

func (m *images) forget(function string) {
	m.registering.Lock()
	defer m.registering.Unlock()
	delete(m.registered, function)
}

var noFamily = lazyregexp.New(`[^a-zA-Z0-9_-]`)

// family is that of a function's task definitions.
func family(arn string) string {
	return FamilyPrefix + noFamily.ReplaceAllString(strings.SplitN(arn, ":", 7)[6], "-")
}

func variables(values map[string]string) []types.KeyValuePair {
	var all []types.KeyValuePair
	for name, value := range values {
		all = append(all, types.KeyValuePair{Name: aws.String(name), Value: aws.String(value)})
	}
	return all
}

// look asks whether the task runs, and notes where. That it has stopped is an error which
// says why.
func (m *images) look(ctx context.Context, x *container) (running bool, err error) {
	out, err := m.ecs.DescribeTasks(ctx, &ecs.DescribeTasksInput{Cluster: &m.engine.Cluster, Tasks: []string{x.task}})
	if err != nil {
		return false, err
	}
	if len(out.Tasks) == 0 {
		return false, errors.New("the task is gone")
	}
	task := out.Tasks[0]
	if aws.ToString(task.DesiredStatus) != "RUNNING" {
		why := aws.ToString(task.StoppedReason)
		for _, c := range task.Containers {
			if c.ExitCode != nil {
				why += fmt.Sprintf("; it ended with status %d", *c.ExitCode)
			}
			if r := aws.ToString(c.Reason); r != "" && r != why {
				why += ": " + r
			}
		}
		return false, fmt.Errorf("the task stopped: %s", why)
	}
	if aws.ToString(task.LastStatus) != "RUNNING" {
		return false, nil
	}
	for _, c := range task.Containers {
		for _, b := range c.NetworkBindings {
			if aws.ToInt32(b.ContainerPort) == port {
				x.url = "http://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(int(aws.ToInt32(b.HostPort))))
				return true, nil
			}
		}
	}
	return false, nil
}
