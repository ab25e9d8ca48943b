package ecs_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/malote/malote/acs"
	"github.com/malote/malote/malotetest"
)

func TestAttributes(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	e := register(t, sys, sys.Config())
	client := e.client
	define(t, client, "web", "", "")
	attribute := func(name, value string) types.Attribute {
		a := types.Attribute{Name: &name, TargetId: &e.instance, TargetType: types.TargetTypeContainerInstance}
		if value != "" {
			a.Value = &value
		}
		return a
	}
	constraint := []types.PlacementConstraint{{Type: "memberOf", Expression: aws.String("attribute:stack == prod")}}
	none, err := client.RunTask(t.Context(), &ecs.RunTaskInput{TaskDefinition: aws.String("web"), PlacementConstraints: constraint})
	if err != nil || len(none.Failures) != 1 {
		t.Fatalf("RunTask before the attribute = %+v, %v", none, err)
	}
	if _, err := client.PutAttributes(t.Context(), &ecs.PutAttributesInput{Attributes: []types.Attribute{attribute("stack", "prod"), attribute("gpu", "")}}); err != nil {
		t.Fatal(err)
	}
	run(t, client, &ecs.RunTaskInput{TaskDefinition: aws.String("web"), PlacementConstraints: constraint})
	listed, err := client.ListAttributes(t.Context(), &ecs.ListAttributesInput{TargetType: "container-instance", AttributeName: aws.String("stack"), AttributeValue: aws.String("prod")})
	if err != nil || len(listed.Attributes) != 1 || *listed.Attributes[0].TargetId != e.instance {
		t.Errorf("ListAttributes = %+v, %v", listed, err)
	}
	all, err := client.ListAttributes(t.Context(), &ecs.ListAttributesInput{TargetType: "container-instance"})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, a := range all.Attributes {
		names = append(names, *a.Name)
	}
	if slices.Sort(names); !slices.Equal(names, []string{"ecs.cpu-architecture", "gpu", acs.CanRefresh, "stack", "zone"}) {
		t.Errorf("ListAttributes without a filter: %q", names)
	}
	// They stay when the engine registers again.
	if _, err := client.RegisterContainerInstance(t.Context(), &ecs.RegisterContainerInstanceInput{ContainerInstanceArn: &e.instance}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.DeleteAttributes(t.Context(), &ecs.DeleteAttributesInput{Attributes: []types.Attribute{attribute("stack", "other")}}); err != nil {
		t.Fatal(err)
	}
	run(t, client, &ecs.RunTaskInput{TaskDefinition: aws.String("web"), PlacementConstraints: constraint})
	if _, err := client.DeleteAttributes(t.Context(), &ecs.DeleteAttributesInput{Attributes: []types.Attribute{attribute("stack", "")}}); err != nil {
		t.Fatal(err)
	}
	none, err = client.RunTask(t.Context(), &ecs.RunTaskInput{TaskDefinition: aws.String("web"), PlacementConstraints: constraint})
	if err != nil || len(none.Failures) != 1 {
		t.Errorf("RunTask without the attribute = %+v, %v", none, err)
	}

	stranger := attribute("a", "b")
	stranger.TargetId = aws.String("0123456789abcdef0123456789abcdef")
	_, err = client.PutAttributes(t.Context(), &ecs.PutAttributesInput{Attributes: []types.Attribute{stranger}})
	wantError(t, err, "TargetNotFoundException", "")
	_, err = client.PutAttributes(t.Context(), &ecs.PutAttributesInput{Attributes: []types.Attribute{attribute("ecs.os-type", "x")}})
	wantError(t, err, "InvalidParameterException", "Invalid attribute name: 'ecs.os-type'.")
	var many []types.Attribute
	for n := range 10 {
		many = append(many, attribute(fmt.Sprint("n", n), "v"))
	}
	_, err = client.PutAttributes(t.Context(), &ecs.PutAttributesInput{Attributes: many})
	wantError(t, err, "AttributeLimitExceededException", "")
}

// What an engine states is an attribute as any, and may have ECS's own names.
func TestAttributesOfARegistration(t *testing.T) {
	t.Parallel()
	client := ecs.NewFromConfig(malotetest.New(t).Config())
	register := func(name, value string) error {
		_, err := client.RegisterContainerInstance(t.Context(), &ecs.RegisterContainerInstanceInput{
			Attributes: []types.Attribute{{Name: aws.String("ecs.os-type"), Value: aws.String("linux")}, {Name: &name, Value: &value}},
		})
		return err
	}
	if err := register(strings.Repeat("n", 128), `a b_-./\@:Z9`); err != nil {
		t.Error(err)
	}
	if err := register("ecs.capability.x", ""); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"", "a b", "é", strings.Repeat("n", 129)} {
		wantError(t, register(name, "x"), "InvalidParameterException", "Invalid attribute name: '"+name+"'.")
	}
	for _, value := range []string{" x", "x ", "a\nb", "é", strings.Repeat("v", 129)} {
		wantError(t, register("rack", value), "InvalidParameterException", "Invalid value of the attribute 'rack'")
	}
}

func TestAccountSettings(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	client := ecs.NewFromConfig(sys.Config())
	effective, err := client.ListAccountSettings(t.Context(), &ecs.ListAccountSettingsInput{EffectiveSettings: true, Name: "taskLongArnFormat"})
	if err != nil || len(effective.Settings) != 1 || *effective.Settings[0].Value != "enabled" {
		t.Fatalf("the effective setting = %+v, %v", effective, err)
	}
	count := func(want int) {
		t.Helper()
		if own, err := client.ListAccountSettings(t.Context(), &ecs.ListAccountSettingsInput{}); err != nil || len(own.Settings) != want {
			t.Errorf("own settings = %+v, %v; want %d", own, err, want)
		}
	}
	count(0)
	if _, err := client.PutAccountSetting(t.Context(), &ecs.PutAccountSettingInput{Name: "taskLongArnFormat", Value: aws.String("enabled")}); err != nil {
		t.Fatal(err)
	}
	count(1)
	if _, err := client.DeleteAccountSetting(t.Context(), &ecs.DeleteAccountSettingInput{Name: "taskLongArnFormat"}); err != nil {
		t.Fatal(err)
	}
	count(0)
	if out, err := client.PutAccountSettingDefault(t.Context(), &ecs.PutAccountSettingDefaultInput{Name: "containerInsights", Value: aws.String("disabled")}); err != nil || *out.Setting.Value != "disabled" {
		t.Errorf("PutAccountSettingDefault = %+v, %v", out, err)
	}
	_, err = client.PutAccountSettingDefault(t.Context(), &ecs.PutAccountSettingDefaultInput{Name: "containerInsights", Value: aws.String("enabled")})
	wantError(t, err, "InvalidParameterException", "malote does not support 'value: containerInsights=enabled'.")
}

func TestTaskProtection(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	w := work(t, sys)
	client := w.client
	define(t, client, "web", "", "")
	own := run(t, client, &ecs.RunTaskInput{TaskDefinition: aws.String("web")})
	create(t, client, &ecs.CreateServiceInput{ServiceName: aws.String("web"), TaskDefinition: aws.String("web"), DesiredCount: aws.Int32(3)})
	until(t, client, "web", "stable", stable)
	list, err := client.ListTasks(t.Context(), &ecs.ListTasksInput{ServiceName: aws.String("web")})
	if err != nil {
		t.Fatal(err)
	}
	protected := list.TaskArns[1]
	out, err := client.UpdateTaskProtection(t.Context(), &ecs.UpdateTaskProtectionInput{Cluster: aws.String("default"), Tasks: []string{protected, *own.TaskArn}, ProtectionEnabled: true, ExpiresInMinutes: aws.Int32(1)})
	if err != nil || len(out.ProtectedTasks) != 1 || !out.ProtectedTasks[0].ProtectionEnabled || len(out.Failures) != 1 || *out.Failures[0].Reason != "TASK_NOT_VALID" {
		t.Fatalf("UpdateTaskProtection = %+v, %v", out, err)
	}
	if _, err := client.UpdateService(t.Context(), &ecs.UpdateServiceInput{Service: aws.String("web"), DesiredCount: aws.Int32(0)}); err != nil {
		t.Fatal(err)
	}
	until(t, client, "web", "scaled in to the protected one", func(v *types.Service) bool {
		return v.RunningCount == 1 && len(w.tasks()) == 2 // and the task of its own
	})
	if got := describe(t, client, protected); *got.DesiredStatus != "RUNNING" {
		t.Error("the protected task was stopped")
	}
	sys.Clock.Advance(61 * time.Second)
	until(t, client, "web", "scaled in", func(v *types.Service) bool { return v.RunningCount == 0 && len(w.tasks()) == 1 })
	got, err := client.GetTaskProtection(t.Context(), &ecs.GetTaskProtectionInput{Cluster: aws.String("default"), Tasks: []string{protected}})
	if err != nil || len(got.Failures) != 1 {
		t.Errorf("GetTaskProtection of a stopped task = %+v, %v", got, err)
	}
}
