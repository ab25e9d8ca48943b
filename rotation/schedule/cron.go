package schedule

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// cron is what cron() says. A day counts when one of its rules for days holds.
type cron struct {
	hours     []int // ascending, at least one
	months    [13]bool
	days      [32]bool // of the month
	lastDay   bool     // of the month
	weekdays  [7]bool  // from Sunday
	nth       [7][6]bool
	lastOfDay [7]bool // the last Friday of the month
}

var (
	monthNames = []string{"", "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"}
	dayNames   = []string{"", "SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"}
)

// parseCron reads what is between the parentheses.
func parseCron(text string) (*cron, error) {
	fields := strings.Fields(text)
	if len(fields) != 6 {
		return nil, fmt.Errorf("%d fields, want 6: Minutes Hours Day-of-month Month Day-of-week Year", len(fields))
	}
	dom, dow := fields[2], fields[4]
	switch {
	case fields[0] != "0":
		return nil, fmt.Errorf("Minutes is %q: it must be 0, since windows open on the hour", fields[0])
	case fields[5] != "*":
		return nil, fmt.Errorf("Year is %q: it must be *", fields[5])
	case (dom == "?") == (dow == "?"):
		return nil, fmt.Errorf("Day-of-month is %q and Day-of-week is %q: exactly one of them must be ?", dom, dow)
	}
	c := new(cron)
	var hours [24]bool
	if err := list("Hours", fields[1], 0, 23, nil, func(n int) { hours[n] = true }, nil); err != nil {
		return nil, err
	}
	for hour, on := range hours {
		if on {
			c.hours = append(c.hours, hour)
		}
	}
	if err := list("Month", fields[3], 1, 12, monthNames, func(n int) { c.months[n] = true }, nil); err != nil {
		return nil, err
	}
	var err error
	if dom != "?" {
		err = list("Day-of-month", dom, 1, 31, nil, func(n int) { c.days[n] = true }, func(item string) bool {
			c.lastDay = c.lastDay || item == "L"
			return item == "L"
		})
	} else {
		err = list("Day-of-week", dow, 1, 7, dayNames, func(n int) { c.weekdays[n-1] = true }, c.special)
	}
	if err != nil {
		return nil, err
	}
	if _, ok := c.find(epoch); !ok {
		return nil, errors.New("there is no such day")
	}
	return c, nil
}

// special reads what only Day-of-week has: L for Saturday, 6L for the last Friday of the
// month, 6#2 for the second.
func (c *cron) special(item string) bool {
	if item == "L" {
		c.weekdays[6] = true
		return true
	}
	if text, found := strings.CutSuffix(item, "L"); found {
		n, ok := number(text, 1, 7, dayNames)
		if ok {
			c.lastOfDay[n-1] = true
		}
		return ok
	}
	text, nth, found := strings.Cut(item, "#")
	n, ok := number(text, 1, 7, dayNames)
	k, known := number(nth, 1, 5, nil)
	if !found || !ok || !known {
		return false
	}
	c.nth[n-1][k] = true
	return true
}

// list reads items like 4, 1-5, */2, 4/12 or MON, set for each number that they mean, and
// whatever special takes.
func list(field, text string, low, high int, names []string, set func(int), special func(string) bool) error {
	for item := range strings.SplitSeq(text, ",") {
		if special != nil && special(item) {
			continue
		}
		bounds, step, stepped := strings.Cut(item, "/")
		from, to, every := low, high, 1
		ok := true
		if bounds != "*" {
			first, last, ranged := strings.Cut(bounds, "-")
			from, ok = number(first, low, high, names)
			switch {
			case ranged && ok:
				to, ok = number(last, low, high, names)
			case !stepped:
				to = from
			}
		}
		if stepped && ok {
			every, ok = number(step, 1, high, nil)
		}
		if !ok || from > to {
			return fmt.Errorf("%s has %q: want numbers from %d to %d, as in 1,3 or 1-5 or 2/6, or *", field, item, low, high)
		}
		for n := from; n <= to; n += every {
			set(n)
		}
	}
	return nil
}

func number(text string, low, high int, names []string) (int, bool) {
	for n, name := range names {
		if name != "" && strings.EqualFold(name, text) {
			return n, true
		}
	}
	if text == "" || len(text) > 2 || strings.Trim(text, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.Atoi(text)
	return n, err == nil && n >= low && n <= high
}

// on reports whether the day that begins at midnight counts.
func (c *cron) on(midnight time.Time) bool {
	_, month, date := midnight.Date()
	weekday := midnight.Weekday()
	left := daysIn(midnight) - date // days left in the month
	return c.months[month] && (c.days[date] || c.lastDay && left == 0 ||
		c.weekdays[weekday] || c.nth[weekday][(date+6)/7] || c.lastOfDay[weekday] && left < 7)
}

func daysIn(t time.Time) int {
	year, month, _ := t.Date()
	return time.Date(year, month+1, 0, 0, 0, 0, 0, time.UTC).Day()
}

// farthest is how many days there are at most until a day that there is: a fifth Sunday of
// February comes once in 28 years, or in 40 across a century.
const farthest = 41 * 366

// find returns the first time after t.
func (c *cron) find(t time.Time) (time.Time, bool) {
	midnight := t.UTC().Truncate(day)
	for range farthest {
		if c.on(midnight) {
			for _, hour := range c.hours {
				if at := midnight.Add(time.Duration(hour) * time.Hour); at.After(t) {
					return at, true
				}
			}
		}
		midnight = midnight.Add(day)
	}
	return time.Time{}, false
}

// next is find for what parseCron let through.
func (c *cron) next(t time.Time) time.Time {
	at, ok := c.find(t)
	if !ok {
		panic("schedule: a cron expression that ends")
	}
	return at
}

// epoch begins the stretch of time that gap looks at, which has a leap day.
var epoch = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC).Add(-time.Second)

// gap is the least time between two times of a year.
func (c *cron) gap() time.Duration {
	least := 366 * day
	for at := c.next(epoch); at.Before(epoch.Add(400 * day)); {
		next := c.next(at)
		least = min(least, next.Sub(at))
		if least <= time.Hour {
			break
		}
		at = next
	}
	return least
}
