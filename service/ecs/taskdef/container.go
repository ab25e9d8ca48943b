package taskdef

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/malote/malote/internal/firelens"
	"github.com/malote/malote/internal/lazyregexp"
	"github.com/malote/malote/internal/ourlabels"
	"github.com/malote/malote/internal/s3file"
)

var (
	imagePattern = lazyregexp.New(`^[A-Za-z0-9_\-:./#@+]+$`)
	portName     = lazyregexp.New(`^[a-z0-9_][a-z0-9_-]{0,63}$`)
	rangePattern = lazyregexp.New(`^([0-9]{1,5})-([0-9]{1,5})$`)
)

func validateContainers(in *ecs.RegisterTaskDefinitionInput) error {
	if len(in.ContainerDefinitions) == 0 {
		return invalid("Container list cannot be empty.")
	}
	if n := len(in.ContainerDefinitions); n > maxContainers {
		return invalid("Too many containers: %d. A task definition can have at most %d.", n, maxContainers)
	}
	names := map[string]bool{}
	essential := false
	for i := range in.ContainerDefinitions {
		c := &in.ContainerDefinitions[i]
		name := aws.ToString(c.Name)
		switch {
		case name == "":
			return invalid("Container.name should not be null or empty.")
		case !namePattern.MatchString(name):
			return invalid("Container.name contains invalid characters.")
		case names[name]:
			return invalid("Container names must be unique within a Task Definition.")
		}
		names[name] = true
		essential = essential || Essential(c)
		if err := validateContainer(in, c, fmt.Sprintf("containerDefinitions[%d]", i)); err != nil {
			return err
		}
	}
	if !essential {
		return invalid("Task definition doesn't have any essential container.")
	}
	if _, err := firelens.Of(in.ContainerDefinitions); err != nil {
		return invalid("%s", err)
	}
	return validateHostPorts(in)
}

func validateContainer(in *ecs.RegisterTaskDefinitionInput, c *types.ContainerDefinition, at string) error {
	name := *c.Name
	for _, check := range []func() error{
		func() error { return refuseMembers(c, at) },
		func() error { return validateImage(c) },
		func() error { return validateResources(in, c) },
		func() error { return validatePorts(in, c) },
		func() error { return validateEnvironment(in, c) },
		func() error { return validateLog(in, c, at) },
		func() error { return validateHealth(c) },
		func() error { return validateLinux(c) },
		func() error { return validateNetwork(in, c) },
	} {
		if err := check(); err != nil {
			return err
		}
	}
	if p := c.RestartPolicy; p != nil {
		if p.Enabled == nil {
			return invalid("Invalid 'restartPolicy' setting for container '%s'. 'enabled' is required.", name)
		}
		if t := p.RestartAttemptPeriod; t != nil && (*t < 60 || *t > 1800) {
			return invalid("Invalid 'restartAttemptPeriod' setting for container '%s'. It must be between 60 and 1800 seconds.", name)
		}
		if len(p.IgnoredExitCodes) > 50 {
			return invalid("Invalid 'ignoredExitCodes' setting for container '%s'. At most 50 exit codes can be specified.", name)
		}
	}
	if c.StartTimeout != nil && *c.StartTimeout < 0 {
		return invalid("Invalid 'startTimeout' setting for container '%s'.", name)
	}
	if c.StopTimeout != nil && *c.StopTimeout < 0 {
		return invalid("Invalid 'stopTimeout' setting for container '%s'.", name)
	}
	return nil
}

func refuseMembers(c *types.ContainerDefinition, at string) error {
	switch {
	case len(c.CredentialSpecs) > 0:
		return refused(at + ".credentialSpecs")
	case len(c.ResourceRequirements) > 0:
		return refused(at + ".resourceRequirements")
	case c.VersionConsistency == types.VersionConsistencyEnabled:
		return refused(at + ".versionConsistency: enabled")
	}
	for i, o := range c.DockerSecurityOptions {
		switch {
		case o == "no-new-privileges", strings.HasPrefix(o, "apparmor:"), strings.HasPrefix(o, "label:"):
		case strings.HasPrefix(o, "credentialspec:"):
			return refused(fmt.Sprintf("%s.dockerSecurityOptions[%d]: credentialspec", at, i))
		default:
			return invalid("Invalid 'dockerSecurityOptions' setting for container '%s': '%s'.", *c.Name, o)
		}
	}
	return nil
}

func validateImage(c *types.ContainerDefinition) error {
	image := aws.ToString(c.Image)
	switch {
	case image == "":
		return invalid("Container.image should not be null or empty.")
	case strings.HasPrefix(image, ":"), strings.HasPrefix(image, "@"):
		return invalid("Container.image repository should not be null or empty.")
	case len(image) > 1024 || !imagePattern.MatchString(image):
		return invalid("Container.image contains invalid characters.")
	}
	return nil
}

func validateResources(in *ecs.RegisterTaskDefinitionInput, c *types.ContainerDefinition) error {
	name := *c.Name
	if c.Cpu < 0 || c.Cpu > 196608 {
		return invalid("Invalid 'cpu' setting for container '%s'.", name)
	}
	if c.Memory == nil && c.MemoryReservation == nil && in.Memory == nil {
		return invalid("Invalid setting for container '%s'. At least one of 'memory' or 'memoryReservation' must be specified.", name)
	}
	if c.Memory != nil && *c.Memory < 6 {
		return invalid("Invalid 'memory' setting for container '%s'. The minimum is 6 MiB.", name)
	}
	if c.MemoryReservation != nil && *c.MemoryReservation < 6 {
		return invalid("Invalid 'memoryReservation' setting for container '%s'. The minimum is 6 MiB.", name)
	}
	if c.Memory != nil && c.MemoryReservation != nil && *c.MemoryReservation >= *c.Memory {
		return invalid("Invalid setting for container '%s'. 'memory' must be greater than 'memoryReservation'.", name)
	}
	limits := map[types.UlimitName]bool{}
	for _, u := range c.Ulimits {
		if limits[u.Name] {
			return invalid("Invalid 'ulimits' setting for container '%s'. '%s' is specified more than once.", name, u.Name)
		}
		limits[u.Name] = true
		// -1 is no limit.
		if u.SoftLimit < -1 || u.HardLimit < -1 || u.HardLimit >= 0 && (u.SoftLimit > u.HardLimit || u.SoftLimit < 0) {
			return invalid("Invalid 'ulimits' setting for container '%s'. The soft limit of '%s' cannot be greater than its hard limit.", name, u.Name)
		}
	}
	return nil
}

func validatePorts(in *ecs.RegisterTaskDefinitionInput, c *types.ContainerDefinition) error {
	name := *c.Name
	mode := Effective(in.NetworkMode)
	if len(c.PortMappings) > 100 {
		return invalid("Too many port mappings for container '%s'. The maximum is 100.", name)
	}
	if len(c.PortMappings) > 0 && mode == types.NetworkModeNone {
		return invalid("Port mappings are not supported when networkMode=none.")
	}
	for i := range c.PortMappings {
		p := &c.PortMappings[i]
		if p.ContainerPortRange != nil {
			if p.ContainerPort != nil || p.HostPort != nil {
				return invalid("Invalid 'containerPortRange' setting for container '%s'. 'containerPort' and 'hostPort' cannot be specified with it.", name)
			}
			if mode == types.NetworkModeHost {
				return invalid("Invalid 'containerPortRange' setting for container '%s'. Port ranges are not supported when networkMode=host.", name)
			}
			if !validRange(*p.ContainerPortRange) {
				return invalid("Invalid 'containerPortRange' setting for container '%s'.", name)
			}
		} else {
			port := aws.ToInt32(p.ContainerPort)
			if port < 1 || port > 65535 {
				return invalid("Invalid 'containerPort' setting for container '%s'.", name)
			}
			host := aws.ToInt32(p.HostPort)
			if host < 0 || host > 65535 {
				return invalid("Invalid 'hostPort' setting for container '%s'.", name)
			}
			if host != 0 && host != port {
				switch mode {
				case types.NetworkModeAwsvpc, types.NetworkModeHost:
					return invalid("When networkMode=%s, the host ports and container ports in port mappings must match.", mode)
				}
			}
		}
		if p.Name != nil && !portName.MatchString(*p.Name) {
			return invalid("Invalid 'name' in the port mappings of container '%s'. Use up to 64 lowercase letters, numbers, underscores and hyphens, and no hyphen first.", name)
		}
		if p.AppProtocol != "" && p.Name == nil {
			return invalid("Invalid 'appProtocol' setting for container '%s'. A port mapping with 'appProtocol' must have a 'name'.", name)
		}
	}
	return nil
}

func validRange(s string) bool {
	m := rangePattern.FindStringSubmatch(s)
	if m == nil {
		return false
	}
	first, _ := strconv.Atoi(m[1])
	last, _ := strconv.Atoi(m[2])
	return first >= 1 && last <= 65535 && first <= last && last-first < 100
}

// validateHostPorts refuses a port that two containers of one task want: in one
// network namespace, or on one host, the second could never start.
func validateHostPorts(in *ecs.RegisterTaskDefinitionInput) error {
	taken := map[string]string{}
	names := map[string]bool{}
	for i := range in.ContainerDefinitions {
		c := &in.ContainerDefinitions[i]
		for j := range c.PortMappings {
			p := &c.PortMappings[j]
			if p.Name != nil {
				if names[*p.Name] {
					return invalid("Port mapping names must be unique within a Task Definition: '%s'.", *p.Name)
				}
				names[*p.Name] = true
			}
			port := aws.ToInt32(p.HostPort)
			if mode := Effective(in.NetworkMode); mode == types.NetworkModeAwsvpc || mode == types.NetworkModeHost {
				port = aws.ToInt32(p.ContainerPort)
			}
			if port == 0 {
				continue
			}
			protocol := p.Protocol
			if protocol == "" {
				protocol = types.TransportProtocolTcp
			}
			key := fmt.Sprintf("%d/%s", port, protocol)
			if other, ok := taken[key]; ok {
				return invalid("Host port %s is used by more than one port mapping: containers '%s' and '%s'.", key, other, *c.Name)
			}
			taken[key] = *c.Name
		}
	}
	return nil
}

func validateEnvironment(in *ecs.RegisterTaskDefinitionInput, c *types.ContainerDefinition) error {
	environment := map[string]bool{}
	for _, e := range c.Environment {
		key := aws.ToString(e.Name)
		if key == "" {
			return invalid("Invalid 'environment' setting for container '%s'. The name of a variable should not be null or empty.", *c.Name)
		}
		if strings.ContainsAny(key, "=\x00") || strings.ContainsRune(aws.ToString(e.Value), 0) {
			return invalid("Invalid 'environment' setting for container '%s'. The variable '%s' contains a character that an environment cannot hold.", *c.Name, strings.ReplaceAll(key, "\x00", ""))
		}
		environment[key] = true
	}
	if err := s3file.Check(c.EnvironmentFiles); err != nil {
		return invalid("Invalid 'environmentFiles' setting for container '%s'. %s", *c.Name, err)
	}
	if aws.ToString(in.ExecutionRoleArn) == "" {
		if len(c.EnvironmentFiles) > 0 {
			return invalid("When you are specifying container environment files, you must also specify a value for 'executionRoleArn'.")
		}
		if f := c.FirelensConfiguration; f != nil && f.Options["config-file-type"] == "s3" {
			return invalid("When you are specifying the firelensConfiguration option config-file-type s3, you must also specify a value for 'executionRoleArn'.")
		}
	}
	if err := validateSecrets(c.Secrets, in.ExecutionRoleArn); err != nil {
		return err
	}
	for _, s := range c.Secrets {
		if environment[*s.Name] {
			return SharedSecretName(*s.Name)
		}
		if strings.ContainsAny(*s.Name, "=\x00") {
			return invalid("Invalid secret name '%s'. An environment variable's name cannot contain '='.", strings.ReplaceAll(*s.Name, "\x00", ""))
		}
	}
	if _, err := ourlabels.Of(c); err != nil {
		return invalid("Invalid 'dockerLabels' setting for container '%s': %s.", *c.Name, err)
	}
	if r := c.RepositoryCredentials; r != nil {
		if aws.ToString(r.CredentialsParameter) == "" {
			return invalid("The credentialsParameter of repositoryCredentials should not be null or empty.")
		}
		if aws.ToString(in.ExecutionRoleArn) == "" {
			return invalid("When you are specifying container repository credentials, you must also specify a value for 'executionRoleArn'.")
		}
	}
	return nil
}

// SharedSecretName is the error of a name that is both a secret's and an environment
// variable's, by the definition or by an override.
func SharedSecretName(name string) error {
	return invalid("The secret name must be unique and not shared with any new or existing environment variables set on the container, such as '%s'.", name)
}

func validateSecrets(secrets []types.Secret, executionRole *string) error {
	seen := map[string]bool{}
	for _, s := range secrets {
		switch name := aws.ToString(s.Name); {
		case name == "":
			return invalid("The name of a secret should not be null or empty.")
		case aws.ToString(s.ValueFrom) == "":
			return invalid("The valueFrom of secret '%s' should not be null or empty.", name)
		case seen[name]:
			return invalid("Duplicate secret names found: %s. Each secret name must be unique.", name)
		default:
			seen[name] = true
		}
	}
	if len(secrets) > 0 && aws.ToString(executionRole) == "" {
		return invalid("When you are specifying container secrets, you must also specify a value for 'executionRoleArn'.")
	}
	return nil
}

// forwarded are the drivers whose secret options the engine can fill without handing
// them to Docker.
var forwarded = []types.LogDriver{types.LogDriverSplunk, types.LogDriverFluentd, types.LogDriverAwsfirelens}

func validateLog(in *ecs.RegisterTaskDefinitionInput, c *types.ContainerDefinition, at string) error {
	l := c.LogConfiguration
	if l == nil {
		return nil
	}
	switch l.LogDriver {
	case types.LogDriverJsonFile, types.LogDriverSyslog, types.LogDriverJournald, types.LogDriverGelf,
		types.LogDriverFluentd, types.LogDriverSplunk, types.LogDriverAwsfirelens:
	case types.LogDriverAwslogs:
		var missing []string
		for _, o := range []string{"awslogs-group", "awslogs-region"} {
			if l.Options[o] == "" {
				missing = append(missing, o)
			}
		}
		if len(missing) > 0 {
			return invalid("Log driver awslogs requires options: %s", strings.Join(missing, ", "))
		}
	case "":
		return invalid("Container.logConfiguration.logDriver should not be null or empty.")
	default:
		return invalid("Invalid 'logDriver' setting for container '%s': '%s'.", *c.Name, l.LogDriver)
	}
	if len(l.SecretOptions) > 0 && !slices.Contains(forwarded, l.LogDriver) {
		return refused(fmt.Sprintf("%s.logConfiguration.secretOptions of log driver %s", at, l.LogDriver))
	}
	return validateSecrets(l.SecretOptions, in.ExecutionRoleArn)
}

func validateHealth(c *types.ContainerDefinition) error {
	h := c.HealthCheck
	if h == nil {
		return nil
	}
	if len(h.Command) == 0 || h.Command[0] != "CMD" && h.Command[0] != "CMD-SHELL" || len(h.Command) < 2 {
		return invalid("Invalid 'healthCheck' setting for container '%s'. The command must begin with CMD or CMD-SHELL and name what to run.", *c.Name)
	}
	for _, f := range []struct {
		name     string
		value    *int32
		min, max int32
	}{
		{"interval", h.Interval, 5, 300},
		{"timeout", h.Timeout, 2, 60},
		{"retries", h.Retries, 1, 10},
		{"startPeriod", h.StartPeriod, 0, 300},
	} {
		if f.value != nil && (*f.value < f.min || *f.value > f.max) {
			return invalid("Invalid 'healthCheck' setting for container '%s'. '%s' must be between %d and %d.", *c.Name, f.name, f.min, f.max)
		}
	}
	return nil
}

func validateLinux(c *types.ContainerDefinition) error {
	name := *c.Name
	for _, s := range c.SystemControls {
		if !validSysctl(aws.ToString(s.Namespace)) {
			return invalid("Invalid 'systemControls' setting for container '%s': '%s' is not a namespaced kernel parameter.", name, aws.ToString(s.Namespace))
		}
		if aws.ToString(s.Value) == "" {
			return invalid("Invalid 'systemControls' setting for container '%s'. '%s' has no value.", name, *s.Namespace)
		}
	}
	l := c.LinuxParameters
	if l == nil {
		return nil
	}
	if k := l.Capabilities; k != nil {
		for _, capability := range slices.Concat(k.Add, k.Drop) {
			if !slices.Contains(capabilities, capability) {
				return invalid("Invalid 'capabilities' setting for container '%s': '%s'.", name, capability)
			}
		}
	}
	for _, d := range l.Devices {
		if aws.ToString(d.HostPath) == "" {
			return invalid("Invalid 'devices' setting for container '%s'. 'hostPath' is required.", name)
		}
	}
	for _, t := range l.Tmpfs {
		if !path.IsAbs(aws.ToString(t.ContainerPath)) {
			return invalid("Invalid 'tmpfs' setting for container '%s'. 'containerPath' must be an absolute path.", name)
		}
		if t.Size < 1 {
			return invalid("Invalid 'tmpfs' setting for container '%s'. 'size' must be at least 1 MiB.", name)
		}
		for _, o := range t.MountOptions {
			key, _, _ := strings.Cut(o, "=")
			if !slices.Contains(tmpfsOptions, key) {
				return invalid("Invalid 'tmpfs' setting for container '%s'. Unknown mount option '%s'.", name, o)
			}
		}
	}
	switch {
	case l.SharedMemorySize != nil && *l.SharedMemorySize < 1:
		return invalid("Invalid 'sharedMemorySize' setting for container '%s'.", name)
	case l.MaxSwap != nil && *l.MaxSwap < 0:
		return invalid("Invalid 'maxSwap' setting for container '%s'.", name)
	case l.Swappiness != nil && (*l.Swappiness < 0 || *l.Swappiness > 100):
		return invalid("Invalid 'swappiness' setting for container '%s'. It must be between 0 and 100.", name)
	case l.MaxSwap != nil && c.Memory == nil:
		return invalid("Invalid 'maxSwap' setting for container '%s'. 'memory' must be specified with it.", name)
	}
	return nil
}

func validSysctl(name string) bool {
	switch {
	case strings.HasPrefix(name, "net.") && len(name) > len("net."):
		return true
	case strings.HasPrefix(name, "fs.mqueue.") && len(name) > len("fs.mqueue."):
		return true
	}
	return slices.Contains([]string{"kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem",
		"kernel.shmall", "kernel.shmmax", "kernel.shmmni", "kernel.shm_rmid_forced"}, name)
}

// validateNetwork refuses what the containers of one network namespace cannot each
// have, or what needs a bridge.
func validateNetwork(in *ecs.RegisterTaskDefinitionInput, c *types.ContainerDefinition) error {
	mode := Effective(in.NetworkMode)
	if len(c.Links) > 0 && mode != types.NetworkModeBridge {
		return invalid("Links are not supported when networkMode=%s.", mode)
	}
	if mode == types.NetworkModeAwsvpc {
		for _, f := range []struct {
			name string
			set  bool
		}{
			{"hostname", aws.ToString(c.Hostname) != ""},
			{"extraHosts", len(c.ExtraHosts) > 0},
			{"dnsServers", len(c.DnsServers) > 0},
			{"dnsSearchDomains", len(c.DnsSearchDomains) > 0},
			{"disableNetworking", aws.ToBool(c.DisableNetworking)},
		} {
			if f.set {
				return invalid("Invalid setting for container '%s'. '%s' is not supported when networkMode=awsvpc.", *c.Name, f.name)
			}
		}
	}
	for _, h := range c.ExtraHosts {
		if aws.ToString(h.Hostname) == "" || aws.ToString(h.IpAddress) == "" {
			return invalid("Invalid 'extraHosts' setting for container '%s'. 'hostname' and 'ipAddress' are required.", *c.Name)
		}
	}
	if aws.ToBool(c.DisableNetworking) && (len(c.PortMappings) > 0 || len(c.Links) > 0) {
		return invalid("Invalid setting for container '%s'. 'portMappings' and 'links' cannot be specified with 'disableNetworking'.", *c.Name)
	}
	return nil
}

var capabilities = []string{"ALL", "AUDIT_CONTROL", "AUDIT_READ", "AUDIT_WRITE", "BLOCK_SUSPEND", "CHOWN",
	"DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "IPC_LOCK", "IPC_OWNER", "KILL", "LEASE",
	"LINUX_IMMUTABLE", "MAC_ADMIN", "MAC_OVERRIDE", "MKNOD", "NET_ADMIN", "NET_BIND_SERVICE", "NET_BROADCAST",
	"NET_RAW", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_ADMIN", "SYS_BOOT", "SYS_CHROOT", "SYS_MODULE",
	"SYS_NICE", "SYS_PACCT", "SYS_PTRACE", "SYS_RAWIO", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "SYSLOG",
	"WAKE_ALARM"}

var tmpfsOptions = []string{"defaults", "ro", "rw", "suid", "nosuid", "dev", "nodev", "exec", "noexec", "sync",
	"async", "dirsync", "remount", "mand", "nomand", "atime", "noatime", "diratime", "nodiratime", "bind", "rbind",
	"unbindable", "runbindable", "private", "rprivate", "shared", "rshared", "slave", "rslave", "relatime",
	"norelatime", "strictatime", "nostrictatime", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol"}
