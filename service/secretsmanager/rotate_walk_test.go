package secretsmanager

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
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

// walker does random things to one secret and knows what must be so after each.
type walker struct {
	t *testing.T
	*testService
	rand    *rand.Rand
	ctx     context.Context
	current string            // the value that must be current
	values  map[string]string // by version, of those that the function made
	n       int
	did     []string
}

func (w *walker) Has(string) bool { return true }

// Invoke is a rotation function that fails now and then, before or after it has done its
// work, and that may end without a word of what it did.
func (w *walker) Invoke(_ context.Context, _ string, e rotation.Event) error {
	fate := w.rand.IntN(12)
	if fate == 0 {
		return errors.New("before")
	}
	x := w.secret()
	if v := x.version(e.ClientRequestToken); v != nil && !slices.Contains(v.Stages, current) {
		switch e.Step {
		case rotation.CreateSecret:
			if v.Key == "" {
				w.n++
				w.values[v.ID] = fmt.Sprint("rotated ", w.n)
				_, err := w.PutSecretValue(w.ctx, &secretsmanager.PutSecretValueInput{SecretId: aws.String("s"), ClientRequestToken: &v.ID, SecretString: aws.String(w.values[v.ID]), VersionStages: []string{pending}})
				if err != nil {
					return err
				}
			}
		case rotation.FinishSecret:
			if fate == 1 {
				return nil // it forgets
			}
			_, err := w.UpdateSecretVersionStage(w.ctx, &secretsmanager.UpdateSecretVersionStageInput{SecretId: aws.String("s"), VersionStage: aws.String(current), MoveToVersionId: &v.ID, RemoveFromVersionId: &x.holder(current).ID})
			if err != nil {
				return err
			}
			w.current = w.values[v.ID]
		}
	}
	if fate == 2 {
		return errors.New("after")
	}
	return nil
}

func (w *walker) secret() *secret {
	w.t.Helper()
	x, err := w.find(w.ctx, &secretID{account: testAccount, name: "s"}, testRegion, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return x
}

func (w *walker) token() string {
	w.n++
	return fmt.Sprintf("%032d", w.n)
}

// due does what the scheduler does, and now and then ends in the middle of it.
func (w *walker) due() error {
	paths, err := w.dueRotations(w.ctx, 10)
	if err != nil {
		return err
	}
	for _, path := range paths {
		j, err := w.claim(w.ctx, path)
		if err != nil || j == nil {
			return err
		}
		switch w.rand.IntN(5) {
		case 0: // killed once it was claimed
			w.clock = w.clock.Add(lease)
		case 1: // told to end
			ctx, cancel := context.WithCancel(w.ctx)
			cancel()
			if err := w.work(ctx, j); !errors.Is(err, context.Canceled) && !errors.Is(err, errLost) {
				return fmt.Errorf("ended: %w", err)
			}
		default:
			if err := w.work(w.ctx, j); err != nil && !errors.Is(err, errLost) {
				return err
			}
		}
	}
	return nil
}

func (w *walker) step() error {
	id := aws.String("s")
	x := w.secret()
	switch w.rand.IntN(10) {
	case 0, 1:
		in := &secretsmanager.RotateSecretInput{SecretId: id, ClientRequestToken: aws.String(w.token()), RotationLambdaARN: aws.String("arn:aws:lambda:us-east-1:123456789012:function:f")}
		if w.rand.IntN(2) == 0 && len(x.Versions) > 0 { // again
			in.ClientRequestToken = &x.Versions[w.rand.IntN(len(x.Versions))].ID
		}
		in.RotateImmediately = aws.Bool(w.rand.IntN(3) > 0)
		if w.rand.IntN(2) == 0 {
			in.RotationRules = &types.RotationRulesType{ScheduleExpression: aws.String([]string{"rate(1 day)", "rate(4 hours)", "cron(0 4/12 * * ? *)"}[w.rand.IntN(3)])}
		}
		_, err := w.RotateSecret(w.ctx, in)
		w.did = append(w.did, fmt.Sprintf("rotate %s %v: %v", *in.ClientRequestToken, *in.RotateImmediately, err))
		if err == nil && x.unfinished() && x.version(*in.ClientRequestToken) == nil {
			return errors.New("a rotation began while another was unfinished")
		}
	case 2:
		_, err := w.CancelRotateSecret(w.ctx, &secretsmanager.CancelRotateSecretInput{SecretId: id})
		w.did = append(w.did, fmt.Sprintf("cancel: %v", err))
	case 3:
		w.n++
		value := fmt.Sprint("by hand ", w.n)
		_, err := w.PutSecretValue(w.ctx, &secretsmanager.PutSecretValueInput{SecretId: id, ClientRequestToken: aws.String(w.token()), SecretString: &value})
		if err == nil {
			w.current = value
		}
		w.did = append(w.did, fmt.Sprintf("put: %v", err))
	case 4:
		if p := x.holder(pending); p != nil {
			_, err := w.UpdateSecretVersionStage(w.ctx, &secretsmanager.UpdateSecretVersionStageInput{SecretId: id, VersionStage: aws.String(pending), RemoveFromVersionId: &p.ID})
			w.did = append(w.did, fmt.Sprintf("take AWSPENDING off: %v", err))
		}
	case 5:
		if x.Deletion.IsZero() {
			_, err := w.DeleteSecret(w.ctx, &secretsmanager.DeleteSecretInput{SecretId: id})
			w.did = append(w.did, fmt.Sprintf("delete: %v", err))
			return err
		}
	case 6:
		_, err := w.RestoreSecret(w.ctx, &secretsmanager.RestoreSecretInput{SecretId: id})
		w.did = append(w.did, fmt.Sprintf("restore: %v", err))
		return err
	default:
		if x.Deletion.IsZero() {
			w.clock = w.clock.Add(time.Duration(w.rand.IntN(8*60)) * time.Minute)
		}
		w.did = append(w.did, "due at "+w.clock.String())
		return w.due()
	}
	return nil
}

// check says what is wrong with the secret.
func (w *walker) check() error {
	x := w.secret()
	seen := map[string]bool{}
	for i := range x.Versions {
		for _, label := range x.Versions[i].Stages {
			if seen[label] {
				return fmt.Errorf("%s is on two versions", label)
			}
			seen[label] = true
		}
	}
	if c := x.holder(current); c == nil || c.Key == "" {
		return errors.New("there is no current value")
	}
	if x.Deletion.IsZero() {
		got, err := w.GetSecretValue(w.ctx, &secretsmanager.GetSecretValueInput{SecretId: aws.String("s")})
		if err != nil || *got.SecretString != w.current {
			return fmt.Errorf("the current value is not %q: %v", w.current, err)
		}
	}
	var entries []string
	var h *history
	err := w.store.View(w.ctx, func(tx store.Tx) (err error) {
		for e, err := range tx.Scan(queuePrefix, "") {
			if err != nil {
				return err
			}
			entries = append(entries, e.Key)
		}
		h, err = w.getHistory(tx, x)
		return err
	})
	if err != nil {
		return err
	}
	var want []string
	token := ""
	if r := x.Rotation; r != nil {
		if !r.At.IsZero() {
			want = []string{x.queuePath()}
		}
		token = r.Token
		if !r.Enabled && token != "" {
			return errors.New("a rotation runs that was cancelled")
		}
		if x.Deletion.IsZero() && r.At.IsZero() && (token != "" || r.Enabled && r.Rules.Schedule != "") {
			return errors.New("the scheduler will never look at it")
		}
	}
	if !slices.Equal(entries, want) {
		return fmt.Errorf("queue %v, want %v", entries, want)
	}
	for i, r := range h.Runs {
		running := i == len(h.Runs)-1 && token != ""
		if r.Ended.IsZero() != running || running && r.Token != token {
			return fmt.Errorf("run %d of %d: %+v, in progress is %q", i, len(h.Runs), r, token)
		}
		if v := x.version(r.Token); r.Test && !running && v != nil && slices.Contains(v.Stages, pending) {
			return fmt.Errorf("the test %s left its version", r.Token)
		}
		if r.Attempt > maxAttempts {
			return fmt.Errorf("attempt %d", r.Attempt)
		}
	}
	return nil
}

// Whatever is done in whatever order, whatever fails and wherever malote ends: there is a
// current value, it is the one of the last success, and the records agree.
func TestRotationWalk(t *testing.T) {
	t.Parallel()
	succeededRuns, failedRuns := 0, 0
	for seed := range uint64(60) {
		w := &walker{t: t, testService: newTestService(t), rand: rand.New(rand.NewPCG(seed, 1)), ctx: rootUser(t.Context()), current: "first", values: map[string]string{}}
		w.functions = w
		if _, err := w.CreateSecret(w.ctx, &secretsmanager.CreateSecretInput{Name: aws.String("s"), SecretString: aws.String("first"), ClientRequestToken: aws.String(testToken)}); err != nil {
			t.Fatal(err)
		}
		for range 120 {
			err := w.step()
			if err == nil {
				err = w.check()
			}
			if err != nil {
				t.Fatalf("seed %d: %v, after\n%s", seed, err, strings.Join(w.did, "\n"))
			}
		}
		err := w.store.View(w.ctx, func(tx store.Tx) error {
			h, err := w.getHistory(tx, w.secret())
			for _, r := range h.Runs {
				switch r.Outcome {
				case succeeded:
					succeededRuns++
				case failed:
					failedRuns++
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if succeededRuns < 50 || failedRuns < 10 {
		t.Errorf("%d runs succeeded and %d failed: the walk does not go where it should", succeededRuns, failedRuns)
	}
}
