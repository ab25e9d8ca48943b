package controlplane

import (
	"context"
	"net/http"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awssts "github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/malote/malote/caller"
	"github.com/malote/malote/gateway"
	"github.com/malote/malote/rotation/functions"
	"github.com/malote/malote/service/sts"
)

// lambda is the service as which rotation functions get their roles.
const lambda = "lambda.amazonaws.com"

// rotators makes the functions of a configuration. They call the control plane as any
// client does, signed, without a network between.
func (c *ControlPlane) rotators(config Config, tokens *sts.Service) (*functions.Functions, error) {
	here := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { c.Handler.ServeHTTP(w, r) })
	client := &http.Client{Transport: gateway.Transport(here)}
	engine, err := c.imageEngine(config, client)
	if err != nil {
		return nil, err
	}
	return functions.New(functions.Config{
		Definitions: config.RotationFunctions,
		Builtin:     config.Rotators,
		HTTPClient:  client,
		Endpoint:    config.Local,
		CABundle:    config.CABundle,
		Engine:      engine,
		Log:         config.Log,
		Assume: func(ctx context.Context, a functions.Assume) (aws.Credentials, error) {
			parts := strings.Split(a.Function, ":") // arn:aws:lambda:region:account:function:name
			ctx = caller.With(ctx, &caller.Request{
				Region: a.Region, Service: "sts", Operation: "AssumeRole", Time: c.now(), Secure: true, SourceARN: a.Function,
				Principal: &caller.Principal{Type: caller.Service, Service: lambda, Account: parts[4], ARN: lambda, ID: lambda},
			})
			out, err := tokens.AssumeRole(ctx, &awssts.AssumeRoleInput{
				RoleArn: aws.String(a.Role), RoleSessionName: aws.String(parts[6]), DurationSeconds: aws.Int32(sessionSeconds),
			})
			if err != nil {
				return aws.Credentials{}, err
			}
			return aws.Credentials{
				AccessKeyID: *out.Credentials.AccessKeyId, SecretAccessKey: *out.Credentials.SecretAccessKey, SessionToken: *out.Credentials.SessionToken,
				CanExpire: true, Expires: *out.Credentials.Expiration, AccountID: parts[4], Source: "malote",
			}, nil
		},
	})
}

// sessionSeconds outlives the longest step.
const sessionSeconds = int32(20 * 60)
