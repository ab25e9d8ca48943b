// Command malote gives a Docker host what ECS gives a container: its secrets, at run time.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/alecthomas/kong"
)

var version = "dev" // set by the linker

// program is everything that a command may touch outside its own flags.
type program struct {
	stdin          io.Reader
	stdout, stderr io.Writer
}

// commands is the command line: a struct per command, holding its flags.
type commands struct {
	Up       upCommand       `cmd:"" help:"Everything on this machine: control plane and engine."`
	Server   serverCommand   `cmd:"" help:"The control plane alone."`
	Agent    agentCommand    `cmd:"" help:"The engine alone, for a malote server elsewhere."`
	Env      envCommand      `cmd:"" help:"Print what a shell needs to reach the malote that runs here."`
	Run      runCommand      `cmd:"" help:"Run a task definition file here, now."`
	Verify   verifyCommand   `cmd:"" help:"Can each secret of a task definition be resolved, and by whom?"`
	Policy   policyCommand   `cmd:"" help:"Print the least that a task definition's two roles need."`
	Secret   secretCommands  `cmd:"" help:"Secrets: list, create, get, put, import, delete."`
	Param    paramCommands   `cmd:"" help:"Parameters: list, get, put, delete."`
	Stale    staleCommand    `cmd:"" help:"Which running tasks hold a secret that is no longer current?"`
	Exec     execCommand     `cmd:"" help:"Run a command with secrets in its environment."`
	Inject   injectCommand   `cmd:"" help:"Write secrets into files, once or whenever they change."`
	Image    imageCommands   `cmd:"" help:"The image of malote inject, for task definitions."`
	ExecTask execTaskCommand `cmd:"" help:"Run a command in a container of a running task."`
	Audit    auditCommands   `cmd:"" help:"Who asked for what: tail, query, verify."`
	Account  accountCommands `cmd:"" help:"Accounts: create, list."`
	Seal     sealCommands    `cmd:"" help:"The key that wraps the keyring."`
	CA       caCommand       `cmd:"" name:"ca" help:"Print the certificate by which clients trust malote up --tls."`
	Version  versionCommand  `cmd:"" help:"Print the version."`
}

func main() { os.Exit(process(os.Stdout, os.Stderr)) }

// process is run, with the process's arguments, stdin and signals.
func process(stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	return run(ctx, os.Args[1:], os.Stdin, stdout, stderr)
}

// run is the whole program but for its process: tests call it. Exit statuses: 0 done,
// 1 refused or failed, 2 wrong usage; a command may end with a status of its own (exitStatus).
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	p := &program{stdin, stdout, stderr}
	var line commands
	helped := -1
	parser, err := kong.New(&line,
		kong.Name("malote"),
		kong.Description("Secrets for containers at run time, as Amazon ECS does it, on any Docker host.\n\nEvery command uses the AWS configuration chain: AWS_ENDPOINT_URL, AWS_PROFILE and so on. Without any it finds the malote of this machine."),
		kong.Writers(stdout, stderr),
		kong.Exit(func(status int) { helped = status; panic(helpShown{}) }),
		kong.UsageOnError(),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.Help(help),
		kong.BindTo(ctx, (*context.Context)(nil)),
	)
	if err != nil {
		fmt.Fprintln(stderr, "malote:", err)
		return 1
	}
	parsed, err := parse(parser, args)
	if helped >= 0 {
		return helped
	}
	if err != nil {
		fmt.Fprintf(stderr, "malote: %v\nmalote: hint: malote --help lists the commands, malote COMMAND --help its flags\n", err)
		return 2
	}
	err = parsed.Run(p)
	if status := exitStatus(0); errors.As(err, &status) {
		return int(status)
	}
	if err != nil {
		fmt.Fprintln(stderr, "malote:", err)
		if hinted := (hinter)(nil); errors.As(err, &hinted) {
			fmt.Fprintln(stderr, "malote: hint:", hinted.Hint())
		}
		if usage := (*usageError)(nil); errors.As(err, &usage) {
			return 2
		}
		return 1
	}
	return 0
}

// help leaves hidden arguments out, which kong does for flags alone.
func help(options kong.HelpOptions, ctx *kong.Context) error {
	if node := ctx.Selected(); node != nil {
		node.Positional = slices.DeleteFunc(node.Positional, func(v *kong.Positional) bool { return v.Tag.Hidden })
	}
	return kong.DefaultHelpPrinter(options, ctx)
}

type helpShown struct{}

// parse returns where kong would have exited after printing help.
func parse(parser *kong.Kong, args []string) (parsed *kong.Context, err error) {
	defer func() {
		if r := recover(); r != nil {
			if _, ok := r.(helpShown); !ok {
				panic(r)
			}
		}
	}()
	return parser.Parse(args)
}

// exitStatus ends the program with that status and no further message.
type exitStatus int

func (e exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// A hinter is an error that the user can do something about.
type hinter interface {
	error
	Hint() string
}

// hintError adds a hint to an error.
type hintError struct {
	error
	hint string
}

func (e *hintError) Hint() string  { return e.hint }
func (e *hintError) Unwrap() error { return e.error }

// usageError is a wrong use of the command line that the parser cannot see.
type usageError struct{ error }

type versionCommand struct{}

func (versionCommand) Run(p *program) error {
	_, err := fmt.Fprintln(p.stdout, "malote", version)
	return err
}
