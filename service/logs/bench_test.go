package logs

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
)

// lines are n of those that a web server prints.
func lines(start time.Time, n int) []types.InputLogEvent {
	var events []types.InputLogEvent
	for i := range n {
		text := fmt.Sprintf(`{"level":"info","time":%d,"path":"/orders/%d","status":%d,"ms":%d,"user":"u-%x"}`, start.UnixNano()+int64(i), i*7919%100000, 200+i%7*50, i%250, i*2654435761)
		events = append(events, types.InputLogEvent{Timestamp: aws.Int64(start.UnixMilli() + int64(i)), Message: &text})
	}
	return events
}

func BenchmarkPutLogEvents(b *testing.B) {
	s, st, now := service(b)
	ctx := root(b.Context(), "us-east-1")
	fill(b, ctx, s, "g", "s", *now, "x")
	in := &cloudwatchlogs.PutLogEventsInput{LogGroupName: aws.String("g"), LogStreamName: aws.String("s"), LogEvents: lines(*now, 1000)}
	size := 0
	for _, e := range in.LogEvents {
		size += len(*e.Message)
	}
	for b.Loop() {
		must[*cloudwatchlogs.PutLogEventsOutput](b)(s.PutLogEvents(ctx, in))
	}
	b.ReportMetric(float64(b.N)*1000/b.Elapsed().Seconds(), "lines/s")
	if err := s.expire(ctx); err != nil {
		b.Fatal(err)
	}
	out := must[*cloudwatchlogs.DescribeLogGroupsOutput](b)(s.DescribeLogGroups(ctx, &cloudwatchlogs.DescribeLogGroupsInput{}))
	b.ReportMetric(float64(*out.LogGroups[0].StoredBytes)/float64(size*b.N), "stored/given")
	runtime.KeepAlive(st)
}

// BenchmarkFilterLogEvents looks through 200,000 lines of 20 streams for one.
func BenchmarkFilterLogEvents(b *testing.B) {
	s, _, now := service(b)
	ctx := root(b.Context(), "us-east-1")
	for i := range 20 {
		stream := fmt.Sprint("s", i)
		fill(b, ctx, s, "g", stream, *now, "x")
		for j := range 10 {
			must[*cloudwatchlogs.PutLogEventsOutput](b)(s.PutLogEvents(ctx, &cloudwatchlogs.PutLogEventsInput{
				LogGroupName: aws.String("g"), LogStreamName: &stream, LogEvents: lines(now.Add(time.Duration(j)*time.Second), 1000),
			}))
		}
	}
	for _, pattern := range []string{"nothing", `{ $.level = "error" }`} {
		b.Run(pattern, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				in := &cloudwatchlogs.FilterLogEventsInput{LogGroupName: aws.String("g"), FilterPattern: &pattern}
				for more := true; more; more = in.NextToken != nil {
					out := must[*cloudwatchlogs.FilterLogEventsOutput](b)(s.FilterLogEvents(ctx, in))
					in.NextToken = out.NextToken
				}
			}
			b.ReportMetric(float64(b.N)*200000/b.Elapsed().Seconds(), "lines/s")
		})
	}
}
