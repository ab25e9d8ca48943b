package iam_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsiam "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/smithy-go"

	"github.com/malote/malote/authz"
	"github.com/malote/malote/caller"
	"github.com/malote/malote/malotetest"
	"github.com/malote/malote/service/iam"
	"github.com/malote/malote/service/iam/directory"
	"github.com/malote/malote/store/memory"
)

// A document that is refused is so in AWS's words, behind which stand the place and the element.
func TestBadDocumentsSayWhere(t *testing.T) {
	t.Parallel()
	admin := awsiam.NewFromConfig(malotetest.New(t).Config())
	for _, tt := range []struct{ document, want string }{
		{"This is no JSON", "Syntax errors in policy. (line 1, column 1: expected a value)"},
		{"{\n  \"Version\": \"2012-10-17\",\n  \"Statement\": [{\n    \"Efect\": \"Allow\"}]}", `Syntax errors in policy. (line 4, column 5, Statement[0].Efect: unknown element "Efect")`},
		{strings.Replace(allowRead, "GetSecretValue", "Get:SecretValue", 1), `Actions/Condition can contain only one colon. (line 1, column 65, Statement[0].Action: "secretsmanager:Get:SecretValue" has more than one colon)`},
		{strings.Replace(allowRead, `"*"`, `["*","secret"]`, 1), `Resource secret must be in ARN format or "*". (line 1, column 113, Statement[0].Resource: "secret" is neither an ARN with six parts nor "*")`},
		{strings.Replace(allowRead, "2012", "2008", 1), "Policy document must be version 2012-10-17 or greater."},
		{strings.Replace(allowRead, `"Version":"2012-10-17",`, "", 1), "Policy document must be version 2012-10-17 or greater."},
	} {
		_, err := admin.CreatePolicy(t.Context(), &awsiam.CreatePolicyInput{PolicyName: aws.String("p"), PolicyDocument: &tt.document})
		var api smithy.APIError
		if !errors.As(err, &api) || api.ErrorCode() != "MalformedPolicyDocument" || api.ErrorMessage() != tt.want {
			t.Errorf("%s: %v\nwant %s", tt.document, err, tt.want)
		}
	}
	// An inline policy may be of the old version.
	ok(admin.PutUserPolicy(t.Context(), &awsiam.PutUserPolicyInput{UserName: aws.String("admin"), PolicyName: aws.String("p"), PolicyDocument: aws.String(strings.Replace(allowRead, "2012", "2008", 1))}))(t)
}

// An account has no more of a kind than AWS lets it have.
func TestQuotas(t *testing.T) {
	t.Parallel()
	st := memory.New()
	t.Cleanup(func() { st.Close() })
	dir := directory.New(directory.Config{Store: st})
	t.Cleanup(func() { _ = dir.Close() })
	s := iam.New(iam.Config{Directory: dir, Authz: authz.New(authz.Config{Policies: dir})})
	ctx := caller.With(t.Context(), &caller.Request{
		Principal: &caller.Principal{Type: caller.Account, Account: malotetest.Account, ARN: accountARN + "root", ID: malotetest.Account}, Time: time.Now(),
	})
	entity := func(i int, prefix string) directory.Entity {
		return directory.Entity{Account: malotetest.Account, Path: "/", Name: fmt.Sprintf("e%d", i), ID: directory.NewID(prefix), Created: time.Now()}
	}
	for _, tt := range []struct {
		quota  string
		max    int
		put    func(*directory.Tx, int) error
		create func(context.Context) error
	}{
		{"UsersPerAccount", 5000, func(tx *directory.Tx, i int) error { return tx.PutUser(&directory.User{Entity: entity(i, "AIDA")}) }, func(ctx context.Context) error {
			_, err := s.CreateUser(ctx, &awsiam.CreateUserInput{UserName: aws.String("one-more")})
			return err
		}},
		{"GroupsPerAccount", 300, func(tx *directory.Tx, i int) error { return tx.PutGroup(&directory.Group{Entity: entity(i, "AGPA")}) }, func(ctx context.Context) error {
			_, err := s.CreateGroup(ctx, &awsiam.CreateGroupInput{GroupName: aws.String("one-more")})
			return err
		}},
		{"RolesPerAccount", 1000, func(tx *directory.Tx, i int) error { return tx.PutRole(&directory.Role{Entity: entity(i, "AROA")}) }, func(ctx context.Context) error {
			_, err := s.CreateRole(ctx, &awsiam.CreateRoleInput{RoleName: aws.String("one-more"), AssumeRolePolicyDocument: aws.String(trustECS)})
			return err
		}},
		{"PoliciesPerAccount", 1500, func(tx *directory.Tx, i int) error {
			return tx.PutPolicy(&directory.Policy{Account: malotetest.Account, Path: "/", Name: fmt.Sprintf("e%d", i), ID: directory.NewID("ANPA")})
		}, func(ctx context.Context) error {
			_, err := s.CreatePolicy(ctx, &awsiam.CreatePolicyInput{PolicyName: aws.String("one-more"), PolicyDocument: aws.String(allowRead)})
			return err
		}},
		{"InstanceProfilesPerAccount", 1000, func(tx *directory.Tx, i int) error {
			return tx.PutInstanceProfile(&directory.InstanceProfile{Entity: entity(i, "AIPA")})
		}, func(ctx context.Context) error {
			_, err := s.CreateInstanceProfile(ctx, &awsiam.CreateInstanceProfileInput{InstanceProfileName: aws.String("one-more")})
			return err
		}},
	} {
		t.Run(tt.quota, func(t *testing.T) {
			for i := 1; i < tt.max; { // one too few
				err := dir.Update(t.Context(), func(tx *directory.Tx) error {
					for end := min(i+25, tt.max); i < end; i++ {
						if err := tt.put(tx, i); err != nil {
							return err
						}
					}
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
			}
			if err := tt.create(ctx); err != nil {
				t.Errorf("the last one: %v", err)
			}
			wantError(t, tt.create(ctx), "LimitExceeded", fmt.Sprintf("Cannot exceed quota for %s: %d", tt.quota, tt.max))
		})
	}
	// A service's own role is made even so.
	if _, err := s.CreateServiceLinkedRole(ctx, &awsiam.CreateServiceLinkedRoleInput{AWSServiceName: aws.String("ecs.amazonaws.com")}); err != nil {
		t.Errorf("a service-linked role beyond the quota: %v", err)
	}
}
