package engine

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/smithy-go"

	"github.com/malote/malote/acs"
)

// silence is how long a stream may be without a word; the control plane says something
// every 15 seconds.
const silence = 45 * time.Second

// Run registers with the control plane and runs the tasks that it sends, until ctx ends.
// Then, unless StopOnExit says otherwise, they go on without it. With StopOnExit somebody
// waits, so it ends as well when it cannot register to begin with.
func (e *Engine) Run(ctx context.Context) error {
	e.controlled = true
	if err := e.Start(ctx); err != nil {
		return err
	}
	for wait := 250 * time.Millisecond; ; wait = min(2*wait, 30*time.Second) {
		began := time.Now()
		listened, err := e.session(ctx)
		if ctx.Err() != nil {
			break
		}
		if e.StopOnExit && !e.registered {
			return errors.Join(err, e.Shutdown("The control plane could not be reached"))
		}
		if time.Since(began) > time.Minute {
			wait = 250 * time.Millisecond
		}
		switch {
		case listened:
			e.log.Warn("lost the control plane", "err", err, "retry_in", wait)
		case refusesHost(err):
			e.log.Error("refused by the control plane", "err", err, "retry_in", wait)
		default:
			e.log.Warn("not connected to the control plane", "err", err, "retry_in", wait)
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
	if e.StopOnExit {
		return e.Shutdown("Task stopped by user")
	}
	return e.Close()
}

func (e *Engine) ecs() *ecs.Client { return ecs.NewFromConfig(e.AWS) }

// refusesHost reports whether somebody answered that this host may not have what it asked for,
// which is so until a person changes something.
func refusesHost(err error) bool {
	if answer, ok := errors.AsType[*badStatus](err); ok {
		return answer.refuses()
	}
	_, said := errors.AsType[smithy.APIError](err)
	response, ok := errors.AsType[interface {
		error
		HTTPStatusCode() int
	}](err)
	return said && ok && response.HTTPStatusCode()/100 == 4 && !throttles.IsErrorThrottle(err).Bool()
}

var throttles = retry.IsErrorThrottles(retry.DefaultThrottles)

// session is one life of the connection. It reports whether there was one.
func (e *Engine) session(ctx context.Context) (listened bool, err error) {
	instance, err := e.register(ctx)
	if err != nil {
		return false, fmt.Errorf("registering the container instance: %w", err)
	}
	e.registered = true
	if e.Registered != nil {
		e.Registered(instance)
	}
	poll, err := e.ecs().DiscoverPollEndpoint(ctx, &ecs.DiscoverPollEndpointInput{Cluster: &e.Cluster, ContainerInstance: &instance})
	if err != nil {
		return false, fmt.Errorf("asking where to listen: %w", err)
	}
	endpoint := strings.TrimSuffix(cmp.Or(aws.ToString(poll.Endpoint), aws.ToString(e.AWS.BaseEndpoint)), "/")
	e.mu.Lock()
	e.endpoint = endpoint
	e.mu.Unlock()

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	query := url.Values{"cluster": {e.Cluster}, "containerInstance": {instance}}
	res, err := e.call(ctx, http.MethodGet, endpoint+"/acs?"+query.Encode(), nil)
	if err != nil {
		return false, err
	}
	defer res.Body.Close()
	e.log.Info("listening to the control plane", "container_instance", instance)
	watchdog := time.AfterFunc(silence, func() { cancel(errors.New("the control plane fell silent")) })
	defer watchdog.Stop()
	var wanted []string
	for decoder := json.NewDecoder(res.Body); ; {
		var m acs.Message
		if err := decoder.Decode(&m); err != nil {
			if cause := context.Cause(ctx); cause != nil {
				err = cause
			}
			return true, fmt.Errorf("listening to the control plane: %w", err)
		}
		watchdog.Reset(silence)
		switch {
		case m.Task != nil:
			wanted = append(wanted, m.Task.ARN)
			if err := e.adopt(ctx, m.Task); err != nil {
				return true, fmt.Errorf("beginning task %s: %w", m.Task.ARN, err)
			}
		case m.Stop != nil:
			if err := e.stopFor(ctx, m.Stop); err != nil {
				return true, fmt.Errorf("stopping task %s: %w", m.Stop.TaskARN, err)
			}
		case m.Credentials != nil:
			if t := e.task(m.Credentials.TaskARN); t != nil {
				if m.Credentials.RoleType == acs.TaskExecution {
					t.give(m.Credentials, nil, nil, nil)
				} else {
					t.give(nil, m.Credentials, nil, nil)
				}
			}
		case m.Refresh != nil:
			if t := e.task(m.Refresh.TaskARN); t != nil {
				t.send(event{kind: evRefresh, refresh: m.Refresh})
			}
		case m.Execute != nil:
			e.running.Go(func() { e.execute(e.ctx, m.Execute) })
		case m.Synced:
			if err := e.Sweep(ctx, wanted); err != nil {
				e.log.Warn("removing what belongs to no task", "err", err)
			}
		}
	}
}

// stopFor stops a task. Of one that this engine does not know, which has lost its directory, it
// removes what there is before it says that it has stopped.
func (e *Engine) stopFor(ctx context.Context, s *acs.Stop) error {
	reason := s.Reason
	if reason == "" {
		reason = "Task stopped by user"
	}
	if t := e.task(s.TaskARN); t != nil {
		t.stopTask(reason, types.TaskStopCodeUserInitiated)
		return nil
	}
	if err := e.removeTask(ctx, s.TaskARN); err != nil {
		return err
	}
	_, err := e.ecs().SubmitTaskStateChange(ctx, &ecs.SubmitTaskStateChangeInput{
		Cluster: &e.Cluster, Task: &s.TaskARN, Status: aws.String(string(types.DesiredStatusStopped)), Reason: &reason,
	})
	if err != nil {
		e.log.Warn("reporting that an unknown task does not run", "task", taskID(s.TaskARN), "err", err)
	}
	return nil
}

// instanceFile holds the ARN under which this host is known.
type instanceFile struct{ Cluster, ARN string }

// register tells the control plane what this host has, under the ARN that it was
// given before if there is one.
func (e *Engine) register(ctx context.Context) (string, error) {
	path := filepath.Join(e.StateDir, "container-instance.json")
	var known instanceFile
	if b, err := os.ReadFile(path); err == nil {
		if err := json.Unmarshal(b, &known); err != nil {
			return "", fmt.Errorf("reading %s: %w", path, err)
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	in := &ecs.RegisterContainerInstanceInput{
		Cluster: &e.Cluster, Attributes: e.attributes(),
		VersionInfo: &types.VersionInfo{DockerVersion: aws.String("DockerVersion: " + e.info.Version)},
		TotalResources: []types.Resource{
			{Name: aws.String("CPU"), Type: aws.String("INTEGER"), IntegerValue: int32(e.info.CPUs * 1024)},
			{Name: aws.String("MEMORY"), Type: aws.String("INTEGER"), IntegerValue: int32(e.info.Memory >> 20)},
			{Name: aws.String("PORTS"), Type: aws.String("STRINGSET"), StringSetValue: []string{"22", "2375", "2376", "51678", "51679", "51680"}},
			{Name: aws.String("PORTS_UDP"), Type: aws.String("STRINGSET"), StringSetValue: []string{}},
		},
	}
	if known.ARN != "" && known.Cluster == e.Cluster {
		in.ContainerInstanceArn = &known.ARN
	}
	out, err := e.ecs().RegisterContainerInstance(ctx, in)
	if err != nil && in.ContainerInstanceArn != nil && refused(err) {
		// The control plane has lost it, or had it deregistered.
		e.log.Warn("registering anew", "err", err)
		in.ContainerInstanceArn = nil
		out, err = e.ecs().RegisterContainerInstance(ctx, in)
	}
	if err != nil {
		return "", err
	}
	arn := aws.ToString(out.ContainerInstance.ContainerInstanceArn)
	if arn != known.ARN || known.Cluster != e.Cluster {
		b, err := json.Marshal(instanceFile{e.Cluster, arn})
		if err != nil {
			return "", err
		}
		if err := writeFile(path, b); err != nil {
			return "", fmt.Errorf("remembering the container instance: %w", err)
		}
	}
	return arn, nil
}

// attributes are what placement looks at.
func (e *Engine) attributes() []types.Attribute {
	arch := e.info.Arch
	if arch == "aarch64" {
		arch = "arm64"
	}
	var out []types.Attribute
	add := func(name, value string) {
		a := types.Attribute{Name: aws.String(name)}
		if value != "" {
			a.Value = aws.String(value)
		}
		out = append(out, a)
	}
	add("ecs.os-type", "linux")
	add("ecs.cpu-architecture", arch)
	for minor := 17; minor <= 44; minor++ {
		add(fmt.Sprintf("com.amazonaws.ecs.capability.docker-remote-api.1.%d", minor), "")
	}
	for _, driver := range append(slices.Clone(e.info.LogDrivers), "none") {
		if strings.Contains(driver, ":") { // a plugin, which neither an attribute nor a definition can name
			continue
		}
		add("com.amazonaws.ecs.capability.logging-driver."+driver, "")
	}
	for _, name := range []string{
		"com.amazonaws.ecs.capability.privileged-container", "com.amazonaws.ecs.capability.task-iam-role",
		"com.amazonaws.ecs.capability.task-iam-role-network-host", "ecs.capability.task-eni", "ecs.capability.container-ordering",
		"ecs.capability.container-health-check", "ecs.capability.execution-role-awslogs", "ecs.capability.private-registry-authentication.secretsmanager",
		"ecs.capability.secrets.asm.environment-variables", "ecs.capability.secrets.asm.bootstrap.log-driver",
		"ecs.capability.secrets.ssm.environment-variables", "ecs.capability.secrets.ssm.bootstrap.log-driver",
		"ecs.capability.pid-ipc-namespace-sharing", "ecs.capability.docker-plugin.local", "ecs.capability.task-cpu-mem-limit",
		"ecs.capability.container-restart-policy", "com.amazonaws.ecs.capability.logging-driver.awsfirelens", "ecs.capability.firelens.fluentbit",
		"ecs.capability.firelens.fluentd", "ecs.capability.firelens.options.config.file", "ecs.capability.firelens.options.config.s3", "ecs.capability.env-files.s3", "ecs.capability.firelens.non-root-user",
		"ecs.capability.storage.ebs-task-volume-attach", acs.CanRefresh,
	} {
		add(name, "")
	}
	names := make([]string, 0, len(e.Attributes))
	for name := range e.Attributes {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		add(name, e.Attributes[name])
	}
	return out
}

// post tells the control plane what the API has no words for.
func (e *Engine) post(ctx context.Context, path string, news any) error {
	e.mu.Lock()
	endpoint := e.endpoint
	e.mu.Unlock()
	if endpoint == "" {
		return errors.New("not connected to the control plane yet")
	}
	b, err := json.Marshal(news)
	if err != nil {
		return err
	}
	res, err := e.call(ctx, http.MethodPost, endpoint+path, b)
	if err != nil {
		return err
	}
	return res.Body.Close()
}

// call makes a signed request of the part of ECS that no SDK knows.
func (e *Engine) call(ctx context.Context, method, address string, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	creds, err := e.AWS.Credentials.Retrieve(ctx)
	if err != nil {
		return nil, err
	}
	hash := sha256.Sum256(body)
	if err := v4.NewSigner().SignHTTP(ctx, creds, req, hex.EncodeToString(hash[:]), "ecs", e.AWS.Region, e.now()); err != nil {
		return nil, err
	}
	client := e.AWS.HTTPClient
	if client == nil {
		client = http.DefaultClient
	}
	res, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode/100 != 2 {
		defer res.Body.Close()
		said, _ := io.ReadAll(io.LimitReader(res.Body, 1024))
		return nil, fmt.Errorf("%s %s: %w", method, req.URL.Path, &badStatus{res.StatusCode, res.Status, string(said)})
	}
	return res, nil
}

// badStatus is an answer to call that is no success.
type badStatus struct {
	code         int
	status, said string
}

func (b *badStatus) Error() string { return b.status + ": " + b.said }
func (b *badStatus) refuses() bool {
	return b.code/100 == 4 && b.code != http.StatusTooManyRequests
}
