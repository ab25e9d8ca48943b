package logs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"

	"github.com/malote/malote/audit"
	"github.com/malote/malote/authz"
	"github.com/malote/malote/caller"
	"github.com/malote/malote/internal/xaes"
	"github.com/malote/malote/policy"
	"github.com/malote/malote/store"
	"github.com/malote/malote/store/memory"
)

const testAccount = "123456789012"

// rights are everybody's, but for the root user, who has all.
type rights struct{ set policy.Set }

func (r rights) Policies(context.Context, *caller.Principal) (*policy.Set, error) { return &r.set, nil }

func as(ctx context.Context, p *caller.Principal, region string) context.Context {
	return caller.With(ctx, &caller.Request{ID: "test", Principal: p, Region: region, Service: "logs"})
}

func root(ctx context.Context, region string) context.Context {
	return as(ctx, &caller.Principal{Type: caller.Account, Account: testAccount, ARN: "arn:aws:iam::" + testAccount + ":root", ID: testAccount}, region)
}

// service is one on a store of its own, with a clock that can be moved.
func service(t testing.TB) (s *Service, st store.Store, now *time.Time) {
	t.Helper()
	st = memory.New()
	t.Cleanup(func() { st.Close() })
	at := time.Now()
	s = New(Config{Store: st, Authz: authz.New(authz.Config{Policies: rights{}}), Now: func() time.Time { return at }})
	return s, st, &at
}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func fill(t testing.TB, ctx context.Context, s *Service, group, stream string, start time.Time, messages ...string) {
	t.Helper()
	if _, err := s.CreateLogGroup(ctx, &cloudwatchlogs.CreateLogGroupInput{LogGroupName: &group}); err != nil {
		var exists *types.ResourceAlreadyExistsException
		if !errors.As(err, &exists) {
			t.Fatal(err)
		}
	}
	if _, err := s.CreateLogStream(ctx, &cloudwatchlogs.CreateLogStreamInput{LogGroupName: &group, LogStreamName: &stream}); err != nil {
		var exists *types.ResourceAlreadyExistsException
		if !errors.As(err, &exists) {
			t.Fatal(err)
		}
	}
	var events []types.InputLogEvent
	for _, m := range messages {
		events = append(events, types.InputLogEvent{Timestamp: aws.Int64(start.UnixMilli()), Message: &m})
	}
	out := must[*cloudwatchlogs.PutLogEventsOutput](t)(s.PutLogEvents(ctx, &cloudwatchlogs.PutLogEventsInput{LogGroupName: &group, LogStreamName: &stream, LogEvents: events}))
	if out.RejectedLogEventsInfo != nil {
		t.Fatalf("rejected: %+v", out.RejectedLogEventsInfo)
	}
}

// keys are those of a kind, in the store.
func keys(t testing.TB, st store.Store, kind string) (found []string) {
	t.Helper()
	err := st.View(t.Context(), func(tx store.Tx) error {
		for e, err := range tx.Scan("logs/", "") {
			if err != nil {
				return err
			}
			if strings.Contains(e.Key, "/"+kind+"/") {
				found = append(found, e.Key)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// Upkeep removes what is past its retention, in every Region, and nothing else, and notes
// how many bytes are left.
func TestMaintainExpires(t *testing.T) {
	t.Parallel()
	s, st, now := service(t)
	start := *now
	for _, region := range []string{"eu-west-1", "us-east-1"} {
		ctx := root(t.Context(), region)
		for i := range 200 { // more than one transaction removes
			fill(t, ctx, s, "g", "s", start.Add(time.Duration(i)*time.Second), "old")
		}
		fill(t, ctx, s, "kept", "s", start, "for ever")
		must[*cloudwatchlogs.PutRetentionPolicyOutput](t)(s.PutRetentionPolicy(ctx, &cloudwatchlogs.PutRetentionPolicyInput{LogGroupName: aws.String("g"), RetentionInDays: aws.Int32(1)}))
	}
	*now = start.Add(24*time.Hour + 150*time.Second)
	if err := Maintain(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if got := len(keys(t, st, "event")); got != 2*(50+1) {
		t.Errorf("%d chunks are left, want 102", got)
	}
	ctx := root(t.Context(), "us-east-1")
	out := must[*cloudwatchlogs.DescribeLogGroupsOutput](t)(s.DescribeLogGroups(ctx, &cloudwatchlogs.DescribeLogGroupsInput{}))
	if kept := *out.LogGroups[1].StoredBytes; kept == 0 || *out.LogGroups[0].StoredBytes != 50*(kept-int64(len("for ever")-len("old"))) {
		t.Errorf("storedBytes = %d and %d", *out.LogGroups[0].StoredBytes, kept)
	}
	got := must[*cloudwatchlogs.GetLogEventsOutput](t)(s.GetLogEvents(ctx, &cloudwatchlogs.GetLogEventsInput{LogGroupName: aws.String("g"), LogStreamName: aws.String("s")}))
	if len(got.Events) != 50 {
		t.Errorf("%d events are left, want 50", len(got.Events))
	}
}

// What a deletion leaves when it is interrupted, upkeep removes.
func TestMaintainRemovesGone(t *testing.T) {
	t.Parallel()
	s, st, now := service(t)
	ctx := root(t.Context(), "us-east-1")
	for i := range 120 {
		fill(t, ctx, s, "g", fmt.Sprint("s", i), *now, "x")
	}
	fill(t, ctx, s, "other", "s", *now, "x")
	g := must[*group](t)(s.authorized(ctx, named(ctx, "g"), door{action: "logs:DeleteLogGroup"}))
	// The deletion up to where the process ended.
	err := st.Update(ctx, func(tx store.Tx) error {
		if err := tx.Put(here(ctx).prefix("gone")+g.ID, []byte{1}); err != nil {
			return err
		}
		return s.groups.Delete(tx, named(ctx, "g").key())
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := Maintain(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	for kind, want := range map[string]int{"event": 1, "stream": 1, "gone": 0, "group": 1} {
		if got := keys(t, st, kind); len(got) != want {
			t.Errorf("%d keys of %s are left, want %d: %q", len(got), kind, want, got[:min(3, len(got))])
		}
	}
	must[*cloudwatchlogs.DeleteLogGroupOutput](t)(s.DeleteLogGroup(ctx, &cloudwatchlogs.DeleteLogGroupInput{LogGroupName: aws.String("other")}))
	if got := keys(t, st, ""); len(got) != 0 {
		t.Errorf("left: %q", got)
	}
}

// between is an audit that does something right after a decision, once.
type between func()

func (b *between) Record(context.Context, audit.Record) error {
	if do := *b; do != nil {
		*b = nil
		do()
	}
	return nil
}

// Who loses a right between the decision and the deed does not do it.
func TestRightsLostMeanwhile(t *testing.T) {
	t.Parallel()
	document, err := policy.Parse(policy.Identity, []byte(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"logs:*","Resource":"*","Condition":{"StringEquals":{"aws:ResourceTag/open":"yes"}}}]}`))
	if err != nil {
		t.Fatal(err)
	}
	own := rights{policy.Set{Identity: []policy.Source{{Document: document}}}}
	g := aws.String("g")
	for op, do := range map[string]func(context.Context, *Service) error{
		"PutLogEvents": func(ctx context.Context, s *Service) error {
			_, err := s.PutLogEvents(ctx, &cloudwatchlogs.PutLogEventsInput{LogGroupName: g, LogStreamName: aws.String("s"), LogEvents: []types.InputLogEvent{{Timestamp: aws.Int64(time.Now().UnixMilli()), Message: g}}})
			return err
		},
		"CreateLogStream": func(ctx context.Context, s *Service) error {
			_, err := s.CreateLogStream(ctx, &cloudwatchlogs.CreateLogStreamInput{LogGroupName: g, LogStreamName: aws.String("new")})
			return err
		},
		"DeleteLogStream": func(ctx context.Context, s *Service) error {
			_, err := s.DeleteLogStream(ctx, &cloudwatchlogs.DeleteLogStreamInput{LogGroupName: g, LogStreamName: aws.String("s")})
			return err
		},
		"DeleteLogGroup": func(ctx context.Context, s *Service) error {
			_, err := s.DeleteLogGroup(ctx, &cloudwatchlogs.DeleteLogGroupInput{LogGroupName: g})
			return err
		},
		"PutRetentionPolicy": func(ctx context.Context, s *Service) error {
			_, err := s.PutRetentionPolicy(ctx, &cloudwatchlogs.PutRetentionPolicyInput{LogGroupName: g, RetentionInDays: aws.Int32(1)})
			return err
		},
		"TagLogGroup": func(ctx context.Context, s *Service) error {
			//lint:ignore SA1019 older clients use it
			_, err := s.TagLogGroup(ctx, &cloudwatchlogs.TagLogGroupInput{LogGroupName: g, Tags: map[string]string{"open": "yes"}})
			return err
		},
		"DisassociateKmsKey": func(ctx context.Context, s *Service) error {
			_, err := s.DisassociateKmsKey(ctx, &cloudwatchlogs.DisassociateKmsKeyInput{LogGroupName: g})
			return err
		},
	} {
		for _, lose := range []bool{true, false} {
			t.Run(op, func(t *testing.T) {
				t.Parallel()
				s, _, now := service(t)
				ctx := root(t.Context(), "us-east-1")
				fill(t, ctx, s, "g", "s", *now, "x")
				arn := aws.String(here(ctx).arn("g"))
				must[*cloudwatchlogs.TagResourceOutput](t)(s.TagResource(ctx, &cloudwatchlogs.TagResourceInput{ResourceArn: arn, Tags: map[string]string{"open": "yes"}}))
				plain, lost := *s, error(nil)
				meanwhile := between(func() {
					if lose {
						_, lost = plain.UntagResource(ctx, &cloudwatchlogs.UntagResourceInput{ResourceArn: arn, TagKeys: []string{"open"}})
					}
				})
				s.authz = authz.New(authz.Config{Policies: own, Audit: &meanwhile})
				err := do(as(t.Context(), &caller.Principal{Type: caller.User, Account: testAccount, ARN: "arn:aws:iam::" + testAccount + ":user/bob", ID: "AIDABOB"}, "us-east-1"), s)
				if lost != nil {
					t.Fatal(lost)
				}
				var denied *authz.Denied
				if got := errors.As(err, &denied); got != lose || err != nil && !got {
					t.Errorf("error = %v, want a denial: %v", err, lose)
				}
			})
		}
	}
}

func FuzzChunk(f *testing.F) {
	pieces := split([]message{{1, "a"}, {5, strings.Repeat("b", 300)}}, 7)
	f.Add(frame(pieces[0].events, nil, "k"))
	f.Add(frame(pieces[0].events, &dataKey{wrapped: []byte("wrapped"), key: xaes.New(make([]byte, xaes.KeySize))}, "k"))
	f.Fuzz(func(t *testing.T, stored []byte) {
		_, rest, err := unframe(stored)
		if err != nil {
			return
		}
		events, err := decode(nil, 1, rest)
		for _, e := range events {
			if err == nil && len(e.message) > len(stored)*1100 {
				t.Errorf("a message of %d bytes of %d", len(e.message), len(stored))
			}
		}
	})
}

func TestSplit(t *testing.T) {
	t.Parallel()
	var in []message
	for i := range 2000 {
		in = append(in, message{int64(i) * 1000, strings.Repeat(string(rune('a'+i%26)), i%500)})
	}
	in = append(in, message{int64(2000) * 1000, strings.Repeat("long", 100<<10)})
	var out []event
	for i, p := range split(in, 42) {
		if p.last-p.first > chunkSpan {
			t.Errorf("a chunk spans %d ms", p.last-p.first)
		}
		before := len(out)
		var err error
		if out, err = decode(out, uint64(i), p.events); err != nil {
			t.Fatal(err)
		}
		if out[before].time != p.first || out[len(out)-1].time != p.last {
			t.Errorf("times of a chunk are %d and %d, want %d and %d", p.first, p.last, out[before].time, out[len(out)-1].time)
		}
	}
	if len(out) != len(in) {
		t.Fatalf("%d events, want %d", len(out), len(in))
	}
	for i, e := range out {
		if e.time != in[i].time || !bytes.Equal(e.message, []byte(in[i].text)) || e.ingested != 42 {
			t.Fatalf("event %d is another", i)
		}
	}
}
