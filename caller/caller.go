// Package caller says who asks. The gateway puts a Request into the context after
// it has verified the signature; everything behind it reads it from there.
//
// It holds facts alone: it looks nothing up (see service/iam/directory) and decides
// nothing (see authz).
package caller

import (
	"context"
	"net/netip"
	"time"

	"github.com/malote/malote/policy"
)

// Type is the kind of a principal, in the words of aws:PrincipalType, and Service
// for a service that acts on its own account, WebIdentityUser for who has no more than a
// token of an identity provider's.
type Type string

const (
	Account         Type = "Account" // the root user
	User            Type = "User"
	AssumedRole     Type = "AssumedRole"
	FederatedUser   Type = "FederatedUser" // with credentials of GetFederationToken
	Service         Type = "Service"
	WebIdentityUser Type = "WebIdentityUser"
	Anonymous       Type = "Anonymous"
)

// Principal is who signed a request. It is shared between requests: never change one.
type Principal struct {
	Type    Type
	Account string // twelve digits
	ARN     string // as a denial prints it: the user's, the session's, or arn:aws:iam::A:root
	ID      string // aws:userid: AIDA…, AROA…:session, A:name of a FederatedUser, or the account

	UserName    string // of a User; of a WebIdentityUser, the subject of its token
	RoleARN     string // of an AssumedRole, with its path
	RoleID      string // AROA…
	SessionName string
	Service     string // of a Service: ecs-tasks.amazonaws.com

	// FederatedBy is whose rights a FederatedUser has: the ARN and the id of a user, or root's.
	FederatedByARN, FederatedByID string
	// Provider is the ARN of the identity provider of a WebIdentityUser and of what became of
	// one, an AssumedRole; Claims are the condition keys of its token that its session keeps.
	Provider string
	Claims   map[string][]string

	AccessKeyID     string
	Tags            map[string]string // aws:PrincipalTag
	TransitiveTags  []string          // keys of Tags that survive role chaining
	SourceIdentity  string
	SessionPolicies []*policy.Document // nil when the session has none
	IssuedAt        time.Time          // of temporary credentials; else zero
	Task            *Task              // of a session that was made for one, or of one chained to that, and of Fargate asking KMS for its storage; else nil
}

// Task is the ECS task that a session was made for: for the audit. ECS says so when it
// assumes the task's role, and the session token keeps it; no client can.
type Task struct {
	ARN        string
	Definition string   `json:",omitempty"` // ARN
	Service    string   `json:",omitempty"` // name; "" for a task of none
	Deployment string   `json:",omitempty"` // its service's: ecs-svc/…
	Role       string   `json:",omitempty"` // which of its roles: execution, task or infrastructure
	Containers []string `json:",omitempty"` // names: whose credentials, or whose secrets, they may be
}

// Policy returns p as policies see it.
func (p *Principal) Policy() policy.Principal {
	id := p.ID
	if p.Type == AssumedRole {
		id = p.RoleID // policies name the role; the session has its ARN
	}
	who := policy.Principal{Type: string(p.Type), Account: p.Account, ARN: p.ARN, RoleARN: p.RoleARN, ID: id, Service: p.Service}
	if p.Type == WebIdentityUser {
		who.Federated = p.Provider
	}
	return who
}

// Request is one call as the gateway accepted it.
type Request struct {
	ID        string // x-amzn-RequestId
	Principal *Principal
	Region    string // from the signing scope; "" where there is none, which S3 alone takes
	Service   string // signing name: "secretsmanager"
	Operation string // "GetSecretValue"
	SourceIP  netip.Addr
	UserAgent string
	Referer   string
	Secure    bool   // over TLS
	TLS       string // "1.3"; empty without, or when a proxy ended it
	Payload   string // of S3: the body's hash or what stood for it, x-amz-content-sha256
	Host      string // and port, as the client knows us
	Time      time.Time

	// Presigned says that the signature was in the query, and SignedAt when it was made.
	// SignatureV2 says that it is of version 2, which does not tell when.
	Presigned   bool
	SignedAt    time.Time
	SignatureV2 bool

	// SourceARN is the resource on whose behalf a Service asks (aws:SourceArn): the task
	// whose role ECS assumes. Empty for everyone else.
	SourceARN string
	// Task is that task, when it is one: what the session is for. Nil for everyone else.
	Task *Task

	// Via lists the services that forwarded the call, first to last, as host names
	// ("secretsmanager.amazonaws.com"). Empty for a direct call.
	Via []string
}

type key struct{}

// With returns ctx carrying r.
func With(ctx context.Context, r *Request) context.Context {
	return context.WithValue(ctx, key{}, r)
}

// From returns the request in ctx. It panics when there is none: code that runs
// before authentication has no business asking.
func From(ctx context.Context) *Request {
	r, ok := ctx.Value(key{}).(*Request)
	if !ok {
		panic("caller: no request in context")
	}
	return r
}

// Forward returns ctx for a call that service ("secretsmanager") makes to another
// service with the caller's identity, as Secrets Manager calls KMS.
func Forward(ctx context.Context, service string) context.Context {
	r := *From(ctx)
	r.Via = append(r.Via[:len(r.Via):len(r.Via)], service+".amazonaws.com")
	return With(ctx, &r)
}
