package taskdef

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/malote/malote/internal/lazyregexp"
)

// Definition is what a valid in registers: its members with ECS's defaults filled in,
// and what ECS works out from them. It shares nothing with in.
func Definition(in *ecs.RegisterTaskDefinitionInput) (*types.TaskDefinition, error) {
	in, err := clone(in)
	if err != nil {
		return nil, err
	}
	d := &types.TaskDefinition{
		Family:                  in.Family,
		Status:                  types.TaskDefinitionStatusActive,
		TaskRoleArn:             in.TaskRoleArn,
		ExecutionRoleArn:        in.ExecutionRoleArn,
		NetworkMode:             in.NetworkMode,
		ContainerDefinitions:    in.ContainerDefinitions,
		Volumes:                 in.Volumes,
		PlacementConstraints:    in.PlacementConstraints,
		RequiresCompatibilities: in.RequiresCompatibilities,
		PidMode:                 in.PidMode,
		IpcMode:                 in.IpcMode,
		RuntimePlatform:         in.RuntimePlatform,
		EnableFaultInjection:    in.EnableFaultInjection,
		EphemeralStorage:        in.EphemeralStorage,
		Compatibilities:         compatibilities(in),
		RequiresAttributes:      requiresAttributes(in),
	}
	if in.Cpu != nil {
		d.Cpu = aws.String(strconv.Itoa(CPU(in.Cpu)))
	}
	if in.Memory != nil {
		d.Memory = aws.String(strconv.Itoa(Memory(in.Memory)))
	}
	d.Volumes = present(d.Volumes)
	d.PlacementConstraints = present(d.PlacementConstraints)
	for i := range d.Volumes {
		v := &d.Volumes[i]
		if c := v.DockerVolumeConfiguration; c != nil {
			if c.Scope == "" {
				c.Scope = types.ScopeTask
			}
		} else if v.Host == nil && !aws.ToBool(v.ConfiguredAtLaunch) {
			v.Host = &types.HostVolumeProperties{}
		}
	}
	mode := Effective(d.NetworkMode)
	for i := range d.ContainerDefinitions {
		c := &d.ContainerDefinitions[i]
		c.Essential = aws.Bool(Essential(c))
		c.Environment = present(c.Environment)
		c.MountPoints = present(c.MountPoints)
		c.VolumesFrom = present(c.VolumesFrom)
		c.PortMappings = present(c.PortMappings)
		c.SystemControls = present(c.SystemControls)
		if c.FirelensConfiguration != nil && aws.ToString(c.User) == "" {
			c.User = aws.String("0")
		}
		for j := range c.PortMappings {
			p := &c.PortMappings[j]
			if p.Protocol == "" {
				p.Protocol = types.TransportProtocolTcp
			}
			if p.ContainerPortRange != nil || p.HostPort != nil && *p.HostPort != 0 {
				continue
			}
			if mode == types.NetworkModeBridge {
				p.HostPort = aws.Int32(0)
			} else {
				p.HostPort = p.ContainerPort
			}
		}
	}
	return d, nil
}

func clone(in *ecs.RegisterTaskDefinitionInput) (*ecs.RegisterTaskDefinitionInput, error) {
	text, err := json.Marshal(in)
	if err != nil {
		return nil, err
	}
	out := new(ecs.RegisterTaskDefinitionInput)
	return out, json.Unmarshal(text, out)
}

// present is s, empty rather than absent: ECS answers [] for these members.
func present[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

func compatibilities(in *ecs.RegisterTaskDefinitionInput) []types.Compatibility {
	var c []types.Compatibility
	if in.NetworkMode != types.NetworkModeAwsvpc {
		c = append(c, types.CompatibilityExternal)
	}
	c = append(c, types.CompatibilityEc2)
	if validateFargate(in) == nil {
		c = append(c, types.CompatibilityFargate)
	}
	return c
}

// requiresAttributes lists the capabilities of an agent that the definition uses, by
// the names that Amazon's agent registers them under.
func requiresAttributes(in *ecs.RegisterTaskDefinitionInput) []types.Attribute {
	names := map[string]bool{"com.amazonaws.ecs.capability.docker-remote-api.1.17": true}
	need := func(when bool, name string) {
		if when {
			names[name] = true
		}
	}
	execution := aws.ToString(in.ExecutionRoleArn) != ""
	mode := Effective(in.NetworkMode)
	if aws.ToString(in.TaskRoleArn) != "" {
		need(mode != types.NetworkModeHost, "com.amazonaws.ecs.capability.task-iam-role")
		need(mode == types.NetworkModeHost, "com.amazonaws.ecs.capability.task-iam-role-network-host")
	}
	need(mode == types.NetworkModeAwsvpc, "ecs.capability.task-eni")
	need(in.Cpu != nil || in.Memory != nil, "ecs.capability.task-cpu-mem-limit")
	need(in.PidMode != "" || in.IpcMode != "", "ecs.capability.pid-ipc-namespace-sharing")
	for i := range in.Volumes {
		need(aws.ToBool(in.Volumes[i].ConfiguredAtLaunch), "ecs.capability.storage.ebs-task-volume-attach")
		if d := in.Volumes[i].DockerVolumeConfiguration; d != nil {
			driver := aws.ToString(d.Driver)
			if driver == "" {
				driver = "local"
			}
			need(true, "ecs.capability.docker-plugin."+driver)
		}
	}
	for i := range in.ContainerDefinitions {
		c := &in.ContainerDefinitions[i]
		if ecrImage.MatchString(aws.ToString(c.Image)) {
			need(true, "com.amazonaws.ecs.capability.ecr-auth")
			need(execution, "ecs.capability.execution-role-ecr-pull")
		}
		for _, s := range c.Secrets {
			need(true, "ecs.capability.secrets."+provider(aws.ToString(s.ValueFrom))+".environment-variables")
		}
		if l := c.LogConfiguration; l != nil {
			need(true, "com.amazonaws.ecs.capability.logging-driver."+string(l.LogDriver))
			need(execution && l.LogDriver == types.LogDriverAwslogs, "ecs.capability.execution-role-awslogs")
			for _, s := range l.SecretOptions {
				need(true, "ecs.capability.secrets."+provider(aws.ToString(s.ValueFrom))+".bootstrap.log-driver")
			}
		}
		if f := c.FirelensConfiguration; f != nil {
			need(true, "ecs.capability.firelens."+string(f.Type))
			need(f.Options["config-file-type"] == "file", "ecs.capability.firelens.options.config.file")
			need(f.Options["config-file-type"] == "s3", "ecs.capability.firelens.options.config.s3")
			user, _, _ := strings.Cut(aws.ToString(c.User), ":")
			need(user != "" && user != "0" && user != "root", "ecs.capability.firelens.non-root-user")
		}
		need(len(c.EnvironmentFiles) > 0, "ecs.capability.env-files.s3")
		need(c.RepositoryCredentials != nil, "ecs.capability.private-registry-authentication.secretsmanager")
		need(len(c.DependsOn) > 0, "ecs.capability.container-ordering")
		need(c.HealthCheck != nil, "ecs.capability.container-health-check")
		need(c.RestartPolicy != nil && aws.ToBool(c.RestartPolicy.Enabled), "ecs.capability.container-restart-policy")
		need(aws.ToBool(c.Privileged), "com.amazonaws.ecs.capability.privileged-container")
		need(c.MemoryReservation != nil, "com.amazonaws.ecs.capability.docker-remote-api.1.21")
		need(c.LinuxParameters != nil && len(c.LinuxParameters.Tmpfs) > 0, "com.amazonaws.ecs.capability.docker-remote-api.1.22")
		need(len(c.SystemControls) > 0, "com.amazonaws.ecs.capability.docker-remote-api.1.24")
	}
	var attributes []types.Attribute
	for name := range names {
		attributes = append(attributes, types.Attribute{Name: aws.String(name)})
	}
	slices.SortFunc(attributes, func(a, b types.Attribute) int { return strings.Compare(*a.Name, *b.Name) })
	return attributes
}

var secretsManagerARN = lazyregexp.New(`^arn:[^:]*:secretsmanager:`)

func provider(valueFrom string) string {
	if secretsManagerARN.MatchString(valueFrom) {
		return "asm"
	}
	return "ssm"
}
