//go:build clients

package clients_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/malote/malote/malotetest"
	"github.com/malote/malote/service/sts/webidentity/webidentitytest"
)

// A pipeline with nothing but a token in a file, as AWS's SDKs and CLI find it, reads a secret.
func TestWebIdentity(t *testing.T) {
	sys := malotetest.New(t)
	admin := cli{t, environ(t, sys)}
	issuer, key := webidentitytest.New(t, ""), webidentitytest.P256(t, "k")
	issuer.Publish(key)
	provider := admin.json("iam", "create-open-id-connect-provider", "--url", issuer.URL, "--client-id-list", "sts.amazonaws.com", "--thumbprint-list", issuer.Thumbprint())["OpenIDConnectProviderArn"].(string)
	name := strings.TrimPrefix(issuer.URL, "https://")
	trust := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Federated":"` + provider + `"},"Action":"sts:AssumeRoleWithWebIdentity","Condition":{"StringEquals":{"` + name + `:sub":"repo:example/shop"}}}]}`
	role := admin.json("iam", "create-role", "--role-name", "deploy", "--assume-role-policy-document", trust)["Role"].(map[string]any)["Arn"].(string)
	admin.json("iam", "put-role-policy", "--role-name", "deploy", "--policy-name", "read", "--policy-document", malotetest.Allow("*", "secretsmanager:GetSecretValue"))
	dir := t.TempDir()
	value := sys.Canary()
	write(t, filepath.Join(dir, "value"), value)
	admin.json("secretsmanager", "create-secret", "--name", "shop/db", "--secret-string", "file://"+filepath.Join(dir, "value"))

	token := filepath.Join(dir, "token")
	var env []string
	for _, variable := range environ(t, sys) {
		if !strings.HasPrefix(variable, "AWS_ACCESS_KEY_ID=") && !strings.HasPrefix(variable, "AWS_SECRET_ACCESS_KEY=") {
			env = append(env, variable)
		}
	}
	pipeline := cli{t, append(env, "AWS_WEB_IDENTITY_TOKEN_FILE="+token, "AWS_ROLE_ARN="+role, "AWS_ROLE_SESSION_NAME=run-7", "HOME="+dir)}
	write(t, token, webidentitytest.Sign(t, key, issuer.Claims(sys.Clock.Now(), nil)))
	if got := pipeline.json("sts", "get-caller-identity")["Arn"]; got != "arn:aws:sts::123456789012:assumed-role/deploy/run-7" {
		t.Errorf("identity = %v", got)
	}
	if got := pipeline.json("secretsmanager", "get-secret-value", "--secret-id", "shop/db")["SecretString"]; got != value {
		t.Error("the pipeline does not read what create-secret was given")
	}
	if err := os.RemoveAll(filepath.Join(dir, ".aws")); err != nil {
		t.Fatal(err)
	}
	write(t, token, webidentitytest.Sign(t, key, issuer.Claims(sys.Clock.Now(), map[string]any{"sub": "repo:mallory/shop"})))
	pipeline.refused("Not authorized to perform sts:AssumeRoleWithWebIdentity", "sts", "get-caller-identity")
	write(t, token, webidentitytest.Sign(t, key, issuer.Claims(sys.Clock.Now(), map[string]any{"aud": "others"})))
	pipeline.refused("InvalidIdentityToken", "sts", "get-caller-identity")
}
