package authz

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/malote/malote/caller"
)

// keys computes the condition keys of a request as policies ask for them: most requests
// meet policies that ask for none.
//
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html
type keys struct {
	access    *Access
	request   *caller.Request
	principal *caller.Principal
	now       time.Time
}

// Values implements policy.Keys.
func (k *keys) Values(key string) []string {
	vendor, name, _ := strings.Cut(key, ":")
	if tag, ok := strings.CutPrefix(name, "resourcetag/"); ok { // aws:, and the services' older own
		return tagValue(k.access.Tags, tag)
	}
	if vendor == "aws" {
		if values, known := k.global(name); known {
			return values
		}
	}
	if values := k.condition(key); values != nil {
		return values
	}
	for name, values := range k.principal.Claims {
		if strings.EqualFold(name, key) {
			return values
		}
	}
	if vendor == "kms" {
		return k.kms(name)
	}
	return nil
}

// condition looks into the service's own keys, which are few.
func (k *keys) condition(key string) []string {
	for name, values := range k.access.Conditions {
		if strings.EqualFold(name, key) {
			return values
		}
	}
	return nil
}

// global knows the aws: keys. What it does not know may be among the service's own, as
// aws:SourceArn is.
func (k *keys) global(name string) (values []string, known bool) {
	if family, tag, found := strings.Cut(name, "/"); found {
		switch family {
		case "principaltag":
			return tagValue(k.principal.Tags, tag), true
		case "requesttag":
			return tagValue(k.access.RequestTags, tag), true
		}
		return nil, false
	}
	switch name {
	case "principalarn":
		if k.principal.Type == caller.AssumedRole {
			return one(k.principal.RoleARN), true
		}
		return one(k.principal.ARN), true
	case "principalaccount":
		if k.service() || k.principal.Type == caller.WebIdentityUser {
			return nil, true
		}
		return one(k.principal.Account), true
	case "principaltype":
		if k.service() || k.principal.Type == caller.WebIdentityUser {
			return nil, true
		}
		return one(string(k.principal.Type)), true
	case "userid":
		switch k.principal.Type {
		case caller.Anonymous:
			return []string{"anonymous"}, true
		case caller.WebIdentityUser:
			return nil, true
		}
		return one(k.principal.ID), true
	case "username":
		if k.principal.Type != caller.User {
			return nil, true
		}
		return one(k.principal.UserName), true
	case "federatedprovider":
		return one(k.principal.Provider), true
	case "sourceidentity":
		return one(k.principal.SourceIdentity), true
	case "principalisawsservice":
		return truth(k.service()), true
	case "principalservicename":
		return one(k.principal.Service), true
	case "principalservicenameslist":
		return one(k.principal.Service), true

	case "tagkeys":
		return k.tagKeys(), true
	case "resourceaccount":
		if k.access.Resource == "" || k.access.Resource == "*" {
			return nil, true
		}
		switch owner := k.access.owner(); owner {
		case "":
			return one(k.principal.Account), true
		case nobody:
			return nil, true
		default:
			return []string{owner}, true
		}

	case "currenttime":
		return []string{k.now.UTC().Format(time.RFC3339)}, true
	case "epochtime":
		return []string{strconv.FormatInt(k.now.Unix(), 10)}, true
	case "tokenissuetime":
		if k.principal.IssuedAt.IsZero() {
			return nil, true
		}
		return []string{k.principal.IssuedAt.UTC().Format(time.RFC3339)}, true
	case "multifactorauthpresent":
		if k.principal.IssuedAt.IsZero() { // of long-term keys AWS does not say
			return nil, true
		}
		return truth(false), true

	case "sourcearn":
		if !k.service() || k.request.SourceARN == "" {
			return nil, false
		}
		return []string{k.request.SourceARN}, true
	case "sourceaccount":
		if !k.service() || k.request.SourceARN == "" {
			return nil, false
		}
		return one(k.principal.Account), true

	case "requestedregion":
		return one(k.request.Region), true
	case "useragent":
		return one(k.request.UserAgent), true
	case "referer":
		return one(k.request.Referer), true
	case "sourceip":
		if !k.direct() || !k.request.SourceIP.IsValid() {
			return nil, true
		}
		return []string{k.request.SourceIP.Unmap().WithZone("").String()}, true
	case "securetransport":
		if !k.direct() {
			return nil, true
		}
		return truth(k.request.Secure), true
	case "viaawsservice":
		return truth(len(k.request.Via) > 0), true
	case "calledvia":
		return k.request.Via, true
	case "calledviafirst":
		if len(k.request.Via) == 0 {
			return nil, true
		}
		return k.request.Via[:1], true
	case "calledvialast":
		if len(k.request.Via) == 0 {
			return nil, true
		}
		return k.request.Via[len(k.request.Via)-1:], true
	}
	return nil, false
}

// kms knows what follows from the call itself; the rest is the service's to say.
func (k *keys) kms(name string) []string {
	if !strings.HasPrefix(k.access.Action, "kms:") {
		return nil
	}
	if pair, ok := strings.CutPrefix(name, "encryptioncontext:"); ok {
		return tagValue(k.access.EncryptionContext, pair)
	}
	switch name {
	case "calleraccount":
		return one(k.principal.Account)
	case "viaservice":
		if len(k.request.Via) == 0 {
			return nil
		}
		service, _, _ := strings.Cut(k.request.Via[len(k.request.Via)-1], ".")
		return []string{service + "." + k.request.Region + ".amazonaws.com"}
	case "encryptioncontextkeys":
		return slices.Sorted(maps.Keys(k.access.EncryptionContext))
	}
	return nil
}

func (k *keys) service() bool { return k.principal.Type == caller.Service }

// direct reports a call from outside, whose address and transport are the caller's.
func (k *keys) direct() bool { return len(k.request.Via) == 0 && !k.service() }

func (k *keys) tagKeys() []string {
	all := slices.Concat(k.access.TagKeys, slices.Collect(maps.Keys(k.access.RequestTags)))
	slices.Sort(all)
	return slices.Compact(all)
}

// tagValue finds a tag whose key is given in lower case: condition keys have no case. Of
// tags that differ in case alone the first in order counts, so the answer is always the same.
func tagValue(tags map[string]string, key string) []string {
	found, name := false, ""
	for candidate := range tags {
		if strings.EqualFold(candidate, key) && (!found || candidate < name) {
			found, name = true, candidate
		}
	}
	if !found {
		return nil
	}
	return []string{tags[name]}
}

func one(value string) []string {
	if value == "" {
		return nil
	}
	return []string{value}
}

func truth(b bool) []string {
	if b {
		return []string{"true"}
	}
	return []string{"false"}
}
