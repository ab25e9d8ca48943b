package engine_test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/malote/malote/engine/enginetest"
	"github.com/malote/malote/inject"
	"github.com/malote/malote/malotetest"
)

// Values that a task had before its engine was restarted stay out of its logs, and are not on disk.
func TestFormerValuesStayMaskedAfterARestart(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	const dir = "/run/secrets/"
	arn, first := c.secret("shop/password")
	bucket := inject.S3(c.sys.Config(), c.sys.Config().Region)
	if _, err := bucket.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("files")}); err != nil {
		t.Fatal(err)
	}
	if _, err := bucket.PutBucketVersioning(t.Context(), &s3.PutBucketVersioningInput{
		Bucket: aws.String("files"), VersioningConfiguration: &s3types.VersioningConfiguration{Status: s3types.BucketVersioningStatusEnabled},
	}); err != nil {
		t.Fatal(err)
	}
	write := func() (value string) {
		t.Helper()
		value = c.sys.Canary()
		if _, err := bucket.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("files"), Key: aws.String("a.env"), Body: strings.NewReader("TOKEN=" + value)}); err != nil {
			t.Fatal(err)
		}
		return value
	}
	token := write()
	logs := cloudwatchlogs.NewFromConfig(c.sys.Config())
	if _, err := logs.CreateLogGroup(t.Context(), &cloudwatchlogs.CreateLogGroupInput{LogGroupName: aws.String("shop")}); err != nil {
		t.Fatal(err)
	}
	role := c.role("exec", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Resource":"*",
		"Action":["secretsmanager:GetSecretValue","s3:GetObject","s3:GetObjectVersion","s3:GetBucketLocation","logs:CreateLogStream","logs:PutLogEvents"]}]}`)

	// It tells what it was given the time before last.
	image := c.image(enginetest.Image{})
	seed := container("seed", image)
	files := container("files", image)
	for _, name := range []string{"password", "token"} {
		older := dir + "older-" + name
		for _, path := range []string{older, dir + name} {
			seed.Command = append(seed.Command, "write", path, "nothing", "then")
		}
		files.Command = append(files.Command, "cat", older, "then", "print", ".", "then", "writefrom", older, dir+name, "then", "writeenv", dir+name, strings.ToUpper(name), "then")
	}
	seed.Command, files.Command = append(seed.Command, "exit", "0"), append(files.Command, "exit", "0")
	seed.Essential = aws.Bool(false)
	seed.MountPoints = []types.MountPoint{{SourceVolume: aws.String("secrets"), ContainerPath: aws.String("/run/secrets")}}
	files.DependsOn = []types.ContainerDependency{{ContainerName: seed.Name, Condition: types.ContainerConditionSuccess}}
	files.EnvironmentFiles = []types.EnvironmentFile{{Type: types.EnvironmentFileTypeS3, Value: aws.String("arn:aws:s3:::files/a.env")}}
	files.LogConfiguration = &types.LogConfiguration{LogDriver: types.LogDriverAwslogs, Options: map[string]string{
		"awslogs-group": "shop", "awslogs-region": malotetest.Region, "awslogs-stream-prefix": "web",
	}}
	s := newFileService(c, role, arn, files, container("app", image, "reload", "/s/password"), seed)
	c.waitFor("app: ready")
	tasks, err := c.ecs.ListTasks(t.Context(), &ecs.ListTasksInput{})
	if err != nil || len(tasks.TaskArns) != 1 {
		t.Fatalf("ListTasks = %+v, %v", tasks, err)
	}
	stream := "web/files/" + tasks.TaskArns[0][strings.LastIndexByte(tasks.TaskArns[0], '/')+1:]
	renew := func(count int) []string {
		t.Helper()
		write()
		version := s.put(c.sys.Canary())
		s.said("was refreshed: its tasks hold version " + version + " of " + arn + ".")
		return c.events("shop", stream, count)
	}
	renew(4)
	c.stop()
	for _, value := range []string{first, token} { // the volumes are memory
		c.sweepFor(filepath.Join(c.config.Dir, "tasks"), value)
		c.sweepFor(filepath.Join(c.config.Dir, "logs"), value)
	}
	c.listen()
	events := renew(6)
	if want := []string{"nothing.", "nothing.", "nothing.", "nothing.", "[sealed].", "[sealed]."}; !slices.Equal(events, want) {
		t.Errorf("the log has %q, want %q", events, want)
	}
	s.delete()
}
