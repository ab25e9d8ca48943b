package iam

import (
	"context"
	"iter"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/malote/malote/authz"
	"github.com/malote/malote/service/iam/directory"
)

// sameTag says which keys are the same tag's: of users and roles in whatever case, of all
// else in the same.
//
// https://docs.aws.amazon.com/IAM/latest/UserGuide/id_tags.html
func sameTag(kind directory.Kind) func(a, b string) bool {
	if kind == directory.KindUser || kind == directory.KindRole {
		return strings.EqualFold
	}
	return exactly
}

func exactly(a, b string) bool { return a == b }

// newTags checks the tags of a request.
func newTags(in []types.Tag, same func(a, b string) bool) ([]directory.Tag, error) {
	var tags []directory.Tag
	for _, t := range in {
		if slices.ContainsFunc(tags, func(o directory.Tag) bool { return same(o.Key, *t.Key) }) {
			if same("a", "A") {
				return nil, invalidInput("Duplicate tag keys found. Please note that Tag keys are case insensitive.")
			}
			return nil, invalidInput("Duplicate tag keys found.")
		}
		if len(*t.Key) >= 4 && strings.EqualFold((*t.Key)[:4], "aws:") {
			return nil, invalidInput("Tag keys beginning with aws: are reserved for system use.")
		}
		tags = append(tags, directory.Tag{Key: *t.Key, Value: aws.ToString(t.Value)})
	}
	return tags, nil
}

// merge lays more over tags; the same key replaces.
func merge(tags, more []directory.Tag, quota string, same func(a, b string) bool) ([]directory.Tag, error) {
	for _, t := range more {
		i := slices.IndexFunc(tags, func(o directory.Tag) bool { return same(o.Key, t.Key) })
		if i < 0 {
			tags = append(tags, t)
		} else {
			tags[i] = t
		}
	}
	if len(tags) > maxTags {
		return nil, limitExceeded("Cannot exceed quota for %s: %d", quota, maxTags)
	}
	return tags, nil
}

func without(tags []directory.Tag, keys []string, same func(a, b string) bool) []directory.Tag {
	return slices.DeleteFunc(tags, func(t directory.Tag) bool {
		return slices.ContainsFunc(keys, func(k string) bool { return same(k, t.Key) })
	})
}

func requestTags(in []types.Tag) map[string]string {
	if len(in) == 0 {
		return nil
	}
	m := make(map[string]string, len(in))
	for _, t := range in {
		m[*t.Key] = aws.ToString(t.Value)
	}
	return m
}

func sdkTag(t directory.Tag) types.Tag {
	return types.Tag{Key: aws.String(t.Key), Value: aws.String(t.Value)}
}

// sdkTags is nil for none, so that the element is left out.
func sdkTags(tags []directory.Tag) []types.Tag {
	if len(tags) == 0 {
		return nil
	}
	return convert(tags, sdkTag)
}

// tag, untag and listTags do the work for users, roles and instance profiles.
func (s *Service) tag(ctx context.Context, action string, kind directory.Kind, name, quota string, in []types.Tag) error {
	access := &authz.Access{Action: action, RequestTags: requestTags(in)}
	return s.change(ctx, kind, name, access, func(_ *directory.Tx, sub *subject) error {
		tags, err := newTags(in, sameTag(kind))
		if err != nil {
			return err
		}
		sub.Tags, err = merge(sub.Tags, tags, quota, sameTag(kind))
		return err
	})
}

func (s *Service) untag(ctx context.Context, action string, kind directory.Kind, name string, keys []string) error {
	return s.change(ctx, kind, name, &authz.Access{Action: action, TagKeys: keys}, func(_ *directory.Tx, sub *subject) error {
		sub.Tags = without(sub.Tags, keys, sameTag(kind))
		return nil
	})
}

func (s *Service) listTags(ctx context.Context, action string, kind directory.Kind, name string, marker *string, maxItems *int32) (tags []types.Tag, next *string, err error) {
	err = s.read(ctx, kind, name, &authz.Access{Action: action}, func(_ *directory.Tx, sub *subject) error {
		tags, next, err = tagPage(sub.Tags, marker, maxItems)
		return err
	})
	return tags, next, err
}

func tagPage(tags []directory.Tag, marker *string, maxItems *int32) ([]types.Tag, *string, error) {
	last, err := after(marker)
	if err != nil {
		return nil, nil, err
	}
	key := func(t directory.Tag) string { return t.Key }
	var rest iter.Seq2[directory.Tag, error] = sliceAfter(tags, last, key)
	page, next, err := pageOf(rest, maxItems, key)
	return convert(page, sdkTag), next, err
}

func (s *Service) TagUser(ctx context.Context, in *iam.TagUserInput) (*iam.TagUserOutput, error) {
	if err := s.tag(ctx, "iam:TagUser", directory.KindUser, *in.UserName, "TagsPerUser", in.Tags); err != nil {
		return nil, err
	}
	return &iam.TagUserOutput{}, nil
}

func (s *Service) UntagUser(ctx context.Context, in *iam.UntagUserInput) (*iam.UntagUserOutput, error) {
	if err := s.untag(ctx, "iam:UntagUser", directory.KindUser, *in.UserName, in.TagKeys); err != nil {
		return nil, err
	}
	return &iam.UntagUserOutput{}, nil
}

func (s *Service) ListUserTags(ctx context.Context, in *iam.ListUserTagsInput) (*iam.ListUserTagsOutput, error) {
	tags, next, err := s.listTags(ctx, "iam:ListUserTags", directory.KindUser, *in.UserName, in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	return &iam.ListUserTagsOutput{Tags: tags, Marker: next, IsTruncated: next != nil}, nil
}

func (s *Service) TagRole(ctx context.Context, in *iam.TagRoleInput) (*iam.TagRoleOutput, error) {
	if err := s.tag(ctx, "iam:TagRole", directory.KindRole, *in.RoleName, "TagsPerRole", in.Tags); err != nil {
		return nil, err
	}
	return &iam.TagRoleOutput{}, nil
}

func (s *Service) UntagRole(ctx context.Context, in *iam.UntagRoleInput) (*iam.UntagRoleOutput, error) {
	if err := s.untag(ctx, "iam:UntagRole", directory.KindRole, *in.RoleName, in.TagKeys); err != nil {
		return nil, err
	}
	return &iam.UntagRoleOutput{}, nil
}

func (s *Service) ListRoleTags(ctx context.Context, in *iam.ListRoleTagsInput) (*iam.ListRoleTagsOutput, error) {
	tags, next, err := s.listTags(ctx, "iam:ListRoleTags", directory.KindRole, *in.RoleName, in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	return &iam.ListRoleTagsOutput{Tags: tags, Marker: next, IsTruncated: next != nil}, nil
}

func (s *Service) TagPolicy(ctx context.Context, in *iam.TagPolicyInput) (*iam.TagPolicyOutput, error) {
	access := &authz.Access{Action: "iam:TagPolicy", RequestTags: requestTags(in.Tags)}
	err := s.changePolicy(ctx, *in.PolicyArn, access, func(tx *directory.Tx, p *directory.Policy) error {
		tags, err := newTags(in.Tags, exactly)
		if err != nil {
			return err
		}
		if p.Tags, err = merge(p.Tags, tags, "TagsPerPolicy", exactly); err != nil {
			return err
		}
		return tx.PutPolicy(p)
	})
	if err != nil {
		return nil, err
	}
	return &iam.TagPolicyOutput{}, nil
}

func (s *Service) UntagPolicy(ctx context.Context, in *iam.UntagPolicyInput) (*iam.UntagPolicyOutput, error) {
	access := &authz.Access{Action: "iam:UntagPolicy", TagKeys: in.TagKeys}
	err := s.changePolicy(ctx, *in.PolicyArn, access, func(tx *directory.Tx, p *directory.Policy) error {
		p.Tags = without(p.Tags, in.TagKeys, exactly)
		return tx.PutPolicy(p)
	})
	if err != nil {
		return nil, err
	}
	return &iam.UntagPolicyOutput{}, nil
}

func (s *Service) ListPolicyTags(ctx context.Context, in *iam.ListPolicyTagsInput) (*iam.ListPolicyTagsOutput, error) {
	out := new(iam.ListPolicyTagsOutput)
	err := s.readPolicy(ctx, *in.PolicyArn, &authz.Access{Action: "iam:ListPolicyTags"}, func(_ *directory.Tx, p *directory.Policy) (err error) {
		out.Tags, out.Marker, err = tagPage(p.Tags, in.Marker, in.MaxItems)
		out.IsTruncated = out.Marker != nil
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}
