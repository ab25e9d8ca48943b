package ecs

import (
	"context"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/malote/malote/authz"
	"github.com/malote/malote/internal/lazyregexp"
	"github.com/malote/malote/store"
)

// maxAttributes is how many custom attributes an instance can have.
const maxAttributes = 10

var (
	attributeName  = lazyregexp.New(`^[A-Za-z0-9_./\\-]{1,128}$`)
	attributeValue = lazyregexp.New(`^[A-Za-z0-9_.@:/\\-]([A-Za-z0-9_.@:/\\ -]{0,126}[A-Za-z0-9_.@:/\\-])?$`)
)

// validateCustom checks an attribute of an instance that is not ECS's own, and its value where
// that is to be kept.
func validateCustom(a *types.Attribute, value bool) error {
	name := aws.ToString(a.Name)
	switch {
	case a.TargetType != "" && a.TargetType != types.TargetTypeContainerInstance:
		return invalidParameter("Invalid targetType: '%s'. It must be container-instance.", a.TargetType)
	case aws.ToString(a.TargetId) == "":
		return invalidParameter("targetId should not be null or empty.")
	case strings.HasPrefix(name, "ecs.") || strings.HasPrefix(name, "com.amazonaws.ecs."):
		return invalidParameter("Invalid attribute name: '%s'. Names that begin with ecs. or com.amazonaws.ecs. are ECS's own.", name)
	}
	return validateAttribute(a, value)
}

// validateAttribute checks an attribute, and its value where that is to be kept.
func validateAttribute(a *types.Attribute, value bool) error {
	name, v := aws.ToString(a.Name), aws.ToString(a.Value)
	switch {
	case !attributeName.MatchString(name):
		return invalidParameter("Invalid attribute name: '%s'. It can have up to 128 letters, numbers, hyphens, underscores, slashes, backslashes and periods.", name)
	case value && v != "" && !attributeValue.MatchString(v):
		return invalidParameter("Invalid value of the attribute '%s': it can have up to 128 letters, numbers, hyphens, underscores, periods, at signs, slashes, backslashes, colons and spaces within.", name)
	}
	return nil
}

// changeAttributes authorizes action on each instance that the attributes name and changes
// the custom attributes of these instances.
func (s *Service) changeAttributes(ctx context.Context, action string, clusterRef *string, attributes []types.Attribute, change func(i *instance, a types.Attribute) error) ([]types.Attribute, error) {
	sc := scopeOf(ctx)
	cluster, clusterErr := sc.clusterName(clusterRef)
	ids := make([]string, len(attributes))
	var refErr error
	for n := range attributes {
		id, err := sc.member("container-instance", cluster, aws.ToString(attributes[n].TargetId))
		if err != nil && refErr == nil {
			refErr = err
		}
		if ids[n] = id; id == "" {
			id = "*"
		}
		if err := s.authorizeInstance(ctx, action, cluster, id); err != nil {
			return nil, err
		}
	}
	if len(attributes) == 0 {
		if err := s.authorizeInstance(ctx, action, cluster, "*"); err != nil {
			return nil, err
		}
	}
	switch {
	case clusterErr != nil:
		return nil, clusterErr
	case len(attributes) < 1 || len(attributes) > 10:
		return nil, invalidParameter("You must specify between 1 and 10 attributes.")
	}
	for n := range attributes {
		if err := validateCustom(&attributes[n], action == "ecs:PutAttributes"); err != nil {
			return nil, err
		}
	}
	if refErr != nil {
		return nil, refErr
	}

	var out []types.Attribute
	err := s.store.Update(ctx, func(tx store.Tx) error {
		out = []types.Attribute{}
		if _, err := s.activeCluster(tx, sc, cluster); err != nil {
			return err
		}
		changed := map[string]*instance{}
		for n, id := range ids {
			i := changed[id]
			if i == nil {
				old, err := s.instance(tx, sc, cluster, id)
				if err != nil {
					return err
				}
				if old == nil {
					return &types.TargetNotFoundException{Message: aws.String("The specified target was not found: " + *attributes[n].TargetId)}
				}
				i = copyOf(old)
				changed[id] = i
			}
			a := types.Attribute{
				Name: attributes[n].Name, Value: attributes[n].Value,
				TargetType: types.TargetTypeContainerInstance, TargetId: aws.String(sc.instanceARN(cluster, id)),
			}
			if err := change(i, a); err != nil {
				return err
			}
			out = append(out, a)
		}
		for id, i := range changed {
			i.Version++
			if err := s.instances.Put(tx, sc.key("instance", cluster, id), i); err != nil {
				return err
			}
		}
		return s.wakeCluster(tx, sc, cluster)
	})
	return out, err
}

func named(name *string) func(types.Attribute) bool {
	return func(a types.Attribute) bool { return aws.ToString(a.Name) == aws.ToString(name) }
}

// PutAttributes gives container instances custom attributes, which placement constraints and
// strategies see. They stay when the instance registers again.
func (s *Service) PutAttributes(ctx context.Context, in *ecs.PutAttributesInput) (*ecs.PutAttributesOutput, error) {
	out, err := s.changeAttributes(ctx, "ecs:PutAttributes", in.Cluster, in.Attributes, func(i *instance, a types.Attribute) error {
		i.Custom = append(slices.DeleteFunc(i.Custom, named(a.Name)), types.Attribute{Name: a.Name, Value: a.Value})
		if len(i.Custom) > maxAttributes {
			return &types.AttributeLimitExceededException{Message: aws.String("A container instance can have up to 10 custom attributes.")}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ecs.PutAttributesOutput{Attributes: out}, nil
}

// DeleteAttributes takes custom attributes from container instances; one that is absent, or
// has another value than the one stated, is not an error.
func (s *Service) DeleteAttributes(ctx context.Context, in *ecs.DeleteAttributesInput) (*ecs.DeleteAttributesOutput, error) {
	out, err := s.changeAttributes(ctx, "ecs:DeleteAttributes", in.Cluster, in.Attributes, func(i *instance, a types.Attribute) error {
		i.Custom = slices.DeleteFunc(i.Custom, func(old types.Attribute) bool {
			return named(a.Name)(old) && (a.Value == nil || aws.ToString(a.Value) == aws.ToString(old.Value))
		})
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ecs.DeleteAttributesOutput{Attributes: out}, nil
}

// ListAttributes lists attributes of the container instances of a cluster, by name and value.
func (s *Service) ListAttributes(ctx context.Context, in *ecs.ListAttributesInput) (*ecs.ListAttributesOutput, error) {
	sc := scopeOf(ctx)
	cluster, clusterErr := sc.clusterName(in.Cluster)
	if err := s.authz.Authorize(ctx, &authz.Access{
		Action: "ecs:ListAttributes", Resource: sc.instanceARN(cluster, "*"), Conditions: map[string][]string{"ecs:cluster": {sc.clusterARN(cluster)}},
	}); err != nil {
		return nil, err
	}
	switch {
	case clusterErr != nil:
		return nil, clusterErr
	case in.TargetType != types.TargetTypeContainerInstance:
		return nil, invalidParameter("Invalid targetType: '%s'. It must be container-instance.", in.TargetType)
	case in.AttributeValue != nil && in.AttributeName == nil:
		return nil, invalidParameter("attributeValue needs attributeName.")
	}
	all := map[string]types.Attribute{}
	var keys []string
	err := s.store.View(ctx, func(tx store.Tx) error {
		clear(all)
		keys = nil
		if _, err := s.activeCluster(tx, sc, cluster); err != nil {
			return err
		}
		for row, err := range s.instances.Scan(tx, sc.prefix("instance", cluster), "") {
			if err != nil {
				return err
			}
			i := row.Value
			for _, a := range slices.Concat(i.Attributes, i.Custom) {
				if in.AttributeName != nil && *in.AttributeName != aws.ToString(a.Name) || in.AttributeValue != nil && *in.AttributeValue != aws.ToString(a.Value) {
					continue
				}
				key := i.ID + "/" + aws.ToString(a.Name)
				a.TargetType, a.TargetId = types.TargetTypeContainerInstance, aws.String(sc.instanceARN(cluster, i.ID))
				all[key] = a
				keys = append(keys, key)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.Sort(keys)
	keys = slices.Compact(keys)
	out := &ecs.ListAttributesOutput{Attributes: []types.Attribute{}}
	keys, out.NextToken, err = page(keys, in.MaxResults, in.NextToken, ascending)
	for _, key := range keys {
		out.Attributes = append(out.Attributes, all[key])
	}
	return out, err
}
