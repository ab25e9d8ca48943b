package logs

import (
	"context"
	"maps"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
)

const maxTags = 50

func checkTags(r *ref, tags map[string]string) error {
	for key := range tags {
		if len(key) >= 4 && strings.EqualFold(key[:4], "aws:") {
			return invalid("Tag keys cannot begin with aws:, which %s does.", key)
		}
	}
	if len(tags) > maxTags {
		return &types.TooManyTagsException{Message: aws.String("A log group can have up to 50 tags."), ResourceName: aws.String(r.arn())}
	}
	return nil
}

func (s *Service) tag(ctx context.Context, r *ref, d door) error {
	return s.changeGroup(ctx, r, d, func(g *group) error {
		if g.Tags == nil {
			g.Tags = map[string]string{}
		}
		maps.Copy(g.Tags, d.requestTags)
		if err := checkTags(r, d.requestTags); err != nil {
			return err
		}
		return checkTags(r, g.Tags)
	})
}

func (s *Service) untag(ctx context.Context, r *ref, d door) error {
	return s.changeGroup(ctx, r, d, func(g *group) error {
		for _, key := range d.tagKeys {
			delete(g.Tags, key)
		}
		return nil
	})
}

func answerTags(g *group) map[string]string {
	tags := map[string]string{}
	maps.Copy(tags, g.Tags)
	return tags
}

// TagResource adds tags to a log group, or replaces their values.
func (s *Service) TagResource(ctx context.Context, in *cloudwatchlogs.TagResourceInput) (*cloudwatchlogs.TagResourceOutput, error) {
	r := byARN(ctx, *in.ResourceArn)
	if err := s.tag(ctx, r, door{action: "logs:TagResource", resource: r.arn(), requestTags: in.Tags}); err != nil {
		return nil, err
	}
	return &cloudwatchlogs.TagResourceOutput{}, nil
}

// UntagResource removes tags, those that there are, from a log group.
func (s *Service) UntagResource(ctx context.Context, in *cloudwatchlogs.UntagResourceInput) (*cloudwatchlogs.UntagResourceOutput, error) {
	r := byARN(ctx, *in.ResourceArn)
	if err := s.untag(ctx, r, door{action: "logs:UntagResource", resource: r.arn(), tagKeys: in.TagKeys}); err != nil {
		return nil, err
	}
	return &cloudwatchlogs.UntagResourceOutput{}, nil
}

// ListTagsForResource returns the tags of a log group.
func (s *Service) ListTagsForResource(ctx context.Context, in *cloudwatchlogs.ListTagsForResourceInput) (*cloudwatchlogs.ListTagsForResourceOutput, error) {
	r := byARN(ctx, *in.ResourceArn)
	g, err := s.authorized(ctx, r, door{action: "logs:ListTagsForResource", resource: r.arn()})
	if err != nil {
		return nil, err
	}
	return &cloudwatchlogs.ListTagsForResourceOutput{Tags: answerTags(g)}, nil
}

// TagLogGroup is TagResource by name: the older form.
func (s *Service) TagLogGroup(ctx context.Context, in *cloudwatchlogs.TagLogGroupInput) (*cloudwatchlogs.TagLogGroupOutput, error) {
	if err := s.tag(ctx, named(ctx, *in.LogGroupName), door{action: "logs:TagLogGroup", requestTags: in.Tags}); err != nil {
		return nil, err
	}
	return &cloudwatchlogs.TagLogGroupOutput{}, nil
}

// UntagLogGroup is UntagResource by name: the older form.
func (s *Service) UntagLogGroup(ctx context.Context, in *cloudwatchlogs.UntagLogGroupInput) (*cloudwatchlogs.UntagLogGroupOutput, error) {
	if err := s.untag(ctx, named(ctx, *in.LogGroupName), door{action: "logs:UntagLogGroup", tagKeys: in.Tags}); err != nil {
		return nil, err
	}
	return &cloudwatchlogs.UntagLogGroupOutput{}, nil
}

// ListTagsLogGroup is ListTagsForResource by name: the older form.
func (s *Service) ListTagsLogGroup(ctx context.Context, in *cloudwatchlogs.ListTagsLogGroupInput) (*cloudwatchlogs.ListTagsLogGroupOutput, error) {
	g, err := s.authorized(ctx, named(ctx, *in.LogGroupName), door{action: "logs:ListTagsLogGroup"})
	if err != nil {
		return nil, err
	}
	return &cloudwatchlogs.ListTagsLogGroupOutput{Tags: answerTags(g)}, nil
}
