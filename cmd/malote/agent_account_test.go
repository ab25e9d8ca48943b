package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/malote/malote/engine/enginetest"
	"github.com/malote/malote/malotetest"
	"github.com/malote/malote/malotetest/canary"
)

// malote runs the program to its end, on the server's data directory.
func (h *hosts) malote(args ...string) (stdout string) {
	h.t.Helper()
	command := exec.CommandContext(h.t.Context(), filepath.Join(h.dir, "malote"), args...)
	command.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + h.dir, "MALOTE_DATA_DIR=" + filepath.Join(h.dir, "server")}
	var out, errors bytes.Buffer
	command.Stdout, command.Stderr = &out, &errors
	if err := command.Run(); err != nil {
		h.t.Fatalf("malote %s: %v\n%s", args[0], err, &errors)
	}
	return out.String()
}

// A host of another account than the first one: its instance, cluster and tasks are that
// account's, and a task's execution role gets a secret of the first account's that is shared
// with it.
func TestAgentOfAnotherAccount(t *testing.T) {
	enginetest.Exclusive(t, "169.254.170.2")
	h := newHosts(t)
	image := enginetest.Build(t, h.docker, enginetest.Image{SDK: true, Entrypoint: []string{"/app"}})
	h.startServer()
	ctx := t.Context()
	const other = "210987654321"
	var id, secretKey string
	if n, err := fmt.Sscanf(h.malote("account", "create", "--account-id", other), "AWS_ACCESS_KEY_ID=%s\nAWS_SECRET_ACCESS_KEY=%s\n", &id, &secretKey); n != 2 {
		t.Fatal(err)
	}
	admin := staticConfig(&connection{Endpoint: h.endpoint, Region: "us-east-1", AccessKeyID: id, SecretAccessKey: secretKey})
	people, tasks := iam.NewFromConfig(admin), ecs.NewFromConfig(admin)
	h.addHost(people)
	role := h.taskRole(people, malotetest.Allow("*", "secretsmanager:GetSecretValue", "kms:Decrypt"))

	canaries := new(canary.Set)
	value := canaries.New()
	owner, keys := secretsmanager.NewFromConfig(h.admin), kms.NewFromConfig(h.admin)
	key, err := keys.CreateKey(ctx, &kms.CreateKeyInput{Policy: aws.String(`{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Principal":{"AWS":"123456789012"},"Action":"kms:*","Resource":"*"},
		{"Effect":"Allow","Principal":{"AWS":"` + role + `"},"Action":"kms:Decrypt","Resource":"*"}]}`)})
	if err != nil {
		t.Fatal(err)
	}
	secret, err := owner.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: aws.String("db"), SecretString: &value, KmsKeyId: key.KeyMetadata.KeyId})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tasks.RegisterTaskDefinition(ctx, &ecs.RegisterTaskDefinitionInput{
		Family: aws.String("shop"), ExecutionRoleArn: &role, TaskRoleArn: &role,
		ContainerDefinitions: []types.ContainerDefinition{
			{
				Name: aws.String("app"), Image: &image, Memory: aws.Int32(64), Command: []string{"check", "PASSWORD", fmt.Sprintf("%x", sha256.Sum256([]byte(value)))},
				Secrets:   []types.Secret{{Name: aws.String("PASSWORD"), ValueFrom: secret.ARN}},
				DependsOn: []types.ContainerDependency{{ContainerName: aws.String("caller"), Condition: types.ContainerConditionSuccess}},
			},
			{
				Name: aws.String("caller"), Image: &image, Memory: aws.Int32(64), Essential: aws.Bool(false),
				EntryPoint: []string{"/aws"}, Command: []string{"secret", *secret.ARN},
			},
		},
	}); err != nil {
		t.Fatal(err)
	}

	h.startAgent()
	var instance string
	h.until("the agent is connected", func() bool {
		list, err := tasks.ListContainerInstances(ctx, &ecs.ListContainerInstancesInput{})
		if err != nil || len(list.ContainerInstanceArns) != 1 {
			return false
		}
		instance = list.ContainerInstanceArns[0]
		described, err := tasks.DescribeContainerInstances(ctx, &ecs.DescribeContainerInstancesInput{ContainerInstances: list.ContainerInstanceArns})
		return err == nil && described.ContainerInstances[0].AgentConnected
	})
	if !strings.HasPrefix(instance, "arn:aws:ecs:us-east-1:"+other+":container-instance/") {
		t.Errorf("the instance is %s", instance)
	}
	if list, err := ecs.NewFromConfig(h.admin).ListContainerInstances(ctx, &ecs.ListContainerInstancesInput{}); err != nil || len(list.ContainerInstanceArns) != 0 {
		t.Errorf("instances of the first account: %v, %v", list, err)
	}

	stopped := func() types.Task {
		t.Helper()
		ran, err := tasks.RunTask(ctx, &ecs.RunTaskInput{TaskDefinition: aws.String("shop")})
		if err != nil || len(ran.Tasks) != 1 {
			t.Fatalf("RunTask = %+v, %v", ran, err)
		}
		var task types.Task
		h.until("the task has stopped", func() bool {
			out, err := tasks.DescribeTasks(ctx, &ecs.DescribeTasksInput{Tasks: []string{*ran.Tasks[0].TaskArn}})
			if err != nil || len(out.Tasks) != 1 {
				return false
			}
			task = out.Tasks[0]
			return *task.LastStatus == "STOPPED"
		})
		return task
	}
	if task := stopped(); !strings.Contains(aws.ToString(task.StoppedReason), "because no resource-based policy allows the secretsmanager:GetSecretValue action") {
		t.Errorf("with a secret that is not shared, the task stopped for %s", aws.ToString(task.StoppedReason))
	}
	if _, err := owner.PutResourcePolicy(ctx, &secretsmanager.PutResourcePolicyInput{SecretId: secret.ARN, ResourcePolicy: aws.String(
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"` + role + `"},"Action":"secretsmanager:GetSecretValue","Resource":"*"}]}`)}); err != nil {
		t.Fatal(err)
	}
	task := stopped()
	for _, c := range task.Containers {
		if aws.ToInt32(c.ExitCode) != 0 || c.ExitCode == nil {
			t.Errorf("%s ended with %v %s (%s)", *c.Name, c.ExitCode, aws.ToString(c.Reason), aws.ToString(task.StoppedReason))
		}
	}

	h.kill(&h.agent, os.Interrupt)
	h.kill(&h.server, os.Interrupt)
	for _, dir := range []string{filepath.Join(h.dir, "server"), filepath.Join(h.dir, "agent"), h.serverLog, h.log} {
		hits, err := canaries.Dir(dir)
		if err != nil && !os.IsNotExist(err) {
			t.Error(err)
		}
		for _, hit := range hits {
			t.Errorf("%s: a secret leaked", hit)
		}
	}
}
