package engine

import (
	"crypto/rand"
	"errors"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/malote/malote/acs"
	"github.com/malote/malote/engine/volume"
	"github.com/malote/malote/internal/spoken"
)

// ephemeral is the disk of a task's volumes that have no place of their own. That of a volume
// that is configured at launch is called as the volume is.
const ephemeral = ".ephemeral"

// ephemeralStorage is how many bytes that disk has; 0: those volumes are in memory.
func ephemeralStorage(work *acs.Task) int64 {
	s := work.Definition.EphemeralStorage
	if o := work.Overrides; o != nil && o.EphemeralStorage != nil {
		s = o.EphemeralStorage
	}
	if s == nil {
		return 0
	}
	return int64(s.SizeInGiB) << 30
}

// launchVolume makes a volume of which the launch said what it is.
func (t *task) launchVolume(name string) (string, error) {
	i := slices.IndexFunc(t.work.Volumes, func(v acs.Volume) bool { return v.Name == name })
	if i < 0 {
		return "", errors.New("it is configuredAtLaunch, and the launch says nothing of it")
	}
	v, key := t.work.Volumes[i], serviceKey
	if v.KMSKeyID != "" {
		key = func() ([]byte, error) { return t.dataKey(v) }
	}
	return t.diskVolume(name, name, int64(v.SizeInGiB)<<30, key)
}

func (t *task) diskVolume(name, disk string, size int64, key func() ([]byte, error)) (string, error) {
	volumes, id := t.engine.volumes, taskID(t.work.ARN)
	if err := volumes.CreateDisk(id, disk, size, key); err != nil {
		return "", err
	}
	dir, err := volumes.CreateOnDisk(id, name, disk)
	if err != nil {
		return "", err
	}
	t.owns(name)
	return dir, nil
}

// ephemeralKey is the key of the task's ephemeral storage: one of the cluster's, or one that
// nobody else ever has.
func (t *task) ephemeralKey() func() ([]byte, error) {
	if t.work.StorageKMSKeyID == "" {
		return serviceKey
	}
	return t.storageKey
}

// storageKey waits for the key that the control plane made, which a task that was found has
// again when it has been sent again, and gives it away.
func (t *task) storageKey() ([]byte, error) {
	for {
		t.mu.Lock()
		key, changed := t.storage, t.credentials
		t.storage = nil
		t.mu.Unlock()
		switch {
		case len(key) == volume.KeySize:
			return key, nil
		case key != nil:
			return nil, fmt.Errorf("the key of the ephemeral storage under %s has %d bytes, not %d", t.work.StorageKMSKeyID, len(key), volume.KeySize)
		case !t.record.found:
			return nil, fmt.Errorf("there is no key of the ephemeral storage under %s (the cluster's fargateEphemeralStorageKmsKeyId)", t.work.StorageKMSKeyID)
		}
		select {
		case <-changed:
		case <-t.effort.Done():
			return nil, t.effort.Err()
		}
	}
}

// forgetStorage forgets the key of a storage that is made, or never will be, and those that
// are given yet.
func (t *task) forgetStorage() {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.storage)
	t.storage, t.noStorage = nil, true
}

// serviceKey is a key that nobody ever has: it goes from here into the kernel.
func serviceKey() ([]byte, error) {
	key := make([]byte, volume.KeySize)
	_, err := rand.Read(key)
	return key, err
}

// dataKey asks KMS for a volume's key, as the infrastructure role. What KMS could decrypt it
// from again is not kept: a volume is not to be read once it is gone.
func (t *task) dataKey(v acs.Volume) ([]byte, error) {
	role, err := t.infrastructureRole()
	if err != nil {
		return nil, err
	}
	client := kms.NewFromConfig(withCredentials(t.engine.AWS, role, t.work.Region))
	out, err := client.GenerateDataKey(t.effort, &kms.GenerateDataKeyInput{
		KeyId: &v.KMSKeyID, NumberOfBytes: aws.Int32(volume.KeySize), EncryptionContext: map[string]string{"aws:ebs:id": v.ID},
	})
	if err != nil {
		return nil, fmt.Errorf("a data key under %s could not be had as %s: %w", v.KMSKeyID, role.RoleARN, spoken.Error(err))
	}
	return out.Plaintext, nil
}

// infrastructureRole waits for the role's credentials, which a task that was found has again
// when the control plane has sent it again.
func (t *task) infrastructureRole() (*acs.Credentials, error) {
	for {
		t.mu.Lock()
		c, changed := t.infrastructure, t.credentials
		t.mu.Unlock()
		if c != nil && (c.Expiration.IsZero() || c.Expiration.After(t.engine.now())) {
			return c, nil
		}
		if !t.record.found {
			return nil, errors.New("there are no credentials of the infrastructure role (managedEBSVolume.roleArn)")
		}
		select {
		case <-changed:
		case <-t.effort.Done():
			return nil, t.effort.Err()
		}
	}
}
