package secretsmanager_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/malote/malote/malotetest"
	"github.com/malote/malote/rotation"
	"github.com/malote/malote/rotation/functions"
)

const (
	rotateARN  = "arn:aws:lambda:us-east-1:123456789012:function:rotate"
	rotateRole = "arn:aws:iam::123456789012:role/rotator"
	firstToken = "11111111-1111-4111-8111-111111111111"
	nextToken  = "22222222-2222-4222-8222-222222222222"
	otherToken = "33333333-3333-4333-8333-333333333333"
)

// rotator is a function as AWS's templates are, with a value of its own making.
type rotator struct {
	value func() string

	mu     sync.Mutex
	calls  []string                         // the steps, in order
	broken func(rotation.Event) (err error) // before a step; may block
}

func (r *rotator) Rotate(ctx context.Context, config aws.Config, e rotation.Event) error {
	r.mu.Lock()
	r.calls = append(r.calls, e.Step)
	fail := r.broken
	r.mu.Unlock()
	if fail != nil {
		if err := fail(e); err != nil {
			return err
		}
	}
	client := secretsmanager.NewFromConfig(config)
	secret, err := client.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: &e.SecretId})
	if err != nil {
		return err
	}
	stages := secret.VersionIdsToStages[e.ClientRequestToken]
	if slices.Contains(stages, "AWSCURRENT") {
		return nil
	}
	if !slices.Contains(stages, "AWSPENDING") {
		return errors.New("the version is not AWSPENDING")
	}
	switch e.Step {
	case rotation.CreateSecret:
		_, err := client.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &e.SecretId, VersionId: &e.ClientRequestToken, VersionStage: aws.String("AWSPENDING")})
		missing := new(types.ResourceNotFoundException)
		if !errors.As(err, &missing) {
			return err
		}
		_, err = client.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{SecretId: &e.SecretId, ClientRequestToken: &e.ClientRequestToken, SecretString: aws.String(r.value()), VersionStages: []string{"AWSPENDING"}, RotationToken: &e.RotationToken})
		return err
	case rotation.SetSecret, rotation.TestSecret:
		_, err := client.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &e.SecretId, VersionStage: aws.String("AWSPENDING")})
		return err
	case rotation.FinishSecret:
		in := &secretsmanager.UpdateSecretVersionStageInput{SecretId: &e.SecretId, VersionStage: aws.String("AWSCURRENT"), MoveToVersionId: &e.ClientRequestToken}
		for id, stages := range secret.VersionIdsToStages {
			if slices.Contains(stages, "AWSCURRENT") {
				in.RemoveFromVersionId = aws.String(id)
			}
		}
		_, err := client.UpdateSecretVersionStage(ctx, in)
		return err
	}
	return fmt.Errorf("unknown step %s", e.Step)
}

func (r *rotator) steps() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.calls)
}

func (r *rotator) fail(with func(rotation.Event) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.broken = with
}

// world is a system with a rotation function.
type world struct {
	*malotetest.System
	client *secretsmanager.Client
	rotator
}

func rotationOf(f rotation.Function) malotetest.Option {
	return malotetest.Rotation(
		map[string]functions.Definition{rotateARN: {Builtin: "test", Role: rotateRole}},
		map[string]rotation.Function{"test": f},
	)
}

func newWorld(t *testing.T, with ...malotetest.Option) *world {
	t.Helper()
	w := new(world)
	w.System = malotetest.New(t, append([]malotetest.Option{rotationOf(&w.rotator)}, with...)...)
	w.value = w.Canary
	w.client = secretsmanager.NewFromConfig(w.Config())
	makeRole(t, w.Config())
	return w
}

// makeRole makes the role of the rotation function.
func makeRole(t *testing.T, cfg aws.Config) {
	t.Helper()
	people := iam.NewFromConfig(cfg)
	trust := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"lambda.amazonaws.com"},"Action":"sts:AssumeRole","Condition":{"ArnEquals":{"aws:SourceArn":"` + rotateARN + `"}}}]}`
	if _, err := people.CreateRole(t.Context(), &iam.CreateRoleInput{RoleName: aws.String("rotator"), AssumeRolePolicyDocument: &trust}); err != nil {
		t.Fatal(err)
	}
	allow := malotetest.Allow("*", "secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue", "secretsmanager:PutSecretValue", "secretsmanager:UpdateSecretVersionStage")
	if _, err := people.PutRolePolicy(t.Context(), &iam.PutRolePolicyInput{RoleName: aws.String("rotator"), PolicyName: aws.String("rotate"), PolicyDocument: &allow}); err != nil {
		t.Fatal(err)
	}
}

func (w *world) create(t *testing.T, name string) {
	t.Helper()
	if _, err := w.client.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: &name, SecretString: aws.String(w.Canary()), ClientRequestToken: aws.String(firstToken)}); err != nil {
		t.Fatal(err)
	}
}

func (w *world) describe(t *testing.T) *secretsmanager.DescribeSecretOutput {
	t.Helper()
	d, err := w.client.DescribeSecret(t.Context(), &secretsmanager.DescribeSecretInput{SecretId: aws.String("db")})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func (w *world) rotate(t *testing.T, change func(*secretsmanager.RotateSecretInput)) error {
	t.Helper()
	in := &secretsmanager.RotateSecretInput{
		SecretId: aws.String("db"), ClientRequestToken: aws.String(nextToken), RotationLambdaARN: aws.String(rotateARN),
		RotationRules: &types.RotationRulesType{AutomaticallyAfterDays: aws.Int64(10)},
	}
	if change != nil {
		change(in)
	}
	_, err := w.client.RotateSecret(t.Context(), in)
	return err
}

// history asks as malote secret rotation does.
func (w *world) history(t *testing.T, config aws.Config, status int) *rotation.History {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.Endpoint()+"/rotations?SecretId=db", nil)
	if err != nil {
		t.Fatal(err)
	}
	credentials, err := config.Credentials.Retrieve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	const empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	if err := v4.NewSigner().SignHTTP(t.Context(), credentials, r, empty, "secretsmanager", config.Region, w.Clock.Now()); err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if response.StatusCode != status {
		t.Fatalf("GET /rotations: %s %s, want %d", response.Status, body, status)
	}
	h := new(rotation.History)
	if err := json.Unmarshal(body, h); err != nil {
		t.Fatal(err)
	}
	return h
}

// ended waits until n runs have ended, and returns them.
func (w *world) ended(t *testing.T, n int) []rotation.Run {
	t.Helper()
	return w.until(t, fmt.Sprintf("%d runs have ended", n), func(h *rotation.History) bool {
		done := 0
		for _, r := range h.Runs {
			if !r.Ended.IsZero() {
				done++
			}
		}
		return done >= n
	}).Runs
}

func (w *world) until(t *testing.T, what string, ok func(*rotation.History) bool) *rotation.History {
	t.Helper()
	var h *rotation.History
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if h = w.history(t, w.Config(), http.StatusOK); ok(h) {
			return h
		}
	}
	t.Fatalf("waited in vain until %s: %+v", what, h)
	return nil
}

func TestRotation(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.create(t, "db")
	// While createSecret runs there is a version, AWSPENDING, without a value.
	w.fail(func(e rotation.Event) error {
		if e.Step != rotation.CreateSecret {
			return nil
		}
		if got := w.describe(t).VersionIdsToStages[nextToken]; !slices.Equal(got, []string{"AWSPENDING"}) {
			return fmt.Errorf("stages %v during createSecret", got)
		}
		_, err := w.client.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: aws.String("db"), VersionId: aws.String(nextToken)})
		wantError(t, err, "ResourceNotFoundException", "Secrets Manager can't find the specified secret value for VersionId: "+nextToken)
		return nil
	})
	if err := w.rotate(t, nil); err != nil {
		t.Fatal(err)
	}
	runs := w.ended(t, 1)
	if len(runs) != 1 || runs[0].Outcome != "Succeeded" || runs[0].VersionID != nextToken || len(runs[0].Steps) != 4 {
		t.Fatalf("runs: %+v", runs)
	}
	if got, want := w.steps(), []string{"createSecret", "setSecret", "testSecret", "finishSecret"}; !slices.Equal(got, want) {
		t.Errorf("steps %v, want %v", got, want)
	}
	d := w.describe(t)
	if !slices.Contains(d.VersionIdsToStages[nextToken], "AWSCURRENT") || !slices.Equal(d.VersionIdsToStages[firstToken], []string{"AWSPREVIOUS"}) {
		t.Errorf("stages %v", d.VersionIdsToStages)
	}
	next := d.LastRotatedDate.UTC().Truncate(24*time.Hour).AddDate(0, 0, 11).Add(-time.Second)
	if !aws.ToBool(d.RotationEnabled) || aws.ToString(d.RotationLambdaARN) != rotateARN || aws.ToInt64(d.RotationRules.AutomaticallyAfterDays) != 10 || !d.NextRotationDate.Equal(next) {
		t.Errorf("DescribeSecret: %v %v %+v next %v, want %v", aws.ToBool(d.RotationEnabled), aws.ToString(d.RotationLambdaARN), d.RotationRules, d.NextRotationDate, next)
	}
	list, err := w.client.ListSecrets(t.Context(), &secretsmanager.ListSecretsInput{})
	if err != nil || !aws.ToBool(list.SecretList[0].RotationEnabled) || list.SecretList[0].LastRotatedDate == nil {
		t.Errorf("ListSecrets: %+v, %v", list.SecretList, err)
	}

	// Asked again with the same token nothing happens; when the ten days are over, it does.
	if err := w.rotate(t, nil); err != nil {
		t.Fatal(err)
	}
	w.fail(nil)
	w.Clock.Advance(10 * 24 * time.Hour)
	runs = w.ended(t, 2)
	if len(runs) != 2 || runs[1].Outcome != "Succeeded" || runs[1].Kind != "Scheduled" || len(w.steps()) != 8 {
		t.Errorf("runs: %+v after steps %v", runs, w.steps())
	}
	if got := w.describe(t).VersionIdsToStages; !slices.Contains(got[runs[1].VersionID], "AWSCURRENT") {
		t.Errorf("stages %v", got)
	}
}

// A RotationToken is good for the version of its rotation, while that goes on.
func TestRotationToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.create(t, "db")
	put := func(version, token string) error {
		_, err := w.client.PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{
			SecretId: aws.String("db"), ClientRequestToken: &version, SecretString: aws.String(w.Canary()), VersionStages: []string{"AWSPENDING"}, RotationToken: &token,
		})
		return err
	}
	const wrong, refusal = "a-token-that-nobody-has-given-anybody", "The RotationToken isn't that of a rotation in progress which makes version "
	wantError(t, put(nextToken, wrong), "InvalidParameterException", refusal+nextToken+".")
	var token atomic.Value
	w.fail(func(e rotation.Event) error {
		if e.Step == rotation.CreateSecret {
			token.Store(e.RotationToken)
			wantError(t, put(nextToken, wrong), "InvalidParameterException", refusal+nextToken+".")
			wantError(t, put(otherToken, e.RotationToken), "InvalidParameterException", refusal+otherToken+".")
		} else if e.RotationToken != token.Load() {
			return errors.New("each step has another token")
		}
		return nil
	})
	if err := w.rotate(t, nil); err != nil {
		t.Fatal(err)
	}
	if runs := w.ended(t, 1); runs[0].Outcome != "Succeeded" {
		t.Fatalf("runs: %+v", runs)
	}
	wantError(t, put(nextToken, token.Load().(string)), "InvalidParameterException", refusal+nextToken+".")
}

// A value that somebody stores counts as a rotation.
func TestManualChangeCountsAsRotation(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.create(t, "db")
	if err := w.rotate(t, nil); err != nil {
		t.Fatal(err)
	}
	w.ended(t, 1)
	was := w.describe(t).NextRotationDate
	w.Clock.Advance(3 * 24 * time.Hour)
	if _, err := w.client.PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{SecretId: aws.String("db"), SecretString: aws.String(w.Canary())}); err != nil {
		t.Fatal(err)
	}
	if got, want := w.describe(t).NextRotationDate, was.AddDate(0, 0, 3); !got.Equal(want) {
		t.Errorf("NextRotationDate %v, want %v", got, want)
	}
}

// A step that fails leaves the current value, and says why; the last attempt ends it.
func TestFailingStep(t *testing.T) {
	t.Parallel()
	for _, step := range []string{"createSecret", "setSecret", "testSecret", "finishSecret"} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.create(t, "db")
			w.fail(func(e rotation.Event) error {
				if e.Step == step {
					return errors.New("the database is away")
				}
				return nil
			})
			if err := w.rotate(t, nil); err != nil {
				t.Fatal(err)
			}
			for attempt := 1; attempt <= 5; attempt++ {
				w.until(t, fmt.Sprintf("attempt %d has failed", attempt), func(h *rotation.History) bool {
					steps := h.Runs[0].Steps
					last := len(steps) - 1
					return last >= 0 && steps[last].Attempt == attempt && steps[last].Outcome == "Failed"
				})
				if attempt == 1 { // it waits, and nothing else may begin
					wantError(t, w.rotate(t, func(in *secretsmanager.RotateSecretInput) { in.ClientRequestToken = aws.String(otherToken) }),
						"InvalidRequestException", "A previous rotation isn't complete. That rotation will be reattempted.")
				}
				w.Clock.Advance(15 * time.Minute)
			}
			run := w.ended(t, 1)[0]
			if want := step + ": the database is away"; run.Outcome != "Failed" || run.Reason != want {
				t.Errorf("run: %s %q, want %q", run.Outcome, run.Reason, want)
			}
			d := w.describe(t)
			if !slices.Contains(d.VersionIdsToStages[firstToken], "AWSCURRENT") || d.LastRotatedDate != nil {
				t.Errorf("stages %v, rotated %v", d.VersionIdsToStages, d.LastRotatedDate)
			}
			// Mended, it succeeds under the same token, on the same version.
			w.fail(nil)
			if err := w.rotate(t, nil); err != nil {
				t.Fatal(err)
			}
			runs := w.ended(t, 2)
			if runs[1].Outcome != "Succeeded" || runs[1].VersionID != nextToken {
				t.Errorf("runs: %+v", runs)
			}
		})
	}
}

// A function that returns without moving AWSCURRENT has failed.
func TestNothingMoved(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t, rotationOf(nothing{}))
	makeRole(t, sys.Config())
	w := &world{System: sys, client: secretsmanager.NewFromConfig(sys.Config())}
	w.create(t, "db")
	if err := w.rotate(t, nil); err != nil {
		t.Fatal(err)
	}
	h := w.until(t, "it waits", func(h *rotation.History) bool { return h.Runs[0].Outcome == "Waiting" })
	if steps := h.Runs[0].Steps; len(steps) != 4 || !strings.Contains(steps[3].Reason, "did not move AWSCURRENT") {
		t.Errorf("steps %+v", steps)
	}
}

type nothing struct{}

func (nothing) Rotate(context.Context, aws.Config, rotation.Event) error { return nil }

// RotateImmediately=false tests the function on a copy of the value, and no more.
func TestRotateLater(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.create(t, "db")
	later := func(in *secretsmanager.RotateSecretInput) {
		in.RotateImmediately = aws.Bool(false)
		in.RotationRules = &types.RotationRulesType{ScheduleExpression: aws.String("cron(0 16 1,15 * ? *)"), Duration: aws.String("2h")}
	}
	if err := w.rotate(t, later); err != nil {
		t.Fatal(err)
	}
	runs := w.ended(t, 1)
	if runs[0].Kind != "Test" || runs[0].Outcome != "Succeeded" || !slices.Equal(w.steps(), []string{"testSecret"}) {
		t.Errorf("runs %+v, steps %v", runs, w.steps())
	}
	d := w.describe(t)
	if got := slices.Collect(maps.Keys(d.VersionIdsToStages)); !slices.Equal(got, []string{firstToken}) || d.LastRotatedDate != nil {
		t.Errorf("versions %v, rotated %v", got, d.LastRotatedDate)
	}
	if got := d.NextRotationDate.UTC(); got.Hour() != 17 || got.Minute() != 59 || got.Day() != 1 && got.Day() != 15 || aws.ToString(d.RotationRules.Duration) != "2h" {
		t.Errorf("next %v, rules %+v", got, d.RotationRules)
	}
	// It comes when the window opens.
	w.Clock.Advance(d.NextRotationDate.Add(-2*time.Hour + time.Minute).Sub(w.Clock.Now()))
	if runs = w.ended(t, 2); runs[1].Outcome != "Succeeded" || runs[1].Kind != "Scheduled" {
		t.Errorf("runs %+v", runs)
	}
}

func TestCancelRotateSecret(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.create(t, "db")
	_, err := w.client.CancelRotateSecret(t.Context(), &secretsmanager.CancelRotateSecretInput{SecretId: aws.String("db")})
	wantError(t, err, "InvalidRequestException", "")
	w.fail(func(rotation.Event) error { return errors.New("no") })
	if err := w.rotate(t, nil); err != nil {
		t.Fatal(err)
	}
	w.until(t, "it waits", func(h *rotation.History) bool { return h.Runs[0].Outcome == "Waiting" })
	out, err := w.client.CancelRotateSecret(t.Context(), &secretsmanager.CancelRotateSecretInput{SecretId: aws.String("db")})
	if err != nil || aws.ToString(out.VersionId) != nextToken {
		t.Fatalf("CancelRotateSecret = %+v, %v", out, err)
	}
	d := w.describe(t)
	if d.RotationEnabled == nil || *d.RotationEnabled || aws.ToString(d.RotationLambdaARN) != rotateARN || d.RotationRules == nil || d.NextRotationDate != nil {
		t.Errorf("DescribeSecret: %+v", d)
	}
	if !slices.Equal(d.VersionIdsToStages[nextToken], []string{"AWSPENDING"}) {
		t.Errorf("stages %v", d.VersionIdsToStages)
	}
	steps := len(w.steps())
	w.Clock.Advance(100 * 24 * time.Hour)
	time.Sleep(2 * time.Second) // two looks of the scheduler
	if got := len(w.steps()); got != steps {
		t.Errorf("%d steps after the cancellation", got-steps)
	}

	// What is left is in the way until it is taken off; then the function is known still.
	again := func(in *secretsmanager.RotateSecretInput) {
		in.ClientRequestToken, in.RotationLambdaARN, in.RotationRules = aws.String(otherToken), nil, nil
	}
	w.fail(nil)
	wantError(t, w.rotate(t, again), "InvalidRequestException", "A previous rotation isn't complete. That rotation will be reattempted.")
	if _, err := w.client.UpdateSecretVersionStage(t.Context(), &secretsmanager.UpdateSecretVersionStageInput{SecretId: aws.String("db"), VersionStage: aws.String("AWSPENDING"), RemoveFromVersionId: aws.String(nextToken)}); err != nil {
		t.Fatal(err)
	}
	if err := w.rotate(t, again); err != nil {
		t.Fatal(err)
	}
	if runs := w.ended(t, 2); runs[0].Outcome != "Cancelled" || runs[1].Outcome != "Succeeded" {
		t.Errorf("runs %+v", runs)
	}
}

func TestRotateSecretErrors(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.create(t, "db")
	rules := func(r types.RotationRulesType) func(*secretsmanager.RotateSecretInput) {
		return func(in *secretsmanager.RotateSecretInput) { in.RotationRules = &r }
	}
	for _, tt := range []struct {
		name, code, message string
		change              func(*secretsmanager.RotateSecretInput)
	}{
		{"no function", "InvalidRequestException", "No Lambda rotation function ARN is associated with this secret.", func(in *secretsmanager.RotateSecretInput) { in.RotationLambdaARN = nil }},
		{"unknown function", "AccessDeniedException", "Secrets Manager cannot invoke the specified Lambda function. Ensure that the function policy grants access to the principal secretsmanager.amazonaws.com.", func(in *secretsmanager.RotateSecretInput) { in.RotationLambdaARN = aws.String(rotateARN + "2") }},
		{"no secret", "ResourceNotFoundException", "Secrets Manager can't find the specified secret.", func(in *secretsmanager.RotateSecretInput) { in.SecretId = aws.String("absent") }},
		{"both", "InvalidParameterException", "You cannot specify both rotation frequency and schedule expression together.", rules(types.RotationRulesType{AutomaticallyAfterDays: aws.Int64(1), ScheduleExpression: aws.String("rate(1 day)")})},
		{"neither", "InvalidParameterException", "", rules(types.RotationRulesType{Duration: aws.String("3h")})},
		{"bad schedule", "InvalidParameterException", "", rules(types.RotationRulesType{ScheduleExpression: aws.String("rate(1 hour)")})},
		{"window into the next day", "InvalidParameterException", "", rules(types.RotationRulesType{ScheduleExpression: aws.String("cron(0 23 * * ? *)"), Duration: aws.String("2h")})},
		{"token of a version", "InvalidParameterException", "", func(in *secretsmanager.RotateSecretInput) { in.ClientRequestToken = aws.String(firstToken) }},
		{"managed external secret", "InvalidParameterException", "ExternalSecretRotationRoleArn, which belongs to managed external secrets, is not supported.", func(in *secretsmanager.RotateSecretInput) { in.ExternalSecretRotationRoleArn = aws.String(rotateRole) }},
		{"days", "ValidationException", "", rules(types.RotationRulesType{AutomaticallyAfterDays: aws.Int64(1001)})},
	} {
		err := w.rotate(t, tt.change)
		if err == nil {
			t.Errorf("%s: no error", tt.name)
			continue
		}
		wantError(t, err, tt.code, tt.message)
	}
	if d := w.describe(t); d.RotationEnabled != nil || len(d.VersionIdsToStages) != 1 {
		t.Errorf("something was stored: %+v", d)
	}
	if _, err := w.client.DeleteSecret(t.Context(), &secretsmanager.DeleteSecretInput{SecretId: aws.String("db")}); err != nil {
		t.Fatal(err)
	}
	wantError(t, w.rotate(t, nil), "InvalidRequestException", "You can't perform this operation on the secret because it was marked for deletion.")
}

// Who rotates needs the secret, the function, and may be held to some of each.
func TestRotateSecretRights(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.create(t, "db")
	try := func(name, policy string) error {
		client := secretsmanager.NewFromConfig(w.User(t, name, policy))
		_, err := client.RotateSecret(t.Context(), &secretsmanager.RotateSecretInput{SecretId: aws.String("db"), ClientRequestToken: aws.String(nextToken), RotationLambdaARN: aws.String(rotateARN), RotationRules: &types.RotationRulesType{AutomaticallyAfterDays: aws.Int64(1)}})
		return err
	}
	const statement = `{"Effect":"Allow","Action":%q,"Resource":"*"%s}`
	document := func(condition string) string {
		return `{"Version":"2012-10-17","Statement":[` + fmt.Sprintf(statement, "secretsmanager:RotateSecret", condition) + `,` + fmt.Sprintf(statement, "lambda:InvokeFunction", "") + `]}`
	}
	wantError(t, try("a", malotetest.Allow("*", "secretsmanager:RotateSecret")), "AccessDeniedException", "")
	wantError(t, try("b", malotetest.Allow("*", "lambda:InvokeFunction")), "AccessDeniedException", "")
	wantError(t, try("c", document(`,"Condition":{"Bool":{"secretsmanager:ModifyRotationRules":"false"}}`)), "AccessDeniedException", "")
	wantError(t, try("d", document(`,"Condition":{"ArnEquals":{"secretsmanager:RotationLambdaARN":"`+rotateARN+`2"}}`)), "AccessDeniedException", "")
	if got := w.describe(t); got.RotationEnabled != nil {
		t.Errorf("it was rotated")
	}
	if err := try("e", document(`,"Condition":{"ArnEquals":{"secretsmanager:RotationLambdaARN":"`+rotateARN+`"},"Bool":{"secretsmanager:ModifyRotationRules":"true"}}`)); err != nil {
		t.Error(err)
	}
	w.ended(t, 1)
	w.history(t, w.User(t, "nobody", ""), http.StatusBadRequest)
}
