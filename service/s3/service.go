// Package s3 is Amazon S3, as far as a bucket of secrets needs it: objects and their
// versions, encrypted, behind bucket policies that are enforced.
//
// It promises that nobody reads an object whose KMS key says no: bodies are sealed under a
// data key of the key that was chosen when the object was written, and whoever reads must
// be allowed to decrypt with it now. What was acknowledged is on disk; what was not, is
// nowhere to be seen, and is cleared away.
//
// Operations are authorized first. That a bucket does not exist, everybody who has
// credentials is told, as on AWS, where names are everybody's.
package s3

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/malote/malote/authz"
	"github.com/malote/malote/service/attached"
	"github.com/malote/malote/store"
)

// MaxBody is how many bytes a request's XML may have: 10,000 parts with their checksums.
const MaxBody = 4 << 20

// Keys makes and opens data keys as the caller: *kms.Service does.
type Keys interface {
	GenerateDataKey(context.Context, *kms.GenerateDataKeyInput) (*kms.GenerateDataKeyOutput, error)
	Decrypt(context.Context, *kms.DecryptInput) (*kms.DecryptOutput, error)
}

// Blobs keeps sealed bodies by name.
type Blobs interface {
	// Create begins a blob that is not there yet.
	Create(ctx context.Context, name string) (Blob, error)
	// Open reads length bytes from offset.
	Open(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error)
	// Delete removes a blob, and what there is of one that was not finished. One that is
	// not there is no error.
	Delete(ctx context.Context, name string) error
}

// Blob is one that is being written. It is kept once Close has returned nil. Abort, in its
// place, removes it.
type Blob interface {
	io.WriteCloser
	Abort() error
}

// Config says what a Service works with.
type Config struct {
	Store store.Store
	Blobs Blobs
	Authz *authz.Authorizer
	Keys  Keys
	// Principals knows whom bucket policies name. Nil means that whoever they name exists.
	Principals attached.Principals
	Now        func() time.Time // nil means time.Now
	Log        *slog.Logger     // nil means slog.Default
}

// Service is S3. Every exported method is an operation.
type Service struct {
	store      store.Store
	blobs      Blobs
	authz      *authz.Authorizer
	keys       Keys
	principals attached.Principals
	now        func() time.Time
	log        *slog.Logger

	buckets   *store.Table[bucket]
	objects   *store.Table[object]
	uploads   *store.Table[upload]
	parts     *store.Table[part]
	manifests *store.Table[manifest]
	garbage   *store.Table[garbage]
	pending   *store.Table[pendingBlob]

	mu      sync.Mutex     // guards what follows
	reading map[string]int // bodies that are being read here, and by how many; -1: it is being deleted
}

// New returns a Service.
func New(c Config) *Service {
	s := &Service{
		store:      c.Store,
		blobs:      c.Blobs,
		authz:      c.Authz,
		keys:       c.Keys,
		principals: c.Principals,
		now:        c.Now,
		log:        c.Log,
		buckets:    store.NewTable[bucket]("bucket"),
		objects:    store.NewTable[object]("object"),
		uploads:    store.NewTable[upload]("multipart upload"),
		parts:      store.NewTable[part]("part"),
		manifests:  store.NewTable[manifest]("manifest"),
		garbage:    store.NewTable[garbage]("garbage"),
		pending:    store.NewTable[pendingBlob]("unfinished body"),
		reading:    map[string]int{},
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.log == nil {
		s.log = slog.Default()
	}
	return s
}

// Maintain deletes the bodies that nothing refers to any more, and what lifecycle
// configurations have made due.
func Maintain(ctx context.Context, s *Service) error {
	return errors.Join(s.expire(ctx), s.sweepUploads(ctx), s.sweepPending(ctx), s.sweepGarbage(ctx))
}

func (s *Service) timestamp() time.Time { return s.now().UTC().Truncate(time.Millisecond) }
