package secretsmanager

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/malote/malote/rotation"
	"github.com/malote/malote/store"
)

type broken struct{}

func (broken) Has(string) bool                                      { return true }
func (broken) Invoke(context.Context, string, rotation.Event) error { return errors.New("no") }

// A scheduled rotation is attempted while its window is open, and then in the next one.
func TestWindow(t *testing.T) {
	t.Parallel()
	midnight := time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		name     string
		begin    time.Duration // after midnight
		attempts int
		reason   string
	}{
		{"early", 0, 5, "createSecret: no"},
		{"late", 45 * time.Minute, 4, "createSecret: no (the rotation window closes before another attempt)"},
		{"last minute", 59*time.Minute + 55*time.Second, 1, "createSecret: no (the rotation window closes before another attempt)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newTestService(t)
			s.functions = broken{}
			ctx := rootUser(t.Context())
			id := aws.String("s")
			if _, err := s.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: id, ClientRequestToken: aws.String(testToken)}); err != nil {
				t.Fatal(err)
			}
			_, err := s.RotateSecret(ctx, &secretsmanager.RotateSecretInput{
				SecretId: id, ClientRequestToken: aws.String(testToken), RotationLambdaARN: aws.String("arn:aws:lambda:us-east-1:123456789012:function:f"),
				RotateImmediately: aws.Bool(false), RotationRules: &types.RotationRulesType{ScheduleExpression: aws.String("rate(1 day)"), Duration: aws.String("1h")},
			})
			if err != nil {
				t.Fatal(err)
			}
			path := "secretsmanager/" + testAccount + "/" + testRegion + "/secret/s"
			record := func() (x *secret, h *history) {
				err := s.store.View(ctx, func(tx store.Tx) (err error) {
					if x, err = s.secrets.Get(tx, path); err == nil {
						h, err = s.getHistory(tx, x)
					}
					return err
				})
				if err != nil {
					t.Fatal(err)
				}
				return x, h
			}
			if x, _ := record(); !x.Rotation.At.Equal(midnight) || !x.Rotation.Next.Equal(midnight.Add(time.Hour-time.Second)) {
				t.Fatalf("at %v, next %v", x.Rotation.At, x.Rotation.Next)
			}
			s.clock = midnight.Add(tt.begin)
			for range 10 {
				paths, err := s.dueRotations(ctx, 1)
				if err != nil {
					t.Fatal(err)
				}
				if len(paths) == 0 {
					break
				}
				j, err := s.claim(ctx, paths[0])
				if err != nil || j == nil {
					t.Fatal(j, err)
				}
				if err := s.work(ctx, j); err != nil {
					t.Fatal(err)
				}
				x, h := record()
				if h.last().Ended.IsZero() {
					s.clock = x.Rotation.At
				}
			}
			x, h := record()
			if r := h.last(); len(h.Runs) != 1 || r.Outcome != failed || r.Attempt != tt.attempts || r.Reason != tt.reason {
				t.Errorf("%d runs, the last %+v", len(h.Runs), r)
			}
			if tomorrow := midnight.AddDate(0, 0, 1); !x.Rotation.At.Equal(tomorrow) {
				t.Errorf("again at %v, want %v", x.Rotation.At, tomorrow)
			}
			// There the version that is still AWSPENDING is attempted.
			was := h.last().Token
			s.clock = x.Rotation.At
			if j, err := s.claim(ctx, path); err != nil || j == nil || j.token != was {
				t.Errorf("claimed %+v, %v; want version %s", j, err, was)
			}
		})
	}
}

// What a function says becomes one short line.
func TestClean(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"one\ntwo\r\n\x1b[31mthree": "one two [31mthree",
		"\xff":                      "?",
		strings.Repeat("é", 400):    strings.Repeat("é", 256) + "…",
	} {
		if got := clean(in); got != want {
			t.Errorf("clean(%q) = %q, want %q", in, got, want)
		}
	}
}
