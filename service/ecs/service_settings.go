package ecs

import (
	"cmp"
	"context"
	"math"
	"slices"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/malote/malote/service/ecs/taskdef"
	"github.com/malote/malote/store"
)

// settings are the members that CreateService and UpdateService have in common, and that
// malote does not do.
type settings struct {
	loadBalancers, registries, lattice, gateways int
	connect                                      *types.ServiceConnectConfiguration
	monitoring                                   *types.MonitoringConfiguration
	controller                                   *types.DeploymentController
	rebalancing                                  types.AvailabilityZoneRebalancing
}

func (x *settings) validate() error {
	switch {
	case x.controller != nil && x.controller.Type != "" && x.controller.Type != types.DeploymentControllerTypeEcs:
		return unsupported("deploymentController: " + string(x.controller.Type))
	case x.loadBalancers > 0:
		return unsupported("loadBalancers")
	case x.registries > 0:
		return unsupported("serviceRegistries")
	case x.connect != nil && x.connect.Enabled:
		return unsupported("serviceConnectConfiguration")
	case x.lattice > 0:
		return unsupported("vpcLatticeConfigurations")
	case x.gateways > 0:
		return unsupported("gatewayConnectors")
	case x.monitoring != nil:
		return unsupported("monitoring")
	case x.rebalancing == types.AvailabilityZoneRebalancingEnabled:
		return unsupported("availabilityZoneRebalancing: ENABLED")
	}
	return nil
}

// configure merges what a request says of deployments into what there is.
func (v *service) configure(c *types.DeploymentConfiguration) error {
	old := &v.Configuration
	if c != nil {
		switch {
		case c.Strategy != "" && c.Strategy != types.DeploymentStrategyRolling:
			return unsupported("deploymentConfiguration.strategy: " + string(c.Strategy))
		case c.Alarms != nil && (c.Alarms.Enable || len(c.Alarms.AlarmNames) > 0):
			return unsupported("deploymentConfiguration.alarms")
		case aws.ToInt32(c.BakeTimeInMinutes) != 0:
			return unsupported("deploymentConfiguration.bakeTimeInMinutes")
		case len(c.LifecycleHooks) > 0:
			return unsupported("deploymentConfiguration.lifecycleHooks")
		case c.CanaryConfiguration != nil:
			return unsupported("deploymentConfiguration.canaryConfiguration")
		case c.LinearConfiguration != nil:
			return unsupported("deploymentConfiguration.linearConfiguration")
		case c.EarlySuccessCriteria != nil && c.EarlySuccessCriteria.Enable:
			return unsupported("deploymentConfiguration.earlySuccessCriteria")
		}
		if b := c.DeploymentCircuitBreaker; b != nil {
			switch {
			case b.ResetOnHealthyTask != nil && !*b.ResetOnHealthyTask:
				return unsupported("deploymentConfiguration.deploymentCircuitBreaker.resetOnHealthyTask: false")
			case b.ThresholdConfiguration != nil && (b.ThresholdConfiguration.Type != types.ThresholdTypeBoundedPercent || b.ThresholdConfiguration.Value != 50):
				return unsupported("deploymentConfiguration.deploymentCircuitBreaker.thresholdConfiguration")
			case b.Rollback && !b.Enable:
				return invalidParameter("Invalid deployment circuit breaker: rollback needs enable to be true.")
			}
			old.DeploymentCircuitBreaker = circuitBreaker(b.Enable, b.Rollback)
		}
		if c.Strategy != "" {
			old.Strategy = c.Strategy
		}
		// What asks for nothing is answered all the same.
		if c.Alarms != nil {
			old.Alarms = c.Alarms
		}
		if c.BakeTimeInMinutes != nil {
			old.BakeTimeInMinutes = c.BakeTimeInMinutes
		}
		if c.EarlySuccessCriteria != nil {
			old.EarlySuccessCriteria = c.EarlySuccessCriteria
		}
		if c.MinimumHealthyPercent != nil {
			old.MinimumHealthyPercent = c.MinimumHealthyPercent
		}
		if c.MaximumPercent != nil {
			old.MaximumPercent = c.MaximumPercent
		}
	}
	least, most := int32(100), int32(200)
	if v.daemon() {
		least, most = 0, 100
	}
	if old.MinimumHealthyPercent == nil {
		old.MinimumHealthyPercent = &least
	}
	if old.MaximumPercent == nil {
		old.MaximumPercent = &most
	}
	if !v.daemon() {
		if old.DeploymentCircuitBreaker == nil {
			old.DeploymentCircuitBreaker = circuitBreaker(false, false)
		}
		if old.BakeTimeInMinutes == nil {
			old.BakeTimeInMinutes = new(int32)
		}
		old.Strategy = types.DeploymentStrategyRolling
	}
	switch least, most := *old.MinimumHealthyPercent, *old.MaximumPercent; {
	case least < 0 || least > 100:
		return invalidParameter("minimumHealthyPercent must be between 0 and 100, not %d.", least)
	case v.daemon() && most != 100:
		return invalidParameter("maximumPercent must be 100 for the DAEMON scheduling strategy, not %d.", most)
	case !v.daemon() && (most < 100 || most > 1000):
		// Less than 100 could never run what is desired.
		return invalidParameter("maximumPercent must be between 100 and 1000, not %d.", most)
	}
	return nil
}

// circuitBreaker is what ECS answers of one, with its defaults.
func circuitBreaker(enable, rollback bool) *types.DeploymentCircuitBreaker {
	return &types.DeploymentCircuitBreaker{
		Enable: enable, Rollback: rollback, ResetOnHealthyTask: aws.Bool(true),
		ThresholdConfiguration: &types.ThresholdConfiguration{Type: types.ThresholdTypeBoundedPercent, Value: 50},
	}
}

// constrain checks what a request says of placement and keeps it. nil keeps what there is.
func (v *service) constrain(constraints []types.PlacementConstraint, strategy []types.PlacementStrategy) error {
	if constraints != nil {
		if err := new(demand).constrain(constraints); err != nil {
			return err
		}
		v.Constraints = constraints
	}
	if strategy != nil {
		if err := validateStrategyRules(strategy); err != nil {
			return err
		}
		if v.daemon() && len(strategy) > 0 {
			return invalidParameter("Placement strategies are not supported with the DAEMON scheduling strategy.")
		}
		v.Placement = strategy
	}
	if v.daemon() && slices.ContainsFunc(v.Constraints, func(c types.PlacementConstraint) bool {
		return c.Type == types.PlacementConstraintTypeDistinctInstance
	}) {
		return invalidParameter("The placement constraint distinctInstance is not supported with the DAEMON scheduling strategy.")
	}
	return nil
}

func (v *service) tagging(propagate types.PropagateTags) error {
	switch propagate {
	case types.PropagateTagsNone, types.PropagateTagsService, types.PropagateTagsTaskDefinition:
		v.Propagate = propagate
	case "":
		if v.Propagate == "" {
			v.Propagate = types.PropagateTagsNone
		}
	default:
		return invalidParameter("Invalid value for propagateTags: '%s'. It must be SERVICE, TASK_DEFINITION or NONE.", propagate)
	}
	return nil
}

func (v *service) grace(seconds *int32) error {
	if seconds == nil {
		return nil
	}
	if *seconds < 0 {
		return invalidParameter("healthCheckGracePeriodSeconds must be between 0 and %d.", math.MaxInt32)
	}
	v.GracePeriod = seconds
	return nil
}

// usable says whether services may be made of the definition that ref meant, and asks
// whether the caller may pass its roles. It comes after the authorization of the request.
func (s *Service) usable(ctx context.Context, d *definition, err error) (*definition, error) {
	switch {
	case err != nil:
		return nil, err
	case d == nil:
		return nil, clientError("TaskDefinition not found.")
	case d.Definition.Status != types.TaskDefinitionStatusActive:
		return nil, clientError("TaskDefinition is inactive")
	}
	return d, s.prepareRoles(ctx, &launch{definition: d})
}

// template is what a request says about the tasks of a rollout.
type template struct {
	definition *definition
	launchType types.LaunchType
	platform   *string
	providers  []types.CapacityProviderStrategyItem
	network    *types.NetworkConfiguration
	volumes    []types.ServiceVolumeConfiguration
}

// settle turns a template into a revision of v.
func (s *Service) settle(c *cluster, v *service, t *template) (*revision, error) {
	if t.launchType != "" && len(t.providers) > 0 {
		return nil, invalidParameter("Specifying both a launch type and capacity provider strategy is not supported. Remove one and try again.")
	}
	if t.launchType == types.LaunchTypeExternal && v.daemon() {
		return nil, unsupported("launchType: EXTERNAL with the DAEMON scheduling strategy")
	}
	l := &launch{definition: t.definition}
	if err := l.choosePlatform(c, &ecs.RunTaskInput{
		LaunchType: t.launchType, CapacityProviderStrategy: t.providers, PlatformVersion: t.platform,
		PlacementConstraints: v.Constraints, PlacementStrategy: v.Placement,
	}, 0); err != nil {
		return nil, err
	}
	if v.daemon() && l.launchType == types.LaunchTypeFargate {
		return nil, invalidParameter("The daemon scheduling strategy is not supported with the Fargate launch type.")
	}
	d := &t.definition.Definition
	if err := validateNetwork(d, t.network); err != nil {
		return nil, err
	}
	if err := validateLaunchVolumes(d, t.volumes); err != nil {
		return nil, err
	}
	r := &revision{
		Volumes: t.volumes, Storage: c.Storage,
		Service: v.Name, Cluster: v.Cluster, Family: *d.Family, Revision: d.Revision,
		LaunchType: l.launchType, Platform: l.platform, Network: t.network, Providers: t.providers, CreatedAt: s.now().UTC(),
	}
	if r.Platform != "" {
		r.Asked = cmp.Or(aws.ToString(t.platform), latestPlatform)
	}
	if len(r.Providers) == 0 && t.launchType == "" {
		r.Providers = c.Strategy
	}
	for i := range d.ContainerDefinitions {
		r.Images = append(r.Images, types.ContainerImage{ContainerName: d.ContainerDefinitions[i].Name, Image: d.ContainerDefinitions[i].Image})
	}
	return r, nil
}

// deploy makes r the PRIMARY deployment of v.
func (s *Service) deploy(tx store.Tx, sc scope, v *service, r *revision) error {
	now := s.now().UTC()
	r.ID = newRolloutID()
	if err := s.revisions.Put(tx, sc.key("service-revision", v.Cluster, v.Name, r.ID), r); err != nil {
		return err
	}
	if len(v.Rollouts) > 0 {
		if err := s.overtake(tx, sc, v); err != nil {
			return err
		}
	}
	d := &serviceDeployment{
		ID: newServiceDeploymentID(now), Target: r.ID, Status: types.ServiceDeploymentStatusInProgress, CreatedAt: now, StartedAt: now, UpdatedAt: now,
		Configuration: v.Configuration,
	}
	for i := range v.Rollouts {
		d.Sources = append(d.Sources, v.Rollouts[i].ID)
	}
	if err := s.serviceDeployments.Put(tx, sc.key("service-deployment", v.Cluster, v.Name, d.ID), d); err != nil {
		return err
	}
	next := rollout{ID: r.ID, Deployment: d.ID, Family: r.Family, Revision: r.Revision, CreatedAt: now}
	next.change(types.DeploymentRolloutStateInProgress, now, "ECS deployment %s in progress.", deploymentID(r.ID))
	v.Rollouts = slices.Insert(v.Rollouts, 0, next)
	v.RetryAt, v.Unplaced, v.Tries, v.Steady = now, 0, 0, false
	return s.prune(tx, sc, v)
}

// definitionConditions are the condition keys that tell of a task definition.
func definitionConditions(d *types.TaskDefinition) map[string][]string {
	c := map[string][]string{"ecs:task-definition": {*d.TaskDefinitionArn}}
	if n := taskdef.CPU(d.Cpu); n > 0 {
		c["ecs:task-cpu"] = []string{strconv.Itoa(n)}
	}
	if n := taskdef.Memory(d.Memory); n > 0 {
		c["ecs:task-memory"] = []string{strconv.Itoa(n)}
	}
	return c
}

// strategyItemConditions add those that tell of capacity providers.
func strategyItemConditions(c map[string][]string, strategy []types.CapacityProviderStrategyItem) map[string][]string {
	for _, item := range strategy {
		c["ecs:capacity-provider"] = append(c["ecs:capacity-provider"], aws.ToString(item.CapacityProvider))
	}
	return c
}

// networkConditions add those that tell of a network.
func networkConditions(c map[string][]string, n *types.NetworkConfiguration) {
	if n == nil || n.AwsvpcConfiguration == nil {
		return
	}
	if v := n.AwsvpcConfiguration.Subnets; len(v) > 0 {
		c["ecs:subnet"] = v
	}
	if v := n.AwsvpcConfiguration.AssignPublicIp; v != "" {
		c["ecs:auto-assign-public-ip"] = []string{strconv.FormatBool(v == types.AssignPublicIpEnabled)}
	}
}
