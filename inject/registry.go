package inject

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
)

// RegistryCredentials returns what a repositoryCredentials.credentialsParameter names: a
// secret by ARN or, in the config's region, by name, whose text is
// {"username": …, "password": …}. The error is an *Error in ECS's words.
func RegistryCredentials(ctx context.Context, config aws.Config, credentialsParameter string) (Credentials, error) {
	fail := func(err error) (Credentials, error) {
		return Credentials{}, &Error{ValueFrom: credentialsParameter, ID: credentialsParameter, Call: getSecretValue, Err: err}
	}
	if credentialsParameter == "" {
		return fail(errors.New("asm fetching authorization data: credentialsParameter is empty"))
	}
	region := config.Region
	if strings.HasPrefix(credentialsParameter, "arn:") {
		parsed, err := arn.Parse(credentialsParameter)
		if err != nil || parsed.Service != SecretsManager || parsed.Region == "" {
			return fail(fmt.Errorf("asm fetching authorization data: %s is not the ARN of a Secrets Manager secret", credentialsParameter))
		}
		region = parsed.Region
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	client := secretsmanager.NewFromConfig(config, func(o *secretsmanager.Options) { o.Region = region })
	out, err := client.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: aws.String(credentialsParameter)})
	if err != nil {
		return fail(&apiError{"asm fetching secret from the service for " + credentialsParameter + ": " + advise(err), err})
	}
	if aws.ToString(out.SecretString) == "" {
		return fail(errors.New("asm fetching authorization data: empty secrets value"))
	}
	// The decoder's error may quote the secret, and ECS does not say more either.
	var data struct{ Username, Password string }
	if err := json.Unmarshal([]byte(*out.SecretString), &data); err != nil {
		return fail(errors.New(`asm fetching authorization data: unable to unmarshal secret value, invalid schema: want {"username": "…", "password": "…"}`))
	}
	switch {
	case data.Username == "":
		return fail(errors.New("asm fetching username: AuthorizationData is malformed, empty field"))
	case data.Password == "":
		return fail(errors.New("asm fetching password: AuthorizationData is malformed, empty field"))
	}
	return Credentials(data), nil
}
