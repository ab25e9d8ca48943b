package secretsmanager

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/malote/malote/caller"
	"github.com/malote/malote/store"
)

// ReplicateSecretToRegions gives a secret replicas in other Regions, and tries again where
// that failed. It waits for them: unlike on AWS the answer says how it went.
func (s *Service) ReplicateSecretToRegions(ctx context.Context, in *secretsmanager.ReplicateSecretToRegionsInput) (*secretsmanager.ReplicateSecretToRegionsOutput, error) {
	a := access{
		action: "secretsmanager:ReplicateSecretToRegions", secretID: *in.SecretId,
		conditions: replicaConditions(in.AddReplicaRegions, in.ForceOverwriteReplicaSecret),
	}
	x, err := s.authorizedSecret(ctx, a)
	if err != nil {
		return nil, err
	}
	added, err := x.newReplicas(in.AddReplicaRegions)
	if err != nil {
		return nil, err
	}
	x, err = s.changeWaiting(ctx, a, x, func(_ store.Tx, x *secret) error {
		if err := x.active(); err != nil {
			return err
		}
		for _, r := range added {
			was := x.replica(r.Region)
			switch {
			case was == nil:
				x.Replicas = append(x.Replicas, r)
				was = &x.Replicas[len(x.Replicas)-1]
			case was.Status == "" && was.KmsKeyID != r.KmsKeyID:
				return invalidParameter("The secret is already replicated to %s. Call UpdateSecret there to choose another KmsKeyId.", r.Region)
			case was.Status == "":
				continue
			}
			was.KmsKeyID = r.KmsKeyID
			was.begin(s.timestamp())
		}
		if len(x.Replicas) > maxReplicas {
			return invalidParameter("A secret can't have more than %d replica regions.", maxReplicas)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	x = s.catchUp(ctx, x, in.ForceOverwriteReplicaSecret)
	status, err := s.replicationStatus(ctx, x)
	if err != nil {
		return nil, err
	}
	return &secretsmanager.ReplicateSecretToRegionsOutput{ARN: aws.String(x.arn), ReplicationStatus: status}, nil
}

// newReplicas reads AddReplicaRegions.
func (x *secret) newReplicas(in []types.ReplicaRegionType) ([]replica, error) {
	var added []replica
	for _, each := range in {
		region := aws.ToString(each.Region)
		switch {
		case region == "" || region == x.Region || strings.Contains(region, "/"):
			return nil, invalidParameter("Invalid replica region.")
		case slices.ContainsFunc(added, func(r replica) bool { return r.Region == region }):
			return nil, invalidParameter("You can't provide the replica region %s more than once.", region)
		}
		added = append(added, replica{Region: region, KmsKeyID: cleanKeyID(aws.ToString(each.KmsKeyId), x.in(region))})
	}
	if len(added) > maxReplicas {
		return nil, invalidParameter("A secret can't have more than %d replica regions.", maxReplicas)
	}
	return added, nil
}

// replicaConditions are the condition keys of a request that adds replicas.
func replicaConditions(add []types.ReplicaRegionType, overwrite bool) map[string][]string {
	conditions := map[string][]string{"secretsmanager:ForceOverwriteReplicaSecret": boolCondition(overwrite)}
	for _, r := range add {
		conditions["secretsmanager:AddReplicaRegions"] = append(conditions["secretsmanager:AddReplicaRegions"], aws.ToString(r.Region))
	}
	return conditions
}

// RemoveRegionsFromReplication deletes replicas, at once.
func (s *Service) RemoveRegionsFromReplication(ctx context.Context, in *secretsmanager.RemoveRegionsFromReplicationInput) (*secretsmanager.RemoveRegionsFromReplicationOutput, error) {
	a := access{action: "secretsmanager:RemoveRegionsFromReplication", secretID: *in.SecretId}
	x, err := s.authorizedSecret(ctx, a)
	if err != nil {
		return nil, err
	}
	var later []string // what is too much for the transaction
	x, err = s.change(ctx, a, x, func(tx store.Tx, x *secret) error {
		if err := x.active(); err != nil {
			return err
		}
		later = nil
		// Each replica takes two writes, or one if it stays.
		room := maxAtOnce - len(x.Replicas) - len(in.RemoveReplicaRegions)
		for _, region := range in.RemoveReplicaRegions {
			if x.replica(region) == nil {
				return invalidParameter("Invalid replica region. The secret is not replicated to %s.", region)
			}
			x.Replicas = slices.DeleteFunc(x.Replicas, func(r replica) bool { return r.Region == region })
			y, err := s.secrets.Get(tx, x.in(region).path())
			if errors.Is(err, store.ErrNotFound) || err == nil && !y.replicates(x) {
				continue
			}
			if err != nil {
				return err
			}
			if len(y.Versions) <= room {
				room -= len(y.Versions)
				if _, err := s.remove(tx, y); err != nil {
					return err
				}
				continue
			}
			y = y.clone()
			y.Primary, y.Deletion = "", s.timestamp()
			if err := tx.Put(y.duePath(), []byte{1}); err != nil {
				return err
			}
			if err := s.secrets.Put(tx, y.path(), y); err != nil {
				return err
			}
			later = append(later, y.path())
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, path := range later {
		if err := s.purge(ctx, path); err != nil {
			return nil, err
		}
	}
	status, err := s.replicationStatus(ctx, x)
	if err != nil {
		return nil, err
	}
	if status == nil {
		status = []types.ReplicationStatusType{}
	}
	return &secretsmanager.RemoveRegionsFromReplicationOutput{ARN: aws.String(x.arn), ReplicationStatus: status}, nil
}

// StopReplicationToReplica makes a replica a secret of its own, and its primary forget it.
// It is called in the Region of the replica; the ARN may be the primary's.
func (s *Service) StopReplicationToReplica(ctx context.Context, in *secretsmanager.StopReplicationToReplicaInput) (*secretsmanager.StopReplicationToReplicaOutput, error) {
	id, of := replicaID(ctx, *in.SecretId)
	a := access{action: "secretsmanager:StopReplicationToReplica", secretID: id, replica: true}
	x, err := s.authorizedSecret(ctx, a)
	switch {
	case err != nil:
		return nil, err
	case of != "" && x.Primary != of:
		return nil, secretNotFound()
	}
	x, err = s.change(ctx, a, x, func(tx store.Tx, y *secret) error {
		if y.Primary == "" {
			return invalidParameter("Operation not permitted on a primary secret. Call must be made in replica secret's region.")
		}
		err := s.changePrimary(tx, y, func(x *secret) {
			x.Replicas = slices.DeleteFunc(x.Replicas, func(r replica) bool { return r.Region == y.Region })
		})
		y.Primary = ""
		y.Changed = s.timestamp()
		return err
	})
	if err != nil {
		return nil, err
	}
	return &secretsmanager.StopReplicationToReplicaOutput{ARN: aws.String(x.arn)}, nil
}

// replicaID reads the SecretId of a replica that may be told by the ARN of its primary, and
// returns its own and the Region of that.
func replicaID(ctx context.Context, given string) (id, primary string) {
	parts := strings.SplitN(given, ":", 7)
	region := caller.From(ctx).Region
	if len(parts) != 7 || parts[0] != "arn" || parts[3] == region {
		return given, ""
	}
	primary, parts[3] = parts[3], region
	return strings.Join(parts, ":"), primary
}

// changePrimary changes what the primary secret of y knows of it.
func (s *Service) changePrimary(tx store.Tx, y *secret, fn func(x *secret)) error {
	stored, err := s.secrets.Get(tx, secretPath(y.Account, y.Primary, y.Name))
	if errors.Is(err, store.ErrNotFound) || err == nil && stored.Suffix != y.Suffix {
		return fmt.Errorf("the primary of %s is not in %s", y.arn, y.Primary)
	}
	if err != nil {
		return err
	}
	x := stored.clone()
	fn(x)
	if err := x.queueLag(tx); err != nil {
		return err
	}
	return s.secrets.Put(tx, x.path(), x)
}

// authorizeReplicas asks for the replicas of a secret that is being created.
func (s *Service) authorizeReplicas(ctx context.Context, x *secret, in *secretsmanager.CreateSecretInput) error {
	if len(in.AddReplicaRegions) == 0 {
		return nil
	}
	return s.authorizeSecret(ctx, access{
		action: "secretsmanager:ReplicateSecretToRegions", secretID: *in.Name,
		conditions: replicaConditions(in.AddReplicaRegions, in.ForceOverwriteReplicaSecret),
	}, x)
}
