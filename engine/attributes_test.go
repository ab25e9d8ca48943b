package engine

import (
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/malote/malote/engine/docker"
)

// A plugin for logs has a name that no attribute can have: it does not keep its host from registering.
func TestAttributesLeavePluginsOut(t *testing.T) {
	t.Parallel()
	e := &Engine{info: docker.Info{LogDrivers: []string{"json-file", "grafana/loki:latest"}}}
	var names []string
	for _, a := range e.attributes() {
		names = append(names, aws.ToString(a.Name))
	}
	const prefix = "com.amazonaws.ecs.capability.logging-driver."
	if !slices.Contains(names, prefix+"json-file") || slices.Contains(names, prefix+"grafana/loki:latest") {
		t.Errorf("the attributes of an engine: %q", names)
	}
}
