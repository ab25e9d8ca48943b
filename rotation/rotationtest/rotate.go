package rotationtest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/malote/malote/malotetest"
	"github.com/malote/malote/rotation"
)

// Steps are the four in order.
var Steps = []string{rotation.CreateSecret, rotation.SetSecret, rotation.TestSecret, rotation.FinishSecret}

// Secret makes a secret and returns its ARN.
func Secret(t *testing.T, sys *malotetest.System, name, value string) string {
	t.Helper()
	out, err := secretsmanager.NewFromConfig(sys.Config()).CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: &name, SecretString: &value})
	if err != nil {
		t.Fatal(err)
	}
	return *out.ARN
}

// Value is the current one.
func Value(ctx context.Context, sys *malotetest.System, arn string) (string, error) {
	out, err := secretsmanager.NewFromConfig(sys.Config()).GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &arn})
	if err != nil {
		return "", err
	}
	return *out.SecretString, nil
}

// staging shows a version AWSPENDING that has no value yet, as RotateSecret leaves it for
// createSecret.
type staging struct {
	aws.HTTPClient
	token string
}

func (s staging) Do(r *http.Request) (*http.Response, error) {
	response, err := s.HTTPClient.Do(r)
	if err != nil || r.Header.Get("X-Amz-Target") != "secretsmanager.DescribeSecret" || response.StatusCode != http.StatusOK {
		return response, err
	}
	defer response.Body.Close()
	var body map[string]any
	if err := json.NewDecoder(response.Body).Decode(&body); err != nil {
		return nil, err
	}
	stages := body["VersionIdsToStages"].(map[string]any)
	if stages[s.token] == nil {
		stages[s.token] = []string{"AWSPENDING"}
	}
	text, err := json.Marshal(body)
	response.Body, response.ContentLength = io.NopCloser(bytes.NewReader(text)), int64(len(text))
	response.Header.Set("Content-Length", strconv.Itoa(len(text)))
	return response, err
}

// Token is the version id of the nth rotation.
func Token(n int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012d", n) }

// Loop logs in with the current secret every 10 ms through rotations, and returns how
// often it did and was refused. Between two rotations it waits for a login that began
// after the first: a client holds a secret for less long than two rotations are apart.
func Loop(t *testing.T, sys *malotetest.System, arn string, rotations int, rotate func(n int), login func(ctx context.Context, value string) error) (logins, refused int) {
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
			if err != nil {
				failed.Add(1)
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
func Sweep(t *testing.T, sys *malotetest.System, paths ...string) {
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

// Run has function do the steps, each twice, for the token.
func Run(t *testing.T, sys *malotetest.System, function rotation.Function, arn, token string, steps ...string) {
	t.Helper()
	config := sys.Config()
	config.HTTPClient = staging{config.HTTPClient, token}
	for _, step := range steps {
		for range 2 {
			if err := function.Rotate(t.Context(), config, rotation.Event{Step: step, SecretId: arn, ClientRequestToken: token}); err != nil {
				t.Fatal(err)
			}
		}
	}
}
