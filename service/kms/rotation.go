package kms

import (
	"context"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/malote/malote/store"
)

const (
	standardRotationDays = 365
	minRotationDays      = 90
	maxRotationDays      = 2560
)

// EnableKeyRotation gives the key new material every so many days. Old material stays and
// decrypts what it encrypted. Enabling again changes the period, counted from now.
func (s *Service) EnableKeyRotation(ctx context.Context, in *kms.EnableKeyRotationInput) (*kms.EnableKeyRotationOutput, error) {
	u := use{action: "kms:EnableKeyRotation", keyID: *in.KeyId}
	days := int32(standardRotationDays)
	if in.RotationPeriodInDays != nil {
		days = *in.RotationPeriodInDays
		u.conditions = map[string][]string{"kms:RotationPeriodInDays": intCondition(days)}
	}
	k, err := s.authorizedKey(ctx, u)
	if err != nil {
		return nil, err
	}
	if days < minRotationDays || days > maxRotationDays {
		return nil, validation("RotationPeriodInDays must be between %d and %d days (inclusive).", minRotationDays, maxRotationDays)
	}
	_, err = s.change(ctx, u, k, func(tx store.Tx, k *key) error {
		if err := k.schedulable(); err != nil {
			return err
		}
		k.Rotation = &rotation{Days: int(days), Next: s.now().AddDate(0, 0, int(days))}
		return s.share(tx, k)
	})
	if err != nil {
		return nil, err
	}
	return &kms.EnableKeyRotationOutput{}, nil
}

// DisableKeyRotation ends automatic rotation. Material that there is stays.
func (s *Service) DisableKeyRotation(ctx context.Context, in *kms.DisableKeyRotationInput) (*kms.DisableKeyRotationOutput, error) {
	u := use{action: "kms:DisableKeyRotation", keyID: *in.KeyId}
	k, err := s.authorizedKey(ctx, u)
	if err != nil {
		return nil, err
	}
	_, err = s.change(ctx, u, k, func(tx store.Tx, k *key) error {
		if err := k.schedulable(); err != nil {
			return err
		}
		k.Rotation = nil
		return s.share(tx, k)
	})
	if err != nil {
		return nil, err
	}
	return &kms.DisableKeyRotationOutput{}, nil
}

// GetKeyRotationStatus answers in every state but PendingImport. A rotation on demand is
// done when it is answered, so none is ever shown as under way. A key pending deletion does not rotate; if
// its deletion is cancelled, it does again.
func (s *Service) GetKeyRotationStatus(ctx context.Context, in *kms.GetKeyRotationStatusInput) (*kms.GetKeyRotationStatusOutput, error) {
	k, err := s.authorizedKey(ctx, use{action: "kms:GetKeyRotationStatus", keyID: *in.KeyId})
	if err != nil {
		return nil, err
	}
	if k.State == types.KeyStatePendingImport {
		return nil, badOrigin(k)
	}
	out := &kms.GetKeyRotationStatusOutput{KeyId: aws.String(k.arn())}
	if k.Rotation != nil && k.notPending() == nil {
		out.KeyRotationEnabled = true
		out.RotationPeriodInDays = aws.Int32(int32(k.Rotation.Days))
		out.NextRotationDate = aws.Time(k.Rotation.Next)
	}
	return out, nil
}

func intCondition(n int32) []string { return []string{strconv.Itoa(int(n))} }
