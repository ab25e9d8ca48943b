package ecs_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"

	"github.com/malote/malote/acs"
	"github.com/malote/malote/malotetest"
	"github.com/malote/malote/service/ecs/taskdef"
)

const arnPrefix = "arn:aws:ecs:" + malotetest.Region + ":" + malotetest.Account + ":"

// wantError checks an API error's code and, if given, the beginning of its message.
func wantError(t *testing.T, err error, code, message string) {
	t.Helper()
	var api smithy.APIError
	if !errors.As(err, &api) || api.ErrorCode() != code || !strings.HasPrefix(api.ErrorMessage(), message) {
		t.Errorf("error = %v, want %s: %s", err, code, message)
	}
}

func input(t *testing.T, text string) *ecs.RegisterTaskDefinitionInput {
	t.Helper()
	in, err := taskdef.Read(strings.NewReader(strings.ReplaceAll(text, "'", `"`)))
	if err != nil {
		t.Fatal(err)
	}
	return in
}

// define registers a definition of one container "app".
func define(t *testing.T, client *ecs.Client, family, container, task string) *types.TaskDefinition {
	t.Helper()
	if container != "" {
		container = "," + container
	}
	if task != "" {
		task = "," + task
	}
	out, err := client.RegisterTaskDefinition(t.Context(), input(t, fmt.Sprintf(
		`{'family':'%s','containerDefinitions':[{'name':'app','image':'nginx','memory':128%s}]%s}`, family, container, task)))
	if err != nil {
		t.Fatal(err)
	}
	return out.TaskDefinition
}

// role makes a role that ECS may assume for tasks.
func role(t *testing.T, sys *malotetest.System, name, condition string) string {
	t.Helper()
	trust := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ecs-tasks.amazonaws.com"},"Action":"sts:AssumeRole"` + condition + `}]}`
	out, err := iam.NewFromConfig(sys.Config()).CreateRole(t.Context(), &iam.CreateRoleInput{RoleName: &name, AssumeRolePolicyDocument: &trust})
	if err != nil {
		t.Fatal(err)
	}
	return *out.Role.Arn
}

func describe(t *testing.T, client *ecs.Client, task string) types.Task {
	t.Helper()
	out, err := client.DescribeTasks(t.Context(), &ecs.DescribeTasksInput{Tasks: []string{task}, Include: []types.TaskField{"TAGS"}})
	if err != nil {
		t.Fatal(err)
	}
	if len(out.Tasks) != 1 {
		t.Fatalf("DescribeTasks = %d tasks, failures %v", len(out.Tasks), out.Failures)
	}
	return out.Tasks[0]
}

func run(t *testing.T, client *ecs.Client, in *ecs.RunTaskInput) types.Task {
	t.Helper()
	out, err := client.RunTask(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	if len(out.Tasks) != 1 {
		t.Fatalf("RunTask = %d tasks, failures %v", len(out.Tasks), failures(out.Failures))
	}
	return out.Tasks[0]
}

func failures(all []types.Failure) (reasons []string) {
	for _, f := range all {
		reasons = append(reasons, aws.ToString(f.Reason))
	}
	return reasons
}

func TestClusters(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	client := ecs.NewFromConfig(sys.Config())
	ctx := t.Context()

	described, err := client.DescribeClusters(ctx, &ecs.DescribeClustersInput{})
	if err != nil || len(described.Clusters) != 1 || *described.Clusters[0].Status != "ACTIVE" {
		t.Fatalf("the default cluster = %+v, %v", described, err)
	}
	created, err := client.CreateCluster(ctx, &ecs.CreateClusterInput{
		ClusterName: aws.String("web"), Tags: []types.Tag{{Key: aws.String("team"), Value: aws.String("a")}},
		Settings: []types.ClusterSetting{{Name: "containerInsights", Value: aws.String("disabled")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := *created.Cluster.ClusterArn; got != arnPrefix+"cluster/web" {
		t.Errorf("ARN = %s", got)
	}
	if _, err := client.CreateCluster(ctx, &ecs.CreateClusterInput{ClusterName: aws.String("web")}); err != nil {
		t.Errorf("creating it again: %v", err)
	}
	described, err = client.DescribeClusters(ctx, &ecs.DescribeClustersInput{
		Clusters: []string{*created.Cluster.ClusterArn, "none"}, Include: []types.ClusterField{"TAGS", "SETTINGS", "STATISTICS", "CONFIGURATIONS"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(described.Clusters) != 1 || *described.Clusters[0].Tags[0].Value != "a" || *described.Clusters[0].Settings[0].Value != "disabled" {
		t.Errorf("described %+v", described.Clusters)
	}
	if len(described.Failures) != 1 || *described.Failures[0].Reason != "MISSING" || *described.Failures[0].Arn != arnPrefix+"cluster/none" {
		t.Errorf("failures %+v", described.Failures)
	}
	list, err := client.ListClusters(ctx, &ecs.ListClustersInput{MaxResults: aws.Int32(1)})
	if err != nil || len(list.ClusterArns) != 1 || list.NextToken == nil {
		t.Fatalf("first page = %+v, %v", list, err)
	}
	list, err = client.ListClusters(ctx, &ecs.ListClustersInput{NextToken: list.NextToken})
	if err != nil || len(list.ClusterArns) != 1 || list.ClusterArns[0] != arnPrefix+"cluster/web" || list.NextToken != nil {
		t.Fatalf("second page = %+v, %v", list, err)
	}

	bob := ecs.NewFromConfig(sys.User(t, "bob", malotetest.Allow(arnPrefix+"cluster/other", "ecs:*")))
	_, err = bob.DeleteCluster(ctx, &ecs.DeleteClusterInput{Cluster: aws.String("web")})
	wantError(t, err, "AccessDeniedException", "User: arn:aws:iam::123456789012:user/bob is not authorized to perform: ecs:DeleteCluster on resource: "+arnPrefix+"cluster/web")
	_, err = bob.DeleteCluster(ctx, &ecs.DeleteClusterInput{Cluster: aws.String("other")})
	wantError(t, err, "ClusterNotFoundException", "Cluster not found.")

	deleted, err := client.DeleteCluster(ctx, &ecs.DeleteClusterInput{Cluster: aws.String("web")})
	if err != nil || *deleted.Cluster.Status != "INACTIVE" {
		t.Fatalf("DeleteCluster = %+v, %v", deleted, err)
	}
	described, err = client.DescribeClusters(ctx, &ecs.DescribeClustersInput{Clusters: []string{"web"}})
	if err != nil || *described.Clusters[0].Status != "INACTIVE" {
		t.Errorf("a deleted cluster = %+v, %v", described, err)
	}
	_, err = client.ListTasks(ctx, &ecs.ListTasksInput{Cluster: aws.String("web")})
	wantError(t, err, "ClientException", "The referenced cluster was inactive.")

	for name, in := range map[string]*ecs.CreateClusterInput{
		"settings: containerInsights=enabled":       {Settings: []types.ClusterSetting{{Name: "containerInsights", Value: aws.String("enabled")}}},
		"configuration.executeCommandConfiguration": {Configuration: &types.ClusterConfiguration{ExecuteCommandConfiguration: &types.ExecuteCommandConfiguration{}}},
		"serviceConnectDefaults":                    {ServiceConnectDefaults: &types.ClusterServiceConnectDefaultsRequest{Namespace: aws.String("n")}},
	} {
		_, err := client.CreateCluster(ctx, in)
		wantError(t, err, "InvalidParameterException", "malote does not support '"+name+"'.")
	}
}

func TestTaskDefinitions(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	client := ecs.NewFromConfig(sys.Config())
	ctx := t.Context()

	in := input(t, `{'family':'web','containerDefinitions':[{'name':'app','image':'nginx','memory':128,'dockerLabels':{'Com.Example':'x'}}],'tags':[{'key':'team','value':'a'}]}`)
	out, err := client.RegisterTaskDefinition(ctx, in)
	if err != nil {
		t.Fatal(err)
	}
	d := out.TaskDefinition
	if *d.TaskDefinitionArn != arnPrefix+"task-definition/web:1" || d.Revision != 1 || d.Status != "ACTIVE" || *d.RegisteredBy != "arn:aws:iam::123456789012:user/admin" ||
		d.ContainerDefinitions[0].DockerLabels["Com.Example"] != "x" || !*d.ContainerDefinitions[0].Essential {
		t.Errorf("registered %+v", d)
	}
	define(t, client, "web", "", "")
	define(t, client, "api", "", "")

	for ref, want := range map[string]string{"web": "web:2", "web:1": "web:1", arnPrefix + "task-definition/web:1": "web:1"} {
		out, err := client.DescribeTaskDefinition(ctx, &ecs.DescribeTaskDefinitionInput{TaskDefinition: &ref, Include: []types.TaskDefinitionField{"TAGS"}})
		if err != nil {
			t.Fatal(err)
		}
		if got := *out.TaskDefinition.TaskDefinitionArn; got != arnPrefix+"task-definition/"+want {
			t.Errorf("DescribeTaskDefinition(%s) = %s, want %s", ref, got, want)
		}
		if want == "web:1" && len(out.Tags) != 1 {
			t.Errorf("tags = %v", out.Tags)
		}
	}
	for ref, want := range map[string]string{"none": "ClientException: Unable to describe task definition.", "web:3": "ClientException: Unable to describe task definition.", "web:x": "InvalidParameterException: Invalid revision number. Number: x"} {
		_, err := client.DescribeTaskDefinition(ctx, &ecs.DescribeTaskDefinitionInput{TaskDefinition: &ref})
		code, message, _ := strings.Cut(want, ": ")
		wantError(t, err, code, message)
	}

	list := func(in *ecs.ListTaskDefinitionsInput) (short []string) {
		t.Helper()
		out, err := client.ListTaskDefinitions(ctx, in)
		if err != nil {
			t.Fatal(err)
		}
		for _, arn := range out.TaskDefinitionArns {
			short = append(short, strings.TrimPrefix(arn, arnPrefix+"task-definition/"))
		}
		return short
	}
	if got := fmt.Sprint(list(&ecs.ListTaskDefinitionsInput{})); got != "[api:1 web:1 web:2]" {
		t.Errorf("list = %s", got)
	}
	if got := fmt.Sprint(list(&ecs.ListTaskDefinitionsInput{FamilyPrefix: aws.String("web"), Sort: "DESC"})); got != "[web:2 web:1]" {
		t.Errorf("list DESC = %s", got)
	}

	// The number of a revision that is gone is not given again.
	for _, revision := range []string{"web:1", "web:2"} {
		out, err := client.DeregisterTaskDefinition(ctx, &ecs.DeregisterTaskDefinitionInput{TaskDefinition: &revision})
		if err != nil || out.TaskDefinition.Status != "INACTIVE" || out.TaskDefinition.DeregisteredAt == nil {
			t.Fatalf("DeregisterTaskDefinition = %+v, %v", out, err)
		}
	}
	_, err = client.DescribeTaskDefinition(ctx, &ecs.DescribeTaskDefinitionInput{TaskDefinition: aws.String("web")})
	wantError(t, err, "ClientException", "Unable to describe task definition.")
	families, err := client.ListTaskDefinitionFamilies(ctx, &ecs.ListTaskDefinitionFamiliesInput{Status: "ACTIVE"})
	if err != nil || fmt.Sprint(families.Families) != "[api]" {
		t.Errorf("families = %v, %v", families, err)
	}
	deleted, err := client.DeleteTaskDefinitions(ctx, &ecs.DeleteTaskDefinitionsInput{TaskDefinitions: []string{"web:2", "api:1", "none:1"}})
	if err != nil || len(deleted.TaskDefinitions) != 1 || deleted.TaskDefinitions[0].Status != "DELETE_IN_PROGRESS" || len(deleted.Failures) != 2 {
		t.Fatalf("DeleteTaskDefinitions = %+v, %v", deleted, err)
	}
	if d := define(t, client, "web", "", ""); d.Revision != 3 {
		t.Errorf("revision = %d, want 3", d.Revision)
	}

	bob := ecs.NewFromConfig(sys.User(t, "bob", `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":"ecs:*","Resource":"*"},
		{"Effect":"Allow","Action":"iam:PassRole","Resource":"arn:aws:iam::123456789012:role/may","Condition":{"StringEquals":{"iam:PassedToService":"ecs-tasks.amazonaws.com"}}}]}`))
	withRole := input(t, `{'family':'r','taskRoleArn':'arn:aws:iam::123456789012:role/may','containerDefinitions':[{'name':'app','image':'nginx','memory':128}]}`)
	if _, err := bob.RegisterTaskDefinition(ctx, withRole); err != nil {
		t.Errorf("passing a role that bob may pass: %v", err)
	}
	withRole.ExecutionRoleArn = aws.String("arn:aws:iam::123456789012:role/maynot")
	_, err = bob.RegisterTaskDefinition(ctx, withRole)
	wantError(t, err, "AccessDeniedException", "User: arn:aws:iam::123456789012:user/bob is not authorized to perform: iam:PassRole on resource: arn:aws:iam::123456789012:role/maynot")
}

// A task from RunTask to STOPPED, with both roles' credentials, over a stream that breaks.
func TestLifeOfATask(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	client := ecs.NewFromConfig(sys.Config())
	ctx := t.Context()
	execution := role(t, sys, "execution", `,"Condition":{"StringEquals":{"aws:SourceAccount":"123456789012"},"ArnLike":{"aws:SourceArn":"arn:aws:ecs:us-east-1:123456789012:*"}}`)
	role(t, sys, "application", "")
	define(t, client, "web", `'healthCheck':{'command':['CMD','true']}`, `'executionRoleArn':'`+execution+`','taskRoleArn':'application'`)
	e := register(t, sys, sys.Config())
	if m := e.next(); !m.Synced {
		t.Fatalf("first message = %+v, want Synced", m)
	}

	in := &ecs.RunTaskInput{
		TaskDefinition: aws.String("web"), ClientToken: aws.String("once/once"), StartedBy: aws.String("me"),
		Tags: []types.Tag{{Key: aws.String("k"), Value: aws.String("v")}}, EnableECSManagedTags: true,
		Overrides: &types.TaskOverride{ContainerOverrides: []types.ContainerOverride{{Name: aws.String("app"), Environment: []types.KeyValuePair{{Name: aws.String("A"), Value: aws.String("b")}}}}},
	}
	task := run(t, client, in)
	if *task.LastStatus != "PENDING" || *task.DesiredStatus != "RUNNING" || *task.Group != "family:web" || task.LaunchType != "EC2" || len(task.Tags) != 2 {
		t.Errorf("task = %+v", task)
	}
	arn := *task.TaskArn
	id := arn[strings.LastIndex(arn, "/")+1:]
	if again := run(t, client, in); *again.TaskArn != arn {
		t.Errorf("the same client token began %s, want %s", *again.TaskArn, arn)
	}
	in.StartedBy = aws.String("you")
	_, err := client.RunTask(ctx, in)
	wantError(t, err, "ConflictException", "The clientToken has already been used")

	check := func(got *acs.Task) {
		t.Helper()
		if got.ARN != arn || *got.Definition.Family != "web" || got.Account != malotetest.Account || got.Region != malotetest.Region ||
			*got.Overrides.ContainerOverrides[0].Environment[0].Value != "b" || got.StartedBy != "me" {
			t.Errorf("sent %+v", got)
		}
		for name, c := range map[string]*acs.Credentials{"execution": got.ExecutionRole, "application": got.TaskRole} {
			cfg := sys.Config()
			cfg.Credentials = credentials.NewStaticCredentialsProvider(c.AccessKeyID, c.SecretAccessKey, c.SessionToken)
			who, err := sts.NewFromConfig(cfg).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
			if want := "arn:aws:sts::123456789012:assumed-role/" + name + "/" + id; err != nil || *who.Arn != want {
				t.Errorf("%s role's credentials are of %v, %v, want %s", name, who, err, want)
			}
		}
	}
	check(e.nextTask())
	e.connect()
	check(e.nextTask())
	if m := e.next(); !m.Synced {
		t.Errorf("after the tasks came %+v, want Synced", m)
	}

	pull := sys.Clock.Now().Truncate(time.Millisecond)
	e.submit(&ecs.SubmitTaskStateChangeInput{Task: &arn, Status: aws.String("RUNNING"), PullStartedAt: &pull, PullStoppedAt: &pull, Containers: []types.ContainerStateChange{{
		ContainerName: aws.String("app"), Status: aws.String("RUNNING"), RuntimeId: aws.String("c0ffee"), ImageDigest: aws.String("sha256:1"),
		NetworkBindings: []types.NetworkBinding{{BindIP: aws.String("0.0.0.0"), ContainerPort: aws.Int32(80), HostPort: aws.Int32(32768), Protocol: "tcp"}},
	}}})
	if err := ecs.NewTasksRunningWaiter(client).Wait(ctx, &ecs.DescribeTasksInput{Tasks: []string{arn}}, time.Minute); err != nil {
		t.Errorf("wait tasks-running: %v", err)
	}
	for body, want := range map[string]int{
		`{"TaskARN":"` + arn + `","Containers":{"app":"HEALTHY"}}`: http.StatusNoContent,
		`{"TaskARN":"x"}`: http.StatusBadRequest,
	} {
		response, err := e.request(ctx, http.MethodPost, "/acs/health", body)
		if err != nil || response.StatusCode != want {
			t.Errorf("POST /acs/health %s = %v, %v, want %d", body, response, err, want)
		}
		response.Body.Close()
	}
	got := describe(t, client, id)
	c := got.Containers[0]
	if got.StartedAt == nil || got.PullStartedAt == nil || got.HealthStatus != "HEALTHY" || c.HealthStatus != "HEALTHY" || got.Connectivity != "CONNECTED" ||
		*c.RuntimeId != "c0ffee" || *c.ImageDigest != "sha256:1" || *c.NetworkBindings[0].HostPort != 32768 || *c.Memory != "128" || *c.Cpu != "0" {
		t.Errorf("running task = %+v", got)
	}
	if got.Version <= task.Version {
		t.Errorf("version = %d, want more than %d", got.Version, task.Version)
	}

	bob := ecs.NewFromConfig(sys.User(t, "bob", malotetest.Allow("*", "ecs:DescribeTasks")))
	_, err = bob.StopTask(ctx, &ecs.StopTaskInput{Task: &arn})
	wantError(t, err, "AccessDeniedException", "User: arn:aws:iam::123456789012:user/bob is not authorized to perform: ecs:StopTask on resource: "+arn)

	stopped, err := client.StopTask(ctx, &ecs.StopTaskInput{Task: &id, Reason: aws.String("enough")})
	if err != nil || *stopped.Task.DesiredStatus != "STOPPED" {
		t.Fatalf("StopTask = %+v, %v", stopped, err)
	}
	if m := e.next(); m.Stop == nil || m.Stop.TaskARN != arn || m.Stop.Reason != "enough" {
		t.Fatalf("message = %+v, want Stop", m)
	}
	e.status(arn, "STOPPED", aws.Int32(143), "Essential container in task exited")
	if err := ecs.NewTasksStoppedWaiter(client).Wait(ctx, &ecs.DescribeTasksInput{Tasks: []string{arn}}, time.Minute); err != nil {
		t.Errorf("wait tasks-stopped: %v", err)
	}
	e.status(arn, "STOPPED", aws.Int32(1), "again") // acknowledged, and changes nothing
	got = describe(t, client, id)
	if got.StopCode != "UserInitiated" || *got.StoppedReason != "enough" || *got.Containers[0].ExitCode != 143 || *got.Containers[0].LastStatus != "STOPPED" || got.StoppedAt == nil || got.StoppingAt == nil {
		t.Errorf("stopped task = %+v", got)
	}
	if again, err := client.StopTask(ctx, &ecs.StopTaskInput{Task: &id}); err != nil || *again.Task.StoppedReason != "enough" {
		t.Errorf("stopping it again = %v, %v", again, err)
	}

	// Seen for an hour, gone after.
	sys.Clock.Advance(59 * time.Minute)
	describe(t, client, id)
	sys.Clock.Advance(20 * time.Minute)
	missing, err := client.DescribeTasks(ctx, &ecs.DescribeTasksInput{Tasks: []string{id}})
	if err != nil || len(missing.Failures) != 1 || *missing.Failures[0].Reason != "MISSING" || *missing.Failures[0].Arn != arn {
		t.Errorf("after an hour = %+v, %v", missing, err)
	}
}

func TestEndsOfTasks(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	client := ecs.NewFromConfig(sys.Config())
	ctx := t.Context()
	define(t, client, "web", "", "")
	e := register(t, sys, sys.Config())
	for _, tt := range []struct {
		name, reason string
		running      bool
		exit         *int32
		code         types.TaskStopCode
		want         string
	}{
		{"exited", "", true, aws.Int32(0), "EssentialContainerExited", "Essential container in task exited"},
		{"exited at once", "Essential container in task exited", false, aws.Int32(1), "EssentialContainerExited", "Essential container in task exited"},
		{"no secret", "ResourceInitializationError: unable to pull secrets", false, nil, "TaskFailedToStart", "ResourceInitializationError: unable to pull secrets"},
		{"no image", "CannotPullContainerError: no such image", false, nil, "TaskFailedToStart", "CannotPullContainerError: no such image"},
		{"nothing said", "", false, nil, "TaskFailedToStart", "Task failed to start"},
	} {
		arn := *run(t, client, &ecs.RunTaskInput{TaskDefinition: aws.String("web")}).TaskArn
		e.nextTask()
		if tt.running {
			e.status(arn, "RUNNING", nil, "")
		}
		e.status(arn, "STOPPED", tt.exit, tt.reason)
		if got := describe(t, client, arn); got.StopCode != tt.code || *got.StoppedReason != tt.want {
			t.Errorf("%s: stopped with %s, %q, want %s, %q", tt.name, got.StopCode, *got.StoppedReason, tt.code, tt.want)
		}
	}

	t.Run("a role that cannot be assumed", func(t *testing.T) {
		closed := role(t, sys, "closed", `,"Condition":{"StringEquals":{"aws:SourceAccount":"999999999999"}}`)
		for _, arn := range []string{closed, "arn:aws:iam::123456789012:role/none"} {
			define(t, client, "denied", "", `'taskRoleArn':'`+arn+`'`)
			task := run(t, client, &ecs.RunTaskInput{TaskDefinition: aws.String("denied")})
			if err := ecs.NewTasksStoppedWaiter(client, func(o *ecs.TasksStoppedWaiterOptions) { o.MinDelay = 10 * time.Millisecond }).Wait(
				ctx, &ecs.DescribeTasksInput{Tasks: []string{*task.TaskArn}}, time.Minute); err != nil {
				t.Fatal(err)
			}
			got := describe(t, client, *task.TaskArn)
			if want := "ECS was unable to assume the role '" + arn + "' that was provided for this task. Please verify"; got.StopCode != "TaskFailedToStart" || !strings.HasPrefix(*got.StoppedReason, want) {
				t.Errorf("stopped with %s, %q, want %q", got.StopCode, *got.StoppedReason, want)
			}
		}
	})

	t.Run("stopped before an engine heard of it", func(t *testing.T) {
		e := registerOnly(t, sys, sys.Config())
		started, err := client.StartTask(ctx, &ecs.StartTaskInput{TaskDefinition: aws.String("web"), ContainerInstances: []string{e.instance}})
		if err != nil || len(started.Tasks) != 1 {
			t.Fatalf("StartTask = %+v, %v", started, err)
		}
		out, err := client.StopTask(ctx, &ecs.StopTaskInput{Task: started.Tasks[0].TaskArn})
		if err != nil || *out.Task.LastStatus != "STOPPED" || *out.Task.StoppedReason != "Task stopped by user" {
			t.Fatalf("StopTask = %+v, %v", out, err)
		}
		e.connect()
		if m := e.next(); !m.Synced {
			t.Errorf("message = %+v, want Synced alone", m)
		}
	})
}

func TestPlacement(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	client := ecs.NewFromConfig(sys.Config())
	ctx := t.Context()
	define(t, client, "web", "", "")
	define(t, client, "port", `'portMappings':[{'containerPort':80,'hostPort':8080}]`, "")
	define(t, client, "ssh", `'portMappings':[{'containerPort':22,'hostPort':22}]`, "")
	define(t, client, "arm", "", `'runtimePlatform':{'cpuArchitecture':'ARM64'}`)
	define(t, client, "intel", "", `'runtimePlatform':{'cpuArchitecture':'X86_64','operatingSystemFamily':'LINUX'}`)
	define(t, client, "large", "", `'cpu':'2048'`)

	_, err := client.RunTask(ctx, &ecs.RunTaskInput{TaskDefinition: aws.String("web")})
	wantError(t, err, "InvalidParameterException", "No Container Instances were found in your cluster.")

	e := register(t, sys, sys.Config())
	all, err := client.RunTask(ctx, &ecs.RunTaskInput{TaskDefinition: aws.String("web"), Count: aws.Int32(10)})
	if err != nil || len(all.Tasks) != 8 || fmt.Sprint(failures(all.Failures)) != "[RESOURCE:MEMORY]" || *all.Failures[0].Arn != e.instance {
		t.Fatalf("ten tasks of 128 MiB on 1024: %d, failures %v, %v", len(all.Tasks), failures(all.Failures), err)
	}
	instances, err := client.DescribeContainerInstances(ctx, &ecs.DescribeContainerInstancesInput{ContainerInstances: []string{e.instance, "none"}})
	if err != nil {
		t.Fatal(err)
	}
	if len(instances.Failures) != 1 || *instances.Failures[0].Reason != "MISSING" {
		t.Errorf("failures = %+v", instances.Failures)
	}
	i := instances.ContainerInstances[0]
	if !i.AgentConnected || i.PendingTasksCount != 8 || i.RemainingResources[1].IntegerValue != 0 || i.RegisteredResources[1].IntegerValue != 1024 {
		t.Errorf("instance = %+v", i)
	}
	_, err = client.DeregisterContainerInstance(ctx, &ecs.DeregisterContainerInstanceInput{ContainerInstance: &e.instance})
	wantError(t, err, "InvalidParameterException", "Found running tasks on the instance.")
	_, err = client.DeleteCluster(ctx, &ecs.DeleteClusterInput{Cluster: aws.String("default")})
	wantError(t, err, "ClusterContainsContainerInstancesException", "The Cluster cannot be deleted")
	for _, task := range all.Tasks {
		if _, err := client.StopTask(ctx, &ecs.StopTaskInput{Task: task.TaskArn}); err != nil {
			t.Fatal(err)
		}
		e.status(*task.TaskArn, "STOPPED", nil, "")
	}

	reasons := func(in *ecs.RunTaskInput) string {
		t.Helper()
		out, err := client.RunTask(ctx, in)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(len(out.Tasks), failures(out.Failures))
	}
	for _, tt := range []struct{ definition, want string }{
		{"large", "0 [RESOURCE:CPU]"}, {"arm", "0 [ATTRIBUTE]"}, {"intel", "1 []"}, {"ssh", "0 [RESOURCE:PORTS]"}, {"port", "1 []"}, {"port", "0 [RESOURCE:PORTS]"},
	} {
		if got := reasons(&ecs.RunTaskInput{TaskDefinition: &tt.definition}); got != tt.want {
			t.Errorf("running %s = %s, want %s", tt.definition, got, tt.want)
		}
	}
	web := aws.String("web")
	if got := reasons(&ecs.RunTaskInput{TaskDefinition: web, PlacementConstraints: []types.PlacementConstraint{{Type: "memberOf", Expression: aws.String("attribute:zone == b")}}}); got != "0 [MemberOf placement constraint unsatisfied.]" {
		t.Errorf("memberOf = %s", got)
	}
	distinct := &ecs.RunTaskInput{TaskDefinition: web, Count: aws.Int32(2), Group: aws.String("g"), PlacementConstraints: []types.PlacementConstraint{{Type: "distinctInstance"}}}
	if got := reasons(distinct); got != "1 [DistinctInstance placement constraint unsatisfied.]" {
		t.Errorf("distinctInstance = %s", got)
	}

	two := register(t, sys, sys.Config())
	if got := *run(t, client, &ecs.RunTaskInput{TaskDefinition: web}).ContainerInstanceArn; got != two.instance {
		t.Errorf("placed on %s, want the empty %s", got, two.instance)
	}
	// Made anew each time: the SDK's client keeps its client token in it.
	binpack := func() *ecs.RunTaskInput {
		return &ecs.RunTaskInput{TaskDefinition: web, PlacementStrategy: []types.PlacementStrategy{{Type: "binpack", Field: aws.String("memory")}}}
	}
	if got := *run(t, client, binpack()).ContainerInstanceArn; got != e.instance {
		t.Errorf("packed on %s, want the fuller %s", got, e.instance)
	}
	started, err := client.StartTask(ctx, &ecs.StartTaskInput{TaskDefinition: web, ContainerInstances: []string{two.instance, strings.Repeat("0", 32)}})
	if err != nil || len(started.Tasks) != 1 || fmt.Sprint(failures(started.Failures)) != "[MISSING]" {
		t.Errorf("StartTask = %+v, %v", started, err)
	}

	if _, err := client.UpdateContainerInstancesState(ctx, &ecs.UpdateContainerInstancesStateInput{ContainerInstances: []string{e.instance}, Status: "DRAINING"}); err != nil {
		t.Fatal(err)
	}
	if got := *run(t, client, binpack()).ContainerInstanceArn; got != two.instance {
		t.Errorf("placed on %s, which drains", got)
	}
	list, err := client.ListContainerInstances(ctx, &ecs.ListContainerInstancesInput{Status: "ACTIVE", Filter: aws.String("attribute:zone == a")})
	if err != nil || len(list.ContainerInstanceArns) != 1 || list.ContainerInstanceArns[0] != two.instance {
		t.Errorf("active instances = %v, %v", list, err)
	}

	e.hangUp()
	two.hangUp()
	sys.Clock.Advance(5 * time.Minute)
	if got := reasons(&ecs.RunTaskInput{TaskDefinition: web}); !strings.Contains(got, "AGENT") || !strings.Contains(got, "INACTIVE") {
		t.Errorf("with no engine connected = %s", got)
	}
	out, err := client.DeregisterContainerInstance(ctx, &ecs.DeregisterContainerInstanceInput{ContainerInstance: &two.instance, Force: aws.Bool(true)})
	if err != nil || *out.ContainerInstance.Status != "INACTIVE" {
		t.Fatalf("DeregisterContainerInstance = %+v, %v", out, err)
	}
	if got := describe(t, client, *started.Tasks[0].TaskArn); *got.LastStatus != "STOPPED" || got.StopCode != "TerminationNotice" {
		t.Errorf("a task of a deregistered instance = %+v", got)
	}
}

func TestRunTaskRefusals(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	client := ecs.NewFromConfig(sys.Config())
	ctx := t.Context()
	execution := role(t, sys, "execution", "")
	define(t, client, "web", `'secrets':[{'name':'S','valueFrom':'p'}],'memoryReservation':64`, `'executionRoleArn':'`+execution+`'`)
	define(t, client, "vpc", "", `'networkMode':'awsvpc','requiresCompatibilities':['FARGATE','EC2'],'cpu':'256','memory':'512'`)
	define(t, client, "old", "", "")
	_, err := client.RegisterTaskDefinition(ctx, &ecs.RegisterTaskDefinitionInput{
		Family: aws.String("foreign"), TaskRoleArn: aws.String("arn:aws:iam::111122223333:role/r"),
		ContainerDefinitions: []types.ContainerDefinition{{Name: aws.String("app"), Image: aws.String("app"), Memory: aws.Int32(64)}},
	})
	wantError(t, err, "AccessDeniedException", "Cross-account pass role is not allowed.")
	if _, err := client.DeregisterTaskDefinition(ctx, &ecs.DeregisterTaskDefinitionInput{TaskDefinition: aws.String("old:1")}); err != nil {
		t.Fatal(err)
	}
	register(t, sys, sys.Config())

	network := &types.NetworkConfiguration{AwsvpcConfiguration: &types.AwsVpcConfiguration{Subnets: []string{"subnet-1"}, SecurityGroups: []string{"sg-1"}}}
	override := func(o types.ContainerOverride) *types.TaskOverride {
		if o.Name == nil {
			o.Name = aws.String("app")
		}
		return &types.TaskOverride{ContainerOverrides: []types.ContainerOverride{o}}
	}
	pair := func(name, value string) []types.KeyValuePair {
		return []types.KeyValuePair{{Name: aws.String(name), Value: aws.String(value)}}
	}
	for _, tt := range []struct {
		name, definition string
		in               ecs.RunTaskInput
		want             string
	}{
		{"no definition", "none", ecs.RunTaskInput{}, "ClientException: TaskDefinition not found."},
		{"inactive", "old:1", ecs.RunTaskInput{}, "ClientException: TaskDefinition is inactive"},
		{"no cluster", "web", ecs.RunTaskInput{Cluster: aws.String("none")}, "ClusterNotFoundException: Cluster not found."},
		{"count", "web", ecs.RunTaskInput{Count: aws.Int32(11)}, "InvalidParameterException: count must be between 1 and 10."},
		{"unknown container", "web", ecs.RunTaskInput{Overrides: override(types.ContainerOverride{Name: aws.String("X")})}, "InvalidParameterException: Override for container named X is not a container in the TaskDefinition."},
		{"secret in environment", "web", ecs.RunTaskInput{Overrides: override(types.ContainerOverride{Environment: pair("S", "v")})}, "ClientException: The secret name must be unique and not shared with any new or existing environment variables set on the container, such as 'S'."},
		{"long", "web", ecs.RunTaskInput{Overrides: override(types.ContainerOverride{Environment: pair("A", strings.Repeat("x", 8192))})}, "InvalidParameterException: Container Overrides length must be at most 8192"},
		{"memory", "web", ecs.RunTaskInput{Overrides: override(types.ContainerOverride{Memory: aws.Int32(32)})}, "InvalidParameterException: Invalid setting for container 'app'."},
		{"environment files", "web", ecs.RunTaskInput{Overrides: override(types.ContainerOverride{EnvironmentFiles: []types.EnvironmentFile{{Type: "s3", Value: aws.String("v")}}})}, "InvalidParameterException: Invalid 'environmentFiles' override for container app. The value \"v\" is not the ARN of an object in S3 (arn:aws:s3:::bucket/key)."},
		{"network for a bridge", "web", ecs.RunTaskInput{NetworkConfiguration: network}, "InvalidParameterException: Network Configuration is not valid for the given networkMode of this task definition."},
		{"no network", "vpc", ecs.RunTaskInput{}, "InvalidParameterException: Network Configuration must be provided when networkMode 'awsvpc' is specified."},
		{"launch type", "web", ecs.RunTaskInput{LaunchType: "FARGATE"}, "InvalidParameterException: Task definition does not support launch_type FARGATE."},
		{"platform", "vpc", ecs.RunTaskInput{LaunchType: "FARGATE", PlatformVersion: aws.String("9"), NetworkConfiguration: network}, "PlatformUnknownException: The specified platform does not exist."},
		{"both", "vpc", ecs.RunTaskInput{LaunchType: "FARGATE", NetworkConfiguration: network, CapacityProviderStrategy: []types.CapacityProviderStrategyItem{{CapacityProvider: aws.String("FARGATE")}}}, "InvalidParameterException: Specifying both a launch type and capacity provider strategy is not supported. Remove one and try again."},
		{"group", "web", ecs.RunTaskInput{Group: aws.String("service:x")}, "InvalidParameterException: Invalid namespace for group"},
		{"reserved tag", "web", ecs.RunTaskInput{Tags: []types.Tag{{Key: aws.String("aws:x"), Value: aws.String("")}}}, "InvalidParameterException: Tag keys beginning with 'aws:' are reserved"},
		{"storage of EC2", "web", ecs.RunTaskInput{Overrides: &types.TaskOverride{EphemeralStorage: &types.EphemeralStorage{SizeInGiB: 30}}}, "InvalidParameterException: Ephemeral storage is only supported for task definitions that require the compatibility FARGATE."},
		{"little storage", "vpc", ecs.RunTaskInput{NetworkConfiguration: network, Overrides: &types.TaskOverride{EphemeralStorage: &types.EphemeralStorage{SizeInGiB: 20}}}, "InvalidParameterException: Ephemeral storage size must be between 21 GiB and 200 GiB."},
		{"foreign role", "web", ecs.RunTaskInput{Overrides: &types.TaskOverride{TaskRoleArn: aws.String("arn:aws:iam::210987654321:role/app")}}, "AccessDeniedException: Cross-account pass role is not allowed."},
	} {
		in := tt.in
		in.TaskDefinition = &tt.definition
		_, err := client.RunTask(ctx, &in)
		code, message, _ := strings.Cut(tt.want, ": ")
		if err == nil {
			t.Errorf("%s: no error, want %s", tt.name, tt.want)
			continue
		}
		wantError(t, err, code, message)
	}

	for policy, action := range map[string]string{
		malotetest.Allow("*", "iam:PassRole"):                            "ecs:RunTask",
		malotetest.Allow("*", "ecs:RunTask"):                             "iam:PassRole",
		malotetest.Allow("*", "ecs:RunTask", "iam:PassRole", "ecs:Poll"): "ecs:TagResource",
	} {
		bob := ecs.NewFromConfig(sys.User(t, "bob-"+strings.ReplaceAll(action, ":", "-"), policy))
		_, err := bob.RunTask(ctx, &ecs.RunTaskInput{TaskDefinition: aws.String("web"), Tags: []types.Tag{{Key: aws.String("k"), Value: aws.String("v")}}})
		wantError(t, err, "AccessDeniedException", "User: arn:aws:iam::123456789012:user/bob-"+strings.ReplaceAll(action, ":", "-")+" is not authorized to perform: "+action+" on resource: ")
	}

	task := run(t, client, &ecs.RunTaskInput{TaskDefinition: aws.String("vpc"), LaunchType: "FARGATE", NetworkConfiguration: network})
	if *task.PlatformVersion != "1.4.0" || task.Attachments[0].Details[0].Value == nil || *task.Attachments[0].Details[0].Value != "subnet-1" || *task.Cpu != "256" {
		t.Errorf("a Fargate task = %+v", task)
	}
	if _, err := client.PutClusterCapacityProviders(ctx, &ecs.PutClusterCapacityProvidersInput{
		Cluster: aws.String("default"), CapacityProviders: []string{"FARGATE", "FARGATE_SPOT"},
		DefaultCapacityProviderStrategy: []types.CapacityProviderStrategyItem{{CapacityProvider: aws.String("FARGATE_SPOT"), Base: 1, Weight: 1}},
	}); err != nil {
		t.Fatal(err)
	}
	task = run(t, client, &ecs.RunTaskInput{TaskDefinition: aws.String("vpc"), NetworkConfiguration: network})
	if aws.ToString(task.CapacityProviderName) != "FARGATE_SPOT" || task.LaunchType != "FARGATE" {
		t.Errorf("a task of the default strategy = %+v", task)
	}
}

func TestListTasks(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	client := ecs.NewFromConfig(sys.Config())
	ctx := t.Context()
	define(t, client, "web", "", "")
	define(t, client, "api", "", "")
	e := register(t, sys, sys.Config())
	web := *run(t, client, &ecs.RunTaskInput{TaskDefinition: aws.String("web"), StartedBy: aws.String("me")}).TaskArn
	api := *run(t, client, &ecs.RunTaskInput{TaskDefinition: aws.String("api")}).TaskArn
	ended := *run(t, client, &ecs.RunTaskInput{TaskDefinition: aws.String("api")}).TaskArn
	for range 3 {
		e.nextTask()
	}
	e.status(ended, "STOPPED", nil, "")
	for _, tt := range []struct {
		in   ecs.ListTasksInput
		want []string
	}{
		{ecs.ListTasksInput{}, []string{web, api}},
		{ecs.ListTasksInput{Family: aws.String("web")}, []string{web}},
		{ecs.ListTasksInput{StartedBy: aws.String("me")}, []string{web}},
		{ecs.ListTasksInput{DesiredStatus: "STOPPED"}, []string{ended}},
		{ecs.ListTasksInput{DesiredStatus: "PENDING"}, nil},
		{ecs.ListTasksInput{LaunchType: "FARGATE"}, nil},
		{ecs.ListTasksInput{ContainerInstance: &e.instance, Family: aws.String("api")}, []string{api}},
	} {
		got := map[string]bool{}
		pages := ecs.NewListTasksPaginator(client, &tt.in, func(o *ecs.ListTasksPaginatorOptions) { o.Limit = 1 })
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				t.Fatal(err)
			}
			for _, arn := range page.TaskArns {
				got[arn] = true
			}
		}
		if len(got) != len(tt.want) {
			t.Errorf("ListTasks = %v, want %v", got, tt.want)
		}
		for _, arn := range tt.want {
			if !got[arn] {
				t.Errorf("ListTasks = %v, want %v", got, tt.want)
			}
		}
	}
	_, err := client.ListTasks(ctx, &ecs.ListTasksInput{ServiceName: aws.String("s")})
	wantError(t, err, "ServiceNotFoundException", "Service not found.")
}

func TestTags(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	client := ecs.NewFromConfig(sys.Config())
	ctx := t.Context()
	define(t, client, "web", "", "")
	e := register(t, sys, sys.Config())
	task := run(t, client, &ecs.RunTaskInput{TaskDefinition: aws.String("web")})
	for _, arn := range []string{arnPrefix + "cluster/default", arnPrefix + "task-definition/web:1", e.instance, *task.TaskArn} {
		if _, err := client.TagResource(ctx, &ecs.TagResourceInput{ResourceArn: &arn, Tags: []types.Tag{
			{Key: aws.String("a"), Value: aws.String("1")}, {Key: aws.String("b"), Value: aws.String("2")}}}); err != nil {
			t.Fatalf("%s: %v", arn, err)
		}
		if _, err := client.UntagResource(ctx, &ecs.UntagResourceInput{ResourceArn: &arn, TagKeys: []string{"a", "none"}}); err != nil {
			t.Fatalf("%s: %v", arn, err)
		}
		out, err := client.ListTagsForResource(ctx, &ecs.ListTagsForResourceInput{ResourceArn: &arn})
		if err != nil || len(out.Tags) != 1 || *out.Tags[0].Key != "b" {
			t.Errorf("tags of %s = %+v, %v", arn, out, err)
		}
	}
	_, err := client.ListTagsForResource(ctx, &ecs.ListTagsForResourceInput{ResourceArn: aws.String(arnPrefix + "task/default/" + strings.Repeat("0", 32))})
	wantError(t, err, "ResourceNotFoundException", "")
	_, err = client.ListTagsForResource(ctx, &ecs.ListTagsForResourceInput{ResourceArn: aws.String("web")})
	wantError(t, err, "InvalidParameterException", "Invalid resource ARN: web")

	// A tag decides.
	bob := ecs.NewFromConfig(sys.User(t, "bob", `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"ecs:StopTask","Resource":"*","Condition":{"StringEquals":{"aws:ResourceTag/b":"2"}}}}`))
	other := run(t, client, &ecs.RunTaskInput{TaskDefinition: aws.String("web")})
	_, err = bob.StopTask(ctx, &ecs.StopTaskInput{Task: other.TaskArn})
	wantError(t, err, "AccessDeniedException", "User: ")
	if _, err := bob.StopTask(ctx, &ecs.StopTaskInput{Task: task.TaskArn}); err != nil {
		t.Errorf("stopping a task by its tag: %v", err)
	}
}

// The instance role's managed policy is all that an engine needs; without it there is
// no stream.
func TestEnginesRights(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	client := ecs.NewFromConfig(sys.Config())
	cfg := sys.Role(t, "instance", "")
	if _, err := iam.NewFromConfig(sys.Config()).AttachRolePolicy(t.Context(), &iam.AttachRolePolicyInput{
		RoleName: aws.String("instance"), PolicyArn: aws.String("arn:aws:iam::aws:policy/service-role/AmazonEC2ContainerServiceforEC2Role"),
	}); err != nil {
		t.Fatal(err)
	}
	define(t, client, "web", "", "")
	e := register(t, sys, cfg)
	task := run(t, client, &ecs.RunTaskInput{TaskDefinition: aws.String("web")})
	e.nextTask()
	e.status(*task.TaskArn, "RUNNING", nil, "")

	thief := *e
	thief.cfg = sys.User(t, "thief", malotetest.Allow("*", "ecs:Describe*"))
	for _, r := range []struct{ method, path, body string }{
		{http.MethodGet, "/acs?cluster=default&containerInstance=" + e.instance, ""},
		{http.MethodPost, "/acs/health", `{"TaskARN":"` + *task.TaskArn + `","Containers":{"app":"HEALTHY"}}`},
		{http.MethodPost, "/acs/secrets", `{"TaskARN":"` + *task.TaskArn + `","Held":[]}`},
		{http.MethodPost, "/acs/refreshes", `{"TaskARN":"` + *task.TaskArn + `","ID":"1"}`},
	} {
		response, err := thief.request(t.Context(), r.method, r.path, r.body)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != http.StatusBadRequest || response.Header.Get("X-Amzn-Errortype") != "AccessDeniedException" {
			t.Errorf("%s %s by a thief = %s, %s", r.method, r.path, response.Status, response.Header.Get("X-Amzn-Errortype"))
		}
	}
	// Another engine may do all of this, but for its own instance.
	other := *e
	other.cfg = sys.User(t, "other", malotetest.Allow("*", "ecs:*"))
	other.client = ecs.NewFromConfig(other.cfg)
	for _, r := range []struct{ method, path, body string }{
		{http.MethodGet, "/acs?cluster=default&containerInstance=" + e.instance, ""},
		{http.MethodPost, "/acs/health", `{"TaskARN":"` + *task.TaskArn + `","Containers":{"app":"UNHEALTHY"}}`},
		{http.MethodPost, "/acs/secrets", `{"TaskARN":"` + *task.TaskArn + `","Held":[]}`},
		{http.MethodPost, "/acs/refreshes", `{"TaskARN":"` + *task.TaskArn + `","ID":"1"}`},
	} {
		response, err := other.request(t.Context(), r.method, r.path, r.body)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != http.StatusBadRequest || response.Header.Get("X-Amzn-Errortype") != "AccessDeniedException" {
			t.Errorf("%s %s by another engine = %s, %s", r.method, r.path, response.Status, response.Header.Get("X-Amzn-Errortype"))
		}
	}
	for what, err := range map[string]error{
		"SubmitTaskStateChange": second(other.client.SubmitTaskStateChange(t.Context(), &ecs.SubmitTaskStateChangeInput{Task: task.TaskArn, Status: aws.String("STOPPED")})),
		"SubmitContainerStateChange": second(other.client.SubmitContainerStateChange(t.Context(), &ecs.SubmitContainerStateChangeInput{
			Task: task.TaskArn, ContainerName: aws.String("app"), Status: aws.String("STOPPED"),
		})),
		"RegisterContainerInstance": second(other.client.RegisterContainerInstance(t.Context(), &ecs.RegisterContainerInstanceInput{ContainerInstanceArn: &e.instance})),
	} {
		if denied := new(types.AccessDeniedException); !errors.As(err, &denied) {
			t.Errorf("%s by another engine: %v", what, err)
		}
	}
	endpoint, err := e.client.DiscoverPollEndpoint(t.Context(), &ecs.DiscoverPollEndpointInput{})
	if err != nil || *endpoint.Endpoint != sys.Endpoint() {
		t.Errorf("DiscoverPollEndpoint = %+v, %v", endpoint, err)
	}
}

func second[T any](_ T, err error) error { return err }
