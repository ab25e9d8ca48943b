package engine_test

import (
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/malote/malote/acs"
	"github.com/malote/malote/engine/enginetest"
)

// Every row fails, says what and why, and leaves nothing, which newWorld checks.
func TestFailuresSayWhatAndWhyAndLeaveNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	image := w.image(enginetest.Image{})
	bare := enginetest.Build(t, w.docker, enginetest.Image{})
	w.stores.secrets[secretARN("json")] = `{"password": "` + canary + `", "user": "x"}`
	w.stores.secrets[secretARN("text")] = canary
	w.stores.secrets[secretARN("nul")] = "a\x00b"
	w.stores.secrets[secretARN("big")] = strings.Repeat("x", 128<<10)

	withSecret := func(valueFrom string) acs.Task {
		c := container("app", image, "exit", "0")
		c.Secrets = []types.Secret{{Name: aws.String("SECRET"), ValueFrom: aws.String(valueFrom)}}
		return newTask(c)
	}
	edit := func(f func(*acs.Task, *types.ContainerDefinition)) acs.Task {
		task := newTask(container("app", image, "exit", "0"))
		f(&task, &task.Definition.ContainerDefinitions[0])
		return task
	}
	const init = "ResourceInitializationError: unable to pull secrets or registry auth: "
	for _, tt := range []struct {
		name string
		task acs.Task
		want []string // in the reason
	}{
		{"three fields", withSecret(secretARN("json") + ":password"), []string{init, "an invalid ARN format", "write " + secretARN("json") + ":password::"}},
		{"four fields", withSecret(secretARN("json") + ":password:"), []string{init, "an invalid ARN format"}},
		{"six fields", withSecret(secretARN("json") + ":password::::"), []string{init, "an invalid ARN format"}},
		{"missing secret", withSecret(secretARN("absent")), []string{init, "ResourceNotFoundException", secretARN("absent"), "secretsmanager:GetSecretValue as arn:aws:iam::123456789012:role/exec"}},
		{"missing parameter", withSecret("/absent"), []string{init, "/absent", "ssm:GetParameters as arn:aws:iam::123456789012:role/exec"}},
		{"missing JSON key", withSecret(secretARN("json") + ":pass::"), []string{init, "did not contain json key pass", "password"}},
		{"not JSON", withSecret(secretARN("text") + ":pass::"), []string{init, secretARN("text")}},
		{"NUL", withSecret(secretARN("nul")), []string{"NUL", "SECRET"}},
		{"one value too large", withSecret(secretARN("big")), []string{"SECRET", "131071"}},
		{"environment too large", edit(func(task *acs.Task, c *types.ContainerDefinition) {
			for i := range 40 {
				c.Environment = append(c.Environment, types.KeyValuePair{Name: aws.String("V" + string(rune('A'+i))), Value: aws.String(strings.Repeat("x", 60<<10))})
			}
		}), []string{"environment and arguments", "2097152"}},
		{"no execution role", edit(func(task *acs.Task, c *types.ContainerDefinition) {
			task.ExecutionRole, task.Definition.ExecutionRoleArn = nil, nil
			c.Secrets = []types.Secret{{Name: aws.String("A"), ValueFrom: aws.String("/p")}}
		}), []string{"When you are specifying container secrets, you must also specify a value for 'executionRoleArn'."}},
		{"secret and environment", edit(func(task *acs.Task, c *types.ContainerDefinition) {
			c.Environment = []types.KeyValuePair{{Name: aws.String("A"), Value: aws.String("b")}}
			c.Secrets = []types.Secret{{Name: aws.String("A"), ValueFrom: aws.String("/p")}}
		}), []string{"The secret name must be unique and not shared", "'A'"}},
		{"missing image", edit(func(task *acs.Task, c *types.ContainerDefinition) {
			c.Image = aws.String("127.0.0.1:1/absent:1")
		}), []string{"CannotPullContainerError: ", "127.0.0.1:1/absent:1"}},
		{"no command", edit(func(task *acs.Task, c *types.ContainerDefinition) {
			c.Image, c.Command = aws.String(bare), nil
		}), []string{"CannotCreateContainerError: ", "neither ENTRYPOINT nor CMD"}},
		{"command not there", edit(func(task *acs.Task, c *types.ContainerDefinition) {
			c.EntryPoint = []string{"/absent"}
		}), []string{"CannotStartContainerError: ", "/absent"}},
		{"volume unknown", edit(func(task *acs.Task, c *types.ContainerDefinition) {
			c.MountPoints = []types.MountPoint{{SourceVolume: aws.String("nothere"), ContainerPath: aws.String("/x")}}
		}), []string{"Invalid volume referenced: nothere"}},
		{"shared volume absent", edit(func(task *acs.Task, c *types.ContainerDefinition) {
			task.Definition.Volumes = []types.Volume{{Name: aws.String("malote-test-absent"), DockerVolumeConfiguration: &types.DockerVolumeConfiguration{Scope: types.ScopeShared}}}
		}), []string{"does not exist and autoprovision is set to false"}},
		{"cycle", func() acs.Task {
			a, b := container("a", image), container("b", image)
			a.DependsOn = []types.ContainerDependency{{ContainerName: aws.String("b"), Condition: types.ContainerConditionStart}}
			b.Links = []string{"a"}
			return newTask(a, b)
		}(), []string{"TaskDependencyError", "a → b → a"}},
		{"a sidecar fails", func() acs.Task {
			a, b := container("app", image, "exit", "0"), container("sidecar", image, "exit", "5")
			b.Essential = aws.Bool(false)
			a.DependsOn = []types.ContainerDependency{{ContainerName: aws.String("sidecar"), Condition: types.ContainerConditionSuccess}}
			return newTask(a, b)
		}(), []string{"CannotStartContainerError: dependency graph: ", "[sidecar]", "did not exit successfully", "exit code 5"}},
		{"a sidecar that takes too long", func() acs.Task {
			a, b := container("app", image, "exit", "0"), container("sidecar", image, "trap", "0")
			b.Essential, b.StartTimeout = aws.Bool(false), aws.Int32(1)
			a.DependsOn = []types.ContainerDependency{{ContainerName: aws.String("sidecar"), Condition: types.ContainerConditionComplete}}
			return newTask(a, b)
		}(), []string{"has timed out", "startTimeout of 1 seconds"}},
		{"environmentFiles", edit(func(task *acs.Task, c *types.ContainerDefinition) {
			c.EnvironmentFiles = []types.EnvironmentFile{{Type: "s3", Value: aws.String("arn:aws:s3:::b/k.txt")}}
		}), []string{"environmentFiles: ", "must have the extension .env"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := w.run(tt.task)
			if r.Status != types.DesiredStatusStopped || r.StopCode != types.TaskStopCodeTaskFailedToStart {
				t.Errorf("status %s, stop code %s, want STOPPED, TaskFailedToStart", r.Status, r.StopCode)
			}
			for _, want := range tt.want {
				if !strings.Contains(r.Reason, want) {
					t.Errorf("reason %q does not say %q", r.Reason, want)
				}
			}
			if strings.Contains(r.Reason, canary) {
				t.Errorf("reason %q holds a secret", r.Reason)
			}
			w.nothingLeft()
		})
	}
}

func TestAFailedDependencyGivesItsDependent143(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	image := w.image(enginetest.Image{})
	main := container("main", image, "sleep", "2s", "then", "exit", "0")
	extra, sidecar := container("extra", image, "exit", "0"), container("sidecar", image, "exit", "1")
	extra.Essential, sidecar.Essential = aws.Bool(false), aws.Bool(false)
	extra.DependsOn = []types.ContainerDependency{{ContainerName: aws.String("sidecar"), Condition: types.ContainerConditionSuccess}}
	r := w.run(newTask(main, extra, sidecar))
	if got := exitCode(report(t, r, "extra")); got != 143 {
		t.Errorf("extra exited with %d, want the synthetic 143", got)
	}
	if got := exitCode(report(t, r, "main")); got != 0 {
		t.Errorf("main exited with %d, want 0: what is not essential stops nothing", got)
	}
}

func TestOutOfMemory(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	image := w.image(enginetest.Image{})
	// A tmpfs counts against the memory of who writes it.
	app := container("app", image, "burst", "1", "100000000")
	app.Memory = aws.Int32(20)
	r := w.run(newTask(app))
	c := report(t, r, "app")
	if exitCode(c) != 137 || c.Reason != "OutOfMemoryError: Container killed due to memory usage" {
		t.Errorf("exit code %d, reason %q", exitCode(c), c.Reason)
	}
}

func TestRestartPolicy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	image := w.image(enginetest.Image{})
	w.stores.params["/again"] = canary
	app := container("app", image, "env", "AGAIN", "then", "sleep", "1500ms", "then", "exit", "1")
	app.Secrets = []types.Secret{{Name: aws.String("AGAIN"), ValueFrom: aws.String("/again")}}
	app.RestartPolicy = &types.ContainerRestartPolicy{Enabled: aws.Bool(true), RestartAttemptPeriod: aws.Int32(1)}
	main := container("main", image, "sleep", "6s", "then", "exit", "0")
	began := time.Now()
	r := w.run(newTask(main, app))
	c := report(t, r, "app")
	if c.Restarts < 1 {
		t.Errorf("restarts = %d after %v, want some", c.Restarts, time.Since(began))
	}
	if got := exitCode(report(t, r, "main")); got != 0 {
		t.Errorf("main exited with %d: %+v", got, r)
	}
	count := 0
	for _, line := range w.output() {
		if line == "app: "+digestLine("AGAIN", canary) {
			count++
		}
	}
	if count < c.Restarts { // the last start may be stopped before it prints
		t.Errorf("the secret arrived %d times in %d starts; output %q", count, c.Restarts+1, w.output())
	}
}
