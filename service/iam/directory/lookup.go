package directory

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/malote/malote/caller"
	"github.com/malote/malote/gateway"
	"github.com/malote/malote/policy"
	"github.com/malote/malote/store"
)

// credential is an answer of Lookup with the token it holds for.
type credential struct {
	gateway.Credential
	token string
}

// Lookup says who an access key belongs to. A temporary key is known only together with
// its own session token. The errors are gateway.ErrUnknownKey, ErrInvalidToken and
// ErrExpiredToken; any other is a failure to look.
func (d *Directory) Lookup(ctx context.Context, accessKeyID, sessionToken string) (*gateway.Credential, error) {
	m := d.memory.Load()
	if v, ok := m.credentials.Load(accessKeyID); ok {
		c := v.(*credential)
		if subtle.ConstantTimeCompare([]byte(c.token), []byte(sessionToken)) == 1 {
			return c.at(d.now)
		}
	}

	var c *credential
	var err error
	switch {
	case !strings.HasPrefix(accessKeyID, "ASIA"):
		if sessionToken != "" {
			return nil, gateway.ErrInvalidToken
		}
		c, err = d.longTerm(ctx, accessKeyID)
	case sessionToken == "":
		return nil, gateway.ErrUnknownKey
	default:
		c, err = d.temporary(ctx, accessKeyID, sessionToken)
	}
	if err != nil {
		return nil, err
	}
	d.remember(m, &m.credentials, accessKeyID, c)
	return c.at(d.now)
}

func (c *credential) at(now func() time.Time) (*gateway.Credential, error) {
	if !c.Expires.IsZero() && !now().Before(c.Expires) {
		return nil, gateway.ErrExpiredToken
	}
	return &c.Credential, nil
}

func (d *Directory) longTerm(ctx context.Context, id string) (*credential, error) {
	c := new(credential)
	err := d.View(ctx, func(tx *Tx) error {
		key, err := tx.AccessKey(id)
		if errors.Is(err, store.ErrNotFound) || err == nil && !key.Active {
			return gateway.ErrUnknownKey
		}
		if err != nil {
			return err
		}
		c.SecretAccessKey = key.Secret
		if key.Owner == key.Account {
			c.Principal = rootPrincipal(key.Account)
		} else if c.Principal, err = tx.userPrincipal(key.Owner); err != nil {
			return notFoundAs(err, gateway.ErrUnknownKey)
		}
		c.Principal.AccessKeyID = id
		return nil
	})
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (d *Directory) temporary(ctx context.Context, id, token string) (*credential, error) {
	s, err := d.open(ctx, id, token)
	if err != nil {
		return nil, err
	}
	c := &credential{token: token}
	c.SecretAccessKey, c.Expires = s.Secret, s.Expires
	err = d.View(ctx, func(tx *Tx) error {
		p, err := tx.sessionPrincipal(s)
		if err != nil {
			return notFoundAs(err, gateway.ErrInvalidToken)
		}
		p.AccessKeyID, p.IssuedAt = id, s.IssuedAt
		if s.HasPolicies() {
			if p.SessionPolicies, err = d.sessionPolicies(tx, s); err != nil {
				return err
			}
		}
		c.Principal = p
		return nil
	})
	if err != nil {
		return nil, err
	}
	return c, nil
}

func rootPrincipal(account string) *caller.Principal {
	return &caller.Principal{Type: caller.Account, Account: account, ARN: "arn:aws:iam::" + account + ":root", ID: account}
}

func (t *Tx) userPrincipal(id string) (*caller.Principal, error) {
	ref, err := t.Ref(id)
	if err != nil {
		return nil, err
	}
	u, err := t.User(ref.Account, ref.Name)
	if err != nil {
		return nil, err
	}
	return &caller.Principal{
		Type: caller.User, Account: u.Account, ARN: u.ARN(), ID: u.ID, UserName: u.Name, Tags: TagMap(u.Tags),
	}, nil
}

func (t *Tx) sessionPrincipal(s *Session) (*caller.Principal, error) {
	switch s.Type {
	case caller.Account:
		return rootPrincipal(s.Account), nil
	case caller.User:
		return t.userPrincipal(s.ID)
	case caller.FederatedUser:
		return t.federatedPrincipal(s)
	}
	ref, err := t.Ref(s.ID)
	if err != nil {
		return nil, err
	}
	r, err := t.Role(ref.Account, ref.Name)
	if err != nil {
		return nil, err
	}
	tags := TagMap(r.Tags)
	if len(s.Tags) > 0 {
		tags = overlay(r.Tags, s.Tags)
	}
	return &caller.Principal{
		Type:           caller.AssumedRole,
		Account:        r.Account,
		ARN:            SessionARN(r, s.Name),
		ID:             r.ID + ":" + s.Name,
		RoleARN:        r.ARN(),
		RoleID:         r.ID,
		SessionName:    s.Name,
		Tags:           tags,
		TransitiveTags: s.TransitiveTags,
		SourceIdentity: s.SourceIdentity,
		Task:           s.Task,
		Provider:       s.Provider,
		Claims:         s.Claims,
	}, nil
}

// federatedPrincipal lasts as long as the user who made it.
func (t *Tx) federatedPrincipal(s *Session) (*caller.Principal, error) {
	by := rootPrincipal(s.Account)
	var tags []Tag
	if s.ID != s.Account {
		var err error
		if by, err = t.userPrincipal(s.ID); err != nil {
			return nil, err
		}
		for k, v := range by.Tags {
			tags = append(tags, Tag{k, v})
		}
	}
	return &caller.Principal{
		Type: caller.FederatedUser, Account: s.Account, ARN: FederatedUserARN(s.Account, s.Name), ID: s.Account + ":" + s.Name,
		FederatedByARN: by.ARN, FederatedByID: by.ID, Tags: overlay(tags, s.Tags),
	}, nil
}

// FederatedUserARN is what a session of GetFederationToken is called.
func FederatedUserARN(account, name string) string {
	return "arn:aws:sts::" + account + ":federated-user/" + name
}

// SessionARN is what a session of r is called: the role's path is not in it.
func SessionARN(r *Role, session string) string {
	return "arn:aws:sts::" + r.Account + ":assumed-role/" + r.Name + "/" + session
}

// overlay lays session tags over the role's; a key in another case is the same key.
func overlay(role []Tag, session map[string]string) map[string]string {
	tags := make(map[string]string, len(session)+len(role))
	maps.Copy(tags, session)
	for _, t := range role {
		covered := false
		for k := range session {
			covered = covered || strings.EqualFold(k, t.Key)
		}
		if !covered {
			tags[t.Key] = t.Value
		}
	}
	return tags
}

// sessionPolicies is not nil, also when it is empty: a session policy that is gone allows nothing.
func (d *Directory) sessionPolicies(tx *Tx, s *Session) ([]*policy.Document, error) {
	docs := []*policy.Document{}
	for _, text := range s.Policies {
		doc, err := d.document(policy.Session, text)
		if err != nil {
			return nil, err
		}
		docs = append(docs, doc)
	}
	for _, arn := range s.PolicyARNs {
		doc, err := d.managedDocument(tx, arn)
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		docs = append(docs, doc)
	}
	return docs, nil
}

func notFoundAs(err, as error) error {
	if errors.Is(err, store.ErrNotFound) {
		return as
	}
	return err
}

var noPolicies policy.Set

// rootPolicies are what the root user may do, for who is federated by it.
var rootPolicies = func() policy.Set {
	everything, err := policy.Parse(policy.Identity, []byte(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`))
	if err != nil {
		panic(err)
	}
	return policy.Set{Identity: []policy.Source{{Document: everything, Name: "the root user's rights"}}}
}()

// Policies returns what is attached to a principal now, whatever it was when its
// credentials were issued. A principal that is gone has no policies, which denies.
func (d *Directory) Policies(ctx context.Context, p *caller.Principal) (*policy.Set, error) {
	var id string
	switch p.Type {
	case caller.User:
		id = p.ID
	case caller.AssumedRole:
		id = p.RoleID
	case caller.FederatedUser:
		id = p.FederatedByID
	default:
		return &noPolicies, nil
	}
	d.markUsed(ctx, p)
	set := &rootPolicies
	if id != p.Account {
		var err error
		if set, err = d.Attached(ctx, id); err != nil {
			return nil, fmt.Errorf("reading policies of %s: %w", p.ARN, err)
		}
	}
	if p.SessionPolicies == nil {
		return set, nil
	}

	limited := *set
	limited.HasSession = true
	limited.Session = make([]policy.Source, len(p.SessionPolicies))
	for i, doc := range p.SessionPolicies {
		limited.Session[i] = policy.Source{Document: doc, Name: "session policy"}
	}
	return &limited, nil
}

// Attached returns what is attached to the user or role with that id, as Policies does, for
// who only wants to know: it does not count as use. The set is shared.
func (d *Directory) Attached(ctx context.Context, id string) (*policy.Set, error) {
	m := d.memory.Load()
	if v, ok := m.sets.Load(id); ok {
		return v.(*policy.Set), nil
	}
	set := new(policy.Set)
	if err := d.View(ctx, func(tx *Tx) error { return d.gather(tx, id, set) }); err != nil {
		return nil, err
	}
	d.remember(m, &m.sets, id, set)
	return set, nil
}

// Principal is the user with that ARN, or a session of the role with it, as it would be
// without session policies. Anybody else is ErrNotFound.
func (d *Directory) Principal(ctx context.Context, arn string) (p *caller.Principal, err error) {
	account, kind, _, name, ok := ParseARN(arn)
	if !ok {
		return nil, ErrNotFound
	}
	err = d.View(ctx, func(tx *Tx) error {
		switch kind {
		case KindUser:
			u, err := tx.User(account, name)
			if err != nil {
				return err
			}
			p, err = tx.userPrincipal(u.ID)
			return err
		case KindRole:
			r, err := tx.RoleByARN(arn)
			if err != nil {
				return err
			}
			p, err = tx.sessionPrincipal(&Session{Type: caller.AssumedRole, ID: r.ID, Name: "simulation"})
			return err
		}
		return ErrNotFound
	})
	if err != nil {
		return nil, notFoundAs(err, ErrNotFound)
	}
	return p, nil
}

// RoleSession is the principal that a session of the role with that ARN would be, without
// session policies. When there is no such role it is ErrNotFound.
func (d *Directory) RoleSession(ctx context.Context, arn, name string) (p *caller.Principal, err error) {
	err = d.View(ctx, func(tx *Tx) error {
		r, err := tx.RoleByARN(arn)
		if err != nil {
			return err
		}
		p, err = tx.sessionPrincipal(&Session{Type: caller.AssumedRole, ID: r.ID, Name: name})
		return err
	})
	if err != nil {
		return nil, notFoundAs(err, ErrNotFound)
	}
	return p, nil
}

// gather fills set, which the store may ask for again after a conflict.
func (d *Directory) gather(tx *Tx, id string, set *policy.Set) error {
	*set = policy.Set{}
	ref, err := tx.Ref(id)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	var entities []*Entity
	switch ref.Kind {
	case KindUser:
		u, err := tx.User(ref.Account, ref.Name)
		if err != nil {
			return err
		}
		entities = append(entities, &u.Entity)
		for _, name := range u.Groups {
			g, err := tx.Group(ref.Account, name)
			if err != nil {
				return fmt.Errorf("group %s: %w", name, err)
			}
			entities = append(entities, &g.Entity)
		}
	case KindRole:
		r, err := tx.Role(ref.Account, ref.Name)
		if err != nil {
			return err
		}
		entities = append(entities, &r.Entity)
	}
	for _, e := range entities {
		for _, in := range e.Inline {
			doc, err := d.document(policy.Identity, in.Document)
			if err != nil {
				return fmt.Errorf("policy %s of %s: %w", in.Name, e.Name, err)
			}
			set.Identity = append(set.Identity, policy.Source{Document: doc, Name: in.Name})
		}
		for _, arn := range e.Attached {
			doc, err := d.managedDocument(tx, arn)
			if err != nil {
				return err
			}
			set.Identity = append(set.Identity, policy.Source{Document: doc, ARN: arn, Name: policyName(arn)})
		}
		if e.Boundary != "" {
			doc, err := d.managedDocument(tx, e.Boundary)
			if err != nil {
				return err
			}
			set.Boundary = &policy.Source{Document: doc, ARN: e.Boundary, Name: policyName(e.Boundary)}
		}
	}
	return nil
}

// managedDocument compiles the default version of a managed policy, AWS's or a customer's.
func (d *Directory) managedDocument(tx *Tx, arn string) (*policy.Document, error) {
	p, err := tx.Managed(arn)
	if err != nil {
		return nil, fmt.Errorf("managed policy %s: %w", arn, err)
	}
	doc, err := d.document(policy.Identity, p.Document())
	if err != nil {
		return nil, fmt.Errorf("managed policy %s: %w", arn, err)
	}
	return doc, nil
}

func policyName(arn string) string { return arn[strings.LastIndexByte(arn, '/')+1:] }
