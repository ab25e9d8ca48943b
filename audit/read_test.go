package audit_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/malote/malote/audit"
)

// spread writes n records, a minute apart, into several files.
func spread(t testing.TB, n int, o audit.Options) (path string, start time.Time) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "audit.log")
	o.Delay = time.Microsecond
	f := open(t, path, o)
	start = sample().Time
	for i := range n {
		r := sample()
		r.Time, r.RequestID = start.Add(time.Duration(i)*time.Minute), fmt.Sprint("req-", i)
		if i%10 == 3 {
			r.ErrorCode = "AccessDenied"
		}
		if err := f.Record(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		if i%500 == 0 { // so that a file is put aside between
			if err := f.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return path, start
}

func TestReadBothWays(t *testing.T) {
	t.Parallel()
	const n = 3000
	path, start := spread(t, n, audit.Options{Size: 1 << 20})
	if aside, _ := filepath.Glob(path + ".0*"); len(aside) < 2 {
		t.Fatalf("put aside: %v", aside)
	}
	read := func(lines iter.Seq2[[]byte, error]) (list []uint64) {
		t.Helper()
		for line, err := range lines {
			if err != nil {
				t.Fatal(err)
			}
			e, err := audit.Parse(line)
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, e.Sequence)
		}
		return list
	}
	if all := read(audit.Lines(path, audit.Times{})); len(all) != n || all[0] != 1 || !slices.IsSorted(all) {
		t.Errorf("%d records read, want %d in order", len(all), n)
	}
	// What is asked for is there, and not much before it.
	for _, i := range []int{0, 1, 999, 1500, 2999} {
		at := start.Add(time.Duration(i) * time.Minute)
		got := read(audit.Lines(path, audit.Times{Since: at}))
		if len(got) < n-i || len(got) > n-i+1000 || got[len(got)-1] != n {
			t.Errorf("from record %d on: %d records", i, len(got))
		}
		got = read(audit.Lines(path, audit.Times{Until: at}))
		if len(got) < i+1 || len(got) > i+1+500 || got[0] != 1 {
			t.Errorf("up to record %d: %d records", i+1, len(got))
		}
		got = read(audit.Backward(path, 0, audit.Times{Since: at.Add(-time.Minute), Until: at}))
		if len(got) < min(2, i+1) || len(got) > 1000 || !slices.Contains(got, uint64(i+1)) {
			t.Errorf("about record %d: %d records", i+1, len(got))
		}
	}
	for _, before := range []uint64{0, 2, 700, 1000, 1001, 2100, 3000, 5000} {
		want := uint64(n)
		if before > 0 {
			want = min(n, before-1)
		}
		for line, err := range audit.Backward(path, before, audit.Times{}) {
			if err != nil {
				t.Fatal(err)
			}
			if e, err := audit.Parse(line); err != nil || e.Sequence != want {
				t.Fatalf("before %d: record %v, %v, want %d", before, e, err, want)
			}
			want--
		}
		if want != 0 {
			t.Errorf("before %d: ends before record %d", before, want)
		}
	}
	if last, err := audit.Last(path, 7); err != nil || len(last) != 7 {
		t.Errorf("Last = %d lines, %v", len(last), err)
	} else if e, err := audit.Parse(last[0]); err != nil || e.Sequence != n-6 {
		t.Errorf("Last begins with %v, %v", e, err)
	}
	if _, err := audit.Last(filepath.Join(t.TempDir(), "audit.log"), 7); err == nil {
		t.Error("there is no log, and no error")
	}
}

// What was taken to an archive, and what is left, are read and verified each for itself.
func TestArchive(t *testing.T) {
	t.Parallel()
	const n = 3000
	path, _ := spread(t, n, audit.Options{Size: 1 << 20})
	aside, err := filepath.Glob(path + ".0*")
	if err != nil || len(aside) < 2 {
		t.Fatalf("put aside: %v, %v", aside, err)
	}
	archive := filepath.Join(t.TempDir(), "audit.log")
	for i, file := range aside {
		aside[i] = archive + filepath.Ext(file)
		if err := os.Rename(file, aside[i]); err != nil {
			t.Fatal(err)
		}
	}
	var first, last [3]uint64
	for i, path := range []string{archive, aside[1], path} {
		chain := verify(t, path)
		first[i], last[i] = chain.First, chain.Last()
		lines := uint64(0)
		for _, err := range audit.Query(path, audit.Filter{}) {
			if err != nil {
				t.Fatal(err)
			}
			lines++
		}
		newest, err := audit.Last(path, 1)
		if err != nil || len(newest) != 1 {
			t.Fatalf("the last record of %s: %d, %v", path, len(newest), err)
		}
		if e, err := audit.Parse(newest[0]); err != nil || e.Sequence != last[i] || lines != chain.Records {
			t.Errorf("%s ends with %v, %v, after %d records: chain = %+v", path, e, err, lines, chain)
		}
	}
	if first[0] != 1 || first[1] <= 1 || first[2] != last[0]+1 || last[2] != n {
		t.Errorf("the archive, one of its files and what is left: records from %v to %v of %d", first, last, n)
	}
}

// A log that is written, put aside and deleted meanwhile is whole to whoever reads it.
func TestReadWhileRotating(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "audit.log")
	f := open(t, path, audit.Options{Delay: time.Microsecond, Size: 5_000, KeepFiles: 2})
	key, _ := newKey(t)
	f.Sign(key)
	var looks atomic.Int64
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	var writer sync.WaitGroup
	defer func() {
		cancel()
		writer.Wait()
	}()
	writer.Go(func() {
		for looks.Load() < 100 && ctx.Err() == nil {
			if err := f.Record(ctx, sample()); err != nil {
				t.Error(err)
				return
			}
			time.Sleep(200 * time.Microsecond)
		}
	})
	for last := uint64(0); looks.Load() < 100 && !t.Failed(); looks.Add(1) {
		chain, err := audit.Verify(path)
		if err != nil {
			t.Errorf("verified: %v", err)
		}
		if chain.Last() < last {
			t.Errorf("ends with record %d, and had %d", chain.Last(), last)
		}
		last = chain.Last()
		var before uint64
		for e, err := range audit.Query(path, audit.Filter{}) {
			if err != nil {
				t.Fatal(err)
			}
			if before > 0 && e.Sequence != before+1 {
				t.Fatalf("record %d follows %d", e.Sequence, before)
			}
			before = e.Sequence
		}
		if before < last {
			t.Errorf("read to record %d, and there were %d", before, last)
		}
		last, before = before, 0
		for line, err := range f.Backward(0, audit.Times{}) {
			if err != nil {
				t.Fatal(err)
			}
			e, err := audit.Parse(line)
			if err != nil {
				t.Fatal(err)
			}
			if before == 0 && e.Sequence < last || before > 0 && e.Sequence != before-1 {
				t.Fatalf("record %d, read backward after %d, comes before %d", e.Sequence, last, before)
			}
			before = e.Sequence
		}
	}
}

// small writes n records, a minute apart but for what they are mistaken by, into files of about twenty.
func small(t *testing.T, n int, mistaken func(i int) time.Duration) (f *audit.File, path string, times []time.Time) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "audit.log")
	f = open(t, path, audit.Options{Size: 20_000, Delay: time.Microsecond})
	for i := range n {
		r := sample()
		r.Time = r.Time.Add(time.Duration(i)*time.Minute + mistaken(i))
		times = append(times, r.Time)
		if err := f.Record(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		if i%10 == 0 { // so that a file is put aside between
			if err := f.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := f.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	return f, path, times
}

// Whatever is asked for by its time is there both ways, though records are not quite in order. If
// the clock was wrong for a while, at most a file at either end of what is asked for is missed.
func TestReadByTime(t *testing.T) {
	t.Parallel()
	const n = 1500
	for _, tt := range []struct {
		name   string
		wrong  func(i int) time.Duration
		margin time.Duration
	}{
		{"a good clock", func(int) time.Duration { return 0 }, 0},
		{"a clock that was ahead or behind", func(i int) time.Duration {
			if i%100 < 90 {
				return 0
			}
			return time.Duration(i/100%2*2-1) * 1000 * time.Hour
		}, 40 * time.Minute},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(1, 2))
			f, path, times := small(t, n, func(i int) time.Duration { return tt.wrong(i) - time.Duration(random.IntN(15))*time.Minute })
			if aside, _ := filepath.Glob(path + ".0*"); len(aside) < n/50 {
				t.Fatalf("put aside: %d files", len(aside))
			}
			read := func(lines iter.Seq2[[]byte, error]) (list []uint64) {
				t.Helper()
				for line, err := range lines {
					if err != nil {
						t.Fatal(err)
					}
					e, err := audit.Parse(line)
					if err != nil {
						t.Fatal(err)
					}
					list = append(list, e.Sequence)
				}
				return list
			}
			start := sample().Time
			for range 100 {
				since := start.Add(time.Duration(random.IntN(n+200)-100) * time.Minute)
				until := since.Add(time.Duration(random.IntN(200)) * time.Minute)
				span := audit.Times{Since: since, Until: until}
				switch random.IntN(8) {
				case 0:
					span.Since, since = time.Time{}, time.Time{}
				case 1:
					span.Until, until = time.Time{}, start.Add(n*time.Hour)
				}
				before := uint64(random.IntN(2 * n))
				forward, backward := read(audit.Lines(path, span)), read(f.Backward(before, span))
				if !slices.IsSorted(forward) || !slices.IsSortedFunc(backward, func(a, b uint64) int { return cmp.Compare(b, a) }) {
					t.Fatalf("%v: out of order: %v, %v", span, forward, backward)
				}
				for i, at := range times {
					if sequence := uint64(i + 1); !at.Before(since.Add(tt.margin)) && !at.After(until.Add(-tt.margin)) && tt.wrong(i) == 0 &&
						(!slices.Contains(forward, sequence) || (before == 0 || sequence < before) && !slices.Contains(backward, sequence)) {
						t.Fatalf("%v before %d: record %d of %v is missing", span, before, sequence, at)
					}
				}
				// 200 minutes, what may be out of order, and the rest of a file at either end.
				if both := !span.Since.IsZero() && !span.Until.IsZero(); both && tt.margin == 0 && max(len(forward), len(backward)) > 300 {
					t.Errorf("%v: %d and %d records are read", span, len(forward), len(backward))
				}
			}
		})
	}
}

// Files of which nothing is needed are not opened: those that are behind a sequence, and, once it
// is known when they begin, those of other times.
func TestReadOnlyWhatIsNeeded(t *testing.T) {
	t.Parallel()
	const n = 1000
	f, path, times := small(t, n, func(int) time.Duration { return 0 })
	aside, err := filepath.Glob(path + ".0*")
	if err != nil || len(aside) < 20 {
		t.Fatalf("put aside: %v, %v", aside, err)
	}
	read := func(before uint64, span audit.Times) (count int) {
		t.Helper()
		for _, err := range f.Backward(before, span) {
			if err != nil {
				t.Fatal(err)
			}
			count++
		}
		return count
	}
	span := audit.Times{Since: times[400], Until: times[500]}
	count := read(0, span)
	if count < 101 || count > 250 {
		t.Errorf("%d records are read for 101", count)
	}
	spoiled := 0
	for _, file := range aside {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		line, _, _ := bytes.Cut(text, []byte("\n"))
		e, err := audit.Parse(line)
		if err != nil {
			t.Fatal(err)
		}
		if e.Sequence > 300 && e.Sequence < 600 {
			continue
		}
		// Whoever reads a directory fails.
		if err := errors.Join(os.Remove(file), os.Mkdir(file, 0o700)); err != nil {
			t.Fatal(err)
		}
		spoiled++
	}
	if again := read(0, span); again != count {
		t.Errorf("%d records are read with %d files spoiled, and were %d", again, spoiled, count)
	}
	var last uint64
	for line, err := range f.Backward(550, audit.Times{}) {
		if err != nil {
			t.Fatal(err)
		}
		if e, err := audit.Parse(line); err != nil {
			t.Fatal(err)
		} else if last = e.Sequence; last == 350 {
			break
		}
	}
	if last != 350 {
		t.Errorf("read to record %d", last)
	}
}

// Who reads from the oldest record on has them all, though files are deleted meanwhile; who reads
// from the newest one on ends where they do by then.
func TestReadWhatIsDeletedMeanwhile(t *testing.T) {
	t.Parallel()
	const n = 500
	f, path, _ := small(t, n, func(int) time.Duration { return 0 })
	aside, err := filepath.Glob(path + ".0*")
	if err != nil || len(aside) < 10 {
		t.Fatalf("put aside: %v, %v", aside, err)
	}
	remove := func(files []string) {
		t.Helper()
		for _, file := range files {
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
		}
	}
	half := len(aside) / 2
	count := 0
	for _, err := range f.Backward(0, audit.Times{}) {
		if err != nil {
			t.Fatal(err)
		}
		if count++; count == 1 {
			remove(aside[:half])
		}
	}
	if count <= n/4 || count >= n {
		t.Errorf("%d records are read backward, of %d", count, n)
	}
	left := count
	count = 0
	for _, err := range audit.Lines(path, audit.Times{}) {
		if err != nil {
			t.Fatal(err)
		}
		if count++; count == 1 {
			remove(aside[half:])
		}
	}
	if count != left {
		t.Errorf("%d records are read, of %d", count, left)
	}
}

func TestQuery(t *testing.T) {
	t.Parallel()
	const n = 1200
	path, start := spread(t, n, audit.Options{Size: 1 << 20})
	hour := func(h int) time.Time { return start.Add(time.Duration(h) * time.Hour) }
	for _, tt := range []struct {
		name string
		f    audit.Filter
		want int
	}{
		{"all", audit.Filter{}, n},
		{"two hours", audit.Filter{Since: hour(3), Until: hour(5)}, 120},
		{"errors", audit.Filter{Error: "*"}, n / 10},
		{"errors of an hour", audit.Filter{Error: "AccessDenied", Since: hour(10), Until: hour(11)}, 6},
		{"another error", audit.Filter{Error: "Throttling"}, 0},
		{"operation", audit.Filter{Name: "GetSecretValue", Service: "secretsmanager"}, n},
		{"operations", audit.Filter{Name: "Get*"}, n},
		{"another's", audit.Filter{Service: "kms"}, 0},
		{"role", audit.Filter{Principal: "app"}, n},
		{"role by ARN", audit.Filter{Principal: "arn:aws:iam::111122223333:role/team/app"}, n},
		{"session", audit.Filter{Principal: "*/app/s1"}, n},
		{"access key", audit.Filter{Principal: "ASIAEXAMPLE"}, n},
		{"account", audit.Filter{Principal: "111122223333"}, n},
		{"another account", audit.Filter{Principal: "111122223334"}, 0},
		{"part of a name", audit.Filter{Principal: "ap"}, 0},
		{"secret", audit.Filter{Resource: "secret:db-*"}, 0},
		{"secret anywhere", audit.Filter{Resource: "*:secret:db-*"}, n},
		{"secret's name", audit.Filter{Resource: "db-AbCdEf"}, n},
		{"request", audit.Filter{RequestID: "req-77"}, 1},
		{"task", audit.Filter{Task: "web"}, 0},
	} {
		got := 0
		for _, err := range audit.Query(path, tt.f) {
			if err != nil {
				t.Fatal(err)
			}
			got++
		}
		if got != tt.want {
			t.Errorf("%s: %d records, want %d", tt.name, got, tt.want)
		}
	}
}

// Follow sees every record once, whichever file it comes into.
func TestFollow(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "audit.log")
	f := open(t, path, audit.Options{Delay: time.Microsecond, Size: 20_000})
	write := func(n int) {
		for range n {
			if err := f.Record(t.Context(), sample()); err != nil {
				t.Error(err)
			}
		}
		if err := f.Flush(t.Context()); err != nil {
			t.Error(err)
		}
	}
	write(50)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	next := uint64(41)
	for line, err := range audit.Follow(ctx, path, 10) {
		if err != nil {
			t.Fatal(err)
		}
		if e, err := audit.Parse(line); err != nil || e.Sequence != next {
			t.Fatalf("record %v, %v, want %d", e, err, next)
		}
		if next++; next == 52 || next == 300 {
			write(300)
		}
		if next == 51 {
			write(1)
		}
		if next == 651 {
			break
		}
	}
	if next != 651 {
		t.Errorf("ended before record %d", next)
	}
}

// A file grows old though malote is started again each day.
func TestOldFileIsPutAside(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "audit.log")
	start := sample().Time
	for day := range 6 {
		now := start.Add(time.Duration(day) * 20 * time.Hour)
		f := open(t, path, audit.Options{Delay: time.Microsecond, KeepFor: 90 * 24 * time.Hour, Now: func() time.Time { return now }})
		r := sample()
		r.Time = now
		if err := f.Record(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, now, now); err != nil {
			t.Fatal(err)
		}
		aside, err := filepath.Glob(path + ".0*")
		if want := []int{0, 0, 1, 1, 1, 2}[day]; err != nil || len(aside) != want {
			t.Errorf("after %d hours %d files are put aside, want %d", day*20, len(aside), want)
		}
	}
	if chain := verify(t, path); chain.Records != 6 {
		t.Errorf("chain = %+v", chain)
	}
}

func TestRetention(t *testing.T) {
	t.Parallel()
	clock := time.Now()
	for name, o := range map[string]audit.Options{
		"files": {KeepFiles: 2}, "time": {KeepFor: 24 * time.Hour, Now: func() time.Time { return clock }},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "audit.log")
			o.Delay, o.Size = time.Microsecond, 20_000
			write := func(key bool) {
				t.Helper()
				f := open(t, path, o)
				private, _ := newKey(t)
				if key {
					f.Sign(private)
				}
				for range 100 {
					if err := f.Record(t.Context(), sample()); err != nil {
						t.Fatal(err)
					}
					if err := f.Flush(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				if err := f.Close(); err != nil {
					t.Fatal(err)
				}
			}
			aside := func() []string {
				list, err := filepath.Glob(path + ".0*")
				if err != nil {
					t.Fatal(err)
				}
				return list
			}
			write(false)
			unsigned := aside()
			if len(unsigned) < 4 {
				t.Fatalf("%d files were put aside", len(unsigned))
			}
			old := clock.Add(-25 * time.Hour)
			for _, file := range unsigned {
				if err := os.Chtimes(file, old, old); err != nil {
					t.Fatal(err)
				}
			}
			write(false)
			if now := aside(); len(now) <= len(unsigned) {
				t.Errorf("%d files of %d are left: nobody has signed what was in them", len(now), len(unsigned))
			}
			write(true)
			for _, file := range unsigned {
				if _, err := os.Stat(file); err == nil {
					t.Errorf("%s is still there", filepath.Base(file))
				}
			}
			if now := aside(); name == "files" && len(now) != 2 || len(now) < 2 {
				t.Errorf("%d files are left", len(now))
			}
			chain := verify(t, path)
			told := 0
			for _, err := range audit.Query(path, audit.Filter{Service: "malote", Name: "AuditFileDeleted"}) {
				if err != nil {
					t.Fatal(err)
				}
				told++
			}
			if chain.First == 1 || told == 0 {
				t.Errorf("chain = %+v, %d deletions are told of", chain, told)
			}
		})
	}
}
