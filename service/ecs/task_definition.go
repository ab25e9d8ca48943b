package ecs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/malote/malote/authz"
	"github.com/malote/malote/caller"
	"github.com/malote/malote/policy"
	"github.com/malote/malote/service/ecs/taskdef"
	"github.com/malote/malote/store"
)

// family numbers the revisions of a name. It outlives them all: a number is never
// given twice.
type family struct {
	Last   int32 // the highest revision ever
	Active int32 // the highest ACTIVE revision; 0 for none
}

// definition is the record of one revision.
type definition struct {
	Definition types.TaskDefinition
	Tags       []types.Tag `json:",omitempty"`
}

func (sc scope) definitionKey(family string, revision int32) string {
	return sc.key("task-definition", family, fmt.Sprintf("%010d", revision))
}

// definitionRef is what a request calls a task definition: a family, with a revision
// (0 for the latest ACTIVE one) or without.
type definitionRef struct {
	family   string
	revision int32
}

// parseDefinition reads family, family:revision or an ARN. foreign tells that the ARN
// is of another account or region.
func (sc scope) parseDefinition(ref string) (r definitionRef, foreign bool, err error) {
	if strings.HasPrefix(ref, "arn:") {
		owner, resource, ok := splitARN(ref)
		id, isDefinition := strings.CutPrefix(resource, "task-definition/")
		if !ok || !isDefinition {
			return r, false, invalidParameter("Invalid identifier: %s", ref)
		}
		foreign = owner != sc
		ref = id
	}
	name, number, numbered := strings.Cut(ref, ":")
	if !clusterPattern.MatchString(name) {
		return r, foreign, clientError("Family contains invalid characters.")
	}
	r.family = name
	if numbered {
		n, err := strconv.ParseInt(number, 10, 32)
		if err != nil || n < 1 {
			return r, foreign, invalidParameter("Invalid revision number. Number: %s", number)
		}
		r.revision = int32(n)
	}
	return r, foreign, nil
}

// definition reads what ref means; nil when there is none.
func (s *Service) definition(tx store.Tx, sc scope, r definitionRef) (*definition, error) {
	if r.revision == 0 {
		f, err := s.families.Get(tx, sc.key("family", r.family))
		if errors.Is(err, store.ErrNotFound) || err == nil && f.Active == 0 {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		r.revision = f.Active
	}
	d, err := s.definitions.Get(tx, sc.definitionKey(r.family, r.revision))
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	return d, err
}

// findDefinition is parseDefinition and definition for a request.
func (s *Service) findDefinition(ctx context.Context, ref string) (*definition, error) {
	sc := scopeOf(ctx)
	r, foreign, err := sc.parseDefinition(ref)
	if err != nil || foreign {
		return nil, err
	}
	var d *definition
	err = s.store.View(ctx, func(tx store.Tx) (err error) {
		d, err = s.definition(tx, sc, r)
		return err
	})
	return d, err
}

// RegisterTaskDefinition keeps a new revision of a family.
func (s *Service) RegisterTaskDefinition(ctx context.Context, in *ecs.RegisterTaskDefinitionInput) (*ecs.RegisterTaskDefinitionOutput, error) {
	sc := scopeOf(ctx)
	if err := s.authz.Authorize(ctx, &authz.Access{
		Action: "ecs:RegisterTaskDefinition", Resource: "*", RequestTags: tagMap(in.Tags),
		Conditions: registerConditions(in),
	}); err != nil {
		return nil, err
	}
	if len(in.Tags) > 0 {
		if err := s.authorizeCreateTags(ctx, sc.arn("task-definition/"+aws.ToString(in.Family)+":*"), "RegisterTaskDefinition", in.Tags); err != nil {
			return nil, err
		}
	}

	if err := taskdef.Validate(in); err != nil {
		return nil, err
	}
	if err := validateTags(in.Tags); err != nil {
		return nil, err
	}
	for _, role := range []*string{in.TaskRoleArn, in.ExecutionRoleArn} {
		if err := s.passRole(ctx, aws.ToString(role), tasksPrincipal); err != nil {
			return nil, err
		}
	}

	d, err := taskdef.Definition(in)
	if err != nil {
		return nil, err
	}
	now := s.now().UTC()
	d.RegisteredAt = &now
	d.RegisteredBy = aws.String(caller.From(ctx).Principal.ARN)
	err = s.store.Update(ctx, func(tx store.Tx) error {
		key := sc.key("family", *d.Family)
		f, err := s.families.Get(tx, key)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		next := int32(1)
		if f != nil {
			next = f.Last + 1
		}
		d.Revision = next
		d.TaskDefinitionArn = aws.String(sc.definitionARN(*d.Family, next))
		if err := s.families.Put(tx, key, &family{Last: next, Active: next}); err != nil {
			return err
		}
		return s.definitions.Put(tx, sc.definitionKey(*d.Family, next), &definition{*d, in.Tags})
	})
	if err != nil {
		return nil, err
	}
	return &ecs.RegisterTaskDefinitionOutput{TaskDefinition: d, Tags: in.Tags}, nil
}

func registerConditions(in *ecs.RegisterTaskDefinitionInput) map[string][]string {
	privileged := slices.ContainsFunc(in.ContainerDefinitions, func(c types.ContainerDefinition) bool { return aws.ToBool(c.Privileged) })
	conditions := map[string][]string{"ecs:privileged": {strconv.FormatBool(privileged)}}
	if in.Cpu != nil {
		conditions["ecs:task-cpu"] = []string{strconv.Itoa(taskdef.CPU(in.Cpu))}
	}
	if in.Memory != nil {
		conditions["ecs:task-memory"] = []string{strconv.Itoa(taskdef.Memory(in.Memory))}
	}
	for _, c := range in.RequiresCompatibilities {
		conditions["ecs:compute-compatibility"] = append(conditions["ecs:compute-compatibility"], string(c))
	}
	return conditions
}

// passRole asks whether the caller may hand role, an ARN, a name or nothing, to tasks.
// A role of another account cannot be passed by anyone. Whoever may pass its like is told
// so, as on AWS.
func (s *Service) passRole(ctx context.Context, role, to string) error {
	if role == "" {
		return nil
	}
	sc := scopeOf(ctx)
	err := s.authz.Authorize(ctx, &authz.Access{
		Action: "iam:PassRole", Resource: sc.roleARN(role), Account: sc.roleOwner(role),
		Conditions: map[string][]string{"iam:PassedToService": {to}},
	})
	var denied *authz.Denied
	if errors.As(err, &denied) && denied.Decision.CrossAccount && denied.Decision.Layer == policy.LayerResource {
		return accessDenied("Cross-account pass role is not allowed.")
	}
	return err
}

// DescribeTaskDefinition answers one revision, an INACTIVE one too when it is named.
func (s *Service) DescribeTaskDefinition(ctx context.Context, in *ecs.DescribeTaskDefinitionInput) (*ecs.DescribeTaskDefinitionOutput, error) {
	if err := s.authz.Authorize(ctx, &authz.Access{Action: "ecs:DescribeTaskDefinition", Resource: "*"}); err != nil {
		return nil, err
	}
	d, err := s.findDefinition(ctx, aws.ToString(in.TaskDefinition))
	if err != nil {
		return nil, err
	}
	if d == nil {
		return nil, clientError("Unable to describe task definition.")
	}
	out := &ecs.DescribeTaskDefinitionOutput{TaskDefinition: &d.Definition}
	if slices.Contains(in.Include, types.TaskDefinitionFieldTags) {
		out.Tags = append([]types.Tag{}, d.Tags...)
	}
	return out, nil
}

// ListTaskDefinitions lists the ARNs of one status, by family and revision.
func (s *Service) ListTaskDefinitions(ctx context.Context, in *ecs.ListTaskDefinitionsInput) (*ecs.ListTaskDefinitionsOutput, error) {
	if err := s.authz.Authorize(ctx, &authz.Access{Action: "ecs:ListTaskDefinitions", Resource: "*"}); err != nil {
		return nil, err
	}
	sc := scopeOf(ctx)
	status := in.Status
	if status == "" {
		status = types.TaskDefinitionStatusActive
	}
	prefix := sc.prefix("task-definition")
	if f := aws.ToString(in.FamilyPrefix); f != "" {
		prefix = sc.prefix("task-definition", f)
	}
	var keys []string
	arns := map[string]string{}
	err := s.store.View(ctx, func(tx store.Tx) error {
		keys = nil
		for row, err := range s.definitions.Scan(tx, prefix, "") {
			if err != nil {
				return err
			}
			if d := &row.Value.Definition; d.Status == status {
				key := strings.TrimPrefix(row.Key, sc.prefix("task-definition"))
				keys = append(keys, key)
				arns[key] = *d.TaskDefinitionArn
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	after := ascending
	if in.Sort == types.SortOrderDesc {
		slices.Reverse(keys)
		after = func(item, last string) bool { return item < last }
	}
	keys, next, err := page(keys, in.MaxResults, in.NextToken, after)
	if err != nil {
		return nil, err
	}
	out := &ecs.ListTaskDefinitionsOutput{TaskDefinitionArns: []string{}, NextToken: next}
	for _, key := range keys {
		out.TaskDefinitionArns = append(out.TaskDefinitionArns, arns[key])
	}
	return out, nil
}

// ListTaskDefinitionFamilies lists families: ACTIVE ones have an ACTIVE revision.
func (s *Service) ListTaskDefinitionFamilies(ctx context.Context, in *ecs.ListTaskDefinitionFamiliesInput) (*ecs.ListTaskDefinitionFamiliesOutput, error) {
	if err := s.authz.Authorize(ctx, &authz.Access{Action: "ecs:ListTaskDefinitionFamilies", Resource: "*"}); err != nil {
		return nil, err
	}
	sc := scopeOf(ctx)
	var names []string
	err := s.store.View(ctx, func(tx store.Tx) error {
		names = nil
		for row, err := range s.families.Scan(tx, sc.prefix("family")+aws.ToString(in.FamilyPrefix), "") {
			if err != nil {
				return err
			}
			active := row.Value.Active > 0
			switch in.Status {
			case types.TaskDefinitionFamilyStatusAll:
			case types.TaskDefinitionFamilyStatusInactive:
				if active {
					continue
				}
			default:
				if !active {
					continue
				}
			}
			names = append(names, strings.TrimPrefix(row.Key, sc.prefix("family")))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	out := new(ecs.ListTaskDefinitionFamiliesOutput)
	out.Families, out.NextToken, err = page(names, in.MaxResults, in.NextToken, ascending)
	return out, err
}

// DeregisterTaskDefinition makes a revision INACTIVE: what runs goes on, nothing new starts.
func (s *Service) DeregisterTaskDefinition(ctx context.Context, in *ecs.DeregisterTaskDefinitionInput) (*ecs.DeregisterTaskDefinitionOutput, error) {
	if err := s.authz.Authorize(ctx, &authz.Access{Action: "ecs:DeregisterTaskDefinition", Resource: "*"}); err != nil {
		return nil, err
	}
	sc := scopeOf(ctx)
	r, foreign, err := sc.parseDefinition(aws.ToString(in.TaskDefinition))
	if err != nil {
		return nil, err
	}
	if r.revision == 0 {
		return nil, invalidParameter("Invalid revision number. Number: null")
	}
	if foreign {
		return nil, clientError("The specified task definition does not exist.")
	}
	var out *definition
	err = s.store.Update(ctx, func(tx store.Tx) error {
		d, err := s.definition(tx, sc, r)
		if err != nil {
			return err
		}
		if d == nil {
			return clientError("The specified task definition does not exist.")
		}
		out = d
		if d.Definition.Status != types.TaskDefinitionStatusActive {
			return nil
		}
		out = copyOf(d)
		now := s.now().UTC()
		out.Definition.Status = types.TaskDefinitionStatusInactive
		out.Definition.DeregisteredAt = &now
		if err := s.definitions.Put(tx, sc.definitionKey(r.family, r.revision), out); err != nil {
			return err
		}
		return s.refreshFamily(tx, sc, r.family)
	})
	if err != nil {
		return nil, err
	}
	return &ecs.DeregisterTaskDefinitionOutput{TaskDefinition: &out.Definition}, nil
}

// refreshFamily finds the latest ACTIVE revision again.
func (s *Service) refreshFamily(tx store.Tx, sc scope, name string) error {
	f, err := s.families.Get(tx, sc.key("family", name))
	if err != nil {
		return err
	}
	active := int32(0)
	for row, err := range s.definitions.Scan(tx, sc.prefix("task-definition", name), "") {
		if err != nil {
			return err
		}
		if d := &row.Value.Definition; d.Status == types.TaskDefinitionStatusActive {
			active = d.Revision
		}
	}
	return s.families.Put(tx, sc.key("family", name), &family{Last: f.Last, Active: active})
}

// DeleteTaskDefinitions removes INACTIVE revisions. One that tasks still run by is
// DELETE_IN_PROGRESS until the last of them has stopped.
func (s *Service) DeleteTaskDefinitions(ctx context.Context, in *ecs.DeleteTaskDefinitionsInput) (*ecs.DeleteTaskDefinitionsOutput, error) {
	sc := scopeOf(ctx)
	for _, ref := range in.TaskDefinitions {
		resource := ref
		var tags []types.Tag
		if r, foreign, err := sc.parseDefinition(ref); err == nil && !foreign {
			resource = sc.definitionARN(r.family, r.revision)
			if d, err := s.findDefinition(ctx, ref); err != nil {
				return nil, err
			} else if d != nil {
				tags = d.Tags
			}
		}
		if err := s.authz.Authorize(ctx, &authz.Access{Action: "ecs:DeleteTaskDefinitions", Resource: resource, Tags: tagMap(tags)}); err != nil {
			return nil, err
		}
	}
	if n := len(in.TaskDefinitions); n < 1 || n > 10 {
		return nil, invalidParameter("You must specify between 1 and 10 task definitions.")
	}

	var out *ecs.DeleteTaskDefinitionsOutput
	err := s.store.Update(ctx, func(tx store.Tx) error {
		out = &ecs.DeleteTaskDefinitionsOutput{Failures: []types.Failure{}, TaskDefinitions: []types.TaskDefinition{}}
		for _, ref := range in.TaskDefinitions {
			fail := func(reason string) {
				out.Failures = append(out.Failures, types.Failure{Arn: aws.String(ref), Reason: aws.String(reason)})
			}
			r, foreign, err := sc.parseDefinition(ref)
			if err != nil || foreign || r.revision == 0 {
				fail("The specified task definition identifier is invalid. Specify a valid name or ARN and try again.")
				continue
			}
			d, err := s.definition(tx, sc, r)
			if err != nil {
				return err
			}
			if d == nil {
				fail("The specified task definition does not exist. Specify a valid account, family, revision and try again.")
				continue
			}
			if d.Definition.Status == types.TaskDefinitionStatusActive {
				fail("The specified task definition is still in ACTIVE status. Please deregister the target and try again.")
				continue
			}
			d = copyOf(d)
			if d.Definition.DeleteRequestedAt == nil {
				now := s.now().UTC()
				d.Definition.Status = types.TaskDefinitionStatusDeleteInProgress
				d.Definition.DeleteRequestedAt = &now
			}
			if err := s.definitions.Put(tx, sc.definitionKey(r.family, r.revision), d); err != nil {
				return err
			}
			out.TaskDefinitions = append(out.TaskDefinitions, d.Definition)
			if err := s.removeDeleted(tx, sc, r); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// removeDeleted removes a revision whose deletion was asked for, once no task that has
// not stopped runs by it and no service uses it.
func (s *Service) removeDeleted(tx store.Tx, sc scope, r definitionRef) error {
	d, err := s.definition(tx, sc, r)
	if err != nil || d == nil || d.Definition.Status != types.TaskDefinitionStatusDeleteInProgress {
		return err
	}
	for row, err := range s.placements.Scan(tx, sc.prefix("placement"), "") {
		if err != nil {
			return err
		}
		if row.Value.Family == r.family && row.Value.Revision == r.revision {
			return nil
		}
	}
	for row, err := range s.services.Scan(tx, sc.prefix("service"), "") {
		if err != nil {
			return err
		}
		if row.Value.Status != statusInactive && slices.ContainsFunc(row.Value.Rollouts, func(o rollout) bool {
			return o.Family == r.family && o.Revision == r.revision
		}) {
			return nil
		}
	}
	return s.definitions.Delete(tx, sc.definitionKey(r.family, r.revision))
}
