package ecs

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/malote/malote/authz"
	"github.com/malote/malote/store"
)

const maxTags = 50

func tagMap(tags []types.Tag) map[string]string {
	if len(tags) == 0 {
		return nil
	}
	m := make(map[string]string, len(tags))
	for _, t := range tags {
		m[aws.ToString(t.Key)] = aws.ToString(t.Value)
	}
	return m
}

func validateTags(tags []types.Tag) error {
	seen := map[string]bool{}
	for _, t := range tags {
		key := aws.ToString(t.Key)
		switch {
		case key == "":
			return invalidParameter("A tag key should not be null or empty.")
		case strings.HasPrefix(strings.ToLower(key), "aws:"):
			return invalidParameter("Tag keys beginning with 'aws:' are reserved: '%s'.", key)
		case seen[key]:
			return invalidParameter("Duplicate tag keys found: '%s'.", key)
		}
		seen[key] = true
	}
	if len(tags) > maxTags {
		return invalidParameter("The maximum number of tags is %d.", maxTags)
	}
	return nil
}

// mergeTags is old with the new values in it. The result is a new slice.
func mergeTags(old, with []types.Tag) []types.Tag {
	merged := slices.Clone(old)
	for _, t := range with {
		if i := slices.IndexFunc(merged, func(m types.Tag) bool { return aws.ToString(m.Key) == aws.ToString(t.Key) }); i >= 0 {
			merged[i] = t
		} else {
			merged = append(merged, t)
		}
	}
	return merged
}

// authorizeCreateTags asks for ecs:TagResource, which tagging at creation needs too.
func (s *Service) authorizeCreateTags(ctx context.Context, resource, action string, tags []types.Tag) error {
	return s.authz.Authorize(ctx, &authz.Access{
		Action: "ecs:TagResource", Resource: resource, RequestTags: tagMap(tags),
		Conditions: map[string][]string{"ecs:CreateAction": {action}},
	})
}

// tagged is a resource that has tags, found by its ARN.
type tagged struct {
	tags []types.Tag
	put  func([]types.Tag) error
}

// tagged finds what arn names; nil when it is not here.
func (s *Service) tagged(tx store.Tx, sc scope, arn string) (*tagged, error) {
	owner, resource, ok := splitARN(arn)
	if !ok {
		return nil, invalidParameter("Invalid resource ARN: %s", arn)
	}
	if owner != sc {
		return nil, nil
	}
	parts := strings.Split(resource, "/")
	switch {
	case parts[0] == "cluster" && len(parts) == 2:
		c, err := s.cluster(tx, sc, parts[1])
		if err != nil || c == nil || c.Status != statusActive {
			return nil, err
		}
		return &tagged{c.Tags, func(tags []types.Tag) error {
			c := copyOf(c)
			c.Tags = tags
			return s.clusters.Put(tx, sc.key("cluster", c.Name), c)
		}}, nil
	case parts[0] == "task-definition" && len(parts) == 2:
		r, _, err := sc.parseDefinition(arn)
		if err != nil || r.revision == 0 {
			return nil, err
		}
		d, err := s.definition(tx, sc, r)
		if err != nil || d == nil {
			return nil, err
		}
		return &tagged{d.Tags, func(tags []types.Tag) error {
			return s.definitions.Put(tx, sc.definitionKey(r.family, r.revision), &definition{d.Definition, tags})
		}}, nil
	case parts[0] == "container-instance" && len(parts) == 3:
		key := sc.key("instance", parts[1], parts[2])
		i, err := s.instances.Get(tx, key)
		if errors.Is(err, store.ErrNotFound) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		return &tagged{i.Tags, func(tags []types.Tag) error {
			i := copyOf(i)
			i.Tags = tags
			return s.instances.Put(tx, key, i)
		}}, nil
	case parts[0] == "service" && len(parts) == 3:
		v, err := s.findService(tx, sc, parts[1], parts[2])
		if err != nil || v == nil || v.Status == statusInactive {
			return nil, err
		}
		return &tagged{v.Tags, func(tags []types.Tag) error {
			if err := validateServiceTags(tags); err != nil {
				return err
			}
			v := copyOf(v)
			v.Tags = tags
			return s.putService(tx, sc, v)
		}}, nil
	case parts[0] == "task" && len(parts) == 3:
		key := sc.key("task", parts[1], parts[2])
		t, err := s.tasks.Get(tx, key)
		if errors.Is(err, store.ErrNotFound) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		return &tagged{t.Task.Tags, func(tags []types.Tag) error {
			t := copyOf(t)
			t.Task.Tags = tags
			return s.tasks.Put(tx, key, t)
		}}, nil
	}
	return nil, nil
}

// authorizeTags asks for a tagging action on arn with the tags that it has.
func (s *Service) authorizeTags(ctx context.Context, access *authz.Access) error {
	err := s.store.View(ctx, func(tx store.Tx) error {
		t, err := s.tagged(tx, scopeOf(ctx), access.Resource)
		if t != nil {
			access.Tags = tagMap(t.tags)
		}
		return err
	})
	// A faulty ARN has no tags, and is told to whoever may ask.
	if invalid := new(types.InvalidParameterException); err != nil && !errors.As(err, &invalid) {
		if client := new(types.ClientException); !errors.As(err, &client) {
			return err
		}
	}
	return s.authz.Authorize(ctx, access)
}

func resourceNotFound() error {
	return &types.ResourceNotFoundException{Message: aws.String("The specified resource could not be found.")}
}

// updateTags changes the tags of what arn names.
func (s *Service) updateTags(ctx context.Context, arn string, change func([]types.Tag) []types.Tag) error {
	return s.store.Update(ctx, func(tx store.Tx) error {
		t, err := s.tagged(tx, scopeOf(ctx), arn)
		if err != nil {
			return err
		}
		if t == nil {
			return resourceNotFound()
		}
		tags := change(t.tags)
		if len(tags) > maxTags {
			return invalidParameter("The maximum number of tags is %d.", maxTags)
		}
		return t.put(tags)
	})
}

// TagResource adds tags to a cluster, a task definition, a service, an instance or a task.
func (s *Service) TagResource(ctx context.Context, in *ecs.TagResourceInput) (*ecs.TagResourceOutput, error) {
	arn := aws.ToString(in.ResourceArn)
	if err := s.authorizeTags(ctx, &authz.Access{Action: "ecs:TagResource", Resource: arn, RequestTags: tagMap(in.Tags)}); err != nil {
		return nil, err
	}
	if err := validateTags(in.Tags); err != nil {
		return nil, err
	}
	if err := s.updateTags(ctx, arn, func(old []types.Tag) []types.Tag { return mergeTags(old, in.Tags) }); err != nil {
		return nil, err
	}
	return &ecs.TagResourceOutput{}, nil
}

// UntagResource removes tags; an absent one is not an error.
func (s *Service) UntagResource(ctx context.Context, in *ecs.UntagResourceInput) (*ecs.UntagResourceOutput, error) {
	arn := aws.ToString(in.ResourceArn)
	if err := s.authorizeTags(ctx, &authz.Access{Action: "ecs:UntagResource", Resource: arn, TagKeys: in.TagKeys}); err != nil {
		return nil, err
	}
	for _, key := range in.TagKeys {
		if strings.HasPrefix(strings.ToLower(key), "aws:") {
			return nil, invalidParameter("Tag keys beginning with 'aws:' are reserved: '%s'.", key)
		}
	}
	err := s.updateTags(ctx, arn, func(old []types.Tag) []types.Tag {
		return slices.DeleteFunc(slices.Clone(old), func(t types.Tag) bool { return slices.Contains(in.TagKeys, aws.ToString(t.Key)) })
	})
	if err != nil {
		return nil, err
	}
	return &ecs.UntagResourceOutput{}, nil
}

// ListTagsForResource answers the tags of what an ARN names.
func (s *Service) ListTagsForResource(ctx context.Context, in *ecs.ListTagsForResourceInput) (*ecs.ListTagsForResourceOutput, error) {
	arn := aws.ToString(in.ResourceArn)
	if err := s.authorizeTags(ctx, &authz.Access{Action: "ecs:ListTagsForResource", Resource: arn}); err != nil {
		return nil, err
	}
	out := &ecs.ListTagsForResourceOutput{Tags: []types.Tag{}}
	err := s.store.View(ctx, func(tx store.Tx) error {
		t, err := s.tagged(tx, scopeOf(ctx), arn)
		if err == nil && t == nil {
			err = resourceNotFound()
		}
		if err == nil {
			out.Tags = append(out.Tags, t.tags...)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}
