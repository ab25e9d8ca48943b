package ecs

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/mattn/go-shellwords"

	"github.com/malote/malote/authz"
	"github.com/malote/malote/caller"
	"github.com/malote/malote/store"
)

const (
	// openWithin is how long a client has to open a session.
	openWithin = time.Minute
	// dataChannels is where it does.
	dataChannels = "/v1/data-channel/"

	maxCommand = 64 << 10

	executeAgent = types.ManagedAgentNameExecuteCommandAgent
)

// execution is a command that an engine is to run. It is where the engine's stream finds it,
// whichever control plane that is connected to, until the session has ended.
type execution struct {
	Session, Task, Container string
	Command                  []string
	TTY                      bool
	Endpoint                 string
	At                       time.Time
}

// ExecuteCommand begins a session in a running container of a task with enableExecuteCommand.
// The command runs, as root and with the container's environment, when the client opens
// streamUrl with tokenValue; it has a minute for that, and the token is good once. Unlike on AWS
// the task's role needs no right for it.
//
// AWS: ECS Developer Guide, "Monitor Amazon ECS containers with ECS Exec"
func (s *Service) ExecuteCommand(ctx context.Context, in *ecs.ExecuteCommandInput) (*ecs.ExecuteCommandOutput, error) {
	sc := scopeOf(ctx)
	cluster, clusterErr := sc.clusterName(in.Cluster)
	id, refErr := sc.member("task", cluster, aws.ToString(in.Task))
	resource := id
	if clusterErr != nil || refErr != nil || id == "" {
		resource = "*"
	}
	var t *task
	var connected bool
	if err := s.store.View(ctx, func(tx store.Tx) error {
		t, connected = nil, false
		if resource == "*" {
			return nil
		}
		var err error
		if t, err = s.findTask(tx, sc, cluster, id); err != nil || t == nil {
			return err
		}
		i, err := s.instance(tx, sc, cluster, t.Instance)
		if err != nil || i == nil {
			return err
		}
		connected, err = s.connected(tx, sc, i)
		return err
	}); err != nil {
		return nil, err
	}
	access := &authz.Access{Action: "ecs:ExecuteCommand", Resource: sc.taskARN(cluster, resource), Conditions: map[string][]string{"ecs:cluster": {sc.clusterARN(cluster)}}}
	var c *types.Container
	var containerErr error
	if t != nil {
		access.Tags = tagMap(t.Task.Tags)
		access.Conditions["ecs:task"] = []string{*t.Task.TaskArn}
		c, containerErr = t.container(aws.ToString(in.Container))
	}
	if name := aws.ToString(in.Container); name != "" {
		access.Conditions["ecs:container-name"] = []string{name}
	} else if c != nil {
		access.Conditions["ecs:container-name"] = []string{*c.Name}
	}
	if err := s.authz.Authorize(ctx, access); err != nil {
		return nil, err
	}
	switch {
	case clusterErr != nil:
		return nil, clusterErr
	case refErr != nil:
		return nil, refErr
	case t == nil:
		return nil, taskNotFound()
	case !in.Interactive:
		return nil, invalidParameter("Interactive is the only mode supported currently.")
	case !t.Task.EnableExecuteCommand:
		return nil, invalidParameter("The execute command failed because execute command was not enabled when the task was run or the execute command agent isn\u2019t running. Wait and try again or run a new task with execute command enabled and try again.")
	case containerErr != nil:
		return nil, containerErr
	case len(*in.Command) > maxCommand:
		return nil, invalidParameter("The command has more than %d bytes.", maxCommand)
	}
	parser := shellwords.NewParser()
	command, err := parser.Parse(*in.Command)
	switch {
	case err != nil || len(command) == 0:
		return nil, invalidParameter("The command cannot be understood: check its quotes.")
	case parser.Position >= 0:
		return nil, invalidParameter("The command has a character of a shell's outside quotes, and no shell runs it. Say sh -c '...'.")
	}
	if aws.ToString(c.LastStatus) != "RUNNING" || !connected {
		return nil, &types.TargetNotConnectedException{Message: aws.String("The execute command failed due to an internal error. Try again later.")}
	}

	request := caller.From(ctx)
	x := &session{
		id: "ecs-execute-command-" + strings.ToLower(rand.Text()), sc: sc, cluster: cluster, instance: t.Instance, owner: request.Principal.ARN,
		execution: execution{Task: *t.Task.TaskArn, Container: *c.Name, Command: command, Endpoint: s.endpoint}, expires: time.Now().Add(openWithin),
	}
	x.execution.Session = x.id
	token := rand.Text() + rand.Text()
	x.token = sha256.Sum256([]byte(token))
	s.sessions.add(x)
	scheme := "ws://"
	if request.Secure {
		scheme = "wss://"
	}
	return &ecs.ExecuteCommandOutput{
		ClusterArn: aws.String(sc.clusterARN(cluster)), TaskArn: t.Task.TaskArn, ContainerArn: c.ContainerArn, ContainerName: c.Name, Interactive: true,
		Session: &types.Session{
			SessionId: &x.id, StreamUrl: aws.String(scheme + request.Host + dataChannels + x.id + "?role=publish_subscribe"), TokenValue: &token,
		},
	}, nil
}

// container is that of a name, or the only one.
func (t *task) container(name string) (*types.Container, error) {
	if name == "" {
		if len(t.Task.Containers) != 1 {
			return nil, invalidParameter("The task has %d containers. Name the one to run the command in with 'container'.", len(t.Task.Containers))
		}
		return &t.Task.Containers[0], nil
	}
	i := slices.IndexFunc(t.Task.Containers, func(c types.Container) bool { return aws.ToString(c.Name) == name })
	if i < 0 {
		return nil, invalidParameter("The container '%s' was not found in the task.", name)
	}
	return &t.Task.Containers[i], nil
}

// manage has a container of a task with enableExecuteCommand tell of its agent.
func (t *task) manage(c *types.Container, now time.Time) {
	if !t.Task.EnableExecuteCommand {
		return
	}
	if len(c.ManagedAgents) == 0 {
		c.ManagedAgents = []types.ManagedAgent{{Name: executeAgent, LastStatus: aws.String("PENDING")}}
	}
	agent := &c.ManagedAgents[0]
	switch status := aws.ToString(c.LastStatus); {
	case status == "RUNNING" && *agent.LastStatus != "RUNNING":
		agent.LastStatus, agent.LastStartedAt = aws.String("RUNNING"), &now
	case status == "STOPPED":
		agent.LastStatus = aws.String("STOPPED")
	}
}

// takes reports whether a token is the session's.
func (x *session) takes(token string) bool {
	sum := sha256.Sum256([]byte(token))
	return subtle.ConstantTimeCompare(sum[:], x.token[:]) == 1
}

// executionKey is where an instance's stream finds a session's command.
func (sc scope) executionKey(cluster, instance, session string) string {
	return sc.key("execution", cluster, instance, hex.EncodeToString([]byte(session)))
}

var errSessionOver = errors.New("the session is over")
