package logs

import (
	"context"
	"errors"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"

	"github.com/malote/malote/store"
)

// Limits of one PutLogEvents. AWS lets an event be as large as a batch; here it has to fit,
// sealed, into one transaction of the store.
//
// https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutLogEvents.html
const (
	maxBatch      = 1 << 20 // bytes, with eventOverhead for each event
	maxEvent      = maxBatch - 8<<10
	eventOverhead = 26
	maxBatchSpan  = 24 * time.Hour
	maxAge        = 14 * 24 * time.Hour
	maxAhead      = 2 * time.Hour

	// A transaction's share of store.MaxBytes and store.MaxWrites, which keys and the
	// stream's record need some of.
	writeBytes = store.MaxBytes - 4<<10
	writeCount = store.MaxWrites - 10
)

// MaxBody is how many bytes a request needs: a batch whose every byte is escaped as JSON
// does, and what is around events.
const MaxBody = 8 << 20

// PutLogEvents appends events to a stream. Events too old, too new or past the retention
// are left out, and the answer says which. A batch is written in one transaction unless
// it is larger than that: of one that fails then, the beginning may be there.
func (s *Service) PutLogEvents(ctx context.Context, in *cloudwatchlogs.PutLogEventsInput) (*cloudwatchlogs.PutLogEventsOutput, error) {
	r, name := named(ctx, *in.LogGroupName), *in.LogStreamName
	d := door{action: "logs:PutLogEvents", resource: r.access(r.name, name)}
	now := s.now()
	out := &cloudwatchlogs.PutLogEventsOutput{}
	if in.Entity != nil {
		out.RejectedEntityInfo = &types.RejectedEntityInfo{ErrorType: types.EntityRejectionErrorTypeUnsupportedLogGroupType}
	}
	var pieces []piece
	next, encoded := 0, false
	for attempt := 0; attempt < maxAttempts; attempt++ {
		g, err := s.authorized(ctx, r, d)
		if err != nil {
			return nil, err
		}
		if err := checkBatch(in.LogEvents); err != nil {
			return nil, err
		}
		key, err := s.writeKey(ctx, r, g)
		if err != nil {
			return nil, err
		}
		if !encoded {
			var accepted []message
			accepted, out.RejectedLogEventsInfo = accept(in.LogEvents, now, g)
			pieces, encoded = split(accepted, now.UnixMilli()), true
		}
		for err == nil {
			n := transactionful(pieces[next:], key)
			var st *stream
			err = s.update(ctx, r, g, func(tx store.Tx, g *group) (err error) {
				st, err = s.append(tx, r, g, name, pieces[next:next+n], key, now.UnixMilli())
				return err
			})
			if err == nil {
				if next += n; next == len(pieces) {
					out.NextSequenceToken = st.sequenceToken()
					return out, nil
				}
			}
		}
		if !errors.Is(err, errChanged) {
			return nil, err
		}
	}
	return nil, aborted()
}

// checkBatch says what is wrong with a batch as a whole.
func checkBatch(events []types.InputLogEvent) error {
	size := 0
	for i, e := range events {
		n := len(*e.Message) + eventOverhead
		if n > maxEvent {
			return invalid("Log event too large: %d bytes exceeds limit of %d", n, maxEvent)
		}
		if i > 0 && *e.Timestamp < *events[i-1].Timestamp {
			return invalid("Log events in a single PutLogEvents request must be in chronological order.")
		}
		size += n
	}
	if size > maxBatch {
		return invalid("Upload too large: %d bytes exceeds limit of %d", size, maxBatch)
	}
	if first, last := *events[0].Timestamp, *events[len(events)-1].Timestamp; last-first > maxBatchSpan.Milliseconds() {
		return invalid("The batch of log events in a single PutLogEvents request cannot span more than 24 hours.")
	}
	return nil
}

// accept returns the events that are kept, and, if these are not all, which are not.
func accept(events []types.InputLogEvent, now time.Time, g *group) ([]message, *types.RejectedLogEventsInfo) {
	tooOld, tooNew, expired := now.Add(-maxAge).UnixMilli(), now.Add(maxAhead).UnixMilli(), g.oldest(now)
	var rejected types.RejectedLogEventsInfo
	accepted := make([]message, 0, len(events))
	for i, e := range events {
		switch t := *e.Timestamp; {
		case t < tooOld:
			rejected.TooOldLogEventEndIndex = aws.Int32(int32(i) + 1)
		case t < expired:
			rejected.ExpiredLogEventEndIndex = aws.Int32(int32(i) + 1)
		case t > tooNew:
			if rejected.TooNewLogEventStartIndex == nil {
				rejected.TooNewLogEventStartIndex = aws.Int32(int32(i))
			}
		default:
			accepted = append(accepted, message{t, *e.Message})
		}
	}
	if len(accepted) == len(events) {
		return accepted, nil
	}
	return accepted, &rejected
}

// transactionful is how many of the pieces one transaction takes: one at least, if any.
func transactionful(pieces []piece, key *dataKey) int {
	n, size := 0, 0
	for ; n < len(pieces) && n < writeCount; n++ {
		size += len(pieces[n].events) + 512
		if key != nil {
			size += len(key.wrapped)
		}
		if n > 0 && size > writeBytes {
			break
		}
	}
	return n
}

// append writes pieces to a stream as chunks.
func (s *Service) append(tx store.Tx, r *ref, g *group, name string, pieces []piece, key *dataKey, now int64) (*stream, error) {
	if g.KmsKeyID != "" && (key == nil || key.keyID != g.KmsKeyID) || g.KmsKeyID == "" && key != nil {
		return nil, errChanged
	}
	was, err := s.readStream(tx, r, g, name)
	if err != nil || len(pieces) == 0 {
		return was, err
	}
	st := *was
	for _, p := range pieces {
		if st.Seq == 0 {
			st.First = p.first
		}
		st.Seq++
		st.First, st.Last, st.Span = min(st.First, p.first), max(st.Last, p.last), max(st.Span, p.last-p.first)
		at := chunkKey(r.events(g, &st), p.first, st.Seq)
		chunk := frame(p.events, key, at)
		st.Bytes += int64(len(chunk))
		if err := tx.Put(at, chunk); err != nil {
			return nil, err
		}
	}
	st.Ingested = now
	return &st, s.streams.Put(tx, r.stream(g, name), &st)
}
