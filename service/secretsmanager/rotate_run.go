package secretsmanager

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/malote/malote/audit"
	"github.com/malote/malote/caller"
	"github.com/malote/malote/internal/spoken"
	"github.com/malote/malote/policy"
	"github.com/malote/malote/rotation"
	"github.com/malote/malote/store"
)

// errLost says that a run is somebody else's by now, or nobody's.
var errLost = errors.New("secretsmanager: the rotation is no longer this control plane's")

var (
	allSteps  = []string{rotation.CreateSecret, rotation.SetSecret, rotation.TestSecret, rotation.FinishSecret}
	testSteps = []string{rotation.TestSecret}
)

// work calls the function step by step. It returns nil once the run has ended or waits for
// its next attempt, and an error when it was interrupted.
func (s *Service) work(ctx context.Context, j *job) error {
	steps := allSteps
	if j.test {
		steps = testSteps
	}
	if j.fresh && !j.test {
		if err := s.recordRotation(ctx, j, "RotationStarted", ""); err != nil {
			return s.release(ctx, j, err)
		}
	}
	for _, name := range steps[min(j.step, len(steps)):] {
		if name == rotation.SetSecret {
			if waits, err := s.waits(ctx, j); err != nil {
				return s.release(ctx, j, err)
			} else if waits {
				return nil
			}
		}
		err := s.workOn(ctx, j, func(tx store.Tx, x *secret, h *history, now time.Time) error {
			r := h.last()
			r.WaitsSince, r.WaitsFor = time.Time{}, ""
			r.Steps = append(r.Steps, step{Step: name, Attempt: r.Attempt, Started: now})
			r.Steps = r.Steps[max(0, len(r.Steps)-maxSteps):]
			return s.keepRun(tx, x, h, now.Add(lease))
		})
		if err != nil {
			return s.release(ctx, j, err)
		}
		reason := s.call(ctx, j, name)
		if ctx.Err() != nil {
			return s.release(ctx, j, ctx.Err())
		}
		if reason == nil {
			reason, err = s.stepDone(ctx, j)
		}
		if reason != nil && err == nil {
			return s.stepFailed(ctx, j, name, clean(spoken.Text(reason)))
		}
		if err != nil {
			return err
		}
	}
	return s.finish(ctx, j)
}

// call invokes the function, and keeps the claim meanwhile. Losing it ends the call.
func (s *Service) call(ctx context.Context, j *job, name string) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	renewed := make(chan struct{})
	go func() {
		defer close(renewed)
		ticker := time.NewTicker(lease / 3)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			err := s.workOn(ctx, j, func(tx store.Tx, x *secret, _ *history, now time.Time) error {
				return x.lookAt(tx, now.Add(lease))
			})
			if errors.Is(err, errLost) {
				cancel()
				return
			}
		}
	}()
	defer func() { cancel(); <-renewed }()
	defer func() {
		if p := recover(); p != nil {
			err = errors.New("the function panicked")
			s.log.ErrorContext(ctx, "a rotation function panicked", "arn", j.arn, "function", j.function, "step", name)
		}
	}()
	if s.functions == nil || !s.functions.Has(j.function) {
		return fmt.Errorf("there is no rotation function %s", j.function)
	}
	return s.functions.Invoke(ctx, j.function, rotation.Event{Step: name, SecretId: j.arn, ClientRequestToken: j.token, RotationToken: j.proof})
}

// workOn changes the run that j claims, if it still does.
func (s *Service) workOn(ctx context.Context, j *job, fn func(tx store.Tx, x *secret, h *history, now time.Time) error) error {
	now := s.timestamp()
	return s.store.Update(ctx, func(tx store.Tx) error {
		stored, err := s.secrets.Get(tx, j.path)
		if isAbsent(err) {
			return errLost
		}
		if err != nil {
			return err
		}
		if stored.arn != j.arn || !stored.Deletion.IsZero() || stored.Rotation == nil || stored.Rotation.Token != j.token {
			return errLost
		}
		x := stored.clone()
		x.Prepare()
		h, err := s.getHistory(tx, x)
		if err != nil {
			return err
		}
		if r := h.last(); r == nil || r.Claim != j.claim || !r.Ended.IsZero() {
			return errLost
		}
		if err := fn(tx, x, h, now); err != nil {
			return err
		}
		x.Prepare()
		if err := s.share(tx, x); err != nil {
			return err
		}
		return s.secrets.Put(tx, j.path, x)
	})
}

func (s *Service) keepRun(tx store.Tx, x *secret, h *history, at time.Time) error {
	if err := s.histories.Put(tx, x.historyPath(), h); err != nil {
		return err
	}
	return x.lookAt(tx, at)
}

// stepDone notes that a step succeeded. The last one has, when it made the version the
// current one: that is how AWS decides too.
func (s *Service) stepDone(ctx context.Context, j *job) (reason, err error) {
	err = s.workOn(ctx, j, func(tx store.Tx, x *secret, h *history, now time.Time) error {
		reason = nil
		r := h.last()
		st := &r.Steps[len(r.Steps)-1]
		if st.Step == rotation.FinishSecret {
			if c := x.holder(current); c == nil || c.ID != j.token {
				reason = fmt.Errorf("finishSecret ended without an error, but did not move AWSCURRENT to version %s", j.token)
				return nil
			}
		}
		st.end(now, succeeded, "")
		return s.keepRun(tx, x, h, now.Add(lease))
	})
	return reason, err
}

// stepFailed ends an attempt, and the run when it was the last one.
func (s *Service) stepFailed(ctx context.Context, j *job, name, reason string) error {
	var ended bool
	err := s.workOn(ctx, j, func(tx store.Tx, x *secret, h *history, now time.Time) error {
		r := h.last()
		r.Steps[len(r.Steps)-1].end(now, failed, reason)
		if ended = j.test || r.Attempt >= maxAttempts; ended {
			return s.endRun(tx, x, h, now, failed, name+": "+reason)
		}
		next := now.Add(backoff[r.Attempt-1])
		if ended = !r.Deadline.IsZero() && !next.Before(r.Deadline); ended {
			return s.endRun(tx, x, h, now, failed, name+": "+reason+" (the rotation window closes before another attempt)")
		}
		r.Attempt++
		r.Claim = ""
		return s.keepRun(tx, x, h, next)
	})
	if err != nil {
		return err
	}
	s.log.WarnContext(ctx, "rotation failed", "arn", j.arn, "function", j.function, "step", name, "reason", reason, "again", !ended)
	if j.test {
		return nil
	}
	return s.recordRotation(ctx, j, "RotationFailed", name+": "+reason)
}

// finish ends a run whose steps all succeeded.
func (s *Service) finish(ctx context.Context, j *job) error {
	err := s.workOn(ctx, j, func(tx store.Tx, x *secret, h *history, now time.Time) error {
		return s.endRun(tx, x, h, now, succeeded, "")
	})
	if err != nil || j.test {
		return err
	}
	s.log.InfoContext(ctx, "rotated", "arn", j.arn, "function", j.function)
	return s.recordRotation(ctx, j, "RotationSucceeded", "")
}

// release gives the run up, so that whoever looks next goes on with it at once, and
// returns why.
func (s *Service) release(ctx context.Context, j *job, why error) error {
	if errors.Is(why, errLost) {
		return why
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	err := s.workOn(ctx, j, func(tx store.Tx, x *secret, h *history, now time.Time) error {
		r := h.last()
		r.Claim = ""
		if n := len(r.Steps); n > 0 && r.Steps[n-1].Outcome == "" {
			r.Steps[n-1].end(now, interrupted, "malote ended meanwhile.")
		}
		return s.keepRun(tx, x, h, now.Add(look))
	})
	return errors.Join(why, err)
}

// recordRotation tells the audit what CloudTrail is told of rotations.
//
// AWS: Secrets Manager User Guide, "CloudTrail entries"
func (s *Service) recordRotation(ctx context.Context, j *job, name, reason string) error {
	if s.audit == nil {
		return nil
	}
	r := audit.Record{
		Time: s.now(), Event: true, Service: "secretsmanager", Name: name, Region: j.region,
		Principal: &caller.Principal{Type: caller.Service, Account: j.account, Service: "secretsmanager.amazonaws.com"},
		Resource:  j.arn, Account: j.account, Decision: policy.Decision{Allowed: true},
	}
	if reason != "" {
		r.ErrorCode, r.ErrorMessage = name, reason
	}
	if err := s.audit.Record(context.WithoutCancel(ctx), r); err != nil {
		return fmt.Errorf("recording %s: %w", name, err)
	}
	return nil
}
