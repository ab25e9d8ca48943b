package iam

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/malote/malote/authz"
	"github.com/malote/malote/caller"
	"github.com/malote/malote/policy"
	"github.com/malote/malote/service/iam/directory"
)

// question is what both simulations are asked.
type question struct {
	actions, resources            []string
	policies, boundary            []string // documents
	resourcePolicy, resourceOwner *string
	handling                      *string // ResourceHandlingOption
	context                       []types.ContextEntry
	marker                        *string
	maxItems                      *int32
}

// SimulatePrincipalPolicy asks the evaluator that decides real requests what a user, group or
// role may do. As on AWS it looks at no resource's own policy but the one it is given, and
// knows of the request what ContextEntries say, besides who the principal is. A given
// ResourcePolicy counts as a key policy when the resource is a KMS key.
//
// https://docs.aws.amazon.com/IAM/latest/APIReference/API_SimulatePrincipalPolicy.html
func (s *Service) SimulatePrincipalPolicy(ctx context.Context, in *iam.SimulatePrincipalPolicyInput) (*iam.SimulatePrincipalPolicyOutput, error) {
	source := aws.ToString(in.PolicySourceArn)
	if err := s.authorize(ctx, &authz.Access{Action: "iam:SimulatePrincipalPolicy", Resource: source}); err != nil {
		return nil, err
	}
	account, kind, _, _, ok := directory.ParseARN(source)
	if !ok {
		return nil, errARN()
	}
	if account != caller.From(ctx).Principal.Account {
		return nil, noSuchEntity("The principal with ARN %s cannot be found.", source)
	}
	var sim *simulation
	var err error
	if kind == directory.KindGroup {
		sim, err = s.simulateGroup(ctx, source)
	} else {
		sim, err = s.simulatePrincipal(ctx, source)
	}
	if errors.Is(err, directory.ErrNotFound) {
		return nil, noSuchEntity("The principal with ARN %s cannot be found.", source)
	}
	if err != nil {
		return nil, err
	}
	if by := aws.ToString(in.CallerArn); by != "" && by != sim.principal.ARN && by != sim.principal.RoleARN {
		return nil, invalidInput("CallerArn must be the principal that PolicySourceArn names.")
	}
	results, next, err := sim.answer(&question{
		actions: in.ActionNames, resources: in.ResourceArns, policies: in.PolicyInputList, boundary: in.PermissionsBoundaryPolicyInputList,
		resourcePolicy: in.ResourcePolicy, resourceOwner: in.ResourceOwner, handling: in.ResourceHandlingOption,
		context: in.ContextEntries, marker: in.Marker, maxItems: in.MaxItems,
	})
	if err != nil {
		return nil, err
	}
	return &iam.SimulatePrincipalPolicyOutput{EvaluationResults: results, IsTruncated: next != nil, Marker: next}, nil
}

// simulatePrincipal is a user, or a session of a role, with its policies.
func (s *Service) simulatePrincipal(ctx context.Context, arn string) (*simulation, error) {
	asked, err := s.dir.Principal(ctx, arn)
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
	return &simulation{set: *attached, principal: asked, keys: principalKeys(asked)}, nil
}

// simulateGroup is whoever is in a group and has its policies alone.
func (s *Service) simulateGroup(ctx context.Context, arn string) (*simulation, error) {
	account, _, _, name, _ := directory.ParseARN(arn)
	sim := &simulation{principal: &caller.Principal{Type: caller.User, Account: account}}
	sim.keys = policy.Context{"aws:principalaccount": {account}, "aws:principaltype": {string(caller.User)}}
	err := s.dir.View(ctx, func(tx *directory.Tx) error {
		group, err := find(tx, account, directory.KindGroup, name)
		if isNoSuchEntity(err) {
			return directory.ErrNotFound
		}
		if err != nil {
			return err
		}
		sim.set = policy.Set{}
		for own, err := range policiesOf(tx, group) {
			if err != nil {
				return err
			}
			document, err := policy.Parse(policy.Identity, []byte(own.document))
			if err != nil {
				return fmt.Errorf("policy %s of %s: %w", own.name, group.Name, err)
			}
			sim.set.Identity = append(sim.set.Identity, policy.Source{Document: document, ARN: own.arn, Name: own.name})
		}
		return nil
	})
	return sim, err
}

// SimulateCustomPolicy asks the evaluator what policies would allow that nobody has. With a
// ResourcePolicy it needs CallerArn, the user who asks: the policy names somebody.
//
// https://docs.aws.amazon.com/IAM/latest/APIReference/API_SimulateCustomPolicy.html
func (s *Service) SimulateCustomPolicy(ctx context.Context, in *iam.SimulateCustomPolicyInput) (*iam.SimulateCustomPolicyOutput, error) {
	if err := s.authorize(ctx, &authz.Access{Action: "iam:SimulateCustomPolicy", Resource: "*"}); err != nil {
		return nil, err
	}
	sim := &simulation{principal: &caller.Principal{Type: caller.User, Account: account(ctx)}, keys: policy.Context{}}
	if by := aws.ToString(in.CallerArn); by != "" {
		account, kind, _, name, ok := directory.ParseARN(by)
		if !ok || kind != directory.KindUser {
			return nil, invalidInput("CallerArn must be the ARN of an IAM user.")
		}
		sim.principal = &caller.Principal{Type: caller.User, Account: account, ARN: by, UserName: name}
		sim.keys = principalKeys(sim.principal)
		delete(sim.keys, "aws:userid") // nobody knows it
	} else if in.ResourcePolicy != nil {
		return nil, invalidInput("CallerArn is needed with a ResourcePolicy.")
	}
	results, next, err := sim.answer(&question{
		actions: in.ActionNames, resources: in.ResourceArns, policies: in.PolicyInputList, boundary: in.PermissionsBoundaryPolicyInputList,
		resourcePolicy: in.ResourcePolicy, resourceOwner: in.ResourceOwner, handling: in.ResourceHandlingOption,
		context: in.ContextEntries, marker: in.Marker, maxItems: in.MaxItems,
	})
	if err != nil {
		return nil, err
	}
	return &iam.SimulateCustomPolicyOutput{EvaluationResults: results, IsTruncated: next != nil, Marker: next}, nil
}

// answer evaluates each action on each resource, a page of it.
func (s *simulation) answer(in *question) ([]types.EvaluationResult, *string, error) {
	if in.handling != nil {
		return nil, nil, invalidInput("ResourceHandlingOption is for EC2 alone.")
	}
	if err := s.add(in); err != nil {
		return nil, nil, err
	}
	resources := in.resources
	if len(resources) == 0 {
		resources = []string{"*"}
	}
	var results []types.EvaluationResult
	for _, action := range in.actions {
		if vendor, name, found := strings.Cut(action, ":"); !found || vendor == "" || name == "" {
			return nil, nil, invalidInput("Invalid Action: %s", action)
		}
		for _, resource := range resources {
			results = append(results, s.ask(action, resource))
		}
	}
	last, err := after(in.marker)
	if err != nil {
		return nil, nil, err
	}
	key := func(r types.EvaluationResult) string {
		return aws.ToString(r.EvalActionName) + " " + aws.ToString(r.EvalResourceName)
	}
	return pageOf(sliceAfter(results, last, key), in.maxItems, key)
}

// simulation is one principal's policies with what the request adds to them.
type simulation struct {
	set       policy.Set
	principal *caller.Principal
	keys      policy.Context
	resource  *policy.Document
	asKey     *policy.Document // the same, read as a key policy
	owner     string           // account of the resource; "" means the principal's
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
func (s *simulation) add(in *question) error {
	for i, text := range in.policies {
		document, err := policy.Parse(policy.Identity, []byte(text))
		if err != nil {
			return badDocument("PolicyInputList", i, err)
		}
		s.set.Identity = append(s.set.Identity[:len(s.set.Identity):len(s.set.Identity)], policy.Source{Document: document, Name: fmt.Sprintf("PolicyInputList.%d", i+1)})
	}
	if len(in.boundary) > 1 {
		return invalidInput("PermissionsBoundaryPolicyInputList may have one policy.")
	}
	for i, text := range in.boundary {
		document, err := policy.Parse(policy.Boundary, []byte(text))
		if err != nil {
			return badDocument("PermissionsBoundaryPolicyInputList", i, err)
		}
		s.set.Boundary = &policy.Source{Document: document, Name: "PermissionsBoundaryPolicyInputList.1"}
	}
	if text := aws.ToString(in.resourcePolicy); text != "" {
		var err error
		if s.resource, err = policy.Parse(policy.Resource, []byte(text)); err != nil {
			return badDocument("ResourcePolicy", 0, err)
		}
		if s.asKey, err = policy.Parse(policy.Key, []byte(text)); err != nil {
			return badDocument("ResourcePolicy", 0, err)
		}
	}
	if owner := aws.ToString(in.resourceOwner); owner != "" {
		parts := strings.Split(owner, ":")
		if s.owner = parts[0]; len(parts) == 6 {
			s.owner = parts[4]
		}
	}
	for i, entry := range in.context {
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

func badDocument(member string, i int, err error) error {
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
	request := &policy.Request{Principal: s.principal.Policy(), Action: action, Resource: resource, ResourceAccount: owner, Context: s.keys}
	decision := policy.Evaluate(request, &set)

	result := types.EvaluationResult{
		EvalActionName: &action, EvalResourceName: &resource, EvalDecision: types.PolicyEvaluationDecisionTypeImplicitDeny,
		MatchedStatements: []types.Statement{}, MissingContextValues: missing(request, &set),
	}
	switch {
	case decision.Allowed:
		result.EvalDecision = types.PolicyEvaluationDecisionTypeAllowed
	case decision.Explicit:
		result.EvalDecision = types.PolicyEvaluationDecisionTypeExplicitDeny
	}
	if s.set.Boundary != nil {
		within := *request
		within.ResourceAccount = ""
		result.PermissionsBoundaryDecisionDetail = &types.PermissionsBoundaryDecisionDetail{
			AllowedByPermissionsBoundary: policy.Evaluate(&within, &policy.Set{Identity: everything(), Boundary: set.Boundary}).Allowed,
		}
	}
	if decision.Statement != nil && decision.Source != nil {
		result.MatchedStatements = append(result.MatchedStatements, matched(decision))
	}
	if resource != "*" {
		result.ResourceSpecificResults = []types.ResourceSpecificResult{{
			EvalResourceName: &resource, EvalResourceDecision: result.EvalDecision, MatchedStatements: result.MatchedStatements,
			MissingContextValues: result.MissingContextValues, PermissionsBoundaryDecisionDetail: result.PermissionsBoundaryDecisionDetail,
		}}
		result.MissingContextValues = []string{} // AWS says them of the resource
	}
	return result
}

// everything is a policy that allows all, so that a boundary beside it decides alone.
var everything = sync.OnceValue(func() []policy.Source {
	all, err := policy.Parse(policy.Identity, []byte(`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}`))
	if err != nil {
		panic(err) // a constant
	}
	return []policy.Source{{Document: all}}
})

// missing names the condition keys that the policies ask for and nobody gave.
func missing(r *policy.Request, set *policy.Set) []string {
	names := []string{}
	sources := slices.Clone(set.Identity)
	for _, source := range []*policy.Source{set.Boundary, set.Resource} {
		if source != nil {
			sources = append(sources, *source)
		}
	}
	for _, source := range sources {
		for _, name := range source.Document.Missing(r) {
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

// matched names the statement that decided and where in its document it is. The type of an
// identity's policy is what AWS really sends, which is not a modelled one.
func matched(d policy.Decision) types.Statement {
	kind := types.PolicySourceType("IAM Policy")
	if d.Layer == policy.LayerResource {
		kind = types.PolicySourceTypeResource
	}
	return types.Statement{
		SourcePolicyId: aws.String(d.Source.Name), SourcePolicyType: kind,
		StartPosition: &types.Position{Line: int32(d.Statement.Line), Column: int32(d.Statement.Column)},
		EndPosition:   &types.Position{Line: int32(d.Statement.EndLine), Column: int32(d.Statement.EndColumn)},
	}
}
