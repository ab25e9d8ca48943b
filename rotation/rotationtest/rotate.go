package rotationtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/malote/malote/malotetest"
	"github.com/malote/malote/rotation"
	"github.com/malote/malote/rotation/functions"
)

const (
	functionARN = "arn:aws:lambda:us-east-1:" + malotetest.Account + ":function:rotate"
	role        = "rotator"
)

// System is a malote with one rotation function, whose role may do what
// docs/rotation-functions.md says and no more.
type System struct {
	*malotetest.System
	ends chan error // of rotations: one per end
}

// New starts a System. Every step is done twice, as Secrets Manager may do it.
func New(t *testing.T, function rotation.Function) *System {
	t.Helper()
	s := &System{ends: make(chan error, 1)}
	s.System = malotetest.New(t, malotetest.Rotation(
		map[string]functions.Definition{functionARN: {Builtin: "tested", Role: "arn:aws:iam::" + malotetest.Account + ":role/" + role}},
		map[string]rotation.Function{"tested": twice{function, s.ends}},
	))
	client := iam.NewFromConfig(s.Config())
	trust := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"lambda.amazonaws.com"},"Action":"sts:AssumeRole"}]}`
	if _, err := client.CreateRole(t.Context(), &iam.CreateRoleInput{RoleName: aws.String(role), AssumeRolePolicyDocument: &trust}); err != nil {
		t.Fatal(err)
	}
	for name, policy := range map[string]string{
		"secrets":  malotetest.Allow("arn:aws:secretsmanager:*:*:secret:app-*", "secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue", "secretsmanager:PutSecretValue", "secretsmanager:UpdateSecretVersionStage"),
		"master":   malotetest.Allow("arn:aws:secretsmanager:*:*:secret:master-*", "secretsmanager:GetSecretValue"),
		"password": malotetest.Allow("*", "secretsmanager:GetRandomPassword"),
	} {
		if _, err := client.PutRolePolicy(t.Context(), &iam.PutRolePolicyInput{RoleName: aws.String(role), PolicyName: &name, PolicyDocument: &policy}); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// twice does each step a second time, and says when a rotation is over.
type twice struct {
	rotation.Function
	ends chan error
}

func (f twice) Rotate(ctx context.Context, config aws.Config, event rotation.Event) error {
	err := f.Function.Rotate(ctx, config, event)
	if err == nil {
		err = f.Function.Rotate(ctx, config, event)
	}
	if err != nil || event.Step == rotation.FinishSecret {
		f.ends <- err
	}
	return err
}

// Rotate has Secrets Manager rotate the secret to the version token, and returns the error
// of the step that failed.
func (s *System) Rotate(t *testing.T, arn, token string) error {
	t.Helper()
	in := &secretsmanager.RotateSecretInput{SecretId: &arn, ClientRequestToken: &token, RotationLambdaARN: aws.String(functionARN)}
	client := secretsmanager.NewFromConfig(s.Config())
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		_, err := client.RotateSecret(t.Context(), in)
		if err == nil {
			break
		}
		// The end of the rotation before is not written down yet.
		if busy := new(types.InvalidRequestException); !errors.As(err, &busy) || time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	select {
	case err := <-s.ends:
		return err
	case <-time.After(time.Minute):
		t.Fatal("the rotation does not end within a minute")
		return nil
	}
}

// Secret makes a secret and returns its ARN.
func Secret(t *testing.T, sys *System, name, value string) string {
	t.Helper()
	out, err := secretsmanager.NewFromConfig(sys.Config()).CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: &name, SecretString: &value})
	if err != nil {
		t.Fatal(err)
	}
	return *out.ARN
}

// Value is the current one.
func Value(ctx context.Context, sys *System, arn string) (string, error) {
	out, err := secretsmanager.NewFromConfig(sys.Config()).GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &arn})
	if err != nil {
		return "", err
	}
	return *out.SecretString, nil
}

// Token is the version id of the nth rotation.
func Token(n int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012d", n) }

// Loop logs in with the current secret every 10 ms through rotations, and returns how
// often it did and was refused. Between two rotations it waits for a login that began
// after the first: a client holds a secret for less long than two rotations are apart.
func Loop(t *testing.T, sys *System, arn string, rotations int, rotate func(n int), login func(ctx context.Context, value string) error) (logins, refused int) {
	t.Helper()
	var begun, tried, failed atomic.Int64
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			begun.Add(1)
			value, err := Value(context.Background(), sys, arn)
			if err == nil {
				err = login(context.Background(), value)
			}
			if err != nil && failed.Add(1) <= 3 {
				t.Logf("login %d: %v", tried.Load()+1, err)
			}
			tried.Add(1)
		}
	}()
	defer func() { close(stop); <-ended; logins, refused = int(tried.Load()), int(failed.Load()) }()
	for n := range rotations {
		rotate(n + 1)
		for began := begun.Load(); tried.Load() <= began; {
			time.Sleep(time.Millisecond)
		}
	}
	return
}

// Sweep looks for the canaries and for further values in a server's files that are logs.
func Sweep(t *testing.T, sys *System, paths ...string) {
	t.Helper()
	for _, path := range paths {
		file, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		hits, err := sys.Canaries.Reader(path, file)
		file.Close()
		if err != nil {
			t.Fatal(err)
		}
		for _, hit := range hits {
			t.Error(hit)
		}
	}
}
