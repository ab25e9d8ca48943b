package s3

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/malote/malote/internal/checksum"
	"github.com/malote/malote/store"
)

// object is a stored record: one version of an object, or a delete marker.
type object struct {
	Key      string
	Seq      uint64 // the greater, the newer; of one key
	Version  string // as it is named; "null" of what was written without versioning
	Marker   bool   `json:",omitempty"`
	Modified time.Time
	Size     int64             `json:",omitempty"`
	ETag     string            `json:",omitempty"` // without quotes
	Headers  headers           // as they were given
	Metadata map[string]string `json:",omitempty"`
	Tags     map[string]string `json:",omitempty"`
	Sealing  sealing
	Checksum sum
	Blob     string `json:",omitempty"` // of a body in one piece
	Manifest string `json:",omitempty"` // of a body in parts
	Parts    int    `json:",omitempty"`
}

// headers are what a client says of the content and gets back with it.
type headers struct {
	ContentType, ContentEncoding, CacheControl, ContentDisposition, ContentLanguage string `json:",omitempty"`
	Expires                                                                         *time.Time
}

// sum is the checksum of a body.
type sum struct {
	Algorithm checksum.Algorithm `json:",omitempty"`
	Type      types.ChecksumType `json:",omitempty"`
	Value     []byte             `json:",omitempty"`
	Parts     int                `json:",omitempty"` // of a composite one
}

// text is the value as headers have it.
func (c *sum) text() string {
	text := base64.StdEncoding.EncodeToString(c.Value)
	if c.Type == types.ChecksumTypeComposite {
		text += fmt.Sprintf("-%d", c.Parts)
	}
	return text
}

const null = "null" // the version of what was written without versioning

const (
	objectsPrefix = "s3/object/"
	end           = "\x00\x01" // behind a key: lower than any continuation of it
	last          = "\xff"     // higher than any byte that a key may have
)

func (b *bucket) objectPrefix() string { return objectsPrefix + b.ID + "/" }

// escaped is a key as part of a store's key: the order of bytes stays, and no key's records
// are among another's.
func escaped(key string) string { return strings.ReplaceAll(key, "\x00", "\x00\xff") }

// versions is the prefix of a key's records, the newest of which comes first.
func (b *bucket) versions(key string) string { return b.objectPrefix() + escaped(key) + end }

func (b *bucket) record(o *object) string {
	return b.versions(o.Key) + fmt.Sprintf("%016x", ^o.Seq)
}

// checkKey refuses what cannot be a key.
func checkKey(key string) error {
	switch {
	case len(key) > 1024:
		return bad("KeyTooLongError", "Your key is too long").with("Size", fmt.Sprint(len(key))).with("MaxSizeAllowed", "1024")
	case !utf8.ValidString(key):
		return bad("InvalidURI", "Couldn't parse the specified URI.")
	case len(escaped(key)) > 1500:
		return bad("KeyTooLongError", "Your key is too long: it has too many NUL characters")
	}
	return nil
}

// newVersion is a version's id, in which its Seq is found again.
func newVersion(seq uint64) string {
	b := binary.BigEndian.AppendUint64(nil, seq)
	b = append(b, make([]byte, 16)...)
	rand.Read(b[8:]) // never fails
	return base64.RawURLEncoding.EncodeToString(b)
}

func versionSeq(version string) (uint64, bool) {
	b, err := base64.RawURLEncoding.DecodeString(version)
	if err != nil || len(b) != 24 {
		return 0, false
	}
	return binary.BigEndian.Uint64(b), true
}

// newest is the newest version of a key, or nil.
func (s *Service) newest(tx store.Tx, b *bucket, key string) (*object, error) {
	for row, err := range s.objects.Scan(tx, b.versions(key), "") {
		if err != nil {
			return nil, err
		}
		return row.Value, nil
	}
	return nil, nil
}

// version is the named version of a key, or nil.
func (s *Service) version(tx store.Tx, b *bucket, key, version string) (*object, error) {
	if version == null {
		return s.nullVersion(tx, b, key)
	}
	seq, ok := versionSeq(version)
	if !ok {
		return nil, invalidArgument("versionId", version, "Invalid version id specified")
	}
	o, err := s.objects.Get(tx, b.record(&object{Key: key, Seq: seq}))
	if errors.Is(err, store.ErrNotFound) || err == nil && o.Version != version {
		return nil, nil
	}
	return o, err
}

func (s *Service) nullVersion(tx store.Tx, b *bucket, key string) (*object, error) {
	for row, err := range s.objects.Scan(tx, b.versions(key), "") {
		if err != nil {
			return nil, err
		}
		if row.Value.Version == null {
			return row.Value, nil
		}
	}
	return nil, nil
}

// look is the version that a request asks for, "" the newest; nil when there is none.
func (s *Service) look(tx store.Tx, b *bucket, key, version string) (*object, error) {
	if version != "" {
		return s.version(tx, b, key, version)
	}
	return s.newest(tx, b, key)
}

// put writes o as the newest version of its key: in the place of the null version where
// versioning is not on. It sets Seq and Version.
func (s *Service) put(tx store.Tx, b *bucket, o *object) error {
	newest, err := s.newest(tx, b, o.Key)
	if err != nil {
		return err
	}
	o.Seq = uint64(s.now().UnixNano())
	if newest != nil && newest.Seq >= o.Seq {
		o.Seq = newest.Seq + 1
	}
	if b.Versioning == types.BucketVersioningStatusEnabled {
		o.Version = newVersion(o.Seq)
	} else {
		o.Version = null
		was, err := s.nullVersion(tx, b, o.Key)
		if err != nil {
			return err
		}
		if was != nil {
			if err := s.remove(tx, b, was); err != nil {
				return err
			}
		}
	}
	return s.objects.Put(tx, b.record(o), o)
}

// remove deletes one version's record; its body becomes garbage.
func (s *Service) remove(tx store.Tx, b *bucket, o *object) error {
	if err := s.objects.Delete(tx, b.record(o)); err != nil {
		return err
	}
	return s.discard(tx, garbage{Blob: o.Blob, Manifest: o.Manifest})
}

// named is how answers call a version: not at all where there is no versioning.
func (b *bucket) named(o *object) *string {
	if b.Versioning == "" {
		return nil
	}
	return aws.String(o.Version)
}

func quoted(etag string) *string { return aws.String(`"` + etag + `"`) }

// newToken hides a key in a token for the next page; readToken finds it again.
func newToken(key string) string { return base64.RawURLEncoding.EncodeToString([]byte("1:" + key)) }

func readToken(token string) (string, error) {
	b, err := base64.RawURLEncoding.DecodeString(token)
	key, ok := strings.CutPrefix(string(b), "1:")
	if err != nil || !ok || key == "" {
		return "", invalidArgument("continuation-token", token, "The continuation token provided is incorrect")
	}
	return key, nil
}
