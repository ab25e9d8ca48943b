package inject

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"golang.org/x/sync/errgroup"
)

const (
	// Calls at a time: enough that ten secrets take the time of one.
	concurrency = 16

	// What one call may take, the SDK's retries included.
	callTimeout = 30 * time.Second
)

// A Resolver gets values with the credentials of one role.
type Resolver struct {
	Config aws.Config
	Role   string // that the credentials are of, for errors; may be empty
	Binary bool   // a secret's bytes are a value too, for those who need no text
}

// Resolve gets the value of each ref, by its ValueFrom. It asks for each distinct secret once,
// for parameters ten at a time, and for all in parallel. On failure the error
// is an Errors with every ref that failed, and there are no values. Of refs with one ValueFrom
// all are optional or none.
func (r *Resolver) Resolve(ctx context.Context, refs []Ref) (map[string]Value, error) {
	b := r.batch()
	for _, call := range secretCalls(refs) {
		b.group.Go(func() error { b.getSecret(ctx, call); return nil })
	}
	for _, call := range parameterCalls(refs) {
		b.group.Go(func() error { b.getParameters(ctx, call); return nil })
	}
	b.group.Wait()
	if errs := b.errors(refs); errs != nil {
		return nil, errs
	}
	return b.values, nil
}

// A batch is one Resolve under way, or one Versions.
type batch struct {
	resolver *Resolver
	group    errgroup.Group
	sealed   bool // parameters are not to be decrypted, and their values to be left alone

	mu     sync.Mutex // guards both maps, which are keyed by ValueFrom
	values map[string]Value
	failed map[string]*Error
}

func (r *Resolver) batch() *batch {
	b := &batch{resolver: r, values: map[string]Value{}, failed: map[string]*Error{}}
	b.group.SetLimit(concurrency)
	return b
}

// errors are those of refs, in their order.
func (b *batch) errors(refs []Ref) Errors {
	var errs Errors
	reported := map[string]bool{}
	for _, ref := range refs {
		if err := b.failed[ref.ValueFrom]; err != nil && !reported[ref.ValueFrom] {
			reported[ref.ValueFrom] = true
			errs = append(errs, err)
		}
	}
	return errs
}

func (b *batch) succeed(ref Ref, v Value) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.values[ref.ValueFrom] = v
}

func (b *batch) fail(ref Ref, call string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if absent := new(absentError); ref.Optional && errors.As(err, &absent) {
		return
	}
	b.failed[ref.ValueFrom] = &Error{ValueFrom: ref.ValueFrom, ID: ref.ID, Call: call, Role: b.resolver.Role, Err: err}
}

// groups gathers refs by a key, in the order in which the keys first occur, without
// repeating a ValueFrom.
func groups[K comparable](refs []Ref, key func(Ref) (K, bool)) [][]Ref {
	index := map[K]int{}
	var out [][]Ref
	for _, ref := range refs {
		k, ok := key(ref)
		if !ok {
			continue
		}
		i, known := index[k]
		if !known {
			i = len(out)
			index[k] = i
			out = append(out, nil)
		}
		if !slices.ContainsFunc(out[i], func(other Ref) bool { return other.ValueFrom == ref.ValueFrom }) {
			out[i] = append(out[i], ref)
		}
	}
	return out
}
