package engine

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/malote/malote/acs"
	"github.com/malote/malote/engine/docker"
	"github.com/malote/malote/engine/shim"
	"github.com/malote/malote/internal/ourlabels"
)

// hangUp is how long a command has to end after its client has gone, before it is killed.
const hangUp = 5 * time.Second

// knownWithin is how long a session waits for the secrets of a task that was found running.
const knownWithin = 20 * time.Second

// execute runs a command in a container for a client of the control plane. It begins with the
// container's environment, as a health check does.
func (e *Engine) execute(ctx context.Context, x *acs.Execute) {
	e.mu.Lock()
	endpoint := cmp.Or(x.Endpoint, e.endpoint) + "/acs/sessions/" + x.Session
	e.mu.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	log := e.log.With("task", taskID(x.TaskARN), "container", x.Container, "session", x.Session)
	inputs, err := e.call(ctx, http.MethodGet, endpoint, nil)
	if err != nil {
		log.Warn("a session could not be taken", "err", err)
		return
	}
	defer inputs.Body.Close()
	send := func(o acs.ExecuteOutput) error {
		body, err := json.Marshal(o)
		if err != nil {
			return err
		}
		res, err := e.call(ctx, http.MethodPost, endpoint, body)
		if err != nil {
			return err
		}
		return res.Body.Close()
	}
	code, err := e.runSession(ctx, x, json.NewDecoder(inputs.Body), send)
	last := acs.ExecuteOutput{Exit: &code}
	if err != nil {
		last = acs.ExecuteOutput{Error: err.Error()}
	}
	log.Info("a session has ended", "exit_code", code, "err", err)
	if err := send(last); err != nil && ctx.Err() == nil {
		log.Warn("telling how a session ended", "err", err)
	}
}

func (e *Engine) runSession(ctx context.Context, x *acs.Execute, inputs *json.Decoder, send func(acs.ExecuteOutput) error) (code int, err error) {
	t := e.task(x.TaskARN)
	if t == nil {
		return 0, errors.New("the task does not run here")
	}
	container := t.id(x.Container)
	if container == "" {
		return 0, fmt.Errorf("container %s does not run", x.Container)
	}
	select { // else a command in a container that was found a moment ago would have no secrets
	case <-t.known:
	case <-t.ended:
		return 0, fmt.Errorf("container %s does not run", x.Container)
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-time.After(knownWithin):
		return 0, fmt.Errorf("what container %s was given as secrets cannot be had again yet: it was found running", x.Container)
	}
	command := x.Command
	if t.hasEndpoint(x.Container) {
		command = shim.Exec(command)
	}
	run, err := e.docker.Exec(ctx, container, command, "0", x.TTY)
	if err != nil {
		return 0, err
	}
	defer run.Close()
	e.log.Info("a session has begun", "task", taskID(x.TaskARN), "container", x.Container, "session", x.Session)

	gone := make(chan struct{}) // the client
	go func() {
		defer close(gone)
		for {
			var in acs.ExecuteInput
			if inputs.Decode(&in) != nil {
				return
			}
			if in.Cols > 0 && in.Rows > 0 && x.TTY {
				_ = run.Resize(ctx, in.Cols, in.Rows) // a terminal of the wrong size is still one
			}
			if len(in.Data) > 0 {
				if _, err := run.Write(in.Data); err != nil {
					return // the command has ended, which Copy finds out
				}
			}
			if in.EOF {
				_ = run.CloseWrite()
			}
		}
	}()
	ended := make(chan error, 1)
	go func() {
		ended <- run.Copy(
			outputWriter(func(p []byte) error { return send(acs.ExecuteOutput{Stdout: p}) }),
			outputWriter(func(p []byte) error { return send(acs.ExecuteOutput{Stderr: p}) }))
	}()
	select {
	case err = <-ended:
	case <-gone:
		e.endCommand(run, container)
		err = <-ended
	case <-ctx.Done():
		e.endCommand(run, container)
		return 0, ctx.Err()
	}
	running, _, code, stateErr := run.State(context.WithoutCancel(ctx))
	if running { // what it writes can no longer be told
		e.endCommand(run, container)
	}
	return code, cmp.Or(stateErr, err)
}

// endCommand hangs a command up, and kills it when that does not end it.
func (e *Engine) endCommand(run *docker.Exec, container string) {
	ctx, cancel := context.WithTimeout(context.Background(), hangUp+5*time.Second)
	defer cancel()
	signals := []syscall.Signal{syscall.SIGHUP, syscall.SIGKILL}
	for i, signal := range signals {
		running, pid, _, err := run.State(ctx)
		if err != nil || !running || pid <= 1 || !shim.InContainer(pid, container) {
			return
		}
		if err := syscall.Kill(pid, signal); err != nil {
			return
		}
		for end := time.Now().Add(hangUp); i == 0 && time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
			if running, _, _, err := run.State(ctx); err != nil || !running {
				return
			}
		}
	}
	run.Close()
}

// hasEndpoint reports whether a container gets its environment from the shim.
func (t *task) hasEndpoint(container string) bool {
	for _, def := range t.defs {
		if aws.ToString(def.Name) == container && def.DockerLabels[ourlabels.Secrets] == ourlabels.DockerEnv {
			return false
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.endpoints[container] != nil
}

// outputWriter passes on what is written.
type outputWriter func([]byte) error

func (w outputWriter) Write(p []byte) (int, error) {
	if err := w(p); err != nil {
		return 0, err
	}
	return len(p), nil
}
