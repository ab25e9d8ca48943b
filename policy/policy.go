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
	// compiled form: the implementer's
}

// Statement is one statement of a Document.
type Statement struct {
	Sid   string
	Allow bool
	// compiled form: the implementer's
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
}

// Context holds the condition keys of a request, by lower-cased name. An absent key is absent.
type Context map[string][]string

// Grant is what a KMS grant adds: an Allow for some operations under constraints.
type Grant struct {
	ID                      string
	GranteePrincipal        string   // ARN
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
	Action    string
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

// Because is the clause that AWS appends to an access-denied message, facts "Access denied
// error messages" of the IAM User Guide: "because no identity-based policy allows the X action",
// "with an explicit deny in an identity-based policy". For an allow it names the statement.
func (d Decision) Because() string { panic("policy: being written") }

// Parse checks and compiles a document. A *SyntaxError names line, column and element.
func Parse(kind Kind, text []byte) (*Document, error) { panic("policy: being written") }

// Evaluate decides r under s: the evaluation logic of the IAM User Guide.
func Evaluate(r *Request, s *Set) Decision { panic("policy: being written") }
