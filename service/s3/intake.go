package s3

import (
	"context"
	"errors"
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

// pieceBuffers carry bodies from the network to the cipher.
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
	sign := &lifeSign{s, name, s.now()}
	written, err := s.copy(ctx, blob, sign, content, keys, d)
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
	if err := sign.closed(ctx, blob); err != nil {
		return "", s.giveUp(ctx, name, err)
	}
	return name, nil
}

// lifeSign keeps a pending body from being swept away.
type lifeSign struct {
	s    *Service
	name string
	last time.Time
}

// due gives a sign when the last one is old.
func (l *lifeSign) due(ctx context.Context) error {
	now := l.s.now()
	if now.Sub(l.last) <= pendingLife/4 {
		return nil
	}
	l.last = now
	return l.s.renew(ctx, l.name)
}

// closed closes a blob, which may take long where it is another's, and gives signs meanwhile.
func (l *lifeSign) closed(ctx context.Context, blob Blob) error {
	if err := l.due(ctx); err != nil {
		_ = blob.Abort()
		return err
	}
	done := make(chan error, 1)
	go func() { done <- blob.Close() }()
	ticker := time.NewTicker(pendingLife / 4)
	defer ticker.Stop()
	for {
		select {
		case err := <-done:
			return err
		case <-ticker.C:
			if err := l.s.renew(ctx, l.name); err != nil {
				l.s.log.Error("a sign of life of a body", "err", err) // the commit finds out
			}
		}
	}
}

func (s *Service) copy(ctx context.Context, blob Blob, sign *lifeSign, content io.Reader, keys []*xaes.Key, d *digests) (written int64, err error) {
	buffer := pieceBuffers.Get().(*[]byte)
	defer func() { clear(*buffer); pieceBuffers.Put(buffer) }()
	w := body.NewWriter(blob, keys, sign.name)
	defer w.Release()
	for {
		n := 0
		var err error
		for n < len(*buffer) && err == nil {
			// A slow client may take a minute for each of many reads.
			if err := sign.due(ctx); err != nil {
				return written, err
			}
			var more int
			more, err = content.Read((*buffer)[n:])
			n += more
		}
		if n > 0 {
			d.write((*buffer)[:n])
			if _, err := w.Write((*buffer)[:n]); err != nil {
				return written, fmt.Errorf("writing a body: %w", err)
			}
			written += int64(n)
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return written, err
		}
	}
	if err := w.Close(); err != nil {
		return written, fmt.Errorf("writing a body: %w", err)
	}
	return written, nil
}

// giveUp removes what there is of a body and returns why. An error of a transaction does not
// mean that nothing was written: a body that is not pending any more may be an object's.
func (s *Service) giveUp(ctx context.Context, name string, why error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if errors.Is(why, errSwept) { // nor was it made an object; closing it may have made it anew
		if err := s.blobs.Delete(ctx, name); err != nil {
			s.log.Error("deleting a body that was swept away", "err", err)
		}
		return slowDown()
	}
	err := s.store.Update(ctx, func(tx store.Tx) error { return s.condemn(tx, name) })
	switch {
	case errors.Is(err, errSwept):
	case err != nil:
		s.log.Error("giving up a body", "err", err) // the upkeep does it later
	default:
		s.collectSoon(ctx, &object{Blob: name})
	}
	return why
}
