package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/malote/malote/caller"
	"github.com/malote/malote/controlplane"
	"github.com/malote/malote/gateway"
	"github.com/malote/malote/keyring/seal"
	"github.com/malote/malote/service/iam/directory"
	services "github.com/malote/malote/service/secretsmanager"
	"github.com/malote/malote/store/bolt"
)

// data is a data directory with so many secrets in it.
type data struct {
	dir     string
	secrets int
	key     accessKey // of a user whose rights come from a policy of his own and from his group
}

type accessKey struct{ id, secret string }

var adminKey = accessKey{"AKIABENCHADMIN000000", "bench-admin-secret-access-key-0000000000"}

// The user's policies: what reading and rotating an application's secrets takes, written
// the way AWS's documentation advises, and a guard such as organisations put on everybody.
const (
	appPolicy = `{"Version":"2012-10-17","Statement":[
{"Sid":"Secrets","Effect":"Allow","Action":["secretsmanager:GetSecretValue","secretsmanager:DescribeSecret","secretsmanager:PutSecretValue","secretsmanager:ListSecretVersionIds"],"Resource":"arn:aws:secretsmanager:us-east-1:123456789012:secret:app/*"},
{"Sid":"Keys","Effect":"Allow","Action":["kms:Decrypt","kms:GenerateDataKey"],"Resource":"arn:aws:kms:us-east-1:123456789012:key/*","Condition":{"StringEquals":{"kms:ViaService":"secretsmanager.us-east-1.amazonaws.com"}}},
{"Sid":"Parameters","Effect":"Allow","Action":["ssm:GetParameter","ssm:GetParameters","ssm:GetParametersByPath"],"Resource":"arn:aws:ssm:us-east-1:123456789012:parameter/app/*"},
{"Sid":"Logs","Effect":"Allow","Action":["logs:CreateLogStream","logs:PutLogEvents"],"Resource":"*"}]}`
	groupPolicy = `{"Version":"2012-10-17","Statement":[
{"Sid":"OnlyFromHere","Effect":"Deny","Action":"*","Resource":"*","Condition":{"NotIpAddress":{"aws:SourceIp":["127.0.0.0/8","10.0.0.0/8"]},"Bool":{"aws:ViaAWSService":"false"}}},
{"Sid":"OwnTeam","Effect":"Deny","Action":"secretsmanager:*","Resource":"*","Condition":{"StringEquals":{"aws:ResourceTag/classification":"restricted"}}}]}`
)

// value is a kilobyte as secrets are: JSON with a few members.
var value = func() string {
	v, err := json.Marshal(map[string]any{
		"username": "shop", "password": strings.Repeat("s3cret-", 20), "host": "db.internal", "port": 5432, "certificate": strings.Repeat("MIIDdzCCAl+gAwIBAgIE", 40),
	})
	if err != nil {
		panic(err)
	}
	return string(v)
}()

func secretName(i int) string { return fmt.Sprintf("app/service-%07d/database", i) }

// fill makes a data directory with n secrets, unless an earlier run left it.
func (b *bench) fill(ctx context.Context, n int) (*data, error) {
	d := &data{dir: filepath.Join(b.dir, fmt.Sprintf("secrets-%d", n)), secrets: n}
	done := filepath.Join(d.dir, "bench.key")
	if text, err := os.ReadFile(done); err == nil {
		d.key.id, d.key.secret, _ = strings.Cut(string(text), " ")
		return d, nil
	}
	if err := os.RemoveAll(d.dir); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(d.dir, 0o700); err != nil {
		return nil, err
	}
	began := time.Now()
	plane, closePlane, err := openPlane(ctx, d.dir)
	if err != nil {
		return nil, err
	}
	d.key, err = makeUser(ctx, plane)
	if err == nil {
		err = create(ctx, plane, n)
	}
	if closeErr := closePlane(); err == nil {
		err = closeErr
	}
	if err != nil {
		return nil, err
	}
	note("made a store with %d secrets in %v", n, time.Since(began).Round(time.Millisecond))
	return d, os.WriteFile(done, []byte(d.key.id+" "+d.key.secret), 0o600)
}

// openPlane opens a control plane on dir in this process, without audit.
func openPlane(ctx context.Context, dir string) (*controlplane.ControlPlane, func() error, error) {
	file, err := bolt.Open(filepath.Join(dir, "malote.db"))
	if err != nil {
		return nil, nil, err
	}
	plane, err := controlplane.Open(ctx, controlplane.Config{
		Store: file, Seal: seal.NewFile(filepath.Join(dir, "root.key")), Log: slog.New(slog.DiscardHandler),
		Bootstrap: directory.BootstrapConfig{Account: account, AdminAccessKeyID: adminKey.id, AdminSecretAccessKey: adminKey.secret},
	})
	if err != nil {
		file.Close()
		return nil, nil, err
	}
	return plane, func() error {
		if err := plane.Close(); err != nil {
			return err
		}
		return file.Close()
	}, nil
}

func planeConfig(plane *controlplane.ControlPlane) aws.Config {
	return aws.Config{
		Region: region, BaseEndpoint: aws.String("https://malote"),
		Credentials: credentials.NewStaticCredentialsProvider(adminKey.id, adminKey.secret, ""),
		HTTPClient:  &http.Client{Transport: gateway.Transport(plane.Handler)},
	}
}

// makeUser makes the user whose requests are measured.
func makeUser(ctx context.Context, plane *controlplane.ControlPlane) (key accessKey, err error) {
	client := iam.NewFromConfig(planeConfig(plane))
	name := aws.String("app")
	if _, err := client.CreateUser(ctx, &iam.CreateUserInput{UserName: name, Path: aws.String("/services/"), Tags: []types.Tag{{Key: aws.String("team"), Value: aws.String("shop")}}}); err != nil {
		return key, err
	}
	policy, err := client.CreatePolicy(ctx, &iam.CreatePolicyInput{PolicyName: aws.String("app-secrets"), PolicyDocument: aws.String(appPolicy)})
	if err != nil {
		return key, err
	}
	if _, err := client.AttachUserPolicy(ctx, &iam.AttachUserPolicyInput{UserName: name, PolicyArn: policy.Policy.Arn}); err != nil {
		return key, err
	}
	if _, err := client.CreateGroup(ctx, &iam.CreateGroupInput{GroupName: aws.String("services")}); err != nil {
		return key, err
	}
	if _, err := client.PutGroupPolicy(ctx, &iam.PutGroupPolicyInput{GroupName: aws.String("services"), PolicyName: aws.String("guard"), PolicyDocument: aws.String(groupPolicy)}); err != nil {
		return key, err
	}
	if _, err := client.AddUserToGroup(ctx, &iam.AddUserToGroupInput{GroupName: aws.String("services"), UserName: name}); err != nil {
		return key, err
	}
	made, err := client.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: name})
	if err != nil {
		return key, err
	}
	return accessKey{*made.AccessKey.AccessKeyId, *made.AccessKey.SecretAccessKey}, nil
}

// create makes n secrets through the operation itself, many at a time so that they share
// the disk's fsyncs. Their names come in no order, as they do in life.
func create(ctx context.Context, plane *controlplane.ControlPlane, n int) error {
	var secrets *services.Service
	for _, s := range plane.Services {
		if impl, ok := s.Impl.(*services.Service); ok {
			secrets = impl
		}
	}
	ctx = caller.With(ctx, &caller.Request{
		ID: "bench", Region: region, Service: "secretsmanager", Operation: "CreateSecret", Time: time.Now(),
		Principal: &caller.Principal{Type: caller.Account, Account: account, ARN: "arn:aws:iam::" + account + ":root", ID: account},
	})
	order := rand.Perm(n)
	var next atomic.Int64
	var failed atomic.Pointer[error]
	var group sync.WaitGroup
	began := time.Now()
	for range min(n, 1000) {
		group.Go(func() {
			for failed.Load() == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if i > 0 && i%100_000 == 0 {
					note("%d of %d secrets after %v", i, n, time.Since(began).Round(time.Second))
				}
				_, err := secrets.CreateSecret(ctx, &secretsmanager.CreateSecretInput{
					Name: aws.String(secretName(order[i])), SecretString: &value, ClientRequestToken: aws.String(uuid()),
				})
				if err != nil {
					failed.Store(&err)
				}
			}
		})
	}
	group.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return ctx.Err()
}
