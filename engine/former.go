package engine

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/malote/malote/inject"
)

// maxFormer is how many values that a task had before, or that a refresh which failed was to give
// it, are kept out of its logs.
const maxFormer = 100

// former is a version that a container had before a refresh, or has since or was to have.
type former struct{ Container, Name, Version string }

// remember writes down, before containers are run again, what they have and are to have instead.
// Whatever comes of it, an engine after this one keeps both out of the task's logs.
func (r *record) remember(t *task, containers []string, old, next *resolved) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, name := range containers {
		was, is := old.versionsIn(name), next.versionsIn(name)
		for _, pair := range [][2]map[string]string{{was, is}, {is, was}} {
			for _, what := range slices.Sorted(maps.Keys(pair[0])) {
				f := former{name, what, pair[0][what]}
				if f.Version == "" || f.Version == pair[1][what] {
					continue
				}
				r.Former = append(slices.DeleteFunc(r.Former, func(o former) bool { return o == f }), f)
			}
		}
	}
	r.Former = r.Former[max(0, len(r.Former)-maxFormer):]
	r.save(t)
}

// formerly is what was written down and containers do not have, oldest first.
func (r *record) formerly(has *resolved) []former {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(r.Former), func(f former) bool { return has.versionsIn(f.Container)[f.Name] == f.Version })
}

// versionsIn is which version of each secret a container has.
func (r *resolved) versionsIn(container string) map[string]string {
	if r == nil {
		return nil
	}
	return r.versions[container]
}

// recall has values again that the task had, as an engine before this one wrote down, so that they
// stay out of its logs. Nothing waits for one that cannot be had any more.
func (t *task) recall(has *resolved) {
	list := t.record.formerly(has)
	if len(list) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(t.effort, fetchAgain)
	defer cancel()
	values, failed := t.valuesOf(ctx, list)
	t.mu.Lock()
	t.outlive(values)
	t.mu.Unlock()
	if len(failed) > 0 && t.effort.Err() == nil {
		t.log.Warn("values that the task had before cannot be had again, and are not masked in its logs", "err", failed)
	}
}

// valuesOf are the values of versions, as the containers had them, and what could not be had.
func (t *task) valuesOf(ctx context.Context, list []former) (values []string, failed inject.Errors) {
	region := t.region()
	config, role, err := t.asExecutionRole(ctx, true, region)
	if err != nil {
		return nil, appendErrors(nil, err, "")
	}
	resolver := &inject.Resolver{Config: config, Role: role}
	var wants []want
	for _, f := range list {
		if arn, ok := strings.CutPrefix(f.Name, environmentFile("")); ok {
			variables, err := variablesOf(ctx, resolver, arn, f.Version)
			failed = appendErrors(failed, err, role)
			for _, v := range variables {
				values = append(values, v.Reveal())
			}
			continue
		}
		all, bad := t.wants(region, fetching{again: []string{f.Container}, had: map[string]string{f.Name: f.Version}})
		failed = append(failed, bad...)
		for _, w := range all {
			if w.version == "" && w.below == nil {
				continue // another one
			}
			if _, _, ok := parameter(w.ref); !ok && w.ref.Service == inject.ParameterStore {
				failed = append(failed, &inject.Error{ValueFrom: w.ref.ValueFrom, Err: errors.New("Parameter Store was asked for a secret, of which it has the current version alone")})
				continue
			}
			w.ref.Optional = false // that it is gone is to be told
			wants = append(wants, w)
		}
	}
	refs := distinctRefs(wants)
	var got map[string]inject.Value
	for got == nil && len(refs) > 0 {
		var err error
		if got, err = resolver.Resolve(ctx, refs); err != nil { // of one, and there are none
			gone := appendErrors(nil, err, role)
			failed = append(failed, gone...)
			refs = slices.DeleteFunc(refs, func(ref inject.Ref) bool {
				return slices.ContainsFunc(gone, func(e *inject.Error) bool { return e.ValueFrom == ref.ValueFrom })
			})
		}
	}
	for _, w := range wants {
		had := &resolved{secrets: map[string][]variable{}, versions: map[string]map[string]string{}}
		failed = appendErrors(failed, had.take(w, got, nil), role)
		values = append(values, had.values()...)
	}
	return values, failed
}

// outlive remembers values that the task may have had, and does not have now. It needs t.mu.
func (t *task) outlive(values []string) {
	has := t.resolved.values()
	t.former = slices.DeleteFunc(t.former, func(v string) bool { return slices.Contains(has, v) || slices.Contains(values, v) })
	for _, v := range values {
		if !slices.Contains(has, v) && !slices.Contains(t.former, v) {
			t.former = append(t.former, v)
		}
	}
	t.former = t.former[max(0, len(t.former)-maxFormer):]
}
