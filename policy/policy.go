// Package policy is the IAM policy language: parse, evaluate, explain. It is pure: it
// reads no store, no clock and no network, and the same question always has the same answer.
package policy

// Kind says where a document is attached; it decides what the document may contain.
type Kind int

const (
	Identity Kind = iota // of a user, group or role; also a boundary's document
	Boundary
	Session
	Resource // Secrets Manager, S3, SSM …
	Key      // a KMS key policy: the root of trust of its key
	Trust    // a role's AssumeRolePolicyDocument
)

// Document is a parsed policy, compiled for evaluation. It does not change.
type Document struct {
	Version    string
	ID         string
	Statements []Statement

	principals []string // see Principals
	leads      []string // by statement, see leads; nil when the document was put together of others'
}

// Statement is one statement of a Document.
type Statement struct {
	Sid   string
	Allow bool

	Index              int // in Statements
	Line, Column       int // of its "{", from 1
	EndLine, EndColumn int // behind its "}"

	notAction, notResource, notPrincipal bool

	actions    []actionPattern
	resources  []arnPattern // nil in a trust policy: its role
	principals []principal  // nil in a policy of an identity: its bearer
	conditions []condition
}

// Source is a document with the name that a reason gives it.
type Source struct {
	Document *Document
	ARN      string // of a managed policy; else ""
	Name     string // of an inline policy, or a short description
}

// Principal is who asks, as policies see it. For a role session RoleARN is set too.
type Principal struct {
	Type    string // Account, User, AssumedRole, FederatedUser, Service, Anonymous (aws:PrincipalType's words)
	Account string
	ARN     string // user ARN, session ARN, root ARN
	RoleARN string // with path, of a session
	ID      string // AIDA…, AROA… (without the session name): what stored trust and resource policies refer to
	Service string // ecs-tasks.amazonaws.com

	// Federated is the identity provider's ARN of a caller known by its web identity alone.
	Federated string
}

// Keys finds condition keys one by one, for who would rather not compute those that no
// policy asks for. Names are in lower case. A slice, once returned, does not change.
type Keys interface {
	Values(key string) []string
}

// Context holds the condition keys of a request, by lower-cased name. An absent key is absent.
type Context map[string][]string

// Grant is what a KMS grant adds: an Allow for some operations under constraints.
type Grant struct {
	ID                      string
	GranteePrincipal        string   // ARN, unique id, or a service
	Operations              []string // "Decrypt", …
	EncryptionContextEquals map[string]string
	EncryptionContextSubset map[string]string
}

// Request is one question.
type Request struct {
	Principal       Principal
	Action          string // secretsmanager:GetSecretValue
	Resource        string // an ARN, or "*" for actions without resource
	ResourceAccount string // owner of the resource; "" means the principal's
	Context         Context
	Keys            Keys // asked for what Context lacks; nil for none
	// EncryptionContext of a KMS call, for grant constraints.
	EncryptionContext map[string]string
}

// Set is every policy that has a say. Nil or empty means that there is none of that sort.
type Set struct {
	Identity   []Source // user's or role's own, attached and groups'
	Boundary   *Source
	Session    []Source // of the session; united with one another
	HasSession bool     // a session without policy differs from a session policy that allows nothing
	Resource   *Source  // of the resource: resource, key or trust policy
	Kind       Kind     // what Resource is: Resource, Key or Trust. Key and Trust have rules of their own
	Grants     []Grant
}

// Decision is the answer with its reason.
type Decision struct {
	Allowed   bool
	Explicit  bool       // a Deny statement decided
	Layer     Layer      // who decided (allowed it, denied it, or failed to allow it)
	Source    *Source    // nil when implicit
	Statement *Statement // nil when implicit
	Grant     *Grant     // of LayerGrant
	Action    string

	CrossAccount bool // the resource belongs to another account than the principal
}

// Layer names a sort of policy in a reason.
type Layer int

const (
	LayerNone Layer = iota // root user, or nothing
	LayerIdentity
	LayerResource
	LayerBoundary
	LayerSession
	LayerTrust
	LayerGrant
)
