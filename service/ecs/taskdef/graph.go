package taskdef

import (
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/malote/malote/internal/firelens"
)

func validateVolumes(in *ecs.RegisterTaskDefinitionInput) error {
	volumes := map[string]bool{}
	launched := "" // the volume that is configuredAtLaunch
	for i := range in.Volumes {
		v := &in.Volumes[i]
		name := aws.ToString(v.Name)
		at := "volumes[" + name + "]"
		switch {
		case name == "":
			return invalid("Volume.name should not be null or empty.")
		case !namePattern.MatchString(name):
			return invalid("Volume.name contains invalid characters.")
		case volumes[name]:
			return invalid("Volume names must be unique within a Task Definition.")
		case v.EfsVolumeConfiguration != nil:
			return refused(at + ".efsVolumeConfiguration")
		case v.FsxWindowsFileServerVolumeConfiguration != nil:
			return refused(at + ".fsxWindowsFileServerVolumeConfiguration")
		case v.S3filesVolumeConfiguration != nil:
			return refused(at + ".s3filesVolumeConfiguration")
		}
		if aws.ToBool(v.ConfiguredAtLaunch) {
			switch {
			case v.DockerVolumeConfiguration != nil || v.Host != nil && aws.ToString(v.Host.SourcePath) != "":
				return invalid("Volume '%s' cannot be configuredAtLaunch and have another configuration.", name)
			case launched != "":
				return invalid("Only one volume can be configuredAtLaunch, not both '%s' and '%s'.", launched, name)
			}
			launched = name
		}
		volumes[name] = true
		d := v.DockerVolumeConfiguration
		if d == nil {
			continue
		}
		if v.Host != nil && aws.ToString(v.Host.SourcePath) != "" {
			return invalid("Volume '%s' cannot have both 'host' and 'dockerVolumeConfiguration'.", name)
		}
		if aws.ToBool(d.Autoprovision) && d.Scope != types.ScopeShared {
			return invalid("Invalid 'dockerVolumeConfiguration' setting for volume '%s'. 'autoprovision' can only be used with scope 'shared'.", name)
		}
		// A task's volume of the local driver is memory of the engine's, and no volume of
		// Docker's that could bear labels, unless its options name another place.
		driver := aws.ToString(d.Driver)
		inMemory := d.Scope != types.ScopeShared && (driver == "" || driver == "local") && (len(d.DriverOpts) == 0 || d.DriverOpts["type"] == "tmpfs")
		if inMemory && len(d.Labels) > 0 {
			return refused(at + ".dockerVolumeConfiguration.labels")
		}
	}
	for i := range in.ContainerDefinitions {
		c := &in.ContainerDefinitions[i]
		paths := map[string]bool{}
		for _, m := range c.MountPoints {
			source, target := aws.ToString(m.SourceVolume), aws.ToString(m.ContainerPath)
			switch {
			case !volumes[source]:
				return invalid("Unknown volume '%s'.", source)
			case target == "":
				return invalid("Invalid 'mountPoints' setting for container '%s'. 'containerPath' should not be null or empty.", *c.Name)
			case !strings.HasPrefix(target, "/"):
				return invalid("Invalid 'mountPoints' setting for container '%s'. 'containerPath' must be an absolute path.", *c.Name)
			case paths[target]:
				return invalid("Invalid 'mountPoints' setting for container '%s'. '%s' is specified more than once.", *c.Name, target)
			}
			paths[target] = true
		}
	}
	return nil
}

// validateGraph checks what containers say of one another: a definition that it lets
// pass can always be ordered.
func validateGraph(in *ecs.RegisterTaskDefinitionInput) error {
	containers := map[string]*types.ContainerDefinition{}
	for i := range in.ContainerDefinitions {
		containers[*in.ContainerDefinitions[i].Name] = &in.ContainerDefinitions[i]
	}
	router, err := firelens.Of(in.ContainerDefinitions)
	if err != nil {
		return invalid("%s", err)
	}
	links, all := map[string][]string{}, map[string][]string{}
	for i := range in.ContainerDefinitions {
		c := &in.ContainerDefinitions[i]
		name := *c.Name
		for _, l := range c.Links {
			target, alias, hasAlias := strings.Cut(l, ":")
			if target == "" || hasAlias && (alias == "" || strings.Contains(alias, ":")) {
				return invalid("Invalid link format: '%s'. Use 'name' or 'name:alias'.", l)
			}
			if containers[target] == nil {
				return invalid("Invalid link '%s' of container '%s'. The task definition has no container '%s'.", l, name, target)
			}
			links[name] = append(links[name], target)
		}
		for _, v := range c.VolumesFrom {
			source := aws.ToString(v.SourceContainer)
			if containers[source] == nil {
				return invalid("Invalid 'volumesFrom' setting for container '%s'. The task definition has no container '%s'.", name, source)
			}
			all[name] = append(all[name], source)
		}
		for _, d := range c.DependsOn {
			target := containers[aws.ToString(d.ContainerName)]
			if target == nil {
				return invalid("Invalid 'dependsOn' setting for container '%s'. The task definition has no container '%s'.", name, aws.ToString(d.ContainerName))
			}
			switch d.Condition {
			case types.ContainerConditionStart:
			case types.ContainerConditionComplete, types.ContainerConditionSuccess:
				if Essential(target) {
					return invalid("A dependency container with SUCCESS or COMPLETE condition cannot be an essential container")
				}
			case types.ContainerConditionHealthy:
				if target.HealthCheck == nil {
					return invalid("A dependency container with HEALTHY condition must have a health check: container '%s' depends on '%s'.", name, *target.Name)
				}
			default:
				return invalid("Invalid 'dependsOn' setting for container '%s'. Unknown condition '%s'.", name, d.Condition)
			}
			all[name] = append(all[name], *target.Name)
		}
		all[name] = append(all[name], links[name]...)
		if s := router.Source(name); s != nil && s.Waits {
			all[name] = append(all[name], router.Container)
		}
	}
	if cycle(in, links) != nil {
		return invalid("Container links should not have a cycle")
	}
	if c := cycle(in, all); c != nil {
		return invalid("Container dependencies should not have a cycle: %s", strings.Join(c, " -> "))
	}
	return nil
}

// cycle returns the names along a cycle of edges, the first repeated at the end.
func cycle(in *ecs.RegisterTaskDefinitionInput, edges map[string][]string) []string {
	const visiting, done = 1, 2
	state := map[string]int{}
	var trail []string
	var visit func(string) []string
	visit = func(name string) []string {
		trail = append(trail, name)
		defer func() { trail = trail[:len(trail)-1] }()
		switch state[name] {
		case done:
			return nil
		case visiting:
			for i, n := range trail {
				if n == name {
					return append([]string(nil), trail[i:]...)
				}
			}
		}
		state[name] = visiting
		for _, next := range edges[name] {
			if c := visit(next); c != nil {
				return c
			}
		}
		state[name] = done
		return nil
	}
	for i := range in.ContainerDefinitions {
		if c := visit(*in.ContainerDefinitions[i].Name); c != nil {
			return c
		}
	}
	return nil
}
