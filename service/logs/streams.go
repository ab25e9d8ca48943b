package logs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"

	"github.com/malote/malote/store"
)

// stream is a stored record. Times are in ms.
type stream struct {
	ID      string
	Name    string
	Created int64

	// What there is once Seq is not 0.
	First    int64  `json:",omitempty"` // earliest event, or before it
	Last     int64  `json:",omitempty"` // latest event
	Ingested int64  `json:",omitempty"` // when the last came
	Seq      uint64 `json:",omitempty"` // chunks ever written
	Span     int64  `json:",omitempty"` // the longest that a chunk is
	Bytes    int64  `json:",omitempty"` // of its chunks
}

// Store keys hold 2048 bytes, and a name is a part of one.
const maxStreamName = 1024

func (p place) streams(g *group) string { return p.prefix("stream") + g.ID + "/" }

func (p place) stream(g *group, name string) string { return p.streams(g) + name }

func (p place) events(g *group, st *stream) string {
	return p.prefix("event") + g.ID + "/" + st.ID + "/"
}

// CreateLogStream makes a stream in a log group.
func (s *Service) CreateLogStream(ctx context.Context, in *cloudwatchlogs.CreateLogStreamInput) (*cloudwatchlogs.CreateLogStreamOutput, error) {
	r, name := named(ctx, *in.LogGroupName), *in.LogStreamName
	err := s.withGroup(ctx, r, door{action: "logs:CreateLogStream", resource: r.access(r.name, name)}, func(tx store.Tx, g *group) error {
		if len(name) > maxStreamName {
			return invalid("The name of a log stream can be up to %d bytes long, and this is of %d.", maxStreamName, len(name))
		}
		path := r.stream(g, name)
		switch _, err := s.streams.Get(tx, path); {
		case err == nil:
			return streamExists()
		case !errors.Is(err, store.ErrNotFound):
			return err
		}
		return s.streams.Put(tx, path, &stream{ID: newID(), Name: name, Created: s.now().UnixMilli()})
	})
	if err != nil {
		return nil, err
	}
	return &cloudwatchlogs.CreateLogStreamOutput{}, nil
}

// DeleteLogStream deletes a stream with its events.
func (s *Service) DeleteLogStream(ctx context.Context, in *cloudwatchlogs.DeleteLogStreamInput) (*cloudwatchlogs.DeleteLogStreamOutput, error) {
	r, name := named(ctx, *in.LogGroupName), *in.LogStreamName
	var gone string
	err := s.withGroup(ctx, r, door{action: "logs:DeleteLogStream", resource: r.access(r.name, name)}, func(tx store.Tx, g *group) error {
		st, err := s.readStream(tx, r, g, name)
		if err != nil {
			return err
		}
		gone = r.prefix("gone") + g.ID + "/" + st.ID
		if err := tx.Put(gone, []byte{1}); err != nil {
			return err
		}
		return s.streams.Delete(tx, r.stream(g, name))
	})
	if err != nil {
		return nil, err
	}
	s.removeNow(ctx, gone)
	return &cloudwatchlogs.DeleteLogStreamOutput{}, nil
}

func (s *Service) readStream(tx store.Tx, r *ref, g *group, name string) (*stream, error) {
	if len(name) > maxStreamName {
		return nil, streamNotFound()
	}
	st, err := s.streams.Get(tx, r.stream(g, name))
	if errors.Is(err, store.ErrNotFound) {
		return nil, streamNotFound()
	}
	return st, err
}

// DescribeLogStreams lists the streams of a log group by name or by the time of their last
// event.
func (s *Service) DescribeLogStreams(ctx context.Context, in *cloudwatchlogs.DescribeLogStreamsInput) (*cloudwatchlogs.DescribeLogStreamsOutput, error) {
	r := identified(ctx, in.LogGroupName, in.LogGroupIdentifier)
	g, err := s.authorized(ctx, r, door{action: "logs:DescribeLogStreams"})
	if err != nil {
		return nil, err
	}
	byTime, descending := in.OrderBy == types.OrderByLastEventTime, aws.ToBool(in.Descending)
	if byTime && in.LogStreamNamePrefix != nil {
		return nil, invalid("Cannot order by LastEventTime with a logStreamNamePrefix.")
	}
	asked := question(r.place, g.ID, in.LogStreamNamePrefix, byTime, descending)
	after, err := parseToken(asked, in.NextToken)
	if err != nil {
		return nil, err
	}
	limit := pageSize(in.Limit, 50)
	out := &cloudwatchlogs.DescribeLogStreamsOutput{LogStreams: []types.LogStream{}}
	prefix := r.streams(g)
	if !byTime && !descending {
		if after != "" {
			after = prefix + after
		}
		err := s.store.View(ctx, func(tx store.Tx) error {
			for row, err := range s.streams.Scan(tx, prefix+aws.ToString(in.LogStreamNamePrefix), after) {
				if err != nil {
					return err
				}
				if len(out.LogStreams) == limit {
					out.NextToken = token(asked, *out.LogStreams[limit-1].LogStreamName)
					return nil
				}
				out.LogStreams = append(out.LogStreams, r.describeStream(row.Value))
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		return out, nil
	}

	all, err := s.listStreams(ctx, r, g, aws.ToString(in.LogStreamNamePrefix))
	if err != nil {
		return nil, err
	}
	order := func(a, b rank) int {
		c := cmp.Compare(a.last, b.last)
		if c == 0 {
			c = cmp.Compare(a.name, b.name)
		}
		if descending {
			return -c
		}
		return c
	}
	ranked := func(st *stream) rank {
		if byTime {
			return rank{st.Last, st.Name}
		}
		return rank{0, st.Name}
	}
	slices.SortFunc(all, func(a, b *stream) int { return order(ranked(a), ranked(b)) })
	from, err := parseRank(after)
	if err != nil {
		return nil, err
	}
	for _, st := range all {
		if after != "" && order(ranked(st), from) <= 0 {
			continue
		}
		if len(out.LogStreams) == limit {
			out.NextToken = token(asked, from.String())
			break
		}
		out.LogStreams = append(out.LogStreams, r.describeStream(st))
		from, after = ranked(st), "seen"
	}
	return out, nil
}

// rank is where a stream stands in an order.
type rank struct {
	last int64
	name string
}

func (k rank) String() string { return fmt.Sprintf("%d:%s", k.last, k.name) }

func parseRank(text string) (rank, error) {
	if text == "" {
		return rank{}, nil
	}
	last, name, _ := strings.Cut(text, ":")
	n, err := strconv.ParseInt(last, 10, 64)
	if err != nil {
		return rank{}, badToken()
	}
	return rank{n, name}, nil
}

func (s *Service) listStreams(ctx context.Context, r *ref, g *group, prefix string) ([]*stream, error) {
	var all []*stream
	err := s.store.View(ctx, func(tx store.Tx) error {
		for row, err := range s.streams.Scan(tx, r.streams(g)+prefix, "") {
			if err != nil {
				return err
			}
			all = append(all, row.Value)
		}
		return nil
	})
	return all, err
}

// describeStream has no storedBytes but 0, as AWS since 2019.
func (r *ref) describeStream(st *stream) types.LogStream {
	d := types.LogStream{
		LogStreamName: &st.Name, Arn: aws.String(r.access(r.name, st.Name)), CreationTime: &st.Created, StoredBytes: aws.Int64(0),
		UploadSequenceToken: st.sequenceToken(),
	}
	if st.Seq > 0 {
		d.FirstEventTimestamp, d.LastEventTimestamp, d.LastIngestionTime = &st.First, &st.Last, &st.Ingested
	}
	return d
}

// sequenceToken is given out and asked of nobody, as AWS does since 2023.
func (st *stream) sequenceToken() *string { return aws.String(fmt.Sprintf("%056d", st.Seq+1)) }
