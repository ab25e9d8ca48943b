package organizations

import (
	"context"
	"encoding/base64"
	"errors"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/organizations"
	"github.com/aws/aws-sdk-go-v2/service/organizations/types"

	"github.com/malote/malote/authz"
	"github.com/malote/malote/service/iam/directory"
	"github.com/malote/malote/store"
)

const largestPage = 20 // the most, and what is given to who does not say

// DescribeOrganization says which account is the management account. Whoever is allowed to
// may ask, of any account.
func (s *Service) DescribeOrganization(ctx context.Context, _ *organizations.DescribeOrganizationInput) (*organizations.DescribeOrganizationOutput, error) {
	if err := s.authz.Authorize(ctx, &authz.Access{Action: "organizations:DescribeOrganization", Resource: "*"}); err != nil {
		return nil, err
	}
	o, err := s.organization(ctx)
	if err != nil {
		return nil, err
	}
	var management *directory.Account
	if err := s.dir.View(ctx, func(tx *directory.Tx) (err error) {
		management, err = tx.Account(o.Management)
		return err
	}); err != nil {
		return nil, err
	}
	return &organizations.DescribeOrganizationOutput{Organization: &types.Organization{
		Id: &o.ID, Arn: aws.String("arn:aws:organizations::" + o.Management + ":organization/" + o.ID),
		FeatureSet:      types.OrganizationFeatureSetConsolidatedBilling, // the one without policies
		MasterAccountId: &o.Management, MasterAccountArn: aws.String(accountARN(o, o.Management)), MasterAccountEmail: optional(management.Email),
	}}, nil
}

// ListAccounts lists the accounts by id.
func (s *Service) ListAccounts(ctx context.Context, in *organizations.ListAccountsInput) (*organizations.ListAccountsOutput, error) {
	o, err := s.authorize(ctx, "ListAccounts", "")
	if err != nil {
		return nil, err
	}
	after, err := readToken(in.NextToken)
	if err != nil {
		return nil, err
	}
	limit := pageSize(in.MaxResults)
	out := &organizations.ListAccountsOutput{}
	err = s.dir.View(ctx, func(tx *directory.Tx) error {
		*out = organizations.ListAccountsOutput{Accounts: []types.Account{}}
		for a, err := range tx.Accounts(after) {
			if err != nil {
				return err
			}
			if len(out.Accounts) == limit {
				out.NextToken = token(*out.Accounts[limit-1].Id)
				return nil
			}
			out.Accounts = append(out.Accounts, describe(o, a))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// DescribeAccount describes one account.
func (s *Service) DescribeAccount(ctx context.Context, in *organizations.DescribeAccountInput) (*organizations.DescribeAccountOutput, error) {
	o, err := s.authorize(ctx, "DescribeAccount", *in.AccountId)
	if err != nil {
		return nil, err
	}
	var account *directory.Account
	err = s.dir.View(ctx, func(tx *directory.Tx) (err error) {
		account, err = tx.Account(*in.AccountId)
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil, &types.AccountNotFoundException{Message: aws.String("You specified an account that doesn't exist.")}
	}
	if err != nil {
		return nil, err
	}
	described := describe(o, account)
	return &organizations.DescribeAccountOutput{Account: &described}, nil
}

func describe(o *directory.Organization, a *directory.Account) types.Account {
	joined := types.AccountJoinedMethodCreated
	if a.ID == o.Management {
		joined = types.AccountJoinedMethodInvited // as AWS says of the one that was there first
	}
	return types.Account{
		Id: &a.ID, Arn: aws.String(accountARN(o, a.ID)), Name: optional(a.Name), Email: optional(a.Email),
		Status: types.AccountStatusActive, State: types.AccountStateActive, JoinedMethod: joined, JoinedTimestamp: &a.Created,
	}
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func pageSize(given *int32) int {
	if given == nil {
		return largestPage
	}
	return int(*given)
}

func token(last string) *string {
	return aws.String(base64.RawURLEncoding.EncodeToString([]byte(last)))
}

func readToken(given *string) (string, error) {
	if given == nil {
		return "", nil
	}
	after, err := base64.RawURLEncoding.DecodeString(*given)
	if err != nil || len(after) == 0 {
		return "", &types.InvalidInputException{
			Message: aws.String("You provided an invalid value for NextToken."), Reason: types.InvalidInputExceptionReasonInvalidPaginationToken,
		}
	}
	return string(after), nil
}
