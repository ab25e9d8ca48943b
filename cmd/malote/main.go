// Command malote gives a Docker host what ECS gives a container: its secrets, at run time.
package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/malote/malote/internal/lategc"
	"github.com/malote/malote/internal/spoken"
)

var version = "dev" // set by the linker

// program is everything that a command may touch outside its own flags.
type program struct {
	stdin          io.Reader
	stdout, stderr io.Writer
}

// command is a command of the command line, whose flags are a struct's.
type command struct {
	name, help string
	flags      any
}

// commands is the command line, in the order of its help.
func commands() []command {
	return []command{
		{"up", "Everything on this machine: control plane and engine.", &upCommand{}},
		{"server", "The control plane alone.", &serverCommand{}},
		{"agent", "The engine alone, for a malote server elsewhere.", &agentCommand{}},
		{"env", "Print what a shell needs to reach the malote that runs here.", &envCommand{}},
		{"run", "Run a task definition file here, now.", &runCommand{}},
		{"verify", "Can each secret of a task definition be resolved, and by whom?", &verifyCommand{}},
		{"policy", "Print the least that a task definition's two roles need.", &policyCommand{}},
		{"secret", "Secrets: list, create, get, put, import, delete.", &secretCommands{}},
		{"param", "Parameters: list, get, put, delete.", &paramCommands{}},
		{"stale", "Which running tasks hold a secret that is no longer current?", &staleCommand{}},
		{"exec", "Run a command with secrets in its environment.", &execCommand{}},
		{"inject", "Write secrets into files, once or whenever they change.", &injectCommand{}},
		{"image", "The image of malote inject, for task definitions.", &imageCommands{}},
		{"exec-task", "Run a command in a container of a running task.", &execTaskCommand{}},
		{"audit", "Who asked for what: tail, query, verify.", &auditCommands{}},
		{"account", "Accounts: create, list.", &accountCommands{}},
		{"backup", "Copy the store to a file, while malote runs.", &backupCommand{}},
		{"seal", "The key that wraps the keyring.", &sealCommands{}},
		{"ca", "Print the certificate by which clients trust malote up --tls.", &caCommand{}},
		{"version", "Print the version.", &versionCommand{}},
	}
}

// asked is those of the commands that args can be about: the one that the first of them
// names, or else all. To model every flag of every command takes kong longer than a server
// takes to open its store.
func asked(all []command, args []string) []command {
	if i := slices.IndexFunc(all, func(c command) bool { return len(args) > 0 && c.name == args[0] }); i >= 0 {
		return all[i : i+1]
	}
	return all
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
	parsed, status := p.parse(ctx, asked(commands(), args), args)
	if parsed == nil {
		return status
	}
	percent := 100 // Go's own
	if c, ok := parsed.Selected().Target.Addr().Interface().(interface{ gcPercent() int }); ok {
		percent = c.gcPercent()
	}
	lategc.Begin(percent)
	err := parsed.Run(p)
	if status := exitStatus(0); errors.As(err, &status) {
		return int(status)
	}
	if err != nil {
		p.complain(err)
		if usage := (*usageError)(nil); errors.As(err, &usage) {
			return 2
		}
		return 1
	}
	return 0
}

// complain tells the user what went wrong, and what can be done about it.
func (p *program) complain(err error) {
	fmt.Fprintln(p.stderr, "malote:", spoken.Text(err))
	hinted, untrusted := (hinter)(nil), (*tls.CertificateVerificationError)(nil)
	switch {
	case errors.As(err, &hinted):
		fmt.Fprintln(p.stderr, "malote: hint:", hinted.Hint())
	case errors.As(err, &untrusted):
		fmt.Fprintln(p.stderr, "malote: hint: of a malote with --tls, AWS_CA_BUNDLE names the file that malote ca prints there")
	}
}

// help leaves hidden arguments out, which kong does for flags alone.
func help(options kong.HelpOptions, ctx *kong.Context) error {
	if node := ctx.Selected(); node != nil {
		node.Positional = slices.DeleteFunc(node.Positional, func(v *kong.Positional) bool { return v.Tag.Hidden })
	}
	return kong.DefaultHelpPrinter(options, ctx)
}

// parse finds the command that args ask for, and sets its flags. It returns nil when help or
// what is wrong has been printed, and the exit status.
func (p *program) parse(ctx context.Context, commands []command, args []string) (parsed *kong.Context, status int) {
	options := []kong.Option{
		kong.Name("malote"),
		kong.Description("Secrets for containers at run time, as Amazon ECS does it, on any Docker host.\n\nEvery command uses the AWS configuration chain: AWS_ENDPOINT_URL, AWS_PROFILE and so on. Without any it finds the malote of this machine."),
		kong.Writers(p.stdout, p.stderr),
		kong.Exit(func(status int) { panic(helpShown(status)) }),
		kong.UsageOnError(),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.Help(help),
		kong.BindTo(ctx, (*context.Context)(nil)),
	}
	for _, c := range commands {
		options = append(options, kong.DynamicCommand(c.name, c.help, "", c.flags))
	}
	parser, err := kong.New(&struct{}{}, options...)
	if err != nil {
		fmt.Fprintln(p.stderr, "malote:", err)
		return nil, 1
	}
	defer func() {
		switch r := recover().(type) {
		case nil:
		case helpShown:
			parsed, status = nil, int(r)
		default:
			panic(r)
		}
	}()
	parsed, err = parser.Parse(args)
	if err != nil {
		fmt.Fprintf(p.stderr, "malote: %v\nmalote: hint: malote --help lists the commands, malote COMMAND --help its flags\n", err)
		return nil, 2
	}
	return parsed, 0
}

// helpShown is where kong would have exited, with that status, after printing help.
type helpShown int

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
