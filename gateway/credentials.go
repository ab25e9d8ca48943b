package gateway

import (
	"context"
	"errors"
	"time"

	"github.com/malote/malote/caller"
)

// Credentials finds who an access key belongs to.
type Credentials interface {
	// Lookup answers for a key and the session token that came with it ("" for none).
	// The credential is shared: do not change it.
	Lookup(ctx context.Context, accessKeyID, sessionToken string) (*Credential, error)
}

// Credential is what a request's signature is checked against, and who is then asking.
type Credential struct {
	SecretAccessKey string
	Principal       *caller.Principal
	Expires         time.Time // zero: never
}

// What Lookup answers besides; each protocol has its own code for them.
var (
	ErrUnknownKey   = errors.New("gateway: access key unknown or inactive")
	ErrInvalidToken = errors.New("gateway: session token does not fit the access key")
	ErrExpiredToken = errors.New("gateway: session token has expired")
)
