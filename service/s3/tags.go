package s3

import (
	"context"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/malote/malote/internal/lazyregexp"
	"github.com/malote/malote/store"
)

const (
	maxBucketTags = 50
	maxObjectTags = 10
)

// tagMap checks tags.
//
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-tagging.html
func tagMap(tags []types.Tag, limit int) (map[string]string, error) {
	if len(tags) > limit {
		if limit == maxObjectTags {
			return nil, bad("BadRequest", "Object tags cannot be greater than 10")
		}
		return nil, bad("BadRequest", "Bucket tag count cannot be greater than 50")
	}
	found := make(map[string]string, len(tags))
	for _, tag := range tags {
		key, value := aws.ToString(tag.Key), aws.ToString(tag.Value)
		_, twice := found[key]
		switch {
		case twice:
			return nil, bad("InvalidTag", "Cannot provide multiple Tags with the same key").with("TagKey", key)
		case key == "" || utf8.RuneCountInString(key) > 128 || !taggable.MatchString(key):
			return nil, bad("InvalidTag", "The TagKey you have provided is invalid").with("TagKey", key)
		case utf8.RuneCountInString(value) > 256 || !taggable.MatchString(value):
			return nil, bad("InvalidTag", "The TagValue you have provided is invalid").with("TagKey", key).with("TagValue", value)
		case strings.HasPrefix(strings.ToLower(key), "aws:"):
			return nil, bad("InvalidTag", "System tags cannot be added/updated by requester").with("TagKey", key)
		}
		found[key] = value
	}
	return found, nil
}

var taggable = lazyregexp.New(`^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$`)

func tagList(tags map[string]string) []types.Tag {
	list := make([]types.Tag, 0, len(tags))
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		list = append(list, types.Tag{Key: aws.String(key), Value: aws.String(tags[key])})
	}
	return list
}

// PutBucketTagging replaces the bucket's tags.
func (s *Service) PutBucketTagging(ctx context.Context, in *s3.PutBucketTaggingInput) (*s3.PutBucketTaggingOutput, error) {
	err := s.configure(ctx, *in.Bucket, in.ExpectedBucketOwner, access{action: "s3:PutBucketTagging"}, func(b *bucket) (err error) {
		b.Tags, err = tagMap(in.Tagging.TagSet, maxBucketTags)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &s3.PutBucketTaggingOutput{}, nil
}

// GetBucketTagging returns the bucket's tags, NoSuchTagSet when it has none.
func (s *Service) GetBucketTagging(ctx context.Context, in *s3.GetBucketTaggingInput) (*s3.GetBucketTaggingOutput, error) {
	b, err := s.open(ctx, *in.Bucket, in.ExpectedBucketOwner, access{action: "s3:GetBucketTagging"})
	if err != nil {
		return nil, err
	}
	if len(b.Tags) == 0 {
		return nil, missing("NoSuchTagSet", "The TagSet does not exist").with("BucketName", b.Name)
	}
	return &s3.GetBucketTaggingOutput{TagSet: tagList(b.Tags)}, nil
}

// DeleteBucketTagging takes the bucket's tags off.
func (s *Service) DeleteBucketTagging(ctx context.Context, in *s3.DeleteBucketTaggingInput) (*s3.DeleteBucketTaggingOutput, error) {
	err := s.configure(ctx, *in.Bucket, in.ExpectedBucketOwner, access{action: "s3:PutBucketTagging"}, func(b *bucket) error {
		b.Tags = nil
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &s3.DeleteBucketTaggingOutput{}, nil
}

// GetObjectTagging returns a version's tags.
func (s *Service) GetObjectTagging(ctx context.Context, in *s3.GetObjectTaggingInput) (*s3.GetObjectTaggingOutput, error) {
	f, err := s.seek(ctx, reading{bucket: *in.Bucket, key: *in.Key, owner: in.ExpectedBucketOwner, version: in.VersionId, action: "s3:GetObjectTagging"})
	if err != nil {
		return nil, err
	}
	if in.RequestPayer != "" {
		return nil, notImplemented("x-amz-request-payer")
	}
	return &s3.GetObjectTaggingOutput{TagSet: tagList(f.object.Tags), VersionId: f.bucket.named(f.object)}, nil
}

// PutObjectTagging replaces a version's tags.
func (s *Service) PutObjectTagging(ctx context.Context, in *s3.PutObjectTaggingInput) (*s3.PutObjectTaggingOutput, error) {
	wanted := map[string]string{}
	for _, tag := range in.Tagging.TagSet {
		wanted[aws.ToString(tag.Key)] = aws.ToString(tag.Value)
	}
	version, err := s.retag(ctx, *in.Bucket, *in.Key, in.ExpectedBucketOwner, in.VersionId, "s3:PutObject", wanted, func() (map[string]string, error) {
		if in.RequestPayer != "" {
			return nil, notImplemented("x-amz-request-payer")
		}
		return tagMap(in.Tagging.TagSet, maxObjectTags)
	})
	if err != nil {
		return nil, err
	}
	return &s3.PutObjectTaggingOutput{VersionId: version}, nil
}

// DeleteObjectTagging takes a version's tags off.
func (s *Service) DeleteObjectTagging(ctx context.Context, in *s3.DeleteObjectTaggingInput) (*s3.DeleteObjectTaggingOutput, error) {
	version, err := s.retag(ctx, *in.Bucket, *in.Key, in.ExpectedBucketOwner, in.VersionId, "s3:DeleteObject", nil, func() (map[string]string, error) { return nil, nil })
	if err != nil {
		return nil, err
	}
	return &s3.DeleteObjectTaggingOutput{VersionId: version}, nil
}

// retag gives a version other tags. The action is verb+"Tagging", or "VersionTagging".
func (s *Service) retag(ctx context.Context, name, key string, owner, version *string, verb string, wanted map[string]string, tags func() (map[string]string, error)) (*string, error) {
	b, err := s.find(ctx, name)
	if err != nil {
		return nil, err
	}
	if err := b.ownedBy(owner); err != nil {
		return nil, err
	}
	var o *object
	read := func(tx store.Tx) (err error) { o, err = s.look(tx, b, key, aws.ToString(version)); return err }
	wrong := checkKey(key)
	if wrong == nil {
		wrong = s.store.View(ctx, read)
	}
	a := access{action: verb + "Tagging", key: key, requestTags: wanted}
	if version != nil {
		a.action = verb + "VersionTagging"
		a.conditions = map[string][]string{"s3:versionid": {*version}}
	}
	if o != nil {
		a.objectTags = o.Tags
	}
	if err := s.authorize(ctx, b, a); err != nil {
		return nil, err
	}
	if wrong != nil {
		return nil, wrong
	}
	given, err := tags()
	if err != nil {
		return nil, err
	}
	err = s.write(ctx, b, []access{a}, func(tx store.Tx, b *bucket) error {
		was := o
		if err := read(tx); err != nil {
			return err
		}
		switch {
		case o == nil || o.Marker:
			if version != nil {
				return noSuchVersion(key, *version)
			}
			return noSuchKey(key)
		case was == nil || !maps.Equal(was.Tags, o.Tags):
			return aborted() // the tags may have decided
		}
		changed := *o
		changed.Tags = given
		return s.objects.Put(tx, b.record(o), &changed)
	})
	if err != nil {
		return nil, err
	}
	return b.named(o), nil
}
