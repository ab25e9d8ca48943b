package ecs

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/malote/malote/authz"
	"github.com/malote/malote/store"
)

// DescribeServices answers what it finds; the rest are failures.
func (s *Service) DescribeServices(ctx context.Context, in *ecs.DescribeServicesInput) (*ecs.DescribeServicesOutput, error) {
	refs := make([]serviceRef, len(in.Services))
	var refErr error
	for n := range in.Services {
		r, _, err := s.authorizeService(ctx, in.Cluster, &in.Services[n], &authz.Access{Action: "ecs:DescribeServices"})
		if err != nil && !misnamed(err) {
			return nil, err
		}
		if err != nil && refErr == nil {
			refErr = err
		}
		refs[n] = r
	}
	if len(refs) == 0 {
		if _, _, err := s.authorizeService(ctx, in.Cluster, nil, &authz.Access{Action: "ecs:DescribeServices"}); err != nil && !misnamed(err) {
			return nil, err
		}
	}
	switch {
	case len(refs) == 0:
		return nil, invalidParameter("Services cannot be empty.")
	case len(refs) > 10:
		return nil, invalidParameter("Services cannot have more than 10 elements.")
	case refErr != nil:
		return nil, refErr
	}

	var out *ecs.DescribeServicesOutput
	err := s.store.View(ctx, func(tx store.Tx) error {
		out = &ecs.DescribeServicesOutput{Services: []types.Service{}, Failures: []types.Failure{}}
		if _, err := s.activeCluster(tx, refs[0].scope, refs[0].cluster); err != nil {
			return err
		}
		for n, r := range refs {
			var v *service
			if r.name != "" {
				var err error
				if v, err = s.findService(tx, r.scope, r.cluster, r.name); err != nil {
					return err
				}
			}
			if v == nil {
				arn := in.Services[n]
				if !strings.HasPrefix(arn, "arn:") {
					arn = r.serviceARN(r.cluster, arn)
				}
				out.Failures = append(out.Failures, types.Failure{Arn: aws.String(arn), Reason: aws.String("MISSING")})
				continue
			}
			d, err := s.describeService(tx, r.scope, v, slices.Contains(in.Include, types.ServiceFieldTags))
			if err != nil {
				return err
			}
			out.Services = append(out.Services, *d)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// misnamed tells that an error is about what a request calls a thing, which is told after
// what the caller may not do.
func misnamed(err error) bool {
	return errors.As(err, new(*types.InvalidParameterException)) || errors.As(err, new(*types.ClusterNotFoundException))
}

// ListServices lists the ARNs of the services of a cluster that are not deleted.
func (s *Service) ListServices(ctx context.Context, in *ecs.ListServicesInput) (*ecs.ListServicesOutput, error) {
	sc := scopeOf(ctx)
	cluster, err := sc.clusterName(in.Cluster)
	if denied := s.authz.Authorize(ctx, &authz.Access{
		Action: "ecs:ListServices", Resource: "*", Conditions: map[string][]string{"ecs:cluster": {sc.clusterARN(cluster)}},
	}); denied != nil {
		return nil, denied
	}
	if err != nil {
		return nil, err
	}
	var arns []string
	err = s.store.View(ctx, func(tx store.Tx) error {
		arns = nil
		if _, err := s.activeCluster(tx, sc, cluster); err != nil {
			return err
		}
		for row, err := range s.services.Scan(tx, sc.prefix("service", cluster), "") {
			if err != nil {
				return err
			}
			v := row.Value
			if v.Status == statusInactive || in.SchedulingStrategy != "" && v.Strategy != in.SchedulingStrategy ||
				in.ResourceManagementType != "" && in.ResourceManagementType != types.ResourceManagementTypeCustomer {
				continue
			}
			if in.LaunchType != "" {
				r, err := s.revision(tx, sc, cluster, v.Name, v.primary().ID)
				if err != nil {
					return err
				}
				if r == nil || r.LaunchType != in.LaunchType {
					continue
				}
			}
			arns = append(arns, sc.serviceARN(cluster, v.Name))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	out := new(ecs.ListServicesOutput)
	out.ServiceArns, out.NextToken, err = page(arns, in.MaxResults, in.NextToken, ascending)
	return out, err
}

// counts are the tasks of one rollout.
type counts struct{ wanted, pending, running int32 }

// census counts the tasks of a service by rollout.
func (s *Service) census(tx store.Tx, sc scope, v *service) (map[string]*counts, error) {
	by := map[string]*counts{}
	for i := range v.Rollouts {
		by[v.Rollouts[i].ID] = new(counts)
	}
	prefix := sc.prefix("service-task", v.Cluster, v.Name)
	for row, err := range s.members.Scan(tx, prefix, "") {
		if err != nil {
			return nil, err
		}
		n := by[row.Value.Rollout]
		if row.Value.Ended || n == nil {
			continue
		}
		t, err := s.tasks.Get(tx, sc.key("task", v.Cluster, strings.TrimPrefix(row.Key, prefix)))
		if err != nil {
			return nil, err
		}
		if *t.Task.DesiredStatus == "RUNNING" {
			n.wanted++
		}
		switch at := rank(*t.Task.LastStatus); {
		case at < rank("RUNNING"):
			n.pending++
		case at == rank("RUNNING"):
			n.running++
		}
	}
	return by, nil
}

// describeService is a service as the API shows it.
func (s *Service) describeService(tx store.Tx, sc scope, v *service, tags bool) (*types.Service, error) {
	by, err := s.census(tx, sc, v)
	if err != nil {
		return nil, err
	}
	kept, err := s.eventsFor(tx, sc, v)
	if err != nil {
		return nil, err
	}
	configuration := v.Configuration
	d := &types.Service{
		ServiceArn: aws.String(sc.serviceARN(v.Cluster, v.Name)), ServiceName: aws.String(v.Name), ClusterArn: aws.String(sc.clusterARN(v.Cluster)),
		Status: aws.String(v.Status), SchedulingStrategy: v.Strategy, DesiredCount: v.Desired,
		DeploymentConfiguration: &configuration, DeploymentController: &types.DeploymentController{Type: types.DeploymentControllerTypeEcs},
		Deployments: []types.Deployment{}, Events: append([]types.ServiceEvent{}, kept.Events...),
		LoadBalancers: []types.LoadBalancer{}, ServiceRegistries: []types.ServiceRegistry{},
		PlacementConstraints: append([]types.PlacementConstraint{}, v.Constraints...), PlacementStrategy: append([]types.PlacementStrategy{}, v.Placement...),
		PropagateTags: v.Propagate, EnableECSManagedTags: v.ManagedTags, EnableExecuteCommand: v.Exec, HealthCheckGracePeriodSeconds: v.GracePeriod,
		AvailabilityZoneRebalancing: types.AvailabilityZoneRebalancingDisabled, ResourceManagementType: types.ResourceManagementTypeCustomer,
		CreatedAt: aws.Time(v.CreatedAt), CreatedBy: aws.String(v.CreatedBy), Tags: []types.Tag{},
	}
	if tags {
		d.Tags = append(d.Tags, v.Tags...)
	}
	for i := range v.Rollouts {
		o := &v.Rollouts[i]
		n := by[o.ID]
		d.RunningCount += n.running
		d.PendingCount += n.pending
		r, err := s.revision(tx, sc, v.Cluster, v.Name, o.ID)
		if err != nil {
			return nil, err
		}
		if v.Status == statusInactive {
			continue
		}
		x := types.Deployment{
			Id: aws.String(deploymentID(o.ID)), Status: aws.String("ACTIVE"), TaskDefinition: aws.String(sc.definitionARN(o.Family, o.Revision)),
			DesiredCount: n.wanted, PendingCount: n.pending, RunningCount: n.running, FailedTasks: o.Failed,
			CreatedAt: aws.Time(o.CreatedAt), UpdatedAt: aws.Time(o.UpdatedAt), RolloutState: o.State, RolloutStateReason: aws.String(o.Reason),
		}
		if i == 0 {
			x.Status, x.DesiredCount = aws.String("PRIMARY"), v.Desired
		}
		if r != nil {
			x.NetworkConfiguration, x.CapacityProviderStrategy, x.VolumeConfigurations = r.Network, r.Providers, r.Volumes
			x.FargateEphemeralStorage = r.ephemeralStorage()
			if len(r.Providers) == 0 {
				x.LaunchType = r.LaunchType
			}
			if r.Platform != "" {
				x.PlatformVersion, x.PlatformFamily = aws.String(r.Platform), aws.String("Linux")
			}
			d.CurrentServiceRevisions = append(d.CurrentServiceRevisions, types.ServiceCurrentRevisionSummary{
				Arn: aws.String(sc.revisionARN(v.Cluster, v.Name, r.ID)), RequestedTaskCount: x.DesiredCount, PendingTaskCount: n.pending, RunningTaskCount: n.running,
			})
		}
		d.Deployments = append(d.Deployments, x)
		if i == 0 {
			d.TaskDefinition, d.LaunchType, d.NetworkConfiguration = x.TaskDefinition, x.LaunchType, x.NetworkConfiguration
			d.PlatformFamily, d.CapacityProviderStrategy = x.PlatformFamily, x.CapacityProviderStrategy
			if x.PlatformVersion != nil {
				d.PlatformVersion = aws.String(cmp.Or(r.Asked, latestPlatform)) // what was asked for; the deployment has what that is
			}
			if o.State == types.DeploymentRolloutStateInProgress {
				d.CurrentServiceDeployment = aws.String(sc.serviceDeploymentARN(v.Cluster, v.Name, o.Deployment))
			}
		}
	}
	return d, nil
}
