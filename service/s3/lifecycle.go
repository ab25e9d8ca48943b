package s3

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/malote/malote/store"
)

// lifecycle is what a bucket does with objects that have become old.
type lifecycle struct {
	Rules   []rule
	MinSize types.TransitionDefaultMinimumObjectSize // kept for clients that compare
}

// rule is one rule, as it is carried out; Given is how it was put.
type rule struct {
	Given   types.LifecycleRule
	On      bool
	Prefix  string            `json:",omitempty"`
	Tags    map[string]string `json:",omitempty"`
	Larger  int64             `json:",omitempty"`
	Smaller int64             `json:",omitempty"` // 0: no limit

	Days      int32      `json:",omitempty"` // 0: not
	Date      *time.Time `json:",omitempty"`
	Markers   bool       `json:",omitempty"` // those with nothing behind them
	OldDays   int32      `json:",omitempty"` // of versions that are not the newest
	OldKept   int32      `json:",omitempty"`
	AbortDays int32      `json:",omitempty"`
}

const maxRules = 1000

// PutBucketLifecycleConfiguration says after what time objects expire. Transitions to other
// storage classes there are none.
//
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/intro-lifecycle-rules.html
func (s *Service) PutBucketLifecycleConfiguration(ctx context.Context, in *s3.PutBucketLifecycleConfigurationInput) (*s3.PutBucketLifecycleConfigurationOutput, error) {
	size := in.TransitionDefaultMinimumObjectSize
	if size == "" {
		size = types.TransitionDefaultMinimumObjectSizeAllStorageClasses128k
	}
	err := s.configure(ctx, *in.Bucket, in.ExpectedBucketOwner, access{action: "s3:PutLifecycleConfiguration"}, func(b *bucket) error {
		if in.LifecycleConfiguration == nil || len(in.LifecycleConfiguration.Rules) == 0 || len(in.LifecycleConfiguration.Rules) > maxRules {
			return malformedXML()
		}
		l := &lifecycle{MinSize: size}
		ids := map[string]bool{}
		for _, given := range in.LifecycleConfiguration.Rules {
			if aws.ToString(given.ID) == "" {
				given.ID = aws.String(newID())
			}
			r, err := newRule(given)
			if err != nil {
				return err
			}
			if ids[*given.ID] {
				return invalidArgument("ID", *given.ID, "Rule ID must be unique. Found same ID for one or more rules")
			}
			ids[*given.ID] = true
			l.Rules = append(l.Rules, *r)
		}
		b.Lifecycle = l
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &s3.PutBucketLifecycleConfigurationOutput{TransitionDefaultMinimumObjectSize: size}, nil
}

// newRule reads one rule.
func newRule(given types.LifecycleRule) (*rule, error) {
	r := &rule{Given: given, On: given.Status == types.ExpirationStatusEnabled}
	invalid := func(format string, args ...any) error { return bad("InvalidRequest", format, args...) }
	switch {
	case len(aws.ToString(given.ID)) > 255:
		return nil, invalidArgument("ID", *given.ID, "ID length should not exceed allowed limit of 255")
	case len(given.Transitions) > 0 || len(given.NoncurrentVersionTransitions) > 0:
		return nil, notImplemented("Transition")
	case given.Status != types.ExpirationStatusEnabled && given.Status != types.ExpirationStatusDisabled:
		return nil, malformedXML()
	case given.Filter != nil && given.Prefix != nil: //nolint:staticcheck // the old form
		return nil, malformedXML()
	}
	r.Prefix = aws.ToString(given.Prefix) //nolint:staticcheck // the old form
	if f := given.Filter; f != nil {
		if err := r.filter(f); err != nil {
			return nil, err
		}
	}
	acts := false
	if e := given.Expiration; e != nil {
		acts = true
		switch {
		case e.Days != nil && *e.Days < 1:
			return nil, invalidArgument("Days", fmt.Sprint(*e.Days), "'Days' for Expiration action must be a positive integer")
		case e.Date != nil && !e.Date.Equal(e.Date.Truncate(24*time.Hour)):
			return nil, invalidArgument("Date", e.Date.Format(time.RFC3339), "'Date' must be at midnight GMT")
		case (e.Days != nil && e.Date != nil) || (aws.ToBool(e.ExpiredObjectDeleteMarker) && (e.Days != nil || e.Date != nil)):
			return nil, malformedXML()
		case aws.ToBool(e.ExpiredObjectDeleteMarker) && len(r.Tags) > 0:
			return nil, invalid("ExpiredObjectDeleteMarker cannot be specified with Tags.")
		}
		r.Days, r.Date, r.Markers = aws.ToInt32(e.Days), e.Date, aws.ToBool(e.ExpiredObjectDeleteMarker)
	}
	if n := given.NoncurrentVersionExpiration; n != nil {
		acts = true
		if aws.ToInt32(n.NoncurrentDays) < 1 {
			return nil, invalidArgument("NoncurrentDays", fmt.Sprint(aws.ToInt32(n.NoncurrentDays)), "'NoncurrentDays' for NoncurrentVersionExpiration action must be a positive integer")
		}
		r.OldDays, r.OldKept = *n.NoncurrentDays, aws.ToInt32(n.NewerNoncurrentVersions)
	}
	if a := given.AbortIncompleteMultipartUpload; a != nil {
		acts = true
		if aws.ToInt32(a.DaysAfterInitiation) < 1 {
			return nil, invalidArgument("DaysAfterInitiation", fmt.Sprint(aws.ToInt32(a.DaysAfterInitiation)), "'DaysAfterInitiation' for AbortIncompleteMultipartUpload action must be a positive integer")
		}
		if len(r.Tags) > 0 {
			return nil, invalid("AbortIncompleteMultipartUpload cannot be specified with Tags.")
		}
		r.AbortDays = *a.DaysAfterInitiation
	}
	if !acts {
		return nil, invalid("At least one action needs to be specified in a rule.")
	}
	return r, nil
}

func (r *rule) filter(f *types.LifecycleRuleFilter) error {
	r.Prefix, r.Larger, r.Smaller = aws.ToString(f.Prefix), aws.ToInt64(f.ObjectSizeGreaterThan), aws.ToInt64(f.ObjectSizeLessThan)
	var tags []types.Tag
	if f.Tag != nil {
		tags = []types.Tag{*f.Tag}
	}
	if and := f.And; and != nil {
		r.Prefix, r.Larger, r.Smaller, tags = aws.ToString(and.Prefix), aws.ToInt64(and.ObjectSizeGreaterThan), aws.ToInt64(and.ObjectSizeLessThan), and.Tags
	}
	var err error
	r.Tags, err = tagMap(tags, maxBucketTags)
	return err
}

// covers reports whether the rule is for the object.
func (r *rule) covers(o *object) bool {
	if !r.On || !strings.HasPrefix(o.Key, r.Prefix) || !o.Marker && (o.Size <= r.Larger && r.Larger > 0 || r.Smaller > 0 && o.Size >= r.Smaller) {
		return false
	}
	for key, value := range r.Tags {
		if got, ok := o.Tags[key]; !ok || got != value {
			return false
		}
	}
	return true
}

// dueAfter is the midnight after which something of that time and age is due.
func dueAfter(since time.Time, days int32) time.Time {
	return since.UTC().AddDate(0, 0, int(days)).Truncate(24 * time.Hour).Add(24 * time.Hour)
}

// aborts reports whether an upload has gone on for too long. A bucket may have no
// lifecycle.
func (l *lifecycle) aborts(u *upload, now time.Time) bool {
	if l == nil {
		return false
	}
	for i := range l.Rules {
		r := &l.Rules[i]
		if r.On && r.AbortDays > 0 && strings.HasPrefix(u.Key, r.Prefix) && !now.Before(dueAfter(u.Begun, r.AbortDays)) {
			return true
		}
	}
	return false
}

// expires reports whether a version has had its time: newer is the version before it, nil
// for the newest; alone says that there is none behind it; kept is how many noncurrent
// versions are newer.
func (l *lifecycle) expires(o, newer *object, alone bool, kept int32, now time.Time) bool {
	for i := range l.Rules {
		r := &l.Rules[i]
		if !r.covers(o) {
			continue
		}
		switch {
		case newer != nil:
			if r.OldDays > 0 && kept >= r.OldKept && !now.Before(dueAfter(newer.Modified, r.OldDays)) {
				return true
			}
		case o.Marker:
			if alone && r.Markers {
				return true
			}
		case r.Days > 0 && !now.Before(dueAfter(o.Modified, r.Days)), r.Date != nil && !now.Before(*r.Date):
			return true
		}
	}
	return false
}

// expire carries out the lifecycles of all buckets.
func (s *Service) expire(ctx context.Context) error {
	var buckets []*bucket
	err := s.store.View(ctx, func(tx store.Tx) error {
		buckets = buckets[:0]
		for row, err := range s.buckets.Scan(tx, bucketPrefix, "") {
			if err != nil {
				return err
			}
			if row.Value.Lifecycle != nil {
				buckets = append(buckets, row.Value)
			}
		}
		return nil
	})
	for _, b := range buckets {
		if failed := s.expireIn(ctx, b); failed != nil {
			err = errors.Join(err, fmt.Errorf("the lifecycle of bucket %s: %w", b.Name, failed))
		}
	}
	return err
}

// due is a version that a lifecycle ends.
type due struct {
	object *object
	newest bool
}

func (s *Service) expireIn(ctx context.Context, b *bucket) error {
	for after := ""; ; {
		var found []due
		next := ""
		err := s.store.View(ctx, func(tx store.Tx) error {
			found, next = found[:0], ""
			var versions []*object
			read := 0
			for row, err := range s.objects.Scan(tx, b.objectPrefix(), after) {
				if err != nil {
					return err
				}
				if len(versions) > 0 && versions[0].Key != row.Value.Key {
					found = append(found, b.Lifecycle.dueOf(versions, s.now())...)
					if read >= maxPage {
						next = b.versions(versions[0].Key) + last
						return nil
					}
					versions = versions[:0]
				}
				versions = append(versions, row.Value)
				read++
			}
			found = append(found, b.Lifecycle.dueOf(versions, s.now())...)
			return nil
		})
		if err != nil {
			return err
		}
		for _, d := range found {
			if err := s.expireOne(ctx, b, d); err != nil {
				return err
			}
		}
		if next == "" {
			return nil
		}
		after = next
	}
}

// dueOf are those of a key's versions, newest first, that have had their time.
func (l *lifecycle) dueOf(versions []*object, now time.Time) []due {
	var found []due
	for i, o := range versions {
		var newer *object
		if i > 0 {
			newer = versions[i-1]
		}
		if l.expires(o, newer, len(versions) == 1, int32(i-1), now) {
			found = append(found, due{o, i == 0})
		}
	}
	return found
}

// expireOne deletes a version; a newest one, where there are versions, gets a delete
// marker before it.
func (s *Service) expireOne(ctx context.Context, was *bucket, d due) error {
	removed := false
	err := s.store.Update(ctx, func(tx store.Tx) error {
		removed = false
		b, err := s.bucketIn(tx, was.Name)
		var api *apiError
		switch {
		case errors.As(err, &api):
			return nil
		case err != nil:
			return err
		case b.ID != was.ID || b.Lifecycle == nil:
			return nil
		}
		o, err := s.objects.Get(tx, b.record(d.object))
		if errors.Is(err, store.ErrNotFound) || err == nil && (o.Blob != d.object.Blob || o.Manifest != d.object.Manifest) {
			return nil
		}
		if err != nil {
			return err
		}
		newest, err := s.newest(tx, b, o.Key)
		if err != nil || (newest.Seq == o.Seq) != d.newest {
			return err
		}
		if d.newest && !o.Marker && b.Versioning != "" {
			return s.put(tx, b, &object{Key: o.Key, Marker: true, Modified: s.timestamp()})
		}
		removed = true
		return s.remove(tx, b, o)
	})
	if err == nil && removed {
		s.collectSoon(ctx, d.object)
	}
	return err
}

// GetBucketLifecycleConfiguration returns the rules as they were put.
func (s *Service) GetBucketLifecycleConfiguration(ctx context.Context, in *s3.GetBucketLifecycleConfigurationInput) (*s3.GetBucketLifecycleConfigurationOutput, error) {
	b, err := s.open(ctx, *in.Bucket, in.ExpectedBucketOwner, access{action: "s3:GetLifecycleConfiguration"})
	if err != nil {
		return nil, err
	}
	if b.Lifecycle == nil {
		return nil, missing("NoSuchLifecycleConfiguration", "The lifecycle configuration does not exist").with("BucketName", b.Name)
	}
	out := &s3.GetBucketLifecycleConfigurationOutput{TransitionDefaultMinimumObjectSize: b.Lifecycle.MinSize}
	for i := range b.Lifecycle.Rules {
		out.Rules = append(out.Rules, b.Lifecycle.Rules[i].Given)
	}
	return out, nil
}

// DeleteBucketLifecycle takes the rules away.
func (s *Service) DeleteBucketLifecycle(ctx context.Context, in *s3.DeleteBucketLifecycleInput) (*s3.DeleteBucketLifecycleOutput, error) {
	err := s.configure(ctx, *in.Bucket, in.ExpectedBucketOwner, access{action: "s3:PutLifecycleConfiguration"}, func(b *bucket) error {
		b.Lifecycle = nil
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &s3.DeleteBucketLifecycleOutput{}, nil
}
