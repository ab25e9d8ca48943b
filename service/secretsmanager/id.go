package secretsmanager

import "strings"

// secretID is what a SecretId refers to, before anybody looked whether it exists.
type secretID struct {
	literal string // as it was sent
	account string
	name    string
	suffix  string // of a full ARN; "" matches any
	err     error  // why it cannot refer to anything; for those who may know
}

const maxNameSize = 512

func isName(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter := 'a' <= c|0x20 && c|0x20 <= 'z'
		if !letter && (c < '0' || c > '9') && strings.IndexByte("/_+=.@!-", c) < 0 {
			return false
		}
	}
	return s != "" && len(s) <= maxNameSize
}

func invalidName() error {
	return validation("Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@!")
}

const suffixSize = 6

// parseSecretID reads a name, a full ARN, or an ARN without its random suffix. An ARN
// that ends in a hyphen and six characters is always taken for a full one, even if that
// is how the name ends: so does AWS.
func parseSecretID(given, region, account string) secretID {
	id := secretID{literal: given, account: account}
	if !strings.HasPrefix(given, "arn:") {
		id.name = given
		if !isName(given) {
			id.err = invalidName()
		}
		return id
	}
	parts := strings.SplitN(given, ":", 7)
	if len(parts) != 7 || parts[1] != "aws" || parts[2] != "secretsmanager" || parts[5] != "secret" || !isAccount(parts[4]) {
		id.err = secretNotFound()
		return id
	}
	id.account, id.name = parts[4], parts[6]
	if at := len(id.name) - suffixSize - 1; at >= 0 && id.name[at] == '-' {
		id.name, id.suffix = id.name[:at], id.name[at+1:]
	}
	switch {
	case parts[3] != region:
		id.err = secretNotFound()
	case !isName(id.name):
		id.err = invalidName()
	}
	return id
}

func isAccount(s string) bool {
	return len(s) == 12 && strings.Trim(s, "0123456789") == ""
}
