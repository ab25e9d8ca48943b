package iam

import (
	"context"
	"net/url"
	"strings"
	"unicode"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/malote/malote/policy"
	"github.com/malote/malote/service/iam/directory"
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

	maxUsers            = 5000
	maxAccountGroups    = 300
	maxRoles            = 1000
	maxPolicies         = 1500
	maxInstanceProfiles = 1000
)

// room refuses one more of a kind than an account may have. It is asked before the
// transaction that makes it: were it part of it, all who make something would wait for one
// another. Who does so at the same moment may exceed a quota by one.
func (s *Service) room(ctx context.Context, kind directory.Kind) error {
	var n, max int32
	var quota string
	switch kind {
	case directory.KindUser:
		max, quota = maxUsers, "UsersPerAccount"
	case directory.KindGroup:
		max, quota = maxAccountGroups, "GroupsPerAccount"
	case directory.KindRole:
		max, quota = maxRoles, "RolesPerAccount"
	case directory.KindInstanceProfile:
		max, quota = maxInstanceProfiles, "InstanceProfilesPerAccount"
	}
	err := s.dir.View(ctx, func(tx *directory.Tx) (err error) {
		n, err = tx.Count(account(ctx), kind)
		return err
	})
	if err == nil && n >= max {
		err = limitExceeded("Cannot exceed quota for %s: %d", quota, max)
	}
	return err
}

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
	_, err := policy.Check(policy.Identity, []byte(document))
	return malformed(err)
}
