package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
)

// lambda serves a rotation function as the runtime interface emulator of a Lambda image
// does. Like AWS's templates it finds Secrets Manager at SECRETS_MANAGER_ENDPOINT. FAIL is
// a step that it fails.
func lambda(cfg aws.Config) error {
	client := secretsmanager.NewFromConfig(cfg, func(o *secretsmanager.Options) { o.BaseEndpoint = aws.String(os.Getenv("SECRETS_MANAGER_ENDPOINT")) })
	http.HandleFunc("POST /2015-03-31/functions/function/invocations", func(w http.ResponseWriter, r *http.Request) {
		var event struct{ Step, SecretId, ClientRequestToken string }
		err := json.NewDecoder(r.Body).Decode(&event)
		if err == nil {
			fmt.Println("step", event.Step)
			err = rotate(r.Context(), client, event.Step, event.SecretId, event.ClientRequestToken)
		}
		if err != nil {
			json.NewEncoder(w).Encode(map[string]string{"errorMessage": err.Error(), "errorType": "RotationError"})
			return
		}
		fmt.Fprint(w, "null")
	})
	time.Sleep(300 * time.Millisecond) // a runtime is not there at once
	return http.ListenAndServe(":8080", nil)
}

func rotate(ctx context.Context, client *secretsmanager.Client, step, secret, token string) error {
	if step == os.Getenv("FAIL") {
		return fmt.Errorf("%s of version %s fails within %s s", os.Getenv("AWS_LAMBDA_FUNCTION_NAME"), os.Getenv("AWS_LAMBDA_FUNCTION_VERSION"), os.Getenv("AWS_LAMBDA_FUNCTION_TIMEOUT"))
	}
	switch step {
	case "createSecret":
		value := rand.Text()
		_, err := client.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{SecretId: &secret, ClientRequestToken: &token, SecretString: &value, VersionStages: []string{"AWSPENDING"}})
		return err
	case "testSecret":
		_, err := client.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &secret, VersionId: &token, VersionStage: aws.String("AWSPENDING")})
		return err
	case "finishSecret":
		out, err := client.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: &secret})
		if err != nil {
			return err
		}
		for version, stages := range out.VersionIdsToStages {
			if slices.Contains(stages, "AWSCURRENT") {
				_, err = client.UpdateSecretVersionStage(ctx, &secretsmanager.UpdateSecretVersionStageInput{
					SecretId: &secret, VersionStage: aws.String("AWSCURRENT"), MoveToVersionId: &token, RemoveFromVersionId: &version,
				})
				return err
			}
		}
		return errors.New("no version is current")
	}
	return nil
}
