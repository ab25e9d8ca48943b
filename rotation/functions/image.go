package functions

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/malote/malote/rotation"
)

// startLimit bounds a container's way to its first answer, which a pull may be part of.
// The function's timeout begins then, as Lambda's does.
const startLimit = 10 * time.Minute

// image calls a function in a container. It has one from the first step of a rotation to
// the last, and a new one after a failure: what a process keeps in memory never passes
// from one secret's rotation to another's.
func (f *Functions) image(ctx context.Context, c call) error {
	if f.images == nil {
		return fmt.Errorf("the image %s cannot run: this control plane has no engine; malote up has one", c.definition.Image)
	}
	x, err := f.images.ready(ctx, c)
	if err != nil {
		return err
	}
	within, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	err = post(within, f.images.http, x.url+invocations, c)
	if err != nil && ctx.Err() == nil && errors.Is(within.Err(), context.DeadlineExceeded) {
		err = tooLong(c.timeout)
	}
	if err != nil || c.event.Step == rotation.FinishSecret {
		f.images.stop(x, err)
		return err
	}
	f.images.keep(x)
	return nil
}

const invocations = "/2015-03-31/functions/function/invocations"

// ready returns a container that answers: the one that waits since the step before, or a
// new one.
func (m *images) ready(ctx context.Context, c call) (*container, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, startLimit, fmt.Errorf("the image %s did not start within %s", c.definition.Image, startLimit))
	defer cancel()
	key := run{function: c.arn, secret: c.event.SecretId, token: c.event.ClientRequestToken}
	x := m.take(key)
	if x != nil {
		if _, err := m.look(ctx, x); err == nil {
			return x, nil
		}
		m.stop(x, nil) // it ended between two steps, or was stopped: a step may come again
	}
	x, err := m.start(ctx, key, c)
	if err != nil {
		return nil, because(ctx, fmt.Errorf("running the image %s: %w", c.definition.Image, err))
	}
	if err := m.await(ctx, x); err != nil {
		err = because(ctx, fmt.Errorf("the image %s: %w", c.definition.Image, err))
		m.stop(x, err)
		return nil, err
	}
	return x, nil
}

// because is err, or what ctx ended for.
func because(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// await waits until the container listens. A GET of anything but the invocations is
// answered, with 404, by an endpoint that listens, and calls no function.
func (m *images) await(ctx context.Context, x *container) error {
	// The audit has each look: the first ones come soon, those of a long pull seldom.
	for pause := 100 * time.Millisecond; ; pause = min(pause*3/2, 5*time.Second) {
		running, err := m.look(ctx, x)
		if err != nil {
			return err
		}
		if running && m.answers(ctx, x.url) {
			return nil
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (m *images) answers(ctx context.Context, url string) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/", nil)
	if err != nil {
		return false
	}
	response, err := m.http.Do(request)
	if err != nil {
		return false
	}
	response.Body.Close()
	return true
}
