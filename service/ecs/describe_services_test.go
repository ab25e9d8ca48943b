package ecs_test

import (
	"encoding/json"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/malote/malote/malotetest"
)

// A client that compares what it asked for with what it is answered finds the same: deployment
// settings with ECS's defaults in them, and those that ask for nothing.
func TestDeploymentConfigurationIsAnswered(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	client := ecs.NewFromConfig(sys.Config())
	define(t, client, "web", "", "")
	const breaker = `"deploymentCircuitBreaker":{"Enable":false,"Rollback":false,"ResetOnHealthyTask":true,"ThresholdConfiguration":{"Type":"BOUNDED_PERCENT","Value":50}}`
	for _, c := range []struct {
		name     string
		strategy types.SchedulingStrategy
		asked    *types.DeploymentConfiguration
		want     string
	}{
		{"replica", "REPLICA", nil, `{` + breaker + `,"maximumPercent":200,"minimumHealthyPercent":100,"strategy":"ROLLING","bakeTimeInMinutes":0}`},
		{"daemon", "DAEMON", nil, `{"maximumPercent":100,"minimumHealthyPercent":0}`},
		{"daemon-breaker", "DAEMON", &types.DeploymentConfiguration{DeploymentCircuitBreaker: new(types.DeploymentCircuitBreaker), Strategy: "ROLLING"},
			`{` + breaker + `,"maximumPercent":100,"minimumHealthyPercent":0,"strategy":"ROLLING"}`},
		{"nothing", "REPLICA", &types.DeploymentConfiguration{
			Alarms: &types.DeploymentAlarms{AlarmNames: []string{}}, BakeTimeInMinutes: aws.Int32(0),
			EarlySuccessCriteria: &types.DeploymentEarlySuccessCriteria{HealthyPercent: aws.Int32(80)},
		}, `{` + breaker + `,"maximumPercent":200,"minimumHealthyPercent":100,"strategy":"ROLLING","bakeTimeInMinutes":0,
			"alarms":{"AlarmNames":[],"Enable":false,"Rollback":false},"earlySuccessCriteria":{"Enable":false,"HealthyPercent":80,"SourceServiceRevisionCleanup":""}}`},
	} {
		in := &ecs.CreateServiceInput{ServiceName: &c.name, TaskDefinition: aws.String("web"), SchedulingStrategy: c.strategy, DeploymentConfiguration: c.asked}
		if c.strategy == "REPLICA" {
			in.DesiredCount = aws.Int32(0)
		}
		create(t, client, in)
		want := new(types.DeploymentConfiguration)
		if err := json.Unmarshal([]byte(c.want), want); err != nil {
			t.Fatal(err)
		}
		// What is answered asks for itself, too.
		for range 2 {
			got := service(t, client, c.name).DeploymentConfiguration
			if encoded(t, got) != encoded(t, want) {
				t.Errorf("%s: answered %s, want %s", c.name, encoded(t, got), encoded(t, want))
			}
			if _, err := client.UpdateService(t.Context(), &ecs.UpdateServiceInput{Service: &c.name, DeploymentConfiguration: got}); err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
		}
		if v := service(t, client, c.name); len(v.Deployments) != 1 {
			t.Errorf("%s: settings of deployments made one: %s", c.name, text(&v))
		}
	}
	_, err := client.UpdateService(t.Context(), &ecs.UpdateServiceInput{Service: aws.String("replica"), DeploymentConfiguration: &types.DeploymentConfiguration{BakeTimeInMinutes: aws.Int32(-1)}})
	wantError(t, err, "InvalidParameterException", "malote does not support 'deploymentConfiguration.bakeTimeInMinutes'.")
}

func encoded(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// A service has the platform version that was asked for, its deployments the one that LATEST is.
func TestPlatformVersionOfAService(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	client := ecs.NewFromConfig(sys.Config())
	define(t, client, "web", "", `'networkMode':'awsvpc','requiresCompatibilities':['FARGATE'],'cpu':'256','memory':'512'`)
	create(t, client, &ecs.CreateServiceInput{
		ServiceName: aws.String("web"), TaskDefinition: aws.String("web"), DesiredCount: aws.Int32(0), LaunchType: types.LaunchTypeFargate,
		NetworkConfiguration: &types.NetworkConfiguration{AwsvpcConfiguration: &types.AwsVpcConfiguration{Subnets: []string{"subnet-1"}}},
	})
	for _, step := range []struct {
		ask, want   string
		force, made bool
	}{
		{"", "LATEST", false, false},
		{"LATEST", "LATEST", false, false},
		{"", "LATEST", true, true},
		{"1.4.0", "1.4.0", false, true},
		{"", "1.4.0", true, true},
		{"LATEST", "LATEST", false, true},
	} {
		before := service(t, client, "web")
		in := &ecs.UpdateServiceInput{Service: aws.String("web"), ForceNewDeployment: step.force}
		if step.ask != "" {
			in.PlatformVersion = &step.ask
		}
		out, err := client.UpdateService(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range []types.Service{*out.Service, service(t, client, "web")} {
			d := v.Deployments[0]
			if aws.ToString(v.PlatformVersion) != step.want || aws.ToString(d.PlatformVersion) != "1.4.0" || aws.ToString(d.PlatformFamily) != "Linux" {
				t.Errorf("asked for %q: the service has %q, its deployment %q", step.ask, aws.ToString(v.PlatformVersion), aws.ToString(d.PlatformVersion))
			}
			if made := *d.Id != *before.Deployments[0].Id; made != step.made {
				t.Errorf("asked for %q: a new deployment %v, want %v", step.ask, made, step.made)
			}
		}
	}
}
