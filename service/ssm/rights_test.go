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
		"PutResourcePolicy": func(ctx context.Context, s *Service) error {
			_, err := s.PutResourcePolicy(ctx, &ssm.PutResourcePolicyInput{ResourceArn: aws.String(arn(testAccount, "us-east-1", *name)), Policy: aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"210987654321"},"Action":"ssm:GetParameter","Resource":"*"}]}`)})
			return err
		},
		"LabelParameterVersion": func(ctx context.Context, s *Service) error {
			_, err := s.LabelParameterVersion(ctx, &ssm.LabelParameterVersionInput{Name: name, Labels: []string{"bob"}})
			return err
		},
	} {
		for _, byPolicy := range []bool{false, true} {
			for _, lose := range []bool{true, false} {
				t.Run(op, func(t *testing.T) {
					t.Parallel()
					testRightsLost(t, rights, byPolicy, lose, do)
				})
			}
		}
	}
}

// testRightsLost has bob do something, to which he has a right by a tag of the parameter
// or by a policy of its own, and who loses that right between the decision and the deed.
func testRightsLost(t *testing.T, rights tagged, byPolicy, lose bool, do func(context.Context, *Service) error) {
	const bob = "arn:aws:iam::" + testAccount + ":user/bob"
	st := memory.New()
	t.Cleanup(func() { st.Close() })
	if byPolicy {
		rights = tagged{}
	}
	s := New(Config{Store: st, Authz: authz.New(authz.Config{Policies: rights})})
	root := as(t.Context(), &caller.Principal{Type: caller.Account, Account: testAccount, ARN: "arn:aws:iam::" + testAccount + ":root", ID: testAccount})
	put := &ssm.PutParameterInput{Name: aws.String("p"), Value: aws.String("x"), Type: types.ParameterTypeString, Tier: types.ParameterTierAdvanced}
	if !byPolicy {
		put.Tags = []types.Tag{{Key: aws.String("open"), Value: aws.String("yes")}}
	}
	if _, err := s.PutParameter(root, put); err != nil {
		t.Fatal(err)
	}
	revoke := func(s *Service) error {
		_, err := s.RemoveTagsFromResource(root, &ssm.RemoveTagsFromResourceInput{ResourceType: types.ResourceTypeForTaggingParameter, ResourceId: put.Name, TagKeys: []string{"open"}})
		return err
	}
	if byPolicy {
		arn := aws.String(arn(testAccount, "us-east-1", "p"))
		shared, err := s.PutResourcePolicy(root, &ssm.PutResourcePolicyInput{ResourceArn: arn, Policy: aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"` + bob + `"},"Action":"ssm:*","Resource":"*"}]}`)})
		if err != nil {
			t.Fatal(err)
		}
		revoke = func(s *Service) error {
			_, err := s.DeleteResourcePolicy(root, &ssm.DeleteResourcePolicyInput{ResourceArn: arn, PolicyId: shared.PolicyId, PolicyHash: shared.PolicyHash})
			return err
		}
	}
	lost := error(nil)
	plain := New(Config{Store: st, Authz: s.authz})
	meanwhile := between(func() {
		if lose {
			lost = revoke(plain)
		}
	})
	s.authz = authz.New(authz.Config{Policies: rights, Audit: &meanwhile})
	err := do(as(t.Context(), &caller.Principal{Type: caller.User, Account: testAccount, ARN: bob, ID: "AIDABOB"}), s)
	if lost != nil {
		t.Fatal(lost)
	}
	var denied *authz.Denied
	var busy *types.TooManyUpdates
	var conflict *types.ResourcePolicyConflictException
	if got := errors.As(err, &denied) || errors.As(err, &busy) || errors.As(err, &conflict); got != lose || err != nil && !got {
		t.Errorf("by policy: %v: error = %v, want a refusal: %v", byPolicy, err, lose)
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
