// Package ssm is AWS Systems Manager's Parameter Store: named values in a hierarchy, with
// versions, labels and tags.
//
// It promises that a SecureString is stored under its KMS key exactly as AWS returns it
// undecrypted, so that kms:Decrypt with the encryption context PARAMETER_ARN opens it, and
// a disabled key closes it.
//
// Operations are authorized first: who may not, learns nothing of whether it exists. The
// gateway has checked what the API's description says of lengths, patterns and ranges.
package ssm

import (
	"context"
	"log/slog"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/malote/malote/audit"
	"github.com/malote/malote/authz"
	"github.com/malote/malote/store"
)

// Keys encrypts values as the caller: *kms.Service does.
type Keys interface {
	Encrypt(context.Context, *kms.EncryptInput) (*kms.EncryptOutput, error)
	GenerateDataKey(context.Context, *kms.GenerateDataKeyInput) (*kms.GenerateDataKeyOutput, error)
	Decrypt(context.Context, *kms.DecryptInput) (*kms.DecryptOutput, error)
}

// Secrets is what /aws/reference/secretsmanager/ refers to: *secretsmanager.Service does.
type Secrets interface {
	GetSecretValue(context.Context, *secretsmanager.GetSecretValueInput) (*secretsmanager.GetSecretValueOutput, error)
}

// Config says what a Service works with.
type Config struct {
	Store   store.Store
	Authz   *authz.Authorizer
	Keys    Keys
	Secrets Secrets
	Audit   audit.Log        // of executed parameter policies; nil keeps none
	Now     func() time.Time // nil means time.Now
	Log     *slog.Logger     // nil means slog.Default
}

// Service is Parameter Store. Every exported method is an operation.
type Service struct {
	store   store.Store
	authz   *authz.Authorizer
	keys    Keys
	secrets Secrets
	audit   audit.Log
	now     func() time.Time
	log     *slog.Logger

	parameters *store.Table[parameter]
	versions   *store.Table[version]
}

// New returns a Service.
func New(c Config) *Service {
	s := &Service{
		store:      c.Store,
		authz:      c.Authz,
		keys:       c.Keys,
		secrets:    c.Secrets,
		audit:      c.Audit,
		now:        c.Now,
		log:        c.Log,
		parameters: store.NewTable[parameter]("parameter"),
		versions:   store.NewTable[version]("parameter version"),
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.log == nil {
		s.log = slog.Default()
	}
	return s
}
