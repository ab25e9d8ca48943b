// Package directory holds who there is: accounts, users, roles, groups, access keys and
// the policies attached to them. It answers the three questions that every request asks:
// whose key is this (Lookup), what do their policies say (Policies), and who is meant by
// this principal (Resolve, ARNOf).
//
// It promises that an answer is as fresh as the last write: a write through Update is seen
// by every lookup that begins after Update returned. A write by another process on the same
// store is seen when the store's Watch tells, some milliseconds later, and should Watch be
// cut off after a minute; until then the previous answer stands. Deleting a user or a role ends its credentials.
//
// It decides nothing (see authz and policy) and speaks no API (see service/iam, which
// changes the records through Update).
//
// Its records, all JSON:
//
//	iam/organization                   Organization
//	iam/organization/request/ID        AccountRequest
//	iam/A/account                      Account
//	iam/A/user/N, role/N, group/N      User, Role, Group; N is the name in lower case
//	iam/A/policy/N                     Policy, a customer managed policy with its versions
//	iam/A/instance-profile/N           InstanceProfile
//	iam/A/oidc-provider/URL            OIDCProvider; URL without its scheme
//	iam/A/attached/ARN#KIND/N          empty: the policy is attached to that user, role or group
//	iam/A/bounds/ARN#KIND/N            empty: the policy is the boundary of that user or role
//	iam/A/member/G/N                   empty: user N is in group G
//	iam/A/in-profile/R/N               empty: role R is in instance profile N
//	iam/A/deletion/TASK                Deletion of a service-linked role, kept for a month
//	iam/alias/ALIAS                    Ref without a name: the account that has the alias
//	iam/id/ID                          Ref: AIDA…, AROA…, AGPA… to the record
//	iam/accesskey/AKIA…                AccessKey
//	iam/tokenkey                       the key that session tokens are sealed under
//	iam-used/ID                        Used: when an access key or role was last used
package directory
