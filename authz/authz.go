// Package authz answers one question for every operation of every service: may this
// caller do this here? It brings the caller's policies and the resource's together, asks
// policy, and has the answer, denials included, in the audit.
//
// It promises: Authorize returns nil only when the policies allow the access and the
// audit has the decision: in the record of the request that it belongs to, or else in one of its own.
package authz

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/malote/malote/audit"
	"github.com/malote/malote/caller"
	"github.com/malote/malote/policy"
)

// Access is what an operation wants to do. It must not be changed once it was asked about.
type Access struct {
	Action   string // secretsmanager:GetSecretValue
	Resource string // ARN; "" or "*" for actions without resource

	// Named is how a denial prints the resource, where AWS does not print its ARN
	// ("role app", the SecretId as it was sent). "" means Resource.
	Named string
	// Account owns the resource. "" means the one in Resource, or, where that is no ARN or
	// names what is AWS's, the caller's. An ARN that says of no account whose it is, as
	// S3's, is nobody's: who forgets to say so opens nothing.
	Account string

	Tags        map[string]string   // aws:ResourceTag
	RequestTags map[string]string   // aws:RequestTag and aws:TagKeys
	TagKeys     []string            // aws:TagKeys of an untag request
	Conditions  map[string][]string // the service's own keys, of the request: "secretsmanager:VersionStage"
	// ResourceConditions are those of the resource, which a service can have ready. Where
	// both have a key, Conditions counts.
	ResourceConditions map[string][]string

	Policy *policy.Source // the resource's own, nil for none
	Kind   policy.Kind    // of Policy: policy.Resource (zero means that too), policy.Key, policy.Trust
	Grants []policy.Grant

	EncryptionContext map[string]string // of a KMS call

	// Principal asks instead of the caller: ECS asks sts:AssumeRole as ecs-tasks.amazonaws.com.
	Principal *caller.Principal
}

// PolicySource finds the policies of a principal. The caller must not change the Set;
// Resource, Kind and Grants are left to the Authorizer.
type PolicySource interface {
	Policies(ctx context.Context, p *caller.Principal) (*policy.Set, error)
}

// Config says what an Authorizer works with.
type Config struct {
	Policies PolicySource
	Audit    audit.Log        // nil keeps no audit: for tests
	Now      func() time.Time // nil means time.Now
}

// Authorizer decides. It is safe for concurrent use.
type Authorizer struct {
	policies PolicySource
	audit    audit.Log
	now      func() time.Time
}

// New returns an Authorizer.
func New(c Config) *Authorizer {
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Authorizer{policies: c.Policies, audit: c.Audit, now: c.Now}
}

// Authorize decides whether the caller in ctx may do what access says, and records the
// decision. It returns nil, or a *Denied, or an internal error when the policies could
// not be read or the audit not be written.
func (a *Authorizer) Authorize(ctx context.Context, access *Access) error {
	d, p, now, err := a.decide(ctx, access)
	if err != nil {
		return err
	}
	var denied *Denied
	if !d.Allowed {
		denied = &Denied{Access: *access, Decision: d, Principal: p, keys: &keys{access: access, request: caller.From(ctx), principal: p, now: now}}
	}
	if a.audit != nil {
		request := caller.From(ctx)
		r := record(request, access, d, p, denied, now)
		if err := audit.Note(ctx, a.audit, request, &r); err != nil {
			return fmt.Errorf("recording %s: %w", access.Action, err)
		}
	}
	if denied != nil {
		return denied
	}
	return nil
}

// Decide decides as Authorize does, and leaves no record: for simulations alone.
func (a *Authorizer) Decide(ctx context.Context, access *Access) (policy.Decision, error) {
	d, _, _, err := a.decide(ctx, access)
	return d, err
}

func (a *Authorizer) decide(ctx context.Context, access *Access) (policy.Decision, *caller.Principal, time.Time, error) {
	request := caller.From(ctx)
	p := access.Principal
	if p == nil {
		p = request.Principal
	}
	now := a.now()

	var set policy.Set
	if p.Type == caller.User || p.Type == caller.AssumedRole || p.Type == caller.FederatedUser {
		own, err := a.policies.Policies(ctx, p)
		if err != nil {
			return policy.Decision{}, p, now, fmt.Errorf("reading the policies of %s: %w", p.ARN, err)
		}
		if own != nil {
			set = *own
		}
	}
	set.Resource, set.Kind, set.Grants = access.Policy, access.Kind, access.Grants

	question := policy.Request{
		Principal:         p.Policy(),
		Action:            access.Action,
		Resource:          access.Resource,
		ResourceAccount:   access.owner(),
		Keys:              &keys{access: access, request: request, principal: p, now: now},
		EncryptionContext: access.EncryptionContext,
	}
	if question.Resource == "" {
		question.Resource = "*"
	}
	return policy.Evaluate(&question, &set), p, now, nil
}

// nobody owns a resource of which it is not known whose it is. It is no account of anyone's,
// so such a resource is another's to all.
const nobody = "unknown"

// owner is the account that owns the resource, "" when only the caller's can be meant: for
// an action without resource, a name that is no ARN, and what AWS owns. Were the ARN not
// looked at, an operation that forgot to say whose resource it is would open it to strangers.
func (a *Access) owner() string {
	if a.Account != "" {
		return a.Account
	}
	rest, isARN := strings.CutPrefix(a.Resource, "arn:")
	if !isARN {
		return ""
	}
	for range 3 {
		_, rest, _ = strings.Cut(rest, ":")
	}
	switch account, _, found := strings.Cut(rest, ":"); {
	case found && isAccount(account):
		return account
	case found && account == "aws":
		return ""
	}
	return nobody
}

func isAccount(s string) bool { return len(s) == 12 && strings.Trim(s, "0123456789") == "" }

func record(request *caller.Request, access *Access, d policy.Decision, p *caller.Principal, denied *Denied, now time.Time) audit.Record {
	r := audit.Record{
		Time: now, Operation: request.Operation, Region: request.Region, SourceIP: request.SourceIP, UserAgent: request.UserAgent,
		RequestID: request.ID, Via: request.Via, Principal: p, Resource: access.Resource, Account: access.owner(), Decision: d,
	}
	r.Service, r.Name, _ = strings.Cut(access.Action, ":")
	if r.Account == "" || r.Account == nobody {
		r.Account = p.Account
	}
	if len(request.Via) > 0 {
		r.EncryptionContext = access.EncryptionContext
	}
	if denied != nil {
		r.ErrorCode, r.ErrorMessage = "AccessDenied", denied.ErrorMessage()
	}
	return r
}
