package engine

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/malote/malote/acs"
)

type extras struct{}

func (e *Engine) startExtras(ctx context.Context) error { return nil }
func (e *Engine) closeExtras()                          {}

// refresh passes on fresh credentials of a task's role.
func (e *Engine) refresh(t *task, application *acs.Credentials) {}

// announce tells those who want to know what a task has come to.
func (e *Engine) announce(t *task, r Report) {
	if e.Changed != nil {
		e.Changed(r)
	}
}

// retire ends what is served for a task.
func (e *Engine) retire(t *task) {}

// attach puts a container where it reaches 169.254.170.2.
func (e *Engine) attach(ctx context.Context, t *task, name, id string) error { return nil }

// environment is what the engine itself tells a container.
func (t *task) environment(name string) []string {
	env := []string{"AWS_EXECUTION_ENV=AWS_ECS_EC2"}
	if r := t.work.Region; r != "" {
		env = append(env, "AWS_REGION="+r, "AWS_DEFAULT_REGION="+r)
	}
	if u := t.engine.ContainerEndpoint; u != "" {
		env = append(env, "AWS_ENDPOINT_URL="+u)
	}
	return env
}

// logging says where a container's output goes.
func (t *task) logging(i int, r *resolved) (logConfig, error) {
	l := t.defs[i].LogConfiguration
	if l == nil {
		return logConfig{}, nil
	}
	driver := string(l.LogDriver)
	options := map[string]string{}
	for k, v := range l.Options {
		options[k] = v
	}
	if driver == "awslogs" {
		t.log.Warn("there is no logs service yet: the container's output stays with Docker", "container", aws.ToString(t.defs[i].Name))
		return logConfig{"json-file", map[string]string{"max-size": "10m", "max-file": "3"}, map[string]string{labelLogDriver: driver}}, nil
	}
	return logConfig{driver: driver, options: options}, nil
}
