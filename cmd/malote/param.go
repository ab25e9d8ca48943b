package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
)

// paramCommands are for those who have no AWS CLI.
type paramCommands struct {
	List    paramListCommand    `cmd:"" help:"List parameters, without their values."`
	Get     paramGetCommand     `cmd:"" help:"Write a parameter's value to stdout, decrypted."`
	Put     paramPutCommand     `cmd:"" help:"Make a parameter of what comes on stdin."`
	History paramHistoryCommand `cmd:"" help:"List a parameter's versions and their labels."`
	Delete  paramDeleteCommand  `cmd:"" help:"Delete a parameter, at once and for good."`
}

var paramHints = map[string]string{
	"ParameterNotFound":        "malote param list --data-dir DIR shows those that there are",
	"ParameterVersionNotFound": "malote param history NAME --data-dir DIR shows those that there are",
	"ParameterAlreadyExists":   "--overwrite gives it a new version",
}

// parameters calls f with a client of Parameter Store.
func (f connectFlags) parameters(ctx context.Context, p *program, name string, call func(*ssm.Client) error) error {
	cfg, done, err := f.connect(ctx, p)
	if err != nil {
		return err
	}
	defer done()
	if !arn.IsARN(name) {
		name, _, _ = strings.Cut(name, ":") // a version of it
	}
	return said(call(ssm.NewFromConfig(cfg)), paramHints, name, f.DataDir)
}

type paramListCommand struct {
	Path         string `help:"Those below this path, at any depth." placeholder:"/PATH"`
	JSON         bool   `name:"json" help:"Print JSON, one object a line."`
	connectFlags `embed:""`
}

func (c *paramListCommand) Run(ctx context.Context, p *program) error {
	in := &ssm.DescribeParametersInput{}
	if c.Path != "" {
		in.ParameterFilters = []types.ParameterStringFilter{{Key: aws.String("Path"), Option: aws.String("Recursive"), Values: []string{c.Path}}}
	}
	var list []types.ParameterMetadata
	err := c.parameters(ctx, p, "", func(client *ssm.Client) error {
		pages := ssm.NewDescribeParametersPaginator(client, in)
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				return err
			}
			list = append(list, page.Parameters...)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if c.JSON {
		return p.objects(len(list), func(i int) any { return list[i] })
	}
	return p.table(func(w io.Writer) {
		fmt.Fprintln(w, "NAME\tTYPE\tVERSION\tCHANGED\tDESCRIPTION")
		for _, x := range list {
			fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\n", aws.ToString(x.Name), x.Type, x.Version, when(x.LastModifiedDate), oneLine(x.Description))
		}
	})
}

// objects prints n objects of JSON, one a line.
func (p *program) objects(n int, object func(int) any) error {
	encoder := json.NewEncoder(p.stdout)
	for i := range n {
		if err := encoder.Encode(object(i)); err != nil {
			return err
		}
	}
	return nil
}

type paramGetCommand struct {
	Name         string `arg:"" help:"The parameter's name or ARN; name:3 is its third version, name:label the one with that label."`
	revealFlags  `embed:""`
	connectFlags `embed:""`
}

func (paramGetCommand) Help() string {
	return `The value is written as it is, without a newline. A terminal is refused unless --reveal is given.

    malote param get /shop/api-key > api-key`
}

func (c *paramGetCommand) Run(ctx context.Context, p *program) error {
	if err := c.allow(p); err != nil {
		return err
	}
	var value []byte
	err := c.parameters(ctx, p, c.Name, func(client *ssm.Client) error {
		out, err := client.GetParameter(ctx, &ssm.GetParameterInput{Name: &c.Name, WithDecryption: aws.Bool(true)})
		if err == nil {
			value = []byte(aws.ToString(out.Parameter.Value))
		}
		return err
	})
	if err != nil {
		return err
	}
	return p.write(value)
}

type paramPutCommand struct {
	Name         string `arg:"" help:"The parameter's name."`
	Type         string `help:"SecureString, String or StringList." enum:"SecureString,String,StringList" default:"SecureString"`
	KMSKey       string `name:"kms-key" help:"The KMS key to encrypt a SecureString under." placeholder:"KEY"`
	Description  string `help:"What it is for." placeholder:"TEXT"`
	Overwrite    bool   `help:"Give a parameter that there is a new version."`
	valueFlags   `embed:""`
	connectFlags `embed:""`
}

func (paramPutCommand) Help() string {
	return `Prints the version.

    malote param put /shop/api-key --file api-key --trim`
}

func (c *paramPutCommand) Run(ctx context.Context, p *program) error {
	value, err := c.read(p)
	if err != nil {
		return err
	}
	if !utf8.Valid(value) {
		return &hintError{errors.New("the value is not UTF-8 text, which a parameter has to be"), "malote secret create " + shellWord(c.Name) + dataDirFlag(c.DataDir) + " takes bytes of any kind"}
	}
	in := &ssm.PutParameterInput{
		Name: &c.Name, Value: aws.String(string(value)), Type: types.ParameterType(c.Type),
		KeyId: given(c.KMSKey), Description: given(c.Description), Overwrite: &c.Overwrite,
	}
	return c.parameters(ctx, p, c.Name, func(client *ssm.Client) error {
		out, err := client.PutParameter(ctx, in)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(p.stdout, out.Version)
		return err
	})
}

type paramHistoryCommand struct {
	Name         string `arg:"" help:"The parameter's name."`
	JSON         bool   `name:"json" help:"Print JSON, one object a line, without values."`
	connectFlags `embed:""`
}

func (c *paramHistoryCommand) Run(ctx context.Context, p *program) error {
	var list []types.ParameterHistory
	err := c.parameters(ctx, p, c.Name, func(client *ssm.Client) error {
		pages := ssm.NewGetParameterHistoryPaginator(client, &ssm.GetParameterHistoryInput{Name: &c.Name})
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				return err
			}
			list = append(list, page.Parameters...)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for i := range list {
		list[i].Value = nil // of a String it came in clear
	}
	if c.JSON {
		return p.objects(len(list), func(i int) any { return list[i] })
	}
	return p.table(func(w io.Writer) {
		fmt.Fprintln(w, "VERSION\tCHANGED\tBY\tLABELS")
		for _, x := range list {
			fmt.Fprintf(w, "%d\t%s\t%s\t%s\n", x.Version, when(x.LastModifiedDate), aws.ToString(x.LastModifiedUser), strings.Join(x.Labels, " "))
		}
	})
}

type paramDeleteCommand struct {
	Name         string `arg:"" help:"The parameter's name."`
	connectFlags `embed:""`
}

func (c *paramDeleteCommand) Run(ctx context.Context, p *program) error {
	return c.parameters(ctx, p, c.Name, func(client *ssm.Client) error {
		if _, err := client.DeleteParameter(ctx, &ssm.DeleteParameterInput{Name: &c.Name}); err != nil {
			return err
		}
		fmt.Fprintf(p.stderr, "malote: deleted %s\n", c.Name)
		return nil
	})
}
