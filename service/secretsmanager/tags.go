package secretsmanager

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/malote/malote/internal/ourtags"
	"github.com/malote/malote/store"
)

const maxTags = 50

// TagResource adds tags to a secret and replaces those with the same key. Those that would
// take the caller's own right to do so are refused, as by UntagResource.
func (s *Service) TagResource(ctx context.Context, in *secretsmanager.TagResourceInput) (*secretsmanager.TagResourceOutput, error) {
	a := access{action: "secretsmanager:TagResource", secretID: *in.SecretId, requestTags: requestTags(in.Tags)}
	x, err := s.authorizedSecret(ctx, a)
	if err != nil {
		return nil, err
	}
	err = s.retag(ctx, a, x, func(old []tag) ([]tag, error) { return addTags(old, in.Tags) })
	if err != nil {
		return nil, err
	}
	return &secretsmanager.TagResourceOutput{}, nil
}

// UntagResource removes tags. Keys that the secret does not have are ignored.
func (s *Service) UntagResource(ctx context.Context, in *secretsmanager.UntagResourceInput) (*secretsmanager.UntagResourceOutput, error) {
	a := access{action: "secretsmanager:UntagResource", secretID: *in.SecretId, tagKeys: in.TagKeys}
	x, err := s.authorizedSecret(ctx, a)
	if err != nil {
		return nil, err
	}
	err = s.retag(ctx, a, x, func(old []tag) ([]tag, error) {
		return slices.DeleteFunc(slices.Clone(old), func(t tag) bool { return slices.Contains(in.TagKeys, t.Key) }), nil
	})
	if err != nil {
		return nil, err
	}
	return &secretsmanager.UntagResourceOutput{}, nil
}

// retag gives x the tags that fn makes of its own, unless the caller, who was allowed a,
// would not be with them.
//
// AWS: API_TagResource, API_UntagResource
func (s *Service) retag(ctx context.Context, a access, x *secret, fn func([]tag) ([]tag, error)) error {
	for range attempts {
		if err := cmp.Or(x.mayChange(), x.active()); err != nil {
			return err
		}
		tags, err := fn(x.Tags)
		if err != nil {
			return err
		}
		if !slices.Equal(tags, x.Tags) {
			after := x.clone()
			after.Tags = tags
			after.Prepare()
			may, err := s.stillMay(ctx, a, after)
			switch {
			case err != nil:
				return err
			case !may:
				return accessDenied("You can't change the tags of secret " + x.arn + " in this way, because you would lose your permissions to it.")
			}
		}
		_, err = s.change(ctx, a, x, func(_ store.Tx, now *secret) error {
			if err := now.active(); err != nil {
				return err
			}
			if !slices.Equal(now.Tags, x.Tags) || now.Policy.Text != x.Policy.Text {
				return errMoved
			}
			now.Tags, now.Tagged = tags, now.Tagged || len(tags) > 0
			now.Changed = s.timestamp()
			return nil
		})
		if !errors.Is(err, errMoved) {
			return err
		}
		if x, err = s.again(ctx, a, x); err != nil {
			return err
		}
	}
	return fmt.Errorf("tagging secret %s: %w", x.Name, errMoved)
}

// addTags returns old, which it does not change, with more put in.
func addTags(old []tag, more []types.Tag) ([]tag, error) {
	tags := slices.Clone(old)
	seen := map[string]bool{}
	for _, t := range more {
		name, value := aws.ToString(t.Key), aws.ToString(t.Value)
		switch {
		case name == "":
			return nil, invalidParameter("You must provide a Key for each tag.")
		case len(name) >= 4 && strings.EqualFold(name[:4], "aws:"):
			return nil, invalidParameter("Tag keys can't start with aws:, which is reserved.")
		case seen[name]:
			return nil, invalidParameter("You can't provide the tag key %s more than once.", name)
		}
		if err := ourtags.Check(name, value); err != nil {
			return nil, invalidParameter("The secret's tags are not valid: %v.", err)
		}
		seen[name] = true
		if i := slices.IndexFunc(tags, func(t tag) bool { return t.Key == name }); i >= 0 {
			tags[i].Value = value
			continue
		}
		tags = append(tags, tag{name, value})
	}
	if len(tags) > maxTags {
		return nil, limitExceeded("A secret can't have more than %d tags.", maxTags)
	}
	return tags, nil
}

func requestTags(tags []types.Tag) map[string]string {
	if len(tags) == 0 {
		return nil
	}
	m := make(map[string]string, len(tags))
	for _, t := range tags {
		m[aws.ToString(t.Key)] = aws.ToString(t.Value)
	}
	return m
}

func boolCondition(b bool) []string { return []string{strconv.FormatBool(b)} }
func intCondition(n int64) []string { return []string{strconv.FormatInt(n, 10)} }
