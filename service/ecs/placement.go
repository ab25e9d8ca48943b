package ecs

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/malote/malote/service/ecs/taskdef"
	"github.com/malote/malote/store"
)

// demand is what a task needs of an instance.
type demand struct {
	cpu, memory int
	ports       []string
	platform    types.CPUArchitecture // "" for any
	constraints []*taskdef.Constraint
	distinct    bool // no two tasks of the group on one instance
	group       string
}

// host is an instance as placement sees it. Placing a task adds to its load.
type host struct {
	instance  *instance
	connected bool
	load      load
	free      map[string]int // CPU, MEMORY; absent when the engine states none
	reserved  map[string]bool
	attribute map[string]string
}

// hosts reads the instances of a cluster.
func (s *Service) hosts(tx store.Tx, sc scope, cluster string) ([]*host, error) {
	var all []*host
	for row, err := range s.instances.Scan(tx, sc.prefix("instance", cluster), "") {
		if err != nil {
			return nil, err
		}
		h, err := s.host(tx, sc, row.Value)
		if err != nil {
			return nil, err
		}
		all = append(all, h)
	}
	return all, nil
}

func (s *Service) host(tx store.Tx, sc scope, i *instance) (*host, error) {
	h := &host{instance: i, free: map[string]int{}, reserved: map[string]bool{}, attribute: i.attributes(sc)}
	var err error
	if h.connected, err = s.connected(tx, sc, i); err != nil {
		return nil, err
	}
	for _, r := range i.Resources {
		switch name := aws.ToString(r.Name); name {
		case "CPU", "MEMORY":
			h.free[name] = int(r.IntegerValue)
		case "PORTS":
			for _, p := range r.StringSetValue {
				h.reserved[p+"/tcp"] = true
			}
		case "PORTS_UDP":
			for _, p := range r.StringSetValue {
				h.reserved[p+"/udp"] = true
			}
		}
	}
	for row, err := range s.placements.Scan(tx, sc.prefix("placement", i.Cluster, i.ID), "") {
		if err != nil {
			return nil, err
		}
		h.load.add(row.Value)
	}
	return h, nil
}

// refuses is why h cannot take a task, in the words of "API failure reasons"; "" when
// it can.
func (h *host) refuses(d *demand) string {
	if h.instance.Status != statusActive {
		return "INACTIVE"
	}
	if !h.connected {
		return "AGENT"
	}
	if reason := h.suits(d); reason != "" {
		return reason
	}
	if d.distinct && h.load.families[d.group] > 0 {
		return "DistinctInstance placement constraint unsatisfied."
	}
	if total, ok := h.free["CPU"]; ok && h.load.cpu+d.cpu > total {
		return "RESOURCE:CPU"
	}
	if total, ok := h.free["MEMORY"]; ok && h.load.memory+d.memory > total {
		return "RESOURCE:MEMORY"
	}
	for _, p := range d.ports {
		if h.reserved[p] || h.load.ports[p] {
			return "RESOURCE:PORTS"
		}
	}
	return ""
}

// suits is why h is no place for a task whatever else it runs; "" when it is one.
func (h *host) suits(d *demand) string {
	for _, c := range d.constraints {
		if !c.Matches(h.attribute) {
			return "MemberOf placement constraint unsatisfied."
		}
	}
	if a, ok := h.attribute["ecs.cpu-architecture"]; ok && d.platform != "" && architecture(a) != d.platform {
		return "ATTRIBUTE"
	}
	return ""
}

// architecture is the API's name of what an engine calls its processor.
func architecture(name string) types.CPUArchitecture {
	switch strings.ToLower(name) {
	case "x86_64", "amd64":
		return types.CPUArchitectureX8664
	case "arm64", "aarch64":
		return types.CPUArchitectureArm64
	}
	return types.CPUArchitecture(name)
}

// choose orders the hosts that can take a task by the strategy, the first one best.
// Without a strategy it is the host with the fewest tasks.
func choose(hosts []*host, strategy []types.PlacementStrategy) *host {
	if len(hosts) == 0 {
		return nil
	}
	candidates := slices.Clone(hosts)
	for _, rule := range strategy {
		field := aws.ToString(rule.Field)
		switch rule.Type {
		case types.PlacementStrategyTypeRandom:
			return candidates[int(newID()[0])%len(candidates)]
		case types.PlacementStrategyTypeBinpack:
			name := map[string]string{"cpu": "CPU", "memory": "MEMORY"}[field]
			left := func(h *host) int {
				used := h.load.cpu
				if name == "MEMORY" {
					used = h.load.memory
				}
				return h.free[name] - used
			}
			candidates = least(candidates, left)
		case types.PlacementStrategyTypeSpread:
			counts := map[string]int{}
			for _, h := range hosts {
				counts[h.spreadValue(field)] += h.load.tasks
			}
			candidates = least(candidates, func(h *host) int { return counts[h.spreadValue(field)] })
		}
	}
	return slices.MinFunc(candidates, func(a, b *host) int {
		return cmp.Or(cmp.Compare(a.load.tasks, b.load.tasks), cmp.Compare(a.instance.ID, b.instance.ID))
	})
}

func (h *host) spreadValue(field string) string {
	if field == "instanceId" || field == "host" {
		return h.instance.ID
	}
	name := field
	if len(name) > len("attribute:") && name[:len("attribute:")] == "attribute:" {
		name = name[len("attribute:"):]
	}
	return h.attribute[name]
}

func least(hosts []*host, by func(*host) int) []*host {
	low := by(slices.MinFunc(hosts, func(a, b *host) int { return cmp.Compare(by(a), by(b)) }))
	return slices.DeleteFunc(slices.Clone(hosts), func(h *host) bool { return by(h) != low })
}

// demandOf works out what a task of d under o needs.
func demandOf(d *types.TaskDefinition, o *types.TaskOverride, group string) (*demand, error) {
	need := &demand{group: group}
	overrides := map[string]*types.ContainerOverride{}
	if d.RuntimePlatform != nil {
		need.platform = d.RuntimePlatform.CpuArchitecture
	}
	cpu, memory := d.Cpu, d.Memory
	if o != nil {
		for i := range o.ContainerOverrides {
			overrides[aws.ToString(o.ContainerOverrides[i].Name)] = &o.ContainerOverrides[i]
		}
		if o.Cpu != nil {
			cpu = o.Cpu
		}
		if o.Memory != nil {
			memory = o.Memory
		}
	}
	for i := range d.ContainerDefinitions {
		c := &d.ContainerDefinitions[i]
		units, reserved := c.Cpu, c.MemoryReservation
		limit := c.Memory
		if v := overrides[*c.Name]; v != nil {
			if v.Cpu != nil {
				units = *v.Cpu
			}
			if v.Memory != nil {
				limit = v.Memory
			}
			if v.MemoryReservation != nil {
				reserved = v.MemoryReservation
			}
		}
		if reserved == nil {
			reserved = limit
		}
		need.cpu += int(units)
		need.memory += int(aws.ToInt32(reserved))
		if mode := taskdef.Effective(d.NetworkMode); mode == types.NetworkModeBridge || mode == types.NetworkModeHost {
			for _, p := range c.PortMappings {
				if port := aws.ToInt32(p.HostPort); port != 0 {
					need.ports = append(need.ports, fmt.Sprintf("%d/%s", port, p.Protocol))
				}
			}
		}
	}
	if n := taskdef.CPU(cpu); n > 0 {
		need.cpu = n
	}
	if n := taskdef.Memory(memory); n > 0 {
		need.memory = n
	}
	for _, c := range d.PlacementConstraints {
		parsed, err := taskdef.ParseConstraint(aws.ToString(c.Expression))
		if err != nil {
			return nil, clientError("Invalid placement constraint expression '%s': %v.", aws.ToString(c.Expression), err)
		}
		need.constraints = append(need.constraints, parsed)
	}
	return need, nil
}

// constrain adds a request's constraints.
func (d *demand) constrain(constraints []types.PlacementConstraint) error {
	if len(constraints) > 10 {
		return invalidParameter("Too many placement constraints: %d. The maximum is 10.", len(constraints))
	}
	for _, c := range constraints {
		switch c.Type {
		case types.PlacementConstraintTypeDistinctInstance:
			if aws.ToString(c.Expression) != "" {
				return invalidParameter("An expression cannot be specified with placement constraint distinctInstance.")
			}
			d.distinct = true
		case types.PlacementConstraintTypeMemberOf:
			parsed, err := taskdef.ParseConstraint(aws.ToString(c.Expression))
			if err != nil {
				return invalidParameter("Invalid placement constraint expression '%s': %v.", aws.ToString(c.Expression), err)
			}
			d.constraints = append(d.constraints, parsed)
		default:
			return invalidParameter("Invalid placement constraint type: '%s'.", c.Type)
		}
	}
	return nil
}

func validateStrategyRules(rules []types.PlacementStrategy) error {
	if len(rules) > 5 {
		return invalidParameter("Too many placement strategies: %d. The maximum is 5.", len(rules))
	}
	for _, r := range rules {
		field := aws.ToString(r.Field)
		var err error
		switch r.Type {
		case types.PlacementStrategyTypeRandom:
			if field != "" {
				err = errors.New("random takes no field")
			}
		case types.PlacementStrategyTypeBinpack:
			if field != "cpu" && field != "memory" {
				err = errors.New("the field of binpack must be cpu or memory")
			}
		case types.PlacementStrategyTypeSpread:
			if field == "" {
				err = errors.New("spread needs a field")
			}
		default:
			err = errors.New("unknown type " + strconv.Quote(string(r.Type)))
		}
		if err != nil {
			return invalidParameter("Invalid placement strategy: %v.", err)
		}
	}
	return nil
}
