package malotetest_test

import (
	"context"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/malote/malote/malotetest"
)

// The steps of "IAM tutorial: Define permissions to access AWS resources based on tags",
// one after another, with its projects, teams and cost centers. One policy for all roles.
//
// https://docs.aws.amazon.com/IAM/latest/UserGuide/tutorial_attribute-based-access-control.html
func TestABACTutorial(t *testing.T) {
	t.Parallel()
	const (
		assume = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"sts:AssumeRole","Resource":"arn:aws:iam::123456789012:role/access-*",
			"Condition":{"StringEquals":{
				"iam:ResourceTag/access-project":"${aws:PrincipalTag/access-project}",
				"iam:ResourceTag/access-team":"${aws:PrincipalTag/access-team}",
				"iam:ResourceTag/cost-center":"${aws:PrincipalTag/cost-center}"}}}}`
		sameProjectAndTeam = `{"Version":"2012-10-17","Statement":[
			{"Sid":"EverythingOfOnesOwn","Effect":"Allow","Action":"secretsmanager:*","Resource":"*","Condition":{
				"StringEquals":{
					"aws:ResourceTag/access-project":"${aws:PrincipalTag/access-project}",
					"aws:ResourceTag/access-team":"${aws:PrincipalTag/access-team}",
					"aws:ResourceTag/cost-center":"${aws:PrincipalTag/cost-center}"},
				"ForAllValues:StringEquals":{"aws:TagKeys":["access-project","access-team","cost-center","Name","OwnedBy"]},
				"StringEqualsIfExists":{
					"aws:RequestTag/access-project":"${aws:PrincipalTag/access-project}",
					"aws:RequestTag/access-team":"${aws:PrincipalTag/access-team}",
					"aws:RequestTag/cost-center":"${aws:PrincipalTag/cost-center}"}}},
			{"Sid":"WhatHasNoTags","Effect":"Allow","Action":["secretsmanager:GetRandomPassword","secretsmanager:ListSecrets"],"Resource":"*"},
			{"Sid":"ReadTheTeams","Effect":"Allow","Action":["secretsmanager:Describe*","secretsmanager:Get*","secretsmanager:List*"],"Resource":"*",
				"Condition":{"StringEquals":{"aws:ResourceTag/access-team":"${aws:PrincipalTag/access-team}"}}},
			{"Sid":"KeepTheTags","Effect":"Deny","Action":"secretsmanager:UntagResource","Resource":"*","Condition":{"ForAnyValue:StringLike":{"aws:TagKeys":"access-*"}}},
			{"Sid":"KeepThePolicies","Effect":"Deny","Action":"secretsmanager:*Policy","Resource":"*"}]}`
		trust = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"AWS":"123456789012"},"Action":"sts:AssumeRole"}}`
	)
	sys := malotetest.New(t)
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	people := iam.NewFromConfig(sys.Config())
	made, err := people.CreatePolicy(ctx, &iam.CreatePolicyInput{PolicyName: aws.String("access-same-project-team"), PolicyDocument: aws.String(sameProjectAndTeam)})
	must(err)

	cast := []struct{ user, project, team, costCenter, role string }{
		{"access-Arnav-peg-eng", "peg", "eng", "987654", "access-peg-engineering"},
		{"access-Mary-peg-qas", "peg", "qas", "987654", "access-peg-quality-assurance"},
		{"access-Saanvi-uni-eng", "uni", "eng", "123456", "access-uni-engineering"},
		{"access-Carlos-uni-qas", "uni", "qas", "123456", "access-uni-quality-assurance"},
	}
	tags := func(i int) []iamtypes.Tag {
		return []iamtypes.Tag{
			{Key: aws.String("access-project"), Value: &cast[i].project}, {Key: aws.String("access-team"), Value: &cast[i].team}, {Key: aws.String("cost-center"), Value: &cast[i].costCenter},
		}
	}
	secretTags := func(i int) (out []types.Tag) {
		for _, tag := range tags(i) {
			out = append(out, types.Tag{Key: tag.Key, Value: tag.Value})
		}
		return append(out, types.Tag{Key: aws.String("Name"), Value: aws.String("test")})
	}
	users := make([]aws.Config, len(cast))
	for i, c := range cast {
		users[i] = sys.User(t, c.user, assume)
		_, err := people.TagUser(ctx, &iam.TagUserInput{UserName: &c.user, Tags: tags(i)})
		must(err)
		_, err = people.CreateRole(ctx, &iam.CreateRoleInput{RoleName: &c.role, AssumeRolePolicyDocument: aws.String(trust), Tags: tags(i)})
		must(err)
		_, err = people.AttachRolePolicy(ctx, &iam.AttachRolePolicyInput{RoleName: &c.role, PolicyArn: made.Policy.Arn})
		must(err)
	}

	// Each user may assume the role of the same tags, and none of the others.
	as := make([]*secretsmanager.Client, len(cast))
	for u, c := range cast {
		for r := range cast {
			out, err := sts.NewFromConfig(users[u]).AssumeRole(ctx, &sts.AssumeRoleInput{
				RoleArn: aws.String("arn:aws:iam::123456789012:role/" + cast[r].role), RoleSessionName: aws.String("tutorial"),
			})
			if refused(err) == (u == r) {
				t.Errorf("%s assumes %s: %v", c.user, cast[r].role, err)
			}
			if err == nil {
				session := users[u].Copy()
				session.Credentials = credentials.NewStaticCredentialsProvider(*out.Credentials.AccessKeyId, *out.Credentials.SecretAccessKey, *out.Credentials.SessionToken)
				as[r] = secretsmanager.NewFromConfig(session)
			}
		}
	}
	if t.Failed() {
		return
	}

	// A secret is created with the tags of its creator alone: neither without them, nor with
	// another's, nor with one that nobody knows.
	create := func(i int, name string, tags []types.Tag) error {
		_, err := as[i].CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: &name, SecretString: aws.String(sys.Canary()), Tags: tags})
		return err
	}
	for i, c := range cast {
		if err := create(i, "test-"+c.role, secretTags(i)); err != nil {
			t.Fatalf("%s creates its secret: %v", c.role, err)
		}
		for what, tags := range map[string][]types.Tag{
			"no tags": nil, "another's tags": secretTags((i + 1) % len(cast)), "a tag that is not foreseen": append(secretTags(i), types.Tag{Key: aws.String("color"), Value: aws.String("x")}),
			"one tag less": secretTags(i)[1:],
		} {
			if err := create(i, "other-"+c.role, tags); !refused(err) {
				t.Errorf("%s creates a secret with %s: %v", c.role, what, err)
			}
		}
	}
	for i, c := range cast {
		for j, d := range cast {
			id := aws.String("test-" + d.role)
			own, team := i == j, c.team == d.team
			for _, call := range []struct {
				name string
				may  bool
				do   func(context.Context, *secretsmanager.Client) error
			}{
				{"lists", true, func(ctx context.Context, s *secretsmanager.Client) error {
					_, err := s.ListSecrets(ctx, &secretsmanager.ListSecretsInput{})
					return err
				}},
				{"describes", team, func(ctx context.Context, s *secretsmanager.Client) error {
					_, err := s.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: id})
					return err
				}},
				{"reads", team, func(ctx context.Context, s *secretsmanager.Client) error {
					_, err := s.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: id})
					return err
				}},
				{"changes", own, func(ctx context.Context, s *secretsmanager.Client) error {
					_, err := s.UpdateSecret(ctx, &secretsmanager.UpdateSecretInput{SecretId: id, Description: aws.String("changed")})
					return err
				}},
				{"gives an owner to", own, func(ctx context.Context, s *secretsmanager.Client) error {
					_, err := s.TagResource(ctx, &secretsmanager.TagResourceInput{SecretId: id, Tags: []types.Tag{{Key: aws.String("OwnedBy"), Value: &c.user}}})
					return err
				}},
				{"moves to another team", false, func(ctx context.Context, s *secretsmanager.Client) error {
					_, err := s.TagResource(ctx, &secretsmanager.TagResourceInput{SecretId: id, Tags: []types.Tag{{Key: aws.String("access-team"), Value: aws.String("sales")}}})
					return err
				}},
				{"takes the team from", false, func(ctx context.Context, s *secretsmanager.Client) error {
					_, err := s.UntagResource(ctx, &secretsmanager.UntagResourceInput{SecretId: id, TagKeys: []string{"access-team"}})
					return err
				}},
				{"reads the policy of", false, func(ctx context.Context, s *secretsmanager.Client) error {
					_, err := s.GetResourcePolicy(ctx, &secretsmanager.GetResourcePolicyInput{SecretId: id})
					return err
				}},
			} {
				if err := call.do(ctx, as[i]); refused(err) == call.may {
					t.Errorf("%s %s the secret of %s: %v", c.role, call.name, d.role, err)
				}
			}
		}
	}
	// A project's team changes: tags, and no policy.
	_, err = people.TagRole(ctx, &iam.TagRoleInput{RoleName: aws.String("access-peg-engineering"), Tags: []iamtypes.Tag{{Key: aws.String("access-team"), Value: aws.String("qas")}}})
	must(err)
	if _, err := as[0].GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: aws.String("test-access-uni-engineering")}); !refused(err) {
		t.Errorf("who is of another team now reads the old team's secret: %v", err)
	}
	for i, d := range []int{2, 2, 1, 1} {
		if _, err := as[d].DeleteSecret(ctx, &secretsmanager.DeleteSecretInput{SecretId: aws.String("test-" + cast[i].role)}); refused(err) == (i == d) {
			t.Errorf("%s deletes the secret of %s: %v", cast[d].role, cast[i].role, err)
		}
	}
}
