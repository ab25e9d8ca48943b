// Package organizations is as much of AWS Organizations as it takes to make accounts and to
// know them. Each exported method of Service is an operation of the API.
//
// It promises that nobody but the first account's own principals, as far as their policies
// allow, makes an account or lists them; and that whoever makes one gets into it by the role
// that was asked for, and by no key.
//
// It decides nothing about what an account's principals may do: there are no service control
// policies, no organizational units, and no condition key aws:PrincipalOrgID.
package organizations

import (
	"context"
	"errors"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/organizations/types"

	"github.com/malote/malote/authz"
	"github.com/malote/malote/service/iam/directory"
)

// Directory keeps the accounts: *directory.Directory.
type Directory interface {
	View(ctx context.Context, fn func(*directory.Tx) error) error
	Update(ctx context.Context, fn func(*directory.Tx) error) error
	CreateAccountIn(tx *directory.Tx, in directory.NewAccount) (*directory.Account, *directory.Bootstrapped, error)
}

// Config says what a Service stands on.
type Config struct {
	Directory Directory         // required
	Authz     *authz.Authorizer // required
	Now       func() time.Time  // nil: time.Now
}

// Service is AWS Organizations. Its exported methods are operations.
type Service struct {
	dir   Directory
	authz *authz.Authorizer
	now   func() time.Time
}

// New returns Organizations over a directory.
func New(c Config) *Service {
	s := &Service{dir: c.Directory, authz: c.Authz, now: c.Now}
	if s.now == nil {
		s.now = time.Now
	}
	return s
}

// organization reads whose organization this is.
func (s *Service) organization(ctx context.Context) (*directory.Organization, error) {
	var o *directory.Organization
	err := s.dir.View(ctx, func(tx *directory.Tx) (err error) {
		o, err = tx.Organization()
		return err
	})
	return o, err
}

// authorize asks for an action of the management account's, on one account or on all ("").
// What is its, is nobody else's: to the others the question is one across accounts, and there
// is no policy that could let them in.
func (s *Service) authorize(ctx context.Context, action, account string) (*directory.Organization, error) {
	o, err := s.organization(ctx)
	if err != nil {
		return nil, err
	}
	access := &authz.Access{Action: "organizations:" + action, Resource: "*", Account: o.Management}
	if account != "" {
		access.Resource = accountARN(o, account)
	}
	err = s.authz.Authorize(ctx, access)
	var denied *authz.Denied
	if errors.As(err, &denied) && denied.Decision.CrossAccount {
		return nil, &types.AccessDeniedException{Message: aws.String("You don't have permissions to access this resource.")}
	}
	return o, err
}

func accountARN(o *directory.Organization, id string) string {
	return "arn:aws:organizations::" + o.Management + ":account/" + o.ID + "/" + id
}
