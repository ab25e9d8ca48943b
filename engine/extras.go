package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/malote/malote/acs"
	"github.com/malote/malote/engine/logs"
	"github.com/malote/malote/engine/metadata"
	"github.com/malote/malote/internal/ourlabels"
)

// extras are what serves containers besides Docker and the shim.
type extras struct {
	metadata  *metadata.Server // nil: NoMetadata
	forwarder *logs.Forwarder
}

func (e *Engine) startExtras(ctx context.Context) error {
	var err error
	if e.forwarder, err = logs.New(logs.Config{Dir: filepath.Join(e.Dir, "logs"), Log: e.log}); err != nil {
		return fmt.Errorf("starting the log forwarder: %w", err)
	}
	if e.NoMetadata {
		return nil
	}
	key, err := metadata.Key(filepath.Join(e.StateDir, "metadata.key"))
	if err != nil {
		return err
	}
	e.metadata, err = metadata.Start(ctx, metadata.Config{
		Docker: e.docker, Key: key, PortFile: filepath.Join(e.StateDir, "metadata.ports"), Network: e.MetadataNetwork, API: e.API, Log: e.log, Now: e.Now,
	})
	return err
}

func (e *Engine) closeExtras() {
	if e.metadata != nil {
		if err := e.metadata.Close(); err != nil {
			e.log.Warn("closing the metadata endpoint", "err", err)
		}
	}
	if e.forwarder == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := e.forwarder.Close(ctx); err != nil {
		e.log.Error("closing the log forwarder", "err", err)
	}
}

// open begins to serve a task.
func (t *task) open() {
	e := t.engine
	if e.metadata == nil {
		return
	}
	role := aws.ToString(t.work.Definition.TaskRoleArn)
	if o := t.work.Overrides; o != nil && o.TaskRoleArn != nil {
		role = *o.TaskRoleArn
	}
	work := *t.work
	work.TaskRole = t.application
	if work.TaskRole == nil && role != "" {
		// A task that was found: its containers are told where its credentials will be.
		work.TaskRole = &acs.Credentials{TaskARN: t.work.ARN, RoleType: acs.TaskApplication, RoleARN: role}
	}
	t.served = e.metadata.Open(&work, t.metadataStatus)
	if t.application == nil {
		t.served.SetCredentials(nil)
	}
}

// refresh passes on fresh credentials of a task's role.
func (e *Engine) refresh(t *task, application *acs.Credentials) {
	if t.served != nil && application != nil {
		t.served.SetCredentials(application)
	}
}

// announce tells those who want to know what a task has come to.
func (e *Engine) announce(r Report) {
	if e.Changed != nil {
		e.Changed(r)
	}
}

// retire ends what is served for a task.
func (t *task) retire() {
	if t.served != nil {
		t.served.Close()
	}
}

func (t *task) metadataStatus() metadata.Status {
	r := t.final()
	s := metadata.Status{Desired: "RUNNING", Known: known(r.Status), PullStarted: r.PullStarted, PullStopped: r.PullStopped, ExecutionEnded: r.ExecutionStopped, Containers: map[string]metadata.ContainerStatus{}}
	if r.StopCode != "" {
		s.Desired = "STOPPED"
	}
	for _, c := range r.Containers {
		status := known(c.Status)
		if c.Status == types.DesiredStatusPending && c.ID != "" {
			status = "CREATED"
		}
		s.Containers[c.Name] = metadata.ContainerStatus{Desired: s.Desired, Known: status, Restarts: c.Restarts}
	}
	return s
}

func known(s types.DesiredStatus) string {
	if s == types.DesiredStatusPending || s == "" {
		return "NONE"
	}
	return string(s)
}

// reaches reports whether a container has a way to 169.254.170.2.
func (t *task) reaches(def types.ContainerDefinition) bool {
	return t.served != nil && networkMode(t.work) != types.NetworkModeNone && !aws.ToBool(def.DisableNetworking)
}

// attach puts a container that has a network of its own where it reaches 169.254.170.2.
func (t *task) attach(ctx context.Context, id string) error {
	if t.served == nil {
		return nil
	}
	return t.engine.metadata.Attach(ctx, id)
}

// introduce says which of Docker's containers are the task's, so that they are served.
func (t *task) introduce() {
	if t.served == nil {
		return
	}
	t.mu.Lock()
	ids, pause := maps.Clone(t.ids), t.pause
	t.mu.Unlock()
	for _, def := range t.defs {
		name := aws.ToString(def.Name)
		id := ids[name]
		if id == "" || !t.reaches(def) {
			continue
		}
		switch networkMode(t.work) {
		case types.NetworkModeHost:
			t.served.Container(name).Bind(id, "")
		case types.NetworkModeAwsvpc:
			t.served.Container(name).Bind(id, pause)
		default:
			t.served.Container(name).Bind(id, id)
		}
	}
}

// environment is what the engine itself tells a container.
func (t *task) environment(def types.ContainerDefinition) []string {
	var env []string
	if t.reaches(def) {
		env = t.served.Container(aws.ToString(def.Name)).Env()
	} else {
		env = []string{"AWS_EXECUTION_ENV=AWS_ECS_EC2"}
		if r := t.work.Region; r != "" {
			env = append(env, "AWS_REGION="+r, "AWS_DEFAULT_REGION="+r)
		}
	}
	if u := t.engine.ContainerEndpoint; u != "" {
		env = append(env, "AWS_ENDPOINT_URL="+u)
	}
	if also := def.DockerLabels[ourlabels.Endpoint]; also != "" {
		// The last one counts.
		for _, e := range slices.Backward(env) {
			if u, ok := strings.CutPrefix(e, "AWS_ENDPOINT_URL="); ok {
				return append(env, also+"="+u)
			}
		}
	}
	return env
}

// logging says where a container's output goes: with secretOptions, and for awslogs and
// awsfirelens, to the engine's forwarder; else to Docker's driver of the name.
func (t *task) logging(ctx context.Context, i int, r *resolved) (logConfig, error) {
	def := t.defs[i]
	l := def.LogConfiguration
	if l == nil {
		return logConfig{}, nil
	}
	driver, name := string(l.LogDriver), aws.ToString(def.Name)
	given := maps.Clone(l.Options)
	if given["mode"] == "non-blocking" && given["max-buffer-size"] == "" {
		given["max-buffer-size"] = "10m"
	}
	if !forwarded(def) {
		return logConfig{driver: driver, options: given}, nil
	}
	secrets := map[string]string{}
	for option, v := range r.options(name) {
		secrets[option] = v.Reveal()
	}
	t.mu.Lock()
	mask := slices.Concat(r.values(), t.former)
	t.mu.Unlock()
	spec := logs.Spec{Driver: driver, Options: given, Secrets: secrets, Mask: mask, AWS: t.logsConfig(), TaskID: taskID(t.work.ARN), Container: name, Found: t.id(name) != ""}
	if output := t.engine.Output; output != nil {
		spec.Output = func(stream string, line []byte) {
			output(Line{TaskARN: t.work.ARN, Container: name, Stream: stream, Text: line})
		}
	}
	source := t.router.Source(name)
	if source != nil {
		t.route(&spec, source)
	}
	stream, err := t.engine.forwarder.Open(ctx, endpointName(t.work.ARN, i), spec)
	if err != nil {
		if l.LogDriver == types.LogDriverAwslogs {
			return logConfig{}, named(err, "ResourceInitializationError: failed to validate logger args")
		}
		return logConfig{}, fmt.Errorf("container %s: %w", name, err)
	}
	t.mu.Lock()
	t.streams = append(t.streams, stream)
	if source != nil {
		t.routed[name] = stream
		if t.routerGone {
			stream.Abandon()
		}
	}
	t.mu.Unlock()
	out := logConfig{labels: map[string]string{labelLogDriver: driver}}
	out.driver, out.options = stream.Docker()
	return out, nil
}

// logsConfig reaches the control plane as the task's execution role, with the credentials
// that it has at the time; for a task without that role as the container instance, as on EC2.
func (t *task) logsConfig() aws.Config {
	config := t.engine.AWS.Copy()
	d, o := t.work.Definition, t.work.Overrides
	if d.ExecutionRoleArn == nil && (o == nil || o.ExecutionRoleArn == nil) {
		return config
	}
	config.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		t.mu.Lock()
		c := t.execution
		t.mu.Unlock()
		if c == nil {
			return aws.Credentials{}, errors.New("unable to find execution role credentials")
		}
		return aws.Credentials{AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey, SessionToken: c.SessionToken, CanExpire: !c.Expiration.IsZero(), Expires: c.Expiration}, nil
	})
	return config
}
