package iam_test

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/malote/malote/malotetest"
)

func TestSimulatePrincipalPolicy(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	const secret = "arn:aws:secretsmanager:us-east-1:123456789012:secret:db-AbCdEf"
	sys.Role(t, "app", `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":"secretsmanager:Get*","Resource":"*"},
		{"Sid":"NoProd","Effect":"Deny","Action":"*","Resource":"*","Condition":{"StringEquals":{"aws:ResourceTag/env":"prod"}}}]}`)
	bob := sys.User(t, "bob", "")
	client := iam.NewFromConfig(sys.Config())
	ask := func(change func(*iam.SimulatePrincipalPolicyInput)) types.EvaluationResult {
		t.Helper()
		in := &iam.SimulatePrincipalPolicyInput{
			PolicySourceArn: aws.String("arn:aws:iam::123456789012:role/app"), ActionNames: []string{"secretsmanager:GetSecretValue"}, ResourceArns: []string{secret},
		}
		change(in)
		out, err := client.SimulatePrincipalPolicy(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		if len(out.EvaluationResults) != 1 {
			t.Fatalf("%d results, want 1", len(out.EvaluationResults))
		}
		return out.EvaluationResults[0]
	}

	allowed := ask(func(*iam.SimulatePrincipalPolicyInput) {})
	if allowed.EvalDecision != types.PolicyEvaluationDecisionTypeAllowed || len(allowed.MatchedStatements) != 1 || aws.ToString(allowed.MatchedStatements[0].SourcePolicyId) != "test" {
		t.Errorf("an allowed action = %+v", allowed)
	}
	none := ask(func(in *iam.SimulatePrincipalPolicyInput) { in.ActionNames = []string{"secretsmanager:PutSecretValue"} })
	if none.EvalDecision != types.PolicyEvaluationDecisionTypeImplicitDeny || len(none.MatchedStatements) != 0 {
		t.Errorf("an action that nothing allows = %+v", none)
	}
	denied := ask(func(in *iam.SimulatePrincipalPolicyInput) {
		in.ContextEntries = []types.ContextEntry{{ContextKeyName: aws.String("aws:ResourceTag/env"), ContextKeyType: types.ContextKeyTypeEnumString, ContextKeyValues: []string{"prod"}}}
	})
	if denied.EvalDecision != types.PolicyEvaluationDecisionTypeExplicitDeny || len(denied.MatchedStatements) != 1 || denied.MatchedStatements[0].StartPosition.Line != 3 {
		t.Errorf("an action that a statement denies = %+v", denied)
	}
	key := ask(func(in *iam.SimulatePrincipalPolicyInput) {
		in.ActionNames, in.ResourceArns = []string{"kms:Decrypt"}, []string{"arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"}
		in.ResourcePolicy = aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::123456789012:role/app"},"Action":"kms:Decrypt","Resource":"*"}]}`)
		in.CallerArn = in.PolicySourceArn
	})
	if key.EvalDecision != types.PolicyEvaluationDecisionTypeAllowed {
		t.Errorf("a key whose policy names the role = %+v", key)
	}

	_, err := client.SimulatePrincipalPolicy(t.Context(), &iam.SimulatePrincipalPolicyInput{
		PolicySourceArn: aws.String("arn:aws:iam::123456789012:role/nobody"), ActionNames: []string{"s3:GetObject"},
	})
	wantError(t, err, "NoSuchEntity", "The principal with ARN arn:aws:iam::123456789012:role/nobody cannot be found.")
	_, err = iam.NewFromConfig(bob).SimulatePrincipalPolicy(t.Context(), &iam.SimulatePrincipalPolicyInput{
		PolicySourceArn: aws.String("arn:aws:iam::123456789012:role/app"), ActionNames: []string{"s3:GetObject"},
	})
	wantError(t, err, "AccessDenied", denial("bob", "iam:SimulatePrincipalPolicy", "arn:aws:iam::123456789012:role/app"))
}

// The type of a context entry is held to its values.
func TestSimulateContextTypes(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	sys.User(t, "bob", malotetest.Allow("*", "s3:*"))
	admin := iam.NewFromConfig(sys.Config())
	for _, tt := range []struct {
		kind   types.ContextKeyTypeEnum
		values []string
		ok     bool
	}{
		{types.ContextKeyTypeEnumNumeric, []string{"1.5"}, true},
		{types.ContextKeyTypeEnumNumeric, []string{"many"}, false},
		{types.ContextKeyTypeEnumString, []string{"a", "b"}, false},
		{types.ContextKeyTypeEnumStringList, []string{"a", "b"}, true},
		{types.ContextKeyTypeEnumBoolean, []string{"perhaps"}, false},
		{types.ContextKeyTypeEnumIp, []string{"10.0.0.1"}, true},
		{types.ContextKeyTypeEnumIpList, []string{"10.0.0.1", "x"}, false},
		{types.ContextKeyTypeEnumBinary, []string{"!"}, false},
		{types.ContextKeyTypeEnumDate, []string{"2026-01-02T03:04:05Z"}, true},
		{types.ContextKeyTypeEnumDate, []string{"tomorrow"}, false},
	} {
		_, err := admin.SimulatePrincipalPolicy(t.Context(), &iam.SimulatePrincipalPolicyInput{
			PolicySourceArn: aws.String("arn:aws:iam::" + malotetest.Account + ":user/bob"), ActionNames: []string{"s3:GetObject"},
			ContextEntries: []types.ContextEntry{{ContextKeyName: aws.String("aws:test"), ContextKeyType: tt.kind, ContextKeyValues: tt.values}},
		})
		if (err == nil) != tt.ok {
			t.Errorf("%s %q: %v, want it taken: %v", tt.kind, tt.values, err, tt.ok)
		}
	}
}
