package secretsmanager

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
)

func replicaRegions(n int) []types.ReplicaRegionType {
	var all []types.ReplicaRegionType
	for i := range n {
		all = append(all, types.ReplicaRegionType{Region: aws.String(fmt.Sprintf("eu-west-%d", i+1))})
	}
	return all
}

func wantInSync(t *testing.T, ctx context.Context, s *testService, n int) {
	t.Helper()
	d, err := s.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: aws.String("s")})
	if err != nil || len(d.ReplicationStatus) != n {
		t.Fatalf("%d replicas, %v; want %d", len(d.ReplicationStatus), err, n)
	}
	for _, r := range d.ReplicationStatus {
		if r.Status != types.StatusTypeInSync {
			t.Errorf("replica in %s: %s %s", *r.Region, r.Status, aws.ToString(r.StatusMessage))
		}
	}
}

// The largest value in the most Regions, more than a transaction holds, arrives everywhere;
// and when all are deleted nothing is left of them.
func TestManyLargeReplicas(t *testing.T) {
	t.Parallel()
	s := newTestService(t)
	ctx := rootUser(t.Context())
	value := func(i int) *string { return aws.String(strings.Repeat(fmt.Sprint(i), maxValueSize)) }
	_, err := s.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: aws.String("s"), SecretString: value(0), ClientRequestToken: aws.String(testToken), AddReplicaRegions: replicaRegions(maxReplicas)})
	if err != nil {
		t.Fatal(err)
	}
	wantInSync(t, ctx, s, maxReplicas)
	for i := 1; i < 3; i++ {
		if _, err := s.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{SecretId: aws.String("s"), SecretString: value(i), ClientRequestToken: aws.String(fmt.Sprintf("%032d", i))}); err != nil {
			t.Fatal(err)
		}
		wantInSync(t, ctx, s, maxReplicas)
		for _, r := range replicaRegions(maxReplicas) {
			got, err := s.GetSecretValue(inRegion(ctx, *r.Region), &secretsmanager.GetSecretValueInput{SecretId: aws.String("s")})
			if err != nil || *got.SecretString != *value(i) {
				t.Fatalf("in %s: %v", *r.Region, err)
			}
		}
	}
	_, err = s.ReplicateSecretToRegions(ctx, &secretsmanager.ReplicateSecretToRegionsInput{SecretId: aws.String("s"), AddReplicaRegions: []types.ReplicaRegionType{{Region: aws.String("us-west-1")}}})
	if err == nil || !strings.Contains(err.Error(), "more than 30 replica regions") {
		t.Errorf("one too many: %v", err)
	}
	var all []string
	for _, r := range replicaRegions(maxReplicas) {
		all = append(all, *r.Region)
	}
	if _, err := s.RemoveRegionsFromReplication(ctx, &secretsmanager.RemoveRegionsFromReplicationInput{SecretId: aws.String("s"), RemoveReplicaRegions: all}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.DeleteSecret(ctx, &secretsmanager.DeleteSecretInput{SecretId: aws.String("s"), ForceDeleteWithoutRecovery: aws.Bool(true)}); err != nil {
		t.Fatal(err)
	}
	if got := entries(t, s); got != 0 {
		t.Errorf("%d entries are left", got)
	}
}

// Versions that the primary no longer keeps are not kept by its replicas.
func TestReplicasForgetVersions(t *testing.T) {
	t.Parallel()
	s := newTestService(t)
	ctx := rootUser(t.Context())
	const replicas = 3
	_, err := s.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: aws.String("s"), SecretString: aws.String("x"), ClientRequestToken: aws.String(testToken), AddReplicaRegions: replicaRegions(replicas)})
	if err != nil {
		t.Fatal(err)
	}
	for i := range maxVersions + 20 {
		s.clock = s.clock.Add(time.Hour)
		if _, err := s.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{SecretId: aws.String("s"), SecretString: aws.String("x"), ClientRequestToken: aws.String(fmt.Sprintf("%032d", i))}); err != nil {
			t.Fatal(err)
		}
	}
	wantInSync(t, ctx, s, replicas)
	// Of each secret its record, its listing and its values.
	if got, want := entries(t, s), (1+replicas)*(2+maxVersions); got != want {
		t.Errorf("%d entries, want %d", got, want)
	}
	there := inRegion(ctx, "eu-west-1")
	if _, err := s.StopReplicationToReplica(there, &secretsmanager.StopReplicationToReplicaInput{SecretId: aws.String("s")}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.DeleteSecret(there, &secretsmanager.DeleteSecretInput{SecretId: aws.String("s"), ForceDeleteWithoutRecovery: aws.Bool(true)}); err != nil {
		t.Fatal(err)
	}
	// Too many versions for the transaction that removes the replicas.
	if _, err := s.RemoveRegionsFromReplication(ctx, &secretsmanager.RemoveRegionsFromReplicationInput{SecretId: aws.String("s"), RemoveReplicaRegions: []string{"eu-west-2", "eu-west-3"}}); err != nil {
		t.Fatal(err)
	}
	if got, want := entries(t, s), 2+maxVersions; got != want {
		t.Errorf("%d entries, want %d", got, want)
	}
}

// A replication that a crash interrupted is told as failed, and taken up when it is asked
// for again.
func TestReplicationInterrupted(t *testing.T) {
	t.Parallel()
	s := newTestService(t)
	ctx := rootUser(t.Context())
	create := &secretsmanager.CreateSecretInput{Name: aws.String("s"), SecretString: aws.String("x"), ClientRequestToken: aws.String(testToken), AddReplicaRegions: replicaRegions(1)}
	// A caller who hangs up after the secret was stored stands in for the crash.
	gone, hangUp := context.WithCancel(ctx)
	s.Service.keys = &hangingUp{Keys: s.Service.keys, do: hangUp}
	_, _ = s.CreateSecret(gone, create)
	status := func() types.ReplicationStatusType {
		t.Helper()
		d, err := s.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: aws.String("s")})
		if err != nil || len(d.ReplicationStatus) != 1 {
			t.Fatalf("%+v, %v", d, err)
		}
		return d.ReplicationStatus[0]
	}
	if got := status(); got.Status != types.StatusTypeInProgress {
		t.Fatalf("status = %s", got.Status)
	}
	maintain := func() {
		t.Helper()
		if err := Maintain(t.Context(), s.Service); err != nil {
			t.Fatal(err)
		}
	}
	s.clock = s.clock.Add(interruptedAfter - time.Second)
	maintain()
	if got := status(); got.Status != types.StatusTypeInProgress {
		t.Errorf("a second early: %s", got.Status)
	}
	s.clock = s.clock.Add(time.Second)
	maintain()
	if got := status(); got.Status != types.StatusTypeFailed || !strings.Contains(*got.StatusMessage, "interrupted") {
		t.Errorf("status = %s", got.Status)
	}
	if _, err := s.ReplicateSecretToRegions(ctx, &secretsmanager.ReplicateSecretToRegionsInput{SecretId: aws.String("s"), AddReplicaRegions: replicaRegions(1)}); err != nil {
		t.Fatal(err)
	}
	wantInSync(t, ctx, s, 1)
	if got := entries(t, s); got != 6 {
		t.Errorf("%d entries, want two secrets with listing and value", got)
	}
}

// hangingUp is Keys whose first Decrypt does something, and fails.
type hangingUp struct {
	Keys
	do func()
}

func (h *hangingUp) Decrypt(ctx context.Context, in *kms.DecryptInput) (*kms.DecryptOutput, error) {
	if do := h.do; do != nil {
		h.do = nil
		do()
		return nil, context.Canceled
	}
	return h.Keys.Decrypt(ctx, in)
}
