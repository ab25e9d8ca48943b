package sts

import (
	"context"
	"errors"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"

	"github.com/malote/malote/caller"
	"github.com/malote/malote/service/iam/directory"
	"github.com/malote/malote/service/sts/webidentity"
	"github.com/malote/malote/store"
)

// AssumeRoleWithWebIdentity gives credentials of a role to whoever brings a token of an
// issuer that the role's account has made an identity provider (see iam), when the role's
// trust policy lets in whom the token speaks of. Nobody signs the request: the gateway lets
// it pass, and any signature on it means nothing.
//
// https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html
func (s *Service) AssumeRoleWithWebIdentity(ctx context.Context, in *sts.AssumeRoleWithWebIdentityInput) (*sts.AssumeRoleWithWebIdentityOutput, error) {
	a := &ask{
		role: *in.RoleArn, name: *in.RoleSessionName, policy: in.Policy, policyARNs: in.PolicyArns, seconds: in.DurationSeconds,
		action: "sts:AssumeRoleWithWebIdentity", conditions: map[string][]string{},
	}
	account, err := a.account()
	if err != nil {
		return nil, err
	}
	if in.ProviderId != nil {
		return nil, validationError("ProviderId is for OAuth 2.0 access tokens, which are not supported. Leave it out for OpenID Connect ID tokens.")
	}
	provider, id, err := s.identify(ctx, account, *in.WebIdentityToken)
	if err != nil {
		return nil, refusedToken(err)
	}

	// What policies may ask of the token is named by its issuer; three of these stay with the session.
	// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_iam-condition-keys.html#condition-keys-wif
	a.web = &directory.Session{Provider: provider.ARN(), Claims: map[string][]string{}}
	for claim, values := range id.Claims {
		a.conditions[provider.URL+":"+claim] = values
	}
	for _, claim := range [...]string{"aud", "sub", "amr"} {
		if values := id.Claims[claim]; values != nil {
			a.web.Claims[provider.URL+":"+claim] = values
		}
	}
	for _, t := range id.Tags {
		a.tags = append(a.tags, types.Tag{Key: aws.String(t.Key), Value: aws.String(t.Value)})
	}
	a.transitive = id.TransitiveTags
	if id.SourceIdentity != "" {
		a.sourceIdentity = aws.String(id.SourceIdentity)
	}
	out, err := s.assume(ctx, &caller.Principal{
		Type: caller.WebIdentityUser, Account: account, ID: provider.ARN() + ":" + id.Audience + ":" + id.Subject, UserName: id.Subject, Provider: provider.ARN(),
	}, a)
	if err != nil {
		return nil, err
	}
	return &sts.AssumeRoleWithWebIdentityOutput{
		AssumedRoleUser: out.user, Credentials: out.credentials, PackedPolicySize: out.packed, SourceIdentity: out.sourceIdentity,
		Audience: aws.String(id.Audience), Provider: aws.String(provider.ARN()), SubjectFromWebIdentityToken: aws.String(id.Subject),
	}, nil
}

// identify finds out whom a token speaks of, and who says so: a provider of the account.
func (s *Service) identify(ctx context.Context, account, text string) (*directory.OIDCProvider, *webidentity.Identity, error) {
	token, err := webidentity.Parse(text)
	if err != nil {
		return nil, nil, err
	}
	var provider *directory.OIDCProvider
	url, https := strings.CutPrefix(token.Issuer(), "https://")
	err = s.dir.View(ctx, func(tx *directory.Tx) (err error) {
		if provider, err = tx.OIDCProvider(account, url); errors.Is(err, store.ErrNotFound) {
			provider, err = nil, nil
		}
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	if provider == nil || !https {
		return nil, nil, &webidentity.Error{Reason: webidentity.Invalid, Text: "No OpenIDConnect provider found in your account for " + token.Issuer()}
	}
	err = s.tokens.Verify(ctx, token, &webidentity.Provider{ID: provider.ARN(), Issuer: token.Issuer(), Thumbprints: provider.Thumbprints})
	if err != nil {
		return nil, nil, err
	}
	id, err := token.Identity(s.now(), provider.ClientIDs)
	return provider, id, err
}

// refusedToken is an error of webidentity in AWS's form. Others pass.
func refusedToken(err error) error {
	var refused *webidentity.Error
	if !errors.As(err, &refused) {
		return err
	}
	text := aws.String(refused.Text)
	switch refused.Reason {
	case webidentity.Expired:
		return &types.ExpiredTokenException{Message: text}
	case webidentity.Rejected:
		return &types.IDPRejectedClaimException{Message: text}
	case webidentity.Unreachable:
		return &types.IDPCommunicationErrorException{Message: text}
	}
	return &types.InvalidIdentityTokenException{Message: text}
}
