package secretsmanager

import (
	"context"
	"errors"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/malote/malote/caller"
	"github.com/malote/malote/store"
)

const (
	minWindowDays = 7
	maxWindowDays = 30
)

// DeleteSecret hides a secret at once and deletes it when the recovery window is over, or
// now if forced. To force the deletion of what is not there is no error.
func (s *Service) DeleteSecret(ctx context.Context, in *secretsmanager.DeleteSecretInput) (*secretsmanager.DeleteSecretOutput, error) {
	force := aws.ToBool(in.ForceDeleteWithoutRecovery)
	conditions := map[string][]string{}
	if in.ForceDeleteWithoutRecovery != nil {
		conditions["secretsmanager:ForceDeleteWithoutRecovery"] = boolCondition(force)
	}
	if in.RecoveryWindowInDays != nil {
		conditions["secretsmanager:RecoveryWindowInDays"] = intCondition(*in.RecoveryWindowInDays)
	}
	a := access{action: "secretsmanager:DeleteSecret", secretID: *in.SecretId, conditions: conditions}
	x, err := s.authorizedSecret(ctx, a)
	days := int64(maxWindowDays)
	if in.RecoveryWindowInDays != nil {
		days = *in.RecoveryWindowInDays
	}
	missing := new(types.ResourceNotFoundException)
	switch {
	case err != nil && !(force && errors.As(err, &missing)):
		return nil, err
	case force && in.RecoveryWindowInDays != nil:
		return nil, invalidParameter("You can't use ForceDeleteWithoutRecovery in conjunction with RecoveryWindowInDays.")
	case days < minWindowDays || days > maxWindowDays:
		return nil, invalidParameter("The RecoveryWindowInDays value must be between 7 and 30 days (inclusive).")
	case err != nil:
		return deletedNothing(ctx, *in.SecretId, s.timestamp()), nil
	case force:
		return s.deleteNow(ctx, a, x)
	}

	x, err = s.change(ctx, a, x, func(tx store.Tx, x *secret) error {
		if err := x.active(); err != nil {
			return err
		}
		x.Deletion = s.timestamp().Add(time.Duration(days) * 24 * time.Hour)
		return tx.Put(x.duePath(), []byte{1})
	})
	if err != nil {
		return nil, err
	}
	return &secretsmanager.DeleteSecretOutput{ARN: aws.String(x.arn), Name: aws.String(x.Name), DeletionDate: aws.Time(x.Deletion)}, nil
}

// deleteNow has the secret's deletion fall due, and does it.
func (s *Service) deleteNow(ctx context.Context, a access, x *secret) (*secretsmanager.DeleteSecretOutput, error) {
	err := errRights
	for range attempts {
		if err = s.fallDue(ctx, x); !errors.Is(err, errRights) {
			break
		}
		var now *secret
		missing := new(types.ResourceNotFoundException)
		switch now, err = s.again(ctx, a, x); {
		case errors.As(err, &missing):
			return deletedNothing(ctx, x.arn, s.timestamp()), nil
		case err != nil:
			return nil, err
		}
		x = now
	}
	if err == nil {
		err = s.purge(ctx, x.path())
	}
	if err != nil {
		return nil, err
	}
	return &secretsmanager.DeleteSecretOutput{ARN: aws.String(x.arn), Name: aws.String(x.Name), DeletionDate: aws.Time(s.timestamp())}, nil
}

// fallDue has x's deletion fall due, and does it at once if one transaction has room.
func (s *Service) fallDue(ctx context.Context, x *secret) error {
	return s.store.Update(ctx, func(tx store.Tx) error {
		now, err := s.secrets.Get(tx, x.path())
		if errors.Is(err, store.ErrNotFound) || err == nil && now.Suffix != x.Suffix {
			return nil
		}
		if err != nil {
			return err
		}
		if !now.sameRights(x) {
			return errRights
		}
		if len(now.Versions) <= maxAtOnce {
			_, err := s.remove(tx, now)
			return err
		}
		due := now.clone()
		if !due.Deletion.IsZero() {
			if err := tx.Delete(due.duePath()); err != nil {
				return err
			}
		}
		due.Deletion = s.timestamp()
		if err := tx.Put(due.duePath(), []byte{1}); err != nil {
			return err
		}
		return s.secrets.Put(tx, due.path(), due)
	})
}

// deletedNothing answers for a secret that was not there, with an ARN made up for it, as
// AWS does.
func deletedNothing(ctx context.Context, given string, now time.Time) *secretsmanager.DeleteSecretOutput {
	request := caller.From(ctx)
	id := parseSecretID(given, request.Region, request.Principal.Account)
	x := &secret{Name: id.name, Suffix: id.suffix, Account: id.account, Region: request.Region}
	if x.Suffix == "" {
		x.Suffix = newSuffix()
	}
	x.Prepare()
	return &secretsmanager.DeleteSecretOutput{ARN: aws.String(x.arn), Name: aws.String(x.Name), DeletionDate: aws.Time(now)}
}

// RestoreSecret takes back DeleteSecret. To an active secret it does nothing.
func (s *Service) RestoreSecret(ctx context.Context, in *secretsmanager.RestoreSecretInput) (*secretsmanager.RestoreSecretOutput, error) {
	a := access{action: "secretsmanager:RestoreSecret", secretID: *in.SecretId}
	x, err := s.authorizedSecret(ctx, a)
	if err != nil {
		return nil, err
	}
	x, err = s.change(ctx, a, x, func(tx store.Tx, x *secret) error {
		if x.Deletion.IsZero() {
			return nil
		}
		if err := tx.Delete(x.duePath()); err != nil {
			return err
		}
		x.Deletion = time.Time{}
		if x.Rotation != nil && x.Rotation.Token != "" {
			return x.lookAt(tx, s.timestamp())
		}
		return x.plan(tx, s.timestamp())
	})
	if err != nil {
		return nil, err
	}
	return &secretsmanager.RestoreSecretOutput{ARN: aws.String(x.arn), Name: aws.String(x.Name)}, nil
}
