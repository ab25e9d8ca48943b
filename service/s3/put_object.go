package s3

import (
	"context"
	"fmt"
	"net/url"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/malote/malote/internal/checksum"
	"github.com/malote/malote/store"
)

// PutObject writes an object: a new version of it where the bucket has versioning. Of two
// at the same time, one comes later.
func (s *Service) PutObject(ctx context.Context, in *s3.PutObjectInput) (*s3.PutObjectOutput, error) {
	w := wish{in.ServerSideEncryption, in.SSEKMSKeyId, in.SSEKMSEncryptionContext, in.BucketKeyEnabled, in.SSECustomerAlgorithm, in.SSECustomerKey, in.SSECustomerKeyMD5}
	c := writeCondition{in.IfMatch, in.IfNoneMatch}
	tags, err := headerTags(in.Tagging)
	if err != nil {
		return nil, err
	}
	asked := putAccesses(*in.Key, &w, tags, string(in.ACL), string(in.StorageClass), c.match != nil)
	c.tell(asked[0].conditions)
	b, err := s.openAll(ctx, *in.Bucket, in.ExpectedBucketOwner, asked)
	if err != nil {
		return nil, err
	}
	refusals := headerRefusals{
		acl: in.ACL, storageClass: in.StorageClass, redirect: in.WebsiteRedirectLocation, lockMode: string(in.ObjectLockMode), legalHold: string(in.ObjectLockLegalHoldStatus),
		retain: in.ObjectLockRetainUntilDate, grants: []*string{in.GrantFullControl, in.GrantRead, in.GrantReadACP, in.GrantWriteACP}, payer: string(in.RequestPayer),
	}
	if in.WriteOffsetBytes != nil {
		return nil, notImplemented("x-amz-write-offset-bytes")
	}
	if err := checkKey(*in.Key); err != nil {
		return nil, err
	}
	for _, check := range []func() error{refusals.check, w.checkCustomer, c.check, func() error { return checkMetadata(in.Metadata) }} {
		if err := check(); err != nil {
			return nil, err
		}
	}
	how, keys, err := s.seal(ctx, b, *in.Key, &w)
	if err != nil {
		return nil, err
	}
	d, err := newDigests(&given{
		algorithm: in.ChecksumAlgorithm, md5: in.ContentMD5,
		crc32: in.ChecksumCRC32, crc32c: in.ChecksumCRC32C, crc64nvme: in.ChecksumCRC64NVME, sha1: in.ChecksumSHA1, sha256: in.ChecksumSHA256,
		sha512: in.ChecksumSHA512, md5sum: in.ChecksumMD5, xxhash64: in.ChecksumXXHASH64, xxhash3: in.ChecksumXXHASH3, xxhash128: in.ChecksumXXHASH128,
	}, in.Body, checksum.CRC64NVME, !how.usesKMS())
	if err != nil {
		return nil, err
	}
	size := aws.ToInt64(in.ContentLength)
	name, err := s.take(ctx, in.Body, size, keys, d)
	if err != nil {
		return nil, err
	}
	o := &object{
		Key: *in.Key, Modified: s.timestamp(), Size: size, ETag: d.etag(&how), Metadata: in.Metadata, Tags: tags, Sealing: how, Checksum: d.checksum(), Blob: name,
		Headers: newHeaders(in.ContentType, in.ContentEncoding, in.CacheControl, in.ContentDisposition, in.ContentLanguage, in.Expires),
	}
	b, err = s.commit(ctx, b, asked, o, c)
	if err != nil {
		return nil, s.giveUp(ctx, name, err)
	}
	sse, sums := how.shown(), o.Checksum.members()
	return &s3.PutObjectOutput{
		ETag: quoted(o.ETag), VersionId: b.named(o), ServerSideEncryption: sse.algorithm, SSEKMSKeyId: sse.keyID, BucketKeyEnabled: sse.bucketKey,
		ChecksumCRC32: sums.CRC32, ChecksumCRC32C: sums.CRC32C, ChecksumCRC64NVME: sums.CRC64NVME, ChecksumSHA1: sums.SHA1, ChecksumSHA256: sums.SHA256,
		ChecksumSHA512: sums.SHA512, ChecksumMD5: sums.MD5, ChecksumType: sums.Type,
	}, nil
}

// putAccesses are what a request that writes an object needs.
func putAccesses(key string, w *wish, tags map[string]string, acl, class string, reads bool) []access {
	first := access{action: "s3:PutObject", key: key, requestTags: tags, conditions: w.conditions(map[string][]string{})}
	if acl != "" {
		first.conditions["s3:x-amz-acl"] = []string{acl}
	}
	if class == "" {
		class = "STANDARD"
	}
	first.conditions["s3:x-amz-storage-class"] = []string{class}
	asked := []access{first}
	if len(tags) > 0 {
		asked = append(asked, access{action: "s3:PutObjectTagging", key: key, requestTags: tags})
	}
	if acl != "" {
		asked = append(asked, access{action: "s3:PutObjectAcl", key: key, conditions: first.conditions})
	}
	if reads {
		asked = append(asked, access{action: "s3:GetObject", key: key})
	}
	return asked
}

// openAll is open for several accesses, all of which must be allowed.
func (s *Service) openAll(ctx context.Context, name string, owner *string, asked []access) (*bucket, error) {
	b, err := s.open(ctx, name, owner, asked[0])
	if err != nil {
		return nil, err
	}
	for _, a := range asked[1:] {
		if err := s.authorize(ctx, b, a); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// commit makes a written body an object, if the condition holds.
func (s *Service) commit(ctx context.Context, b *bucket, asked []access, o *object, c writeCondition) (now *bucket, err error) {
	var was *object
	err = s.write(ctx, b, asked, func(tx store.Tx, b *bucket) error {
		newest, err := s.newest(tx, b, o.Key)
		if err != nil {
			return err
		}
		if err := c.holds(o.Key, newest); err != nil {
			return err
		}
		if err := s.finished(tx, o.Blob); err != nil {
			return err
		}
		now, was = b, nil
		if b.Versioning == "" {
			was = newest
		}
		return s.put(tx, b, o)
	})
	if err == nil {
		s.collectSoon(ctx, was)
	}
	return now, err
}

// headerRefusals are headers that ask for what is not done here.
type headerRefusals struct {
	acl                        types.ObjectCannedACL
	storageClass               types.StorageClass
	redirect                   *string
	lockMode, legalHold, payer string
	retain                     *time.Time
	grants                     []*string
}

func (r headerRefusals) check() error {
	for _, grant := range r.grants {
		if grant != nil {
			return notACL()
		}
	}
	switch {
	case r.acl != "" && r.acl != types.ObjectCannedACLPrivate && r.acl != types.ObjectCannedACLBucketOwnerFullControl:
		return notACL()
	case r.storageClass != "" && r.storageClass != types.StorageClassStandard:
		return notImplemented("x-amz-storage-class")
	case r.redirect != nil:
		return notImplemented("x-amz-website-redirect-location")
	case r.lockMode != "", r.retain != nil:
		return notImplemented("x-amz-object-lock-mode")
	case r.legalHold != "":
		return notImplemented("x-amz-object-lock-legal-hold")
	case r.payer != "":
		return notImplemented("x-amz-request-payer")
	}
	return nil
}

func notACL() error { return bad("AccessControlListNotSupported", "The bucket does not allow ACLs") }

const maxMetadata = 2 << 10

func checkMetadata(metadata map[string]string) error {
	size := 0
	for name, value := range metadata {
		size += len(name) + len(value)
	}
	if size > maxMetadata {
		return bad("MetadataTooLarge", "Your metadata headers exceed the maximum allowed metadata size").with("Size", fmt.Sprint(size)).with("MaxSizeAllowed", fmt.Sprint(maxMetadata))
	}
	return nil
}

func newHeaders(contentType, encoding, cache, disposition, language *string, expires *time.Time) headers {
	h := headers{aws.ToString(contentType), aws.ToString(encoding), aws.ToString(cache), aws.ToString(disposition), aws.ToString(language), expires}
	if h.ContentType == "" {
		h.ContentType = "binary/octet-stream"
	}
	return h
}

// headerTags reads x-amz-tagging: as a query.
func headerTags(header *string) (map[string]string, error) {
	if header == nil || *header == "" {
		return nil, nil
	}
	refused := invalidArgument("x-amz-tagging", *header, "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag name duplicates.")
	values, err := url.ParseQuery(*header)
	if err != nil {
		return nil, refused
	}
	var tags []types.Tag
	for name, list := range values {
		if len(list) > 1 {
			return nil, refused
		}
		tags = append(tags, types.Tag{Key: &name, Value: &list[0]})
	}
	return tagMap(tags, maxObjectTags)
}
