package docker

import (
	"context"
	"strings"

	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/client"
)

// Event says that something happened to a container; what it is now, Inspect tells.
type Event struct {
	Container string // id
	Action    string // start, die, oom, destroy, health_status
	Labels    map[string]string
}

// Events calls fn for what happens to containers with all the labels, until ctx ends or
// the connection breaks, and returns why. It calls started once nothing can be missed
// any more: what happened before is then to be asked for.
func (c *Client) Events(ctx context.Context, labels map[string]string, started func(), fn func(Event)) error {
	f := labelled(labels).Add("type", string(events.ContainerEventType))
	f = f.Add("event", "start", "die", "oom", "destroy", "health_status")
	res := c.api.Events(ctx, client.EventsListOptions{Filters: f})
	select {
	case err := <-res.Err:
		return reason(err)
	default:
	}
	started()
	for {
		select {
		case m := <-res.Messages:
			action, _, _ := strings.Cut(string(m.Action), ":")
			fn(Event{Container: m.Actor.ID, Action: action, Labels: m.Actor.Attributes})
		case err := <-res.Err:
			return reason(err)
		}
	}
}
