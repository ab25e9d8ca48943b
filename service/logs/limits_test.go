package logs_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/malote/malote/malotetest"
)

func TestBatchLimits(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	c := cloudwatchlogs.NewFromConfig(sys.Config())
	newStream(t, c, "g", "s")
	now := time.Now()
	send := func(events ...types.InputLogEvent) (*cloudwatchlogs.PutLogEventsOutput, error) {
		return c.PutLogEvents(t.Context(), &cloudwatchlogs.PutLogEventsInput{LogGroupName: aws.String("g"), LogStreamName: aws.String("s"), LogEvents: events})
	}
	at := func(d time.Duration, text string) types.InputLogEvent {
		return types.InputLogEvent{Timestamp: aws.Int64(now.Add(d).UnixMilli()), Message: &text}
	}
	_, err := send(at(0, "b"), at(-time.Second, "a"))
	wantError(t, err, "InvalidParameterException", "must be in chronological order")
	_, err = send(at(-25*time.Hour, "a"), at(0, "b"))
	wantError(t, err, "InvalidParameterException", "cannot span more than 24 hours")
	half := strings.Repeat("x", 1<<19-26)
	_, err = send(at(0, half), at(0, half), at(0, "y"))
	wantError(t, err, "InvalidParameterException", "Upload too large: 1048603 bytes exceeds limit of 1048576")
	_, err = send(at(0, half+half))
	wantError(t, err, "InvalidParameterException", "Log event too large")
	if _, err := send(at(0, half), at(0, half)); err != nil {
		t.Errorf("a batch of exactly 1 MiB: %v", err)
	}

	if _, err := c.PutRetentionPolicy(t.Context(), &cloudwatchlogs.PutRetentionPolicyInput{LogGroupName: aws.String("g"), RetentionInDays: aws.Int32(7)}); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		events []types.InputLogEvent
		want   *types.RejectedLogEventsInfo
	}{
		{[]types.InputLogEvent{at(-14*24*time.Hour-time.Hour, "old"), at(-14*24*time.Hour-time.Minute, "old"), at(-14*24*time.Hour+time.Minute, "expired")},
			&types.RejectedLogEventsInfo{TooOldLogEventEndIndex: aws.Int32(2), ExpiredLogEventEndIndex: aws.Int32(3)}},
		{[]types.InputLogEvent{at(0, "now"), at(3*time.Hour, "new"), at(4*time.Hour, "new")}, &types.RejectedLogEventsInfo{TooNewLogEventStartIndex: aws.Int32(1)}},
		{[]types.InputLogEvent{at(0, "now")}, nil},
	} {
		out, err := send(tt.events...)
		if err != nil {
			t.Errorf("PutLogEvents: %v", err)
			continue
		}
		if diff := cmp.Diff(tt.want, out.RejectedLogEventsInfo, cmpopts.IgnoreUnexported(types.RejectedLogEventsInfo{})); diff != "" {
			t.Error(diff)
		}
	}
	if got := filter(t, c, cloudwatchlogs.FilterLogEventsInput{LogGroupName: aws.String("g"), FilterPattern: aws.String("-x")}); !cmp.Equal(got, []string{"s:now", "s:now"}) {
		t.Errorf("kept: %q", got)
	}
}

// What is past its retention is answered no more, and gone after upkeep.
func TestRetention(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	c := cloudwatchlogs.NewFromConfig(sys.Config())
	group, now := aws.String("g"), time.Now()
	newStream(t, c, *group, "s")
	put(t, c, *group, "s", batch(now.Add(-5*24*time.Hour), "five days old"))
	put(t, c, *group, "s", batch(now, "new"))
	_, err := c.PutRetentionPolicy(t.Context(), &cloudwatchlogs.PutRetentionPolicyInput{LogGroupName: group, RetentionInDays: aws.Int32(4)})
	wantError(t, err, "InvalidParameterException", "retentionInDays")
	if _, err := c.PutRetentionPolicy(t.Context(), &cloudwatchlogs.PutRetentionPolicyInput{LogGroupName: group, RetentionInDays: aws.Int32(3)}); err != nil {
		t.Fatal(err)
	}
	all := cloudwatchlogs.FilterLogEventsInput{LogGroupName: group}
	if got := filter(t, c, all); !cmp.Equal(got, []string{"s:new"}) {
		t.Errorf("with retention: %q", got)
	}
	if _, got := get(t, c, cloudwatchlogs.GetLogEventsInput{LogGroupName: group, LogStreamName: aws.String("s")}); !cmp.Equal(got, []string{"new"}) {
		t.Errorf("with retention: %q", got)
	}
	if _, err := c.DeleteRetentionPolicy(t.Context(), &cloudwatchlogs.DeleteRetentionPolicyInput{LogGroupName: group}); err != nil {
		t.Fatal(err)
	}
	if got := filter(t, c, all); !cmp.Equal(got, []string{"s:five days old", "s:new"}) {
		t.Errorf("without retention again, before upkeep: %q", got)
	}
}

func TestTags(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	c := cloudwatchlogs.NewFromConfig(sys.Config())
	_, err := c.CreateLogGroup(t.Context(), &cloudwatchlogs.CreateLogGroupInput{LogGroupName: aws.String("g"), Tags: map[string]string{"a": "1"}})
	if err != nil {
		t.Fatal(err)
	}
	arn := aws.String(arnPrefix + "g")
	if _, err := c.TagResource(t.Context(), &cloudwatchlogs.TagResourceInput{ResourceArn: arn, Tags: map[string]string{"b": "2"}}); err != nil {
		t.Fatal(err)
	}
	//lint:ignore SA1019 older clients use it
	if _, err := c.TagLogGroup(t.Context(), &cloudwatchlogs.TagLogGroupInput{LogGroupName: aws.String("g"), Tags: map[string]string{"c": "3"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.UntagResource(t.Context(), &cloudwatchlogs.UntagResourceInput{ResourceArn: arn, TagKeys: []string{"a", "none"}}); err != nil {
		t.Fatal(err)
	}
	listed, err := c.ListTagsForResource(t.Context(), &cloudwatchlogs.ListTagsForResourceInput{ResourceArn: arn})
	if err != nil || !cmp.Equal(listed.Tags, map[string]string{"b": "2", "c": "3"}) {
		t.Errorf("tags = %v, %v", listed, err)
	}
	//lint:ignore SA1019 older clients use it
	if _, err := c.UntagLogGroup(t.Context(), &cloudwatchlogs.UntagLogGroupInput{LogGroupName: aws.String("g"), Tags: []string{"b", "c"}}); err != nil {
		t.Fatal(err)
	}
	//lint:ignore SA1019 older clients use it
	older, err := c.ListTagsLogGroup(t.Context(), &cloudwatchlogs.ListTagsLogGroupInput{LogGroupName: aws.String("g")})
	if err != nil || len(older.Tags) != 0 {
		t.Errorf("tags = %v, %v", older, err)
	}
	many := map[string]string{}
	for i := range 30 {
		many[fmt.Sprint("first", i)] = ""
	}
	if _, err := c.TagResource(t.Context(), &cloudwatchlogs.TagResourceInput{ResourceArn: arn, Tags: many}); err != nil {
		t.Fatal(err)
	}
	clear(many)
	for i := range 30 {
		many[fmt.Sprint("second", i)] = ""
	}
	_, err = c.TagResource(t.Context(), &cloudwatchlogs.TagResourceInput{ResourceArn: arn, Tags: many})
	wantError(t, err, "TooManyTagsException", "")
	_, err = c.TagResource(t.Context(), &cloudwatchlogs.TagResourceInput{ResourceArn: arn, Tags: map[string]string{"AWS:x": ""}})
	wantError(t, err, "InvalidParameterException", "AWS:x")
	_, err = c.ListTagsForResource(t.Context(), &cloudwatchlogs.ListTagsForResourceInput{ResourceArn: aws.String("arn:aws:logs:us-east-1:123456789012:destination:d")})
	wantError(t, err, "InvalidParameterException", "is no ARN of a log group")
}

const keyPolicy = `{"Version":"2012-10-17","Statement":[
	{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::123456789012:root"},"Action":"kms:*","Resource":"*"}%s]}`

const logsStatement = `,{"Effect":"Allow","Principal":{"Service":"logs.us-east-1.amazonaws.com"},"Action":["kms:Encrypt*","kms:Decrypt*","kms:GenerateDataKey*"],"Resource":"*",
	"Condition":{"ArnEquals":{"kms:EncryptionContext:aws:logs:arn":"arn:aws:logs:us-east-1:123456789012:log-group:g"}}}`

// A group's KMS key is used as the service, for that group alone; without it the events do
// not open.
func TestKMSKey(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	c, keys := cloudwatchlogs.NewFromConfig(sys.Config()), kms.NewFromConfig(sys.Config())
	key := func(statement string) string {
		out, err := keys.CreateKey(t.Context(), &kms.CreateKeyInput{Policy: aws.String(fmt.Sprintf(keyPolicy, statement))})
		if err != nil {
			t.Fatal(err)
		}
		return *out.KeyMetadata.Arn
	}
	private, shared := key(""), key(logsStatement)
	group := aws.String("g")
	for _, k := range []string{private, "arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"} {
		_, err := c.CreateLogGroup(t.Context(), &cloudwatchlogs.CreateLogGroupInput{LogGroupName: group, KmsKeyId: &k})
		wantError(t, err, "InvalidParameterException", "The specified KMS key does not exist or is not allowed to be used with LogGroup 'arn:aws:logs:us-east-1:123456789012:log-group:g'.")
	}
	_, err := c.CreateLogGroup(t.Context(), &cloudwatchlogs.CreateLogGroupInput{LogGroupName: aws.String("other"), KmsKeyId: &shared})
	wantError(t, err, "InvalidParameterException", "not allowed to be used with LogGroup")

	newStream(t, c, *group, "s")
	put(t, c, *group, "s", batch(time.Now(), "before"))
	if _, err := c.AssociateKmsKey(t.Context(), &cloudwatchlogs.AssociateKmsKeyInput{LogGroupName: group, KmsKeyId: &shared}); err != nil {
		t.Fatal(err)
	}
	put(t, c, *group, "s", batch(time.Now(), "under the key"))
	all := cloudwatchlogs.FilterLogEventsInput{LogGroupName: group}
	if got := filter(t, c, all); !cmp.Equal(got, []string{"s:before", "s:under the key"}) {
		t.Errorf("events = %q", got)
	}
	described, err := c.DescribeLogGroups(t.Context(), &cloudwatchlogs.DescribeLogGroupsInput{})
	if err != nil || len(described.LogGroups) != 1 || aws.ToString(described.LogGroups[0].KmsKeyId) != shared {
		t.Errorf("DescribeLogGroups = %+v, %v", described, err)
	}
	if _, err := keys.DisableKey(t.Context(), &kms.DisableKeyInput{KeyId: &shared}); err != nil {
		t.Fatal(err)
	}
	_, err = c.FilterLogEvents(t.Context(), &all)
	wantError(t, err, "AccessDeniedException", "is disabled")
	sys.Clock.Advance(6 * time.Minute) // the data key's time is over
	_, err = c.PutLogEvents(t.Context(), &cloudwatchlogs.PutLogEventsInput{LogGroupName: group, LogStreamName: aws.String("s"), LogEvents: batch(time.Now(), "x")})
	wantError(t, err, "AccessDeniedException", "is disabled")
	if _, err := c.DisassociateKmsKey(t.Context(), &cloudwatchlogs.DisassociateKmsKeyInput{ResourceIdentifier: aws.String(arnPrefix + "g")}); err != nil {
		t.Fatal(err)
	}
	put(t, c, *group, "s", batch(time.Now(), "in the keyring's alone"))
	if _, err := keys.EnableKey(t.Context(), &kms.EnableKeyInput{KeyId: &shared}); err != nil {
		t.Fatal(err)
	}
	if got := filter(t, c, all); len(got) != 3 {
		t.Errorf("events = %q", got)
	}
}

// A policy for the streams of one group lets nobody touch another, nor the group itself.
func TestPermissions(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	c := cloudwatchlogs.NewFromConfig(sys.Config())
	newStream(t, c, "mine", "a")
	newStream(t, c, "other", "a")
	writer := cloudwatchlogs.NewFromConfig(sys.User(t, "writer", malotetest.Allow(arnPrefix+"mine:log-stream:*", "logs:CreateLogStream", "logs:PutLogEvents")))
	send := func(ctx context.Context, group, stream string) error {
		_, err := writer.PutLogEvents(ctx, &cloudwatchlogs.PutLogEventsInput{LogGroupName: &group, LogStreamName: &stream, LogEvents: batch(time.Now(), "x")})
		return err
	}
	if err := send(t.Context(), "mine", "a"); err != nil {
		t.Errorf("what is allowed: %v", err)
	}
	wantError(t, send(t.Context(), "other", "a"), "AccessDeniedException", "is not authorized to perform: logs:PutLogEvents on resource: "+arnPrefix+"other:log-stream:a")
	wantError(t, send(t.Context(), "none", "a"), "AccessDeniedException", "logs:PutLogEvents")
	wantError(t, send(t.Context(), "mine", "none"), "ResourceNotFoundException", "The specified log stream does not exist.")
	_, err := writer.GetLogEvents(t.Context(), &cloudwatchlogs.GetLogEventsInput{LogGroupName: aws.String("mine"), LogStreamName: aws.String("a")})
	wantError(t, err, "AccessDeniedException", "logs:GetLogEvents on resource: "+arnPrefix+"mine:log-stream:a")
	_, err = writer.FilterLogEvents(t.Context(), &cloudwatchlogs.FilterLogEventsInput{LogGroupName: aws.String("mine")})
	wantError(t, err, "AccessDeniedException", "logs:FilterLogEvents on resource: "+arnPrefix+"mine:log-stream:")

	// The forms of a group's ARN that AWS documents: with :* for all but tags.
	reader := cloudwatchlogs.NewFromConfig(sys.User(t, "reader", malotetest.Allow(arnPrefix+"mine:*", "logs:*")))
	if _, err := reader.FilterLogEvents(t.Context(), &cloudwatchlogs.FilterLogEventsInput{LogGroupName: aws.String("mine"), Unmask: true}); err != nil {
		t.Errorf("with :*, %v", err)
	}
	_, err = reader.ListTagsForResource(t.Context(), &cloudwatchlogs.ListTagsForResourceInput{ResourceArn: aws.String(arnPrefix + "mine")})
	wantError(t, err, "AccessDeniedException", "logs:ListTagsForResource on resource: "+arnPrefix+"mine")
	stranger := cloudwatchlogs.NewFromConfig(sys.Other(t, "999988887777"))
	_, err = stranger.FilterLogEvents(t.Context(), &cloudwatchlogs.FilterLogEventsInput{LogGroupIdentifier: aws.String(arnPrefix + "mine")})
	wantError(t, err, "AccessDeniedException", "logs:FilterLogEvents")
}

func TestPages(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	c := cloudwatchlogs.NewFromConfig(sys.Config())
	var names []string
	for i := range 7 {
		names = append(names, fmt.Sprintf("/a/%d", i))
		newStream(t, c, names[i])
	}
	newStream(t, c, "z", "s3", "s1", "s2", "t")
	var got []string
	for pages := cloudwatchlogs.NewDescribeLogGroupsPaginator(c, &cloudwatchlogs.DescribeLogGroupsInput{LogGroupNamePrefix: aws.String("/a"), Limit: aws.Int32(3)}); pages.HasMorePages(); {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range page.LogGroups {
			got = append(got, *g.LogGroupName)
		}
	}
	if !cmp.Equal(got, names) {
		t.Errorf("groups = %q", got)
	}
	for i, s := range []string{"s2", "t", "s1"} {
		put(t, c, "z", s, batch(time.Now().Add(time.Duration(i)*time.Minute), "x"))
	}
	for _, tt := range []struct {
		in   cloudwatchlogs.DescribeLogStreamsInput
		want string
	}{
		{cloudwatchlogs.DescribeLogStreamsInput{}, "s1 s2 s3 t"},
		{cloudwatchlogs.DescribeLogStreamsInput{Descending: aws.Bool(true)}, "t s3 s2 s1"},
		{cloudwatchlogs.DescribeLogStreamsInput{LogStreamNamePrefix: aws.String("s")}, "s1 s2 s3"},
		{cloudwatchlogs.DescribeLogStreamsInput{OrderBy: types.OrderByLastEventTime}, "s3 s2 t s1"},
		{cloudwatchlogs.DescribeLogStreamsInput{OrderBy: types.OrderByLastEventTime, Descending: aws.Bool(true)}, "s1 t s2 s3"},
	} {
		tt.in.LogGroupName, tt.in.Limit = aws.String("z"), aws.Int32(1)
		var got []string
		for pages := cloudwatchlogs.NewDescribeLogStreamsPaginator(c, &tt.in); pages.HasMorePages(); {
			page, err := pages.NextPage(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range page.LogStreams {
				got = append(got, *s.LogStreamName)
			}
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("streams = %q, want %s", got, tt.want)
		}
	}
	_, err := c.DescribeLogGroups(t.Context(), &cloudwatchlogs.DescribeLogGroupsInput{NextToken: aws.String("bogus")})
	wantError(t, err, "InvalidParameterException", "The specified nextToken is invalid.")
	for name, in := range map[string]cloudwatchlogs.CreateLogGroupInput{
		"logGroupClass INFREQUENT_ACCESS": {LogGroupClass: types.LogGroupClassInfrequentAccess},
		"deletionProtectionEnabled":       {DeletionProtectionEnabled: aws.Bool(true)},
	} {
		in.LogGroupName = aws.String("q")
		_, err := c.CreateLogGroup(t.Context(), &in)
		wantError(t, err, "InvalidParameterException", name+" is not supported.")
	}
}
