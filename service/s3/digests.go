package s3

import (
	"bytes"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"hash"
	"net/http"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/malote/malote/internal/checksum"
)

// given is what a request says of its body. The gateway reads the names of trailers into
// the algorithm.
type given struct {
	algorithm                                              types.ChecksumAlgorithm
	md5                                                    *string
	crc32, crc32c, crc64nvme, sha1, sha256, sha512, md5sum *string
	xxhash64, xxhash3, xxhash128                           *string
}

// trailing is what a body may be besides: one behind which a checksum comes.
type trailing interface{ Trailer() http.Header }

// digests computes what has to be known of a body, and compares.
type digests struct {
	algorithm checksum.Algorithm
	want      []byte // of the algorithm; nil: none, or in the trailer
	trailer   bool
	wantMD5   []byte
	given     string // of Content-MD5

	sum, md5 hash.Hash
	extra    hash.Hash // another one that is to be known, or nil
}

// newDigests reads what the request says. Without a word of it the algorithm is otherwise;
// MD5 is computed when the ETag is made of it, or the client has sent one.
func newDigests(g *given, content any, otherwise checksum.Algorithm, etag bool) (*digests, error) {
	d := &digests{algorithm: otherwise}
	if g.xxhash64 != nil || g.xxhash3 != nil || g.xxhash128 != nil || strings.HasPrefix(string(g.algorithm), "XXHASH") {
		return nil, unsupportedAlgorithm()
	}
	found := 0
	for algorithm, value := range map[checksum.Algorithm]*string{
		checksum.CRC32: g.crc32, checksum.CRC32C: g.crc32c, checksum.CRC64NVME: g.crc64nvme,
		checksum.SHA1: g.sha1, checksum.SHA256: g.sha256, checksum.SHA512: g.sha512, checksum.MD5: g.md5sum,
	} {
		if value == nil {
			continue
		}
		sum, ok := algorithm.Parse(*value)
		if !ok {
			return nil, bad("InvalidRequest", "Value for %s header is invalid.", algorithm.Header())
		}
		d.algorithm, d.want = algorithm, sum
		found++
	}
	if found > 1 {
		return nil, bad("InvalidRequest", "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.")
	}
	if g.algorithm != "" && found == 0 {
		t, ok := content.(trailing)
		if !ok || t.Trailer() == nil {
			return nil, bad("InvalidRequest", "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer headers were found.")
		}
		d.algorithm, d.trailer = checksum.Algorithm(g.algorithm), true
	}
	if d.algorithm != "" {
		if d.sum = checksum.New(d.algorithm); d.sum == nil {
			return nil, unsupportedAlgorithm()
		}
	}
	if g.md5 != nil {
		decoded, err := base64.StdEncoding.DecodeString(*g.md5)
		if err != nil || len(decoded) != md5.Size {
			return nil, bad("InvalidDigest", "The Content-MD5 you specified was invalid.").with("Content-MD5", *g.md5)
		}
		d.wantMD5, d.given = decoded, *g.md5
	}
	if etag || d.wantMD5 != nil {
		d.md5 = md5.New()
	}
	return d, nil
}

func unsupportedAlgorithm() error {
	return bad("InvalidRequest", "Checksum algorithm provided is unsupported. Please try again with any of the valid types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]")
}

func (d *digests) write(p []byte) {
	if d.sum != nil {
		d.sum.Write(p)
	}
	if d.md5 != nil {
		d.md5.Write(p)
	}
	if d.extra != nil {
		d.extra.Write(p)
	}
}

// check compares, when the whole body was written.
func (d *digests) check(content any) error {
	if d.trailer {
		value := content.(trailing).Trailer().Get(d.algorithm.Header())
		sum, ok := d.algorithm.Parse(value)
		if !ok {
			return bad("InvalidRequest", "Value for %s trailing header is invalid.", d.algorithm.Header())
		}
		d.want = sum
	}
	if d.want != nil && !bytes.Equal(d.want, d.sum.Sum(nil)) {
		return bad("BadDigest", "The %s you specified did not match the calculated checksum.", d.algorithm)
	}
	if d.wantMD5 != nil && !bytes.Equal(d.wantMD5, d.md5.Sum(nil)) {
		return bad("BadDigest", "The Content-MD5 you specified did not match what we received.").
			with("ExpectedDigest", d.given).with("CalculatedDigest", base64.StdEncoding.EncodeToString(d.md5.Sum(nil)))
	}
	return nil
}

// etag is the body's: its MD5, or, under a KMS key, what tells nothing of it.
func (d *digests) etag(how *sealing) string {
	if how.usesKMS() || d.md5 == nil {
		return newID()
	}
	return hex.EncodeToString(d.md5.Sum(nil))
}

func (d *digests) checksum() sum {
	if d.sum == nil {
		return sum{}
	}
	return sum{Algorithm: d.algorithm, Type: types.ChecksumTypeFullObject, Value: d.sum.Sum(nil)}
}

// checksums are the members in which answers have a checksum.
type checksums struct {
	CRC32, CRC32C, CRC64NVME, SHA1, SHA256, SHA512, MD5 *string
	Type                                                types.ChecksumType
}

func (c *sum) members() (m checksums) {
	if c.Algorithm == "" {
		return m
	}
	m.Type = c.Type
	text := aws.String(c.text())
	switch c.Algorithm {
	case checksum.CRC32:
		m.CRC32 = text
	case checksum.CRC32C:
		m.CRC32C = text
	case checksum.CRC64NVME:
		m.CRC64NVME = text
	case checksum.SHA1:
		m.SHA1 = text
	case checksum.SHA256:
		m.SHA256 = text
	case checksum.SHA512:
		m.SHA512 = text
	case checksum.MD5:
		m.MD5 = text
	}
	return m
}
