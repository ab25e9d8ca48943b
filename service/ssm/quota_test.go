package ssm

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/malote/malote/authz"
	"github.com/malote/malote/caller"
	"github.com/malote/malote/store"
	"github.com/malote/malote/store/memory"
)

func TestQuota(t *testing.T) {
	t.Parallel()
	if quotas[types.ParameterTierStandard] != 10_000 || quotas[types.ParameterTierAdvanced] != 100_000 {
		t.Errorf("quotas = %v", quotas)
	}
	st := memory.New()
	t.Cleanup(func() { st.Close() })
	now := time.Now()
	plane := func() *Service { // one of several over the same store
		s := New(Config{Store: st, Authz: authz.New(authz.Config{}), Now: func() time.Time { return now }})
		s.quotas = map[types.ParameterTier]int{types.ParameterTierStandard: 20, types.ParameterTierAdvanced: 3}
		return s
	}
	one, two := plane(), plane()
	root := as(t.Context(), &caller.Principal{Type: caller.Account, Account: testAccount, ARN: "arn:aws:iam::" + testAccount + ":root", ID: testAccount})
	put := func(s *Service, name string, tier types.ParameterTier, overwrite bool) types.ParameterTier {
		t.Helper()
		out, err := s.PutParameter(root, &ssm.PutParameterInput{Name: &name, Value: aws.String("x"), Type: types.ParameterTypeString, Tier: tier, Overwrite: &overwrite})
		var limit *types.ParameterLimitExceeded
		switch {
		case errors.As(err, &limit):
			return "none"
		case err != nil:
			t.Fatal(err)
		}
		return out.Tier
	}
	want := func(got, want types.ParameterTier) {
		t.Helper()
		if got != want {
			t.Errorf("tier = %s, want %s", got, want)
		}
	}
	const standard, advanced, intelligent = types.ParameterTierStandard, types.ParameterTierAdvanced, types.ParameterTierIntelligentTiering
	for i := range 20 { // two planes in turn
		want(put([]*Service{one, two}[i%2], fmt.Sprintf("p%d", i), intelligent, false), standard)
	}
	want(put(one, "more", "", false), "none")
	want(put(two, "more", standard, false), "none")
	want(put(one, "p0", standard, true), standard) // new versions need no room
	want(put(one, "i1", intelligent, false), advanced)
	want(put(one, "i2", intelligent, false), advanced)
	want(put(one, "p1", advanced, true), advanced)
	want(put(one, "i3", intelligent, false), standard) // where p1 was
	want(put(one, "i4", intelligent, false), "none")
	want(put(one, "p2", advanced, true), "none")

	// The plane that deletes knows it at once, the other after a while.
	remove := func(name string) {
		t.Helper()
		if _, err := one.DeleteParameter(root, &ssm.DeleteParameterInput{Name: &name}); err != nil {
			t.Fatal(err)
		}
	}
	remove("p3")
	want(put(two, "more", "", false), "none")
	now = now.Add(fullFor)
	want(put(two, "more", "", false), standard)
	want(put(one, "again", "", false), "none")
	remove("p4")
	want(put(one, "again", "", false), standard)
}

// More entries than one transaction looks at, nearly all of parameters that are gone.
func TestManyShared(t *testing.T) {
	t.Parallel()
	st := memory.New()
	t.Cleanup(func() { st.Close() })
	s := New(Config{Store: st, Authz: authz.New(authz.Config{})})
	principal := func(account string) *caller.Principal {
		return &caller.Principal{Type: caller.Account, Account: account, ARN: "arn:aws:iam::" + account + ":root", ID: account}
	}
	owner := as(t.Context(), principal(testAccount))
	for from := range 3 {
		err := st.Update(t.Context(), func(tx store.Tx) error {
			for i := range 90 {
				if err := tx.Put(fmt.Sprintf("%s%s/gone%03d", sharedPrefix("us-east-1"), testAccount, from*90+i), nil); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"a", "z"} {
		if _, err := s.PutParameter(owner, &ssm.PutParameterInput{Name: &name, Value: aws.String("x"), Type: types.ParameterTypeString, Tier: types.ParameterTierAdvanced}); err != nil {
			t.Fatal(err)
		}
		_, err := s.PutResourcePolicy(owner, &ssm.PutResourcePolicyInput{ResourceArn: aws.String(arn(testAccount, "us-east-1", name)), Policy: aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"210987654321"},"Action":"ssm:DescribeParameters","Resource":"*"}]}`)})
		if err != nil {
			t.Fatal(err)
		}
	}
	in := &ssm.DescribeParametersInput{Shared: aws.Bool(true), MaxResults: aws.Int32(1)}
	for _, want := range []string{"a", "z"} {
		out, err := s.DescribeParameters(as(t.Context(), principal("210987654321")), in)
		if err != nil || len(out.Parameters) != 1 || *out.Parameters[0].Name != want || (out.NextToken == nil) != (want == "z") {
			t.Fatalf("DescribeParameters = %+v, %v, want %s", out, err, want)
		}
		in.NextToken = out.NextToken
	}
}
