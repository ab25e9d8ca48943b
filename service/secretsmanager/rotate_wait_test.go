package secretsmanager

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/malote/malote/rotation"
	"github.com/malote/malote/store"
)

// called is a rotation function that does nothing but keep its steps.
type called struct{ steps []string }

func (*called) Has(string) bool { return true }
func (c *called) Invoke(_ context.Context, _ string, e rotation.Event) error {
	c.steps = append(c.steps, e.Step)
	return nil
}

// held is the tasks that hold something.
type held struct {
	holders []Holder
	asked   []string
}

func (h *held) Holding(_ context.Context, arns []string) ([]Holder, error) {
	h.asked = arns
	return slices.Clone(h.holders), nil
}

// A rotation waits before setSecret while a task holds what that may make invalid, for as
// long as the secret's tag says.
func TestRotationWaitsForTasks(t *testing.T) {
	t.Parallel()
	const old, task = "old-version", "arn:aws:ecs:us-east-1:123456789012:task/default/t1"
	for _, tt := range []struct {
		name    string
		tag     string
		holders []Holder // the current version is testToken, the next "next"
		leave   time.Duration
		waits   bool
		outcome string
		reason  string
	}{
		{name: "not asked", holders: []Holder{{task, old}}},
		{name: "off", tag: "off", holders: []Holder{{task, old}}},
		{name: "nobody", tag: "10m"},
		{name: "the current one", tag: "10m", holders: []Holder{{task, testToken}}},
		{name: "until it left", tag: "10m", holders: []Holder{{task, testToken}, {task, old}}, leave: 9 * time.Minute, waits: true},
		{name: "in vain", tag: "10m", holders: []Holder{{task, old}}, waits: true, outcome: failed,
			reason: "setSecret was not called: after 10m0s a task holds a version that is not the current one: " + task + " (version " + old + ")"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newTestService(t)
			function, tasks := new(called), &held{holders: tt.holders}
			s.functions, s.tasks = function, tasks
			ctx := rootUser(t.Context())
			id := aws.String("s")
			in := &secretsmanager.CreateSecretInput{Name: id, ClientRequestToken: aws.String(testToken), SecretString: aws.String("x"), AddReplicaRegions: []types.ReplicaRegionType{{Region: aws.String("eu-west-1")}}}
			if tt.tag != "" {
				in.Tags = []types.Tag{{Key: aws.String("malote:wait-for-tasks"), Value: &tt.tag}}
			}
			created, err := s.CreateSecret(ctx, in)
			if err != nil {
				t.Fatal(err)
			}
			_, err = s.RotateSecret(ctx, &secretsmanager.RotateSecretInput{
				SecretId: id, RotationLambdaARN: aws.String("arn:aws:lambda:us-east-1:123456789012:function:f"),
				RotationRules: &types.RotationRulesType{AutomaticallyAfterDays: aws.Int64(30)}, ClientRequestToken: aws.String("11111111-2222-4333-8444-555555555555"),
			})
			if err != nil {
				t.Fatal(err)
			}
			path := "secretsmanager/" + testAccount + "/" + testRegion + "/secret/s"
			last := func() *run {
				var h *history
				err := s.store.View(ctx, func(tx store.Tx) error {
					x, err := s.secrets.Get(tx, path)
					if err == nil {
						h, err = s.getHistory(tx, x)
					}
					return err
				})
				if err != nil {
					t.Fatal(err)
				}
				return h.last()
			}
			step := func() bool {
				j, err := s.claim(ctx, path)
				if err != nil {
					t.Fatal(err)
				}
				if j == nil {
					return false
				}
				if err := s.work(ctx, j); err != nil {
					t.Fatal(err)
				}
				return true
			}
			began := s.clock
			step()
			// The function leaves AWSCURRENT where it is, so an attempt ends with finishSecret.
			if got := slices.Contains(function.steps, rotation.SetSecret); got == tt.waits {
				t.Fatalf("steps %v", function.steps)
			}
			if !tt.waits {
				return
			}
			if want := []string{*created.ARN, strings.Replace(*created.ARN, testRegion, "eu-west-1", 1)}; !slices.Equal(tasks.asked, want) {
				t.Errorf("asked for %q, want %q", tasks.asked, want)
			}
			for looks := 0; last().Ended.IsZero() && len(function.steps) == 1; looks++ {
				if r := last(); r.Claim != "" || !strings.Contains(r.WaitsFor, task) {
					t.Fatalf("it does not wait: %+v", r)
				}
				if s.clock = s.clock.Add(waitLook); tt.leave != 0 && s.clock.Sub(began) >= tt.leave {
					tasks.holders = tasks.holders[:1]
				}
				if !step() || looks > 200 {
					t.Fatalf("nothing was done at %v", s.clock.Sub(began))
				}
			}
			r := last()
			if tt.outcome == "" {
				if !slices.Equal(function.steps, allSteps) || r.WaitsFor != "" || s.clock.Sub(began) != tt.leave {
					t.Errorf("after %v: steps %v, run %+v", s.clock.Sub(began), function.steps, r)
				}
				return
			}
			if r.Outcome != tt.outcome || r.Reason != tt.reason || s.clock.Sub(began) != 10*time.Minute || len(function.steps) != 1 {
				t.Errorf("after %v: steps %v, run %+v", s.clock.Sub(began), function.steps, r)
			}
		})
	}
}

func TestSecretTagsOfOurs(t *testing.T) {
	t.Parallel()
	s := newTestService(t)
	ctx := rootUser(t.Context())
	_, err := s.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: aws.String("s"), ClientRequestToken: aws.String(testToken), Tags: []types.Tag{{Key: aws.String("malote:wait-for-tasks"), Value: aws.String("soon")}}})
	if err == nil || !strings.Contains(err.Error(), "a time from 1s to 168h") {
		t.Errorf("got %v", err)
	}
}
