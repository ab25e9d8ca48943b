package s3

import (
	"context"
	"errors"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/malote/malote/store"
)

// deletion is what one request, or one key of DeleteObjects, deletes.
type deletion struct {
	key, version string
	match        *string // ETag
}

// deleted is what came of it.
type deleted struct {
	version *string // that was deleted, or of the marker that was made
	marker  bool
	object  *object
}

// DeleteObject deletes a version, or, with versioning, puts a delete marker before all of
// them. What is not there is deleted already.
func (s *Service) DeleteObject(ctx context.Context, in *s3.DeleteObjectInput) (*s3.DeleteObjectOutput, error) {
	b, err := s.find(ctx, *in.Bucket)
	if err != nil {
		return nil, err
	}
	if err := b.ownedBy(in.ExpectedBucketOwner); err != nil {
		return nil, err
	}
	d := deletion{*in.Key, aws.ToString(in.VersionId), in.IfMatch}
	if err := s.authorize(ctx, b, d.access()); err != nil {
		return nil, err
	}
	switch {
	case in.MFA != nil:
		return nil, notImplemented("x-amz-mfa")
	case in.IfMatchLastModifiedTime != nil:
		return nil, notImplemented("x-amz-if-match-last-modified-time")
	case in.IfMatchSize != nil:
		return nil, notImplemented("x-amz-if-match-size")
	case aws.ToBool(in.BypassGovernanceRetention):
		return nil, notImplemented("x-amz-bypass-governance-retention")
	case in.RequestPayer != "":
		return nil, notImplemented("x-amz-request-payer")
	}
	done, err := s.delete(ctx, b, d)
	if err != nil {
		return nil, err
	}
	out := &s3.DeleteObjectOutput{VersionId: done.version}
	if done.marker {
		out.DeleteMarker = aws.Bool(true)
	}
	return out, nil
}

func (d *deletion) access() access {
	if d.version != "" {
		return access{action: "s3:DeleteObjectVersion", key: d.key, conditions: map[string][]string{"s3:versionid": {d.version}}}
	}
	return access{action: "s3:DeleteObject", key: d.key}
}

func (s *Service) delete(ctx context.Context, b *bucket, d deletion) (done deleted, err error) {
	if err := checkKey(d.key); err != nil {
		return done, err
	}
	err = s.write(ctx, b, []access{d.access()}, func(tx store.Tx, b *bucket) error {
		done = deleted{}
		o, err := s.look(tx, b, d.key, d.version)
		if err != nil {
			return err
		}
		if d.match != nil && *d.match != "*" || d.match != nil && (o == nil || o.Marker) {
			c := writeCondition{match: d.match}
			if err := c.holds(d.key, o); err != nil {
				return err
			}
		}
		if d.version != "" {
			done.version = &d.version
			if o == nil {
				return nil
			}
			done.marker, done.object = o.Marker, o
			return s.remove(tx, b, o)
		}
		if b.Versioning == "" {
			if o == nil {
				return nil
			}
			done.object = o
			return s.remove(tx, b, o)
		}
		marker := &object{Key: d.key, Marker: true, Modified: s.timestamp()}
		if err := s.put(tx, b, marker); err != nil {
			return err
		}
		done.marker, done.version = true, aws.String(marker.Version)
		return nil
	})
	if err == nil {
		s.collectSoon(ctx, done.object)
	}
	return done, err
}

// maxKeys is how many keys DeleteObjects takes.
const maxKeys = 1000

// DeleteObjects deletes each of the keys as DeleteObject does, and says of each what came
// of it.
func (s *Service) DeleteObjects(ctx context.Context, in *s3.DeleteObjectsInput) (*s3.DeleteObjectsOutput, error) {
	b, err := s.find(ctx, *in.Bucket)
	if err != nil {
		return nil, err
	}
	if err := b.ownedBy(in.ExpectedBucketOwner); err != nil {
		return nil, err
	}
	switch {
	case len(in.Delete.Objects) == 0 || len(in.Delete.Objects) > maxKeys:
		return nil, s.orDenied(ctx, b, malformedXML())
	case in.MFA != nil:
		return nil, s.orDenied(ctx, b, notImplemented("x-amz-mfa"))
	case aws.ToBool(in.BypassGovernanceRetention):
		return nil, s.orDenied(ctx, b, notImplemented("x-amz-bypass-governance-retention"))
	case in.RequestPayer != "":
		return nil, s.orDenied(ctx, b, notImplemented("x-amz-request-payer"))
	}
	out := &s3.DeleteObjectsOutput{}
	quiet := aws.ToBool(in.Delete.Quiet)
	for _, item := range in.Delete.Objects {
		d := deletion{*item.Key, aws.ToString(item.VersionId), item.ETag}
		err := s.authorize(ctx, b, d.access())
		var done deleted
		switch {
		case err != nil:
		case item.LastModifiedTime != nil || item.Size != nil:
			err = notImplemented("LastModifiedTime")
		default:
			done, err = s.delete(ctx, b, d)
		}
		if err != nil {
			var api *apiError
			if !errors.As(err, &api) {
				return nil, err
			}
			out.Errors = append(out.Errors, types.Error{Key: item.Key, VersionId: item.VersionId, Code: &api.code, Message: &api.message})
			continue
		}
		if quiet {
			continue
		}
		listed := types.DeletedObject{Key: item.Key, VersionId: item.VersionId}
		if done.marker {
			listed.DeleteMarker, listed.DeleteMarkerVersionId = aws.Bool(true), done.version
		}
		out.Deleted = append(out.Deleted, listed)
	}
	return out, nil
}

// orDenied is for what is wrong with a request that names no object: whoever may delete
// none at all is told only that.
func (s *Service) orDenied(ctx context.Context, b *bucket, wrong error) error {
	if err := s.authorize(ctx, b, access{action: "s3:DeleteObject", key: "*"}); err != nil {
		return err
	}
	return wrong
}
