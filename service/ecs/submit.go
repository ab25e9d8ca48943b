package ecs

import (
	"cmp"
	"context"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/malote/malote/authz"
	"github.com/malote/malote/internal/lazyregexp"
	"github.com/malote/malote/store"
)

// SubmitTaskStateChange is how an engine tells what became of a task. News of a task
// that is gone is acknowledged: there is nothing left to do about it.
func (s *Service) SubmitTaskStateChange(ctx context.Context, in *ecs.SubmitTaskStateChangeInput) (*ecs.SubmitTaskStateChangeOutput, error) {
	if len(in.Attachments) > 0 || len(in.ManagedAgents) > 0 {
		if err := s.authorizeSubmit(ctx, "ecs:SubmitTaskStateChange", in.Cluster); err != nil {
			return nil, err
		}
		if len(in.Attachments) > 0 {
			return nil, unsupported("attachments")
		}
		return nil, unsupported("managedAgents")
	}
	err := s.submit(ctx, "ecs:SubmitTaskStateChange", in.Cluster, aws.ToString(in.Task), func(tx store.Tx, sc scope, t *task) error {
		for i := range in.Containers {
			c := &in.Containers[i]
			t.report(s.now().UTC(), aws.ToString(c.ContainerName), aws.ToString(c.Status), c.ExitCode, c.Reason, c.RuntimeId, c.ImageDigest, c.NetworkBindings)
		}
		if t.Task.PullStartedAt == nil {
			t.Task.PullStartedAt = utc(in.PullStartedAt)
		}
		if in.PullStoppedAt != nil {
			t.Task.PullStoppedAt = utc(in.PullStoppedAt)
		}
		if t.Task.ExecutionStoppedAt == nil {
			t.Task.ExecutionStoppedAt = utc(in.ExecutionStoppedAt)
		}
		now := s.now().UTC()
		switch status := strings.ToUpper(aws.ToString(in.Status)); status {
		case "STOPPED":
			t.ended(aws.ToString(in.Reason))
			return s.ended(tx, sc, t)
		case "RUNNING":
			if t.advance(status) || t.Task.StartedAt == nil {
				t.Task.StartedAt = &now
			}
		default:
			if rank(status) < 0 {
				status = "PENDING"
			}
			t.advance(status)
		}
		return s.changed(tx, sc, t)
	})
	if err != nil {
		return nil, err
	}
	return &ecs.SubmitTaskStateChangeOutput{Acknowledgment: aws.String("ACK")}, nil
}

// SubmitContainerStateChange is how an engine tells what became of one container.
func (s *Service) SubmitContainerStateChange(ctx context.Context, in *ecs.SubmitContainerStateChangeInput) (*ecs.SubmitContainerStateChangeOutput, error) {
	err := s.submit(ctx, "ecs:SubmitContainerStateChange", in.Cluster, aws.ToString(in.Task), func(tx store.Tx, sc scope, t *task) error {
		t.report(s.now().UTC(), aws.ToString(in.ContainerName), aws.ToString(in.Status), in.ExitCode, in.Reason, in.RuntimeId, nil, in.NetworkBindings)
		return s.putTask(tx, sc, t)
	})
	if err != nil {
		return nil, err
	}
	return &ecs.SubmitContainerStateChangeOutput{Acknowledgment: aws.String("ACK")}, nil
}

func (s *Service) authorizeSubmit(ctx context.Context, action string, ref *string) error {
	cluster, err := scopeOf(ctx).clusterName(ref)
	if err != nil {
		cluster = ""
	}
	return s.authz.Authorize(ctx, &authz.Access{Action: action, Resource: scopeOf(ctx).clusterARN(cluster)})
}

// submit applies news to a copy of a task that has not stopped.
func (s *Service) submit(ctx context.Context, action string, clusterRef *string, ref string, apply func(store.Tx, scope, *task) error) error {
	sc := scopeOf(ctx)
	if err := s.authorizeSubmit(ctx, action, clusterRef); err != nil {
		return err
	}
	cluster, err := sc.clusterName(clusterRef)
	if err != nil {
		return err
	}
	id, err := sc.member("task", cluster, ref)
	if err != nil {
		return err
	}
	return s.store.Update(ctx, func(tx store.Tx) error {
		t, err := s.findTask(tx, sc, cluster, id)
		if err != nil || t == nil || *t.Task.LastStatus == "STOPPED" {
			return err
		}
		if refusal, err := s.owned(ctx, tx, sc, t); err != nil || refusal != nil {
			return cmp.Or(err, refusal)
		}
		return apply(tx, sc, copyOf(t))
	})
}

// report records what an engine says of a container. What it leaves out stays.
func (t *task) report(now time.Time, name, status string, exitCode *int32, reason, runtimeID, digest *string, bindings []types.NetworkBinding) {
	for i := range t.Task.Containers {
		c := &t.Task.Containers[i]
		if aws.ToString(c.Name) != name {
			continue
		}
		if status = strings.ToUpper(status); rank(status) > rank(aws.ToString(c.LastStatus)) {
			c.LastStatus = aws.String(status)
			t.manage(c, now)
		}
		if exitCode != nil {
			c.ExitCode = exitCode
		}
		if aws.ToString(reason) != "" {
			c.Reason = aws.String(shorten(*reason))
		}
		if aws.ToString(runtimeID) != "" {
			c.RuntimeId = runtimeID
		}
		if aws.ToString(digest) != "" {
			c.ImageDigest = digest
		}
		if bindings != nil {
			c.NetworkBindings = bindings
		}
	}
}

// shorten keeps a reason within what the API lets one be. It ends after a word: half an ARN
// could be taken for a whole one.
func shorten(reason string) string {
	const most, more = 1024, " …"
	if len(reason) <= most {
		return reason
	}
	reason = reason[:most-len(more)]
	if i := strings.LastIndexByte(reason, ' '); i > 0 {
		reason = reason[:i]
	}
	return strings.ToValidUTF8(reason, "") + more
}

const essentialExited = "Essential container in task exited"

// startFailure is the name that a reason begins with when a container never ran.
var startFailure = lazyregexp.New(`^(Cannot(Pull|Create|Start)\w*Error|ResourceInitializationError|TaskDependencyError|VolumeError|TaskFailedToStart)\b`)

// ended settles a task's stop code and reason. Who asked for the stop first keeps it.
func (t *task) ended(reason string) {
	if t.Task.StopCode != "" {
		return
	}
	ran := t.Task.StartedAt != nil
	for _, c := range t.Task.Containers {
		ran = ran || c.ExitCode != nil && !startFailure.MatchString(aws.ToString(c.Reason))
	}
	switch {
	case reason == essentialExited, ran && !startFailure.MatchString(reason):
		t.Task.StopCode = types.TaskStopCodeEssentialContainerExited
		if reason == "" {
			reason = essentialExited
		}
	default:
		t.Task.StopCode = types.TaskStopCodeTaskFailedToStart
		if reason == "" {
			reason = "Task failed to start"
		}
	}
	t.Task.StoppedReason = aws.String(shorten(reason))
}
