// Package rotation is what a function that rotates secrets is: called four times with an
// event, once a step, it makes a new version of a secret and the thing that the secret opens
// agree.
//
// It promises: a function calls Secrets Manager as any client does, as a role of its own, and
// has nothing else of malote's. It does not decide when a secret is rotated, nor which step
// comes next (see service/secretsmanager).
package rotation

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// The steps of a rotation, in order.
const (
	CreateSecret = "createSecret" // make a value and store it as the version ClientRequestToken, AWSPENDING
	SetSecret    = "setSecret"    // have the database or service take that value
	TestSecret   = "testSecret"   // see that it does
	FinishSecret = "finishSecret" // move AWSCURRENT to it
)

// Event is what a function is called with; in JSON, it is what Secrets Manager sends to a
// Lambda function. Each step may come more than once, and must then have no other effect
// than the first time.
//
// AWS: Secrets Manager User Guide, "Lambda rotation functions"
type Event struct {
	Step               string
	SecretId           string // an ARN
	ClientRequestToken string // the id of the version to be
	RotationToken      string `json:",omitempty"` // shows PutSecretValue that the caller was called for this rotation; a function may hand it back
}

// Function rotates secrets. Config has the function's role and the endpoint to call; what
// Rotate returns as an error is shown to people, so it says what failed and never a value.
type Function interface {
	Rotate(ctx context.Context, config aws.Config, event Event) error
}
