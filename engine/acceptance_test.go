package engine_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	secrettypes "github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/moby/moby/client"

	"github.com/malote/malote/engine/enginetest"
	"github.com/malote/malote/malotetest"
	"github.com/malote/malote/rotation"
	"github.com/malote/malote/rotation/builtin"
	"github.com/malote/malote/rotation/functions"
	"github.com/malote/malote/rotation/rotationtest"
)

// targets is what a load balancer has: those tasks of a service that are healthy.
type targets struct {
	mu   sync.Mutex
	urls []string
}

func (b *targets) pick() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.urls) == 0 {
		return ""
	}
	return b.urls[rand.IntN(len(b.urls))]
}

func (b *targets) refresh(c *cluster) error {
	list, err := c.ecs.ListTasks(c.t.Context(), &ecs.ListTasksInput{ServiceName: aws.String("shop"), DesiredStatus: types.DesiredStatusRunning})
	if err != nil || len(list.TaskArns) == 0 {
		return err
	}
	out, err := c.ecs.DescribeTasks(c.t.Context(), &ecs.DescribeTasksInput{Tasks: list.TaskArns})
	if err != nil {
		return err
	}
	var urls []string
	for _, task := range out.Tasks {
		if task.HealthStatus != types.HealthStatusHealthy || *task.DesiredStatus != "RUNNING" {
			continue
		}
		for _, binding := range task.Containers[0].NetworkBindings {
			urls = append(urls, fmt.Sprintf("http://127.0.0.1:%d/login", *binding.HostPort))
			break
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.urls = urls
	return nil
}

// bridgeAddress is where containers of Docker's bridge reach the host.
func (c *cluster) bridgeAddress() string {
	c.t.Helper()
	bridge, err := c.docker.NetworkInspect(c.t.Context(), "bridge", client.NetworkInspectOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	device, err := net.InterfaceByName(bridge.Network.Options["com.docker.network.bridge.name"])
	if err != nil {
		c.t.Fatal(err)
	}
	addresses, err := device.Addrs()
	if err != nil || len(addresses) == 0 {
		c.t.Fatalf("%s has no address: %v", device.Name, err)
	}
	return addresses[0].(*net.IPNet).IP.String()
}

// Four tasks serve under load while their database's password is rotated again and again,
// as fast as it goes. Each rotation gives the service a deployment and waits until the last one has
// reached every task: no request fails, and nobody did anything.
func TestRotationUnderLoad(t *testing.T) {
	t.Parallel()
	const (
		function  = "arn:aws:lambda:us-east-1:123456789012:function:rotate"
		rotations = 4
		clients   = 4
	)
	rotate, err := builtin.Named("redis-alternating-users", nil)
	if err != nil {
		t.Fatal(err)
	}
	c := newCluster(t, malotetest.Rotation(
		map[string]functions.Definition{function: {Builtin: "redis", Role: "arn:aws:iam::123456789012:role/rotator"}},
		map[string]rotation.Function{"redis": rotate},
	))
	secrets := secretsmanager.NewFromConfig(c.sys.Config())

	host := c.bridgeAddress()
	first, port, dir := c.sys.Canary(), rotationtest.FreePort(t), rotationtest.Dir(t, "redis")
	acl := filepath.Join(dir, "users.acl")
	if err := os.WriteFile(acl, []byte("user default off\nuser app on >"+first+" ~* +@all\nuser master on >"+first+" ~* +@all\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(acl, 0o666); err != nil {
		t.Fatal(err)
	}
	rotationtest.Start(t, rotationtest.Command(t, "redis", "redis-server", "--port", strconv.Itoa(port), "--bind", "127.0.0.1", host, "--dir", dir, "--aclfile", acl, "--save", ""), port, dir)

	master, err := secrets.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: aws.String("master"),
		SecretString: aws.String(fmt.Sprintf(`{"engine":"redis","host":"127.0.0.1","port":%d,"username":"master","password":%q,"ssl":false}`, port, first))})
	if err != nil {
		t.Fatal(err)
	}
	made, err := secrets.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: aws.String("app"),
		SecretString: aws.String(fmt.Sprintf(`{"engine":"redis","host":"127.0.0.1","port":%d,"username":"app","password":%q,"ssl":false,"masterarn":%q}`, port, first, *master.ARN)),
		Tags:         []secrettypes.Tag{{Key: aws.String("malote:wait-for-tasks"), Value: aws.String("1h")}}})
	if err != nil {
		t.Fatal(err)
	}
	people := iam.NewFromConfig(c.sys.Config())
	trust := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"lambda.amazonaws.com"},"Action":"sts:AssumeRole"}]}`
	if _, err := people.CreateRole(t.Context(), &iam.CreateRoleInput{RoleName: aws.String("rotator"), AssumeRolePolicyDocument: &trust}); err != nil {
		t.Fatal(err)
	}
	may := malotetest.Allow("*", "secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue", "secretsmanager:PutSecretValue", "secretsmanager:UpdateSecretVersionStage", "secretsmanager:GetRandomPassword")
	if _, err := people.PutRolePolicy(t.Context(), &iam.PutRolePolicyInput{RoleName: aws.String("rotator"), PolicyName: aws.String("p"), PolicyDocument: &may}); err != nil {
		t.Fatal(err)
	}

	role := c.role("exec", malotetest.Allow(*made.ARN, "secretsmanager:GetSecretValue"))
	app := container("app", c.image(enginetest.Image{}), "serve", ":8080")
	app.Environment = []types.KeyValuePair{{Name: aws.String("REDIS"), Value: aws.String(fmt.Sprintf("%s:%d", host, port))}, {Name: aws.String("LINGER"), Value: aws.String("3s")}}
	app.Secrets = []types.Secret{{Name: aws.String("USERNAME"), ValueFrom: aws.String(*made.ARN + ":username::")}, {Name: aws.String("PASSWORD"), ValueFrom: aws.String(*made.ARN + ":password::")}}
	app.PortMappings = []types.PortMapping{{ContainerPort: aws.Int32(8080)}}
	app.HealthCheck = &types.HealthCheck{Command: []string{"CMD", "/app", "fetch", "http://127.0.0.1:8080/login", "200"}, Interval: aws.Int32(5), Retries: aws.Int32(2)}
	app.StopTimeout = aws.Int32(10)
	if _, err := c.ecs.RegisterTaskDefinition(t.Context(), &ecs.RegisterTaskDefinitionInput{Family: aws.String("shop"), ExecutionRoleArn: &role, ContainerDefinitions: []types.ContainerDefinition{app}}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.ecs.CreateService(t.Context(), &ecs.CreateServiceInput{
		ServiceName: aws.String("shop"), TaskDefinition: aws.String("shop"), DesiredCount: aws.Int32(4),
		Tags: []types.Tag{{Key: aws.String("malote:on-secret-change"), Value: aws.String("redeploy")}},
	}); err != nil {
		t.Fatal(err)
	}

	// Time goes as it does outside.
	done := make(chan struct{})
	var running sync.WaitGroup
	defer running.Wait()
	defer sync.OnceFunc(func() { close(done) })()
	balancer := new(targets)
	every := func(d time.Duration, fn func()) {
		running.Go(func() {
			tick := time.NewTicker(d)
			defer tick.Stop()
			for {
				select {
				case <-done:
					return
				case <-tick.C:
					fn()
				}
			}
		})
	}
	every(100*time.Millisecond, func() { c.sys.Clock.Advance(100 * time.Millisecond) })
	every(200*time.Millisecond, func() {
		if err := balancer.refresh(c); err != nil && t.Context().Err() == nil {
			t.Errorf("listing the service's tasks: %v", err)
		}
	})
	settled := func(what string, ok func(*types.Service) bool) {
		t.Helper()
		var v types.Service
		for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
			out, err := c.ecs.DescribeServices(t.Context(), &ecs.DescribeServicesInput{Services: []string{"shop"}})
			if err != nil {
				t.Fatal(err)
			}
			if v = out.Services[0]; ok(&v) {
				return
			}
		}
		for _, e := range v.Events {
			t.Log(*e.Message)
		}
		t.Fatalf("the service never was %s: %d running, %+v", what, v.RunningCount, v.Deployments)
	}
	completed := func(v *types.Service) bool {
		return len(v.Deployments) == 1 && v.RunningCount == 4 && v.Deployments[0].RolloutState == types.DeploymentRolloutStateCompleted
	}
	settled("completed", completed)

	var (
		asked, failed atomic.Int64
		enough        = make(chan struct{})
		load          sync.WaitGroup
	)
	defer load.Wait()
	stopLoad := sync.OnceFunc(func() { close(enough) })
	defer stopLoad()
	for range clients {
		load.Go(func() {
			// A connection for each request: kept ones would go on to tasks that the balancer has taken away.
			browser := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
			for {
				select {
				case <-enough:
					return
				case <-time.After(5 * time.Millisecond):
				}
				url := balancer.pick()
				if url == "" {
					continue
				}
				asked.Add(1)
				answer, err := browser.Get(url)
				if err == nil {
					answer.Body.Close()
					if answer.StatusCode != http.StatusOK {
						err = errors.New(answer.Status)
					}
				}
				if err != nil && failed.Add(1) <= 5 {
					t.Errorf("request %d: %v", asked.Load(), err)
				}
			}
		})
	}

	began := time.Now()
	for n := 1; n <= rotations; n++ {
		token := rotationtest.Token(n)
		in := &secretsmanager.RotateSecretInput{SecretId: made.ARN, ClientRequestToken: &token, RotationLambdaARN: aws.String(function)}
		for end := time.Now().Add(2 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
			_, err := secrets.RotateSecret(t.Context(), in)
			if err == nil {
				break
			}
			// The end of the rotation before is not written down yet.
			if busy := new(secrettypes.InvalidRequestException); !errors.As(err, &busy) || time.Now().After(end) {
				t.Fatal(err)
			}
		}
		for end := time.Now().Add(2 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
			out, err := secrets.DescribeSecret(t.Context(), &secretsmanager.DescribeSecretInput{SecretId: made.ARN})
			if err != nil {
				t.Fatal(err)
			}
			if stages := out.VersionIdsToStages[token]; len(stages) > 0 && stages[0] == "AWSCURRENT" {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("rotation %d does not end: %v", n, out.VersionIdsToStages)
			}
		}
	}
	// The last one's deployment begins within seconds.
	settled("redeployed", func(v *types.Service) bool { return !completed(v) })
	settled("completed", completed)
	stopLoad()
	load.Wait()
	if stale := c.stale(); len(stale) != 0 {
		t.Errorf("stale: %+v", stale)
	}
	out, err := c.ecs.ListServiceDeployments(t.Context(), &ecs.ListServiceDeploymentsInput{Service: aws.String("shop")})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d rotations in %s, %d deployments, %d requests, %d failed", rotations, time.Since(began).Round(time.Second), len(out.ServiceDeployments), asked.Load(), failed.Load())
	if asked.Load() < 100 || failed.Load() != 0 || len(out.ServiceDeployments) != rotations+1 {
		t.Errorf("%d deployments, %d requests, %d failed", len(out.ServiceDeployments), asked.Load(), failed.Load())
	}
	if _, err := c.ecs.DeleteService(t.Context(), &ecs.DeleteServiceInput{Service: aws.String("shop"), Force: aws.Bool(true)}); err != nil {
		t.Fatal(err)
	}
	settled("INACTIVE", func(v *types.Service) bool { return *v.Status == "INACTIVE" })
}
