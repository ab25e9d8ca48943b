package directory

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/malote/malote/internal/lazyregexp"
	"github.com/malote/malote/store"
)

// BootstrapConfig says what the first start makes.
type BootstrapConfig struct {
	// Account is twelve digits. "": the first account.
	Account string
	// Default is the first account's id if there is none yet and Account does not say. "": none is
	// made then, as for a command that works with what there is.
	Default string

	// Admin's first access key. Empty: one is drawn on the first start.
	AdminAccessKeyID, AdminSecretAccessKey string

	// An access key for the root user. If set, there will be no admin.
	RootAccessKeyID, RootSecretAccessKey string
}

// Bootstrapped says what the first start made that nobody knew before: admin's drawn
// access key, to be shown once. It is empty otherwise.
type Bootstrapped struct {
	AccessKeyID     string
	SecretAccessKey string
}

var accessKeyIDs = lazyregexp.New(`^\w{16,128}$`)

// UnknownAccount is the error of a start for an account that there is not beside others.
type UnknownAccount struct {
	ID    string
	Known []string
}

func (e *UnknownAccount) Error() string {
	return fmt.Sprintf("there is no account %s here, but %s", e.ID, strings.Join(e.Known, ", "))
}

func (c BootstrapConfig) check() error {
	if !isAccount(c.Account) {
		return fmt.Errorf("account %q is not twelve digits", c.Account)
	}
	for _, key := range []struct{ who, id, secret string }{
		{"admin", c.AdminAccessKeyID, c.AdminSecretAccessKey},
		{"root", c.RootAccessKeyID, c.RootSecretAccessKey},
	} {
		switch {
		case key.id == "" && key.secret == "":
		case key.id == "" || key.secret == "":
			return fmt.Errorf("access key of %s: id and secret must be given together", key.who)
		case !accessKeyIDs.MatchString(key.id):
			return fmt.Errorf("access key id of %s: want 16 to 128 letters, digits and underscores", key.who)
		case len(key.id) >= 4 && key.id[:4] == "ASIA":
			return fmt.Errorf("access key id of %s: ASIA… are temporary keys'", key.who)
		case len(key.secret) < 16:
			return fmt.Errorf("secret access key of %s: want at least 16 characters", key.who)
		}
	}
	if c.AdminAccessKeyID != "" && c.AdminAccessKeyID == c.RootAccessKeyID {
		return errors.New("admin and root cannot share an access key id")
	}
	return nil
}

// Bootstrap makes the first account on the first start: its root user, and a user admin with
// AdministratorAccess unless root is given a key. Later starts, for this account or another
// that there is, change nothing but to add a key of root's that is given and missing, so that
// a lock-out can be mended: whoever sets the server's environment owns it anyway. A start for
// an account that there is not is an *UnknownAccount: CreateAccount makes others.
func (d *Directory) Bootstrap(ctx context.Context, c BootstrapConfig) (*Bootstrapped, error) {
	if c.Account == "" {
		first, err := d.FirstAccount(ctx)
		if err != nil {
			return nil, err
		}
		if c.Account = cmp.Or(first, c.Default); c.Account == "" {
			return new(Bootstrapped), nil
		}
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	var made *Bootstrapped
	attempt := func(tx *Tx) error {
		made = new(Bootstrapped)
		account, err := tx.Account(c.Account)
		first := errors.Is(err, store.ErrNotFound)
		if err != nil && !first {
			return err
		}
		if first {
			unknown := &UnknownAccount{ID: c.Account}
			for other, err := range tx.Accounts("") {
				if err != nil {
					return err
				}
				unknown.Known = append(unknown.Known, other.ID)
			}
			if len(unknown.Known) > 0 {
				return unknown
			}
			account = &Account{ID: c.Account, Created: d.now().UTC()}
		}
		if err := d.organize(tx, c.Account); err != nil {
			return err
		}
		if c.RootAccessKeyID != "" {
			if err := d.bootstrapRoot(tx, account, c); err != nil {
				return err
			}
		}
		if !first {
			return nil
		}
		if c.RootAccessKeyID == "" {
			if err := d.bootstrapAdmin(tx, c, made); err != nil {
				return err
			}
		}
		return tx.PutAccount(account)
	}
	// Most starts find all in place, and then cost no write.
	settled := false
	if err := d.View(ctx, func(tx *Tx) error {
		account, err := tx.Account(c.Account)
		if err != nil {
			return notFoundAs(err, nil)
		}
		if _, err := tx.Organization(); err != nil {
			return notFoundAs(err, nil)
		}
		if c.RootAccessKeyID == "" {
			settled = true
			return nil
		}
		key, err := tx.AccessKey(c.RootAccessKeyID)
		if err != nil {
			return notFoundAs(err, nil)
		}
		settled = key.Owner == account.ID && key.Secret == c.RootSecretAccessKey && key.Active
		return nil
	}); err != nil {
		return nil, fmt.Errorf("bootstrap of account %s: %w", c.Account, err)
	}
	if settled {
		return new(Bootstrapped), nil
	}
	if err := d.Update(ctx, attempt); err != nil {
		return nil, fmt.Errorf("bootstrap of account %s: %w", c.Account, err)
	}
	return made, nil
}

func (d *Directory) bootstrapRoot(tx *Tx, account *Account, c BootstrapConfig) error {
	old, err := tx.AccessKey(c.RootAccessKeyID)
	switch {
	case errors.Is(err, store.ErrNotFound):
		account.AccessKeys = append(account.AccessKeys, c.RootAccessKeyID)
	case err != nil:
		return err
	case old.Owner != account.ID:
		return fmt.Errorf("access key %s is somebody else's", c.RootAccessKeyID)
	}
	if err := tx.PutAccessKey(&AccessKey{
		ID: c.RootAccessKeyID, Account: account.ID, Owner: account.ID,
		Secret: c.RootSecretAccessKey, Active: true, Created: d.now().UTC(),
	}); err != nil {
		return err
	}
	return tx.PutAccount(account)
}

func (d *Directory) bootstrapAdmin(tx *Tx, c BootstrapConfig, made *Bootstrapped) error {
	id, secret := c.AdminAccessKeyID, c.AdminSecretAccessKey
	if id == "" {
		id, secret = newAccessKeyID("AKIA", c.Account), newSecret()
		*made = Bootstrapped{id, secret}
	} else if _, err := tx.AccessKey(id); !errors.Is(err, store.ErrNotFound) {
		return errors.Join(fmt.Errorf("access key %s is somebody else's", id), err)
	}
	admin := &User{
		Entity: Entity{
			Account: c.Account, Path: "/", Name: "admin", ID: NewID("AIDA"), Created: d.now().UTC(),
			Attached: []string{"arn:aws:iam::aws:policy/AdministratorAccess"},
		},
		AccessKeys: []string{id},
	}
	if err := tx.PutUser(admin); err != nil {
		return err
	}
	return tx.PutAccessKey(&AccessKey{
		ID: id, Account: c.Account, Owner: admin.ID, Secret: secret, Active: true, Created: admin.Created,
	})
}

// NewAccessKey draws a key for the owner with that id.
func (d *Directory) NewAccessKey(account, owner string) *AccessKey {
	return &AccessKey{
		ID: newAccessKeyID("AKIA", account), Account: account, Owner: owner,
		Secret: newSecret(), Active: true, Created: d.now().UTC(),
	}
}
