// Command awsprogram calls AWS as an application would: through the SDK's
// default chain and nothing else. Package enginetest documents its verbs.
package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "aws:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return err
	}
	switch {
	case len(args) == 1 && args[0] == "identity":
		out, err := sts.NewFromConfig(cfg).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
		if err != nil {
			return err
		}
		fmt.Println(*out.Arn)
	case len(args) == 2 && args[0] == "secret":
		out, err := secretsmanager.NewFromConfig(cfg).GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &args[1]})
		if err != nil {
			return err
		}
		show(args[1], aws.ToString(out.SecretString))
	case len(args) == 2 && args[0] == "parameter":
		out, err := ssm.NewFromConfig(cfg).GetParameter(ctx, &ssm.GetParameterInput{Name: &args[1], WithDecryption: aws.Bool(true)})
		if err != nil {
			return err
		}
		show(args[1], aws.ToString(out.Parameter.Value))
	case len(args) == 3 && args[0] == "object":
		out, err := s3.NewFromConfig(cfg).GetObject(ctx, &s3.GetObjectInput{Bucket: &args[1], Key: &args[2]})
		if err != nil {
			return err
		}
		body, err := io.ReadAll(out.Body)
		if err != nil {
			return err
		}
		show(args[2], string(body))
	case len(args) == 1 && args[0] == "lambda":
		return lambda(cfg)
	default:
		return errors.New("usage: aws identity | secret ID | parameter NAME | object BUCKET KEY | lambda")
	}
	return nil
}

func show(name, value string) {
	fmt.Printf("%s %x %d\n", name, sha256.Sum256([]byte(value)), len(value))
}
