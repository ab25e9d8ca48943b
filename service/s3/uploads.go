package s3

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/malote/malote/store"
)

// ListParts lists the parts of an upload, by number.
func (s *Service) ListParts(ctx context.Context, in *s3.ListPartsInput) (*s3.ListPartsOutput, error) {
	b, err := s.open(ctx, *in.Bucket, in.ExpectedBucketOwner, access{action: "s3:ListMultipartUploadParts", key: *in.Key})
	if err != nil {
		return nil, err
	}
	w := wish{customerAlgorithm: in.SSECustomerAlgorithm, customerKey: in.SSECustomerKey, customerMD5: in.SSECustomerKeyMD5}
	if err := w.checkCustomer(); err != nil {
		return nil, err
	}
	limit, marker := maxPage, 0
	if in.MaxParts != nil {
		if *in.MaxParts < 0 {
			return nil, invalidArgument("max-parts", strconv.Itoa(int(*in.MaxParts)), "Argument max-parts must be an integer between 0 and 2147483647")
		}
		limit = min(int(*in.MaxParts), maxPage)
	}
	if in.PartNumberMarker != nil && *in.PartNumberMarker != "" {
		if marker, err = strconv.Atoi(*in.PartNumberMarker); err != nil || marker < 0 {
			return nil, invalidArgument("part-number-marker", *in.PartNumberMarker, "Argument part-number-marker must be an integer between 0 and 2147483647")
		}
	}
	if in.RequestPayer != "" {
		return nil, notImplemented("x-amz-request-payer")
	}
	out := &s3.ListPartsOutput{
		Bucket: &b.Name, Key: in.Key, UploadId: in.UploadId, MaxParts: aws.Int32(int32(limit)), PartNumberMarker: aws.String(strconv.Itoa(marker)),
		IsTruncated: aws.Bool(false), StorageClass: types.StorageClassStandard, Owner: b.owner(),
	}
	err = s.store.View(ctx, func(tx store.Tx) error {
		u, err := s.uploadIn(tx, b, *in.Key, *in.UploadId)
		if err != nil {
			return err
		}
		out.Parts, out.IsTruncated, out.NextPartNumberMarker = nil, aws.Bool(false), nil
		out.Initiator = &types.Initiator{ID: &u.Owner}
		if u.Declared {
			out.ChecksumAlgorithm, out.ChecksumType = types.ChecksumAlgorithm(u.Object.Checksum.Algorithm), u.Object.Checksum.Type
		}
		prefix, from := partsPrefix+u.ID+"/", ""
		if marker > 0 {
			from = partKey(u.ID, int32(min(marker, maxParts)))
		}
		for row, err := range s.parts.Scan(tx, prefix, from) {
			if err != nil {
				return err
			}
			if len(out.Parts) == limit {
				out.IsTruncated = aws.Bool(limit > 0)
				return nil
			}
			p := row.Value
			listed := types.Part{PartNumber: &p.Number, ETag: quoted(p.ETag), Size: &p.Size, LastModified: &p.Modified}
			if u.Declared {
				own := sum{Algorithm: u.Object.Checksum.Algorithm, Value: p.Sum}
				m := own.members()
				listed.ChecksumCRC32, listed.ChecksumCRC32C, listed.ChecksumCRC64NVME, listed.ChecksumSHA1, listed.ChecksumSHA256 = m.CRC32, m.CRC32C, m.CRC64NVME, m.SHA1, m.SHA256
				listed.ChecksumSHA512, listed.ChecksumMD5 = m.SHA512, m.MD5
			}
			out.Parts = append(out.Parts, listed)
			out.NextPartNumberMarker = aws.String(strconv.Itoa(int(p.Number)))
		}
		return nil
	})
	return out, err
}

// ListMultipartUploads lists the uploads that go on, by key.
func (s *Service) ListMultipartUploads(ctx context.Context, in *s3.ListMultipartUploadsInput) (*s3.ListMultipartUploadsOutput, error) {
	b, l, err := s.openListing(ctx, "s3:ListBucketMultipartUploads", listRequest{in.Bucket, in.ExpectedBucketOwner, in.Prefix, in.Delimiter, in.MaxUploads, in.EncodingType, in.RequestPayer, nil})
	if err != nil {
		return nil, err
	}
	out := &s3.ListMultipartUploadsOutput{
		Bucket: &b.Name, Prefix: l.name(l.prefix), Delimiter: l.named(l.delimiter), MaxUploads: aws.Int32(int32(l.limit)), KeyMarker: l.name(aws.ToString(in.KeyMarker)),
		UploadIdMarker: aws.String(aws.ToString(in.UploadIdMarker)), IsTruncated: aws.Bool(false), EncodingType: in.EncodingType,
	}
	err = s.store.View(ctx, func(tx store.Tx) error {
		out.Uploads, out.CommonPrefixes, out.IsTruncated = nil, nil, aws.Bool(false)
		from, common := "", ""
		if key := aws.ToString(in.KeyMarker); key != "" {
			if from = b.uploadsPrefix() + escaped(key) + end + last; aws.ToString(in.UploadIdMarker) != "" {
				from = b.uploadKey(key, *in.UploadIdMarker)
			}
		}
		for row, err := range s.uploads.Scan(tx, b.uploadsPrefix()+escaped(l.prefix), from) {
			if err != nil {
				return err
			}
			u := row.Value
			if !u.Ended.IsZero() {
				continue
			}
			group := ""
			if l.delimiter != "" {
				if i := strings.Index(u.Key[len(l.prefix):], l.delimiter); i >= 0 {
					group = u.Key[:len(l.prefix)+i+len(l.delimiter)]
				}
			}
			if group != "" && (group == common || group == aws.ToString(in.KeyMarker)) {
				continue
			}
			if len(out.Uploads)+len(out.CommonPrefixes) == l.limit {
				out.IsTruncated = aws.Bool(l.limit > 0)
				return nil
			}
			if group != "" {
				common = group
				out.CommonPrefixes = append(out.CommonPrefixes, types.CommonPrefix{Prefix: l.name(group)})
				out.NextKeyMarker, out.NextUploadIdMarker = l.name(group), nil
				continue
			}
			listed := types.MultipartUpload{UploadId: &u.ID, Key: l.name(u.Key), Initiated: &u.Begun, StorageClass: types.StorageClassStandard, Owner: b.owner(), Initiator: &types.Initiator{ID: &u.Owner}}
			if u.Declared {
				listed.ChecksumAlgorithm, listed.ChecksumType = types.ChecksumAlgorithm(u.Object.Checksum.Algorithm), u.Object.Checksum.Type
			}
			out.Uploads = append(out.Uploads, listed)
			out.NextKeyMarker, out.NextUploadIdMarker = l.name(u.Key), &u.ID
		}
		return nil
	})
	if err == nil && !*out.IsTruncated {
		out.NextKeyMarker, out.NextUploadIdMarker = nil, nil
	}
	return out, err
}

// clearParts removes the records of an upload that has ended; what is not in its object
// becomes garbage. What fails, the upkeep does.
func (s *Service) clearParts(ctx context.Context, id string) {
	if err := s.dropParts(context.WithoutCancel(ctx), id); err != nil {
		s.log.Error("clearing the parts of an upload", "err", err)
	}
}

func (s *Service) dropParts(ctx context.Context, id string) error {
	kept := map[string]bool{}
	m, err := s.manifest(ctx, &object{Manifest: id})
	switch {
	case err == nil:
		for i := range m.Parts {
			kept[m.Parts[i].blob()] = true
		}
	case !errors.Is(err, store.ErrNotFound):
		return err
	}
	for more := true; more; {
		var dropped []string
		err := s.store.Update(ctx, func(tx store.Tx) error {
			dropped, more = dropped[:0], false
			n := 0
			for row, err := range s.parts.Scan(tx, partsPrefix+id+"/", "") {
				if err != nil {
					return err
				}
				if n++; n > batch/2 {
					more = true
					return nil
				}
				if err := s.parts.Delete(tx, row.Key); err != nil {
					return err
				}
				if kept[row.Value.Blob] {
					continue
				}
				if err := s.discard(tx, garbage{Blob: row.Value.Blob}); err != nil {
					return err
				}
				dropped = append(dropped, row.Value.Blob)
			}
			return nil
		})
		if err != nil {
			return err
		}
		for _, blob := range dropped {
			s.collectSoon(ctx, &object{Blob: blob})
		}
	}
	return nil
}

// sweepUploads ends the uploads into buckets that are gone, clears what ended uploads have
// left, and forgets them after a day.
func (s *Service) sweepUploads(ctx context.Context) error {
	var failed error
	after := ""
	for {
		var uploads []*upload
		err := s.store.View(ctx, func(tx store.Tx) error {
			uploads = uploads[:0]
			for row, err := range s.uploads.Scan(tx, uploadsPrefix, after) {
				if err != nil {
					return err
				}
				uploads = append(uploads, row.Value)
				if len(uploads) == batch {
					return nil
				}
			}
			return nil
		})
		if err != nil {
			return errors.Join(failed, err)
		}
		for _, u := range uploads {
			after = u.path()
			if err := s.sweepUpload(ctx, u); err != nil {
				failed = errors.Join(failed, fmt.Errorf("upload %s: %w", u.ID, err))
			}
		}
		if len(uploads) < batch {
			return failed
		}
	}
}

func (s *Service) sweepUpload(ctx context.Context, u *upload) error {
	if u.Ended.IsZero() {
		gone := false
		err := s.store.Update(ctx, func(tx store.Tx) error {
			b, err := s.bucketIn(tx, u.Name)
			var api *apiError
			if err != nil && !errors.As(err, &api) {
				return err
			}
			gone = err != nil || b.ID != u.Bucket || b.Lifecycle.aborts(u, s.now())
			if !gone {
				return nil
			}
			now, err := s.uploads.Get(tx, u.path())
			if err != nil || !now.Ended.IsZero() {
				return err
			}
			return s.endUpload(tx, now)
		})
		if err != nil || !gone {
			return err
		}
	}
	if err := s.dropParts(ctx, u.ID); err != nil {
		return err
	}
	if u.Ended.IsZero() || s.now().Sub(u.Ended) < endedLife {
		return nil
	}
	return s.store.Update(ctx, func(tx store.Tx) error { return s.uploads.Delete(tx, u.path()) })
}
