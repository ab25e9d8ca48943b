package logs

import (
	"container/heap"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"

	"github.com/malote/malote/service/logs/pattern"
	"github.com/malote/malote/store"
)

// maxSearched is how many bytes of events one FilterLogEvents looks through: of a long
// search, pages may be empty and still have a token.
const maxSearched = 32 << 20

// FilterLogEvents returns, page by page, the events of a group, or of some of its streams,
// that a filter pattern matches: all streams together in the order of time.
func (s *Service) FilterLogEvents(ctx context.Context, in *cloudwatchlogs.FilterLogEventsInput) (*cloudwatchlogs.FilterLogEventsOutput, error) {
	r := identified(ctx, in.LogGroupName, in.LogGroupIdentifier)
	g, err := s.authorized(ctx, r, door{action: "logs:FilterLogEvents"})
	if err != nil {
		return nil, err
	}
	if err := s.unmask(ctx, r, in.Unmask); err != nil {
		return nil, err
	}
	filter, err := pattern.Parse(aws.ToString(in.FilterPattern))
	switch {
	case err != nil:
		return nil, invalid("Invalid filter pattern: %s", err)
	case in.StartFromHead != nil && !*in.StartFromHead:
		return nil, unsupported("startFromHead=false")
	case len(in.LogStreamNames) > 0 && in.LogStreamNamePrefix != nil:
		return nil, invalid("LogStreamNames and LogStreamNamePrefix are mutually exclusive parameters.")
	}
	w := window{from: max(aws.ToInt64(in.StartTime), g.oldest(s.now())), until: math.MaxInt64}
	if in.EndTime != nil {
		w.until = *in.EndTime
	}
	if in.EndTime != nil && *in.EndTime < aws.ToInt64(in.StartTime) {
		return nil, invalid("startTime must not be after endTime.")
	}
	asked := question(r.place, g.ID, in.FilterPattern, in.LogStreamNames, in.LogStreamNamePrefix, in.StartTime, in.EndTime)
	text, err := parseToken(asked, in.NextToken)
	if err != nil {
		return nil, err
	}
	var after *spot
	if text != "" {
		if after, err = parseSpot(text); err != nil {
			return nil, err
		}
	}
	streams, err := s.searched(ctx, r, g, in.LogStreamNames, aws.ToString(in.LogStreamNamePrefix))
	if err != nil {
		return nil, err
	}
	found := s.merge(r, g, streams, w, after)
	limit := pageSize(in.Limit, maxEvents)
	out := &cloudwatchlogs.FilterLogEventsOutput{Events: []types.FilteredLogEvent{}, SearchedLogStreams: []types.SearchedLogStream{}}
	for size, looked := 0, 0; ; {
		st, e, err := found.next(ctx)
		if err != nil {
			return nil, err
		}
		if e == nil {
			return out, nil
		}
		n := len(e.message) + eventOverhead
		if looked += n; filter.Match(e.message) {
			if len(out.Events) == limit || len(out.Events) > 0 && size+n > maxAnswer {
				break
			}
			size += n
			out.Events = append(out.Events, types.FilteredLogEvent{
				EventId: aws.String(st.eventID(e)), Timestamp: &e.time, IngestionTime: &e.ingested, LogStreamName: &st.Name, Message: aws.String(string(e.message)),
			})
		}
		after = &spot{st.Name, e.at}
		found.take()
		if looked > maxSearched {
			break
		}
	}
	out.NextToken = token(asked, after.String())
	return out, nil
}

// eventID is a number of 56 digits that no other event has.
func (st *stream) eventID(e *event) string {
	var id uint64
	fmt.Sscanf(st.ID, "%x", &id)
	return fmt.Sprintf("%014d%020d%016d%06d", e.time, id, e.at.seq, e.at.index)
}

// searched are the streams of those names, which there have to be, or those whose names
// have the prefix.
func (s *Service) searched(ctx context.Context, r *ref, g *group, names []string, prefix string) ([]*stream, error) {
	if len(names) == 0 {
		return s.listStreams(ctx, r, g, prefix)
	}
	var streams []*stream
	err := s.store.View(ctx, func(tx store.Tx) error {
		for _, name := range slices.Compact(slices.Sorted(slices.Values(names))) {
			st, err := s.readStream(tx, r, g, name)
			if err != nil {
				return err
			}
			streams = append(streams, st)
		}
		return nil
	})
	return streams, err
}

// spot is where an event is in its group.
type spot struct {
	stream string
	at     position
}

func (p *spot) String() string { return p.at.String() + "/" + p.stream }

func parseSpot(text string) (*spot, error) {
	at, stream, ok := strings.Cut(text, "/")
	if !ok {
		return nil, badToken()
	}
	p, err := parsePosition(at)
	return &spot{stream, p}, err
}

// merged yields the events of several streams in order of time, then of stream names. A
// stream is read only once the time has come at which it may have events.
type merged struct {
	service *Service
	heap    cursors
}

func (s *Service) merge(r *ref, g *group, streams []*stream, w window, after *spot) *merged {
	m := &merged{service: s}
	o := s.opener(r)
	for _, st := range streams {
		w := w
		if after != nil {
			w.from = max(w.from, after.at.time)
			switch c := strings.Compare(st.Name, after.stream); {
			case c == 0:
				w.after = &after.at
			case c < 0:
				w.from = max(w.from, after.at.time+1)
			}
		}
		if c := s.cursor(o, g, st, w); !c.ended {
			m.heap = append(m.heap, &head{cursor: c, time: c.floor})
		}
	}
	heap.Init(&m.heap)
	return m
}

// next returns the next event without taking it, nil at the end.
func (m *merged) next(ctx context.Context) (*stream, *event, error) {
	for len(m.heap) > 0 {
		h := m.heap[0]
		if h.event != nil {
			return h.cursor.stream, h.event, nil
		}
		e, err := h.cursor.next(ctx)
		if err != nil {
			return nil, nil, err
		}
		if e == nil {
			heap.Pop(&m.heap)
			continue
		}
		h.event, h.time = e, e.time
		heap.Fix(&m.heap, 0)
	}
	return nil, nil, nil
}

func (m *merged) take() {
	h := m.heap[0]
	h.cursor.take()
	h.event = nil // its time stays: what comes is not before it
}

// head is a cursor with the event that is next, once it is known, and its time, which is
// a time before which there is none otherwise.
type head struct {
	cursor *cursor
	event  *event
	time   int64
}

type cursors []*head

func (c cursors) Len() int      { return len(c) }
func (c cursors) Swap(i, j int) { c[i], c[j] = c[j], c[i] }
func (c cursors) Less(i, j int) bool {
	if c[i].time != c[j].time {
		return c[i].time < c[j].time
	}
	return c[i].cursor.stream.Name < c[j].cursor.stream.Name
}
func (c *cursors) Push(x any) { *c = append(*c, x.(*head)) }
func (c *cursors) Pop() any {
	last := len(*c) - 1
	h := (*c)[last]
	(*c)[last] = nil
	*c = (*c)[:last]
	return h
}
