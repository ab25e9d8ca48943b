package ecs

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/malote/malote/authz"
	"github.com/malote/malote/caller"
	"github.com/malote/malote/internal/lazyregexp"
	"github.com/malote/malote/store"
)

var serviceTokenPattern = lazyregexp.New(`^[!-~]{1,36}$`)

// CreateService makes a service and its first deployment. Asked for again with the same
// parameters, it answers the one there is; so a client token adds nothing to the name.
func (s *Service) CreateService(ctx context.Context, in *ecs.CreateServiceInput) (*ecs.CreateServiceOutput, error) {
	d, definitionErr := s.findDefinition(ctx, aws.ToString(in.TaskDefinition))
	access := &authz.Access{Action: "ecs:CreateService", RequestTags: tagMap(in.Tags), Conditions: map[string][]string{
		"ecs:enable-execute-command":  {strconv.FormatBool(in.EnableExecuteCommand)},
		"ecs:enable-ecs-managed-tags": {strconv.FormatBool(in.EnableECSManagedTags)},
		"ecs:enable-ebs-volumes":      {strconv.FormatBool(len(in.VolumeConfigurations) > 0)},
		"ecs:enable-service-connect":  {strconv.FormatBool(in.ServiceConnectConfiguration != nil && in.ServiceConnectConfiguration.Enabled)},
	}}
	if d != nil {
		maps.Copy(access.Conditions, definitionConditions(&d.Definition))
	}
	if in.PropagateTags != "" {
		access.Conditions["ecs:propagate-tags"] = []string{string(in.PropagateTags)}
	}
	strategyItemConditions(access.Conditions, in.CapacityProviderStrategy)
	networkConditions(access.Conditions, in.NetworkConfiguration)
	r, authorized, err := s.authorizeService(ctx, in.Cluster, in.ServiceName, access)
	if err != nil {
		return nil, err
	}
	if len(in.Tags) > 0 {
		if err := s.authorizeCreateTags(ctx, r.serviceARN(r.cluster, r.name), "CreateService", in.Tags); err != nil {
			return nil, err
		}
	}

	if err := (&settings{
		loadBalancers: len(in.LoadBalancers), registries: len(in.ServiceRegistries),
		lattice: len(in.VpcLatticeConfigurations), gateways: len(in.GatewayConnectors), connect: in.ServiceConnectConfiguration,
		monitoring: in.Monitoring, controller: in.DeploymentController, rebalancing: in.AvailabilityZoneRebalancing,
	}).validate(); err != nil {
		return nil, err
	}
	if aws.ToString(in.Role) != "" {
		return nil, unsupported("role")
	}
	if token := aws.ToString(in.ClientToken); token != "" && !serviceTokenPattern.MatchString(token) {
		return nil, invalidParameter("clientToken must be 1 to 36 characters in the range 33-126 of ASCII.")
	}
	if err := cmp.Or(validateTags(in.Tags), validateServiceTags(in.Tags)); err != nil {
		return nil, err
	}
	v, err := s.newService(ctx, r, in)
	if err != nil {
		return nil, err
	}
	if d, err = s.usable(ctx, d, definitionErr); err != nil {
		return nil, err
	}
	if err := s.passVolumeRoles(ctx, in.VolumeConfigurations); err != nil {
		return nil, err
	}

	var out *types.Service
	err = s.store.Update(ctx, func(tx store.Tx) error {
		c, err := s.activeCluster(tx, r.scope, r.cluster)
		if err != nil {
			return err
		}
		old, err := s.findService(tx, r.scope, r.cluster, r.name)
		if err != nil {
			return err
		}
		if old != nil && old.Status != statusInactive {
			switch {
			case old.Status == statusDraining:
				return invalidParameter("Unable to Start a service that is still Draining.")
			case old.Request != v.Request || !sameTags(old.Tags, authorized):
				return invalidParameter("Creation of service was not idempotent.")
			}
			out, err = s.describeService(tx, r.scope, old, true)
			return err
		}
		if old != nil {
			// What is left of its namesake.
			if err := s.eventsOf.Delete(tx, r.key("service-event", r.cluster, r.name)); err != nil {
				return err
			}
		}
		next := copyOf(v)
		revision, err := s.settle(c, next, &template{d, in.LaunchType, in.PlatformVersion, in.CapacityProviderStrategy, in.NetworkConfiguration, in.VolumeConfigurations})
		if err != nil {
			return err
		}
		if err := s.deploy(tx, r.scope, next, revision); err != nil {
			return err
		}
		if err := s.putService(tx, r.scope, next); err != nil {
			return err
		}
		if out, err = s.describeService(tx, r.scope, next, true); err != nil {
			return err
		}
		return s.wake(tx, r.scope, r.cluster, r.name)
	})
	if err != nil {
		return nil, err
	}
	return &ecs.CreateServiceOutput{Service: out}, nil
}

// newService is the record of what a request asks for, without a deployment yet.
func (s *Service) newService(ctx context.Context, r serviceRef, in *ecs.CreateServiceInput) (*service, error) {
	same := *in
	same.ClientToken = nil
	text, err := json.Marshal(same)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(text)
	v := &service{
		Name: r.name, Cluster: r.cluster, Status: statusActive, Strategy: in.SchedulingStrategy, ManagedTags: in.EnableECSManagedTags, Exec: in.EnableExecuteCommand,
		Tags: in.Tags, CreatedAt: s.now().UTC(), CreatedBy: caller.From(ctx).Principal.ARN, Request: hex.EncodeToString(sum[:]),
	}
	switch v.Strategy {
	case "":
		v.Strategy = types.SchedulingStrategyReplica
	case types.SchedulingStrategyReplica, types.SchedulingStrategyDaemon:
	default:
		return nil, invalidParameter("Invalid scheduling strategy: '%s'. It must be REPLICA or DAEMON.", v.Strategy)
	}
	switch {
	case v.daemon() && in.DesiredCount != nil:
		return nil, invalidParameter("The daemon scheduling strategy does not support a desired count for services. Remove the desired count value and try again")
	case v.daemon():
	case in.DesiredCount == nil:
		return nil, invalidParameter("desiredCount is required for services with the REPLICA scheduling strategy.")
	case *in.DesiredCount < 0:
		return nil, invalidParameter("desiredCount must not be negative.")
	default:
		v.Desired = *in.DesiredCount
	}
	if err := v.configure(in.DeploymentConfiguration); err != nil {
		return nil, err
	}
	if err := v.constrain(in.PlacementConstraints, in.PlacementStrategy); err != nil {
		return nil, err
	}
	if err := v.tagging(in.PropagateTags); err != nil {
		return nil, err
	}
	return v, v.grace(in.HealthCheckGracePeriodSeconds)
}
