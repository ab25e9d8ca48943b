package ecs_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/malote/malote/acs"
	"github.com/malote/malote/malotetest"
)

// vault is one secret, and a worker whose tasks are given it as variable PASSWORD.
type vault struct {
	*worker
	sys     *malotetest.System
	secrets *secretsmanager.Client
	arn     string

	mu  sync.Mutex
	bad map[string]bool // versions with which no task starts
}

const checkedContainer = `'memory':32,'healthCheck':{'command':['CMD','true']}`

func newVault(t *testing.T) *vault {
	t.Helper()
	sys := malotetest.New(t)
	v := &vault{worker: work(t, sys), sys: sys, secrets: secretsmanager.NewFromConfig(sys.Config()), bad: map[string]bool{}}
	v.checked, v.given = true, v.give
	out, err := v.secrets.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: aws.String("db"), SecretString: aws.String(sys.Canary())})
	if err != nil {
		t.Fatal(err)
	}
	v.arn = *out.ARN
	role(t, sys, "exec", "")
	define(t, v.client, "web", checkedContainer+`,'secrets':[{'name':'PASSWORD','valueFrom':'`+v.arn+`'}]`, `'executionRoleArn':'exec'`)
	return v
}

func (v *vault) current() string {
	out, err := v.secrets.DescribeSecret(v.t.Context(), &secretsmanager.DescribeSecretInput{SecretId: &v.arn})
	if err != nil {
		if v.t.Context().Err() == nil {
			v.t.Error(err)
		}
		return ""
	}
	for id, stages := range out.VersionIdsToStages {
		if slices.Contains(stages, "AWSCURRENT") {
			return id
		}
	}
	return ""
}

// give does what an engine does: the pinned version, or else the current one.
func (v *vault) give(task *acs.Task) ([]acs.Held, string) {
	h := acs.Held{Container: "app", Name: "PASSWORD", ARN: v.arn, Selector: "AWSCURRENT", Version: v.current()}
	for _, p := range task.Pins {
		if p.Name == h.Name {
			h.Version = p.Version
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.bad[h.Version] {
		return nil, "Essential container in task exited"
	}
	return []acs.Held{h}, ""
}

func (v *vault) put() string {
	v.t.Helper()
	out, err := v.secrets.PutSecretValue(v.t.Context(), &secretsmanager.PutSecretValueInput{SecretId: &v.arn, SecretString: aws.String(v.sys.Canary())})
	if err != nil {
		v.t.Fatal(err)
	}
	return *out.VersionId
}

// service makes one of the family web, with these tags.
func (v *vault) service(name string, count int32, tags ...string) {
	v.t.Helper()
	in := &ecs.CreateServiceInput{
		ServiceName: &name, TaskDefinition: aws.String("web"), DesiredCount: &count,
		DeploymentConfiguration: &types.DeploymentConfiguration{DeploymentCircuitBreaker: &types.DeploymentCircuitBreaker{Enable: true, Rollback: true}},
	}
	for i := 0; i < len(tags); i += 2 {
		in.Tags = append(in.Tags, types.Tag{Key: &tags[i], Value: &tags[i+1]})
	}
	create(v.t, v.client, in)
	until(v.t, v.client, name, "completed", completed)
}

// holding counts the tasks of a service by the version that they hold.
func (v *vault) holding(name string) map[string]int {
	v.t.Helper()
	got, refusal := v.holdings("?serviceName=" + name)
	if refusal != "" {
		v.t.Fatal(refusal)
	}
	n := map[string]int{}
	for _, task := range got.Tasks {
		for _, s := range task.Secrets {
			n[s.Version]++
		}
	}
	return n
}

// holds waits until a service is completed and count tasks hold the version, and no other.
func (v *vault) holds(name, version string, count int) types.Service {
	v.t.Helper()
	return until(v.t, v.client, name, "all on "+version, func(s *types.Service) bool {
		if !completed(s) {
			return false
		}
		held := v.holding(name)
		return len(held) == 1 && held[version] == count
	})
}

func (v *vault) deployments(name string) int {
	v.t.Helper()
	out, err := v.client.ListServiceDeployments(v.t.Context(), &ecs.ListServiceDeploymentsInput{Service: &name})
	if err != nil {
		v.t.Fatal(err)
	}
	return len(out.ServiceDeployments)
}

// A changed secret reaches who asked for it, once; who asked to be told is told; nobody else
// notices.
func TestRedeployOnChange(t *testing.T) {
	t.Parallel()
	v := newVault(t)
	first := v.current()
	v.service("plain", 1)
	v.service("told", 1, "malote:on-secret-change", "alert")
	v.service("web", 3, "malote:on-secret-change", "redeploy")
	v.put()
	last := v.put() // one wave for both
	web := v.holds("web", last, 3)
	if n := v.deployments("web"); n != 2 {
		t.Errorf("%d deployments, want 2: one for both changes", n)
	}
	if want := "is redeployed (deployment " + *web.Deployments[0].Id + "): 3 tasks hold version " + first + " of " + v.arn + ", while version " + last + " of " + v.arn + " is current."; !said(&web, want) {
		t.Errorf("no event %q in %s", want, text(&web))
	}
	want := "1 task holds version " + first + " of " + v.arn + ", while version " + last + " of " + v.arn + " is current. A new deployment would change that."
	until(t, v.client, "told", "told", func(s *types.Service) bool { return said(s, want) })
	for _, name := range []string{"told", "plain"} {
		if held := v.holding(name); held[first] != 1 || v.deployments(name) != 1 {
			t.Errorf("%s: %v after %d deployments", name, held, v.deployments(name))
		}
	}
	// Who asks later gets what is current by then.
	if _, err := v.client.TagResource(t.Context(), &ecs.TagResourceInput{
		ResourceArn: service(t, v.client, "told").ServiceArn, Tags: []types.Tag{{Key: aws.String("malote:on-secret-change"), Value: aws.String("redeploy")}},
	}); err != nil {
		t.Fatal(err)
	}
	v.holds("told", last, 1)
}

// A secret with which nothing starts is rolled back, with the version from before, and not
// tried again; the next version is.
func TestRollBackToTheSecretFromBefore(t *testing.T) {
	t.Parallel()
	v := newVault(t)
	first := v.current()
	v.service("web", 2, "malote:on-secret-change", "redeploy")
	original := *service(t, v.client, "web").Deployments[0].Id
	v.mu.Lock()
	bad := v.put()
	v.bad[bad] = true
	v.mu.Unlock()
	tick := passing(v.sys)
	until(t, v.client, "web", "tried", func(*types.Service) bool { return v.deployments("web") == 2 })
	web := until(t, v.client, "web", "rolled back", func(s *types.Service) bool {
		tick()
		return completed(s) && *s.Deployments[0].Id == original
	})
	want := "tasks are given the versions of secrets from before, until there is another deployment. It is not redeployed for version " + bad + " of " + v.arn + "."
	if !said(&web, want) {
		t.Errorf("no event %q in %s", want, text(&web))
	}
	v.die(v.tasks()[0])
	until(t, v.client, "web", "healed", func(s *types.Service) bool { return completed(s) && v.holding("web")[first] == 2 })
	if n := v.deployments("web"); n != 2 {
		t.Errorf("%d deployments, want 2", n)
	}
	v.holds("web", v.put(), 2)
	if n := v.deployments("web"); n != 3 {
		t.Errorf("%d deployments, want 3", n)
	}
}

// However many services have a secret, few are redeployed at the same time.
func TestNoStampede(t *testing.T) {
	t.Parallel()
	v := newVault(t)
	const services = 8
	var names []string
	for i := range services {
		name := fmt.Sprintf("web-%d", i)
		names = append(names, name)
		v.service(name, 1, "malote:on-secret-change", "redeploy")
	}
	v.worker.mu.Lock()
	v.checked = false // no deployment ends by itself
	v.worker.mu.Unlock()
	last := v.put()
	deploying := func() (n int) {
		out, err := v.client.DescribeServices(t.Context(), &ecs.DescribeServicesInput{Services: names})
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range out.Services {
			if s.Deployments[0].RolloutState == types.DeploymentRolloutStateInProgress {
				n++
			}
		}
		return n
	}
	for end := time.Now().Add(20 * time.Second); deploying() < 5; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d services are redeployed, want 5", deploying())
		}
	}
	// The others get their turn when these have ended.
	healthy := map[string]bool{}
	for end := time.Now().Add(40 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if n := deploying(); n > 5 {
			t.Fatalf("%d services are redeployed at the same time", n)
		}
		done := 0
		for _, name := range names {
			if v.holding(name)[last] == 1 && isCompleted(service(t, v.client, name)) {
				done++
			}
		}
		if done == services {
			return
		}
		if time.Now().After(end) {
			s := service(t, v.client, names[0])
			t.Fatalf("%d services are done; %v %s", done, v.holding(names[0]), text(&s))
		}
		for _, task := range v.tasks() {
			if !healthy[task] {
				healthy[task] = true
				v.health(task, types.HealthStatusHealthy)
			}
		}
	}
}

// All tasks of a pinned deployment are given what the first was.
func TestPinSecrets(t *testing.T) {
	t.Parallel()
	v := newVault(t)
	first := v.current()
	var once sync.Once
	v.given = func(task *acs.Task) ([]acs.Held, string) {
		held, why := v.give(task)
		once.Do(func() { v.put() }) // before the second task
		return held, why
	}
	v.service("web", 4, "malote:pin-secrets", "deployment")
	v.holds("web", first, 4)
	v.die(v.tasks()[0])
	until(t, v.client, "web", "healed", func(s *types.Service) bool { return completed(s) && v.holding("web")[first] == 4 })
	if _, err := v.client.UpdateService(t.Context(), &ecs.UpdateServiceInput{Service: aws.String("web"), ForceNewDeployment: true}); err != nil {
		t.Fatal(err)
	}
	v.holds("web", v.current(), 4)
}

func TestTagsOfServices(t *testing.T) {
	t.Parallel()
	v := newVault(t)
	for _, c := range []struct{ key, value, want string }{
		{"malote:on-secret-change", "restart", "The service's tags are not valid: the value 'restart' of the tag 'malote:on-secret-change' is not supported. It can be off, alert, redeploy, refresh."},
		{"malote:pin-secrets", "", "The service's tags are not valid: the value '' of the tag 'malote:pin-secrets' is not supported. It can be off, deployment."},
		{"malote:on-change", "alert", "The service's tags are not valid: the tag key 'malote:on-change' is not known to malote. There are malote:on-secret-change and malote:pin-secrets of a service, and malote:wait-for-tasks of a secret."},
	} {
		tags := []types.Tag{{Key: &c.key, Value: &c.value}}
		_, err := v.client.CreateService(t.Context(), &ecs.CreateServiceInput{ServiceName: aws.String("web"), TaskDefinition: aws.String("web"), DesiredCount: aws.Int32(0), Tags: tags})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("CreateService with %s=%s: %v", c.key, c.value, err)
		}
	}
	v.service("web", 0, "malote:on-secret-change", "off")
	_, err := v.client.TagResource(t.Context(), &ecs.TagResourceInput{ResourceArn: service(t, v.client, "web").ServiceArn, Tags: []types.Tag{{Key: aws.String("malote:pin-secrets"), Value: aws.String("yes")}}})
	if err == nil || !strings.Contains(err.Error(), "InvalidParameterException") {
		t.Errorf("TagResource: %v", err)
	}
	// Together they contradict each other, whichever comes last.
	v.service("pinned", 0, "malote:pin-secrets", "deployment")
	_, err = v.client.TagResource(t.Context(), &ecs.TagResourceInput{ResourceArn: service(t, v.client, "pinned").ServiceArn, Tags: []types.Tag{{Key: aws.String("malote:on-secret-change"), Value: aws.String("refresh")}}})
	if want := "'refresh' of 'malote:on-secret-change' renews what 'deployment' of 'malote:pin-secrets' keeps: a service can have one of them."; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("TagResource: %v", err)
	}
}

func isCompleted(s types.Service) bool { return completed(&s) }
