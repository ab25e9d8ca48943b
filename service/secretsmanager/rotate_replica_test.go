package secretsmanager_test

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/google/go-cmp/cmp"
)

// A rotation reaches the replicas, by the function's own calls; what only the test of a
// configuration made leaves them as it leaves the primary.
func TestReplicasOfRotatedSecret(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.create(t, "db")
	there := in(w.Config(), europe)
	if _, err := w.client.ReplicateSecretToRegions(t.Context(), &secretsmanager.ReplicateSecretToRegionsInput{SecretId: aws.String("db"), AddReplicaRegions: regions(europe)}); err != nil {
		t.Fatal(err)
	}
	same := func() {
		t.Helper()
		if diff := cmp.Diff(w.describe(t).VersionIdsToStages, describe(t, there, "db").VersionIdsToStages); diff != "" {
			t.Error(diff)
		}
		if *get(t, there, "db").SecretString != *get(t, w.client, "db").SecretString {
			t.Error("the replica has another value")
		}
	}
	if err := w.rotate(t, func(in *secretsmanager.RotateSecretInput) { in.RotateImmediately = aws.Bool(false) }); err != nil {
		t.Fatal(err)
	}
	w.ended(t, 1)
	same()
	_, err := there.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: aws.String("db"), VersionId: aws.String(nextToken)})
	wantError(t, err, "ResourceNotFoundException", "for VersionId")
	if err := w.rotate(t, func(in *secretsmanager.RotateSecretInput) { in.ClientRequestToken = aws.String(otherToken) }); err != nil {
		t.Fatal(err)
	}
	if runs := w.ended(t, 2); runs[1].Outcome != "Succeeded" {
		t.Fatalf("runs %+v", runs)
	}
	same()
	if got := *get(t, there, "db").VersionId; got != otherToken {
		t.Errorf("the replica's current version is %s", got)
	}
	_, err = there.CancelRotateSecret(t.Context(), &secretsmanager.CancelRotateSecretInput{SecretId: aws.String("db")})
	wantError(t, err, "InvalidParameterException", readOnly)
	_, err = there.RotateSecret(t.Context(), &secretsmanager.RotateSecretInput{SecretId: aws.String("db"), RotationLambdaARN: aws.String(rotateARN)})
	wantError(t, err, "InvalidParameterException", readOnly)
}
