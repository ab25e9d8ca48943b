package s3

import (
	"context"
	"net/url"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/malote/malote/store"
)

const maxPage = 1000

// listing is what the three lists of a bucket have in common.
type listing struct {
	prefix, delimiter string
	after             string // keys from here on, itself excluded
	afterVersion      string // of that key
	limit             int
	urls              bool // encoding-type=url
	versions          bool
}

// listRequest is what the requests for lists have in common.
type listRequest struct {
	bucket, owner     *string
	prefix, delimiter *string
	maxKeys           *int32
	encoding          types.EncodingType
	payer             types.RequestPayer
	optional          []types.OptionalObjectAttributes
}

// access is the question of who may list: it has the parameters as they were sent.
func (r *listRequest) access(action string) access {
	a := access{action: action, conditions: map[string][]string{}}
	if r.prefix != nil {
		a.conditions["s3:prefix"] = []string{*r.prefix}
	}
	if r.delimiter != nil {
		a.conditions["s3:delimiter"] = []string{*r.delimiter}
	}
	if r.maxKeys != nil {
		a.conditions["s3:max-keys"] = []string{strconv.Itoa(int(*r.maxKeys))}
	}
	return a
}

// openListing authorizes a list and checks what the request says.
func (s *Service) openListing(ctx context.Context, action string, r listRequest) (*bucket, *listing, error) {
	b, err := s.open(ctx, *r.bucket, r.owner, r.access(action))
	if err != nil {
		return nil, nil, err
	}
	l := &listing{prefix: aws.ToString(r.prefix), delimiter: aws.ToString(r.delimiter), limit: maxPage}
	switch {
	case r.payer != "":
		return nil, nil, notImplemented("x-amz-request-payer")
	case len(r.optional) > 0:
		return nil, nil, notImplemented("x-amz-optional-object-attributes")
	case r.maxKeys != nil && *r.maxKeys < 0:
		return nil, nil, invalidArgument("max-keys", strconv.Itoa(int(*r.maxKeys)), "Argument maxKeys must be an integer between 0 and 2147483647")
	case r.maxKeys != nil:
		l.limit = min(int(*r.maxKeys), maxPage)
	}
	switch r.encoding {
	case "":
	case types.EncodingTypeUrl:
		l.urls = true
	default:
		return nil, nil, invalidArgument("encoding-type", string(r.encoding), "Invalid Encoding Method specified in Request")
	}
	return b, l, nil
}

// name writes a key or prefix as the request wants it.
func (l *listing) name(s string) *string {
	if l.urls {
		s = strings.ReplaceAll(strings.ReplaceAll(url.QueryEscape(s), "+", "%20"), "%2F", "/")
	}
	return &s
}

func (l *listing) named(s string) *string {
	if s == "" {
		return nil
	}
	return l.name(s)
}

// afterGroup reports whether the list goes on behind a common prefix, and not behind a key
// that ends like one.
func (l *listing) afterGroup() bool {
	rest, ok := strings.CutPrefix(l.after, l.prefix)
	if !ok || l.delimiter == "" {
		return false
	}
	i := strings.Index(rest, l.delimiter)
	return i >= 0 && i+len(l.delimiter) == len(rest)
}

// page is one answer of a listing.
type page struct {
	objects  []*object
	newest   map[*object]bool
	prefixes []string
	// More says that there is more; then lastKey, a key or a common prefix, is the last that
	// was listed, and lastVersion its version.
	more                 bool
	lastKey, lastVersion string
}

func (p *page) len() int { return len(p.objects) + len(p.prefixes) }

// list reads one page. Keys that have a part up to the delimiter in common are listed as
// that, and skipped at once.
func (s *Service) list(ctx context.Context, b *bucket, l *listing) (*page, error) {
	var p *page
	err := s.store.View(ctx, func(tx store.Tx) error {
		p = &page{newest: map[*object]bool{}}
		base := b.objectPrefix()
		prefix, from := base+escaped(l.prefix), ""
		switch {
		case l.afterVersion != "":
			seq, ok := versionSeq(l.afterVersion) // it may be gone since
			if !ok {
				o, err := s.version(tx, b, l.after, l.afterVersion)
				if err != nil {
					return err
				}
				if o == nil {
					o = &object{Seq: ^uint64(0)} // the first that there is
				}
				seq = o.Seq
			}
			from = b.record(&object{Key: l.after, Seq: seq})
		case l.afterGroup():
			from = base + escaped(l.after) + last // behind all of it
		case l.after != "":
			from = b.versions(l.after) + last
		}
		for {
			again, err := s.listFrom(tx, b, l, p, prefix, from)
			if err != nil || again == "" {
				return err
			}
			from = again
		}
	})
	return p, err
}

// listFrom scans until the page is full, or until it pays to jump: the key to go on from is
// returned.
func (s *Service) listFrom(tx store.Tx, b *bucket, l *listing, p *page, prefix, from string) (jump string, err error) {
	base, seen := b.objectPrefix(), ""
	for row, err := range s.objects.Scan(tx, prefix, from) {
		if err != nil {
			return "", err
		}
		o := row.Value
		fresh := o.Key != seen // the first version of its key
		seen = o.Key
		if l.delimiter != "" {
			if i := strings.Index(o.Key[len(l.prefix):], l.delimiter); i >= 0 {
				common := o.Key[:len(l.prefix)+i+len(l.delimiter)]
				visible := l.versions || fresh && !o.Marker
				if !visible {
					if fresh {
						return b.versions(o.Key) + last, nil
					}
					continue
				}
				if p.len() == l.limit {
					p.more = l.limit > 0
					return "", nil
				}
				p.prefixes = append(p.prefixes, common)
				p.lastKey, p.lastVersion = common, ""
				return base + escaped(common) + last, nil
			}
		}
		if !l.versions && (!fresh || o.Marker) {
			return b.versions(o.Key) + last, nil // only the newest is listed
		}
		if p.len() == l.limit {
			p.more = l.limit > 0
			return "", nil
		}
		p.objects = append(p.objects, o)
		if p.newest[o] = fresh; fresh && l.afterVersion != "" && o.Key == l.after {
			newest, err := s.newest(tx, b, o.Key)
			if err != nil {
				return "", err
			}
			p.newest[o] = newest.Seq == o.Seq
		}
		p.lastKey, p.lastVersion = o.Key, o.Version
	}
	return "", nil
}

func (l *listing) listed(o *object, owner *types.Owner) types.Object {
	listed := types.Object{
		Key: l.name(o.Key), LastModified: aws.Time(o.Modified), ETag: quoted(o.ETag), Size: aws.Int64(o.Size), StorageClass: types.ObjectStorageClassStandard, Owner: owner,
	}
	if o.Checksum.Algorithm != "" {
		listed.ChecksumAlgorithm = []types.ChecksumAlgorithm{types.ChecksumAlgorithm(o.Checksum.Algorithm)}
		listed.ChecksumType = o.Checksum.Type
	}
	return listed
}

func (l *listing) common(p *page) []types.CommonPrefix {
	var listed []types.CommonPrefix
	for _, prefix := range p.prefixes {
		listed = append(listed, types.CommonPrefix{Prefix: l.name(prefix)})
	}
	return listed
}

func (b *bucket) owner() *types.Owner { return &types.Owner{ID: aws.String(canonicalID(b.Account))} }

// ListObjectsV2 lists the newest versions that are no delete markers, by key.
func (s *Service) ListObjectsV2(ctx context.Context, in *s3.ListObjectsV2Input) (*s3.ListObjectsV2Output, error) {
	b, l, err := s.openListing(ctx, "s3:ListBucket", listRequest{in.Bucket, in.ExpectedBucketOwner, in.Prefix, in.Delimiter, in.MaxKeys, in.EncodingType, in.RequestPayer, in.OptionalObjectAttributes})
	if err != nil {
		return nil, err
	}
	l.after = aws.ToString(in.StartAfter)
	if in.ContinuationToken != nil {
		if l.after, err = readToken(*in.ContinuationToken); err != nil {
			return nil, err
		}
	}
	p, err := s.list(ctx, b, l)
	if err != nil {
		return nil, err
	}
	out := &s3.ListObjectsV2Output{
		Name: &b.Name, Prefix: l.name(l.prefix), Delimiter: l.named(l.delimiter), MaxKeys: aws.Int32(int32(l.limit)), KeyCount: aws.Int32(int32(p.len())),
		IsTruncated: aws.Bool(p.more), ContinuationToken: in.ContinuationToken, EncodingType: in.EncodingType, CommonPrefixes: l.common(p),
	}
	if in.StartAfter != nil {
		out.StartAfter = l.name(*in.StartAfter)
	}
	if p.more {
		out.NextContinuationToken = aws.String(newToken(p.lastKey))
	}
	var owner *types.Owner
	if aws.ToBool(in.FetchOwner) {
		owner = b.owner()
	}
	for _, o := range p.objects {
		out.Contents = append(out.Contents, l.listed(o, owner))
	}
	return out, nil
}

// ListObjects is the older form, which goes on from a key.
func (s *Service) ListObjects(ctx context.Context, in *s3.ListObjectsInput) (*s3.ListObjectsOutput, error) {
	b, l, err := s.openListing(ctx, "s3:ListBucket", listRequest{in.Bucket, in.ExpectedBucketOwner, in.Prefix, in.Delimiter, in.MaxKeys, in.EncodingType, in.RequestPayer, in.OptionalObjectAttributes})
	if err != nil {
		return nil, err
	}
	l.after = aws.ToString(in.Marker)
	p, err := s.list(ctx, b, l)
	if err != nil {
		return nil, err
	}
	out := &s3.ListObjectsOutput{
		Name: &b.Name, Prefix: l.name(l.prefix), Delimiter: l.named(l.delimiter), Marker: l.name(l.after), MaxKeys: aws.Int32(int32(l.limit)),
		IsTruncated: aws.Bool(p.more), EncodingType: in.EncodingType, CommonPrefixes: l.common(p),
	}
	if p.more && l.delimiter != "" {
		out.NextMarker = l.name(p.lastKey)
	}
	for _, o := range p.objects {
		out.Contents = append(out.Contents, l.listed(o, b.owner()))
	}
	return out, nil
}

// ListObjectVersions lists all versions, of each key the newest first.
func (s *Service) ListObjectVersions(ctx context.Context, in *s3.ListObjectVersionsInput) (*s3.ListObjectVersionsOutput, error) {
	b, l, err := s.openListing(ctx, "s3:ListBucketVersions", listRequest{in.Bucket, in.ExpectedBucketOwner, in.Prefix, in.Delimiter, in.MaxKeys, in.EncodingType, in.RequestPayer, in.OptionalObjectAttributes})
	if err != nil {
		return nil, err
	}
	l.versions, l.after, l.afterVersion = true, aws.ToString(in.KeyMarker), aws.ToString(in.VersionIdMarker)
	if l.after == "" && l.afterVersion != "" {
		return nil, invalidArgument("version-id-marker", l.afterVersion, "A version-id marker cannot be specified without a key marker.")
	}
	p, err := s.list(ctx, b, l)
	if err != nil {
		return nil, err
	}
	out := &s3.ListObjectVersionsOutput{
		Name: &b.Name, Prefix: l.name(l.prefix), Delimiter: l.named(l.delimiter), MaxKeys: aws.Int32(int32(l.limit)), KeyMarker: l.name(l.after), VersionIdMarker: &l.afterVersion,
		IsTruncated: aws.Bool(p.more), EncodingType: in.EncodingType, CommonPrefixes: l.common(p),
	}
	if p.more {
		out.NextKeyMarker, out.NextVersionIdMarker = l.name(p.lastKey), text(p.lastVersion)
	}
	for _, o := range p.objects {
		if o.Marker {
			out.DeleteMarkers = append(out.DeleteMarkers, types.DeleteMarkerEntry{
				Key: l.name(o.Key), VersionId: &o.Version, IsLatest: aws.Bool(p.newest[o]), LastModified: aws.Time(o.Modified), Owner: b.owner(),
			})
			continue
		}
		listed := l.listed(o, b.owner())
		out.Versions = append(out.Versions, types.ObjectVersion{
			Key: listed.Key, VersionId: &o.Version, IsLatest: aws.Bool(p.newest[o]), LastModified: listed.LastModified, ETag: listed.ETag, Size: listed.Size,
			StorageClass: types.ObjectVersionStorageClassStandard, Owner: listed.Owner, ChecksumAlgorithm: listed.ChecksumAlgorithm, ChecksumType: listed.ChecksumType,
		})
	}
	return out, nil
}
