package ecs

import (
	"bytes"
	"encoding/json"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/malote/malote/internal/s3file"
	"github.com/malote/malote/service/ecs/taskdef"
)

const maxOverrides = 8192

// validateOverrides checks what a request changes of a definition.
func validateOverrides(d *types.TaskDefinition, o *types.TaskOverride) error {
	if o == nil {
		return nil
	}
	if len(o.InferenceAcceleratorOverrides) > 0 {
		return unsupported("overrides.inferenceAcceleratorOverrides")
	}
	size, err := overrideSize(o)
	if err != nil {
		return err
	}
	if size > maxOverrides {
		return invalidParameter("Container Overrides length must be at most %d", maxOverrides)
	}
	if o.Cpu != nil && taskdef.CPU(o.Cpu) == 0 {
		return invalidParameter("Invalid 'cpu' setting for task.")
	}
	if o.Memory != nil && taskdef.Memory(o.Memory) == 0 {
		return invalidParameter("Invalid 'memory' setting for task.")
	}
	if fault := taskdef.EphemeralStorage(o.EphemeralStorage, d.RequiresCompatibilities); fault != "" {
		return invalidParameter("%s", fault)
	}
	for i := range o.ContainerOverrides {
		if err := validateContainerOverride(d, &o.ContainerOverrides[i]); err != nil {
			return err
		}
	}
	return nil
}

func validateContainerOverride(d *types.TaskDefinition, o *types.ContainerOverride) error {
	name := aws.ToString(o.Name)
	var c *types.ContainerDefinition
	for i := range d.ContainerDefinitions {
		if *d.ContainerDefinitions[i].Name == name {
			c = &d.ContainerDefinitions[i]
		}
	}
	if c == nil {
		return invalidParameter("Override for container named %s is not a container in the TaskDefinition.", name)
	}
	if len(o.EnvironmentFiles) > 0 {
		if err := s3file.Check(o.EnvironmentFiles); err != nil {
			return invalidParameter("Invalid 'environmentFiles' override for container %s. %s", name, err)
		}
	}
	if len(o.ResourceRequirements) > 0 {
		return unsupported("overrides.containerOverrides.resourceRequirements")
	}
	secrets := map[string]bool{}
	for _, s := range c.Secrets {
		secrets[aws.ToString(s.Name)] = true
	}
	for _, e := range o.Environment {
		key := aws.ToString(e.Name)
		switch {
		case key == "":
			return invalidParameter("The name of an environment variable should not be null or empty.")
		case strings.ContainsAny(key, "=\x00") || strings.ContainsRune(aws.ToString(e.Value), 0):
			return invalidParameter("An environment variable of the override for container %s contains a character that an environment cannot hold.", name)
		case secrets[key]:
			return taskdef.SharedSecretName(key)
		}
	}
	switch {
	case o.Cpu != nil && *o.Cpu < 0:
		return invalidParameter("Invalid 'cpu' setting for container '%s'.", name)
	case o.Memory != nil && *o.Memory < 6:
		return invalidParameter("Invalid 'memory' setting for container '%s'. The minimum is 6 MiB.", name)
	case o.MemoryReservation != nil && *o.MemoryReservation < 6:
		return invalidParameter("Invalid 'memoryReservation' setting for container '%s'. The minimum is 6 MiB.", name)
	}
	memory, reservation := c.Memory, c.MemoryReservation
	if o.Memory != nil {
		memory = o.Memory
	}
	if o.MemoryReservation != nil {
		reservation = o.MemoryReservation
	}
	if memory != nil && reservation != nil && *reservation > *memory {
		return invalidParameter("Invalid setting for container '%s'. 'memory' must be greater than 'memoryReservation'.", name)
	}
	return nil
}

// overrideSize is the length of the overrides as JSON, absent members left out.
func overrideSize(o *types.TaskOverride) (int, error) {
	text, err := json.Marshal(o)
	if err != nil {
		return 0, err
	}
	var tree any
	if err := json.Unmarshal(text, &tree); err != nil {
		return 0, err
	}
	var plain bytes.Buffer
	e := json.NewEncoder(&plain)
	e.SetEscapeHTML(false) // as the command line counts
	err = e.Encode(withoutNulls(tree))
	return plain.Len() - 1, err // without the final newline
}

func withoutNulls(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, m := range v {
			if m == nil {
				delete(v, k)
				continue
			}
			v[k] = withoutNulls(m)
		}
	case []any:
		for i := range v {
			v[i] = withoutNulls(v[i])
		}
	}
	return v
}
