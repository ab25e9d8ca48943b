package kms

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/malote/malote/store"
)

// EnableKey makes a disabled key usable again. To an enabled one it does nothing.
func (s *Service) EnableKey(ctx context.Context, in *kms.EnableKeyInput) (*kms.EnableKeyOutput, error) {
	if err := s.setState(ctx, "kms:EnableKey", *in.KeyId, types.KeyStateEnabled); err != nil {
		return nil, err
	}
	return &kms.EnableKeyOutput{}, nil
}

// DisableKey refuses every use of a key's material until EnableKey.
func (s *Service) DisableKey(ctx context.Context, in *kms.DisableKeyInput) (*kms.DisableKeyOutput, error) {
	if err := s.setState(ctx, "kms:DisableKey", *in.KeyId, types.KeyStateDisabled); err != nil {
		return nil, err
	}
	return &kms.DisableKeyOutput{}, nil
}

func (s *Service) setState(ctx context.Context, action, keyID string, state types.KeyState) error {
	u := use{action: action, keyID: keyID}
	k, err := s.authorizedKey(ctx, u)
	if err != nil {
		return err
	}
	_, err = s.change(ctx, u, k, func(_ store.Tx, k *key) error {
		if err := k.notPending(); err != nil {
			return err
		}
		if k.State == types.KeyStatePendingImport {
			return pendingImport(k.arn())
		}
		k.State = state
		return nil
	})
	return err
}

// UpdateKeyDescription replaces a key's description.
func (s *Service) UpdateKeyDescription(ctx context.Context, in *kms.UpdateKeyDescriptionInput) (*kms.UpdateKeyDescriptionOutput, error) {
	u := use{action: "kms:UpdateKeyDescription", keyID: *in.KeyId}
	k, err := s.authorizedKey(ctx, u)
	if err != nil {
		return nil, err
	}
	_, err = s.change(ctx, u, k, func(_ store.Tx, k *key) error {
		if err := k.notPending(); err != nil {
			return err
		}
		k.Description = aws.ToString(in.Description)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &kms.UpdateKeyDescriptionOutput{}, nil
}

const (
	minWindowDays = 7
	maxWindowDays = 30
)

// ScheduleKeyDeletion makes a key unusable at once and deletes it, with all that was ever
// encrypted under it, when the waiting period is over; that of a primary key begins when its
// last replica is gone.
func (s *Service) ScheduleKeyDeletion(ctx context.Context, in *kms.ScheduleKeyDeletionInput) (*kms.ScheduleKeyDeletionOutput, error) {
	days := int32(maxWindowDays)
	u := use{action: "kms:ScheduleKeyDeletion", keyID: *in.KeyId}
	if in.PendingWindowInDays != nil {
		days = *in.PendingWindowInDays
	}
	u.conditions = map[string][]string{"kms:ScheduleKeyDeletionPendingWindowInDays": intCondition(days)}
	k, err := s.authorizedKey(ctx, u)
	if err != nil {
		return nil, err
	}
	if days < minWindowDays || days > maxWindowDays {
		return nil, validation("PendingWindowInDays must be between %d and %d days (inclusive).", minWindowDays, maxWindowDays)
	}

	k, err = s.change(ctx, u, k, func(tx store.Tx, k *key) error {
		if err := k.notPending(); err != nil {
			return err
		}
		if k.hasReplicas() {
			k.State, k.Window = types.KeyStatePendingReplicaDeletion, int(days)
			return nil
		}
		k.State = types.KeyStatePendingDeletion
		k.Deletion = s.now().Add(time.Duration(days) * 24 * time.Hour)
		return tx.Put(k.duePath(), []byte{1})
	})
	if err != nil {
		return nil, err
	}
	out := &kms.ScheduleKeyDeletionOutput{KeyId: aws.String(k.arn()), KeyState: k.State, PendingWindowInDays: aws.Int32(days)}
	if !k.Deletion.IsZero() {
		out.DeletionDate = aws.Time(k.Deletion)
	}
	return out, nil
}

// CancelKeyDeletion leaves the key disabled, whatever it was before.
func (s *Service) CancelKeyDeletion(ctx context.Context, in *kms.CancelKeyDeletionInput) (*kms.CancelKeyDeletionOutput, error) {
	u := use{action: "kms:CancelKeyDeletion", keyID: *in.KeyId}
	k, err := s.authorizedKey(ctx, u)
	if err != nil {
		return nil, err
	}
	_, err = s.change(ctx, u, k, func(tx store.Tx, k *key) error {
		switch k.State {
		case types.KeyStatePendingDeletion:
			if err := tx.Delete(k.duePath()); err != nil {
				return err
			}
		case types.KeyStatePendingReplicaDeletion:
		default:
			return invalidState("%s is not pending deletion.", k.arn())
		}
		k.State = types.KeyStateDisabled
		k.Deletion, k.Window = time.Time{}, 0
		k.settleImport()
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &kms.CancelKeyDeletionOutput{KeyId: aws.String(k.arn())}, nil
}
