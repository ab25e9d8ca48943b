package directory

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/malote/malote/policy"
	"github.com/malote/malote/store"
)

// ErrNotFound says that there is no such user, role or id.
var ErrNotFound = errors.New("directory: no such principal")

// Role finds a role by its ARN, or is ErrNotFound. The role is the caller's own.
func (d *Directory) Role(ctx context.Context, arn string) (*Role, error) {
	var role *Role
	err := d.View(ctx, func(tx *Tx) (err error) {
		role, err = tx.RoleByARN(arn)
		return err
	})
	if err != nil {
		return nil, notFoundAs(err, ErrNotFound)
	}
	return role, nil
}

// RoleByARN finds a role by its ARN, path included, or is store.ErrNotFound.
func (t *Tx) RoleByARN(arn string) (*Role, error) {
	account, kind, _, name, ok := ParseARN(arn)
	if !ok || kind != KindRole {
		return nil, store.ErrNotFound
	}
	r, err := t.Role(account, name)
	if err != nil {
		return nil, err
	}
	if r.ARN() != arn {
		return nil, store.ErrNotFound
	}
	return r, nil
}

// Resolve turns the ARN of a user or role, as a policy names a principal, into the id
// that a stored policy must refer to. What needs no id (an account, its root, a session)
// is returned as it is; an id too, if it is somebody's. ErrNotFound: an invalid principal.
func (d *Directory) Resolve(ctx context.Context, principal string) (id string, err error) {
	err = d.View(ctx, func(tx *Tx) (err error) {
		id, err = tx.Resolve(principal)
		return err
	})
	if err != nil {
		return "", notFoundAs(err, ErrNotFound)
	}
	return id, nil
}

// Resolve is Directory.Resolve within a transaction; absent is store.ErrNotFound.
func (t *Tx) Resolve(principal string) (id string, err error) {
	account, kind, _, name, ok := ParseARN(principal)
	switch {
	case IsID(principal):
		_, err := t.Ref(principal)
		return principal, err
	case isAccount(principal), principal == "*":
		return principal, nil
	case strings.HasPrefix(principal, "arn:aws:sts::"):
		rest := strings.TrimPrefix(principal, "arn:aws:sts::")
		account, rest, _ := strings.Cut(rest, ":")
		parts := strings.Split(rest, "/")
		assumed := len(parts) == 3 && parts[0] == "assumed-role" && parts[1] != "" && parts[2] != ""
		federated := len(parts) == 2 && parts[0] == "federated-user" && parts[1] != ""
		if !isAccount(account) || !assumed && !federated {
			return "", store.ErrNotFound
		}
		return principal, nil
	case !ok:
		rest, found := strings.CutPrefix(principal, "arn:aws:iam::")
		account, rest, _ := strings.Cut(rest, ":")
		if !found || !isAccount(account) || rest != "root" {
			return "", store.ErrNotFound
		}
		return principal, nil
	case kind == KindUser:
		u, err := t.User(account, name)
		if err != nil {
			return "", err
		}
		if u.ARN() != principal {
			return "", store.ErrNotFound
		}
		return u.ID, nil
	case kind == KindRole:
		r, err := t.RoleByARN(principal)
		if err != nil {
			return "", err
		}
		return r.ID, nil
	}
	return "", store.ErrNotFound
}

// IsID says whether a principal is written as the id of a user or role.
func IsID(principal string) bool {
	return len(principal) == 21 && (strings.HasPrefix(principal, "AIDA") || strings.HasPrefix(principal, "AROA"))
}

func isAccount(s string) bool {
	return len(s) == 12 && strings.Trim(s, "0123456789") == ""
}

// ARNOf is the ARN of the user or role with an id, or ErrNotFound when it is gone.
func (d *Directory) ARNOf(ctx context.Context, id string) (arn string, err error) {
	err = d.View(ctx, func(tx *Tx) (err error) {
		arn, err = tx.ARNOf(id)
		return err
	})
	if err != nil {
		return "", notFoundAs(err, ErrNotFound)
	}
	return arn, nil
}

// ARNOf is Directory.ARNOf within a transaction; absent is store.ErrNotFound.
func (t *Tx) ARNOf(id string) (string, error) {
	ref, err := t.Ref(id)
	if err != nil {
		return "", err
	}
	switch ref.Kind {
	case KindUser:
		u, err := t.User(ref.Account, ref.Name)
		if err != nil {
			return "", err
		}
		return u.ARN(), nil
	case KindRole:
		r, err := t.Role(ref.Account, ref.Name)
		if err != nil {
			return "", err
		}
		return r.ARN(), nil
	}
	return "", store.ErrNotFound
}

// InvalidPrincipal is the error of a policy that names nobody.
type InvalidPrincipal struct{ Principal string }

func (e *InvalidPrincipal) Error() string { return "invalid principal " + e.Principal }

// NewTrust checks a trust policy's principals and remembers whom they mean. The error of
// a bad document is a *policy.SyntaxError or an *InvalidPrincipal.
func (t *Tx) NewTrust(document string) (Trust, error) {
	trust := Trust{Document: document}
	if _, err := policy.Parse(policy.Trust, []byte(document)); err != nil {
		return Trust{}, err
	}
	_, err := policy.Rewrite([]byte(document), func(principal string) (string, error) {
		id, err := t.Resolve(principal)
		if errors.Is(err, store.ErrNotFound) {
			return "", &InvalidPrincipal{principal}
		}
		if err == nil && IsID(id) {
			if trust.IDs == nil {
				trust.IDs = map[string]string{}
			}
			trust.IDs[principal] = id
		}
		return id, err
	})
	if err != nil {
		return Trust{}, err
	}
	return trust, nil
}

// TrustDocument is how a role's trust policy reads now: as it was given, save that a
// principal that is gone shows its id and one that was renamed its new ARN.
func (t *Tx) TrustDocument(trust Trust) (string, error) {
	now := make(map[string]string, len(trust.IDs))
	same := true
	for arn, id := range trust.IDs {
		current, err := t.ARNOf(id)
		if errors.Is(err, store.ErrNotFound) {
			current, err = id, nil
		}
		if err != nil {
			return "", err
		}
		now[arn] = current
		same = same && current == arn
	}
	if same {
		return trust.Document, nil
	}
	return substitute(trust.Document, now)
}

// TrustPolicy compiles a role's trust policy with its principals as ids.
func (d *Directory) TrustPolicy(role *Role) (*policy.Source, error) {
	text := role.Trust.Document
	if len(role.Trust.IDs) > 0 {
		var err error
		if text, err = substitute(text, role.Trust.IDs); err != nil {
			return nil, fmt.Errorf("trust policy of role %s: %w", role.Name, err)
		}
	}
	doc, err := d.document(policy.Trust, text)
	if err != nil {
		return nil, fmt.Errorf("trust policy of role %s: %w", role.Name, err)
	}
	return &policy.Source{Document: doc, Name: "trust policy of " + role.Name}, nil
}

func substitute(document string, principals map[string]string) (string, error) {
	out, err := policy.Rewrite([]byte(document), func(principal string) (string, error) {
		if other, ok := principals[principal]; ok {
			return other, nil
		}
		return principal, nil
	})
	return string(out), err
}
