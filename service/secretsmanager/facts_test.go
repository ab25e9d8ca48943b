package secretsmanager_test

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/malote/malote/malotetest"
)

// A name that cannot be one is told as such by every operation that takes one.
func TestInvalidNames(t *testing.T) {
	t.Parallel()
	client := secretsmanager.NewFromConfig(malotetest.New(t).Config())
	for _, name := range []string{" lead", "in ner", "a*", "a?", `a\b`, "a]"} {
		id := aws.String(name)
		for op, call := range map[string]func() error{
			"CreateSecret": func() error {
				_, err := client.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: id})
				return err
			},
			"DeleteSecret": func() error {
				_, err := client.DeleteSecret(t.Context(), &secretsmanager.DeleteSecretInput{SecretId: id})
				return err
			},
			"DescribeSecret": func() error {
				_, err := client.DescribeSecret(t.Context(), &secretsmanager.DescribeSecretInput{SecretId: id})
				return err
			},
			"GetSecretValue": func() error {
				_, err := client.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: id})
				return err
			},
			"ListSecretVersionIds": func() error {
				_, err := client.ListSecretVersionIds(t.Context(), &secretsmanager.ListSecretVersionIdsInput{SecretId: id})
				return err
			},
			"PutSecretValue": func() error {
				_, err := client.PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{SecretId: id, SecretString: aws.String("x")})
				return err
			},
			"TagResource": func() error {
				_, err := client.TagResource(t.Context(), &secretsmanager.TagResourceInput{SecretId: id, Tags: []types.Tag{{Key: aws.String("a"), Value: aws.String("b")}}})
				return err
			},
			"UntagResource": func() error {
				_, err := client.UntagResource(t.Context(), &secretsmanager.UntagResourceInput{SecretId: id, TagKeys: []string{"a"}})
				return err
			},
			"UpdateSecret": func() error {
				_, err := client.UpdateSecret(t.Context(), &secretsmanager.UpdateSecretInput{SecretId: id, Description: aws.String("x")})
				return err
			},
			"ValidateResourcePolicy": func() error {
				_, err := client.ValidateResourcePolicy(t.Context(), &secretsmanager.ValidateResourcePolicyInput{SecretId: id, ResourcePolicy: aws.String("{}")})
				return err
			},
		} {
			t.Run(op+" "+name, func(t *testing.T) {
				wantError(t, call(), "ValidationException", "Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@!")
			})
		}
	}
}

// What changes a secret, or tells its value or policy, refuses one that is to be deleted.
func TestMarkedForDeletion(t *testing.T) {
	t.Parallel()
	client := secretsmanager.NewFromConfig(malotetest.New(t).Config())
	made := create(t, client, "s", "x")
	id := aws.String("s")
	if _, err := client.DeleteSecret(t.Context(), &secretsmanager.DeleteSecretInput{SecretId: id}); err != nil {
		t.Fatal(err)
	}
	for op, call := range map[string]func() error{
		"UpdateSecretVersionStage": func() error {
			_, err := client.UpdateSecretVersionStage(t.Context(), &secretsmanager.UpdateSecretVersionStageInput{SecretId: id, VersionStage: aws.String("X"), MoveToVersionId: made.VersionId})
			return err
		},
		"PutResourcePolicy": func() error {
			_, err := client.PutResourcePolicy(t.Context(), &secretsmanager.PutResourcePolicyInput{SecretId: id, ResourcePolicy: aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"123456789012"},"Action":"secretsmanager:GetSecretValue","Resource":"*"}]}`)})
			return err
		},
		"GetResourcePolicy": func() error {
			_, err := client.GetResourcePolicy(t.Context(), &secretsmanager.GetResourcePolicyInput{SecretId: id})
			return err
		},
		"DeleteResourcePolicy": func() error {
			_, err := client.DeleteResourcePolicy(t.Context(), &secretsmanager.DeleteResourcePolicyInput{SecretId: id})
			return err
		},
		"ReplicateSecretToRegions": func() error {
			_, err := client.ReplicateSecretToRegions(t.Context(), &secretsmanager.ReplicateSecretToRegionsInput{SecretId: id, AddReplicaRegions: regions(europe)})
			return err
		},
	} {
		t.Run(op, func(t *testing.T) {
			wantError(t, call(), "InvalidRequestException", "You can't perform this operation on the secret because it was marked for deletion.")
		})
	}
	out, err := client.BatchGetSecretValue(t.Context(), &secretsmanager.BatchGetSecretValueInput{SecretIdList: []string{"s"}})
	if err != nil || len(out.Errors) != 1 || *out.Errors[0].ErrorCode != "InvalidRequestException" {
		t.Errorf("BatchGetSecretValue = %+v, %v", out, err)
	}
}

// A filter without a key or a value is an error, and not one that everything passes.
func TestFiltersAreWhole(t *testing.T) {
	t.Parallel()
	client := secretsmanager.NewFromConfig(malotetest.New(t).Config())
	for _, tt := range []struct {
		filter types.Filter
		text   string
	}{
		{types.Filter{}, "Invalid filter key"},
		{types.Filter{Values: []string{"x"}}, "Invalid filter key"},
		{types.Filter{Key: "description"}, "Invalid filter values for key: description"},
	} {
		_, err := client.ListSecrets(t.Context(), &secretsmanager.ListSecretsInput{Filters: []types.Filter{tt.filter}})
		wantError(t, err, "InvalidParameterException", tt.text)
		_, err = client.BatchGetSecretValue(t.Context(), &secretsmanager.BatchGetSecretValueInput{Filters: []types.Filter{tt.filter}})
		wantError(t, err, "InvalidParameterException", tt.text)
	}
}

// Nobody tags away their own rights: whose they are by a tag stays so.
func TestTagsKeepRights(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	admin := secretsmanager.NewFromConfig(sys.Config())
	team := func(name string) []types.Tag { return []types.Tag{{Key: aws.String("team"), Value: aws.String(name)}} }
	id := aws.String("s")
	if _, err := admin.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: id, Tags: team("blue")}); err != nil {
		t.Fatal(err)
	}
	blue := secretsmanager.NewFromConfig(sys.User(t, "blue", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"secretsmanager:*","Resource":"*","Condition":{"StringEquals":{"aws:ResourceTag/team":"blue"}}}]}`))
	_, err := blue.UntagResource(t.Context(), &secretsmanager.UntagResourceInput{SecretId: id, TagKeys: []string{"team"}})
	wantError(t, err, "AccessDeniedException", "you would lose your permissions")
	_, err = blue.TagResource(t.Context(), &secretsmanager.TagResourceInput{SecretId: id, Tags: team("red")})
	wantError(t, err, "AccessDeniedException", "you would lose your permissions")
	if got := describe(t, admin, "s").Tags; len(got) != 1 || *got[0].Value != "blue" {
		t.Errorf("tags = %v", got)
	}
	if _, err := blue.TagResource(t.Context(), &secretsmanager.TagResourceInput{SecretId: id, Tags: []types.Tag{{Key: aws.String("tier"), Value: aws.String("1")}}}); err != nil {
		t.Error(err)
	}
	if _, err := admin.TagResource(t.Context(), &secretsmanager.TagResourceInput{SecretId: id, Tags: team("red")}); err != nil {
		t.Error(err)
	}
}

// What belongs to AWS alone is refused by name: managed external secrets, and tags.
func TestRefusedMembers(t *testing.T) {
	t.Parallel()
	client := secretsmanager.NewFromConfig(malotetest.New(t).Config())
	create(t, client, "s", "x")
	reserved := []types.Tag{{Key: aws.String("aws:secretsmanager:owningService"), Value: aws.String("rds")}}
	for member, call := range map[string]func() error{
		"Type": func() error {
			_, err := client.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: aws.String("external"), Type: aws.String("SalesforceClientSecret")})
			return err
		},
		"Type is": func() error {
			_, err := client.UpdateSecret(t.Context(), &secretsmanager.UpdateSecretInput{SecretId: aws.String("s"), Type: aws.String("SalesforceClientSecret")})
			return err
		},
		"aws:": func() error {
			_, err := client.TagResource(t.Context(), &secretsmanager.TagResourceInput{SecretId: aws.String("s"), Tags: reserved})
			return err
		},
		"reserved": func() error {
			_, err := client.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: aws.String("rds!db"), Tags: reserved})
			return err
		},
	} {
		t.Run(member, func(t *testing.T) { wantError(t, call(), "InvalidParameterException", member) })
	}
}
