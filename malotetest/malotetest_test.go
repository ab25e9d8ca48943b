package malotetest_test

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/malote/malote/malotetest"
)

func TestSystem(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	value := sys.Canary()
	admin := secretsmanager.NewFromConfig(sys.Config())
	if _, err := admin.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: aws.String("db"), SecretString: &value}); err != nil {
		t.Fatal(err)
	}
	get := &secretsmanager.GetSecretValueInput{SecretId: aws.String("db")}
	out, err := admin.GetSecretValue(t.Context(), get)
	if err != nil || *out.SecretString != value {
		t.Fatalf("GetSecretValue: %v", err)
	}

	who, err := sts.NewFromConfig(sys.Role(t, "reader", malotetest.Allow("*", "secretsmanager:GetSecretValue"))).GetCallerIdentity(t.Context(), nil)
	if err != nil || *who.Arn != "arn:aws:sts::123456789012:assumed-role/reader/test" {
		t.Errorf("GetCallerIdentity = %v, %v", who, err)
	}
	_, err = secretsmanager.NewFromConfig(sys.User(t, "bob", "")).GetSecretValue(t.Context(), get)
	if err == nil || !strings.Contains(err.Error(), "no identity-based policy allows the secretsmanager:GetSecretValue action") {
		t.Errorf("GetSecretValue by a user without policies: %v", err)
	}
}
