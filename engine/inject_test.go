package engine_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/moby/moby/client"

	"github.com/malote/malote/engine/enginetest"
	"github.com/malote/malote/malotetest"
)

// sidecar is the image of malote inject, as malote image load makes it.
func (w *world) sidecar() string {
	w.t.Helper()
	program, err := enginetest.Compile("github.com/malote/malote/cmd/malote")
	if err != nil {
		w.t.Fatal(err)
	}
	path := filepath.Join(w.t.TempDir(), "malote")
	if err := os.WriteFile(path, program, 0o755); err != nil {
		w.t.Fatal(err)
	}
	name := enginetest.Name(w.t)
	load := exec.CommandContext(w.t.Context(), path, "image", "load", "--name", name)
	load.Env = append(os.Environ(), "DOCKER_HOST="+w.docker.DaemonHost())
	out, err := load.CombinedOutput()
	w.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		for _, ref := range []string{name + ":latest", name + ":dev"} {
			w.docker.ImageRemove(ctx, ref, client.ImageRemoveOptions{Force: true, PruneChildren: true})
		}
	})
	if err != nil || string(out) != name+":latest\n"+name+":dev\n" {
		w.t.Fatalf("malote image load: %v: %s", err, out)
	}
	return name + ":latest"
}

// The task of docs/inject.md: one sidecar writes files before the app starts, another keeps them
// current and tells the app, and AWS's own sidecar's variables do what they do there.
func TestInject(t *testing.T) {
	enginetest.Exclusive(t, "169.254.170.2")
	w := newWorld(t)
	sidecar := w.sidecar()
	image := w.image(enginetest.Image{User: "1000"})
	sys := malotetest.New(t)
	c := &cluster{world: w, sys: sys, ecs: ecs.NewFromConfig(sys.Config())}
	w.config.AWS, w.config.Now = sys.Config(), sys.Clock.Now
	w.config.NoMetadata, w.config.API = false, sys.Handler()
	c.listen()

	arn, value := c.secret("shop/db")
	pem := sys.Canary()
	objects := s3.NewFromConfig(sys.Config(), func(o *s3.Options) { o.UsePathStyle = true })
	if _, err := objects.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("shop")}); err != nil {
		t.Fatal(err)
	}
	if _, err := objects.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("shop"), Key: aws.String("key.pem"), Body: strings.NewReader(pem)}); err != nil {
		t.Fatal(err)
	}
	role := c.role("task", malotetest.Allow("*", "secretsmanager:GetSecretValue", "secretsmanager:DescribeSecret", "s3:GetObject"))

	env := func(pairs ...string) (out []types.KeyValuePair) {
		for pair := range slices.Chunk(pairs, 2) {
			out = append(out, types.KeyValuePair{Name: &pair[0], Value: &pair[1]})
		}
		return out
	}
	files := `[{"valueFrom":"` + arn + `","file":"password","owner":"1000"},{"valueFrom":"s3://shop/key.pem","file":"tls/key.pem","group":"1000","mode":"0440"}]`
	part := func(name, path string, environment []types.KeyValuePair, command ...string) types.ContainerDefinition {
		def := container(name, sidecar, command...)
		def.Essential, def.Environment = aws.Bool(false), environment
		def.MountPoints = []types.MountPoint{{SourceVolume: aws.String("secrets"), ContainerPath: &path}}
		return def
	}
	first := part("first", "/run/secrets", env("MALOTE_INJECT", files))
	aws1 := part("aws", "/tmp", env("SECRET_ARN", arn)) // AWS's own example says no more
	current := part("current", "/run/secrets", env("MALOTE_INJECT", files), "--watch", "--interval", "1s", "--signal", "TERM", "--process", "app")
	app := container("app", image, "sum", "/s/password", "then", "sum", "/s/tls/key.pem", "then", "sum", "/s/secret", "then", "trap", "7")
	app.EntryPoint = []string{"/app"}
	app.MountPoints = []types.MountPoint{{SourceVolume: aws.String("secrets"), ContainerPath: aws.String("/s"), ReadOnly: aws.Bool(true)}}
	app.DependsOn = []types.ContainerDependency{
		{ContainerName: first.Name, Condition: types.ContainerConditionSuccess},
		{ContainerName: aws1.Name, Condition: types.ContainerConditionSuccess},
		{ContainerName: current.Name, Condition: types.ContainerConditionStart},
	}
	current.DependsOn = app.DependsOn[:1]
	run := func(containers ...types.ContainerDefinition) string {
		t.Helper()
		if _, err := c.ecs.RegisterTaskDefinition(t.Context(), &ecs.RegisterTaskDefinitionInput{
			Family: aws.String("shop"), TaskRoleArn: &role, PidMode: types.PidModeTask, ContainerDefinitions: containers,
			Volumes: []types.Volume{{Name: aws.String("secrets"), Host: &types.HostVolumeProperties{}}},
		}); err != nil {
			t.Fatal(err)
		}
		out, err := c.ecs.RunTask(t.Context(), &ecs.RunTaskInput{TaskDefinition: aws.String("shop")})
		if err != nil || len(out.Tasks) != 1 {
			t.Fatalf("RunTask: %+v, %v", out, err)
		}
		return *out.Tasks[0].TaskArn
	}
	task := run(first, aws1, current, app)
	w.waitFor("app: ready")
	for _, want := range []string{
		"app: " + digestLine("/s/password", value) + " -r--------",
		"app: " + digestLine("/s/tls/key.pem", pem) + " -r--r-----",
		"app: " + digestLine("/s/secret", value) + " -r--r--r--",
	} {
		w.waitFor(want)
	}
	rotated := sys.Canary()
	if _, err := secretsmanager.NewFromConfig(sys.Config()).PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{SecretId: &arn, SecretString: &rotated}); err != nil {
		t.Fatal(err)
	}
	w.waitFor("app: terminated") // by the sidecar
	exits := func(task string) map[string]int32 {
		out := map[string]int32{}
		for _, container := range c.until(task, "STOPPED").Containers {
			out[*container.Name] = aws.ToInt32(container.ExitCode)
		}
		return out
	}
	if got := exits(task); got["app"] != 7 || got["first"] != 0 || got["aws"] != 0 || got["current"] != 0 {
		t.Errorf("the containers ended with %v", got)
	}

	// What is missing keeps the app from starting.
	first.Environment = env("MALOTE_INJECT", `{"valueFrom":"`+arn+`:none::","file":"password"}`)
	app.DependsOn = app.DependsOn[:1]
	if got := exits(run(first, app)); got["first"] != 1 {
		t.Errorf("the containers ended with %v", got)
	}
	for _, hit := range sys.Canaries.Bytes("the output", []byte(strings.Join(w.output(), "\n"))) {
		t.Errorf("a secret leaked: %s", hit)
	}
}
