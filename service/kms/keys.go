package kms

import (
	"context"
	"encoding/base64"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/malote/malote/authz"
	"github.com/malote/malote/caller"
	"github.com/malote/malote/store"
)

// DescribeKey answers in every state. Asked for the alias of an AWS managed key it makes
// the key.
func (s *Service) DescribeKey(ctx context.Context, in *kms.DescribeKeyInput) (*kms.DescribeKeyOutput, error) {
	k, err := s.authorizedKey(ctx, use{
		action: "kms:DescribeKey", keyID: *in.KeyId, takesAlias: true, grantTokens: in.GrantTokens, makeManaged: true,
	})
	if err != nil {
		return nil, err
	}
	return &kms.DescribeKeyOutput{KeyMetadata: k.metadata()}, nil
}

// ListKeys lists the keys of the caller's account and Region, in every state.
func (s *Service) ListKeys(ctx context.Context, in *kms.ListKeysInput) (*kms.ListKeysOutput, error) {
	if err := s.authz.Authorize(ctx, &authz.Access{Action: "kms:ListKeys", Resource: "*"}); err != nil {
		return nil, err
	}
	after, err := decodeMarker(in.Marker)
	if err != nil {
		return nil, err
	}
	limit := pageSize(in.Limit, 100)

	request := caller.From(ctx)
	prefix := keyPrefix(request.Principal.Account, request.Region)
	if after != "" {
		after = prefix + after
	}
	out := &kms.ListKeysOutput{}
	err = s.store.View(ctx, func(tx store.Tx) error {
		*out = kms.ListKeysOutput{Keys: []types.KeyListEntry{}}
		for row, err := range s.keys.Scan(tx, prefix, after) {
			if err != nil {
				return err
			}
			if row.Value.gone(s.now()) {
				continue
			}
			if len(out.Keys) == limit {
				out.Truncated = true
				out.NextMarker = encodeMarker(*out.Keys[limit-1].KeyId)
				return nil
			}
			out.Keys = append(out.Keys, types.KeyListEntry{KeyId: aws.String(row.Value.ID), KeyArn: aws.String(row.Value.arn())})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func pageSize(limit *int32, standard int) int {
	if limit == nil {
		return standard
	}
	return int(*limit)
}

// A marker says after what a page begins. It is encoded so that nobody builds on what it
// looks like; it grants nothing.
func encodeMarker(after string) *string {
	return aws.String(base64.RawURLEncoding.EncodeToString([]byte("1:" + after)))
}

func decodeMarker(marker *string) (string, error) {
	if marker == nil {
		return "", nil
	}
	text, err := base64.RawURLEncoding.DecodeString(*marker)
	after, ok := strings.CutPrefix(string(text), "1:")
	if err != nil || !ok || after == "" {
		return "", &types.InvalidMarkerException{Message: aws.String("The marker is not valid.")}
	}
	return after, nil
}

// page cuts the part of items that follows the item called after. Nothing follows a name
// that is no longer there.
func page[T any](items []T, name func(T) string, after string, limit int) (part []T, next *string) {
	start := 0
	if after != "" {
		for start < len(items) && name(items[start]) != after {
			start++
		}
		start = min(start+1, len(items))
	}
	part = items[start:]
	if len(part) > limit {
		part = part[:limit]
		next = encodeMarker(name(part[limit-1]))
	}
	return part, next
}
