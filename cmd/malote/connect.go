package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/malote/malote/gateway"
)

// connectFlags are those of commands that are somebody's client.
type connectFlags struct {
	DataDir string `help:"Of the malote of this machine, used when nothing of AWS is configured. A directory that is named goes before files in ~/.aws." env:"MALOTE_DATA_DIR" placeholder:"DIR"`
}

// configured says whether the user told AWS's own tools where to go. Files in the home directory may be there
// for something else: who names a data directory means that one.
func (f connectFlags) configured() bool {
	for _, name := range []string{"AWS_ENDPOINT_URL", "AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE",
		"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"} {
		if os.Getenv(name) != "" {
			return true
		}
	}
	home, err := os.UserHomeDir()
	if err != nil || f.DataDir != "" {
		return false
	}
	for _, name := range []string{"config", "credentials"} {
		if _, err := os.Stat(filepath.Join(home, ".aws", name)); err == nil {
			return true
		}
	}
	return false
}

// link is a way to a control plane.
type link struct {
	aws   aws.Config
	plane *plane // when it is embedded in this process
}

// connect finds the control plane: what AWS's configuration chain says; without any, the
// malote that runs on this machine; without one, an embedded one on the same data.
func (f connectFlags) connect(ctx context.Context, p *program) (cfg aws.Config, done func(), err error) {
	l, err := f.link(ctx, p, slog.New(slog.DiscardHandler))
	if err != nil {
		return aws.Config{}, nil, err
	}
	return l.aws, func() { l.close() }, nil
}

func (f connectFlags) link(ctx context.Context, p *program, log *slog.Logger) (*link, error) {
	if f.configured() {
		cfg, err := loadConfig(ctx)
		if err == nil && cfg.Region == "" {
			err = &hintError{errors.New("no region is configured"), "set AWS_REGION"}
		}
		return &link{aws: cfg}, err
	}
	dir := dataDirOr(f.DataDir)
	local, err := localConnection(ctx, dir, "")
	if err == nil {
		cfg := staticConfig(local)
		if local.CABundle != "" {
			if cfg.HTTPClient, err = trusting(local.CABundle); err != nil {
				return nil, err
			}
		}
		return &link{aws: cfg}, nil
	}
	if !errors.Is(err, errNotRunning) {
		return nil, err
	}
	if cluster := os.Getenv("MALOTE_STORE"); cluster != "" {
		return nil, &hintError{fmt.Errorf("no malote runs on %s, and MALOTE_STORE says that the data is elsewhere", dir), "start malote up, or unset MALOTE_STORE"}
	}
	opened, err := planeFlags{DataDir: dir, Region: "us-east-1", embedded: true}.open(ctx, log)
	if err != nil {
		return nil, err
	}
	local, err = opened.connection(ctx, "https://malote", "")
	if err != nil {
		return nil, errors.Join(err, opened.Close())
	}
	cfg := staticConfig(local)
	cfg.HTTPClient = httpClient(gateway.Transport(opened.Handler))
	return &link{cfg, opened}, nil
}

// loadConfig is AWS's configuration chain. The SDK finds the endpoint after the credentials, so
// by itself it would take tokens and roles to Amazon's STS: that is why it is asked twice.
func loadConfig(ctx context.Context) (aws.Config, error) {
	cfg, err := config.LoadDefaultConfig(ctx)
	if err == nil && cfg.BaseEndpoint != nil {
		here := cfg.Copy()
		here.Credentials = aws.AnonymousCredentials{}
		tokens := sts.NewFromConfig(here)
		cfg, err = config.LoadDefaultConfig(ctx,
			config.WithWebIdentityRoleCredentialOptions(func(o *stscreds.WebIdentityRoleOptions) { o.Client = tokens }),
			config.WithAssumeRoleCredentialOptions(func(o *stscreds.AssumeRoleOptions) {
				if client, ok := o.Client.(*sts.Client); ok { // with the credentials that assume the role
					o.Client = sts.New(client.Options(), func(s *sts.Options) { s.BaseEndpoint = tokens.Options().BaseEndpoint })
				}
			}))
	}
	if bundle := os.Getenv(caBundle); err != nil && bundle != "" {
		if _, unread := trusting(bundle); unread != nil {
			err = fmt.Errorf("%s: %w", caBundle, unread) // which the SDK does not say
		}
	}
	if err != nil {
		return aws.Config{}, fmt.Errorf("AWS's configuration: %w", err)
	}
	return cfg, nil
}

func (l *link) close() error {
	if l.plane == nil {
		return nil
	}
	return l.plane.Close()
}

func staticConfig(c *connection) aws.Config {
	return aws.Config{
		Region:       c.Region,
		BaseEndpoint: aws.String(c.Endpoint),
		Credentials:  credentials.NewStaticCredentialsProvider(c.AccessKeyID, c.SecretAccessKey, ""),
	}
}
