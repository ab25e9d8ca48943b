package secretsmanager

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/malote/malote/store"
)

const (
	// lease is how long a control plane that works on a rotation may be silent before
	// another takes it over. Clocks of control planes on one store must differ by less.
	lease = time.Minute
	// atOnce is how many rotations one control plane does at the same time.
	atOnce = 16
	// look is how often the scheduler looks whether something is due: one read of a key.
	look = time.Second
	// maxAttempts is how often a rotation is tried before it has failed.
	maxAttempts = 5
)

// backoff is how long to wait after an attempt.
var backoff = [maxAttempts - 1]time.Duration{10 * time.Second, time.Minute, 5 * time.Minute, 15 * time.Minute}

// wakeScheduler has the scheduler of this process look at once.
func (s *Service) wakeScheduler() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// RunRotations rotates secrets as they fall due, until ctx ends, and returns when the
// functions that run then have ended. Any number of control planes on one store may run
// it: each rotation is done by one of them. What one leaves undone another takes up, under
// the same token and from the same step.
func RunRotations(ctx context.Context, s *Service) {
	scheduler := &scheduler{s: s, busy: map[string]bool{}}
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	for {
		if err := scheduler.start(ctx); err != nil && ctx.Err() == nil {
			s.log.ErrorContext(ctx, "looking for secrets to rotate failed", "err", err)
		}
		select {
		case <-ctx.Done():
			scheduler.running.Wait()
			return
		case <-s.wake:
		case <-ticker.C:
		}
	}
}

// scheduler is what one RunRotations knows.
type scheduler struct {
	s       *Service
	running sync.WaitGroup

	mu   sync.Mutex // guards busy
	busy map[string]bool
}

// start begins what is due and has room.
func (c *scheduler) start(ctx context.Context) error {
	paths, err := c.s.dueRotations(ctx, atOnce+c.count())
	if err != nil {
		return err
	}
	var errs []error
	for _, path := range paths {
		if !c.take(path) {
			continue
		}
		job, err := c.s.claim(ctx, path)
		if err != nil || job == nil {
			c.leave(path)
			errs = append(errs, err)
			continue
		}
		c.running.Go(func() {
			defer c.s.wakeScheduler() // there is room
			defer c.leave(path)
			if err := c.s.work(ctx, job); err != nil && !errors.Is(err, errLost) && ctx.Err() == nil {
				c.s.log.ErrorContext(ctx, "rotation was interrupted", "arn", job.arn, "err", err)
			}
		})
	}
	return errors.Join(errs...)
}

func (c *scheduler) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.busy)
}

func (c *scheduler) take(path string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.busy[path] || len(c.busy) >= atOnce {
		return false
	}
	c.busy[path] = true
	return true
}

func (c *scheduler) leave(path string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.busy, path)
}

// dueRotations returns the paths of secrets that the scheduler is to look at, n at most.
func (s *Service) dueRotations(ctx context.Context, n int) ([]string, error) {
	var paths []string
	limit := s.now().UnixMilli()
	err := s.store.View(ctx, func(tx store.Tx) error {
		paths = nil
		for entry, err := range tx.Scan(queuePrefix, "") {
			if err != nil {
				return err
			}
			parts := strings.SplitN(strings.TrimPrefix(entry.Key, queuePrefix), "/", 4)
			if len(parts) != 4 {
				return fmt.Errorf("secretsmanager: strange entry %q", entry.Key)
			}
			if at, err := strconv.ParseInt(parts[0], 10, 64); err != nil || at > limit || len(paths) == n {
				return err
			}
			paths = append(paths, secretPath(parts[1], parts[2], parts[3]))
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("looking for secrets to rotate: %w", err)
	}
	return paths, nil
}

// job is a run that this control plane has claimed.
type job struct {
	path, arn, account, region string
	claim                      string
	token, proof, function     string
	test                       bool
	fresh                      bool // it was not worked on before
	step                       int  // of steps, to begin with
}

// claim looks at a secret that the scheduler was led to. It returns nil when there is
// nothing to do for now, and has the scheduler led there again when there is.
func (s *Service) claim(ctx context.Context, path string) (*job, error) {
	var j *job
	claim := rand.Text()
	now := s.timestamp()
	err := s.store.Update(ctx, func(tx store.Tx) error {
		j = nil
		stored, err := s.secrets.Get(tx, path)
		if isAbsent(err) || err == nil && (stored.Rotation == nil || stored.Rotation.At.IsZero() || stored.Rotation.At.After(now)) {
			return nil // somebody else was here
		}
		if err != nil {
			return err
		}
		x := stored.clone()
		x.Prepare()
		j, err = s.claimRun(tx, x, claim, now)
		if err != nil {
			return err
		}
		if err := s.share(tx, x); err != nil {
			return err
		}
		return s.secrets.Put(tx, path, x)
	})
	if err != nil {
		return nil, fmt.Errorf("looking at a rotation: %w", err)
	}
	return j, nil
}

// claimRun takes the run in progress, or starts the one that is due.
func (s *Service) claimRun(tx store.Tx, x *secret, claim string, now time.Time) (*job, error) {
	r := x.Rotation
	if !x.Deletion.IsZero() {
		return nil, x.lookAt(tx, time.Time{}) // RestoreSecret goes on with it
	}
	if r.Token == "" {
		w, ok, err := r.window(now)
		if err != nil || !ok || w.Open.After(now) {
			return nil, errors.Join(err, x.plan(tx, now))
		}
		token := newToken()
		if x.unfinished() {
			token = x.holder(pending).ID // one that failed is attempted again
		}
		if err := s.startRun(tx, x, run{Token: token, Function: r.Function, Scheduled: true, Deadline: w.Close, Started: now}); err != nil {
			if !isAnswer(err) {
				return nil, err
			}
			return nil, x.planAfter(tx, now)
		}
	}
	h, err := s.getHistory(tx, x)
	if err != nil {
		return nil, err
	}
	current := h.last()
	if current == nil || current.Token != r.Token || !current.Ended.IsZero() {
		// Not by this program; but a secret must not be stuck for ever.
		r.Token, r.Proof = "", ""
		return nil, x.planAfter(tx, now)
	}
	switch {
	case !x.stands(current.Token):
		return nil, s.endRun(tx, x, h, now, failed, "Version "+current.Token+" is no longer labelled AWSPENDING.")
	case !current.Deadline.IsZero() && current.Attempt > 1 && len(current.resumed()) == 0 && now.After(current.Deadline):
		return nil, s.endRun(tx, x, h, now, failed, "The rotation window closed before it could be attempted again.")
	}
	if n := len(current.Steps); n > 0 && current.Steps[n-1].Outcome == "" {
		current.Steps[n-1].end(now, interrupted, "malote ended, or lost touch with the store, meanwhile.")
	}
	current.Claim = claim
	if err := s.histories.Put(tx, x.historyPath(), h); err != nil {
		return nil, err
	}
	j := &job{
		path: x.path(), arn: x.arn, account: x.Account, region: x.Region, claim: claim,
		token: current.Token, proof: r.Proof, function: current.Function, test: current.Test, fresh: len(current.Steps) == 0,
		step: len(current.resumed()),
	}
	return j, x.lookAt(tx, now.Add(lease))
}

// resumed returns the steps of the present attempt that are done.
func (r *run) resumed() []step {
	var done []step
	for _, st := range r.Steps {
		if st.Attempt == r.Attempt && st.Outcome == succeeded {
			done = append(done, st)
		}
	}
	return done
}

// newToken makes a version id as the SDKs do.
func newToken() string {
	var b [16]byte
	rand.Read(b[:])
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
