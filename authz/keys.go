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

	via string // kms:ViaService, once it was asked for
	// What Values returned: most decisions ask for no more than a few.
	room [8]string
	used int
}

// Values implements policy.Keys.
func (k *keys) Values(key string) []string {
	vendor, name, _ := strings.Cut(key, ":")
	if tag, ok := strings.CutPrefix(name, "resourcetag/"); ok { // aws:, and the services' older own
		return k.tagValue(k.access.Tags, tag)
	}
	if vendor == "aws" {
		if values, known := k.global(name); known {
			return values
		}
	}
	if values := condition(k.access.Conditions, key); values != nil {
		return values
	}
	if values := condition(k.access.ResourceConditions, key); values != nil {
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

// condition looks into a service's own keys, which are few, and ASCII.
func condition(conditions map[string][]string, key string) []string {
	for name, values := range conditions {
		if len(name) == len(key) && strings.EqualFold(name, key) {
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
			return k.tagValue(k.principal.Tags, tag), true
		case "requesttag":
			return k.tagValue(k.access.RequestTags, tag), true
		}
		return nil, false
	}
	switch name {
	case "principalarn":
		if k.principal.Type == caller.AssumedRole {
			return k.one(k.principal.RoleARN), true
		}
		return k.one(k.principal.ARN), true
	case "principalaccount":
		if k.service() || k.principal.Type == caller.WebIdentityUser {
			return nil, true
		}
		return k.one(k.principal.Account), true
	case "principaltype":
		if k.service() || k.principal.Type == caller.WebIdentityUser {
			return nil, true
		}
		return k.one(string(k.principal.Type)), true
	case "userid":
		switch k.principal.Type {
		case caller.Anonymous:
			return k.just("anonymous"), true
		case caller.WebIdentityUser:
			return nil, true
		}
		return k.one(k.principal.ID), true
	case "username":
		if k.principal.Type != caller.User {
			return nil, true
		}
		return k.one(k.principal.UserName), true
	case "federatedprovider":
		return k.one(k.principal.Provider), true
	case "sourceidentity":
		return k.one(k.principal.SourceIdentity), true
	case "principalisawsservice":
		return truth(k.service()), true
	case "principalservicename":
		return k.one(k.principal.Service), true
	case "principalservicenameslist":
		return k.one(k.principal.Service), true

	case "tagkeys":
		return k.tagKeys(), true
	case "resourceaccount":
		if k.access.Resource == "" || k.access.Resource == "*" {
			return nil, true
		}
		switch owner := k.access.owner(); owner {
		case "":
			return k.one(k.principal.Account), true
		case nobody:
			return nil, true
		default:
			return k.just(owner), true
		}

	case "currenttime":
		return k.just(k.now.UTC().Format(time.RFC3339)), true
	case "epochtime":
		return k.just(strconv.FormatInt(k.now.Unix(), 10)), true
	case "tokenissuetime":
		if k.principal.IssuedAt.IsZero() {
			return nil, true
		}
		return k.just(k.principal.IssuedAt.UTC().Format(time.RFC3339)), true
	case "multifactorauthpresent":
		if k.principal.IssuedAt.IsZero() { // of long-term keys AWS does not say
			return nil, true
		}
		return truth(false), true

	case "sourcearn":
		if !k.service() || k.request.SourceARN == "" {
			return nil, false
		}
		return k.just(k.request.SourceARN), true
	case "sourceaccount":
		if !k.service() || k.request.SourceARN == "" {
			return nil, false
		}
		return k.one(k.principal.Account), true

	case "requestedregion":
		return k.one(k.request.Region), true
	case "useragent":
		return k.one(k.request.UserAgent), true
	case "referer":
		return k.one(k.request.Referer), true
	case "sourceip":
		if !k.direct() || !k.request.SourceIP.IsValid() {
			return nil, true
		}
		return k.just(k.request.SourceIP.Unmap().WithZone("").String()), true
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
		return k.tagValue(k.access.EncryptionContext, pair)
	}
	switch name {
	case "calleraccount":
		return k.one(k.principal.Account)
	case "viaservice":
		if len(k.request.Via) == 0 {
			return nil
		}
		if k.via == "" {
			service, _, _ := strings.Cut(k.request.Via[len(k.request.Via)-1], ".")
			k.via = service + "." + k.request.Region + ".amazonaws.com"
		}
		return k.just(k.via)
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
func (k *keys) tagValue(tags map[string]string, key string) []string {
	found, name := false, ""
	for candidate := range tags {
		if strings.EqualFold(candidate, key) && (!found || candidate < name) {
			found, name = true, candidate
		}
	}
	if !found {
		return nil
	}
	return k.just(tags[name])
}

// one is the value, none when it is "".
func (k *keys) one(value string) []string {
	if value == "" {
		return nil
	}
	return k.just(value)
}

// just is one value, which may be "".
func (k *keys) just(value string) []string {
	if k.used == len(k.room) {
		return []string{value}
	}
	k.room[k.used] = value
	k.used++
	return k.room[k.used-1 : k.used : k.used]
}

var yes, no = []string{"true"}, []string{"false"}

func truth(b bool) []string {
	if b {
		return yes
	}
	return no
}
