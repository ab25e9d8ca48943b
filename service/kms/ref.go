package kms

import "strings"

// ref is what a KeyId of a request refers to, before anybody looked whether it exists.
type ref struct {
	account string
	id      string // of a key; "" when alias is set
	alias   string // with "alias/"
	arn     string // of the key or alias
	err     error  // why it cannot refer to anything; for those who may know
}

func keyARN(region, account, id string) string {
	return "arn:aws:kms:" + region + ":" + account + ":key/" + id
}

func aliasARN(region, account, name string) string {
	return "arn:aws:kms:" + region + ":" + account + ":" + name
}

// parseRef reads a key id, key ARN, alias name or alias ARN. An id or a name is of the
// caller's account. Operations that manage a key do not take aliases.
func parseRef(given, region, account string, takesAlias bool) ref {
	resource := given
	r := ref{account: account}
	if strings.HasPrefix(given, "arn:") {
		rest, isKMS := strings.CutPrefix(given, "arn:aws:kms:")
		in, rest, hasRegion := strings.Cut(rest, ":")
		of, rest, hasAccount := strings.Cut(rest, ":")
		if !isKMS || !hasRegion || !hasAccount || !isAccount(of) {
			r.arn = given
			r.err = notFound("Invalid keyId '%s'", given)
			return r
		}
		r.account, resource = of, rest
		if in != region {
			r.arn = given
			r.err = notFound("Invalid arn %s", in)
			return r
		}
		id, isKey := strings.CutPrefix(resource, "key/")
		if !isKey && !strings.HasPrefix(resource, "alias/") {
			r.arn = given
			r.err = notFound("Invalid keyId '%s'", given)
			return r
		}
		if isKey {
			resource = id
		}
	}
	if strings.HasPrefix(resource, "alias/") {
		r.alias = resource
		r.arn = aliasARN(region, r.account, resource)
		if !takesAlias {
			r.err = notFound("Invalid keyId '%s'", given)
		}
		return r
	}
	r.id = resource
	if len(resource) < len(given) { // an ARN, checked above
		r.arn = given
	} else {
		r.arn = keyARN(region, r.account, resource)
	}
	if !isKeyID(resource) {
		r.err = notFound("Invalid keyId '%s'", given)
	}
	return r
}

// isKeyID accepts a UUID and mrk- with 32 digits: both of 36 characters, in lower case.
func isKeyID(s string) bool {
	if len(s) != 36 {
		return false
	}
	rest, multiRegion := strings.CutPrefix(s, "mrk-")
	for i := range len(rest) {
		switch c := rest[i]; {
		case !multiRegion && (i == 8 || i == 13 || i == 18 || i == 23):
			if c != '-' {
				return false
			}
		case (c < '0' || c > '9') && (c < 'a' || c > 'f'):
			return false
		}
	}
	return true
}

func isAccount(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return len(s) == 12
}
