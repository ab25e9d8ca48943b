// Package checksum is the algorithms by which S3 checks what it is sent.
//
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html
package checksum

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"strings"
	"sync"
)

// Algorithm is one of S3's, in its words: CRC32.
type Algorithm string

const (
	CRC32     Algorithm = "CRC32"
	CRC32C    Algorithm = "CRC32C"
	CRC64NVME Algorithm = "CRC64NVME"
	SHA1      Algorithm = "SHA1"
	SHA256    Algorithm = "SHA256"
	SHA512    Algorithm = "SHA512"
	MD5       Algorithm = "MD5"
)

// All lists what New makes, as S3 does in its errors.
var All = []Algorithm{CRC32, CRC32C, CRC64NVME, SHA1, SHA256, SHA512, MD5}

const headerPrefix = "x-amz-checksum-"

// nvme is made when it is first needed; hash/crc32 does so with its own.
var nvme = sync.OnceValue(func() *crc64.Table {
	return crc64.MakeTable(0x9a6c9329ac4bc9b5) // reflected 0xAD93D23594C93659
})

// New returns a hash of the algorithm, or nil for one that is not known here.
func New(a Algorithm) hash.Hash {
	switch a {
	case CRC32:
		return crc32.NewIEEE()
	case CRC32C:
		return crc32.New(crc32.MakeTable(crc32.Castagnoli))
	case CRC64NVME:
		return crc64.New(nvme())
	case SHA1:
		return sha1.New()
	case SHA256:
		return sha256.New()
	case SHA512:
		return sha512.New()
	case MD5:
		return md5.New()
	}
	return nil
}

// Header is the header, and the trailer, that holds a value of the algorithm.
func (a Algorithm) Header() string { return headerPrefix + strings.ToLower(string(a)) }

// Of is the algorithm whose header has that name, "" for a header of nothing like it, and
// whether New makes it.
func Of(header string) (Algorithm, bool) {
	name, ok := strings.CutPrefix(strings.ToLower(header), headerPrefix)
	if !ok {
		return "", false
	}
	a := Algorithm(strings.ToUpper(name))
	return a, New(a) != nil
}

// Parse reads a value as headers have it: base64 of as many bytes as the algorithm has.
func (a Algorithm) Parse(value string) ([]byte, bool) {
	sum, err := base64.StdEncoding.DecodeString(value)
	h := New(a)
	return sum, err == nil && h != nil && len(sum) == h.Size()
}
