package kms

import (
	"context"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/malote/malote/store"
)

const maxTags = 50

// TagResource adds tags to a key and replaces those with the same key.
func (s *Service) TagResource(ctx context.Context, in *kms.TagResourceInput) (*kms.TagResourceOutput, error) {
	u := use{action: "kms:TagResource", keyID: *in.KeyId, requestTags: requestTags(in.Tags)}
	k, err := s.authorizedKey(ctx, u)
	if err != nil {
		return nil, err
	}
	_, err = s.change(ctx, u, k, func(_ store.Tx, k *key) error {
		if err := k.notPending(); err != nil {
			return err
		}
		var err error
		k.Tags, err = addTags(k.Tags, in.Tags)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &kms.TagResourceOutput{}, nil
}

// UntagResource removes tags. Keys that the key does not have are ignored.
func (s *Service) UntagResource(ctx context.Context, in *kms.UntagResourceInput) (*kms.UntagResourceOutput, error) {
	u := use{action: "kms:UntagResource", keyID: *in.KeyId, tagKeys: in.TagKeys}
	k, err := s.authorizedKey(ctx, u)
	if err != nil {
		return nil, err
	}
	_, err = s.change(ctx, u, k, func(_ store.Tx, k *key) error {
		if err := k.notPending(); err != nil {
			return err
		}
		k.Tags = slices.DeleteFunc(k.Tags, func(t tag) bool { return slices.Contains(in.TagKeys, t.Key) })
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &kms.UntagResourceOutput{}, nil
}

// ListResourceTags lists tags in the order in which they were added.
func (s *Service) ListResourceTags(ctx context.Context, in *kms.ListResourceTagsInput) (*kms.ListResourceTagsOutput, error) {
	k, err := s.authorizedKey(ctx, use{action: "kms:ListResourceTags", keyID: *in.KeyId})
	if err != nil {
		return nil, err
	}
	after, err := decodeMarker(in.Marker)
	if err != nil {
		return nil, err
	}
	part, next := page(k.Tags, func(t tag) string { return t.Key }, after, pageSize(in.Limit, 50))
	out := &kms.ListResourceTagsOutput{Tags: []types.Tag{}, NextMarker: next, Truncated: next != nil}
	for _, t := range part {
		out.Tags = append(out.Tags, types.Tag{TagKey: aws.String(t.Key), TagValue: aws.String(t.Value)})
	}
	return out, nil
}

// addTags returns old, which it does not change, with more put in.
func addTags(old []tag, more []types.Tag) ([]tag, error) {
	tags := slices.Clone(old)
	seen := map[string]bool{}
	for _, t := range more {
		name := aws.ToString(t.TagKey)
		if seen[name] {
			return nil, tagError("Duplicate tag keys")
		}
		seen[name] = true
		if len(name) >= 4 && strings.EqualFold(name[:4], "aws:") {
			return nil, tagError("Tags beginning with aws: are reserved")
		}
		value := aws.ToString(t.TagValue)
		if i := slices.IndexFunc(tags, func(t tag) bool { return t.Key == name }); i >= 0 {
			tags[i].Value = value
			continue
		}
		tags = append(tags, tag{name, value})
	}
	if len(tags) > maxTags {
		return nil, tagError("Too many tags")
	}
	return tags, nil
}

func requestTags(tags []types.Tag) map[string]string {
	if len(tags) == 0 {
		return nil
	}
	m := make(map[string]string, len(tags))
	for _, t := range tags {
		m[aws.ToString(t.TagKey)] = aws.ToString(t.TagValue)
	}
	return m
}

func (k *key) tagMap() map[string]string {
	if len(k.Tags) == 0 {
		return nil
	}
	m := make(map[string]string, len(k.Tags))
	for _, t := range k.Tags {
		m[t.Key] = t.Value
	}
	return m
}
