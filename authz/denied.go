package authz

import (
	"strings"

	"github.com/aws/smithy-go"

	"github.com/malote/malote/caller"
	"github.com/malote/malote/policy"
)

// Denied is the error of a refused access: a smithy.APIError with code AccessDeniedException
// (AccessDenied from the services that speak Query and XML: the gateway renames it) and AWS's text.
type Denied struct {
	Access    Access
	Decision  policy.Decision
	Principal *caller.Principal

	keys *keys // for Message
}

var _ smithy.APIError = (*Denied)(nil)

func (d *Denied) Error() string { return d.ErrorCode() + ": " + d.ErrorMessage() }

// ErrorCode is that of the JSON protocols.
func (d *Denied) ErrorCode() string { return "AccessDeniedException" }

// ErrorFault says that the caller is at fault.
func (d *Denied) ErrorFault() smithy.ErrorFault { return smithy.FaultClient }

// ErrorMessage is AWS's sentence: who may not do what to what, and for want of which policy.
//
// https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html
func (d *Denied) ErrorMessage() string {
	if d.Principal.Type == caller.WebIdentityUser { // it has no name that AWS would print
		return "Not authorized to perform " + d.Access.Action
	}
	var b strings.Builder
	b.WriteString("User: ")
	switch {
	case d.Principal.ARN != "":
		b.WriteString(d.Principal.ARN)
	case d.Principal.Type == caller.Service:
		b.WriteString(d.Principal.Service)
	default:
		b.WriteString("anonymous")
	}
	b.WriteString(" is not authorized to perform: ")
	b.WriteString(d.Access.Action)

	// KMS does not tell strangers whether the key exists.
	if d.Access.Kind == policy.Key && d.Decision.CrossAccount && d.Decision.Layer == policy.LayerResource {
		b.WriteString(" on this resource because the resource does not exist in this Region, no resource-based policies allow access, or a resource-based policy explicitly denies access")
		return b.String()
	}
	resource := d.Access.Named
	if resource == "" {
		resource = d.Access.Resource
	}
	if resource != "" && resource != "*" {
		b.WriteString(" on resource: ")
		b.WriteString(resource)
	}
	// Nor does STS tell them whether the role exists.
	if because := d.Decision.Because(); because != "" && !(d.Access.Kind == policy.Trust && d.Decision.CrossAccount) {
		b.WriteByte(' ')
		b.WriteString(because)
	}
	return b.String()
}
