package docker

import (
	"context"
	"io"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/client"
)

// Exec is a command that runs in a container beside its first process.
type Exec struct {
	c    *Client
	id   string
	tty  bool
	conn client.HijackedResponse
}

// Exec runs a command in a container as user. With a terminal, stdout and stderr are one.
func (c *Client) Exec(ctx context.Context, container string, command []string, user string, tty bool) (*Exec, error) {
	made, err := c.api.ExecCreate(ctx, container, client.ExecCreateOptions{
		User: user, TTY: tty, AttachStdin: true, AttachStdout: true, AttachStderr: true, Cmd: command,
	})
	if err != nil {
		return nil, reason(err)
	}
	attached, err := c.api.ExecAttach(ctx, made.ID, client.ExecAttachOptions{TTY: tty})
	if err != nil {
		return nil, reason(err)
	}
	return &Exec{c, made.ID, tty, attached.HijackedResponse}, nil
}

// Write is to stdin.
func (e *Exec) Write(p []byte) (int, error) { return e.conn.Conn.Write(p) }

// CloseWrite ends stdin.
func (e *Exec) CloseWrite() error { return e.conn.CloseWrite() }

// Copy passes on what the command writes until it ends.
func (e *Exec) Copy(stdout, stderr io.Writer) error {
	if e.tty {
		_, err := io.Copy(stdout, e.conn.Reader)
		return err
	}
	_, err := stdcopy.StdCopy(stdout, stderr, e.conn.Reader)
	return err
}

// Resize tells the command the size of its terminal.
func (e *Exec) Resize(ctx context.Context, cols, rows uint) error {
	_, err := e.c.api.ExecResize(ctx, e.id, client.ExecResizeOptions{Height: rows, Width: cols})
	return reason(err)
}

// State is whether the command still runs, its pid on the host, and its exit code if it has ended.
func (e *Exec) State(ctx context.Context) (running bool, pid, exit int, err error) {
	s, err := e.c.api.ExecInspect(ctx, e.id, client.ExecInspectOptions{})
	if err != nil {
		return false, 0, 0, reason(err)
	}
	return s.Running, s.PID, s.ExitCode, nil
}

// Close lets go of the command's streams; it does not end it.
func (e *Exec) Close() { e.conn.Close() }
