package schedule_test

import (
	"strings"
	"testing"
	"time"

	"github.com/malote/malote/rotation/schedule"
)

func at(t testing.TB, text string) time.Time {
	t.Helper()
	parsed, err := time.Parse("2006-01-02 15:04", text)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

func TestNext(t *testing.T) {
	t.Parallel()
	// 2026-01-01 is a Thursday.
	for _, tt := range []struct{ expression, length, last, now, open, close string }{
		{"rate(10 days)", "", "2026-01-01 13:30", "2026-01-01 13:30", "2026-01-11 00:00", "2026-01-12 00:00"},
		{"rate(1 day)", "3h", "2026-01-01 13:30", "2026-01-01 13:30", "2026-01-02 00:00", "2026-01-02 03:00"},
		{"rate(4 hours)", "", "2026-01-01 13:30", "2026-01-01 13:30", "2026-01-01 17:00", "2026-01-01 18:00"},
		{"rate(12 hours)", "2h", "2026-01-01 23:59", "2026-01-02 00:00", "2026-01-02 11:00", "2026-01-02 13:00"},
		// Missed: the day that is, if its window is still open, or the one after.
		{"rate(10 days)", "", "2026-01-01 13:30", "2026-02-05 08:00", "2026-02-05 00:00", "2026-02-06 00:00"},
		{"rate(10 days)", "3h", "2026-01-01 13:30", "2026-02-05 08:00", "2026-02-06 00:00", "2026-02-06 03:00"},
		{"rate(4 hours)", "", "2026-01-01 13:30", "2026-02-05 08:10", "2026-02-05 08:00", "2026-02-05 09:00"},

		{"cron(0 10 * * ? *)", "", "2026-01-01 09:59", "2026-01-01 09:59", "2026-01-01 10:00", "2026-01-02 00:00"},
		{"cron(0 10 * * ? *)", "2h", "2026-01-01 10:00", "2026-01-01 10:00", "2026-01-02 10:00", "2026-01-02 12:00"},
		{"cron(0 10 * * ? *)", "2h", "2026-01-01 10:00", "2026-01-02 11:59", "2026-01-02 10:00", "2026-01-02 12:00"},
		{"cron(0 10 * * ? *)", "2h", "2026-01-01 10:00", "2026-01-02 12:00", "2026-01-03 10:00", "2026-01-03 12:00"},
		{"cron(0 4/12 * * ? *)", "", "2026-01-01 04:00", "2026-01-01 04:00", "2026-01-01 16:00", "2026-01-01 17:00"},
		{"cron(0 4/12 * * ? *)", "", "2026-01-01 16:00", "2026-01-01 16:00", "2026-01-02 04:00", "2026-01-02 05:00"},
		{"cron(0 2/10 * * ? *)", "", "2026-01-01 12:00", "2026-01-01 12:00", "2026-01-01 22:00", "2026-01-01 23:00"},
		{"cron(0 16 1,15 * ? *)", "2h", "2026-01-02 00:00", "2026-01-02 00:00", "2026-01-15 16:00", "2026-01-15 18:00"},
		{"cron(0 16 L * ? *)", "", "2026-01-31 16:00", "2026-01-31 16:00", "2026-02-28 16:00", "2026-03-01 00:00"},
		{"cron(0 0 ? * SUN#1 *)", "", "2026-01-01 00:00", "2026-01-01 00:00", "2026-01-04 00:00", "2026-01-05 00:00"},
		{"cron(0 10 ? FEB,MAY,AUG,NOV TUE#2 *)", "", "2026-01-01 00:00", "2026-01-01 00:00", "2026-02-10 10:00", "2026-02-11 00:00"},
		{"cron(0 8 ? * 6L *)", "", "2026-01-01 00:00", "2026-01-01 00:00", "2026-01-30 08:00", "2026-01-31 00:00"},
		{"cron(0 8 ? * 1 *)", "", "2026-01-01 00:00", "2026-01-01 00:00", "2026-01-04 08:00", "2026-01-05 00:00"},
		{"cron(0 8 ? * L *)", "", "2026-01-01 00:00", "2026-01-01 00:00", "2026-01-03 08:00", "2026-01-04 00:00"},
		{"cron(0 8 ? * MON-FRI *)", "", "2026-01-02 08:00", "2026-01-02 08:00", "2026-01-05 08:00", "2026-01-06 00:00"},
		{"cron(0 0 29 2 ? *)", "", "2026-01-01 00:00", "2026-01-01 00:00", "2028-02-29 00:00", "2028-03-01 00:00"},
		{"cron(0 0 1/7 JAN-MAR ? *)", "", "2026-01-30 00:00", "2026-01-30 00:00", "2026-02-01 00:00", "2026-02-02 00:00"},
		// Missed by years.
		{"cron(0 10 * * ? *)", "", "2020-01-01 09:59", "2026-01-01 09:59", "2026-01-01 10:00", "2026-01-02 00:00"},
	} {
		s, err := schedule.Parse(tt.expression)
		if err == nil {
			s, err = s.Within(tt.length)
		}
		if err != nil {
			t.Errorf("%s within %q: %v", tt.expression, tt.length, err)
			continue
		}
		got, want := s.Next(at(t, tt.last), at(t, tt.now)), schedule.Window{Open: at(t, tt.open), Close: at(t, tt.close)}
		if got != want {
			t.Errorf("%s within %q after %s at %s:\ngot  %v\nwant %v", tt.expression, tt.length, tt.last, tt.now, got, want)
		}
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ expression, length, want string }{
		{"", "", "neither rate(Value Unit)"},
		{"daily", "", "neither"},
		{"rate(10 days", "", "neither"},
		{"rate(0 days)", "", "positive"},
		{"rate(3 hours)", "", "every 4 hours"},
		{"rate(1000 days)", "", "999 days"},
		{"rate(999999999 hours)", "", "999 days"},
		{"rate(5 minutes)", "", "neither"},
		{"cron(0 10 * * ?)", "", "5 fields"},
		{"cron(5 10 * * ? *)", "", "Minutes"},
		{"cron(0 10 * * ? 2030)", "", "Year"},
		{"cron(0 10 * * * *)", "", "exactly one"},
		{"cron(0 10 ? * ? *)", "", "exactly one"},
		{"cron(0 24 * * ? *)", "", "Hours"},
		{"cron(0 10 32 * ? *)", "", "Day-of-month"},
		{"cron(0 10 15W * ? *)", "", "Day-of-month"},
		{"cron(0 10 * 13 ? *)", "", "Month"},
		{"cron(0 10 ? * 0 *)", "", "Day-of-week"},
		{"cron(0 10 ? * 8 *)", "", "Day-of-week"},
		{"cron(0 10 ? * MON#6 *)", "", "Day-of-week"},
		{"cron(0 10-8 * * ? *)", "", "Hours"},
		{"cron(0 10/0 * * ? *)", "", "Hours"},
		{"cron(0 10, * * ? *)", "", "Hours"},
		{"cron(0 10 30 2 ? *)", "", "no such day"},
		{"cron(0 * * * ? *)", "", "every 4 hours"},
		{"cron(0 1,23 * * ? *)", "", "every 4 hours"},
		{"rate(1 day)", "0h", "3h"},
		{"rate(1 day)", "25h", "next UTC day"},
		{"rate(4 hours)", "5h", "reaches into the next one"},
		{"cron(0 22 * * ? *)", "3h", "next UTC day"},
		{"cron(0 4/12 * * ? *)", "13h", "reaches into the next one"},
		{"rate(1 day)", "1d", "3h"},
	} {
		s, err := schedule.Parse(tt.expression)
		if err == nil {
			_, err = s.Within(tt.length)
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s within %q: %v, want one with %q", tt.expression, tt.length, err, tt.want)
		}
	}
}

// Whatever is read has windows that come in order and do not overlap.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{"rate(10 days)", "rate(4 hours)", "cron(0 16 1,15 * ? *)", "cron(0 4/12 * * ? *)", "cron(0 0 ? FEB 7#5 *)", "cron(0 8 ? * 6L *)", "cron(0 1 L 2 ? *)", "cron(0 0 29 2 ? *)"} {
		f.Add(seed, "2h", int64(1767225600))
	}
	f.Fuzz(func(t *testing.T, expression, length string, unix int64) {
		s, err := schedule.Parse(expression)
		if err != nil {
			return
		}
		if s, err = s.Within(length); err != nil {
			return
		}
		now := time.Unix(unix%(1<<33), 0).UTC()
		w := s.Next(now, now)
		for range 3 {
			if !w.Close.After(w.Open) || w.Open.Minute() != 0 || w.Open.Second() != 0 {
				t.Fatalf("%s: window %v", expression, w)
			}
			next := s.Next(w.Open, w.Open)
			if next.Open.Before(w.Close) {
				t.Fatalf("%s within %q: %v reaches into %v", expression, length, w, next)
			}
			w = next
		}
		if s.Days(now) < 1 {
			t.Fatalf("%s: %d days", expression, s.Days(now))
		}
	})
}
