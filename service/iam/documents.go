package iam

import (
	"net/url"
	"strings"
	"unicode"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/malote/malote/policy"
)

// Quotas of AWS's that an account cannot be without; white space in documents does not count.
const (
	maxAccessKeys    = 2
	maxAttached      = 10
	maxGroups        = 10
	maxTags          = 50
	maxVersions      = 5
	maxManagedPolicy = 6144
	maxTrustPolicy   = 2048
	maxUserInline    = 2048
	maxRoleInline    = 10240
	maxGroupInline   = 5120
)

// encoded is how IAM sends a document: percent-encoded as RFC 3986 has it.
func encoded(document string) *string {
	return aws.String(strings.ReplaceAll(url.QueryEscape(document), "+", "%20"))
}

// size counts what quotas count.
func size(document string) int {
	n := 0
	for _, r := range document {
		if !unicode.IsSpace(r) {
			n++
		}
	}
	return n
}

// checkIdentity refuses what is not an identity policy.
func checkIdentity(document string) error {
	_, err := policy.Parse(policy.Identity, []byte(document))
	return malformed(err)
}
