package policy_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/malote/malote/policy"
)

func TestWritten(t *testing.T) {
	t.Parallel()
	d, err := policy.Parse(policy.Identity, []byte(`{"Version":"2012-10-17","Statement":[
		{"Effect":"Deny","Action":["s3:Get*","*"],"NotResource":"arn:aws:s3:::b/${aws:username}/*","Condition":{"StringLikeIfExists":{"aws:PrincipalTag/Team":["a*","b"]},"Bool":{"aws:SecureTransport":false}}},
		{"Effect":"Allow","NotAction":"IAM:*","Resource":"*"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	type written struct {
		Actions, Resources       []string
		NotActions, NotResources bool
		Conditions               []policy.Condition
	}
	var got []written
	for i := range d.Statements {
		var w written
		w.Actions, w.NotActions = d.Statements[i].Actions()
		w.Resources, w.NotResources = d.Statements[i].Resources()
		w.Conditions = d.Statements[i].Conditions()
		got = append(got, w)
	}
	want := []written{
		{Actions: []string{"s3:Get*", "*"}, Resources: []string{"arn:aws:s3:::b/${aws:username}/*"}, NotResources: true, Conditions: []policy.Condition{
			{Operator: "StringLikeIfExists", Key: "aws:principaltag/team", Values: []string{"a*", "b"}}, {Operator: "Bool", Key: "aws:securetransport", Values: []string{"false"}},
		}},
		{Actions: []string{"IAM:*"}, NotActions: true, Resources: []string{"*"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
