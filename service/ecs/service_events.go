package ecs

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/malote/malote/store"
)

// What "Amazon ECS service event messages" says: the newest hundred, and the same news not
// twice within six hours, unless the service was in a steady state between.
const (
	maxEvents   = 100
	repeatAfter = 6 * time.Hour
)

func (s *Service) eventsFor(tx store.Tx, sc scope, v *service) (*events, error) {
	e, err := s.eventsOf.Get(tx, sc.key("service-event", v.Cluster, v.Name))
	if errors.Is(err, store.ErrNotFound) {
		return new(events), nil
	}
	return e, err
}

// say makes an event of the service.
func (v *service) say(format string, args ...any) string {
	return "(service " + v.Name + ") " + fmt.Sprintf(format, args...)
}

// tellEvents keeps messages, the first of them the oldest.
func (s *Service) tellEvents(tx store.Tx, sc scope, v *service, messages []string) error {
	if len(messages) == 0 {
		return nil
	}
	old, err := s.eventsFor(tx, sc, v)
	if err != nil {
		return err
	}
	e := copyOf(old)
	now := s.now().UTC()
	for _, message := range messages {
		known := false
		for _, o := range e.Events {
			if now.Sub(*o.CreatedAt) >= repeatAfter || *o.Message == v.say(steadyState) {
				break
			}
			if known = *o.Message == message; known {
				break
			}
		}
		if known {
			continue
		}
		e.Events = append([]types.ServiceEvent{{Id: aws.String(newUUID()), CreatedAt: &now, Message: aws.String(message)}}, e.Events...)
	}
	e.Events = e.Events[:min(len(e.Events), maxEvents)]
	return s.eventsOf.Put(tx, sc.key("service-event", v.Cluster, v.Name), e)
}

const steadyState = "has reached a steady state."

// listed is "(task ID) (task ID)".
func listed(ids []string) string {
	return "(task " + strings.Join(ids, ") (task ") + ")"
}

// unplaceable says why no host took a task, by what the best of them said.
func (v *service) unplaceable(reasons map[string]string) string {
	text := "was unable to place a task because no container instance met all of its requirements."
	if len(reasons) == 0 {
		return v.say("%s Reason: No Container Instances were found in your cluster.", text)
	}
	for _, known := range []struct{ reason, text string }{
		{"RESOURCE:PORTS", "is already using a port required by your task."},
		{"RESOURCE:MEMORY", "has insufficient memory available."},
		{"RESOURCE:CPU", "has insufficient CPU units available."},
		{"ATTRIBUTE", "is missing an attribute required by your task."},
	} {
		if id, ok := firstHost(reasons, known.reason); ok {
			return v.say("%s The closest matching (container-instance %s) %s", text, id, known.text)
		}
	}
	for _, code := range []string{"AGENT", "INACTIVE"} {
		if id, ok := firstHost(reasons, code); ok {
			return v.say("%s The closest matching (container-instance %s) encountered error %q.", text, id, code)
		}
	}
	hosts := slices.Sorted(maps.Keys(reasons))
	return v.say("was unable to place a task. Reason: %s", reasons[hosts[0]])
}

// firstHost is the first host, by id, that gave a reason.
func firstHost(reasons map[string]string, reason string) (id string, ok bool) {
	for host, r := range reasons {
		if r == reason && (!ok || host < id) {
			id, ok = host, true
		}
	}
	return id, ok
}
