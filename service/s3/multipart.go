package s3

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/malote/malote/caller"
	"github.com/malote/malote/internal/checksum"
	"github.com/malote/malote/store"
)

// CreateMultipartUpload begins an object that comes in parts. How it is encrypted is
// settled here.
func (s *Service) CreateMultipartUpload(ctx context.Context, in *s3.CreateMultipartUploadInput) (*s3.CreateMultipartUploadOutput, error) {
	w := wish{in.ServerSideEncryption, in.SSEKMSKeyId, in.SSEKMSEncryptionContext, in.BucketKeyEnabled, in.SSECustomerAlgorithm, in.SSECustomerKey, in.SSECustomerKeyMD5}
	tags, err := headerTags(in.Tagging)
	if err != nil {
		return nil, err
	}
	asked := putAccesses(*in.Key, &w, tags, string(in.ACL), string(in.StorageClass), false)
	b, err := s.openAll(ctx, *in.Bucket, in.ExpectedBucketOwner, asked)
	if err != nil {
		return nil, err
	}
	refusals := headerRefusals{
		acl: in.ACL, storageClass: in.StorageClass, redirect: in.WebsiteRedirectLocation, lockMode: string(in.ObjectLockMode), legalHold: string(in.ObjectLockLegalHoldStatus),
		retain: in.ObjectLockRetainUntilDate, grants: []*string{in.GrantFullControl, in.GrantRead, in.GrantReadACP, in.GrantWriteACP}, payer: string(in.RequestPayer),
	}
	for _, check := range []func() error{func() error { return checkKey(*in.Key) }, refusals.check, w.checkCustomer, func() error { return checkMetadata(in.Metadata) }} {
		if err := check(); err != nil {
			return nil, err
		}
	}
	c := sum{Algorithm: checksum.CRC64NVME, Type: types.ChecksumTypeFullObject}
	switch {
	case in.ChecksumAlgorithm != "":
		c.Algorithm = checksum.Algorithm(in.ChecksumAlgorithm)
		if checksum.New(c.Algorithm) == nil {
			return nil, unsupportedAlgorithm()
		}
		if c.Type, err = checkType(c.Algorithm, in.ChecksumType); err != nil {
			return nil, err
		}
	case in.ChecksumType != "":
		return nil, bad("InvalidRequest", "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.")
	}
	how, _, err := s.seal(ctx, b, *in.Key, &w)
	if err != nil {
		return nil, err
	}
	u := &upload{
		ID: newID(), Bucket: b.ID, Name: b.Name, Key: *in.Key, Owner: caller.From(ctx).Principal.ARN, Begun: s.timestamp(), Declared: in.ChecksumAlgorithm != "",
		Object: object{
			Key: *in.Key, Metadata: in.Metadata, Tags: tags, Sealing: how, Checksum: c,
			Headers: newHeaders(in.ContentType, in.ContentEncoding, in.CacheControl, in.ContentDisposition, in.ContentLanguage, in.Expires),
		},
	}
	if err := s.write(ctx, b, asked, func(tx store.Tx, _ *bucket) error { return s.uploads.Put(tx, u.path(), u) }); err != nil {
		return nil, err
	}
	sse := how.shown()
	out := &s3.CreateMultipartUploadOutput{Bucket: in.Bucket, Key: in.Key, UploadId: &u.ID, ServerSideEncryption: sse.algorithm, SSEKMSKeyId: sse.keyID, BucketKeyEnabled: sse.bucketKey}
	if u.Declared {
		out.ChecksumAlgorithm, out.ChecksumType = types.ChecksumAlgorithm(c.Algorithm), c.Type
	}
	return out, nil
}

// receiving is what UploadPart and UploadPartCopy have in common.
type receiving struct {
	bucket, key, upload string
	number              int32
	owner               *string
}

// receive authorizes a part and finds its upload.
func (s *Service) receive(ctx context.Context, r receiving, asked access) (*bucket, *upload, error) {
	b, err := s.open(ctx, r.bucket, r.owner, asked)
	if err != nil {
		return nil, nil, err
	}
	if r.number < 1 || r.number > maxParts {
		return nil, nil, invalidArgument("partNumber", strconv.Itoa(int(r.number)), "Part number must be an integer between 1 and 10000, inclusive")
	}
	u, err := s.findUpload(ctx, b, r.key, r.upload)
	return b, u, err
}

// keep seals a part's content and notes the part.
func (s *Service) keep(ctx context.Context, b *bucket, u *upload, asked access, number int32, content io.Reader, size int64, d *digests) (*part, error) {
	keys, err := s.unseal(ctx, &u.Object.Sealing)
	if err != nil {
		return nil, err
	}
	name, err := s.take(ctx, content, size, keys, d)
	if err != nil {
		return nil, err
	}
	p := &part{Number: number, Size: size, Blob: name, Modified: s.timestamp(), ETag: d.etag(&u.Object.Sealing)}
	if d.md5 != nil {
		p.MD5 = d.md5.Sum(nil)
	}
	if d.sum != nil && d.algorithm == u.Object.Checksum.Algorithm {
		p.Sum = d.sum.Sum(nil)
	} else if d.extra != nil {
		p.Sum = d.extra.Sum(nil)
	}
	var was *part
	err = s.write(ctx, b, []access{asked}, func(tx store.Tx, b *bucket) error {
		now, err := s.uploadIn(tx, b, u.Key, u.ID)
		if err != nil {
			return err
		}
		was, err = s.parts.Get(tx, partKey(u.ID, number))
		switch {
		case err == nil:
			if err := s.discard(tx, garbage{Blob: was.Blob}); err != nil {
				return err
			}
		case !errors.Is(err, store.ErrNotFound):
			return err
		}
		changed := *now
		changed.Generation++
		if err := s.uploads.Put(tx, now.path(), &changed); err != nil {
			return err
		}
		if err := s.finished(tx, name); err != nil {
			return err
		}
		return s.parts.Put(tx, partKey(u.ID, number), p)
	})
	if err != nil {
		return nil, s.giveUp(ctx, name, err)
	}
	if was != nil {
		s.collectSoon(ctx, &object{Blob: was.Blob})
	}
	return p, nil
}

// UploadPart writes one part, in the place of an earlier one of that number.
func (s *Service) UploadPart(ctx context.Context, in *s3.UploadPartInput) (*s3.UploadPartOutput, error) {
	asked := access{action: "s3:PutObject", key: *in.Key}
	b, u, err := s.receive(ctx, receiving{*in.Bucket, *in.Key, *in.UploadId, *in.PartNumber, in.ExpectedBucketOwner}, asked)
	if err != nil {
		return nil, err
	}
	w := wish{customerAlgorithm: in.SSECustomerAlgorithm, customerKey: in.SSECustomerKey, customerMD5: in.SSECustomerKeyMD5}
	if err := w.checkCustomer(); err != nil {
		return nil, err
	}
	if in.RequestPayer != "" {
		return nil, notImplemented("x-amz-request-payer")
	}
	d, err := newDigests(&given{
		algorithm: in.ChecksumAlgorithm, md5: in.ContentMD5,
		crc32: in.ChecksumCRC32, crc32c: in.ChecksumCRC32C, crc64nvme: in.ChecksumCRC64NVME, sha1: in.ChecksumSHA1, sha256: in.ChecksumSHA256,
		sha512: in.ChecksumSHA512, md5sum: in.ChecksumMD5, xxhash64: in.ChecksumXXHASH64, xxhash3: in.ChecksumXXHASH3, xxhash128: in.ChecksumXXHASH128,
	}, in.Body, u.Object.Checksum.Algorithm, !u.Object.Sealing.usesKMS())
	if err != nil {
		return nil, err
	}
	if d.algorithm != u.Object.Checksum.Algorithm {
		if u.Declared {
			return nil, bad("InvalidRequest", "Checksum Type mismatch occurred, expected checksum Type: %s, actual checksum Type: %s", lower(u.Object.Checksum.Algorithm), lower(d.algorithm))
		}
		d.extra = checksum.New(u.Object.Checksum.Algorithm)
	}
	p, err := s.keep(ctx, b, u, asked, *in.PartNumber, in.Body, aws.ToInt64(in.ContentLength), d)
	if err != nil {
		return nil, err
	}
	sse, own := u.Object.Sealing.shown(), d.checksum()
	sums := own.members()
	return &s3.UploadPartOutput{
		ETag: quoted(p.ETag), ServerSideEncryption: sse.algorithm, SSEKMSKeyId: sse.keyID, BucketKeyEnabled: sse.bucketKey,
		ChecksumCRC32: sums.CRC32, ChecksumCRC32C: sums.CRC32C, ChecksumCRC64NVME: sums.CRC64NVME, ChecksumSHA1: sums.SHA1, ChecksumSHA256: sums.SHA256,
		ChecksumSHA512: sums.SHA512, ChecksumMD5: sums.MD5,
	}, nil
}

// UploadPartCopy writes one part from an object, or from a range of it.
func (s *Service) UploadPartCopy(ctx context.Context, in *s3.UploadPartCopyInput) (*s3.UploadPartCopyOutput, error) {
	from, err := parseSource(*in.CopySource)
	if err != nil {
		return nil, err
	}
	asked := access{action: "s3:PutObject", key: *in.Key, conditions: map[string][]string{"s3:x-amz-copy-source": {from.named()}}}
	b, u, err := s.receive(ctx, receiving{*in.Bucket, *in.Key, *in.UploadId, *in.PartNumber, in.ExpectedBucketOwner}, asked)
	if err != nil {
		return nil, err
	}
	w := wish{customerAlgorithm: in.SSECustomerAlgorithm, customerKey: in.SSECustomerKey, customerMD5: in.SSECustomerKeyMD5}
	sourceKey := wish{customerAlgorithm: in.CopySourceSSECustomerAlgorithm, customerKey: in.CopySourceSSECustomerKey, customerMD5: in.CopySourceSSECustomerKeyMD5}
	if err := w.checkCustomer(); err != nil {
		return nil, err
	}
	if err := sourceKey.checkCustomer(); err != nil {
		return nil, err
	}
	if in.RequestPayer != "" {
		return nil, notImplemented("x-amz-request-payer")
	}
	f, err := s.fetch(ctx, from, in.ExpectedSourceBucketOwner, readCondition{
		match: in.CopySourceIfMatch, noneMatch: in.CopySourceIfNoneMatch, modified: in.CopySourceIfModifiedSince, unmodified: in.CopySourceIfUnmodifiedSince, prefix: "x-amz-copy-source-", copying: true,
	})
	if err != nil {
		return nil, err
	}
	offset, length, err := copyRange(f.object, in.CopySourceRange)
	if err != nil {
		return nil, err
	}
	keys, err := s.unseal(f.bucket.at(ctx), &f.object.Sealing)
	if err != nil {
		return nil, err
	}
	content, err := s.read(ctx, f.object, keys, offset, length)
	if err != nil {
		return nil, err
	}
	defer content.Close()
	d, err := newDigests(&given{}, nil, u.Object.Checksum.Algorithm, !u.Object.Sealing.usesKMS())
	if err != nil {
		return nil, err
	}
	p, err := s.keep(ctx, b, u, asked, *in.PartNumber, content, length, d)
	if err != nil {
		return nil, err
	}
	sse, own := u.Object.Sealing.shown(), d.checksum()
	sums := own.members()
	return &s3.UploadPartCopyOutput{
		CopyPartResult: &types.CopyPartResult{
			ETag: quoted(p.ETag), LastModified: aws.Time(p.Modified), ChecksumCRC32: sums.CRC32, ChecksumCRC32C: sums.CRC32C, ChecksumCRC64NVME: sums.CRC64NVME,
			ChecksumSHA1: sums.SHA1, ChecksumSHA256: sums.SHA256, ChecksumSHA512: sums.SHA512, ChecksumMD5: sums.MD5,
		},
		CopySourceVersionId: f.bucket.named(f.object), ServerSideEncryption: sse.algorithm, SSEKMSKeyId: sse.keyID, BucketKeyEnabled: sse.bucketKey,
	}, nil
}

// CompleteMultipartUpload makes the parts one object. Asked again with the same parts, it
// answers the same.
func (s *Service) CompleteMultipartUpload(ctx context.Context, in *s3.CompleteMultipartUploadInput) (*s3.CompleteMultipartUploadOutput, error) {
	c := writeCondition{in.IfMatch, in.IfNoneMatch}
	asked := []access{{action: "s3:PutObject", key: *in.Key, conditions: map[string][]string{}}}
	if c.match != nil {
		asked = append(asked, access{action: "s3:GetObject", key: *in.Key})
	}
	c.tell(asked[0].conditions)
	b, err := s.openAll(ctx, *in.Bucket, in.ExpectedBucketOwner, asked)
	if err != nil {
		return nil, err
	}
	w := wish{customerAlgorithm: in.SSECustomerAlgorithm, customerKey: in.SSECustomerKey, customerMD5: in.SSECustomerKeyMD5}
	for _, check := range []func() error{w.checkCustomer, c.check, func() error { return checkList(in.MultipartUpload) }} {
		if err := check(); err != nil {
			return nil, err
		}
	}
	if in.RequestPayer != "" {
		return nil, notImplemented("x-amz-request-payer")
	}
	request := fingerprint(in.MultipartUpload.Parts)
	for range attempts {
		u, was, err := s.completed(ctx, b, *in.Key, *in.UploadId, request)
		if err != nil {
			return nil, err
		}
		if was != nil {
			return completion(b, was), nil
		}
		if u.Object.Sealing.usesKMS() {
			if _, err := s.unseal(ctx, &u.Object.Sealing); err != nil {
				return nil, err
			}
		}
		o, done, err := s.complete(ctx, b, u, in, asked, c, request)
		if errors.Is(err, errNewPart) {
			continue
		}
		if err != nil {
			return nil, err
		}
		s.clearParts(ctx, u.ID)
		return completion(done, o), nil
	}
	return nil, aborted()
}

// errNewPart says that a part came while the upload was being completed.
var errNewPart = errors.New("a part was uploaded meanwhile")

func checkList(m *types.CompletedMultipartUpload) error {
	if m == nil || len(m.Parts) == 0 {
		return bad("InvalidRequest", "You must specify at least one part")
	}
	for i, p := range m.Parts {
		if p.PartNumber == nil || p.ETag == nil {
			return malformedXML()
		}
		if *p.PartNumber < 1 || *p.PartNumber > maxParts {
			return invalidArgument("PartNumber", strconv.Itoa(int(*p.PartNumber)), "Part number must be an integer between 1 and 10000, inclusive")
		}
		if i > 0 && *m.Parts[i-1].PartNumber >= *p.PartNumber {
			return bad("InvalidPartOrder", "The list of parts was not in ascending order. Parts must be ordered by part number.")
		}
	}
	return nil
}

// fingerprint is the same for lists of the same parts.
func fingerprint(parts []types.CompletedPart) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d %s\n", *p.PartNumber, strings.Trim(*p.ETag, `"`))
	}
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

// completed is the upload, and the object that it has become already.
func (s *Service) completed(ctx context.Context, b *bucket, key, id, request string) (u *upload, o *object, err error) {
	err = s.store.View(ctx, func(tx store.Tx) error {
		if u, err = s.anyUpload(tx, b, key, id); err != nil || u.Ended.IsZero() {
			return err
		}
		if u.Version == "" || u.Request != request {
			return noSuchUpload(id)
		}
		if o, err = s.version(tx, b, key, u.Version); err == nil && (o == nil || o.Manifest != u.ID) {
			return noSuchUpload(id) // something else is there now
		}
		return err
	})
	return u, o, err
}

func (s *Service) complete(ctx context.Context, b *bucket, u *upload, in *s3.CompleteMultipartUploadInput, asked []access, c writeCondition, request string) (*object, *bucket, error) {
	parts, err := s.gather(ctx, u, in.MultipartUpload.Parts)
	if err != nil {
		return nil, nil, err
	}
	o := u.Object
	o.Modified, o.Manifest, o.Parts = s.timestamp(), u.ID, len(parts)
	o.ETag, o.Size, o.Checksum = whole(parts, u.Object.Checksum)
	if o.Sealing.usesKMS() {
		o.ETag = fmt.Sprintf("%s-%d", newID(), len(parts))
	}
	if in.MpuObjectSize != nil && *in.MpuObjectSize != o.Size {
		return nil, nil, bad("InvalidRequest", "The provided 'x-amz-mp-object-size' header value %d does not match what was computed: %d", *in.MpuObjectSize, o.Size)
	}
	if err := checkWhole(in, &o.Checksum); err != nil {
		return nil, nil, err
	}
	m := &manifest{}
	for _, p := range parts {
		m.Parts = append(m.Parts, newPartOf(p))
	}
	var was *object
	var now *bucket
	err = s.write(ctx, b, asked, func(tx store.Tx, b *bucket) error {
		open, err := s.uploadIn(tx, b, u.Key, u.ID)
		if err != nil {
			return err
		}
		if open.Generation != u.Generation {
			return errNewPart
		}
		newest, err := s.newest(tx, b, o.Key)
		if err != nil {
			return err
		}
		if err := c.holds(o.Key, newest); err != nil {
			return err
		}
		now, was = b, nil
		if b.Versioning == "" {
			was = newest
		}
		if err := s.put(tx, b, &o); err != nil {
			return err
		}
		if err := s.manifests.Put(tx, manifestPrefix+u.ID, m); err != nil {
			return err
		}
		ended := *open
		ended.Ended, ended.Version, ended.Request = s.timestamp(), o.Version, request
		return s.uploads.Put(tx, u.path(), &ended)
	})
	if err != nil {
		return nil, nil, err
	}
	s.collectSoon(ctx, was)
	return &o, now, nil
}

func newPartOf(p *part) partOf {
	blob, _ := hex.DecodeString(p.Blob) // it is newID's
	return partOf{Blob: blob, Size: p.Size, Number: p.Number, Sum: p.Sum}
}

// gather reads the parts that a request lists, and checks them.
func (s *Service) gather(ctx context.Context, u *upload, list []types.CompletedPart) ([]*part, error) {
	var parts []*part
	err := s.store.View(ctx, func(tx store.Tx) error {
		parts = make([]*part, 0, len(list))
		for i, wanted := range list {
			p, err := s.parts.Get(tx, partKey(u.ID, *wanted.PartNumber))
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				return err
			}
			etag := strings.Trim(*wanted.ETag, `"`)
			number := strconv.Itoa(int(*wanted.PartNumber))
			if err != nil || p.ETag != etag {
				return bad("InvalidPart", "One or more of the specified parts could not be found.  The part may not have been uploaded, or the specified entity tag may not match the part's entity tag.").
					with("UploadId", u.ID).with("PartNumber", number).with("ETag", etag)
			}
			if p.Size < minPart && i < len(list)-1 {
				return bad("EntityTooSmall", "Your proposed upload is smaller than the minimum allowed size").
					with("ProposedSize", strconv.FormatInt(p.Size, 10)).with("MinSizeAllowed", strconv.Itoa(minPart)).with("PartNumber", number).with("ETag", etag)
			}
			if err := checkPart(u, p, &wanted); err != nil {
				return err
			}
			parts = append(parts, p)
		}
		return nil
	})
	return parts, err
}

// checkPart compares a part's checksum with the one in the list, where it must stand when
// the object's is made of them.
func checkPart(u *upload, p *part, wanted *types.CompletedPart) error {
	algorithm := u.Object.Checksum.Algorithm
	for of, value := range map[checksum.Algorithm]*string{
		checksum.CRC32: wanted.ChecksumCRC32, checksum.CRC32C: wanted.ChecksumCRC32C, checksum.CRC64NVME: wanted.ChecksumCRC64NVME,
		checksum.SHA1: wanted.ChecksumSHA1, checksum.SHA256: wanted.ChecksumSHA256, checksum.SHA512: wanted.ChecksumSHA512, checksum.MD5: wanted.ChecksumMD5,
	} {
		if of != algorithm {
			continue
		}
		if value == nil {
			if u.Declared && u.Object.Checksum.Type == types.ChecksumTypeComposite {
				return bad("InvalidRequest", "The upload was created using a %s checksum. The complete request must include the checksum for each part. It was missing for part %d in the request.", lower(algorithm), p.Number)
			}
			continue
		}
		if sum, ok := algorithm.Parse(*value); !ok || !bytes.Equal(sum, p.Sum) {
			return bad("InvalidPart", "One or more of the specified parts could not be found.  The part may not have been uploaded, or the specified entity tag may not match the part's entity tag.").
				with("UploadId", u.ID).with("PartNumber", strconv.Itoa(int(p.Number))).with("ETag", p.ETag)
		}
	}
	return nil
}

// checkWhole compares the object's checksum with the one in the request.
func checkWhole(in *s3.CompleteMultipartUploadInput, c *sum) error {
	if in.ChecksumXXHASH64 != nil || in.ChecksumXXHASH3 != nil || in.ChecksumXXHASH128 != nil {
		return unsupportedAlgorithm()
	}
	if in.ChecksumType != "" && in.ChecksumType != c.Type {
		return bad("InvalidRequest", "The upload was created using the %s checksum mode. The complete request must use the same checksum mode.", c.Type)
	}
	for of, value := range map[checksum.Algorithm]*string{
		checksum.CRC32: in.ChecksumCRC32, checksum.CRC32C: in.ChecksumCRC32C, checksum.CRC64NVME: in.ChecksumCRC64NVME,
		checksum.SHA1: in.ChecksumSHA1, checksum.SHA256: in.ChecksumSHA256, checksum.SHA512: in.ChecksumSHA512, checksum.MD5: in.ChecksumMD5,
	} {
		if value == nil {
			continue
		}
		own, _, _ := strings.Cut(c.text(), "-")
		given, _, _ := strings.Cut(*value, "-")
		if of != c.Algorithm || own != given {
			return bad("BadDigest", "The %s you specified did not match the calculated checksum.", lower(of))
		}
	}
	return nil
}

func completion(b *bucket, o *object) *s3.CompleteMultipartUploadOutput {
	sse, sums := o.Sealing.shown(), o.Checksum.members()
	return &s3.CompleteMultipartUploadOutput{
		Bucket: &b.Name, Key: &o.Key, Location: aws.String("/" + b.Name + "/" + o.Key), ETag: quoted(o.ETag), VersionId: b.named(o),
		ServerSideEncryption: sse.algorithm, SSEKMSKeyId: sse.keyID, BucketKeyEnabled: sse.bucketKey,
		ChecksumCRC32: sums.CRC32, ChecksumCRC32C: sums.CRC32C, ChecksumCRC64NVME: sums.CRC64NVME, ChecksumSHA1: sums.SHA1, ChecksumSHA256: sums.SHA256,
		ChecksumSHA512: sums.SHA512, ChecksumMD5: sums.MD5, ChecksumType: sums.Type,
	}
}

// AbortMultipartUpload gives an upload up. Its parts are deleted.
func (s *Service) AbortMultipartUpload(ctx context.Context, in *s3.AbortMultipartUploadInput) (*s3.AbortMultipartUploadOutput, error) {
	asked := access{action: "s3:AbortMultipartUpload", key: *in.Key}
	b, err := s.open(ctx, *in.Bucket, in.ExpectedBucketOwner, asked)
	if err != nil {
		return nil, err
	}
	switch {
	case in.IfMatchInitiatedTime != nil:
		return nil, notImplemented("x-amz-if-match-initiated-time")
	case in.RequestPayer != "":
		return nil, notImplemented("x-amz-request-payer")
	}
	err = s.write(ctx, b, []access{asked}, func(tx store.Tx, b *bucket) error {
		u, err := s.uploadIn(tx, b, *in.Key, *in.UploadId)
		if err != nil {
			return err
		}
		return s.endUpload(tx, u)
	})
	if err != nil {
		return nil, err
	}
	s.clearParts(ctx, *in.UploadId)
	return &s3.AbortMultipartUploadOutput{}, nil
}

func (s *Service) endUpload(tx store.Tx, u *upload) error {
	ended := *u
	ended.Ended = s.timestamp()
	return s.uploads.Put(tx, u.path(), &ended)
}
