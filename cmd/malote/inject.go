package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"

	"github.com/malote/malote/inject/files"
)

type injectCommand struct {
	Spec []string `help:"A file: valueFrom=…,file=…, and owner=, group=, mode=, format=, template= as below. Repeat it for more." sep:"none" placeholder:"SPEC"`

	ValueFrom string `help:"For one file: what a task definition's valueFrom names, a path of parameters that ends in /, s3://BUCKET/KEY, or env://NAME for a variable."`
	File      string `help:"Its name below the directory."`
	Owner     string `help:"Who owns it, by name or number."`
	Group     string `help:"Its group, by name or number."`
	Mode      string `help:"Its mode, in octal; 0400 when not given."`
	Format    string `help:"raw, json, dotenv, properties or template; raw when not given."`
	Template  string `help:"A Go template over the value, such as {{.user}}:{{.password}}."`

	Dir      string        `help:"Where the files go: the mount point of a volume, which has to be there." env:"MALOTE_INJECT_DIR" default:"/run/secrets" placeholder:"DIR"`
	Watch    bool          `help:"Stay, and write files again when their sources change." env:"MALOTE_INJECT_WATCH"`
	Interval time.Duration `help:"How often to look, give or take a tenth." env:"MALOTE_INJECT_INTERVAL" default:"60s"`
	Signal   string        `help:"After a change, send this signal." env:"MALOTE_INJECT_SIGNAL" placeholder:"HUP"`
	PidFile  string        `help:"To the process whose id this file has." env:"MALOTE_INJECT_PID_FILE" placeholder:"FILE"`
	Process  string        `help:"To the process of this program; of a server and its workers, to the server." env:"MALOTE_INJECT_PROCESS" placeholder:"NAME"`

	LogLevel     string `help:"debug, info, warn or error." env:"MALOTE_LOG_LEVEL" default:"info"`
	connectFlags `embed:""`
}

func (injectCommand) Help() string {
	return `All values are got first, with your own credentials or the task's role, and then the files
are written: whole, or none. MALOTE_INJECT has files as a JSON list, for task definitions. Without any
file, SECRET_ARN and SECRET_FILENAME mean one in /tmp, as for AWS's own sidecar.

    malote inject --dir /run/app --value-from /shop/key --file key --mode 0440 --group 1000
    malote inject --spec valueFrom=/shop/,file=app.env,format=dotenv --watch --signal HUP --process app`
}

func (c *injectCommand) Run(ctx context.Context, p *program) error {
	log, err := p.logger(c.LogLevel)
	if err != nil {
		return err
	}
	dir, wanted, err := c.files()
	if err != nil {
		return &usageError{err}
	}
	tell, err := c.signal()
	if err != nil {
		return &usageError{err}
	}
	if c.Interval < time.Second {
		return &usageError{errors.New("--interval: want a second or more")}
	}
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return &hintError{fmt.Errorf("%s is no directory", dir), "mount a volume there, so that no secret comes onto a disk, or give another with --dir"}
	}
	// In a task whose processes see one another, the app has no business in here.
	if err := keepFromDumps(); err != nil {
		return err
	}
	if i := slices.IndexFunc(wanted, files.File.IsVariable); i >= 0 && c.Watch {
		return &usageError{fmt.Errorf("%s does not change for as long as this process lives: leave --watch out", wanted[i].ValueFrom)}
	}
	var cfg aws.Config
	if slices.ContainsFunc(wanted, func(f files.File) bool { return !f.IsVariable() }) {
		var done func()
		if cfg, done, err = c.reach(ctx, p, files.Region(wanted)); err != nil {
			return err
		}
		defer done()
	}
	set := &files.Set{Config: cfg, Dir: dir, Files: wanted, Log: log}
	if err := set.Write(ctx); err != nil {
		return err
	}
	if !c.Watch {
		return nil
	}
	set.Watch(ctx, c.Interval, func() {
		if tell == nil {
			return
		}
		if err := tell.Send(); err != nil {
			log.Error("nobody was told of the change", "err", err)
			return
		}
		log.Info("told of the change", "signal", tell.Signal.String())
	})
	log.Info("ended", slog.Int("files", len(wanted)))
	return nil
}

// files are those of the flags and of MALOTE_INJECT, or else AWS's sidecar's.
func (c *injectCommand) files() (dir string, all []files.File, err error) {
	one := files.File{ValueFrom: c.ValueFrom, Name: c.File, Owner: c.Owner, Group: c.Group, Mode: c.Mode, Format: c.Format, Template: c.Template}
	if one != (files.File{}) {
		if c.ValueFrom == "" || c.File == "" {
			return "", nil, errors.New("one file wants both --value-from and --file")
		}
		all = append(all, one)
	}
	for _, spec := range c.Spec {
		f, err := files.ParseSpec(spec)
		if err != nil {
			return "", nil, fmt.Errorf("--spec: %w", err)
		}
		all = append(all, f)
	}
	if list := os.Getenv("MALOTE_INJECT"); list != "" {
		of, err := files.ParseJSON(list)
		if err != nil {
			return "", nil, fmt.Errorf("MALOTE_INJECT: %w", err)
		}
		all = append(all, of...)
	}
	if len(all) > 0 {
		return c.Dir, all, nil
	}
	secret, name := os.Getenv("SECRET_ARN"), os.Getenv("SECRET_FILENAME")
	switch {
	case secret == "" && name == "":
		return "", nil, errors.New("no file: give --value-from and --file, --spec, or MALOTE_INJECT")
	case !arn.IsARN(secret):
		return "", nil, errors.New("SECRET_ARN is not set to the ARN of a secret")
	case name == "":
		name = "secret"
	}
	// The sidecar's own files are anybody's to read; apps that run as somebody else count on it.
	return "/tmp", []files.File{{ValueFrom: secret, Name: strings.TrimLeft(name, "/"), Mode: "0444"}}, nil
}

func (c *injectCommand) signal() (*files.Signal, error) {
	switch to := c.PidFile != "" || c.Process != ""; {
	case c.Signal == "" && !to:
		return nil, nil
	case c.Signal == "" || !to:
		return nil, errors.New("--signal goes with --pid-file or --process")
	case !c.Watch:
		return nil, errors.New("--signal goes with --watch")
	}
	signal, err := files.ParseSignal(c.Signal)
	if err != nil {
		return nil, fmt.Errorf("--signal: %w", err)
	}
	return &files.Signal{Signal: signal, PIDFile: c.PidFile, Process: c.Process}, nil
}

// reach is connect for a sidecar: there is nothing on its disk, its Region may be known by
// its ARNs alone, and its credentials may be those of the machine.
func (c *injectCommand) reach(ctx context.Context, p *program, region string) (cfg aws.Config, done func(), err error) {
	if _, err := os.Stat(dataDirOr(c.DataDir)); !c.configured() && (c.DataDir != "" || !errors.Is(err, fs.ErrNotExist)) {
		return c.connect(ctx, p)
	}
	cfg, err = loadConfig(ctx)
	if err == nil && cfg.Region == "" {
		cfg.Region = region
	}
	if err == nil && cfg.Region == "" {
		err = &hintError{errors.New("no region is configured"), "set AWS_REGION"}
	}
	return cfg, func() {}, err
}
