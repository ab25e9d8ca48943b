package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	smtypes "github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/malote/malote/inject"
	"github.com/malote/malote/malotetest"
)

// What verify says of a role is what a task that has it is told, and becomes its
// stoppedReason; of a Deny verify names the statement besides, which no role may ask for.
func TestVerifySaysWhatTasksAreTold(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	admin, ctx := sys.Config(), t.Context()
	people, secrets, keys := iam.NewFromConfig(admin), secretsmanager.NewFromConfig(admin), kms.NewFromConfig(admin)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	const read = `{"Effect":"Allow","Action":["secretsmanager:GetSecretValue","kms:Decrypt"],"Resource":"*"}`
	document := func(statements ...string) string {
		return `{"Version":"2012-10-17","Statement":[` + strings.Join(statements, ",\n") + `]}`
	}
	managed := func(name, text string) *string {
		made, err := people.CreatePolicy(ctx, &iam.CreatePolicyInput{PolicyName: &name, PolicyDocument: &text})
		must(err)
		return made.Policy.Arn
	}
	key := func(policy string) *string {
		in := &kms.CreateKeyInput{BypassPolicyLockoutSafetyCheck: true}
		if policy != "" {
			in.Policy = &policy
		}
		made, err := keys.CreateKey(ctx, in)
		must(err)
		return made.KeyMetadata.KeyId
	}
	const forAdmin = `{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::123456789012:user/admin"},"Action":"kms:*","Resource":"*"}`
	for _, tt := range []struct {
		name   string
		policy string // of the role
		change func(secret, role *string)
		key    string // policy of the secret's KMS key; "-" is AWS's own key
		told   string // what both say, behind who may not do what
		says   string // what verify adds
	}{
		{"identity", "", nil, "-", "because no identity-based policy allows the secretsmanager:GetSecretValue action", ""},
		{"another secret", document(`{"Effect":"Allow","Action":"secretsmanager:*","Resource":"arn:aws:secretsmanager:*:*:secret:other-??????"}`), nil, "-", "because no identity-based policy allows the secretsmanager:GetSecretValue action", ""},
		{"inline-deny", document(read, `{"Effect":"Deny","Action":"*","Resource":"*"}`), nil, "-", "with an explicit deny in an identity-based policy", ": test (the statement in line 2)"},
		{"managed-deny", document(read), func(_, role *string) {
			_, err := people.AttachRolePolicy(ctx, &iam.AttachRolePolicyInput{RoleName: role, PolicyArn: managed("keep-out", document(`{"Effect":"Deny","Action":"*","Resource":"*"}`))})
			must(err)
		}, "-", "with an explicit deny in an identity-based policy: arn:aws:iam::123456789012:policy/keep-out", " (the statement in line 1)"},
		{"boundary", document(read), func(_, role *string) {
			_, err := people.PutRolePermissionsBoundary(ctx, &iam.PutRolePermissionsBoundaryInput{RoleName: role, PermissionsBoundary: managed("bound", malotetest.Allow("*", "s3:*"))})
			must(err)
		}, "-", "because no permissions boundary allows the secretsmanager:GetSecretValue action", ""},
		{"boundary-deny", document(read), func(_, role *string) {
			_, err := people.PutRolePermissionsBoundary(ctx, &iam.PutRolePermissionsBoundaryInput{RoleName: role, PermissionsBoundary: managed("bound-deny", document(read, `{"Effect":"Deny","Action":"*","Resource":"*"}`))})
			must(err)
		}, "-", "with an explicit deny in a permissions boundary: arn:aws:iam::123456789012:policy/bound-deny", " (the statement in line 2)"},
		{"resource-deny", document(read), func(secret, role *string) {
			policy := document(`{"Effect":"Deny","Principal":{"AWS":"arn:aws:iam::123456789012:role/` + *role + `"},"Action":"secretsmanager:GetSecretValue","Resource":"*"}`)
			_, err := secrets.PutResourcePolicy(ctx, &secretsmanager.PutResourcePolicyInput{SecretId: secret, ResourcePolicy: &policy})
			must(err)
		}, "-", "with an explicit deny in a resource-based policy", " (the statement in line 1)"},
		{"tag", document(`{"Effect":"Allow","Action":"secretsmanager:GetSecretValue","Resource":"*","Condition":{"StringEquals":{"aws:ResourceTag/team":"red"}}}`), nil, "-", "because no identity-based policy allows the secretsmanager:GetSecretValue action", ""},
		{"right tag", document(`{"Effect":"Allow","Action":"secretsmanager:GetSecretValue","Resource":"*","Condition":{"StringEquals":{"aws:ResourceTag/team":"blue"}}}`), nil, "-", "", ""},
		{"everything", document(read), nil, "", "", ""},
		{"no kms:Decrypt", malotetest.Allow("*", "secretsmanager:GetSecretValue"), nil, "", "Access to KMS is not allowed", "because no identity-based policy allows the kms:Decrypt action"},
		{"key-policy", document(read), nil, document(forAdmin), "Access to KMS is not allowed", "because no resource-based policy allows the kms:Decrypt action"},
		{"key-policy-deny", document(read), nil, document(forAdmin, `{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::123456789012:root"},"Action":"kms:*","Resource":"*"}`,
			`{"Effect":"Deny","Principal":{"AWS":"*"},"Action":"kms:Decrypt","Resource":"*","Condition":{"ArnLike":{"aws:PrincipalArn":"arn:aws:iam::*:role/*"}}}`), "Access to KMS is not allowed", "with an explicit deny in a resource-based policy (the statement in line 3)"},
	} {
		name := strings.ReplaceAll(tt.name, " ", "-")
		name = strings.ReplaceAll(name, ":", "-")
		in := &secretsmanager.CreateSecretInput{Name: aws.String(name), SecretString: aws.String(sys.Canary()), Tags: []smtypes.Tag{{Key: aws.String("team"), Value: aws.String("blue")}}}
		if tt.key != "-" {
			in.KmsKeyId = key(tt.key)
		}
		secret, err := secrets.CreateSecret(ctx, in)
		must(err)
		session := sys.Role(t, name, tt.policy)
		if tt.change != nil {
			tt.change(secret.ARN, &name)
		}
		ref := inject.Ref{Service: inject.SecretsManager, ValueFrom: *secret.ARN, ID: *secret.ARN, Region: malotetest.Region}

		resolver := inject.Resolver{Config: session}
		_, err = resolver.Resolve(ctx, []inject.Ref{ref})
		v := &verifier{cfg: admin, account: malotetest.Account, trusts: map[string]error{}}
		f := new(finding)
		v.checkRights(ctx, need{ref: ref, role: "arn:aws:iam::123456789012:role/" + name}, f)
		if tt.told == "" {
			if err != nil || len(f.Problems) > 0 {
				t.Errorf("%s: %v, %v, want neither to complain", tt.name, err, f.Problems)
			}
			continue
		}
		who := "User: arn:aws:sts::123456789012:assumed-role/" + name + "/"
		if err == nil || !strings.Contains(err.Error(), tt.told) || !strings.HasPrefix(tt.told, "Access") && !strings.Contains(err.Error(), who+"test is not authorized to perform: secretsmanager:GetSecretValue on resource: "+*secret.ARN+" "+tt.told) {
			t.Errorf("%s: the task is told %v, want %s", tt.name, err, tt.told)
		}
		want := who + "TASK is not authorized to perform: secretsmanager:GetSecretValue on resource: " + *secret.ARN + " " + tt.told + tt.says
		if strings.HasPrefix(tt.told, "Access") {
			described, err := keys.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: in.KmsKeyId})
			must(err)
			want = tt.told + ": " + who + "TASK is not authorized to perform: kms:Decrypt on resource: " + *described.KeyMetadata.Arn + " " + tt.says
		}
		if len(f.Problems) != 1 || f.Problems[0] != want {
			got, _ := json.Marshal(f)
			t.Errorf("%s: verify says %s, want %s", tt.name, got, want)
		}
	}
}

// Who may see nothing is not told that all is well.
func TestVerifyByWhoMayNotSee(t *testing.T) {
	sys := malotetest.New(t)
	_, err := secretsmanager.NewFromConfig(sys.Config()).CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: aws.String("db"), SecretString: aws.String(sys.Canary())})
	if err != nil {
		t.Fatal(err)
	}
	sys.Role(t, "shop", "")
	keys, err := sys.User(t, "stranger", malotetest.Allow("*", "s3:*")).Credentials.Retrieve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL": sys.Endpoint(), "AWS_REGION": malotetest.Region, "AWS_ACCESS_KEY_ID": keys.AccessKeyID, "AWS_SECRET_ACCESS_KEY": keys.SecretAccessKey,
		"AWS_SESSION_TOKEN": keys.SessionToken,
	} {
		t.Setenv(name, value)
	}
	file := filepath.Join(t.TempDir(), "task.json")
	if err := os.WriteFile(file, []byte(`{"family": "x", "executionRoleArn": "arn:aws:iam::123456789012:role/shop", "containerDefinitions": [
		{"name": "app", "image": "x", "memory": 64, "secrets": [{"name": "DB", "valueFrom": "arn:aws:secretsmanager:us-east-1:123456789012:secret:db"}]}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr strings.Builder
	if status := run(t.Context(), []string{"verify", file}, nil, &stdout, &stderr); status != 0 {
		t.Errorf("status = %d", status)
	}
	for _, want := range []string{
		"ok?  app DB ←", "not checked: whether ECS may assume the role: AccessDenied: User: arn:aws:iam::123456789012:user/stranger is not authorized to perform: iam:GetRole",
		"not checked: the value itself: ", "not checked: the role's rights: AccessDeniedException: ",
	} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("verify does not say %q:\n%s", want, &stdout)
		}
	}
	if want := "malote: 1 of 1 value not checked in every respect: you may not see what that takes\n"; stderr.String() != want {
		t.Errorf("stderr = %q, want %q", stderr.String(), want)
	}
}
