package policy

import "strings"

// Public reports whether the policy lets in everyone: an Allow for "*" without a
// condition that ties the caller to known accounts, principals, services or networks.
//
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-control-block-public-access.html#access-control-block-public-access-policy-status
func (d *Document) Public() bool {
	for i := range d.Statements {
		s := &d.Statements[i]
		if s.Allow && s.forEveryone() && !s.limited() {
			return true
		}
	}
	return false
}

// ForEveryone reports whether some statement lets everyone in, strangers too, if only under
// conditions.
func (d *Document) ForEveryone() bool {
	for i := range d.Statements {
		if s := &d.Statements[i]; s.Allow && s.forEveryone() {
			return true
		}
	}
	return false
}

func (s *Statement) forEveryone() bool {
	for i := range s.principals {
		if s.principals[i].kind == everyone {
			return true
		}
	}
	return false
}

// limited reports whether some condition holds only for callers that the author listed.
func (s *Statement) limited() bool {
	for i := range s.conditions {
		c := &s.conditions[i]
		if c.negated || c.ifExists || c.quantifier == forAllValues {
			continue // these hold for whoever lacks the key
		}
		switch c.key {
		case "aws:principalaccount", "aws:principalarn", "aws:principalorgid", "aws:principalorgpaths", "aws:sourceaccount",
			"aws:sourcearn", "aws:sourceorgid", "aws:sourcevpc", "aws:sourcevpce", "aws:userid", "aws:username", "kms:calleraccount":
			if c.fixed() {
				return true
			}
		case "aws:sourceip":
			if c.narrow() {
				return true
			}
		}
	}
	return false
}

// fixed reports whether every value names something: an ARN's account, else all of it, has no wildcard.
func (c *condition) fixed() bool {
	if c.test != testEquals && c.test != testEqualsFold && c.test != testLike && c.test != testARN {
		return false
	}
	for i := range c.values {
		p := &c.values[i].pattern
		text := p.text
		if p.shape == shapeTemplate || p.shape == shapeAll {
			return false
		}
		if a, ok := splitARN(text); ok {
			text = a[4]
			if text == "" { // an S3 bucket's ARN has no account; its name is its own
				text = a[5]
			}
		} else if p.shape == shapePrefix && strings.HasPrefix(text, "AROA") && strings.Contains(text, ":") {
			continue // AROA…:* is every session of one role
		} else if p.shape == shapePrefix && (c.key != "aws:principalorgpaths" || text == "") {
			return false
		}
		if indexMark(text) >= 0 {
			return false
		}
	}
	return true
}

// narrow reports whether every range is part of the Internet only: longer than /8, or /32 for IPv6.
func (c *condition) narrow() bool {
	for i := range c.values {
		prefix := c.values[i].prefix
		if least := 8; c.test != testIP || prefix.Bits() < least || prefix.Addr().Is6() && prefix.Bits() < 32 {
			return false
		}
	}
	return true
}
