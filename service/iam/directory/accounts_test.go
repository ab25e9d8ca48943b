package directory_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/malote/malote/caller"
	"github.com/malote/malote/service/iam/directory"
	"github.com/malote/malote/store"
)

// started is a directory with its first account.
func started(t *testing.T) *fixture {
	t.Helper()
	f := open(t)
	if _, err := f.Bootstrap(t.Context(), directory.BootstrapConfig{Account: account}); err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *fixture) accounts(t *testing.T, after string) (ids []string, management string) {
	t.Helper()
	err := f.View(t.Context(), func(tx *directory.Tx) error {
		ids = nil
		for a, err := range tx.Accounts(after) {
			if err != nil {
				return err
			}
			ids = append(ids, a.ID)
		}
		o, err := tx.Organization()
		if err != nil {
			return err
		}
		if management = o.Management; !strings.HasPrefix(o.ID, "o-") {
			t.Errorf("the organization is called %s", o.ID)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return ids, management
}

func TestCreateAccount(t *testing.T) {
	t.Parallel()
	f := started(t)
	f.role(t, "App") // more than the accounts alone is below their keys
	for _, tt := range []struct {
		in   directory.NewAccount
		want caller.Type // whose the key is; "" for none
	}{
		{directory.NewAccount{ID: "000000000001", Name: "first in order"}, caller.User},
		{directory.NewAccount{ID: "999999999999", Email: "ops@example.com"}, caller.User},
		{directory.NewAccount{ID: "210987654321", Root: true}, caller.Account},
		{directory.NewAccount{ID: "310987654321", Role: "Access"}, ""},
	} {
		made, key, err := f.CreateAccount(t.Context(), tt.in)
		if err != nil {
			t.Fatal(err)
		}
		if made.ID != tt.in.ID || made.Name != tt.in.Name || made.Email != tt.in.Email {
			t.Errorf("made %+v of %+v", made, tt.in)
		}
		if tt.want == "" {
			if *key != (directory.Bootstrapped{}) {
				t.Errorf("%s has a key besides its role", made.ID)
			}
			continue
		}
		c, err := f.Lookup(t.Context(), key.AccessKeyID, "")
		if err != nil {
			t.Fatal(err)
		}
		if c.Principal.Account != tt.in.ID || c.Principal.Type != tt.want || c.SecretAccessKey != key.SecretAccessKey {
			t.Errorf("the key of %s is %s's of %s, want a %s's", tt.in.ID, c.Principal.ARN, c.Principal.Account, tt.want)
		}
		if of, ok := directory.AccountOfKey(key.AccessKeyID); !ok || of != tt.in.ID {
			t.Errorf("key id %s reads as account %s, want %s", key.AccessKeyID, of, tt.in.ID)
		}
	}
	drawn, _, err := f.CreateAccount(t.Context(), directory.NewAccount{})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"000000000001", account, "210987654321", "310987654321", "999999999999", drawn.ID}
	slices.Sort(want)
	if got, management := f.accounts(t, ""); !slices.Equal(got, want) || management != account {
		t.Errorf("accounts are %v of %s, want %v of %s", got, management, want, account)
	}
	behind := want[slices.Index(want, account)+1:] // the drawn one may be before it
	if got, _ := f.accounts(t, account); !slices.Equal(got, behind) {
		t.Errorf("accounts behind %s are %v, want %v", account, got, behind)
	}

	err = f.View(t.Context(), func(tx *directory.Tx) error {
		if _, err := tx.User("210987654321", "admin"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("admin beside root's key: %v", err)
		}
		role, err := tx.Role("310987654321", "Access")
		if err != nil {
			return err
		}
		if !strings.Contains(role.Trust.Document, "arn:aws:iam::"+account+":root") || !slices.Equal(role.Attached, []string{"arn:aws:iam::aws:policy/AdministratorAccess"}) {
			t.Errorf("role %+v", role)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}

	var exists *directory.AccountExists
	for name, tt := range map[string]struct {
		in directory.NewAccount
		is func(error) bool
	}{
		"again":       {directory.NewAccount{ID: "210987654321"}, func(err error) bool { return errors.As(err, &exists) && exists.ID == "210987654321" }},
		"the first":   {directory.NewAccount{ID: account, Root: true}, func(err error) bool { return errors.As(err, &exists) }},
		"short":       {directory.NewAccount{ID: "12"}, func(err error) bool { return err != nil && strings.Contains(err.Error(), "twelve digits") }},
		"no digits":   {directory.NewAccount{ID: "12345678901x"}, func(err error) bool { return err != nil && strings.Contains(err.Error(), "twelve digits") }},
		"same e-mail": {directory.NewAccount{Email: "OPS@example.com"}, func(err error) bool { return errors.Is(err, directory.ErrEmailExists) }},
	} {
		if _, key, err := f.CreateAccount(t.Context(), tt.in); !tt.is(err) || key != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got, _ := f.accounts(t, ""); !slices.Equal(got, want) {
		t.Errorf("after refusals accounts are %v, want %v", got, want)
	}
}

// A key is shown by nothing that prints what was made.
func TestCreatedKeyIsNotPrinted(t *testing.T) {
	t.Parallel()
	f := started(t)
	_, key, err := f.CreateAccount(t.Context(), directory.NewAccount{})
	if err != nil {
		t.Fatal(err)
	}
	if text := fmt.Sprintf("%v %+v %#v", key, *key, *key); strings.Contains(text, key.SecretAccessKey) {
		t.Errorf("printed as %s", strings.ReplaceAll(text, key.SecretAccessKey, "THE KEY"))
	}
}

// A start for an account that there is not makes none beside others: a slip of --account
// would.
func TestBootstrapOfAnotherAccount(t *testing.T) {
	t.Parallel()
	f := started(t)
	var unknown *directory.UnknownAccount
	_, err := f.Bootstrap(t.Context(), directory.BootstrapConfig{Account: "210987654321"})
	if !errors.As(err, &unknown) || unknown.ID != "210987654321" || !slices.Equal(unknown.Known, []string{account}) {
		t.Fatalf("error = %v, want an UnknownAccount", err)
	}
	if _, _, err := f.CreateAccount(t.Context(), directory.NewAccount{ID: "210987654321"}); err != nil {
		t.Fatal(err)
	}
	made, err := f.Bootstrap(t.Context(), directory.BootstrapConfig{Account: "210987654321"})
	if err != nil || *made != (directory.Bootstrapped{}) {
		t.Errorf("Bootstrap of one that there is = %v, %v", made, err)
	}
	if made, err := f.Bootstrap(t.Context(), directory.BootstrapConfig{}); err != nil || *made != (directory.Bootstrapped{}) {
		t.Errorf("Bootstrap of none = %v, %v", made, err)
	}
	if got, management := f.accounts(t, ""); len(got) != 2 || management != account {
		t.Errorf("accounts %v of %s", got, management)
	}
}

// What was kept before it was noted which account is the first: the oldest is it.
func TestOldestIsFirst(t *testing.T) {
	t.Parallel()
	f := open(t)
	f.update(t, func(tx *directory.Tx) error {
		return errors.Join(
			tx.PutAccount(&directory.Account{ID: "111111111111", Created: f.time.Add(time.Hour)}),
			tx.PutAccount(&directory.Account{ID: "222222222222", Created: f.time}),
			tx.PutAccount(&directory.Account{ID: "333333333333", Created: f.time.Add(time.Minute)}),
		)
	})
	if _, err := f.Bootstrap(t.Context(), directory.BootstrapConfig{Account: "333333333333"}); err != nil {
		t.Fatal(err)
	}
	if _, management := f.accounts(t, ""); management != "222222222222" {
		t.Errorf("the first account is %s, want 222222222222", management)
	}
	f.time = f.time.Add(-24 * time.Hour) // a clock that goes back makes no later account the first
	if _, _, err := f.CreateAccount(t.Context(), directory.NewAccount{ID: "000000000000"}); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Bootstrap(t.Context(), directory.BootstrapConfig{Account: "000000000000"}); err != nil {
		t.Fatal(err)
	}
	if _, management := f.accounts(t, ""); management != "222222222222" {
		t.Errorf("the first account became %s", management)
	}
}
