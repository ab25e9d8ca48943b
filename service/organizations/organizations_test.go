package organizations_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/organizations"
	"github.com/aws/aws-sdk-go-v2/service/organizations/types"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"

	"github.com/malote/malote/malotetest"
)

const stranger = "210987654321"

func wantError(t *testing.T, what string, err error, code, message string) {
	t.Helper()
	var api smithy.APIError
	if !errors.As(err, &api) || api.ErrorCode() != code || !strings.Contains(api.ErrorMessage(), message) {
		t.Errorf("%s: %v, want %s: %s", what, err, code, message)
	}
}

func create(t *testing.T, client *organizations.Client, name, email string) *types.CreateAccountStatus {
	t.Helper()
	out, err := client.CreateAccount(t.Context(), &organizations.CreateAccountInput{AccountName: &name, Email: &email})
	if err != nil {
		t.Fatal(err)
	}
	return out.CreateAccountStatus
}

// Whoever makes an account gets into it by its role, and into nothing else by it.
func TestCreateAccount(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	sys := malotetest.New(t)
	client := organizations.NewFromConfig(sys.Config())
	status := create(t, client, "Staging", "staging@example.com")
	if status.State != types.CreateAccountStateSucceeded || !strings.HasPrefix(*status.Id, "car-") || len(aws.ToString(status.AccountId)) != 12 || *status.AccountName != "Staging" {
		t.Fatalf("status = %+v", status)
	}
	asked, err := client.DescribeCreateAccountStatus(ctx, &organizations.DescribeCreateAccountStatusInput{CreateAccountRequestId: status.Id})
	if err != nil || *asked.CreateAccountStatus.AccountId != *status.AccountId || asked.CreateAccountStatus.State != status.State {
		t.Errorf("DescribeCreateAccountStatus = %+v, %v", asked, err)
	}
	described, err := client.DescribeAccount(ctx, &organizations.DescribeAccountInput{AccountId: status.AccountId})
	if err != nil {
		t.Fatal(err)
	}
	if a := described.Account; *a.Name != "Staging" || *a.Email != "staging@example.com" || a.Status != types.AccountStatusActive || a.JoinedMethod != types.AccountJoinedMethodCreated ||
		!strings.HasPrefix(*a.Arn, "arn:aws:organizations::"+malotetest.Account+":account/o-") || !strings.HasSuffix(*a.Arn, "/"+*status.AccountId) {
		t.Errorf("account = %+v", a)
	}

	enter := &sts.AssumeRoleInput{RoleArn: aws.String("arn:aws:iam::" + *status.AccountId + ":role/OrganizationAccountAccessRole"), RoleSessionName: aws.String("in")}
	session, err := sts.NewFromConfig(sys.Config()).AssumeRole(ctx, enter)
	if err != nil {
		t.Fatal(err)
	}
	inside := sys.Credentials(*session.Credentials.AccessKeyId, *session.Credentials.SecretAccessKey, *session.Credentials.SessionToken)
	if users, err := iam.NewFromConfig(inside).ListUsers(ctx, nil); err != nil || len(users.Users) != 0 {
		t.Errorf("users of the new account: %v, %v", users, err)
	}
	name, value := aws.String("db"), sys.Canary()
	if _, err := secretsmanager.NewFromConfig(inside).CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: name, SecretString: &value}); err != nil {
		t.Fatal(err)
	}
	_, err = secretsmanager.NewFromConfig(sys.Config()).GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: name})
	wantError(t, "the management account, without the role", err, "ResourceNotFoundException", "")
	_, err = sts.NewFromConfig(sys.User(t, "nobody", "")).AssumeRole(ctx, enter)
	wantError(t, "a user who may not assume the role", err, "AccessDenied", "sts:AssumeRole")
	_, err = sts.NewFromConfig(sys.Other(t, stranger)).AssumeRole(ctx, enter)
	wantError(t, "another account", err, "AccessDenied", "sts:AssumeRole")
	_, err = organizations.NewFromConfig(inside).CreateAccount(ctx, &organizations.CreateAccountInput{AccountName: name, Email: aws.String("x@example.com")})
	wantError(t, "the new account's administrator", err, "AccessDeniedException", "You don't have permissions to access this resource.")

	named, err := client.CreateAccount(ctx, &organizations.CreateAccountInput{AccountName: aws.String("n"), Email: aws.String("n@example.com"), RoleName: aws.String("Way-In")})
	if err != nil {
		t.Fatal(err)
	}
	enter.RoleArn = aws.String("arn:aws:iam::" + *named.CreateAccountStatus.AccountId + ":role/Way-In")
	if _, err := sts.NewFromConfig(sys.Config()).AssumeRole(ctx, enter); err != nil {
		t.Error(err)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	sys := malotetest.New(t)
	client := organizations.NewFromConfig(sys.Config())
	create(t, client, "one", "ops@example.com")
	if again := create(t, client, "two", "OPS@example.com"); again.State != types.CreateAccountStateFailed || again.FailureReason != types.CreateAccountFailureReasonEmailAlreadyExists || again.AccountId != nil {
		t.Errorf("with an email address that another account has: %+v", again)
	}
	in := func(change func(*organizations.CreateAccountInput)) error {
		in := &organizations.CreateAccountInput{AccountName: aws.String("n"), Email: aws.String("n@example.com")}
		change(in)
		_, err := client.CreateAccount(ctx, in)
		return err
	}
	wantError(t, "tags", in(func(in *organizations.CreateAccountInput) {
		in.Tags = []types.Tag{{Key: aws.String("k"), Value: aws.String("v")}}
	}), "InvalidInputException", "Tags")
	wantError(t, "billing", in(func(in *organizations.CreateAccountInput) {
		in.IamUserAccessToBilling = types.IAMUserAccessToBillingAllow
	}), "InvalidInputException", "IamUserAccessToBilling")
	wantError(t, "email", in(func(in *organizations.CreateAccountInput) { in.Email = aws.String("nobody") }), "ValidationException", "email")
	wantError(t, "role", in(func(in *organizations.CreateAccountInput) { in.RoleName = aws.String("a role") }), "ValidationException", "roleName")
	_, err := client.DescribeAccount(ctx, &organizations.DescribeAccountInput{AccountId: aws.String("999999999999")})
	wantError(t, "no account", err, "AccountNotFoundException", "")
	_, err = client.DescribeCreateAccountStatus(ctx, &organizations.DescribeCreateAccountStatusInput{CreateAccountRequestId: aws.String("car-00000000")})
	wantError(t, "no request", err, "CreateAccountStatusNotFoundException", "")
	_, err = client.ListAccounts(ctx, &organizations.ListAccountsInput{NextToken: aws.String("?")})
	wantError(t, "token", err, "InvalidInputException", "NextToken")
	all, err := client.ListAccounts(ctx, nil)
	if err != nil || len(all.Accounts) != 2 {
		t.Errorf("%d accounts, %v: a refusal made one", len(all.Accounts), err)
	}
}

// Nobody makes, lists or describes accounts but principals of the first one whose policies
// allow it: no administrator and no root user of another.
func TestOnlyTheFirstAccount(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	sys := malotetest.New(t)
	calls := func(client *organizations.Client) map[string]error {
		all := map[string]error{}
		_, all["CreateAccount"] = client.CreateAccount(ctx, &organizations.CreateAccountInput{AccountName: aws.String("n"), Email: aws.String("n@example.com")})
		_, all["DescribeCreateAccountStatus"] = client.DescribeCreateAccountStatus(ctx, &organizations.DescribeCreateAccountStatusInput{CreateAccountRequestId: aws.String("car-00000000")})
		_, all["ListCreateAccountStatus"] = client.ListCreateAccountStatus(ctx, nil)
		_, all["ListAccounts"] = client.ListAccounts(ctx, nil)
		_, all["DescribeAccount"] = client.DescribeAccount(ctx, &organizations.DescribeAccountInput{AccountId: aws.String(malotetest.Account)})
		return all
	}
	for who, client := range map[string]*organizations.Client{
		"another account's administrator": organizations.NewFromConfig(sys.Other(t, stranger)),
		"another account's root user":     organizations.NewFromConfig(sys.OtherRoot(t, "310987654321")),
	} {
		for op, err := range calls(client) {
			wantError(t, op+" by "+who, err, "AccessDeniedException", "You don't have permissions to access this resource.")
		}
		out, err := client.DescribeOrganization(ctx, nil)
		if err != nil || *out.Organization.MasterAccountId != malotetest.Account {
			t.Errorf("DescribeOrganization by %s: %v, %v", who, out, err)
		}
	}
	nobody := organizations.NewFromConfig(sys.User(t, "nobody", malotetest.Allow("*", "iam:*", "sts:*")))
	for op, err := range calls(nobody) {
		wantError(t, op+" by who may everything else", err, "AccessDeniedException", "no identity-based policy allows the organizations:"+op+" action")
	}
	_, err := nobody.DescribeOrganization(ctx, nil)
	wantError(t, "DescribeOrganization by who may everything else", err, "AccessDeniedException", "organizations:DescribeOrganization")
	one := organizations.NewFromConfig(sys.User(t, "one", malotetest.Allow("arn:aws:organizations::*:account/*/"+stranger, "organizations:DescribeAccount")))
	if _, err := one.DescribeAccount(ctx, &organizations.DescribeAccountInput{AccountId: aws.String(stranger)}); err != nil {
		t.Error(err)
	}
	_, err = one.DescribeAccount(ctx, &organizations.DescribeAccountInput{AccountId: aws.String("310987654321")})
	wantError(t, "the other account", err, "AccessDeniedException", "310987654321")
	if _, err := organizations.NewFromConfig(sys.Root(t)).ListAccounts(ctx, nil); err != nil {
		t.Error(err)
	}
}

func TestPages(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	sys := malotetest.New(t)
	client := organizations.NewFromConfig(sys.Config())
	want := []string{malotetest.Account}
	for i := range 4 {
		want = append(want, *create(t, client, "n", fmt.Sprintf("n%d@example.com", i)).AccountId)
	}
	create(t, client, "n", "n0@example.com") // fails
	slices.Sort(want)
	var got []string
	pages := organizations.NewListAccountsPaginator(client, &organizations.ListAccountsInput{MaxResults: aws.Int32(2)})
	for n := 0; pages.HasMorePages(); n++ {
		page, err := pages.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if n < 2 && len(page.Accounts) != 2 {
			t.Errorf("page %d has %d accounts", n, len(page.Accounts))
		}
		for _, a := range page.Accounts {
			got = append(got, *a.Id)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("accounts = %v, want %v", got, want)
	}
	for state, want := range map[types.CreateAccountState]int{types.CreateAccountStateSucceeded: 4, types.CreateAccountStateFailed: 1, types.CreateAccountStateInProgress: 0} {
		n := 0
		pages := organizations.NewListCreateAccountStatusPaginator(client, &organizations.ListCreateAccountStatusInput{States: []types.CreateAccountState{state}, MaxResults: aws.Int32(1)})
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				t.Fatal(err)
			}
			n += len(page.CreateAccountStatuses)
		}
		if n != want {
			t.Errorf("%d requests are %s, want %d", n, state, want)
		}
	}
	o, err := client.DescribeOrganization(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	if o := o.Organization; o.FeatureSet != types.OrganizationFeatureSetConsolidatedBilling || *o.Arn != "arn:aws:organizations::"+malotetest.Account+":organization/"+*o.Id {
		t.Errorf("organization = %+v", o)
	}
}
