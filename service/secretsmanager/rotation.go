package secretsmanager

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"fmt"
	"net/url"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/malote/malote/rotation"
	"github.com/malote/malote/rotation/schedule"
	"github.com/malote/malote/store"
)

// Functions are the functions that rotate secrets, by the ARN of a Lambda function.
type Functions interface {
	Has(arn string) bool
	// Invoke calls a function for a secret. What it returns as an error is kept in the
	// secret's history and in the audit.
	Invoke(ctx context.Context, function string, event rotation.Event) error
}

// rotating is how a secret is rotated, from the first RotateSecret on.
//
// Invariants: At is not zero exactly while there is an entry in the queue of the scheduler
// (see queuePath); Token is not "" exactly while the last run of the history has not ended.
type rotating struct {
	Enabled  bool      `json:",omitempty"`
	Function string    // the ARN
	Rules    rules     `json:",omitzero"`
	Since    time.Time // the last change of the current value or of the schedule: the next window follows
	Rotated  time.Time `json:",omitzero"`  // LastRotatedDate
	Next     time.Time `json:",omitzero"`  // NextRotationDate
	At       time.Time `json:",omitzero"`  // when the scheduler looks next
	Token    string    `json:",omitempty"` // of the run in progress
	Proof    string    `json:",omitempty"` // RotationToken: who has it was called by that run
}

// proves tells whether a RotationToken is of the run that makes the version.
func (r *rotating) proves(rotationToken, version string) bool {
	return r != nil && r.Proof != "" && r.Token == version && subtle.ConstantTimeCompare([]byte(rotationToken), []byte(r.Proof)) == 1
}

// rules are RotationRules. Days is told of a Schedule too, after it was rotated by it.
type rules struct {
	Days     int64  `json:",omitempty"`
	Schedule string `json:",omitempty"`
	Duration string `json:",omitempty"`
}

// newRules reads RotationRules.
func newRules(in *types.RotationRulesType) (rules, error) {
	r := rules{Days: aws.ToInt64(in.AutomaticallyAfterDays), Schedule: aws.ToString(in.ScheduleExpression), Duration: aws.ToString(in.Duration)}
	switch {
	case r.Days != 0 && r.Schedule != "":
		return r, invalidParameter("You cannot specify both rotation frequency and schedule expression together.")
	case r.Days == 0 && r.Schedule == "":
		return r, invalidParameter("RotationRules must have either AutomaticallyAfterDays or ScheduleExpression.")
	}
	if r.Schedule != "" {
		if _, err := schedule.Parse(r.Schedule); err != nil {
			return r, invalidParameter("The ScheduleExpression is not valid: %v.", err)
		}
	}
	if _, err := r.schedule(); err != nil {
		return r, invalidParameter("The Duration is not valid: %v.", err)
	}
	return r, nil
}

// schedule is what the rules mean, nil without any.
func (r rules) schedule() (*schedule.Schedule, error) {
	s := schedule.Every(int(r.Days))
	switch {
	case r.Schedule != "":
		var err error
		if s, err = schedule.Parse(r.Schedule); err != nil {
			return nil, err
		}
	case r.Days == 0:
		return nil, nil
	}
	return s.Within(r.Duration)
}

// window is when the secret is to be rotated next; ok is false when it is not.
func (r *rotating) window(now time.Time) (w schedule.Window, ok bool, err error) {
	if !r.Enabled {
		return w, false, nil
	}
	s, err := r.Rules.schedule()
	if err != nil || s == nil {
		return w, false, err
	}
	return s.Next(r.Since, now), true, nil
}

// history is what became of the rotations of a secret, oldest first. It is a record of its
// own: requests for the secret do not read it.
type history struct{ Runs []run }

const (
	maxRuns  = 20 // of a history
	maxSteps = 60 // of a run, the youngest
)

// What became of a run or of a step.
const (
	succeeded   = "Succeeded"
	failed      = "Failed"
	cancelled   = "Cancelled"
	interrupted = "Interrupted" // a step alone: malote ended meanwhile, and does it again
)

// run is one rotation, or the test of a configuration, with all its attempts.
type run struct {
	Token     string
	Function  string
	Test      bool      `json:",omitempty"` // testSecret alone, on a copy of the current value
	Scheduled bool      `json:",omitempty"`
	Deadline  time.Time `json:",omitzero"` // no attempt begins after it: the end of the window
	Started   time.Time
	Ended     time.Time `json:",omitzero"`
	Outcome   string    `json:",omitempty"`
	Reason    string    `json:",omitempty"`
	Attempt   int       // from 1
	Claim     string    `json:",omitempty"` // of the control plane that works on it
	Steps     []step    `json:",omitempty"`
	// WaitsSince is since when setSecret waits for tasks; WaitsFor says for which.
	WaitsSince time.Time `json:",omitzero"`
	WaitsFor   string    `json:",omitempty"`
}

// step is one call of the function.
type step struct {
	Step    string
	Attempt int
	Started time.Time
	Ended   time.Time `json:",omitzero"`
	Outcome string    `json:",omitempty"`
	Reason  string    `json:",omitempty"`
}

// clone returns a copy to change.
func (h *history) clone() *history {
	c := &history{slices.Clone(h.Runs)}
	for i := range c.Runs {
		c.Runs[i].Steps = slices.Clone(c.Runs[i].Steps)
	}
	return c
}

// last is the youngest run, or nil.
func (h *history) last() *run {
	if len(h.Runs) == 0 {
		return nil
	}
	return &h.Runs[len(h.Runs)-1]
}

// of is the youngest run called token, or nil.
func (h *history) of(token string) *run {
	for i := len(h.Runs) - 1; i >= 0; i-- {
		if h.Runs[i].Token == token {
			return &h.Runs[i]
		}
	}
	return nil
}

func (h *history) add(r run) *run {
	h.Runs = append(h.Runs, r)
	h.Runs = h.Runs[max(0, len(h.Runs)-maxRuns):]
	return h.last()
}

// end ends a run and, where it was, its last step.
func (r *run) end(now time.Time, outcome, reason string) {
	r.Ended, r.Outcome, r.Reason, r.Claim = now, outcome, reason, ""
	if n := len(r.Steps); n > 0 && r.Steps[n-1].Outcome == "" {
		r.Steps[n-1].end(now, interrupted, reason)
	}
}

func (st *step) end(now time.Time, outcome, reason string) {
	st.Ended, st.Outcome, st.Reason = now, outcome, reason
}

// historyPath is where the history is; like the path of a value, it is of one secret alone.
func (x *secret) historyPath() string {
	return root + x.Account + "/" + x.Region + "/rotations/" + url.PathEscape(x.Name+"-"+x.Suffix)
}

const queuePrefix = root + "rotate/"

// queuePath is the entry that leads the scheduler to the secret. Entries sort by time.
func (x *secret) queuePath() string {
	return queuePrefix + fmt.Sprintf("%020d/", x.Rotation.At.UnixMilli()) + x.Account + "/" + x.Region + "/" + x.Name
}

// lookAt has the scheduler look at the secret at a time, or never if that is zero.
func (x *secret) lookAt(tx store.Tx, at time.Time) error {
	r := x.Rotation
	at = at.UTC().Truncate(time.Millisecond)
	if r.At.Equal(at) {
		return nil
	}
	if !r.At.IsZero() {
		if err := tx.Delete(x.queuePath()); err != nil {
			return err
		}
	}
	if r.At = at; at.IsZero() {
		return nil
	}
	return tx.Put(x.queuePath(), []byte{1})
}

// plan says when the secret is rotated next, unless it is being rotated.
func (x *secret) plan(tx store.Tx, now time.Time) error {
	r := x.Rotation
	if r == nil {
		return nil
	}
	w, ok, err := r.window(now)
	if err != nil {
		return fmt.Errorf("the rotation rules of %s: %w", x.arn, err)
	}
	r.Next = time.Time{}
	if ok {
		// AWS tells the last second of the window.
		r.Next = w.Close.Add(-time.Second)
	}
	switch {
	case r.Token != "":
		return nil
	case !ok || !x.Deletion.IsZero():
		return x.lookAt(tx, time.Time{})
	}
	return x.lookAt(tx, w.Open)
}

// planAfter is plan for a secret whose rotation failed: what is left of a window that is
// open is not for another.
func (x *secret) planAfter(tx store.Tx, now time.Time) error {
	w, ok, err := x.Rotation.window(now)
	if err == nil && ok && !w.Open.After(now) {
		now = w.Close
	}
	return x.plan(tx, now)
}

// revalued notes that the current value is another: that counts as a rotation.
//
// AWS: API_RotationRulesType, AutomaticallyAfterDays
func (x *secret) revalued(tx store.Tx, now time.Time) error {
	if x.Rotation == nil {
		return nil
	}
	x.Rotation.Since = now
	return x.plan(tx, now)
}

// unfinished reports whether AWSPENDING is on a version that is to become the current one.
// A value that was made current after it says that nobody waits for it any more.
func (x *secret) unfinished() bool {
	p, c := x.holder(pending), x.holder(current)
	return p != nil && (c == nil || c.ID != p.ID && !p.Created.Before(c.Created))
}

// getHistory reads what there is to change.
func (s *Service) getHistory(tx store.Tx, x *secret) (*history, error) {
	h, err := s.histories.Get(tx, x.historyPath())
	if isAbsent(err) {
		return new(history), nil
	}
	if err != nil {
		return nil, err
	}
	return h.clone(), nil
}

// startRun gives the secret a version without a value that is AWSPENDING, unless the
// version called token is that already, and has the scheduler call function.
func (s *Service) startRun(tx store.Tx, x *secret, r run) error {
	h, err := s.getHistory(tx, x)
	if err != nil {
		return err
	}
	if was := h.last(); was != nil && was.Ended.IsZero() {
		was.end(r.Started, cancelled, "Another rotation took its place.")
	}
	if x.version(r.Token) == nil {
		x.Versions = append(x.Versions, version{ID: r.Token, Created: r.Started})
	}
	x.attach(pending, r.Token)
	if x.labels() > maxLabels {
		return limitExceeded("The versions of secret %s can't have more than %d staging labels.", x.arn, maxLabels)
	}
	for _, id := range x.prune(r.Started) {
		if err := s.values.Delete(tx, x.valuePath(id)); err != nil {
			return err
		}
	}
	r.Attempt = 1
	h.add(r)
	x.Rotation.Token, x.Rotation.Proof = r.Token, rand.Text()+rand.Text()
	if err := s.histories.Put(tx, x.historyPath(), h); err != nil {
		return err
	}
	return x.lookAt(tx, r.Started)
}

// endRun ends the run in progress.
func (s *Service) endRun(tx store.Tx, x *secret, h *history, now time.Time, outcome, reason string) error {
	r := h.last()
	r.end(now, outcome, reason)
	x.Rotation.Token, x.Rotation.Proof = "", ""
	if r.Test {
		if err := s.dropVersion(tx, x, r.Token); err != nil {
			return err
		}
	}
	if outcome == succeeded && !r.Test {
		x.Rotation.Rotated, x.Rotation.Since, x.Changed = now, now, now
		if sched, err := x.Rotation.Rules.schedule(); err == nil && sched != nil {
			x.Rotation.Rules.Days = sched.Days(now)
		}
	}
	if err := s.histories.Put(tx, x.historyPath(), h); err != nil {
		return err
	}
	if outcome == failed && !r.Test {
		return x.planAfter(tx, now)
	}
	return x.plan(tx, now)
}

// dropVersion takes away the version that a test was made on, unless somebody made it the
// current one.
func (s *Service) dropVersion(tx store.Tx, x *secret, id string) error {
	v := x.version(id)
	if v == nil || slices.Contains(v.Stages, current) || slices.Contains(v.Stages, previous) {
		return nil
	}
	x.Versions = slices.DeleteFunc(x.Versions, func(v version) bool { return v.ID == id })
	return s.values.Delete(tx, x.valuePath(id))
}
