package secretsmanager

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/malote/malote/internal/ourtags"
	"github.com/malote/malote/store"
)

// Tasks are those that run with secrets.
type Tasks interface {
	// Holding returns the tasks that have not stopped and were given a version of one of
	// the secrets, one Holder for each version.
	Holding(ctx context.Context, arns []string) ([]Holder, error)
}

// Holder is a task that was given a version of a secret.
type Holder struct{ TaskARN, VersionID string }

// waitLook is how long until tasks are asked about again.
const waitLook = 5 * time.Second

// waits tells whether the run has to wait before setSecret, or has failed because it waited
// long enough, for tasks that hold a version that is neither the current one nor the one to
// be. Functions that alternate between two users change the password of the user who is not
// the current one's in setSecret, so these tasks would lose theirs.
func (s *Service) waits(ctx context.Context, j *job) (bool, error) {
	if j.test || s.tasks == nil {
		return false, nil
	}
	var x *secret
	err := s.store.View(ctx, func(tx store.Tx) (err error) {
		x, err = s.secrets.Get(tx, j.path)
		return err
	})
	if isAbsent(err) {
		return false, errLost
	}
	if err != nil {
		return false, err
	}
	wait := x.waitForTasks()
	if wait == 0 {
		return false, nil
	}
	keep := []string{j.token}
	if c := x.holder(current); c != nil {
		keep = append(keep, c.ID)
	}
	arns := []string{x.arn}
	for _, r := range x.Replicas {
		replica := &secret{Name: x.Name, Suffix: x.Suffix, Account: x.Account, Region: r.Region}
		replica.Prepare()
		arns = append(arns, replica.arn)
	}
	holders, err := s.tasks.Holding(ctx, arns)
	if err != nil {
		return false, fmt.Errorf("looking for tasks that hold %s: %w", j.arn, err)
	}
	holders = slices.DeleteFunc(holders, func(h Holder) bool { return slices.Contains(keep, h.VersionID) })
	if len(holders) == 0 {
		return false, nil
	}
	reason := heldBy(holders)
	var ended bool
	err = s.workOn(ctx, j, func(tx store.Tx, x *secret, h *history, now time.Time) error {
		r := h.last()
		if r.WaitsSince.IsZero() {
			r.WaitsSince = now
		}
		until := r.WaitsSince.Add(wait)
		if ended = !now.Before(until); ended {
			return s.endRun(tx, x, h, now, failed, fmt.Sprintf("setSecret was not called: after %s %s", wait, reason))
		}
		r.Claim, r.WaitsFor = "", reason
		return s.keepRun(tx, x, h, earlier(now.Add(waitLook), until))
	})
	if err != nil {
		return false, err
	}
	if !ended {
		return true, nil
	}
	s.log.WarnContext(ctx, "rotation failed", "arn", j.arn, "function", j.function, "reason", reason)
	return true, s.recordRotation(ctx, j, "RotationFailed", reason)
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// heldBy names three of the holders.
func heldBy(holders []Holder) string {
	tasks := map[string]bool{}
	var named []string
	for _, h := range holders {
		if tasks[h.TaskARN] = true; len(named) < 3 {
			named = append(named, h.TaskARN+" (version "+h.VersionID+")")
		}
	}
	who := fmt.Sprintf("%d tasks hold", len(tasks))
	if len(tasks) == 1 {
		who = "a task holds"
	}
	more := ""
	if len(holders) > len(named) {
		more = " and others"
	}
	return who + " a version that is not the current one: " + strings.Join(named, ", ") + more
}

// waitForTasks is how long the secret's tag asks its rotations to wait for tasks.
func (x *secret) waitForTasks() time.Duration {
	for _, t := range x.Tags {
		if t.Key == ourtags.WaitForTasks {
			d, _ := ourtags.Wait(t.Value) // one that was stored before there was this tag asks for nothing
			return d
		}
	}
	return 0
}
