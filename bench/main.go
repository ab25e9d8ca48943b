// Command bench measures what docs/performance.md says, each figure as a ratio of two
// things measured in turns in one run, so that it holds on other machines too.
//
//	make bench
//	go run ./bench -rows get,cpu -rounds 9
//	go run ./bench -secrets 1000000
//
// The servers are processes of their own: bin/malote as it is shipped, and this program
// again as the limit server (limit.go). Requests are signed before the clock runs where
// they may be, and the client speaks no more HTTP than it must, so that what is measured
// is the server.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "limit" {
		exit(serveLimit())
	}
	if len(os.Args) > 1 && os.Args[1] == "files" {
		exit(serveFiles())
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	b := &bench{out: os.Stdout}
	rows := flag.String("rows", strings.Join(rowNames(), ","), "which `rows` to measure")
	flag.IntVar(&b.rounds, "rounds", 7, "pairs of measurements per row")
	flag.DurationVar(&b.round, "round", 2*time.Second, "how long one of them takes")
	flag.IntVar(&b.secrets, "secrets", 100_000, "secrets in the large store; docs/performance.md has 1,000,000")
	flag.IntVar(&b.tasks, "tasks", 40, "pairs of containers started")
	flag.StringVar(&b.malote, "malote", "bin/malote", "the program")
	flag.StringVar(&b.dir, "dir", "", "where to keep stores for the next run; else they are removed")
	flag.Parse()
	if b.dir == "" {
		dir, err := os.MkdirTemp("", "malote-bench-")
		if err != nil {
			exit(err)
		}
		defer os.RemoveAll(dir)
		b.dir = dir
	}
	err := b.run(ctx, strings.Split(*rows, ","))
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		if b.temporary() {
			os.RemoveAll(b.dir)
		}
		os.Exit(1)
	}
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// bench is one run.
type bench struct {
	out           *os.File
	malote        string
	dir           string
	rounds, tasks int
	round         time.Duration
	secrets       int
	figures       []figure
}

func (b *bench) temporary() bool { return strings.HasPrefix(filepath.Base(b.dir), "malote-bench-") }

// figure is a line of the table.
type figure struct {
	what      string
	value     float64
	unit      string
	must, aim float64
	more      bool // is better
	detail    string
}

func (f figure) verdict() string {
	reached := func(limit float64) bool {
		if f.more {
			return f.value >= limit
		}
		return f.value <= limit
	}
	switch {
	case f.must == 0:
		return ""
	case reached(f.aim):
		return "aim reached"
	case reached(f.must):
		return "ok"
	}
	return "MISSED"
}

// row is a way to get figures.
type row struct {
	name    string
	measure func(*bench, context.Context) error
}

var rows = []row{
	{"start", (*bench).starts},
	{"get", (*bench).gets},
	{"put", (*bench).puts},
	{"size", (*bench).sizes},
	{"task", (*bench).taskStarts},
	{"many", (*bench).manyTasks},
	{"objects", (*bench).objects},
	{"decide", (*bench).decisions},
}

func rowNames() []string {
	var names []string
	for _, r := range rows {
		names = append(names, r.name)
	}
	return names
}

func (b *bench) run(ctx context.Context, names []string) error {
	for _, name := range names {
		if !slices.Contains(rowNames(), name) {
			return fmt.Errorf("no row %q: there are %s", name, strings.Join(rowNames(), ", "))
		}
	}
	if _, err := os.Stat(b.malote); err != nil {
		return fmt.Errorf("%w (make build)", err)
	}
	for _, r := range rows {
		if !slices.Contains(names, r.name) {
			continue
		}
		before := len(b.figures)
		if err := r.measure(b, ctx); err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
		for _, f := range b.figures[before:] {
			b.print(f)
		}
	}
	return nil
}

func (b *bench) add(f figure) { b.figures = append(b.figures, f) }

func (b *bench) print(f figure) {
	limits := ""
	if f.must != 0 {
		sign := "≤"
		if f.more {
			sign = "≥"
		}
		limits = fmt.Sprintf("must %s %v, aim %v", sign, f.must, f.aim)
	}
	fmt.Fprintf(b.out, "%-58s %8.3g %-4s %-26s %-12s %s\n", f.what, f.value, f.unit, limits, f.verdict(), f.detail)
}

// note says on stderr what goes on.
func note(format string, args ...any) { fmt.Fprintf(os.Stderr, "bench: "+format+"\n", args...) }

func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	values = slices.Sorted(slices.Values(values))
	middle := len(values) / 2
	if len(values)%2 == 0 {
		return (values[middle-1] + values[middle]) / 2
	}
	return values[middle]
}

// spread is where the middle half of values lies.
func spread(values []float64) string {
	if len(values) < 4 {
		return ""
	}
	values = slices.Sorted(slices.Values(values))
	return fmt.Sprintf("%.3g…%.3g", values[len(values)/4], values[len(values)*3/4])
}
