// Package sts is the AWS Security Token Service: temporary credentials, above all those of
// roles. Each exported method of Service is an operation of the API.
//
// It promises that a role's trust policy decides who gets its credentials, and that these
// are sealed into their token (see directory): nothing is stored, and what ends the role
// ends them.
package sts

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/aws/smithy-go"

	"github.com/malote/malote/audit"
	"github.com/malote/malote/authz"
	"github.com/malote/malote/caller"
	"github.com/malote/malote/policy"
	"github.com/malote/malote/service/iam/directory"
	"github.com/malote/malote/service/sts/webidentity"
)

// Directory is what STS asks of and hands to the directory.
type Directory interface {
	View(ctx context.Context, fn func(*directory.Tx) error) error
	TrustPolicy(role *directory.Role) (*policy.Source, error)
	Issue(ctx context.Context, s directory.Session) (*directory.Issued, error)
	SealMessage(ctx context.Context, account string, text []byte) (string, error)
	OpenMessage(ctx context.Context, account, message string) ([]byte, error)
	MarkUsed(ctx context.Context, p *caller.Principal)
}

// Config says what a Service stands on.
type Config struct {
	Directory Directory         // required
	Authz     *authz.Authorizer // required
	Audit     audit.Log         // of what needs no permission; nil: it leaves no record
	Now       func() time.Time  // nil: time.Now
	Log       *slog.Logger      // nil: nothing is logged
}

// Service is STS. Its exported methods are operations.
type Service struct {
	dir    Directory
	authz  *authz.Authorizer
	audit  audit.Log
	now    func() time.Time
	tokens *webidentity.Verifier
}

// New returns STS over a directory.
func New(c Config) *Service {
	s := &Service{dir: c.Directory, authz: c.Authz, audit: c.Audit, now: c.Now}
	if s.now == nil {
		s.now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	s.tokens = webidentity.New(nil, s.now, c.Log)
	return s
}

// open records an operation that nobody has to be allowed, and that its caller used its
// credentials for it.
func (s *Service) open(ctx context.Context, name string) error {
	r := caller.From(ctx)
	s.dir.MarkUsed(ctx, r.Principal)
	if s.audit == nil {
		return nil
	}
	err := audit.Note(ctx, s.audit, r, &audit.Record{
		Time: s.now(), Service: "sts", Name: name, Operation: r.Operation, Region: r.Region, SourceIP: r.SourceIP, UserAgent: r.UserAgent,
		RequestID: r.ID, Via: r.Via, Principal: r.Principal, Account: r.Principal.Account, Undecided: true, Decision: policy.Decision{Allowed: true, Action: "sts:" + name},
	})
	if err != nil {
		return fmt.Errorf("recording sts:%s: %w", name, err)
	}
	return nil
}

func clientError(code, format string, args ...any) error {
	return &smithy.GenericAPIError{Code: code, Message: fmt.Sprintf(format, args...), Fault: smithy.FaultClient}
}

func accessDenied(message string) error { return clientError("AccessDenied", "%s", message) }
func validationError(format string, args ...any) error {
	return clientError("ValidationError", format, args...)
}
func invalidParameter(message string) error {
	return clientError("InvalidParameterValue", "%s", message)
}

// GetCallerIdentity says who asks. Everybody may know that of themselves, even where a
// policy says Deny.
func (s *Service) GetCallerIdentity(ctx context.Context, _ *sts.GetCallerIdentityInput) (*sts.GetCallerIdentityOutput, error) {
	if err := s.open(ctx, "GetCallerIdentity"); err != nil {
		return nil, err
	}
	p := caller.From(ctx).Principal
	return &sts.GetCallerIdentityOutput{
		Account: aws.String(p.Account),
		Arn:     aws.String(p.ARN),
		UserId:  aws.String(p.ID),
	}, nil
}

// errSession is how STS refuses credentials that it gave to a user for what they are not
// good for.
func errSession(operation string) error {
	return accessDenied("Cannot call " + operation + " with session credentials")
}

// ofUser reports credentials of GetSessionToken or GetFederationToken.
func ofUser(p *caller.Principal) bool { return !p.IssuedAt.IsZero() && p.Type != caller.AssumedRole }

// errMFA answers whoever brings a code of a device, for there are no devices.
var errMFA = accessDenied("MultiFactorAuthentication failed with invalid MFA one time pass code.")

func credentials(i *directory.Issued) *types.Credentials {
	return &types.Credentials{
		AccessKeyId:     aws.String(i.AccessKeyID),
		SecretAccessKey: aws.String(i.SecretAccessKey),
		SessionToken:    aws.String(i.SessionToken),
		Expiration:      aws.Time(i.Expires),
	}
}
