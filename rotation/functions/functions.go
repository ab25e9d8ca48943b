package functions

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/malote/malote/rotation"
)

// Config is what Functions are made of.
type Config struct {
	Definitions map[string]Definition // by ARN
	// Builtin makes the function of a name for its options. Its errors say what it knows.
	// Nil means that there is none.
	Builtin func(name string, options map[string]string) (rotation.Function, error)
	// Assume returns credentials of a role for a function, if its trust policy lets
	// lambda.amazonaws.com have them. Required.
	Assume func(ctx context.Context, a Assume) (aws.Credentials, error)
	// HTTPClient reaches the control plane from this process. Required for Builtin.
	HTTPClient aws.HTTPClient
	// Endpoint is where a Command finds the control plane.
	Endpoint string
	// CABundle is a file with the certificates that vouch for it, for a Command; "" for those
	// of the system.
	CABundle string
	// Engine runs Images. Nil: there is none, and their rotations fail and say so.
	Engine *Engine
	Log    *slog.Logger // nil: nothing is logged
}

// Assume asks for credentials of Role, in Region, for Function (both ARNs).
type Assume struct{ Role, Function, Region string }

// Functions are the rotation functions of a control plane.
type Functions struct {
	config    Config
	functions map[string]invoker
	images    *images // nil without an engine
}

// invoker calls one kind of function, within ctx, as credentials.
type invoker func(ctx context.Context, call call) error

// call is one step for one function.
type call struct {
	definition  *Definition
	arn, region string // of the function; of the secret
	credentials aws.CredentialsProvider
	event       rotation.Event
	timeout     time.Duration
}

// New checks that what the definitions name is there.
func New(c Config) (*Functions, error) {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	f := &Functions{config: c, functions: make(map[string]invoker, len(c.Definitions))}
	if c.Engine != nil {
		f.images = newImages(*c.Engine, c.Log)
	}
	for _, arn := range slices.Sorted(maps.Keys(c.Definitions)) {
		d := c.Definitions[arn]
		switch {
		case d.Builtin != "":
			if c.Builtin == nil {
				return nil, fmt.Errorf("%s: builtin: there is no %q here, nor any other", arn, d.Builtin)
			}
			function, err := c.Builtin(d.Builtin, d.Environment)
			if err != nil {
				return nil, fmt.Errorf("%s: builtin: %w", arn, err)
			}
			f.functions[arn] = f.builtin(function)
		case d.URL != "":
			f.functions[arn] = invokeURL
		case d.Image != "":
			f.functions[arn] = f.image
		default:
			f.functions[arn] = f.command
		}
	}
	return f, nil
}

// Has reports whether there is a function of that ARN.
func (f *Functions) Has(arn string) bool { return f.functions[arn] != nil }

// Invoke calls the function for one step.
func (f *Functions) Invoke(ctx context.Context, arn string, event rotation.Event) error {
	invoke := f.functions[arn]
	if invoke == nil {
		return fmt.Errorf("there is no rotation function %s", arn)
	}
	d := f.config.Definitions[arn]
	timeout := d.Timeout
	if timeout == 0 {
		timeout = DefaultTimeout
	}
	c := call{definition: &d, arn: arn, region: regionOf(event.SecretId), event: event, timeout: timeout}
	if d.Image != "" {
		return invoke(ctx, c) // which does not count the container's start
	}
	within, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	c.credentials = aws.NewCredentialsCache(aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) {
		return f.config.Assume(ctx, Assume{Role: d.Role, Function: arn, Region: c.region})
	}))
	err := invoke(within, c)
	if err != nil && ctx.Err() == nil && errors.Is(within.Err(), context.DeadlineExceeded) {
		return tooLong(timeout)
	}
	return err
}

func tooLong(timeout time.Duration) error {
	return fmt.Errorf("the function did not end within %s", timeout)
}

// Begin stops what an earlier life of the control plane has left running.
func (f *Functions) Begin(ctx context.Context) error {
	if f.images == nil {
		return nil
	}
	return f.images.sweep(ctx)
}

// Close stops the containers that wait for a next step.
func (f *Functions) Close() {
	if f.images != nil {
		f.images.close()
	}
}

// builtin calls a function of this process.
func (f *Functions) builtin(function rotation.Function) invoker {
	return func(ctx context.Context, c call) error {
		return function.Rotate(ctx, aws.Config{
			Region: c.region, BaseEndpoint: aws.String("https://malote"), HTTPClient: f.config.HTTPClient, Credentials: c.credentials,
		}, c.event)
	}
}

func regionOf(arn string) string {
	if parts := strings.SplitN(arn, ":", 5); len(parts) == 5 {
		return parts[3]
	}
	return ""
}
