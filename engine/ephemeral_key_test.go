package engine_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/malote/malote/engine/enginetest"
	"github.com/malote/malote/malotetest"
)

// The ephemeral storage of a FARGATE task, into which a sidecar writes a secret for the app, is
// under the cluster's key. One that is disabled ends no task that runs, also when its engine is
// another one by then, and lets none begin.
func TestEphemeralStorageIsUnderTheClustersKey(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	image := c.image(enginetest.Image{})
	secret, value := c.secret("shop/ephemeral")
	execution := c.role("exec", malotetest.Allow(secret, "secretsmanager:GetSecretValue"))
	keys := kms.NewFromConfig(c.sys.Config())
	made, err := keys.CreateKey(t.Context(), &kms.CreateKeyInput{Policy: aws.String(`{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::` + malotetest.Account + `:root"},"Action":"kms:*","Resource":"*"},
		{"Effect":"Allow","Principal":{"Service":"fargate.amazonaws.com"},"Action":["kms:GenerateDataKeyWithoutPlaintext","kms:CreateGrant"],"Resource":"*",
			"Condition":{"StringEquals":{"kms:EncryptionContext:aws:ecs:clusterName":"default"}}}]}`)})
	if err != nil {
		t.Fatal(err)
	}
	key := *made.KeyMetadata.Arn
	if _, err := c.ecs.UpdateCluster(t.Context(), &ecs.UpdateClusterInput{Cluster: aws.String("default"), Configuration: &types.ClusterConfiguration{
		ManagedStorageConfiguration: &types.ManagedStorageConfiguration{FargateEphemeralStorageKmsKeyId: &key},
	}}); err != nil {
		t.Fatal(err)
	}
	sidecar := mounting(container("sidecar", c.sidecar(), "--dir", "/vol", "--value-from", "env://A", "--file", "secret"))
	sidecar.Secrets = []types.Secret{{Name: aws.String("A"), ValueFrom: &secret}}
	sidecar.Essential = aws.Bool(false)
	app := mounting(container("app", image, "sum", "/vol/secret", "then", "trap", "0"))
	app.DependsOn = []types.ContainerDependency{{ContainerName: sidecar.Name, Condition: types.ContainerConditionSuccess}}
	if _, err := c.ecs.RegisterTaskDefinition(t.Context(), &ecs.RegisterTaskDefinitionInput{
		Family: aws.String("shop"), ExecutionRoleArn: &execution, ContainerDefinitions: []types.ContainerDefinition{sidecar, app}, Volumes: []types.Volume{{Name: aws.String("files")}},
		NetworkMode: types.NetworkModeAwsvpc, RequiresCompatibilities: []types.Compatibility{types.CompatibilityFargate}, Cpu: aws.String("256"), Memory: aws.String("512"),
		EphemeralStorage: &types.EphemeralStorage{SizeInGiB: 21},
	}); err != nil {
		t.Fatal(err)
	}
	launch := func() string {
		t.Helper()
		out, err := c.ecs.RunTask(t.Context(), &ecs.RunTaskInput{
			TaskDefinition: aws.String("shop"), LaunchType: types.LaunchTypeFargate,
			NetworkConfiguration: &types.NetworkConfiguration{AwsvpcConfiguration: &types.AwsVpcConfiguration{Subnets: []string{"subnet-1"}}},
		})
		if err != nil || len(out.Tasks) != 1 {
			t.Fatalf("RunTask = %+v, %v", out, err)
		}
		return *out.Tasks[0].TaskArn
	}
	running := launch()
	c.waitFor("app: ready")
	c.waitFor("app: " + digestLine("/vol/secret", value) + " -r--------")
	if s := c.until(running, "RUNNING").FargateEphemeralStorage; s == nil || aws.ToString(s.KmsKeyId) != key || s.SizeInGiB != 21 {
		t.Errorf("fargateEphemeralStorage = %+v", s)
	}
	if disks, err := filepath.Glob(filepath.Join(c.config.Dir, "disks", "*", ".ephemeral")); err != nil || len(disks) != 1 {
		t.Errorf("disks: %q, %v", disks, err)
	}
	c.sweepDisks(value, filepath.Join(c.config.Dir, "disks"))

	if _, err := keys.DisableKey(t.Context(), &kms.DisableKeyInput{KeyId: &key}); err != nil {
		t.Fatal(err)
	}
	if task := c.until(launch(), "STOPPED"); !strings.Contains(aws.ToString(task.StoppedReason), "DisabledException: "+key+" is disabled.") {
		t.Errorf("stopped: %q", aws.ToString(task.StoppedReason))
	}
	c.stop()
	c.listen()
	if task := c.until(running, "RUNNING"); *task.DesiredStatus != "RUNNING" {
		t.Errorf("the task that ran: %+v", task)
	}
	if _, err := c.ecs.StopTask(t.Context(), &ecs.StopTaskInput{Task: &running}); err != nil {
		t.Fatal(err)
	}
	if task := c.until(running, "STOPPED"); len(task.Containers) != 2 || aws.ToInt32(task.Containers[0].ExitCode) != 0 || aws.ToInt32(task.Containers[1].ExitCode) != 0 {
		t.Errorf("stopped: %+v", task)
	}
	c.sweepDisks(value, filepath.Join(c.config.Dir, "disks"))
}
