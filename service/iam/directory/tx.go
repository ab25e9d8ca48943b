package directory

import (
	"iter"
	"slices"
	"strings"

	"github.com/malote/malote/store"
)

// Tx reads and writes records within one transaction. What it returns from a single Get
// is the caller's own; what a scan yields is shared and must not be changed. An absent
// record is store.ErrNotFound. Put keeps the indexes by id and by attachment, for which
// it compares with the record that is there.
type Tx struct {
	tx     store.Tx
	tables *tables
}

type tables struct {
	accounts *store.Table[Account]
	users    *store.Table[User]
	roles    *store.Table[Role]
	groups   *store.Table[Group]
	policies *store.Table[Policy]
	profiles *store.Table[InstanceProfile]
	deleted  *store.Table[Deletion]
	refs     *store.Table[Ref]
	keys     *store.Table[AccessKey]
	oidc     *store.Table[OIDCProvider]
	used     *store.Table[Used]
	tokenKey *store.Table[tokenKey]

	organization *store.Table[Organization]
	requests     *store.Table[AccountRequest]
}

func newTables() tables {
	return tables{
		accounts: store.NewTable[Account]("account"),
		users:    store.NewTable[User]("user"),
		roles:    store.NewTable[Role]("role"),
		groups:   store.NewTable[Group]("group"),
		policies: store.NewTable[Policy]("managed policy"),
		profiles: store.NewTable[InstanceProfile]("instance profile"),
		deleted:  store.NewTable[Deletion]("deletion of a service-linked role"),
		refs:     store.NewTable[Ref]("entity id"),
		keys:     store.NewTable[AccessKey]("access key"),
		oidc:     store.NewTable[OIDCProvider]("OpenID Connect provider"),
		used:     store.NewTable[Used]("time of last use"),
		tokenKey: store.NewTable[tokenKey]("session token key"),

		organization: store.NewTable[Organization]("organization"),
		requests:     store.NewTable[AccountRequest]("request for an account"),
	}
}

func entityKey(account string, kind Kind, name string) string {
	return "iam/" + account + "/" + string(kind) + "/" + strings.ToLower(name)
}

func policyKey(account, name string) string {
	return "iam/" + account + "/policy/" + strings.ToLower(name)
}

// A URL has case, unlike a name.
func oidcKey(account, url string) string { return "iam/" + account + "/oidc-provider/" + url }

func accountKey(id string) string { return "iam/" + id + "/account" }
func refKey(id string) string     { return "iam/id/" + id }
func secretKey(id string) string  { return "iam/accesskey/" + id }
func usedKey(id string) string    { return "iam-used/" + id }

// '#' ends the ARN: it cannot be in one, so no ARN's keys are below another's.
func attachedPrefix(account, arn string) string { return "iam/" + account + "/attached/" + arn + "#" }
func boundsPrefix(account, arn string) string   { return "iam/" + account + "/bounds/" + arn + "#" }
func memberPrefix(account, group string) string {
	return "iam/" + account + "/member/" + strings.ToLower(group) + "/"
}

func (e Entity) clone() Entity {
	e.Tags, e.Inline, e.Attached = slices.Clone(e.Tags), slices.Clone(e.Inline), slices.Clone(e.Attached)
	return e
}

// Account returns an account's record.
func (t *Tx) Account(id string) (*Account, error) {
	a, err := t.tables.accounts.Get(t.tx, accountKey(id))
	if err != nil {
		return nil, err
	}
	c := *a
	c.AccessKeys = slices.Clone(a.AccessKeys)
	return &c, nil
}

// PutAccount writes an account's record.
func (t *Tx) PutAccount(a *Account) error { return t.tables.accounts.Put(t.tx, accountKey(a.ID), a) }

// User finds a user by name, in any case.
func (t *Tx) User(account, name string) (*User, error) {
	u, err := t.tables.users.Get(t.tx, entityKey(account, KindUser, name))
	if err != nil {
		return nil, err
	}
	c := *u
	c.Entity = u.clone()
	c.AccessKeys, c.Groups = slices.Clone(u.AccessKeys), slices.Clone(u.Groups)
	return &c, nil
}

// Role finds a role by name, in any case.
func (t *Tx) Role(account, name string) (*Role, error) {
	r, err := t.tables.roles.Get(t.tx, entityKey(account, KindRole, name))
	if err != nil {
		return nil, err
	}
	c := *r
	c.Entity = r.clone()
	return &c, nil // Trust.IDs is replaced, never changed
}

// Group finds a group by name, in any case.
func (t *Tx) Group(account, name string) (*Group, error) {
	g, err := t.tables.groups.Get(t.tx, entityKey(account, KindGroup, name))
	if err != nil {
		return nil, err
	}
	return &Group{g.clone()}, nil
}

// Policy finds a customer managed policy by name, in any case.
func (t *Tx) Policy(account, name string) (*Policy, error) {
	p, err := t.tables.policies.Get(t.tx, policyKey(account, name))
	if err != nil {
		return nil, err
	}
	c := *p
	c.Versions, c.Tags = slices.Clone(p.Versions), slices.Clone(p.Tags)
	return &c, nil
}

// AccessKey finds a long-term key.
func (t *Tx) AccessKey(id string) (*AccessKey, error) {
	k, err := t.tables.keys.Get(t.tx, secretKey(id))
	if err != nil {
		return nil, err
	}
	c := *k
	return &c, nil
}

// OIDCProvider finds a provider by its URL, given without its scheme.
func (t *Tx) OIDCProvider(account, url string) (*OIDCProvider, error) {
	o, err := t.tables.oidc.Get(t.tx, oidcKey(account, url))
	if err != nil {
		return nil, err
	}
	c := *o
	c.ClientIDs, c.Thumbprints, c.Tags = slices.Clone(o.ClientIDs), slices.Clone(o.Thumbprints), slices.Clone(o.Tags)
	return &c, nil
}

// OIDCProviders yields the account's providers by URL.
func (t *Tx) OIDCProviders(account string) iter.Seq2[*OIDCProvider, error] {
	return values(t.tables.oidc.Scan(t.tx, oidcKey(account, ""), ""))
}

// PutOIDCProvider writes o.
func (t *Tx) PutOIDCProvider(o *OIDCProvider) error {
	return t.tables.oidc.Put(t.tx, oidcKey(o.Account, o.URL), o)
}

// DeleteOIDCProvider removes o.
func (t *Tx) DeleteOIDCProvider(o *OIDCProvider) error {
	return t.tables.oidc.Delete(t.tx, oidcKey(o.Account, o.URL))
}

// Ref finds the entity with an id.
func (t *Tx) Ref(id string) (*Ref, error) { return t.tables.refs.Get(t.tx, refKey(id)) }

// PutUser writes u.
func (t *Tx) PutUser(u *User) error {
	old, err := t.User(u.Account, u.Name)
	if err != nil && err != store.ErrNotFound {
		return err
	}
	var before *Entity
	var groups []string
	if old != nil {
		before, groups = &old.Entity, old.Groups
	}
	if err := t.index(KindUser, before, &u.Entity); err != nil {
		return err
	}
	if err := t.reindex(groups, u.Groups, func(group string) string {
		return memberPrefix(u.Account, group) + strings.ToLower(u.Name)
	}); err != nil {
		return err
	}
	return t.tables.users.Put(t.tx, entityKey(u.Account, KindUser, u.Name), u)
}

// PutRole writes r.
func (t *Tx) PutRole(r *Role) error {
	old, err := t.Role(r.Account, r.Name)
	if err != nil && err != store.ErrNotFound {
		return err
	}
	var before *Entity
	if old != nil {
		before = &old.Entity
	}
	if err := t.index(KindRole, before, &r.Entity); err != nil {
		return err
	}
	return t.tables.roles.Put(t.tx, entityKey(r.Account, KindRole, r.Name), r)
}

// PutGroup writes g.
func (t *Tx) PutGroup(g *Group) error {
	old, err := t.Group(g.Account, g.Name)
	if err != nil && err != store.ErrNotFound {
		return err
	}
	var before *Entity
	if old != nil {
		before = &old.Entity
	}
	if err := t.index(KindGroup, before, &g.Entity); err != nil {
		return err
	}
	return t.tables.groups.Put(t.tx, entityKey(g.Account, KindGroup, g.Name), g)
}

// PutPolicy writes p.
func (t *Tx) PutPolicy(p *Policy) error {
	return t.tables.policies.Put(t.tx, policyKey(p.Account, p.Name), p)
}

// PutAccessKey writes k. That its owner lists it is the caller's to see to.
func (t *Tx) PutAccessKey(k *AccessKey) error {
	return t.tables.keys.Put(t.tx, secretKey(k.ID), k)
}

// DeleteUser removes u and its indexes; its keys are the caller's to delete.
func (t *Tx) DeleteUser(u *User) error {
	if err := t.index(KindUser, &u.Entity, nil); err != nil {
		return err
	}
	if err := t.reindex(u.Groups, nil, func(group string) string {
		return memberPrefix(u.Account, group) + strings.ToLower(u.Name)
	}); err != nil {
		return err
	}
	return t.tables.users.Delete(t.tx, entityKey(u.Account, KindUser, u.Name))
}

// DeleteRole removes r and its indexes.
func (t *Tx) DeleteRole(r *Role) error {
	if err := t.index(KindRole, &r.Entity, nil); err != nil {
		return err
	}
	if err := t.tables.used.Delete(t.tx, usedKey(r.ID)); err != nil {
		return err
	}
	return t.tables.roles.Delete(t.tx, entityKey(r.Account, KindRole, r.Name))
}

// DeleteGroup removes g and its indexes.
func (t *Tx) DeleteGroup(g *Group) error {
	if err := t.index(KindGroup, &g.Entity, nil); err != nil {
		return err
	}
	return t.tables.groups.Delete(t.tx, entityKey(g.Account, KindGroup, g.Name))
}

// DeletePolicy removes p with all versions.
func (t *Tx) DeletePolicy(p *Policy) error {
	return t.tables.policies.Delete(t.tx, policyKey(p.Account, p.Name))
}

// DeleteAccessKey removes a key.
func (t *Tx) DeleteAccessKey(id string) error {
	if err := t.tables.used.Delete(t.tx, usedKey(id)); err != nil {
		return err
	}
	return t.tables.keys.Delete(t.tx, secretKey(id))
}

// index brings the indexes of an entity from before to after; nil is absent.
func (t *Tx) index(kind Kind, before, after *Entity) error {
	e, none := after, new(Entity)
	if before == nil {
		before = none
	}
	if after == nil {
		e, after = before, none
	}
	leaf := string(kind) + "/" + strings.ToLower(e.Name)
	if err := t.reindex(before.Attached, after.Attached, func(arn string) string {
		return attachedPrefix(e.Account, arn) + leaf
	}); err != nil {
		return err
	}
	if err := t.reindex(oneOrNone(before.Boundary), oneOrNone(after.Boundary), func(arn string) string {
		return boundsPrefix(e.Account, arn) + leaf
	}); err != nil {
		return err
	}
	switch {
	case after.ID == "":
		return t.tables.refs.Delete(t.tx, refKey(before.ID))
	case before.ID == "":
		return t.tables.refs.Put(t.tx, refKey(e.ID), &Ref{e.Account, kind, strings.ToLower(e.Name)})
	}
	return nil
}

func oneOrNone(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

func (t *Tx) reindex(before, after []string, key func(string) string) error {
	for _, s := range before {
		if !slices.Contains(after, s) {
			if err := t.tx.Delete(key(s)); err != nil {
				return err
			}
		}
	}
	for _, s := range after {
		if !slices.Contains(before, s) {
			if err := t.tx.Put(key(s), []byte{1}); err != nil {
				return err
			}
		}
	}
	return nil
}

// Users yields the account's users by name, those after a name.
func (t *Tx) Users(account, after string) iter.Seq2[*User, error] {
	return values(t.tables.users.Scan(t.tx, entityKey(account, KindUser, ""), afterKey(entityKey(account, KindUser, after), after)))
}

// Roles yields the account's roles by name, those after a name.
func (t *Tx) Roles(account, after string) iter.Seq2[*Role, error] {
	return values(t.tables.roles.Scan(t.tx, entityKey(account, KindRole, ""), afterKey(entityKey(account, KindRole, after), after)))
}

// Groups yields the account's groups by name, those after a name.
func (t *Tx) Groups(account, after string) iter.Seq2[*Group, error] {
	return values(t.tables.groups.Scan(t.tx, entityKey(account, KindGroup, ""), afterKey(entityKey(account, KindGroup, after), after)))
}

// Policies yields the account's own managed policies by name, those after a name.
func (t *Tx) Policies(account, after string) iter.Seq2[*Policy, error] {
	return values(t.tables.policies.Scan(t.tx, policyKey(account, ""), afterKey(policyKey(account, after), after)))
}

// Members yields the names, in lower case, of the users in a group.
func (t *Tx) Members(account, group string) iter.Seq2[string, error] {
	return t.leaves(memberPrefix(account, group))
}

// Attachments yields who a managed policy is attached to, as "role/name" in lower case.
func (t *Tx) Attachments(account, arn string) iter.Seq2[string, error] {
	return t.leaves(attachedPrefix(account, arn))
}

// Bounded yields whose boundary a managed policy is, as "role/name" in lower case.
func (t *Tx) Bounded(account, arn string) iter.Seq2[string, error] {
	return t.leaves(boundsPrefix(account, arn))
}

func (t *Tx) leaves(prefix string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for e, err := range t.tx.Scan(prefix, "") {
			if !yield(strings.TrimPrefix(e.Key, prefix), err) || err != nil {
				return
			}
		}
	}
}

func afterKey(key, after string) string {
	if after == "" {
		return ""
	}
	return key
}

func values[T any](rows iter.Seq2[store.Row[T], error]) iter.Seq2[*T, error] {
	return func(yield func(*T, error) bool) {
		for row, err := range rows {
			if !yield(row.Value, err) || err != nil {
				return
			}
		}
	}
}
