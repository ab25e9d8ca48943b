package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"golang.org/x/term"

	"github.com/malote/malote/datachannel"
)

type execTaskCommand struct {
	Cluster      string `help:"The cluster, by name or ARN." placeholder:"CLUSTER"`
	Container    string `help:"The container, if the task has several." placeholder:"NAME"`
	Pipe         bool   `help:"No terminal, even if this is one."`
	connectFlags `embed:""`
	Task         string   `arg:"" help:"The task, by id or ARN. It was started with enableExecuteCommand."`
	Command      []string `arg:"" passthrough:"" help:"The command and its arguments, behind --."`
}

func (execTaskCommand) Help() string {
	return `ECS Exec without AWS's plugin. The command runs as root, in the container's environment with
its secrets; no shell is around it. On a terminal it gets one; in a pipe its stdout and stderr
come apart. The exit status is the command's, or 125 when it could not be run.

    malote exec-task 0123456789abcdef0123456789abcdef --container app -- /bin/sh
    malote exec-task TASK -- pg_dump shop > shop.sql`
}

var execTaskHints = map[string]string{
	"TargetNotConnectedException": "the container does not run, or its host is away: aws ecs describe-tasks tells",
}

func (c *execTaskCommand) Run(ctx context.Context, p *program) error {
	if len(c.Command) > 0 && c.Command[0] == "--" {
		c.Command = c.Command[1:]
	}
	if len(c.Command) == 0 {
		return &usageError{errors.New("no command to run")}
	}
	cfg, done, err := c.connect(ctx, p)
	if err != nil {
		return err
	}
	defer done()
	out, err := ecs.NewFromConfig(cfg).ExecuteCommand(ctx, &ecs.ExecuteCommandInput{
		Cluster: given(c.Cluster), Task: &c.Task, Container: given(c.Container), Command: aws.String(quoted(c.Command)), Interactive: true,
	})
	if err != nil {
		return p.cannotRun(said(err, execTaskHints, c.Task, c.DataDir), exitOurs)
	}
	input, terminal := p.stdin.(*os.File)
	terminal = terminal && isTerminal(p.stdin) && isTerminal(p.stdout) && !c.Pipe
	client := http.DefaultClient
	if built, ok := cfg.HTTPClient.(*awshttp.BuildableClient); ok {
		client = &http.Client{Transport: built.GetTransport()} // with AWS_CA_BUNDLE
	}
	session, err := datachannel.Dial(ctx, client, aws.ToString(out.Session.StreamUrl), datachannel.Open{
		MessageSchemaVersion: "1.0", RequestId: datachannel.UUID(datachannel.New("", 0, 0, nil).ID), TokenValue: aws.ToString(out.Session.TokenValue),
		ClientId: aws.ToString(out.Session.SessionId), ClientVersion: "malote", Pipe: !terminal, Exit: true,
	})
	if err != nil {
		return p.cannotRun(err, exitOurs)
	}
	defer session.Close()
	if terminal {
		state, err := term.MakeRaw(int(input.Fd()))
		if err != nil {
			return p.cannotRun(fmt.Errorf("the terminal: %w", err), exitOurs)
		}
		defer term.Restore(int(input.Fd()), state)
	}
	exit, word, err := session.Run(ctx, datachannel.Handler{
		Begun: func() {
			if terminal {
				go followSize(ctx, session, int(input.Fd()))
			}
			go typeIn(ctx, session, p.stdin)
		},
		Stdout: func(b []byte) error { _, err := p.stdout.Write(b); return err },
		Stderr: func(b []byte) error { _, err := p.stderr.Write(b); return err },
	})
	switch {
	case err != nil:
		return p.cannotRun(err, exitOurs)
	case word != "":
		return p.cannotRun(errors.New(word), cmp.Or(exit, exitOurs))
	case exit != 0:
		return exitStatus(exit)
	}
	return nil
}

// typeIn sends what the user types until that ends. Whoever runs a session waits for its end.
func typeIn(ctx context.Context, session *datachannel.Client, in io.Reader) {
	buffer := make([]byte, 16<<10)
	for {
		n, err := in.Read(buffer)
		if n > 0 && session.Send(ctx, datachannel.Bytes, buffer[:n], false) != nil {
			return
		}
		if err != nil {
			_ = session.Send(ctx, datachannel.Bytes, nil, true)
			return
		}
	}
}

// followSize tells the size of the terminal, now and when it changes.
func followSize(ctx context.Context, session *datachannel.Client, terminal int) {
	changes := make(chan os.Signal, 1)
	signal.Notify(changes, syscall.SIGWINCH)
	defer signal.Stop(changes)
	for {
		if cols, rows, err := term.GetSize(terminal); err == nil {
			text, err := json.Marshal(datachannel.TerminalSize{Cols: uint32(cols), Rows: uint32(rows)})
			if err != nil || session.Send(ctx, datachannel.Size, text, false) != nil {
				return
			}
		}
		select {
		case <-changes:
		case <-ctx.Done():
			return
		}
	}
}

// quoted is a command line that is split into these words again.
func quoted(words []string) string {
	var all []string
	for _, w := range words {
		all = append(all, "'"+strings.ReplaceAll(w, "'", `'"'"'`)+"'")
	}
	return strings.Join(all, " ")
}
