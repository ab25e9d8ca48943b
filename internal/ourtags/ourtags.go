// Package ourtags knows the tags by which users ask malote for what AWS lacks. AWS keeps
// them and thinks nothing of them, so what has them can be made there as well.
package ourtags

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	OnSecretChange = "malote:on-secret-change" // of a service: Off, Alert, Redeploy, Refresh
	PinSecrets     = "malote:pin-secrets"      // of a service: Off, Deployment
	WaitForTasks   = "malote:wait-for-tasks"   // of a secret: Off, or for how long (see Wait)

	Off, Alert, Redeploy, Refresh, Deployment = "off", "alert", "redeploy", "refresh", "deployment"

	prefix = "malote:"
)

// The shortest and the longest time that a rotation may be asked to wait.
const (
	minWait = time.Second
	maxWait = 7 * 24 * time.Hour
)

var values = map[string][]string{
	OnSecretChange: {Off, Alert, Redeploy, Refresh},
	PinSecrets:     {Off, Deployment},
}

// Check refuses a tag that asks malote for what it does not know. One that another kind of
// resource understands passes, as whole configurations are given the same tags.
func Check(key, value string) error {
	known, ok := values[key]
	switch {
	case !strings.HasPrefix(key, prefix):
	case key == WaitForTasks:
		if _, err := Wait(value); err != nil {
			return err
		}
	case !ok:
		return fmt.Errorf("the tag key '%s' is not known to malote. There are %s and %s of a service, and %s of a secret", key, OnSecretChange, PinSecrets, WaitForTasks)
	case !slices.Contains(known, value):
		return fmt.Errorf("the value '%s' of the tag '%s' is not supported. It can be %s", value, key, strings.Join(known, ", "))
	}
	return nil
}

// Wait is how long a value of WaitForTasks asks a rotation to wait; 0 not to.
func Wait(value string) (time.Duration, error) {
	if value == Off || value == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(value)
	if err != nil || d < minWait || d > maxWait {
		return 0, fmt.Errorf("the value '%s' of the tag '%s' is not supported. It can be %s, or a time from 1s to 168h such as 30m", value, WaitForTasks, Off)
	}
	return d, nil
}
