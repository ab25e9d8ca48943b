package secretsmanager

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/malote/malote/store"
)

// UpdateSecret changes a secret's description and KMS key and, if there is a value, adds
// a current version. Another key takes over the versions that carry one of AWS's labels,
// as far as the caller may decrypt under the old key and encrypt under the new.
func (s *Service) UpdateSecret(ctx context.Context, in *secretsmanager.UpdateSecretInput) (*secretsmanager.UpdateSecretOutput, error) {
	a := access{action: "secretsmanager:UpdateSecret", secretID: *in.SecretId, conditions: keyConditions(in.KmsKeyId)}
	if in.Description != nil {
		a.conditions["secretsmanager:Description"] = []string{*in.Description}
	}
	if in.Type != nil {
		a.conditions["secretsmanager:Type"] = []string{*in.Type}
	}
	x, err := s.authorizedSecret(ctx, a)
	if err != nil {
		return nil, err
	}
	p, err := newPlain(in.SecretString, in.SecretBinary)
	switch {
	case in.ClientRequestToken == nil:
		return nil, noToken()
	case err != nil:
		return nil, err
	case p != nil && len(p.bytes) == 0:
		return nil, invalidRequest("You must provide either SecretString or SecretBinary.")
	case in.Type != nil:
		return nil, notSupported("Type")
	}
	// A replica has nothing of its own but its key.
	a.replica = p == nil && in.Description == nil && in.KmsKeyId != nil
	if err := x.active(); err != nil {
		return nil, err
	}
	if !a.replica {
		if err := x.mayChange(); err != nil {
			return nil, err
		}
	}

	for range attempts {
		changed, err := s.updateSecret(ctx, a, x, in, p)
		if err == nil {
			out := &secretsmanager.UpdateSecretOutput{ARN: aws.String(changed.arn), Name: aws.String(changed.Name)}
			if p != nil {
				out.VersionId = in.ClientRequestToken
			}
			return out, nil
		}
		if !errors.Is(err, errMoved) {
			return nil, err
		}
		if x, err = s.again(ctx, a, x); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("updating secret %s: %w", x.Name, errMoved)
}

func (s *Service) updateSecret(ctx context.Context, a access, x *secret, in *secretsmanager.UpdateSecretInput, p *plain) (*secret, error) {
	// The target is what x is to be, for sealing under the right key.
	target := x.clone()
	if in.KmsKeyId != nil {
		target.KmsKeyID = cleanKeyID(*in.KmsKeyId, x)
	}
	target.Prepare()
	var moved []rewrapped
	if in.KmsKeyId != nil {
		if err := s.checkKey(ctx, target); err != nil {
			return nil, err
		}
		if target.KmsKeyID != x.KmsKeyID {
			var err error
			if moved, err = s.rewrapAll(ctx, x, target); err != nil {
				return nil, err
			}
		}
	}

	more := func(tx store.Tx, now *secret) error {
		if err := now.active(); err != nil {
			return err
		}
		if in.Description != nil {
			now.Description = *in.Description
		}
		if in.KmsKeyId != nil {
			if tx != nil && now.KmsKeyID != x.KmsKeyID {
				return errMoved
			}
			now.KmsKeyID = target.KmsKeyID
			if tx != nil && now.Primary != "" {
				err := s.changePrimary(tx, now, func(x *secret) {
					if r := x.replica(now.Region); r != nil {
						r.KmsKeyID = now.KmsKeyID
					}
				})
				if err != nil {
					return err
				}
			}
		}
		now.Changed = s.timestamp()
		if tx == nil {
			return nil
		}
		return s.putRewrapped(tx, now, moved)
	}
	if p == nil {
		return s.change(ctx, a, x, more)
	}
	// putVersion would begin again from a secret whose key is another by then; here the
	// whole update does.
	return s.tryPutVersion(ctx, a, x, *in.ClientRequestToken, p, nil, more)
}

// rewrapped is a version whose data key was wrapped anew, and what it was before.
type rewrapped struct {
	version  version
	was, now *value
}

// rewrapAll wraps the data keys of x's labelled versions under target's key. Those that
// KMS refuses stay as they are: AWS does not make that an error.
func (s *Service) rewrapAll(ctx context.Context, x, target *secret) ([]rewrapped, error) {
	var all []rewrapped
	for i := range x.Versions {
		v := &x.Versions[i]
		ours := slices.ContainsFunc(v.Stages, func(l string) bool { return l == current || l == pending || l == previous })
		if v.Key == "" || !ours {
			continue
		}
		was, err := s.readValue(ctx, x, v)
		if errors.Is(err, store.ErrNotFound) {
			return nil, errMoved
		}
		if err != nil {
			return nil, err
		}
		version, now, err := s.rewrap(ctx, target, *v, was)
		switch {
		case err == nil:
			all = append(all, rewrapped{version, was, now})
		case !isAnswer(err):
			return nil, err
		}
	}
	return all, nil
}

// putRewrapped stores what rewrapAll made of versions that are still what they were.
func (s *Service) putRewrapped(tx store.Tx, x *secret, moved []rewrapped) error {
	for _, m := range moved {
		v := x.version(m.version.ID)
		if v == nil {
			continue
		}
		path := x.valuePath(v.ID)
		stored, err := s.values.Get(tx, path)
		if err != nil {
			return err
		}
		if !bytes.Equal(stored.DataKey, m.was.DataKey) {
			return errMoved
		}
		v.Key, v.Managed = m.version.Key, m.version.Managed
		if err := s.values.Put(tx, path, m.now); err != nil {
			return err
		}
	}
	return nil
}
