package kms

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/malote/malote/audit"
	"github.com/malote/malote/authz"
	"github.com/malote/malote/caller"
	"github.com/malote/malote/policy"
)

// between is an audit that does something right after the last decision of a request.
type between struct {
	decisions int
	do        func()
}

func (b *between) Record(context.Context, audit.Record) error {
	if b.decisions--; b.decisions == 0 {
		b.do()
	}
	return nil
}

// Who loses a right between the decision and the write does not write.
func TestRightsLostMeanwhile(t *testing.T) {
	t.Parallel()
	const account = "arn:aws:iam::" + testAccount
	const open = `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Principal":{"AWS":"` + account + `:root"},"Action":"kms:*","Resource":"*"},
		{"Effect":"Allow","Principal":{"AWS":"` + account + `:user/bob"},"Action":"kms:*","Resource":"*","Condition":{"StringEquals":{"aws:ResourceTag/open":"yes"}}}]}`
	shut := strings.Replace(open, account+":user/bob", account+":user/carol", 1)
	for name, op := range map[string]struct {
		decisions int
		do        func(context.Context, *Service, *string) error
	}{
		"DisableKey": {1, func(ctx context.Context, s *Service, id *string) error {
			_, err := s.DisableKey(ctx, &kms.DisableKeyInput{KeyId: id})
			return err
		}},
		"PutKeyPolicy": {1, func(ctx context.Context, s *Service, id *string) error {
			_, err := s.PutKeyPolicy(ctx, &kms.PutKeyPolicyInput{KeyId: id, Policy: aws.String(open)})
			return err
		}},
		"TagResource": {1, func(ctx context.Context, s *Service, id *string) error {
			_, err := s.TagResource(ctx, &kms.TagResourceInput{KeyId: id, Tags: []types.Tag{{TagKey: aws.String("open"), TagValue: aws.String("yes")}}})
			return err
		}},
		"ScheduleKeyDeletion": {1, func(ctx context.Context, s *Service, id *string) error {
			_, err := s.ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: id})
			return err
		}},
		"DeleteAlias": {2, func(ctx context.Context, s *Service, _ *string) error {
			_, err := s.DeleteAlias(ctx, &kms.DeleteAliasInput{AliasName: aws.String("alias/a")})
			return err
		}},
		"UpdateAlias": {3, func(ctx context.Context, s *Service, id *string) error {
			_, err := s.UpdateAlias(ctx, &kms.UpdateAliasInput{AliasName: aws.String("alias/a"), TargetKeyId: id})
			return err
		}},
	} {
		for how, lose := range map[string]func(context.Context, *Service, *string) error{
			"policy": func(ctx context.Context, s *Service, id *string) error {
				_, err := s.PutKeyPolicy(ctx, &kms.PutKeyPolicyInput{KeyId: id, Policy: &shut})
				return err
			},
			"tag": func(ctx context.Context, s *Service, id *string) error {
				_, err := s.UntagResource(ctx, &kms.UntagResourceInput{KeyId: id, TagKeys: []string{"open"}})
				return err
			},
			"nothing": func(ctx context.Context, s *Service, id *string) error {
				_, err := s.UpdateKeyDescription(ctx, &kms.UpdateKeyDescriptionInput{KeyId: id, Description: aws.String("other")})
				return err
			},
		} {
			t.Run(name+", "+how, func(t *testing.T) {
				t.Parallel()
				s := newTestService(t)
				root := as(t.Context(), &caller.Principal{Type: caller.Account, Account: testAccount, ARN: account + ":root", ID: testAccount})
				made, err := s.CreateKey(root, &kms.CreateKeyInput{Policy: aws.String(open), Tags: []types.Tag{{TagKey: aws.String("open"), TagValue: aws.String("yes")}}})
				if err != nil {
					t.Fatal(err)
				}
				id := made.KeyMetadata.KeyId
				if _, err := s.CreateAlias(root, &kms.CreateAliasInput{AliasName: aws.String("alias/a"), TargetKeyId: id}); err != nil {
					t.Fatal(err)
				}
				plain, lost := *s.Service, error(nil)
				s.authz = authz.New(authz.Config{Policies: aliasesOnly(t), Now: s.now, Audit: &between{op.decisions, func() { lost = lose(root, &plain, id) }}})
				bob := as(t.Context(), &caller.Principal{Type: caller.User, Account: testAccount, ARN: account + ":user/bob", ID: "AIDABOB"})
				err = op.do(bob, s.Service, id)
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

// aliasesOnly allows everybody the alias's own half of a permission, which no key policy gives.
func aliasesOnly(t *testing.T) policies {
	document, err := policy.Parse(policy.Identity, []byte(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"kms:*","Resource":"arn:aws:kms:*:*:alias/*"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	return policies{policy.Set{Identity: []policy.Source{{Document: document}}}}
}
