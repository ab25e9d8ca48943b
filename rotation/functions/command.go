package functions

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// command runs a program: the event on its standard input, credentials in its environment,
// where AWS's own tools look for them. Nothing of the control plane's environment is there.
func (f *Functions) command(ctx context.Context, c call) error {
	event, err := json.Marshal(c.event)
	if err != nil {
		return err
	}
	credentials, err := c.credentials.Retrieve(ctx)
	if err != nil {
		return fmt.Errorf("credentials of %s: %w", c.definition.Role, err)
	}
	program := exec.CommandContext(ctx, c.definition.Command[0], c.definition.Command[1:]...)
	program.Env = []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"AWS_ACCESS_KEY_ID=" + credentials.AccessKeyID, "AWS_SECRET_ACCESS_KEY=" + credentials.SecretAccessKey, "AWS_SESSION_TOKEN=" + credentials.SessionToken,
		"AWS_REGION=" + c.region, "AWS_DEFAULT_REGION=" + c.region, "AWS_ENDPOINT_URL=" + f.config.Endpoint,
	}
	if f.config.CABundle != "" {
		program.Env = append(program.Env, "AWS_CA_BUNDLE="+f.config.CABundle)
	}
	for name, value := range c.definition.Environment {
		program.Env = append(program.Env, name+"="+value)
	}
	program.Dir = "/"
	program.Stdin = bytes.NewReader(event)
	said := new(tail)
	program.Stderr = said
	// A group of its own, so that what it started ends with it.
	program.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	program.Cancel = func() error { return syscall.Kill(-program.Process.Pid, syscall.SIGKILL) }
	program.WaitDelay = time.Second
	err = program.Run()
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		if line := said.lastLine(); line != "" {
			return errors.New(line)
		}
		return fmt.Errorf("%s ended with %s and said nothing", c.definition.Command[0], exit.ProcessState)
	}
	if err != nil {
		return fmt.Errorf("running the function: %w", err)
	}
	return nil
}

// tail keeps the end of what is written.
type tail struct{ kept []byte }

const maxTail = 4096

func (t *tail) Write(p []byte) (int, error) {
	t.kept = append(t.kept, p...)
	if over := len(t.kept) - maxTail; over > 0 {
		t.kept = append(t.kept[:0], t.kept[over:]...)
	}
	return len(p), nil
}

func (t *tail) lastLine() string {
	text := strings.TrimSpace(string(t.kept))
	return strings.TrimSpace(text[strings.LastIndexByte(text, '\n')+1:])
}
