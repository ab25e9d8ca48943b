package ssm

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"github.com/malote/malote/authz"
	"github.com/malote/malote/policy"
	"github.com/malote/malote/store"
)

// Watch sends a nudge after parameters changed, until ctx ends.
func Watch(ctx context.Context, s *Service) <-chan struct{} { return s.store.Watch(ctx, "ssm/") }

// Current is the number of a parameter's latest version or, with a label, of the version that
// has it; "" when there is none. It asks nobody's permission: who is told is for the caller to
// decide.
func Current(ctx context.Context, s *Service, parameterARN, label string) (string, error) {
	rest, ok := strings.CutPrefix(parameterARN, "arn:aws:ssm:")
	parts := strings.SplitN(rest, ":", 3)
	if !ok || len(parts) != 3 {
		return "", nil
	}
	id, ok := strings.CutPrefix(parts[2], "parameter/")
	if !ok {
		return "", nil
	}
	r := ref{account: parts[1], region: parts[0], id: id, selector: label}
	var found *selected
	err := store.Look(ctx, s.store, func(tx store.Tx) (err error) {
		found, err = s.read(tx, &r)
		return err
	})
	if errors.Is(err, store.ErrNotFound) || isNotFound(err) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return strconv.FormatInt(found.version.Number, 10), nil
}

// MayRead reports whether the caller of ctx might read a parameter, and leaves no record of it.
func MayRead(ctx context.Context, s *Service, parameterARN string) (bool, error) {
	r := parseRef(ctx, parameterARN)
	var found *selected
	err := store.Look(ctx, s.store, func(tx store.Tx) (err error) {
		found, err = s.read(tx, &r)
		return err
	})
	if errors.Is(err, store.ErrNotFound) || isNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	source, err := found.policy()
	if err != nil {
		return false, err
	}
	decision, err := s.authz.Decide(ctx, &authz.Access{
		Action: "ssm:GetParameters", Resource: r.arn(), Account: r.account, Tags: found.Tags, Policy: source, Kind: policy.Resource,
	})
	return decision.Allowed, err
}
