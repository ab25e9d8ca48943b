package s3

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/malote/malote/caller"
	"github.com/malote/malote/internal/xaes"
	"github.com/malote/malote/service/s3/body"
	"github.com/malote/malote/store"
)

// reading is what GetObject, HeadObject and GetObjectAttributes ask for.
type reading struct {
	bucket, key    string
	owner, version *string
	action         string // s3:GetObject; with a version, it is s3:GetObjectVersion
	more           []string
	condition      readCondition
	customer       *string // what the request says of an SSE-C key
	anywhere       bool    // in whichever region the bucket is
	overrides      bool    // with headers of the answer's that the request chooses
}

// found is what a reading has found.
type found struct {
	bucket *bucket
	object *object
}

// seek authorizes a reading and finds the version. What is not there is told to those
// alone who may list the bucket.
//
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
func (s *Service) seek(ctx context.Context, r reading) (*found, error) {
	find := s.find
	if r.anywhere {
		find = s.findAnywhere
	}
	b, err := find(ctx, r.bucket)
	if err != nil {
		return nil, err
	}
	if err := b.ownedBy(r.owner); err != nil {
		return nil, err
	}
	version := aws.ToString(r.version)
	var o *object
	if err = checkKey(r.key); err == nil {
		err = s.store.View(ctx, func(tx store.Tx) (err error) {
			o, err = s.look(tx, b, r.key, version)
			return err
		})
	}
	var api *apiError
	wrong := errors.As(err, &api) // the key, or the version's id
	if err != nil && !wrong {
		return nil, err
	}
	for _, action := range append([]string{r.action}, r.more...) {
		a := access{action: action, key: r.key}
		if version != "" {
			a.action = strings.Replace(a.action, "s3:GetObject", "s3:GetObjectVersion", 1)
			a.conditions = map[string][]string{"s3:versionid": {version}}
		}
		if o != nil {
			a.objectTags = o.Tags
		}
		if err := s.authorize(ctx, b, a); err != nil {
			return nil, err
		}
	}
	switch {
	case wrong:
		return nil, api
	case o == nil || o.Marker && version == "":
		return nil, s.absent(ctx, b, r.key, version, o)
	case o.Marker:
		e := &apiError{code: "MethodNotAllowed", message: "The specified method is not allowed against this resource.", status: http.StatusMethodNotAllowed}
		e.header = http.Header{"Allow": {"DELETE"}, "X-Amz-Delete-Marker": {"true"}, "X-Amz-Version-Id": {o.Version}, "Last-Modified": {o.Modified.UTC().Format(http.TimeFormat)}}
		return nil, e.with("Method", "GET").with("ResourceType", "DeleteMarker")
	}
	if r.customer != nil {
		return nil, bad("InvalidRequest", "The encryption parameters are not applicable to this object.")
	}
	if o.Sealing.usesKMS() {
		if err := checkSignature(caller.From(ctx)); err != nil {
			return nil, err
		}
	}
	if r.overrides && caller.From(ctx).Principal.Type == caller.Anonymous {
		return nil, bad("InvalidRequest", "Request specific response headers cannot be used for anonymous GET requests.")
	}
	return &found{b, o}, r.condition.holds(o)
}

// absent is the error of an object that is not there, for who may know.
func (s *Service) absent(ctx context.Context, b *bucket, key, version string, marker *object) error {
	action := "s3:ListBucket"
	if version != "" {
		action = "s3:ListBucketVersions"
	}
	a := access{action: action}
	if may, err := s.may(ctx, b, a); err != nil {
		return err
	} else if !may {
		return s.authorize(ctx, b, a)
	}
	if version != "" {
		return noSuchVersion(key, version)
	}
	e := noSuchKey(key)
	if marker != nil {
		e.header = http.Header{"X-Amz-Delete-Marker": {"true"}}
		if named := b.named(marker); named != nil {
			e.header.Set("X-Amz-Version-Id", *named)
		}
	}
	return e
}

// span is the part of a body that a request asks for.
type span struct {
	offset, length int64
	partial        bool
	parts          int32 // of a multipart object, when one part was asked for
}

// spanOf reads Range and partNumber. A Range that cannot be read asks for everything.
func (s *Service) spanOf(ctx context.Context, o *object, header *string, part *int32) (span, error) {
	whole := span{length: o.Size}
	if part != nil {
		if header != nil {
			return whole, bad("InvalidRequest", "Cannot specify both Range header and partNumber query parameter")
		}
		return s.partSpan(ctx, o, *part)
	}
	if header == nil {
		return whole, nil
	}
	text, ok := strings.CutPrefix(*header, "bytes=")
	first, second, dash := strings.Cut(text, "-")
	if !ok || !dash || strings.Contains(text, ",") {
		return whole, nil
	}
	refused := (&apiError{code: "InvalidRange", message: "The requested range is not satisfiable", status: http.StatusRequestedRangeNotSatisfiable}).
		with("RangeRequested", *header).with("ActualObjectSize", strconv.FormatInt(o.Size, 10))
	refused.header = http.Header{"Content-Range": {fmt.Sprintf("bytes */%d", o.Size)}}
	if first == "" {
		n, err := strconv.ParseInt(second, 10, 64)
		if err != nil {
			return whole, nil
		}
		if n <= 0 || o.Size == 0 {
			return whole, refused
		}
		n = min(n, o.Size)
		return span{offset: o.Size - n, length: n, partial: true}, nil
	}
	from, err := strconv.ParseInt(first, 10, 64)
	if err != nil || from < 0 {
		return whole, nil
	}
	to := o.Size - 1
	if second != "" {
		n, err := strconv.ParseInt(second, 10, 64)
		if err != nil || n < from {
			return whole, nil
		}
		to = min(n, to)
	}
	if from >= o.Size {
		return whole, refused
	}
	return span{offset: from, length: to - from + 1, partial: true}, nil
}

// partSpan is one part of an object; one that has none is its own first.
func (s *Service) partSpan(ctx context.Context, o *object, number int32) (span, error) {
	refused := &apiError{code: "InvalidPartNumber", message: "The requested partnumber is not satisfiable", status: http.StatusRequestedRangeNotSatisfiable}
	if number < 1 || number > maxParts {
		return span{}, invalidArgument("partNumber", fmt.Sprint(number), "Part number must be an integer between 1 and 10000, inclusive")
	}
	if o.Manifest == "" {
		if number > 1 {
			return span{}, refused
		}
		return span{length: o.Size, partial: o.Size > 0}, nil
	}
	m, err := s.manifest(ctx, o)
	if err != nil {
		return span{}, err
	}
	if int(number) > len(m.Parts) {
		return span{}, refused
	}
	at := span{parts: int32(len(m.Parts)), partial: true, length: m.Parts[number-1].Size}
	for _, p := range m.Parts[:number-1] {
		at.offset += p.Size
	}
	return at, nil
}

func (at *span) contentRange(o *object) *string {
	if !at.partial {
		return nil
	}
	return aws.String(fmt.Sprintf("bytes %d-%d/%d", at.offset, at.offset+at.length-1, o.Size))
}

// GetObject reads an object, or a range of it, decrypted as the caller.
func (s *Service) GetObject(ctx context.Context, in *s3.GetObjectInput) (*s3.GetObjectOutput, error) {
	r := reading{
		bucket: *in.Bucket, key: *in.Key, owner: in.ExpectedBucketOwner, version: in.VersionId, action: "s3:GetObject", customer: cmp.Or(in.SSECustomerAlgorithm, in.SSECustomerKey, in.SSECustomerKeyMD5),
		condition: readCondition{match: in.IfMatch, noneMatch: in.IfNoneMatch, modified: in.IfModifiedSince, unmodified: in.IfUnmodifiedSince},
		overrides: cmp.Or(in.ResponseCacheControl, in.ResponseContentDisposition, in.ResponseContentEncoding, in.ResponseContentLanguage, in.ResponseContentType) != nil || in.ResponseExpires != nil,
	}
	if in.RequestPayer != "" {
		return nil, notImplemented("x-amz-request-payer")
	}
	for range attempts {
		f, err := s.seek(ctx, r)
		if err != nil {
			return nil, err
		}
		o := f.object
		at, err := s.spanOf(ctx, o, in.Range, in.PartNumber)
		if err != nil {
			return nil, err
		}
		keys, err := s.unseal(ctx, &o.Sealing)
		if err != nil {
			return nil, err
		}
		content, err := s.read(ctx, o, keys, at.offset, at.length)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, store.ErrNotFound) {
			continue // it was replaced since
		}
		if err != nil {
			return nil, err
		}
		return f.output(in, at, content), nil
	}
	return nil, aborted()
}

func (f *found) output(in *s3.GetObjectInput, at span, content io.ReadCloser) *s3.GetObjectOutput {
	o, sse := f.object, f.object.Sealing.shown()
	override := func(given *string, own string) *string {
		if given != nil {
			return given
		}
		return text(own)
	}
	out := &s3.GetObjectOutput{
		Body: content, ContentLength: aws.Int64(at.length), ContentRange: at.contentRange(o), AcceptRanges: aws.String("bytes"),
		ETag: quoted(o.ETag), LastModified: aws.Time(o.Modified), VersionId: f.bucket.named(o), Metadata: o.Metadata,
		ContentType:        override(in.ResponseContentType, o.Headers.ContentType),
		ContentEncoding:    override(in.ResponseContentEncoding, o.Headers.ContentEncoding),
		CacheControl:       override(in.ResponseCacheControl, o.Headers.CacheControl),
		ContentDisposition: override(in.ResponseContentDisposition, o.Headers.ContentDisposition),
		ContentLanguage:    override(in.ResponseContentLanguage, o.Headers.ContentLanguage),
		//nolint:staticcheck // deprecated for clients, who want what cannot be read as a time
		Expires:              o.Headers.Expires,
		ServerSideEncryption: sse.algorithm, SSEKMSKeyId: sse.keyID, BucketKeyEnabled: sse.bucketKey,
	}
	if in.ResponseExpires != nil {
		out.Expires = in.ResponseExpires
	}
	if n := int32(len(o.Tags)); n > 0 {
		out.TagCount = &n
	}
	if at.parts > 0 {
		out.PartsCount = &at.parts
	}
	if in.ChecksumMode == types.ChecksumModeEnabled && !at.partial {
		sums := o.Checksum.members()
		out.ChecksumCRC32, out.ChecksumCRC32C, out.ChecksumCRC64NVME, out.ChecksumSHA1 = sums.CRC32, sums.CRC32C, sums.CRC64NVME, sums.SHA1
		out.ChecksumSHA256, out.ChecksumSHA512, out.ChecksumMD5, out.ChecksumType = sums.SHA256, sums.SHA512, sums.MD5, sums.Type
	}
	return out
}

func text(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// HeadObject is GetObject without the content, and so without the key.
func (s *Service) HeadObject(ctx context.Context, in *s3.HeadObjectInput) (*s3.HeadObjectOutput, error) {
	r := reading{
		bucket: *in.Bucket, key: *in.Key, owner: in.ExpectedBucketOwner, version: in.VersionId, action: "s3:GetObject", customer: cmp.Or(in.SSECustomerAlgorithm, in.SSECustomerKey, in.SSECustomerKeyMD5),
		condition: readCondition{match: in.IfMatch, noneMatch: in.IfNoneMatch, modified: in.IfModifiedSince, unmodified: in.IfUnmodifiedSince},
		overrides: cmp.Or(in.ResponseCacheControl, in.ResponseContentDisposition, in.ResponseContentEncoding, in.ResponseContentLanguage, in.ResponseContentType) != nil || in.ResponseExpires != nil,
	}
	if in.RequestPayer != "" {
		return nil, notImplemented("x-amz-request-payer")
	}
	f, err := s.seek(ctx, r)
	if err != nil {
		return nil, err
	}
	at, err := s.spanOf(ctx, f.object, in.Range, in.PartNumber)
	if err != nil {
		return nil, err
	}
	if in.ChecksumMode == types.ChecksumModeEnabled && f.object.Sealing.usesKMS() {
		if _, err := s.unseal(ctx, &f.object.Sealing); err != nil {
			return nil, err
		}
	}
	g := f.output(&s3.GetObjectInput{
		ChecksumMode: in.ChecksumMode, ResponseContentType: in.ResponseContentType, ResponseContentEncoding: in.ResponseContentEncoding, ResponseCacheControl: in.ResponseCacheControl,
		ResponseContentDisposition: in.ResponseContentDisposition, ResponseContentLanguage: in.ResponseContentLanguage, ResponseExpires: in.ResponseExpires,
	}, at, nil)
	return &s3.HeadObjectOutput{
		ContentLength: g.ContentLength, ContentRange: g.ContentRange, AcceptRanges: g.AcceptRanges, ETag: g.ETag, LastModified: g.LastModified, VersionId: g.VersionId, Metadata: g.Metadata,
		ContentType: g.ContentType, ContentEncoding: g.ContentEncoding, CacheControl: g.CacheControl, ContentDisposition: g.ContentDisposition, ContentLanguage: g.ContentLanguage,
		Expires: g.Expires, ServerSideEncryption: g.ServerSideEncryption, SSEKMSKeyId: g.SSEKMSKeyId, BucketKeyEnabled: g.BucketKeyEnabled, PartsCount: g.PartsCount, TagCount: g.TagCount,
		ChecksumCRC32: g.ChecksumCRC32, ChecksumCRC32C: g.ChecksumCRC32C, ChecksumCRC64NVME: g.ChecksumCRC64NVME, ChecksumSHA1: g.ChecksumSHA1, ChecksumSHA256: g.ChecksumSHA256,
		ChecksumSHA512: g.ChecksumSHA512, ChecksumMD5: g.ChecksumMD5, ChecksumType: g.ChecksumType,
	}, nil
}

// read opens a range of an object's body.
func (s *Service) read(ctx context.Context, o *object, keys []*xaes.Key, offset, length int64) (io.ReadCloser, error) {
	release, ok := s.hold(o.Blob + o.Manifest)
	if !ok {
		return nil, os.ErrNotExist
	}
	r := &bodyReader{ctx: ctx, s: s, keys: keys, release: release}
	if o.Manifest == "" {
		r.parts = []partOf{{Name: o.Blob, Size: o.Size}}
	} else {
		m, err := s.manifest(ctx, o)
		if err != nil {
			release()
			return nil, err
		}
		r.parts = m.Parts
	}
	for len(r.parts) > 1 && offset >= r.parts[0].Size {
		offset -= r.parts[0].Size
		r.parts = r.parts[1:]
	}
	r.offset, r.left = offset, length
	if err := r.next(); err != nil {
		release()
		return nil, err
	}
	return r, nil
}

// bodyReader reads the parts of a body one behind the other.
type bodyReader struct {
	ctx     context.Context
	s       *Service
	keys    []*xaes.Key
	parts   []partOf // still to be read
	offset  int64    // in the first of them
	left    int64
	current io.ReadCloser
	release func()
}

func (r *bodyReader) next() error {
	p := r.parts[0]
	length := min(r.left, p.Size-r.offset)
	open := func(offset, length int64) (io.ReadCloser, error) {
		return r.s.blobs.Open(r.ctx, p.blob(), offset, length)
	}
	current, err := body.NewReader(open, r.keys, p.blob(), p.Size, r.offset, length)
	if err != nil {
		return err
	}
	r.current, r.parts, r.offset, r.left = current, r.parts[1:], 0, r.left-length
	return nil
}

func (r *bodyReader) Read(p []byte) (int, error) {
	for {
		n, err := r.current.Read(p)
		if n > 0 || err != io.EOF {
			return n, err
		}
		if r.left == 0 || len(r.parts) == 0 {
			return 0, io.EOF
		}
		if err := r.current.Close(); err != nil {
			return 0, err
		}
		if err := r.next(); err != nil {
			r.current = io.NopCloser(strings.NewReader(""))
			return 0, err
		}
	}
}

func (r *bodyReader) Close() error {
	r.release()
	return r.current.Close()
}

// GetObjectAttributes tells of an object and its parts without its content.
func (s *Service) GetObjectAttributes(ctx context.Context, in *s3.GetObjectAttributesInput) (*s3.GetObjectAttributesOutput, error) {
	f, err := s.seek(ctx, reading{
		bucket: *in.Bucket, key: *in.Key, owner: in.ExpectedBucketOwner, version: in.VersionId, action: "s3:GetObject", more: []string{"s3:GetObjectAttributes"}, customer: cmp.Or(in.SSECustomerAlgorithm, in.SSECustomerKey, in.SSECustomerKeyMD5),
	})
	if err != nil {
		return nil, err
	}
	if in.RequestPayer != "" {
		return nil, notImplemented("x-amz-request-payer")
	}
	o := f.object
	out := &s3.GetObjectAttributesOutput{LastModified: aws.Time(o.Modified), VersionId: f.bucket.named(o)}
	for _, attribute := range in.ObjectAttributes {
		switch attribute {
		case types.ObjectAttributesEtag:
			out.ETag = aws.String(o.ETag)
		case types.ObjectAttributesObjectSize:
			out.ObjectSize = aws.Int64(o.Size)
		case types.ObjectAttributesStorageClass:
			out.StorageClass = types.StorageClassStandard
		case types.ObjectAttributesChecksum:
			if o.Checksum.Algorithm != "" {
				m := o.Checksum.members()
				out.Checksum = &types.Checksum{
					ChecksumCRC32: m.CRC32, ChecksumCRC32C: m.CRC32C, ChecksumCRC64NVME: m.CRC64NVME, ChecksumSHA1: m.SHA1, ChecksumSHA256: m.SHA256,
					ChecksumSHA512: m.SHA512, ChecksumMD5: m.MD5, ChecksumType: m.Type,
				}
			}
		case types.ObjectAttributesObjectParts:
			if o.Manifest == "" {
				continue
			}
			m, err := s.manifest(ctx, o)
			if err != nil {
				return nil, err
			}
			out.ObjectParts = m.listed(aws.ToString(in.PartNumberMarker), in.MaxParts)
		default:
			return nil, invalidArgument("x-amz-object-attributes", string(attribute), "Invalid attribute name specified.")
		}
	}
	return out, nil
}
