package ecs

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/malote/malote/store"
)

const defaultProtection = 120 // minutes

// UpdateTaskProtection keeps tasks of services from being stopped to scale in or to deploy,
// for a time, or ends that.
func (s *Service) UpdateTaskProtection(ctx context.Context, in *ecs.UpdateTaskProtectionInput) (*ecs.UpdateTaskProtectionOutput, error) {
	out := new(ecs.UpdateTaskProtectionOutput)
	minutes := aws.ToInt32(in.ExpiresInMinutes)
	if in.ExpiresInMinutes == nil {
		minutes = defaultProtection
	}
	check := func() error {
		if minutes < 1 || minutes > 2880 {
			return invalidParameter("expiresInMinutes must be between 1 and 2880.")
		}
		if len(in.Tasks) < 1 {
			return invalidParameter("Tasks cannot be empty.")
		}
		return nil
	}
	var err error
	out.ProtectedTasks, out.Failures, err = s.protection(ctx, "ecs:UpdateTaskProtection", in.Cluster, in.Tasks, check, s.store.Update, func(tx store.Tx, sc scope, t *task) (*task, error) {
		t = copyOf(t)
		t.Protected = nil
		if in.ProtectionEnabled {
			t.Protected = aws.Time(s.now().UTC().Add(time.Duration(minutes) * time.Minute))
		}
		return t, s.changed(tx, sc, t)
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// GetTaskProtection answers which tasks of services are protected, and until when.
func (s *Service) GetTaskProtection(ctx context.Context, in *ecs.GetTaskProtectionInput) (*ecs.GetTaskProtectionOutput, error) {
	check := func() error {
		if len(in.Tasks) < 1 {
			return invalidParameter("Tasks cannot be empty.")
		}
		return nil
	}
	out := new(ecs.GetTaskProtectionOutput)
	var err error
	out.ProtectedTasks, out.Failures, err = s.protection(ctx, "ecs:GetTaskProtection", in.Cluster, in.Tasks, check, s.store.View, func(_ store.Tx, _ scope, t *task) (*task, error) {
		return t, nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// protection does something with each of up to ten tasks that a request names.
func (s *Service) protection(
	ctx context.Context, action string, clusterRef *string, refs []string, check func() error,
	in func(context.Context, func(store.Tx) error) error, do func(store.Tx, scope, *task) (*task, error),
) ([]types.ProtectedTask, []types.Failure, error) {
	sc := scopeOf(ctx)
	cluster, clusterErr := sc.clusterName(clusterRef)
	ids := make([]string, len(refs))
	var refErr error
	for n, ref := range refs {
		id, err := sc.member("task", cluster, ref)
		if err != nil && refErr == nil {
			refErr = err
		}
		if ids[n] = id; id == "" {
			ids[n], id = "*", "*"
		}
		if err := s.authorizeTask(ctx, action, cluster, id); err != nil {
			return nil, nil, err
		}
	}
	if len(refs) == 0 {
		if err := s.authorizeTask(ctx, action, cluster, "*"); err != nil {
			return nil, nil, err
		}
	}
	if clusterErr != nil {
		return nil, nil, clusterErr
	}
	if err := check(); err != nil {
		return nil, nil, err
	}
	if len(refs) > 10 {
		return nil, nil, invalidParameter("Tasks cannot have more than 10 elements.")
	}
	if refErr != nil {
		return nil, nil, refErr
	}

	var tasks []types.ProtectedTask
	var failures []types.Failure
	err := in(ctx, func(tx store.Tx) error {
		tasks, failures = []types.ProtectedTask{}, []types.Failure{}
		if _, err := s.activeCluster(tx, sc, cluster); err != nil {
			return err
		}
		for n, id := range ids {
			t, err := s.findTask(tx, sc, cluster, id)
			if err != nil {
				return err
			}
			switch {
			case t == nil:
				failures = append(failures, types.Failure{Arn: aws.String(refs[n]), Reason: aws.String("MISSING")})
				continue
			case t.Service == "" || *t.Task.DesiredStatus != "RUNNING":
				failures = append(failures, types.Failure{
					Arn: t.Task.TaskArn, Reason: aws.String("TASK_NOT_VALID"), Detail: aws.String("The task is not a task of a service that should run."),
				})
				continue
			}
			if t, err = do(tx, sc, t); err != nil {
				return err
			}
			p := types.ProtectedTask{TaskArn: t.Task.TaskArn, ProtectionEnabled: t.protected(s.now())}
			if p.ProtectionEnabled {
				p.ExpirationDate = t.Protected
			}
			tasks = append(tasks, p)
		}
		return nil
	})
	return tasks, failures, err
}
