package directory_test

import (
	"errors"
	"iter"
	"slices"
	"testing"
	"time"

	"github.com/malote/malote/service/iam/directory"
	"github.com/malote/malote/store"
)

// names collects what an index yields.
func names(t *testing.T, items iter.Seq2[string, error]) []string {
	t.Helper()
	all := []string{}
	for name, err := range items {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, name)
	}
	return all
}

// Who is in which instance profile is known from both ends.
func TestInstanceProfiles(t *testing.T) {
	t.Parallel()
	f := open(t)
	put := func(name, role string) *directory.InstanceProfile {
		t.Helper()
		p := &directory.InstanceProfile{Entity: directory.Entity{Account: account, Path: "/", Name: name, ID: directory.NewID("AIPA")}, Role: role}
		f.update(t, func(tx *directory.Tx) error { return tx.PutInstanceProfile(p) })
		return p
	}
	of := func(role string) (found []string) {
		t.Helper()
		if err := f.View(t.Context(), func(tx *directory.Tx) error { found = names(t, tx.ProfilesOf(account, role)); return nil }); err != nil {
			t.Fatal(err)
		}
		return found
	}
	put("B", "app")
	last := put("a", "app")
	put("c", "appendix") // whose name begins like the other's
	if got := of("App"); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("profiles of app = %v", got)
	}
	put("b", "appendix")
	f.update(t, func(tx *directory.Tx) error { return tx.DeleteInstanceProfile(last) })
	if app, appendix := of("app"), of("appendix"); len(app) != 0 || !slices.Equal(appendix, []string{"b", "c"}) {
		t.Errorf("profiles of app = %v, of appendix = %v", app, appendix)
	}
	err := f.View(t.Context(), func(tx *directory.Tx) error {
		if n, err := tx.Count(account, directory.KindInstanceProfile); n != 2 || err != nil {
			t.Errorf("%d instance profiles, %v", n, err)
		}
		_, err := tx.InstanceProfile(account, "a")
		return err
	})
	if !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the deleted one: %v", err)
	}
}

func TestAliases(t *testing.T) {
	t.Parallel()
	f := open(t)
	owner := func(alias string) (account string) {
		t.Helper()
		err := f.View(t.Context(), func(tx *directory.Tx) (err error) {
			account, err = tx.AliasOwner(alias)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return account
	}
	a := &directory.Account{ID: account, Created: f.time}
	for _, alias := range []string{"one", "two", ""} {
		f.update(t, func(tx *directory.Tx) error { return tx.SetAlias(a, alias) })
		for _, each := range []string{"one", "two"} {
			want := ""
			if each == alias {
				want = account
			}
			if got := owner(each); got != want {
				t.Errorf("with alias %q, %q is %q's", alias, each, got)
			}
		}
	}
}

func TestDeletionsAreForgotten(t *testing.T) {
	t.Parallel()
	f := open(t)
	put := func(task string, days int) {
		t.Helper()
		d := &directory.Deletion{Role: "arn", Time: f.time.AddDate(0, 0, days)}
		f.update(t, func(tx *directory.Tx) error { return tx.PutDeletion(account, task, d) })
	}
	put("a", 0)
	put("b", 29)
	put("c", 31)
	err := f.View(t.Context(), func(tx *directory.Tx) error {
		if _, err := tx.Deletion(account, "a"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("after a month: %v", err)
		}
		d, err := tx.Deletion(account, "b")
		if err == nil && !d.Time.Equal(f.time.Add(29*24*time.Hour)) {
			t.Errorf("after two days: %+v", d)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
