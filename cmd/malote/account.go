package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/malote/malote/service/iam/directory"
)

type accountCommands struct {
	Create accountCreateCommand `cmd:"" help:"Make another account."`
	List   accountListCommand   `cmd:"" help:"List the accounts."`
}

// accountFlags are those of commands that are for whoever owns the data directory.
type accountFlags struct {
	DataDir    string `help:"Whose accounts." env:"MALOTE_DATA_DIR" placeholder:"DIR"`
	storeFlags `embed:""`
}

// ask puts a question to the malote that runs on the data directory, or, without one, to the
// data itself.
func (f *accountFlags) ask(ctx context.Context, method, path string, answer any, offline func(*plane) (any, error)) error {
	dir := dataDirOr(f.DataDir)
	body, err := callControl(ctx, dir, method, path)
	if errors.Is(err, errNotRunning) {
		body, err = f.offline(ctx, dir, offline)
	}
	if err != nil {
		return err
	}
	return json.Unmarshal(body, answer)
}

func (f *accountFlags) offline(ctx context.Context, dir string, do func(*plane) (any, error)) (body []byte, err error) {
	if !exists(dir) {
		return nil, &hintError{fmt.Errorf("%s: there is no such data directory", dir), "malote up" + dataDirFlag(f.DataDir) + storeFlag(f.Store) + " makes it, and the first account"}
	}
	plane, err := planeFlags{DataDir: dir, storeFlags: f.storeFlags, existing: true}.open(ctx, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, plane.Close()) }()
	answer, err := do(plane)
	if errors.Is(err, directory.ErrNoAccount) {
		return nil, &hintError{err, "malote up" + dataDirFlag(f.DataDir) + storeFlag(f.Store) + " makes the first one"}
	}
	if err != nil {
		return nil, err
	}
	return json.Marshal(answer)
}

type accountCreateCommand struct {
	AccountID    string `name:"account-id" help:"Twelve digits. Default: some that no account has." placeholder:"ID"`
	Name         string `help:"What people call it." placeholder:"NAME"`
	Email        string `help:"Whom it belongs to. No two accounts have the same." placeholder:"ADDRESS"`
	Root         bool   `help:"Make an access key of its root user, and no user admin."`
	accountFlags `embed:""`
}

func (accountCreateCommand) Help() string {
	return `It has nothing in common with the others but this malote: nobody in one can do anything
in the other until policies of both say so. The access key of its user admin goes to stdout
and is not shown again. For whoever owns the data directory, whether malote runs or not;
others call organizations:CreateAccount, if they may. See docs/accounts.md.

    malote account create --account-id 210987654321 --name staging`
}

// createdAccount is an account with the only key that it has.
type createdAccount struct {
	ID              string
	User            string // whose key it is: admin or root
	AccessKeyID     string
	SecretAccessKey string
}

// String keeps the key out of what is formatted.
func (a createdAccount) String() string   { return "account " + a.ID }
func (a createdAccount) GoString() string { return a.String() }

func (c *accountCreateCommand) Run(ctx context.Context, p *program) error {
	query := url.Values{"id": {c.AccountID}, "name": {c.Name}, "email": {c.Email}, "root": {strconv.FormatBool(c.Root)}}
	var made createdAccount
	err := c.ask(ctx, http.MethodPost, "/accounts?"+query.Encode(), &made, func(plane *plane) (any, error) {
		return plane.createAccount(ctx, directory.NewAccount{ID: c.AccountID, Name: c.Name, Email: c.Email, Root: c.Root})
	})
	if err != nil {
		return fmt.Errorf("making an account: %w", err)
	}
	if _, err := fmt.Fprintf(p.stdout, "AWS_ACCESS_KEY_ID=%s\nAWS_SECRET_ACCESS_KEY=%s\n", made.AccessKeyID, made.SecretAccessKey); err != nil {
		return err
	}
	_, err = fmt.Fprintf(p.stderr, "malote: account %s is made; the access key of its %s is on stdout and is not shown again\n", made.ID, made.User)
	return err
}

// createAccount makes an account for whoever owns the data directory.
func (p *plane) createAccount(ctx context.Context, in directory.NewAccount) (*createdAccount, error) {
	account, key, err := p.CreateAccount(ctx, in)
	if err != nil && account != nil {
		return nil, fmt.Errorf("%w; malote env --account %s%s has its access key", err, account.ID, dataDirFlag(p.flags.DataDir))
	}
	if err != nil {
		return nil, err
	}
	user := "user admin"
	if in.Root {
		user = "root user"
	}
	return &createdAccount{account.ID, user, key.AccessKeyID, key.SecretAccessKey}, nil
}

type accountListCommand struct {
	JSON         bool `name:"json" help:"Print JSON, one object a line."`
	accountFlags `embed:""`
}

func (accountListCommand) Help() string {
	return `The first one is the management account: its principals, if their policies let them, make
others with organizations:CreateAccount and list them with organizations:ListAccounts.

    malote account list`
}

// listedAccount is an account as it is listed.
type listedAccount struct {
	ID      string
	Name    string `json:",omitempty"`
	Email   string `json:",omitempty"`
	Created time.Time
	First   bool `json:",omitempty"`
}

func (c *accountListCommand) Run(ctx context.Context, p *program) error {
	var all []listedAccount
	err := c.ask(ctx, http.MethodGet, "/accounts", &all, func(plane *plane) (any, error) { return plane.accounts(ctx) })
	if err != nil {
		return fmt.Errorf("listing the accounts: %w", err)
	}
	if c.JSON {
		return p.objects(len(all), func(i int) any { return all[i] })
	}
	return p.table(func(w io.Writer) {
		fmt.Fprintln(w, "ACCOUNT\tNAME\tEMAIL\tCREATED\tFIRST")
		for _, a := range all {
			first := ""
			if a.First {
				first = "yes"
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", a.ID, a.Name, a.Email, when(&a.Created), first)
		}
	})
}

func (p *plane) accounts(ctx context.Context) ([]listedAccount, error) {
	all, first, err := p.Accounts(ctx)
	if err != nil {
		return nil, err
	}
	listed := make([]listedAccount, 0, len(all))
	for _, a := range all {
		listed = append(listed, listedAccount{a.ID, a.Name, a.Email, a.Created, a.ID == first})
	}
	return listed, nil
}
