package ssm

import (
	"regexp"
	"strings"
	"testing"

	"github.com/malote/malote/caller"
)

// FuzzRef holds what is read of a name to what the store and the policies rest on: it
// leads to no place but its own, and reads the same from its ARN.
func FuzzRef(f *testing.F) {
	for _, seed := range []string{
		"x", "/x", " /a/b ", "/a/b:3", "/a/b:prod", "a/b", "/a//b", "/a/", ":", "x:", "x:+3", "x:99999999999999999999", "ssmx", "/aws/x", "SSM",
		"arn:aws:ssm:us-east-1:123456789012:parameter/a/b:7", "arn:aws:ssm:us-east-1:210987654321:parameter/x", "arn:aws:ssm:eu-west-1:123456789012:parameter/x",
		"arn:aws:ssm:us-east-1::parameter/x", "arn:aws:ssm:us-east-1:123456789012:parameter//x", "arn:", "arn:aws:kms:us-east-1:123456789012:key/x", "é", "/a\x00b", "/a\n",
	} {
		f.Add(seed)
	}
	ctx := as(f.Context(), &caller.Principal{Type: caller.User, Account: testAccount})
	good := regexp.MustCompile(`\A[a-zA-Z0-9_.-]+(/[a-zA-Z0-9_.-]+)*\z`)
	f.Fuzz(func(t *testing.T, given string) {
		for _, r := range []ref{parseName(ctx, given), parseRef(ctx, given)} {
			if !isAccount(r.account) || r.region == "" || strings.ContainsAny(r.region, "/") {
				t.Fatalf("%q: account %q, region %q", given, r.account, r.region)
			}
			if r.err != nil {
				if r.writable() == nil {
					t.Fatalf("%q cannot be, and can be written", given)
				}
				continue
			}
			if !good.MatchString(r.id) || r.region != "us-east-1" {
				t.Fatalf("%q is %q in %q", given, r.id, r.region)
			}
			if number, ok := parseVersion(r.selector); ok && (number < 0 || validLabel(r.selector)) {
				t.Fatalf("%q selects both version %d and a label", given, number)
			}
			text := r.arn()
			if r.selector != "" {
				text += ":" + r.selector
			}
			again := parseRef(ctx, text)
			if len(r.arn()) <= maxARN && (again.err != nil || again.key() != r.key() || again.selector != strings.TrimRight(r.selector, " ")) {
				t.Fatalf("%q is %+v, and by its ARN %+v", given, r, again)
			}
		}
	})
}
