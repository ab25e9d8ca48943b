package engine_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/malote/malote/engine/enginetest"
	"github.com/malote/malote/malotetest"
)

// A managed volume is encrypted under the KMS key that its launch names, as the role that it
// names. A key that is disabled, or whose policy denies that role, ends no task that runs and
// lets none begin.
func TestAManagedVolumeIsUnderItsKey(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	image := c.image(enginetest.Image{})
	secret, value := c.secret("shop/volume")
	execution := c.role("exec", malotetest.Allow(secret, "secretsmanager:GetSecretValue"))
	keys := kms.NewFromConfig(c.sys.Config())
	made, err := keys.CreateKey(t.Context(), &kms.CreateKeyInput{})
	if err != nil {
		t.Fatal(err)
	}
	key := *made.KeyMetadata.Arn
	trust := strings.Replace(trustTasks, "ecs-tasks", "ecs", 1)
	maker, err := iam.NewFromConfig(c.sys.Config()).CreateRole(t.Context(), &iam.CreateRoleInput{RoleName: aws.String("maker"), AssumeRolePolicyDocument: &trust})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := iam.NewFromConfig(c.sys.Config()).PutRolePolicy(t.Context(), &iam.PutRolePolicyInput{
		RoleName: aws.String("maker"), PolicyName: aws.String("p"), PolicyDocument: aws.String(malotetest.Allow(key, "kms:GenerateDataKey")),
	}); err != nil {
		t.Fatal(err)
	}

	app := mounting(container("app", image, "writeenv", "/vol/secret", "A", "then", "sum", "/vol/secret", "then", "trap", "0"))
	app.Secrets = []types.Secret{{Name: aws.String("A"), ValueFrom: &secret}}
	if _, err := c.ecs.RegisterTaskDefinition(t.Context(), &ecs.RegisterTaskDefinitionInput{
		Family: aws.String("shop"), ExecutionRoleArn: &execution, ContainerDefinitions: []types.ContainerDefinition{app},
		Volumes: []types.Volume{{Name: aws.String("files"), ConfiguredAtLaunch: aws.Bool(true)}},
	}); err != nil {
		t.Fatal(err)
	}
	launch := func() string {
		t.Helper()
		out, err := c.ecs.RunTask(t.Context(), &ecs.RunTaskInput{TaskDefinition: aws.String("shop"), VolumeConfigurations: []types.TaskVolumeConfiguration{{
			Name: aws.String("files"), ManagedEBSVolume: &types.TaskManagedEBSVolumeConfiguration{
				RoleArn: maker.Role.Arn, Encrypted: aws.Bool(true), KmsKeyId: &key, SizeInGiB: aws.Int32(1), FilesystemType: types.TaskFilesystemTypeExt4,
			},
		}}})
		if err != nil || len(out.Tasks) != 1 {
			t.Fatalf("RunTask = %+v, %v", out, err)
		}
		return *out.Tasks[0].TaskArn
	}
	fails := func(want string) {
		t.Helper()
		task := c.until(launch(), "STOPPED")
		reason := aws.ToString(task.StoppedReason)
		if !strings.HasPrefix(reason, "VolumeError: Agent could not create task's volume resources: volume files: a data key under "+key+" could not be had as "+*maker.Role.Arn) ||
			!strings.Contains(reason, want) || task.StopCode != types.TaskStopCodeTaskFailedToStart {
			t.Errorf("stopped: %s: %q, want %q", task.StopCode, reason, want)
		}
	}

	running := launch()
	c.waitFor("app: ready")
	c.until(running, "RUNNING")
	c.sweepDisks(value, filepath.Join(c.config.Dir, "disks"))

	if _, err := keys.DisableKey(t.Context(), &kms.DisableKeyInput{KeyId: &key}); err != nil {
		t.Fatal(err)
	}
	fails("DisabledException: " + key + " is disabled.")
	if _, err := keys.EnableKey(t.Context(), &kms.EnableKeyInput{KeyId: &key}); err != nil {
		t.Fatal(err)
	}
	policy := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::` + malotetest.Account + `:root"},"Action":"kms:*","Resource":"*"},
		{"Effect":"Deny","Principal":{"AWS":"` + *maker.Role.Arn + `"},"Action":"kms:GenerateDataKey","Resource":"*"}]}`
	if _, err := keys.PutKeyPolicy(t.Context(), &kms.PutKeyPolicyInput{KeyId: &key, Policy: &policy}); err != nil {
		t.Fatal(err)
	}
	fails("AccessDeniedException")

	// The engine is another one by now, and the task still has its files.
	c.stop()
	c.listen()
	if task := c.until(running, "RUNNING"); *task.DesiredStatus != "RUNNING" {
		t.Errorf("the task that ran: %+v", task)
	}
	if _, err := c.ecs.StopTask(t.Context(), &ecs.StopTaskInput{Task: &running}); err != nil {
		t.Fatal(err)
	}
	if task := c.until(running, "STOPPED"); len(task.Containers) != 1 || aws.ToInt32(task.Containers[0].ExitCode) != 0 {
		t.Errorf("stopped: %+v", task)
	}
	c.sweepDisks(value, filepath.Join(c.config.Dir, "disks"))
}
