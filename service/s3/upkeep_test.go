package s3_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/malote/malote/authz"
	"github.com/malote/malote/caller"
	"github.com/malote/malote/malotetest"
	"github.com/malote/malote/policy"
	service "github.com/malote/malote/service/s3"
	"github.com/malote/malote/service/s3/blobs"
	"github.com/malote/malote/store"
	"github.com/malote/malote/store/memory"
)

// nobodys are the policies of whoever has none: root needs none.
type nobodys struct{}

func (nobodys) Policies(context.Context, *caller.Principal) (*policy.Set, error) { return nil, nil }

// alone is a service without a gateway, whose time the test moves.
type alone struct {
	*service.Service
	store store.Store
	blobs service.Blobs
	dir   string
	now   time.Time
	ctx   context.Context // of root
}

func newAlone(t *testing.T) *alone {
	t.Helper()
	a := &alone{store: memory.New(), dir: t.TempDir(), now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	folder, err := blobs.OpenFolder(a.dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(folder.Close(), a.store.Close()); err != nil {
			t.Error(err)
		}
	})
	a.blobs = folder
	root := &caller.Principal{Type: caller.Account, Account: malotetest.Account, ARN: "arn:aws:iam::" + malotetest.Account + ":root", ID: malotetest.Account}
	a.ctx = caller.With(t.Context(), &caller.Request{ID: "test", Principal: root, Region: "us-east-1", Service: "s3"})
	a.start()
	if _, err := a.CreateBucket(a.ctx, &s3.CreateBucketInput{Bucket: aws.String("bucket")}); err != nil {
		t.Fatal(err)
	}
	return a
}

// start makes a service as a new process would.
func (a *alone) start() {
	a.Service = service.New(service.Config{Store: a.store, Blobs: a.blobs, Authz: authz.New(authz.Config{Policies: nobodys{}}), Now: func() time.Time { return a.now }})
}

func (a *alone) put(t *testing.T, key string) {
	t.Helper()
	_, err := a.PutObject(a.ctx, &s3.PutObjectInput{Bucket: aws.String("bucket"), Key: &key, Body: strings.NewReader(key), ContentLength: aws.Int64(int64(len(key)))})
	if err != nil {
		t.Fatal(err)
	}
}

func (a *alone) maintain(t *testing.T) {
	t.Helper()
	if err := service.Maintain(a.ctx, a.Service); err != nil {
		t.Error(err)
	}
}

// keys are what is listed.
func (a *alone) keys(t *testing.T) (found []string) {
	t.Helper()
	out, err := a.ListObjectsV2(a.ctx, &s3.ListObjectsV2Input{Bucket: aws.String("bucket")})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range out.Contents {
		found = append(found, *o.Key)
	}
	return found
}

func (a *alone) files(t *testing.T) (n int) {
	t.Helper()
	err := filepath.WalkDir(a.dir, func(_ string, entry os.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			n++
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// stuck is a body that stops in the middle, as a client's does that went away while the
// process is killed.
type stuck struct {
	reached chan struct{}
	killed  chan struct{}
	sent    bool
}

func (s *stuck) Read(p []byte) (int, error) {
	if !s.sent {
		s.sent = true
		return copy(p, strings.Repeat("x", 1<<20)), nil
	}
	close(s.reached)
	<-s.killed
	return 0, errors.New("killed")
}

// mortal is a store that can be made to fail: as if the process had been killed, or as if
// the answer to a commit had been lost.
type mortal struct {
	store.Store
	dead, deaf bool
}

var errKilled = errors.New("killed")

func (m *mortal) Update(ctx context.Context, fn func(store.Tx) error) error {
	if m.dead {
		return errKilled
	}
	err := m.Store.Update(ctx, fn)
	if err == nil && m.deaf {
		return context.Canceled
	}
	return err
}

// undying keeps what it is told to abort.
type undying struct{ service.Blobs }

func (u undying) Create(ctx context.Context, name string) (service.Blob, error) {
	b, err := u.Blobs.Create(ctx, name)
	return keptBlob{b}, err
}

type keptBlob struct{ service.Blob }

func (keptBlob) Abort() error { return nil }

// What a process was writing when it was killed, another deletes, and not what one writes
// that lives.
func TestUnfinishedBodiesAreSweptAway(t *testing.T) {
	t.Parallel()
	a := newAlone(t)
	a.put(t, "there")
	living, m := a.blobs, &mortal{Store: a.store}
	a.blobs, a.store = undying{living}, m
	a.start()
	body := &stuck{reached: make(chan struct{}), killed: make(chan struct{})}
	ended := make(chan error)
	go func() {
		_, err := a.PutObject(a.ctx, &s3.PutObjectInput{Bucket: aws.String("bucket"), Key: aws.String("half"), Body: body, ContentLength: aws.Int64(2 << 20)})
		ended <- err
	}()
	<-body.reached
	if n := a.files(t); n != 2 {
		t.Fatalf("%d files", n)
	}
	m.dead = true
	close(body.killed)
	if err := <-ended; err == nil {
		t.Fatal("half a body was accepted")
	}
	a.blobs, a.store = living, m.Store
	a.start()
	a.maintain(t)
	if n := a.files(t); n != 2 {
		t.Errorf("%d files: what may still be written was deleted", n)
	}
	a.now = a.now.Add(3 * time.Minute)
	a.maintain(t)
	if n := a.files(t); n != 1 {
		t.Errorf("%d files after the sweep", n)
	}
	if got := a.keys(t); !slices.Equal(got, []string{"there"}) {
		t.Errorf("listed: %v", got)
	}
}

// A body that takes longer than a life without signs gives signs.
func TestALongUploadIsNotSweptAway(t *testing.T) {
	t.Parallel()
	a := newAlone(t)
	left := 20
	body := readerFunc(func(p []byte) (int, error) {
		if left--; left < 0 {
			return 0, io.EOF
		}
		a.now = a.now.Add(45 * time.Second)
		a.maintain(t)
		for i := range p {
			p[i] = 'x'
		}
		return len(p), nil
	})
	_, err := a.PutObject(a.ctx, &s3.PutObjectInput{Bucket: aws.String("bucket"), Key: aws.String("long"), Body: body, ContentLength: aws.Int64(20 * 64 << 10)})
	if err != nil {
		t.Error(err)
	}
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// When it is not known whether a commit happened, the body stays as long as it may be an
// object's.
func TestALostAnswerLosesNoBody(t *testing.T) {
	t.Parallel()
	a := newAlone(t)
	a.put(t, "k")
	m := &mortal{Store: a.store}
	a.store = m
	a.start()
	body := readerFunc(func(p []byte) (int, error) {
		m.deaf = true
		return 0, io.EOF
	})
	if _, err := a.PutObject(a.ctx, &s3.PutObjectInput{Bucket: aws.String("bucket"), Key: aws.String("k"), Body: io.MultiReader(strings.NewReader("new"), body), ContentLength: aws.Int64(3)}); err == nil {
		t.Fatal("no answer was lost")
	}
	m.deaf = false
	a.now = a.now.Add(time.Hour)
	a.maintain(t)
	out, err := a.GetObject(a.ctx, &s3.GetObjectInput{Bucket: aws.String("bucket"), Key: aws.String("k")})
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(out.Body)
	out.Body.Close()
	if err != nil || string(got) != "k" && string(got) != "new" {
		t.Errorf("%q, %v", got, err)
	}
	if n := a.files(t); n != 1 {
		t.Errorf("%d files", n)
	}
}

// Whoever is so slow that the body was swept away is told so, and nothing is listed.
func TestASweptBodyIsNoObject(t *testing.T) {
	t.Parallel()
	a := newAlone(t)
	body := readerFunc(func(p []byte) (int, error) {
		a.now = a.now.Add(3 * time.Minute)
		a.maintain(t)
		return 0, io.EOF
	})
	if _, err := a.PutObject(a.ctx, &s3.PutObjectInput{Bucket: aws.String("bucket"), Key: aws.String("k"), Body: io.MultiReader(strings.NewReader("x"), body), ContentLength: aws.Int64(1)}); code(err) != "RequestTimeout" {
		t.Errorf("PutObject: %v", err)
	}
	a.maintain(t)
	if keys, n := a.keys(t), a.files(t); len(keys) != 0 || n != 0 {
		t.Errorf("%v listed, %d files", keys, n)
	}
}

func TestLifecycle(t *testing.T) {
	t.Parallel()
	a := newAlone(t)
	rule := func(id, prefix string, r types.LifecycleRule) types.LifecycleRule {
		r.ID, r.Status, r.Filter = &id, types.ExpirationStatusEnabled, &types.LifecycleRuleFilter{Prefix: &prefix}
		return r
	}
	_, err := a.PutBucketLifecycleConfiguration(a.ctx, &s3.PutBucketLifecycleConfigurationInput{Bucket: aws.String("bucket"), LifecycleConfiguration: &types.BucketLifecycleConfiguration{Rules: []types.LifecycleRule{
		rule("days", "short/", types.LifecycleRule{Expiration: &types.LifecycleExpiration{Days: aws.Int32(2)}}),
		rule("date", "dated/", types.LifecycleRule{Expiration: &types.LifecycleExpiration{Date: aws.Time(time.Date(2026, 3, 10, 0, 0, 0, 0, time.UTC))}}),
		rule("old", "versions/", types.LifecycleRule{
			Expiration:                  &types.LifecycleExpiration{ExpiredObjectDeleteMarker: aws.Bool(true)},
			NoncurrentVersionExpiration: &types.NoncurrentVersionExpiration{NoncurrentDays: aws.Int32(1), NewerNoncurrentVersions: aws.Int32(1)},
		}),
		{ID: aws.String("size"), Status: types.ExpirationStatusEnabled, Filter: &types.LifecycleRuleFilter{And: &types.LifecycleRuleAndOperator{Prefix: aws.String("kept"), ObjectSizeGreaterThan: aws.Int64(4)}}, Expiration: &types.LifecycleExpiration{Days: aws.Int32(1)}},
		rule("uploads", "", types.LifecycleRule{AbortIncompleteMultipartUpload: &types.AbortIncompleteMultipartUpload{DaysAfterInitiation: aws.Int32(1)}}),
		{ID: aws.String("off"), Status: types.ExpirationStatusDisabled, Prefix: aws.String(""), Expiration: &types.LifecycleExpiration{Days: aws.Int32(1)}}, //nolint:staticcheck // the old form
	}}})
	if err != nil {
		t.Fatal(err)
	}
	upload, err := a.CreateMultipartUpload(a.ctx, &s3.CreateMultipartUploadInput{Bucket: aws.String("bucket"), Key: aws.String("big")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.UploadPart(a.ctx, &s3.UploadPartInput{Bucket: aws.String("bucket"), Key: aws.String("big"), UploadId: upload.UploadId, PartNumber: aws.Int32(1), Body: strings.NewReader("x"), ContentLength: aws.Int64(1)}); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"short/a", "short/b", "dated/a", "kept", "versions/a"} {
		a.put(t, key)
	}
	want := func(when string, keys ...string) {
		t.Helper()
		a.maintain(t)
		if got := a.keys(t); !slices.Equal(got, keys) {
			t.Errorf("%s: %v, want %v", when, got, keys)
		}
	}
	want("at first", "dated/a", "kept", "short/a", "short/b", "versions/a")
	a.now = time.Date(2026, 3, 3, 23, 59, 0, 0, time.UTC) // two days, but not yet midnight
	want("before midnight", "dated/a", "kept", "short/a", "short/b", "versions/a")
	a.now = a.now.Add(time.Minute)
	want("after midnight", "dated/a", "kept", "versions/a")
	if out, err := a.ListMultipartUploads(a.ctx, &s3.ListMultipartUploadsInput{Bucket: aws.String("bucket")}); err != nil || len(out.Uploads) != 0 {
		t.Errorf("uploads: %+v, %v", out.Uploads, err)
	}
	if n := a.files(t); n != 3 {
		t.Errorf("%d files for three objects", n)
	}
	a.now = time.Date(2026, 3, 10, 0, 0, 0, 0, time.UTC)
	want("on the date", "kept", "versions/a")

	if _, err := a.PutBucketVersioning(a.ctx, &s3.PutBucketVersioningInput{Bucket: aws.String("bucket"), VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled}}); err != nil {
		t.Fatal(err)
	}
	a.put(t, "short/a")
	for range 3 {
		a.put(t, "versions/a")
	}
	count := func(prefix string) (versions, markers int) {
		t.Helper()
		out, err := a.ListObjectVersions(a.ctx, &s3.ListObjectVersionsInput{Bucket: aws.String("bucket"), Prefix: &prefix})
		if err != nil {
			t.Fatal(err)
		}
		return len(out.Versions), len(out.DeleteMarkers)
	}
	a.now = a.now.AddDate(0, 0, 5)
	a.maintain(t)
	if versions, markers := count("versions/"); versions != 2 || markers != 0 {
		t.Errorf("versions/: %d versions, %d markers, want the newest and one more", versions, markers)
	}
	if versions, markers := count("short/"); versions != 1 || markers != 1 {
		t.Errorf("short/: %d versions, %d markers, want one behind a marker", versions, markers)
	}
	if _, err := a.DeleteObject(a.ctx, &s3.DeleteObjectInput{Bucket: aws.String("bucket"), Key: aws.String("versions/a")}); err != nil {
		t.Fatal(err)
	}
	out, err := a.ListObjectVersions(a.ctx, &s3.ListObjectVersionsInput{Bucket: aws.String("bucket"), Prefix: aws.String("versions/")})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range out.Versions {
		if _, err := a.DeleteObject(a.ctx, &s3.DeleteObjectInput{Bucket: aws.String("bucket"), Key: v.Key, VersionId: v.VersionId}); err != nil {
			t.Fatal(err)
		}
	}
	a.maintain(t)
	if versions, markers := count("versions/"); versions != 0 || markers != 0 {
		t.Errorf("versions/: %d versions, %d markers: a marker with nothing behind it stays", versions, markers)
	}
}

func TestLifecycleRefuses(t *testing.T) {
	t.Parallel()
	a := newAlone(t)
	on, all := types.ExpirationStatusEnabled, &types.LifecycleRuleFilter{Prefix: aws.String("")}
	for name, rule := range map[string]types.LifecycleRule{
		"InvalidRequest":    {Status: on, Filter: all},
		"InvalidArgument":   {Status: on, Filter: all, Expiration: &types.LifecycleExpiration{Days: aws.Int32(0)}},
		"InvalidArgument 2": {Status: on, Filter: all, Expiration: &types.LifecycleExpiration{Date: aws.Time(time.Date(2026, 1, 1, 1, 0, 0, 0, time.UTC))}},
		"NotImplemented":    {Status: on, Filter: all, Transitions: []types.Transition{{Days: aws.Int32(30)}}},
		"MalformedXML":      {Status: "Perhaps", Filter: all, Expiration: &types.LifecycleExpiration{Days: aws.Int32(1)}},
		"InvalidArgument 3": {Status: on, Filter: &types.LifecycleRuleFilter{ObjectSizeLessThan: aws.Int64(0)}, Expiration: &types.LifecycleExpiration{Days: aws.Int32(1)}},
		"InvalidRequest 3":  {Status: on, Filter: &types.LifecycleRuleFilter{And: &types.LifecycleRuleAndOperator{ObjectSizeGreaterThan: aws.Int64(5), ObjectSizeLessThan: aws.Int64(5)}}, Expiration: &types.LifecycleExpiration{Days: aws.Int32(1)}},
		"InvalidRequest 2":  {Status: on, Filter: &types.LifecycleRuleFilter{Tag: &types.Tag{Key: aws.String("a"), Value: aws.String("b")}}, AbortIncompleteMultipartUpload: &types.AbortIncompleteMultipartUpload{DaysAfterInitiation: aws.Int32(1)}},
	} {
		_, err := a.PutBucketLifecycleConfiguration(a.ctx, &s3.PutBucketLifecycleConfigurationInput{Bucket: aws.String("bucket"), LifecycleConfiguration: &types.BucketLifecycleConfiguration{Rules: []types.LifecycleRule{rule}}})
		if want, _, _ := strings.Cut(name, " "); code(err) != want {
			t.Errorf("%s: %v", name, err)
		}
	}
	var many []types.LifecycleRule
	for i := range 1000 {
		many = append(many, types.LifecycleRule{ID: aws.String(fmt.Sprint(i)), Status: on, Filter: &types.LifecycleRuleFilter{Prefix: aws.String(strings.Repeat("x", 1000))}, Expiration: &types.LifecycleExpiration{Days: aws.Int32(1)}})
	}
	if _, err := a.PutBucketLifecycleConfiguration(a.ctx, &s3.PutBucketLifecycleConfigurationInput{Bucket: aws.String("bucket"), LifecycleConfiguration: &types.BucketLifecycleConfiguration{Rules: many}}); code(err) != "InvalidRequest" {
		t.Errorf("more than fits: %v", err)
	}
	if _, err := a.GetBucketLifecycleConfiguration(a.ctx, &s3.GetBucketLifecycleConfigurationInput{Bucket: aws.String("bucket")}); code(err) != "NoSuchLifecycleConfiguration" {
		t.Errorf("after all of them: %v", err)
	}
}

// A body that is being read stays until it has been.
func TestABodyThatIsReadStays(t *testing.T) {
	t.Parallel()
	a := newAlone(t)
	a.put(t, "k")
	out, err := a.GetObject(a.ctx, &s3.GetObjectInput{Bucket: aws.String("bucket"), Key: aws.String("k")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.DeleteObject(a.ctx, &s3.DeleteObjectInput{Bucket: aws.String("bucket"), Key: aws.String("k")}); err != nil {
		t.Fatal(err)
	}
	a.maintain(t)
	if n := a.files(t); n != 1 {
		t.Errorf("%d files while it is read", n)
	}
	if got, err := io.ReadAll(out.Body); err != nil || string(got) != "k" {
		t.Errorf("%q, %v", got, err)
	}
	out.Body.Close()
	a.maintain(t)
	if n := a.files(t); n != 0 {
		t.Errorf("%d files afterwards", n)
	}
}
