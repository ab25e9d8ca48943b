package directory

import (
	"iter"
	"strings"
	"time"

	"github.com/malote/malote/store"
)

func inProfilePrefix(account, role string) string {
	return "iam/" + account + "/in-profile/" + strings.ToLower(role) + "/"
}

// InstanceProfile finds an instance profile by name, in any case.
func (t *Tx) InstanceProfile(account, name string) (*InstanceProfile, error) {
	p, err := t.tables.profiles.Get(t.tx, entityKey(account, KindInstanceProfile, name))
	if err != nil {
		return nil, err
	}
	return &InstanceProfile{p.clone(), p.Role}, nil
}

// PutInstanceProfile writes p.
func (t *Tx) PutInstanceProfile(p *InstanceProfile) error {
	old, err := t.InstanceProfile(p.Account, p.Name)
	if err != nil && err != store.ErrNotFound {
		return err
	}
	var role string
	if old != nil {
		role = old.Role
	}
	if err := t.indexProfile(p, role, p.Role); err != nil {
		return err
	}
	return t.tables.profiles.Put(t.tx, entityKey(p.Account, KindInstanceProfile, p.Name), p)
}

// DeleteInstanceProfile removes p and its index.
func (t *Tx) DeleteInstanceProfile(p *InstanceProfile) error {
	if err := t.indexProfile(p, p.Role, ""); err != nil {
		return err
	}
	return t.tables.profiles.Delete(t.tx, entityKey(p.Account, KindInstanceProfile, p.Name))
}

func (t *Tx) indexProfile(p *InstanceProfile, before, after string) error {
	return t.reindex(oneOrNone(before), oneOrNone(after), func(role string) string {
		return inProfilePrefix(p.Account, role) + strings.ToLower(p.Name)
	})
}

// InstanceProfiles yields the account's instance profiles by name, those after a name.
func (t *Tx) InstanceProfiles(account, after string) iter.Seq2[*InstanceProfile, error] {
	return values(t.tables.profiles.Scan(t.tx, entityKey(account, KindInstanceProfile, ""), afterKey(entityKey(account, KindInstanceProfile, after), after)))
}

// ProfilesOf yields the names, in lower case, of the instance profiles that a role is in.
func (t *Tx) ProfilesOf(account, role string) iter.Seq2[string, error] {
	return t.leaves(inProfilePrefix(account, role))
}

// Count says how many users, roles, groups or instance profiles an account has.
func (t *Tx) Count(account string, kind Kind) (n int32, err error) {
	return t.count(entityKey(account, kind, ""))
}

// CountPolicies says how many managed policies of its own an account has.
func (t *Tx) CountPolicies(account string) (n int32, err error) {
	return t.count(policyKey(account, ""))
}

func (t *Tx) count(prefix string) (n int32, err error) {
	for _, err := range t.tx.Scan(prefix, "") {
		if err != nil {
			return 0, err
		}
		n++
	}
	return n, nil
}

func aliasKey(alias string) string { return "iam/alias/" + alias }

// AliasOwner is the account that has an alias, or "".
func (t *Tx) AliasOwner(alias string) (account string, err error) {
	ref, err := t.tables.refs.Get(t.tx, aliasKey(alias))
	if err != nil {
		return "", notFoundAs(err, nil)
	}
	return ref.Account, nil
}

// SetAlias gives an account an alias in the place of the one it has; "" takes that one away.
func (t *Tx) SetAlias(account *Account, alias string) error {
	if account.Alias != "" {
		if err := t.tables.refs.Delete(t.tx, aliasKey(account.Alias)); err != nil {
			return err
		}
	}
	account.Alias = alias
	if alias != "" {
		if err := t.tables.refs.Put(t.tx, aliasKey(alias), &Ref{Account: account.ID}); err != nil {
			return err
		}
	}
	return t.PutAccount(account)
}

// keepDeletions is how long one may ask what became of a deletion.
const keepDeletions = 30 * 24 * time.Hour

func deletionKey(account, task string) string { return "iam/" + account + "/deletion/" + task }

// Deletion finds the task of deleting a service-linked role.
func (t *Tx) Deletion(account, task string) (*Deletion, error) {
	return t.tables.deleted.Get(t.tx, deletionKey(account, task))
}

// PutDeletion writes d, and forgets the account's tasks that are a month older: a few at a
// time, for a transaction has room for store.MaxWrites keys.
func (t *Tx) PutDeletion(account, task string, d *Deletion) error {
	var old []string
	for row, err := range t.tables.deleted.Scan(t.tx, deletionKey(account, ""), "") {
		if err != nil {
			return err
		}
		if row.Value.Time.Before(d.Time.Add(-keepDeletions)) {
			old = append(old, row.Key)
		}
	}
	for _, key := range old[:min(len(old), 10)] {
		if err := t.tables.deleted.Delete(t.tx, key); err != nil {
			return err
		}
	}
	return t.tables.deleted.Put(t.tx, deletionKey(account, task), d)
}
