package s3

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/malote/malote/internal/xaes"
	"github.com/malote/malote/service/s3/body"
	"github.com/malote/malote/store"
)

// maxPut is the longest body that one request brings.
const maxPut = 5 << 30

// pieces carry bodies from the network to the cipher.
var pieceBuffers = sync.Pool{New: func() any { b := make([]byte, 64<<10); return &b }}

// take writes a body, sealed, and returns its blob's name: it is on disk, and a pending
// record tells of it until the caller's transaction calls finished. A body that is not what
// the request says of it is gone when take returns.
func (s *Service) take(ctx context.Context, content io.Reader, size int64, keys []*xaes.Key, d *digests) (name string, err error) {
	if size > maxPut {
		return "", bad("EntityTooLarge", "Your proposed upload exceeds the maximum allowed size").with("ProposedSize", fmt.Sprint(size)).with("MaxSizeAllowed", fmt.Sprint(int64(maxPut)))
	}
	name = newID()
	if err := s.begin(ctx, name); err != nil {
		return "", err
	}
	blob, err := s.blobs.Create(ctx, name)
	if err != nil {
		return "", s.giveUp(ctx, name, err)
	}
	written, err := s.copy(ctx, blob, name, content, keys, d)
	if err == nil && size >= 0 && written != size {
		err = bad("IncompleteBody", "You did not provide the number of bytes specified by the Content-Length HTTP header")
	}
	if err == nil {
		err = d.check(content)
	}
	if err != nil {
		_ = blob.Abort() // what is left of it giveUp deletes
		return "", s.giveUp(ctx, name, err)
	}
	if err := blob.Close(); err != nil {
		return "", s.giveUp(ctx, name, err)
	}
	return name, nil
}

func (s *Service) copy(ctx context.Context, blob Blob, name string, content io.Reader, keys []*xaes.Key, d *digests) (written int64, err error) {
	buffer := pieceBuffers.Get().(*[]byte)
	defer func() { clear(*buffer); pieceBuffers.Put(buffer) }()
	w := body.NewWriter(blob, keys, name)
	defer w.Release()
	sign := s.now()
	for {
		n, err := io.ReadFull(content, *buffer)
		if n > 0 {
			d.write((*buffer)[:n])
			if _, err := w.Write((*buffer)[:n]); err != nil {
				return written, fmt.Errorf("writing a body: %w", err)
			}
			written += int64(n)
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			break
		}
		if err != nil {
			return written, err
		}
		if now := s.now(); now.Sub(sign) > pendingLife/4 {
			sign = now
			if err := s.begin(ctx, name); err != nil {
				return written, err
			}
		}
	}
	if err := w.Close(); err != nil {
		return written, fmt.Errorf("writing a body: %w", err)
	}
	return written, nil
}

// giveUp removes what there is of a body and returns why.
func (s *Service) giveUp(ctx context.Context, name string, why error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if err := s.blobs.Delete(ctx, name); err != nil {
		s.log.Error("deleting an unfinished body", "err", err) // the upkeep does it later
		return why
	}
	if err := s.store.Update(ctx, func(tx store.Tx) error { return s.pending.Delete(tx, pendingPrefix+name) }); err != nil {
		s.log.Error("forgetting an unfinished body", "err", err)
	}
	return why
}
