package policy_test

import (
	"encoding/json"
	"errors"
	"slices"
	"testing"

	"github.com/malote/malote/policy"
)

func FuzzParse(f *testing.F) {
	f.Add(`{"Version":"2012-10-17","Statement":[{"Sid":"a","Effect":"Allow","Action":["secretsmanager:Get*"],"Resource":"arn:aws:secretsmanager:*:*:secret:${aws:username, 'x'}-??????","Condition":{"ForAllValues:StringLikeIfExists":{"aws:TagKeys":["a","b*"]}}}]}`, uint8(0), "secretsmanager:GetSecretValue", secretARN)
	f.Add(`{"Statement":{"Effect":"Deny","NotPrincipal":{"AWS":["111122223333","AROAJQABLZS4A3QDU576Q"]},"NotAction":"kms:*","NotResource":"*"}}`, uint8(4), "kms:Decrypt", keyARN)
	f.Add(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ecs-tasks.amazonaws.com","Federated":"a.b"},"Action":"sts:AssumeRole","Condition":{"IpAddress":{"aws:SourceIp":["::/0","10.0.0.0/8"]},"DateLessThan":{"aws:CurrentTime":1},"Bool":{"aws:SecureTransport":true},"Null":{"a:b":"true"},"ArnLike":{"aws:SourceArn":"arn:aws:ecs:${aws:username}"},"BinaryEquals":{"a:c":"QUJD"}}}]}`, uint8(5), "sts:AssumeRole", targetARN)
	f.Add(`{"Id":"\ud83d\ude00\n"}`, uint8(3), "", "")
	f.Fuzz(func(t *testing.T, text string, kind uint8, action, resource string) {
		k := policy.Kind(kind % 6)
		d, err := policy.Parse(k, []byte(text))
		keys, keysErr := policy.ContextKeys([]byte(text))
		for _, err := range []error{err, keysErr} {
			wrong := new(policy.SyntaxError)
			if err != nil && (!errors.As(err, &wrong) || wrong.Msg == "" || wrong.Line < 1 || wrong.Column < 1) {
				t.Fatalf("error = %#v, want a SyntaxError with a place", err)
			}
		}
		if err != nil {
			return
		}
		if keysErr != nil {
			t.Fatalf("condition keys of what is a policy: %v", keysErr)
		}
		if _, err := policy.Check(k, []byte(text)); err != nil && err.Error() == "" {
			t.Fatalf("refused without a word: %#v", err)
		}
		if !json.Valid([]byte(text)) {
			t.Fatal("accepted what is no JSON")
		}
		same := func(p string) (string, error) { return p, nil }
		if again, err := policy.Rewrite([]byte(text), same); err != nil || string(again) != text {
			t.Fatalf("rewritten to the same = %q, %v", again, err)
		}
		d.Public()

		deny, err := policy.Parse(policy.Identity, []byte(`{"Statement":{"Effect":"Deny","Action":"*","Resource":"*"}}`))
		if err != nil {
			t.Fatal(err)
		}
		for _, who := range []policy.Principal{bob, session, root, stranger, ecsTasks, anonymous} {
			r := &policy.Request{Principal: who, Action: action, Resource: resource, ResourceAccount: home,
				Context: policy.Context{"aws:username": {text}, "aws:tagkeys": {"a", text}, "aws:sourceip": {"10.0.0.1"}, "aws:currenttime": {"2026-01-01T00:00:00Z"}}}
			source := policy.Source{Document: d}
			s := &policy.Set{}
			switch k {
			case policy.Resource, policy.Key, policy.Trust:
				s.Resource, s.Kind = &source, k
			default:
				s.Identity = []policy.Source{source}
			}
			first := policy.Evaluate(r, s)
			if first != policy.Evaluate(r, s) {
				t.Fatal("the same question has two answers")
			}
			_ = first.Because()
			for _, name := range d.Missing(r) {
				if !slices.Contains(keys, name) {
					t.Fatalf("%q is missing, but the policy asks for %q", name, keys)
				}
			}
			if who.Type == "User" || who.Type == "AssumedRole" {
				s.Identity = append(s.Identity, policy.Source{Document: deny})
				if policy.Evaluate(r, s).Allowed {
					t.Fatal("allowed in spite of a Deny for everything")
				}
			}
		}
	})
}
