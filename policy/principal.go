package policy

import (
	"iter"
	"strings"
)

// principal is one entry of a Principal or NotPrincipal element.
type principal struct {
	kind  principalKind
	value string
}

type principalKind byte

const (
	everyone principalKind = iota + 1 // "*"
	account                           // value is the account's id
	userARN                           // also a federated user's
	roleARN
	sessionARN
	uniqueID // AIDA…, AROA…
	service
	federated
)

// parsePrincipal reads a value under "AWS".
func parsePrincipal(s string) (p principal, ok bool) {
	switch {
	case s == "*":
		return principal{kind: everyone}, true
	case isAccount(s):
		return principal{account, s}, true
	case isUniqueID(s):
		return principal{uniqueID, s}, true
	}
	a, ok := splitARN(s)
	if !ok || a[0] != "arn" || a[1] != "aws" && !strings.HasPrefix(a[1], "aws-") || a[3] != "" || !isAccount(a[4]) || strings.ContainsAny(s, "*?") {
		return p, false
	}
	kind, name, _ := strings.Cut(a[5], "/")
	switch {
	case a[2] == "iam" && a[5] == "root":
		return principal{account, a[4]}, true
	case name == "" || strings.HasSuffix(name, "/"):
		return p, false
	case a[2] == "iam" && kind == "user", a[2] == "sts" && kind == "federated-user":
		return principal{userARN, s}, true
	case a[2] == "iam" && kind == "role":
		return principal{roleARN, s}, true
	case a[2] == "sts" && kind == "assumed-role" && strings.Count(name, "/") == 1:
		return principal{sessionARN, s}, true
	}
	return p, false
}

func isAccount(s string) bool {
	if len(s) != 12 {
		return false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

func isUniqueID(s string) bool {
	if len(s) < 16 || len(s) > 128 || !strings.HasPrefix(s, "AIDA") && !strings.HasPrefix(s, "AROA") {
		return false
	}
	for i := range len(s) {
		if (s[i] < 'A' || s[i] > 'Z') && (s[i] < '0' || s[i] > '9') {
			return false
		}
	}
	return true
}

// reach is how directly a statement of a resource's policy names a principal. More
// is stronger.
type reach byte

const (
	unnamed   reach = iota
	delegated       // its account
	roleNamed       // its role: limited by boundary and session policies
	direct          // itself, or everyone: limited by nothing but a Deny
)

func (p *principal) reach(who *Principal) reach {
	switch p.kind {
	case everyone:
		return direct
	case account:
		if who.Account == p.value && who.Type != typeService && who.Type != typeAnonymous && who.Federated == "" {
			return delegated
		}
	case userARN, sessionARN:
		if who.ARN == p.value {
			return direct
		}
	case roleARN:
		if who.RoleARN == p.value {
			return roleNamed
		}
	case uniqueID:
		if who.ID == p.value {
			if who.RoleARN != "" || who.Type == typeAssumedRole {
				return roleNamed
			}
			return direct
		}
	case service:
		if who.Type == typeService && who.Service == p.value {
			return direct
		}
	case federated:
		if who.Federated != "" && who.Federated == p.value {
			return direct
		}
	}
	return unnamed
}

const (
	typeAccount       = "Account"
	typeAssumedRole   = "AssumedRole"
	typeFederatedUser = "FederatedUser"
	typeService       = "Service"
	typeAnonymous     = "Anonymous"
)

// reach is the strongest of the statement's principals, or unnamed.
func (s *Statement) reach(who *Principal, kind Kind) reach {
	if s.notPrincipal {
		if s.exempts(who) {
			return unnamed
		}
		return direct
	}
	best := unnamed
	for i := range s.principals {
		p := &s.principals[i]
		// In a trust policy "*" stands for AWS principals: users, roles, accounts.
		if s.Allow && kind == Trust && p.kind == everyone && (who.Type == typeService || who.Type == typeAnonymous || who.Federated != "") {
			continue
		}
		if best = max(best, p.reach(who)); best == direct {
			break
		}
	}
	return best
}

// exempts reports whether NotPrincipal lists who, which takes every name that who
// answers to: the account and the user, or the account, the role and the session.
//
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_notprincipal.html
func (s *Statement) exempts(who *Principal) bool {
	var self, role, owner bool
	for i := range s.principals {
		p := &s.principals[i]
		switch p.reach(who) {
		case direct:
			if p.kind == everyone || p.kind == service || p.kind == federated {
				return true
			}
			self = true
		case roleNamed:
			role = true
		case delegated:
			owner = true
		}
	}
	switch who.Type {
	case typeAccount:
		return owner
	case typeAssumedRole:
		return owner && role && self
	}
	return owner && self
}

// Principals lists the values under "AWS" in Principal and NotPrincipal elements, as
// written and in order: account ids, ARNs, unique ids and "*".
func (d *Document) Principals() iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, p := range d.principals {
			if !yield(p) {
				return
			}
		}
	}
}

// Resources lists the values of Resource and NotResource elements, as written and in order.
func (d *Document) Resources() iter.Seq[string] {
	return func(yield func(string) bool) {
		for i := range d.Statements {
			for _, r := range d.Statements[i].resources {
				if !yield(r.written) {
					return
				}
			}
		}
	}
}

// Rewrite returns text with every value under "AWS" in a Principal or NotPrincipal
// replaced by what resolve makes of it, and the rest as it was, byte for byte. "*" is
// left alone. This is how a policy is stored by unique ids, so that who is deleted and
// created again under the same name does not come back into old rights, and read by ARNs.
// It stops at the first error, which it returns as it is.
func Rewrite(text []byte, resolve func(principal string) (string, error)) ([]byte, error) {
	source := string(text)
	root, wrong := scan(source)
	if wrong != nil {
		return nil, wrong
	}
	var out []byte
	done := 0
	for _, n := range awsPrincipals(root) {
		if n.text == "*" {
			continue
		}
		value, err := resolve(n.text)
		if err != nil {
			return nil, err
		}
		if value == n.text {
			continue
		}
		out = append(out, source[done:n.start]...)
		out = append(out, quote(value)...)
		done = n.end
	}
	return append(out, source[done:]...), nil
}

// awsPrincipals finds the string nodes under "AWS", in the order of the text.
func awsPrincipals(root *node) []*node {
	var found []*node
	statements := root.member("Statement")
	if statements == nil {
		return nil
	}
	for _, statement := range statements.list() {
		for i := range statement.keys {
			if key := statement.keys[i].text; key != "Principal" && key != "NotPrincipal" {
				continue
			}
			if values := statement.items[i].member("AWS"); values != nil {
				for _, value := range values.list() {
					if value.kind == nodeString {
						found = append(found, value)
					}
				}
			}
		}
	}
	return found
}
