package secretsmanager

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/malote/malote/audit"
	"github.com/malote/malote/authz"
	"github.com/malote/malote/caller"
)

// between is an audit that does something right after a decision, once.
type between func()

func (b *between) Record(context.Context, audit.Record) error {
	if do := *b; do != nil {
		*b = nil
		do()
	}
	return nil
}

// Who loses a right between the decision and the write does not write.
func TestRightsLostMeanwhile(t *testing.T) {
	t.Parallel()
	bob := &caller.Principal{Type: caller.User, Account: testAccount, ARN: "arn:aws:iam::" + testAccount + ":user/bob", ID: "AIDABOB"}
	const let = `{"Version":"2012-10-17","Statement":[{"Effect":%q,"Principal":{"AWS":"arn:aws:iam::` + testAccount + `:user/bob"},"Action":"secretsmanager:*","Resource":"*","Condition":{"StringEquals":{"aws:ResourceTag/open":"yes"}}}]}`
	id := aws.String("s")
	for name, op := range map[string]func(context.Context, *Service) error{
		"PutSecretValue": func(ctx context.Context, s *Service) error {
			_, err := s.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{SecretId: id, SecretString: aws.String("bob's"), ClientRequestToken: aws.String(strings.Repeat("b", 32))})
			return err
		},
		"UpdateSecret": func(ctx context.Context, s *Service) error {
			_, err := s.UpdateSecret(ctx, &secretsmanager.UpdateSecretInput{SecretId: id, Description: aws.String("bob's"), ClientRequestToken: aws.String(strings.Repeat("b", 32))})
			return err
		},
		"PutResourcePolicy": func(ctx context.Context, s *Service) error {
			_, err := s.PutResourcePolicy(ctx, &secretsmanager.PutResourcePolicyInput{SecretId: id, ResourcePolicy: aws.String(fmt.Sprintf(let, "Allow"))})
			return err
		},
		"DeleteSecret": func(ctx context.Context, s *Service) error {
			_, err := s.DeleteSecret(ctx, &secretsmanager.DeleteSecretInput{SecretId: id})
			return err
		},
		"DeleteSecret forced": func(ctx context.Context, s *Service) error {
			_, err := s.DeleteSecret(ctx, &secretsmanager.DeleteSecretInput{SecretId: id, ForceDeleteWithoutRecovery: aws.Bool(true)})
			return err
		},
		"ReplicateSecretToRegions": func(ctx context.Context, s *Service) error {
			_, err := s.ReplicateSecretToRegions(ctx, &secretsmanager.ReplicateSecretToRegionsInput{SecretId: id, AddReplicaRegions: replicaRegions(1)})
			return err
		},
		"TagResource": func(ctx context.Context, s *Service) error {
			_, err := s.TagResource(ctx, &secretsmanager.TagResourceInput{SecretId: id, Tags: []types.Tag{{Key: aws.String("open"), Value: aws.String("yes")}}})
			return err
		},
	} {
		for how, lose := range map[string]func(context.Context, *Service) error{
			"policy": func(ctx context.Context, s *Service) error {
				_, err := s.PutResourcePolicy(ctx, &secretsmanager.PutResourcePolicyInput{SecretId: id, ResourcePolicy: aws.String(fmt.Sprintf(let, "Deny"))})
				return err
			},
			"tag": func(ctx context.Context, s *Service) error {
				_, err := s.UntagResource(ctx, &secretsmanager.UntagResourceInput{SecretId: id, TagKeys: []string{"open"}})
				return err
			},
			"nothing": func(ctx context.Context, s *Service) error {
				_, err := s.UpdateSecret(ctx, &secretsmanager.UpdateSecretInput{SecretId: id, Description: aws.String("other"), ClientRequestToken: aws.String(testToken)})
				return err
			},
		} {
			t.Run(name+", "+how, func(t *testing.T) {
				t.Parallel()
				s := newTestService(t)
				root := rootUser(t.Context())
				_, err := s.CreateSecret(root, &secretsmanager.CreateSecretInput{
					Name: id, SecretString: aws.String("x"), ClientRequestToken: aws.String(testToken), Tags: []types.Tag{{Key: aws.String("open"), Value: aws.String("yes")}},
				})
				if err != nil {
					t.Fatal(err)
				}
				if _, err := s.PutResourcePolicy(root, &secretsmanager.PutResourcePolicyInput{SecretId: id, ResourcePolicy: aws.String(fmt.Sprintf(let, "Allow"))}); err != nil {
					t.Fatal(err)
				}
				var lost error
				do := between(func() { lost = lose(root, s.Service) })
				s.authz = authz.New(authz.Config{Policies: policies{}, Audit: &do, Now: s.now})
				err = op(as(t.Context(), bob), s.Service)
				if lost != nil {
					t.Fatal(lost)
				}
				var denied *authz.Denied
				if got, want := errors.As(err, &denied), how != "nothing"; got != want || err != nil && !got {
					t.Errorf("error = %v, want a denial: %v", err, want)
				}
			})
		}
	}
}

// A stranger who is refused learns neither that there is a secret nor the end of its ARN.
func TestStrangerLearnsNothing(t *testing.T) {
	t.Parallel()
	s := newTestService(t)
	made, err := s.CreateSecret(rootUser(t.Context()), &secretsmanager.CreateSecretInput{Name: aws.String("there"), ClientRequestToken: aws.String(testToken)})
	if err != nil {
		t.Fatal(err)
	}
	eve := as(t.Context(), &caller.Principal{Type: caller.User, Account: "210987654321", ARN: "arn:aws:iam::210987654321:user/eve", ID: "AIDAEVE"})
	text := func(name string) string {
		_, err := s.DescribeSecret(eve, &secretsmanager.DescribeSecretInput{SecretId: aws.String("arn:aws:secretsmanager:" + testRegion + ":" + testAccount + ":secret:" + name)})
		if err == nil || strings.Contains(err.Error(), *made.ARN) {
			t.Errorf("%s: %v", name, err)
		}
		return strings.ReplaceAll(fmt.Sprint(err), name, "NAME")
	}
	if there, absent := text("there"), text("absent"); there != absent {
		t.Errorf("there:  %s\nabsent: %s", there, absent)
	}
}
