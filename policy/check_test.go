package policy_test

import (
	"errors"
	"testing"

	"github.com/malote/malote/policy"
)

// What is about to be saved has no resources that there cannot be; what was saved is taken.
func TestCheck(t *testing.T) {
	t.Parallel()
	const paths = "user/, federated-user/, role/, group/, instance-profile/, mfa/, server-certificate/, policy/, sms-mfa/, saml-provider/, oidc-provider/, report/, access-report/."
	for resource, want := range map[string]string{
		"*":                             "",
		"arn:aws:s3:::bucket/*":         "",
		"arn:aws-cn:s3:::bucket":        "",
		"arn:*:kms:*:*:key/*":           "",
		"arn:aws:made-up:eu-north-7::x": "",
		"arn:aws:s3:eu-west-1:123456789012:accesspoint/a": "",
		"arn:aws:iam::123456789012:root":                  "",
		"arn:aws:iam::*:role/shop/*":                      "",
		"arn:aws:iam::123456789012:*":                     "",
		"arn:aws:iam::123456789012:${aws:username}":       "",
		"arn:asw:s3:::bucket":                             `Partition "asw" is not valid for resource "arn:asw:s3:::bucket".`,
		"arn:aws:*:*:*:*":                                 "Resource vendor must be fully qualified and cannot contain regexes.",
		"arn:aws::::x":                                    "Resource vendor must be fully qualified and cannot contain regexes.",
		"arn:aws:iam:us-east-1:123456789012:role/x":       "IAM resource arn:aws:iam:us-east-1:123456789012:role/x cannot contain region information.",
		"arn:aws:iam::123456789012:rolle/x":               `IAM resource path must either be "*", root, or start with ` + paths,
		"arn:aws:s3:us-east-1::bucket":                    "Resource arn:aws:s3:us-east-1::bucket can not contain region information.",
	} {
		text := []byte(`{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":"*","Resource":["*","` + resource + `"]}}`)
		if _, err := policy.Parse(policy.Identity, text); err != nil {
			t.Errorf("Parse of %s: %v", resource, err)
		}
		_, err := policy.Check(policy.Identity, text)
		got, syntax := "", new(policy.SyntaxError)
		if errors.As(err, &syntax) {
			got = syntax.Msg
			if syntax.Element != "Statement[0].Resource" || syntax.Detail == "" {
				t.Errorf("Check of %s: in %q: %q", resource, syntax.Element, syntax.Detail)
			}
		}
		if got != want {
			t.Errorf("Check of %s: %q, want %q", resource, got, want)
		}
	}
}
