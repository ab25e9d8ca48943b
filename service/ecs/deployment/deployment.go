// Package deployment decides what brings an ECS service's tasks nearer to what was asked of
// it: how many to start, which to stop. It is pure: what is seen goes in, what to do comes out.
//
// It promises that no plan takes the healthy tasks below the minimumHealthyPercent by its own
// doing, nor the tasks above the maximumPercent, and that plans carried out one after the
// other end in exactly the tasks that were asked for. It knows no store, no clock and no host.
package deployment

import (
	"cmp"
	"slices"
	"time"
)

// Phase is where a task is in its life, as a service sees it.
type Phase int

// Gone tasks are not told of.
const (
	Pending   Phase = iota // it does not run yet
	Starting               // it runs, and has not shown yet that it is well
	Healthy                // it runs and counts
	Unhealthy              // its health check says so
	Stopping               // it was told to stop, and still holds its place
)

// Task is one task of a service.
type Task struct {
	ID    string
	Host  string
	Phase Phase
	// Outdated tasks are to be replaced: they are of an earlier deployment, or their host
	// is draining.
	Outdated bool
	// Protected tasks are not stopped to scale in or to deploy.
	Protected bool
	Started   time.Time // newer tasks are the first to go
}

// State is what is asked of a service and what it has.
type State struct {
	Desired                 int // of a REPLICA service
	MinimumHealthy, Maximum int // percent
	// Halted deployments start nothing: the circuit breaker opened, or it is too early
	// after a failure.
	Halted bool
	// Failed deployments stop nothing either, so that what runs keeps serving.
	Failed bool
	// Unplaced is how many tasks found no host last time: old ones make room.
	Unplaced int
	Tasks    []Task
	// Hosts are those that a DAEMON service has a task on; nil for REPLICA.
	Hosts  []string
	Daemon bool
}

// Plan is what to do next.
type Plan struct {
	Start int      // tasks of the PRIMARY deployment
	On    []string // the hosts that they go to: DAEMON only, Start of them
	Stop  []Task
	// Stuck tells that the percentages allow neither a start nor a stop.
	Stuck bool
}

// Floor is how many tasks must stay healthy, Ceiling how many there may be, as
// "minimumHealthyPercent" and "maximumPercent" of DeploymentConfiguration say.
func Floor(desired, percent int) int   { return (desired*percent + 99) / 100 }
func Ceiling(desired, percent int) int { return desired * percent / 100 }

// Threshold is how many failures in a row open the circuit breaker.
func Threshold(desired int) int { return min(max((desired+1)/2, 3), 200) }

// longestDelay is what "Service throttle logic" states.
const longestDelay = 15 * time.Minute

// Delay is how long to wait after so many failed launches in a row.
func Delay(failures int) time.Duration {
	if failures < 1 {
		return 0
	}
	if failures > 10 {
		return longestDelay
	}
	return min(time.Second<<(failures-1), longestDelay)
}

// Decide makes a plan.
func Decide(s *State) Plan {
	if s.Daemon {
		return daemon(s)
	}
	var current, old, sick []Task
	healthy, alive := 0, 0
	for _, t := range s.Tasks {
		if t.Phase == Stopping {
			continue
		}
		alive++
		if t.Phase == Healthy {
			healthy++
		}
		switch {
		case t.Outdated:
			old = append(old, t)
		case t.Phase == Unhealthy:
			sick = append(sick, t)
		default:
			current = append(current, t)
		}
	}
	floor, ceiling := Floor(s.Desired, s.MinimumHealthy), Ceiling(s.Desired, s.Maximum)
	var p Plan
	stop := func(t Task) {
		p.Stop = append(p.Stop, t)
		alive--
		if t.Phase == Healthy {
			healthy--
		}
	}

	if s.Failed {
		// What is beyond the ceiling goes, which a smaller desiredCount asks for.
		for _, t := range expendable(slices.Concat(sick, current, old)) {
			if alive <= ceiling {
				break
			}
			stop(t)
		}
		return p
	}

	// Scaling in: what is more than wanted of the new goes, the least useful first.
	for _, t := range expendable(current) {
		if len(current)-len(p.Stop) <= s.Desired {
			break
		}
		stop(t)
	}
	wanted := s.Desired - (len(current) - len(p.Stop))
	room := max(ceiling-alive, 0)

	// The old go as the new come. When there is no room for the new, the old make it,
	// and so they do when no host had any.
	replaced := 0 // how many of the new need none of the old any more
	for _, t := range current {
		if t.Phase == Healthy {
			replaced++
		}
	}
	keep := max(s.Desired-replaced, 0)
	lacking := max(wanted-room, min(s.Unplaced, wanted), 0)
	if s.Halted && wanted > 0 {
		lacking = 0 // the room would stay empty
	}
	// An unhealthy task serves nobody. It goes when its replacement is there, or when there
	// is no room for one.
	for _, t := range expendable(sick) {
		switch {
		case replaced >= s.Desired:
		case lacking > 0 && wanted > 0:
			lacking--
		default:
			continue
		}
		stop(t)
	}
	// An old task that has only just started may well serve already.
	fresh := 0
	for _, t := range old {
		if t.Phase == Starting {
			fresh++
		}
	}
	left := len(old)
	for _, t := range expendable(old) {
		serves := t.Phase == Healthy || t.Phase == Starting
		switch {
		case t.Phase == Healthy && healthy <= floor && s.Desired > 0,
			t.Phase == Starting && healthy+fresh <= floor && s.Desired > 0:
			continue
		case left > keep:
		case lacking > 0:
			lacking--
		case !serves && !s.Halted:
			// It may still become healthy, but nobody waits for it.
		default:
			continue
		}
		left--
		if t.Phase == Starting {
			fresh--
		}
		stop(t)
	}
	if !s.Halted {
		p.Start = max(min(wanted, ceiling-alive), 0)
	}
	p.Stuck = !s.Halted && wanted > 0 && p.Start == 0 && len(p.Stop) == 0 &&
		!slices.ContainsFunc(s.Tasks, func(t Task) bool { return t.Phase == Pending || t.Phase == Starting || t.Phase == Stopping })
	return p
}

// expendable is tasks that may be stopped, in the order in which they are missed least.
func expendable(tasks []Task) []Task {
	usable := slices.DeleteFunc(slices.Clone(tasks), func(t Task) bool { return t.Protected })
	on := map[string]int{}
	for _, t := range tasks {
		on[t.Host]++
	}
	order := map[Phase]int{Unhealthy: 0, Pending: 1, Starting: 2, Healthy: 3}
	slices.SortStableFunc(usable, func(a, b Task) int {
		return cmp.Or(
			cmp.Compare(order[a.Phase], order[b.Phase]),
			cmp.Compare(on[b.Host], on[a.Host]), // the fullest host first
			b.Started.Compare(a.Started),
			cmp.Compare(a.ID, b.ID),
		)
	})
	return usable
}

// daemon has one task on each host: the old one stops before the new one starts.
func daemon(s *State) Plan {
	hosts := map[string][]Task{}
	for _, h := range s.Hosts {
		hosts[h] = nil
	}
	healthy := 0
	for _, t := range s.Tasks {
		if t.Phase == Healthy {
			healthy++
		}
		hosts[t.Host] = append(hosts[t.Host], t)
	}
	floor := Floor(len(s.Hosts), s.MinimumHealthy)
	var p Plan
	names := make([]string, 0, len(hosts))
	for h := range hosts {
		names = append(names, h)
	}
	slices.Sort(names)
	waiting := false
	for _, h := range names {
		wanted := slices.Contains(s.Hosts, h)
		kept := false
		for _, t := range hosts[h] {
			switch {
			case t.Phase == Stopping:
				waiting = true
				continue
			case wanted && !kept && !t.Outdated && t.Phase != Unhealthy, t.Protected, s.Failed && wanted,
				wanted && s.Halted && t.Phase != Unhealthy:
				kept = true
				waiting = waiting || t.Phase != Healthy
				continue
			case wanted && t.Phase == Healthy && healthy <= floor:
				kept = true
				continue
			}
			if t.Phase == Healthy {
				healthy--
			}
			p.Stop = append(p.Stop, t)
		}
		if wanted && len(hosts[h]) == 0 && !s.Halted && !s.Failed {
			p.On = append(p.On, h)
		}
	}
	p.Start = len(p.On)
	p.Stuck = p.Start == 0 && len(p.Stop) == 0 && !waiting && !s.Halted && !s.Failed &&
		slices.ContainsFunc(s.Tasks, func(t Task) bool { return t.Outdated && !t.Protected })
	return p
}
