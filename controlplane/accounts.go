package controlplane

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/malote/malote/audit"
	"github.com/malote/malote/caller"
	"github.com/malote/malote/policy"
	"github.com/malote/malote/service/iam/directory"
	"github.com/malote/malote/store"
)

// CreateAccount makes an account for whoever runs the control plane, who owns all of them
// anyway; others use organizations:CreateAccount, if they may. The audit is told of it as of
// something that malote did itself, and first: where it cannot be written, no account is
// made. Should that begin in between, the account and its only key come with the error.
func (c *ControlPlane) CreateAccount(ctx context.Context, in directory.NewAccount) (*directory.Account, *directory.Bootstrapped, error) {
	if c.audit == nil {
		return c.Directory.CreateAccount(ctx, in)
	}
	o, err := c.organization(ctx)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil, directory.ErrNoAccount
	}
	if err != nil {
		return nil, nil, err
	}
	if err := c.tell(ctx, o, "CreateAccount", "IN_PROGRESS", ""); err != nil {
		return nil, nil, err
	}
	if file, ok := c.audit.(*audit.File); ok {
		if err := file.Ready(ctx); err != nil {
			return nil, nil, err
		}
	}
	account, made, err := c.Directory.CreateAccount(ctx, in)
	if err != nil {
		return nil, nil, errors.Join(err, c.tell(ctx, o, "CreateAccountResult", "FAILED", ""))
	}
	if err := c.tell(ctx, o, "CreateAccountResult", "SUCCEEDED", account.ID); err != nil {
		return account, made, fmt.Errorf("account %s was made, and the audit not told: %w", account.ID, err)
	}
	return account, made, nil
}

// tell records how far the making of an account is; id is "" until there is one.
func (c *ControlPlane) tell(ctx context.Context, o *directory.Organization, name, state, id string) error {
	status := map[string]string{"state": state}
	if id != "" {
		status["accountId"] = id
	}
	details, err := json.Marshal(map[string]any{"createAccountStatus": status})
	if err != nil {
		return err
	}
	return c.audit.Record(context.WithoutCancel(ctx), audit.Record{
		Time: c.now(), Event: true, Service: "organizations", Name: name, Region: "us-east-1",
		Principal: &caller.Principal{Type: caller.Service, Account: o.Management, Service: "organizations.amazonaws.com"},
		Account:   o.Management, Decision: policy.Decision{Allowed: true}, Details: details,
	})
}

func (c *ControlPlane) organization(ctx context.Context) (o *directory.Organization, err error) {
	err = c.Directory.View(ctx, func(tx *directory.Tx) error {
		o, err = tx.Organization()
		return err
	})
	return o, err
}

// Accounts lists the accounts by id, and says which was the first.
func (c *ControlPlane) Accounts(ctx context.Context) (all []directory.Account, first string, err error) {
	err = c.Directory.View(ctx, func(tx *directory.Tx) error {
		all = nil
		o, err := tx.Organization()
		if errors.Is(err, store.ErrNotFound) {
			return directory.ErrNoAccount
		}
		if err != nil {
			return err
		}
		first = o.Management
		for a, err := range tx.Accounts("") {
			if err != nil {
				return err
			}
			all = append(all, *a)
		}
		return nil
	})
	return all, first, err
}
