// Package seal holds the ways to wrap the key that a keyring hangs on: a root key in a
// file beside the data, or a KMS elsewhere.
//
// A seal is asked at start and at rotation, never for a record, so losing it does no
// harm to a control plane that runs.
package seal

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
)

// Seal wraps 32 bytes so that nobody without it can have them back.
type Seal interface {
	Wrap(ctx context.Context, plaintext []byte) ([]byte, error)
	// Unwrap returns what Wrap was given. Its error names the seal, and says what to
	// do about it if that can be known.
	Unwrap(ctx context.Context, wrapped []byte) ([]byte, error)
	// ID names the seal to a person: what it is and where. It is kept in clear beside
	// what was wrapped.
	ID() string
}

// Keeper encrypts elsewhere. A *secrets.Keeper of gocloud.dev/secrets is one.
type Keeper interface {
	Encrypt(ctx context.Context, plaintext []byte) ([]byte, error)
	Decrypt(ctx context.Context, ciphertext []byte) ([]byte, error)
}

// Opener returns the Keeper that a URL names. secrets.OpenKeeper, once its result is
// returned as a Keeper, is one.
type Opener func(ctx context.Context, url string) (Keeper, error)

// Open returns the seal that ref names: a path or file:///path for a root key file, or a
// URL with one of the schemes of openers ("awskms"), which may be nil.
func Open(ctx context.Context, ref string, openers map[string]Opener) (Seal, error) {
	scheme, rest, isURL := strings.Cut(ref, "://")
	if !isURL {
		if ref == "" {
			return nil, fmt.Errorf("seal: no path and no URL")
		}
		return NewFile(ref), nil
	}
	if scheme == "file" {
		u, err := url.Parse(ref)
		if err != nil || u.Host != "" || u.Path == "" || u.RawQuery != "" {
			return nil, fmt.Errorf("seal: %q is not of the form file:///path", ref)
		}
		return NewFile(u.Path), nil
	}
	open, known := openers[scheme]
	if !known {
		schemes := append(slices.Sorted(maps.Keys(openers)), "file")
		return nil, fmt.Errorf("seal: unknown scheme %q, known are: %s", scheme, strings.Join(schemes, ", "))
	}
	// Parameters and user names may be credentials: they stay out of the ID.
	rest, _, _ = strings.Cut(rest, "?")
	if _, host, ok := strings.Cut(rest, "@"); ok {
		rest = host
	}
	id := scheme + "://" + rest
	keeper, err := open(ctx, ref)
	if err != nil {
		return nil, fmt.Errorf("seal: opening %s: %w", id, err)
	}
	return &remote{id, keeper}, nil
}

// remote is a Seal made of a Keeper.
type remote struct {
	id     string
	keeper Keeper
}

func (r *remote) ID() string { return r.id }

func (r *remote) Wrap(ctx context.Context, plaintext []byte) ([]byte, error) {
	wrapped, err := r.keeper.Encrypt(ctx, plaintext)
	if err != nil {
		return nil, fmt.Errorf("seal %s: encrypting: %w", r.id, err)
	}
	return wrapped, nil
}

func (r *remote) Unwrap(ctx context.Context, wrapped []byte) ([]byte, error) {
	plaintext, err := r.keeper.Decrypt(ctx, wrapped)
	if err != nil {
		return nil, fmt.Errorf("seal %s: decrypting: %w", r.id, err)
	}
	return plaintext, nil
}
