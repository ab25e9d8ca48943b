package engine_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/smithy-go"
	"github.com/moby/moby/client"

	"github.com/malote/malote/datachannel"
	"github.com/malote/malote/engine/enginetest"
	"github.com/malote/malote/malotetest"
)

// sessionOf is an opened session and what it has said.
type sessionOf struct {
	*datachannel.Client
	begun          chan struct{}
	stdout, stderr bytes.Buffer
	ended          chan struct{} // closed at the end; what follows is set then
	exit           int
	said           string
	err            error
}

func (c *cluster) dial(out *ecs.ExecuteCommandOutput, open datachannel.Open) *sessionOf {
	c.t.Helper()
	open.MessageSchemaVersion, open.RequestId, open.ClientId, open.ClientVersion = "1.0", "11111111-1111-4111-8111-111111111111", "client", "1.2.0.0"
	if open.TokenValue == "" {
		open.TokenValue = *out.Session.TokenValue
	}
	s := &sessionOf{begun: make(chan struct{}), ended: make(chan struct{})}
	var err error
	if s.Client, err = datachannel.Dial(c.t.Context(), nil, *out.Session.StreamUrl, open); err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(s.Close)
	go func() {
		defer close(s.ended)
		s.exit, s.said, s.err = s.Run(context.WithoutCancel(c.t.Context()), datachannel.Handler{
			Begun:  func() { close(s.begun) },
			Stdout: func(b []byte) error { s.stdout.Write(b); return nil },
			Stderr: func(b []byte) error { s.stderr.Write(b); return nil },
		})
	}()
	return s
}

func (s *sessionOf) wait(t *testing.T) {
	t.Helper()
	select {
	case <-s.ended:
	case <-time.After(time.Minute):
		t.Fatal("the session does not end")
	}
}

func TestExecuteCommand(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	image := c.image(enginetest.Image{})
	arn, value := c.secret("shop/password")
	role := c.role("exec", malotetest.Allow(arn, "secretsmanager:GetSecretValue"))
	app := container("app", image, "trap", "0")
	app.Secrets = []types.Secret{{Name: aws.String("PASSWORD"), ValueFrom: &arn}}
	plain := container("plain", image, "trap", "0")
	if _, err := c.ecs.RegisterTaskDefinition(t.Context(), &ecs.RegisterTaskDefinitionInput{
		Family: aws.String("shop"), ExecutionRoleArn: &role, ContainerDefinitions: []types.ContainerDefinition{app, plain},
	}); err != nil {
		t.Fatal(err)
	}
	run := func(enabled bool) string {
		t.Helper()
		out, err := c.ecs.RunTask(t.Context(), &ecs.RunTaskInput{TaskDefinition: aws.String("shop"), EnableExecuteCommand: enabled})
		if err != nil || len(out.Tasks) != 1 {
			t.Fatalf("RunTask = %+v, %v", out, err)
		}
		c.until(*out.Tasks[0].TaskArn, "RUNNING")
		return *out.Tasks[0].TaskArn
	}
	task, without := run(true), run(false)
	execute := func(container, command string) *ecs.ExecuteCommandOutput {
		t.Helper()
		out, err := c.ecs.ExecuteCommand(t.Context(), &ecs.ExecuteCommandInput{Task: &task, Container: &container, Command: &command, Interactive: true})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	described := c.until(task, "RUNNING")
	for _, container := range described.Containers {
		if agents := container.ManagedAgents; len(agents) != 1 || agents[0].Name != "ExecuteCommandAgent" || *agents[0].LastStatus != "RUNNING" || agents[0].LastStartedAt == nil {
			t.Errorf("managed agents of %s: %+v", *container.Name, agents)
		}
	}

	t.Run("in a pipe", func(t *testing.T) {
		s := c.dial(execute("app", `/app env PASSWORD then warn 'two  words' then exit 3`), datachannel.Open{Pipe: true})
		s.wait(t)
		if s.err != nil || s.exit != 3 || s.said != "" || s.stdout.String() != digestLine("PASSWORD", value)+"\n" || s.stderr.String() != "two  words\n" {
			t.Errorf("exit %d, %q, %v\n%s%s", s.exit, s.said, s.err, &s.stdout, &s.stderr)
		}
	})
	t.Run("stdin, and what docker inspect shows", func(t *testing.T) {
		s := c.dial(execute("app", "/app cat /dev/stdin"), datachannel.Open{Pipe: true})
		<-s.begun
		large := strings.Repeat("0123456789abcdef", 16<<10)
		for chunk := range slices.Chunk([]byte(large), 32<<10) {
			if err := s.Send(t.Context(), datachannel.Bytes, chunk, false); err != nil {
				t.Fatal(err)
			}
		}
		for _, id := range c.ids() {
			in, err := c.docker.ContainerInspect(t.Context(), id, client.ContainerInspectOptions{})
			if err != nil {
				t.Fatal(err)
			}
			for _, hit := range c.sys.Canaries.Bytes("docker inspect", in.Raw) {
				t.Errorf("%s: a secret leaked", hit)
			}
		}
		if err := s.Send(t.Context(), datachannel.Bytes, nil, true); err != nil {
			t.Fatal(err)
		}
		s.wait(t)
		if s.err != nil || s.exit != 0 || s.stdout.String() != large {
			t.Errorf("exit %d, %q, %v, %d bytes", s.exit, s.said, s.err, s.stdout.Len())
		}
	})
	t.Run("on a terminal", func(t *testing.T) {
		s := c.dial(execute("plain", "/app cat /dev/stdin"), datachannel.Open{})
		<-s.begun
		if err := s.Send(t.Context(), datachannel.Size, []byte(`{"cols":132,"rows":43}`), false); err != nil {
			t.Fatal(err)
		}
		if err := s.Send(t.Context(), datachannel.Bytes, []byte("hello\n\x04"), false); err != nil {
			t.Fatal(err)
		}
		s.wait(t)
		if s.err != nil || s.said != "" || s.stdout.String() != "hello\r\nhello\r\n" {
			t.Errorf("%q, %v, %q", s.said, s.err, &s.stdout)
		}
		s = c.dial(execute("plain", "/app exit 4"), datachannel.Open{})
		s.wait(t)
		if s.err != nil || s.exit != 0 || s.said != "The command ended with exit code 4." {
			t.Errorf("exit %d, %q, %v", s.exit, s.said, s.err)
		}
	})
	t.Run("a command that is not there", func(t *testing.T) {
		for container, want := range map[string]int{"app": 127, "plain": 126} { // malote-init's status, and Docker's
			s := c.dial(execute(container, "/none"), datachannel.Open{Pipe: true})
			s.wait(t)
			if s.err != nil || s.exit != want && s.exit != 127 || s.stdout.Len()+s.stderr.Len() == 0 {
				t.Errorf("%s: exit %d, %q, %v, %s%s", container, s.exit, s.said, s.err, &s.stdout, &s.stderr)
			}
		}
	})
	t.Run("a client that goes takes the command along", func(t *testing.T) {
		s := c.dial(execute("app", "/app print here then sleep 10m"), datachannel.Open{})
		<-s.begun
		sleeping := func() bool {
			for _, id := range c.ids() {
				top, err := c.docker.ContainerTop(t.Context(), id, client.ContainerTopOptions{Arguments: []string{"-eo", "pid,args"}})
				if err != nil {
					t.Fatal(err)
				}
				for _, p := range top.Processes {
					if strings.Contains(strings.Join(p, " "), "10m") {
						return true
					}
				}
			}
			return false
		}
		within := func(what string, ok func() bool) {
			t.Helper()
			for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(50 * time.Millisecond) {
				if time.Now().After(end) {
					t.Fatalf("the command %s", what)
				}
			}
		}
		within("does not run", sleeping)
		s.Close()
		within("still runs", func() bool { return !sleeping() })
	})
	t.Run("who may not", func(t *testing.T) {
		out := execute("app", "/app id")
		s := c.dial(out, datachannel.Open{TokenValue: "wrong"})
		if s.wait(t); s.err == nil {
			t.Error("a wrong token opens a session")
		}
		s = c.dial(out, datachannel.Open{Pipe: true})
		if s.wait(t); s.err != nil || s.exit != 0 {
			t.Errorf("after a wrong token: exit %d, %v", s.exit, s.err)
		}
		if _, err := datachannel.Dial(t.Context(), nil, *out.Session.StreamUrl, datachannel.Open{TokenValue: *out.Session.TokenValue}); err == nil {
			t.Error("a session can be opened again")
		}
		thief := ecs.NewFromConfig(c.sys.User(t, "thief", malotetest.Allow("*", "ecs:Describe*")))
		for name, try := range map[string]struct {
			client *ecs.Client
			in     ecs.ExecuteCommandInput
			want   string
		}{
			"another":      {thief, ecs.ExecuteCommandInput{Task: &task, Container: aws.String("app"), Command: aws.String("sh"), Interactive: true}, "AccessDeniedException"},
			"no container": {c.ecs, ecs.ExecuteCommandInput{Task: &task, Command: aws.String("sh"), Interactive: true}, "InvalidParameterException"},
			"none such":    {c.ecs, ecs.ExecuteCommandInput{Task: &task, Container: aws.String("db"), Command: aws.String("sh"), Interactive: true}, "InvalidParameterException"},
			"not enabled":  {c.ecs, ecs.ExecuteCommandInput{Task: &without, Container: aws.String("app"), Command: aws.String("sh"), Interactive: true}, "InvalidParameterException"},
			"not there":    {c.ecs, ecs.ExecuteCommandInput{Task: aws.String("0123456789abcdef0123456789abcdef"), Command: aws.String("sh"), Interactive: true}, "InvalidParameterException"},
			"a shell's":    {c.ecs, ecs.ExecuteCommandInput{Task: &task, Container: aws.String("app"), Command: aws.String("a; b"), Interactive: true}, "InvalidParameterException"},
			"open quote":   {c.ecs, ecs.ExecuteCommandInput{Task: &task, Container: aws.String("app"), Command: aws.String("a 'b"), Interactive: true}, "InvalidParameterException"},
			"not at hand":  {c.ecs, ecs.ExecuteCommandInput{Task: &task, Container: aws.String("app"), Command: aws.String("sh")}, "InvalidParameterException"},
		} {
			_, err := try.client.ExecuteCommand(t.Context(), &try.in)
			if api := smithy.APIError(nil); !errors.As(err, &api) || api.ErrorCode() != try.want {
				t.Errorf("%s: %v, want %s", name, err, try.want)
			}
		}
	})
	for _, arn := range []string{task, without} {
		if _, err := c.ecs.StopTask(t.Context(), &ecs.StopTaskInput{Task: &arn}); err != nil {
			t.Fatal(err)
		}
		c.until(arn, "STOPPED")
	}
	_, err := c.ecs.ExecuteCommand(t.Context(), &ecs.ExecuteCommandInput{Task: &task, Container: aws.String("app"), Command: aws.String("sh"), Interactive: true})
	if gone := new(types.TargetNotConnectedException); !errors.As(err, &gone) {
		t.Errorf("of a stopped task: %v", err)
	}
}
