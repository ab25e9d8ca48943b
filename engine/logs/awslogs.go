package logs

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
	"github.com/aws/smithy-go"

	"github.com/malote/malote/internal/spoken"
)

// awslogs ships to CloudWatch Logs by PutLogEvents, as the task's execution role.
//
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/using_awslogs.html
type awslogs struct {
	client      *cloudwatchlogs.Client
	group       string
	stream      string // "" until the container's id is known, which it is named after
	createGroup bool
	found       bool // the container runs already: it is not stopped for what is wrong now
	rejected    func(count int)
}

// Limits of PutLogEvents. A line is split so that its parts fit what AWS took before it
// took larger events, since others read them as well.
const (
	putBytes      = 1 << 20
	putEvents     = 10000
	putOverhead   = 26
	putSpan       = 24*60*60*1000 - 1 // ms
	maxAwslogsLen = 256<<10 - putOverhead

	// One PutLogEvents a stream and interval, unless there is more than fits into one: a
	// program that prints now and then does not make one for each line.
	awslogsInterval = 500 * time.Millisecond
)

// notForAwslogs are options of other drivers that Docker would act on.
var notForAwslogs = []string{"tag", "labels", "labels-regex", "env", "env-regex"}

func newAwslogs(o *options, s *Stream, spec Spec) (*awslogs, error) {
	a := &awslogs{
		group:       o.text("awslogs-group", ""),
		stream:      o.text("awslogs-stream", ""),
		createGroup: o.bool("awslogs-create-group", false),
		found:       spec.Found,
	}
	region, prefix := o.text("awslogs-region", ""), o.text("awslogs-stream-prefix", "")
	pattern, format := o.text("awslogs-multiline-pattern", ""), o.text("awslogs-datetime-format", "")
	for _, name := range notForAwslogs {
		if _, given := o.values[name]; given {
			o.fail(name, "left out: it means nothing to this driver")
		}
	}
	if err := o.finish(); err != nil {
		return nil, err
	}
	switch {
	case a.group == "":
		return nil, errors.New("log driver awslogs: awslogs-group is expected")
	case region == "":
		return nil, errors.New("log driver awslogs: awslogs-region is expected")
	case pattern != "" && format != "":
		return nil, errors.New("you cannot configure log opt 'awslogs-datetime-format' and 'awslogs-multiline-pattern' at the same time")
	case prefix != "" && a.stream != "":
		return nil, errors.New("log driver awslogs: awslogs-stream-prefix and awslogs-stream name the stream twice")
	case prefix != "":
		a.stream = prefix + "/" + spec.Container + "/" + spec.TaskID
	}
	if format != "" {
		pattern = datetime(format)
	}
	if pattern != "" {
		start, err := regexp.Compile(pattern)
		if err != nil {
			return nil, fmt.Errorf("log driver awslogs: awslogs-multiline-pattern or awslogs-datetime-format is no regular expression: %w", err)
		}
		s.multi = &multiline{start: start}
	}
	config := spec.AWS.Copy()
	config.Region = region
	a.client = cloudwatchlogs.NewFromConfig(config)
	log := s.forwarder.log.With("log", s.name)
	a.rejected = func(count int) {
		log.Error("CloudWatch Logs did not take lines that are too old, too new or past the retention of their group", "lines", count)
	}
	s.pause = awslogsInterval
	return a, nil
}

func (a *awslogs) close() {}

// verify makes the stream, which has to be there before the container starts.
func (a *awslogs) verify(ctx context.Context) error {
	if a.found {
		return nil
	}
	var err error
	if a.stream != "" {
		err = a.create(ctx)
	} else {
		err = a.probe(ctx)
	}
	if err == nil {
		return nil
	}
	return fmt.Errorf("ResourceInitializationError: failed to validate logger args: create stream has been retried 1 times: failed to create Cloudwatch log stream: %w : exit status 1", spoken.Error(err))
}

// create makes the stream, and its group if that is wanted.
func (a *awslogs) create(ctx context.Context) error {
	in := &cloudwatchlogs.CreateLogStreamInput{LogGroupName: &a.group, LogStreamName: &a.stream}
	_, err := a.client.CreateLogStream(ctx, in)
	if _, absent := errors.AsType[*types.ResourceNotFoundException](err); absent && a.createGroup {
		if err := a.makeGroup(ctx); err != nil {
			return err
		}
		_, err = a.client.CreateLogStream(ctx, in)
	}
	if _, there := errors.AsType[*types.ResourceAlreadyExistsException](err); there {
		return nil
	}
	return err
}

func (a *awslogs) makeGroup(ctx context.Context) error {
	_, err := a.client.CreateLogGroup(ctx, &cloudwatchlogs.CreateLogGroupInput{LogGroupName: &a.group})
	if _, there := errors.AsType[*types.ResourceAlreadyExistsException](err); there {
		return nil
	}
	return err
}

// probe says whether the group is there, while the stream has no name: an event for a
// stream that cannot exist is refused for the lack of one or of the other.
func (a *awslogs) probe(ctx context.Context) error {
	stream := "absent-" + rand.Text()
	_, err := a.client.PutLogEvents(ctx, &cloudwatchlogs.PutLogEventsInput{
		LogGroupName: &a.group, LogStreamName: &stream, LogEvents: []types.InputLogEvent{{Timestamp: aws.Int64(time.Now().UnixMilli()), Message: aws.String("-")}},
	})
	absent, ok := errors.AsType[*types.ResourceNotFoundException](err)
	switch {
	case !ok || !strings.Contains(absent.ErrorMessage(), "group"):
		return nil // or it is not allowed to know: shipping will say
	case a.createGroup:
		return a.makeGroup(ctx)
	}
	return err
}

func (a *awslogs) ship(ctx context.Context, entries []entry) error {
	if a.stream == "" {
		if a.stream = entries[0].ID; a.stream == "" {
			return rejected{errors.New("a line of a container without id")}
		}
		if err := a.create(ctx); err != nil {
			a.stream = ""
			return err
		}
	}
	for events := inputEvents(entries); len(events) > 0; {
		n := batch(events)
		if err := a.put(ctx, events[:n]); err != nil {
			return err
		}
		events = events[n:]
	}
	return nil
}

func (a *awslogs) put(ctx context.Context, events []types.InputLogEvent) error {
	in := &cloudwatchlogs.PutLogEventsInput{LogGroupName: &a.group, LogStreamName: &a.stream, LogEvents: events}
	out, err := a.client.PutLogEvents(ctx, in)
	if _, absent := errors.AsType[*types.ResourceNotFoundException](err); absent {
		// Somebody deleted it.
		if err := a.create(ctx); err != nil {
			return err
		}
		out, err = a.client.PutLogEvents(ctx, in)
	}
	if _, done := errors.AsType[*types.DataAlreadyAcceptedException](err); done {
		return nil
	}
	if api, ok := errors.AsType[smithy.APIError](err); ok && api.ErrorCode() == "InvalidParameterException" {
		return rejected{err}
	}
	if err != nil {
		return err
	}
	if r := out.RejectedLogEventsInfo; r != nil {
		first, last := 0, len(events)
		if r.TooOldLogEventEndIndex != nil {
			first = max(first, int(*r.TooOldLogEventEndIndex))
		}
		if r.ExpiredLogEventEndIndex != nil {
			first = max(first, int(*r.ExpiredLogEventEndIndex))
		}
		if r.TooNewLogEventStartIndex != nil {
			last = int(*r.TooNewLogEventStartIndex)
		}
		a.rejected(len(events) - max(0, last-first))
	}
	return nil
}

// inputEvents are entries as events in order of time, without empty ones, which AWS refuses.
func inputEvents(entries []entry) []types.InputLogEvent {
	events := make([]types.InputLogEvent, 0, len(entries))
	for _, e := range entries {
		at := e.Time.UnixMilli()
		for line := strings.ToValidUTF8(e.Line, "\ufffd"); line != ""; {
			n := len(line)
			if n > maxAwslogsLen {
				for n = maxAwslogsLen; !utf8.RuneStart(line[n]); n-- {
				}
			}
			part := line[:n]
			events = append(events, types.InputLogEvent{Timestamp: &at, Message: &part})
			line = line[n:]
		}
	}
	slices.SortStableFunc(events, func(a, b types.InputLogEvent) int { return int(*a.Timestamp - *b.Timestamp) })
	return events
}

// batch is how many of the events one PutLogEvents takes.
func batch(events []types.InputLogEvent) int {
	size := 0
	for i, e := range events {
		size += len(*e.Message) + putOverhead
		if i > 0 && (size > putBytes || i == putEvents || *e.Timestamp-*events[0].Timestamp > putSpan) {
			return i
		}
	}
	return len(events)
}
