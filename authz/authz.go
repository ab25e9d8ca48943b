// Package authz answers one question for every operation of every service: may this
// caller do this here? It brings the caller's policies and the resource's together, asks
// policy, and has the answer, denials included, in the audit.
package authz

import (
	"context"

	"github.com/malote/malote/caller"
	"github.com/malote/malote/policy"
)

// Access is what an operation wants to do.
type Access struct {
	Action   string // secretsmanager:GetSecretValue
	Resource string // ARN; "" or "*" for actions without resource

	// Named is how a denial prints the resource, where AWS does not print its ARN
	// ("role app", the SecretId as it was sent). "" means Resource.
	Named string
	// Account owns the resource; "" means the caller's.
	Account string

	Tags        map[string]string   // aws:ResourceTag
	RequestTags map[string]string   // aws:RequestTag and aws:TagKeys
	TagKeys     []string            // aws:TagKeys of an untag request
	Conditions  map[string][]string // the service's own keys: "secretsmanager:VersionStage"

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

// Denied is the error of a refused access: a smithy.APIError with code AccessDeniedException
// (AccessDenied from the services that speak Query and XML: the gateway renames it) and AWS's text.
type Denied struct {
	Access    Access
	Decision  policy.Decision
	Principal *caller.Principal
}
