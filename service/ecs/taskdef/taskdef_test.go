package taskdef_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/malote/malote/service/ecs/taskdef"
)

// read makes a definition from JSON whose strings are in single quotes.
func read(t *testing.T, text string) *ecs.RegisterTaskDefinitionInput {
	t.Helper()
	in, err := taskdef.Read(strings.NewReader(strings.ReplaceAll(text, "'", `"`)))
	if err != nil {
		t.Fatal(err)
	}
	return in
}

func TestValidate(t *testing.T) {
	t.Parallel()
	const role = `'executionRoleArn':'arn:aws:iam::123456789012:role/e',`
	// app is a definition of one container with more members of it and of the task.
	app := func(container, task string) string {
		if container != "" {
			container = "," + container
		}
		if task != "" {
			task = "," + task
		}
		return `{'family':'web','containerDefinitions':[{'name':'app','image':'nginx','memory':64` + container + `}]` + task + `}`
	}
	fargate := func(container, task string) string {
		return app(container, `'requiresCompatibilities':['FARGATE'],'networkMode':'awsvpc'`+task)
	}
	const size = `,'cpu':'256','memory':'512'`
	two := func(a, b string) string {
		return `{'family':'web','containerDefinitions':[{'name':'a','image':'i','memory':64` + a + `},{'name':'b','image':'i','memory':64` + b + `}]}`
	}
	for _, tt := range []struct{ name, definition, want string }{
		{"smallest", app("", ""), ""},
		{"no family", `{}`, "Family can not be blank."},
		{"family of a bad name", `{'family':'a b'}`, "Family contains invalid characters."},
		{"no container", `{'family':'a'}`, "Container list cannot be empty."},
		{"no name", `{'family':'a','containerDefinitions':[{}]}`, "Container.name should not be null or empty."},
		{"bad name", `{'family':'a','containerDefinitions':[{'name':'a b'}]}`, "Container.name contains invalid characters."},
		{"name twice", `{'family':'a','containerDefinitions':[{'name':'a','image':'i','memory':9},{'name':'a'}]}`, "Container names must be unique within a Task Definition."},
		{"no image", `{'family':'a','containerDefinitions':[{'name':'a'}]}`, "Container.image should not be null or empty."},
		{"no repository", `{'family':'a','containerDefinitions':[{'name':'a','image':':1'}]}`, "Container.image repository should not be null or empty."},
		{"bad image", `{'family':'a','containerDefinitions':[{'name':'a','image':'a b'}]}`, "Container.image contains invalid characters."},
		{"none essential", app(`'essential':false`, ""), "Task definition doesn't have any essential container."},
		{"no memory", `{'family':'a','containerDefinitions':[{'name':'X','image':'i'}]}`, "Invalid setting for container 'X'. At least one of 'memory' or 'memoryReservation' must be specified."},
		{"memory of the task", `{'family':'a','memory':'1GB','containerDefinitions':[{'name':'X','image':'i'}]}`, ""},
		{"reservation over memory", app(`'memoryReservation':65`, ""), "Invalid setting for container 'app'. 'memory' must be greater than 'memoryReservation'."},
		{"memory too small", `{'family':'a','containerDefinitions':[{'name':'X','image':'i','memory':5}]}`, "Invalid 'memory' setting for container 'X'. The minimum is 6 MiB."},

		{"shared name", app(`'secrets':[{'name':'X','valueFrom':'p'}],'environment':[{'name':'X','value':'v'}]`, role[:len(role)-1]),
			"The secret name must be unique and not shared with any new or existing environment variables set on the container, such as 'X'."},
		{"secret twice", app(`'secrets':[{'name':'X','valueFrom':'p'},{'name':'X','valueFrom':'q'}]`, role[:len(role)-1]),
			"Duplicate secret names found: X. Each secret name must be unique."},
		{"a label of malote's that means nothing", app(`'dockerLabels':{'malote.secrest':'docker-env'}`, ""),
			"Invalid 'dockerLabels' setting for container 'app': the label malote.secrest is not known to malote. There are malote.secrets, malote.bind, malote.endpoint, malote.refresh-signal, malote.optional.NAME and malote.expand.NAME."},
		{"secret without role", app(`'secrets':[{'name':'X','valueFrom':'p'}]`, ""),
			"When you are specifying container secrets, you must also specify a value for 'executionRoleArn'."},
		{"malformed valueFrom is found at launch", app(`'secrets':[{'name':'X','valueFrom':'arn:aws:secretsmanager:r:a:secret:n:k'}]`, role[:len(role)-1]), ""},
		{"secret option without role", app(`'logConfiguration':{'logDriver':'splunk','secretOptions':[{'name':'splunk-token','valueFrom':'p'}]}`, ""),
			"When you are specifying container secrets, you must also specify a value for 'executionRoleArn'."},
		{"secret options that nobody fills", app(`'logConfiguration':{'logDriver':'json-file','secretOptions':[{'name':'x','valueFrom':'p'}]}`, role[:len(role)-1]),
			"malote does not support 'containerDefinitions[0].logConfiguration.secretOptions of log driver json-file'. Remove it from the task definition."},

		{"router", strings.Replace(two(`,'firelensConfiguration':{'type':'fluentbit'}`, `,'logConfiguration':{'logDriver':'awsfirelens','options':{'Name':'http'},'secretOptions':[{'name':'http_Passwd','valueFrom':'p'}]}`), "{", "{"+role, 1), ""},
		{"router without a container that uses it", app(`'firelensConfiguration':{'type':'fluentbit'}`, ""),
			"When a firelensConfiguration object is specified, at least one container has to be configured with the awsfirelens log driver."},
		{"no router", app(`'logConfiguration':{'logDriver':'awsfirelens'}`, ""),
			"When awsfirelens log driver is specified in log configuration, a firelens configuration object must be configured in one of the containers."},
		{"router's secret without role", two(`,'firelensConfiguration':{'type':'fluentbit'}`, `,'logConfiguration':{'logDriver':'awsfirelens','options':{'Name':'http'},'secretOptions':[{'name':'http_Passwd','valueFrom':'p'}]}`),
			"When you are specifying container secrets, you must also specify a value for 'executionRoleArn'."},
		{"router's option with a line in it", two(`,'firelensConfiguration':{'type':'fluentbit'}`, `,'logConfiguration':{'logDriver':'awsfirelens','options':{'Name':'http\n[OUTPUT]'}}`),
			"Invalid 'logConfiguration' setting for container 'b'. The value of the option 'Name' has a line break or another control character, which the configuration of a log router cannot hold."},
		{"router that waits by way of another", `{'family':'a','containerDefinitions':[{'name':'a','image':'i','memory':9,'firelensConfiguration':{'type':'fluentbit'},'volumesFrom':[{'sourceContainer':'b'}]},{'name':'b','image':'i','memory':9,'logConfiguration':{'logDriver':'awsfirelens'}}]}`,
			"Container dependencies should not have a cycle: a -> b -> a"},
		{"router that waits", two(`,'firelensConfiguration':{'type':'fluentbit'},'dependsOn':[{'containerName':'b','condition':'START'}]`, `,'logConfiguration':{'logDriver':'awsfirelens'}`), ""},

		{"port 0", app(`'portMappings':[{'containerPort':0}]`, ""), "Invalid 'containerPort' setting for container 'app'."},
		{"port too high", app(`'portMappings':[{'containerPort':65536}]`, ""), "Invalid 'containerPort' setting for container 'app'."},
		{"host port too high", app(`'portMappings':[{'containerPort':1,'hostPort':65536}]`, ""), "Invalid 'hostPort' setting for container 'app'."},
		{"awsvpc ports differ", app(`'portMappings':[{'containerPort':80,'hostPort':81}]`, `'networkMode':'awsvpc'`),
			"When networkMode=awsvpc, the host ports and container ports in port mappings must match."},
		{"host ports differ", app(`'portMappings':[{'containerPort':80,'hostPort':81}]`, `'networkMode':'host'`),
			"When networkMode=host, the host ports and container ports in port mappings must match."},
		{"ports without network", app(`'portMappings':[{'containerPort':80}]`, `'networkMode':'none'`), "Port mappings are not supported when networkMode=none."},
		{"port of two", two(`,'portMappings':[{'containerPort':1,'hostPort':80}]`, `,'portMappings':[{'containerPort':2,'hostPort':80}]`),
			"Host port 80/tcp is used by more than one port mapping: containers 'a' and 'b'."},
		{"port of two protocols", two(`,'portMappings':[{'containerPort':1,'hostPort':80}]`, `,'portMappings':[{'containerPort':2,'hostPort':80,'protocol':'udp'}]`), ""},
		{"range", app(`'portMappings':[{'containerPortRange':'8000-8099'}]`, ""), ""},
		{"range too long", app(`'portMappings':[{'containerPortRange':'8000-8100'}]`, ""), "Invalid 'containerPortRange' setting for container 'app'."},

		{"dependency that is essential", two(`,'dependsOn':[{'containerName':'b','condition':'SUCCESS'}]`, ""),
			"A dependency container with SUCCESS or COMPLETE condition cannot be an essential container"},
		{"dependency without health check", two(`,'dependsOn':[{'containerName':'b','condition':'HEALTHY'}]`, ""),
			"A dependency container with HEALTHY condition must have a health check: container 'a' depends on 'b'."},
		{"dependency unknown", two(`,'dependsOn':[{'containerName':'c','condition':'START'}]`, ""),
			"Invalid 'dependsOn' setting for container 'a'. The task definition has no container 'c'."},
		{"dependency on itself", two(`,'dependsOn':[{'containerName':'a','condition':'START'}]`, ""), "Container dependencies should not have a cycle: a -> a"},
		{"dependency cycle", two(`,'dependsOn':[{'containerName':'b','condition':'START'}]`, `,'dependsOn':[{'containerName':'a','condition':'START'}]`),
			"Container dependencies should not have a cycle: a -> b -> a"},
		{"cycle over volumesFrom", two(`,'dependsOn':[{'containerName':'b','condition':'START'}]`, `,'volumesFrom':[{'sourceContainer':'a'}]`),
			"Container dependencies should not have a cycle: a -> b -> a"},
		{"link cycle", two(`,'links':['b']`, `,'links':['a:x']`), "Container links should not have a cycle"},
		{"link format", two(`,'links':['b:x:y']`, ""), "Invalid link format: 'b:x:y'. Use 'name' or 'name:alias'."},
		{"link in awsvpc", app(`'links':['app']`, `'networkMode':'awsvpc'`), "Links are not supported when networkMode=awsvpc."},
		{"hostname in awsvpc", app(`'hostname':'h'`, `'networkMode':'awsvpc'`), "Invalid setting for container 'app'. 'hostname' is not supported when networkMode=awsvpc."},

		{"volume unknown", app(`'mountPoints':[{'sourceVolume':'v','containerPath':'/v'}]`, ""), "Unknown volume 'v'."},
		{"volume twice", app("", `'volumes':[{'name':'v'},{'name':'v'}]`), "Volume names must be unique within a Task Definition."},
		{"volume name", app("", `'volumes':[{'name':'a/b'}]`), "Volume.name contains invalid characters."},
		{"mount path", app(`'mountPoints':[{'sourceVolume':'v','containerPath':'v'}]`, `'volumes':[{'name':'v'}]`),
			"Invalid 'mountPoints' setting for container 'app'. 'containerPath' must be an absolute path."},

		{"health check without CMD", app(`'healthCheck':{'command':['true']}`, ""),
			"Invalid 'healthCheck' setting for container 'app'. The command must begin with CMD or CMD-SHELL and name what to run."},
		{"health check interval", app(`'healthCheck':{'command':['CMD','true'],'interval':4}`, ""),
			"Invalid 'healthCheck' setting for container 'app'. 'interval' must be between 5 and 300."},
		{"restart period", app(`'restartPolicy':{'enabled':true,'restartAttemptPeriod':59}`, ""),
			"Invalid 'restartAttemptPeriod' setting for container 'app'. It must be between 60 and 1800 seconds."},
		{"capability", app(`'linuxParameters':{'capabilities':{'add':['CAP_CHOWN']}}`, ""), "Invalid 'capabilities' setting for container 'app': 'CAP_CHOWN'."},
		{"sysctl", app(`'systemControls':[{'namespace':'vm.swappiness','value':'1'}]`, ""),
			"Invalid 'systemControls' setting for container 'app': 'vm.swappiness' is not a namespaced kernel parameter."},
		{"ulimit", app(`'ulimits':[{'name':'nofile','softLimit':2,'hardLimit':1}]`, ""),
			"Invalid 'ulimits' setting for container 'app'. The soft limit of 'nofile' cannot be greater than its hard limit."},
		{"security option", app(`'dockerSecurityOptions':['seccomp:unconfined']`, ""), "Invalid 'dockerSecurityOptions' setting for container 'app': 'seccomp:unconfined'."},

		{"task cpu", app("", `'cpu':'64'`), "Invalid 'cpu' setting for task. For more information, see the Troubleshooting section of the Amazon ECS Developer Guide."},
		{"task cpu in words", app("", `'cpu':'1 vCPU','memory':'0.5GB'`), ""},
		{"fargate", fargate("", size), ""},
		{"fargate in a bridge", app("", `'requiresCompatibilities':['FARGATE']`), "Fargate only supports network mode ‘awsvpc’."},
		{"fargate without cpu", fargate("", ""), "Fargate requires that 'cpu' be defined at the task level."},
		{"fargate without memory", fargate("", `,'cpu':'256'`), "Fargate requires that 'memory' be defined at the task level."},
		{"fargate size", fargate("", `,'cpu':'256','memory':'4096'`), "No Fargate configuration exists for given values."},
		{"fargate pid", fargate("", size+`,'pidMode':'host'`), "Tasks using the Fargate launch type do not support pidMode 'host'. The supported value for pidMode is 'task'."},
		{"fargate awslogs", fargate(`'logConfiguration':{'logDriver':'awslogs','options':{'awslogs-group':'g','awslogs-region':'r','awslogs-stream-prefix':'p'}}`, size),
			"Fargate requires task definition to have execution role ARN to support log driver awslogs."},
		{"fargate ECR", `{'family':'f','requiresCompatibilities':['FARGATE'],'networkMode':'awsvpc'` + size + `,'containerDefinitions':[{'name':'a','image':'123456789012.dkr.ecr.eu-west-1.amazonaws.com/x'}]}`,
			"Fargate requires task definition to have execution role ARN to support ECR images."},
		{"fargate host path", fargate("", size+`,'volumes':[{'name':'v','host':{'sourcePath':'/x'}}]`), "Fargate compatible task definitions do not support sourcePath"},
		{"fargate storage", fargate("", size+`,'ephemeralStorage':{'sizeInGiB':21}`), ""},
		{"fargate little storage", fargate("", size+`,'ephemeralStorage':{'sizeInGiB':20}`), "Ephemeral storage size must be between 21 GiB and 200 GiB."},
		{"fargate much storage", fargate("", size+`,'ephemeralStorage':{'sizeInGiB':201}`), "Ephemeral storage size must be between 21 GiB and 200 GiB."},
		{"storage of EC2", app("", `'ephemeralStorage':{'sizeInGiB':30}`), "Ephemeral storage is only supported for task definitions that require the compatibility FARGATE."},
		{"volume of the launch", app("", `'volumes':[{'name':'v','configuredAtLaunch':true},{'name':'w','configuredAtLaunch':false}]`), ""},
		{"volume of the launch and the host", app("", `'volumes':[{'name':'v','configuredAtLaunch':true,'host':{'sourcePath':'/x'}}]`), "Volume 'v' cannot be configuredAtLaunch and have another configuration."},
		{"volumes of the launch", app("", `'volumes':[{'name':'v','configuredAtLaunch':true},{'name':'w','configuredAtLaunch':true}]`), "Only one volume can be configuredAtLaunch, not both 'v' and 'w'."},
		{"fargate privileged", fargate(`'privileged':true`, size), "Fargate compatible task definitions do not support privileged"},

		{"too big", app(`'environment':[{'name':'X','value':'`+strings.Repeat("x", 65536)+`'}]`, ""), "Actual length: 'N'. Max allowed length is '65536' bytes."},

		{"constraint", app("", `'placementConstraints':[{'type':'memberOf','expression':'attribute:zone in [a, b]'}]`), ""},
		{"constraint that is none", app("", `'placementConstraints':[{'type':'memberOf','expression':'zone == a'}]`),
			`Invalid placement constraint expression 'zone == a': expected attribute:NAME, got "zone".`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			err := taskdef.Validate(read(t, tt.definition))
			if tt.want == "" {
				if err != nil {
					t.Fatalf("Validate = %v, want nil", err)
				}
				return
			}
			client := new(types.ClientException)
			if !errors.As(err, &client) {
				t.Fatalf("Validate = %v, want a ClientException %q", err, tt.want)
			}
			got := *client.Message
			if tt.name == "too big" {
				got = "Actual length: 'N'" + got[strings.Index(got, ". Max"):]
			}
			if got != tt.want {
				t.Errorf("Validate = %q, want %q", got, tt.want)
			}
		})
	}
}

// Every member that malote does not do is refused by its name.
func TestRefused(t *testing.T) {
	t.Parallel()
	for member, definition := range map[string]string{
		"containerDefinitions[0].credentialSpecs":                          `'c':{'credentialSpecs':['credentialspec:x']}`,
		"containerDefinitions[0].resourceRequirements":                     `'c':{'resourceRequirements':[{'type':'GPU','value':'1'}]}`,
		"containerDefinitions[0].versionConsistency: enabled":              `'c':{'versionConsistency':'enabled'}`,
		"containerDefinitions[0].dockerSecurityOptions[0]: credentialspec": `'c':{'dockerSecurityOptions':['credentialspec:x']}`,
		"volumes[v].efsVolumeConfiguration":                                `'t':{'volumes':[{'name':'v','efsVolumeConfiguration':{'fileSystemId':'fs-1'}}]}`,
		"volumes[v].dockerVolumeConfiguration.labels":                      `'t':{'volumes':[{'name':'v','dockerVolumeConfiguration':{'scope':'task','driver':'local','labels':{'a':'b'}}}]}`,
		"volumes[v].fsxWindowsFileServerVolumeConfiguration":               `'t':{'volumes':[{'name':'v','fsxWindowsFileServerVolumeConfiguration':{'fileSystemId':'fs-1','rootDirectory':'/'}}]}`,
		"inferenceAccelerators":                                            `'t':{'inferenceAccelerators':[{'deviceName':'d','deviceType':'t'}]}`,
		"proxyConfiguration":                                               `'t':{'proxyConfiguration':{'containerName':'app'}}`,
		"enableFaultInjection":                                             `'t':{'enableFaultInjection':true}`,
		"requiresCompatibilities: MANAGED_INSTANCES":                       `'t':{'requiresCompatibilities':['MANAGED_INSTANCES']}`,
		"runtimePlatform.operatingSystemFamily: WINDOWS_SERVER_2022_CORE":  `'t':{'runtimePlatform':{'operatingSystemFamily':'WINDOWS_SERVER_2022_CORE'}}`,
	} {
		inner := definition[strings.Index(definition, "{")+1 : len(definition)-1]
		text := `{'family':'f','containerDefinitions':[{'name':'app','image':'i','memory':9,` + inner + `}]}`
		if strings.HasPrefix(definition, "'t'") {
			text = `{'family':'f','containerDefinitions':[{'name':'app','image':'i','memory':9}],` + inner + `}`
		}
		want := "malote does not support '" + member + "'. Remove it from the task definition."
		if err := taskdef.Validate(read(t, text)); err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("Validate = %v, want %q", err, want)
		}
	}
}

// A new member of the SDK must be decided on: done by the engine, or refused.
func TestEveryMemberIsKnown(t *testing.T) {
	t.Parallel()
	known := map[reflect.Type]string{
		reflect.TypeFor[types.ContainerDefinition](): "Command Cpu CredentialSpecs DependsOn DisableNetworking DnsSearchDomains DnsServers DockerLabels " +
			"DockerSecurityOptions EntryPoint Environment EnvironmentFiles Essential ExtraHosts FirelensConfiguration HealthCheck Hostname Image " +
			"Interactive Links LinuxParameters LogConfiguration Memory MemoryReservation MountPoints Name PortMappings Privileged PseudoTerminal " +
			"ReadonlyRootFilesystem RepositoryCredentials ResourceRequirements RestartPolicy Secrets StartTimeout StopTimeout SystemControls Ulimits " +
			"User VersionConsistency VolumesFrom WorkingDirectory",
		reflect.TypeFor[ecs.RegisterTaskDefinitionInput](): "ContainerDefinitions Family Cpu EnableFaultInjection EphemeralStorage ExecutionRoleArn " +
			"InferenceAccelerators IpcMode Memory NetworkMode PidMode PlacementConstraints ProxyConfiguration RequiresCompatibilities RuntimePlatform " +
			"Tags TaskRoleArn Volumes",
		reflect.TypeFor[types.Volume]():          "ConfiguredAtLaunch DockerVolumeConfiguration EfsVolumeConfiguration FsxWindowsFileServerVolumeConfiguration Host Name S3filesVolumeConfiguration",
		reflect.TypeFor[types.LinuxParameters](): "Capabilities Devices InitProcessEnabled MaxSwap SharedMemorySize Swappiness Tmpfs",
	}
	for structure, names := range known {
		for i := range structure.NumField() {
			f := structure.Field(i)
			if f.IsExported() && !f.Anonymous && !slices.Contains(strings.Fields(names), f.Name) {
				t.Errorf("%s has a member %s that nobody decided on", structure, f.Name)
			}
		}
	}
}

func TestFargateSizes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		cpu, memory string
		ok          bool
	}{
		{"256", "512", true}, {"256", "2048", true}, {"256", "3072", false}, {".25 vCPU", "0.5 GB", true},
		{"512", "1024", true}, {"512", "512", false}, {"512", "1536", false}, {"1024", "8192", true}, {"1024", "9216", false},
		{"2048", "4096", true}, {"2048", "16384", true}, {"4096", "30720", true}, {"4096", "31744", false},
		{"8192", "16384", true}, {"8192", "18432", false}, {"8192", "61440", true}, {"16384", "122880", true}, {"16384", "36864", false}, {"300", "1024", false},
	} {
		in := read(t, fmt.Sprintf(`{'family':'f','cpu':'%s','memory':'%s','networkMode':'awsvpc','requiresCompatibilities':['FARGATE'],'containerDefinitions':[{'name':'a','image':'i'}]}`, tt.cpu, tt.memory))
		if err := taskdef.Validate(in); (err == nil) != tt.ok {
			t.Errorf("%s with %s: %v, want ok = %v", tt.cpu, tt.memory, err, tt.ok)
		}
	}
}

func TestDefinition(t *testing.T) {
	t.Parallel()
	in := read(t, `{'family':'web','cpu':'1 vCPU','memory':'2GB','taskRoleArn':'arn:aws:iam::123456789012:role/t',
		'volumes':[{'name':'v'},{'name':'d','dockerVolumeConfiguration':{'driver':'local'}}],
		'containerDefinitions':[{'name':'app','image':'nginx','portMappings':[{'containerPort':80},{'containerPort':81,'hostPort':8081,'protocol':'udp'}]}]}`)
	before := read(t, `{'family':'x'}`)
	*before = *in
	got, err := taskdef.Definition(in)
	if err != nil {
		t.Fatal(err)
	}
	want := &types.TaskDefinition{
		Family: aws.String("web"), Status: "ACTIVE", TaskRoleArn: aws.String("arn:aws:iam::123456789012:role/t"),
		Cpu: aws.String("1024"), Memory: aws.String("2048"),
		Compatibilities:      []types.Compatibility{"EXTERNAL", "EC2"},
		PlacementConstraints: []types.TaskDefinitionPlacementConstraint{},
		RequiresAttributes: []types.Attribute{
			{Name: aws.String("com.amazonaws.ecs.capability.docker-remote-api.1.17")},
			{Name: aws.String("com.amazonaws.ecs.capability.task-iam-role")},
			{Name: aws.String("ecs.capability.docker-plugin.local")},
			{Name: aws.String("ecs.capability.task-cpu-mem-limit")},
		},
		Volumes: []types.Volume{
			{Name: aws.String("v"), Host: &types.HostVolumeProperties{}},
			{Name: aws.String("d"), DockerVolumeConfiguration: &types.DockerVolumeConfiguration{Driver: aws.String("local"), Scope: "task"}},
		},
		ContainerDefinitions: []types.ContainerDefinition{{
			Name: aws.String("app"), Image: aws.String("nginx"), Essential: aws.Bool(true),
			Environment: []types.KeyValuePair{}, MountPoints: []types.MountPoint{}, VolumesFrom: []types.VolumeFrom{}, SystemControls: []types.SystemControl{},
			PortMappings: []types.PortMapping{
				{ContainerPort: aws.Int32(80), HostPort: aws.Int32(0), Protocol: "tcp"},
				{ContainerPort: aws.Int32(81), HostPort: aws.Int32(8081), Protocol: "udp"},
			},
		}},
	}
	ignore := cmpopts.IgnoreUnexported(types.TaskDefinition{}, types.Attribute{}, types.Volume{}, types.HostVolumeProperties{},
		types.DockerVolumeConfiguration{}, types.ContainerDefinition{}, types.PortMapping{}, types.TaskDefinitionPlacementConstraint{})
	if diff := cmp.Diff(want, got, ignore); diff != "" {
		t.Errorf("Definition (-want +got):\n%s", diff)
	}
	if in.ContainerDefinitions[0].Essential != nil || in.Volumes[0].Host != nil {
		t.Error("Definition changed its argument")
	}
}

func TestDefinitionOfARouter(t *testing.T) {
	t.Parallel()
	d, err := taskdef.Definition(read(t, `{'family':'f','containerDefinitions':[
		{'name':'router','image':'i','memory':9,'firelensConfiguration':{'type':'fluentd','options':{'config-file-type':'file','config-file-value':'/x'}}},
		{'name':'app','image':'i','memory':9,'logConfiguration':{'logDriver':'awsfirelens'}}]}`))
	if err != nil {
		t.Fatal(err)
	}
	if got := aws.ToString(d.ContainerDefinitions[0].User); got != "0" {
		t.Errorf("the router's user = %q, want 0", got)
	}
	if d.ContainerDefinitions[1].User != nil {
		t.Error("another container has a user")
	}
	for _, want := range []string{"com.amazonaws.ecs.capability.logging-driver.awsfirelens", "ecs.capability.firelens.fluentd", "ecs.capability.firelens.options.config.file"} {
		if !slices.ContainsFunc(d.RequiresAttributes, func(a types.Attribute) bool { return *a.Name == want }) {
			t.Errorf("the definition does not require %s", want)
		}
	}
}

func TestRead(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) < 7 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		wrapped := `{"taskDefinition":` + string(text) + `,"tags":[{"key":"k","value":"v"}]}`
		if described := new(struct{ TaskDefinition json.RawMessage }); json.Unmarshal(text, described) == nil && described.TaskDefinition != nil {
			wrapped = string(text) // the answer of describe-task-definition as it is
		}
		for _, text := range []string{string(text), wrapped} {
			in, err := taskdef.Read(strings.NewReader(text))
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			if err := taskdef.Validate(in); err != nil {
				t.Errorf("%s: %v", file, err)
			}
			if strings.Contains(text, `"tags":[{"key":"k"`) != (len(in.Tags) == 1) {
				t.Errorf("%s: %d tags", file, len(in.Tags))
			}
		}
	}

	for _, tt := range []struct{ name, text, want string }{
		{"empty", ``, "task definition is empty"},
		{"no JSON", "{\n  oops", "line 2, column 3: invalid character 'o' looking for beginning of object key string"},
		{"cut short", `{"family":`, "line 1, column 10: the JSON ends too early"},
		{"two values", `{} {}`, "line 1, column 4: data after the task definition"},
		{"a list", `[]`, "a task definition must be a JSON object"},
		{"unknown", `{"familly":"a"}`, `unknown parameter: "familly", must be one of: containerDefinitions, cpu, enableFaultInjection, ephemeralStorage, executionRoleArn, family, inferenceAccelerators, ipcMode, memory, networkMode, pidMode, placementConstraints, proxyConfiguration, requiresCompatibilities, runtimePlatform, tags, taskRoleArn, volumes`},
		{"unknown within", `{"containerDefinitions":[{},{"secrets":[{"valuefrom":"x"}]}]}`, `unknown parameter in containerDefinitions[1].secrets[0]: "valuefrom", must be one of: name, valueFrom`},
		{"unknown null", `{"nothing":null}`, `unknown parameter: "nothing", must be one of`},
		{"wrong type", `{"containerDefinitions":[{"cpu":"10"}]}`, "invalid type for parameter containerDefinitions[0].cpu: got a string, want an integer"},
		{"fraction", `{"containerDefinitions":[{"cpu":1.5}]}`, "invalid type for parameter containerDefinitions[0].cpu: got a number, want an integer"},
		{"too large", `{"containerDefinitions":[{"cpu":4294967296}]}`, "invalid type for parameter containerDefinitions[0].cpu: got a number, want an integer"},
		{"null in a list", `{"containerDefinitions":[null]}`, "invalid type for parameter containerDefinitions[0]: got null, want an object"},
		{"enum", `{"networkMode":"vpc"}`, `invalid value "vpc" for parameter networkMode, must be one of: bridge, host, awsvpc, none`},
		{"beside", `{"taskDefinition":{},"other":1}`, `unknown parameter "other" beside taskDefinition, must be: tags`},
	} {
		_, err := taskdef.Read(strings.NewReader(tt.text))
		if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%s: Read = %v, want %s", tt.name, err, tt.want)
		}
	}
}

func TestReadKeepsUsersKeys(t *testing.T) {
	t.Parallel()
	in := read(t, `{'containerDefinitions':[{'cpu':1.0,'dockerLabels':{'Com.Example':'x'}}]}`)
	c := in.ContainerDefinitions[0]
	if c.DockerLabels["Com.Example"] != "x" || c.Cpu != 1 {
		t.Errorf("read %+v", c)
	}
}

func TestConstraint(t *testing.T) {
	t.Parallel()
	instance := map[string]string{"ecs.os-type": "linux", "zone": "a", "stack": "prod-1"}
	for expression, want := range map[string]bool{
		"attribute:ecs.os-type == linux":                             true,
		"attribute:ecs.os-type==linux and attribute:zone != b":       true,
		"attribute:zone in [b, c]":                                   false,
		"attribute:zone in [a,b]":                                    true,
		"attribute:zone !in [a,b]":                                   false,
		"attribute:stack =~ prod-.*":                                 true,
		"attribute:stack !~ prod":                                    true,
		"attribute:gpu exists":                                       false,
		"attribute:gpu !exists or attribute:zone == z":               true,
		"not (attribute:zone == a) or attribute:stack == 'prod-1'":   true,
		`!(attribute:zone == "a") && attribute:ecs.os-type == linux`: false,
	} {
		c, err := taskdef.ParseConstraint(expression)
		if err != nil {
			t.Errorf("%s: %v", expression, err)
			continue
		}
		if got := c.Matches(instance); got != want {
			t.Errorf("%s = %v, want %v", expression, got, want)
		}
	}
	for _, bad := range []string{"", "attribute:", "attribute:a", "attribute:a ==", "attribute:a = b", "(attribute:a == b", "attribute:a in b", "attribute:a in [b", "attribute:a =~ (", strings.Repeat("(", 100)} {
		if _, err := taskdef.ParseConstraint(bad); err == nil {
			t.Errorf("ParseConstraint(%q) = nil error", bad)
		}
	}
}
