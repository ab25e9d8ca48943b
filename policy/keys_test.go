package policy_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/malote/malote/policy"
)

func TestContextKeys(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, text string
		want       []string // nil for an error
	}{
		{"conditions and variables", `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/${aws:PrincipalTag/Team}/${aws:username}",
			"Condition":{"StringEquals":{"s3:ExistingObjectTag/Owner":"${aws:PrincipalTag/Team}"},"Null":{"AWS:SourceIp":"false"}}}}`,
			[]string{"aws:PrincipalTag/Team", "aws:username", "s3:ExistingObjectTag/Owner", "AWS:SourceIp"}},
		{"a default, and what is no variable", `{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":"*","NotResource":"arn:aws:s3:::b/${aws:username, 'x'}/${*}${?}${$}"}}`, []string{"aws:username"}},
		{"the old version has no variables", `{"Statement":[{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::b/${aws:username}"}]}`, []string{}},
		{"in either case", `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Condition":{"StringEquals":{"aws:username":"${aws:username}","AWS:username":"a"}}}}`, []string{"aws:username", "AWS:username"}},
		{"of a resource", `{"Statement":{"Effect":"Allow","Principal":"*","Action":"abc","Resource":"bad","Condition":{"Bool":{"aws:SecureTransport":true}}}}`, []string{"aws:SecureTransport"}},
		{"nothing", `{"Version":"2012-10-17"}`, []string{}},
		{"no JSON", `{`, nil},
		{"no object", `[]`, nil},
		{"an unknown element", `{"Version":"2012-10-17","Foo":"x"}`, nil},
		{"an unknown element of a statement", `{"Statement":{"Effect":"Allow","Foo":"x"}}`, nil},
		{"an unknown operator", `{"Statement":{"Effect":"Allow","Condition":{"MadeUp":{"aws:username":"a"}}}}`, nil},
		{"no effect", `{"Statement":{"Action":"*","Resource":"*"}}`, nil},
		{"a broken variable", `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Resource":"arn:aws:s3:::${aws:username"}}`, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := policy.ContextKeys([]byte(tt.text))
			if syntax := new(policy.SyntaxError); (tt.want == nil) != errors.As(err, &syntax) {
				t.Fatalf("error = %v", err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestMissing(t *testing.T) {
	t.Parallel()
	doc, err := policy.Parse(policy.Identity, []byte(`{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":"s3:Get*","Resource":"arn:aws:s3:::b/${aws:username}/*","Condition":{"Bool":{"aws:SecureTransport":"true"}}},
		{"Effect":"Deny","Action":"s3:*","Resource":"arn:aws:s3:::other/*","Condition":{"StringEquals":{"aws:PrincipalTag/Team":"a"}}},
		{"Effect":"Deny","Action":"s3:*","Resource":"*","Condition":{"StringEquals":{"aws:RequestedRegion":"${aws:PrincipalTag/Home}"}}},
		{"Effect":"Allow","Action":"kms:*","Resource":"*","Condition":{"Null":{"kms:ViaService":"true"}}}]}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		resource string
		context  policy.Context
		want     []string
	}{
		{"arn:aws:s3:::b/bob/x", nil, []string{"aws:username", "aws:SecureTransport", "aws:RequestedRegion", "aws:PrincipalTag/Home"}},
		{"arn:aws:s3:::b/bob/x", policy.Context{"aws:username": {"bob"}, "aws:requestedregion": {"us-east-1"}}, []string{"aws:SecureTransport", "aws:PrincipalTag/Home"}},
		{"arn:aws:s3:::b/bob/x", policy.Context{"aws:username": {"eve"}, "aws:requestedregion": {"us-east-1"}, "aws:principaltag/home": {"x"}}, []string{}},
	} {
		if diff := cmp.Diff(tt.want, doc.Missing(&policy.Request{Action: "s3:GetObject", Resource: tt.resource, Context: tt.context})); diff != "" {
			t.Errorf("%s with %v (-want +got)\n%s", tt.resource, tt.context, diff)
		}
	}
}

func TestGrants(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		statement string
		s3, kms   bool
	}{
		{`"Effect":"Allow","Action":"s3:GetObject"`, true, false},
		{`"Effect":"Allow","Action":["S3:*","kms:Decrypt"]`, true, true},
		{`"Effect":"Allow","Action":"*"`, true, true},
		{`"Effect":"Deny","Action":"*"`, false, false},
		{`"Effect":"Allow","NotAction":"s3:*"`, false, true},
		{`"Effect":"Allow","NotAction":"s3:Get*"`, true, true},
		{`"Effect":"Allow","NotAction":"*"`, false, false},
	} {
		doc, err := policy.Parse(policy.Identity, []byte(`{"Version":"2012-10-17","Statement":{`+tt.statement+`,"Resource":"*"}}`))
		if err != nil {
			t.Fatal(err)
		}
		if s3, kms := doc.Grants("s3"), doc.Grants("KMS"); s3 != tt.s3 || kms != tt.kms {
			t.Errorf("%s: s3 %v, kms %v", tt.statement, s3, kms)
		}
	}
}
