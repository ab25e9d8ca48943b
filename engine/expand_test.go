package engine_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/malote/malote/datachannel"
	"github.com/malote/malote/engine/enginetest"
	"github.com/malote/malote/internal/ourlabels"
	"github.com/malote/malote/malotetest"
)

// A secret, and a path of parameters, as many variables; and secrets that need not be there.
func TestSecretsAsManyVariables(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	user, password, token := c.sys.Canary(), c.sys.Canary(), c.sys.Canary()
	secrets, parameters := secretsmanager.NewFromConfig(c.sys.Config()), ssm.NewFromConfig(c.sys.Config())
	db, err := secrets.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{
		Name: aws.String("db"), SecretString: aws.String(fmt.Sprintf(`{"username":%q,"password":%q,"not a name":1}`, user, password)),
	})
	if err != nil {
		t.Fatal(err)
	}
	put := func(name, value string) {
		t.Helper()
		if _, err := parameters.PutParameter(t.Context(), &ssm.PutParameterInput{Name: &name, Value: &value, Type: ssmtypes.ParameterTypeSecureString, Overwrite: aws.Bool(true)}); err != nil {
			t.Fatal(err)
		}
	}
	put("/shop/prod/api/token", token)
	put("/shop/prod/level", "debug-not-secret")
	for n := range 12 { // more than a page
		put(fmt.Sprintf("/shop/prod/more/n%d", n), fmt.Sprintf("value-of-%d", n))
	}
	put("/shop/production", "not below the path")

	image := c.image(enginetest.Image{})
	role := c.role("exec", malotetest.Allow("*", "secretsmanager:GetSecretValue", "ssm:GetParameters", "ssm:GetParametersByPath"))
	app := container("app", image, "env", "DB_USERNAME", "DB_PASSWORD", "API_TOKEN", "LEVEL", "MORE_N11", "PRODUCTION", "FLAG", "UNSET", "NOKEY", "NONE", "DB", "APP")
	app.Secrets = []types.Secret{
		{Name: aws.String("DB"), ValueFrom: db.ARN},
		{Name: aws.String("APP"), ValueFrom: aws.String("/shop/prod/")},
		{Name: aws.String("FLAG"), ValueFrom: aws.String("arn:aws:secretsmanager:us-east-1:123456789012:secret:absent-AbCdEf")},
		{Name: aws.String("UNSET"), ValueFrom: aws.String("/absent/parameter")},
		{Name: aws.String("NOKEY"), ValueFrom: aws.String(*db.ARN + ":no-such-key::")},
		{Name: aws.String("NONE"), ValueFrom: aws.String("/absent/path/")},
	}
	app.DockerLabels = map[string]string{
		ourlabels.Expand + "DB": "prefix=DB_ allow=username,password upper", ourlabels.Expand + "APP": "upper",
		ourlabels.Optional + "FLAG": "off-by-default", ourlabels.Optional + "UNSET": "", ourlabels.Optional + "NOKEY": "other",
		ourlabels.Optional + "NONE": "", ourlabels.Expand + "NONE": "",
	}

	task := c.until(c.runTask(role, app), "STOPPED")
	if aws.ToInt32(task.Containers[0].ExitCode) != 0 {
		t.Fatalf("%s: %+v", aws.ToString(task.StoppedReason), task.Containers[0])
	}
	want := []string{
		digestLine("DB_USERNAME", user), digestLine("DB_PASSWORD", password), digestLine("API_TOKEN", token), digestLine("LEVEL", "debug-not-secret"),
		digestLine("MORE_N11", "value-of-11"), "PRODUCTION absent", digestLine("FLAG", "off-by-default"), "UNSET absent", digestLine("NOKEY", "other"), "NONE absent", "DB absent", "APP absent",
	}
	for _, line := range want {
		if !slices.Contains(c.output(), "app: "+line) {
			t.Errorf("no line %q", line)
		}
	}
	if t.Failed() {
		t.Logf("output: %q", c.output())
	}

	for name, bad := range map[string]struct {
		labels map[string]string
		env    string
		want   string
	}{
		"a key that is listed and not there":  {map[string]string{ourlabels.Expand + "DB": "allow=user"}, "", `it has no "user"`},
		"a key that is no variable":           {map[string]string{ourlabels.Expand + "DB": ""}, "", `"not a name" cannot be the name of a variable`},
		"a variable that is there already":    {map[string]string{ourlabels.Expand + "DB": "allow=username"}, "username", "container app would have the variable username twice"},
		"a forbidden secret is not an absent": {map[string]string{ourlabels.Optional + "DB": "x"}, "", "AccessDeniedException"},
	} {
		t.Run(name, func(t *testing.T) {
			app := container("app", image, "exit", "0")
			app.Secrets = []types.Secret{{Name: aws.String("DB"), ValueFrom: db.ARN}}
			app.DockerLabels = bad.labels
			if bad.env != "" {
				app.Environment = []types.KeyValuePair{{Name: &bad.env, Value: aws.String("x")}}
			}
			as := role
			if bad.want == "AccessDeniedException" {
				as = c.role("powerless", "")
			}
			task := c.until(c.runTask(as, app), "STOPPED")
			if reason := aws.ToString(task.StoppedReason); !strings.Contains(reason, bad.want) {
				t.Errorf("stopped: %s, want %q", reason, bad.want)
			}
		})
	}
}

// A task whose engine was killed goes on with the parameters it has, though more have come.
func TestAPathIsAsItWasWhenTheTaskBegan(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	first := c.sys.Canary()
	parameters := ssm.NewFromConfig(c.sys.Config())
	put := func(name, value string) {
		t.Helper()
		if _, err := parameters.PutParameter(t.Context(), &ssm.PutParameterInput{Name: &name, Value: &value, Type: ssmtypes.ParameterTypeSecureString, Overwrite: aws.Bool(true)}); err != nil {
			t.Fatal(err)
		}
	}
	put("/shop/a", first)
	image := c.image(enginetest.Image{})
	role := c.role("exec", malotetest.Allow("*", "ssm:GetParametersByPath", "ssm:GetParameters"))
	app := container("app", image, "print", "up", "then", "trap", "0")
	app.Secrets = []types.Secret{{Name: aws.String("SHOP"), ValueFrom: aws.String("/shop/")}}
	app.DockerLabels = map[string]string{ourlabels.Expand + "SHOP": ""}
	if _, err := c.ecs.RegisterTaskDefinition(t.Context(), &ecs.RegisterTaskDefinitionInput{Family: aws.String("shop"), ExecutionRoleArn: &role, ContainerDefinitions: []types.ContainerDefinition{app}}); err != nil {
		t.Fatal(err)
	}
	out, err := c.ecs.RunTask(t.Context(), &ecs.RunTaskInput{TaskDefinition: aws.String("shop"), EnableExecuteCommand: true})
	if err != nil || len(out.Tasks) != 1 {
		t.Fatalf("RunTask = %+v, %v", out, err)
	}
	arn := *out.Tasks[0].TaskArn
	c.until(arn, "RUNNING")
	put("/shop/a", c.sys.Canary())
	put("/shop/b", c.sys.Canary())

	c.stop()
	c.listen()
	stale := c.stale()
	if len(stale) != 1 || stale[0].Name != "SHOP:a" || stale[0].Version != "1" || stale[0].Current != "2" {
		t.Errorf("stale: %+v", stale)
	}
	session, err := c.ecs.ExecuteCommand(t.Context(), &ecs.ExecuteCommandInput{Task: &arn, Container: aws.String("app"), Command: aws.String("/app env a b"), Interactive: true})
	if err != nil {
		t.Fatal(err)
	}
	in := c.dial(session, datachannel.Open{Pipe: true})
	in.wait(t)
	if want := digestLine("a", first) + "\nb absent\n"; in.stdout.String() != want {
		t.Errorf("a command in the container sees %q, want %q", &in.stdout, want)
	}
	if _, err := c.ecs.StopTask(t.Context(), &ecs.StopTaskInput{Task: &arn}); err != nil {
		t.Fatal(err)
	}
	c.until(arn, "STOPPED")
}
