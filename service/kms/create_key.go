package kms

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/malote/malote/authz"
	"github.com/malote/malote/caller"
	"github.com/malote/malote/service/attached"
	"github.com/malote/malote/store"
)

// CreateKey makes a key. It is not idempotent.
func (s *Service) CreateKey(ctx context.Context, in *kms.CreateKeyInput) (*kms.CreateKeyOutput, error) {
	request := caller.From(ctx)
	spec, usage, origin := in.KeySpec, in.KeyUsage, in.Origin
	if spec == "" {
		spec = types.KeySpec(in.CustomerMasterKeySpec)
	}
	if spec == "" {
		spec = types.KeySpecSymmetricDefault
	}
	if usage == "" && spec == types.KeySpecSymmetricDefault {
		usage = types.KeyUsageTypeEncryptDecrypt
	}
	if origin == "" {
		origin = types.OriginTypeAwsKms
	}
	conditions := func() map[string][]string {
		c := map[string][]string{
			"kms:KeySpec":                        {string(spec)},
			"kms:KeyOrigin":                      {string(origin)},
			"kms:MultiRegion":                    boolCondition(aws.ToBool(in.MultiRegion)),
			"kms:BypassPolicyLockoutSafetyCheck": boolCondition(in.BypassPolicyLockoutSafetyCheck),
		}
		if usage != "" {
			c["kms:KeyUsage"] = []string{string(usage)}
		}
		if aws.ToBool(in.MultiRegion) {
			c["kms:MultiRegionKeyType"] = []string{string(types.MultiRegionKeyTypePrimary)}
		}
		return c
	}
	tags, tagsErr := addTags(nil, in.Tags)
	access := authz.Access{Action: "kms:CreateKey", Resource: "*", RequestTags: requestTags(in.Tags), Conditions: conditions()}
	if err := s.authz.Authorize(ctx, &access); err != nil {
		return nil, err
	}
	if len(in.Tags) > 0 {
		access := authz.Access{Action: "kms:TagResource", Resource: "*", RequestTags: requestTags(in.Tags), Conditions: conditions()}
		if err := s.authz.Authorize(ctx, &access); err != nil {
			return nil, err
		}
	}

	if in.KeySpec != "" && in.CustomerMasterKeySpec != "" && string(in.KeySpec) != string(in.CustomerMasterKeySpec) {
		return nil, validation("You cannot specify KeySpec and CustomerMasterKeySpec in the same request. CustomerMasterKeySpec is deprecated.")
	}
	if usage == "" {
		return nil, validation("You must specify a KeyUsage value for all KMS keys except for symmetric encryption keys.")
	}
	if _, ok := keySpecs[spec]; !ok {
		return nil, unsupported("KeySpec %s is not supported.", spec)
	}
	if !keySpecs[spec].serves(usage) {
		return nil, validation("KeyUsage %s is not compatible with KeySpec %s", usage, spec)
	}
	if err := refuseKeyStore(in, origin); err != nil {
		return nil, err
	}
	if tagsErr != nil {
		return nil, tagsErr
	}
	k := newKey(request.Principal.Account, request.Region, s.now())
	if spec != types.KeySpecSymmetricDefault {
		k.Materials, k.Spec, k.Usage = nil, spec, usage
	}
	if aws.ToBool(in.MultiRegion) {
		k.makePrimary()
	}
	if origin == types.OriginTypeExternal {
		k.makeExternal()
	} else if spec != types.KeySpecSymmetricDefault {
		if err := k.makeMaterial(); err != nil {
			return nil, err
		}
	}
	k.Description = aws.ToString(in.Description)
	k.Tags = tags
	k.Policy = attached.Policy{Text: defaultPolicy(k.Account)}
	if in.Policy != nil {
		var err error
		if k.Policy, err = s.newPolicy(ctx, *in.Policy, k, in.BypassPolicyLockoutSafetyCheck); err != nil {
			return nil, err
		}
	}

	err := s.store.Update(ctx, func(tx store.Tx) error { return s.keys.Put(tx, k.path(), k) })
	if err != nil {
		return nil, fmt.Errorf("creating a key: %w", err)
	}
	return &kms.CreateKeyOutput{KeyMetadata: k.metadata()}, nil
}

// newKey returns an enabled key with fresh material, and no policy yet.
func newKey(account, region string, now time.Time) *key {
	k := &key{
		ID: newUUID(), Account: account, Region: region, Created: now,
		State: types.KeyStateEnabled, Manager: types.KeyManagerTypeCustomer,
	}
	k.addMaterial(now, "")
	k.compiled = sync.OnceValues(k.compile)
	return k
}

// makeMaterial gives a new key its material, unless it is a symmetric encryption key. That
// of an RSA key takes its time.
func (k *key) makeMaterial() error {
	if size := keySpecs[k.Spec].bytes; size > 0 {
		k.addMaterialBytes(randomBytes(size), k.Created, "")
		return nil
	}
	p, err := generate(k.Spec)
	if err != nil {
		return err
	}
	der, err := p.marshal()
	if err != nil {
		return err
	}
	k.addMaterialBytes(der, k.Created, "")
	return nil
}

// newUUID returns a random UUID, version 4.
func newUUID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
