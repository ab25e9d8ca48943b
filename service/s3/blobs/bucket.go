package blobs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"

	"gocloud.dev/blob"
	_ "gocloud.dev/blob/azureblob" // azblob://
	_ "gocloud.dev/blob/s3blob"    // s3://
	"gocloud.dev/gcerrors"

	"github.com/malote/malote/service/s3"
)

// Blobs are s3.Blobs that are closed at the end.
type Blobs interface {
	s3.Blobs
	io.Closer
}

// Open opens the place that a URL names: a folder (a path, or file:///path), or another's
// bucket (s3://name?region=…, azblob://container, gs://name, as gocloud.dev/blob has them, with
// the credentials that their own clients would find).
func Open(ctx context.Context, place string) (Blobs, error) {
	u, err := url.Parse(place)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%q is no URL: %w", place, err)
	case u.Scheme == "":
		return OpenFolder(place)
	case u.Scheme == "file":
		return OpenFolder(u.Path)
	case u.Scheme != "s3" && u.Scheme != "azblob" && u.Scheme != "gs":
		return nil, fmt.Errorf("%q: bodies are kept in a folder or in s3://, azblob:// or gs://", place)
	case u.Host == "":
		return nil, fmt.Errorf("%q: %s:// is followed by the name of a bucket", place, u.Scheme)
	case u.Scheme == "gs":
		opened, err := openGoogle(ctx, u)
		if err != nil {
			return nil, fmt.Errorf("opening %s: %w", u.Redacted(), err)
		}
		return opened, nil
	}
	opened, err := blob.OpenBucket(ctx, place)
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", u.Redacted(), err)
	}
	return &Bucket{opened}, nil
}

// Bucket keeps blobs in another's bucket.
type Bucket struct{ bucket *blob.Bucket }

// Create implements s3.Blobs.
func (b *Bucket) Create(ctx context.Context, name string) (s3.Blob, error) {
	ctx, cancel := context.WithCancel(ctx)
	w, err := b.bucket.NewWriter(ctx, name, &blob.WriterOptions{ContentType: "application/octet-stream", DisableContentTypeDetection: true})
	if err != nil {
		cancel()
		return nil, err
	}
	return &remote{w, cancel}, nil
}

type remote struct {
	*blob.Writer
	cancel context.CancelFunc
}

// Close makes it last.
func (r *remote) Close() error {
	defer r.cancel()
	return r.Writer.Close()
}

// Abort gives it up: a writer whose context has ended writes nothing.
func (r *remote) Abort() error {
	r.cancel()
	_ = r.Writer.Close() // it says that it was cancelled
	return nil
}

// Open implements s3.Blobs. What is not there is os.ErrNotExist, as in a folder.
func (b *Bucket) Open(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error) {
	r, err := b.bucket.NewRangeReader(ctx, name, offset, length, nil)
	if gcerrors.Code(err) == gcerrors.NotFound {
		return nil, errors.Join(os.ErrNotExist, err)
	}
	return r, err
}

// Delete implements s3.Blobs.
func (b *Bucket) Delete(ctx context.Context, name string) error {
	if err := b.bucket.Delete(ctx, name); gcerrors.Code(err) != gcerrors.NotFound {
		return err
	}
	return nil
}

// Close ends the use of the bucket.
func (b *Bucket) Close() error { return b.bucket.Close() }
