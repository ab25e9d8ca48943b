package ssm

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/malote/malote/authz"
	"github.com/malote/malote/caller"
	"github.com/malote/malote/policy"
)

const maxTags = 50

func tagMap(tags []types.Tag) map[string]string {
	if len(tags) == 0 {
		return nil
	}
	m := make(map[string]string, len(tags))
	for _, tag := range tags {
		m[aws.ToString(tag.Key)] = aws.ToString(tag.Value)
	}
	return m
}

func checkTags(tags map[string]string) error {
	for key := range tags {
		if hasPrefix(key, "aws:") {
			return validation("Invalid tag key: aws: prefixed tag key names are not allowed for external use.")
		}
	}
	if len(tags) > maxTags {
		return &types.TooManyTagsError{}
	}
	return nil
}

// Of the resources that Systems Manager can tag there are none but parameters here. The
// others still have ARNs that policies know.
var taggable = map[types.ResourceTypeForTagging]string{
	types.ResourceTypeForTaggingParameter:         "parameter",
	types.ResourceTypeForTaggingDocument:          "document",
	types.ResourceTypeForTaggingManagedInstance:   "managed-instance",
	types.ResourceTypeForTaggingMaintenanceWindow: "maintenancewindow",
	types.ResourceTypeForTaggingPatchBaseline:     "patchbaseline",
	types.ResourceTypeForTaggingOpsItem:           "opsitem",
	types.ResourceTypeForTaggingOpsmetadata:       "opsmetadata",
	types.ResourceTypeForTaggingAutomation:        "automation-execution",
	types.ResourceTypeForTaggingAssociation:       "association",
}

// authorizedResource returns the parameter whose tags are asked about.
func (s *Service) authorizedResource(ctx context.Context, action string, kind types.ResourceTypeForTagging, id string, requestTags map[string]string, tagKeys []string) (*ref, *parameter, error) {
	request := caller.From(ctx)
	r := parseName(ctx, id)
	access := &authz.Access{Action: action, Resource: r.arn(), RequestTags: requestTags, TagKeys: tagKeys}
	var p *parameter
	switch name, known := taggable[kind]; {
	case !known:
		r.err = &types.InvalidResourceType{}
	case kind != types.ResourceTypeForTaggingParameter:
		access.Resource = "arn:aws:ssm:" + request.Region + ":" + request.Principal.Account + ":" + name + "/" + id
	case strings.HasPrefix(id, "arn:"):
		r.err = validation(badRequirements)
	default:
		var err error
		if p, err = s.existing(ctx, &r); err != nil {
			return nil, nil, err
		}
	}
	if p != nil {
		source, err := p.policy()
		if err != nil {
			return nil, nil, err
		}
		access.Tags, access.Policy, access.Kind = p.Tags, source, policy.Resource
	}
	if err := s.authz.Authorize(ctx, access); err != nil {
		return nil, nil, err
	}
	switch {
	case r.err != nil:
		return nil, nil, r.err
	case p == nil:
		return nil, nil, &types.InvalidResourceId{}
	}
	return &r, p, nil
}

// changeTags is change for what was found by a ResourceId.
func (s *Service) changeTags(ctx context.Context, r *ref, was *parameter, fn func(p *parameter) error) error {
	err := s.change(ctx, r, was, fn)
	if isNotFound(err) {
		return &types.InvalidResourceId{}
	}
	return err
}

// AddTagsToResource adds tags to a parameter, or replaces their values.
func (s *Service) AddTagsToResource(ctx context.Context, in *ssm.AddTagsToResourceInput) (*ssm.AddTagsToResourceOutput, error) {
	tags := tagMap(in.Tags)
	r, found, err := s.authorizedResource(ctx, "ssm:AddTagsToResource", in.ResourceType, *in.ResourceId, tags, nil)
	if err != nil {
		return nil, err
	}
	err = s.changeTags(ctx, r, found, func(p *parameter) error {
		if p.Tags == nil {
			p.Tags = make(map[string]string)
		}
		maps.Copy(p.Tags, tags)
		if err := checkTags(tags); err != nil {
			return err
		}
		return checkTags(p.Tags)
	})
	if err != nil {
		return nil, err
	}
	return &ssm.AddTagsToResourceOutput{}, nil
}

// RemoveTagsFromResource removes tags, those that there are, from a parameter.
func (s *Service) RemoveTagsFromResource(ctx context.Context, in *ssm.RemoveTagsFromResourceInput) (*ssm.RemoveTagsFromResourceOutput, error) {
	r, found, err := s.authorizedResource(ctx, "ssm:RemoveTagsFromResource", in.ResourceType, *in.ResourceId, nil, in.TagKeys)
	if err != nil {
		return nil, err
	}
	err = s.changeTags(ctx, r, found, func(p *parameter) error {
		for _, key := range in.TagKeys {
			delete(p.Tags, key)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ssm.RemoveTagsFromResourceOutput{}, nil
}

// ListTagsForResource returns the tags of a parameter.
func (s *Service) ListTagsForResource(ctx context.Context, in *ssm.ListTagsForResourceInput) (*ssm.ListTagsForResourceOutput, error) {
	_, p, err := s.authorizedResource(ctx, "ssm:ListTagsForResource", in.ResourceType, *in.ResourceId, nil, nil)
	if err != nil {
		return nil, err
	}
	out := &ssm.ListTagsForResourceOutput{TagList: []types.Tag{}}
	for _, key := range slices.Sorted(maps.Keys(p.Tags)) {
		out.TagList = append(out.TagList, types.Tag{Key: aws.String(key), Value: aws.String(p.Tags[key])})
	}
	return out, nil
}
