package main

import (
	"context"
	"fmt"
	"time"
)

// settled is when a server is idle: it gives back what starting took after a second.
const settled = 1500 * time.Millisecond

// starts measures from before the process is made to its first answered GetSecretValue,
// and the memory it has then.
func (b *bench) starts(ctx context.Context) error {
	small, err := b.fill(ctx, few)
	if err != nil {
		return err
	}
	large, err := b.fill(ctx, b.secrets)
	if err != nil {
		return err
	}
	var took [2][]float64
	var ratios, memory, files []float64
	for range 2*b.rounds + 1 {
		var pair [2]float64
		for i, store := range []*data{small, large} {
			d, err := b.first(ctx, store.reads("GetSecretValue", 1)[0], func() (*process, error) { return b.server(store) }, func(p *process) error {
				if i > 0 {
					return nil
				}
				time.Sleep(settled)
				total, file, err := p.resident()
				memory, files = append(memory, total), append(files, file)
				return err
			})
			if err != nil {
				return err
			}
			pair[i] = milli(d)
			took[i] = append(took[i], pair[i])
		}
		ratios = append(ratios, pair[1]/pair[0])
	}
	b.add(figure{
		what: "start to first answered GetSecretValue", value: median(took[0]), unit: "ms", must: 30, aim: 15,
		detail: "middle half " + spread(took[0]),
	})
	b.add(figure{
		what: fmt.Sprintf("start, %d secrets ÷ %d", large.secrets, small.secrets), value: median(ratios), must: 3, aim: 1.5,
		detail: fmt.Sprintf("%.1f ms; middle half %s", median(took[1]), spread(ratios)),
	})
	b.add(figure{
		what: "resident memory, idle", value: median(memory), unit: "MiB", must: 30, aim: 20,
		detail: fmt.Sprintf("%.1f of it pages of files", median(files)),
	})
	return nil
}

// first starts a process, waits for its first answer, lets look see it, and ends it.
func (b *bench) first(ctx context.Context, request []byte, start func() (*process, error), look func(*process) error) (time.Duration, error) {
	began := time.Now()
	p, err := start()
	if err != nil {
		return 0, err
	}
	err = p.answers(ctx, request)
	took := time.Since(began)
	if err == nil && look != nil {
		err = look(p)
	}
	if stopErr := p.stop(); err == nil {
		err = stopErr
	}
	return took, err
}

func milli(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
