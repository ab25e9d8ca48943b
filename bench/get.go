package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// few is how many secrets a small store has.
const few = 1000

// reads are signed requests for n secrets of d, chosen at random.
func (d *data) reads(operation string, n int) [][]byte {
	return d.requests(d.key, operation, n, func(id string) string { return `{"SecretId":` + id + `}` })
}

// requests are n signed requests, each about a secret of d chosen at random, whose quoted name
// body gets.
func (d *data) requests(key accessKey, operation string, n int, body func(id string) string) [][]byte {
	s := newSigner(key.id, key.secret)
	requests := make([][]byte, n)
	for i := range requests {
		requests[i] = s.request(operation, body(strconv.Quote(secretName(rand.IntN(d.secrets)))))
	}
	return requests
}

// inTurn spreads requests over connections.
func inTurn(requests [][]byte, conns int) func(conn, n int) []byte {
	return func(conn, n int) []byte {
		return requests[(conn*len(requests)/conns+n)%len(requests)]
	}
}

// measured is one server under one load.
type measured struct {
	loaded
	cpu time.Duration // of the server, per request
}

func (b *bench) measure(ctx context.Context, p *process, conns int, requests [][]byte) (measured, error) {
	before, err := p.cpu()
	if err != nil {
		return measured{}, err
	}
	l, err := load(ctx, p.addr, conns, b.round, inTurn(requests, conns))
	if err != nil {
		return measured{}, err
	}
	after, err := p.cpu()
	if err != nil || l.requests == 0 {
		return measured{}, fmt.Errorf("no request was answered: %w", err)
	}
	return measured{l, (after - before) / time.Duration(l.requests)}, nil
}

// gets compares GetSecretValue with the limit server.
func (b *bench) gets(ctx context.Context) error {
	const conns = 16
	d, err := b.fill(ctx, few)
	if err != nil {
		return err
	}
	requests := d.reads("GetSecretValue", 4*few)
	limit, err := b.limitServer(d.key)
	if err != nil {
		return err
	}
	defer limit.stop()
	server, err := b.server(d)
	if err != nil {
		return err
	}
	defer server.stop()
	for _, p := range []*process{limit, server} {
		if err := p.answers(ctx, requests[0]); err != nil {
			return err
		}
		// Caches and heaps are as they will be.
		if _, err := load(ctx, p.addr, conns, b.round/2, inTurn(requests, conns)); err != nil {
			return err
		}
	}
	var rates, costs, ours, limits, ourRates, limitRates []float64
	var p50 []float64
	for range b.rounds {
		requests = d.reads("GetSecretValue", 4*few) // a signature is good for five minutes
		x, err := b.measure(ctx, limit, conns, requests)
		if err != nil {
			return fmt.Errorf("limit server: %w", err)
		}
		y, err := b.measure(ctx, server, conns, requests)
		if err != nil {
			return err
		}
		rates = append(rates, y.rate()/x.rate())
		costs = append(costs, y.cpu.Seconds()/x.cpu.Seconds())
		ours, limits = append(ours, micro(y.cpu)), append(limits, micro(x.cpu))
		ourRates, limitRates = append(ourRates, y.rate()), append(limitRates, x.rate())
		p50 = append(p50, micro(y.quantile(0.5)))
	}
	b.add(figure{
		what: "GetSecretValue ÷ limit server, rate, 16 connections", value: median(rates), must: 0.60, aim: 0.75, more: true,
		detail: fmt.Sprintf("%.0f/s ÷ %.0f/s, p50 %.0f µs; middle half %s", median(ourRates), median(limitRates), median(p50), spread(rates)),
	})
	b.add(figure{
		what: "GetSecretValue ÷ limit server, server CPU", value: median(costs), must: 1.7, aim: 1.4,
		detail: fmt.Sprintf("%.1f µs ÷ %.1f µs; middle half %s", median(ours), median(limits), spread(costs)),
	})
	total, file, err := server.resident()
	if err != nil {
		return err
	}
	b.add(figure{what: "resident memory after that load", value: total, unit: "MiB", detail: fmt.Sprintf("%.1f of it pages of files", file)})
	return nil
}

// cache has the kernel read the store's file, as it has of a server that ran for a while:
// what is compared is the work, not the disk.
func (d *data) cache() error {
	f, err := os.Open(filepath.Join(d.dir, "malote.db"))
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(io.Discard, f)
	return err
}

func micro(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// pointOperations are those about one secret, or a page of them. Those that write leave a
// secret as large as it was.
var pointOperations = []struct {
	name     string
	must     bool // it is a row of the design's
	requests int
	body     func(id string) string
}{
	{"GetSecretValue", true, 100_000, func(id string) string { return `{"SecretId":` + id + `}` }},
	{"DescribeSecret", true, 100_000, func(id string) string { return `{"SecretId":` + id + `}` }},
	{"ListSecretVersionIds", false, 50_000, func(id string) string { return `{"SecretId":` + id + `}` }},
	{"GetResourcePolicy", false, 50_000, func(id string) string { return `{"SecretId":` + id + `}` }},
	{"BatchGetSecretValue", false, 20_000, func(id string) string { return `{"SecretIdList":[` + id + `]}` }},
	{"ListSecrets", false, 2_000, func(string) string { return `{"MaxResults":20}` }},
	{"TagResource", false, 20_000, func(id string) string { return `{"SecretId":` + id + `,"Tags":[{"Key":"team","Value":"shop"}]}` }},
	{"UpdateSecret", false, 20_000, func(id string) string {
		return `{"SecretId":` + id + `,"ClientRequestToken":"` + uuid() + `","Description":"the database"}`
	}},
}

// sizes compares operations on one secret among many with those among few.
func (b *bench) sizes(ctx context.Context) error {
	const conns = 16
	small, err := b.fill(ctx, few)
	if err != nil {
		return err
	}
	large, err := b.fill(ctx, b.secrets)
	if err != nil {
		return err
	}
	stores := []*data{small, large}
	for _, d := range stores {
		if err := d.cache(); err != nil {
			return err
		}
	}
	servers := make([]*process, len(stores))
	for i, d := range stores {
		if servers[i], err = b.server(d); err != nil {
			return err
		}
		defer servers[i].cmd.Process.Kill()
		if err := servers[i].answers(ctx, d.reads("GetSecretValue", 1)[0]); err != nil {
			return err
		}
	}
	for _, operation := range pointOperations {
		var times, costs []float64
		var got [2][]float64
		warm := 1
		if operation.must {
			warm = 3
		}
		for round := range warm + b.rounds {
			var m [2]measured
			for i, d := range stores {
				if m[i], err = b.measure(ctx, servers[i], conns, d.requests(adminKey, operation.name, operation.requests, operation.body)); err != nil {
					return fmt.Errorf("%s: %w", operation.name, err)
				}
			}
			if round < warm {
				continue
			}
			times = append(times, m[0].rate()/m[1].rate())
			costs = append(costs, m[1].cpu.Seconds()/m[0].cpu.Seconds())
			for i := range m {
				got[i] = append(got[i], m[i].rate())
			}
		}
		f := figure{
			what: fmt.Sprintf("%s, %d secrets ÷ %d, time", operation.name, large.secrets, small.secrets), value: median(times),
			detail: fmt.Sprintf("%.0f/s, %.0f/s; CPU %.2f; middle half %s", median(got[1]), median(got[0]), median(costs), spread(times)),
		}
		if operation.must {
			f.must, f.aim = 1.3, 1.1
		}
		b.add(f)
	}
	for i, d := range stores {
		size, err := os.Stat(filepath.Join(d.dir, "malote.db"))
		if err != nil {
			return err
		}
		b.add(figure{what: fmt.Sprintf("store per secret of 1 KB, %d secrets", d.secrets), value: float64(size.Size()) / float64(d.secrets) / 1024, unit: "KiB"})
		if err := servers[i].stop(); err != nil {
			return err
		}
	}
	return nil
}
