package ecs_test

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/malote/malote/acs"
	"github.com/malote/malote/malotetest"
)

const launched = `'volumes':[{'name':'data','configuredAtLaunch':true}]`

// makers is a role that ECS may assume to make volumes.
func makers(t *testing.T, sys *malotetest.System) string {
	t.Helper()
	trust := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ecs.amazonaws.com"},"Action":"sts:AssumeRole"}]}`
	out, err := iam.NewFromConfig(sys.Config()).CreateRole(t.Context(), &iam.CreateRoleInput{RoleName: aws.String("makers"), AssumeRolePolicyDocument: &trust})
	if err != nil {
		t.Fatal(err)
	}
	return *out.Role.Arn
}

func taskVolume(role string, change func(*types.TaskManagedEBSVolumeConfiguration)) []types.TaskVolumeConfiguration {
	e := &types.TaskManagedEBSVolumeConfiguration{RoleArn: &role, SizeInGiB: aws.Int32(10)}
	if change != nil {
		change(e)
	}
	return []types.TaskVolumeConfiguration{{Name: aws.String("data"), ManagedEBSVolume: e}}
}

func TestATaskGetsTheVolumeOfItsLaunch(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	client := ecs.NewFromConfig(sys.Config())
	d := define(t, client, "web", "", launched)
	if diff := cmp.Diff([]types.Volume{{Name: aws.String("data"), ConfiguredAtLaunch: aws.Bool(true)}}, d.Volumes, cmpopts.IgnoreUnexported(types.Volume{})); diff != "" {
		t.Errorf("volumes of the definition: %s", diff)
	}
	e := register(t, sys, sys.Config())
	maker := makers(t, sys)
	task := run(t, client, &ecs.RunTaskInput{TaskDefinition: aws.String("web"), VolumeConfigurations: taskVolume(maker, func(v *types.TaskManagedEBSVolumeConfiguration) {
		v.Encrypted, v.KmsKeyId, v.FilesystemType, v.VolumeType = aws.Bool(true), aws.String("alias/data"), "ext4", aws.String("gp3")
		v.TerminationPolicy = &types.TaskManagedEBSVolumeTerminationPolicy{DeleteOnTermination: aws.Bool(true)}
	})})
	details := map[string]string{}
	for _, a := range task.Attachments {
		for _, d := range a.Details {
			details[*d.Name] = *d.Value
		}
	}
	id := details["volumeId"]
	if !regexp.MustCompile(`^vol-[0-9a-f]{17}$`).MatchString(id) {
		t.Errorf("volumeId = %q", id)
	}
	if diff := cmp.Diff(map[string]string{
		"volumeId": id, "volumeName": "data", "sizeInGiB": "10", "roleArn": maker, "encrypted": "true", "kmsKeyId": "alias/data", "filesystemType": "ext4",
		"volumeType": "gp3", "deleteOnTermination": "true",
	}, details); diff != "" {
		t.Errorf("attachment: %s", diff)
	}
	told := e.nextTask()
	if diff := cmp.Diff([]acs.Volume{{Name: "data", ID: id, SizeInGiB: 10, KMSKeyID: "alias/data"}}, told.Volumes); diff != "" {
		t.Errorf("the engine was told: %s", diff)
	}
	if c := told.InfrastructureRole; c == nil || c.RoleARN != maker || c.SessionToken == "" {
		t.Errorf("infrastructure role = %+v", c)
	}

	// The role of tasks is another one's to trust.
	task = run(t, client, &ecs.RunTaskInput{TaskDefinition: aws.String("web"), VolumeConfigurations: taskVolume(role(t, sys, "tasks", ""), nil)})
	for end := time.Now().Add(10 * time.Second); *task.LastStatus != "STOPPED" && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		task = describe(t, client, *task.TaskArn)
	}
	want := "(managedEBSVolume.roleArn) must exist, and its trust policy must allow sts:AssumeRole to the service ecs.amazonaws.com"
	if got := aws.ToString(task.StoppedReason); !strings.Contains(got, want) {
		t.Errorf("reason %q, want %q", got, want)
	}
}

func TestATaskTellsItsStorage(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	client := ecs.NewFromConfig(sys.Config())
	define(t, client, "vpc", "", `'networkMode':'awsvpc','requiresCompatibilities':['FARGATE'],'cpu':'256','memory':'512','ephemeralStorage':{'sizeInGiB':30}`)
	register(t, sys, sys.Config())
	in := &ecs.RunTaskInput{
		TaskDefinition: aws.String("vpc"), LaunchType: types.LaunchTypeFargate,
		NetworkConfiguration: &types.NetworkConfiguration{AwsvpcConfiguration: &types.AwsVpcConfiguration{Subnets: []string{"subnet-1"}}},
	}
	if s := run(t, client, in).EphemeralStorage; s == nil || s.SizeInGiB != 30 {
		t.Errorf("storage = %+v, want the definition's 30 GiB", s)
	}
	in.ClientToken, in.Overrides = nil, &types.TaskOverride{EphemeralStorage: &types.EphemeralStorage{SizeInGiB: 40}}
	if s := run(t, client, in).EphemeralStorage; s == nil || s.SizeInGiB != 40 {
		t.Errorf("storage = %+v, want the override's 40 GiB", s)
	}
}

func TestVolumeConfigurationsThatAreRefused(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	client := ecs.NewFromConfig(sys.Config())
	define(t, client, "web", "", launched)
	define(t, client, "plain", "", "")
	register(t, sys, sys.Config())
	role := makers(t, sys)
	type ebs = types.TaskManagedEBSVolumeConfiguration
	with := func(change func(*ebs)) []types.TaskVolumeConfiguration { return taskVolume(role, change) }
	const at = "malote does not support 'volumeConfigurations.managedEBSVolume."
	for _, tt := range []struct {
		definition string
		volumes    []types.TaskVolumeConfiguration
		want       string
	}{
		{"plain", with(nil), "Volume configuration provided but no matching configuredAtLaunch volume found in task definition."},
		{"web", nil, "The task definition has the configuredAtLaunch volume 'data', for which there is no volume configuration."},
		{"web", []types.TaskVolumeConfiguration{{Name: aws.String("other")}}, "Volume configuration provided but no matching"},
		{"web", append(with(nil), with(nil)...), "volumeConfigurations can have at most 1 item."},
		{"web", []types.TaskVolumeConfiguration{{Name: aws.String("data")}}, "The volume configuration of 'data' must have managedEBSVolume."},
		{"web", with(func(e *ebs) { e.SizeInGiB = nil }), "managedEBSVolume must have sizeInGiB or snapshotId."},
		{"web", with(func(e *ebs) { e.SizeInGiB = aws.Int32(0) }), "The sizeInGiB of managedEBSVolume must be between 1 and 16384."},
		{"web", with(func(e *ebs) { e.Encrypted = aws.Bool(false) }), at + "encrypted: false'"},
		{"web", with(func(e *ebs) { e.SnapshotId = aws.String("snap-1") }), at + "snapshotId'"},
		{"web", with(func(e *ebs) { e.Iops = aws.Int32(3000) }), at + "iops'"},
		{"web", with(func(e *ebs) { e.Throughput = aws.Int32(125) }), at + "throughput'"},
		{"web", with(func(e *ebs) { e.VolumeInitializationRate = aws.Int32(100) }), at + "volumeInitializationRate'"},
		{"web", with(func(e *ebs) { e.TagSpecifications = []types.EBSTagSpecification{{ResourceType: "volume"}} }), at + "tagSpecifications'"},
		{"web", with(func(e *ebs) { e.FilesystemType = "xfs" }), at + "filesystemType: xfs'"},
		{"web", with(func(e *ebs) { e.VolumeType = aws.String("fast") }), "Invalid volumeType: 'fast'."},
		{"web", with(func(e *ebs) {
			e.TerminationPolicy = &types.TaskManagedEBSVolumeTerminationPolicy{DeleteOnTermination: aws.Bool(false)}
		}), at + "terminationPolicy.deleteOnTermination: false'"},
	} {
		_, err := client.RunTask(t.Context(), &ecs.RunTaskInput{TaskDefinition: &tt.definition, VolumeConfigurations: tt.volumes})
		wantError(t, err, "InvalidParameterException", tt.want)
	}
	foreign := taskVolume("arn:aws:iam::111122223333:role/makers", nil)
	_, err := client.RunTask(t.Context(), &ecs.RunTaskInput{TaskDefinition: aws.String("web"), VolumeConfigurations: foreign})
	wantError(t, err, "AccessDeniedException", "Cross-account pass role is not allowed.")

	// To pass a role to tasks is not to pass it to ECS.
	bob := ecs.NewFromConfig(sys.User(t, "bob", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ecs:*","Resource":"*"},
		{"Effect":"Allow","Action":"iam:PassRole","Resource":"*","Condition":{"StringEquals":{"iam:PassedToService":"ecs-tasks.amazonaws.com"}}}]}`))
	_, err = bob.RunTask(t.Context(), &ecs.RunTaskInput{TaskDefinition: aws.String("web"), VolumeConfigurations: with(nil)})
	wantError(t, err, "AccessDeniedException", "User: arn:aws:iam::"+malotetest.Account+":user/bob is not authorized to perform: iam:PassRole on resource: "+role)
	_, err = bob.CreateService(t.Context(), &ecs.CreateServiceInput{
		ServiceName: aws.String("web"), TaskDefinition: aws.String("web"), DesiredCount: aws.Int32(0), VolumeConfigurations: serviceVolume(role, 10),
	})
	wantError(t, err, "AccessDeniedException", "User: arn:aws:iam::"+malotetest.Account+":user/bob is not authorized to perform: iam:PassRole on resource: "+role)
}

func serviceVolume(role string, size int32) []types.ServiceVolumeConfiguration {
	return []types.ServiceVolumeConfiguration{{Name: aws.String("data"), ManagedEBSVolume: &types.ServiceManagedEBSVolumeConfiguration{RoleArn: &role, SizeInGiB: &size}}}
}

func TestAServiceHasVolumes(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	client := ecs.NewFromConfig(sys.Config())
	define(t, client, "web", "", launched)
	define(t, client, "plain", "", "")
	role := makers(t, sys)
	e := register(t, sys, sys.Config())
	in := &ecs.CreateServiceInput{ServiceName: aws.String("web"), TaskDefinition: aws.String("web"), DesiredCount: aws.Int32(1)}
	_, err := client.CreateService(t.Context(), in)
	wantError(t, err, "InvalidParameterException", "The task definition has the configuredAtLaunch volume 'data'")
	in.VolumeConfigurations = serviceVolume(role, 10)
	first := create(t, client, in)
	if got := e.nextTask().Volumes; len(got) != 1 || got[0].SizeInGiB != 10 {
		t.Errorf("volumes of the service's task: %+v", got)
	}
	update := func(in *ecs.UpdateServiceInput) types.Deployment {
		t.Helper()
		in.Service = aws.String("web")
		out, err := client.UpdateService(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		return out.Service.Deployments[0]
	}
	size := func(d types.Deployment) int32 {
		if len(d.VolumeConfigurations) == 0 {
			return 0
		}
		return *d.VolumeConfigurations[0].ManagedEBSVolume.SizeInGiB
	}
	if d := update(&ecs.UpdateServiceInput{VolumeConfigurations: serviceVolume(role, 10)}); *d.Id != *first.Deployments[0].Id {
		t.Error("the same volumes made a deployment")
	}
	second := update(&ecs.UpdateServiceInput{VolumeConfigurations: serviceVolume(role, 20)})
	if *second.Id == *first.Deployments[0].Id || size(second) != 20 {
		t.Errorf("another size: deployment %s with %d GiB", *second.Id, size(second))
	}
	if d := update(&ecs.UpdateServiceInput{ForceNewDeployment: true}); *d.Id == *second.Id || size(d) != 20 {
		t.Errorf("a forced deployment %s has %d GiB, want 20", *d.Id, size(d))
	}
	if d := update(&ecs.UpdateServiceInput{TaskDefinition: aws.String("plain")}); size(d) != 0 {
		t.Errorf("a definition without the volume has %d GiB", size(d))
	}
}
