package engine

import (
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/malote/malote/acs"
	"github.com/malote/malote/engine/volume"
)

// The key of a task's storage is in the engine until the storage is made, or cannot be: a
// control plane sends it again to who connects again.
func TestNoStorageKeyStays(t *testing.T) {
	t.Parallel()
	secret := func() []byte { return slices.Repeat([]byte{7}, volume.KeySize) }
	for name, volumes := range map[string][]types.Volume{
		"made":     nil,
		"not made": {{Name: aws.String("data"), ConfiguredAtLaunch: aws.Bool(true)}}, // and the launch says nothing of it
	} {
		before, first, after := secret(), secret(), secret()
		task := &task{
			engine: &Engine{}, work: &acs.Task{Definition: types.TaskDefinition{Volumes: volumes}},
			storage: before, credentials: make(chan struct{}), binds: map[string]string{},
		}
		task.give(nil, nil, nil, first)
		if !slices.Equal(task.storage, secret()) {
			t.Fatalf("%s: the key that was given is not kept: %v", name, task.storage)
		}
		if err := task.prepare(); (err == nil) != (volumes == nil) {
			t.Fatalf("%s: prepare = %v", name, err)
		}
		task.give(nil, nil, nil, after)
		for which, key := range map[string][]byte{"before": before, "first": first, "after": after, "held": task.storage} {
			if slices.ContainsFunc(key, func(b byte) bool { return b != 0 }) {
				t.Errorf("%s: the key %q is still there", name, which)
			}
		}
	}
}
