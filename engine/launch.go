package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/malote/malote/engine/docker"
	"github.com/malote/malote/engine/shim"
	"github.com/malote/malote/internal/ourlabels"
)

const (
	createTimeout = 4 * time.Minute
	startTimeout  = 3 * time.Minute
)

// prepare makes what the task's containers share: the pause container and the volumes.
// What is there from before a restart is used again.
func (t *task) prepare() error {
	defer t.forgetStorage()
	for _, v := range t.work.Definition.Volumes {
		source, err := t.prepareVolume(v)
		if err != nil {
			return fmt.Errorf("VolumeError: Agent could not create task's volume resources: volume %s: %w", aws.ToString(v.Name), err)
		}
		t.mu.Lock()
		t.binds[aws.ToString(v.Name)] = source
		t.mu.Unlock()
	}
	t.forgetStorage()
	if t.router != nil {
		if err := t.prepareRouter(); err != nil {
			return fmt.Errorf("ResourceInitializationError: unable to generate firelens config file: %w", err)
		}
	}
	if needsPause(t.work) {
		if err := t.preparePause(); err != nil {
			return fmt.Errorf("CannotStartContainerError: ContainerNetworkingError: the container that holds the task's shared namespaces: %w", err)
		}
	}
	t.introduce() // containers that were found
	return nil
}

func (t *task) preparePause() error {
	e := t.engine
	ctx, cancel := context.WithTimeout(t.ctx, createTimeout) // as in create
	defer cancel()
	made, err := e.docker.List(ctx, map[string]string{labelEngine: e.Name, labelTask: t.work.ARN, labelContainer: pauseName})
	if err != nil {
		return err
	}
	for _, c := range made {
		if c.Status == "running" && t.pauseID() == "" {
			t.setPause(c.ID)
		} else if err := e.docker.Remove(ctx, c.ID); err != nil {
			return err
		}
	}
	if t.pauseID() != "" {
		return nil
	}
	if err := e.docker.EnsurePause(ctx); err != nil {
		return err
	}
	spec, err := specifyPause(t.work, e.Name)
	if err != nil {
		return err
	}
	id, err := e.docker.Create(ctx, spec)
	if err != nil {
		return err
	}
	if networkMode(t.work) == types.NetworkModeAwsvpc {
		if err := t.attach(ctx, id); err != nil {
			return err
		}
	}
	if err := e.docker.Start(ctx, id); err != nil {
		return err
	}
	t.setPause(id)
	return nil
}

func (t *task) setPause(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.pause = id
}

func (t *task) pauseID() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.pause
}

// pull makes a container's image present and returns its digest.
func (t *task) pull(i int) (string, error) {
	e, def := t.engine, t.defs[i]
	ref := aws.ToString(def.Image)
	image, err := e.docker.Image(t.effort, ref)
	if err != nil && !docker.IsNotFound(err) {
		return "", fmt.Errorf("CannotInspectContainerError: image %s: %w", ref, err)
	}
	have := err == nil
	e.mu.Lock()
	before := e.pulled[ref]
	e.mu.Unlock()
	fetch := true
	switch e.PullBehavior {
	case PullPreferCached:
		fetch = !have
	case PullOnce:
		fetch = !have || !before
	}
	if fetch {
		err := t.fetch(ref, def)
		switch {
		case err == nil:
			e.mu.Lock()
			e.pulled[ref] = true
			e.mu.Unlock()
			if image, err = e.docker.Image(t.effort, ref); err != nil {
				return "", fmt.Errorf("CannotPullContainerError: image %s: %w", ref, err)
			}
		case have && e.PullBehavior == PullDefault && t.effort.Err() == nil:
			t.log.Warn("using the image that Docker has, since it could not be pulled", "image", ref, "err", err)
		default:
			return "", err
		}
	}
	t.mu.Lock()
	t.images[aws.ToString(def.Name)] = image
	t.mu.Unlock()
	return image.Digest, nil
}

func (t *task) fetch(ref string, def types.ContainerDefinition) error {
	var auth *docker.Auth
	if r := def.RepositoryCredentials; r != nil {
		t.mu.Lock()
		if a, ok := t.resolved.auth(aws.ToString(r.CredentialsParameter)); ok {
			auth = &a
		}
		t.mu.Unlock()
		if auth == nil {
			return errors.New("CannotPullContainerAuthError: engine docker private registry credentials: not found")
		}
	}
	var err error
	for attempt, wait := 1, 1100*time.Millisecond; attempt <= 5; attempt, wait = attempt+1, min(2*wait, 5*time.Second) {
		ctx, cancel := context.WithTimeout(t.effort, 2*time.Hour)
		err = t.engine.docker.Pull(ctx, ref, auth)
		cancel()
		if err == nil || t.effort.Err() != nil || permanent(err) {
			break
		}
		t.log.Warn("pulling an image", "image", ref, "attempt", attempt, "err", err)
		select {
		case <-t.effort.Done():
		case <-time.After(wait):
		}
	}
	if err == nil {
		return nil
	}
	hint := ""
	text := err.Error()
	switch {
	case auth != nil && (strings.Contains(text, "unauthorized") || strings.Contains(text, "no basic auth") || strings.Contains(text, "denied")):
		hint = "The registry refused the credentials of " + aws.ToString(def.RepositoryCredentials.CredentialsParameter) + ". "
	case strings.Contains(text, "unauthorized") || strings.Contains(text, "no basic auth"):
		hint = "The registry wants credentials; container " + aws.ToString(def.Name) + " has no repositoryCredentials. "
	case strings.Contains(text, "request canceled while waiting for connection") || strings.Contains(text, "no such host") || strings.Contains(text, "connection refused") || strings.Contains(text, "i/o timeout"):
		hint = "The task can’t pull the image. Check your network configuration. "
	case permanent(err):
		hint = "The task can’t pull the image. Check whether the image exists. "
	}
	return fmt.Errorf("CannotPullContainerError: %s%s: %w", hint, ref, err)
}

// permanent reports whether a registry's refusal will be the same next time.
func permanent(err error) bool {
	text := err.Error()
	for _, s := range []string{"unauthorized", "no basic auth", "denied", "not found", "manifest unknown", "does not exist", "invalid reference", "no such host", "connection refused"} {
		if strings.Contains(text, s) {
			return true
		}
	}
	return docker.IsNotFound(err)
}

// create makes a container with all that it needs, but does not start it.
func (t *task) create(i int) (id string, err error) {
	e, def := t.engine, t.defs[i]
	name := aws.ToString(def.Name)
	// Not t.effort: a request that is given up may still make a container, after cleanup looked.
	ctx, cancel := context.WithTimeout(t.ctx, createTimeout)
	defer cancel()

	t.mu.Lock()
	resolved := t.resolved
	s := surroundings{engine: e.Name, image: t.images[name], pause: t.pause, ids: map[string]string{}, volumes: map[string]string{}, owned: map[string]bool{}}
	for k, v := range t.ids {
		s.ids[k] = v
	}
	maps.Copy(s.volumes, t.binds)
	maps.Copy(s.owned, t.owned)
	t.mu.Unlock()
	if err := t.fillVolumes(ctx, def, s.image); err != nil {
		return "", fmt.Errorf("CannotCreateContainerError: %w", err)
	}
	if s.router, err = t.routerFiles(name); err != nil {
		return "", fmt.Errorf("CannotCreateContainerError: %w", err)
	}
	env, err := t.fluentEnvironment(ctx, def)
	if err != nil {
		return "", fmt.Errorf("CannotInspectContainerError: the log router: %w", err)
	}
	s.env = append(t.environment(def), env...)
	s.secrets = resolved.env(name)
	s.versions = resolved.versionsOf(name)
	if s.log, err = t.logging(ctx, i, resolved); err != nil {
		return "", named(err, "CannotCreateContainerError")
	}
	if len(s.secrets) > 0 {
		if def.DockerLabels[ourlabels.Secrets] == ourlabels.DockerEnv {
			t.log.Warn("secrets go through Docker's Env, as the label "+ourlabels.Secrets+" asks: docker inspect shows them", "container", name)
		} else {
			// Checked here as well as in specify: the payload must not be opened for
			// an environment that no process can have.
			endpoint, err := t.endpoint(i, shim.Payload{Env: s.secrets})
			if err != nil {
				return "", fmt.Errorf("CannotStartContainerError: ResourceInitializationError: container %s: %w", name, err)
			}
			s.shimDir = endpoint.Dir()
		}
	}
	spec, err := specify(t.work, def, s)
	if err != nil {
		return "", named(err, "CannotCreateContainerError")
	}
	id, err = e.docker.Create(ctx, spec)
	if err != nil {
		return "", fmt.Errorf("CannotCreateContainerError: %w", err)
	}
	t.mu.Lock()
	t.ids[name] = id
	endpoint := t.endpoints[name]
	t.mu.Unlock()
	if endpoint != nil {
		if err := endpoint.Bind(id); err != nil {
			return id, fmt.Errorf("CannotCreateContainerError: %w", err)
		}
	}
	if mode := networkMode(t.work); mode == types.NetworkModeBridge && !aws.ToBool(def.DisableNetworking) {
		if err := t.attach(ctx, id); err != nil {
			return id, fmt.Errorf("CannotCreateContainerError: ContainerNetworkingError: %w", err)
		}
	}
	t.introduce()
	return id, nil
}

// named gives an error a name from the API's list unless it has one.
func named(err error, name string) error {
	if head, _, ok := strings.Cut(err.Error(), ": "); ok && strings.HasSuffix(head, "Error") && !strings.Contains(head, " ") {
		return err
	}
	return fmt.Errorf("%s: %w", name, err)
}

// endpoint opens a container's socket, or returns the one it has.
func (t *task) endpoint(i int, payload shim.Payload) (*shim.Endpoint, error) {
	name := aws.ToString(t.defs[i].Name)
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.endpoints[name]; e != nil {
		return e, nil
	}
	endpoint, err := t.engine.shim.Open(endpointName(t.work.ARN, i), payload)
	if err != nil {
		return nil, err
	}
	t.endpoints[name] = endpoint
	return endpoint, nil
}

// start starts a container and returns where its ports are.
func (t *task) start(i int) ([]types.NetworkBinding, error) {
	e, name := t.engine, aws.ToString(t.defs[i].Name)
	id := t.id(name)
	ctx, cancel := context.WithTimeout(t.ctx, startTimeout)
	defer cancel()
	// Docker notes a container's start after its first words may have been written.
	since := time.Now()
	if err := e.docker.Start(ctx, id); err != nil {
		return nil, fmt.Errorf("CannotStartContainerError: %w", err)
	}
	c, err := e.docker.Inspect(ctx, id)
	if err != nil {
		if docker.IsNotFound(err) {
			return nil, nil // told by the look that follows
		}
		return nil, fmt.Errorf("CannotInspectContainerError: %w", err)
	}
	t.follow(t.defs[i], c, since)
	found := c.Ports
	if networkMode(t.work) == types.NetworkModeAwsvpc && len(t.defs[i].PortMappings) > 0 {
		if p, err := e.docker.Inspect(ctx, t.pauseID()); err == nil {
			for _, port := range p.Ports {
				for _, m := range t.defs[i].PortMappings {
					if int32(port.Container) == aws.ToInt32(m.ContainerPort) {
						found = append(found, port)
					}
				}
			}
		}
	}
	return bindings(found), nil
}

// follow passes on what a container writes from its start to its end.
func (t *task) follow(def types.ContainerDefinition, c *docker.Container, since time.Time) {
	name := aws.ToString(def.Name)
	output := t.engine.Output
	if output == nil || c.LogDriver == "none" || forwarded(def) {
		return
	}
	t.followers.Go(func() {
		err := t.engine.docker.Logs(t.ctx, c.ID, c.Tty, since, func(stream string, line []byte) {
			output(Line{TaskARN: t.work.ARN, Container: name, Stream: stream, Text: line})
		})
		if err != nil && t.ctx.Err() == nil {
			t.log.Warn("reading a container's log", "container", name, "err", err)
		}
	})
}
