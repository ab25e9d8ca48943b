package taskdef

import (
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/malote/malote/internal/lazyregexp"
)

var ecrImage = lazyregexp.New(`^[0-9]{12}\.dkr[.-]ecr\.[a-z0-9-]+\.(amazonaws\.com|on\.aws)`)

// validateFargate checks what Fargate adds: a size from its table, its own network
// namespace, and nothing that would reach the host.
func validateFargate(in *ecs.RegisterTaskDefinitionInput) error {
	if in.NetworkMode != types.NetworkModeAwsvpc {
		return invalid("Fargate only supports network mode ‘awsvpc’.")
	}
	if in.Cpu == nil {
		return invalid("Fargate requires that 'cpu' be defined at the task level.")
	}
	if in.Memory == nil {
		return invalid("Fargate requires that 'memory' be defined at the task level.")
	}
	if !fargateSize(CPU(in.Cpu), Memory(in.Memory)) {
		return invalid("No Fargate configuration exists for given values.")
	}
	if in.PidMode == types.PidModeHost {
		return invalid("Tasks using the Fargate launch type do not support pidMode 'host'. The supported value for pidMode is 'task'.")
	}
	if in.IpcMode != "" {
		return notOnFargate("ipcMode")
	}
	if len(in.PlacementConstraints) > 0 {
		return notOnFargate("placementConstraints")
	}
	for i := range in.Volumes {
		v := &in.Volumes[i]
		if v.Host != nil && aws.ToString(v.Host.SourcePath) != "" {
			return notOnFargate("sourcePath")
		}
		if v.DockerVolumeConfiguration != nil {
			return notOnFargate("dockerVolumeConfiguration")
		}
	}
	for i := range in.ContainerDefinitions {
		if err := fargateContainer(in, &in.ContainerDefinitions[i]); err != nil {
			return err
		}
	}
	return nil
}

// EphemeralStorage says what is wrong with the storage of a task of these compatibilities;
// "" when nothing is.
func EphemeralStorage(s *types.EphemeralStorage, compatibilities []types.Compatibility) string {
	switch {
	case s == nil:
	case !slices.Contains(compatibilities, types.CompatibilityFargate):
		return "Ephemeral storage is only supported for task definitions that require the compatibility FARGATE."
	case s.SizeInGiB < 21 || s.SizeInGiB > 200:
		return "Ephemeral storage size must be between 21 GiB and 200 GiB."
	}
	return ""
}

func notOnFargate(member string) error {
	return invalid("Fargate compatible task definitions do not support %s", member)
}

func fargateContainer(in *ecs.RegisterTaskDefinitionInput, c *types.ContainerDefinition) error {
	if l := c.LogConfiguration; l != nil {
		switch l.LogDriver {
		case types.LogDriverAwslogs:
			if aws.ToString(in.ExecutionRoleArn) == "" {
				return invalid("Fargate requires task definition to have execution role ARN to support log driver awslogs.")
			}
			if l.Options["awslogs-stream-prefix"] == "" {
				return invalid("Log driver awslogs requires options: awslogs-stream-prefix")
			}
		case types.LogDriverSplunk, types.LogDriverAwsfirelens:
		default:
			return notOnFargate("log driver " + string(l.LogDriver))
		}
	}
	if ecrImage.MatchString(aws.ToString(c.Image)) && aws.ToString(in.ExecutionRoleArn) == "" {
		return invalid("Fargate requires task definition to have execution role ARN to support ECR images.")
	}
	switch {
	case aws.ToBool(c.Privileged):
		return notOnFargate("privileged")
	case len(c.DockerSecurityOptions) > 0:
		return notOnFargate("dockerSecurityOptions")
	case aws.ToInt32(c.StopTimeout) > 120:
		return invalid("Invalid 'stopTimeout' setting for container '%s'. Fargate supports at most 120 seconds.", *c.Name)
	case aws.ToInt32(c.StartTimeout) > 120:
		return invalid("Invalid 'startTimeout' setting for container '%s'. Fargate supports at most 120 seconds.", *c.Name)
	}
	l := c.LinuxParameters
	if l == nil {
		return nil
	}
	switch {
	case len(l.Devices) > 0:
		return notOnFargate("devices")
	case l.SharedMemorySize != nil:
		return notOnFargate("sharedMemorySize")
	case l.MaxSwap != nil:
		return notOnFargate("maxSwap")
	case l.Swappiness != nil:
		return notOnFargate("swappiness")
	case l.Capabilities != nil && slices.ContainsFunc(l.Capabilities.Add, func(s string) bool { return s != "SYS_PTRACE" }):
		return notOnFargate("capabilities.add other than SYS_PTRACE")
	}
	return nil
}

// fargateSize tells whether Fargate sells cpu units with memory MiB.
func fargateSize(cpu, memory int) bool {
	within := func(low, high, step int) bool {
		return memory >= low && memory <= high && memory%step == 0
	}
	const gib = 1024
	switch cpu {
	case 256:
		return memory == 512 || memory == 1*gib || memory == 2*gib
	case 512:
		return within(1*gib, 4*gib, gib)
	case 1024:
		return within(2*gib, 8*gib, gib)
	case 2048:
		return within(4*gib, 16*gib, gib)
	case 4096:
		return within(8*gib, 30*gib, gib)
	case 8192:
		return within(16*gib, 60*gib, 4*gib)
	case 16384:
		return within(32*gib, 120*gib, 8*gib)
	}
	return false
}
