package policy

import "fmt"

// Because is the clause that AWS puts behind "User: U is not authorized to perform: A on
// resource: R": "because no identity-based policy allows the A action", "with an explicit
// deny in an identity-based policy". It is empty where AWS gives no reason: for a role of
// another account. For an allow it names the statement.
//
// https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html
func (d Decision) Because() string {
	switch {
	case d.Allowed:
		return "allowed by " + d.Reason()
	case d.Layer == LayerTrust && d.CrossAccount:
		return ""
	case d.Explicit && d.Layer == LayerTrust:
		return "with an explicit deny in the role trust policy"
	case d.Explicit:
		clause := "with an explicit deny in " + article(d.Layer) + " " + d.Layer.String()
		if d.Source != nil && d.Source.ARN != "" && !d.CrossAccount && d.Layer != LayerResource {
			clause += ": " + d.Source.ARN
		}
		return clause
	}
	return fmt.Sprintf("because no %s allows the %s action", d.Layer, d.Action)
}

// Reason names what decided, for people: the statement and the policy it is in, the
// grant, or the sort of policy in which nothing was found.
func (d Decision) Reason() string {
	switch {
	case d.Grant != nil:
		return fmt.Sprintf("grant %s", d.Grant.ID)
	case d.Statement != nil && d.Source != nil:
		name := d.Source.ARN
		if name == "" {
			name = d.Source.Name
		}
		if name != "" {
			name = " " + name
		}
		return fmt.Sprintf("%s of %s%s", d.Statement.Name(), d.Layer, name)
	case d.Allowed:
		return "the root user's rights"
	}
	return fmt.Sprintf("no %s", d.Layer)
}

// Name is how a reason calls the statement: by its Sid, else by its place from 1.
func (s *Statement) Name() string {
	if s.Sid != "" {
		return fmt.Sprintf("statement %q", s.Sid)
	}
	return fmt.Sprintf("statement %d", s.Index+1)
}

func article(l Layer) string {
	if l == LayerIdentity {
		return "an"
	}
	return "a"
}

// String is AWS's name for the layer.
func (l Layer) String() string {
	switch l {
	case LayerIdentity:
		return "identity-based policy"
	case LayerResource:
		return "resource-based policy"
	case LayerBoundary:
		return "permissions boundary"
	case LayerSession:
		return "session policy"
	case LayerTrust:
		return "role trust policy"
	case LayerGrant:
		return "grant"
	}
	return "policy"
}
