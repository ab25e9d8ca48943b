package sts

import (
	"context"
	"errors"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"

	"github.com/malote/malote/authz"
	"github.com/malote/malote/caller"
	"github.com/malote/malote/service/iam/directory"
)

// DecodeAuthorizationMessage reads what a denial of a request of the caller's account was
// answered with (see Explain).
func (s *Service) DecodeAuthorizationMessage(ctx context.Context, in *sts.DecodeAuthorizationMessageInput) (*sts.DecodeAuthorizationMessageOutput, error) {
	p := caller.From(ctx).Principal
	if ofUser(p) {
		return nil, errSession("DecodeAuthorizationMessage")
	}
	if err := s.authz.Authorize(ctx, &authz.Access{Action: "sts:DecodeAuthorizationMessage"}); err != nil {
		return nil, err
	}
	text, err := s.dir.OpenMessage(ctx, p.Account, *in.EncodedMessage)
	if errors.Is(err, directory.ErrMessage) {
		return nil, &types.InvalidAuthorizationMessageException{Message: aws.String("The message is not one of a denial in this account.")}
	}
	if err != nil {
		return nil, err
	}
	return &sts.DecodeAuthorizationMessageOutput{DecodedMessage: aws.String(string(text))}, nil
}

// maxEncoded is what proxies have room for in a header, and DecodeAuthorizationMessage takes.
const maxEncoded = 4096

// Explain is what the gateway answers a denial with in X-Malote-Encoded-Authorization-Message: why
// it was denied, for whoever in the caller's account may decode it. Empty for any other error.
func Explain(ctx context.Context, s *Service, err error) string {
	var denied *authz.Denied
	if !errors.As(err, &denied) || denied.Principal.Account == "" {
		return ""
	}
	for _, brief := range []bool{false, true} {
		encoded, err := s.dir.SealMessage(ctx, denied.Principal.Account, denied.Message(brief))
		if err == nil && len(encoded) <= maxEncoded {
			return encoded
		}
	}
	return ""
}
