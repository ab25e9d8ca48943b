package controlplane

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/malote/malote/caller"
	"github.com/malote/malote/service/ecs"
	"github.com/malote/malote/service/iam/directory"
	"github.com/malote/malote/service/secretsmanager"
	"github.com/malote/malote/service/ssm"
)

// versions answers ECS which versions of secrets and parameters are the current ones.
type versions struct {
	secrets    *secretsmanager.Service
	parameters *ssm.Service
	people     *directory.Directory
	now        func() time.Time
}

// Changes joins those of both.
func (v versions) Changes(ctx context.Context) <-chan struct{} {
	secrets, parameters := secretsmanager.Watch(ctx, v.secrets), ssm.Watch(ctx, v.parameters)
	changes := make(chan struct{}, 1)
	go func() {
		for {
			var ok bool
			select {
			case _, ok = <-secrets:
			case _, ok = <-parameters:
			}
			if !ok {
				return
			}
			select {
			case changes <- struct{}{}:
			default:
			}
		}
	}()
	return changes
}

func (v versions) Current(ctx context.Context, arn, selector string) (string, error) {
	if strings.HasPrefix(arn, "arn:aws:ssm:") {
		return ssm.Current(ctx, v.parameters, arn, selector)
	}
	return secretsmanager.Current(ctx, v.secrets, arn, selector)
}

// MayRead asks as the task's engine would: with a session that ECS has just made of the role,
// from where the engine is. A policy that denies whoever comes from elsewhere denies a request
// that comes from nowhere, and a task that holds a secret would be overlooked.
func (v versions) MayRead(ctx context.Context, who ecs.Reader, arn, selector string) (bool, error) {
	parts := strings.SplitN(arn, ":", 6)
	if len(parts) != 6 || parts[0] != "arn" {
		return false, nil
	}
	p, err := v.people.RoleSession(ctx, who.Role, who.Session)
	if errors.Is(err, directory.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	now := v.now()
	session := *p
	session.IssuedAt = now
	ctx = caller.With(ctx, &caller.Request{
		Principal: &session, Region: parts[3], Service: parts[2], Time: now, SourceIP: who.SourceIP, Secure: true,
	})
	if parts[2] == "ssm" {
		return ssm.MayRead(ctx, v.parameters, arn)
	}
	return secretsmanager.MayRead(ctx, v.secrets, arn, selector)
}

// holders answers Secrets Manager which tasks hold a secret.
type holders struct{ tasks *ecs.Service }

func (h *holders) Holding(ctx context.Context, arns []string) ([]secretsmanager.Holder, error) {
	tasks, err := ecs.Holders(ctx, h.tasks, arns)
	if err != nil {
		return nil, err
	}
	var out []secretsmanager.Holder
	for _, t := range tasks {
		seen := map[string]bool{}
		for _, held := range t.Secrets {
			if version := held.Version; !seen[version] {
				seen[version] = true
				out = append(out, secretsmanager.Holder{TaskARN: t.TaskARN, VersionID: version})
			}
		}
	}
	return out, nil
}
