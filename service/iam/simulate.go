package iam

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/malote/malote/authz"
	"github.com/malote/malote/caller"
	"github.com/malote/malote/policy"
	"github.com/malote/malote/service/iam/directory"
)

// SimulatePrincipalPolicy asks the evaluator that decides real requests what a user or role
// may do. As on AWS it looks at no resource's own policy but the one it is given, and
// knows of the request what ContextEntries say, besides who the principal is. A given
// ResourcePolicy counts as a key policy when the resource is a KMS key.
//
// https://docs.aws.amazon.com/IAM/latest/APIReference/API_SimulatePrincipalPolicy.html
func (s *Service) SimulatePrincipalPolicy(ctx context.Context, in *iam.SimulatePrincipalPolicyInput) (*iam.SimulatePrincipalPolicyOutput, error) {
	source := aws.ToString(in.PolicySourceArn)
	if err := s.authorize(ctx, &authz.Access{Action: "iam:SimulatePrincipalPolicy", Resource: source}); err != nil {
		return nil, err
	}
	if in.ResourceHandlingOption != nil {
		return nil, invalidInput("ResourceHandlingOption is for EC2 alone.")
	}
	account, _, _, _, ok := directory.ParseARN(source)
	if !ok {
		return nil, errARN()
	}
	if account != caller.From(ctx).Principal.Account {
		return nil, noSuchEntity("The principal with ARN %s cannot be found.", source)
	}
	asked, err := s.dir.Principal(ctx, source)
	if errors.Is(err, directory.ErrNotFound) {
		return nil, noSuchEntity("The principal with ARN %s cannot be found.", source)
	}
	if err != nil {
		return nil, err
	}
	id := asked.ID
	if asked.Type == caller.AssumedRole {
		id = asked.RoleID
	}
	attached, err := s.dir.Attached(ctx, id)
	if err != nil {
		return nil, err
	}
	simulation := simulation{set: *attached, principal: asked, kind: sourceType(asked), keys: principalKeys(asked)}
	if err := simulation.add(in); err != nil {
		return nil, err
	}

	resources := in.ResourceArns
	if len(resources) == 0 {
		resources = []string{"*"}
	}
	var results []types.EvaluationResult
	for _, action := range in.ActionNames {
		if vendor, name, found := strings.Cut(action, ":"); !found || vendor == "" || name == "" {
			return nil, invalidInput("Invalid Action: %s", action)
		}
		for _, resource := range resources {
			results = append(results, simulation.ask(action, resource))
		}
	}
	last, err := after(in.Marker)
	if err != nil {
		return nil, err
	}
	key := func(r types.EvaluationResult) string {
		return aws.ToString(r.EvalActionName) + " " + aws.ToString(r.EvalResourceName)
	}
	page, next, err := pageOf(sliceAfter(results, last, key), in.MaxItems, key)
	if err != nil {
		return nil, err
	}
	return &iam.SimulatePrincipalPolicyOutput{EvaluationResults: page, IsTruncated: next != nil, Marker: next}, nil
}

// simulation is one principal's policies with what the request adds to them.
type simulation struct {
	set       policy.Set
	principal *caller.Principal
	kind      types.PolicySourceType // of the principal's own policies
	keys      policy.Context
	resource  *policy.Document
	asKey     *policy.Document // the same, read as a key policy
	owner     string           // account of the resource; "" means the principal's
}

func sourceType(p *caller.Principal) types.PolicySourceType {
	if p.Type == caller.User {
		return types.PolicySourceTypeUser
	}
	return types.PolicySourceTypeRole
}

// principalKeys are the condition keys that follow from who asks.
func principalKeys(p *caller.Principal) policy.Context {
	keys := policy.Context{
		"aws:principalaccount": {p.Account}, "aws:principaltype": {string(p.Type)}, "aws:userid": {p.ID}, "aws:principalarn": {p.ARN},
	}
	if p.Type == caller.User {
		keys["aws:username"] = []string{p.UserName}
	} else {
		keys["aws:principalarn"] = []string{p.RoleARN}
	}
	for tag, value := range p.Tags {
		keys["aws:principaltag/"+strings.ToLower(tag)] = []string{value}
	}
	return keys
}

// add takes the request's own policies and keys.
func (s *simulation) add(in *iam.SimulatePrincipalPolicyInput) error {
	for i, text := range in.PolicyInputList {
		document, err := policy.Parse(policy.Identity, []byte(text))
		if err != nil {
			return simulationInput("PolicyInputList", i, err)
		}
		s.set.Identity = append(s.set.Identity[:len(s.set.Identity):len(s.set.Identity)], policy.Source{Document: document, Name: fmt.Sprintf("PolicyInputList.%d", i+1)})
	}
	if len(in.PermissionsBoundaryPolicyInputList) > 1 {
		return invalidInput("PermissionsBoundaryPolicyInputList may have one policy.")
	}
	for i, text := range in.PermissionsBoundaryPolicyInputList {
		document, err := policy.Parse(policy.Boundary, []byte(text))
		if err != nil {
			return simulationInput("PermissionsBoundaryPolicyInputList", i, err)
		}
		s.set.Boundary = &policy.Source{Document: document, Name: "PermissionsBoundaryPolicyInputList.1"}
	}
	if text := aws.ToString(in.ResourcePolicy); text != "" {
		var err error
		if s.resource, err = policy.Parse(policy.Resource, []byte(text)); err != nil {
			return simulationInput("ResourcePolicy", 0, err)
		}
		if s.asKey, err = policy.Parse(policy.Key, []byte(text)); err != nil {
			return simulationInput("ResourcePolicy", 0, err)
		}
	}
	if by := aws.ToString(in.CallerArn); by != "" && by != s.principal.ARN && by != s.principal.RoleARN {
		return invalidInput("CallerArn must be the principal that PolicySourceArn names.")
	}
	if owner := aws.ToString(in.ResourceOwner); owner != "" {
		parts := strings.Split(owner, ":")
		if s.owner = parts[0]; len(parts) == 6 {
			s.owner = parts[4]
		}
	}
	for i, entry := range in.ContextEntries {
		if !typed(entry.ContextKeyType, entry.ContextKeyValues) {
			return invalidInput("ContextEntries.%d: the values are no %s.", i+1, entry.ContextKeyType)
		}
		if entry.ContextKeyName != nil {
			s.keys[strings.ToLower(*entry.ContextKeyName)] = entry.ContextKeyValues
		}
	}
	return nil
}

// typed reports whether values are of the type that a context entry says, "" being any.
func typed(kind types.ContextKeyTypeEnum, values []string) bool {
	single, list := strings.CutSuffix(string(kind), "List")
	if kind != "" && !list && len(values) > 1 {
		return false
	}
	for _, value := range values {
		var err error
		switch single {
		case "numeric":
			_, err = strconv.ParseFloat(value, 64)
		case "boolean":
			_, err = strconv.ParseBool(value)
		case "ip":
			if _, err = netip.ParseAddr(value); err != nil {
				_, err = netip.ParsePrefix(value)
			}
		case "binary":
			_, err = base64.StdEncoding.DecodeString(value)
		case "date":
			if _, err = strconv.ParseInt(value, 10, 64); err != nil {
				_, err = time.Parse(time.RFC3339, value)
			}
		}
		if err != nil {
			return false
		}
	}
	return true
}

func simulationInput(member string, i int, err error) error {
	if syntax := new(policy.SyntaxError); errors.As(err, &syntax) {
		return invalidInput("%s.%d: %s", member, i+1, syntax.Explain())
	}
	return err
}

// ask evaluates one action on one resource.
func (s *simulation) ask(action, resource string) types.EvaluationResult {
	set := s.set
	if s.resource != nil {
		set.Resource, set.Kind = &policy.Source{Document: s.resource, Name: "ResourcePolicy"}, policy.Resource
		if strings.HasPrefix(resource, "arn:aws:kms:") {
			set.Resource.Document, set.Kind = s.asKey, policy.Key
		}
	}
	owner := s.owner
	if parts := strings.SplitN(resource, ":", 6); owner == "" && len(parts) == 6 {
		owner = parts[4]
	}
	decision := policy.Evaluate(&policy.Request{
		Principal: s.principal.Policy(), Action: action, Resource: resource, ResourceAccount: owner, Context: s.keys,
	}, &set)

	result := types.EvaluationResult{
		EvalActionName: &action, EvalResourceName: &resource, EvalDecision: types.PolicyEvaluationDecisionTypeImplicitDeny,
		MatchedStatements: []types.Statement{}, MissingContextValues: []string{},
	}
	switch {
	case decision.Allowed:
		result.EvalDecision = types.PolicyEvaluationDecisionTypeAllowed
	case decision.Explicit:
		result.EvalDecision = types.PolicyEvaluationDecisionTypeExplicitDeny
	}
	if s.set.Boundary != nil {
		result.PermissionsBoundaryDecisionDetail = &types.PermissionsBoundaryDecisionDetail{
			AllowedByPermissionsBoundary: decision.Allowed || decision.Layer != policy.LayerBoundary,
		}
	}
	if decision.Statement != nil && decision.Source != nil {
		result.MatchedStatements = append(result.MatchedStatements, s.matched(decision))
	}
	return result
}

// matched names the statement that decided and where in its document it is.
func (s *simulation) matched(d policy.Decision) types.Statement {
	id, kind := d.Source.Name, s.kind
	switch {
	case d.Layer == policy.LayerResource:
		kind = types.PolicySourceTypeResource
	case strings.HasPrefix(d.Source.ARN, "arn:aws:iam::aws:"):
		id, kind = d.Source.ARN, types.PolicySourceTypeAwsManaged
	case d.Source.ARN != "":
		id, kind = d.Source.ARN, types.PolicySourceTypeUserManaged
	}
	return types.Statement{
		SourcePolicyId: &id, SourcePolicyType: kind,
		StartPosition: &types.Position{Line: int32(d.Statement.Line), Column: int32(d.Statement.Column)},
		EndPosition:   &types.Position{Line: int32(d.Statement.EndLine), Column: int32(d.Statement.EndColumn)},
	}
}
