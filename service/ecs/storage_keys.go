package ecs

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/smithy-go"

	"github.com/malote/malote/acs"
	"github.com/malote/malote/caller"
)

// fargatePrincipal is whom a key's policy has to allow kms:GenerateDataKeyWithoutPlaintext and
// kms:CreateGrant.
const fargatePrincipal = "fargate.amazonaws.com"

// retireTime is how long retiring a grant may take.
const retireTime = 10 * time.Second

// storageKeys are the KMS keys of a cluster's tasks, as they were given.
type storageKeys struct {
	Volumes   string `json:",omitempty"` // of volumes that are configured at launch and name none
	Ephemeral string `json:",omitempty"` // of FARGATE tasks' ephemeral storage
}

func (k storageKeys) configuration() *types.ClusterConfiguration {
	if k == (storageKeys{}) {
		return nil
	}
	return &types.ClusterConfiguration{ManagedStorageConfiguration: &types.ManagedStorageConfiguration{
		KmsKeyId: filled(k.Volumes), FargateEphemeralStorageKmsKeyId: filled(k.Ephemeral),
	}}
}

func filled(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// configuredKeys reads and checks a cluster's configuration: nil when it says nothing of keys.
// The caller must be allowed to describe them.
//
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-create-storage-key.html
func (s *Service) configuredKeys(ctx context.Context, c *types.ClusterConfiguration) (*storageKeys, error) {
	if c == nil {
		return nil, nil
	}
	if c.ExecuteCommandConfiguration != nil {
		return nil, unsupported("configuration.executeCommandConfiguration")
	}
	m := c.ManagedStorageConfiguration
	if m == nil {
		return nil, nil
	}
	keys := &storageKeys{Volumes: aws.ToString(m.KmsKeyId), Ephemeral: aws.ToString(m.FargateEphemeralStorageKmsKeyId)}
	for member, id := range map[string]string{"kmsKeyId": keys.Volumes, "fargateEphemeralStorageKmsKeyId": keys.Ephemeral} {
		if id == "" {
			continue
		}
		if err := s.checkStorageKey(ctx, "managedStorageConfiguration."+member, id); err != nil {
			return nil, err
		}
	}
	return keys, nil
}

// storageConditions are what policies may ask about the keys of a configuration.
func storageConditions(c *types.ClusterConfiguration) map[string][]string {
	if c == nil || c.ManagedStorageConfiguration == nil || aws.ToString(c.ManagedStorageConfiguration.FargateEphemeralStorageKmsKeyId) == "" {
		return nil
	}
	return map[string][]string{"ecs:fargate-ephemeral-storage-kms-key": {*c.ManagedStorageConfiguration.FargateEphemeralStorageKmsKeyId}}
}

// checkStorageKey refuses a key that could never be used.
func (s *Service) checkStorageKey(ctx context.Context, member, id string) error {
	if strings.HasPrefix(id, "alias/") || strings.Contains(id, ":alias/") {
		return invalidParameter("%s: KMS key aliases are not supported. Specify the key's ID or ARN.", member)
	}
	out, err := s.keys.DescribeKey(caller.Forward(ctx, "ecs"), &kms.DescribeKeyInput{KeyId: &id})
	var api smithy.APIError
	if errors.As(err, &api) {
		return invalidParameter("%s: %s: %s", member, api.ErrorCode(), api.ErrorMessage())
	}
	if err != nil {
		return fmt.Errorf("describing the key of %s: %w", member, err)
	}
	switch m := out.KeyMetadata; {
	case aws.ToBool(m.MultiRegion):
		return invalidParameter("%s: Multi-Region keys are not supported. The key must be a single Region key.", member)
	case m.KeySpec != kmstypes.KeySpecSymmetricDefault || m.KeyUsage != kmstypes.KeyUsageTypeEncryptDecrypt:
		return invalidParameter("%s: The key must be a symmetric encryption key.", member)
	case m.KeyState != kmstypes.KeyStateEnabled:
		return invalidParameter("%s: The key is not enabled; its state is %s.", member, m.KeyState)
	}
	return nil
}

// encrypts gives a task that is new the key of its ephemeral storage.
func (t *task) encrypts(key string) {
	if key == "" || t.Task.LaunchType != types.LaunchTypeFargate || t.Task.EphemeralStorage == nil {
		return
	}
	t.Task.FargateEphemeralStorage = &types.TaskEphemeralStorage{KmsKeyId: &key, SizeInGiB: t.Task.EphemeralStorage.SizeInGiB}
}

// ephemeralStorage is how a revision tells of the key of its tasks' ephemeral storage.
func (r *revision) ephemeralStorage() *types.DeploymentEphemeralStorage {
	if r.Storage.Ephemeral == "" || r.LaunchType != types.LaunchTypeFargate {
		return nil
	}
	return &types.DeploymentEphemeralStorage{KmsKeyId: &r.Storage.Ephemeral}
}

// storageKey makes the key of a task's ephemeral storage, as Fargate does: one that KMS shows
// to nobody, then a grant to decrypt it, which is retired at once. What it could be decrypted
// from again is not kept: the storage is not to be read once the task is over.
//
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-storage-encryption.html
func (st *stream) storageKey(ctx context.Context, t *task, asker caller.Task) ([]byte, error) {
	request := caller.Request{
		ID: newUUID(), Region: st.sc.region, Service: "kms", Time: st.s.now(), Secure: true, SourceARN: *t.Task.TaskArn,
		Principal: &caller.Principal{
			Type: caller.Service, Service: fargatePrincipal, Account: st.sc.account, ARN: fargatePrincipal, ID: fargatePrincipal, Task: &asker,
		},
	}
	as := func(operation string) context.Context {
		r := request
		r.Operation = operation
		return caller.With(ctx, &r)
	}
	key := t.Task.FargateEphemeralStorage.KmsKeyId
	pairs := map[string]string{"aws:ecs:clusterAccount": st.sc.account, "aws:ecs:clusterName": t.Cluster}
	made, err := st.s.keys.GenerateDataKeyWithoutPlaintext(as("GenerateDataKeyWithoutPlaintext"), &kms.GenerateDataKeyWithoutPlaintextInput{
		KeyId: key, NumberOfBytes: aws.Int32(acs.StorageKeySize), EncryptionContext: pairs,
	})
	if err != nil {
		return nil, err
	}
	grant, err := st.s.keys.CreateGrant(as("CreateGrant"), &kms.CreateGrantInput{
		KeyId: made.KeyId, GranteePrincipal: aws.String(fargatePrincipal), RetiringPrincipal: aws.String(fargatePrincipal),
		Operations:  []kmstypes.GrantOperation{kmstypes.GrantOperationDecrypt},
		Constraints: &kmstypes.GrantConstraints{EncryptionContextSubset: pairs},
	})
	if err != nil {
		return nil, err
	}
	opened, err := st.s.keys.Decrypt(as("Decrypt"), &kms.DecryptInput{
		CiphertextBlob: made.CiphertextBlob, KeyId: made.KeyId, EncryptionContext: pairs, GrantTokens: []string{*grant.GrantToken},
	})
	// Also when the engine is gone meanwhile: nobody else would.
	retiring, done := context.WithTimeout(context.WithoutCancel(as("RetireGrant")), retireTime)
	defer done()
	if _, retired := st.s.keys.RetireGrant(retiring, &kms.RetireGrantInput{GrantId: grant.GrantId, KeyId: made.KeyId}); retired != nil {
		st.s.log.ErrorContext(ctx, "retiring the grant of a task's storage", "task", *t.Task.TaskArn, "grant", *grant.GrantId, "err", retired)
	}
	if err != nil {
		return nil, err
	}
	return opened.Plaintext, nil
}

func storageFailure(key string, err smithy.APIError) string {
	return "ResourceInitializationError: unable to encrypt the task's ephemeral storage under the cluster's key " + key +
		" (fargateEphemeralStorageKmsKeyId). Its policy must allow kms:GenerateDataKeyWithoutPlaintext and kms:CreateGrant to the service " +
		fargatePrincipal + ": " + err.ErrorCode() + ": " + err.ErrorMessage()
}
