package ecs

import (
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/malote/malote/service/ecs/deployment"
)

// launch is how tasks of the PRIMARY rollout are launched; nil when their definition is gone.
func (p *pass) launch() (*launch, error) {
	v, o := p.v, p.v.primary()
	r, err := p.s.revision(p.tx, p.sc, v.Cluster, v.Name, o.ID)
	if err != nil || r == nil {
		return nil, err
	}
	d, err := p.s.definition(p.tx, p.sc, definitionRef{o.Family, o.Revision})
	if err != nil || d == nil {
		return nil, err
	}
	l := &launch{
		cluster: v.Cluster, definition: d, launchType: r.LaunchType, network: r.Network, volumes: r.Volumes, storage: r.Storage, platform: r.Platform,
		group: v.group(), startedBy: deploymentID(o.ID), service: v.Name, rollout: o.ID, pins: o.Pins, exec: v.Exec,
	}
	switch v.Propagate {
	case types.PropagateTagsTaskDefinition:
		l.tags = d.Tags
	case types.PropagateTagsService:
		l.tags = v.Tags
	}
	if v.ManagedTags {
		l.tags = mergeTags(l.tags, []types.Tag{
			{Key: aws.String("aws:ecs:clusterName"), Value: aws.String(v.Cluster)},
			{Key: aws.String("aws:ecs:serviceName"), Value: aws.String(v.Name)},
		})
	}
	if len(r.Providers) > 0 {
		l.providers = spreadProviders(r.Providers, int(v.Desired))
	}
	if l.demand, err = demandOf(&d.Definition, nil, l.group); err != nil {
		return nil, err
	}
	return l, l.demand.constrain(v.Constraints)
}

// start places tasks where they fit, and says why one did not.
func (p *pass) start(plan deployment.Plan) error {
	v := p.v
	l, err := p.launch()
	if err != nil {
		return err
	}
	if l == nil {
		p.say("was unable to place a task. Reason: The task definition of the deployment no longer exists.")
		return nil
	}
	hosts, err := p.s.hosts(p.tx, p.sc, v.Cluster)
	if err != nil {
		return err
	}
	count := min(plan.Start, startsAtOnce, p.unpinned(l))
	if count == startsAtOnce && count < plan.Start {
		p.again(p.now)
	}
	var started []string
	v.Unplaced = 0
	refused := map[string]string{}
	for n := range count {
		var fit []*host
		for _, h := range hosts {
			if plan.On != nil && h.instance.ID != plan.On[n] {
				continue
			}
			if reason := h.refuses(l.demand); reason != "" {
				refused[h.instance.ID] = reason
			} else {
				fit = append(fit, h)
			}
		}
		h := choose(fit, v.Placement)
		if h == nil {
			v.Unplaced++
			continue
		}
		t, err := p.s.place(p.tx, p.sc, l, h, len(p.tasks)+len(started))
		if err != nil {
			return err
		}
		p.members[t.Rollout]++
		started = append(started, t.ID)
	}
	if len(started) > 0 {
		p.say("has started %d tasks: %s.", len(started), listed(started))
	}
	if v.Unplaced == 0 {
		v.Tries = 0
		return nil
	}
	p.said = append(p.said, v.unplaceable(refused))
	// A place may become free by what is no business of this service.
	v.Tries = min(v.Tries+1, 7)
	p.again(p.now.Add(min(time.Second<<(v.Tries-1), time.Minute)))
	return nil
}

// daemonHosts are the instances that a DAEMON service has a task on: those that it may
// have one on, whether there is room or not. An instance whose engine is away keeps its.
func (p *pass) daemonHosts() ([]string, error) {
	l, err := p.launch()
	if err != nil {
		return nil, err
	}
	hosts, err := p.s.hosts(p.tx, p.sc, p.v.Cluster)
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, h := range hosts {
		has := slices.ContainsFunc(p.tasks, func(t deployment.Task) bool { return t.Host == h.instance.ID })
		if h.instance.Status == statusActive && (h.connected || has) && (l == nil || h.suits(l.demand) == "") {
			ids = append(ids, h.instance.ID)
		}
	}
	return ids, nil
}
