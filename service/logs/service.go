// Package logs is the part of Amazon CloudWatch Logs that containers write to and people
// read from: groups, streams, events, filters, retention.
//
// It promises: what PutLogEvents acknowledged is stored, sealed, and comes back in the
// order of its timestamps, events of one time in the order in which they arrived; what is
// older than its group's retention is not answered any more, and soon gone; under a group's
// KMS key events are encrypted a second time, and a disabled key closes them.
//
// Operations are authorized first: who may not, learns nothing of whether it exists. The
// gateway has checked what the API's description says of lengths, patterns and enums.
//
// # Where things lie
//
//	logs/ACCOUNT/REGION/group/NAME                         a group
//	logs/ACCOUNT/REGION/stream/GROUPID/NAME                a stream
//	logs/ACCOUNT/REGION/event/GROUPID/STREAMID/TIME-SEQ    a chunk of events (see chunk)
//	logs/ACCOUNT/REGION/gone/GROUPID[/STREAMID]            what is still to be removed
//
// Ids are random, so that a group or stream made again under an old name finds nothing of
// the old one. TIME is that of the chunk's first event and SEQ counts the stream's chunks,
// so that a read is a scan from a time on.
package logs

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/malote/malote/authz"
	"github.com/malote/malote/internal/recent"
	"github.com/malote/malote/store"
)

// Keys makes and opens data keys, as the service logs.REGION.amazonaws.com: *kms.Service does.
type Keys interface {
	GenerateDataKey(context.Context, *kms.GenerateDataKeyInput) (*kms.GenerateDataKeyOutput, error)
	Decrypt(context.Context, *kms.DecryptInput) (*kms.DecryptOutput, error)
}

// Config says what a Service works with.
type Config struct {
	Store store.Store
	Authz *authz.Authorizer
	Keys  Keys
	Now   func() time.Time // nil means time.Now
	Log   *slog.Logger     // nil means slog.Default
}

// Service is CloudWatch Logs. Every exported method is an operation.
type Service struct {
	store store.Store
	authz *authz.Authorizer
	keys  Keys
	now   func() time.Time
	log   *slog.Logger

	groups   *store.Table[group]
	streams  *store.Table[stream]
	dataKeys *recent.Cache[*dataKey] // to write with, by group
}

// New returns a Service.
func New(c Config) *Service {
	s := &Service{
		store:    c.Store,
		authz:    c.Authz,
		keys:     c.Keys,
		now:      c.Now,
		log:      c.Log,
		groups:   store.NewTable[group]("log group"),
		streams:  store.NewTable[stream]("log stream"),
		dataKeys: recent.New[*dataKey](1024, 1<<20),
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.log == nil {
		s.log = slog.Default()
	}
	return s
}

// Maintain removes the events that are past their group's retention, and what is left of
// groups and streams that were deleted. None of it is answered even before.
func Maintain(ctx context.Context, s *Service) error {
	return errors.Join(s.removeGone(ctx), s.expire(ctx))
}
