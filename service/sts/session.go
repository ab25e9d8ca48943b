package sts

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"

	"github.com/malote/malote/authz"
	"github.com/malote/malote/caller"
	"github.com/malote/malote/policy"
	"github.com/malote/malote/service/iam/directory"
	"github.com/malote/malote/store"
)

const (
	defaultRoleSession = time.Hour
	maxChainedSession  = time.Hour
	maxSessionPolicy   = 2048 // characters
	maxPolicyARNs      = 10
	maxSessionTags     = 50

	// maxToken is what AWS's tokens fit into, and so what clients and proxies have room for.
	maxToken = 4096
)

// ask is what somebody wants of a role, however they asked.
type ask struct {
	role           string // ARN
	name           string
	sourceIdentity *string
	tags           []types.Tag
	transitive     []string
	policy         *string
	policyARNs     []types.PolicyDescriptorType
	seconds        *int32

	action     string // sts:AssumeRole
	conditions map[string][]string
	web        *directory.Session // Provider and Claims of a web identity
	refuse     func() error       // members that the operation does not do; nil for none
}

// given is what the session comes to.
type given struct {
	user           *types.AssumedRoleUser
	credentials    *types.Credentials
	packed         *int32
	sourceIdentity *string
}

func (a *ask) account() (account string, err error) {
	account, kind, _, _, ok := directory.ParseARN(a.role)
	if !ok || kind != directory.KindRole || len(account) != 12 {
		return "", validationError("%s is invalid", a.role)
	}
	return account, nil
}

// assume gives p credentials of a role when its trust policy lets p in. A role that there
// is not is answered like one that does not trust p.
func (s *Service) assume(ctx context.Context, p *caller.Principal, a *ask) (*given, error) {
	account, err := a.account()
	if err != nil {
		return nil, err
	}
	role, err := s.role(ctx, a.role)
	if err != nil {
		return nil, err
	}
	if err := s.permitAssume(ctx, p, role, account, a); err != nil {
		return nil, err
	}

	if a.refuse != nil {
		if err := a.refuse(); err != nil {
			return nil, err
		}
	}
	session, err := newSession(p, role, a)
	if err != nil {
		return nil, err
	}
	session.Task = p.Task // whoever chains roles stays who it was
	if p.Type == caller.Service {
		session.Task = caller.From(ctx).Task
	}
	if session.Expires, err = s.expiry(p, role, a.seconds); err != nil {
		return nil, err
	}
	if err := s.checkPolicies(ctx, role.Account, a.policyARNs); err != nil {
		return nil, err
	}

	issued, packed, err := s.issue(ctx, session)
	if err != nil {
		return nil, err
	}
	out := &given{
		user: &types.AssumedRoleUser{
			Arn:           aws.String(directory.SessionARN(role, session.Name)),
			AssumedRoleId: aws.String(role.ID + ":" + session.Name),
		},
		credentials: credentials(issued),
	}
	if session.HasPolicies() || len(session.Tags) > 0 {
		out.packed = &packed
	}
	if session.SourceIdentity != "" {
		out.sourceIdentity = aws.String(session.SourceIdentity)
	}
	return out, nil
}

// issue seals a session, and says how much of the room for it that took, in percent.
func (s *Service) issue(ctx context.Context, session *directory.Session) (*directory.Issued, int32, error) {
	issued, err := s.dir.Issue(ctx, *session)
	if err != nil {
		return nil, 0, err
	}
	used := (len(issued.SessionToken)*100 + maxToken - 1) / maxToken
	if used > 100 {
		return nil, 0, &types.PackedPolicyTooLargeException{
			Message: aws.String(fmt.Sprintf("Packed size of session policies and tags consumes %d%% of allotted space.", used)),
		}
	}
	return issued, int32(used), nil
}

// role is nil when there is none.
func (s *Service) role(ctx context.Context, arn string) (*directory.Role, error) {
	var role *directory.Role
	err := s.dir.View(ctx, func(tx *directory.Tx) (err error) {
		role, err = tx.RoleByARN(arn)
		if errors.Is(err, store.ErrNotFound) {
			role, err = nil, nil
		}
		return err
	})
	return role, err
}

// permitAssume asks the trust policy, and the caller's own where it must. Tags and a source
// identity are permissions of their own, also when they are inherited: whoever may not hand
// them on does not get into the role without them.
func (s *Service) permitAssume(ctx context.Context, p *caller.Principal, role *directory.Role, account string, a *ask) error {
	access := authz.Access{
		Resource:    a.role,
		Account:     account,
		Kind:        policy.Trust,
		RequestTags: map[string]string{},
		Conditions:  map[string][]string{"sts:RoleSessionName": {a.name}},
		Principal:   p,
	}
	for key, values := range a.conditions {
		access.Conditions[key] = values
	}
	for _, t := range a.tags {
		access.RequestTags[*t.Key] = aws.ToString(t.Value)
	}
	identity := p.SourceIdentity
	if a.sourceIdentity != nil {
		identity = *a.sourceIdentity
	}
	if identity != "" {
		access.Conditions["sts:SourceIdentity"] = []string{identity}
	}
	if len(a.transitive) > 0 {
		access.Conditions["sts:TransitiveTagKeys"] = a.transitive
	}
	// A service assumes roles of the account that it works for, and of no other.
	if role != nil && (p.Type != caller.Service || role.Account == p.Account) {
		trust, err := s.dir.TrustPolicy(role)
		if err != nil {
			return err
		}
		access.Policy = trust
		access.Tags = directory.TagMap(role.Tags)
	}
	actions := []string{a.action}
	if len(a.tags)+len(a.transitive)+len(p.TransitiveTags) > 0 {
		actions = append(actions, "sts:TagSession")
	}
	if identity != "" {
		actions = append(actions, "sts:SetSourceIdentity")
	}
	for _, action := range actions {
		each := access
		each.Action = action
		if err := s.authz.Authorize(ctx, &each); err != nil {
			return err
		}
	}
	return nil
}

// newSession checks the rest of the request.
func newSession(p *caller.Principal, role *directory.Role, a *ask) (*directory.Session, error) {
	session := &directory.Session{
		Account: role.Account, Type: caller.AssumedRole, ID: role.ID,
		Name: a.name, SourceIdentity: p.SourceIdentity,
	}
	if a.web != nil {
		session.Provider, session.Claims = a.web.Provider, a.web.Claims
	}
	if a.sourceIdentity != nil {
		if len(*a.sourceIdentity) >= 4 && strings.EqualFold((*a.sourceIdentity)[:4], "aws:") {
			return nil, validationError("SourceIdentity cannot start with aws:")
		}
		if p.SourceIdentity != "" && p.SourceIdentity != *a.sourceIdentity {
			return nil, accessDenied("The SourceIdentity of a session cannot be changed by the sessions chained to it.")
		}
		session.SourceIdentity = *a.sourceIdentity
	}
	if err := tags(session, p, a.tags, a.transitive); err != nil {
		return nil, err
	}
	if err := limit(session, a.policy, a.policyARNs); err != nil {
		return nil, err
	}
	return session, nil
}

// limit gives the session its policies.
func limit(session *directory.Session, document *string, arns []types.PolicyDescriptorType) error {
	if document != nil {
		if len([]rune(*document)) > maxSessionPolicy {
			return validationError("1 validation error detected: Value at 'policy' failed to satisfy constraint: Member must have length less than or equal to %d", maxSessionPolicy)
		}
		if _, err := policy.Parse(policy.Session, []byte(*document)); err != nil {
			return &types.MalformedPolicyDocumentException{Message: aws.String(err.Error())}
		}
		session.Policies = []string{*document}
	}
	if len(arns) > maxPolicyARNs {
		return validationError("1 validation error detected: Value at 'policyArns' failed to satisfy constraint: Member must have length less than or equal to %d", maxPolicyARNs)
	}
	for _, descriptor := range arns {
		session.PolicyARNs = append(session.PolicyARNs, aws.ToString(descriptor.Arn))
	}
	return nil
}

// tags gives the session the tags of the request and those that the caller's own session
// must hand on.
func tags(session *directory.Session, p *caller.Principal, in []types.Tag, transitive []string) error {
	has := func(keys []string, key string) bool {
		return slices.ContainsFunc(keys, func(k string) bool { return strings.EqualFold(k, key) })
	}
	var requested []string
	for _, t := range in {
		if has(requested, *t.Key) {
			return invalidParameter("Duplicate tag keys found. Please note that Tag keys are case insensitive.")
		}
		if len(*t.Key) >= 4 && strings.EqualFold((*t.Key)[:4], "aws:") {
			return invalidParameter("aws: prefixed tag key names are not allowed for external use.")
		}
		requested = append(requested, *t.Key)
	}
	for _, key := range transitive {
		if !has(requested, key) {
			return invalidParameter("The specified transitive tag key must be included in the requested tags.")
		}
	}
	for _, key := range requested {
		if has(p.TransitiveTags, key) {
			return invalidParameter("One of the specified transitive tag keys can't be set because it conflicts with a transitive tag key from the calling session.")
		}
	}
	if len(requested)+len(p.TransitiveTags) == 0 {
		return nil
	}
	session.Tags = map[string]string{}
	for _, key := range p.TransitiveTags {
		for k, v := range p.Tags {
			if strings.EqualFold(k, key) {
				session.Tags[k] = v
			}
		}
	}
	for _, t := range in {
		session.Tags[*t.Key] = aws.ToString(t.Value)
	}
	session.TransitiveTags = slices.Clone(p.TransitiveTags)
	for _, key := range transitive {
		if !has(session.TransitiveTags, key) {
			session.TransitiveTags = append(session.TransitiveTags, key)
		}
	}
	if len(session.Tags) > maxSessionTags {
		return invalidParameter("A session can have up to 50 tags.")
	}
	return nil
}

// expiry is when the session ends: an hour from now unless told otherwise.
func (s *Service) expiry(p *caller.Principal, role *directory.Role, seconds *int32) (time.Time, error) {
	length := defaultRoleSession
	if seconds != nil {
		length = time.Duration(*seconds) * time.Second
	}
	switch {
	case p.Type == caller.AssumedRole && length > maxChainedSession:
		return time.Time{}, validationError("The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.")
	case length > time.Duration(role.MaxSession)*time.Second:
		return time.Time{}, validationError("The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")
	}
	return s.now().Add(length), nil
}

// checkPolicies refuses session policies that are not managed policies of the account or AWS's.
func (s *Service) checkPolicies(ctx context.Context, account string, arns []types.PolicyDescriptorType) error {
	if len(arns) == 0 {
		return nil
	}
	return s.dir.View(ctx, func(tx *directory.Tx) error {
		for _, descriptor := range arns {
			arn := aws.ToString(descriptor.Arn)
			owner, kind, _, _, ok := directory.ParseARN(arn)
			if !ok || kind != "policy" || owner != directory.AWS && owner != account {
				return validationError("Invalid ARN:  Could not be parsed!")
			}
			if _, err := tx.Managed(arn); errors.Is(err, store.ErrNotFound) {
				return &types.MalformedPolicyDocumentException{Message: aws.String("Policy " + arn + " does not exist or is not attachable.")}
			} else if err != nil {
				return err
			}
		}
		return nil
	})
}
