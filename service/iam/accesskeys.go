package iam

import (
	"context"
	"errors"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/malote/malote/authz"
	"github.com/malote/malote/caller"
	"github.com/malote/malote/service/iam/directory"
	"github.com/malote/malote/store"
)

// owner is who access keys hang on: a user, or the root user when user is nil.
type owner struct {
	user    *directory.User
	account *directory.Account
}

func (o *owner) keys() *[]string {
	if o.user != nil {
		return &o.user.AccessKeys
	}
	return &o.account.AccessKeys
}

func (o *owner) id() string {
	if o.user != nil {
		return o.user.ID
	}
	return o.account.ID
}

func (o *owner) name() *string {
	if o.user != nil {
		return aws.String(o.user.Name)
	}
	return nil
}

func (o *owner) put(tx *directory.Tx) error {
	if o.user != nil {
		return tx.PutUser(o.user)
	}
	return tx.PutAccount(o.account)
}

// onKeys runs fn with whose keys an operation is about, for a caller who may: the user
// named, else the caller, who may be root. With write, fn may change records.
func (s *Service) onKeys(ctx context.Context, action string, userName *string, write bool, fn func(*directory.Tx, *owner) error) error {
	p := caller.From(ctx).Principal
	access := &authz.Access{Action: action}
	if userName == nil && p.Type == caller.Account {
		access.Resource = p.ARN
		if err := s.authorize(ctx, access); err != nil {
			return err
		}
		run := s.dir.View
		if write {
			run = s.dir.Update
		}
		return run(ctx, func(tx *directory.Tx) error {
			root, err := tx.Account(p.Account)
			if err != nil {
				return err
			}
			return fn(tx, &owner{account: root})
		})
	}
	name, err := self(ctx, userName)
	if err != nil {
		return err
	}
	run := s.read
	if write {
		run = s.write
	}
	return run(ctx, directory.KindUser, name, access, func(tx *directory.Tx, sub *subject) error {
		return fn(tx, &owner{user: sub.user})
	})
}

// CreateAccessKey draws a key. Its secret is in this answer and in no other.
func (s *Service) CreateAccessKey(ctx context.Context, in *iam.CreateAccessKeyInput) (*iam.CreateAccessKeyOutput, error) {
	out := new(iam.CreateAccessKeyOutput)
	err := s.onKeys(ctx, "iam:CreateAccessKey", in.UserName, true, func(tx *directory.Tx, o *owner) error {
		if len(*o.keys()) >= maxAccessKeys {
			return limitExceeded("Cannot exceed quota for AccessKeysPerUser: %d", maxAccessKeys)
		}
		key := s.dir.NewAccessKey(account(ctx), o.id())
		*o.keys() = append(*o.keys(), key.ID)
		out.AccessKey = &types.AccessKey{
			AccessKeyId:     aws.String(key.ID),
			SecretAccessKey: aws.String(key.Secret),
			Status:          types.StatusTypeActive,
			UserName:        o.name(),
			CreateDate:      aws.Time(key.Created),
		}
		if err := tx.PutAccessKey(key); err != nil {
			return err
		}
		return o.put(tx)
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func status(k *directory.AccessKey) types.StatusType {
	if k.Active {
		return types.StatusTypeActive
	}
	return types.StatusTypeInactive
}

func (s *Service) ListAccessKeys(ctx context.Context, in *iam.ListAccessKeysInput) (*iam.ListAccessKeysOutput, error) {
	out := new(iam.ListAccessKeysOutput)
	err := s.onKeys(ctx, "iam:ListAccessKeys", in.UserName, false, func(tx *directory.Tx, o *owner) error {
		last, err := after(in.Marker)
		if err != nil {
			return err
		}
		page, next, err := pageOf(sliceAfter(*o.keys(), last, identity), in.MaxItems, identity)
		if err != nil {
			return err
		}
		out.AccessKeyMetadata, out.Marker, out.IsTruncated = []types.AccessKeyMetadata{}, next, next != nil
		for _, id := range page {
			key, err := tx.AccessKey(id)
			if err != nil {
				return err
			}
			out.AccessKeyMetadata = append(out.AccessKeyMetadata, types.AccessKeyMetadata{
				AccessKeyId: aws.String(id),
				CreateDate:  aws.Time(key.Created),
				Status:      status(key),
				UserName:    o.name(),
			})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (s *Service) UpdateAccessKey(ctx context.Context, in *iam.UpdateAccessKeyInput) (*iam.UpdateAccessKeyOutput, error) {
	err := s.onKeys(ctx, "iam:UpdateAccessKey", in.UserName, true, func(tx *directory.Tx, o *owner) error {
		if in.Status != types.StatusTypeActive && in.Status != types.StatusTypeInactive {
			return invalidInput("Status must be Active or Inactive.")
		}
		key, err := ownKey(tx, o, *in.AccessKeyId)
		if err != nil {
			return err
		}
		key.Active = in.Status == types.StatusTypeActive
		return tx.PutAccessKey(key)
	})
	if err != nil {
		return nil, err
	}
	return &iam.UpdateAccessKeyOutput{}, nil
}

func ownKey(tx *directory.Tx, o *owner, id string) (*directory.AccessKey, error) {
	if !slices.Contains(*o.keys(), id) {
		return nil, noSuchEntity("The Access Key with id %s cannot be found.", id)
	}
	return tx.AccessKey(id)
}

// DeleteAccessKey ends a key. The next request that it signs is refused.
func (s *Service) DeleteAccessKey(ctx context.Context, in *iam.DeleteAccessKeyInput) (*iam.DeleteAccessKeyOutput, error) {
	err := s.onKeys(ctx, "iam:DeleteAccessKey", in.UserName, true, func(tx *directory.Tx, o *owner) error {
		if _, err := ownKey(tx, o, *in.AccessKeyId); err != nil {
			return err
		}
		keys := o.keys()
		*keys = slices.DeleteFunc(*keys, func(id string) bool { return id == *in.AccessKeyId })
		if err := tx.DeleteAccessKey(*in.AccessKeyId); err != nil {
			return err
		}
		return o.put(tx)
	})
	if err != nil {
		return nil, err
	}
	return &iam.DeleteAccessKeyOutput{}, nil
}

// GetAccessKeyLastUsed answers for any key of the account. A key that there is not is
// asked for as somebody's of this account.
func (s *Service) GetAccessKeyLastUsed(ctx context.Context, in *iam.GetAccessKeyLastUsedInput) (*iam.GetAccessKeyLastUsedOutput, error) {
	access := &authz.Access{Action: "iam:GetAccessKeyLastUsed", Resource: "arn:aws:iam::" + account(ctx) + ":user/*"}
	out := new(iam.GetAccessKeyLastUsedOutput)
	found := false
	err := s.dir.View(ctx, func(tx *directory.Tx) error {
		key, err := tx.AccessKey(*in.AccessKeyId)
		if errors.Is(err, store.ErrNotFound) || err == nil && key.Account != account(ctx) {
			return nil
		}
		if err != nil {
			return err
		}
		found = true
		if key.Owner == key.Account {
			access.Resource = "arn:aws:iam::" + key.Account + ":root"
			return nil
		}
		ref, err := tx.Ref(key.Owner)
		if err != nil {
			return err
		}
		u, err := tx.User(ref.Account, ref.Name)
		if err != nil {
			return err
		}
		access.Resource = u.ARN()
		access.Tags = directory.TagMap(u.Tags)
		out.UserName = aws.String(u.Name)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if err := s.authorize(ctx, access); err != nil {
		return nil, err
	}
	if !found {
		return nil, unknownKey(caller.From(ctx).Principal.ARN, *in.AccessKeyId)
	}
	used, err := s.dir.LastUsed(ctx, *in.AccessKeyId)
	if err != nil {
		return nil, err
	}
	if used.Time.IsZero() {
		out.AccessKeyLastUsed = &types.AccessKeyLastUsed{Region: aws.String("N/A"), ServiceName: aws.String("N/A")}
	} else {
		out.AccessKeyLastUsed = &types.AccessKeyLastUsed{
			Region: aws.String(used.Region), ServiceName: aws.String(used.Service), LastUsedDate: aws.Time(used.Time),
		}
	}
	return out, nil
}
