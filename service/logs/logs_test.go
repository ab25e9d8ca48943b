package logs_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"

	"github.com/malote/malote/malotetest"
)

const arnPrefix = "arn:aws:logs:" + malotetest.Region + ":" + malotetest.Account + ":log-group:"

// wantError expects an AWS error of that code whose message holds text.
func wantError(t testing.TB, err error, code, text string) {
	t.Helper()
	var api smithy.APIError
	if !errors.As(err, &api) || api.ErrorCode() != code || !strings.Contains(api.ErrorMessage(), text) {
		t.Errorf("error = %v, want %s: %s", err, code, text)
	}
}

func newStream(t testing.TB, c *cloudwatchlogs.Client, group string, streams ...string) {
	t.Helper()
	_, err := c.CreateLogGroup(t.Context(), &cloudwatchlogs.CreateLogGroupInput{LogGroupName: &group})
	if err != nil {
		t.Fatal(err)
	}
	for _, stream := range streams {
		if _, err := c.CreateLogStream(t.Context(), &cloudwatchlogs.CreateLogStreamInput{LogGroupName: &group, LogStreamName: &stream}); err != nil {
			t.Fatal(err)
		}
	}
}

// batch has the messages, one a millisecond from start on.
func batch(start time.Time, messages ...string) []types.InputLogEvent {
	var events []types.InputLogEvent
	for i, m := range messages {
		events = append(events, types.InputLogEvent{Timestamp: aws.Int64(start.UnixMilli() + int64(i)), Message: &m})
	}
	return events
}

func put(t testing.TB, c *cloudwatchlogs.Client, group, stream string, events []types.InputLogEvent) *cloudwatchlogs.PutLogEventsOutput {
	t.Helper()
	out, err := c.PutLogEvents(t.Context(), &cloudwatchlogs.PutLogEventsInput{LogGroupName: &group, LogStreamName: &stream, LogEvents: events})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func get(t testing.TB, c *cloudwatchlogs.Client, in cloudwatchlogs.GetLogEventsInput) (*cloudwatchlogs.GetLogEventsOutput, []string) {
	t.Helper()
	out, err := c.GetLogEvents(t.Context(), &in)
	if err != nil {
		t.Fatal(err)
	}
	got := []string{}
	for _, e := range out.Events {
		got = append(got, *e.Message)
	}
	return out, got
}

// filter reads all pages.
func filter(t testing.TB, c *cloudwatchlogs.Client, in cloudwatchlogs.FilterLogEventsInput) []string {
	t.Helper()
	got := []string{}
	ids := map[string]bool{}
	for pages := cloudwatchlogs.NewFilterLogEventsPaginator(c, &in); pages.HasMorePages(); {
		out, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range out.Events {
			got = append(got, *e.LogStreamName+":"+*e.Message)
			if ids[*e.EventId] || len(*e.EventId) != 56 {
				t.Errorf("event id %s", *e.EventId)
			}
			ids[*e.EventId] = true
		}
	}
	return got
}

func TestStory(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	c := cloudwatchlogs.NewFromConfig(sys.Config())
	group, now := aws.String("/ecs/app"), time.Now()
	newStream(t, c, *group, "a", "b")
	_, err := c.CreateLogGroup(t.Context(), &cloudwatchlogs.CreateLogGroupInput{LogGroupName: group})
	wantError(t, err, "ResourceAlreadyExistsException", "The specified log group already exists")
	_, err = c.CreateLogStream(t.Context(), &cloudwatchlogs.CreateLogStreamInput{LogGroupName: group, LogStreamName: aws.String("a")})
	wantError(t, err, "ResourceAlreadyExistsException", "The specified log stream already exists")
	canary := sys.Canary()
	put(t, c, *group, "a", batch(now, "one "+canary, "two", "three"))
	put(t, c, *group, "b", batch(now.Add(time.Millisecond), "deux", "trois"))
	put(t, c, *group, "a", batch(now.Add(-time.Minute), "zero"))
	if got := filter(t, c, cloudwatchlogs.FilterLogEventsInput{LogGroupName: group, Limit: aws.Int32(2)}); !cmp.Equal(got, []string{"a:zero", "a:one " + canary, "a:two", "b:deux", "a:three", "b:trois"}) {
		t.Errorf("FilterLogEvents = %q", got)
	}
	if got := filter(t, c, cloudwatchlogs.FilterLogEventsInput{LogGroupIdentifier: aws.String(arnPrefix + *group), FilterPattern: aws.String("t -deux"), LogStreamNames: []string{"b"}}); !cmp.Equal(got, []string{"b:trois"}) {
		t.Errorf("FilterLogEvents = %q", got)
	}

	// Backward from the end, then forward again.
	in := cloudwatchlogs.GetLogEventsInput{LogGroupName: group, LogStreamName: aws.String("a"), Limit: aws.Int32(2)}
	out, got := get(t, c, in)
	if !cmp.Equal(got, []string{"two", "three"}) {
		t.Errorf("GetLogEvents = %q", got)
	}
	end := out.NextForwardToken
	in.NextToken = out.NextBackwardToken
	out, got = get(t, c, in)
	if !cmp.Equal(got, []string{"zero", "one " + canary}) {
		t.Errorf("back: %q", got)
	}
	in.NextToken = out.NextBackwardToken
	if out, got = get(t, c, in); len(got) != 0 || *out.NextBackwardToken != *in.NextToken {
		t.Errorf("before the beginning: %q, token %s after %s", got, *out.NextBackwardToken, *in.NextToken)
	}
	in.NextToken = end
	if out, got = get(t, c, in); len(got) != 0 || *out.NextForwardToken != *end {
		t.Errorf("at the end: %q, token %s after %s", got, *out.NextForwardToken, *end)
	}
	put(t, c, *group, "a", batch(now.Add(time.Second), "four"))
	if _, got = get(t, c, in); !cmp.Equal(got, []string{"four"}) {
		t.Errorf("after the end: %q", got)
	}

	described, err := c.DescribeLogStreams(t.Context(), &cloudwatchlogs.DescribeLogStreamsInput{LogGroupName: group, OrderBy: types.OrderByLastEventTime, Descending: aws.Bool(true)})
	if err != nil || len(described.LogStreams) != 2 || *described.LogStreams[0].LogStreamName != "a" || *described.LogStreams[0].FirstEventTimestamp != now.Add(-time.Minute).UnixMilli() ||
		*described.LogStreams[0].Arn != arnPrefix+"/ecs/app:log-stream:a" {
		t.Errorf("DescribeLogStreams = %+v, %v", described, err)
	}
	if _, err := c.DeleteLogStream(t.Context(), &cloudwatchlogs.DeleteLogStreamInput{LogGroupName: group, LogStreamName: aws.String("a")}); err != nil {
		t.Fatal(err)
	}
	_, err = c.GetLogEvents(t.Context(), &cloudwatchlogs.GetLogEventsInput{LogGroupName: group, LogStreamName: aws.String("a")})
	wantError(t, err, "ResourceNotFoundException", "The specified log stream does not exist.")
	if _, err := c.DeleteLogGroup(t.Context(), &cloudwatchlogs.DeleteLogGroupInput{LogGroupName: group}); err != nil {
		t.Fatal(err)
	}
	newStream(t, c, *group, "b")
	if got := filter(t, c, cloudwatchlogs.FilterLogEventsInput{LogGroupName: group}); len(got) != 0 {
		t.Errorf("a new group has the old one's events: %q", got)
	}
	_, err = c.PutLogEvents(t.Context(), &cloudwatchlogs.PutLogEventsInput{LogGroupName: aws.String("none"), LogStreamName: aws.String("a"), LogEvents: batch(now, "x")})
	wantError(t, err, "ResourceNotFoundException", "The specified log group does not exist.")
}

// Whatever the order, the sizes and the spans in which events came, they are read in the
// order of time, in pages of any size, forward and backward.
func TestOrder(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	c := cloudwatchlogs.NewFromConfig(sys.Config())
	now := time.Now().Add(-24 * time.Hour)
	newStream(t, c, "g", "s")
	var want []string
	events := map[int64]string{}
	for i := range 40 {
		var b []types.InputLogEvent
		for j := range 60 {
			// Batches overlap; their chunks are split by time and by size.
			at := now.Add(time.Duration(j)*20*time.Minute + time.Duration((i*17)%40)*time.Millisecond)
			text := fmt.Sprintf("%d/%d %s", i, j, strings.Repeat("x", (i*j*31)%3000))
			events[at.UnixMilli()] = text
			b = append(b, types.InputLogEvent{Timestamp: aws.Int64(at.UnixMilli()), Message: &text})
		}
		put(t, c, "g", "s", b)
	}
	for j := range 60 {
		for i := range 40 {
			want = append(want, events[now.Add(time.Duration(j)*20*time.Minute+time.Duration(i)*time.Millisecond).UnixMilli()])
		}
	}
	in := cloudwatchlogs.GetLogEventsInput{LogGroupName: aws.String("g"), LogStreamName: aws.String("s"), Limit: aws.Int32(137), StartFromHead: aws.Bool(true)}
	var forward []string
	for {
		out, got := get(t, c, in)
		if len(got) == 0 {
			break
		}
		forward, in.NextToken = append(forward, got...), out.NextForwardToken
	}
	if diff := cmp.Diff(want, forward); diff != "" {
		t.Errorf("forward: %.2000s", diff)
	}
	in.NextToken, in.StartFromHead = nil, nil
	var backward []string
	for {
		out, got := get(t, c, in)
		if len(got) == 0 {
			break
		}
		backward, in.NextToken = append(got, backward...), out.NextBackwardToken
	}
	if diff := cmp.Diff(want, backward); diff != "" {
		t.Errorf("backward: %.2000s", diff)
	}
	for i := range want {
		want[i] = "s:" + want[i]
	}
	if diff := cmp.Diff(want, filter(t, c, cloudwatchlogs.FilterLogEventsInput{LogGroupName: aws.String("g"), Limit: aws.Int32(91)})); diff != "" {
		t.Errorf("filter: %.2000s", diff)
	}
}
