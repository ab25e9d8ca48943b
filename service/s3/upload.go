package s3

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/malote/malote/internal/checksum"
	"github.com/malote/malote/store"
)

// upload is a stored record: a multipart upload, and for a day what became of it.
type upload struct {
	ID       string
	Bucket   string // its ID
	Name     string // of the bucket
	Key      string
	Owner    string // ARN of who began it
	Begun    time.Time
	Object   object // what it will be, as far as it is known
	Declared bool   `json:",omitempty"` // the client has named the checksum's algorithm
	// Generation changes with every part, so that a completion notices one that came
	// between.
	Generation uint64 `json:",omitempty"`

	Ended   time.Time `json:",omitzero"`
	Version string    `json:",omitempty"` // of the object; "": it was aborted
	Request string    `json:",omitempty"` // a digest of the request that completed it
}

// part is a stored record: an uploaded part.
type part struct {
	Number   int32
	Size     int64
	MD5      []byte
	ETag     string
	Sum      []byte `json:",omitempty"`
	Blob     string
	Modified time.Time
}

// manifest is a stored record: the parts that a body is made of.
type manifest struct {
	Parts []partOf
}

// partOf is one of them, kept short: there may be ten thousand.
type partOf struct {
	Name   string `json:"-"` // of the blob, when it is not in a record
	Blob   []byte `json:"b"`
	Size   int64  `json:"s"`
	Number int32  `json:"n"`
	Sum    []byte `json:"c,omitempty"`
}

func (p *partOf) blob() string {
	if p.Name != "" {
		return p.Name
	}
	return hex.EncodeToString(p.Blob)
}

const (
	uploadsPrefix = "s3/upload/"
	partsPrefix   = "s3/part/"

	maxParts = 10000
	minPart  = 5 << 20

	// endedLife is for how long a completed upload is remembered, so that a client that has
	// lost the answer gets it again.
	endedLife = 24 * time.Hour
)

func (b *bucket) uploadsPrefix() string { return uploadsPrefix + b.ID + "/" }

func (b *bucket) uploadKey(key, id string) string {
	return b.uploadsPrefix() + escaped(key) + end + id
}

func (u *upload) path() string { return uploadsPrefix + u.Bucket + "/" + escaped(u.Key) + end + u.ID }

func partKey(upload string, number int32) string {
	return fmt.Sprintf("%s%s/%05d", partsPrefix, upload, number)
}

// uploadIn finds an upload that goes on.
func (s *Service) uploadIn(tx store.Tx, b *bucket, key, id string) (*upload, error) {
	u, err := s.anyUpload(tx, b, key, id)
	if err == nil && !u.Ended.IsZero() {
		return nil, noSuchUpload(id)
	}
	return u, err
}

func (s *Service) anyUpload(tx store.Tx, b *bucket, key, id string) (*upload, error) {
	if len(id) != 32 || checkKey(key) != nil {
		return nil, noSuchUpload(id)
	}
	u, err := s.uploads.Get(tx, b.uploadKey(key, id))
	if errors.Is(err, store.ErrNotFound) {
		return nil, noSuchUpload(id)
	}
	return u, err
}

func (s *Service) findUpload(ctx context.Context, b *bucket, key, id string) (u *upload, err error) {
	err = s.store.View(ctx, func(tx store.Tx) error {
		u, err = s.uploadIn(tx, b, key, id)
		return err
	})
	return u, err
}

// manifest reads the parts of an object.
func (s *Service) manifest(ctx context.Context, o *object) (m *manifest, err error) {
	err = s.store.View(ctx, func(tx store.Tx) error {
		m, err = s.manifests.Get(tx, manifestPrefix+o.Manifest)
		return err
	})
	return m, err
}

// listed is the parts as GetObjectAttributes tells of them.
func (m *manifest) listed(after string, limit *int32) *types.GetObjectAttributesParts {
	page := maxPage
	if limit != nil {
		page = min(int(*limit), maxPage)
	}
	marker, _ := strconv.Atoi(after)
	out := &types.GetObjectAttributesParts{TotalPartsCount: aws.Int32(int32(len(m.Parts))), MaxParts: aws.Int32(int32(page)), PartNumberMarker: aws.String(strconv.Itoa(marker)), IsTruncated: aws.Bool(false)}
	for i, p := range m.Parts {
		number := int32(i + 1)
		if int(number) <= marker {
			continue
		}
		if len(out.Parts) == page {
			out.IsTruncated = aws.Bool(true)
			break
		}
		out.Parts = append(out.Parts, types.ObjectPart{PartNumber: &number, Size: aws.Int64(p.Size)})
		out.NextPartNumberMarker = aws.String(strconv.Itoa(int(number)))
	}
	return out
}

// checkType says whether an algorithm has checksums of that type, and which it has when
// none is asked for.
func checkType(algorithm checksum.Algorithm, asked types.ChecksumType) (types.ChecksumType, error) {
	refused := func() error {
		return bad("InvalidRequest", "The %s checksum type cannot be used with the %s checksum algorithm.", asked, lower(algorithm))
	}
	switch {
	case algorithm == checksum.CRC64NVME:
		if asked == types.ChecksumTypeComposite {
			return "", refused()
		}
		return types.ChecksumTypeFullObject, nil
	case algorithm.Combinable():
		if asked == "" {
			asked = types.ChecksumTypeComposite
		}
		return asked, nil
	case asked == types.ChecksumTypeFullObject:
		return "", refused()
	}
	return types.ChecksumTypeComposite, nil
}

func lower(a checksum.Algorithm) string { return a.Header()[len("x-amz-checksum-"):] }

// whole computes ETag, size and checksum of an object made of parts.
func whole(parts []*part, c sum) (etag string, size int64, total sum) {
	sums, total := md5.New(), sum{Algorithm: c.Algorithm, Type: c.Type, Parts: len(parts)}
	composite := checksum.New(c.Algorithm)
	for i, p := range parts {
		sums.Write(p.MD5)
		size += p.Size
		if composite == nil {
			continue
		}
		switch {
		case c.Type == types.ChecksumTypeComposite:
			composite.Write(p.Sum)
		case i == 0:
			total.Value = p.Sum
		default:
			total.Value = checksum.Combine(c.Algorithm, total.Value, p.Sum, p.Size)
		}
	}
	if c.Type == types.ChecksumTypeComposite && composite != nil {
		total.Value = composite.Sum(nil)
	}
	if total.Type == types.ChecksumTypeFullObject {
		total.Parts = 0
	}
	return fmt.Sprintf("%x-%d", sums.Sum(nil), len(parts)), size, total
}
