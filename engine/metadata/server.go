package metadata

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/malote/malote/acs"
	"github.com/malote/malote/engine/docker"
)

// Where containers look, if no other engine of this host listens there.
const (
	CredentialsPort = 80
	APIPort         = 4510 // AWS's API
)

// Network is the one that containers are attached to, unless Config says otherwise.
func Network() docker.Network {
	return docker.Network{
		Name: "malote", Bridge: "malote0", Internal: true, ICC: false,
		Subnet: netip.MustParsePrefix("169.254.170.0/23"), Gateway: netip.MustParseAddr("169.254.170.2"),
		Labels: map[string]string{"malote.network": "metadata"},
	}
}

// Docker is what this package asks of Docker; *docker.Client has it.
type Docker interface {
	EnsureNetwork(ctx context.Context, n docker.Network) (string, error)
	RemoveNetwork(ctx context.Context, name string) error
	Connect(ctx context.Context, network, container string) error
	Inspect(ctx context.Context, id string) (*docker.Container, error)
	Stats(ctx context.Context, id string) ([]byte, error)
}

// Config says how to serve.
type Config struct {
	Docker Docker
	// Key derives ids; see Key. Required, 32 bytes.
	Key []byte
	// Network to listen on; the zero value is Network(). Programs find
	// credentials at 169.254.170.2 alone, so another is for tests.
	Network docker.Network
	// PortFile remembers the ports that were used because another engine of this host
	// had the usual ones, so that containers still find them after a restart. Empty:
	// nothing is remembered.
	PortFile string
	// API serves AWS's API to containers: malote's own handler, or Proxy to a
	// malote elsewhere. Nil serves none, and containers get no AWS_ENDPOINT_URL.
	API http.Handler
	// AvailabilityZone of the host; empty leaves it out of documents.
	AvailabilityZone string
	// Log: nil discards.
	Log *slog.Logger
	// Now: nil is time.Now.
	Now func() time.Time
}

// A Server serves the containers of the tasks that were opened.
type Server struct {
	Config
	log      *slog.Logger
	now      func() time.Time
	servers  []*http.Server
	ports    map[uint16]uint16 // what containers are told instead of a usual port; read-only after Start
	serving  sync.WaitGroup
	use      *use // of the network; nil: nobody shall know, and the network stays
	throttle throttle

	mu         sync.Mutex            // guards the maps, and the fields of tasks and containers that say so
	tasks      map[string]*Task      // by credentials id
	containers map[string]*Container // by endpoint id
}

// Start makes the network if need be and serves until Close.
func Start(ctx context.Context, config Config) (*Server, error) {
	s := &Server{Config: config, log: config.Log, now: config.Now, tasks: map[string]*Task{}, containers: map[string]*Container{}}
	if len(s.Key) != sha256.Size {
		return nil, fmt.Errorf("starting the metadata endpoint: the key has %d bytes, want %d", len(s.Key), sha256.Size)
	}
	if s.Network.Name == "" {
		s.Network = Network()
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.now == nil {
		s.now = time.Now
	}
	s.throttle.now = s.now
	var err error
	if s.use, err = takeUse(s.Network.Name); err != nil {
		s.log.Warn("the network of the metadata endpoint will stay", "network", s.Network.Name, "err", err)
	}
	if _, err := s.Docker.EnsureNetwork(ctx, s.Network); err != nil {
		s.leave()
		return nil, fmt.Errorf("making the network %s (%s) of the metadata endpoint: %w", s.Network.Name, s.Network.Subnet, err)
	}
	if err := s.serve(ctx); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (s *Server) serve(ctx context.Context) error {
	remembered, err := readPorts(s.PortFile)
	if err != nil {
		return err
	}
	s.ports = map[uint16]uint16{}
	if err := s.listen(ctx, CredentialsPort, remembered, s.handler(), 5*time.Second); err != nil {
		return err
	}
	if s.API != nil {
		// The gateway behind it has its own limits on a body and the time for it.
		if err := s.listen(ctx, APIPort, remembered, s.API, 5*time.Minute); err != nil {
			return err
		}
	}
	return nil
}

// listen serves at a usual port; at another one if a second engine of this host has it; and
// at the one that containers of an earlier run were told.
func (s *Server) listen(ctx context.Context, usual uint16, remembered map[uint16]uint16, handler http.Handler, limit time.Duration) error {
	err := s.listenAt(ctx, usual, handler, limit)
	if err != nil && !errors.Is(err, unix.EADDRINUSE) {
		return err
	}
	told := remembered[usual]
	switch {
	case err == nil && told == 0:
		return nil
	case err == nil:
		// New containers are told the usual port.
		if err := s.listenAt(ctx, told, handler, limit); err != nil {
			s.log.Warn("containers of an earlier run cannot reach 169.254.170.2", "port", told, "err", err)
		}
		return nil
	case told != 0:
		if err := s.listenAt(ctx, told, handler, limit); err == nil {
			s.ports[usual] = told
			return nil
		}
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", netip.AddrPortFrom(s.Network.Gateway, 0).String())
	if err != nil {
		return fmt.Errorf("listening where containers look for credentials: %w", err)
	}
	port := uint16(listener.Addr().(*net.TCPAddr).Port)
	s.log.Info("another engine of this host has the usual port", "address", s.Network.Gateway.String(), "usual", usual, "port", port)
	s.ports[usual] = port
	s.answer(listener, handler, limit)
	kept := maps.Clone(s.ports)
	for usual, port := range remembered {
		if kept[usual] == 0 {
			kept[usual] = port
		}
	}
	return writePorts(s.PortFile, kept)
}

func (s *Server) listenAt(ctx context.Context, port uint16, handler http.Handler, limit time.Duration) error {
	address := netip.AddrPortFrom(s.Network.Gateway, port).String()
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("listening at %s, where containers look for credentials: %w", address, err)
	}
	s.answer(listener, handler, limit)
	return nil
}

func (s *Server) answer(listener net.Listener, handler http.Handler, limit time.Duration) {
	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: limit, WriteTimeout: limit, IdleTimeout: time.Minute,
		MaxHeaderBytes: 64 << 10, ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
	}
	s.servers = append(s.servers, server)
	s.serving.Go(func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			s.log.Error("the metadata endpoint ended", "address", listener.Addr().String(), "err", err)
		}
	})
}

// url is the address that containers are told for a usual port.
func (s *Server) url(usual uint16) string {
	port := usual
	if other := s.ports[usual]; other != 0 {
		port = other
	}
	if port == 80 {
		return "http://" + s.Network.Gateway.String()
	}
	return "http://" + netip.AddrPortFrom(s.Network.Gateway, port).String()
}

func readPorts(path string) (map[uint16]uint16, error) {
	if path == "" {
		return nil, nil
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the ports of the metadata endpoint: %w", err)
	}
	ports := map[uint16]uint16{}
	if err := json.Unmarshal(text, &ports); err != nil {
		return nil, fmt.Errorf("reading the ports of the metadata endpoint: %s: %w; remove it while no task runs", path, err)
	}
	return ports, nil
}

func writePorts(path string, ports map[uint16]uint16) error {
	if path == "" {
		return nil
	}
	text, err := json.Marshal(ports)
	if err == nil {
		err = replace(path, text)
	}
	if err != nil {
		return fmt.Errorf("keeping the ports of the metadata endpoint: %w", err)
	}
	return nil
}

// replace writes a file in one step, so that a crash leaves no half of it.
func replace(path string, content []byte) error {
	file, err := os.CreateTemp(filepath.Dir(path), ".metadata-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	err = errors.Join(err, file.Sync(), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		os.Remove(file.Name())
	}
	return err
}

// Close stops serving. The network stays while a container is on it, a task that was opened
// was not closed, or another engine of the host listens there.
func (s *Server) Close() error {
	var failed error
	for _, server := range s.servers {
		failed = errors.Join(failed, server.Close())
	}
	s.serving.Wait()
	return errors.Join(failed, s.leave())
}

// Endpoint is the AWS_ENDPOINT_URL of containers, empty without an API.
func (s *Server) Endpoint() string {
	if s.API == nil {
		return ""
	}
	return s.url(APIPort)
}

// id derives an id in the form of a UUID, which is what programs expect, with 122 unguessable bits.
func (s *Server) id(kind, name string) string {
	mac := hmac.New(sha256.New, s.Key)
	mac.Write([]byte(kind + "\x00" + name))
	b := mac.Sum(nil)[:16]
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	h := hex.EncodeToString(b)
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// Key returns the key kept in a file, which it makes when there is none.
func Key(path string) ([]byte, error) {
	key, err := os.ReadFile(path)
	if err == nil && len(key) == sha256.Size {
		return key, nil
	}
	if err == nil {
		return nil, fmt.Errorf("reading the key of the metadata endpoint: %s has %d bytes, want %d; remove it while no task runs", path, len(key), sha256.Size)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading the key of the metadata endpoint: %w", err)
	}
	key = make([]byte, sha256.Size)
	rand.Read(key)
	if err := replace(path, key); err != nil {
		return nil, fmt.Errorf("keeping the key of the metadata endpoint: %w", err)
	}
	return key, nil
}

// Proxy passes requests on to a malote elsewhere, signed as they are: the Host
// header stays what the container signed.
func Proxy(upstream *url.URL, transport http.RoundTripper) http.Handler {
	return &httputil.ReverseProxy{
		Transport: transport,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(upstream)
			r.Out.Host = r.In.Host
		},
	}
}

// Status is what a task's engine knows of it now, in ECS's words: NONE, PULLED,
// CREATED, RUNNING, STOPPED and so on.
type Status struct {
	Desired, Known                           string
	PullStarted, PullStopped, ExecutionEnded time.Time // zero: not yet
	Containers                               map[string]ContainerStatus
}

// ContainerStatus is what is known of one container of a task.
type ContainerStatus struct {
	Desired, Known string
	Restarts       int
}

// A Task is one whose containers are served.
type Task struct {
	server *Server
	work   *acs.Task
	status func() Status
	id     string // of its credentials

	credentials *acs.Credentials      // guarded by the server's mu
	containers  map[string]*Container // same
}

// A Container is one that is served.
type Container struct {
	task *Task
	name string
	id   string // of its endpoint

	dockerID, networkID string // guarded by the server's mu
	host                bool   // same: in the host's network
}

// Open serves a task. Status is asked for when a document is. A task opened
// again, after a restart, has the ids that its containers know.
func (s *Server) Open(work *acs.Task, status func() Status) *Task {
	t := &Task{server: s, work: work, status: status, id: s.id("credentials", work.ARN), credentials: work.TaskRole, containers: map[string]*Container{}}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tasks[t.id] = t
	return t
}

// SetCredentials replaces the task role's credentials.
func (t *Task) SetCredentials(c *acs.Credentials) {
	t.server.mu.Lock()
	defer t.server.mu.Unlock()
	t.credentials = c
}

// Container serves the container of that name.
func (t *Task) Container(name string) *Container {
	s := t.server
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := t.containers[name]; c != nil {
		return c
	}
	c := &Container{task: t, name: name, id: s.id("container", t.work.ARN+"\x00"+name)}
	t.containers[name], s.containers[c.id] = c, c
	return c
}

// Close forgets the task, whose credentials nobody gets any more.
func (t *Task) Close() {
	s := t.server
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tasks[t.id] == t {
		delete(s.tasks, t.id)
	}
	for _, c := range t.containers {
		if s.containers[c.id] == c {
			delete(s.containers, c.id)
		}
	}
	t.credentials = nil
}

// Bind says which Docker container it is, and which one's network it uses: itself,
// or the one that holds the task's network namespace. Empty means the host's.
func (c *Container) Bind(dockerID, networkID string) {
	c.task.server.mu.Lock()
	defer c.task.server.mu.Unlock()
	c.dockerID, c.networkID, c.host = dockerID, networkID, networkID == ""
}

// Env is what the container's environment says of this: where its credentials and its
// metadata are, and AWS's region, endpoint and execution environment. The first
// three are the task's; the rest should yield to what the user sets, the two names of
// the region together.
func (c *Container) Env() []string {
	s, t := c.task.server, c.task
	base := s.url(CredentialsPort)
	execution := "AWS_ECS_EC2"
	if t.work.LaunchType == "FARGATE" {
		execution = "AWS_ECS_FARGATE"
	}
	env := []string{
		"ECS_CONTAINER_METADATA_URI=" + base + "/v3/" + c.id,
		"ECS_CONTAINER_METADATA_URI_V4=" + base + "/v4/" + c.id,
	}
	if t.work.TaskRole != nil {
		path := "/v2/credentials/" + t.id
		if s.ports[CredentialsPort] == 0 {
			env = append(env, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI="+path)
		} else {
			// A relative one would be looked for at port 80.
			env = append(env, "AWS_CONTAINER_CREDENTIALS_FULL_URI="+base+path)
		}
	}
	env = append(env, "AWS_EXECUTION_ENV="+execution)
	if t.work.Region != "" {
		env = append(env, "AWS_REGION="+t.work.Region, "AWS_DEFAULT_REGION="+t.work.Region)
	}
	if endpoint := s.Endpoint(); endpoint != "" {
		env = append(env, "AWS_ENDPOINT_URL="+endpoint)
	}
	return env
}

// admits says whether a request from an address is one of these containers'. Docker is asked each
// time: as soon as a container has stopped its address may be another's.
func (s *Server) admits(ctx context.Context, from netip.Addr, containers []*Container) bool {
	for _, c := range containers {
		s.mu.Lock()
		id, host := c.networkID, c.host
		bound := c.dockerID != ""
		s.mu.Unlock()
		if !bound {
			continue
		}
		if host {
			// What the host sends to its own address comes from that address.
			if from == s.Network.Gateway {
				return true
			}
			continue
		}
		found, err := s.Docker.Inspect(ctx, id)
		if err != nil {
			s.log.Warn("asking Docker for a container's address", "task", c.task.work.ARN, "container", c.name, "err", err)
			continue
		}
		address, err := netip.ParseAddr(found.Networks[s.Network.Name].IPAddress)
		if err == nil && found.Running() && address == from {
			return true
		}
	}
	return false
}
