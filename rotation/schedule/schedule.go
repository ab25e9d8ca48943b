// Package schedule says when a secret is to be rotated: the rate() and cron() expressions
// of Secrets Manager, and the window that opens then.
//
// It promises: what Parse accepts has a next window for ever, and no window reaches into
// the one after it. All times are UTC. It knows no secret and no clock.
//
// cron() is not the cron of Unix: days of the week are 1 to 7 from Sunday, the minute is 0,
// the year is *, and one of the two fields for days is ?. The libraries for cron read the
// first of these otherwise, or guess at what they cannot read.
//
// AWS: Secrets Manager User Guide, "Rotation schedules"
package schedule

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/malote/malote/internal/lazyregexp"
)

// Window is when a rotation may begin: from Open until before Close.
type Window struct{ Open, Close time.Time }

const (
	day        = 24 * time.Hour
	leastHours = 4   // between two rotations
	mostDays   = 999 // of a rate
)

// Schedule is when to rotate.
type Schedule struct {
	days, hours int   // of a rate; one of them, or cron
	cron        *cron //
	length      time.Duration
}

// Every is a rotation every so many days, as AutomaticallyAfterDays says it.
func Every(days int) *Schedule { return &Schedule{days: days} }

var rate = lazyregexp.New(`^rate\( *([0-9]{1,9}) +(hours?|days?) *\)$`)

// Parse reads "rate(10 days)", "rate(4 hours)" or "cron(0 16 1,15 * ? *)".
func Parse(expression string) (*Schedule, error) {
	if parts := rate.FindStringSubmatch(expression); parts != nil {
		n, err := strconv.Atoi(parts[1])
		switch hours := strings.HasPrefix(parts[2], "hour"); {
		case err != nil || n == 0:
			return nil, fmt.Errorf("rate(%s %s): the value must be a positive integer", parts[1], parts[2])
		case hours && n < leastHours:
			return nil, fmt.Errorf("rate(%s %s): a secret can be rotated every %d hours at most often", parts[1], parts[2], leastHours)
		case hours && n > mostDays*24 || !hours && n > mostDays:
			return nil, fmt.Errorf("rate(%s %s): the longest period is %d days", parts[1], parts[2], mostDays)
		case hours:
			return &Schedule{hours: n}, nil
		default:
			return &Schedule{days: n}, nil
		}
	}
	fields, found := strings.CutPrefix(expression, "cron(")
	if found {
		fields, found = strings.CutSuffix(fields, ")")
	}
	if !found {
		return nil, fmt.Errorf("%q is neither rate(Value Unit), with Unit hour, hours, day or days, nor cron(Minutes Hours Day-of-month Month Day-of-week Year)", expression)
	}
	c, err := parseCron(fields)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", expression, err)
	}
	s := &Schedule{cron: c}
	if s.gap() < leastHours*time.Hour {
		return nil, fmt.Errorf("%s: a secret can be rotated every %d hours at most often", expression, leastHours)
	}
	return s, nil
}

var duration = lazyregexp.New(`^[0-9]{1,2}h$`)

// Within returns s with windows of a length like "3h"; "" means AWS's own: one hour when
// s is in hours, and until the end of the day otherwise.
func (s *Schedule) Within(length string) (*Schedule, error) {
	if length == "" {
		return s, nil
	}
	n, err := strconv.Atoi(strings.TrimSuffix(length, "h"))
	if err != nil || !duration.MatchString(length) || n == 0 {
		return nil, fmt.Errorf("%q is not a number of hours such as 3h", length)
	}
	d := *s
	d.length = time.Duration(n) * time.Hour
	switch {
	case d.inHours() && d.length > d.gap():
		return nil, fmt.Errorf("a window of %s reaches into the next one, which opens %d hours later", length, d.gap()/time.Hour)
	case !d.inHours() && d.opens()+d.length > day:
		return nil, fmt.Errorf("a window of %s that opens at %d:00 reaches into the next UTC day", length, d.opens()/time.Hour)
	}
	return &d, nil
}

// inHours reports a schedule that may rotate more than once a day.
func (s *Schedule) inHours() bool { return s.hours > 0 || s.cron != nil && len(s.cron.hours) > 1 }

// opens is the time of day of the windows of a schedule in days.
func (s *Schedule) opens() time.Duration {
	if s.cron == nil {
		return 0
	}
	return time.Duration(s.cron.hours[0]) * time.Hour
}

// gap is the least time between two openings.
func (s *Schedule) gap() time.Duration {
	switch {
	case s.hours > 0:
		return time.Duration(s.hours) * time.Hour
	case s.days > 0:
		return time.Duration(s.days) * day
	}
	return s.cron.gap()
}

func (s *Schedule) window(open time.Time) Window {
	switch {
	case s.length > 0:
		return Window{open, open.Add(s.length)}
	case s.inHours():
		return Window{open, open.Add(time.Hour)}
	}
	return Window{open, open.Truncate(day).Add(day)}
}

// Next is the window in which to rotate what was last rotated, or first given this
// schedule, at last; it is not over at now. A rate whose window was missed takes the next
// day, or hour, there is; cron() waits for its next time.
func (s *Schedule) Next(last, now time.Time) Window {
	last, now = last.UTC(), now.UTC()
	if s.cron != nil {
		after := last
		for {
			w := s.window(s.cron.next(after))
			if w.Close.After(now) {
				return w
			}
			after = w.Open
			if skip := now.Add(-2 * day); after.Before(skip) { // windows are shorter than a day
				after = skip
			}
		}
	}
	unit, n := day, s.days
	if s.hours > 0 {
		unit, n = time.Hour, s.hours
	}
	w := s.window(last.Truncate(unit).Add(time.Duration(n) * unit))
	if !w.Close.After(now) {
		w = s.window(now.Truncate(unit))
	}
	if !w.Close.After(now) {
		w = s.window(now.Truncate(unit).Add(unit))
	}
	return w
}

// Days is the number of days, at least one, between rotations, as DescribeSecret tells it
// after a rotation at now.
func (s *Schedule) Days(now time.Time) int64 {
	switch {
	case s.days > 0:
		return int64(s.days)
	case s.hours > 0:
		return max(1, int64(s.hours)/24)
	}
	first := s.cron.next(now)
	return max(1, int64(s.cron.next(first).Sub(first)/day))
}
