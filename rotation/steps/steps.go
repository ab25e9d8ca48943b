// Package steps is what all built-in rotation functions have in common: the four steps
// against Secrets Manager, each of which may come more than once.
//
// It promises: a version that is AWSCURRENT is left alone, a pending value that exists is
// kept, and an error names the step and the secret and never a value. It does not know what
// a secret opens; that is a Way's.
//
// AWS: Secrets Manager User Guide, "Lambda rotation functions"
package steps

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/malote/malote/rotation"
)

const (
	current  = "AWSCURRENT"
	pending  = "AWSPENDING"
	previous = "AWSPREVIOUS"
)

// Way is how one kind of secret is rotated. Values are SecretStrings. Set and Test may be
// called again after they succeeded.
type Way interface {
	New(ctx context.Context, run *Run, current string) (pending string, err error)
	Set(ctx context.Context, run *Run, current, pending string) error
	Test(ctx context.Context, run *Run, pending string) error
}

// Run is one rotation of one secret, as a step sees it.
type Run struct {
	client *secretsmanager.Client
	event  rotation.Event
}

// Function rotates in the given way.
func Function(way Way) rotation.Function { return function{way} }

type function struct{ way Way }

func (f function) Rotate(ctx context.Context, config aws.Config, event rotation.Event) error {
	run := &Run{secretsmanager.NewFromConfig(config), event}
	if err := f.rotate(ctx, run); err != nil {
		return fmt.Errorf("%s of %s: %w", event.Step, event.SecretId, err)
	}
	return nil
}

func (f function) rotate(ctx context.Context, run *Run) error {
	token := run.event.ClientRequestToken
	now, done, err := run.staged(ctx)
	if err != nil || done {
		return err
	}
	switch run.event.Step {
	case rotation.CreateSecret:
		old, err := run.value(ctx, current, "")
		if err != nil {
			return err
		}
		if _, err = run.value(ctx, pending, token); !absent(err) {
			return err // nil: it was made before
		}
		value, err := f.way.New(ctx, run, old)
		if err != nil {
			return err
		}
		in := &secretsmanager.PutSecretValueInput{SecretId: &run.event.SecretId, ClientRequestToken: &token, SecretString: &value, VersionStages: []string{pending}}
		if run.event.RotationToken != "" {
			in.RotationToken = &run.event.RotationToken
		}
		if _, err := run.client.PutSecretValue(ctx, in); err != nil {
			return fmt.Errorf("storing the new version: %w", err)
		}
		return nil
	case rotation.SetSecret:
		old, err := run.value(ctx, current, "")
		if err != nil {
			return err
		}
		value, err := run.value(ctx, pending, token)
		if err != nil {
			return err
		}
		return f.way.Set(ctx, run, old, value)
	case rotation.TestSecret:
		value, err := run.value(ctx, pending, token)
		if err != nil {
			return err
		}
		return f.way.Test(ctx, run, value)
	case rotation.FinishSecret:
		in := &secretsmanager.UpdateSecretVersionStageInput{SecretId: &run.event.SecretId, VersionStage: aws.String(current), MoveToVersionId: &token}
		if now != "" {
			in.RemoveFromVersionId = &now
		}
		if _, err := run.client.UpdateSecretVersionStage(ctx, in); err != nil {
			return fmt.Errorf("moving AWSCURRENT to version %s: %w", token, err)
		}
		return nil
	default:
		return fmt.Errorf("no such step: there are createSecret, setSecret, testSecret and finishSecret")
	}
}

// staged looks whether the version may be worked on, and which is current. done is a
// version that is current already: an earlier call did everything.
func (r *Run) staged(ctx context.Context) (now string, done bool, err error) {
	secret, err := r.client.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: &r.event.SecretId})
	if err != nil {
		return "", false, fmt.Errorf("describing the secret: %w", err)
	}
	if secret.RotationEnabled != nil && !*secret.RotationEnabled {
		return "", false, errors.New("the secret is not enabled for rotation")
	}
	token := r.event.ClientRequestToken
	stages, known := secret.VersionIdsToStages[token]
	switch {
	case !known:
		return "", false, fmt.Errorf("the secret has no staged version %s", token)
	case slices.Contains(stages, current):
		return token, true, nil
	case !slices.Contains(stages, pending):
		return "", false, fmt.Errorf("version %s is not staged AWSPENDING but %s", token, strings.Join(stages, ", "))
	}
	for id, stages := range secret.VersionIdsToStages {
		if slices.Contains(stages, current) {
			now = id
		}
	}
	return now, false, nil
}

// value reads the version with the stage; with an id, that version if it has the stage.
func (r *Run) value(ctx context.Context, stage, id string) (string, error) {
	in := &secretsmanager.GetSecretValueInput{SecretId: &r.event.SecretId, VersionStage: &stage}
	if id != "" {
		in.VersionId = &id
	}
	out, err := r.client.GetSecretValue(ctx, in)
	if err != nil {
		return "", fmt.Errorf("reading the %s version: %w", stage, err)
	}
	if out.SecretString == nil {
		return "", fmt.Errorf("the %s version is binary: a built-in function rotates a SecretString", stage)
	}
	return *out.SecretString, nil
}

func absent(err error) bool {
	var none *types.ResourceNotFoundException
	return errors.As(err, &none)
}

// Redact is err without the values, which some servers repeat in what they answer.
func Redact(err error, values ...string) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	for _, value := range values {
		if value != "" {
			text = strings.ReplaceAll(text, value, "***")
		}
	}
	if text == err.Error() {
		return err
	}
	return errors.New(text)
}
