package engine_test

import (
	"context"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/moby/moby/client"

	"github.com/malote/malote/controlplane"
	"github.com/malote/malote/engine/enginetest"
	"github.com/malote/malote/malotetest"
	"github.com/malote/malote/rotation"
	"github.com/malote/malote/rotation/functions"
)

const (
	goodFunction   = "arn:aws:lambda:us-east-1:123456789012:function:good"
	brokenFunction = "arn:aws:lambda:us-east-1:123456789012:function:broken"
	goneFunction   = "arn:aws:lambda:us-east-1:123456789012:function:gone"
	rotatorRole    = "arn:aws:iam::123456789012:role/rotator"
)

// rotating is a control plane whose rotation functions are images, and its engine.
type rotating struct {
	*cluster
	secrets  *secretsmanager.Client
	function string // the image
}

func newRotating(t *testing.T, with ...malotetest.Option) *rotating {
	t.Helper()
	enginetest.Exclusive(t, "169.254.170.2")
	w := newWorld(t)
	image := w.image(enginetest.Image{SDK: true, Entrypoint: []string{"/aws", "lambda"}})
	definition := func(image string, environment map[string]string) functions.Definition {
		return functions.Definition{Image: image, Role: rotatorRole, Environment: environment, Timeout: 30 * time.Second}
	}
	with = append(with,
		malotetest.Rotation(map[string]functions.Definition{
			goodFunction:   definition(image, nil),
			brokenFunction: definition(image, map[string]string{"FAIL": "testSecret"}),
			goneFunction:   definition(w.image(enginetest.Image{}), nil), // ends at once
		}, nil),
		malotetest.Engine(controlplane.Engine{Region: malotetest.Region, Cluster: "default", Name: w.config.Name}),
	)
	sys := malotetest.New(t, with...)
	r := &rotating{cluster: &cluster{world: w, sys: sys, ecs: ecs.NewFromConfig(sys.Config())}, secrets: secretsmanager.NewFromConfig(sys.Config()), function: image}
	w.config.AWS, w.config.Now = sys.Config(), sys.Clock.Now
	w.config.NoMetadata, w.config.API = false, sys.Handler()
	w.config.Attributes = map[string]string{functions.EngineAttribute: w.config.Name}
	return r
}

func (r *rotating) prepare() {
	r.t.Helper()
	r.role("rotator", malotetest.Allow("*", "secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue", "secretsmanager:PutSecretValue", "secretsmanager:UpdateSecretVersionStage"))
}

// rotate has a function rotate a new secret, and returns why the first attempt failed.
func (r *rotating) rotate(name, function string) (failed string) {
	r.t.Helper()
	value := r.sys.Canary()
	if _, err := r.secrets.CreateSecret(r.t.Context(), &secretsmanager.CreateSecretInput{Name: &name, SecretString: &value}); err != nil {
		r.t.Fatal(err)
	}
	if _, err := r.secrets.RotateSecret(r.t.Context(), &secretsmanager.RotateSecretInput{SecretId: &name, RotationLambdaARN: &function, RotateImmediately: aws.Bool(true)}); err != nil {
		r.t.Fatal(err)
	}
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		history := r.history(name)
		if len(history.Runs) == 0 {
			continue
		}
		run := history.Runs[len(history.Runs)-1]
		for _, step := range run.Steps {
			if step.Outcome == "Failed" {
				return step.Step + ": " + step.Reason
			}
		}
		if run.Outcome == "Succeeded" {
			return ""
		}
	}
	r.t.Fatalf("the rotation of %s did not end: %+v", name, r.history(name))
	return ""
}

// history is what malote secret rotation shows.
func (r *rotating) history(name string) *rotation.History {
	r.t.Helper()
	h := new(rotation.History)
	r.ask("secretsmanager", "/rotations?SecretId="+url.QueryEscape(name), h)
	return h
}

// ids are the containers that Docker has.
func (r *rotating) ids() []string {
	r.t.Helper()
	list, err := r.docker.ContainerList(context.Background(), client.ContainerListOptions{All: true, Filters: client.Filters{}.Add("label", "malote.engine="+r.config.Name)})
	if err != nil {
		r.t.Fatal(err)
	}
	var ids []string
	for _, c := range list.Items {
		ids = append(ids, c.ID)
	}
	return ids
}

func (r *rotating) noneLeft() {
	r.t.Helper()
	for deadline := time.Now().Add(time.Minute); len(r.ids()) > 0; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			r.t.Fatalf("containers are left: %v", r.ids())
		}
	}
}

// An image that speaks Lambda's local invoke endpoint rotates a secret as its role, in one
// container that is gone afterwards.
func TestRotationByImage(t *testing.T) {
	r := newRotating(t)
	r.prepare()
	r.listen()
	if failed := r.rotate("db", goodFunction); failed != "" {
		t.Fatal(failed)
	}
	out, err := r.secrets.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: aws.String("db")})
	if err != nil || len(*out.SecretString) != 26 {
		t.Fatalf("the secret after its rotation: %v, %v", out, err)
	}
	r.sys.Canaries.Add(*out.SecretString)
	r.waitFor("function: step finishSecret")
	if want := []string{"function: step createSecret", "function: step setSecret", "function: step testSecret", "function: step finishSecret"}; !slices.Equal(r.output(), want) {
		t.Errorf("the container wrote %q, want %q", r.output(), want)
	}
	r.noneLeft()

	// The control plane did it as a role that may pass on the function's role alone.
	policy, err := iam.NewFromConfig(r.sys.Config()).GetRolePolicy(t.Context(), &iam.GetRolePolicyInput{RoleName: aws.String("malote-rotation"), PolicyName: aws.String("malote-rotation")})
	if err != nil {
		t.Fatal(err)
	}
	document, err := url.QueryUnescape(*policy.PolicyDocument)
	if want := `{"Effect":"Allow","Action":"iam:PassRole","Resource":["` + rotatorRole + `"],"Condition":{"StringEquals":{"iam:PassedToService":"ecs-tasks.amazonaws.com"}}}`; err != nil || !strings.Contains(document, want) || strings.Count(document, "iam:") != 2+1 {
		t.Errorf("the policy of malote-rotation: %s, %v, want %s in it", document, err, want)
	}

	// What fails is what the function said, and nothing is left of it.
	want := "testSecret: RotationError: broken of version $LATEST fails within 30 s"
	if failed := r.rotate("broken", brokenFunction); failed != want {
		t.Errorf("a step that fails: %q, want %q", failed, want)
	}
	r.noneLeft()
	if failed := r.rotate("gone", goneFunction); !strings.Contains(failed, "the task stopped: Essential container in task exited") {
		t.Errorf("a container that ends at once: %q", failed)
	}
	r.noneLeft()
}

// What an earlier life of the control plane has left is stopped when it begins again, and
// what waits when it ends; nobody but this host reaches a function.
func TestNoContainerOfAFunctionStays(t *testing.T) {
	r := newRotating(t)
	r.prepare()
	r.listen()
	value := r.sys.Canary()
	secret, err := r.secrets.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: aws.String("db"), SecretString: &value})
	if err != nil {
		t.Fatal(err)
	}
	life := func() *functions.Functions {
		f, err := functions.New(functions.Config{
			Definitions: map[string]functions.Definition{goodFunction: {Image: r.function, Role: rotatorRole}},
			Engine:      &functions.Engine{Account: malotetest.Account, Cluster: "default", Name: r.config.Name, AWS: r.sys.Config()},
		})
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	step := func(f *functions.Functions) {
		t.Helper()
		if err := f.Invoke(t.Context(), goodFunction, rotation.Event{Step: rotation.SetSecret, SecretId: *secret.ARN, ClientRequestToken: "11111111-1111-4111-8111-111111111111"}); err != nil {
			t.Fatal(err)
		}
	}
	running := func() types.Task {
		t.Helper()
		out, err := r.ecs.ListTasks(t.Context(), &ecs.ListTasksInput{StartedBy: aws.String(functions.FamilyPrefix + r.config.Name)})
		if err != nil || len(out.TaskArns) != 1 {
			t.Fatalf("functions' tasks: %v, %v, want one", out, err)
		}
		return r.until(out.TaskArns[0], "RUNNING")
	}

	first := life()
	step(first)
	left := running()
	step(first) // in the same container
	if again := running(); *again.TaskArn != *left.TaskArn {
		t.Errorf("the second step is in %s, the first was in %s", *again.TaskArn, *left.TaskArn)
	}
	b := left.Containers[0].NetworkBindings
	if len(b) != 1 || *b[0].BindIP != "127.0.0.1" {
		t.Errorf("the function is published at %+v, want 127.0.0.1 alone", b)
	}
	bystander := r.runTask("", container("web", r.image(enginetest.Image{}), "print", "up", "then", "trap", "0"))
	r.until(bystander, "RUNNING")

	second := life() // and the first is killed
	if err := second.Begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	if task := r.until(*left.TaskArn, "STOPPED"); *task.StoppedReason != "malote has restarted" {
		t.Errorf("stopped: %s", *task.StoppedReason)
	}
	step(second)
	waits := running()
	second.Close()
	r.until(*waits.TaskArn, "STOPPED")
	if task := r.until(bystander, "RUNNING"); *task.DesiredStatus != "RUNNING" {
		t.Errorf("a task that is none of a function's: %+v", task)
	}
	if _, err := r.ecs.StopTask(t.Context(), &ecs.StopTaskInput{Task: &bystander}); err != nil {
		t.Fatal(err)
	}
	r.noneLeft()
}

// Without an engine that listens, a rotation says what is missing.
func TestRotationByImageWithoutAnEngine(t *testing.T) {
	r := newRotating(t)
	r.prepare()
	if failed := r.rotate("db", goodFunction); !strings.HasPrefix(failed, "createSecret: running the image ") {
		t.Errorf("without an engine: %q", failed)
	}
	f, err := functions.New(functions.Config{Definitions: map[string]functions.Definition{goodFunction: {Image: "rotate:1", Role: rotatorRole}}})
	if err != nil {
		t.Fatal(err)
	}
	err = f.Invoke(t.Context(), goodFunction, rotation.Event{Step: rotation.SetSecret})
	if want := "the image rotate:1 cannot run: this control plane has no engine; malote up has one"; err == nil || err.Error() != want {
		t.Errorf("without an engine: %v, want %s", err, want)
	}
}
