package directory

import (
	"bytes"
	"compress/flate"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/malote/malote/caller"
	"github.com/malote/malote/gateway"
	"github.com/malote/malote/internal/xaes"
	"github.com/malote/malote/store"
)

// Session is what temporary credentials stand for. It is not stored: it travels, sealed,
// in the session token.
type Session struct {
	Account string
	Type    caller.Type // AssumedRole; User and Account for GetSessionToken; FederatedUser
	ID      string      // AROA… of the role, AIDA… of the user (who federated), the account

	Name           string            `json:",omitempty"` // of an AssumedRole's session, of a FederatedUser
	Tags           map[string]string `json:",omitempty"` // the session's own, inherited ones included
	TransitiveTags []string          `json:",omitempty"`
	SourceIdentity string            `json:",omitempty"`
	Policies       []string          `json:",omitempty"` // session policies, as text
	PolicyARNs     []string          `json:",omitempty"` // managed policies as session policies
	Task           *caller.Task      `json:",omitempty"` // that it was made for

	// Of a role that was assumed with a web identity.
	Provider string              `json:",omitempty"` // ARN
	Claims   map[string][]string `json:",omitempty"` // condition keys

	IssuedAt time.Time
	Expires  time.Time
	Secret   string // secret access key
}

// HasPolicies says whether the session is limited by session policies.
func (s *Session) HasPolicies() bool { return len(s.Policies)+len(s.PolicyARNs) > 0 }

// Issued is a set of temporary credentials.
type Issued struct {
	AccessKeyID     string
	SecretAccessKey string
	SessionToken    string
	Expires         time.Time
}

// A session token is, in base64: one byte of format, twelve of nonce, and the Session as
// JSON, deflated in format 2, sealed by AES-256-GCM with the format and the access key id
// as associated data. So a token opens only with the key it was issued with, and 2^32 tokens may be made
// under one key before nonces could meet. Session policies are what makes tokens long and
// deflates well.
const (
	tokenPlain    = 1
	tokenDeflated = 2

	deflateFrom = 1024      // bytes of JSON
	maxSession  = 256 << 10 // more than all that AssumeRole takes comes to
)

// tokenKey is the key that tokens are sealed under, drawn when it is first needed.
type tokenKey struct {
	Key     []byte
	Created time.Time
}

type sealer struct {
	cipher.AEAD           // of tokens
	messages    *xaes.Key // of authorization messages, whose number nobody limits
}

// Issue makes temporary credentials for s until s.Expires. It sets IssuedAt and Secret.
func (d *Directory) Issue(ctx context.Context, s Session) (*Issued, error) {
	aead, err := d.sealer(ctx)
	if err != nil {
		return nil, err
	}
	// AWS counts a token's times in seconds, and aws:TokenIssueTime is compared with them.
	s.IssuedAt, s.Expires = d.now().UTC().Truncate(time.Second), s.Expires.UTC().Truncate(time.Second)
	s.Secret = newSecret()
	plain, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("encoding session: %w", err)
	}
	format := byte(tokenPlain)
	if len(plain) >= deflateFrom {
		format = tokenDeflated
		if plain, err = deflate(plain); err != nil {
			return nil, fmt.Errorf("deflating session: %w", err)
		}
	}
	id := newAccessKeyID("ASIA", s.Account)
	token := make([]byte, 1+aead.NonceSize(), 1+aead.NonceSize()+len(plain)+aead.Overhead())
	token[0] = format
	rand.Read(token[1:])
	token = aead.Seal(token, token[1:], plain, bound(format, id))
	return &Issued{id, s.Secret, base64.StdEncoding.EncodeToString(token), s.Expires}, nil
}

// open is the session sealed in a token, expired or not, or gateway.ErrInvalidToken.
func (d *Directory) open(ctx context.Context, accessKeyID, token string) (*Session, error) {
	aead, err := d.sealer(ctx)
	if err != nil {
		return nil, err
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(token)
	if err != nil || len(raw) < 1+aead.NonceSize() || raw[0] != tokenPlain && raw[0] != tokenDeflated {
		return nil, gateway.ErrInvalidToken
	}
	nonce, sealed := raw[1:1+aead.NonceSize()], raw[1+aead.NonceSize():]
	plain, err := aead.Open(nil, nonce, sealed, bound(raw[0], accessKeyID))
	if err != nil {
		return nil, gateway.ErrInvalidToken
	}
	if raw[0] == tokenDeflated {
		if plain, err = io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(plain)), maxSession)); err != nil {
			return nil, gateway.ErrInvalidToken
		}
	}
	s := new(Session)
	if err := json.Unmarshal(plain, s); err != nil {
		return nil, gateway.ErrInvalidToken
	}
	return s, nil
}

func bound(format byte, to string) []byte { return append([]byte{format}, to...) }

func deflate(plain []byte) ([]byte, error) {
	var out bytes.Buffer
	w, err := flate.NewWriter(&out, flate.DefaultCompression)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(plain); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

const tokenKeyKey = "iam/tokenkey"

func (d *Directory) sealer(ctx context.Context) (*sealer, error) {
	if s := d.tokens.Load(); s != nil {
		return s, nil
	}
	var key *tokenKey
	read := func(tx *Tx) (err error) {
		key, err = d.tables.tokenKey.Get(tx.tx, tokenKeyKey)
		return err
	}
	err := d.View(ctx, read)
	if errors.Is(err, store.ErrNotFound) {
		err = d.Update(ctx, func(tx *Tx) error {
			err := read(tx)
			if !errors.Is(err, store.ErrNotFound) {
				return err
			}
			key = &tokenKey{Key: make([]byte, 32), Created: d.now()}
			rand.Read(key.Key)
			return d.tables.tokenKey.Put(tx.tx, tokenKeyKey, key)
		})
	}
	if err != nil {
		return nil, fmt.Errorf("reading session token key: %w", err)
	}
	block, err := aes.NewCipher(key.Key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	messages, err := hkdf.Key(sha256.New, key.Key, nil, "authorization message", xaes.KeySize)
	if err != nil {
		return nil, err
	}
	s := &sealer{aead, xaes.New(messages)}
	d.tokens.Store(s)
	return s, nil
}
