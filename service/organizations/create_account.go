package organizations

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/organizations"
	"github.com/aws/aws-sdk-go-v2/service/organizations/types"

	"github.com/malote/malote/service/iam/directory"
	"github.com/malote/malote/store"
)

// defaultRole is the role by which the management account gets into an account that it made.
const defaultRole = "OrganizationAccountAccessRole"

// CreateAccount makes an account with a role that principals of the management account may
// assume, if their own policies let them: it has no user and no key. It is there at once,
// where AWS takes minutes and says IN_PROGRESS meanwhile.
//
// https://docs.aws.amazon.com/organizations/latest/APIReference/API_CreateAccount.html
func (s *Service) CreateAccount(ctx context.Context, in *organizations.CreateAccountInput) (*organizations.CreateAccountOutput, error) {
	if _, err := s.authorize(ctx, "CreateAccount", ""); err != nil {
		return nil, err
	}
	switch {
	case len(in.Tags) > 0:
		return nil, unsupported("Tags")
	case in.IamUserAccessToBilling != "":
		return nil, unsupported("IamUserAccessToBilling")
	}
	role := aws.ToString(in.RoleName)
	if role == "" {
		role = defaultRole
	}
	var request *directory.AccountRequest
	err := s.dir.Update(ctx, func(tx *directory.Tx) error {
		request = &directory.AccountRequest{ID: newRequestID(), Name: *in.AccountName, Requested: s.now().UTC()}
		account, _, err := s.dir.CreateAccountIn(tx, directory.NewAccount{Name: *in.AccountName, Email: *in.Email, Role: role})
		switch {
		case errors.Is(err, directory.ErrEmailExists):
			request.Failure = string(types.CreateAccountFailureReasonEmailAlreadyExists)
		case err != nil:
			return err
		default:
			request.Account = account.ID
		}
		return tx.PutAccountRequest(request)
	})
	if err != nil {
		return nil, err
	}
	return &organizations.CreateAccountOutput{CreateAccountStatus: status(request)}, nil
}

func newRequestID() string { return "car-" + strings.ToLower(directory.NewID("")) }

// DescribeCreateAccountStatus says what became of a CreateAccount.
func (s *Service) DescribeCreateAccountStatus(ctx context.Context, in *organizations.DescribeCreateAccountStatusInput) (*organizations.DescribeCreateAccountStatusOutput, error) {
	if _, err := s.authorize(ctx, "DescribeCreateAccountStatus", ""); err != nil {
		return nil, err
	}
	var request *directory.AccountRequest
	err := s.dir.View(ctx, func(tx *directory.Tx) (err error) {
		request, err = tx.AccountRequest(*in.CreateAccountRequestId)
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil, &types.CreateAccountStatusNotFoundException{Message: aws.String("We can't find a create account request with the CreateAccountRequestId that you specified.")}
	}
	if err != nil {
		return nil, err
	}
	return &organizations.DescribeCreateAccountStatusOutput{CreateAccountStatus: status(request)}, nil
}

// ListCreateAccountStatus lists what became of each CreateAccount, by its request's id.
func (s *Service) ListCreateAccountStatus(ctx context.Context, in *organizations.ListCreateAccountStatusInput) (*organizations.ListCreateAccountStatusOutput, error) {
	if _, err := s.authorize(ctx, "ListCreateAccountStatus", ""); err != nil {
		return nil, err
	}
	after, err := readToken(in.NextToken)
	if err != nil {
		return nil, err
	}
	limit := pageSize(in.MaxResults)
	out := &organizations.ListCreateAccountStatusOutput{}
	err = s.dir.View(ctx, func(tx *directory.Tx) error {
		*out = organizations.ListCreateAccountStatusOutput{CreateAccountStatuses: []types.CreateAccountStatus{}}
		for request, err := range tx.AccountRequests(after) {
			if err != nil {
				return err
			}
			described := status(request)
			if len(in.States) > 0 && !slices.Contains(in.States, described.State) {
				continue
			}
			if len(out.CreateAccountStatuses) == limit {
				out.NextToken = token(*out.CreateAccountStatuses[limit-1].Id)
				return nil
			}
			out.CreateAccountStatuses = append(out.CreateAccountStatuses, *described)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func status(r *directory.AccountRequest) *types.CreateAccountStatus {
	out := &types.CreateAccountStatus{
		Id: &r.ID, AccountName: &r.Name, State: types.CreateAccountStateSucceeded, RequestedTimestamp: &r.Requested, CompletedTimestamp: &r.Requested,
		AccountId: optional(r.Account),
	}
	if r.Failure != "" {
		out.State, out.FailureReason = types.CreateAccountStateFailed, types.CreateAccountFailureReason(r.Failure)
	}
	return out
}

// unsupported is a member of the API that is not done here: taking it would be a promise.
func unsupported(member string) error {
	return &types.InvalidInputException{Message: aws.String("You specified " + member + ", which is not supported here.")}
}
