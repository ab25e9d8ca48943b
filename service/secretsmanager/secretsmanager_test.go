package secretsmanager_test

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"

	"github.com/malote/malote/malotetest"
)

// wantError fails unless err is an AWS error with this code and a message that contains
// text.
func wantError(t *testing.T, err error, code, text string) {
	t.Helper()
	var api smithy.APIError
	if !errors.As(err, &api) || api.ErrorCode() != code || !strings.Contains(api.ErrorMessage(), text) {
		t.Errorf("error = %v, want %s: …%s…", err, code, text)
	}
}

func token(n int) *string { return aws.String(fmt.Sprintf("%08d-0000-4000-8000-000000000000", n)) }

func create(t *testing.T, client *secretsmanager.Client, name, value string) *secretsmanager.CreateSecretOutput {
	t.Helper()
	out, err := client.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: aws.String(name), SecretString: aws.String(value)})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func get(t *testing.T, client *secretsmanager.Client, id string) *secretsmanager.GetSecretValueOutput {
	t.Helper()
	out, err := client.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: aws.String(id)})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// stages returns the labels of each version by the last digit before the first hyphen of
// its id, which token makes.
func stages(t *testing.T, client *secretsmanager.Client, id string) map[string][]string {
	t.Helper()
	out, err := client.DescribeSecret(t.Context(), &secretsmanager.DescribeSecretInput{SecretId: aws.String(id)})
	if err != nil {
		t.Fatal(err)
	}
	short := map[string][]string{}
	for v, labels := range out.VersionIdsToStages {
		short[strings.TrimLeft(v[:8], "0")] = labels
	}
	return short
}

func TestCreateAndGet(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	client := secretsmanager.NewFromConfig(sys.Config())
	canary := sys.Canary()
	made := create(t, client, "prod/db", canary)
	if !regexp.MustCompile(`^arn:aws:secretsmanager:us-east-1:123456789012:secret:prod/db-[A-Za-z0-9]{6}$`).MatchString(*made.ARN) {
		t.Errorf("ARN = %s", *made.ARN)
	}
	partial := (*made.ARN)[:len(*made.ARN)-7]
	for _, id := range []string{"prod/db", *made.ARN, partial} {
		got := get(t, client, id)
		if *got.SecretString != canary || *got.ARN != *made.ARN || *got.Name != "prod/db" || *got.VersionId != *made.VersionId || !slices.Equal(got.VersionStages, []string{"AWSCURRENT"}) || got.SecretBinary != nil {
			t.Errorf("GetSecretValue(%s): another answer", id)
		}
	}
	for _, id := range []string{partial + "-aaaaaa", "prod", "db", "prod/d", strings.Replace(*made.ARN, "us-east-1", "eu-west-1", 1)} {
		_, err := client.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: aws.String(id)})
		wantError(t, err, "ResourceNotFoundException", "Secrets Manager can't find the specified secret.")
	}

	binary := []byte(sys.Canary() + "\x00\xff\xfe")
	if _, err := client.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: aws.String("binary"), SecretBinary: binary}); err != nil {
		t.Fatal(err)
	}
	if got := get(t, client, "binary"); !bytes.Equal(got.SecretBinary, binary) || got.SecretString != nil {
		t.Error("a binary value does not come back")
	}

	empty, err := client.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: aws.String("empty")})
	if err != nil || empty.VersionId != nil {
		t.Errorf("without a value: %+v, %v", empty, err)
	}
	_, err = client.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: aws.String("empty")})
	wantError(t, err, "ResourceNotFoundException", "Secrets Manager can't find the specified secret value for staging label: AWSCURRENT")
	_, err = client.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: aws.String("prod/db"), VersionStage: aws.String("NONE")})
	wantError(t, err, "ResourceNotFoundException", "Secrets Manager can't find the specified secret value for staging label: NONE")
	_, err = client.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: aws.String("prod/db"), VersionId: token(9)})
	wantError(t, err, "ResourceNotFoundException", "Secrets Manager can't find the specified secret value for VersionId: "+*token(9))
	_, err = client.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: aws.String("prod/db"), VersionId: made.VersionId, VersionStage: aws.String("AWSPENDING")})
	wantError(t, err, "InvalidRequestException", "You provided a VersionStage that is not associated to the provided VersionId.")

	for _, tt := range []struct {
		name string
		in   *secretsmanager.CreateSecretInput
		code string
		text string
	}{
		{"space", &secretsmanager.CreateSecretInput{Name: aws.String("a b")}, "ValidationException", "Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@!"},
		{"two values", &secretsmanager.CreateSecretInput{Name: aws.String("x"), SecretString: aws.String("x"), SecretBinary: []byte("x")}, "InvalidParameterException", "You can't specify both a binary secret value and a string secret value in the same secret."},
		{"too long", &secretsmanager.CreateSecretInput{Name: aws.String("x"), SecretString: aws.String(strings.Repeat("x", 65537))}, "ValidationException", "Value at 'secretString' failed to satisfy constraint: Member must have length less than or equal to 65536"},
		{"too many bytes", &secretsmanager.CreateSecretInput{Name: aws.String("x"), SecretString: aws.String(strings.Repeat("é", 32769))}, "ValidationException", "65536"},
		{"replicas", &secretsmanager.CreateSecretInput{Name: aws.String("x"), AddReplicaRegions: []types.ReplicaRegionType{{Region: aws.String("us-east-1")}}}, "InvalidParameterException", "Invalid replica region."},
		{"reserved tag", &secretsmanager.CreateSecretInput{Name: aws.String("x"), Tags: []types.Tag{{Key: aws.String("aws:x"), Value: aws.String("")}}}, "InvalidParameterException", "aws:"},
		{"no such key", &secretsmanager.CreateSecretInput{Name: aws.String("x"), SecretString: aws.String("x"), KmsKeyId: aws.String("alias/none")}, "EncryptionFailure", "alias/none is not found"},
		{"no such key, no value", &secretsmanager.CreateSecretInput{Name: aws.String("x"), KmsKeyId: aws.String("alias/none")}, "EncryptionFailure", "alias/none is not found"},
		{"name taken", &secretsmanager.CreateSecretInput{Name: aws.String("prod/db"), SecretString: aws.String("x")}, "ResourceExistsException", "The operation failed because the secret prod/db already exists."},
		{"name taken, no value", &secretsmanager.CreateSecretInput{Name: aws.String("prod/db")}, "ResourceExistsException", "The operation failed because the secret prod/db already exists."},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := client.CreateSecret(t.Context(), tt.in)
			wantError(t, err, tt.code, tt.text)
			if *tt.in.Name == "x" {
				_, err = client.DescribeSecret(t.Context(), &secretsmanager.DescribeSecretInput{SecretId: aws.String("x")})
				wantError(t, err, "ResourceNotFoundException", "Secrets Manager can't find the specified secret.")
			}
		})
	}
	create(t, client, "largest", strings.Repeat("x", 65536))
	if got := get(t, client, "largest"); len(*got.SecretString) != 65536 {
		t.Errorf("64 KiB come back as %d bytes", len(*got.SecretString))
	}
}

// A name that ends in a hyphen and six characters cannot be found by an ARN without
// suffix; names that end nearly so can.
func TestPartialARN(t *testing.T) {
	t.Parallel()
	client := secretsmanager.NewFromConfig(malotetest.New(t).Config())
	for _, tt := range []struct {
		name  string
		found bool
	}{{"x-a1b2", true}, {"x-a1b2c3-", true}, {"x-a1b2c3", false}} {
		made := create(t, client, tt.name, "v")
		id := aws.String((*made.ARN)[:len(*made.ARN)-7])
		_, err := client.DescribeSecret(t.Context(), &secretsmanager.DescribeSecretInput{SecretId: id})
		if tt.found && err != nil {
			t.Errorf("DescribeSecret(%s): %v", *id, err)
		}
		if !tt.found {
			wantError(t, err, "ResourceNotFoundException", "can't find the specified secret")
		}
		if _, err := client.DescribeSecret(t.Context(), &secretsmanager.DescribeSecretInput{SecretId: made.ARN}); err != nil {
			t.Error(err)
		}
	}
}

func TestDenials(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	admin := secretsmanager.NewFromConfig(sys.Config())
	made := create(t, admin, "db", sys.Canary())
	read := func(client *secretsmanager.Client, id string) error {
		_, err := client.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: aws.String(id)})
		return err
	}

	nobody := secretsmanager.NewFromConfig(sys.User(t, "nobody", ""))
	const because = " because no identity-based policy allows the secretsmanager:GetSecretValue action"
	wantError(t, read(nobody, "db"), "AccessDeniedException", "User: arn:aws:iam::123456789012:user/nobody is not authorized to perform: secretsmanager:GetSecretValue on resource: "+*made.ARN+because)
	wantError(t, read(nobody, "absent"), "AccessDeniedException", "on resource: absent"+because)
	wantError(t, read(nobody, "bad name"), "AccessDeniedException", "on resource: bad name"+because)
	_, err := nobody.ListSecrets(t.Context(), &secretsmanager.ListSecretsInput{})
	wantError(t, err, "AccessDeniedException", "perform: secretsmanager:ListSecrets because no identity-based policy allows the secretsmanager:ListSecrets action")

	app := secretsmanager.NewFromConfig(sys.Role(t, "app", malotetest.Allow("arn:aws:secretsmanager:us-east-1:123456789012:secret:db-??????", "secretsmanager:GetSecretValue")))
	if err := read(app, "db"); err != nil {
		t.Error(err)
	}
	create(t, admin, "db-admin", "x")
	wantError(t, read(app, "db-admin"), "AccessDeniedException", "assumed-role/app/test is not authorized")
	_, err = app.PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{SecretId: aws.String("db"), SecretString: aws.String("x")})
	wantError(t, err, "AccessDeniedException", "secretsmanager:PutSecretValue")

	everywhere := secretsmanager.NewFromConfig(sys.User(t, "everywhere", malotetest.Allow("*", "secretsmanager:GetSecretValue")))
	wantError(t, read(everywhere, "absent"), "ResourceNotFoundException", "Secrets Manager can't find the specified secret.")
	wantError(t, read(everywhere, "bad name"), "ValidationException", "Invalid name.")

	stage := secretsmanager.NewFromConfig(sys.User(t, "stage", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"secretsmanager:GetSecretValue","Resource":"*","Condition":{"StringEquals":{"secretsmanager:VersionStage":"AWSCURRENT"}}}]}`))
	if err := read(stage, "db"); err != nil {
		t.Error(err)
	}
	_, err = stage.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: aws.String("db"), VersionId: made.VersionId})
	wantError(t, err, "AccessDeniedException", "secretsmanager:GetSecretValue")

	tagger := secretsmanager.NewFromConfig(sys.User(t, "tagger", malotetest.Allow("*", "secretsmanager:CreateSecret")))
	_, err = tagger.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: aws.String("tagged"), Tags: []types.Tag{{Key: aws.String("a"), Value: aws.String("b")}}})
	wantError(t, err, "AccessDeniedException", "secretsmanager:TagResource")
}

func TestIdempotency(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	client := secretsmanager.NewFromConfig(sys.Config())
	one, two := sys.Canary(), sys.Canary()

	in := &secretsmanager.CreateSecretInput{Name: aws.String("s"), SecretString: aws.String(one), ClientRequestToken: token(1)}
	first, err := client.CreateSecret(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	again, err := client.CreateSecret(t.Context(), in)
	if err != nil || *again.ARN != *first.ARN || *again.VersionId != *first.VersionId {
		t.Errorf("the same again: %+v, %v", again, err)
	}
	clash := func(n int) string {
		return "You can't use ClientRequestToken " + *token(n) + " because that value is already in use for a version of secret " + *first.ARN + "."
	}
	_, err = client.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: aws.String("s"), SecretString: aws.String(two), ClientRequestToken: token(1)})
	wantError(t, err, "ResourceExistsException", clash(1))
	_, err = client.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: aws.String("s"), SecretBinary: []byte(one), ClientRequestToken: token(1)})
	wantError(t, err, "ResourceExistsException", clash(1))

	put := &secretsmanager.PutSecretValueInput{SecretId: aws.String("s"), SecretString: aws.String(two), ClientRequestToken: token(2)}
	for range 2 {
		out, err := client.PutSecretValue(t.Context(), put)
		if err != nil || *out.VersionId != *token(2) || !slices.Equal(out.VersionStages, []string{"AWSCURRENT"}) {
			t.Errorf("PutSecretValue = %+v, %v", out, err)
		}
	}
	put.SecretString = aws.String(one)
	_, err = client.PutSecretValue(t.Context(), put)
	wantError(t, err, "ResourceExistsException", clash(2))

	update := &secretsmanager.UpdateSecretInput{SecretId: aws.String("s"), SecretString: aws.String(one), ClientRequestToken: token(3), Description: aws.String("d")}
	for range 2 {
		out, err := client.UpdateSecret(t.Context(), update)
		if err != nil || *out.VersionId != *token(3) {
			t.Errorf("UpdateSecret = %+v, %v", out, err)
		}
	}
	update.SecretString = aws.String(two)
	_, err = client.UpdateSecret(t.Context(), update)
	wantError(t, err, "ResourceExistsException", clash(3))
	if diff := cmp.Diff(map[string][]string{"2": {"AWSPREVIOUS"}, "3": {"AWSCURRENT"}}, stages(t, client, "s")); diff != "" {
		t.Error(diff)
	}

	out, err := client.UpdateSecret(t.Context(), &secretsmanager.UpdateSecretInput{SecretId: aws.String("s"), Description: aws.String("other")})
	if err != nil || out.VersionId != nil {
		t.Errorf("UpdateSecret without a value = %+v, %v", out, err)
	}
	_, err = client.PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{SecretId: aws.String("s")})
	wantError(t, err, "InvalidRequestException", "You must provide either SecretString or SecretBinary.")
}

func TestStages(t *testing.T) {
	t.Parallel()
	client := secretsmanager.NewFromConfig(malotetest.New(t).Config())
	put := func(n int, labels ...string) {
		t.Helper()
		_, err := client.PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{SecretId: aws.String("s"), SecretString: aws.String(fmt.Sprint(n)), ClientRequestToken: token(n), VersionStages: labels})
		if err != nil {
			t.Fatal(err)
		}
	}
	move := func(label string, from, to *string) error {
		_, err := client.UpdateSecretVersionStage(t.Context(), &secretsmanager.UpdateSecretVersionStageInput{SecretId: aws.String("s"), VersionStage: aws.String(label), RemoveFromVersionId: from, MoveToVersionId: to})
		return err
	}
	want := func(want map[string][]string) {
		t.Helper()
		if diff := cmp.Diff(want, stages(t, client, "s")); diff != "" {
			t.Error(diff)
		}
	}
	if _, err := client.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: aws.String("s")}); err != nil {
		t.Fatal(err)
	}
	put(1, "PUT1") // the first is the current one whatever is asked
	want(map[string][]string{"1": {"AWSCURRENT", "PUT1"}})
	put(2)
	want(map[string][]string{"1": {"AWSPREVIOUS", "PUT1"}, "2": {"AWSCURRENT"}})
	put(3, "AWSPENDING")
	want(map[string][]string{"1": {"AWSPREVIOUS", "PUT1"}, "2": {"AWSCURRENT"}, "3": {"AWSPENDING"}})

	wantError(t, move("AWSCURRENT", nil, token(3)), "InvalidParameterException", "The parameter RemoveFromVersionId can't be empty. Staging label AWSCURRENT is currently attached to version "+*token(2)+", so you must explicitly reference that version in RemoveFromVersionId.")
	wantError(t, move("AWSCURRENT", token(2), nil), "InvalidParameterException", "You can only move staging label AWSCURRENT to a different secret version. It can't be completely removed.")
	wantError(t, move("AWSCURRENT", token(1), token(3)), "InvalidParameterException", "AWSCURRENT")
	wantError(t, move("AWSCURRENT", token(2), token(9)), "ResourceNotFoundException", "for VersionId: "+*token(9))
	if err := move("AWSCURRENT", token(2), token(3)); err != nil {
		t.Fatal(err)
	}
	want(map[string][]string{"1": {"PUT1"}, "2": {"AWSPREVIOUS"}, "3": {"AWSCURRENT", "AWSPENDING"}})
	put(4, "AWSPENDING", "PUT1")
	want(map[string][]string{"2": {"AWSPREVIOUS"}, "3": {"AWSCURRENT"}, "4": {"AWSPENDING", "PUT1"}})
	if err := move("PUT1", token(4), nil); err != nil {
		t.Fatal(err)
	}
	if err := move("NEW", nil, token(1)); err != nil {
		t.Fatal(err)
	}
	want(map[string][]string{"1": {"NEW"}, "2": {"AWSPREVIOUS"}, "3": {"AWSCURRENT"}, "4": {"AWSPENDING"}})
	if err := move("NEW", token(1), nil); err != nil {
		t.Fatal(err)
	}

	got, err := client.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: aws.String("s"), VersionId: token(1)})
	if err != nil || *got.SecretString != "1" {
		t.Errorf("a version without labels: %v", err)
	}
	list := func(deprecated bool, limit int32) []string {
		t.Helper()
		var ids []string
		pages := secretsmanager.NewListSecretVersionIdsPaginator(client, &secretsmanager.ListSecretVersionIdsInput{SecretId: aws.String("s"), IncludeDeprecated: aws.Bool(deprecated), MaxResults: aws.Int32(limit)})
		for pages.HasMorePages() {
			out, err := pages.NextPage(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range out.Versions {
				if !slices.Equal(v.KmsKeyIds, []string{"DefaultEncryptionKey"}) {
					t.Errorf("KmsKeyIds = %v", v.KmsKeyIds)
				}
				ids = append(ids, strings.TrimLeft((*v.VersionId)[:8], "0"))
			}
		}
		return ids
	}
	if diff := cmp.Diff([]string{"2", "3", "4"}, list(false, 2)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"1", "2", "3", "4"}, list(true, 1)); diff != "" {
		t.Error(diff)
	}
}

func TestDelete(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	client := secretsmanager.NewFromConfig(sys.Config())
	id := aws.String("s")
	first := create(t, client, "s", sys.Canary())
	for _, tt := range []struct {
		in   *secretsmanager.DeleteSecretInput
		text string
	}{
		{&secretsmanager.DeleteSecretInput{SecretId: id, RecoveryWindowInDays: aws.Int64(6)}, "The RecoveryWindowInDays value must be between 7 and 30 days (inclusive)."},
		{&secretsmanager.DeleteSecretInput{SecretId: id, RecoveryWindowInDays: aws.Int64(7), ForceDeleteWithoutRecovery: aws.Bool(true)}, "You can't use ForceDeleteWithoutRecovery in conjunction with RecoveryWindowInDays."},
	} {
		_, err := client.DeleteSecret(t.Context(), tt.in)
		wantError(t, err, "InvalidParameterException", tt.text)
	}
	deleted, err := client.DeleteSecret(t.Context(), &secretsmanager.DeleteSecretInput{SecretId: id, RecoveryWindowInDays: aws.Int64(7)})
	if err != nil {
		t.Fatal(err)
	}
	if days := deleted.DeletionDate.Sub(sys.Clock.Now()).Hours() / 24; days < 6.9 || days > 7 {
		t.Errorf("DeletionDate is %v days away", days)
	}

	const marked = "You can't perform this operation on the secret because it was marked for deletion."
	for name, call := range map[string]func() error{
		"GetSecretValue": func() error {
			_, err := client.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: id})
			return err
		},
		"PutSecretValue": func() error {
			_, err := client.PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{SecretId: id, SecretString: aws.String("x")})
			return err
		},
		"UpdateSecret": func() error {
			_, err := client.UpdateSecret(t.Context(), &secretsmanager.UpdateSecretInput{SecretId: id, Description: aws.String("x")})
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
		"DeleteSecret": func() error {
			_, err := client.DeleteSecret(t.Context(), &secretsmanager.DeleteSecretInput{SecretId: id})
			return err
		},
	} {
		t.Log(name)
		wantError(t, call(), "InvalidRequestException", marked)
	}
	_, err = client.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: id})
	wantError(t, err, "InvalidRequestException", "You can't create this secret because a secret with this name is already scheduled for deletion.")
	described, err := client.DescribeSecret(t.Context(), &secretsmanager.DescribeSecretInput{SecretId: id})
	if err != nil || described.DeletedDate == nil {
		t.Errorf("DescribeSecret = %+v, %v", described, err)
	}

	if _, err := client.RestoreSecret(t.Context(), &secretsmanager.RestoreSecretInput{SecretId: id}); err != nil {
		t.Fatal(err)
	}
	get(t, client, "s")
	if _, err := client.DeleteSecret(t.Context(), &secretsmanager.DeleteSecretInput{SecretId: id}); err != nil {
		t.Fatal(err)
	}
	sys.Clock.Advance(30 * 24 * time.Hour)
	_, err = client.DescribeSecret(t.Context(), &secretsmanager.DescribeSecretInput{SecretId: id})
	wantError(t, err, "ResourceNotFoundException", "can't find the specified secret")
	_, err = client.RestoreSecret(t.Context(), &secretsmanager.RestoreSecretInput{SecretId: id})
	wantError(t, err, "ResourceNotFoundException", "can't find the specified secret")
	second := create(t, client, "s", "x")
	if *second.ARN == *first.ARN {
		t.Error("a new secret has the ARN of the old one")
	}

	if _, err := client.DeleteSecret(t.Context(), &secretsmanager.DeleteSecretInput{SecretId: id, ForceDeleteWithoutRecovery: aws.Bool(true)}); err != nil {
		t.Fatal(err)
	}
	create(t, client, "s", "x")
	_, err = client.DeleteSecret(t.Context(), &secretsmanager.DeleteSecretInput{SecretId: aws.String("absent")})
	wantError(t, err, "ResourceNotFoundException", "can't find the specified secret")
	if _, err := client.DeleteSecret(t.Context(), &secretsmanager.DeleteSecretInput{SecretId: aws.String("absent"), ForceDeleteWithoutRecovery: aws.Bool(true)}); err != nil {
		t.Error(err)
	}
}

// Under the default key whoever may read a secret can; under a customer's key KMS has its
// say too, and nobody can while the key is disabled.
func TestKeys(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	admin := secretsmanager.NewFromConfig(sys.Config())
	keys := kms.NewFromConfig(sys.Config())
	made, err := keys.CreateKey(t.Context(), &kms.CreateKeyInput{})
	if err != nil {
		t.Fatal(err)
	}
	key := made.KeyMetadata
	if _, err := keys.CreateAlias(t.Context(), &kms.CreateAliasInput{AliasName: aws.String("alias/shop"), TargetKeyId: key.KeyId}); err != nil {
		t.Fatal(err)
	}
	canary := sys.Canary()
	create(t, admin, "default", canary)
	if _, err := admin.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: aws.String("own"), SecretString: aws.String(canary), KmsKeyId: aws.String("alias/shop")}); err != nil {
		t.Fatal(err)
	}
	described, err := admin.DescribeSecret(t.Context(), &secretsmanager.DescribeSecretInput{SecretId: aws.String("own")})
	if err != nil || aws.ToString(described.KmsKeyId) != "alias/shop" {
		t.Errorf("KmsKeyId = %v, %v", described.KmsKeyId, err)
	}

	reader := secretsmanager.NewFromConfig(sys.User(t, "reader", malotetest.Allow("*", "secretsmanager:*")))
	if got := get(t, reader, "default"); *got.SecretString != canary {
		t.Error("another value")
	}
	read := func(client *secretsmanager.Client, id string) error {
		_, err := client.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: aws.String(id)})
		return err
	}
	wantError(t, read(reader, "own"), "AccessDeniedException", "Access to KMS is not allowed")
	_, err = reader.PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{SecretId: aws.String("own"), SecretString: aws.String("x")})
	wantError(t, err, "AccessDeniedException", "Access to KMS is not allowed")

	// The key's permission can be bound to Secrets Manager and to one secret.
	via := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"secretsmanager:GetSecretValue","Resource":"*"},
		{"Effect":"Allow","Action":"kms:Decrypt","Resource":"*","Condition":{"StringEquals":{"kms:ViaService":"secretsmanager.us-east-1.amazonaws.com"},"StringLike":{"kms:EncryptionContext:SecretARN":"arn:aws:secretsmanager:*:*:secret:own-*"}}}]}`
	bound := sys.User(t, "bound", via)
	if err := read(secretsmanager.NewFromConfig(bound), "own"); err != nil {
		t.Error(err)
	}
	sealed, err := keys.Encrypt(t.Context(), &kms.EncryptInput{KeyId: key.KeyId, Plaintext: []byte("x"), EncryptionContext: map[string]string{"SecretARN": *described.ARN}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = kms.NewFromConfig(bound).Decrypt(t.Context(), &kms.DecryptInput{KeyId: key.KeyId, CiphertextBlob: sealed.CiphertextBlob, EncryptionContext: map[string]string{"SecretARN": *described.ARN}})
	wantError(t, err, "AccessDeniedException", "kms:Decrypt")

	if _, err := keys.DisableKey(t.Context(), &kms.DisableKeyInput{KeyId: key.KeyId}); err != nil {
		t.Fatal(err)
	}
	wantError(t, read(admin, "own"), "DecryptionFailure", *key.Arn+" is disabled.")
	_, err = admin.PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{SecretId: aws.String("own"), SecretString: aws.String("x")})
	wantError(t, err, "EncryptionFailure", *key.Arn+" is disabled.")
	_, err = admin.UpdateSecret(t.Context(), &secretsmanager.UpdateSecretInput{SecretId: aws.String("default"), KmsKeyId: key.Arn})
	wantError(t, err, "EncryptionFailure", *key.Arn+" is disabled.")
	if _, err := keys.EnableKey(t.Context(), &kms.EnableKeyInput{KeyId: key.KeyId}); err != nil {
		t.Fatal(err)
	}
	if err := read(admin, "own"); err != nil {
		t.Error(err)
	}
}

// Another key takes the labelled versions over: the old key is then no longer needed for
// them, and still is for the others.
func TestUpdateKey(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	client := secretsmanager.NewFromConfig(sys.Config())
	keys := kms.NewFromConfig(sys.Config())
	var ids []*string
	for range 2 {
		made, err := keys.CreateKey(t.Context(), &kms.CreateKeyInput{})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, made.KeyMetadata.Arn)
	}
	if _, err := client.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: aws.String("s"), KmsKeyId: ids[0], SecretString: aws.String("1"), ClientRequestToken: token(1)}); err != nil {
		t.Fatal(err)
	}
	for n := 2; n <= 3; n++ {
		if _, err := client.PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{SecretId: aws.String("s"), SecretString: aws.String(fmt.Sprint(n)), ClientRequestToken: token(n)}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := client.UpdateSecret(t.Context(), &secretsmanager.UpdateSecretInput{SecretId: aws.String("s"), KmsKeyId: ids[1], SecretString: aws.String("4"), ClientRequestToken: token(4)}); err != nil {
		t.Fatal(err)
	}
	if _, err := keys.DisableKey(t.Context(), &kms.DisableKeyInput{KeyId: ids[0]}); err != nil {
		t.Fatal(err)
	}
	for n := 1; n <= 4; n++ {
		got, err := client.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: aws.String("s"), VersionId: token(n)})
		if n <= 1 {
			wantError(t, err, "DecryptionFailure", "is disabled")
			continue
		}
		if n == 2 { // AWSPREVIOUS when the key changed
			if err != nil {
				t.Errorf("version %d: %v", n, err)
			}
			continue
		}
		if err != nil || *got.SecretString != fmt.Sprint(n) {
			t.Errorf("version %d: %v", n, err)
		}
	}
	if _, err := client.UpdateSecret(t.Context(), &secretsmanager.UpdateSecretInput{SecretId: aws.String("s"), KmsKeyId: aws.String("")}); err != nil {
		t.Fatal(err)
	}
	described, err := client.DescribeSecret(t.Context(), &secretsmanager.DescribeSecretInput{SecretId: aws.String("s")})
	if err != nil || described.KmsKeyId != nil {
		t.Errorf("KmsKeyId = %v, %v", described.KmsKeyId, err)
	}
	if _, err := keys.DisableKey(t.Context(), &kms.DisableKeyInput{KeyId: ids[1]}); err != nil {
		t.Fatal(err)
	}
	get(t, client, "s")
}

func TestListSecrets(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	client := secretsmanager.NewFromConfig(sys.Config())
	for i, name := range []string{"c", "a", "e", "b", "d"} {
		in := &secretsmanager.CreateSecretInput{Name: aws.String(name), Description: aws.String("secret of " + name), SecretString: aws.String("x")}
		if i%2 == 0 {
			in.Tags = []types.Tag{{Key: aws.String("env"), Value: aws.String("prod")}}
		}
		if _, err := client.CreateSecret(t.Context(), in); err != nil {
			t.Fatal(err)
		}
		sys.Clock.Advance(time.Second)
	}
	if _, err := client.DeleteSecret(t.Context(), &secretsmanager.DeleteSecretInput{SecretId: aws.String("e")}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{SecretId: aws.String("c"), SecretString: aws.String("y")}); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		in   secretsmanager.ListSecretsInput
		want string
	}{
		{"all", secretsmanager.ListSecretsInput{}, "cabd"},
		{"deleted too", secretsmanager.ListSecretsInput{IncludePlannedDeletion: aws.Bool(true)}, "caebd"},
		{"newest first", secretsmanager.ListSecretsInput{SortOrder: "desc"}, "dbac"},
		{"by name", secretsmanager.ListSecretsInput{SortBy: "name"}, "abcd"},
		{"by name, backwards", secretsmanager.ListSecretsInput{SortBy: "name", SortOrder: "desc"}, "dcba"},
		{"by change", secretsmanager.ListSecretsInput{SortBy: "last-changed-date"}, "abdc"},
		{"tagged", secretsmanager.ListSecretsInput{Filters: []types.Filter{{Key: "tag-key", Values: []string{"env"}}, {Key: "tag-value", Values: []string{"prod"}}}}, "cd"},
		{"described", secretsmanager.ListSecretsInput{Filters: []types.Filter{{Key: "description", Values: []string{"a", "b"}}}}, "ab"},
		{"both", secretsmanager.ListSecretsInput{Filters: []types.Filter{{Key: "description", Values: []string{"secret"}}, {Key: "description", Values: []string{"d"}}}}, "d"},
		{"none", secretsmanager.ListSecretsInput{Filters: []types.Filter{{Key: "name", Values: []string{"z"}}}}, ""},
	} {
		for _, size := range []int32{1, 2, 100} {
			t.Run(fmt.Sprintf("%s by %d", tt.name, size), func(t *testing.T) {
				in := tt.in
				in.MaxResults = aws.Int32(size)
				got := ""
				pages := secretsmanager.NewListSecretsPaginator(client, &in)
				for pages.HasMorePages() {
					out, err := pages.NextPage(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					if len(out.SecretList) > int(size) {
						t.Errorf("a page of %d", len(out.SecretList))
					}
					for _, s := range out.SecretList {
						got += *s.Name
					}
				}
				if got != tt.want {
					t.Errorf("ListSecrets = %q, want %q", got, tt.want)
				}
			})
		}
	}
	page, err := client.ListSecrets(t.Context(), &secretsmanager.ListSecretsInput{MaxResults: aws.Int32(1)})
	if err != nil {
		t.Fatal(err)
	}
	if e := page.SecretList[0]; len(e.SecretVersionsToStages) != 2 || e.Tags == nil || e.KmsKeyId != nil || e.LastAccessedDate != nil {
		t.Errorf("an entry: %+v", e)
	}
	for _, in := range []*secretsmanager.ListSecretsInput{
		{NextToken: aws.String("made-up")},
		{NextToken: page.NextToken, SortBy: "name"},
	} {
		_, err = client.ListSecrets(t.Context(), in)
		wantError(t, err, "InvalidNextTokenException", "NextToken")
	}
}

func TestBatchGetSecretValue(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	admin := secretsmanager.NewFromConfig(sys.Config())
	values := map[string]string{}
	for _, name := range []string{"app/a", "app/b", "other"} {
		values[name] = sys.Canary()
		create(t, admin, name, values[name])
	}
	app := secretsmanager.NewFromConfig(sys.User(t, "app", `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":"secretsmanager:BatchGetSecretValue","Resource":"*"},
		{"Effect":"Allow","Action":"secretsmanager:GetSecretValue","Resource":"arn:aws:secretsmanager:*:*:secret:app/*"}]}`))
	out, err := app.BatchGetSecretValue(t.Context(), &secretsmanager.BatchGetSecretValueInput{SecretIdList: []string{"app/a", "other", "app/b", "absent"}})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, v := range out.SecretValues {
		got[*v.Name] = *v.SecretString
	}
	if len(got) != 2 || got["app/a"] != values["app/a"] || got["app/b"] != values["app/b"] {
		t.Errorf("%d values", len(got))
	}
	for i, want := range []string{"other", "absent"} {
		if len(out.Errors) != 2 || *out.Errors[i].SecretId != want || *out.Errors[i].ErrorCode != "AccessDeniedException" {
			t.Errorf("Errors = %+v", out.Errors)
			break
		}
	}
	filters := []types.Filter{{Key: "name", Values: []string{"app/"}}}
	_, err = app.BatchGetSecretValue(t.Context(), &secretsmanager.BatchGetSecretValueInput{Filters: filters})
	wantError(t, err, "AccessDeniedException", "secretsmanager:ListSecrets")
	count := 0
	pages := secretsmanager.NewBatchGetSecretValuePaginator(admin, &secretsmanager.BatchGetSecretValueInput{Filters: filters, MaxResults: aws.Int32(1)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		count += len(page.SecretValues)
	}
	if count != 2 {
		t.Errorf("%d values by filter, want 2", count)
	}
	_, err = admin.BatchGetSecretValue(t.Context(), &secretsmanager.BatchGetSecretValueInput{})
	wantError(t, err, "InvalidParameterException", "Either 'SecretIdList' or 'Filters' must be provided, but not both.")
	_, err = admin.BatchGetSecretValue(t.Context(), &secretsmanager.BatchGetSecretValueInput{SecretIdList: []string{"a"}, MaxResults: aws.Int32(1)})
	wantError(t, err, "InvalidParameterException", "'Filters' not specified. 'Filters' must also be specified when 'MaxResults' is provided.")
	bob := secretsmanager.NewFromConfig(sys.User(t, "bob", malotetest.Allow("*", "secretsmanager:GetSecretValue")))
	_, err = bob.BatchGetSecretValue(t.Context(), &secretsmanager.BatchGetSecretValueInput{SecretIdList: []string{"app/a"}})
	wantError(t, err, "AccessDeniedException", "secretsmanager:BatchGetSecretValue")
}

func TestTags(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	client := secretsmanager.NewFromConfig(sys.Config())
	create(t, client, "s", "x")
	tags := func() []types.Tag {
		t.Helper()
		out, err := client.DescribeSecret(t.Context(), &secretsmanager.DescribeSecretInput{SecretId: aws.String("s")})
		if err != nil {
			t.Fatal(err)
		}
		return out.Tags
	}
	if got := tags(); got != nil {
		t.Errorf("tags of a secret that never had any: %v", got)
	}
	bob := secretsmanager.NewFromConfig(sys.User(t, "bob", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"secretsmanager:GetSecretValue","Resource":"*","Condition":{"StringEquals":{"secretsmanager:ResourceTag/team":"blue"}}}]}`))
	_, err := bob.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: aws.String("s")})
	wantError(t, err, "AccessDeniedException", "secretsmanager:GetSecretValue")
	if _, err := client.TagResource(t.Context(), &secretsmanager.TagResourceInput{SecretId: aws.String("s"), Tags: []types.Tag{{Key: aws.String("team"), Value: aws.String("blue")}}}); err != nil {
		t.Fatal(err)
	}
	get(t, bob, "s")
	if _, err := client.UntagResource(t.Context(), &secretsmanager.UntagResourceInput{SecretId: aws.String("s"), TagKeys: []string{"team", "absent"}}); err != nil {
		t.Fatal(err)
	}
	if got := tags(); got == nil || len(got) != 0 {
		t.Errorf("tags of a secret that had some: %#v, want an empty list", got)
	}
	_, err = bob.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: aws.String("s")})
	wantError(t, err, "AccessDeniedException", "secretsmanager:GetSecretValue")
}

func TestResourcePolicy(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	admin := secretsmanager.NewFromConfig(sys.Config())
	bob := secretsmanager.NewFromConfig(sys.User(t, "bob", ""))
	create(t, admin, "s", "x")
	id := aws.String("s")
	out, err := admin.GetResourcePolicy(t.Context(), &secretsmanager.GetResourcePolicyInput{SecretId: id})
	if err != nil || out.ResourcePolicy != nil {
		t.Errorf("GetResourcePolicy = %+v, %v", out, err)
	}
	read := func(client *secretsmanager.Client) error {
		_, err := client.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: id})
		return err
	}
	statement := func(effect, principal string) string {
		return fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Effect":%q,"Principal":{"AWS":%q},"Action":"secretsmanager:GetSecretValue","Resource":"*"}]}`, effect, principal)
	}
	put := func(policy string, block bool) error {
		_, err := admin.PutResourcePolicy(t.Context(), &secretsmanager.PutResourcePolicyInput{SecretId: id, ResourcePolicy: aws.String(policy), BlockPublicPolicy: aws.Bool(block)})
		return err
	}
	wantError(t, read(bob), "AccessDeniedException", "secretsmanager:GetSecretValue")
	allow := statement("Allow", "arn:aws:iam::123456789012:user/bob")
	if err := put(allow, true); err != nil {
		t.Fatal(err)
	}
	if err := read(bob); err != nil {
		t.Error(err)
	}
	if out, err = admin.GetResourcePolicy(t.Context(), &secretsmanager.GetResourcePolicyInput{SecretId: id}); err != nil || *out.ResourcePolicy != allow {
		t.Errorf("GetResourcePolicy = %+v, %v", out, err)
	}
	if err := put(statement("Deny", "arn:aws:iam::123456789012:user/admin"), false); err != nil {
		t.Fatal(err)
	}
	wantError(t, read(admin), "AccessDeniedException", "with an explicit deny in a resource-based policy")
	wantError(t, put("nonsense", false), "MalformedPolicyDocumentException", "")
	wantError(t, put(statement("Allow", "arn:aws:iam::123456789012:user/nobody"), false), "MalformedPolicyDocumentException", "This resource policy contains an unsupported principal")
	wantError(t, put(statement("Allow", "*"), true), "PublicPolicyException", "broad access")
	if err := put(statement("Allow", "*"), false); err != nil {
		t.Error(err)
	}
	if _, err := admin.DeleteResourcePolicy(t.Context(), &secretsmanager.DeleteResourcePolicyInput{SecretId: id}); err != nil {
		t.Fatal(err)
	}
	wantError(t, read(bob), "AccessDeniedException", "secretsmanager:GetSecretValue")

	for _, tt := range []struct{ policy, check string }{
		{allow, ""},
		{"nonsense", "SYNTAX_CHECK"},
		{statement("Allow", "*"), "PUBLIC_POLICY_CHECK"},
		{`{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":"*","Action":"secretsmanager:*","Resource":"*"}]}`, "LOCKOUT_CHECK"},
	} {
		out, err := admin.ValidateResourcePolicy(t.Context(), &secretsmanager.ValidateResourcePolicyInput{SecretId: id, ResourcePolicy: aws.String(tt.policy)})
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if len(out.ValidationErrors) == 1 {
			got = *out.ValidationErrors[0].CheckName
		}
		if got != tt.check || out.PolicyValidationPassed != (tt.check == "") {
			t.Errorf("ValidateResourcePolicy(%s) = %+v, want %q", tt.policy, out, tt.check)
		}
	}
}

// What Terraform's aws_secretsmanager_secret and …_version call, in their order.
func TestTerraform(t *testing.T) {
	t.Parallel()
	client := secretsmanager.NewFromConfig(malotetest.New(t).Config())
	made, err := client.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: aws.String("tf"), Description: aws.String("")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.DescribeSecret(t.Context(), &secretsmanager.DescribeSecretInput{SecretId: made.ARN}); err != nil {
		t.Error(err)
	}
	if _, err := client.GetResourcePolicy(t.Context(), &secretsmanager.GetResourcePolicyInput{SecretId: made.ARN}); err != nil {
		t.Error(err)
	}
	put, err := client.PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{SecretId: made.ARN, SecretString: aws.String("x")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: made.ARN, VersionId: put.VersionId}); err != nil {
		t.Error(err)
	}
	if _, err := client.DeleteSecret(t.Context(), &secretsmanager.DeleteSecretInput{SecretId: made.ARN}); err != nil {
		t.Error(err)
	}
}

func TestGetRandomPassword(t *testing.T) {
	t.Parallel()
	type input = secretsmanager.GetRandomPasswordInput
	yes := aws.Bool(true)
	sys := malotetest.New(t)
	client := secretsmanager.NewFromConfig(sys.Config())
	for _, tt := range []struct {
		name string
		in   *input
		want string // a regular expression, or "" for an error
	}{
		{"defaults", &input{}, `^[!-~]{32}$`},
		{"longest", &input{PasswordLength: aws.Int64(4096)}, `^[!-~]+$`},
		{"digits only", &input{ExcludeLowercase: yes, ExcludeUppercase: yes, ExcludePunctuation: yes}, `^[0-9]{32}$`},
		{"characters", &input{ExcludeCharacters: aws.String("01234567"), ExcludePunctuation: yes}, `^[A-Za-z89]{32}$`},
		{"one space", &input{PasswordLength: aws.Int64(1), IncludeSpace: yes, ExcludeLowercase: yes, ExcludeUppercase: yes, ExcludePunctuation: yes, ExcludeNumbers: yes}, `^ $`},
		{"no length", &input{PasswordLength: aws.Int64(0)}, ""},
		{"too long", &input{PasswordLength: aws.Int64(4097)}, ""},
		{"no room for each type", &input{PasswordLength: aws.Int64(3)}, ""},
		{"nothing left", &input{ExcludeLowercase: yes, ExcludeUppercase: yes, ExcludePunctuation: yes, ExcludeNumbers: yes}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, err := client.GetRandomPassword(t.Context(), tt.in)
			if tt.want == "" {
				if err == nil {
					t.Error("no error")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := *out.RandomPassword; !regexp.MustCompile(tt.want).MatchString(got) {
				t.Errorf("password = %q, want match for %s", got, tt.want)
			}
		})
	}
	_, err := client.GetRandomPassword(t.Context(), &input{PasswordLength: aws.Int64(3)})
	wantError(t, err, "InvalidParameterException", "Password length is too short based on the required types.")
	bob := secretsmanager.NewFromConfig(sys.User(t, "bob", ""))
	_, err = bob.GetRandomPassword(t.Context(), &input{})
	wantError(t, err, "AccessDeniedException", "secretsmanager:GetRandomPassword")
}
