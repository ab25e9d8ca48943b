package directory

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"iter"
	"math/big"
	"strings"
	"time"

	"github.com/malote/malote/internal/lazyregexp"
	"github.com/malote/malote/store"
)

// Organization is what the accounts of one malote are together: it has a management
// account, the first one, which alone makes others. It gives nobody any right.
type Organization struct {
	ID         string // o-…
	Management string // twelve digits
	Created    time.Time
}

// NewAccount is an account that is to be made.
type NewAccount struct {
	ID    string // twelve digits; "": some that no account has
	Name  string // "" for none
	Email string // "" for none; no two accounts have the same

	// Root gives its root user an access key. There will be no user admin then.
	Root bool
	// Role is the name of a role with AdministratorAccess that the management account may
	// assume. With one there is neither a user admin nor a key: it is the only way in.
	Role string
}

// The limits of organizations:CreateAccount.
var (
	accountName  = lazyregexp.New(`^[ -~]{0,50}$`)
	accountEmail = lazyregexp.New(`^[^\s@]+@[^\s@]+\.[^\s@]+$`)
)

func (n *NewAccount) check() error {
	switch {
	case n.ID != "" && !isAccount(n.ID):
		return fmt.Errorf("account %q is not twelve digits", n.ID)
	case !accountName.MatchString(n.Name):
		return fmt.Errorf("account name %q: want up to 50 characters of printable ASCII", n.Name)
	case n.Email != "" && (len(n.Email) < 6 || len(n.Email) > 64 || !accountEmail.MatchString(n.Email)):
		return fmt.Errorf("%q is no email address of 6 to 64 characters", n.Email)
	}
	return nil
}

// AccountExists is the error of an id that some account has already.
type AccountExists struct{ ID string }

func (e *AccountExists) Error() string { return "there is an account " + e.ID + " already" }

// ErrNoAccount is the error of another account where there is not even the first.
var ErrNoAccount = errors.New("there is no account yet")

// ErrEmailExists is the error of an email address that is another account's.
var ErrEmailExists = errors.New("another account has this email address")

const organizationKey = "iam/organization"

// Organization is that of this malote.
func (t *Tx) Organization() (*Organization, error) {
	o, err := t.tables.organization.Get(t.tx, organizationKey)
	if err != nil {
		return nil, err
	}
	c := *o
	return &c, nil
}

// Accounts yields the accounts by id, those after an id. It reads nothing of what they have.
func (t *Tx) Accounts(after string) iter.Seq2[*Account, error] {
	return func(yield func(*Account, error) bool) {
		for {
			from := ""
			if after != "" {
				from = "iam/" + after + "0" // "0" follows "/"
			}
			next := ""
			for e, err := range t.tx.Scan("iam/", from) {
				if err != nil {
					yield(nil, err)
					return
				}
				next = e.Key
				break
			}
			after, _, _ = strings.Cut(strings.TrimPrefix(next, "iam/"), "/")
			if !isAccount(after) { // digits come before all else
				return
			}
			a, err := t.Account(after)
			if errors.Is(err, store.ErrNotFound) {
				continue
			}
			if !yield(a, err) || err != nil {
				return
			}
		}
	}
}

// FirstAccount is the id of the account that was made first, "" where there is none yet.
func (d *Directory) FirstAccount(ctx context.Context) (id string, err error) {
	err = d.View(ctx, func(tx *Tx) error {
		id, err = tx.first()
		return err
	})
	return id, err
}

func (t *Tx) first() (id string, err error) {
	o, err := t.Organization()
	if err == nil {
		return o.Management, nil
	}
	if !errors.Is(err, store.ErrNotFound) {
		return "", err
	}
	var oldest time.Time // the record of it came later than accounts did
	for a, err := range t.Accounts("") {
		if err != nil {
			return "", err
		}
		if id == "" || a.Created.Before(oldest) {
			oldest, id = a.Created, a.ID
		}
	}
	return id, nil
}

// organize notes which account was the first, where that is not noted yet: one that there
// is, or else the one that is about to be made.
func (d *Directory) organize(tx *Tx, next string) error {
	_, err := tx.Organization()
	if !errors.Is(err, store.ErrNotFound) {
		return err
	}
	first, err := tx.first()
	if err != nil {
		return err
	}
	return d.tables.organization.Put(tx.tx, organizationKey, &Organization{
		ID: "o-" + strings.ToLower(random32(10)), Management: cmp.Or(first, next), Created: d.now().UTC(),
	})
}

// CreateAccount makes an account beside the first one. What it returns of a key was made
// for it and is kept nowhere else in clear.
func (d *Directory) CreateAccount(ctx context.Context, in NewAccount) (*Account, *Bootstrapped, error) {
	var account *Account
	var made *Bootstrapped
	err := d.Update(ctx, func(tx *Tx) (err error) {
		account, made, err = d.CreateAccountIn(tx, in)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	return account, made, nil
}

// CreateAccountIn is CreateAccount within a transaction of Update's.
func (d *Directory) CreateAccountIn(tx *Tx, in NewAccount) (*Account, *Bootstrapped, error) {
	if err := in.check(); err != nil {
		return nil, nil, err
	}
	organization, err := tx.Organization()
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil, ErrNoAccount
	}
	if err != nil {
		return nil, nil, fmt.Errorf("reading whose organization this is: %w", err)
	}
	for other, err := range tx.Accounts("") {
		switch {
		case err != nil:
			return nil, nil, err
		case other.ID == in.ID:
			return nil, nil, &AccountExists{in.ID}
		case in.Email != "" && strings.EqualFold(other.Email, in.Email):
			return nil, nil, ErrEmailExists
		}
	}
	for in.ID == "" {
		n, err := rand.Int(rand.Reader, big.NewInt(900_000_000_000))
		if err != nil {
			return nil, nil, err
		}
		id := fmt.Sprint(100_000_000_000 + n.Int64())
		if _, err := tx.Account(id); errors.Is(err, store.ErrNotFound) {
			in.ID = id
		} else if err != nil {
			return nil, nil, err
		}
	}

	account, made := &Account{ID: in.ID, Created: d.now().UTC(), Name: in.Name, Email: in.Email}, new(Bootstrapped)
	switch {
	case in.Role != "":
		err = d.accessRole(tx, organization, account, in.Role)
	case in.Root:
		key := d.NewAccessKey(account.ID, account.ID)
		account.AccessKeys = []string{key.ID}
		*made = Bootstrapped{key.ID, key.Secret}
		err = tx.PutAccessKey(key)
	default:
		err = d.bootstrapAdmin(tx, BootstrapConfig{Account: account.ID}, made)
	}
	if err != nil {
		return nil, nil, err
	}
	return account, made, tx.PutAccount(account)
}

// accessRole makes the role by which the management account gets into the new one.
//
// https://docs.aws.amazon.com/organizations/latest/userguide/orgs_manage_accounts_access.html
func (d *Directory) accessRole(tx *Tx, o *Organization, account *Account, name string) error {
	trust, err := tx.NewTrust(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::` + o.Management + `:root"},"Action":"sts:AssumeRole"}]}`)
	if err != nil {
		return err
	}
	return tx.PutRole(&Role{
		Entity: Entity{
			Account: account.ID, Path: "/", Name: name, ID: NewID("AROA"), Created: account.Created,
			Attached: []string{"arn:aws:iam::aws:policy/AdministratorAccess"},
		},
		MaxSession: 3600,
		Trust:      trust,
	})
}

// AccountRequest is what became of a CreateAccount that came over the API.
type AccountRequest struct {
	ID        string // car-…
	Name      string
	Account   string `json:",omitempty"`
	Failure   string `json:",omitempty"` // in the API's words; "" for none
	Requested time.Time
}

const requestPrefix = "iam/organization/request/"

// PutAccountRequest writes one.
func (t *Tx) PutAccountRequest(r *AccountRequest) error {
	return t.tables.requests.Put(t.tx, requestPrefix+r.ID, r)
}

// AccountRequest finds one.
func (t *Tx) AccountRequest(id string) (*AccountRequest, error) {
	return t.tables.requests.Get(t.tx, requestPrefix+id)
}

// AccountRequests yields them by id, those after an id.
func (t *Tx) AccountRequests(after string) iter.Seq2[*AccountRequest, error] {
	return values(t.tables.requests.Scan(t.tx, requestPrefix, afterKey(requestPrefix+after, after)))
}
