package engine_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	dockercontainer "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/malote/malote/engine/enginetest"
	"github.com/malote/malote/malotetest"
)

// fileService is a service, shop, whose one task has a secret in a file, which the container files
// wrote there before the container app began.
type fileService struct {
	*cluster
	arn string
}

func newFileService(c *cluster, role, arn string, files, app types.ContainerDefinition, others ...types.ContainerDefinition) *fileService {
	c.t.Helper()
	files.Essential, app.StopTimeout = aws.Bool(false), aws.Int32(2)
	files.Secrets = []types.Secret{{Name: aws.String("PASSWORD"), ValueFrom: &arn}}
	files.MountPoints = []types.MountPoint{{SourceVolume: aws.String("secrets"), ContainerPath: aws.String("/run/secrets")}}
	app.MountPoints = []types.MountPoint{{SourceVolume: aws.String("secrets"), ContainerPath: aws.String("/s"), ReadOnly: aws.Bool(true)}}
	app.DependsOn = []types.ContainerDependency{{ContainerName: files.Name, Condition: types.ContainerConditionSuccess}}
	app.DockerLabels = map[string]string{"malote.refresh-signal": "HUP"}
	if _, err := c.ecs.RegisterTaskDefinition(c.t.Context(), &ecs.RegisterTaskDefinitionInput{
		Family: aws.String("shop"), ExecutionRoleArn: &role, ContainerDefinitions: append(others, files, app),
		Volumes: []types.Volume{{Name: aws.String("secrets"), Host: &types.HostVolumeProperties{}}},
	}); err != nil {
		c.t.Fatal(err)
	}
	if _, err := c.ecs.CreateService(c.t.Context(), &ecs.CreateServiceInput{
		ServiceName: aws.String("shop"), TaskDefinition: aws.String("shop"), DesiredCount: aws.Int32(1),
		Tags: []types.Tag{{Key: aws.String("malote:on-secret-change"), Value: aws.String("refresh")}},
	}); err != nil {
		c.t.Fatal(err)
	}
	return &fileService{c, arn}
}

// put makes a value current and returns its version.
func (s *fileService) put(value string) string {
	s.t.Helper()
	out, err := secretsmanager.NewFromConfig(s.sys.Config()).PutSecretValue(s.t.Context(), &secretsmanager.PutSecretValueInput{SecretId: &s.arn, SecretString: &value})
	if err != nil {
		s.t.Fatal(err)
	}
	return *out.VersionId
}

// is waits for the service to be what ok says.
func (s *fileService) is(what string, ok func(*types.Service) bool) {
	s.t.Helper()
	var v types.Service
	for end := time.Now().Add(60 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		out, err := s.ecs.DescribeServices(s.t.Context(), &ecs.DescribeServicesInput{Services: []string{"shop"}})
		if err != nil {
			s.t.Fatal(err)
		}
		if v = out.Services[0]; ok(&v) {
			return
		}
	}
	for _, e := range v.Events {
		s.t.Log(*e.Message)
	}
	s.t.Fatalf("the service never was %s", what)
}

func (s *fileService) said(text string) {
	s.t.Helper()
	s.is("said to be: "+text, func(v *types.Service) bool {
		return slices.ContainsFunc(v.Events, func(e types.ServiceEvent) bool { return strings.Contains(*e.Message, text) })
	})
}

func (s *fileService) delete() {
	s.t.Helper()
	if _, err := s.ecs.DeleteService(s.t.Context(), &ecs.DeleteServiceInput{Service: aws.String("shop"), Force: aws.Bool(true)}); err != nil {
		s.t.Fatal(err)
	}
	s.is("INACTIVE", func(v *types.Service) bool { return *v.Status == "INACTIVE" })
}

// inspect returns what Docker knows of a container of the engine's, and sweeps it for secrets.
func (s *fileService) inspect(name string) dockercontainer.InspectResponse {
	s.t.Helper()
	res, err := s.docker.ContainerInspect(s.t.Context(), s.containers()[name], client.ContainerInspectOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	b, err := json.Marshal(res)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, hit := range s.sys.Canaries.Bytes("docker inspect "+name, b) {
		s.t.Errorf("a secret leaked: %s", hit)
	}
	return res.Container
}

// runsAgain waits until the container files does.
func (s *fileService) runsAgain() {
	s.t.Helper()
	for end := time.Now().Add(30 * time.Second); !s.inspect("files").State.Running; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatal("the container files was not run again")
		}
	}
}

// A secret changes; the file in the running task does, the app is told, and nothing restarts. When
// the new value cannot be had or be written, the file stays, an event says why, and it is tried again.
func TestAServiceRefreshesItsFiles(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	const path = "/s/password"
	value := func() (secret, password string) {
		password = c.sys.Canary()
		return `{"password":"` + password + `"}`, password
	}
	wrapped, first := value()
	made, err := secretsmanager.NewFromConfig(c.sys.Config()).CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: aws.String("shop/db"), SecretString: &wrapped})
	if err != nil {
		t.Fatal(err)
	}
	policy := malotetest.Allow(*made.ARN, "secretsmanager:GetSecretValue")
	role := c.role("exec", policy)
	s := newFileService(c, role, *made.ARN,
		container("files", c.sidecar(), "--spec", "valueFrom=env://PASSWORD,file=password,mode=0444,template={{.password}}"),
		container("app", c.image(enginetest.Image{}), "sum", path, "then", "reload", path))
	c.waitFor("app: " + digestLine(path, first) + " -r--r--r--")
	c.waitFor("app: ready")
	app, files := s.inspect("app"), s.inspect("files")
	if files.State.Running {
		t.Fatal("the container files runs on")
	}

	wrapped, second := value()
	version := s.put(wrapped)
	c.waitFor("app: reloaded")
	c.waitFor("app: " + digestLine(path, second) + " -r--r--r--")
	s.said("is refreshed: 1 task holds version " + *made.VersionId + " of " + s.arn + ", while version " + version + " of " + s.arn + " is current.")
	s.said("was refreshed: its tasks hold version " + version + " of " + s.arn + ".")
	if stale := c.stale(); len(stale) > 0 {
		t.Errorf("stale: %+v", stale)
	}
	again := s.inspect("files")
	if again.ID != files.ID || again.State.StartedAt == files.State.StartedAt {
		t.Errorf("files: %s started %s was %s started %s", again.ID, again.State.StartedAt, files.ID, files.State.StartedAt)
	}

	// Neither a value that cannot be written nor one that cannot be had replaces the file.
	s.put("no JSON")
	s.said("container files ended with exit code 1. It is tried again.")
	if stale := c.stale(); len(stale) != 1 || stale[0].Version != version {
		t.Errorf("stale: %+v, want version %s", stale, version)
	}
	roles := iam.NewFromConfig(c.sys.Config())
	if _, err := roles.DeleteRolePolicy(t.Context(), &iam.DeleteRolePolicyInput{RoleName: aws.String("exec"), PolicyName: aws.String("p")}); err != nil {
		t.Fatal(err)
	}
	wrapped, third := value()
	version = s.put(wrapped)
	s.said("role/exec/")
	s.said("is not authorized to perform: secretsmanager:GetSecretValue")
	if lines := c.output(); slices.Contains(lines, "app: "+digestLine(path, third)+" -r--r--r--") || len(slices.DeleteFunc(lines, func(l string) bool { return l != "app: reloaded" })) != 1 {
		t.Errorf("the app was told of a file that is not there: %q", c.output())
	}
	if _, err := roles.PutRolePolicy(t.Context(), &iam.PutRolePolicyInput{RoleName: aws.String("exec"), PolicyName: aws.String("p"), PolicyDocument: &policy}); err != nil {
		t.Fatal(err)
	}
	c.sys.Clock.Advance(10 * time.Second)
	c.waitFor("app: " + digestLine(path, third) + " -r--r--r--")
	s.said("was refreshed: its tasks hold version " + version + " of " + s.arn + ".")

	if now := s.inspect("app"); now.ID != app.ID || now.State.StartedAt != app.State.StartedAt || now.State.Pid != app.State.Pid || now.RestartCount != 0 {
		t.Errorf("the app: %s started %s, was %s started %s", now.ID, now.State.StartedAt, app.ID, app.State.StartedAt)
	}
	for _, hit := range c.sys.Canaries.Bytes("the output", []byte(strings.Join(c.output(), "\n")+c.log.String())) {
		t.Errorf("a secret leaked: %s", hit)
	}
	s.delete()
}

// An engine that ends in the middle leaves the rest to the next one; one that was away does what
// it missed; and a task that stops in the middle leaves nothing.
func TestARefreshOutlivesItsEngine(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	const path = "/s/password"
	arn, first := c.secret("shop/password")
	role := c.role("exec", malotetest.Allow(arn, "secretsmanager:GetSecretValue"))
	image := c.image(enginetest.Image{})
	s := newFileService(c, role, arn,
		container("files", image, "writeenv", "/run/secrets/password", "PASSWORD", "then", "sleep", "3s"),
		container("app", image, "sum", path, "then", "reload", path))
	c.waitFor("app: " + digestLine(path, first) + " -rw-r--r--")
	app := s.inspect("app")
	// An engine does not read again what containers wrote that it found.
	wrote := func(value string) func(*types.Service) bool {
		logged := c.logged("app", "reloaded\n"+digestLine(path, value)+" -rw-r--r--\n")
		return func(*types.Service) bool { return logged() }
	}

	second := c.sys.Canary()
	s.put(second)
	s.runsAgain()
	c.stop()
	if !s.inspect("files").State.Running {
		t.Error("the engine had the container stopped, or was too slow")
	}
	c.listen()
	s.is("told", wrote(second))
	s.is("refreshed", func(*types.Service) bool { return len(c.stale()) == 0 })

	c.stop()
	third := c.sys.Canary()
	s.said("while version " + s.put(third) + " of " + arn + " is current.") // asked for, and nobody listens
	c.listen()
	s.is("told", wrote(third))
	s.is("refreshed", func(*types.Service) bool { return len(c.stale()) == 0 })
	if s.inspect("files").State.Running {
		t.Error("the container files runs on")
	}
	if now := s.inspect("app"); now.ID != app.ID || now.State.StartedAt != app.State.StartedAt {
		t.Errorf("the app was restarted: %s %s, was %s %s", now.ID, now.State.StartedAt, app.ID, app.State.StartedAt)
	}

	s.put(c.sys.Canary())
	s.runsAgain()
	s.delete()
}

// A container that never was, because what it waited for failed, keeps no other from being refreshed.
func TestARefreshLeavesOutWhatNeverRan(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	const path = "/s/password"
	arn, first := c.secret("shop/password")
	role := c.role("exec", malotetest.Allow(arn, "secretsmanager:GetSecretValue"))
	image := c.image(enginetest.Image{})
	probe, more, last := container("probe", image, "exit", "1"), container("more", image, "exit", "0"), container("last", image, "exit", "0")
	more.Secrets = []types.Secret{{Name: aws.String("PASSWORD"), ValueFrom: &arn}}
	more.MountPoints = []types.MountPoint{{SourceVolume: aws.String("secrets"), ContainerPath: aws.String("/run/secrets")}}
	last.MountPoints = more.MountPoints
	more.DependsOn = []types.ContainerDependency{{ContainerName: probe.Name, Condition: types.ContainerConditionSuccess}}
	last.DependsOn = []types.ContainerDependency{{ContainerName: more.Name, Condition: types.ContainerConditionComplete}}
	probe.Essential, more.Essential, last.Essential = aws.Bool(false), aws.Bool(false), aws.Bool(false)
	s := newFileService(c, role, arn,
		container("files", image, "writeenv", "/run/secrets/password", "PASSWORD"),
		container("app", image, "sum", path, "then", "reload", path), probe, more, last)
	c.waitFor("app: " + digestLine(path, first) + " -rw-r--r--")

	second := c.sys.Canary()
	version := s.put(second)
	c.waitFor("app: reloaded")
	c.waitFor("app: " + digestLine(path, second) + " -rw-r--r--")
	s.said("was refreshed: its tasks hold version " + version + " of " + arn + ".")
	if stale := c.stale(); len(stale) > 0 {
		t.Errorf("stale: %+v", stale)
	}
	if made := c.containers(); made["more"] != "" || made["last"] != "" {
		t.Errorf("there are %v", made)
	}
	s.delete()
}

// What two containers call by the same, and have in two versions since one of them was refreshed,
// the next engine finds them to have in those.
func TestAnEngineFindsTwoVersionsOfASecret(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	const path = "/s/password"
	arn, first := c.secret("shop/password")
	role := c.role("exec", malotetest.Allow(arn, "secretsmanager:GetSecretValue"))
	image := c.image(enginetest.Image{})
	app := container("app", image, "sum", path, "then", "reload", path)
	app.Secrets = []types.Secret{{Name: aws.String("PASSWORD"), ValueFrom: &arn}}
	app.HealthCheck = &types.HealthCheck{Command: []string{"CMD", "/app", "check", "PASSWORD", strings.Fields(digestLine("PASSWORD", first))[1]}, Interval: aws.Int32(5), Retries: aws.Int32(1)}
	s := newFileService(c, role, arn, container("files", image, "writeenv", "/run/secrets/password", "PASSWORD"), app)
	c.waitFor("app: " + digestLine(path, first) + " -rw-r--r--")
	holds := func(when, container, version string) {
		t.Helper()
		stale := c.stale()
		if len(stale) != 1 || stale[0].Container != container || stale[0].Version != version {
			t.Errorf("%s: stale: %+v, want version %s of %s", when, stale, version, container)
		}
	}
	s.put(c.sys.Canary())
	s.said("was refreshed")
	held := c.stale()
	if len(held) != 1 {
		t.Fatalf("stale: %+v", held)
	}
	holds("before", "app", held[0].Version)

	c.stop()
	last := s.put(c.sys.Canary())
	c.listen()
	s.said("was refreshed: its tasks hold version " + last + " of " + arn + ".")
	holds("after", "app", held[0].Version)
	asked := time.Now()
	s.is("healthy by what the app was given", func(*types.Service) bool {
		health := s.inspect("app").State.Health
		return health != nil && slices.ContainsFunc(health.Log, func(r *dockercontainer.HealthcheckResult) bool { return r.Start.After(asked) && r.ExitCode == 0 })
	})
	s.delete()
}
