package s3

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/url"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/malote/malote/internal/checksum"
)

// source is what x-amz-copy-source names.
type source struct {
	bucket, key string
	version     *string
}

func parseSource(header string) (*source, error) {
	refused := invalidArgument("x-amz-copy-source", header, "Copy Source must mention the source bucket and key: sourcebucket/sourcekey")
	path, query, _ := strings.Cut(header, "?")
	decoded, err := url.PathUnescape(path)
	if err != nil {
		return nil, invalidArgument("x-amz-copy-source", header, "Copy Source must be URL-encoded")
	}
	from := &source{}
	var ok bool
	if from.bucket, from.key, ok = strings.Cut(strings.TrimPrefix(decoded, "/"), "/"); !ok || from.bucket == "" || from.key == "" {
		return nil, refused
	}
	if query == "" {
		return from, nil
	}
	version, ok := strings.CutPrefix(query, "versionId=")
	if !ok || version == "" {
		return nil, refused
	}
	from.version = &version
	return from, nil
}

// named is how policies see it: decoded, however it was sent.
func (f *source) named() string {
	if f.version != nil {
		return f.bucket + "/" + f.key + "?versionId=" + *f.version
	}
	return f.bucket + "/" + f.key
}

// fetch opens the source of a copy, as the caller.
func (s *Service) fetch(ctx context.Context, from *source, owner *string, c readCondition) (*found, error) {
	f, err := s.seek(ctx, reading{bucket: from.bucket, key: from.key, owner: owner, version: from.version, action: "s3:GetObject", condition: c, anywhere: true})
	if api, ok := err.(*apiError); ok && api.code == "MethodNotAllowed" {
		return nil, bad("InvalidRequest", "The source of a copy request may not specifically refer to a delete marker by version id.")
	}
	return f, err
}

// CopyObject writes an object anew from another, decrypted and encrypted again.
func (s *Service) CopyObject(ctx context.Context, in *s3.CopyObjectInput) (*s3.CopyObjectOutput, error) {
	w := wish{in.ServerSideEncryption, in.SSEKMSKeyId, in.SSEKMSEncryptionContext, in.BucketKeyEnabled, in.SSECustomerAlgorithm, in.SSECustomerKey, in.SSECustomerKeyMD5}
	c := writeCondition{in.IfMatch, in.IfNoneMatch}
	replaces := in.MetadataDirective == types.MetadataDirectiveReplace
	retags := in.TaggingDirective == types.TaggingDirectiveReplace
	from, err := parseSource(*in.CopySource)
	if err != nil {
		return nil, err
	}
	given, err := headerTags(in.Tagging)
	if err != nil {
		return nil, err
	}
	if !retags {
		given = nil
	}
	asked := putAccesses(*in.Key, &w, given, string(in.ACL), string(in.StorageClass), c.match != nil)
	asked[0].conditions["s3:x-amz-copy-source"] = []string{from.named()}
	if in.MetadataDirective != "" {
		asked[0].conditions["s3:x-amz-metadata-directive"] = []string{string(in.MetadataDirective)}
	}
	b, err := s.openAll(ctx, *in.Bucket, in.ExpectedBucketOwner, asked)
	if err != nil {
		return nil, err
	}
	refusals := headerRefusals{
		acl: in.ACL, storageClass: in.StorageClass, redirect: in.WebsiteRedirectLocation, lockMode: string(in.ObjectLockMode), legalHold: string(in.ObjectLockLegalHoldStatus),
		retain: in.ObjectLockRetainUntilDate, grants: []*string{in.GrantFullControl, in.GrantRead, in.GrantReadACP, in.GrantWriteACP}, payer: string(in.RequestPayer),
	}
	sourceKey := wish{customerAlgorithm: in.CopySourceSSECustomerAlgorithm, customerKey: in.CopySourceSSECustomerKey, customerMD5: in.CopySourceSSECustomerKeyMD5}
	for _, check := range []func() error{
		func() error { return checkKey(*in.Key) }, refusals.check, w.checkCustomer, sourceKey.checkCustomer, c.check,
		func() error { return checkMetadata(in.Metadata) }, func() error { return checkDirectives(in.MetadataDirective, in.TaggingDirective) },
	} {
		if err := check(); err != nil {
			return nil, err
		}
	}
	f, err := s.fetch(ctx, from, in.ExpectedSourceBucketOwner, readCondition{
		match: in.CopySourceIfMatch, noneMatch: in.CopySourceIfNoneMatch, modified: in.CopySourceIfModifiedSince, unmodified: in.CopySourceIfUnmodifiedSince, prefix: "x-amz-copy-source-", copying: true,
	})
	if err != nil {
		return nil, err
	}
	was := f.object
	if !retags && len(was.Tags) > 0 {
		tagged := []access{{action: "s3:GetObjectTagging", key: from.key, objectTags: was.Tags}, {action: "s3:PutObjectTagging", key: *in.Key, requestTags: was.Tags}}
		if from.version != nil {
			tagged[0].action = "s3:GetObjectVersionTagging"
		}
		if err := s.authorize(ctx, f.bucket, tagged[0]); err != nil {
			return nil, err
		}
		if err := s.authorize(ctx, b, tagged[1]); err != nil {
			return nil, err
		}
	}
	if was.Size > maxPut {
		return nil, bad("InvalidRequest", "The specified copy source is larger than the maximum allowable size for a copy source: %d", int64(maxPut))
	}
	same := f.bucket.ID == b.ID && from.key == *in.Key && from.version == nil
	if e, err := w.decide(b); err != nil {
		return nil, err
	} else if same && !replaces && w.algorithm == "" && in.BucketKeyEnabled == nil && in.StorageClass == "" && e.Algorithm == was.Sealing.Algorithm {
		return nil, bad("InvalidRequest", "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes.")
	}
	o := &object{Key: *in.Key, Metadata: was.Metadata, Headers: was.Headers, Tags: maps.Clone(was.Tags)}
	if replaces {
		o.Metadata = in.Metadata
		o.Headers = newHeaders(in.ContentType, in.ContentEncoding, in.CacheControl, in.ContentDisposition, in.ContentLanguage, in.Expires)
	}
	if retags {
		o.Tags = given
	}
	algorithm := was.Checksum.Algorithm
	if in.ChecksumAlgorithm != "" {
		algorithm = checksum.Algorithm(in.ChecksumAlgorithm)
	}
	if algorithm == "" {
		algorithm = checksum.CRC64NVME
	}
	keys, err := s.unseal(f.bucket.at(ctx), &was.Sealing)
	if err != nil {
		return nil, err
	}
	content, err := s.read(ctx, was, keys, 0, was.Size)
	if err != nil {
		return nil, err
	}
	defer content.Close()
	if err := s.encrypt(ctx, b, o, &w, content, was.Size, algorithm); err != nil {
		return nil, err
	}
	b, err = s.commit(ctx, b, asked, o, c)
	if err != nil {
		return nil, s.giveUp(ctx, o.Blob, err)
	}
	sse, sums := o.Sealing.shown(), o.Checksum.members()
	return &s3.CopyObjectOutput{
		CopyObjectResult: &types.CopyObjectResult{
			ETag: quoted(o.ETag), LastModified: aws.Time(o.Modified), ChecksumCRC32: sums.CRC32, ChecksumCRC32C: sums.CRC32C, ChecksumCRC64NVME: sums.CRC64NVME,
			ChecksumSHA1: sums.SHA1, ChecksumSHA256: sums.SHA256, ChecksumSHA512: sums.SHA512, ChecksumMD5: sums.MD5, ChecksumType: sums.Type,
		},
		CopySourceVersionId: f.bucket.named(was), VersionId: b.named(o), ServerSideEncryption: sse.algorithm, SSEKMSKeyId: sse.keyID, BucketKeyEnabled: sse.bucketKey,
	}, nil
}

// encrypt seals content for o, which gets what follows from it.
func (s *Service) encrypt(ctx context.Context, b *bucket, o *object, w *wish, content io.Reader, size int64, algorithm checksum.Algorithm) error {
	how, keys, err := s.seal(ctx, b, o.Key, w)
	if err != nil {
		return err
	}
	d, err := newDigests(&given{}, nil, algorithm, !how.usesKMS())
	if err != nil {
		return err
	}
	if o.Blob, err = s.take(ctx, content, size, keys, d); err != nil {
		return err
	}
	o.Modified, o.Size, o.ETag, o.Sealing, o.Checksum = s.timestamp(), size, d.etag(&how), how, d.checksum()
	return nil
}

func checkDirectives(metadata types.MetadataDirective, tagging types.TaggingDirective) error {
	switch metadata {
	case "", types.MetadataDirectiveCopy, types.MetadataDirectiveReplace:
	default:
		return invalidArgument("x-amz-metadata-directive", string(metadata), "Unknown metadata directive.")
	}
	switch tagging {
	case "", types.TaggingDirectiveCopy, types.TaggingDirectiveReplace:
		return nil
	}
	return invalidArgument("x-amz-tagging-directive", string(tagging), "Unknown tagging directive.")
}

// copyRange reads x-amz-copy-source-range.
func copyRange(o *object, header *string) (offset, length int64, err error) {
	if header == nil {
		return 0, o.Size, nil
	}
	var first, last int64
	if n, err := fmt.Sscanf(*header, "bytes=%d-%d", &first, &last); n != 2 || err != nil || first < 0 || last < first {
		return 0, 0, invalidArgument("x-amz-copy-source-range", *header, "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the zero-based offsets of the first and last bytes to copy")
	}
	if last >= o.Size {
		return 0, 0, invalidArgument("x-amz-copy-source-range", *header, "Range specified is not valid for source object of size: %d", o.Size)
	}
	return first, last - first + 1, nil
}
