package s3

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/malote/malote/authz"
	"github.com/malote/malote/caller"
	"github.com/malote/malote/internal/lazyregexp"
	"github.com/malote/malote/policy"
	"github.com/malote/malote/service/attached"
	"github.com/malote/malote/store"
)

// bucket is a stored record.
type bucket struct {
	ID      string // never used again, unlike the name
	Name    string
	Account string
	Region  string
	Created time.Time

	Versioning types.BucketVersioningStatus `json:",omitempty"` // "": never
	Encryption encryption
	BlockSSEC  bool `json:",omitempty"`

	Policy       attached.Policy
	PublicAccess *publicAccess         `json:",omitempty"` // nil: none
	Ownership    types.ObjectOwnership `json:",omitempty"` // "": none
	Tags         map[string]string     `json:",omitempty"`
	Lifecycle    *lifecycle            `json:",omitempty"`

	document *policy.Document // of Policy, compiled
	broken   error
}

// encryption is what objects get that ask for nothing else.
type encryption struct {
	Algorithm types.ServerSideEncryption
	KeyID     string `json:",omitempty"` // as it was given; "" of aws:kms: the AWS managed key
	BucketKey bool   `json:",omitempty"`
}

type publicAccess struct{ BlockACLs, IgnoreACLs, BlockPolicy, Restrict bool }

// Prepare implements store.Prepared.
func (b *bucket) Prepare() {
	if b.Policy.Text != "" {
		b.document, b.broken = b.Policy.Compile(policy.Resource)
	}
	if b.Lifecycle != nil {
		b.broken = errors.Join(b.broken, b.Lifecycle.prepare())
	}
}

const bucketPrefix = "s3/bucket/"

func bucketKey(name string) string { return bucketPrefix + name }

func (b *bucket) arn() string               { return "arn:aws:s3:::" + b.Name }
func (b *bucket) objectARN(k string) string { return b.arn() + "/" + k }

// newID is for what is never named the same again.
func newID() string {
	b := make([]byte, 16)
	rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

var bucketName = lazyregexp.New(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)

// checkBucketName refuses names that AWS refuses.
//
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
func checkBucketName(name string) error {
	_, ip := netip.ParseAddr(name)
	refused := !bucketName.MatchString(name) || strings.Contains(name, "..") || ip == nil
	for _, prefix := range []string{"xn--", "sthree-", "amzn-s3-demo-"} {
		refused = refused || strings.HasPrefix(name, prefix)
	}
	for _, suffix := range []string{"-s3alias", "--ol-s3", "--x-s3", "--table-s3", ".mrap"} {
		refused = refused || strings.HasSuffix(name, suffix)
	}
	if refused {
		return bad("InvalidBucketName", "The specified bucket is not valid.").with("BucketName", name)
	}
	return nil
}

// access is what an operation wants to do with a bucket, or with one object of it.
type access struct {
	action     string // s3:GetObject
	key        string // of the object; "" for the bucket
	conditions map[string][]string

	requestTags map[string]string // s3:RequestObjectTag
	bucketTags  map[string]string // aws:RequestTag: those that a bucket is to get
	objectTags  map[string]string // s3:ExistingObjectTag; nil where there is no object
	// mending is set by what repairs a policy: the account's root may, whatever it says.
	mending bool
}

// find reads a bucket of the request's region, of which callers must not change anything.
func (s *Service) find(ctx context.Context, name string) (*bucket, error) {
	b, err := s.findAnywhere(ctx, name)
	if err != nil {
		return nil, err
	}
	if region := caller.From(ctx).Region; region != "" && b.Region != region {
		return nil, b.elsewhere(region)
	}
	return b, b.checkVersion(caller.From(ctx))
}

// findAnywhere reads a bucket whatever its region.
func (s *Service) findAnywhere(ctx context.Context, name string) (*bucket, error) {
	var b *bucket
	err := store.Look(ctx, s.store, func(tx store.Tx) (err error) {
		b, err = s.bucketIn(tx, name)
		return err
	})
	return b, b.admits(caller.From(ctx), err)
}

// elsewhere tells clients the region, to which they then turn.
func (b *bucket) elsewhere(asked string) error {
	e := bad("AuthorizationHeaderMalformed", "The authorization header is malformed; the region '%s' is wrong; expecting '%s'", asked, b.Region).with("Region", b.Region)
	e.header = http.Header{"X-Amz-Bucket-Region": {b.Region}}
	return e
}

// at is ctx in the bucket's region, where its keys are.
func (b *bucket) at(ctx context.Context) context.Context {
	request := *caller.From(ctx)
	request.Region = b.Region
	return caller.With(ctx, &request)
}

func (s *Service) bucketIn(tx store.Tx, name string) (*bucket, error) {
	if len(name) > 255 || name == "" {
		return nil, noSuchBucket(name)
	}
	b, err := s.buckets.Get(tx, bucketKey(name))
	if errors.Is(err, store.ErrNotFound) {
		return nil, noSuchBucket(name)
	}
	return b, err
}

// open finds the bucket and asks whether the caller may do that.
func (s *Service) open(ctx context.Context, name string, owner *string, a access) (*bucket, error) {
	b, err := s.find(ctx, name)
	if err != nil {
		return nil, err
	}
	if err := b.ownedBy(owner); err != nil {
		return nil, err
	}
	return b, s.authorize(ctx, b, a)
}

// ownedBy compares x-amz-expected-bucket-owner.
func (b *bucket) ownedBy(expected *string) error {
	switch {
	case expected == nil || *expected == b.Account:
		return nil
	case len(*expected) != 12 || strings.Trim(*expected, "0123456789") != "":
		return bad("InvalidBucketOwnerAWSAccountID", "The value of the expected bucket owner parameter must be an AWS Account ID... [%s]", *expected)
	}
	return accessDenied("Access Denied")
}

// authorize asks whether the caller may do a to the bucket or its object.
func (s *Service) authorize(ctx context.Context, b *bucket, a access) error {
	question, err := b.question(ctx, a)
	if err != nil {
		return err
	}
	if caller.From(ctx).Region == "" {
		ctx = b.at(ctx) // for the conditions and the audit
	}
	return denial(s.authz.Authorize(ctx, question))
}

// may decides as authorize, for what is only to be known.
func (s *Service) may(ctx context.Context, b *bucket, a access) (bool, error) {
	question, err := b.question(ctx, a)
	if err != nil {
		return false, err
	}
	if caller.From(ctx).Region == "" {
		ctx = b.at(ctx)
	}
	d, err := s.authz.Decide(ctx, question)
	return d.Allowed, err
}

func (b *bucket) question(ctx context.Context, a access) (*authz.Access, error) {
	if b.broken != nil {
		return nil, fmt.Errorf("the policy of bucket %s: %w", b.Name, b.broken)
	}
	request := caller.From(ctx)
	resource := b.arn()
	if a.key != "" {
		resource = b.objectARN(a.key)
	}
	q := &authz.Access{Action: a.action, Resource: resource, Named: `"` + resource + `"`, Account: b.Account, Tags: b.Tags, RequestTags: a.bucketTags, Conditions: conditions(request, b, a)}
	if b.document != nil && !(a.mending && request.Principal.Type == caller.Account && request.Principal.Account == b.Account) && !b.restricts(request.Principal) {
		q.Policy = &policy.Source{Document: b.document, Name: "the policy of bucket " + b.Name}
	}
	return q, nil
}

// restricts reports whether RestrictPublicBuckets keeps the principal from what a public
// policy gives: whoever is of another account.
func (b *bucket) restricts(p *caller.Principal) bool {
	return b.PublicAccess != nil && b.PublicAccess.Restrict && p.Type != caller.Service && p.Account != b.Account && b.document.Public()
}

// conditions are the keys of S3's that policies may ask for.
//
// https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazons3.html
func conditions(request *caller.Request, b *bucket, a access) map[string][]string {
	found := map[string][]string{
		"s3:authType":         {"REST-HEADER"},
		"s3:signatureversion": {"AWS4-HMAC-SHA256"},
		"s3:ResourceAccount":  {b.Account},
	}
	if request.TLS != "" {
		found["s3:TlsVersion"] = []string{request.TLS}
	}
	if request.Payload != "" {
		found["s3:x-amz-content-sha256"] = []string{request.Payload}
	}
	switch {
	case request.Principal.Type == caller.Anonymous:
		delete(found, "s3:authType")
		delete(found, "s3:signatureversion")
	case request.SignatureV2:
		found["s3:authType"], found["s3:signatureversion"] = []string{"REST-QUERY-STRING"}, []string{"AWS"}
		// It may be of any age: policies that limit it want a signature that tells.
		found["s3:signatureAge"] = []string{fmt.Sprint(math.MaxInt64)}
	case request.Presigned:
		found["s3:authType"] = []string{"REST-QUERY-STRING"}
		found["s3:signatureAge"] = []string{fmt.Sprint(max(0, request.Time.Sub(request.SignedAt).Milliseconds()))}
	}
	for tag, value := range b.Tags {
		found["s3:BucketTag/"+tag] = []string{value}
	}
	for tag, value := range a.objectTags {
		found["s3:ExistingObjectTag/"+tag] = []string{value}
	}
	if len(a.requestTags) > 0 {
		var keys []string
		for tag, value := range a.requestTags {
			found["s3:RequestObjectTag/"+tag] = []string{value}
			keys = append(keys, tag)
		}
		found["s3:RequestObjectTagKeys"] = keys
	}
	maps.Copy(found, a.conditions)
	return found
}

// sameRights reports whether what decides over a bucket is the same for both.
func sameRights(x, y *bucket) bool {
	return x.ID == y.ID && x.Policy.Text == y.Policy.Text && maps.Equal(x.Policy.IDs, y.Policy.IDs) && maps.Equal(x.Tags, y.Tags) &&
		(x.PublicAccess == nil) == (y.PublicAccess == nil) && (x.PublicAccess == nil || *x.PublicAccess == *y.PublicAccess)
}

const attempts = 5

// write runs fn in a transaction on a bucket about which the accesses were allowed. When
// what decided about them is another by then, they are asked about again.
func (s *Service) write(ctx context.Context, was *bucket, asked []access, fn func(tx store.Tx, b *bucket) error) error {
	for range attempts {
		var now *bucket
		err := s.store.Update(ctx, func(tx store.Tx) (err error) {
			if now, err = s.bucketIn(tx, was.Name); err != nil {
				return err
			}
			if !sameRights(was, now) {
				return errChanged
			}
			return fn(tx, now)
		})
		switch {
		case errors.Is(err, store.ErrTooLarge):
			return bad("InvalidRequest", "What there is to be kept is too large.")
		case !errors.Is(err, errChanged):
			return err
		}
		for _, a := range asked {
			if err := s.authorize(ctx, now, a); err != nil {
				return err
			}
		}
		was = now
	}
	return aborted()
}

// configure authorizes a change to a bucket and makes it: fn changes a copy.
func (s *Service) configure(ctx context.Context, name string, owner *string, a access, fn func(b *bucket) error) error {
	b, err := s.open(ctx, name, owner, a)
	if err != nil {
		return err
	}
	return s.write(ctx, b, []access{a}, func(tx store.Tx, b *bucket) error {
		changed := *b
		if err := fn(&changed); err != nil {
			return err
		}
		return s.buckets.Put(tx, bucketKey(b.Name), &changed)
	})
}
