//go:build clients

package clients_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	logstypes "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/malote/malote/datachannel"
	"github.com/malote/malote/engine/enginetest"
	"github.com/malote/malote/malotetest/canary"
)

// deployer has the two files that ecspresso has, and makes the calls that ecspresso 2.8 makes
// for its commands, with the same members and in the same order.
type deployer struct {
	t    *testing.T
	cfg  aws.Config
	ecs  *ecs.Client
	logs *cloudwatchlogs.Client

	cluster, service string
	serviceFile      string // the service definition
	taskFile         string // the task definition
}

// deployersPolicy is the one that docs/clients.md gives to whoever runs ecspresso.
func deployersPolicy(t *testing.T) string {
	t.Helper()
	page := must[[]byte](t)(os.ReadFile("../../docs/clients.md"))
	_, policy, found := strings.Cut(string(page), "```json\n")
	policy, _, ended := strings.Cut(policy, "```")
	if !found || !ended {
		t.Fatal("docs/clients.md has no policy")
	}
	return policy
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// definition is a service as ecspresso keeps it: what a file does not say of the desired count
// is nothing, and not 0.
type definition struct {
	types.Service
	DesiredCount *int32
}

// read is a file's definition.
func read[T any](t *testing.T, file string) *T {
	t.Helper()
	v := new(T)
	if err := json.Unmarshal([]byte(file), v); err != nil {
		t.Fatalf("%v in %s", err, file)
	}
	return v
}

// plain is a value without what says nothing: nulls and empty lists.
func plain(t *testing.T, v any) any {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var tree any
	if err := json.Unmarshal(text, &tree); err != nil {
		t.Fatal(err)
	}
	var prune func(any) any
	prune = func(v any) any {
		switch v := v.(type) {
		case map[string]any:
			for name, member := range v {
				if member = prune(member); member == nil {
					delete(v, name)
				}
			}
		case []any:
			if len(v) == 0 {
				return nil
			}
			for _, item := range v {
				prune(item)
			}
		}
		return v
	}
	return prune(tree)
}

// difference compares two values as ecspresso's diff does, "" when nothing differs.
func difference(t *testing.T, local, remote any) string {
	t.Helper()
	lines := func(v any) []string {
		text, err := json.MarshalIndent(plain(t, v), "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		return strings.Split(string(text), "\n")
	}
	a, b := lines(local), lines(remote)
	var told strings.Builder
	for _, line := range a {
		if !slices.Contains(b, line) {
			fmt.Fprintf(&told, "+%s\n", line)
		}
	}
	for _, line := range b {
		if !slices.Contains(a, line) {
			fmt.Fprintf(&told, "-%s\n", line)
		}
	}
	if told.Len() == 0 && !slices.Equal(a, b) {
		return strings.Join(b, "\n") // in another order
	}
	return told.String()
}

// attributes is the request that makes a service what the definition says, and what of a service
// is compared: what the definition leaves out has ECS's defaults.
func (d *definition) attributes() *ecs.UpdateServiceInput {
	if d.AvailabilityZoneRebalancing == "" {
		d.AvailabilityZoneRebalancing = types.AvailabilityZoneRebalancingDisabled
	}
	if d.LaunchType == types.LaunchTypeFargate && d.PlatformVersion == nil {
		d.PlatformVersion = aws.String("LATEST")
	}
	c := d.DeploymentConfiguration
	switch d.SchedulingStrategy {
	case types.SchedulingStrategyDaemon:
		if c == nil {
			c = &types.DeploymentConfiguration{MaximumPercent: aws.Int32(100), MinimumHealthyPercent: aws.Int32(0)}
		}
	default:
		if c == nil {
			c = new(types.DeploymentConfiguration)
		}
		if c.DeploymentCircuitBreaker == nil {
			c.DeploymentCircuitBreaker = new(types.DeploymentCircuitBreaker)
		}
		if c.Strategy == "" {
			c.Strategy = types.DeploymentStrategyRolling
		}
		for _, n := range []struct {
			at   **int32
			most int32
		}{{&c.MaximumPercent, 200}, {&c.MinimumHealthyPercent, 100}, {&c.BakeTimeInMinutes, 0}} {
			if *n.at == nil {
				*n.at = aws.Int32(n.most)
			}
		}
	}
	if b := c.DeploymentCircuitBreaker; b != nil {
		if b.ResetOnHealthyTask == nil {
			b.ResetOnHealthyTask = aws.Bool(true)
		}
		if b.ThresholdConfiguration == nil {
			b.ThresholdConfiguration = &types.ThresholdConfiguration{Type: types.ThresholdTypeBoundedPercent, Value: 50}
		}
	}
	d.DeploymentConfiguration = c
	if n := d.NetworkConfiguration; n != nil && n.AwsvpcConfiguration != nil && n.AwsvpcConfiguration.AssignPublicIp == "" {
		n.AwsvpcConfiguration.AssignPublicIp = types.AssignPublicIpDisabled
	}
	byKey(d.Tags)
	return &ecs.UpdateServiceInput{
		AvailabilityZoneRebalancing: d.AvailabilityZoneRebalancing, CapacityProviderStrategy: d.CapacityProviderStrategy,
		DeploymentConfiguration: c, DesiredCount: d.DesiredCount, EnableECSManagedTags: &d.EnableECSManagedTags, EnableExecuteCommand: &d.EnableExecuteCommand,
		HealthCheckGracePeriodSeconds: d.HealthCheckGracePeriodSeconds, NetworkConfiguration: d.NetworkConfiguration,
		PlacementConstraints: d.PlacementConstraints, PlacementStrategy: d.PlacementStrategy, PlatformVersion: d.PlatformVersion, PropagateTags: d.PropagateTags,
		// What the service does not have is taken away explicitly.
		LoadBalancers: []types.LoadBalancer{}, ServiceRegistries: d.ServiceRegistries, VolumeConfigurations: []types.ServiceVolumeConfiguration{},
		VpcLatticeConfigurations: []types.VpcLatticeConfiguration{}, ServiceConnectConfiguration: &types.ServiceConnectConfiguration{Enabled: false},
	}
}

func byKey(tags []types.Tag) {
	slices.SortFunc(tags, func(a, b types.Tag) int { return strings.Compare(*a.Key, *b.Key) })
}

func (d *deployer) services() *ecs.DescribeServicesInput {
	return &ecs.DescribeServicesInput{Cluster: &d.cluster, Services: []string{d.service}, Include: []types.ServiceField{types.ServiceFieldTags}}
}

// find is the service, nil when there is none.
func (d *deployer) find() *types.Service {
	d.t.Helper()
	out := must[*ecs.DescribeServicesOutput](d.t)(d.ecs.DescribeServices(d.t.Context(), d.services()))
	if len(out.Services) == 0 || *out.Services[0].Status == "INACTIVE" {
		return nil
	}
	return &out.Services[0]
}

// described is a service that there is, with the members that are followed through pointers.
func (d *deployer) described() *types.Service {
	d.t.Helper()
	v := d.find()
	if v == nil {
		d.t.Fatal("there is no service")
	}
	if v.DeploymentController == nil || v.DeploymentController.Type != types.DeploymentControllerTypeEcs {
		d.t.Fatalf("deploymentController = %+v", v.DeploymentController)
	}
	if len(v.Deployments) == 0 || aws.ToString(v.Deployments[0].Id) == "" || aws.ToString(v.Deployments[0].Status) != "PRIMARY" {
		d.t.Fatalf("deployments = %+v", v.Deployments)
	}
	return v
}

// init writes both files from what runs.
func (d *deployer) init() {
	d.t.Helper()
	v := d.described()
	tags := must[*ecs.ListTagsForResourceOutput](d.t)(d.ecs.ListTagsForResource(d.t.Context(), &ecs.ListTagsForResourceInput{ResourceArn: v.ServiceArn}))
	own := definition{*v, &v.DesiredCount}
	own.Tags = tags.Tags
	own.ClusterArn, own.CreatedAt, own.CreatedBy, own.Deployments, own.Events, own.Status, own.TaskDefinition, own.TaskSets = nil, nil, nil, nil, nil, nil, nil, nil
	own.ServiceArn, own.RoleArn, own.ServiceName, own.CurrentServiceRevisions, own.CurrentServiceDeployment = nil, nil, nil, nil, nil
	text := must[[]byte](d.t)(json.Marshal(own))
	d.serviceFile = string(text)
	text = must[[]byte](d.t)(json.Marshal(d.remoteTask(*v.TaskDefinition)))
	d.taskFile = string(text)
}

// remoteTask is a revision as the input that would register it.
func (d *deployer) remoteTask(ref string) *ecs.RegisterTaskDefinitionInput {
	d.t.Helper()
	out := must[*ecs.DescribeTaskDefinitionOutput](d.t)(d.ecs.DescribeTaskDefinition(d.t.Context(), &ecs.DescribeTaskDefinitionInput{
		TaskDefinition: &ref, Include: []types.TaskDefinitionField{types.TaskDefinitionFieldTags},
	}))
	v := out.TaskDefinition
	return &ecs.RegisterTaskDefinitionInput{
		ContainerDefinitions: v.ContainerDefinitions, Cpu: v.Cpu, EphemeralStorage: v.EphemeralStorage, ExecutionRoleArn: v.ExecutionRoleArn, Family: v.Family,
		IpcMode: v.IpcMode, Memory: v.Memory, NetworkMode: v.NetworkMode, PlacementConstraints: v.PlacementConstraints, PidMode: v.PidMode,
		RequiresCompatibilities: v.RequiresCompatibilities, RuntimePlatform: v.RuntimePlatform, TaskRoleArn: v.TaskRoleArn,
		ProxyConfiguration: v.ProxyConfiguration, Volumes: v.Volumes, Tags: out.Tags,
	}
}

// diff tells what deploy would change, "" for nothing.
func (d *deployer) diff() string {
	d.t.Helper()
	v := d.described()
	changed := d.diffService(v)
	local, remote := read[ecs.RegisterTaskDefinitionInput](d.t, d.taskFile), d.remoteTask(*v.TaskDefinition)
	for _, task := range []*ecs.RegisterTaskDefinitionInput{local, remote} {
		byKey(task.Tags)
		for i := range task.ContainerDefinitions {
			c := &task.ContainerDefinitions[i]
			slices.SortFunc(c.Environment, func(a, b types.KeyValuePair) int { return strings.Compare(*a.Name, *b.Name) })
			slices.SortFunc(c.Secrets, func(a, b types.Secret) int { return strings.Compare(*a.Name, *b.Name) })
			for j := range c.PortMappings {
				if p := &c.PortMappings[j]; p.HostPort == nil && task.NetworkMode == types.NetworkModeAwsvpc {
					p.HostPort = p.ContainerPort
				}
			}
		}
	}
	return changed + difference(d.t, local, remote)
}

func (d *deployer) diffService(v *types.Service) string {
	d.t.Helper()
	local, remote := read[definition](d.t, d.serviceFile), &definition{*v, &v.DesiredCount}
	if local.DesiredCount == nil {
		remote.DesiredCount = nil
	}
	type compared struct {
		*ecs.UpdateServiceInput
		Tags []types.Tag
	}
	return difference(d.t, compared{local.attributes(), local.Tags}, compared{remote.attributes(), remote.Tags})
}

// register makes a revision of the task definition.
func (d *deployer) register() *types.TaskDefinition {
	d.t.Helper()
	in := read[ecs.RegisterTaskDefinitionInput](d.t, d.taskFile)
	if len(in.Tags) == 0 {
		in.Tags = nil
	}
	return must[*ecs.RegisterTaskDefinitionOutput](d.t)(d.ecs.RegisterTaskDefinition(d.t.Context(), in)).TaskDefinition
}

// latest is the newest revision of a family.
func (d *deployer) latest(family string) string {
	d.t.Helper()
	out := must[*ecs.ListTaskDefinitionsOutput](d.t)(d.ecs.ListTaskDefinitions(d.t.Context(), &ecs.ListTaskDefinitionsInput{
		FamilyPrefix: &family, MaxResults: aws.Int32(1), Sort: types.SortOrderDesc,
	}))
	if len(out.TaskDefinitionArns) != 1 {
		d.t.Fatalf("the latest of %s = %v", family, out.TaskDefinitionArns)
	}
	return out.TaskDefinitionArns[0]
}

type deployment struct {
	latest, skip bool // --latest-task-definition, --skip-task-definition
	force        bool
	keep         bool   // --no-update-service
	tasks        *int32 // --tasks
	stable       bool   // --wait-until stable
	unwatched    bool   // --no-wait
}

// create is deploy of a service that is not there.
func (d *deployer) create(o deployment) {
	d.t.Helper()
	began := time.Now()
	if d.find() != nil {
		d.t.Fatal("the service is there")
	}
	v := read[definition](d.t, d.serviceFile)
	arn := ""
	if o.latest || o.skip {
		arn = d.latest(*read[ecs.RegisterTaskDefinitionInput](d.t, d.taskFile).Family)
	} else {
		arn = *d.register().TaskDefinitionArn
	}
	must[*ecs.CreateServiceOutput](d.t)(d.ecs.CreateService(d.t.Context(), &ecs.CreateServiceInput{
		Cluster: &d.cluster, CapacityProviderStrategy: v.CapacityProviderStrategy, DeploymentConfiguration: v.DeploymentConfiguration,
		DeploymentController: v.DeploymentController, DesiredCount: v.DesiredCount, EnableECSManagedTags: v.EnableECSManagedTags,
		EnableExecuteCommand: v.EnableExecuteCommand, HealthCheckGracePeriodSeconds: v.HealthCheckGracePeriodSeconds, LaunchType: v.LaunchType,
		LoadBalancers: v.LoadBalancers, NetworkConfiguration: v.NetworkConfiguration, PlacementConstraints: v.PlacementConstraints,
		PlacementStrategy: v.PlacementStrategy, PlatformVersion: v.PlatformVersion, PropagateTags: v.PropagateTags, SchedulingStrategy: v.SchedulingStrategy,
		ServiceName: &d.service, ServiceRegistries: v.ServiceRegistries, Tags: v.Tags, TaskDefinition: &arn,
		AvailabilityZoneRebalancing: v.AvailabilityZoneRebalancing,
	}))
	d.described()
	d.wait(o, began, arn)
}

// deploy updates the service that there is.
func (d *deployer) deploy(o deployment) {
	d.t.Helper()
	began := time.Now()
	v := d.described()
	family, _, _ := strings.Cut((*v.TaskDefinition)[strings.LastIndex(*v.TaskDefinition, "/")+1:], ":")
	arn := *v.TaskDefinition
	switch {
	case o.latest:
		arn = d.latest(family)
	case !o.skip:
		arn = *d.register().TaskDefinitionArn
	}
	in := &ecs.UpdateServiceInput{}
	desired := &v.DesiredCount
	if !o.keep {
		local := read[definition](d.t, d.serviceFile)
		desired = local.DesiredCount
		if d.diffService(v) != "" {
			in = local.attributes()
		}
		d.tag(v, local.Tags)
	}
	in.Service, in.Cluster, in.TaskDefinition, in.ForceNewDeployment, in.DesiredCount = &d.service, &d.cluster, &arn, o.force, desired
	if o.tasks != nil {
		in.DesiredCount = o.tasks
	}
	must[*ecs.UpdateServiceOutput](d.t)(d.ecs.UpdateService(d.t.Context(), in))
	if !o.unwatched {
		d.wait(o, began, arn)
	}
}

// tag brings the service's tags to what they should be.
func (d *deployer) tag(v *types.Service, want []types.Tag) {
	d.t.Helper()
	has := map[string]string{}
	for _, tag := range v.Tags {
		has[*tag.Key] = *tag.Value
	}
	var changed []types.Tag
	for _, tag := range want {
		if old, ok := has[*tag.Key]; !ok || old != *tag.Value {
			changed = append(changed, tag)
		}
		delete(has, *tag.Key)
	}
	if len(changed) > 0 {
		must[*ecs.TagResourceOutput](d.t)(d.ecs.TagResource(d.t.Context(), &ecs.TagResourceInput{ResourceArn: v.ServiceArn, Tags: changed}))
	}
	var gone []string
	for key := range has {
		gone = append(gone, key)
	}
	if len(gone) > 0 {
		must[*ecs.UntagResourceOutput](d.t)(d.ecs.UntagResource(d.t.Context(), &ecs.UntagResourceInput{ResourceArn: v.ServiceArn, TagKeys: gone}))
	}
}

const patience = 90 * time.Second

// wait is until the deployment is over, or the service stable; then its PRIMARY deployment has to
// be of the task definition.
func (d *deployer) wait(o deployment, began time.Time, arn string) {
	d.t.Helper()
	if o.stable {
		if err := ecs.NewServicesStableWaiter(d.ecs, quickly).Wait(d.t.Context(), d.services(), patience); err != nil {
			d.t.Fatalf("services-stable: %v\n%s", err, d.told())
		}
	} else if active := d.active(began, 10*time.Second); active != "" {
		for end := time.Now().Add(patience); ; time.Sleep(time.Second) {
			out := must[*ecs.DescribeServiceDeploymentsOutput](d.t)(d.ecs.DescribeServiceDeployments(d.t.Context(), &ecs.DescribeServiceDeploymentsInput{ServiceDeploymentArns: []string{active}}))
			if len(out.ServiceDeployments) != 1 {
				d.t.Fatalf("DescribeServiceDeployments = %+v", out)
			}
			x := out.ServiceDeployments[0]
			if x.TargetServiceRevision == nil || aws.ToString(x.TargetServiceRevision.Arn) == "" {
				d.t.Fatalf("targetServiceRevision = %+v", x.TargetServiceRevision)
			}
			if x.Status == types.ServiceDeploymentStatusSuccessful {
				break
			}
			if x.Status != types.ServiceDeploymentStatusInProgress || time.Now().After(end) {
				d.t.Fatalf("the service deployment is %s: %s\n%s", x.Status, aws.ToString(x.StatusReason), d.told())
			}
		}
	}
	v := d.described()
	if got := *v.Deployments[0].TaskDefinition; got != arn {
		d.t.Fatalf("the PRIMARY deployment is of %s, want %s", got, arn)
	}
	for i := range v.Events {
		if v.Events[i].CreatedAt == nil || aws.ToString(v.Events[i].Message) == "" {
			d.t.Errorf("event %+v", v.Events[i])
		}
	}
}

// told is what the service's events and its tasks' ends tell.
func (d *deployer) told() string {
	d.t.Helper()
	var b strings.Builder
	for _, event := range d.described().Events {
		fmt.Fprintln(&b, *event.Message)
	}
	for _, task := range d.tasks(ecs.ListTasksInput{ServiceName: &d.service}) {
		fmt.Fprintln(&b, *task.TaskArn, *task.LastStatus, task.HealthStatus, aws.ToString(task.StoppedReason))
	}
	return b.String()
}

func quickly(o *ecs.ServicesStableWaiterOptions) { o.MinDelay, o.MaxDelay = time.Second, time.Second }

// active is the service deployment in progress that began after a time, "" for none.
func (d *deployer) active(began time.Time, within time.Duration) string {
	d.t.Helper()
	for end := time.Now().Add(within); ; time.Sleep(time.Second) {
		out := must[*ecs.ListServiceDeploymentsOutput](d.t)(d.ecs.ListServiceDeployments(d.t.Context(), &ecs.ListServiceDeploymentsInput{
			Cluster: &d.cluster, Service: &d.service, Status: []types.ServiceDeploymentStatus{types.ServiceDeploymentStatusInProgress},
		}))
		for _, x := range out.ServiceDeployments {
			if x.CreatedAt.After(began) {
				return *x.ServiceDeploymentArn
			}
		}
		if !time.Now().Before(end) {
			return ""
		}
	}
}

// rollback stops the deployment in progress, or deploys the revision before the service's; then
// the revision that it left is deregistered.
func (d *deployer) rollback(began time.Time) (from, to string) {
	d.t.Helper()
	v := d.described()
	from = *v.TaskDefinition
	family, _, _ := strings.Cut(from[strings.LastIndex(from, "/")+1:], ":")
	all := must[*ecs.ListTaskDefinitionsOutput](d.t)(d.ecs.ListTaskDefinitions(d.t.Context(), &ecs.ListTaskDefinitionsInput{
		FamilyPrefix: &family, MaxResults: aws.Int32(100), Sort: types.SortOrderDesc,
	})).TaskDefinitionArns
	at := slices.Index(all, from)
	if at < 0 || at+1 == len(all) {
		d.t.Fatalf("%s has nothing before it in %v", from, all)
	}
	to = all[at+1]
	if active := d.active(began, 0); active != "" {
		must[*ecs.StopServiceDeploymentOutput](d.t)(d.ecs.StopServiceDeployment(d.t.Context(), &ecs.StopServiceDeploymentInput{
			ServiceDeploymentArn: &active, StopType: types.StopServiceDeploymentStopTypeRollback,
		}))
	} else {
		must[*ecs.UpdateServiceOutput](d.t)(d.ecs.UpdateService(d.t.Context(), &ecs.UpdateServiceInput{Service: v.ServiceName, Cluster: &d.cluster, TaskDefinition: &to}))
	}
	d.wait(deployment{stable: true}, began, to)
	must[*ecs.DeregisterTaskDefinitionOutput](d.t)(d.ecs.DeregisterTaskDefinition(d.t.Context(), &ecs.DeregisterTaskDefinitionInput{TaskDefinition: &from}))
	return from, to
}

// tasks are those of the service or of a family, running and stopped.
func (d *deployer) tasks(filter ecs.ListTasksInput) []types.Task {
	d.t.Helper()
	var all []types.Task
	for _, status := range []types.DesiredStatus{types.DesiredStatusRunning, types.DesiredStatusStopped} {
		in := filter
		in.Cluster, in.DesiredStatus = &d.cluster, status
		for pages := ecs.NewListTasksPaginator(d.ecs, &in); pages.HasMorePages(); {
			page := must[*ecs.ListTasksOutput](d.t)(pages.NextPage(d.t.Context()))
			if len(page.TaskArns) == 0 {
				continue
			}
			out := must[*ecs.DescribeTasksOutput](d.t)(d.ecs.DescribeTasks(d.t.Context(), &ecs.DescribeTasksInput{
				Cluster: &d.cluster, Tasks: page.TaskArns, Include: []types.TaskField{types.TaskFieldTags},
			}))
			all = append(all, out.Tasks...)
		}
	}
	for _, task := range all {
		if task.CreatedAt == nil || task.TaskDefinitionArn == nil || task.Group == nil || task.LastStatus == nil || task.DesiredStatus == nil {
			d.t.Fatalf("task %+v", task)
		}
	}
	return all
}

// exec runs a command in the service's only running task and returns what it printed.
func (d *deployer) exec(command string) string {
	d.t.Helper()
	all := slices.DeleteFunc(d.tasks(ecs.ListTasksInput{ServiceName: &d.service}), func(x types.Task) bool { return *x.LastStatus == "STOPPED" })
	if len(all) != 1 || len(all[0].Containers) != 1 || aws.ToString(all[0].Containers[0].RuntimeId) == "" {
		d.t.Fatalf("tasks to choose from = %+v", all)
	}
	task := all[0]
	out := must[*ecs.ExecuteCommandOutput](d.t)(d.ecs.ExecuteCommand(d.t.Context(), &ecs.ExecuteCommandInput{
		Cluster: task.ClusterArn, Interactive: true, Task: task.TaskArn, Command: &command, Container: task.Containers[0].Name,
	}))
	// AWS's session-manager-plugin is given the session and this endpoint.
	endpoint := must[*ecs.DiscoverPollEndpointOutput](d.t)(d.ecs.DiscoverPollEndpoint(d.t.Context(), &ecs.DiscoverPollEndpointInput{Cluster: &d.cluster}))
	if endpoint.Endpoint == nil {
		d.t.Fatal("DiscoverPollEndpoint tells no endpoint")
	}
	ctx, cancel := context.WithTimeout(d.t.Context(), patience)
	defer cancel()
	session := must[*datachannel.Client](d.t)(datachannel.Dial(ctx, http.DefaultClient, *out.Session.StreamUrl, datachannel.Open{
		MessageSchemaVersion: "1.0", RequestId: datachannel.UUID(datachannel.New("", 0, 0, nil).ID), TokenValue: *out.Session.TokenValue, ClientId: *out.Session.SessionId,
		ClientVersion: "1.2.0.0",
	}))
	defer session.Close()
	var printed bytes.Buffer
	print := func(b []byte) error { _, err := printed.Write(b); return err }
	if _, word, err := session.Run(ctx, datachannel.Handler{Begun: func() {}, Stdout: print, Stderr: print}); err != nil || word != "" {
		d.t.Fatalf("the session: %v %s", err, word)
	}
	return printed.String()
}

// run runs one task by the latest definition and returns its container and its log.
func (d *deployer) run(overrides types.TaskOverride, tags []types.Tag, propagate types.PropagateTags) (types.Container, []string) {
	d.t.Helper()
	began := time.Now()
	arn := d.latest(*read[ecs.RegisterTaskDefinitionInput](d.t, d.taskFile).Family)
	task := d.remoteTask(arn)
	v := read[definition](d.t, d.serviceFile)
	started := must[*ecs.RunTaskOutput](d.t)(d.ecs.RunTask(d.t.Context(), &ecs.RunTaskInput{
		Cluster: &d.cluster, TaskDefinition: &arn, NetworkConfiguration: v.NetworkConfiguration, LaunchType: v.LaunchType, Overrides: &overrides, Count: aws.Int32(1),
		CapacityProviderStrategy: v.CapacityProviderStrategy, PlacementConstraints: v.PlacementConstraints, PlacementStrategy: v.PlacementStrategy,
		PlatformVersion: v.PlatformVersion, Tags: append([]types.Tag{}, tags...), PropagateTags: propagate, EnableECSManagedTags: v.EnableECSManagedTags,
		EnableExecuteCommand: v.EnableExecuteCommand,
	}))
	if len(started.Failures) > 0 || len(started.Tasks) != 1 {
		d.t.Fatalf("RunTask = %+v", started)
	}
	in := &ecs.DescribeTasksInput{Cluster: &d.cluster, Tasks: []string{*started.Tasks[0].TaskArn}}
	if err := ecs.NewTasksStoppedWaiter(d.ecs, func(o *ecs.TasksStoppedWaiterOptions) { o.MinDelay, o.MaxDelay = time.Second, time.Second }).Wait(d.t.Context(), in, patience); err != nil {
		d.t.Fatalf("tasks-stopped: %v", err)
	}
	ended := must[*ecs.DescribeTasksOutput](d.t)(d.ecs.DescribeTasks(d.t.Context(), in)).Tasks[0]
	if ended.StopCode == types.TaskStopCodeTaskFailedToStart {
		d.t.Fatalf("the task failed to start: %s", aws.ToString(ended.StoppedReason))
	}
	// The log, from where the last answer ended.
	options := task.ContainerDefinitions[0].LogConfiguration.Options
	id := (*ended.TaskArn)[strings.LastIndex(*ended.TaskArn, "/")+1:]
	stream := options["awslogs-stream-prefix"] + "/" + *task.ContainerDefinitions[0].Name + "/" + id
	var printed []string
	var next *string
	for range 3 {
		out := must[*cloudwatchlogs.GetLogEventsOutput](d.t)(d.logs.GetLogEvents(d.t.Context(), &cloudwatchlogs.GetLogEventsInput{
			LogGroupName: aws.String(options["awslogs-group"]), LogStreamName: &stream, StartTime: aws.Int64(began.UnixMilli()), NextToken: next,
		}))
		if len(out.Events) == 0 {
			continue
		}
		for _, event := range out.Events {
			printed = append(printed, *event.Message)
		}
		next = out.NextForwardToken
	}
	return ended.Containers[0], printed
}

// verify asks for everything that the definitions name, but the images, which it asks their
// registries for.
func (d *deployer) verify() error {
	d.t.Helper()
	ctx := d.t.Context()
	task := read[ecs.RegisterTaskDefinitionInput](d.t, d.taskFile)
	// The execution role trusts ECS alone. Then everything is asked with the caller's own rights.
	_, err := sts.NewFromConfig(d.cfg).AssumeRole(ctx, &sts.AssumeRoleInput{RoleArn: task.ExecutionRoleArn, RoleSessionName: aws.String("ecspresso-verifier")})
	if err == nil || !strings.Contains(err.Error(), "AccessDenied") {
		d.t.Errorf("assuming the execution role: %v", err)
	}
	name := (*task.ExecutionRoleArn)[strings.LastIndex(*task.ExecutionRoleArn, "/")+1:]
	role, err := iam.NewFromConfig(d.cfg).GetRole(ctx, &iam.GetRoleInput{RoleName: &name})
	if err != nil {
		return err
	}
	text := must[string](d.t)(url.QueryUnescape(*role.Role.AssumeRolePolicyDocument))
	var trust struct {
		Statement []struct {
			Principal struct{ Service string }
			Action    string
		}
	}
	if err := json.Unmarshal([]byte(text), &trust); err != nil || len(trust.Statement) != 1 || trust.Statement[0].Principal.Service != "ecs-tasks.amazonaws.com" || trust.Statement[0].Action != "sts:AssumeRole" {
		d.t.Errorf("the role's trust policy = %s, %v", text, err)
	}
	for _, c := range task.ContainerDefinitions {
		for _, secret := range c.Secrets {
			part := strings.Split(*secret.ValueFrom, ":")
			if strings.HasPrefix(*secret.ValueFrom, "arn:aws:secretsmanager:") {
				out, err := secretsmanager.NewFromConfig(d.cfg).GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: aws.String(strings.Join(part[:7], ":"))})
				if err != nil {
					return err
				}
				keys := map[string]any{}
				if err := json.Unmarshal([]byte(*out.SecretString), &keys); err != nil || keys[part[7]] == nil {
					return fmt.Errorf("%s: no key %s: %v", *secret.ValueFrom, part[7], err)
				}
				continue
			}
			parameter := strings.TrimPrefix(part[len(part)-1], "parameter")
			out, err := ssm.NewFromConfig(d.cfg).GetParameters(ctx, &ssm.GetParametersInput{Names: []string{parameter}, WithDecryption: aws.Bool(true)})
			if err != nil {
				return err
			}
			if len(out.Parameters) == 0 || len(out.InvalidParameters) > 0 {
				return fmt.Errorf("parameter %s is not found", parameter)
			}
		}
		options := c.LogConfiguration.Options
		group, stream := options["awslogs-group"], fmt.Sprintf("%s/%s/ecspresso-verify-%d", options["awslogs-stream-prefix"], *c.Name, time.Now().UnixNano())
		if _, err := d.logs.CreateLogGroup(ctx, &cloudwatchlogs.CreateLogGroupInput{LogGroupName: &group}); err != nil && !errors.As(err, new(*logstypes.ResourceAlreadyExistsException)) {
			return err
		}
		if _, err := d.logs.CreateLogStream(ctx, &cloudwatchlogs.CreateLogStreamInput{LogGroupName: &group, LogStreamName: &stream}); err != nil {
			return err
		}
		if _, err := d.logs.PutLogEvents(ctx, &cloudwatchlogs.PutLogEventsInput{LogGroupName: &group, LogStreamName: &stream, LogEvents: []logstypes.InputLogEvent{
			{Message: aws.String("This is a test."), Timestamp: aws.Int64(time.Now().Unix() * 1000)},
		}}); err != nil {
			return err
		}
		for _, file := range c.EnvironmentFiles {
			bucket, key, _ := strings.Cut(strings.TrimPrefix(*file.Value, "arn:aws:s3:::"), "/")
			if _, err := s3.NewFromConfig(d.cfg).HeadObject(ctx, &s3.HeadObjectInput{Bucket: &bucket, Key: &key}); err != nil {
				return err
			}
		}
	}
	out, err := d.ecs.DescribeClusters(ctx, &ecs.DescribeClustersInput{Clusters: []string{d.cluster}})
	if err == nil && len(out.Clusters) != 1 {
		err = fmt.Errorf("the cluster %s is not found", d.cluster)
	}
	return err
}

// revisions are the names of a family's ACTIVE revisions, and which of them are in use.
func (d *deployer) revisions() (names []string, used map[string]bool) {
	d.t.Helper()
	name := func(arn string) string { return arn[strings.LastIndex(arn, "/")+1:] }
	v := d.described()
	family := d.remoteTask(*v.TaskDefinition).Family
	used = map[string]bool{}
	for _, task := range d.tasks(ecs.ListTasksInput{Family: family}) {
		if *task.LastStatus != "STOPPED" {
			used[name(*task.TaskDefinitionArn)] = true
		}
	}
	for _, x := range d.described().Deployments {
		used[name(*x.TaskDefinition)] = true
	}
	for pages := ecs.NewListTaskDefinitionsPaginator(d.ecs, &ecs.ListTaskDefinitionsInput{FamilyPrefix: family}); pages.HasMorePages(); {
		for _, arn := range must[*ecs.ListTaskDefinitionsOutput](d.t)(pages.NextPage(d.t.Context())).TaskDefinitionArns {
			names = append(names, name(arn))
		}
	}
	return names, used
}

// deregister makes away with all revisions that are not in use.
func (d *deployer) deregister() (gone []string) {
	d.t.Helper()
	names, used := d.revisions()
	for _, name := range names {
		if !used[name] {
			must[*ecs.DeregisterTaskDefinitionOutput](d.t)(d.ecs.DeregisterTaskDefinition(d.t.Context(), &ecs.DeregisterTaskDefinitionInput{TaskDefinition: &name}))
			gone = append(gone, name)
		}
	}
	out := must[*ecs.DeleteTaskDefinitionsOutput](d.t)(d.ecs.DeleteTaskDefinitions(d.t.Context(), &ecs.DeleteTaskDefinitionsInput{TaskDefinitions: gone}))
	if len(out.Failures) > 0 {
		d.t.Errorf("DeleteTaskDefinitions(%v) = %+v", gone, out.Failures)
	}
	return gone
}

const healthy = `"print","well"`

const shopService = `{
	"deploymentConfiguration":{"deploymentCircuitBreaker":{"enable":true,"rollback":true},"maximumPercent":200,"minimumHealthyPercent":0},
	"desiredCount":1,"enableECSManagedTags":true,"enableExecuteCommand":true,"launchType":"EC2","propagateTags":"SERVICE","schedulingStrategy":"REPLICA",
	"tags":[{"key":"team","value":"shop"},{"key":"env","value":"test"}]}`

// shopTask says VERSION, and healthy is what is run to see whether it is.
func shopTask(image, version, healthy string) string {
	return `{"family":"shop","executionRoleArn":"arn:aws:iam::123456789012:role/shop","networkMode":"bridge","requiresCompatibilities":["EC2"],"cpu":"128","memory":"512",
	"tags":[{"key":"team","value":"shop"}],
	"containerDefinitions":[{"name":"app","image":"` + image + `","essential":true,"cpu":64,"memory":64,"command":["print","serving","then","trap","0"],
		"healthCheck":{"command":["CMD","/app",` + healthy + `],"interval":5,"timeout":5,"retries":10,"startPeriod":300},
		"portMappings":[{"containerPort":8080,"hostPort":0,"protocol":"tcp"}],
		"environment":[{"name":"VERSION","value":"` + version + `"},{"name":"A","value":"a"}],
		"environmentFiles":[{"type":"s3","value":"arn:aws:s3:::shop/app.env"}],
		"secrets":[{"name":"DB","valueFrom":"arn:aws:secretsmanager:us-east-1:123456789012:secret:shop/db:password::"},{"name":"KEY","valueFrom":"arn:aws:ssm:us-east-1:123456789012:parameter/shop/key"}],
		"logConfiguration":{"logDriver":"awslogs","options":{"awslogs-group":"/shop","awslogs-region":"us-east-1","awslogs-create-group":"true","awslogs-stream-prefix":"app"}},
		"dockerLabels":{"Com.Example.Shop":"yes"},"ulimits":[{"name":"nofile","softLimit":1024,"hardLimit":2048}],"stopTimeout":5}]}`
}

func TestTheCallsThatEcspressoMakes(t *testing.T) {
	docker := enginetest.Docker(t)
	enginetest.Exclusive(t, "169.254.170.2")
	image := enginetest.Build(t, docker, enginetest.Image{Entrypoint: []string{"/app"}})
	env := up(t)
	admin := config(env)
	t.Cleanup(func() { end(t, ecs.NewFromConfig(admin)) })
	ctx := t.Context()
	value := new(canary.Set).New()

	names := iam.NewFromConfig(admin)
	must[*iam.CreateRoleOutput](t)(names.CreateRole(ctx, &iam.CreateRoleInput{RoleName: aws.String("shop"), AssumeRolePolicyDocument: aws.String(
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ecs-tasks.amazonaws.com"},"Action":"sts:AssumeRole"}]}`)}))
	must[*iam.PutRolePolicyOutput](t)(names.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: aws.String("shop"), PolicyName: aws.String("shop"), PolicyDocument: aws.String(
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["secretsmanager:GetSecretValue","ssm:GetParameters","s3:GetObject","s3:GetBucketLocation","logs:*"],"Resource":"*"}]}`)}))
	must[*secretsmanager.CreateSecretOutput](t)(secretsmanager.NewFromConfig(admin).CreateSecret(ctx, &secretsmanager.CreateSecretInput{
		Name: aws.String("shop/db"), SecretString: aws.String(`{"password":"` + value + `"}`),
	}))
	must[*ssm.PutParameterOutput](t)(ssm.NewFromConfig(admin).PutParameter(ctx, &ssm.PutParameterInput{Name: aws.String("/shop/key"), Type: "SecureString", Value: &value}))
	objects := s3.NewFromConfig(admin)
	must[*s3.CreateBucketOutput](t)(objects.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String("shop")}))
	must[*s3.PutObjectOutput](t)(objects.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String("shop"), Key: aws.String("app.env"), Body: strings.NewReader("FROM_FILE=yes\n")}))
	must[*iam.CreateUserOutput](t)(names.CreateUser(ctx, &iam.CreateUserInput{UserName: aws.String("deployer")}))
	must[*iam.PutUserPolicyOutput](t)(names.PutUserPolicy(ctx, &iam.PutUserPolicyInput{UserName: aws.String("deployer"), PolicyName: aws.String("deploy"), PolicyDocument: aws.String(deployersPolicy(t))}))
	key := must[*iam.CreateAccessKeyOutput](t)(names.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: aws.String("deployer")})).AccessKey
	cfg := admin.Copy()
	cfg.Credentials = credentials.NewStaticCredentialsProvider(*key.AccessKeyId, *key.SecretAccessKey, "")

	d := &deployer{
		t: t, cfg: cfg, ecs: ecs.NewFromConfig(cfg), logs: cloudwatchlogs.NewFromConfig(cfg), cluster: "default", service: "shop",
		serviceFile: shopService, taskFile: shopTask(image, "1", healthy),
	}
	step := func(name string, f func()) {
		t.Helper()
		began := time.Now()
		f()
		t.Logf("%-10s %s", name, time.Since(began).Round(time.Millisecond))
	}
	same := func(after string) {
		t.Helper()
		if got := d.diff(); got != "" {
			t.Errorf("after %s, diff tells\n%s", after, got)
		}
	}

	step("verify", func() {
		if err := d.verify(); err != nil {
			t.Error(err)
		}
		whole := d.taskFile
		d.taskFile = strings.ReplaceAll(whole, ":password::", ":elsewhere::")
		if err := d.verify(); err == nil || !strings.Contains(err.Error(), "no key elsewhere") {
			t.Errorf("verify of a key that the secret has not: %v", err)
		}
		d.taskFile = strings.ReplaceAll(whole, "/shop/key", "/shop/nowhere")
		if err := d.verify(); err == nil || !strings.Contains(err.Error(), "parameter /shop/nowhere is not found") {
			t.Errorf("verify of a parameter that is not: %v", err)
		}
		d.taskFile = whole
	})
	step("create", func() {
		d.create(deployment{})
		same("create")
	})
	step("status", func() {
		// Of Auto Scaling ecspresso takes an error of any kind for a warning, if it is told at once.
		cli{t, env}.refused("UnknownOperationException", "application-autoscaling", "describe-scalable-targets", "--service-namespace", "ecs",
			"--resource-ids", "service/default/shop", "--scalable-dimension", "ecs:service:DesiredCount")
	})
	step("init", func() {
		d.init()
		same("init")
		d.deploy(deployment{skip: true}) // nothing changes by the files that init wrote
		same("deploy of what init wrote")
		d.serviceFile = shopService
		d.taskFile = shopTask(image, "1", healthy)
	})

	step("deploy", func() {
		d.taskFile = shopTask(image, "2", healthy)
		if got := d.diff(); got != "+          \"Value\": \"2\"\n-          \"Value\": \"1\"\n" {
			t.Errorf("diff of another VERSION tells %q", got)
		}
		d.deploy(deployment{})
		same("deploy")
		if got := *d.described().TaskDefinition; !strings.HasSuffix(got, "/shop:2") {
			t.Errorf("deployed %s", got)
		}
	})
	step("attributes", func() {
		d.serviceFile = strings.NewReplacer(`"enableExecuteCommand":true`, `"enableExecuteCommand":false`, `"minimumHealthyPercent":0`, `"minimumHealthyPercent":50`,
			`"value":"test"`, `"value":"staging"`, `{"key":"team","value":"shop"},`, `{"key":"owner","value":"ann"},`, `"desiredCount":1,`, ``).Replace(shopService)
		d.deploy(deployment{skip: true, stable: true})
		same("deploy of attributes")
		v := d.described()
		if v.EnableExecuteCommand || *v.DeploymentConfiguration.MinimumHealthyPercent != 50 || len(v.Tags) != 2 || v.DesiredCount != 1 {
			t.Errorf("the service is %+v", v)
		}
		d.serviceFile = shopService
		d.deploy(deployment{skip: true, stable: true})
		same("deploy of attributes as they were")
	})
	step("scale", func() {
		d.deploy(deployment{skip: true, keep: true, stable: true, tasks: aws.Int32(2)})
		if v := d.described(); v.DesiredCount != 2 || v.RunningCount != 2 || !strings.HasSuffix(*v.TaskDefinition, "/shop:2") {
			t.Errorf("scaled to %d, %d of %s", v.DesiredCount, v.RunningCount, *v.TaskDefinition)
		}
		// A definition that does not say how many keeps how many there are.
		d.serviceFile = strings.Replace(shopService, `"desiredCount":1,`, ``, 1)
		same("scale")
		d.deploy(deployment{skip: true, stable: true})
		if v := d.described(); v.DesiredCount != 2 {
			t.Errorf("deploy without desiredCount made it %d", v.DesiredCount)
		}
		d.serviceFile = shopService
		d.deploy(deployment{skip: true, keep: true, stable: true, tasks: aws.Int32(1)})
	})
	step("refresh", func() {
		before := d.described().Deployments[0].Id
		d.deploy(deployment{skip: true, keep: true, force: true})
		if after := d.described().Deployments[0].Id; *after == *before {
			t.Error("refresh made no deployment")
		}
		same("refresh")
	})

	step("tasks", func() {
		all := d.tasks(ecs.ListTasksInput{ServiceName: &d.service})
		running := 0
		for _, task := range all {
			tags := map[string]string{}
			for _, tag := range task.Tags {
				tags[*tag.Key] = *tag.Value
			}
			if *task.LastStatus == "RUNNING" {
				running++
				if tags["aws:ecs:serviceName"] != "shop" || tags["team"] != "shop" || *task.Group != "service:shop" {
					t.Errorf("a task of %s has the tags %v", *task.Group, tags)
				}
			}
		}
		if running != 1 || len(all) < 4 {
			t.Errorf("%d tasks, %d of them running", len(all), running)
		}
		if got := d.tasks(ecs.ListTasksInput{Family: aws.String("shop")}); len(got) != len(all) {
			t.Errorf("%d tasks of the family, %d of the service", len(got), len(all))
		}
	})
	step("exec", func() {
		if got := d.exec("/app printenv VERSION"); strings.TrimSpace(got) != "2" {
			t.Errorf("exec printed %q", got)
		}
	})
	step("run", func() {
		c, printed := d.run(types.TaskOverride{ContainerOverrides: []types.ContainerOverride{{Name: aws.String("app"), Command: []string{"print", "migrated"}}}}, nil, "")
		if aws.ToInt32(c.ExitCode) != 0 || c.ExitCode == nil || c.Reason != nil || !slices.Equal(printed, []string{"migrated"}) {
			t.Errorf("run: exit code %v, reason %v, printed %q", c.ExitCode, aws.ToString(c.Reason), printed)
		}
		c, _ = d.run(types.TaskOverride{ContainerOverrides: []types.ContainerOverride{{Name: aws.String("app"), Command: []string{"exit", "3"}}}},
			[]types.Tag{{Key: aws.String("kind"), Value: aws.String("batch")}}, types.PropagateTagsTaskDefinition)
		if aws.ToInt32(c.ExitCode) != 3 {
			t.Errorf("run of exit 3: exit code %v", c.ExitCode)
		}
	})

	step("rollback", func() {
		from, to := d.rollback(time.Now())
		if !strings.HasSuffix(from, "/shop:2") || !strings.HasSuffix(to, "/shop:1") || d.latest("shop") != to {
			t.Errorf("rolled back from %s to %s, the latest is %s", from, to, d.latest("shop"))
		}
		d.taskFile = shopTask(image, "1", healthy)
		same("rollback")
	})
	step("latest", func() {
		d.taskFile = shopTask(image, "3", healthy)
		arn := *d.register().TaskDefinitionArn
		d.deploy(deployment{latest: true})
		if got := *d.described().TaskDefinition; got != arn || !strings.HasSuffix(got, "/shop:3") {
			t.Errorf("deploy --latest-task-definition deployed %s, want %s", got, arn)
		}
		same("deploy --latest-task-definition")
	})
	step("stop", func() {
		// A deployment that never gets healthy is in progress until it is rolled back.
		began := time.Now()
		d.taskFile = shopTask(image, "4", `"exit","1"`)
		d.deploy(deployment{unwatched: true})
		if d.active(began, 10*time.Second) == "" {
			t.Fatal("the deployment is not in progress")
		}
		from, to := d.rollback(began)
		if !strings.HasSuffix(from, "/shop:4") || !strings.HasSuffix(to, "/shop:3") {
			t.Errorf("rolled back from %s to %s", from, to)
		}
		d.taskFile = shopTask(image, "3", healthy)
		same("rollback of a deployment in progress")
	})
	step("deregister", func() {
		if names, used := d.revisions(); !slices.Equal(names, []string{"shop:1", "shop:3"}) || len(used) != 1 || !used["shop:3"] {
			t.Errorf("revisions %v, in use %v", names, used)
		}
		if gone := d.deregister(); !slices.Equal(gone, []string{"shop:1"}) {
			t.Errorf("deregistered %v", gone)
		}
		if names, _ := d.revisions(); !slices.Equal(names, []string{"shop:3"}) {
			t.Errorf("left are %v", names)
		}
	})
	step("delete", func() {
		_, err := d.ecs.DeleteService(ctx, &ecs.DeleteServiceInput{Cluster: &d.cluster, Service: &d.service, Force: aws.Bool(false)})
		if err == nil {
			t.Error("a service of one task was deleted without force")
		}
		must[*ecs.DeleteServiceOutput](t)(d.ecs.DeleteService(ctx, &ecs.DeleteServiceInput{Cluster: &d.cluster, Service: &d.service, Force: aws.Bool(true)}))
		for end := time.Now().Add(patience); d.find() != nil; time.Sleep(time.Second) {
			if time.Now().After(end) {
				t.Fatal("the service is not INACTIVE")
			}
		}
		// And once more from nothing, with the revision that there is.
		d.create(deployment{latest: true, stable: true})
		same("create of the service that was deleted")
	})
	step("others", func() {
		network := `"networkConfiguration":{"awsvpcConfiguration":{"subnets":["subnet-1"],"securityGroups":["sg-1"]}}`
		fargate := func(family string) string {
			// Its port is the host's as well.
			listener := must[net.Listener](t)(net.Listen("tcp", ":0"))
			port := strconv.Itoa(listener.Addr().(*net.TCPAddr).Port)
			listener.Close()
			return strings.NewReplacer(`"family":"shop"`, `"family":"`+family+`"`, `"networkMode":"bridge"`, `"networkMode":"awsvpc"`, `["EC2"]`, `["FARGATE"]`, `"cpu":"128"`, `"cpu":"256"`,
				`"containerPort":8080,"hostPort":0,`, `"containerPort":`+port+`,`).Replace(shopTask(image, "1", healthy))
		}
		for _, other := range []struct{ name, service, task string }{
			{"pay", strings.Replace(shopService, `"launchType":"EC2"`, `"launchType":"FARGATE",`+network, 1), fargate("pay")},
			{"pinned", strings.Replace(shopService, `"launchType":"EC2"`, `"launchType":"FARGATE","platformVersion":"1.4.0",`+network, 1), fargate("pinned")},
			{"plain", `{"launchType":"EC2","desiredCount":1,"propagateTags":"NONE"}`, strings.Replace(shopTask(image, "1", healthy), `"family":"shop"`, `"family":"plain"`, 1)},
			{"watch", `{"launchType":"EC2","schedulingStrategy":"DAEMON","propagateTags":"NONE"}`, strings.Replace(shopTask(image, "1", healthy), `"family":"shop"`, `"family":"watch"`, 1)},
		} {
			d := *d
			d.service, d.serviceFile, d.taskFile = other.name, other.service, other.task
			d.create(deployment{stable: true})
			if got := d.diff(); got != "" {
				t.Errorf("after create of %s, diff tells\n%s", other.name, got)
			}
			before := d.described().Deployments[0].Id
			d.deploy(deployment{skip: true, stable: true})
			if after := d.described().Deployments[0].Id; *after != *before {
				t.Errorf("deploy of %s as it is made a deployment", other.name)
			}
		}
	})
}

// end deletes every service and waits until their tasks have stopped, which would outlive malote.
func end(t *testing.T, client *ecs.Client) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	services, err := client.ListServices(ctx, &ecs.ListServicesInput{MaxResults: aws.Int32(100)})
	if err != nil {
		t.Error(err)
		return
	}
	for _, arn := range services.ServiceArns {
		if _, err := client.DeleteService(ctx, &ecs.DeleteServiceInput{Service: &arn, Force: aws.Bool(true)}); err != nil {
			t.Error(err)
		}
	}
	for _, arn := range services.ServiceArns {
		if err := ecs.NewServicesInactiveWaiter(client, func(o *ecs.ServicesInactiveWaiterOptions) { o.MinDelay, o.MaxDelay = time.Second, time.Second }).
			Wait(ctx, &ecs.DescribeServicesInput{Services: []string{arn}}, patience); err != nil {
			t.Errorf("%s: %v", arn, err)
		}
	}
}

// config is what the environment of a shell says.
func config(env []string) aws.Config {
	said := func(name string) (value string) {
		for _, assignment := range env {
			if v, ok := strings.CutPrefix(assignment, name+"="); ok {
				value = v
			}
		}
		return value
	}
	return aws.Config{
		Region: said("AWS_REGION"), BaseEndpoint: aws.String(said("AWS_ENDPOINT_URL")),
		Credentials: credentials.NewStaticCredentialsProvider(said("AWS_ACCESS_KEY_ID"), said("AWS_SECRET_ACCESS_KEY"), ""),
	}
}
