package engine

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/malote/malote/acs"
	"github.com/malote/malote/engine/docker"
	"github.com/malote/malote/engine/logs"
	"github.com/malote/malote/engine/shim"
	"github.com/malote/malote/internal/firelens"
	"github.com/malote/malote/internal/ourlabels"
	"github.com/malote/malote/internal/s3file"
)

// Labels on what the engine makes. The first five are Amazon's.
const (
	labelTask       = "com.amazonaws.ecs.task-arn"
	labelContainer  = "com.amazonaws.ecs.container-name"
	labelFamily     = "com.amazonaws.ecs.task-definition-family"
	labelRevision   = "com.amazonaws.ecs.task-definition-version"
	labelCluster    = "com.amazonaws.ecs.cluster"
	labelEngine     = "malote.engine"     // which engine made it
	labelVersions   = "malote.versions"   // NAME=version id of each secret it was given
	labelLogDriver  = "malote.log-driver" // what the task definition asked for, where Docker has another
	pauseName       = "~internal~ecs~pause"
	megabyte        = 1 << 20
	defaultStopTime = 30 * time.Second
)

// override applies what RunTask overrides to a container's definition.
func override(def types.ContainerDefinition, o *types.TaskOverride) types.ContainerDefinition {
	if o == nil {
		return def
	}
	for _, c := range o.ContainerOverrides {
		if aws.ToString(c.Name) != aws.ToString(def.Name) {
			continue
		}
		if len(c.Command) > 0 {
			def.Command = c.Command
		}
		if c.Cpu != nil {
			def.Cpu = *c.Cpu
		}
		if c.Memory != nil {
			def.Memory = c.Memory
		}
		if c.MemoryReservation != nil {
			def.MemoryReservation = c.MemoryReservation
		}
		if len(c.EnvironmentFiles) > 0 {
			def.EnvironmentFiles = c.EnvironmentFiles
		}
		if len(c.ResourceRequirements) > 0 {
			def.ResourceRequirements = c.ResourceRequirements
		}
		def.Environment = slices.Clone(def.Environment)
		for _, kv := range c.Environment {
			i := slices.IndexFunc(def.Environment, func(have types.KeyValuePair) bool { return aws.ToString(have.Name) == aws.ToString(kv.Name) })
			if i >= 0 {
				def.Environment[i] = kv
			} else {
				def.Environment = append(def.Environment, kv)
			}
		}
	}
	return def
}

// refuse names what a container definition asks for that this engine cannot do. The
// control plane refuses it at registration already; a file given to malote run has
// had no control plane.
func refuse(task *types.TaskDefinition, def types.ContainerDefinition) error {
	no := func(what string) error {
		return fmt.Errorf("container %s: malote's engine does not support %s", aws.ToString(def.Name), what)
	}
	switch {
	case len(def.CredentialSpecs) > 0:
		return no("credentialSpecs")
	case len(def.ResourceRequirements) > 0:
		return no("resourceRequirements")
	case task.ProxyConfiguration != nil:
		return no("proxyConfiguration")
	case len(task.InferenceAccelerators) > 0:
		return no("inferenceAccelerators")
	}
	if err := s3file.Check(def.EnvironmentFiles); err != nil {
		return fmt.Errorf("container %s: environmentFiles: %w", aws.ToString(def.Name), err)
	}
	if hasSecretOptions(def) && !firelens.Uses(&def) {
		if err := logs.Check(string(def.LogConfiguration.LogDriver)); err != nil {
			return fmt.Errorf("container %s: secretOptions: %w", aws.ToString(def.Name), err)
		}
	}
	for _, s := range def.DockerSecurityOptions {
		if strings.HasPrefix(s, "credentialspec") {
			return no("the security option credentialspec")
		}
	}
	if _, err := ourlabels.Of(&def); err != nil {
		return fmt.Errorf("container %s: %w", aws.ToString(def.Name), err)
	}
	names := map[string]bool{}
	for _, kv := range def.Environment {
		names[aws.ToString(kv.Name)] = true
	}
	secrets := map[string]bool{}
	for _, s := range def.Secrets {
		name := aws.ToString(s.Name)
		if names[name] {
			return fmt.Errorf("The secret name must be unique and not shared with any new or existing environment variables set on the container, such as '%s'.", name)
		}
		if secrets[name] {
			return fmt.Errorf("Duplicate secret names found: %s. Each secret name must be unique.", name)
		}
		secrets[name] = true
	}
	return nil
}

// newState returns the state of a task of which nothing has happened yet.
func newState(t *acs.Task) (state, error) {
	var s state
	index := map[string]int{}
	for i, def := range t.Definition.ContainerDefinitions {
		index[aws.ToString(def.Name)] = i
	}
	if len(index) == 0 {
		return s, fmt.Errorf("Container list cannot be empty.")
	}
	router, err := firelens.Of(t.Definition.ContainerDefinitions)
	if err != nil {
		return s, err
	}
	for _, def := range t.Definition.ContainerDefinitions {
		name := aws.ToString(def.Name)
		def = override(def, t.Overrides)
		if err := refuse(&t.Definition, def); err != nil {
			return s, err
		}
		c := container{
			name: name, essential: def.Essential == nil || *def.Essential, checked: def.HealthCheck != nil,
			startTimeout: time.Duration(aws.ToInt32(def.StartTimeout)) * time.Second,
			needsAuth:    def.RepositoryCredentials != nil,
		}
		if r := def.RestartPolicy; r != nil && aws.ToBool(r.Enabled) {
			c.restart = restartPolicy{true, r.IgnoredExitCodes, 300 * time.Second}
			if r.RestartAttemptPeriod != nil {
				c.restart.period = time.Duration(*r.RestartAttemptPeriod) * time.Second
			}
		}
		depend := func(on string, cond condition, field string) error {
			i, ok := index[on]
			if !ok {
				return fmt.Errorf("container %s: %s names container %s, which the task definition does not have", name, field, on)
			}
			c.dependsOn = append(c.dependsOn, dependency{i, cond})
			return nil
		}
		for _, d := range def.DependsOn {
			if err := depend(aws.ToString(d.ContainerName), d.Condition, "dependsOn"); err != nil {
				return s, err
			}
			on := t.Definition.ContainerDefinitions[index[aws.ToString(d.ContainerName)]]
			if d.Condition == types.ContainerConditionHealthy && on.HealthCheck == nil {
				return s, fmt.Errorf("container %s depends on container %s being HEALTHY, which has no healthCheck", name, aws.ToString(on.Name))
			}
		}
		for _, l := range def.Links {
			on, _, _ := strings.Cut(l, ":")
			if err := depend(on, types.ContainerConditionStart, "links"); err != nil {
				return s, err
			}
		}
		for _, v := range def.VolumesFrom {
			if err := depend(aws.ToString(v.SourceContainer), conditionCreate, "volumesFrom"); err != nil {
				return s, err
			}
		}
		if source := router.Source(name); source != nil && source.Waits {
			if err := depend(router.Container, types.ContainerConditionStart, "logConfiguration"); err != nil {
				return s, err
			}
		}
		s.containers = append(s.containers, c)
	}
	if len(index) != len(s.containers) {
		return s, fmt.Errorf("Container names must be unique within a Task Definition.")
	}
	if !slices.ContainsFunc(s.containers, func(c container) bool { return c.essential }) {
		return s, fmt.Errorf("Task definition doesn't have any essential container.")
	}
	if loop := s.cycle(); loop != "" {
		return s, fmt.Errorf("TaskDependencyError: Task dependencies cannot be resolved, taskArn: %s: containers depend on each other in a cycle: %s", t.ARN, loop)
	}
	return s, nil
}

// cycle returns a cycle of dependencies, or "".
func (s *state) cycle() string {
	seen := make([]int, len(s.containers)) // 1: on the path, 2: clear
	var path []string
	var visit func(int) string
	visit = func(i int) string {
		path = append(path, s.containers[i].name)
		switch seen[i] {
		case 1:
			return strings.Join(path[slices.Index(path, s.containers[i].name):], " → ")
		case 0:
			seen[i] = 1
			for _, d := range s.containers[i].dependsOn {
				if loop := visit(d.on); loop != "" {
					return loop
				}
			}
			seen[i] = 2
		}
		path = path[:len(path)-1]
		return ""
	}
	for i := range s.containers {
		if loop := visit(i); loop != "" {
			return loop
		}
	}
	return ""
}

// surroundings are what a container's specification needs besides its definition.
type surroundings struct {
	engine   string // label
	versions string // label
	image    *docker.Image
	env      []string          // the engine's own: metadata, region, endpoint
	secrets  []string          // NAME=value
	shimDir  string            // where they are served; empty: docker-env or none
	pause    string            // id of the container that holds shared namespaces
	ids      map[string]string // Docker's id of each container so far
	volumes  map[string]string // what to bind for each volume
	owned    map[string]bool   // those that are the engine's directories
	log      logConfig
	router   *routerFiles // nil: it is not the log router
}

type logConfig struct {
	driver  string
	options map[string]string
	labels  map[string]string
}

// specify says how Docker is to run a container of a task.
func specify(t *acs.Task, def types.ContainerDefinition, s surroundings) (docker.Spec, error) {
	name := aws.ToString(def.Name)
	mode := networkMode(t)
	spec := docker.Spec{
		Name: dockerName(t, name), Image: aws.ToString(def.Image),
		WorkingDir: aws.ToString(def.WorkingDirectory), User: aws.ToString(def.User), Hostname: aws.ToString(def.Hostname),
		Tty: aws.ToBool(def.PseudoTerminal), OpenStdin: aws.ToBool(def.Interactive),
		Privileged: aws.ToBool(def.Privileged), ReadonlyRootfs: aws.ToBool(def.ReadonlyRootFilesystem),
		DNS: def.DnsServers, DNSSearch: def.DnsSearchDomains, SecurityOpt: def.DockerSecurityOptions,
		LogDriver: s.log.driver, LogOptions: s.log.options,
	}
	timeout := int(stopTimeout(def) / time.Second)
	spec.StopTimeout = &timeout

	spec.Labels = maps.Clone(def.DockerLabels)
	if spec.Labels == nil {
		spec.Labels = map[string]string{}
	}
	maps.Copy(spec.Labels, labels(t, name, s.engine))
	maps.Copy(spec.Labels, s.log.labels)
	if s.versions != "" {
		spec.Labels[labelVersions] = s.versions
	}

	// The command. What the image and the task definition say together is computed
	// here, because the shim's entrypoint would make Docker drop the image's command.
	entrypoint, command := def.EntryPoint, def.Command
	if len(entrypoint) == 0 {
		entrypoint = s.image.Entrypoint
		if len(command) == 0 {
			command = s.image.Cmd
		}
	}
	if len(entrypoint)+len(command) == 0 {
		return spec, fmt.Errorf("CannotCreateContainerError: image %s has neither ENTRYPOINT nor CMD, and container %s sets neither entryPoint nor command", spec.Image, name)
	}
	health := healthCheck(def, s.image)
	environment := mergeEnv(s, def)
	stack := uint64(0)
	for _, u := range def.Ulimits {
		if u.Name == types.UlimitNameStack && u.SoftLimit > 0 {
			stack = uint64(u.SoftLimit)
		}
	}
	// The image's variables take room as well.
	whole := slices.Concat(s.image.Env, environment, s.secrets)
	if err := shim.CheckEnv(whole, slices.Concat(entrypoint, command), stack); err != nil {
		return spec, fmt.Errorf("CannotStartContainerError: ResourceInitializationError: container %s: %w", name, err)
	}
	if s.shimDir != "" {
		spec.Entrypoint = shim.Entrypoint(entrypoint, command)
		spec.Binds = append(spec.Binds, s.shimDir+":"+shim.MountPoint+":ro")
		if health != nil {
			health.Test = shim.HealthCheck(health.Test)
		}
		spec.Env = environment
	} else {
		spec.Entrypoint, spec.Cmd = def.EntryPoint, def.Command
		spec.Env = slices.Concat(environment, s.secrets)
		if def.HealthCheck == nil {
			health = nil // Docker takes the image's own
		}
	}
	spec.Health = health

	if err := resources(t, def, &spec); err != nil {
		return spec, err
	}
	if err := mounts(def, s, &spec); err != nil {
		return spec, err
	}
	if s.router != nil {
		s.router.apply(&spec)
	}

	switch {
	case aws.ToBool(def.DisableNetworking):
		spec.Network = "none"
	case mode == types.NetworkModeAwsvpc:
		spec.Network = "container:" + s.pause
		spec.Hostname, spec.DNS, spec.DNSSearch = "", nil, nil // the pause container's
	default:
		spec.Network = string(mode)
		if mode == types.NetworkModeBridge {
			ports, err := ports(def, false)
			if err != nil {
				return spec, err
			}
			spec.Ports = ports
			for _, l := range def.Links {
				on, alias, ok := strings.Cut(l, ":")
				if !ok {
					alias = on
				}
				spec.Links = append(spec.Links, s.ids[on]+":"+alias)
			}
		}
	}
	if mode != types.NetworkModeAwsvpc {
		for _, h := range def.ExtraHosts {
			spec.Hosts = append(spec.Hosts, aws.ToString(h.Hostname)+":"+aws.ToString(h.IpAddress))
		}
	}
	switch t.Definition.PidMode {
	case types.PidModeHost:
		spec.PidMode = "host"
	case types.PidModeTask:
		spec.PidMode = "container:" + s.pause
	}
	switch t.Definition.IpcMode {
	case types.IpcModeHost, types.IpcModeNone:
		spec.IpcMode = string(t.Definition.IpcMode)
	case types.IpcModeTask:
		spec.IpcMode = "container:" + s.pause
	}
	return spec, nil
}

func networkMode(t *acs.Task) types.NetworkMode {
	if t.Definition.NetworkMode == "" {
		return types.NetworkModeBridge
	}
	return t.Definition.NetworkMode
}

// needsPause reports whether containers of the task share a namespace that must outlive
// each of them.
func needsPause(t *acs.Task) bool {
	return networkMode(t) == types.NetworkModeAwsvpc || t.Definition.PidMode == types.PidModeTask || t.Definition.IpcMode == types.IpcModeTask
}

// specifyPause says how Docker is to run the container that holds shared namespaces.
func specifyPause(t *acs.Task, engine string) (docker.Spec, error) {
	spec := docker.Spec{
		Name: dockerName(t, pauseName), Image: docker.PauseImage, Labels: labels(t, pauseName, engine),
		Network: "none", LogDriver: "none", ReadonlyRootfs: true, CapDrop: []string{"ALL"},
	}
	if t.Definition.IpcMode == types.IpcModeTask {
		spec.IpcMode = "shareable"
	}
	if networkMode(t) != types.NetworkModeAwsvpc {
		return spec, nil
	}
	spec.Network = "bridge"
	for _, def := range t.Definition.ContainerDefinitions {
		ports, err := ports(def, true)
		if err != nil {
			return spec, err
		}
		spec.Ports = append(spec.Ports, ports...)
		for _, h := range def.ExtraHosts {
			spec.Hosts = append(spec.Hosts, aws.ToString(h.Hostname)+":"+aws.ToString(h.IpAddress))
		}
		for _, d := range def.DnsServers {
			if !slices.Contains(spec.DNS, d) {
				spec.DNS = append(spec.DNS, d)
			}
		}
		for _, d := range def.DnsSearchDomains {
			if !slices.Contains(spec.DNSSearch, d) {
				spec.DNSSearch = append(spec.DNSSearch, d)
			}
		}
		if def.Hostname != nil && spec.Hostname == "" {
			spec.Hostname = *def.Hostname
		}
		for _, c := range def.SystemControls {
			// Those of the network namespace can be set only by who makes it.
			if strings.HasPrefix(aws.ToString(c.Namespace), "net.") {
				if spec.Sysctls == nil {
					spec.Sysctls = map[string]string{}
				}
				spec.Sysctls[aws.ToString(c.Namespace)] = aws.ToString(c.Value)
			}
		}
	}
	return spec, nil
}

func labels(t *acs.Task, container, engine string) map[string]string {
	return map[string]string{
		labelTask: t.ARN, labelContainer: container, labelFamily: aws.ToString(t.Definition.Family),
		labelRevision: strconv.Itoa(int(t.Definition.Revision)), labelCluster: clusterName(t.ClusterARN), labelEngine: engine,
	}
}

func clusterName(arn string) string { return arn[strings.LastIndex(arn, "/")+1:] }

// taskID is the last part of a task's ARN.
func taskID(arn string) string { return arn[strings.LastIndex(arn, "/")+1:] }

// dockerName is ecs-FAMILY-REVISION-NAME-RANDOM.
func dockerName(t *acs.Task, name string) string {
	clean := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' {
			return r
		}
		return -1
	}, name)
	var random [10]byte
	rand.Read(random[:])
	return fmt.Sprintf("ecs-%s-%d-%s-%s", aws.ToString(t.Definition.Family), t.Definition.Revision, clean, hex.EncodeToString(random[:]))
}

func stopTimeout(def types.ContainerDefinition) time.Duration {
	if def.StopTimeout == nil {
		return defaultStopTime
	}
	return max(time.Duration(*def.StopTimeout)*time.Second, time.Second)
}

// mergeEnv returns a container's plain environment. What the engine sets about the
// task wins over the definition; the region and the endpoint yield to it.
func mergeEnv(s surroundings, def types.ContainerDefinition) []string {
	set := map[string]bool{}
	for _, list := range [][]string{s.image.Env, s.secrets} {
		for _, kv := range list {
			name, _, _ := strings.Cut(kv, "=")
			set[name] = true
		}
	}
	for _, kv := range def.Environment {
		set[aws.ToString(kv.Name)] = true
	}
	hasRegion := set["AWS_REGION"] || set["AWS_DEFAULT_REGION"]
	var out []string
	forced := map[string]bool{}
	for _, kv := range s.env {
		name, _, _ := strings.Cut(kv, "=")
		switch name {
		case "AWS_REGION", "AWS_DEFAULT_REGION":
			if hasRegion {
				continue
			}
		case "AWS_ENDPOINT_URL", "AWS_EXECUTION_ENV":
			if set[name] {
				continue
			}
		}
		forced[name] = true
		out = append(out, kv)
	}
	for _, kv := range def.Environment {
		if name := aws.ToString(kv.Name); !forced[name] {
			out = append(out, name+"="+aws.ToString(kv.Value))
		}
	}
	return out
}

// healthCheck is the task definition's, or else the image's.
func healthCheck(def types.ContainerDefinition, image *docker.Image) *docker.HealthCheck {
	h := def.HealthCheck
	if h == nil {
		if image.HealthCheck == nil {
			return nil
		}
		clone := *image.HealthCheck
		return &clone
	}
	seconds := func(v *int32, otherwise int32) time.Duration {
		if v != nil {
			otherwise = *v
		}
		return time.Duration(otherwise) * time.Second
	}
	retries := 3
	if h.Retries != nil {
		retries = int(*h.Retries)
	}
	test := h.Command
	if len(test) > 0 && test[0] != "CMD" && test[0] != "CMD-SHELL" && test[0] != "NONE" {
		test = append([]string{"CMD"}, test...)
	}
	return &docker.HealthCheck{
		Test: test, Interval: seconds(h.Interval, 30), Timeout: seconds(h.Timeout, 5),
		StartPeriod: seconds(h.StartPeriod, 0), Retries: retries,
	}
}

// resources maps limits and privileges. The task's own cpu and memory bound each of its
// containers; there is no cgroup around them together, since Docker's two cgroup drivers
// want that made in ways that have nothing in common.
func resources(t *acs.Task, def types.ContainerDefinition, spec *docker.Spec) error {
	spec.CPUShares = min(max(int64(def.Cpu), 2), 262144)
	cpu, memory, err := taskSize(t)
	if err != nil {
		return err
	}
	spec.NanoCPUs = cpu * 1e9 / 1024
	switch {
	case def.Memory != nil:
		spec.Memory = max(int64(*def.Memory), 6) * megabyte
	case memory > 0:
		spec.Memory = memory * megabyte
	}
	if def.MemoryReservation != nil {
		spec.MemoryReservation = int64(*def.MemoryReservation) * megabyte
	}
	for _, u := range def.Ulimits {
		spec.Ulimits = append(spec.Ulimits, docker.Ulimit{Name: string(u.Name), Soft: int64(u.SoftLimit), Hard: int64(u.HardLimit)})
	}
	for _, c := range def.SystemControls {
		if networkMode(t) == types.NetworkModeAwsvpc && strings.HasPrefix(aws.ToString(c.Namespace), "net.") {
			continue // on the pause container
		}
		if spec.Sysctls == nil {
			spec.Sysctls = map[string]string{}
		}
		spec.Sysctls[aws.ToString(c.Namespace)] = aws.ToString(c.Value)
	}
	l := def.LinuxParameters
	if l == nil {
		return nil
	}
	if l.Capabilities != nil {
		spec.CapAdd, spec.CapDrop = l.Capabilities.Add, l.Capabilities.Drop
	}
	spec.Init = aws.ToBool(l.InitProcessEnabled)
	if l.SharedMemorySize != nil {
		spec.ShmSize = int64(*l.SharedMemorySize) * megabyte
	}
	if l.Swappiness != nil {
		v := int64(*l.Swappiness)
		spec.Swappiness = &v
	}
	if l.MaxSwap != nil {
		spec.MemorySwap = spec.Memory + int64(*l.MaxSwap)*megabyte
	}
	for _, d := range l.Devices {
		device := docker.Device{Host: aws.ToString(d.HostPath), Container: aws.ToString(d.ContainerPath), Permissions: "rwm"}
		if device.Container == "" {
			device.Container = device.Host
		}
		if len(d.Permissions) > 0 {
			device.Permissions = ""
			for _, p := range d.Permissions {
				device.Permissions += map[types.DeviceCgroupPermission]string{
					types.DeviceCgroupPermissionRead: "r", types.DeviceCgroupPermissionWrite: "w", types.DeviceCgroupPermissionMknod: "m",
				}[p]
			}
		}
		spec.Devices = append(spec.Devices, device)
	}
	for _, m := range l.Tmpfs {
		if spec.Tmpfs == nil {
			spec.Tmpfs = map[string]string{}
		}
		options := append(slices.Clone(m.MountOptions), "size="+strconv.Itoa(int(m.Size))+"m")
		spec.Tmpfs[aws.ToString(m.ContainerPath)] = strings.Join(options, ",")
	}
	return nil
}

// taskSize is the task's cpu in units of 1/1024 and its memory in MiB, zero for no limit.
func taskSize(t *acs.Task) (cpu, memory int64, err error) {
	c, m := aws.ToString(t.Definition.Cpu), aws.ToString(t.Definition.Memory)
	if o := t.Overrides; o != nil {
		if o.Cpu != nil {
			c = *o.Cpu
		}
		if o.Memory != nil {
			m = *o.Memory
		}
	}
	parse := func(s, unit string, factor float64) (int64, error) {
		s = strings.TrimSpace(strings.ToLower(s))
		if s == "" {
			return 0, nil
		}
		if number, ok := strings.CutSuffix(s, unit); ok {
			f, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
			return int64(f * factor), err
		}
		return strconv.ParseInt(s, 10, 64)
	}
	if cpu, err = parse(c, "vcpu", 1024); err != nil {
		return 0, 0, fmt.Errorf("Invalid 'cpu' setting for task. (%q)", c)
	}
	if memory, err = parse(m, "gb", 1024); err != nil {
		return 0, 0, fmt.Errorf("Invalid 'memory' setting for task. (%q)", m)
	}
	return cpu, memory, nil
}

func mounts(def types.ContainerDefinition, s surroundings, spec *docker.Spec) error {
	for _, m := range def.MountPoints {
		source, ok := s.volumes[aws.ToString(m.SourceVolume)]
		if !ok {
			return fmt.Errorf("Invalid volume referenced: %s", aws.ToString(m.SourceVolume))
		}
		target := aws.ToString(m.ContainerPath)
		if !path.IsAbs(target) {
			return fmt.Errorf("Unable to resolve volume mounts; invalid path: %s; %s -> %s", aws.ToString(m.SourceVolume), source, target)
		}
		if s.shimDir != "" && (path.Clean(target) == shim.MountPoint || strings.HasPrefix(path.Clean(target), shim.MountPoint+"/")) {
			return fmt.Errorf("container %s: the path %s is malote's own in a container with secrets", aws.ToString(def.Name), target)
		}
		if s.owned[aws.ToString(m.SourceVolume)] {
			// A Docker that does not see the engine's mounts, as one in a mount namespace of its
			// own may not, must not put a plain directory in their place.
			spec.Mounts = append(spec.Mounts, docker.Mount{Source: source, Target: target, ReadOnly: aws.ToBool(m.ReadOnly)})
			continue
		}
		bind := source + ":" + target
		if aws.ToBool(m.ReadOnly) {
			bind += ":ro"
		}
		spec.Binds = append(spec.Binds, bind)
	}
	for _, v := range def.VolumesFrom {
		from := s.ids[aws.ToString(v.SourceContainer)]
		if aws.ToBool(v.ReadOnly) {
			from += ":ro"
		}
		spec.VolumesFrom = append(spec.VolumesFrom, from)
	}
	return nil
}

// ports returns what a container publishes. In awsvpc mode a container's port is the
// host's too, unless the definition says otherwise.
func ports(def types.ContainerDefinition, awsvpc bool) ([]docker.Port, error) {
	var out []docker.Port
	bind := def.DockerLabels[ourlabels.Bind]
	for _, m := range def.PortMappings {
		protocol := string(m.Protocol)
		if protocol == "" {
			protocol = "tcp"
		}
		first, last := int(aws.ToInt32(m.ContainerPort)), int(aws.ToInt32(m.ContainerPort))
		if r := aws.ToString(m.ContainerPortRange); r != "" {
			from, to, ok := strings.Cut(r, "-")
			var err1, err2 error
			first, err1 = strconv.Atoi(from)
			last, err2 = strconv.Atoi(to)
			if !ok || err1 != nil || err2 != nil || last < first {
				return nil, fmt.Errorf("container %s: containerPortRange %q is not a range", aws.ToString(def.Name), r)
			}
		}
		for p := first; p <= last; p++ {
			if p < 1 || p > 65535 {
				return nil, fmt.Errorf("Invalid 'containerPort' setting for container '%s'.", aws.ToString(def.Name))
			}
			port := docker.Port{Container: uint16(p), Protocol: protocol, HostIP: bind}
			if first == last {
				port.Host = uint16(aws.ToInt32(m.HostPort))
			}
			if awsvpc && port.Host == 0 {
				port.Host = port.Container
			}
			out = append(out, port)
		}
	}
	return out, nil
}

// bindings says where the container's ports are on the host, in the API's words.
func bindings(ports []docker.Port) []types.NetworkBinding {
	var out []types.NetworkBinding
	for _, p := range ports {
		if strings.Contains(p.HostIP, ":") {
			continue // the IPv6 twin
		}
		out = append(out, types.NetworkBinding{
			BindIP: aws.String(p.HostIP), ContainerPort: aws.Int32(int32(p.Container)), HostPort: aws.Int32(int32(p.Host)), Protocol: types.TransportProtocol(p.Protocol),
		})
	}
	slices.SortFunc(out, func(a, b types.NetworkBinding) int { return int(*a.ContainerPort - *b.ContainerPort) })
	return out
}
