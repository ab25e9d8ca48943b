package logs

import (
	"context"
	"math"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"

	"github.com/malote/malote/authz"
	"github.com/malote/malote/store"
)

// What one answer holds at most.
const (
	maxAnswer = 1 << 20 // bytes, with eventOverhead for each event
	maxEvents = 10000
)

// GetLogEvents returns a page of a stream: the last of it, unless startFromHead asks for
// the first, or a token for what lies before or after a page. At an end the token that
// leads on is the one that was given.
func (s *Service) GetLogEvents(ctx context.Context, in *cloudwatchlogs.GetLogEventsInput) (*cloudwatchlogs.GetLogEventsOutput, error) {
	r, name := identified(ctx, in.LogGroupName, in.LogGroupIdentifier), *in.LogStreamName
	g, err := s.authorized(ctx, r, door{action: "logs:GetLogEvents", resource: r.access(r.name, name)})
	if err != nil {
		return nil, err
	}
	if err := s.unmask(ctx, r, in.Unmask); err != nil {
		return nil, err
	}
	var st *stream
	err = store.Look(ctx, s.store, func(tx store.Tx) (err error) {
		st, err = s.readStream(tx, r, g, name)
		return err
	})
	if err != nil {
		return nil, err
	}
	w := window{from: aws.ToInt64(in.StartTime), until: math.MaxInt64}
	if in.EndTime != nil {
		w.until = *in.EndTime - 1
	}
	if in.EndTime != nil && w.until < w.from-1 {
		return nil, invalid("startTime must not be after endTime.")
	}
	w.from = max(w.from, g.oldest(s.now()))

	forward, given, err := parseEventToken(in.NextToken)
	if err != nil {
		return nil, err
	}
	forward = forward || given == nil && aws.ToBool(in.StartFromHead)
	limit := pageSize(in.Limit, maxEvents)
	var page []event
	if forward {
		if given != nil {
			w.after, w.from = given, max(w.from, given.time)
		}
		page, err = s.head(ctx, r, g, st, w, limit)
	} else {
		if given != nil {
			w.before, w.until = given, min(w.until, given.time)
		}
		page, err = s.tail(ctx, r, g, st, w, limit)
	}
	if err != nil {
		return nil, err
	}
	first, last := position{time: w.from}, position{time: w.from}
	if given != nil {
		first, last = *given, *given
	}
	out := &cloudwatchlogs.GetLogEventsOutput{Events: make([]types.OutputLogEvent, 0, len(page))}
	for _, e := range page {
		out.Events = append(out.Events, types.OutputLogEvent{Timestamp: &e.time, IngestionTime: &e.ingested, Message: aws.String(string(e.message))})
	}
	if len(page) > 0 {
		first, last = page[0].at, page[len(page)-1].at
	}
	out.NextForwardToken, out.NextBackwardToken = aws.String("f/"+last.String()+"/s"), aws.String("b/"+first.String()+"/s")
	return out, nil
}

// parseEventToken reads f/POSITION/s, which leads on, or b/POSITION/s, which leads back.
func parseEventToken(token *string) (forward bool, at *position, err error) {
	if token == nil {
		return false, nil, nil
	}
	parts := strings.Split(*token, "/")
	if len(parts) != 3 || parts[0] != "f" && parts[0] != "b" || parts[2] != "s" {
		return false, nil, badToken()
	}
	p, err := parsePosition(parts[1])
	return parts[0] == "f", &p, err
}

// unmask asks for the right to see what a data protection policy masks. There is none
// here, so that nothing is masked.
func (s *Service) unmask(ctx context.Context, r *ref, asked bool) error {
	if !asked {
		return nil
	}
	return s.authz.Authorize(ctx, &authz.Access{Action: "logs:Unmask", Resource: r.access(r.name, ""), Account: r.account})
}

// head returns the first events of a window.
func (s *Service) head(ctx context.Context, r *ref, g *group, st *stream, w window, limit int) ([]event, error) {
	c := s.cursor(s.opener(r), g, st, w)
	var page []event
	for size := 0; len(page) < limit; {
		e, err := c.next(ctx)
		if err != nil {
			return nil, err
		}
		if e == nil {
			break
		}
		if size += len(e.message) + eventOverhead; size > maxAnswer && len(page) > 0 {
			break
		}
		page = append(page, *e)
		c.take()
	}
	return page, nil
}

// tail returns the last events of a window. Stores are read forward alone, so it looks into
// the last minute, then into the four before it, and so on.
func (s *Service) tail(ctx context.Context, r *ref, g *group, st *stream, w window, limit int) ([]event, error) {
	if st.Seq == 0 {
		return nil, nil
	}
	o := s.opener(r)
	var page []event
	from, size, full := max(w.from, st.First), 0, false
	w.until = min(w.until, st.Last)
	for width := int64(60 * 1000); w.until >= from && !full; width *= 4 {
		w.from = max(from, w.until-width)
		c := s.cursor(o, g, st, w)
		var part []event
		partSize := 0
		for {
			e, err := c.next(ctx)
			if err != nil {
				return nil, err
			}
			if e == nil {
				break
			}
			part = append(part, *e)
			partSize += len(e.message) + eventOverhead
			c.take()
			for len(part) > 1 && (len(part)+len(page) > limit || partSize+size > maxAnswer) {
				partSize -= len(part[0].message) + eventOverhead
				part[0] = event{} // the message is of no use any more
				part, full = part[1:], true
			}
		}
		if len(part) == 1 && len(page) > 0 && (len(page) == limit || partSize+size > maxAnswer) {
			break
		}
		page, size = append(part, page...), size+partSize
		full = full || len(page) >= limit
		w.until = w.from - 1
	}
	return page, nil
}
