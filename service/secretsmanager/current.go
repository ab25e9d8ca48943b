package secretsmanager

import (
	"context"
	"errors"
	"strings"

	"github.com/malote/malote/caller"
	"github.com/malote/malote/store"
)

// Watch sends a nudge after secrets changed, until ctx ends.
func Watch(ctx context.Context, s *Service) <-chan struct{} { return s.store.Watch(ctx, root) }

// Current is the id of the version that a staging label of a secret is on, "" when there is no
// such secret or it may not be read any more. It asks nobody's permission: who is told is for
// the caller to decide.
func Current(ctx context.Context, s *Service, arn, stage string) (string, error) {
	parts := strings.SplitN(arn, ":", 5)
	if len(parts) < 5 {
		return "", nil
	}
	id := parseSecretID(arn, parts[3], "")
	x, err := s.find(ctx, &id, parts[3], nil)
	if errors.Is(err, store.ErrNotFound) || err == nil && !x.Deletion.IsZero() {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	v := x.holder(stage)
	if v == nil || v.Key == "" {
		return "", nil
	}
	return v.ID, nil
}

// MayRead reports whether the caller of ctx might read the version of a secret that a staging
// label is on, and leaves no record of it.
func MayRead(ctx context.Context, s *Service, arn, stage string) (bool, error) {
	request := caller.From(ctx)
	id := parseSecretID(arn, request.Region, request.Principal.Account)
	x, err := s.find(ctx, &id, request.Region, nil)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return s.stillMay(ctx, access{
		action: "secretsmanager:GetSecretValue", secretID: arn, conditions: map[string][]string{"secretsmanager:VersionStage": {stage}},
	}, x)
}
