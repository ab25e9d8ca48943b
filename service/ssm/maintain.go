package ssm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/malote/malote/audit"
	"github.com/malote/malote/caller"
	"github.com/malote/malote/policy"
	"github.com/malote/malote/store"
)

// An entry for each time at which a policy of a parameter is due leads Maintain there. A
// parameter that changes or goes leaves its entry behind, which then leads to nothing.
const duePrefix = "ssm/due/"

func (r *ref) dueKey(at time.Time) string {
	return fmt.Sprintf("%s%019d/%s/%s/%s", duePrefix, at.UnixMilli(), r.account, r.region, r.id)
}

// Maintain executes the parameter policies that are due: Expiration deletes the parameter,
// and each of the three leaves an event in the audit, in the shape in which EventBridge has
// it ("Parameter Store Policy Action"). What one control plane has executed, no other does
// again, nor the same after a restart; a crash right after may cost the event, for which
// AWS promises no more ("best effort").
func Maintain(ctx context.Context, s *Service) error {
	var keys []string
	limit := s.now().UnixMilli()
	err := s.store.View(ctx, func(tx store.Tx) error {
		keys = nil
		for entry, err := range tx.Scan(duePrefix, "") {
			if err != nil {
				return err
			}
			millis, _, _ := strings.Cut(strings.TrimPrefix(entry.Key, duePrefix), "/")
			if at, err := strconv.ParseInt(millis, 10, 64); err != nil || at > limit {
				return err
			}
			keys = append(keys, entry.Key)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("looking for parameter policies: %w", err)
	}
	var errs []error
	for _, key := range keys {
		if err := s.execute(ctx, key); err != nil {
			errs = append(errs, fmt.Errorf("executing parameter policies: %w", err))
		}
	}
	return errors.Join(errs...)
}

// execute does what is due for the parameter that the entry at key leads to.
func (s *Service) execute(ctx context.Context, key string) error {
	parts := strings.SplitN(strings.TrimPrefix(key, duePrefix), "/", 4)
	if len(parts) != 4 {
		return fmt.Errorf("strange entry %q", key)
	}
	r := ref{account: parts[1], region: parts[2], id: parts[3]}
	var done []inlinePolicy
	var p *parameter
	err := s.store.Update(ctx, func(tx store.Tx) (err error) {
		done = nil
		p, err = s.parameters.Get(tx, r.key())
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		changed := *p
		changed.Current.Policies = slices.Clone(p.Current.Policies)
		expired := false
		for i := range changed.Current.Policies {
			policy := &changed.Current.Policies[i]
			if policy.Status == pending && !policy.Due.After(s.now()) {
				policy.Status = finished
				done = append(done, *policy)
				expired = expired || policy.Type == expiration
			}
		}
		switch {
		case expired:
			return s.remove(tx, &r, p)
		case done == nil:
			return nil
		}
		return s.put(tx, &r, &changed)
	})
	if err != nil {
		return err
	}
	var errs []error
	for i := range done {
		errs = append(errs, s.record(ctx, &r, p, &done[i]))
	}
	// Last, for it may be one write more than a transaction takes with the versions.
	errs = append(errs, s.store.Update(ctx, func(tx store.Tx) error { return tx.Delete(key) }))
	return errors.Join(errs...)
}

// put stores p with the entry for what is due next.
func (s *Service) put(tx store.Tx, r *ref, p *parameter) error {
	if at := due(p.Current.Policies); !at.IsZero() {
		if err := tx.Put(r.dueKey(at), nil); err != nil {
			return err
		}
	}
	return s.parameters.Put(tx, r.key(), p)
}

// record leaves the event of an executed policy in the audit.
//
// https://docs.aws.amazon.com/systems-manager/latest/userguide/sysman-paramstore-cwe.html
func (s *Service) record(ctx context.Context, r *ref, p *parameter, done *inlinePolicy) error {
	if s.audit == nil {
		return nil
	}
	type detail struct {
		Name    string `json:"parameter-name"`
		Type    string `json:"parameter-type"`
		Policy  string `json:"policy-type"`
		Content string `json:"policy-content"`
		Status  string `json:"action-status"`
	}
	event, err := json.Marshal(struct {
		Source    string   `json:"source"`
		Type      string   `json:"detail-type"`
		Resources []string `json:"resources"`
		Detail    detail   `json:"detail"`
	}{"aws.ssm", "Parameter Store Policy Action", []string{r.arn()}, detail{p.Name, string(p.Current.Type), done.Type, done.Text, "Success"}})
	if err != nil {
		return err
	}
	return s.audit.Record(ctx, audit.Record{
		Time: s.now(), Service: "ssm", Name: "ParameterStorePolicyAction", Region: r.region,
		Principal: &caller.Principal{Type: caller.Service, Service: "ssm.amazonaws.com", Account: r.account},
		Resource:  r.arn(), Account: r.account, Decision: policy.Decision{Allowed: true}, Event: true, Details: event,
	})
}
