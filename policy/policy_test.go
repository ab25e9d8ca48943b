package policy_test

import (
	"testing"

	"github.com/malote/malote/policy"
)

func parse(t testing.TB, kind policy.Kind, text string) *policy.Document {
	t.Helper()
	d, err := policy.Parse(kind, []byte(text))
	if err != nil {
		t.Fatalf("Parse(%s) = %v (%s)", text, err, err.(*policy.SyntaxError).Explain())
	}
	return d
}

func TestSmoke(t *testing.T) {
	d := parse(t, policy.Identity, `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"secretsmanager:Get*","Resource":"arn:aws:secretsmanager:*:*:secret:${aws:username}/*"}}`)
	r := &policy.Request{Principal: policy.Principal{Type: "User", Account: "111122223333", ARN: "arn:aws:iam::111122223333:user/bob"}, Action: "secretsmanager:GetSecretValue",
		Resource: "arn:aws:secretsmanager:us-east-1:111122223333:secret:bob/x-abcdef", Context: policy.Context{"aws:username": {"bob"}}}
	s := &policy.Set{Identity: []policy.Source{{Document: d, Name: "x"}}}
	if d := policy.Evaluate(r, s); !d.Allowed {
		t.Error(d.Because())
	}
	r.Context["aws:username"] = []string{"*"}
	if d := policy.Evaluate(r, s); d.Allowed || d.Because() != "because no identity-based policy allows the secretsmanager:GetSecretValue action" {
		t.Error(d.Because())
	}
}
