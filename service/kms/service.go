// Package kms keeps keys that never leave it and encrypts under them for whoever their
// key policy or a grant lets.
//
// It promises: no operation uses a key that is disabled, pending deletion or without its
// material; a ciphertext opens only under its own key with the very encryption context it
// was made with, and whatever rotations came since; once a deletion is due the key's
// material is gone from the store, and imported material once it expired.
//
// It does not seal its records (keyring does, beneath the store): backing key material
// lies in the key's record. Key material of asymmetric keys is
// PKCS #8; the specs that there are, and what they are for, are keySpecs.
//
// # Ciphertext
//
// A ciphertext names its key by id and account, not by ARN, so that it is not bound to
// a Region:
//
//	offset  bytes
//	     0      1  format, 0x01
//	     1      1  form of the key id: 0x00 UUID, 0x01 multi-Region (mrk-)
//	     2      8  account, big endian
//	    10     16  key id, its 32 hexadecimal digits
//	    26     16  first half of the key material id
//	    42     24  nonce, random
//	    66      n  plaintext, encrypted
//	  66+n     16  tag
//
// The cipher is XAES-256-GCM (https://c2sp.org/XAES-256-GCM): AES-256-GCM under a key
// derived from the key material and the first half of the nonce, so that random nonces
// stay safe for any number of messages. The associated data is the 42 bytes of header
// followed by the encryption context: its pairs in byte order of their keys, each key
// and each value preceded by its length as four bytes, big endian.
package kms

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/malote/malote/authz"
	"github.com/malote/malote/service/attached"
	"github.com/malote/malote/store"
)

// Config is what a Service is built from.
type Config struct {
	Store store.Store
	Authz *authz.Authorizer
	// Principals knows whom key policies name. Nil means that whoever they name exists.
	Principals attached.Principals
	Now        func() time.Time // nil means time.Now
	Log        *slog.Logger     // nil means slog.Default
}

// Service is AWS KMS. Every exported method is an operation.
type Service struct {
	store      store.Store
	authz      *authz.Authorizer
	principals attached.Principals
	now        func() time.Time
	log        *slog.Logger

	keys    *store.Table[key]
	aliases *store.Table[alias]
	grants  *store.Table[grant]
	usages  *store.Table[usage]

	tracker *tracker
}

// New returns a Service.
func New(c Config) *Service {
	s := &Service{
		store:      c.Store,
		authz:      c.Authz,
		principals: c.Principals,
		now:        c.Now,
		log:        c.Log,
		keys:       store.NewTable[key]("KMS key"),
		aliases:    store.NewTable[alias]("KMS alias"),
		grants:     store.NewTable[grant]("KMS grant"),
		usages:     store.NewTable[usage]("last usage of a KMS key"),
		tracker:    &tracker{seen: map[string]seen{}},
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.log == nil {
		s.log = slog.Default()
	}
	return s
}

// Maintain deletes the keys whose waiting period is over, material and all, and imported
// material that has expired; and writes when keys were last used. What is due is treated as gone even before, so how often Maintain runs (minutes will do)
// decides only how long its material lies in the store.
func Maintain(ctx context.Context, s *Service) error {
	return errors.Join(s.deleteDue(ctx), s.expireDue(ctx), s.writeUsage(ctx))
}
