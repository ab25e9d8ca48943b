package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/malote/malote/inject"
)

// secretCommands are for those who have no AWS CLI.
type secretCommands struct {
	List     secretListCommand     `cmd:"" help:"List secrets, without their values."`
	Create   secretCreateCommand   `cmd:"" help:"Make a secret of what comes on stdin."`
	Get      secretGetCommand      `cmd:"" help:"Write a secret's value to stdout."`
	Put      secretPutCommand      `cmd:"" help:"Give a secret a new version, from stdin."`
	Describe secretDescribeCommand `cmd:"" help:"Tell about a secret, without its value."`
	Versions secretVersionsCommand `cmd:"" help:"List a secret's versions and their stages."`
	Import   secretImportCommand   `cmd:"" help:"Make secrets of a .env file, and print what a task definition says of them."`
	Rotation rotationCommand       `cmd:"" help:"What became of a secret's rotations, and why."`
	Delete   secretDeleteCommand   `cmd:"" help:"Delete a secret, after a time to think again."`
	Restore  secretRestoreCommand  `cmd:"" help:"Take a deletion back."`
}

var secretHints = map[string]string{
	"ResourceNotFoundException": "malote secret list --data-dir DIR shows those that there are",
	"ResourceExistsException":   "malote secret put NAME --data-dir DIR gives an existing secret a new version; malote secret restore NAME --data-dir DIR takes a deletion back",
	"InvalidRequestException":   "malote secret describe NAME --data-dir DIR tells whether it is scheduled for deletion; malote secret restore NAME --data-dir DIR takes that back",
}

// secrets calls f with a client of Secrets Manager.
func (f connectFlags) secrets(ctx context.Context, p *program, name string, call func(*secretsmanager.Client, aws.Config) error) error {
	cfg, done, err := f.connect(ctx, p)
	if err != nil {
		return err
	}
	defer done()
	return said(call(secretsmanager.NewFromConfig(cfg), cfg), secretHints, name, f.DataDir)
}

type secretListCommand struct {
	JSON         bool `name:"json" help:"Print JSON, one object a line."`
	Deleted      bool `help:"With those that are scheduled for deletion."`
	connectFlags `embed:""`
}

func (c *secretListCommand) Run(ctx context.Context, p *program) error {
	var list []types.SecretListEntry
	err := c.secrets(ctx, p, "", func(client *secretsmanager.Client, _ aws.Config) error {
		pages := secretsmanager.NewListSecretsPaginator(client, &secretsmanager.ListSecretsInput{IncludePlannedDeletion: &c.Deleted})
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				return err
			}
			list = append(list, page.SecretList...)
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
		fmt.Fprintln(w, "NAME\tCHANGED\tDELETED\tDESCRIPTION")
		for _, s := range list {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", aws.ToString(s.Name), when(s.LastChangedDate), when(s.DeletedDate), oneLine(s.Description))
		}
	})
}

func when(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}

// oneLine keeps a text of somebody's in its cell.
func oneLine(s *string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, aws.ToString(s))
}

type secretCreateCommand struct {
	Name         string `arg:"" help:"The secret's name."`
	Description  string `help:"What it is for." placeholder:"TEXT"`
	KMSKey       string `name:"kms-key" help:"The KMS key to encrypt it under." placeholder:"KEY"`
	valueFlags   `embed:""`
	connectFlags `embed:""`
}

func (secretCreateCommand) Help() string {
	return `Prints the ARN, to put in a task definition.

    malote secret create shop/db --file db.json`
}

func (c *secretCreateCommand) Run(ctx context.Context, p *program) error {
	value, err := c.read(p)
	if err != nil {
		return err
	}
	in := &secretsmanager.CreateSecretInput{Name: &c.Name, Description: given(c.Description), KmsKeyId: given(c.KMSKey)}
	in.SecretString, in.SecretBinary = textOrBinary(value)
	return c.secrets(ctx, p, c.Name, func(client *secretsmanager.Client, _ aws.Config) error {
		out, err := client.CreateSecret(ctx, in)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(p.stdout, aws.ToString(out.ARN))
		return err
	})
}

func given(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// textOrBinary is how Secrets Manager keeps a value: what is UTF-8 is text.
func textOrBinary(value []byte) (*string, []byte) {
	if utf8.Valid(value) {
		return aws.String(string(value)), nil
	}
	return nil, value
}

type secretGetCommand struct {
	Name         string `arg:"" help:"The secret's name or ARN."`
	Key          string `help:"Of a JSON secret, this key's value alone." placeholder:"KEY"`
	VersionID    string `name:"version-id" help:"This version." placeholder:"ID"`
	Stage        string `help:"The version with this staging label." placeholder:"LABEL"`
	revealFlags  `embed:""`
	connectFlags `embed:""`
}

func (secretGetCommand) Help() string {
	return `The value is written as it is, without a newline. A terminal is refused unless --reveal is given.

    malote secret get shop/db --key password > password`
}

func (c *secretGetCommand) Run(ctx context.Context, p *program) error {
	if err := c.allow(p); err != nil {
		return err
	}
	var value []byte
	err := c.secrets(ctx, p, c.Name, func(client *secretsmanager.Client, cfg aws.Config) error {
		if c.Key != "" {
			ref := inject.Ref{ValueFrom: c.Name, Service: inject.SecretsManager, Region: cfg.Region, ID: c.Name, JSONKey: c.Key, VersionStage: c.Stage, VersionID: c.VersionID}
			values, err := (&inject.Resolver{Config: cfg}).Resolve(ctx, []inject.Ref{ref})
			if err != nil {
				return errors.New(err.Error())
			}
			value = []byte(values[c.Name].Reveal())
			return nil
		}
		out, err := client.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &c.Name, VersionId: given(c.VersionID), VersionStage: given(c.Stage)})
		if err != nil {
			return err
		}
		value = out.SecretBinary
		if out.SecretString != nil {
			value = []byte(*out.SecretString)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return p.write(value)
}

type secretPutCommand struct {
	Name         string `arg:"" help:"The secret's name or ARN."`
	valueFlags   `embed:""`
	connectFlags `embed:""`
}

func (secretPutCommand) Help() string {
	return `Prints the version's id. The version before it keeps the label AWSPREVIOUS.

    malote secret put shop/db --file db.json`
}

func (c *secretPutCommand) Run(ctx context.Context, p *program) error {
	value, err := c.read(p)
	if err != nil {
		return err
	}
	in := &secretsmanager.PutSecretValueInput{SecretId: &c.Name}
	in.SecretString, in.SecretBinary = textOrBinary(value)
	return c.secrets(ctx, p, c.Name, func(client *secretsmanager.Client, _ aws.Config) error {
		out, err := client.PutSecretValue(ctx, in)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(p.stdout, aws.ToString(out.VersionId))
		return err
	})
}

type secretDescribeCommand struct {
	Name         string `arg:"" help:"The secret's name or ARN."`
	JSON         bool   `name:"json" help:"Print JSON."`
	connectFlags `embed:""`
}

func (c *secretDescribeCommand) Run(ctx context.Context, p *program) error {
	return c.secrets(ctx, p, c.Name, func(client *secretsmanager.Client, _ aws.Config) error {
		s, err := client.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: &c.Name})
		if err != nil {
			return err
		}
		if c.JSON {
			return json.NewEncoder(p.stdout).Encode(s)
		}
		return p.table(func(w io.Writer) {
			fmt.Fprintf(w, "name\t%s\narn\t%s\n", aws.ToString(s.Name), aws.ToString(s.ARN))
			fmt.Fprintf(w, "description\t%s\nkms key\t%s\n", oneLine(s.Description), aws.ToString(s.KmsKeyId))
			fmt.Fprintf(w, "created\t%s\nchanged\t%s\ndeleted\t%s\n", when(s.CreatedDate), when(s.LastChangedDate), when(s.DeletedDate))
			fmt.Fprintf(w, "rotation\t%t\n", aws.ToBool(s.RotationEnabled))
			for _, tag := range s.Tags {
				fmt.Fprintf(w, "tag %s\t%s\n", oneLine(tag.Key), oneLine(tag.Value))
			}
		})
	})
}

type secretVersionsCommand struct {
	Name         string `arg:"" help:"The secret's name or ARN."`
	JSON         bool   `name:"json" help:"Print JSON, one object a line."`
	connectFlags `embed:""`
}

func (c *secretVersionsCommand) Run(ctx context.Context, p *program) error {
	var list []types.SecretVersionsListEntry
	err := c.secrets(ctx, p, c.Name, func(client *secretsmanager.Client, _ aws.Config) error {
		pages := secretsmanager.NewListSecretVersionIdsPaginator(client, &secretsmanager.ListSecretVersionIdsInput{SecretId: &c.Name})
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				return err
			}
			list = append(list, page.Versions...)
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
		fmt.Fprintln(w, "VERSION\tCREATED\tSTAGES")
		for _, v := range list {
			fmt.Fprintf(w, "%s\t%s\t%s\n", aws.ToString(v.VersionId), when(v.CreatedDate), strings.Join(v.VersionStages, " "))
		}
	})
}

type secretDeleteCommand struct {
	Name         string `arg:"" help:"The secret's name or ARN."`
	Days         int64  `help:"How long it can be restored, 7 to 30; 30 without it." xor:"how" placeholder:"N"`
	Force        bool   `help:"At once and for good." xor:"how"`
	connectFlags `embed:""`
}

func (c *secretDeleteCommand) Run(ctx context.Context, p *program) error {
	in := &secretsmanager.DeleteSecretInput{SecretId: &c.Name}
	if c.Days != 0 {
		in.RecoveryWindowInDays = &c.Days
	}
	if c.Force {
		in.ForceDeleteWithoutRecovery = aws.Bool(true)
	}
	return c.secrets(ctx, p, c.Name, func(client *secretsmanager.Client, _ aws.Config) error {
		out, err := client.DeleteSecret(ctx, in)
		if err != nil {
			return err
		}
		if c.Force {
			fmt.Fprintf(p.stderr, "malote: deleted %s\n", c.Name)
			return nil
		}
		fmt.Fprintf(p.stderr, "malote: %s is deleted on %s\nmalote: hint: malote secret restore %s%s takes that back until then\n", c.Name, when(out.DeletionDate), shellWord(c.Name), dataDirFlag(c.DataDir))
		return nil
	})
}

type secretRestoreCommand struct {
	Name         string `arg:"" help:"The secret's name or ARN."`
	connectFlags `embed:""`
}

func (c *secretRestoreCommand) Run(ctx context.Context, p *program) error {
	return c.secrets(ctx, p, c.Name, func(client *secretsmanager.Client, _ aws.Config) error {
		_, err := client.RestoreSecret(ctx, &secretsmanager.RestoreSecretInput{SecretId: &c.Name})
		return err
	})
}
