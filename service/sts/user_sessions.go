package sts

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"

	"github.com/malote/malote/authz"
	"github.com/malote/malote/caller"
	"github.com/malote/malote/service/iam/directory"
)

const (
	defaultUserSession = 12 * time.Hour
	rootSession        = time.Hour
)

// userSession is how long credentials of p last: twelve hours unless told otherwise, and
// root's an hour at most, whatever is asked.
func (s *Service) userSession(p *caller.Principal, seconds *int32) time.Time {
	length := defaultUserSession
	if seconds != nil {
		length = time.Duration(*seconds) * time.Second
	}
	if p.Type == caller.Account {
		length = min(length, rootSession)
	}
	return s.now().Add(length)
}

// longTerm refuses whoever has no long-term key.
func longTerm(p *caller.Principal, operation string) error {
	if !p.IssuedAt.IsZero() || p.Type != caller.User && p.Type != caller.Account {
		return errSession(operation)
	}
	return nil
}

// GetSessionToken gives a user temporary credentials with the user's own rights. It needs
// no permission. They call neither IAM, for they carry no MFA, nor of STS anything but
// AssumeRole and GetCallerIdentity.
//
// https://docs.aws.amazon.com/STS/latest/APIReference/API_GetSessionToken.html
func (s *Service) GetSessionToken(ctx context.Context, in *sts.GetSessionTokenInput) (*sts.GetSessionTokenOutput, error) {
	p := caller.From(ctx).Principal
	if err := longTerm(p, "GetSessionToken"); err != nil {
		return nil, err
	}
	if in.SerialNumber != nil || in.TokenCode != nil {
		return nil, errMFA
	}
	if in.MinimumSessionTokenSize != nil {
		return nil, validationError("MinimumSessionTokenSize is not supported.")
	}
	if err := s.open(ctx, "GetSessionToken"); err != nil {
		return nil, err
	}
	issued, err := s.dir.Issue(ctx, directory.Session{Account: p.Account, Type: p.Type, ID: p.ID, Expires: s.userSession(p, in.DurationSeconds)})
	if err != nil {
		return nil, err
	}
	return &sts.GetSessionTokenOutput{Credentials: credentials(issued)}, nil
}

// GetFederationToken gives temporary credentials to somebody whom a user vouches for, under
// a name of the user's choice. They may do what the user's policies and the session's both
// allow; without session policies nothing but what a resource's policy allows that name.
// They end with the user, and call neither IAM nor of STS anything but GetCallerIdentity.
//
// https://docs.aws.amazon.com/STS/latest/APIReference/API_GetFederationToken.html
func (s *Service) GetFederationToken(ctx context.Context, in *sts.GetFederationTokenInput) (*sts.GetFederationTokenOutput, error) {
	p := caller.From(ctx).Principal
	if err := longTerm(p, "GetFederationToken"); err != nil {
		return nil, err
	}
	arn := directory.FederatedUserARN(p.Account, *in.Name)
	requested := map[string]string{}
	for _, t := range in.Tags {
		requested[*t.Key] = aws.ToString(t.Value)
	}
	actions := []string{"sts:GetFederationToken"}
	if len(in.Tags) > 0 {
		actions = append(actions, "sts:TagSession")
	}
	for _, action := range actions {
		if err := s.authz.Authorize(ctx, &authz.Access{Action: action, Resource: arn, RequestTags: requested}); err != nil {
			return nil, err
		}
	}

	if in.MinimumSessionTokenSize != nil {
		return nil, validationError("MinimumSessionTokenSize is not supported.")
	}
	session := &directory.Session{
		Account: p.Account, Type: caller.FederatedUser, ID: p.ID, Name: *in.Name, Expires: s.userSession(p, in.DurationSeconds),
	}
	if err := tags(session, p, in.Tags, nil); err != nil {
		return nil, err
	}
	if err := limit(session, in.Policy, in.PolicyArns); err != nil {
		return nil, err
	}
	if err := s.checkPolicies(ctx, p.Account, in.PolicyArns); err != nil {
		return nil, err
	}

	issued, packed, err := s.issue(ctx, session)
	if err != nil {
		return nil, err
	}
	if !session.HasPolicies() && len(session.Tags) == 0 {
		packed = 0
	}
	return &sts.GetFederationTokenOutput{
		Credentials:      credentials(issued),
		FederatedUser:    &types.FederatedUser{Arn: aws.String(arn), FederatedUserId: aws.String(p.Account + ":" + *in.Name)},
		PackedPolicySize: aws.Int32(packed),
	}, nil
}
