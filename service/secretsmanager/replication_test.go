package secretsmanager_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/malote/malote/malotetest"
)

const (
	europe = "eu-west-1"
	asia   = "ap-south-1"
)

func in(cfg aws.Config, region string) *secretsmanager.Client {
	cfg.Region = region
	return secretsmanager.NewFromConfig(cfg)
}

func regions(names ...string) []types.ReplicaRegionType {
	var all []types.ReplicaRegionType
	for _, name := range names {
		all = append(all, types.ReplicaRegionType{Region: aws.String(name)})
	}
	return all
}

func describe(t *testing.T, client *secretsmanager.Client, id string) *secretsmanager.DescribeSecretOutput {
	t.Helper()
	out, err := client.DescribeSecret(t.Context(), &secretsmanager.DescribeSecretInput{SecretId: aws.String(id)})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// wantStatus fails unless the replica in a Region has a status, and a message that
// contains text.
func wantStatus(t *testing.T, all []types.ReplicationStatusType, region string, want types.StatusType, text string) {
	t.Helper()
	for _, s := range all {
		if *s.Region == region {
			if message := aws.ToString(s.StatusMessage); s.Status != want || !strings.Contains(message, text) || text == "" && message != "" {
				t.Errorf("replica in %s: %s %q, want %s …%s…", region, s.Status, message, want, text)
			}
			return
		}
	}
	t.Errorf("no replica in %s", region)
}

const readOnly = "Operation not permitted on a replica secret. Call must be made in primary secret's region."

// A replica has what its primary has, at once, and nothing is done to it but there.
func TestReplicasFollow(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	home, there := in(sys.Config(), "us-east-1"), in(sys.Config(), europe)
	first, second := sys.Canary(), sys.Canary()
	made, err := home.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{
		Name: aws.String("db"), SecretString: aws.String(first), ClientRequestToken: token(1), Description: aws.String("one"),
		Tags: []types.Tag{{Key: aws.String("env"), Value: aws.String("prod")}}, AddReplicaRegions: regions(europe, asia),
	})
	if err != nil {
		t.Fatal(err)
	}
	wantStatus(t, made.ReplicationStatus, europe, types.StatusTypeInSync, "")
	wantStatus(t, made.ReplicationStatus, asia, types.StatusTypeInSync, "")
	if got := *made.ReplicationStatus[0].KmsKeyId; got != "alias/aws/secretsmanager" {
		t.Errorf("KmsKeyId = %s", got)
	}
	got := get(t, there, "db")
	if want := strings.Replace(*made.ARN, "us-east-1", europe, 1); *got.ARN != want || *got.SecretString != first || *got.VersionId != *token(1) {
		t.Errorf("the replica is %s %s, want %s", *got.ARN, *got.VersionId, want)
	}

	if _, err := home.PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{SecretId: aws.String("db"), SecretString: aws.String(second), ClientRequestToken: token(2)}); err != nil {
		t.Fatal(err)
	}
	if got := get(t, there, "db"); *got.SecretString != second || *got.VersionId != *token(2) {
		t.Error("a new value does not follow")
	}
	if got := stages(t, there, "db"); !slices.Equal(got["1"], []string{"AWSPREVIOUS"}) || !slices.Equal(got["2"], []string{"AWSCURRENT"}) {
		t.Errorf("stages of the replica: %v", got)
	}
	_, err = home.UpdateSecretVersionStage(t.Context(), &secretsmanager.UpdateSecretVersionStageInput{
		SecretId: aws.String("db"), VersionStage: aws.String("AWSCURRENT"), RemoveFromVersionId: token(2), MoveToVersionId: token(1),
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := get(t, there, "db"); *got.SecretString != first {
		t.Error("a moved label does not follow")
	}
	if _, err := home.UpdateSecret(t.Context(), &secretsmanager.UpdateSecretInput{SecretId: aws.String("db"), Description: aws.String("two")}); err != nil {
		t.Fatal(err)
	}
	if _, err := home.TagResource(t.Context(), &secretsmanager.TagResourceInput{SecretId: aws.String("db"), Tags: []types.Tag{{Key: aws.String("env"), Value: aws.String("test")}}}); err != nil {
		t.Fatal(err)
	}
	policy := `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":{"AWS":"123456789012"},"Action":"secretsmanager:DeleteSecret","Resource":"*"}]}`
	if _, err := home.PutResourcePolicy(t.Context(), &secretsmanager.PutResourcePolicyInput{SecretId: aws.String("db"), ResourcePolicy: aws.String(policy)}); err != nil {
		t.Fatal(err)
	}
	d := describe(t, there, "db")
	if *d.Description != "two" || *d.Tags[0].Value != "test" || *d.PrimaryRegion != "us-east-1" || d.ReplicationStatus != nil {
		t.Errorf("the replica has %q %v %v %v", *d.Description, d.Tags, *d.PrimaryRegion, d.ReplicationStatus)
	}
	if p, err := there.GetResourcePolicy(t.Context(), &secretsmanager.GetResourcePolicyInput{SecretId: aws.String("db")}); err != nil || aws.ToString(p.ResourcePolicy) != policy {
		t.Errorf("the replica's policy: %v, %v", p, err)
	}
	if _, err := home.DeleteResourcePolicy(t.Context(), &secretsmanager.DeleteResourcePolicyInput{SecretId: aws.String("db")}); err != nil {
		t.Fatal(err)
	}
	d = describe(t, home, "db")
	wantStatus(t, d.ReplicationStatus, europe, types.StatusTypeInSync, "")
	if d.ReplicationStatus[0].LastAccessedDate == nil || d.ReplicationStatus[1].LastAccessedDate != nil || *d.PrimaryRegion != "us-east-1" {
		t.Errorf("described: %+v", d.ReplicationStatus)
	}

	id := aws.String("db")
	for name, change := range map[string]func() error{
		"PutSecretValue": func() error {
			_, err := there.PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{SecretId: id, SecretString: aws.String("x")})
			return err
		},
		"UpdateSecret": func() error {
			_, err := there.UpdateSecret(t.Context(), &secretsmanager.UpdateSecretInput{SecretId: id, Description: aws.String("x")})
			return err
		},
		"UpdateSecretVersionStage": func() error {
			_, err := there.UpdateSecretVersionStage(t.Context(), &secretsmanager.UpdateSecretVersionStageInput{SecretId: id, VersionStage: aws.String("X"), MoveToVersionId: token(1)})
			return err
		},
		"TagResource": func() error {
			_, err := there.TagResource(t.Context(), &secretsmanager.TagResourceInput{SecretId: id, Tags: []types.Tag{{Key: aws.String("a"), Value: aws.String("b")}}})
			return err
		},
		"UntagResource": func() error {
			_, err := there.UntagResource(t.Context(), &secretsmanager.UntagResourceInput{SecretId: id, TagKeys: []string{"env"}})
			return err
		},
		"PutResourcePolicy": func() error {
			_, err := there.PutResourcePolicy(t.Context(), &secretsmanager.PutResourcePolicyInput{SecretId: id, ResourcePolicy: aws.String(policy)})
			return err
		},
		"DeleteResourcePolicy": func() error {
			_, err := there.DeleteResourcePolicy(t.Context(), &secretsmanager.DeleteResourcePolicyInput{SecretId: id})
			return err
		},
		"DeleteSecret": func() error {
			_, err := there.DeleteSecret(t.Context(), &secretsmanager.DeleteSecretInput{SecretId: id})
			return err
		},
		"DeleteSecret forced": func() error {
			_, err := there.DeleteSecret(t.Context(), &secretsmanager.DeleteSecretInput{SecretId: id, ForceDeleteWithoutRecovery: aws.Bool(true)})
			return err
		},
		"RestoreSecret": func() error {
			_, err := there.RestoreSecret(t.Context(), &secretsmanager.RestoreSecretInput{SecretId: id})
			return err
		},
		"ReplicateSecretToRegions": func() error {
			_, err := there.ReplicateSecretToRegions(t.Context(), &secretsmanager.ReplicateSecretToRegionsInput{SecretId: id, AddReplicaRegions: regions("us-west-2")})
			return err
		},
		"RemoveRegionsFromReplication": func() error {
			_, err := there.RemoveRegionsFromReplication(t.Context(), &secretsmanager.RemoveRegionsFromReplicationInput{SecretId: id, RemoveReplicaRegions: []string{asia}})
			return err
		},
	} {
		if err := change(); err == nil {
			t.Errorf("%s on a replica: no error", name)
		} else {
			wantError(t, err, "InvalidParameterException", readOnly)
		}
	}

	for _, force := range []bool{false, true} {
		delete := &secretsmanager.DeleteSecretInput{SecretId: id}
		if force {
			delete.ForceDeleteWithoutRecovery = aws.Bool(true)
		}
		_, err := home.DeleteSecret(t.Context(), delete)
		wantError(t, err, "InvalidParameterException", "You can't delete secret "+*made.ARN+" that still has replica regions [ap-south-1, eu-west-1].")
	}
	removed, err := home.RemoveRegionsFromReplication(t.Context(), &secretsmanager.RemoveRegionsFromReplicationInput{SecretId: id, RemoveReplicaRegions: []string{europe}})
	if err != nil || len(removed.ReplicationStatus) != 1 {
		t.Fatalf("RemoveRegionsFromReplication: %+v, %v", removed, err)
	}
	_, err = there.DescribeSecret(t.Context(), &secretsmanager.DescribeSecretInput{SecretId: id})
	wantError(t, err, "ResourceNotFoundException", "Secrets Manager can't find the specified secret.")
	if got := get(t, in(sys.Config(), asia), "db"); *got.SecretString != first {
		t.Error("the other replica has another value")
	}
}

// A promoted replica and its primary go their own ways.
func TestPromote(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	home, there := in(sys.Config(), "us-east-1"), in(sys.Config(), europe)
	made := create(t, home, "db", sys.Canary())
	_, err := home.StopReplicationToReplica(t.Context(), &secretsmanager.StopReplicationToReplicaInput{SecretId: aws.String("db")})
	wantError(t, err, "InvalidParameterException", "primary secret")
	if _, err := home.ReplicateSecretToRegions(t.Context(), &secretsmanager.ReplicateSecretToRegionsInput{SecretId: aws.String("db"), AddReplicaRegions: regions(europe)}); err != nil {
		t.Fatal(err)
	}
	out, err := there.StopReplicationToReplica(t.Context(), &secretsmanager.StopReplicationToReplicaInput{SecretId: made.ARN})
	if err != nil || *out.ARN != strings.Replace(*made.ARN, "us-east-1", europe, 1) {
		t.Fatalf("StopReplicationToReplica: %v, %v", out, err)
	}
	if d := describe(t, home, "db"); d.ReplicationStatus != nil || d.PrimaryRegion != nil {
		t.Errorf("the primary still has %v", d.ReplicationStatus)
	}
	own := sys.Canary()
	if _, err := there.PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{SecretId: aws.String("db"), SecretString: aws.String(own)}); err != nil {
		t.Fatal(err)
	}
	if *get(t, there, "db").SecretString != own || *get(t, home, "db").SecretString == own {
		t.Error("they are not apart")
	}
	for _, client := range []*secretsmanager.Client{home, there} {
		if _, err := client.DeleteSecret(t.Context(), &secretsmanager.DeleteSecretInput{SecretId: aws.String("db")}); err != nil {
			t.Error(err)
		}
	}
}

// Each replica is under its own key; without it the replica stays as it was, says why, and
// takes everything up when it is tried again.
func TestReplicaKeys(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	home, there := in(sys.Config(), "us-east-1"), in(sys.Config(), europe)
	cfg := sys.Config()
	cfg.Region = europe
	keys := kms.NewFromConfig(cfg)
	newKey := func() string {
		out, err := keys.CreateKey(t.Context(), &kms.CreateKeyInput{KeySpec: kmstypes.KeySpecSymmetricDefault})
		if err != nil {
			t.Fatal(err)
		}
		return *out.KeyMetadata.Arn
	}
	key := newKey()
	first, second := sys.Canary(), sys.Canary()
	replicas := []types.ReplicaRegionType{{Region: aws.String(europe), KmsKeyId: aws.String(key)}}
	_, err := home.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{
		Name: aws.String("db"), SecretString: aws.String(first), ClientRequestToken: token(1), AddReplicaRegions: replicas,
	})
	if err != nil {
		t.Fatal(err)
	}
	if d := describe(t, there, "db"); *d.KmsKeyId != key {
		t.Errorf("the replica's key is %s", *d.KmsKeyId)
	}
	if d := describe(t, home, "db"); d.KmsKeyId != nil || *d.ReplicationStatus[0].KmsKeyId != key {
		t.Errorf("the primary's key is %v", d.KmsKeyId)
	}

	if _, err := keys.DisableKey(t.Context(), &kms.DisableKeyInput{KeyId: aws.String(key)}); err != nil {
		t.Fatal(err)
	}
	_, err = there.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: aws.String("db")})
	wantError(t, err, "DecryptionFailure", "disabled")
	if _, err := home.PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{SecretId: aws.String("db"), SecretString: aws.String(second), ClientRequestToken: token(2)}); err != nil {
		t.Fatal(err)
	}
	wantStatus(t, describe(t, home, "db").ReplicationStatus, europe, types.StatusTypeFailed, "disabled")
	if _, err := keys.EnableKey(t.Context(), &kms.EnableKeyInput{KeyId: aws.String(key)}); err != nil {
		t.Fatal(err)
	}
	if got := get(t, there, "db"); *got.SecretString != first || !slices.Equal(got.VersionStages, []string{"AWSCURRENT"}) {
		t.Errorf("the replica has lost what it had: %v", got.VersionStages)
	}
	again, err := home.ReplicateSecretToRegions(t.Context(), &secretsmanager.ReplicateSecretToRegionsInput{SecretId: aws.String("db"), AddReplicaRegions: replicas})
	if err != nil {
		t.Fatal(err)
	}
	wantStatus(t, again.ReplicationStatus, europe, types.StatusTypeInSync, "")
	if got := get(t, there, "db"); *got.SecretString != second {
		t.Error("the replica is not caught up")
	}
	if got := stages(t, there, "db"); !slices.Equal(got["1"], []string{"AWSPREVIOUS"}) {
		t.Errorf("stages of the replica: %v", got)
	}

	// The key is the one thing that is changed at the replica.
	other := newKey()
	_, err = home.ReplicateSecretToRegions(t.Context(), &secretsmanager.ReplicateSecretToRegionsInput{
		SecretId: aws.String("db"), AddReplicaRegions: []types.ReplicaRegionType{{Region: aws.String(europe), KmsKeyId: aws.String(other)}},
	})
	wantError(t, err, "InvalidParameterException", "Call UpdateSecret there")
	if _, err := there.UpdateSecret(t.Context(), &secretsmanager.UpdateSecretInput{SecretId: aws.String("db"), KmsKeyId: aws.String(other)}); err != nil {
		t.Fatal(err)
	}
	if d := describe(t, home, "db"); *d.ReplicationStatus[0].KmsKeyId != other {
		t.Errorf("the primary knows of %s", *d.ReplicationStatus[0].KmsKeyId)
	}
	if _, err := keys.DisableKey(t.Context(), &kms.DisableKeyInput{KeyId: aws.String(key)}); err != nil {
		t.Fatal(err)
	}
	if got := get(t, there, "db"); *got.SecretString != second {
		t.Error("the replica is not under its new key")
	}

	bad, err := home.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{
		Name: aws.String("nokey"), SecretString: aws.String(first), AddReplicaRegions: []types.ReplicaRegionType{{Region: aws.String(europe), KmsKeyId: aws.String("alias/absent")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	wantStatus(t, bad.ReplicationStatus, europe, types.StatusTypeFailed, "alias/absent")
	_, err = there.DescribeSecret(t.Context(), &secretsmanager.DescribeSecretInput{SecretId: aws.String("nokey")})
	wantError(t, err, "ResourceNotFoundException", "")
}

// A name that is taken fails the replica alone, unless it may be overwritten.
func TestReplicaNameTaken(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	home, there := in(sys.Config(), "us-east-1"), in(sys.Config(), europe)
	taken := create(t, there, "db", sys.Canary())
	value := sys.Canary()
	made, err := home.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: aws.String("db"), SecretString: aws.String(value), AddReplicaRegions: regions(europe)})
	if err != nil {
		t.Fatal(err)
	}
	wantStatus(t, made.ReplicationStatus, europe, types.StatusTypeFailed, "Replication failed: Secret name db already exists in region eu-west-1.")
	if _, err := home.PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{SecretId: aws.String("db"), SecretString: aws.String(value)}); err != nil {
		t.Fatal(err)
	}
	if got := get(t, there, "db"); *got.ARN != *taken.ARN || *got.SecretString == value {
		t.Error("the other secret was touched")
	}
	forced := &secretsmanager.ReplicateSecretToRegionsInput{SecretId: aws.String("db"), AddReplicaRegions: regions(europe), ForceOverwriteReplicaSecret: true}
	out, err := home.ReplicateSecretToRegions(t.Context(), forced)
	if err != nil {
		t.Fatal(err)
	}
	wantStatus(t, out.ReplicationStatus, europe, types.StatusTypeInSync, "")
	if got := get(t, there, "db"); *got.SecretString != value || *got.ARN == *taken.ARN {
		t.Error("the other secret is still there")
	}

	// A replica of another primary is not overwritten: that one would follow nothing.
	third := in(sys.Config(), asia)
	create(t, third, "db", sys.Canary())
	out, err = third.ReplicateSecretToRegions(t.Context(), forced)
	if err != nil {
		t.Fatal(err)
	}
	wantStatus(t, out.ReplicationStatus, europe, types.StatusTypeFailed, "replicated itself")
	if _, err := third.RemoveRegionsFromReplication(t.Context(), &secretsmanager.RemoveRegionsFromReplicationInput{SecretId: aws.String("db"), RemoveReplicaRegions: []string{europe}}); err != nil {
		t.Fatal(err)
	}
	if got := get(t, there, "db"); *got.SecretString != value {
		t.Error("removing a replica that never was removed another's")
	}

	for name, in := range map[string][]types.ReplicaRegionType{"own": regions("us-east-1"), "twice": regions(asia, asia)} {
		_, err := home.ReplicateSecretToRegions(t.Context(), &secretsmanager.ReplicateSecretToRegionsInput{SecretId: aws.String("db"), AddReplicaRegions: in})
		if err == nil {
			t.Errorf("%s: no error", name)
		}
		wantError(t, err, "InvalidParameterException", "replica region")
	}
	_, err = home.RemoveRegionsFromReplication(t.Context(), &secretsmanager.RemoveRegionsFromReplicationInput{SecretId: aws.String("db"), RemoveReplicaRegions: []string{asia}})
	wantError(t, err, "InvalidParameterException", asia)
}

func TestPrimaryRegionFilter(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	home, there := in(sys.Config(), "us-east-1"), in(sys.Config(), europe)
	create(t, home, "plain", "x")
	create(t, there, "plain", "x")
	if _, err := home.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: aws.String("spread"), AddReplicaRegions: regions(europe)}); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		client *secretsmanager.Client
		value  string
		want   []string
	}{
		{home, "us-east-1", []string{"spread"}},
		{home, "us", []string{"spread"}},
		{home, europe, nil},
		{home, "!us-east-1", []string{"plain"}},
		{there, "us-east-1", []string{"spread"}},
		{there, europe, nil},
	} {
		out, err := tt.client.ListSecrets(t.Context(), &secretsmanager.ListSecretsInput{Filters: []types.Filter{{Key: types.FilterNameStringTypePrimaryRegion, Values: []string{tt.value}}}})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range out.SecretList {
			got = append(got, *e.Name)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("primary-region=%s: %v, want %v", tt.value, got, tt.want)
		}
	}
}

// Replicating is a right of its own, and KMS is asked with the caller's.
func TestReplicationRights(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	home := in(sys.Config(), "us-east-1")
	made := create(t, home, "db", sys.Canary())
	writer := sys.User(t, "writer", malotetest.Allow("*", "secretsmanager:CreateSecret", "secretsmanager:PutSecretValue"))
	_, err := in(writer, "us-east-1").ReplicateSecretToRegions(t.Context(), &secretsmanager.ReplicateSecretToRegionsInput{SecretId: made.ARN, AddReplicaRegions: regions(europe)})
	wantError(t, err, "AccessDeniedException", "secretsmanager:ReplicateSecretToRegions")
	_, err = in(writer, "us-east-1").CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: aws.String("new"), AddReplicaRegions: regions(europe)})
	wantError(t, err, "AccessDeniedException", "secretsmanager:ReplicateSecretToRegions")
	only := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"secretsmanager:*","Resource":"*","Condition":{"ForAllValues:StringEquals":{"secretsmanager:AddReplicaRegions":"eu-west-1"}}}]}`
	spreader := in(sys.User(t, "spreader", only), "us-east-1")
	_, err = spreader.ReplicateSecretToRegions(t.Context(), &secretsmanager.ReplicateSecretToRegionsInput{SecretId: made.ARN, AddReplicaRegions: regions(asia)})
	wantError(t, err, "AccessDeniedException", "secretsmanager:ReplicateSecretToRegions")
	out, err := spreader.ReplicateSecretToRegions(t.Context(), &secretsmanager.ReplicateSecretToRegionsInput{SecretId: made.ARN, AddReplicaRegions: regions(europe)})
	if err != nil {
		t.Fatal(err)
	}
	wantStatus(t, out.ReplicationStatus, europe, types.StatusTypeInSync, "")
}
