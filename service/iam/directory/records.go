package directory

import (
	"strings"
	"time"
)

// Kind is a sort of entity that policies are attached to.
type Kind string

const (
	KindUser  Kind = "user"
	KindRole  Kind = "role"
	KindGroup Kind = "group"

	// No policy is attached to an instance profile.
	KindInstanceProfile Kind = "instance-profile"
)

// Account is one account with its root user.
type Account struct {
	ID         string
	Created    time.Time
	Name       string   `json:",omitempty"`
	Email      string   `json:",omitempty"`
	AccessKeys []string `json:",omitempty"` // the root user's
	Alias      string   `json:",omitempty"` // no other account has the same

	// Reported is when a credential report was last asked to be made.
	Reported *time.Time `json:",omitempty"`
}

// Tag is one tag. Keys of users and roles are unique without regard to case.
type Tag struct{ Key, Value string }

// Inline is a policy that is part of its entity. Document is byte for byte what was put.
type Inline struct{ Name, Document string }

// Entity is what users, roles and groups have in common. A record got from a Tx is
// the caller's own, to change and put back.
type Entity struct {
	Account  string
	Path     string
	Name     string
	ID       string
	Created  time.Time
	Tags     []Tag    `json:",omitempty"`
	Inline   []Inline `json:",omitempty"` // by name
	Attached []string `json:",omitempty"` // ARNs of managed policies, in order of attachment
	Boundary string   `json:",omitempty"` // ARN of a managed policy
}

// User is an IAM user.
type User struct {
	Entity
	AccessKeys []string `json:",omitempty"`
	Groups     []string `json:",omitempty"` // names in lower case
}

// Role is an IAM role.
type Role struct {
	Entity
	Description string `json:",omitempty"`
	MaxSession  int32  // seconds
	Trust       Trust
	Linked      string `json:",omitempty"` // of a service-linked role: the service, whose it is to change
}

// Group is an IAM group. Who is in it is written in the users.
type Group struct{ Entity }

// InstanceProfile holds the role that an EC2 instance would have, if there is one.
type InstanceProfile struct {
	Entity        // without policies
	Role   string `json:",omitempty"` // name in lower case
}

// Deletion is the task of deleting a service-linked role, which was done when it began.
type Deletion struct {
	Role string // ARN
	Time time.Time
}

// Trust is a role's trust policy. IDs remembers what the user and role ARNs in it meant
// when it was saved: a principal that is deleted and made anew is another one.
type Trust struct {
	Document string            // byte for byte as it was given
	IDs      map[string]string `json:",omitempty"` // principal ARN to id
}

// Policy is a customer managed policy.
type Policy struct {
	Account     string
	Path        string
	Name        string
	ID          string
	Description string `json:",omitempty"`
	Created     time.Time
	Updated     time.Time
	Default     string // "v3"
	Last        int    // number of the newest version ever made: numbers are not reused
	Versions    []Version
	Tags        []Tag `json:",omitempty"`
}

// Version is one version of a managed policy.
type Version struct {
	ID       string
	Document string
	Created  time.Time
}

// OIDCProvider is an identity provider that the account trusts to say who somebody is.
type OIDCProvider struct {
	Account     string
	URL         string // without its scheme, https
	Created     time.Time
	ClientIDs   []string `json:",omitempty"` // audiences, in the order in which they were added
	Thumbprints []string `json:",omitempty"` // as they were given; in hex
	Tags        []Tag    `json:",omitempty"`
}

// Ref says where the entity with some id is.
type Ref struct {
	Account string
	Kind    Kind
	Name    string // lower case
}

// AccessKey is a long-term key. Owner is an AIDA… id, or the account for its root user.
type AccessKey struct {
	ID      string
	Account string
	Owner   string
	Secret  string
	Active  bool
	Created time.Time
}

// Used says when something last was.
type Used struct {
	Time    time.Time
	Region  string
	Service string
}

func (u *User) ARN() string  { return u.arn(KindUser) }
func (r *Role) ARN() string  { return r.arn(KindRole) }
func (g *Group) ARN() string { return g.arn(KindGroup) }

func (p *InstanceProfile) ARN() string { return p.arn(KindInstanceProfile) }

func (p *Policy) ARN() string { return "arn:aws:iam::" + p.Account + ":policy" + p.Path + p.Name }

// ARN has the whole URL in it, its path included.
func (o *OIDCProvider) ARN() string { return OIDCProviderARN(o.Account, o.URL) }

// OIDCProviderARN is that of the provider with a URL, given without its scheme.
func OIDCProviderARN(account, url string) string {
	return "arn:aws:iam::" + account + ":oidc-provider/" + url
}

// ParseOIDCProviderARN splits what OIDCProviderARN joins. ok is false for anything else.
func ParseOIDCProviderARN(arn string) (account, url string, ok bool) {
	rest, found := strings.CutPrefix(arn, "arn:aws:iam::")
	account, rest, cut := strings.Cut(rest, ":")
	url, provider := strings.CutPrefix(rest, "oidc-provider/")
	return account, url, found && cut && provider && isAccount(account) && url != ""
}

func (e *Entity) arn(k Kind) string {
	return "arn:aws:iam::" + e.Account + ":" + string(k) + e.Path + e.Name
}

// Version returns the version with that id, or nil.
func (p *Policy) Version(id string) *Version {
	for i := range p.Versions {
		if p.Versions[i].ID == id {
			return &p.Versions[i]
		}
	}
	return nil
}

// Document is the default version's.
func (p *Policy) Document() string { return p.Version(p.Default).Document }

// TagMap is the form that conditions use.
func TagMap(tags []Tag) map[string]string {
	if len(tags) == 0 {
		return nil
	}
	m := make(map[string]string, len(tags))
	for _, t := range tags {
		m[t.Key] = t.Value
	}
	return m
}

// ParseARN splits arn:aws:iam::A:KIND/path/Name. ok is false for anything else.
func ParseARN(arn string) (account string, kind Kind, path, name string, ok bool) {
	rest, found := strings.CutPrefix(arn, "arn:aws:iam::")
	if !found {
		return "", "", "", "", false
	}
	account, rest, found = strings.Cut(rest, ":")
	if !found {
		return "", "", "", "", false
	}
	slash := strings.IndexByte(rest, '/')
	if slash <= 0 {
		return "", "", "", "", false
	}
	last := strings.LastIndexByte(rest, '/')
	kind, path, name = Kind(rest[:slash]), rest[slash:last+1], rest[last+1:]
	return account, kind, path, name, name != ""
}
