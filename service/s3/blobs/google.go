package blobs

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"google.golang.org/api/googleapi"
	"google.golang.org/api/option"
	"google.golang.org/api/storage/v1"

	"github.com/malote/malote/service/s3"
)

// Google keeps blobs in a bucket of Google Cloud Storage. It speaks the JSON API by its
// generated client: cloud.google.com/go/storage, which gocloud.dev/blob has, is ten times as
// large for its gRPC.
type Google struct {
	objects        *storage.ObjectsService
	bucket, prefix string
}

// chunk is how much of a blob is in memory while it is written.
const chunk = 8 << 20

// openGoogle opens gs://bucket?prefix=…, as Google's application default credentials. As for
// their other clients, STORAGE_EMULATOR_HOST names something else to be asked, without any.
func openGoogle(ctx context.Context, u *url.URL) (*Google, error) {
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, err
	}
	for name := range query {
		if name != "prefix" {
			return nil, fmt.Errorf("gs:// has no parameter %q; it has prefix", name)
		}
	}
	if strings.Trim(u.Path, "/") != "" {
		return nil, errors.New("gs:// is followed by the name of a bucket alone; a folder in it is ?prefix=folder/")
	}
	options := []option.ClientOption{option.WithScopes(storage.DevstorageReadWriteScope), option.WithTelemetryDisabled(), option.WithLogger(slog.New(slog.DiscardHandler))}
	if host := os.Getenv("STORAGE_EMULATOR_HOST"); host != "" {
		if !strings.Contains(host, "://") {
			host = "http://" + host
		}
		options = append(options, option.WithoutAuthentication(), option.WithEndpoint(strings.TrimSuffix(host, "/")+"/storage/v1/"))
	}
	service, err := storage.NewService(context.WithoutCancel(ctx), options...) // it asks for tokens with it
	if err != nil {
		return nil, err
	}
	return &Google{service.Objects, u.Host, query.Get("prefix")}, nil
}

// Create implements s3.Blobs.
func (g *Google) Create(ctx context.Context, name string) (s3.Blob, error) {
	ctx, cancel := context.WithCancel(ctx)
	r, w := io.Pipe()
	b := &googleBlob{w: w, cancel: cancel, sum: crc32.New(crc32.MakeTable(crc32.Castagnoli)), done: make(chan struct{})}
	object := &storage.Object{Name: g.prefix + name, ContentType: "application/octet-stream"}
	go func() {
		defer close(b.done)
		b.made, b.err = g.objects.Insert(g.bucket, object).Media(r, googleapi.ChunkSize(chunk), googleapi.ContentType(object.ContentType)).WithRetry(nil, nil).Context(ctx).Do()
		r.CloseWithError(b.err) // nobody reads on
	}()
	return b, nil
}

type googleBlob struct {
	w      *io.PipeWriter
	cancel context.CancelFunc
	size   uint64
	sum    hash.Hash32

	done chan struct{} // closed when the rest is there
	made *storage.Object
	err  error
}

func (b *googleBlob) Write(p []byte) (int, error) {
	n, err := b.w.Write(p)
	b.size += uint64(n)
	b.sum.Write(p[:n])
	return n, err
}

// Close makes it last: Google answers when it is kept, and says what.
func (b *googleBlob) Close() error {
	defer b.cancel()
	_ = b.w.Close() // never fails
	<-b.done
	if b.err != nil {
		return b.err
	}
	var sum [4]byte
	binary.BigEndian.PutUint32(sum[:], b.sum.Sum32())
	if b.made.Size != b.size || b.made.Crc32c != base64.StdEncoding.EncodeToString(sum[:]) {
		return fmt.Errorf("%d bytes were sent and %d kept, or others", b.size, b.made.Size)
	}
	return nil
}

// Abort gives it up. What was not whole is no object.
func (b *googleBlob) Abort() error {
	b.cancel()
	b.w.CloseWithError(context.Canceled)
	<-b.done
	return nil
}

// Open implements s3.Blobs. What is not there is os.ErrNotExist, as in a folder.
func (g *Google) Open(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error) {
	var body io.ReadCloser
	err := again(ctx, func() error {
		call := g.objects.Get(g.bucket, g.prefix+name).Context(ctx)
		call.Header().Set("Range", fmt.Sprintf("bytes=%d-%d", offset, offset+length-1))
		response, err := call.Download()
		if err != nil {
			return err
		}
		if response.StatusCode != http.StatusPartialContent {
			response.Body.Close()
			return fmt.Errorf("a range of %s was answered with %s", name, response.Status)
		}
		body = response.Body
		return nil
	})
	if isMissing(err) {
		return nil, errors.Join(os.ErrNotExist, err)
	}
	return body, err
}

// Delete implements s3.Blobs.
func (g *Google) Delete(ctx context.Context, name string) error {
	err := again(ctx, func() error { return g.objects.Delete(g.bucket, g.prefix+name).Context(ctx).Do() })
	if isMissing(err) {
		return nil
	}
	return err
}

// Close ends the use of the bucket.
func (g *Google) Close() error { return nil }

func isMissing(err error) bool { return statusOf(err) == http.StatusNotFound }

func statusOf(err error) int {
	if said, ok := errors.AsType[*googleapi.Error](err); ok {
		return said.Code
	}
	return 0
}

// again asks again, three times at most, what Google says is to be asked again.
//
// https://cloud.google.com/storage/docs/retry-strategy
func again(ctx context.Context, ask func() error) error {
	for wait := 250 * time.Millisecond; ; wait *= 4 {
		err := ask()
		status := statusOf(err)
		if status != http.StatusRequestTimeout && status != http.StatusTooManyRequests && status < http.StatusInternalServerError || wait > 4*time.Second {
			return err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return err
		}
	}
}
