package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/malote/malote/malotetest/canary"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"malote": traced})
}

// traced is main, and keeps what the program wrote in $TRACE for the sweep; a server's log
// is among it. What get and exec write to stdout is theirs to write.
func traced() {
	file, err := os.CreateTemp(os.Getenv("TRACE"), "output")
	if err != nil {
		panic(err)
	}
	stdout := io.Writer(os.Stdout)
	if !slices.Contains(os.Args, "get") && !slices.Contains(os.Args, "exec") {
		stdout = io.MultiWriter(stdout, file)
	}
	os.Exit(process(stdout, io.MultiWriter(os.Stderr, file)))
}

// The scripts drive the real program. What only the AWS CLI would do in them, the commands
// below do with the SDK.
func TestScripts(t *testing.T) {
	canaries := new(canary.Set)
	value := canaries.New()
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				return err
			}
			port := strconv.Itoa(listener.Addr().(*net.TCPAddr).Port)
			listener.Close()
			trace := env.WorkDir + "/trace"
			if err := os.Mkdir(trace, 0o700); err != nil {
				return err
			}
			env.Setenv("TRACE", trace)
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("PORT", port)
			env.Setenv("CANARY", value)
			env.Setenv("MALOTE_ADMIN_ACCESS_KEY_ID", "AKIASCRIPTADMIN00001")
			env.Setenv("MALOTE_ADMIN_SECRET_ACCESS_KEY", "only-for-scripts/only-for-scripts/000001")
			env.Setenv("MALOTE_DATA_DIR", env.WorkDir+"/data")
			env.Setenv("AWS_EC2_METADATA_DISABLED", "true")
			// Whatever a script leaves behind may not hold the value.
			env.Defer(func() {
				if entries, err := os.ReadDir(trace); err != nil || len(entries) == 0 {
					t.Errorf("the program left no output to sweep: %v", err)
				}
				for _, dir := range []string{env.WorkDir + "/data", trace} {
					hits, err := canaries.Dir(dir)
					if err != nil && !os.IsNotExist(err) {
						t.Error(err)
					}
					for _, hit := range hits {
						t.Errorf("%s: a secret leaked", hit)
					}
				}
			})
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"await":     await,
			"configure": configure,
			"secret":    putSecret,
			"parameter": putParameter,
			"role":      putRole,
			"disable":   disableKey,
			"rotate":    rotateSecret,
			"value":     secretValue,
			"wait-for":  waitFor,
			"adopt":     adopt,
			"kept":      kept,
		},
	})
}

// await waits until the server of the script answers.
func await(ts *testscript.TestScript, neg bool, args []string) {
	for range 200 {
		if response, err := http.Get("http://127.0.0.1:" + ts.Getenv("PORT") + "/health"); err == nil {
			response.Body.Close()
			return
		}
		time.Sleep(25 * time.Millisecond)
	}
	ts.Fatalf("the server does not answer")
}

// configure sets AWS's variables, as eval "$(malote env)" does.
func configure(ts *testscript.TestScript, neg bool, args []string) {
	ts.Setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:"+ts.Getenv("PORT"))
	ts.Setenv("AWS_REGION", "us-east-1")
	ts.Setenv("AWS_ACCESS_KEY_ID", ts.Getenv("MALOTE_ADMIN_ACCESS_KEY_ID"))
	ts.Setenv("AWS_SECRET_ACCESS_KEY", ts.Getenv("MALOTE_ADMIN_SECRET_ACCESS_KEY"))
}

// adopt FILE sets the variables that the program wrote there.
func adopt(ts *testscript.TestScript, neg bool, args []string) {
	for name, value := range variables(ts, args[0]) {
		ts.Setenv(name, value)
	}
}

func variables(ts *testscript.TestScript, file string) map[string]string {
	found := map[string]string{}
	for line := range strings.Lines(ts.ReadFile(file)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			found[name] = value
		}
	}
	if found["AWS_SECRET_ACCESS_KEY"] == "" {
		ts.Fatalf("%s has no access key", file)
	}
	return found
}

// kept FILE wants the secret key that was written there to be nowhere in the data directory,
// nor in what the last command wrote to stderr.
func kept(ts *testscript.TestScript, neg bool, args []string) {
	secret := new(canary.Set)
	secret.Add(variables(ts, args[0])["AWS_SECRET_ACCESS_KEY"])
	hits, err := secret.Dir(ts.Getenv("MALOTE_DATA_DIR"))
	ts.Check(err)
	hits = append(hits, secret.Bytes("stderr", []byte(ts.ReadFile("stderr")))...)
	for _, hit := range hits {
		ts.Fatalf("an access key leaked: %s", hit)
	}
}

// wait-for FILE waits until there is something in the file.
func waitFor(ts *testscript.TestScript, neg bool, args []string) {
	for range 400 {
		if info, err := os.Stat(ts.MkAbs(args[0])); err == nil && (info.Size() > 0 || info.Mode()&os.ModeSocket != 0) {
			return
		}
		time.Sleep(25 * time.Millisecond)
	}
	ts.Fatalf("%s does not come", args[0])
}

func scriptConfig(ts *testscript.TestScript) aws.Config {
	return staticConfig(&connection{Endpoint: "http://127.0.0.1:" + ts.Getenv("PORT"), Region: "us-east-1",
		AccessKeyID: ts.Getenv("MALOTE_ADMIN_ACCESS_KEY_ID"), SecretAccessKey: ts.Getenv("MALOTE_ADMIN_SECRET_ACCESS_KEY")})
}

// expand puts the canary where a script says $CANARY inside quotes.
func expand(ts *testscript.TestScript, s string) string {
	return strings.ReplaceAll(s, "CANARY", ts.Getenv("CANARY"))
}

// secret NAME VALUE [KEY-ALIAS] creates a secret, under a new key of that alias if one is named.
func putSecret(ts *testscript.TestScript, neg bool, args []string) {
	in := &secretsmanager.CreateSecretInput{Name: &args[0], SecretString: aws.String(expand(ts, args[1]))}
	if len(args) > 2 {
		client := kms.NewFromConfig(scriptConfig(ts))
		key, err := client.CreateKey(context.Background(), &kms.CreateKeyInput{})
		ts.Check(err)
		_, err = client.CreateAlias(context.Background(), &kms.CreateAliasInput{AliasName: &args[2], TargetKeyId: key.KeyMetadata.KeyId})
		ts.Check(err)
		in.KmsKeyId = &args[2]
	}
	_, err := secretsmanager.NewFromConfig(scriptConfig(ts)).CreateSecret(context.Background(), in)
	ts.Check(err)
}

// parameter NAME VALUE puts a SecureString.
func putParameter(ts *testscript.TestScript, neg bool, args []string) {
	_, err := ssm.NewFromConfig(scriptConfig(ts)).PutParameter(context.Background(), &ssm.PutParameterInput{
		Name: &args[0], Value: aws.String(expand(ts, args[1])), Type: ssmtypes.ParameterTypeSecureString,
	})
	ts.Check(err)
}

// role NAME POLICY-FILE makes a role that ECS may assume.
func putRole(ts *testscript.TestScript, neg bool, args []string) {
	client := iam.NewFromConfig(scriptConfig(ts))
	trust := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ecs-tasks.amazonaws.com"},"Action":"sts:AssumeRole"}]}`
	_, err := client.CreateRole(context.Background(), &iam.CreateRoleInput{RoleName: &args[0], AssumeRolePolicyDocument: &trust})
	ts.Check(err)
	_, err = client.PutRolePolicy(context.Background(), &iam.PutRolePolicyInput{RoleName: &args[0], PolicyName: aws.String("inline"), PolicyDocument: aws.String(ts.ReadFile(args[1]))})
	ts.Check(err)
}

// value NAME REGEXP compares what a secret holds, without showing it.
func secretValue(ts *testscript.TestScript, neg bool, args []string) {
	out, err := secretsmanager.NewFromConfig(scriptConfig(ts)).GetSecretValue(context.Background(), &secretsmanager.GetSecretValueInput{SecretId: &args[0]})
	ts.Check(err)
	if regexp.MustCompile(expand(ts, args[1])).MatchString(*out.SecretString) == neg {
		ts.Fatalf("the value of %s matches %s: %v", args[0], args[1], neg)
	}
}

// rotate NAME FUNCTION ROLE [POLICY-FILE] makes the role, of Lambda's, with the policy, and begins a rotation.
func rotateSecret(ts *testscript.TestScript, neg bool, args []string) {
	trust := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"lambda.amazonaws.com"},"Action":"sts:AssumeRole"}]}`
	_, err := iam.NewFromConfig(scriptConfig(ts)).CreateRole(context.Background(), &iam.CreateRoleInput{RoleName: &args[2], AssumeRolePolicyDocument: &trust})
	ts.Check(err)
	if len(args) > 3 {
		_, err = iam.NewFromConfig(scriptConfig(ts)).PutRolePolicy(context.Background(), &iam.PutRolePolicyInput{RoleName: &args[2], PolicyName: aws.String("inline"), PolicyDocument: aws.String(ts.ReadFile(args[3]))})
		ts.Check(err)
	}
	_, err = secretsmanager.NewFromConfig(scriptConfig(ts)).RotateSecret(context.Background(), &secretsmanager.RotateSecretInput{SecretId: &args[0], RotationLambdaARN: &args[1]})
	ts.Check(err)
	for range 200 {
		h, _, err := rotationHistory(context.Background(), scriptConfig(ts), args[0])
		ts.Check(err)
		if h.Runs[0].Outcome != "InProgress" {
			return
		}
		time.Sleep(25 * time.Millisecond)
	}
	ts.Fatalf("the rotation makes no step")
}

// disable KEY-ALIAS disables a key.
func disableKey(ts *testscript.TestScript, neg bool, args []string) {
	client := kms.NewFromConfig(scriptConfig(ts))
	key, err := client.DescribeKey(context.Background(), &kms.DescribeKeyInput{KeyId: &args[0]})
	ts.Check(err)
	_, err = client.DisableKey(context.Background(), &kms.DisableKeyInput{KeyId: key.KeyMetadata.KeyId})
	ts.Check(err)
}

func TestSecretPattern(t *testing.T) {
	t.Parallel()
	const prefix = "arn:aws:secretsmanager:us-east-1:123456789012:secret:"
	for in, want := range map[string]string{
		"shop/db":              "shop/db-??????",
		"shop/db-AbCdEf":       "shop/db-AbCdEf",
		"shop/db-AbCdE":        "shop/db-AbCdE-??????",
		"shop/db-admin-AbCdEf": "shop/db-admin-AbCdEf",
		"a-b-c-d-e":            "a-b-c-d-e-??????",
	} {
		if got := secretPattern(prefix + in); got != prefix+want {
			t.Errorf("secretPattern(%q) = %q, want %q", in, strings.TrimPrefix(got, prefix), want)
		}
	}
}
