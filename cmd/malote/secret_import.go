package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	smtypes "github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/malote/malote/internal/spoken"
)

type secretImportCommand struct {
	File         string `arg:"" help:"A dotenv file; - is stdin."`
	Name         string `help:"Make one secret of this name, a JSON object with a key for each variable." xor:"where" placeholder:"NAME"`
	Prefix       string `help:"Make a secret for each variable, named by this and the variable." xor:"where" placeholder:"PREFIX"`
	To           string `help:"With --prefix: secret, or param for SecureString parameters." enum:"secret,param" default:"secret"`
	Overwrite    bool   `help:"Give what is there already a new version."`
	DryRun       bool   `help:"Say what would be made, and make nothing."`
	connectFlags `embed:""`
}

func (secretImportCommand) Help() string {
	return `Prints what to put in a task definition's secrets. Values may be in quotes, over several
lines; a $ is a $. Nothing is made when a line cannot be read, or something is there
already and --overwrite is not given.

    malote secret import .env --name shop/app
    malote secret import .env --prefix /shop/ --to param`
}

// imported is one secret or parameter to be.
type imported struct {
	name      string
	value     string
	variables []variable
	whole     bool // the value is that of the only variable, not JSON
	exists    bool
	valueFrom func(variable) string // set once it is there
}

func (c *secretImportCommand) Run(ctx context.Context, p *program) error {
	switch {
	case c.Name == "" && c.Prefix == "":
		return &hintError{&usageError{errors.New("import to where? Neither --name nor --prefix is given")}, "--name makes one secret of all variables, --prefix one for each"}
	case c.Name != "" && c.To == "param":
		return &usageError{errors.New("--name makes one JSON secret, which a parameter cannot be: --to param goes with --prefix")}
	}
	all, err := c.read(p)
	if err != nil {
		return err
	}
	list, err := c.list(all)
	if err != nil {
		return err
	}
	cfg, done, err := c.connect(ctx, p)
	if err != nil {
		return err
	}
	defer done()
	var to destination = &secretDestination{secretsmanager.NewFromConfig(cfg), c.DataDir}
	if c.To == "param" {
		to = &paramDestination{ssm.NewFromConfig(cfg)}
	}
	var there []string
	for _, x := range list {
		if err := to.look(ctx, x); err != nil {
			return said(err, secretHints, x.name, c.DataDir)
		}
		if x.exists {
			there = append(there, x.name)
		}
	}
	if c.DryRun {
		return p.table(func(w io.Writer) {
			fmt.Fprintln(w, "VARIABLE\tBYTES\tTO\tSTATE")
			for _, x := range list {
				state := "new"
				if x.exists {
					state = "exists"
				}
				for _, v := range x.variables {
					fmt.Fprintf(w, "%s\t%d\t%s\t%s\n", v.name, len(v.value), x.name, state)
				}
			}
		})
	}
	if len(there) > 0 && !c.Overwrite {
		return &hintError{fmt.Errorf("nothing was imported: there already: %q", there), "--overwrite gives them a new version; --dry-run shows all"}
	}
	block := []map[string]string{}
	for i, x := range list {
		if err := to.write(ctx, x); err != nil {
			err = spoken.Error(err)
			if i > 0 {
				err = &hintError{fmt.Errorf("%d of %d imported, then %s: %w", i, len(list), x.name, err), "run it again with --overwrite when that is mended"}
			}
			return err
		}
		for _, v := range x.variables {
			block = append(block, map[string]string{"name": v.name, "valueFrom": x.valueFrom(v)})
		}
	}
	fmt.Fprintf(p.stderr, "malote: imported %s, for a container by these secrets\n", counted(len(all), "variable"))
	text, err := json.MarshalIndent(map[string]any{"secrets": block}, "", "  ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(p.stdout, "%s\n", text)
	return err
}

func (c *secretImportCommand) read(p *program) ([]variable, error) {
	in := p.stdin
	if c.File != "-" {
		file, err := os.Open(c.File)
		if err != nil {
			return nil, err
		}
		defer file.Close()
		in = file
	}
	text, err := io.ReadAll(io.LimitReader(in, maxValue+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading %s: %w", c.File, err)
	case len(text) > maxValue:
		return nil, fmt.Errorf("%s has more than %d bytes", c.File, maxValue)
	}
	all, err := parseDotenv(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.File, err)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s has no variables", c.File)
	}
	return all, nil
}

// list is what will be made of the variables.
func (c *secretImportCommand) list(all []variable) ([]*imported, error) {
	if c.Name != "" {
		values := map[string]string{}
		for _, v := range all {
			values[v.name] = v.value
		}
		text, err := json.Marshal(values)
		if err != nil {
			return nil, err
		}
		return []*imported{{name: c.Name, value: string(text), variables: all}}, nil
	}
	var list []*imported
	for _, v := range all {
		if v.value == "" {
			return nil, &hintError{fmt.Errorf("%s: line %d: %s is empty, which a secret of its own cannot be", c.File, v.line, v.name), "take the line out, or use --name: a key of a JSON secret may be empty"}
		}
		list = append(list, &imported{name: c.Prefix + v.name, value: v.value, variables: []variable{v}, whole: true})
	}
	return list, nil
}

// destination is where variables are imported to.
type destination interface {
	look(context.Context, *imported) error  // sets exists
	write(context.Context, *imported) error // sets valueFrom
}

type secretDestination struct {
	client  *secretsmanager.Client
	dataDir string // that was asked for
}

func (d *secretDestination) look(ctx context.Context, x *imported) error {
	s, err := d.client.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: &x.name})
	if _, none := errors.AsType[*smtypes.ResourceNotFoundException](err); none {
		return nil
	}
	if err != nil {
		return err
	}
	if s.DeletedDate != nil {
		return &hintError{fmt.Errorf("%s is scheduled for deletion on %s", x.name, when(s.DeletedDate)), "malote secret restore " + shellWord(x.name) + dataDirFlag(d.dataDir) + " takes that back"}
	}
	x.exists = true
	return nil
}

func (d *secretDestination) write(ctx context.Context, x *imported) error {
	var arn string
	if x.exists {
		out, err := d.client.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{SecretId: &x.name, SecretString: &x.value})
		if err != nil {
			return err
		}
		arn = aws.ToString(out.ARN)
	} else {
		out, err := d.client.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: &x.name, SecretString: &x.value})
		if err != nil {
			return err
		}
		arn = aws.ToString(out.ARN)
	}
	x.valueFrom = func(v variable) string {
		if x.whole {
			return arn
		}
		return arn + ":" + v.name + "::"
	}
	return nil
}

type paramDestination struct{ client *ssm.Client }

func (d *paramDestination) look(ctx context.Context, x *imported) error {
	_, err := d.client.GetParameter(ctx, &ssm.GetParameterInput{Name: &x.name})
	if _, none := errors.AsType[*ssmtypes.ParameterNotFound](err); none {
		return nil
	}
	x.exists = err == nil
	return err
}

func (d *paramDestination) write(ctx context.Context, x *imported) error {
	_, err := d.client.PutParameter(ctx, &ssm.PutParameterInput{Name: &x.name, Value: &x.value, Type: ssmtypes.ParameterTypeSecureString, Overwrite: aws.Bool(x.exists)})
	x.valueFrom = func(variable) string { return x.name }
	return err
}
