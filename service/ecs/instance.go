package ecs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/malote/malote/authz"
	"github.com/malote/malote/caller"
	"github.com/malote/malote/service/ecs/taskdef"
	"github.com/malote/malote/store"
)

// instance is the record of a host that an engine has registered.
type instance struct {
	ID           string
	Cluster      string
	Status       string
	Attributes   []types.Attribute `json:",omitempty"` // that its engine stated
	Custom       []types.Attribute `json:",omitempty"` // that PutAttributes did
	Resources    []types.Resource
	VersionInfo  *types.VersionInfo `json:",omitempty"`
	Tags         []types.Tag        `json:",omitempty"`
	RegisteredAt time.Time
	// Owner is the ARN of the user or role whose engine registered it. It alone is told of its
	// tasks, and may say what became of them.
	Owner   string
	Version int64
}

// engineOf is the ARN that an instance's owner is known by.
func engineOf(ctx context.Context) string {
	p := caller.From(ctx).Principal
	return cmp.Or(p.RoleARN, p.ARN)
}

// owned refuses who did not register the instance.
func (i *instance) owned(ctx context.Context, sc scope) error {
	if engine := engineOf(ctx); i.Owner != engine {
		return accessDenied("%s is not authorized to act for container instance %s because another principal registered it", engine, sc.instanceARN(i.Cluster, i.ID))
	}
	return nil
}

// seen is when an instance's engine was last connected. It changes every minute,
// which is why it is apart.
type seen struct{ At time.Time }

const (
	seenEvery = time.Minute
	// seenFor bridges the restart of a control plane or of an engine.
	seenFor = 3 * time.Minute
)

// connected tells whether an instance's engine is there.
func (s *Service) connected(tx store.Tx, sc scope, i *instance) (bool, error) {
	last, err := s.seen.Get(tx, sc.key("seen", i.Cluster, i.ID))
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return s.now().Sub(last.At) <= seenFor, nil
}

func (s *Service) sawInstance(tx store.Tx, sc scope, cluster, id string) error {
	return s.seen.Put(tx, sc.key("seen", cluster, id), &seen{s.now().UTC()})
}

// instance reads one; nil when there is none.
func (s *Service) instance(tx store.Tx, sc scope, cluster, id string) (*instance, error) {
	i, err := s.instances.Get(tx, sc.key("instance", cluster, id))
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	return i, err
}

// authorizeInstance asks for an action on a container instance.
func (s *Service) authorizeInstance(ctx context.Context, action, cluster, id string) error {
	sc := scopeOf(ctx)
	var tags []types.Tag
	err := s.store.View(ctx, func(tx store.Tx) error {
		i, err := s.instance(tx, sc, cluster, id)
		if i != nil {
			tags = i.Tags
		}
		return err
	})
	if err != nil {
		return err
	}
	return s.authz.Authorize(ctx, &authz.Access{
		Action: action, Resource: sc.instanceARN(cluster, id), Tags: tagMap(tags),
		Conditions: map[string][]string{"ecs:cluster": {sc.clusterARN(cluster)}},
	})
}

// RegisterContainerInstance makes a host known, or known again under its old ARN.
func (s *Service) RegisterContainerInstance(ctx context.Context, in *ecs.RegisterContainerInstanceInput) (*ecs.RegisterContainerInstanceOutput, error) {
	sc := scopeOf(ctx)
	name, err := sc.clusterName(in.Cluster)
	if err != nil {
		name = ""
	}
	if denied := s.authorizeCluster(ctx, "ecs:RegisterContainerInstance", name); denied != nil {
		return nil, denied
	}
	if err != nil {
		return nil, err
	}
	if len(in.Tags) > 0 {
		if err := s.authorizeCreateTags(ctx, sc.instanceARN(name, "*"), "RegisterContainerInstance", in.Tags); err != nil {
			return nil, err
		}
	}

	switch {
	case len(in.PlatformDevices) > 0:
		return nil, unsupported("platformDevices")
	case aws.ToString(in.InstanceIdentityDocument) != "":
		return nil, unsupported("instanceIdentityDocument")
	case aws.ToString(in.InstanceIdentityDocumentSignature) != "":
		return nil, unsupported("instanceIdentityDocumentSignature")
	}
	if err := validateTags(in.Tags); err != nil {
		return nil, err
	}
	for n := range in.Attributes {
		if err := validateAttribute(&in.Attributes[n], true); err != nil {
			return nil, err
		}
	}
	id := ""
	if arn := aws.ToString(in.ContainerInstanceArn); arn != "" {
		if id, err = sc.member("container-instance", name, arn); err != nil {
			return nil, err
		}
	}

	fresh := newID()
	var out types.ContainerInstance
	err = s.store.Update(ctx, func(tx store.Tx) error {
		if _, err := s.activeCluster(tx, sc, name); err != nil {
			return err
		}
		next := &instance{ID: fresh, Cluster: name, Status: statusActive, RegisteredAt: s.now().UTC(), Owner: engineOf(ctx)}
		if id != "" {
			old, err := s.instance(tx, sc, name, id)
			if err != nil {
				return err
			}
			if old != nil {
				if err := old.owned(ctx, sc); err != nil {
					return err
				}
				next = copyOf(old)
			}
		}
		next.Attributes, next.Resources, next.VersionInfo = in.Attributes, in.TotalResources, in.VersionInfo
		next.Tags = mergeTags(next.Tags, in.Tags)
		next.Version++
		if err := s.instances.Put(tx, sc.key("instance", name, next.ID), next); err != nil {
			return err
		}
		if err := s.sawInstance(tx, sc, name, next.ID); err != nil {
			return err
		}
		if err := s.wakeCluster(tx, sc, name); err != nil {
			return err
		}
		out, err = s.describeInstance(tx, sc, next, true)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &ecs.RegisterContainerInstanceOutput{ContainerInstance: &out}, nil
}

// DeregisterContainerInstance forgets a host. By force, what runs there is given up:
// its tasks are STOPPED here, and the engine, if it comes back, is told of none.
func (s *Service) DeregisterContainerInstance(ctx context.Context, in *ecs.DeregisterContainerInstanceInput) (*ecs.DeregisterContainerInstanceOutput, error) {
	sc, cluster, id, err := s.instanceRef(ctx, "ecs:DeregisterContainerInstance", in.Cluster, aws.ToString(in.ContainerInstance))
	if err != nil {
		return nil, err
	}
	var out types.ContainerInstance
	err = s.store.Update(ctx, func(tx store.Tx) error {
		i, err := s.instance(tx, sc, cluster, id)
		if err != nil {
			return err
		}
		if i == nil {
			return instanceNotFound()
		}
		i = copyOf(i)
		i.Status = statusInactive
		if out, err = s.describeInstance(tx, sc, i, true); err != nil {
			return err
		}
		var placed []*placement
		for row, err := range s.placements.Scan(tx, sc.prefix("placement", cluster, id), "") {
			if err != nil {
				return err
			}
			placed = append(placed, row.Value)
		}
		if len(placed) > 0 && !aws.ToBool(in.Force) {
			return invalidParameter("Found running tasks on the instance.")
		}
		for _, p := range placed {
			t, err := s.tasks.Get(tx, sc.key("task", cluster, p.Task))
			if err != nil {
				return err
			}
			t = copyOf(t)
			t.Task.DesiredStatus = aws.String("STOPPED")
			if t.Task.StopCode == "" {
				t.Task.StopCode = types.TaskStopCodeTerminationNotice
				t.Task.StoppedReason = aws.String("Container instance " + sc.instanceARN(cluster, id) + " was deregistered.")
			}
			if err := s.stopped(tx, sc, t); err != nil {
				return err
			}
		}
		if err := s.wakeCluster(tx, sc, cluster); err != nil {
			return err
		}
		if err := s.seen.Delete(tx, sc.key("seen", cluster, id)); err != nil {
			return err
		}
		return s.instances.Delete(tx, sc.key("instance", cluster, id))
	})
	if err != nil {
		return nil, err
	}
	out.AgentConnected = false
	return &ecs.DeregisterContainerInstanceOutput{ContainerInstance: &out}, nil
}

func instanceNotFound() error {
	return invalidParameter("The referenced container instance was not found.")
}

// instanceRef authorizes action on the container instance that a request names.
func (s *Service) instanceRef(ctx context.Context, action string, clusterRef *string, ref string) (sc scope, cluster, id string, err error) {
	sc = scopeOf(ctx)
	cluster, err = sc.clusterName(clusterRef)
	if err == nil {
		id, err = sc.member("container-instance", cluster, ref)
	}
	resource := id
	if err != nil || id == "" {
		resource = "*"
	}
	if denied := s.authorizeInstance(ctx, action, cluster, resource); denied != nil {
		return sc, "", "", denied
	}
	if err == nil && id == "" {
		err = instanceNotFound()
	}
	return sc, cluster, id, err
}

// DescribeContainerInstances answers what it finds; the rest are failures.
func (s *Service) DescribeContainerInstances(ctx context.Context, in *ecs.DescribeContainerInstancesInput) (*ecs.DescribeContainerInstancesOutput, error) {
	sc := scopeOf(ctx)
	name, nameErr := sc.clusterName(in.Cluster)
	ids := make([]string, len(in.ContainerInstances))
	for n, ref := range in.ContainerInstances {
		id, err := sc.member("container-instance", name, ref)
		if err != nil || id == "" {
			id = "*"
		}
		if err := s.authorizeInstance(ctx, "ecs:DescribeContainerInstances", name, id); err != nil {
			return nil, err
		}
		ids[n] = id
	}
	if nameErr != nil {
		return nil, nameErr
	}
	if len(ids) == 0 {
		if err := s.authorizeInstance(ctx, "ecs:DescribeContainerInstances", name, "*"); err != nil {
			return nil, err
		}
		return nil, invalidParameter("Container instances cannot be empty.")
	}
	if len(ids) > 100 {
		return nil, invalidParameter("Container instances cannot have more than 100 elements.")
	}

	var out *ecs.DescribeContainerInstancesOutput
	err := s.store.View(ctx, func(tx store.Tx) error {
		out = &ecs.DescribeContainerInstancesOutput{ContainerInstances: []types.ContainerInstance{}, Failures: []types.Failure{}}
		if _, err := s.activeCluster(tx, sc, name); err != nil {
			return err
		}
		for n, id := range ids {
			i, err := s.instance(tx, sc, name, id)
			if err != nil {
				return err
			}
			if i == nil {
				arn := in.ContainerInstances[n]
				if id != "*" {
					arn = sc.instanceARN(name, id)
				}
				out.Failures = append(out.Failures, types.Failure{Arn: aws.String(arn), Reason: aws.String("MISSING")})
				continue
			}
			d, err := s.describeInstance(tx, sc, i, slices.Contains(in.Include, types.ContainerInstanceFieldTags))
			if err != nil {
				return err
			}
			if slices.Contains(in.Include, types.ContainerInstanceFieldContainerInstanceHealth) {
				state := types.InstanceHealthCheckStateInsufficientData
				if d.AgentConnected {
					state = types.InstanceHealthCheckStateOk
				}
				d.HealthStatus = &types.ContainerInstanceHealthStatus{OverallStatus: state}
			}
			out.ContainerInstances = append(out.ContainerInstances, d)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// ListContainerInstances lists ARNs, of one status or all, that match a filter.
func (s *Service) ListContainerInstances(ctx context.Context, in *ecs.ListContainerInstancesInput) (*ecs.ListContainerInstancesOutput, error) {
	sc := scopeOf(ctx)
	name, err := sc.clusterName(in.Cluster)
	if denied := s.authorizeCluster(ctx, "ecs:ListContainerInstances", name); denied != nil {
		return nil, denied
	}
	if err != nil {
		return nil, err
	}
	var filter *taskdef.Constraint
	if f := aws.ToString(in.Filter); f != "" {
		if filter, err = taskdef.ParseConstraint(f); err != nil {
			return nil, invalidParameter("Invalid filter '%s': %v.", f, err)
		}
	}
	var arns []string
	err = s.store.View(ctx, func(tx store.Tx) error {
		arns = nil
		if _, err := s.activeCluster(tx, sc, name); err != nil {
			return err
		}
		for row, err := range s.instances.Scan(tx, sc.prefix("instance", name), "") {
			if err != nil {
				return err
			}
			i := row.Value
			if in.Status != "" && i.Status != string(in.Status) || filter != nil && !filter.Matches(i.attributes(sc)) {
				continue
			}
			arns = append(arns, sc.instanceARN(name, i.ID))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	out := new(ecs.ListContainerInstancesOutput)
	out.ContainerInstanceArns, out.NextToken, err = page(arns, in.MaxResults, in.NextToken, ascending)
	return out, err
}

// UpdateContainerInstancesState sets hosts ACTIVE or DRAINING: a draining host is given
// no new task.
func (s *Service) UpdateContainerInstancesState(ctx context.Context, in *ecs.UpdateContainerInstancesStateInput) (*ecs.UpdateContainerInstancesStateOutput, error) {
	sc := scopeOf(ctx)
	name, nameErr := sc.clusterName(in.Cluster)
	ids := make([]string, len(in.ContainerInstances))
	for n, ref := range in.ContainerInstances {
		id, err := sc.member("container-instance", name, ref)
		if err != nil || id == "" {
			id = "*"
		}
		if err := s.authorizeInstance(ctx, "ecs:UpdateContainerInstancesState", name, id); err != nil {
			return nil, err
		}
		ids[n] = id
	}
	if nameErr != nil {
		return nil, nameErr
	}
	if n := len(ids); n < 1 || n > 10 {
		return nil, invalidParameter("You must specify between 1 and 10 container instances.")
	}
	if in.Status != types.ContainerInstanceStatusActive && in.Status != types.ContainerInstanceStatusDraining {
		return nil, invalidParameter("Container instance status should be one of [ACTIVE,DRAINING]")
	}
	var out *ecs.UpdateContainerInstancesStateOutput
	err := s.store.Update(ctx, func(tx store.Tx) error {
		out = &ecs.UpdateContainerInstancesStateOutput{ContainerInstances: []types.ContainerInstance{}, Failures: []types.Failure{}}
		if _, err := s.activeCluster(tx, sc, name); err != nil {
			return err
		}
		for n, id := range ids {
			i, err := s.instance(tx, sc, name, id)
			if err != nil {
				return err
			}
			if i == nil {
				out.Failures = append(out.Failures, types.Failure{Arn: aws.String(in.ContainerInstances[n]), Reason: aws.String("MISSING")})
				continue
			}
			i = copyOf(i)
			i.Status = string(in.Status)
			i.Version++
			if err := s.instances.Put(tx, sc.key("instance", name, id), i); err != nil {
				return err
			}
			if err := s.wakeCluster(tx, sc, name); err != nil {
				return err
			}
			d, err := s.describeInstance(tx, sc, i, false)
			if err != nil {
				return err
			}
			out.ContainerInstances = append(out.ContainerInstances, d)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// DiscoverPollEndpoint names the place of the stream that acs describes. AWS names one always,
// which tools rely on that hand it to session-manager-plugin: they name no container instance.
func (s *Service) DiscoverPollEndpoint(ctx context.Context, in *ecs.DiscoverPollEndpointInput) (*ecs.DiscoverPollEndpointOutput, error) {
	if err := s.authz.Authorize(ctx, &authz.Access{Action: "ecs:DiscoverPollEndpoint", Resource: "*"}); err != nil {
		return nil, err
	}
	endpoint := s.endpoint
	if endpoint == "" && in.ContainerInstance != nil {
		return new(ecs.DiscoverPollEndpointOutput), nil
	}
	if endpoint == "" {
		scheme := "http://"
		request := caller.From(ctx)
		if request.Secure {
			scheme = "https://"
		}
		endpoint = scheme + request.Host
	}
	return &ecs.DiscoverPollEndpointOutput{Endpoint: &endpoint, TelemetryEndpoint: &endpoint}, nil
}

// attributes are what placement expressions see.
func (i *instance) attributes(sc scope) map[string]string {
	m := map[string]string{}
	for _, a := range i.Attributes {
		m[aws.ToString(a.Name)] = aws.ToString(a.Value)
	}
	for _, a := range i.Custom {
		m[aws.ToString(a.Name)] = aws.ToString(a.Value)
	}
	return m
}

func (s *Service) describeInstance(tx store.Tx, sc scope, i *instance, tags bool) (types.ContainerInstance, error) {
	connected, err := s.connected(tx, sc, i)
	if err != nil {
		return types.ContainerInstance{}, err
	}
	registered := i.RegisteredAt
	d := types.ContainerInstance{
		ContainerInstanceArn: aws.String(sc.instanceARN(i.Cluster, i.ID)),
		AgentConnected:       connected,
		Status:               aws.String(i.Status),
		Attributes:           slices.Concat([]types.Attribute{}, i.Attributes, i.Custom),
		Attachments:          []types.Attachment{},
		RegisteredResources:  append([]types.Resource{}, i.Resources...),
		RegisteredAt:         &registered,
		Version:              i.Version,
		VersionInfo:          i.VersionInfo,
		Tags:                 []types.Tag{},
	}
	if tags {
		d.Tags = append(d.Tags, i.Tags...)
	}
	var used load
	for row, err := range s.placements.Scan(tx, sc.prefix("placement", i.Cluster, i.ID), "") {
		if err != nil {
			return d, err
		}
		used.add(row.Value)
		t, err := s.tasks.Get(tx, sc.key("task", i.Cluster, row.Value.Task))
		if err != nil {
			return d, err
		}
		if rank(aws.ToString(t.Task.LastStatus)) < rank("RUNNING") {
			d.PendingTasksCount++
		} else {
			d.RunningTasksCount++
		}
	}
	for _, r := range d.RegisteredResources {
		switch aws.ToString(r.Name) {
		case "CPU":
			r.IntegerValue -= int32(used.cpu)
		case "MEMORY":
			r.IntegerValue -= int32(used.memory)
		case "PORTS":
			r.StringSetValue = used.with(r.StringSetValue, types.TransportProtocolTcp)
		case "PORTS_UDP":
			r.StringSetValue = used.with(r.StringSetValue, types.TransportProtocolUdp)
		}
		d.RemainingResources = append(d.RemainingResources, r)
	}
	return d, nil
}

// load is what the tasks on an instance take of it.
type load struct {
	cpu, memory, tasks int
	ports              map[string]bool // "80/tcp"
	families           map[string]int
}

func (l *load) add(p *placement) {
	l.cpu += p.CPU
	l.memory += p.Memory
	l.tasks++
	if l.ports == nil {
		l.ports, l.families = map[string]bool{}, map[string]int{}
	}
	for _, port := range p.Ports {
		l.ports[port] = true
	}
	l.families[p.Group]++
}

// with is the ports that an instance keeps from tasks and those that tasks have.
func (l *load) with(reserved []string, protocol types.TransportProtocol) []string {
	all := slices.Clone(reserved)
	for port := range l.ports {
		var n int
		var p string
		if _, err := fmt.Sscanf(port, "%d/%s", &n, &p); err == nil && p == string(protocol) {
			if s := strconv.Itoa(n); !slices.Contains(all, s) {
				all = append(all, s)
			}
		}
	}
	slices.Sort(all)
	return all
}
