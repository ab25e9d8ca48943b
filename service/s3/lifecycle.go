package s3

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/malote/malote/store"
)

// lifecycle is what a bucket does with objects that have become old.
type lifecycle struct {
	Given   []types.LifecycleRule                    // as they were put
	MinSize types.TransitionDefaultMinimumObjectSize // kept for clients that compare

	rules []*rule
}

// rule is one rule, as it is carried out.
type rule struct {
	on              bool
	prefix          string
	tags            map[string]string
	larger, smaller *int64 // than which an object has to be

	days      int32 // 0: not
	date      *time.Time
	markers   bool  // those with nothing behind them
	oldDays   int32 // of versions that are not the newest
	oldKept   int32
	abortDays int32
}

// prepare reads the rules, which were found to be right when they were put.
func (l *lifecycle) prepare() error {
	l.rules = nil
	for i := range l.Given {
		r, err := newRule(&l.Given[i])
		if err != nil {
			return err
		}
		l.rules = append(l.rules, r)
	}
	return nil
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
			if _, err := newRule(&given); err != nil {
				return err
			}
			if ids[*given.ID] {
				return invalidArgument("ID", *given.ID, "Rule ID must be unique. Found same ID for one or more rules")
			}
			ids[*given.ID] = true
			l.Given = append(l.Given, given)
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
func newRule(given *types.LifecycleRule) (*rule, error) {
	r := &rule{on: given.Status == types.ExpirationStatusEnabled}
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
	r.prefix = aws.ToString(given.Prefix) //nolint:staticcheck // the old form
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
		case aws.ToBool(e.ExpiredObjectDeleteMarker) && len(r.tags) > 0:
			return nil, invalid("ExpiredObjectDeleteMarker cannot be specified with Tags.")
		}
		r.days, r.date, r.markers = aws.ToInt32(e.Days), e.Date, aws.ToBool(e.ExpiredObjectDeleteMarker)
	}
	if n := given.NoncurrentVersionExpiration; n != nil {
		acts = true
		if aws.ToInt32(n.NoncurrentDays) < 1 {
			return nil, invalidArgument("NoncurrentDays", fmt.Sprint(aws.ToInt32(n.NoncurrentDays)), "'NoncurrentDays' for NoncurrentVersionExpiration action must be a positive integer")
		}
		r.oldDays, r.oldKept = *n.NoncurrentDays, aws.ToInt32(n.NewerNoncurrentVersions)
	}
	if a := given.AbortIncompleteMultipartUpload; a != nil {
		acts = true
		if aws.ToInt32(a.DaysAfterInitiation) < 1 {
			return nil, invalidArgument("DaysAfterInitiation", fmt.Sprint(aws.ToInt32(a.DaysAfterInitiation)), "'DaysAfterInitiation' for AbortIncompleteMultipartUpload action must be a positive integer")
		}
		if len(r.tags) > 0 {
			return nil, invalid("AbortIncompleteMultipartUpload cannot be specified with Tags.")
		}
		r.abortDays = *a.DaysAfterInitiation
	}
	if !acts {
		return nil, invalid("At least one action needs to be specified in a rule.")
	}
	return r, nil
}

func (r *rule) filter(f *types.LifecycleRuleFilter) error {
	r.prefix, r.larger, r.smaller = aws.ToString(f.Prefix), f.ObjectSizeGreaterThan, f.ObjectSizeLessThan
	var tags []types.Tag
	if f.Tag != nil {
		tags = []types.Tag{*f.Tag}
	}
	if and := f.And; and != nil {
		r.prefix, r.larger, r.smaller, tags = aws.ToString(and.Prefix), and.ObjectSizeGreaterThan, and.ObjectSizeLessThan, and.Tags
	}
	switch {
	case r.larger != nil && *r.larger < 0:
		return invalidArgument("ObjectSizeGreaterThan", fmt.Sprint(*r.larger), "'ObjectSizeGreaterThan' must not be negative")
	case r.smaller != nil && *r.smaller < 1:
		return invalidArgument("ObjectSizeLessThan", fmt.Sprint(*r.smaller), "'ObjectSizeLessThan' must be positive")
	case r.larger != nil && r.smaller != nil && *r.larger >= *r.smaller:
		return bad("InvalidRequest", "'ObjectSizeLessThan' has to be a value greater than 'ObjectSizeGreaterThan'.")
	}
	var err error
	r.tags, err = tagMap(tags, maxBucketTags)
	return err
}

// covers reports whether the rule is for the object.
func (r *rule) covers(o *object) bool {
	if !r.on || !strings.HasPrefix(o.Key, r.prefix) || !o.Marker && (r.larger != nil && o.Size <= *r.larger || r.smaller != nil && o.Size >= *r.smaller) {
		return false
	}
	for key, value := range r.tags {
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
	for _, r := range l.rules {
		if r.on && r.abortDays > 0 && strings.HasPrefix(u.Key, r.prefix) && !now.Before(dueAfter(u.Begun, r.abortDays)) {
			return true
		}
	}
	return false
}

// expires reports whether a version has had its time: newer is the version before it, nil
// for the newest; alone says that there is none behind it; kept is how many noncurrent
// versions are newer.
func (l *lifecycle) expires(o, newer *object, alone bool, kept int32, now time.Time) bool {
	for _, r := range l.rules {
		if !r.covers(o) {
			continue
		}
		switch {
		case newer != nil:
			if r.oldDays > 0 && kept >= r.oldKept && !now.Before(dueAfter(newer.Modified, r.oldDays)) {
				return true
			}
		case o.Marker:
			if alone && r.markers {
				return true
			}
		case r.days > 0 && !now.Before(dueAfter(o.Modified, r.days)), r.date != nil && !now.Before(*r.date):
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
		// Since it was found, tags, rules and versions may be others.
		var versions []*object
		for row, err := range s.objects.Scan(tx, b.versions(d.object.Key), "") {
			if err != nil {
				return err
			}
			versions = append(versions, row.Value)
		}
		found := b.Lifecycle.dueOf(versions, s.now())
		i := slices.IndexFunc(found, func(now due) bool {
			return now.object.Seq == d.object.Seq && now.object.Version == d.object.Version && now.newest == d.newest
		})
		if i < 0 {
			return nil
		}
		o := found[i].object
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
	out.Rules = b.Lifecycle.Given
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
