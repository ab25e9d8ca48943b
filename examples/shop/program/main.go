// Command program is what runs in the containers of examples/shop: a sidecar, an app
// and a mailer in one static binary. It shows what it was given by hash, never by value.
package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
)

// secrets are the variables that the task definition asks for.
var secrets = []string{
	"DATABASE", "DATABASE_PASSWORD", "DATABASE_PASSWORD_BEFORE", "DATABASE_PASSWORD_PINNED",
	"API_KEY", "MAIL_KEY", "COUPON_KEY",
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	part := ""
	if len(os.Args) > 1 {
		part = os.Args[1]
	}
	var err error
	switch part {
	case "sidecar":
		err = sidecar(ctx)
	case "app":
		err = app(ctx)
	case "mailer":
		err = mailer(ctx)
	case "health":
		err = health()
	default:
		err = fmt.Errorf("unknown part %q: want sidecar, app, mailer or health", part)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "shop:", err)
		os.Exit(1)
	}
}

// sidecar writes one secret into the task's volume, as AWS's sample sidecar does, and
// fails when it cannot.
func sidecar(ctx context.Context) error {
	value, err := fetch(ctx, os.Getenv("SECRET_ARN"))
	if err != nil {
		return err
	}
	path := filepath.Join("/tmp", filepath.Base(os.Getenv("SECRET_FILENAME")))
	if err := os.WriteFile(path+".part", []byte(value), 0o444); err != nil {
		return err
	}
	show("wrote file "+filepath.Base(path), value)
	return os.Rename(path+".part", path)
}

// app shows what it has, calls Secrets Manager as its task role, and waits to be stopped.
func app(ctx context.Context) error {
	for _, name := range secrets {
		value, set := os.LookupEnv(name)
		if !set {
			return fmt.Errorf("%s is not set", name)
		}
		show("env "+name, value)
	}
	file, err := os.ReadFile("/run/secrets/tls.pem")
	if err != nil {
		return err
	}
	show("file tls.pem", string(file))

	value, err := fetch(ctx, "shop/tls")
	if err != nil {
		return err
	}
	show("task role read shop/tls", value)
	if _, err := fetch(ctx, "shop/db"); err == nil {
		return fmt.Errorf("the task role may read shop/db, which only the execution role should")
	}
	fmt.Println("task role was refused shop/db, as it should be")
	fmt.Println("ready")
	<-ctx.Done()
	fmt.Println("stopped by SIGTERM")
	return nil
}

// mailer logs through a driver with a token and knows nothing of it.
func mailer(ctx context.Context) error {
	for _, entry := range os.Environ() {
		if name, _, _ := strings.Cut(entry, "="); slices.Contains(secrets, name) {
			return fmt.Errorf("%s reached a container that did not ask for it", name)
		}
	}
	fmt.Println("mailer ready")
	<-ctx.Done()
	return nil
}

func health() error {
	if os.Getenv("API_KEY") == "" {
		return fmt.Errorf("the health check has no API_KEY")
	}
	return nil
}

// fetch reads a secret with nothing but the SDK's default chain.
func fetch(ctx context.Context, id string) (string, error) {
	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return "", err
	}
	out, err := secretsmanager.NewFromConfig(cfg).GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &id})
	if err != nil {
		return "", fmt.Errorf("reading %s: %w", id, err)
	}
	return aws.ToString(out.SecretString), nil
}

func show(what, value string) {
	fmt.Printf("%-30s %3d bytes  sha256 %.12x\n", what, len(value), sha256.Sum256([]byte(value)))
}
