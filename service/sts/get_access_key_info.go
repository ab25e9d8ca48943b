package sts

import (
	"context"
	"errors"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/malote/malote/authz"
	"github.com/malote/malote/caller"
	"github.com/malote/malote/service/iam/directory"
	"github.com/malote/malote/store"
)

// GetAccessKeyInfo says which account a key belongs to. A temporary key is no record: its
// account is read out of its id, as AWS does, whether or not it was ever issued.
func (s *Service) GetAccessKeyInfo(ctx context.Context, in *sts.GetAccessKeyInfoInput) (*sts.GetAccessKeyInfoOutput, error) {
	if ofUser(caller.From(ctx).Principal) {
		return nil, errSession("GetAccessKeyInfo")
	}
	if err := s.authz.Authorize(ctx, &authz.Access{Action: "sts:GetAccessKeyInfo"}); err != nil {
		return nil, err
	}
	account := ""
	err := s.dir.View(ctx, func(tx *directory.Tx) error {
		key, err := tx.AccessKey(*in.AccessKeyId)
		if err == nil {
			account = key.Account
			return nil
		}
		if !errors.Is(err, store.ErrNotFound) {
			return err
		}
		id, ok := directory.AccountOfKey(*in.AccessKeyId)
		if !ok {
			return nil
		}
		if _, err := tx.Account(id); errors.Is(err, store.ErrNotFound) {
			return nil
		} else if err != nil {
			return err
		}
		account = id
		return nil
	})
	if err != nil {
		return nil, err
	}
	if account == "" {
		return nil, validationError("Invalid Access Key ID: %s", *in.AccessKeyId)
	}
	return &sts.GetAccessKeyInfoOutput{Account: aws.String(account)}, nil
}
