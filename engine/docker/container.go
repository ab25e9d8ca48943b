package docker

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
)

// Spec is a container to create. Zero members mean Docker's or the image's default.
type Spec struct {
	Name, Image string

	Entrypoint, Cmd []string // as Docker takes them: a set Entrypoint drops the image's Cmd
	Env             []string
	WorkingDir      string
	User            string
	Hostname        string
	Labels          map[string]string
	Tty, OpenStdin  bool
	StopTimeout     *int // seconds
	Health          *HealthCheck

	Network   string // NetworkMode: bridge, host, none, container:ID, or a network's name
	Ports     []Port
	Links     []string // container:alias
	Hosts     []string // name:address
	DNS       []string
	DNSSearch []string

	Binds       []string // source:target[:options]; a source without a slash is a volume
	Mounts      []Mount
	Tmpfs       map[string]string
	VolumesFrom []string

	CPUShares         int64
	NanoCPUs          int64
	Memory            int64
	MemoryReservation int64
	MemorySwap        int64
	Swappiness        *int64
	ShmSize           int64
	Ulimits           []Ulimit
	Devices           []Device
	CapAdd, CapDrop   []string
	Sysctls           map[string]string
	SecurityOpt       []string
	Privileged        bool
	ReadonlyRootfs    bool
	Init              bool
	PidMode, IpcMode  string

	LogDriver  string
	LogOptions map[string]string
}

// HealthCheck is how Docker asks a container for its health. Test begins with CMD or
// CMD-SHELL, or is NONE.
type HealthCheck struct {
	Test                           []string
	Interval, Timeout, StartPeriod time.Duration
	Retries                        int
}

// Port is a container's port and where on the host it is to be found.
type Port struct {
	Container uint16
	Host      uint16 // 0: any free one
	HostIP    string
	Protocol  string // tcp, udp
}

// Mount is a directory of the host that must be there: of a bind's Docker would make one.
type Mount struct {
	Source, Target string
	ReadOnly       bool
}

// Ulimit is a resource limit of a container's processes.
type Ulimit struct {
	Name       string
	Soft, Hard int64
}

// Device is a host's device in a container. Permissions are of the letters rwm.
type Device struct{ Host, Container, Permissions string }

// Create makes a container and returns its id. The caller removes it.
func (c *Client) Create(ctx context.Context, s Spec) (string, error) {
	config := &container.Config{
		Image: s.Image, Entrypoint: s.Entrypoint, Cmd: s.Cmd, Env: s.Env, WorkingDir: s.WorkingDir, User: s.User,
		Hostname: s.Hostname, Labels: s.Labels, Tty: s.Tty, OpenStdin: s.OpenStdin, StopTimeout: s.StopTimeout,
	}
	if h := s.Health; h != nil {
		config.Healthcheck = &container.HealthConfig{Test: h.Test, Interval: h.Interval, Timeout: h.Timeout, StartPeriod: h.StartPeriod, Retries: h.Retries}
	}
	host := &container.HostConfig{
		Binds: s.Binds, NetworkMode: container.NetworkMode(s.Network), VolumesFrom: s.VolumesFrom,
		CapAdd: s.CapAdd, CapDrop: s.CapDrop, DNSSearch: s.DNSSearch, ExtraHosts: s.Hosts, Links: s.Links,
		IpcMode: container.IpcMode(s.IpcMode), PidMode: container.PidMode(s.PidMode), Privileged: s.Privileged,
		ReadonlyRootfs: s.ReadonlyRootfs, SecurityOpt: s.SecurityOpt, Tmpfs: s.Tmpfs, ShmSize: s.ShmSize, Sysctls: s.Sysctls,
		LogConfig: container.LogConfig{Type: s.LogDriver, Config: s.LogOptions},
	}
	host.CPUShares, host.NanoCPUs = s.CPUShares, s.NanoCPUs
	host.Memory, host.MemoryReservation, host.MemorySwap, host.MemorySwappiness = s.Memory, s.MemoryReservation, s.MemorySwap, s.Swappiness
	if s.Init {
		host.Init = &s.Init
	}
	for _, m := range s.Mounts {
		host.Mounts = append(host.Mounts, mount.Mount{Type: mount.TypeBind, Source: m.Source, Target: m.Target, ReadOnly: m.ReadOnly})
	}
	for _, u := range s.Ulimits {
		host.Ulimits = append(host.Ulimits, &container.Ulimit{Name: u.Name, Soft: u.Soft, Hard: u.Hard})
	}
	for _, d := range s.Devices {
		host.Devices = append(host.Devices, container.DeviceMapping{PathOnHost: d.Host, PathInContainer: d.Container, CgroupPermissions: d.Permissions})
	}
	for _, a := range s.DNS {
		addr, err := netip.ParseAddr(a)
		if err != nil {
			return "", fmt.Errorf("dnsServers: %w", err)
		}
		host.DNS = append(host.DNS, addr)
	}
	for _, p := range s.Ports {
		port, ok := network.PortFrom(p.Container, network.IPProtocol(p.Protocol))
		if !ok {
			return "", fmt.Errorf("port %d has no protocol", p.Container)
		}
		if config.ExposedPorts == nil {
			config.ExposedPorts, host.PortBindings = network.PortSet{}, network.PortMap{}
		}
		binding := network.PortBinding{}
		if p.Host != 0 {
			binding.HostPort = strconv.Itoa(int(p.Host))
		}
		if p.HostIP != "" {
			addr, err := netip.ParseAddr(p.HostIP)
			if err != nil {
				return "", fmt.Errorf("host address of port %d: %w", p.Container, err)
			}
			binding.HostIP = addr
		}
		config.ExposedPorts[port] = struct{}{}
		host.PortBindings[port] = append(host.PortBindings[port], binding)
	}
	res, err := c.api.ContainerCreate(ctx, client.ContainerCreateOptions{Config: config, HostConfig: host, Name: s.Name})
	return res.ID, reason(err)
}

// Start starts a created or exited container.
func (c *Client) Start(ctx context.Context, id string) error {
	_, err := c.api.ContainerStart(ctx, id, client.ContainerStartOptions{})
	return reason(err)
}

// Stop sends the image's stop signal and, after timeout, SIGKILL. A container that is
// gone or has exited already is no error.
func (c *Client) Stop(ctx context.Context, id string, timeout time.Duration) error {
	seconds := int((timeout + time.Second - 1) / time.Second)
	_, err := c.api.ContainerStop(ctx, id, client.ContainerStopOptions{Timeout: &seconds})
	if IsNotFound(err) {
		return nil
	}
	return reason(err)
}

// Signal sends a signal to the container's first process. One that does not run is no error.
func (c *Client) Signal(ctx context.Context, id, signal string) error {
	_, err := c.api.ContainerKill(ctx, id, client.ContainerKillOptions{Signal: signal})
	if IsNotFound(err) || IsConflict(err) {
		return nil
	}
	return reason(err)
}

// Remove kills the container if it runs and removes it with its anonymous volumes. One
// that is not there is no error.
func (c *Client) Remove(ctx context.Context, id string) error {
	for attempt := 0; ; attempt++ {
		_, err := c.api.ContainerRemove(ctx, id, client.ContainerRemoveOptions{RemoveVolumes: true, Force: true})
		if err == nil || IsNotFound(err) {
			return nil
		}
		if !IsConflict(err) || attempt == 50 { // a conflict: somebody is removing it already
			return reason(err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// Container is what Docker knows of a container.
type Container struct {
	ID, Name  string
	Image     string // as asked for
	ImageID   string
	Labels    map[string]string
	Status    string // created, running, paused, restarting, removing, exited, dead
	Pid       int
	ExitCode  int
	OOMKilled bool
	Error     string // why it could not start
	Health    string // "", starting, healthy, unhealthy
	Created   time.Time
	Started   time.Time
	Finished  time.Time
	LogDriver string
	Tty       bool
	Ports     []Port // published, with the host's ports filled in
	Networks  map[string]Endpoint
	Sandbox   string // path of the network namespace
}

// Endpoint is a container's place on a network.
type Endpoint struct{ IPAddress, Gateway, MacAddress string }

// Running reports whether it has processes.
func (c *Container) Running() bool {
	return c.Status == "running" || c.Status == "paused" || c.Status == "restarting"
}

// Exited reports whether it ran and ended.
func (c *Container) Exited() bool { return c.Status == "exited" || c.Status == "dead" }

// Inspect returns what Docker knows of the container with that id or name.
func (c *Client) Inspect(ctx context.Context, id string) (*Container, error) {
	res, err := c.api.ContainerInspect(ctx, id, client.ContainerInspectOptions{})
	if err != nil {
		return nil, reason(err)
	}
	r := res.Container
	out := &Container{ID: r.ID, Name: trimSlash(r.Name), ImageID: r.Image, Created: parseTime(r.Created), Networks: map[string]Endpoint{}}
	if r.Config != nil {
		out.Image, out.Labels, out.Tty = r.Config.Image, r.Config.Labels, r.Config.Tty
	}
	if r.HostConfig != nil {
		out.LogDriver = r.HostConfig.LogConfig.Type
	}
	if s := r.State; s != nil {
		out.Status, out.Pid, out.ExitCode, out.OOMKilled, out.Error = string(s.Status), s.Pid, s.ExitCode, s.OOMKilled, s.Error
		out.Started, out.Finished = parseTime(s.StartedAt), parseTime(s.FinishedAt)
		if s.Health != nil && s.Health.Status != container.NoHealthcheck {
			out.Health = string(s.Health.Status)
		}
	}
	if n := r.NetworkSettings; n != nil {
		out.Sandbox = n.SandboxKey
		for name, e := range n.Networks {
			endpoint := Endpoint{MacAddress: e.MacAddress.String()}
			if e.IPAddress.IsValid() {
				endpoint.IPAddress = e.IPAddress.String()
			}
			if e.Gateway.IsValid() {
				endpoint.Gateway = e.Gateway.String()
			}
			out.Networks[name] = endpoint
		}
		for port, bindings := range n.Ports {
			for _, b := range bindings {
				hostPort, err := strconv.ParseUint(b.HostPort, 10, 16)
				if err != nil {
					continue
				}
				out.Ports = append(out.Ports, Port{Container: port.Num(), Host: uint16(hostPort), HostIP: b.HostIP.String(), Protocol: string(port.Proto())})
			}
		}
	}
	return out, nil
}

func trimSlash(name string) string {
	if name != "" && name[0] == '/' {
		return name[1:]
	}
	return name
}

// Listed is one line of a list of containers.
type Listed struct {
	ID, Name string
	Status   string
	Labels   map[string]string
}

// List returns the containers, running or not, that have all the labels. A label with an
// empty value asks only for its key.
func (c *Client) List(ctx context.Context, labels map[string]string) ([]Listed, error) {
	res, err := c.api.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: labelled(labels)})
	if err != nil {
		return nil, reason(err)
	}
	var out []Listed
	for _, s := range res.Items {
		l := Listed{ID: s.ID, Status: string(s.State), Labels: s.Labels}
		if len(s.Names) > 0 {
			l.Name = trimSlash(s.Names[0])
		}
		out = append(out, l)
	}
	return out, nil
}

func labelled(labels map[string]string) client.Filters {
	f := client.Filters{}
	for k, v := range labels {
		if v != "" {
			k += "=" + v
		}
		f = f.Add("label", k)
	}
	return f
}
