package metadata

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/malote/malote/engine/docker"
)

// The documents' members are Amazon's, in its order. What malote does not know, such as
// a VPC, is left out.

type taskDocument struct {
	Cluster               string
	TaskARN               string
	Family                string
	Revision              string
	ServiceName           string `json:",omitempty"`
	Group                 string `json:",omitempty"`
	DesiredStatus         string `json:",omitempty"`
	KnownStatus           string
	Containers            []containerDocument `json:",omitempty"`
	Limits                *limits             `json:",omitempty"`
	PullStartedAt         *time.Time          `json:",omitempty"`
	PullStoppedAt         *time.Time          `json:",omitempty"`
	ExecutionStoppedAt    *time.Time          `json:",omitempty"`
	AvailabilityZone      string              `json:",omitempty"`
	TaskTags              map[string]string   `json:",omitempty"`
	LaunchType            string              `json:",omitempty"`
	FaultInjectionEnabled bool
}

type containerDocument struct {
	DockerId      string
	Name          string
	DockerName    string
	Image         string
	ImageID       string
	Ports         []portDocument    `json:",omitempty"`
	Labels        map[string]string `json:",omitempty"`
	DesiredStatus string
	KnownStatus   string
	ExitCode      *int       `json:",omitempty"`
	Limits        limits     `json:",omitzero"`
	CreatedAt     *time.Time `json:",omitempty"`
	StartedAt     *time.Time `json:",omitempty"`
	FinishedAt    *time.Time `json:",omitempty"`
	Type          string
	LogDriver     string            `json:",omitempty"`
	LogOptions    map[string]string `json:",omitempty"`
	Health        *health           `json:",omitempty"`
	Volumes       []volume          `json:",omitempty"`
	ContainerARN  string            `json:",omitempty"`
	RestartCount  *int              `json:",omitempty"`
	Networks      []network         `json:",omitempty"`
}

type limits struct {
	CPU    *float64 `json:",omitempty"`
	Memory *int64   `json:",omitempty"`
}

type portDocument struct {
	ContainerPort uint16
	Protocol      string
	HostPort      uint16 `json:",omitempty"`
	HostIp        string `json:",omitempty"`
}

type health struct {
	Status string `json:"status,omitempty"`
}

type volume struct {
	DockerName  string `json:",omitempty"`
	Source      string `json:",omitempty"`
	Destination string `json:",omitempty"`
}

type network struct {
	NetworkMode   string
	IPv4Addresses []string `json:",omitempty"`
	MACAddress    string   `json:",omitempty"`
}

func (s *Server) container(r *http.Request, c *Container) (any, error) {
	return s.describeContainer(r.Context(), c, c.task.status())
}

func (s *Server) task(r *http.Request, c *Container) (any, error) {
	return s.describeTask(r.Context(), c.task)
}

func (s *Server) taskWithTags(r *http.Request, c *Container) (any, error) {
	document, err := s.describeTask(r.Context(), c.task)
	if err != nil {
		return nil, err
	}
	document.TaskTags = map[string]string{}
	for _, tag := range c.task.work.Tags {
		document.TaskTags[aws.ToString(tag.Key)] = aws.ToString(tag.Value)
	}
	return document, nil
}

func (s *Server) stats(r *http.Request, c *Container) (any, error) {
	s.mu.Lock()
	id := c.dockerID
	s.mu.Unlock()
	raw, err := s.Docker.Stats(r.Context(), id)
	return json.RawMessage(raw), err
}

// taskStats has null for a container that is not running, as Amazon's has.
func (s *Server) taskStats(r *http.Request, c *Container) (any, error) {
	all := map[string]json.RawMessage{}
	for _, member := range s.members(c.task) {
		s.mu.Lock()
		id := member.dockerID
		s.mu.Unlock()
		raw, err := s.Docker.Stats(r.Context(), id)
		if err != nil {
			raw = []byte("null")
		}
		all[id] = raw
	}
	return all, nil
}

// members are the containers of a task that exist, in the order of its definition.
func (s *Server) members(t *Task) []*Container {
	s.mu.Lock()
	defer s.mu.Unlock()
	var members []*Container
	for _, def := range t.work.Definition.ContainerDefinitions {
		if c := t.containers[aws.ToString(def.Name)]; c != nil && c.dockerID != "" {
			members = append(members, c)
		}
	}
	return members
}

func (s *Server) describeTask(ctx context.Context, t *Task) (*taskDocument, error) {
	status, def := t.status(), &t.work.Definition
	cpu, memory := aws.ToString(def.Cpu), aws.ToString(def.Memory)
	if o := t.work.Overrides; o != nil {
		if o.Cpu != nil {
			cpu = *o.Cpu
		}
		if o.Memory != nil {
			memory = *o.Memory
		}
	}
	document := &taskDocument{
		Cluster: t.work.ClusterARN, TaskARN: t.work.ARN, Family: aws.ToString(def.Family), Revision: strconv.Itoa(int(def.Revision)),
		Group: t.work.Group, DesiredStatus: status.Desired, KnownStatus: status.Known,
		PullStartedAt: when(status.PullStarted), PullStoppedAt: when(status.PullStopped), ExecutionStoppedAt: when(status.ExecutionEnded),
		AvailabilityZone: s.AvailabilityZone, LaunchType: string(t.work.LaunchType),
	}
	if service, ok := strings.CutPrefix(t.work.Group, "service:"); ok {
		document.ServiceName = service
	}
	var size limits
	if n, err := strconv.ParseFloat(cpu, 64); err == nil {
		size.CPU = new(n / 1024)
	}
	if n, err := strconv.ParseInt(memory, 10, 64); err == nil {
		size.Memory = &n
	}
	if size != (limits{}) {
		document.Limits = &size
	}
	for _, c := range s.members(t) {
		described, err := s.describeContainer(ctx, c, status)
		if docker.IsNotFound(err) {
			continue // removed meanwhile
		}
		if err != nil {
			return nil, err
		}
		document.Containers = append(document.Containers, *described)
	}
	return document, nil
}

func (s *Server) describeContainer(ctx context.Context, c *Container, status Status) (*containerDocument, error) {
	s.mu.Lock()
	id, networkID := c.dockerID, c.networkID
	s.mu.Unlock()
	found, err := s.Docker.Inspect(ctx, id)
	if err != nil {
		return nil, err
	}
	defs := c.task.work.Definition.ContainerDefinitions
	i := slices.IndexFunc(defs, func(def types.ContainerDefinition) bool { return aws.ToString(def.Name) == c.name })
	if i < 0 {
		i, defs = 0, []types.ContainerDefinition{{}}
	}
	def, known := defs[i], status.Containers[c.name]
	arn := strings.Replace(c.task.work.ARN, ":task/", ":container/", 1) + "/" + s.id("container-arn", c.task.work.ARN+"\x00"+c.name)
	document := &containerDocument{
		DockerId: found.ID, Name: c.name, DockerName: found.Name, Image: aws.ToString(def.Image), ImageID: found.ImageID,
		Labels: found.Labels, DesiredStatus: known.Desired, KnownStatus: known.Known,
		CreatedAt: when(found.Created), StartedAt: when(found.Started), FinishedAt: when(found.Finished),
		Type: "NORMAL", ContainerARN: arn,
	}
	cpu := float64(def.Cpu)
	document.Limits.CPU = &cpu
	if def.Memory != nil {
		document.Limits.Memory = new(int64(*def.Memory))
	}
	if found.Exited() {
		document.ExitCode = new(found.ExitCode)
	}
	if def.RestartPolicy != nil {
		document.RestartCount = new(known.Restarts)
	}
	if def.HealthCheck != nil {
		document.Health = &health{Status: map[string]string{"healthy": "HEALTHY", "unhealthy": "UNHEALTHY"}[found.Health]}
		if document.Health.Status == "" {
			document.Health.Status = "UNKNOWN"
		}
	}
	if log := def.LogConfiguration; log != nil {
		// The options as registered: those that are secrets are not among them.
		document.LogDriver, document.LogOptions = string(log.LogDriver), log.Options
	}
	for _, m := range def.MountPoints {
		document.Volumes = append(document.Volumes, volume{DockerName: aws.ToString(m.SourceVolume), Destination: aws.ToString(m.ContainerPath)})
	}
	for _, p := range found.Ports {
		document.Ports = append(document.Ports, portDocument{p.Container, p.Protocol, p.Host, p.HostIP})
	}
	mode := string(c.task.work.Definition.NetworkMode)
	if mode == "" {
		mode = string(types.NetworkModeBridge)
	}
	place := network{NetworkMode: mode}
	if networkID != "" && networkID != id {
		if found, err = s.Docker.Inspect(ctx, networkID); err != nil {
			return nil, err
		}
	}
	for name, endpoint := range found.Networks {
		if name != s.Network.Name && endpoint.IPAddress != "" {
			place.IPv4Addresses = append(place.IPv4Addresses, endpoint.IPAddress)
			place.MACAddress = endpoint.MacAddress
		}
	}
	slices.Sort(place.IPv4Addresses)
	document.Networks = []network{place}
	return document, nil
}

func when(t time.Time) *time.Time {
	if t.IsZero() || t.Year() <= 1 {
		return nil
	}
	t = t.UTC()
	return &t
}
