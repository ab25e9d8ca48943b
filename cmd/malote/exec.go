package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/malote/malote/inject"
)

type execCommand struct {
	Env          []string `help:"Set this variable to what a task definition's valueFrom names. Repeat it for more." sep:"none" placeholder:"NAME=VALUEFROM"`
	Secret       []string `help:"Set a variable for each key of this JSON secret. Repeat it for more." sep:"none" placeholder:"NAME"`
	Pristine     bool     `help:"Give the command nothing of this environment but PATH, HOME, USER, TERM and LANG."`
	connectFlags `embed:""`
	Command      []string `arg:"" passthrough:"" help:"The command and its arguments, behind --."`
}

func (execCommand) Help() string {
	return `The values are got with your own credentials and are in the command's environment alone. The
command takes malote's place. When there is none to run, the exit status is 127 for a
command that is not found, 126 for one that cannot be run and 125 for anything else.

    malote exec --env DB_PASSWORD=arn:aws:secretsmanager:eu-west-1:123456789012:secret:db:password:: -- ./migrate
    malote exec --secret shop/app -- env`
}

func (c *execCommand) Run(ctx context.Context, p *program) error {
	if len(c.Command) > 0 && c.Command[0] == "--" {
		c.Command = c.Command[1:]
	}
	if len(c.Command) == 0 {
		return &usageError{errors.New("no command to run")}
	}
	path, status, err := findCommand(c.Command[0])
	if err != nil {
		return p.cannotRun(err, status)
	}
	secrets, err := c.resolve(ctx, p)
	if err != nil {
		if _, usage := errors.AsType[*usageError](err); usage {
			return err
		}
		return p.cannotRun(err, exitOurs)
	}
	err = syscall.Exec(path, c.Command, c.environment(os.Environ(), secrets))
	if errors.Is(err, syscall.E2BIG) {
		return p.cannotRun(fmt.Errorf("%s: its environment with the secrets is larger than the kernel allows: 128 KiB for one variable, a quarter of the stack's limit in all", path), exitOurs)
	}
	return p.cannotRun(fmt.Errorf("%s: %w", path, err), 126)
}

// cannotRun says why, as every command does, and ends with a status that a script can tell
// from the command's own.
func (p *program) cannotRun(err error, status int) error {
	p.complain(err)
	return exitStatus(status)
}

func findCommand(name string) (path string, status int, err error) {
	path, err = exec.LookPath(name)
	switch {
	case err == nil:
		return path, 0, nil
	case errors.Is(err, fs.ErrPermission):
		return "", 126, err
	}
	return "", 127, err
}

// resolve gets the values, by the names of the variables.
func (c *execCommand) resolve(ctx context.Context, p *program) (map[string]string, error) {
	cfg, done, err := c.connect(ctx, p)
	if err != nil {
		return nil, err
	}
	defer done()
	values := map[string]string{}
	set := func(name, value, from string) error {
		switch _, twice := values[name]; {
		case !variableName(name):
			return fmt.Errorf("%s: %q is no name of a variable: it has letters, digits and _, and no digit first", from, name)
		case twice:
			return fmt.Errorf("%s: %s is set already", from, name)
		case strings.IndexByte(value, 0) >= 0:
			return fmt.Errorf("%s: the value of %s has a NUL, which no environment can hold", from, name)
		}
		values[name] = value
		return nil
	}
	var names []string
	var refs []inject.Ref
	for _, env := range c.Env {
		name, valueFrom, found := strings.Cut(env, "=")
		if !found || !variableName(name) || valueFrom == "" {
			return nil, &usageError{fmt.Errorf("--env %s: want NAME=VALUEFROM", env)}
		}
		ref, err := inject.Parse(valueFrom, cfg.Region)
		if err != nil {
			return nil, err
		}
		names, refs = append(names, name), append(refs, ref)
	}
	got, err := (&inject.Resolver{Config: cfg}).Resolve(ctx, refs)
	if err != nil {
		return nil, err
	}
	for i, name := range names {
		if err := set(name, got[refs[i].ValueFrom].Reveal(), "--env"); err != nil {
			return nil, err
		}
	}
	client := secretsmanager.NewFromConfig(cfg)
	for _, id := range c.Secret {
		out, err := client.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &id})
		if err != nil {
			return nil, said(err, secretHints, id, c.DataDir)
		}
		var members map[string]json.RawMessage
		if json.Unmarshal([]byte(aws.ToString(out.SecretString)), &members) != nil || members == nil {
			return nil, &hintError{fmt.Errorf("%s is no JSON object", id), "--env NAME=ARN sets one variable to the whole of a secret"}
		}
		for name, raw := range members {
			value := string(raw) // as it is written, unless it is a string
			if raw[0] == '"' {
				if err := json.Unmarshal(raw, &value); err != nil {
					return nil, fmt.Errorf("%s: the value of %s is no JSON string", id, name)
				}
			}
			if err := set(name, value, id); err != nil {
				return nil, err
			}
		}
	}
	return values, nil
}

// environment is that of the command: what it has of ours, then the secrets.
func (c *execCommand) environment(ours []string, secrets map[string]string) []string {
	var env []string
	for _, entry := range ours {
		name, _, _ := strings.Cut(entry, "=")
		if _, replaced := secrets[name]; replaced {
			continue
		}
		switch name {
		case "PATH", "HOME", "USER", "TERM", "LANG":
		default:
			if c.Pristine {
				continue
			}
		}
		env = append(env, entry)
	}
	for name, value := range secrets {
		env = append(env, name+"="+value)
	}
	return env
}
