package ecs

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/malote/malote/acs"
	"github.com/malote/malote/authz"
	"github.com/malote/malote/internal/lazyregexp"
	"github.com/malote/malote/service/ecs/taskdef"
	"github.com/malote/malote/store"
)

// token remembers what a client token was used for, so that asking again starts nothing.
type token struct {
	Request string // hash of all but the token
	Tasks   []string
}

// launch is what RunTask and StartTask have in common.
type launch struct {
	cluster    string
	definition *definition
	launchType types.LaunchType
	providers  []string // of each task, "" for none; nil for none at all
	overrides  *types.TaskOverride
	network    *types.NetworkConfiguration
	platform   string
	group      string
	startedBy  string
	tags       []types.Tag
	token      string
	service    string // that the tasks are of, and its rollout
	rollout    string
	pins       []acs.Held // see rollout
	volumes    []types.ServiceVolumeConfiguration
	storage    storageKeys
	exec       bool
	demand     *demand
}

// request is the members of both operations.
type request struct {
	cluster, definition, group, startedBy, reference *string
	overrides                                        *types.TaskOverride
	network                                          *types.NetworkConfiguration
	tags                                             []types.Tag
	propagate                                        types.PropagateTags
	managedTags, exec                                bool
	volumes                                          []types.TaskVolumeConfiguration
	conditions                                       map[string][]string
}

var (
	startedByPattern = lazyregexp.New(`^[A-Za-z0-9_/.:@+=-]{0,128}$`)
	tokenPattern     = lazyregexp.New(`^[!-~]{1,64}$`)
)

// RunTask places up to ten tasks and answers those that found a place.
func (s *Service) RunTask(ctx context.Context, in *ecs.RunTaskInput) (*ecs.RunTaskOutput, error) {
	l, err := s.prepare(ctx, "RunTask", &request{
		cluster: in.Cluster, definition: in.TaskDefinition, group: in.Group, startedBy: in.StartedBy, reference: in.ReferenceId,
		overrides: in.Overrides, network: in.NetworkConfiguration, tags: in.Tags, propagate: in.PropagateTags,
		managedTags: in.EnableECSManagedTags, exec: in.EnableExecuteCommand, volumes: in.VolumeConfigurations,
		conditions: strategyItemConditions(map[string][]string{}, in.CapacityProviderStrategy),
	})
	if err != nil {
		return nil, err
	}

	count := 1
	if in.Count != nil {
		count = int(*in.Count)
	}
	if count < 1 || count > 10 {
		return nil, invalidParameter("count must be between 1 and 10.")
	}
	if l.token = aws.ToString(in.ClientToken); l.token != "" && !tokenPattern.MatchString(l.token) {
		return nil, invalidParameter("clientToken must be 1 to 64 characters in the range 33-126 of ASCII.")
	}
	if err := l.demand.constrain(in.PlacementConstraints); err != nil {
		return nil, err
	}
	if err := validateStrategyRules(in.PlacementStrategy); err != nil {
		return nil, err
	}
	if in.LaunchType != "" && len(in.CapacityProviderStrategy) > 0 {
		return nil, invalidParameter("Specifying both a launch type and capacity provider strategy is not supported. Remove one and try again.")
	}
	hash, err := hashRequest(in)
	if err != nil {
		return nil, err
	}

	sc := scopeOf(ctx)
	var out *ecs.RunTaskOutput
	err = s.store.Update(ctx, func(tx store.Tx) error {
		out = &ecs.RunTaskOutput{Tasks: []types.Task{}, Failures: []types.Failure{}}
		c, err := s.activeCluster(tx, sc, l.cluster)
		if err != nil {
			return err
		}
		if l.token != "" {
			if done, err := s.repeat(tx, sc, l, hash, out); done || err != nil {
				return err
			}
		}
		run := *l
		run.storage = c.Storage
		if err := run.choosePlatform(c, in, count); err != nil {
			return err
		}
		hosts, err := s.hosts(tx, sc, l.cluster)
		if err != nil {
			return err
		}
		if len(hosts) == 0 {
			return invalidParameter("No Container Instances were found in your cluster.")
		}
		for n := range count {
			var fit []*host
			var failures []types.Failure
			for _, h := range hosts {
				if reason := h.refuses(run.demand); reason != "" {
					failures = append(failures, types.Failure{Arn: aws.String(sc.instanceARN(l.cluster, h.instance.ID)), Reason: aws.String(reason)})
					continue
				}
				fit = append(fit, h)
			}
			h := choose(fit, in.PlacementStrategy)
			if h == nil {
				out.Failures = append(out.Failures, failures...)
				break
			}
			t, err := s.place(tx, sc, &run, h, n)
			if err != nil {
				return err
			}
			answer, err := s.answer(tx, sc, t, true)
			if err != nil {
				return err
			}
			out.Tasks = append(out.Tasks, answer)
		}
		if l.token == "" || len(out.Tasks) == 0 {
			return nil
		}
		record := &token{Request: hash}
		for _, t := range out.Tasks {
			record.Tasks = append(record.Tasks, (*t.TaskArn)[strings.LastIndexByte(*t.TaskArn, '/')+1:])
		}
		return s.tokens.Put(tx, sc.key("token", l.cluster, tokenKey(l.token)), record)
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// tokenKey is a client token as part of a key, where it might hold a slash.
func tokenKey(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

func hashRequest(in *ecs.RunTaskInput) (string, error) {
	same := *in
	same.ClientToken = nil
	text, err := json.Marshal(same)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:]), nil
}

// repeat answers a request whose client token was used before.
func (s *Service) repeat(tx store.Tx, sc scope, l *launch, hash string, out *ecs.RunTaskOutput) (bool, error) {
	known, err := s.tokens.Get(tx, sc.key("token", l.cluster, tokenKey(l.token)))
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	var arns []string
	for _, id := range known.Tasks {
		arns = append(arns, sc.taskARN(l.cluster, id))
		t, err := s.findTask(tx, sc, l.cluster, id)
		if err != nil {
			return false, err
		}
		if t == nil {
			continue
		}
		answer, err := s.answer(tx, sc, t, true)
		if err != nil {
			return false, err
		}
		out.Tasks = append(out.Tasks, answer)
	}
	if known.Request != hash {
		return false, &types.ConflictException{
			Message:     aws.String("The clientToken has already been used with different parameters."),
			ResourceIds: arns,
		}
	}
	return true, nil
}

// StartTask places one task on each of the named instances.
func (s *Service) StartTask(ctx context.Context, in *ecs.StartTaskInput) (*ecs.StartTaskOutput, error) {
	sc := scopeOf(ctx)
	cluster, _ := sc.clusterName(in.Cluster)
	ids := make([]string, len(in.ContainerInstances))
	var arns []string
	for n, ref := range in.ContainerInstances {
		ids[n], _ = sc.member("container-instance", cluster, ref)
		arns = append(arns, sc.instanceARN(cluster, ids[n]))
	}
	l, err := s.prepare(ctx, "StartTask", &request{
		cluster: in.Cluster, definition: in.TaskDefinition, group: in.Group, startedBy: in.StartedBy, reference: in.ReferenceId,
		overrides: in.Overrides, network: in.NetworkConfiguration, tags: in.Tags, propagate: in.PropagateTags,
		managedTags: in.EnableECSManagedTags, exec: in.EnableExecuteCommand, volumes: in.VolumeConfigurations,
		conditions: map[string][]string{"ecs:container-instances": arns},
	})
	if err != nil {
		return nil, err
	}
	if n := len(ids); n < 1 || n > 10 {
		return nil, invalidParameter("You must specify between 1 and 10 container instances.")
	}
	l.launchType = types.LaunchTypeEc2

	var out *ecs.StartTaskOutput
	err = s.store.Update(ctx, func(tx store.Tx) error {
		out = &ecs.StartTaskOutput{Tasks: []types.Task{}, Failures: []types.Failure{}}
		c, err := s.activeCluster(tx, sc, l.cluster)
		if err != nil {
			return err
		}
		l.storage = c.Storage
		for n, id := range ids {
			fail := func(reason string) {
				out.Failures = append(out.Failures, types.Failure{Arn: aws.String(arns[n]), Reason: aws.String(reason)})
			}
			i, err := s.instance(tx, sc, l.cluster, id)
			if err != nil {
				return err
			}
			if i == nil {
				fail("MISSING")
				continue
			}
			h, err := s.host(tx, sc, i)
			if err != nil {
				return err
			}
			if reason := h.refuses(l.demand); reason != "" {
				fail(reason)
				continue
			}
			t, err := s.place(tx, sc, l, h, n)
			if err != nil {
				return err
			}
			answer, err := s.answer(tx, sc, t, true)
			if err != nil {
				return err
			}
			out.Tasks = append(out.Tasks, answer)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// prepare authorizes action and checks what does not depend on the cluster's state.
func (s *Service) prepare(ctx context.Context, action string, r *request) (*launch, error) {
	sc := scopeOf(ctx)
	ref := aws.ToString(r.definition)
	cluster, clusterErr := sc.clusterName(r.cluster)
	parsed, foreign, refErr := sc.parseDefinition(ref)
	access := &authz.Access{
		Action: "ecs:" + action, Resource: ref, RequestTags: tagMap(r.tags), Conditions: r.conditions,
	}
	access.Conditions["ecs:cluster"] = []string{sc.clusterARN(cluster)}
	access.Conditions["ecs:enable-execute-command"] = []string{strconv.FormatBool(r.exec)}
	access.Conditions["ecs:enable-ecs-managed-tags"] = []string{strconv.FormatBool(r.managedTags)}
	access.Conditions["ecs:enable-ebs-volumes"] = []string{strconv.FormatBool(len(r.volumes) > 0)}
	if r.propagate != "" {
		access.Conditions["ecs:propagate-tags"] = []string{string(r.propagate)}
	}
	networkConditions(access.Conditions, r.network)
	var d *definition
	if refErr == nil {
		access.Resource = sc.definitionARN(parsed.family, parsed.revision)
		if foreign {
			access.Resource = ref
		} else {
			var err error
			if d, err = s.findDefinition(ctx, ref); err != nil {
				return nil, err
			}
		}
		if d != nil {
			access.Resource, access.Tags = *d.Definition.TaskDefinitionArn, tagMap(d.Tags)
		}
	}
	if err := s.authz.Authorize(ctx, access); err != nil {
		return nil, err
	}
	switch {
	case clusterErr != nil:
		return nil, clusterErr
	case refErr != nil:
		return nil, refErr
	case d == nil:
		return nil, clientError("TaskDefinition not found.")
	case d.Definition.Status != types.TaskDefinitionStatusActive:
		return nil, clientError("TaskDefinition is inactive")
	}

	l := &launch{cluster: cluster, definition: d, overrides: r.overrides, network: r.network, exec: r.exec}
	if err := s.prepareRoles(ctx, l); err != nil {
		return nil, err
	}
	var err error
	if l.volumes, err = volumesOfTask(r.volumes); err != nil {
		return nil, err
	}
	if err := s.passVolumeRoles(ctx, l.volumes); err != nil {
		return nil, err
	}
	if err := s.prepareTags(ctx, action, l, r); err != nil {
		return nil, err
	}
	if err := validateOverrides(&d.Definition, r.overrides); err != nil {
		return nil, err
	}
	if err := validateLaunchVolumes(&d.Definition, l.volumes); err != nil {
		return nil, err
	}
	if aws.ToString(r.reference) != "" {
		return nil, unsupported("referenceId")
	}
	if err := validateNetwork(&d.Definition, r.network); err != nil {
		return nil, err
	}
	if l.startedBy = aws.ToString(r.startedBy); !startedByPattern.MatchString(l.startedBy) {
		return nil, invalidParameter("startedBy can have up to 128 letters, numbers, hyphens, forward slashes and underscores.")
	}
	l.group = aws.ToString(r.group)
	switch {
	case l.group == "":
		l.group = "family:" + *d.Definition.Family
	case strings.HasPrefix(l.group, "service:"):
		return nil, invalidParameter("Invalid namespace for group: 'service' is reserved.")
	case len(l.group) > 255:
		return nil, invalidParameter("group should not be longer than 255 characters.")
	}
	l.demand, err = demandOf(&d.Definition, r.overrides, l.group)
	return l, err
}

// prepareRoles asks for iam:PassRole on the roles that the tasks will have.
func (s *Service) prepareRoles(ctx context.Context, l *launch) error {
	execution, application := l.roles()
	for _, role := range []string{execution, application} {
		if err := s.passRole(ctx, role, tasksPrincipal); err != nil {
			return err
		}
		if role != "" && !scopeOf(ctx).ownRole(role) {
			return clientError("Role is not valid")
		}
	}
	return nil
}

// roleOwner is the account that a role's ARN names, and this one for what is no such ARN.
func (sc scope) roleOwner(role string) string {
	if p := strings.SplitN(role, ":", 6); len(p) == 6 && p[2] == "iam" && strings.HasPrefix(p[5], "role/") && p[4] != "" {
		return p[4]
	}
	return sc.account
}

// ownRole tells whether a name or an ARN is that of a role of the account.
func (sc scope) ownRole(role string) bool {
	p := strings.SplitN(sc.roleARN(role), ":", 6)
	return len(p) == 6 && p[2] == "iam" && p[4] == sc.account && strings.HasPrefix(p[5], "role/")
}

// roles are the execution and the task role after overrides.
func (l *launch) roles() (execution, application string) {
	execution, application = aws.ToString(l.definition.Definition.ExecutionRoleArn), aws.ToString(l.definition.Definition.TaskRoleArn)
	if o := l.overrides; o != nil {
		if v := aws.ToString(o.ExecutionRoleArn); v != "" {
			execution = v
		}
		if v := aws.ToString(o.TaskRoleArn); v != "" {
			application = v
		}
	}
	return execution, application
}

func (s *Service) prepareTags(ctx context.Context, action string, l *launch, r *request) error {
	switch r.propagate {
	case "", types.PropagateTagsNone:
	case types.PropagateTagsTaskDefinition:
		l.tags = l.definition.Tags
	default:
		return invalidParameter("Invalid value for propagateTags: '%s'. Tags of a service are for the service's tasks.", r.propagate)
	}
	l.tags = mergeTags(l.tags, r.tags)
	if len(l.tags) > 0 {
		if err := s.authorizeCreateTags(ctx, scopeOf(ctx).taskARN(l.cluster, "*"), action, l.tags); err != nil {
			return err
		}
	}
	if err := validateTags(r.tags); err != nil {
		return err
	}
	if len(l.tags) > maxTags {
		return invalidParameter("The maximum number of tags is %d.", maxTags)
	}
	if r.managedTags {
		l.tags = mergeTags(l.tags, []types.Tag{{Key: aws.String("aws:ecs:clusterName"), Value: aws.String(l.cluster)}})
	}
	return nil
}

func validateNetwork(d *types.TaskDefinition, n *types.NetworkConfiguration) error {
	given := n != nil && n.AwsvpcConfiguration != nil
	if d.NetworkMode != types.NetworkModeAwsvpc {
		if given {
			return invalidParameter("Network Configuration is not valid for the given networkMode of this task definition.")
		}
		return nil
	}
	if !given {
		return invalidParameter("Network Configuration must be provided when networkMode 'awsvpc' is specified.")
	}
	switch c := n.AwsvpcConfiguration; {
	case len(c.Subnets) == 0:
		return invalidParameter("subnets can not be empty.")
	case len(c.Subnets) > 16:
		return invalidParameter("subnets can have at most 16 items.")
	case len(c.SecurityGroups) > 5:
		return invalidParameter("securityGroups can have at most 5 items.")
	}
	return nil
}

const (
	platformVersion = "1.4.0"
	latestPlatform  = "LATEST" // which that is
)

// choosePlatform settles the launch type of the tasks, of each its capacity provider.
func (l *launch) choosePlatform(c *cluster, in *ecs.RunTaskInput, count int) error {
	l.launchType = in.LaunchType
	strategy := in.CapacityProviderStrategy
	if l.launchType == "" && len(strategy) == 0 {
		strategy = c.Strategy
	}
	if len(strategy) > 0 {
		if err := validateStrategy(strategy, c.CapacityProviders); err != nil {
			return err
		}
		l.launchType = types.LaunchTypeFargate
		l.providers = spreadProviders(strategy, count)
	}
	d := &l.definition.Definition
	switch l.launchType {
	case "":
		l.launchType = types.LaunchTypeEc2
	case types.LaunchTypeManagedInstances:
		return unsupported("launchType: MANAGED_INSTANCES")
	}
	if requires := d.RequiresCompatibilities; l.launchType == types.LaunchTypeFargate && !slices.Contains(requires, types.CompatibilityFargate) {
		return invalidParameter("Task definition does not support launch_type FARGATE.")
	} else if len(requires) > 0 && !slices.Contains(requires, types.Compatibility(l.launchType)) {
		return invalidParameter("Task definition does not support launch_type %s.", l.launchType)
	}
	switch v := aws.ToString(in.PlatformVersion); {
	case l.launchType != types.LaunchTypeFargate && v != "":
		return invalidParameter("The platform version must be null when specifying an %s launch type.", l.launchType)
	case l.launchType == types.LaunchTypeFargate && v != "" && v != latestPlatform && v != platformVersion:
		return &types.PlatformUnknownException{Message: aws.String("The specified platform does not exist.")}
	case l.launchType == types.LaunchTypeFargate:
		l.platform = platformVersion
		if len(in.PlacementConstraints) > 0 || len(in.PlacementStrategy) > 0 {
			return invalidParameter("Placement constraints and placement strategies are not supported with FARGATE launch type.")
		}
	}
	return nil
}

// spreadProviders gives each of count tasks its capacity provider: the base first,
// then in the ratio of the weights.
func spreadProviders(strategy []types.CapacityProviderStrategyItem, count int) []string {
	given := make([]int, len(strategy))
	var providers []string
	for i, item := range strategy {
		for given[i] < int(item.Base) && len(providers) < count {
			given[i]++
			providers = append(providers, *item.CapacityProvider)
		}
	}
	weighted := make([]int, len(strategy))
	for len(providers) < count {
		best := 0
		for i, item := range strategy {
			// The next task goes where given/weight stays least.
			if b := strategy[best]; b.Weight == 0 || item.Weight > 0 && (weighted[i]+1)*int(b.Weight) < (weighted[best]+1)*int(item.Weight) {
				best = i
			}
		}
		weighted[best]++
		providers = append(providers, *strategy[best].CapacityProvider)
	}
	return providers
}

// place makes the n-th task of a launch on a host.
func (s *Service) place(tx store.Tx, sc scope, l *launch, h *host, n int) (*task, error) {
	id := newID()
	d := &l.definition.Definition
	now := s.now().UTC()
	execution, application := l.roles()
	t := &task{
		ID: id, Cluster: l.cluster, Instance: h.instance.ID, Family: *d.Family, Revision: d.Revision,
		ExecutionRole: sc.roleARN(execution), TaskRole: sc.roleARN(application), Service: l.service, Rollout: l.rollout, Pins: l.pins,
		Task: types.Task{
			TaskArn: aws.String(sc.taskARN(l.cluster, id)), ClusterArn: aws.String(sc.clusterARN(l.cluster)),
			TaskDefinitionArn: d.TaskDefinitionArn, ContainerInstanceArn: aws.String(sc.instanceARN(l.cluster, h.instance.ID)),
			LastStatus: aws.String("PENDING"), DesiredStatus: aws.String("RUNNING"), CreatedAt: &now,
			Cpu: d.Cpu, Memory: d.Memory,
			Group: aws.String(l.group), LaunchType: l.launchType, HealthStatus: types.HealthStatusUnknown,
			EnableExecuteCommand: l.exec,
			Overrides:            &types.TaskOverride{}, Tags: append([]types.Tag{}, l.tags...),
			Attachments: []types.Attachment{}, Attributes: []types.Attribute{},
		},
	}
	if l.token != "" {
		t.Token = tokenKey(l.token)
	}
	if l.startedBy != "" {
		t.Task.StartedBy = aws.String(l.startedBy)
	}
	t.Task.EphemeralStorage = d.EphemeralStorage
	if l.overrides != nil {
		t.Task.Overrides = l.overrides
		if l.overrides.EphemeralStorage != nil {
			t.Task.EphemeralStorage = l.overrides.EphemeralStorage
		}
		if l.overrides.Cpu != nil {
			t.Task.Cpu = aws.String(strconv.Itoa(taskdef.CPU(l.overrides.Cpu)))
		}
		if l.overrides.Memory != nil {
			t.Task.Memory = aws.String(strconv.Itoa(taskdef.Memory(l.overrides.Memory)))
		}
	}
	if zone, ok := h.attribute["ecs.availability-zone"]; ok {
		t.Task.AvailabilityZone = aws.String(zone)
	}
	if len(l.providers) > 0 {
		t.Task.CapacityProviderName = aws.String(l.providers[n%len(l.providers)])
	}
	if l.launchType == types.LaunchTypeFargate {
		t.Task.PlatformVersion, t.Task.PlatformFamily = aws.String(l.platform), aws.String("Linux")
	}
	if d.NetworkMode == types.NetworkModeAwsvpc {
		t.Task.LastStatus = aws.String("PROVISIONING")
		t.Task.Attachments = append(t.Task.Attachments, attachment(l.network.AwsvpcConfiguration))
	}
	t.provide(sc, l.volumes, l.storage.Volumes)
	t.encrypts(l.storage.Ephemeral)
	t.Task.Containers = containers(sc, t, d, l.overrides)
	for i := range t.Task.Containers {
		t.manage(&t.Task.Containers[i], now)
	}
	if err := s.putTask(tx, sc, t); err != nil {
		return nil, err
	}
	if t.Service != "" {
		if err := s.members.Put(tx, sc.key("service-task", l.cluster, t.Service, id), &member{Rollout: t.Rollout}); err != nil {
			return nil, err
		}
	}
	p := &placement{
		Task: id, Family: t.Family, Revision: t.Revision, Group: l.group,
		CPU: l.demand.cpu, Memory: l.demand.memory, Ports: l.demand.ports,
	}
	h.load.add(p)
	return t, s.placements.Put(tx, sc.key("placement", l.cluster, h.instance.ID, id), p)
}

// attachment records what was asked of the VPC. The network itself is Docker's.
func attachment(c *types.AwsVpcConfiguration) types.Attachment {
	detail := func(name, value string) types.KeyValuePair {
		return types.KeyValuePair{Name: aws.String(name), Value: aws.String(value)}
	}
	a := types.Attachment{
		Id: aws.String(newUUID()), Type: aws.String("ElasticNetworkInterface"), Status: aws.String("PRECREATED"),
		Details: []types.KeyValuePair{detail("subnetId", c.Subnets[0])},
	}
	for _, g := range c.SecurityGroups {
		a.Details = append(a.Details, detail("securityGroupId", g))
	}
	if c.AssignPublicIp != "" {
		a.Details = append(a.Details, detail("assignPublicIp", string(c.AssignPublicIp)))
	}
	return a
}

func containers(sc scope, t *task, d *types.TaskDefinition, o *types.TaskOverride) []types.Container {
	number := func(n *int32) *string {
		if n == nil {
			return nil
		}
		return aws.String(strconv.Itoa(int(*n)))
	}
	var all []types.Container
	for i := range d.ContainerDefinitions {
		c := &d.ContainerDefinitions[i]
		cpu, memory, reservation := c.Cpu, c.Memory, c.MemoryReservation
		if o != nil {
			for _, v := range o.ContainerOverrides {
				if aws.ToString(v.Name) != *c.Name {
					continue
				}
				if v.Cpu != nil {
					cpu = *v.Cpu
				}
				if v.Memory != nil {
					memory = v.Memory
				}
				if v.MemoryReservation != nil {
					reservation = v.MemoryReservation
				}
			}
		}
		all = append(all, types.Container{
			ContainerArn: aws.String(sc.arn("container/" + t.Cluster + "/" + t.ID + "/" + newUUID())),
			TaskArn:      t.Task.TaskArn, Name: c.Name, Image: c.Image,
			LastStatus: aws.String("PENDING"), HealthStatus: types.HealthStatusUnknown,
			Cpu: number(&cpu), Memory: number(memory), MemoryReservation: number(reservation),
			NetworkInterfaces: []types.NetworkInterface{}, NetworkBindings: []types.NetworkBinding{},
		})
	}
	return all
}
