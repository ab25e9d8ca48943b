package ecs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/malote/malote/authz"
	"github.com/malote/malote/service/ecs/deployment"
	"github.com/malote/malote/store"
)

// serviceDeployment is the record of a change of a service from one revision to another,
// and of the way back if it failed. Its ids grow with time.
type serviceDeployment struct {
	ID            string
	Target        string   // the revision that it is to have
	Sources       []string // those that it had
	Status        types.ServiceDeploymentStatus
	Reason        string `json:",omitempty"`
	Configuration types.DeploymentConfiguration
	Failures      int32 `json:",omitempty"`
	Tripped       bool  `json:",omitempty"` // the circuit breaker opened
	Rollback      *types.Rollback
	BackTo        string `json:",omitempty"` // the revision that a rollback goes to
	CreatedAt     time.Time
	StartedAt     time.Time
	UpdatedAt     time.Time
	FinishedAt    *time.Time
	StoppedAt     *time.Time
}

// keepDeployments is how many of a service are kept.
const keepDeployments = 50

// newServiceDeploymentID is the time and chance.
func newServiceDeploymentID(at time.Time) string {
	return fmt.Sprintf("%012x", at.UnixMilli()) + newID()[:10]
}

func (s *Service) serviceDeployment(tx store.Tx, sc scope, cluster, name, id string) (*serviceDeployment, error) {
	d, err := s.serviceDeployments.Get(tx, sc.key("service-deployment", cluster, name, id))
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	return d, err
}

// changeDeployment changes the service deployment that rollout o belongs to.
func (s *Service) changeDeployment(tx store.Tx, sc scope, v *service, o *rollout, change func(*serviceDeployment)) error {
	d, err := s.serviceDeployment(tx, sc, v.Cluster, v.Name, o.Deployment)
	if err != nil || d == nil {
		return err
	}
	d = copyOf(d)
	change(d)
	d.UpdatedAt = s.now().UTC()
	return s.serviceDeployments.Put(tx, sc.key("service-deployment", v.Cluster, v.Name, d.ID), d)
}

func (d *serviceDeployment) finish(status types.ServiceDeploymentStatus, at time.Time, reason string) {
	d.Status, d.Reason, d.FinishedAt = status, reason, &at
	if status == types.ServiceDeploymentStatusStopped {
		d.StoppedAt = &at
	}
}

// overtake ends the deployment of the PRIMARY rollout, since another takes its place.
func (s *Service) overtake(tx store.Tx, sc scope, v *service) error {
	if v.primary().State != types.DeploymentRolloutStateInProgress {
		return nil
	}
	return s.changeDeployment(tx, sc, v, v.primary(), func(d *serviceDeployment) {
		d.finish(types.ServiceDeploymentStatusStopped, s.now().UTC(), "A new deployment of the service started.")
	})
}

// prune forgets the oldest service deployments beyond keepDeployments, and revisions that
// neither a deployment nor the service still names.
func (s *Service) prune(tx store.Tx, sc scope, v *service) error {
	var all []*serviceDeployment
	for row, err := range s.serviceDeployments.Scan(tx, sc.prefix("service-deployment", v.Cluster, v.Name), "") {
		if err != nil {
			return err
		}
		all = append(all, row.Value)
	}
	if len(all) <= keepDeployments {
		return nil
	}
	named := map[string]bool{v.Completed: true}
	for i := range v.Rollouts {
		named[v.Rollouts[i].ID] = true
	}
	for _, d := range all[1:] {
		named[d.Target], named[d.BackTo] = true, true
		for _, id := range d.Sources {
			named[id] = true
		}
	}
	for _, id := range append([]string{all[0].Target, all[0].BackTo}, all[0].Sources...) {
		if id == "" || named[id] {
			continue
		}
		if err := s.revisions.Delete(tx, sc.key("service-revision", v.Cluster, v.Name, id)); err != nil {
			return err
		}
	}
	return s.serviceDeployments.Delete(tx, sc.key("service-deployment", v.Cluster, v.Name, all[0].ID))
}

// part splits an ARN of a part of a service: kind/CLUSTER/SERVICE/ID.
func (sc scope) part(kind, arn string) (r serviceRef, id string, err error) {
	owner, resource, ok := splitARN(arn)
	parts := strings.Split(resource, "/")
	if !ok || len(parts) != 4 || parts[0] != kind {
		return r, "", invalidParameter("Invalid identifier: '%s' is not the ARN of a %s.", arn, strings.ReplaceAll(kind, "-", " "))
	}
	if owner != sc {
		return r, "", nil
	}
	return serviceRef{sc, parts[1], parts[2]}, parts[3], nil
}

// authorizeParts asks for an action on each of the parts' ARNs.
func (s *Service) authorizeParts(ctx context.Context, action, kind string, arns []string) error {
	sc := scopeOf(ctx)
	for _, arn := range arns {
		access := &authz.Access{Action: action, Resource: arn, Conditions: map[string][]string{}}
		if r, _, err := sc.part(kind, arn); err == nil && r.name != "" {
			access.Conditions["ecs:cluster"] = []string{sc.clusterARN(r.cluster)}
			access.Conditions["ecs:service"] = []string{sc.serviceARN(r.cluster, r.name)}
		}
		if err := s.authz.Authorize(ctx, access); err != nil {
			return err
		}
	}
	if len(arns) == 0 {
		return s.authz.Authorize(ctx, &authz.Access{Action: action, Resource: "*"})
	}
	return nil
}

// DescribeServiceDeployments answers what it finds; the rest are failures.
func (s *Service) DescribeServiceDeployments(ctx context.Context, in *ecs.DescribeServiceDeploymentsInput) (*ecs.DescribeServiceDeploymentsOutput, error) {
	if err := s.authorizeParts(ctx, "ecs:DescribeServiceDeployments", "service-deployment", in.ServiceDeploymentArns); err != nil {
		return nil, err
	}
	if n := len(in.ServiceDeploymentArns); n < 1 || n > 20 {
		return nil, invalidParameter("You must specify between 1 and 20 service deployment ARNs.")
	}
	sc := scopeOf(ctx)
	var out *ecs.DescribeServiceDeploymentsOutput
	err := s.store.View(ctx, func(tx store.Tx) error {
		out = &ecs.DescribeServiceDeploymentsOutput{ServiceDeployments: []types.ServiceDeployment{}, Failures: []types.Failure{}}
		for _, arn := range in.ServiceDeploymentArns {
			r, id, err := sc.part("service-deployment", arn)
			if err != nil {
				return err
			}
			d, err := s.serviceDeployment(tx, sc, r.cluster, r.name, id)
			if err != nil {
				return err
			}
			if d == nil {
				out.Failures = append(out.Failures, types.Failure{Arn: aws.String(arn), Reason: aws.String("MISSING")})
				continue
			}
			x, err := s.describeDeployment(tx, r, d)
			if err != nil {
				return err
			}
			out.ServiceDeployments = append(out.ServiceDeployments, *x)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (s *Service) describeDeployment(tx store.Tx, r serviceRef, d *serviceDeployment) (*types.ServiceDeployment, error) {
	v, err := s.findService(tx, r.scope, r.cluster, r.name)
	if err != nil {
		return nil, err
	}
	by, desired := map[string]*counts{}, int32(0)
	if v != nil {
		if by, err = s.census(tx, r.scope, v); err != nil {
			return nil, err
		}
		desired = v.Desired
	}
	summary := func(id string, wanted int32) types.ServiceRevisionSummary {
		x := types.ServiceRevisionSummary{Arn: aws.String(r.revisionARN(r.cluster, r.name, id)), RequestedTaskCount: wanted}
		if n := by[id]; n != nil {
			x.PendingTaskCount, x.RunningTaskCount = n.pending, n.running
		}
		return x
	}
	target := summary(d.Target, desired)
	configuration := d.Configuration
	x := &types.ServiceDeployment{
		ServiceDeploymentArn: aws.String(r.serviceDeploymentARN(r.cluster, r.name, d.ID)),
		ServiceArn:           aws.String(r.serviceARN(r.cluster, r.name)), ClusterArn: aws.String(r.clusterARN(r.cluster)),
		Status: d.Status, TargetServiceRevision: &target, SourceServiceRevisions: []types.ServiceRevisionSummary{},
		CreatedAt: aws.Time(d.CreatedAt), StartedAt: aws.Time(d.StartedAt), UpdatedAt: aws.Time(d.UpdatedAt),
		FinishedAt: d.FinishedAt, StoppedAt: d.StoppedAt, Rollback: d.Rollback, DeploymentConfiguration: &configuration,
	}
	if d.Reason != "" {
		x.StatusReason = aws.String(d.Reason)
	}
	for _, id := range d.Sources {
		wanted := int32(0)
		if n := by[id]; n != nil {
			wanted = n.wanted
		}
		x.SourceServiceRevisions = append(x.SourceServiceRevisions, summary(id, wanted))
	}
	x.DeploymentCircuitBreaker = &types.ServiceDeploymentCircuitBreaker{
		Status: types.ServiceDeploymentRollbackMonitorsStatusDisabled, FailureCount: d.Failures, Threshold: int32(deployment.Threshold(int(desired))),
	}
	if b := d.Configuration.DeploymentCircuitBreaker; b != nil && b.Enable {
		switch {
		case d.Tripped:
			x.DeploymentCircuitBreaker.Status = types.ServiceDeploymentRollbackMonitorsStatusTriggered
		case d.FinishedAt != nil:
			x.DeploymentCircuitBreaker.Status = types.ServiceDeploymentRollbackMonitorsStatusMonitoringComplete
		default:
			x.DeploymentCircuitBreaker.Status = types.ServiceDeploymentRollbackMonitorsStatusMonitoring
		}
	}
	return x, nil
}

// ListServiceDeployments lists a service's deployments, the newest first.
func (s *Service) ListServiceDeployments(ctx context.Context, in *ecs.ListServiceDeploymentsInput) (*ecs.ListServiceDeploymentsOutput, error) {
	r, _, err := s.authorizeService(ctx, in.Cluster, in.Service, &authz.Access{Action: "ecs:ListServiceDeployments"})
	if err != nil {
		return nil, err
	}
	briefs := map[string]types.ServiceDeploymentBrief{}
	var ids []string
	err = s.store.View(ctx, func(tx store.Tx) error {
		ids = nil
		if _, err := s.activeCluster(tx, r.scope, r.cluster); err != nil {
			return err
		}
		if v, err := s.findService(tx, r.scope, r.cluster, r.name); err != nil {
			return err
		} else if v == nil {
			return serviceNotFound()
		}
		for row, err := range s.serviceDeployments.Scan(tx, r.prefix("service-deployment", r.cluster, r.name), "") {
			if err != nil {
				return err
			}
			d := row.Value
			if len(in.Status) > 0 && !slices.Contains(in.Status, d.Status) {
				continue
			}
			if at := in.CreatedAt; at != nil && (at.After != nil && d.CreatedAt.Before(*at.After) || at.Before != nil && d.CreatedAt.After(*at.Before)) {
				continue
			}
			x, err := s.describeDeployment(tx, r, d)
			if err != nil {
				return err
			}
			ids = append(ids, d.ID)
			briefs[d.ID] = types.ServiceDeploymentBrief{
				ServiceDeploymentArn: x.ServiceDeploymentArn, ServiceArn: x.ServiceArn, ClusterArn: x.ClusterArn, Status: x.Status, StatusReason: x.StatusReason,
				CreatedAt: x.CreatedAt, StartedAt: x.StartedAt, FinishedAt: x.FinishedAt, TargetServiceRevisionArn: x.TargetServiceRevision.Arn,
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.Reverse(ids)
	out := &ecs.ListServiceDeploymentsOutput{ServiceDeployments: []types.ServiceDeploymentBrief{}}
	ids, out.NextToken, err = page(ids, in.MaxResults, in.NextToken, func(item, last string) bool { return item < last })
	for _, id := range ids {
		out.ServiceDeployments = append(out.ServiceDeployments, briefs[id])
	}
	return out, err
}

// DescribeServiceRevisions answers what it finds; the rest are failures.
func (s *Service) DescribeServiceRevisions(ctx context.Context, in *ecs.DescribeServiceRevisionsInput) (*ecs.DescribeServiceRevisionsOutput, error) {
	if err := s.authorizeParts(ctx, "ecs:DescribeServiceRevisions", "service-revision", in.ServiceRevisionArns); err != nil {
		return nil, err
	}
	if n := len(in.ServiceRevisionArns); n < 1 || n > 20 {
		return nil, invalidParameter("You must specify between 1 and 20 service revision ARNs.")
	}
	sc := scopeOf(ctx)
	var out *ecs.DescribeServiceRevisionsOutput
	err := s.store.View(ctx, func(tx store.Tx) error {
		out = &ecs.DescribeServiceRevisionsOutput{ServiceRevisions: []types.ServiceRevision{}, Failures: []types.Failure{}}
		for _, arn := range in.ServiceRevisionArns {
			r, id, err := sc.part("service-revision", arn)
			if err != nil {
				return err
			}
			v, err := s.revision(tx, sc, r.cluster, r.name, id)
			if err != nil {
				return err
			}
			if v == nil {
				out.Failures = append(out.Failures, types.Failure{Arn: aws.String(arn), Reason: aws.String("MISSING")})
				continue
			}
			x := types.ServiceRevision{
				ServiceRevisionArn: aws.String(arn), ServiceArn: aws.String(sc.serviceARN(r.cluster, r.name)), ClusterArn: aws.String(sc.clusterARN(r.cluster)),
				TaskDefinition: aws.String(sc.definitionARN(v.Family, v.Revision)), NetworkConfiguration: v.Network,
				VolumeConfigurations: v.Volumes, CapacityProviderStrategy: v.Providers, ContainerImages: v.Images, CreatedAt: aws.Time(v.CreatedAt),
				FargateEphemeralStorage: v.ephemeralStorage(),
			}
			if len(v.Providers) == 0 {
				x.LaunchType = v.LaunchType
			}
			if v.Platform != "" {
				x.PlatformVersion, x.PlatformFamily = aws.String(v.Platform), aws.String("Linux")
			}
			out.ServiceRevisions = append(out.ServiceRevisions, x)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// StopServiceDeployment ends a deployment that is in progress by rolling it back.
func (s *Service) StopServiceDeployment(ctx context.Context, in *ecs.StopServiceDeploymentInput) (*ecs.StopServiceDeploymentOutput, error) {
	arn := aws.ToString(in.ServiceDeploymentArn)
	if err := s.authorizeParts(ctx, "ecs:StopServiceDeployment", "service-deployment", []string{arn}); err != nil {
		return nil, err
	}
	if in.StopType == types.StopServiceDeploymentStopTypeAbort {
		return nil, unsupported("stopType: ABORT")
	}
	r, id, err := scopeOf(ctx).part("service-deployment", arn)
	if err != nil {
		return nil, err
	}
	err = s.store.Update(ctx, func(tx store.Tx) error {
		v, err := s.findService(tx, r.scope, r.cluster, r.name)
		if err != nil {
			return err
		}
		d, err := s.serviceDeployment(tx, r.scope, r.cluster, r.name, id)
		if err != nil {
			return err
		}
		if v == nil || d == nil {
			return &types.ServiceDeploymentNotFoundException{Message: aws.String("Service deployment not found.")}
		}
		if d.Status == types.ServiceDeploymentStatusRollbackInProgress || d.Status == types.ServiceDeploymentStatusRollbackRequested {
			return nil // it is on its way back already
		}
		if d.Status != types.ServiceDeploymentStatusInProgress || len(v.Rollouts) == 0 || v.primary().Deployment != id {
			return &types.ConflictException{Message: aws.String("The service deployment is not in progress: its status is " + string(d.Status) + ".")}
		}
		v = copyOf(v)
		if v.Completed == "" || v.Completed == v.primary().ID {
			return &types.ConflictException{Message: aws.String("The service has no earlier completed deployment to roll back to.")}
		}
		if err := s.rollBack(tx, r.scope, v, "Rollback was requested by StopServiceDeployment.", false); err != nil {
			return err
		}
		if err := s.putService(tx, r.scope, v); err != nil {
			return err
		}
		return s.wake(tx, r.scope, v.Cluster, v.Name)
	})
	if err != nil {
		return nil, err
	}
	return &ecs.StopServiceDeploymentOutput{ServiceDeploymentArn: aws.String(arn)}, nil
}
