package sts

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
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

// AssumeRole gives credentials of a role to whom its trust policy lets in. A role that
// there is not is answered like one that does not trust the caller.
func (s *Service) AssumeRole(ctx context.Context, in *sts.AssumeRoleInput) (*sts.AssumeRoleOutput, error) {
	p := caller.From(ctx).Principal
	account, kind, _, _, ok := directory.ParseARN(*in.RoleArn)
	if !ok || kind != directory.KindRole || len(account) != 12 {
		return nil, validationError("%s is invalid", *in.RoleArn)
	}
	if p.Type == caller.Account {
		return nil, accessDenied("Roles may not be assumed by root accounts.")
	}
	role, err := s.role(ctx, *in.RoleArn)
	if err != nil {
		return nil, err
	}
	if err := s.permitAssume(ctx, p, role, account, in); err != nil {
		return nil, err
	}

	session, err := newSession(p, role, in)
	if err != nil {
		return nil, err
	}
	session.Task = p.Task // whoever chains roles stays who it was
	if p.Type == caller.Service {
		session.Task = caller.From(ctx).Task
	}
	if session.Expires, err = s.expiry(p, role, in.DurationSeconds); err != nil {
		return nil, err
	}
	if err := s.checkPolicies(ctx, role, in); err != nil {
		return nil, err
	}

	issued, err := s.dir.Issue(ctx, *session)
	if err != nil {
		return nil, err
	}
	out := &sts.AssumeRoleOutput{
		AssumedRoleUser: &types.AssumedRoleUser{
			Arn:           aws.String(directory.SessionARN(role, session.Name)),
			AssumedRoleId: aws.String(role.ID + ":" + session.Name),
		},
		Credentials: credentials(issued),
	}
	if session.HasPolicies() || len(session.Tags) > 0 {
		used := (len(issued.SessionToken)*100 + maxToken - 1) / maxToken
		if used > 100 {
			return nil, &types.PackedPolicyTooLargeException{
				Message: aws.String(fmt.Sprintf("Packed size of session policies and tags consumes %d%% of allotted space.", used)),
			}
		}
		out.PackedPolicySize = aws.Int32(int32(used))
	}
	if session.SourceIdentity != "" {
		out.SourceIdentity = aws.String(session.SourceIdentity)
	}
	return out, nil
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
// identity, an inherited one too, are permissions of their own.
func (s *Service) permitAssume(ctx context.Context, p *caller.Principal, role *directory.Role, account string, in *sts.AssumeRoleInput) error {
	access := authz.Access{
		Resource:    *in.RoleArn,
		Account:     account,
		Kind:        policy.Trust,
		RequestTags: map[string]string{},
		Conditions:  map[string][]string{"sts:RoleSessionName": {*in.RoleSessionName}},
	}
	for _, t := range in.Tags {
		access.RequestTags[*t.Key] = aws.ToString(t.Value)
	}
	if in.ExternalId != nil {
		access.Conditions["sts:ExternalId"] = []string{*in.ExternalId}
	}
	identity := p.SourceIdentity
	if in.SourceIdentity != nil {
		identity = *in.SourceIdentity
	}
	if identity != "" {
		access.Conditions["sts:SourceIdentity"] = []string{identity}
	}
	if len(in.TransitiveTagKeys) > 0 {
		access.Conditions["sts:TransitiveTagKeys"] = in.TransitiveTagKeys
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
	actions := []string{"sts:AssumeRole"}
	if len(in.Tags) > 0 || len(in.TransitiveTagKeys) > 0 {
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
func newSession(p *caller.Principal, role *directory.Role, in *sts.AssumeRoleInput) (*directory.Session, error) {
	switch {
	case in.SerialNumber != nil || in.TokenCode != nil:
		return nil, errMFA
	case len(in.ProvidedContexts) > 0:
		return nil, validationError("ProvidedContexts is not supported.")
	case in.MinimumSessionTokenSize != nil:
		return nil, validationError("MinimumSessionTokenSize is not supported.")
	}
	session := &directory.Session{
		Account: role.Account, Type: caller.AssumedRole, ID: role.ID,
		Name: *in.RoleSessionName, SourceIdentity: p.SourceIdentity,
	}
	if in.SourceIdentity != nil {
		if len(*in.SourceIdentity) >= 4 && strings.EqualFold((*in.SourceIdentity)[:4], "aws:") {
			return nil, validationError("SourceIdentity cannot start with aws:")
		}
		if p.SourceIdentity != "" && p.SourceIdentity != *in.SourceIdentity {
			return nil, accessDenied("The SourceIdentity of a session cannot be changed by the sessions chained to it.")
		}
		session.SourceIdentity = *in.SourceIdentity
	}
	if err := tags(session, p, in); err != nil {
		return nil, err
	}
	if in.Policy != nil {
		if len([]rune(*in.Policy)) > maxSessionPolicy {
			return nil, validationError("1 validation error detected: Value at 'policy' failed to satisfy constraint: Member must have length less than or equal to %d", maxSessionPolicy)
		}
		if _, err := policy.Parse(policy.Session, []byte(*in.Policy)); err != nil {
			return nil, &types.MalformedPolicyDocumentException{Message: aws.String(err.Error())}
		}
		session.Policies = []string{*in.Policy}
	}
	if len(in.PolicyArns) > maxPolicyARNs {
		return nil, validationError("1 validation error detected: Value at 'policyArns' failed to satisfy constraint: Member must have length less than or equal to %d", maxPolicyARNs)
	}
	for _, descriptor := range in.PolicyArns {
		session.PolicyARNs = append(session.PolicyARNs, aws.ToString(descriptor.Arn))
	}
	return session, nil
}

// tags gives the session the tags of the request and those that the caller's own session
// must hand on.
func tags(session *directory.Session, p *caller.Principal, in *sts.AssumeRoleInput) error {
	has := func(keys []string, key string) bool {
		return slices.ContainsFunc(keys, func(k string) bool { return strings.EqualFold(k, key) })
	}
	var requested []string
	for _, t := range in.Tags {
		if has(requested, *t.Key) {
			return invalidParameter("Duplicate tag keys found. Please note that Tag keys are case insensitive.")
		}
		if len(*t.Key) >= 4 && strings.EqualFold((*t.Key)[:4], "aws:") {
			return invalidParameter("aws: prefixed tag key names are not allowed for external use.")
		}
		requested = append(requested, *t.Key)
	}
	for _, key := range in.TransitiveTagKeys {
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
	for _, t := range in.Tags {
		session.Tags[*t.Key] = aws.ToString(t.Value)
	}
	session.TransitiveTags = slices.Clone(p.TransitiveTags)
	for _, key := range in.TransitiveTagKeys {
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

// checkPolicies refuses session policies that are not managed policies of the role's account or AWS's.
func (s *Service) checkPolicies(ctx context.Context, role *directory.Role, in *sts.AssumeRoleInput) error {
	if len(in.PolicyArns) == 0 {
		return nil
	}
	return s.dir.View(ctx, func(tx *directory.Tx) error {
		for _, descriptor := range in.PolicyArns {
			arn := aws.ToString(descriptor.Arn)
			account, kind, _, _, ok := directory.ParseARN(arn)
			if !ok || kind != "policy" || account != directory.AWS && account != role.Account {
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
