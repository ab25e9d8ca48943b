package ecs

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/malote/malote/authz"
	"github.com/malote/malote/store"
)

// DescribeTasks answers what it finds; the rest are failures.
func (s *Service) DescribeTasks(ctx context.Context, in *ecs.DescribeTasksInput) (*ecs.DescribeTasksOutput, error) {
	sc := scopeOf(ctx)
	cluster, clusterErr := sc.clusterName(in.Cluster)
	ids := make([]string, len(in.Tasks))
	var refErr error
	for n, ref := range in.Tasks {
		id, err := sc.member("task", cluster, ref)
		if err != nil && refErr == nil {
			refErr = err
		}
		if id == "" {
			id = "*"
		}
		if err := s.authorizeTask(ctx, "ecs:DescribeTasks", cluster, id); err != nil {
			return nil, err
		}
		ids[n] = id
	}
	if len(ids) == 0 {
		if err := s.authorizeTask(ctx, "ecs:DescribeTasks", cluster, "*"); err != nil {
			return nil, err
		}
	}
	switch {
	case clusterErr != nil:
		return nil, clusterErr
	case len(ids) == 0:
		return nil, invalidParameter("Tasks cannot be empty.")
	case len(ids) > 100:
		return nil, invalidParameter("Tasks cannot have more than 100 elements.")
	case refErr != nil:
		return nil, refErr
	}

	var out *ecs.DescribeTasksOutput
	err := s.store.View(ctx, func(tx store.Tx) error {
		out = &ecs.DescribeTasksOutput{Tasks: []types.Task{}, Failures: []types.Failure{}}
		if _, err := s.activeCluster(tx, sc, cluster); err != nil {
			return err
		}
		for n, id := range ids {
			t, err := s.findTask(tx, sc, cluster, id)
			if err != nil {
				return err
			}
			if t == nil {
				arn := in.Tasks[n]
				if !strings.HasPrefix(arn, "arn:") {
					arn = sc.taskARN(cluster, arn)
				}
				out.Failures = append(out.Failures, types.Failure{Arn: aws.String(arn), Reason: aws.String("MISSING")})
				continue
			}
			d, err := s.answer(tx, sc, t, slices.Contains(in.Include, types.TaskFieldTags))
			if err != nil {
				return err
			}
			out.Tasks = append(out.Tasks, d)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// ListTasks lists the ARNs of the tasks that pass every filter; without one for the
// desired status, of those that should run.
func (s *Service) ListTasks(ctx context.Context, in *ecs.ListTasksInput) (*ecs.ListTasksOutput, error) {
	sc := scopeOf(ctx)
	cluster, clusterErr := sc.clusterName(in.Cluster)
	access := &authz.Access{
		Action: "ecs:ListTasks", Resource: "*",
		Conditions: map[string][]string{"ecs:cluster": {sc.clusterARN(cluster)}},
	}
	instanceID := ""
	var instanceErr error
	if ref := aws.ToString(in.ContainerInstance); ref != "" {
		if instanceID, instanceErr = sc.member("container-instance", cluster, ref); instanceID != "" {
			access.Resource = sc.instanceARN(cluster, instanceID)
		}
	}
	if err := s.authz.Authorize(ctx, access); err != nil {
		return nil, err
	}
	switch {
	case clusterErr != nil:
		return nil, clusterErr
	case instanceErr != nil:
		return nil, instanceErr
	case aws.ToString(in.DaemonName) != "":
		return nil, &types.DaemonNotFoundException{Message: aws.String("Daemon not found.")}
	}

	service := ""
	if ref := aws.ToString(in.ServiceName); ref != "" {
		var err error
		if service, err = sc.serviceName(cluster, ref); err != nil {
			return nil, err
		}
		if service == "" {
			return nil, serviceNotFound()
		}
	}
	desired := in.DesiredStatus
	if desired == "" {
		desired = types.DesiredStatusRunning
	}
	var arns []string
	err := s.store.View(ctx, func(tx store.Tx) error {
		arns = nil
		if _, err := s.activeCluster(tx, sc, cluster); err != nil {
			return err
		}
		if aws.ToString(in.ContainerInstance) != "" {
			if i, err := s.instance(tx, sc, cluster, instanceID); err != nil {
				return err
			} else if i == nil {
				return instanceNotFound()
			}
		}
		if service != "" {
			if v, err := s.findService(tx, sc, cluster, service); err != nil {
				return err
			} else if v == nil {
				return serviceNotFound()
			}
		}
		for row, err := range s.tasks.Scan(tx, sc.prefix("task", cluster), "") {
			if err != nil {
				return err
			}
			t := row.Value
			switch {
			case s.forgotten(t),
				*t.Task.DesiredStatus != string(desired),
				instanceID != "" && t.Instance != instanceID,
				service != "" && t.Service != service,
				in.Family != nil && t.Family != *in.Family,
				in.StartedBy != nil && aws.ToString(t.Task.StartedBy) != *in.StartedBy,
				in.LaunchType != "" && t.Task.LaunchType != in.LaunchType:
				continue
			}
			arns = append(arns, *t.Task.TaskArn)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	out := new(ecs.ListTasksOutput)
	out.TaskArns, out.NextToken, err = page(arns, in.MaxResults, in.NextToken, ascending)
	return out, err
}

// StopTask asks for a task's end. One that has stopped is answered as it is.
func (s *Service) StopTask(ctx context.Context, in *ecs.StopTaskInput) (*ecs.StopTaskOutput, error) {
	sc := scopeOf(ctx)
	cluster, err := sc.clusterName(in.Cluster)
	id := ""
	if err == nil {
		id, err = sc.member("task", cluster, aws.ToString(in.Task))
	}
	resource := id
	if resource == "" {
		resource = "*"
	}
	if denied := s.authorizeTask(ctx, "ecs:StopTask", cluster, resource); denied != nil {
		return nil, denied
	}
	if err != nil {
		return nil, err
	}
	reason := aws.ToString(in.Reason)
	if len(reason) > 255 {
		return nil, invalidParameter("reason should not be longer than 255 characters.")
	}
	if reason == "" {
		reason = "Task stopped by user"
	}

	out := new(ecs.StopTaskOutput)
	err = s.store.Update(ctx, func(tx store.Tx) error {
		if _, err := s.activeCluster(tx, sc, cluster); err != nil {
			return err
		}
		t, err := s.findTask(tx, sc, cluster, id)
		if err != nil {
			return err
		}
		if t == nil {
			return taskNotFound()
		}
		if *t.Task.DesiredStatus != "STOPPED" {
			t = copyOf(t)
			if err := s.stop(tx, sc, t, types.TaskStopCodeUserInitiated, reason); err != nil {
				return err
			}
			if err := s.sweep(tx, sc, cluster); err != nil {
				return err
			}
		}
		d, err := s.answer(tx, sc, t, true)
		out.Task = &d
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// stop makes STOPPED what t should become. An engine that may know the task is told;
// else the task ends here.
func (s *Service) stop(tx store.Tx, sc scope, t *task, code types.TaskStopCode, reason string) error {
	now := s.now().UTC()
	t.Task.DesiredStatus = aws.String("STOPPED")
	t.Task.StopCode, t.Task.StoppedReason, t.Task.StoppingAt = code, aws.String(reason), &now
	if !t.Delivered {
		return s.stopped(tx, sc, t)
	}
	if *t.Task.LastStatus == "RUNNING" {
		t.advance("DEACTIVATING")
	}
	key := sc.key("placement", t.Cluster, t.Instance, t.ID)
	p, err := s.placements.Get(tx, key)
	if err != nil {
		return err
	}
	p = copyOf(p)
	p.Stop, p.Reason = true, reason
	if err := s.placements.Put(tx, key, p); err != nil {
		return err
	}
	return s.changed(tx, sc, t)
}

// utc is a time that the engine states.
func utc(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	u := t.UTC()
	return &u
}
