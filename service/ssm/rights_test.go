package ssm

import (
	"context"
	"errors"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/malote/malote/audit"
	"github.com/malote/malote/authz"
	"github.com/malote/malote/caller"
	"github.com/malote/malote/policy"
	"github.com/malote/malote/store/memory"
)

const testAccount = "123456789012"

// tagged allows all of SSM on parameters with the tag open.
type tagged struct{ set policy.Set }

func (p tagged) Policies(context.Context, *caller.Principal) (*policy.Set, error) { return &p.set, nil }

// between is an audit that does something right after a decision, once.
type between func()

func (b *between) Record(context.Context, audit.Record) error {
	if do := *b; do != nil {
		*b = nil
		do()
	}
	return nil
}

func as(ctx context.Context, p *caller.Principal) context.Context {
	return caller.With(ctx, &caller.Request{ID: "test", Principal: p, Region: "us-east-1", Service: "ssm"})
}

// Who loses a right between the decision and the deed does not do it.
func TestRightsLostMeanwhile(t *testing.T) {
	t.Parallel()
	document, err := policy.Parse(policy.Identity, []byte(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ssm:*","Resource":"*","Condition":{"StringEquals":{"aws:ResourceTag/open":"yes"}}}]}`))
	if err != nil {
		t.Fatal(err)
	}
	rights := tagged{policy.Set{Identity: []policy.Source{{Document: document}}}}
	name := aws.String("p")
	for op, do := range map[string]func(context.Context, *Service) error{
		"PutParameter": func(ctx context.Context, s *Service) error {
			_, err := s.PutParameter(ctx, &ssm.PutParameterInput{Name: name, Value: aws.String("bob's"), Overwrite: aws.Bool(true)})
			return err
		},
		"DeleteParameter": func(ctx context.Context, s *Service) error {
			_, err := s.DeleteParameter(ctx, &ssm.DeleteParameterInput{Name: name})
			return err
		},
		"DeleteParameters": func(ctx context.Context, s *Service) error {
			_, err := s.DeleteParameters(ctx, &ssm.DeleteParametersInput{Names: []string{*name}})
			return err
		},
		"AddTagsToResource": func(ctx context.Context, s *Service) error {
			_, err := s.AddTagsToResource(ctx, &ssm.AddTagsToResourceInput{ResourceType: types.ResourceTypeForTaggingParameter, ResourceId: name, Tags: []types.Tag{{Key: aws.String("open"), Value: aws.String("yes")}}})
			return err
		},
		"GetParameterHistory": func(ctx context.Context, s *Service) error {
			_, err := s.GetParameterHistory(ctx, &ssm.GetParameterHistoryInput{Name: name})
			return err
		},
		"LabelParameterVersion": func(ctx context.Context, s *Service) error {
			_, err := s.LabelParameterVersion(ctx, &ssm.LabelParameterVersionInput{Name: name, Labels: []string{"bob"}})
			return err
		},
	} {
		for _, lose := range []bool{true, false} {
			t.Run(op, func(t *testing.T) {
				t.Parallel()
				st := memory.New()
				t.Cleanup(func() { st.Close() })
				s := New(Config{Store: st, Authz: authz.New(authz.Config{Policies: rights})})
				root := as(t.Context(), &caller.Principal{Type: caller.Account, Account: testAccount, ARN: "arn:aws:iam::" + testAccount + ":root", ID: testAccount})
				_, err := s.PutParameter(root, &ssm.PutParameterInput{Name: name, Value: aws.String("x"), Type: types.ParameterTypeString, Tags: []types.Tag{{Key: aws.String("open"), Value: aws.String("yes")}}})
				if err != nil {
					t.Fatal(err)
				}
				plain, lost := *s, error(nil)
				meanwhile := between(func() {
					if lose {
						_, lost = plain.RemoveTagsFromResource(root, &ssm.RemoveTagsFromResourceInput{ResourceType: types.ResourceTypeForTaggingParameter, ResourceId: name, TagKeys: []string{"open"}})
					}
				})
				s.authz = authz.New(authz.Config{Policies: rights, Audit: &meanwhile})
				err = do(as(t.Context(), &caller.Principal{Type: caller.User, Account: testAccount, ARN: "arn:aws:iam::" + testAccount + ":user/bob", ID: "AIDABOB"}), s)
				if lost != nil {
					t.Fatal(lost)
				}
				var denied *authz.Denied
				var busy *types.TooManyUpdates
				if got := errors.As(err, &denied) || errors.As(err, &busy); got != lose || err != nil && !got {
					t.Errorf("error = %v, want a refusal: %v", err, lose)
				}
			})
		}
	}
}

// What an ARN has where the account belongs does not lead to another place in the store.
func TestAccountInARN(t *testing.T) {
	t.Parallel()
	ctx := as(t.Context(), &caller.Principal{Type: caller.User, Account: testAccount})
	for _, account := range []string{"", "12345678901", "12345678901x", testAccount + "/us-east-1/parameter/x"} {
		r := parseRef(ctx, "arn:aws:ssm:us-east-1:"+account+":parameter/y")
		if r.err == nil || r.account != testAccount {
			t.Errorf("account %q: account = %q, error = %v", account, r.account, r.err)
		}
	}
}
