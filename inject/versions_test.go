package inject_test

import (
	"errors"
	"maps"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/malote/malote/inject"
	"github.com/malote/malote/malotetest"
)

func TestVersions(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	secrets, parameters := secretsmanager.NewFromConfig(sys.Config()), ssm.NewFromConfig(sys.Config())
	key, err := kms.NewFromConfig(sys.Config()).CreateKey(t.Context(), &kms.CreateKeyInput{})
	if err != nil {
		t.Fatal(err)
	}
	first, err := secrets.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: aws.String("db"), SecretString: aws.String(sys.Canary()), KmsKeyId: key.KeyMetadata.KeyId})
	if err != nil {
		t.Fatal(err)
	}
	second, err := secrets.PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{SecretId: first.ARN, SecretString: aws.String(sys.Canary())})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"/shop/key", "/shop/key", "/shop/deep/key"} {
		if _, err := parameters.PutParameter(t.Context(), &ssm.PutParameterInput{
			Name: &name, Value: aws.String(sys.Canary()), Type: ssmtypes.ParameterTypeSecureString, KeyId: key.KeyMetadata.KeyId, Overwrite: aws.Bool(true),
		}); err != nil {
			t.Fatal(err)
		}
	}
	// Versions are told where nothing can be decrypted.
	if _, err := kms.NewFromConfig(sys.Config()).DisableKey(t.Context(), &kms.DisableKeyInput{KeyId: key.KeyMetadata.KeyId}); err != nil {
		t.Fatal(err)
	}
	refs := here(t, *first.ARN, *first.ARN+":key::", *first.ARN+"::AWSPREVIOUS:", *first.ARN+":::"+*first.VersionId, "/shop/key", "/shop/key:1", "/aws/reference/secretsmanager/db", "/none")
	want := map[string]string{
		*first.ARN: *second.VersionId, *first.ARN + ":key::": *second.VersionId, *first.ARN + "::AWSPREVIOUS:": *first.VersionId,
		*first.ARN + ":::" + *first.VersionId: *first.VersionId, "/shop/key": "2", "/shop/key:1": "1",
	}
	resolver := &inject.Resolver{Config: sys.Config()}
	got, err := resolver.Versions(t.Context(), refs)
	if !maps.Equal(got, want) {
		t.Errorf("Versions = %v, want %v", got, want)
	}
	if all, ok := errors.AsType[inject.Errors](err); !ok || len(all) != 1 || all[0].ValueFrom != "/none" {
		t.Errorf("error = %v, want one of /none", err)
	}
	below, err := resolver.PathVersions(t.Context(), here(t, "/shop/")[0])
	if want := map[string]string{"key": "2", "deep/key": "1"}; err != nil || !maps.Equal(below, want) {
		t.Errorf("PathVersions = %v, %v, want %v", below, err, want)
	}

	t.Run("a secret that may not be described has none", func(t *testing.T) {
		role := sys.Role(t, "reader", malotetest.Allow("*", "secretsmanager:GetSecretValue", "ssm:GetParameters"))
		got, err := (&inject.Resolver{Config: role}).Versions(t.Context(), here(t, *first.ARN, "/shop/key"))
		if keys := slices.Collect(maps.Keys(got)); err != nil || !slices.Equal(keys, []string{"/shop/key"}) {
			t.Errorf("Versions = %v, %v, want one of /shop/key", got, err)
		}
	})
}

// here is parse, in the region of a System.
func here(t *testing.T, valuesFrom ...string) []inject.Ref {
	t.Helper()
	refs := parse(t, valuesFrom...)
	for i := range refs {
		refs[i].Region = malotetest.Region
	}
	return refs
}
