package controlplane

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/malote/malote/caller"
	"github.com/malote/malote/service/iam/directory"
	"github.com/malote/malote/store"
)

// instanceRole is the role of engines that run in the same process, as ecsInstanceRole is
// of EC2 instances. It has the same managed policy and no access to any secret.
const instanceRole = "malote-instance"

const instanceTrust = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}]}`

// instanceSession is how long an engine's credentials last; it asks again in time.
const instanceSession = 6 * time.Hour

// Instance provides the credentials of an engine in the same process, named by name.
func (c *ControlPlane) Instance(account, name string) aws.CredentialsProvider {
	return c.own(account, name, "the engine", c.instance)
}

// own provides credentials of a role that is malote's own, to what is named by what.
func (c *ControlPlane) own(account, session, what string, role func(ctx context.Context, account string) (*directory.Role, error)) aws.CredentialsProvider {
	return aws.NewCredentialsCache(aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) {
		role, err := role(ctx, account)
		if err != nil {
			return aws.Credentials{}, fmt.Errorf("credentials of %s: %w", what, err)
		}
		issued, err := c.Directory.Issue(ctx, directory.Session{
			Account: account, Type: caller.AssumedRole, ID: role.ID, Name: session,
			Expires: c.now().Add(instanceSession),
		})
		if err != nil {
			return aws.Credentials{}, fmt.Errorf("credentials of %s: %w", what, err)
		}
		return aws.Credentials{
			AccessKeyID: issued.AccessKeyID, SecretAccessKey: issued.SecretAccessKey, SessionToken: issued.SessionToken,
			CanExpire: true, Expires: issued.Expires, AccountID: account, Source: "malote",
		}, nil
	}), func(o *aws.CredentialsCacheOptions) { o.ExpiryWindow = 10 * time.Minute })
}

// instance is the engines' role, made when it is first needed.
func (c *ControlPlane) instance(ctx context.Context, account string) (role *directory.Role, err error) {
	err = c.Directory.Update(ctx, func(tx *directory.Tx) error {
		role, err = tx.Role(account, instanceRole)
		if !errors.Is(err, store.ErrNotFound) {
			return err
		}
		trust, err := tx.NewTrust(instanceTrust)
		if err != nil {
			return err
		}
		role = &directory.Role{
			Entity: directory.Entity{
				Account: account, Path: "/malote/", Name: instanceRole, ID: directory.NewID("AROA"), Created: c.now().UTC(),
				Attached: []string{"arn:aws:iam::aws:policy/service-role/AmazonEC2ContainerServiceforEC2Role"},
			},
			Description: "engines that run in the control plane's own process",
			MaxSession:  int32(instanceSession / time.Second),
			Trust:       trust,
		}
		return tx.PutRole(role)
	})
	return role, err
}

// Key is a long-term access key.
type Key struct{ ID, Secret string }

// AdminKey is an active access key of the user admin, or of root where there is no admin.
func (c *ControlPlane) AdminKey(ctx context.Context, account string) (key Key, err error) {
	err = c.Directory.View(ctx, func(tx *directory.Tx) error {
		var ids []string
		switch admin, err := tx.User(account, "admin"); {
		case err == nil:
			ids = admin.AccessKeys
		case errors.Is(err, store.ErrNotFound):
			root, err := tx.Account(account)
			if err != nil {
				return err
			}
			ids = root.AccessKeys
		default:
			return err
		}
		for _, id := range ids {
			found, err := tx.AccessKey(id)
			if err != nil {
				return err
			}
			if found.Active {
				key = Key{found.ID, found.Secret}
				return nil
			}
		}
		return errors.New("neither the user admin nor root has an active access key")
	})
	return key, err
}
