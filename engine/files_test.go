package engine_test

import (
	"crypto/sha256"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/moby/moby/client"

	"github.com/malote/malote/controlplane"
	"github.com/malote/malote/engine/enginetest"
	"github.com/malote/malote/inject"
	"github.com/malote/malote/malotetest"
)

// A container has the variables of its files, which are under a key of the customer's. With the
// key disabled the next task says why it cannot start, and the one that runs goes on.
func TestEnvironmentFiles(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	image := c.image(enginetest.Image{Env: []string{"FROM_IMAGE=image"}})
	keys := kms.NewFromConfig(c.sys.Config())
	key, err := keys.CreateKey(t.Context(), &kms.CreateKeyInput{})
	if err != nil {
		t.Fatal(err)
	}
	files := inject.S3(c.sys.Config(), c.sys.Config().Region)
	if _, err := files.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("files")}); err != nil {
		t.Fatal(err)
	}
	first, second := c.sys.Canary(), c.sys.Canary()
	for name, body := range map[string]string{
		"a.env": "# of the first\nPASSWORD=" + first + "\nCOLOUR=red\nFROM_IMAGE=file\n", "b.env": "PASSWORD=later\nTOKEN=" + second,
	} {
		if _, err := files.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("files"), Key: &name, Body: strings.NewReader(body),
			ServerSideEncryption: s3types.ServerSideEncryptionAwsKms, SSEKMSKeyId: key.KeyMetadata.Arn}); err != nil {
			t.Fatal(err)
		}
	}
	role := c.role("execution", fmt.Sprintf(`{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::files/*"},
		{"Effect":"Allow","Action":"s3:GetBucketLocation","Resource":"arn:aws:s3:::files"},
		{"Effect":"Allow","Action":"kms:Decrypt","Resource":%q}]}`, *key.KeyMetadata.Arn))
	app := container("app", image, "env", "PASSWORD", "TOKEN", "COLOUR", "FROM_IMAGE", "then", "trap", "0")
	app.Environment = []types.KeyValuePair{{Name: aws.String("COLOUR"), Value: aws.String("blue")}}
	for _, name := range []string{"a", "b"} {
		app.EnvironmentFiles = append(app.EnvironmentFiles, types.EnvironmentFile{Type: types.EnvironmentFileTypeS3, Value: aws.String("arn:aws:s3:::files/" + name + ".env")})
	}
	if _, err := c.ecs.RegisterTaskDefinition(t.Context(), &ecs.RegisterTaskDefinitionInput{
		Family: aws.String("filed"), ExecutionRoleArn: &role, ContainerDefinitions: []types.ContainerDefinition{app},
	}); err != nil {
		t.Fatal(err)
	}
	run := func() string {
		t.Helper()
		out, err := c.ecs.RunTask(t.Context(), &ecs.RunTaskInput{TaskDefinition: aws.String("filed")})
		if err != nil || len(out.Tasks) != 1 {
			t.Fatalf("RunTask = %+v, %v", out, err)
		}
		return *out.Tasks[0].TaskArn
	}
	stopped := func(task string) types.Task {
		t.Helper()
		in := &ecs.DescribeTasksInput{Tasks: []string{task}}
		if err := ecs.NewTasksStoppedWaiter(c.ecs, func(o *ecs.TasksStoppedWaiterOptions) {
			o.MinDelay, o.MaxDelay = 50*time.Millisecond, 100*time.Millisecond
		}).Wait(t.Context(), in, time.Minute); err != nil {
			t.Fatal(err)
		}
		out, err := c.ecs.DescribeTasks(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		return out.Tasks[0]
	}

	running := run()
	c.waitFor("app: ready")
	for name, value := range map[string]string{"PASSWORD": first, "TOKEN": second, "COLOUR": "blue", "FROM_IMAGE": "file"} {
		c.waitFor(fmt.Sprintf("app: %s %x %d", name, sha256.Sum256([]byte(value)), len(value)))
	}
	info, err := c.docker.Info(t.Context(), client.InfoOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range c.containers() {
		res, err := c.docker.ContainerInspect(t.Context(), id, client.ContainerInspectOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, value := range []string{first, second} {
			for _, dir := range []string{filepath.Join(info.Info.DockerRootDir, "containers", id), c.config.Dir, c.sys.Objects()} {
				c.sweepFor(dir, value)
			}
			if strings.Contains(c.log.String(), value) {
				t.Error("the log holds a value of a file")
			}
			if strings.Contains(string(res.Raw), value) {
				t.Error("docker inspect shows a value of a file")
			}
		}
	}

	if _, err := keys.DisableKey(t.Context(), &kms.DisableKeyInput{KeyId: key.KeyMetadata.Arn}); err != nil {
		t.Fatal(err)
	}
	failed := stopped(run())
	for _, want := range []string{"ResourceInitializationError: failed to download env files: ", "key a.env from bucket files", "DisabledException", "s3:GetObject as " + role} {
		if !strings.Contains(aws.ToString(failed.StoppedReason), want) {
			t.Errorf("reason %q does not say %q", aws.ToString(failed.StoppedReason), want)
		}
	}
	out, err := c.ecs.DescribeTasks(t.Context(), &ecs.DescribeTasksInput{Tasks: []string{running}})
	if err != nil || aws.ToString(out.Tasks[0].LastStatus) != "RUNNING" {
		t.Errorf("the task that ran: %+v, %v", out, err)
	}
	if _, err := c.ecs.StopTask(t.Context(), &ecs.StopTaskInput{Task: &running}); err != nil {
		t.Fatal(err)
	}
	stopped(running)
}

// An application that has nothing but the SDK's default chain reads its secret from a bucket as
// its task's role; as another task's role it may not.
func TestAContainerReadsItsObject(t *testing.T) {
	t.Parallel()
	enginetest.Exclusive(t, "169.254.170.2")
	w := newWorld(t)
	sys := malotetest.New(t, malotetest.Engine(controlplane.Engine{Region: malotetest.Region, Cluster: "default", Name: w.config.Name}))
	c := &cluster{world: w, sys: sys, ecs: ecs.NewFromConfig(sys.Config())}
	w.config.AWS, w.config.Now = sys.Config(), sys.Clock.Now
	w.config.NoMetadata, w.config.API = false, sys.Handler()
	c.listen()
	image := c.image(enginetest.Image{SDK: true, Entrypoint: []string{"/aws"}})
	key, err := kms.NewFromConfig(sys.Config()).CreateKey(t.Context(), &kms.CreateKeyInput{})
	if err != nil {
		t.Fatal(err)
	}
	files := inject.S3(sys.Config(), malotetest.Region)
	if _, err := files.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("files")}); err != nil {
		t.Fatal(err)
	}
	if _, err := files.PutBucketEncryption(t.Context(), &s3.PutBucketEncryptionInput{Bucket: aws.String("files"),
		ServerSideEncryptionConfiguration: &s3types.ServerSideEncryptionConfiguration{Rules: []s3types.ServerSideEncryptionRule{{
			ApplyServerSideEncryptionByDefault: &s3types.ServerSideEncryptionByDefault{SSEAlgorithm: s3types.ServerSideEncryptionAwsKms, KMSMasterKeyID: key.KeyMetadata.Arn},
		}}}}); err != nil {
		t.Fatal(err)
	}
	value := sys.Canary()
	if _, err := files.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("files"), Key: aws.String("app/secret"), Body: strings.NewReader(value)}); err != nil {
		t.Fatal(err)
	}
	for role, object := range map[string]string{"app": "app/*", "other": "other/*"} {
		arn := c.role(role, fmt.Sprintf(`{"Version":"2012-10-17","Statement":[
			{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::files/%s"},
			{"Effect":"Allow","Action":"kms:Decrypt","Resource":%q}]}`, object, *key.KeyMetadata.Arn))
		if _, err := c.ecs.RegisterTaskDefinition(t.Context(), &ecs.RegisterTaskDefinitionInput{
			Family: &role, TaskRoleArn: &arn, ContainerDefinitions: []types.ContainerDefinition{container(role, image, "object", "files", "app/secret")},
		}); err != nil {
			t.Fatal(err)
		}
		out, err := c.ecs.RunTask(t.Context(), &ecs.RunTaskInput{TaskDefinition: &role})
		if err != nil || len(out.Tasks) != 1 {
			t.Fatalf("RunTask = %+v, %v", out, err)
		}
		in := &ecs.DescribeTasksInput{Tasks: []string{*out.Tasks[0].TaskArn}}
		if err := ecs.NewTasksStoppedWaiter(c.ecs, func(o *ecs.TasksStoppedWaiterOptions) {
			o.MinDelay, o.MaxDelay = 50*time.Millisecond, 100*time.Millisecond
		}).Wait(t.Context(), in, time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	lines := strings.Join(c.output(), "\n")
	if want := fmt.Sprintf("app: app/secret %x %d", sha256.Sum256([]byte(value)), len(value)); !strings.Contains(lines, want) {
		t.Errorf("no line %q in %q", want, lines)
	}
	if !strings.Contains(lines, "AccessDenied") || strings.Contains(lines, "other: app/secret") {
		t.Errorf("another task's role was not denied: %q", lines)
	}
}
