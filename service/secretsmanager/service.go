// Package secretsmanager keeps secrets in versions and gives them to whoever IAM and the
// secret's own policy let.
//
// It promises: a secret that has a value has exactly one current one; a value is stored
// only under a data key of its own that KMS has wrapped, so whoever KMS refuses cannot
// read it, and nobody can while its KMS key is disabled; and once a deletion is due
// nothing of the secret is left in the store.
//
// A replica in another Region is a secret of its own under its own KMS key. It follows its
// primary in the transaction that changes that, or, when there is more to seal than one
// transaction holds, before the answer; else DescribeSecret says why it does not.
//
// It does not keep keys (see Keys) nor decide who may do what (see authz).
//
// # Sealed values
//
// A version's record holds the data key as KMS wrapped it, in the encryption context
// {SecretARN, SecretVersionId}, and the value under that data key:
//
//	offset  bytes
//	     0      1  format, 0x01
//	     1      1  kind: 0x00 SecretString, 0x01 SecretBinary
//	     2     12  nonce, random; a data key seals one value
//	    14      n  value, AES-256-GCM
//	  14+n     16  tag
//
// The associated data is the two first bytes, the secret's ARN, a zero byte and the
// version's id.
package secretsmanager

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/malote/malote/audit"
	"github.com/malote/malote/authz"
	"github.com/malote/malote/service/attached"
	"github.com/malote/malote/store"
)

// Keys wraps and unwraps data keys: KMS, asked with the caller's identity.
type Keys interface {
	GenerateDataKey(context.Context, *kms.GenerateDataKeyInput) (*kms.GenerateDataKeyOutput, error)
	Decrypt(context.Context, *kms.DecryptInput) (*kms.DecryptOutput, error)
	Encrypt(context.Context, *kms.EncryptInput) (*kms.EncryptOutput, error)
}

// Config is what a Service is built from.
type Config struct {
	Store store.Store
	Authz *authz.Authorizer
	Keys  Keys
	// Principals knows whom resource policies name. Nil means that whoever they name exists.
	Principals attached.Principals
	Functions  Functions        // that rotate secrets; nil for none
	Tasks      Tasks            // that rotations may have to wait for; nil: there are none
	Audit      audit.Log        // of rotations; what is asked for authz records; nil for none
	Now        func() time.Time // nil means time.Now
	Log        *slog.Logger     // nil means slog.Default
}

// Service is AWS Secrets Manager. Every exported method is an operation.
type Service struct {
	store      store.Store
	authz      *authz.Authorizer
	keys       Keys
	principals attached.Principals
	now        func() time.Time
	log        *slog.Logger

	secrets   *store.Table[secret]
	values    *store.Table[value]
	histories *store.Table[history]
	reads     reads

	functions Functions
	tasks     Tasks
	audit     audit.Log
	wake      chan struct{} // the scheduler, see RunRotations
}

// New returns a Service.
func New(c Config) *Service {
	s := &Service{
		store:      c.Store,
		authz:      c.Authz,
		keys:       c.Keys,
		principals: c.Principals,
		now:        c.Now,
		log:        c.Log,
		secrets:    store.NewTable[secret]("secret"),
		values:     store.NewTable[value]("secret value"),
		histories:  store.NewTable[history]("rotations"),
		functions:  c.Functions,
		tasks:      c.Tasks,
		audit:      c.Audit,
		wake:       make(chan struct{}, 1),
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.log == nil {
		s.log = slog.Default()
	}
	return s
}

// Maintain deletes the secrets whose recovery window is over and stores the days on which
// secrets were last read. Both hold for every answer even before; how often Maintain runs
// (a minute will do) decides how long a deleted value lies in the store and how much of
// LastAccessedDate a crash forgets. It also ends the replications that a crash interrupted. It should run once more at the end.
func Maintain(ctx context.Context, s *Service) error {
	return errors.Join(s.deleteDue(ctx), s.failInterrupted(ctx), s.storeReads(ctx))
}
