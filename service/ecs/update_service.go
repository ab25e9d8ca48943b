package ecs

import (
	"cmp"
	"context"
	"maps"
	"reflect"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/malote/malote/authz"
	"github.com/malote/malote/store"
)

// UpdateService changes what is asked of a service. Another task definition, network, volume,
// platform or capacity provider strategy starts a new deployment, and so does
// forceNewDeployment, without which tasks keep the secrets that they started with.
func (s *Service) UpdateService(ctx context.Context, in *ecs.UpdateServiceInput) (*ecs.UpdateServiceOutput, error) {
	access := &authz.Access{Action: "ecs:UpdateService", Conditions: map[string][]string{}}
	var d *definition
	var definitionErr error
	if aws.ToString(in.TaskDefinition) != "" {
		if d, definitionErr = s.findDefinition(ctx, *in.TaskDefinition); d != nil {
			maps.Copy(access.Conditions, definitionConditions(&d.Definition))
		}
	}
	if in.EnableExecuteCommand != nil {
		access.Conditions["ecs:enable-execute-command"] = []string{strconv.FormatBool(*in.EnableExecuteCommand)}
	}
	if in.EnableECSManagedTags != nil {
		access.Conditions["ecs:enable-ecs-managed-tags"] = []string{strconv.FormatBool(*in.EnableECSManagedTags)}
	}
	if len(in.VolumeConfigurations) > 0 {
		access.Conditions["ecs:enable-ebs-volumes"] = []string{"true"}
	}
	if in.ServiceConnectConfiguration != nil {
		access.Conditions["ecs:enable-service-connect"] = []string{strconv.FormatBool(in.ServiceConnectConfiguration.Enabled)}
	}
	if in.PropagateTags != "" {
		access.Conditions["ecs:propagate-tags"] = []string{string(in.PropagateTags)}
	}
	strategyItemConditions(access.Conditions, in.CapacityProviderStrategy)
	networkConditions(access.Conditions, in.NetworkConfiguration)
	if _, _, err := s.authorizeService(ctx, in.Cluster, in.Service, access); err != nil {
		return nil, err
	}

	if err := (&settings{
		loadBalancers: len(in.LoadBalancers), registries: len(in.ServiceRegistries),
		lattice: len(in.VpcLatticeConfigurations), gateways: len(in.GatewayConnectors), connect: in.ServiceConnectConfiguration,
		monitoring: in.Monitoring, controller: in.DeploymentController, rebalancing: in.AvailabilityZoneRebalancing,
	}).validate(); err != nil {
		return nil, err
	}
	if in.DesiredCount != nil && *in.DesiredCount < 0 {
		return nil, invalidParameter("desiredCount must not be negative.")
	}
	if aws.ToString(in.TaskDefinition) != "" {
		var err error
		if d, err = s.usable(ctx, d, definitionErr); err != nil {
			return nil, err
		}
	}

	if err := s.passVolumeRoles(ctx, in.VolumeConfigurations); err != nil {
		return nil, err
	}

	var out *types.Service
	err := s.changeService(ctx, in.Cluster, in.Service, access, func(tx store.Tx, r serviceRef, v *service) error {
		if v.Status != statusActive {
			return serviceNotActive()
		}
		if in.DesiredCount != nil {
			if v.daemon() {
				return invalidParameter("The daemon scheduling strategy does not support a desired count for services. Remove the desired count value and try again")
			}
			v.Desired = *in.DesiredCount
		}
		if in.EnableExecuteCommand != nil {
			v.Exec = *in.EnableExecuteCommand // of tasks that are started from now on
		}
		if in.EnableECSManagedTags != nil {
			v.ManagedTags = *in.EnableECSManagedTags
		}
		if err := v.configure(in.DeploymentConfiguration); err != nil {
			return err
		}
		if err := v.constrain(in.PlacementConstraints, in.PlacementStrategy); err != nil {
			return err
		}
		if err := v.tagging(in.PropagateTags); err != nil {
			return err
		}
		if err := v.grace(in.HealthCheckGracePeriodSeconds); err != nil {
			return err
		}
		// "Updating the service resets the throttle".
		v.RetryAt, v.Unplaced, v.Tries, v.Steady = s.now().UTC(), 0, 0, false
		if err := s.redeploy(tx, r, v, d, in); err != nil {
			return err
		}
		var err error
		out, err = s.describeService(tx, r.scope, v, true)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &ecs.UpdateServiceOutput{Service: out}, nil
}

// redeploy starts a new deployment if the request makes one.
func (s *Service) redeploy(tx store.Tx, r serviceRef, v *service, d *definition, in *ecs.UpdateServiceInput) error {
	now, err := s.revision(tx, r.scope, v.Cluster, v.Name, v.primary().ID)
	if err != nil {
		return err
	}
	if d == nil {
		if d, err = s.definition(tx, r.scope, definitionRef{now.Family, now.Revision}); err != nil {
			return err
		}
		if d == nil {
			return clientError("TaskDefinition not found.")
		}
	}
	t := &template{definition: d, launchType: now.LaunchType, network: now.Network, platform: in.PlatformVersion, providers: in.CapacityProviderStrategy}
	if in.NetworkConfiguration != nil {
		t.network = in.NetworkConfiguration
	}
	if t.volumes = in.VolumeConfigurations; t.volumes == nil && configuredAtLaunch(&d.Definition) != "" {
		t.volumes = now.Volumes
	}
	switch {
	case len(t.providers) > 0:
		t.launchType = ""
	case len(now.Providers) > 0 && in.CapacityProviderStrategy == nil:
		t.launchType, t.providers = "", now.Providers
	}
	if aws.ToString(t.platform) == "" && now.Platform != "" {
		t.platform = aws.String(cmp.Or(now.Asked, latestPlatform))
	}
	c, err := s.activeCluster(tx, r.scope, v.Cluster)
	if err != nil {
		return err
	}
	next, err := s.settle(c, v, t)
	if err != nil {
		return err
	}
	same := next.Family == now.Family && next.Revision == now.Revision && next.LaunchType == now.LaunchType && next.Platform == now.Platform && next.Asked == cmp.Or(now.Asked, next.Asked) &&
		reflect.DeepEqual(next.Network, now.Network) && sameVolumes(next.Volumes, now.Volumes) && reflect.DeepEqual(next.Providers, now.Providers)
	if same && !in.ForceNewDeployment {
		return nil
	}
	return s.deploy(tx, r.scope, v, next)
}

func sameVolumes(a, b []types.ServiceVolumeConfiguration) bool {
	return len(a) == 0 && len(b) == 0 || reflect.DeepEqual(a, b)
}

const statusDraining = "DRAINING"

// DeleteService has a service's tasks stopped. It is DRAINING until the last of them has,
// then INACTIVE for an hour. Without force its desiredCount must be 0.
func (s *Service) DeleteService(ctx context.Context, in *ecs.DeleteServiceInput) (*ecs.DeleteServiceOutput, error) {
	var out *types.Service
	err := s.changeService(ctx, in.Cluster, in.Service, &authz.Access{Action: "ecs:DeleteService"}, func(tx store.Tx, r serviceRef, v *service) error {
		if v.Status == statusInactive {
			return serviceNotFound()
		}
		if v.Desired > 0 && !v.daemon() && !aws.ToBool(in.Force) && v.Status == statusActive {
			return invalidParameter("The service cannot be stopped while it is scaled above 0.")
		}
		v.Status, v.Desired = statusDraining, 0
		var err error
		out, err = s.describeService(tx, r.scope, v, true)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &ecs.DeleteServiceOutput{Service: out}, nil
}
