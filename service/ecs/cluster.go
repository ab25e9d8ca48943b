package ecs

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/malote/malote/authz"
	"github.com/malote/malote/store"
)

const (
	statusActive   = "ACTIVE"
	statusInactive = "INACTIVE"
)

// cluster is the record of one. A deleted cluster stays as INACTIVE, as on AWS, so
// that whoever asks for it learns what became of it.
type cluster struct {
	Name              string
	Status            string
	CapacityProviders []string                             `json:",omitempty"`
	Strategy          []types.CapacityProviderStrategyItem `json:",omitempty"`
	Tags              []types.Tag                          `json:",omitempty"`
	Storage           storageKeys                          `json:",omitzero"`
}

// cluster reads one; nil when there is none. The default cluster needs no creation.
func (s *Service) cluster(tx store.Tx, sc scope, name string) (*cluster, error) {
	c, err := s.clusters.Get(tx, sc.key("cluster", name))
	if errors.Is(err, store.ErrNotFound) {
		if name == "default" {
			return &cluster{Name: name, Status: statusActive}, nil
		}
		return nil, nil
	}
	return c, err
}

// activeCluster is cluster for what needs one that works.
func (s *Service) activeCluster(tx store.Tx, sc scope, name string) (*cluster, error) {
	c, err := s.cluster(tx, sc, name)
	switch {
	case err != nil:
		return nil, err
	case c == nil:
		return nil, clusterNotFound()
	case c.Status != statusActive:
		return nil, clientError("The referenced cluster was inactive.")
	}
	return c, nil
}

// authorizeCluster asks for an action on a cluster with its tags, and leaves to the
// caller what to say when there is none.
func (s *Service) authorizeCluster(ctx context.Context, action, name string) error {
	return s.authorizeClusterWith(ctx, action, name, nil)
}

// authorizeClusterWith is authorizeCluster for a request that has more conditions.
func (s *Service) authorizeClusterWith(ctx context.Context, action, name string, more map[string][]string) error {
	sc := scopeOf(ctx)
	var tags []types.Tag
	err := s.store.View(ctx, func(tx store.Tx) error {
		c, err := s.cluster(tx, sc, name)
		if c != nil {
			tags = c.Tags
		}
		return err
	})
	if err != nil {
		return err
	}
	conditions := map[string][]string{"ecs:cluster": {sc.clusterARN(name)}}
	maps.Copy(conditions, more)
	return s.authz.Authorize(ctx, &authz.Access{Action: action, Resource: sc.clusterARN(name), Tags: tagMap(tags), Conditions: conditions})
}

// CreateCluster makes a cluster. One that exists already is answered as it is.
func (s *Service) CreateCluster(ctx context.Context, in *ecs.CreateClusterInput) (*ecs.CreateClusterOutput, error) {
	sc := scopeOf(ctx)
	name := aws.ToString(in.ClusterName)
	if name == "" {
		name = "default"
	}
	conditions := map[string][]string{}
	maps.Copy(conditions, strategyConditions(in.CapacityProviders))
	maps.Copy(conditions, storageConditions(in.Configuration))
	if err := s.authz.Authorize(ctx, &authz.Access{
		Action: "ecs:CreateCluster", Resource: sc.clusterARN(name), RequestTags: tagMap(in.Tags), Conditions: conditions,
	}); err != nil {
		return nil, err
	}
	if len(in.Tags) > 0 {
		if err := s.authorizeCreateTags(ctx, sc.clusterARN(name), "CreateCluster", in.Tags); err != nil {
			return nil, err
		}
	}

	if !clusterPattern.MatchString(name) {
		return nil, invalidParameter("Invalid cluster name.")
	}
	if err := validateSettings(in.Settings); err != nil {
		return nil, err
	}
	keys, err := s.configuredKeys(ctx, in.Configuration)
	if err != nil {
		return nil, err
	}
	if in.ServiceConnectDefaults != nil {
		return nil, unsupported("serviceConnectDefaults")
	}
	if err := validateProviders(in.CapacityProviders, in.DefaultCapacityProviderStrategy); err != nil {
		return nil, err
	}
	if err := validateTags(in.Tags); err != nil {
		return nil, err
	}

	var out types.Cluster
	err = s.store.Update(ctx, func(tx store.Tx) error {
		c, err := s.clusters.Get(tx, sc.key("cluster", name))
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if c == nil || c.Status != statusActive {
			c = &cluster{
				Name: name, Status: statusActive, Tags: in.Tags,
				CapacityProviders: in.CapacityProviders, Strategy: in.DefaultCapacityProviderStrategy,
			}
			if keys != nil {
				c.Storage = *keys
			}
			if err := s.clusters.Put(tx, sc.key("cluster", name), c); err != nil {
				return err
			}
		}
		out, err = s.describeCluster(tx, sc, c, []types.ClusterField{types.ClusterFieldConfigurations, types.ClusterFieldSettings, types.ClusterFieldTags})
		return err
	})
	if err != nil {
		return nil, err
	}
	return &ecs.CreateClusterOutput{Cluster: &out}, nil
}

// DescribeClusters answers what it finds; the rest are failures.
func (s *Service) DescribeClusters(ctx context.Context, in *ecs.DescribeClustersInput) (*ecs.DescribeClustersOutput, error) {
	sc := scopeOf(ctx)
	refs := in.Clusters
	if len(refs) == 0 {
		refs = []string{"default"}
	}
	for _, ref := range refs {
		if name, err := sc.clusterName(&ref); err == nil {
			if err := s.authorizeCluster(ctx, "ecs:DescribeClusters", name); err != nil {
				return nil, err
			}
		} else if err := s.authz.Authorize(ctx, &authz.Access{Action: "ecs:DescribeClusters", Resource: ref}); err != nil {
			return nil, err
		}
	}
	if len(refs) > 100 {
		return nil, invalidParameter("Clusters cannot have more than 100 elements.")
	}

	out := &ecs.DescribeClustersOutput{Clusters: []types.Cluster{}, Failures: []types.Failure{}}
	err := s.store.View(ctx, func(tx store.Tx) error {
		for _, ref := range refs {
			name, err := sc.clusterName(&ref)
			var c *cluster
			if err == nil {
				if c, err = s.cluster(tx, sc, name); err != nil {
					return err
				}
			}
			if c == nil {
				arn := ref
				if !strings.HasPrefix(ref, "arn:") {
					arn = sc.clusterARN(ref)
				}
				out.Failures = append(out.Failures, types.Failure{Arn: aws.String(arn), Reason: aws.String("MISSING")})
				continue
			}
			d, err := s.describeCluster(tx, sc, c, in.Include)
			if err != nil {
				return err
			}
			out.Clusters = append(out.Clusters, d)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// ListClusters lists the ARNs of the clusters that are not deleted.
func (s *Service) ListClusters(ctx context.Context, in *ecs.ListClustersInput) (*ecs.ListClustersOutput, error) {
	if err := s.authz.Authorize(ctx, &authz.Access{Action: "ecs:ListClusters", Resource: "*"}); err != nil {
		return nil, err
	}
	sc := scopeOf(ctx)
	var arns []string
	err := s.store.View(ctx, func(tx store.Tx) error {
		arns = nil
		fallback, err := s.cluster(tx, sc, "default")
		if err != nil {
			return err
		}
		if fallback.Status == statusActive {
			arns = append(arns, sc.clusterARN("default"))
		}
		for row, err := range s.clusters.Scan(tx, sc.prefix("cluster"), "") {
			if err != nil {
				return err
			}
			if c := row.Value; c.Status == statusActive && c.Name != "default" {
				arns = append(arns, sc.clusterARN(c.Name))
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.Sort(arns)
	out := new(ecs.ListClustersOutput)
	out.ClusterArns, out.NextToken, err = page(arns, in.MaxResults, in.NextToken, ascending)
	return out, err
}

// DeleteCluster makes an empty cluster INACTIVE.
func (s *Service) DeleteCluster(ctx context.Context, in *ecs.DeleteClusterInput) (*ecs.DeleteClusterOutput, error) {
	sc := scopeOf(ctx)
	var out types.Cluster
	err := s.updateCluster(ctx, "ecs:DeleteCluster", in.Cluster, func(tx store.Tx, c *cluster) (err error) {
		for _, err := range s.instances.Scan(tx, sc.prefix("instance", c.Name), "") {
			if err != nil {
				return err
			}
			return &types.ClusterContainsContainerInstancesException{
				Message: aws.String("The Cluster cannot be deleted while Container Instances are active or draining."),
			}
		}
		for row, err := range s.tasks.Scan(tx, sc.prefix("task", c.Name), "") {
			if err != nil {
				return err
			}
			if aws.ToString(row.Value.Task.LastStatus) != "STOPPED" {
				return &types.ClusterContainsTasksException{Message: aws.String("The Cluster cannot be deleted while Tasks are active.")}
			}
		}
		for row, err := range s.services.Scan(tx, sc.prefix("service", c.Name), "") {
			if err != nil {
				return err
			}
			if row.Value.Status != statusInactive {
				return &types.ClusterContainsServicesException{Message: aws.String("The Cluster cannot be deleted while Services are active.")}
			}
		}
		c.Status = statusInactive
		out, err = s.describeCluster(tx, sc, c, nil)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &ecs.DeleteClusterOutput{Cluster: &out}, nil
}

// UpdateCluster changes a cluster's settings, of which malote has one value for each, and the
// keys of its tasks' storage. A managedStorageConfiguration takes the place of what there was;
// tasks that are there, and those that services start before their next deployment, keep theirs.
func (s *Service) UpdateCluster(ctx context.Context, in *ecs.UpdateClusterInput) (*ecs.UpdateClusterOutput, error) {
	var out types.Cluster
	var keys *storageKeys
	check := func() (err error) {
		if err := validateSettings(in.Settings); err != nil {
			return err
		}
		keys, err = s.configuredKeys(ctx, in.Configuration)
		return err
	}
	err := s.updateCheckedCluster(ctx, "ecs:UpdateCluster", in.Cluster, storageConditions(in.Configuration), check, func(tx store.Tx, c *cluster) (err error) {
		if in.ServiceConnectDefaults != nil && aws.ToString(in.ServiceConnectDefaults.Namespace) != "" {
			return unsupported("serviceConnectDefaults")
		}
		if keys != nil {
			c.Storage = *keys
		}
		out, err = s.describeCluster(tx, scopeOf(ctx), c, []types.ClusterField{types.ClusterFieldConfigurations, types.ClusterFieldSettings})
		return err
	})
	if err != nil {
		return nil, err
	}
	return &ecs.UpdateClusterOutput{Cluster: &out}, nil
}

// UpdateClusterSettings changes a cluster's settings.
func (s *Service) UpdateClusterSettings(ctx context.Context, in *ecs.UpdateClusterSettingsInput) (*ecs.UpdateClusterSettingsOutput, error) {
	var out types.Cluster
	err := s.updateCluster(ctx, "ecs:UpdateClusterSettings", in.Cluster, func(tx store.Tx, c *cluster) (err error) {
		if err := validateSettings(in.Settings); err != nil {
			return err
		}
		out, err = s.describeCluster(tx, scopeOf(ctx), c, []types.ClusterField{types.ClusterFieldSettings})
		return err
	})
	if err != nil {
		return nil, err
	}
	return &ecs.UpdateClusterSettingsOutput{Cluster: &out}, nil
}

// PutClusterCapacityProviders sets which of Fargate's two providers a cluster has.
func (s *Service) PutClusterCapacityProviders(ctx context.Context, in *ecs.PutClusterCapacityProvidersInput) (*ecs.PutClusterCapacityProvidersOutput, error) {
	var out types.Cluster
	err := s.updateCluster(ctx, "ecs:PutClusterCapacityProviders", in.Cluster, func(tx store.Tx, c *cluster) (err error) {
		if err := validateProviders(in.CapacityProviders, in.DefaultCapacityProviderStrategy); err != nil {
			return err
		}
		c.CapacityProviders, c.Strategy = in.CapacityProviders, in.DefaultCapacityProviderStrategy
		out, err = s.describeCluster(tx, scopeOf(ctx), c, nil)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &ecs.PutClusterCapacityProvidersOutput{Cluster: &out}, nil
}

// updateCluster authorizes action and changes an active cluster.
func (s *Service) updateCluster(ctx context.Context, action string, ref *string, change func(store.Tx, *cluster) error) error {
	return s.updateCheckedCluster(ctx, action, ref, nil, func() error { return nil }, change)
}

// updateCheckedCluster is updateCluster with conditions of the request, and a check that comes
// once the action is allowed, outside of the transaction.
func (s *Service) updateCheckedCluster(ctx context.Context, action string, ref *string, conditions map[string][]string, check func() error, change func(store.Tx, *cluster) error) error {
	sc := scopeOf(ctx)
	name, err := sc.clusterName(ref)
	if err != nil {
		if denied := s.authz.Authorize(ctx, &authz.Access{Action: action, Resource: aws.ToString(ref), Conditions: conditions}); denied != nil {
			return denied
		}
		return err
	}
	if err := s.authorizeClusterWith(ctx, action, name, conditions); err != nil {
		return err
	}
	if err := check(); err != nil {
		return err
	}
	return s.store.Update(ctx, func(tx store.Tx) error {
		c, err := s.cluster(tx, sc, name)
		if err != nil {
			return err
		}
		if c == nil || c.Status != statusActive {
			return clusterNotFound()
		}
		c = copyOf(c)
		if err := change(tx, c); err != nil {
			return err
		}
		return s.clusters.Put(tx, sc.key("cluster", name), c)
	})
}

func (s *Service) describeCluster(tx store.Tx, sc scope, c *cluster, include []types.ClusterField) (types.Cluster, error) {
	d := types.Cluster{
		ClusterArn: aws.String(sc.clusterARN(c.Name)), ClusterName: aws.String(c.Name), Status: aws.String(c.Status),
		CapacityProviders:               append([]string{}, c.CapacityProviders...),
		DefaultCapacityProviderStrategy: append([]types.CapacityProviderStrategyItem{}, c.Strategy...),
		Settings:                        []types.ClusterSetting{},
		Statistics:                      []types.KeyValuePair{},
		Tags:                            []types.Tag{},
	}
	for row, err := range s.instances.Scan(tx, sc.prefix("instance", c.Name), "") {
		if err != nil {
			return d, err
		}
		if row.Value.Status != statusInactive {
			d.RegisteredContainerInstancesCount++
		}
	}
	counts := map[string]int{}
	for row, err := range s.tasks.Scan(tx, sc.prefix("task", c.Name), "") {
		if err != nil {
			return d, err
		}
		t := &row.Value.Task
		kind := map[types.LaunchType]string{types.LaunchTypeFargate: "Fargate", types.LaunchTypeExternal: "External"}[t.LaunchType]
		if kind == "" {
			kind = "EC2"
		}
		switch rank(aws.ToString(t.LastStatus)) {
		case rank("PROVISIONING"), rank("PENDING"), rank("ACTIVATING"):
			d.PendingTasksCount++
			counts["pending"+kind+"TasksCount"]++
		case rank("STOPPED"):
		default:
			d.RunningTasksCount++
			counts["running"+kind+"TasksCount"]++
		}
	}
	for row, err := range s.services.Scan(tx, sc.prefix("service", c.Name), "") {
		if err != nil {
			return d, err
		}
		v := row.Value
		if v.Status == statusInactive {
			continue
		}
		r, err := s.revision(tx, sc, c.Name, v.Name, v.primary().ID)
		if err != nil {
			return d, err
		}
		kind := "EC2"
		if r != nil && r.LaunchType == types.LaunchTypeFargate {
			kind = "Fargate"
		}
		if v.Status == statusActive {
			d.ActiveServicesCount++
			counts["active"+kind+"ServiceCount"]++
		} else {
			counts["draining"+kind+"ServiceCount"]++
		}
	}
	for _, f := range include {
		switch f {
		case types.ClusterFieldConfigurations:
			d.Configuration = c.Storage.configuration()
		case types.ClusterFieldSettings:
			d.Settings = []types.ClusterSetting{{Name: types.ClusterSettingNameContainerInsights, Value: aws.String("disabled")}}
		case types.ClusterFieldTags:
			d.Tags = append(d.Tags, c.Tags...)
		case types.ClusterFieldStatistics:
			for _, name := range []string{
				"runningEC2TasksCount", "pendingEC2TasksCount", "runningFargateTasksCount", "pendingFargateTasksCount",
				"runningExternalTasksCount", "pendingExternalTasksCount", "activeEC2ServiceCount", "activeFargateServiceCount",
				"drainingEC2ServiceCount", "drainingFargateServiceCount",
			} {
				d.Statistics = append(d.Statistics, types.KeyValuePair{Name: aws.String(name), Value: aws.String(strconv.Itoa(counts[name]))})
			}
		}
	}
	return d, nil
}

func validateSettings(settings []types.ClusterSetting) error {
	for _, s := range settings {
		if s.Name != types.ClusterSettingNameContainerInsights {
			return invalidParameter("Invalid setting name: '%s'.", s.Name)
		}
		if aws.ToString(s.Value) != "disabled" {
			return unsupported("settings: containerInsights=" + aws.ToString(s.Value))
		}
	}
	return nil
}

// fargateProviders exist on every account; malote has no other capacity providers.
var fargateProviders = []string{"FARGATE", "FARGATE_SPOT"}

func validateProviders(providers []string, strategy []types.CapacityProviderStrategyItem) error {
	for _, p := range providers {
		if !slices.Contains(fargateProviders, p) {
			return invalidParameter("The specified capacity provider '%s' was not found. malote knows FARGATE and FARGATE_SPOT.", p)
		}
	}
	return validateStrategy(strategy, providers)
}

func validateStrategy(strategy []types.CapacityProviderStrategyItem, available []string) error {
	based := false
	for _, item := range strategy {
		if !slices.Contains(available, aws.ToString(item.CapacityProvider)) {
			return invalidParameter("The specified capacity provider strategy cannot contain a capacity provider that is not associated with the cluster. Associate the capacity provider with the cluster and try again.")
		}
		if item.Base > 0 && based {
			return invalidParameter("The specified capacity provider strategy cannot contain more than one capacity provider with a base value.")
		}
		based = based || item.Base > 0
	}
	if len(strategy) > 0 && !slices.ContainsFunc(strategy, func(i types.CapacityProviderStrategyItem) bool { return i.Weight > 0 || i.Base > 0 }) {
		return invalidParameter("The specified capacity provider strategy must have at least one capacity provider with a weight greater than 0.")
	}
	return nil
}

func strategyConditions(providers []string) map[string][]string {
	if len(providers) == 0 {
		return nil
	}
	return map[string][]string{"ecs:capacity-provider": providers}
}
