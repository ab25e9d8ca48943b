// Package taskdef says whether a task definition is a valid one: what ECS checks when
// one is registered, in ECS's words, and what malote does not do, by the member's name.
// It also reads one from a file.
//
// It is pure: it looks up no role, secret or image, which ECS leaves to the launch too.
package taskdef

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/malote/malote/internal/lazyregexp"
)

const (
	maxContainers = 10
	maxSize       = 65536
)

var namePattern = lazyregexp.New(`^[A-Za-z0-9_-]{1,255}$`)

// invalid is a definition that ECS refuses.
func invalid(format string, args ...any) error {
	return &types.ClientException{Message: aws.String(fmt.Sprintf(format, args...))}
}

// refused is a member that ECS knows and malote does not do. Registering it would be a
// promise, so it is an error, by name.
func refused(path string) error {
	return invalid("malote does not support '%s'. Remove it from the task definition.", path)
}

// Validate returns the first fault of a definition, a *types.ClientException.
func Validate(in *ecs.RegisterTaskDefinitionInput) error {
	if err := validateFamily(in); err != nil {
		return err
	}
	if err := validateContainers(in); err != nil {
		return err
	}
	if err := validateVolumes(in); err != nil {
		return err
	}
	if err := validateGraph(in); err != nil {
		return err
	}
	if err := validateTask(in); err != nil {
		return err
	}
	for _, c := range in.RequiresCompatibilities {
		switch c {
		case types.CompatibilityEc2:
		case types.CompatibilityFargate:
			if err := validateFargate(in); err != nil {
				return err
			}
		case types.CompatibilityExternal:
			if in.NetworkMode == types.NetworkModeAwsvpc {
				return invalid("External instances do not support network mode 'awsvpc'.")
			}
		default:
			return refused("requiresCompatibilities: " + string(c))
		}
	}
	text, err := json.Marshal(in)
	if err != nil {
		return err
	}
	if len(text) > maxSize {
		return invalid("Actual length: '%d'. Max allowed length is '%d' bytes.", len(text), maxSize)
	}
	return nil
}

func validateFamily(in *ecs.RegisterTaskDefinitionInput) error {
	family := aws.ToString(in.Family)
	if strings.TrimSpace(family) == "" {
		return invalid("Family can not be blank.")
	}
	if len(family) > 255 {
		return invalid("Family should not be longer than 255 characters.")
	}
	if !namePattern.MatchString(family) {
		return invalid("Family contains invalid characters.")
	}
	return nil
}

// Effective is the network mode that a definition without one has.
func Effective(mode types.NetworkMode) types.NetworkMode {
	if mode == "" {
		return types.NetworkModeBridge
	}
	return mode
}

// Essential tells whether a container is; one that does not say so is.
func Essential(c *types.ContainerDefinition) bool {
	return c.Essential == nil || *c.Essential
}

func validateTask(in *ecs.RegisterTaskDefinitionInput) error {
	if len(in.InferenceAccelerators) > 0 {
		return refused("inferenceAccelerators")
	}
	if in.ProxyConfiguration != nil {
		return refused("proxyConfiguration")
	}
	if in.Cpu != nil {
		cpu, ok := parseCPU(*in.Cpu)
		if !ok || cpu < 128 || cpu > 196608 {
			return invalid("Invalid 'cpu' setting for task. For more information, see the Troubleshooting section of the Amazon ECS Developer Guide.")
		}
		total := 0
		for i := range in.ContainerDefinitions {
			total += int(in.ContainerDefinitions[i].Cpu)
		}
		if total > cpu {
			return invalid("The sum of all container 'cpu' values (%d) cannot be greater than the value of the task 'cpu' (%d).", total, cpu)
		}
	}
	if in.Memory != nil {
		memory, ok := parseMemory(*in.Memory)
		if !ok || memory < 6 {
			return invalid("Invalid 'memory' setting for task. For more information, see the Troubleshooting section of the Amazon ECS Developer Guide.")
		}
		reserved := 0
		for i := range in.ContainerDefinitions {
			c := &in.ContainerDefinitions[i]
			if c.Memory != nil && int(*c.Memory) > memory {
				return invalid("Invalid setting for container '%s'. 'memory' (%d) cannot be greater than the value of the task 'memory' (%d).", aws.ToString(c.Name), *c.Memory, memory)
			}
			reserved += int(aws.ToInt32(c.MemoryReservation))
		}
		if reserved > memory {
			return invalid("The sum of all container 'memoryReservation' values (%d) cannot be greater than the value of the task 'memory' (%d).", reserved, memory)
		}
	}
	if p := in.RuntimePlatform; p != nil && p.OperatingSystemFamily != "" && p.OperatingSystemFamily != types.OSFamilyLinux {
		return refused("runtimePlatform.operatingSystemFamily: " + string(p.OperatingSystemFamily))
	}
	if aws.ToBool(in.EnableFaultInjection) {
		return refused("enableFaultInjection")
	}
	if fault := EphemeralStorage(in.EphemeralStorage, in.RequiresCompatibilities); fault != "" {
		return invalid("%s", fault)
	}
	if len(in.PlacementConstraints) > 10 {
		return invalid("Too many placement constraints: %d. The maximum is 10.", len(in.PlacementConstraints))
	}
	for i := range in.PlacementConstraints {
		p := &in.PlacementConstraints[i]
		if p.Type != types.TaskDefinitionPlacementConstraintTypeMemberOf {
			return invalid("Invalid placement constraint type: '%s'.", p.Type)
		}
		if strings.TrimSpace(aws.ToString(p.Expression)) == "" {
			return invalid("The expression of a memberOf placement constraint should not be null or empty.")
		}
		if _, err := ParseConstraint(*p.Expression); err != nil {
			return invalid("Invalid placement constraint expression '%s': %v.", *p.Expression, err)
		}
	}
	if len(in.Tags) > 50 {
		return invalid("Too many tags: %d. The maximum is 50.", len(in.Tags))
	}
	return nil
}

// parseCPU reads "256" or "1 vCPU" as CPU units.
func parseCPU(s string) (int, bool) { return parseQuantity(s, "vcpu", 1024) }

// parseMemory reads "512" or "1 GB" as MiB.
func parseMemory(s string) (int, bool) { return parseQuantity(s, "gb", 1024) }

var quantityPattern = lazyregexp.New(`^([0-9]{1,9}(?:\.[0-9]{1,4})?|\.[0-9]{1,4}) *([a-z]*)$`)

func parseQuantity(s, unit string, scale int) (int, bool) {
	m := quantityPattern.FindStringSubmatch(strings.ToLower(strings.TrimSpace(s)))
	if m == nil || m[2] != "" && m[2] != unit {
		return 0, false
	}
	if m[2] == "" {
		var n int
		if _, err := fmt.Sscanf(m[1], "%d", &n); err != nil || strings.Contains(m[1], ".") {
			return 0, false
		}
		return n, true
	}
	var f float64
	if _, err := fmt.Sscanf(m[1], "%g", &f); err != nil {
		return 0, false
	}
	n := f * float64(scale)
	if n != float64(int(n)) {
		return 0, false
	}
	return int(n), true
}

// CPU is a task-level cpu setting in CPU units; 0 when there is none.
func CPU(s *string) int {
	n, _ := parseCPU(aws.ToString(s))
	return n
}

// Memory is a task-level memory setting in MiB; 0 when there is none.
func Memory(s *string) int {
	n, _ := parseMemory(aws.ToString(s))
	return n
}
