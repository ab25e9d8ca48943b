package sts_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"

	"github.com/malote/malote/malotetest"
)

func TestGetFederationToken(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	secrets := secretsmanager.NewFromConfig(w.Config())
	for _, name := range []string{"red", "blue"} {
		if _, err := secrets.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: &name, SecretString: aws.String(w.Canary())}); err != nil {
			t.Fatal(err)
		}
	}
	const read = `"secretsmanager:GetSecretValue"`
	red := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":` + read + `,"Resource":"arn:aws:secretsmanager:*:*:secret:red-*"}]}`
	broker := w.user("broker", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["secretsmanager:*","sts:*","iam:*"],"Resource":"*"}]}`)
	federate := func(client *sts.Client, in *sts.GetFederationTokenInput) *sts.GetFederationTokenOutput {
		t.Helper()
		if in.Name == nil {
			in.Name = aws.String("carol")
		}
		out, err := client.GetFederationToken(ctx, in)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	reads := func(c *types.Credentials, name string) error {
		_, err := secretsmanager.NewFromConfig(w.with(c)).GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &name})
		return err
	}
	carol := "arn:aws:sts::" + account + ":federated-user/carol"

	plain := federate(broker, &sts.GetFederationTokenInput{})
	if *plain.FederatedUser.Arn != carol || *plain.FederatedUser.FederatedUserId != account+":carol" || aws.ToInt32(plain.PackedPolicySize) != 0 || plain.PackedPolicySize == nil {
		t.Errorf("answer = %s, %s, packed %v", *plain.FederatedUser.Arn, *plain.FederatedUser.FederatedUserId, plain.PackedPolicySize)
	}
	if left := plain.Credentials.Expiration.Sub(w.Clock.Now()); left < 12*time.Hour-time.Minute || left > 12*time.Hour {
		t.Errorf("expires in %v, want 12h", left)
	}
	who, err := sts.NewFromConfig(w.with(plain.Credentials)).GetCallerIdentity(ctx, nil)
	if err != nil || *who.Arn != carol || *who.UserId != account+":carol" || *who.Account != account {
		t.Errorf("identity = %+v, %v", who, err)
	}

	// Without a session policy: nothing, but what a resource allows that name.
	if err := reads(plain.Credentials, "red"); err == nil || !strings.Contains(err.Error(), "AccessDenied") {
		t.Errorf("without a policy: %v", err)
	}
	if _, err := secrets.PutResourcePolicy(ctx, &secretsmanager.PutResourcePolicyInput{SecretId: aws.String("blue"), ResourcePolicy: aws.String(
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"` + carol + `"},"Action":` + read + `,"Resource":"*"}]}`)}); err != nil {
		t.Fatal(err)
	}
	if err := reads(plain.Credentials, "blue"); err != nil {
		t.Errorf("allowed by the secret: %v", err)
	}
	if err := reads(federate(broker, &sts.GetFederationTokenInput{Name: aws.String("dave")}).Credentials, "blue"); err == nil {
		t.Error("another name is allowed as well")
	}

	// With one: what both allow.
	limited := federate(broker, &sts.GetFederationTokenInput{Policy: &red})
	if aws.ToInt32(limited.PackedPolicySize) < 1 {
		t.Errorf("packed size = %v", limited.PackedPolicySize)
	}
	if err := reads(limited.Credentials, "red"); err != nil {
		t.Error(err)
	}
	everything := malotetest.Allow("*", "*")
	weak := w.user("weak", malotetest.Allow("*", "sts:GetFederationToken"))
	err = reads(federate(weak, &sts.GetFederationTokenInput{Policy: &everything}).Credentials, "red")
	if err == nil || !strings.Contains(err.Error(), "User: "+carol+" is not authorized to perform: secretsmanager:GetSecretValue") || !strings.Contains(err.Error(), "because no identity-based policy") {
		t.Errorf("more than its user may: %v", err)
	}
	managed := federate(broker, &sts.GetFederationTokenInput{PolicyArns: []types.PolicyDescriptorType{{Arn: aws.String("arn:aws:iam::aws:policy/SecretsManagerReadWrite")}}})
	if err := reads(managed.Credentials, "red"); err != nil {
		t.Errorf("with a managed policy: %v", err)
	}

	// The root user's have its rights within their policy, for an hour at most.
	byRoot := federate(sts.NewFromConfig(w.Root(t)), &sts.GetFederationTokenInput{Policy: &red, DurationSeconds: aws.Int32(7200)})
	if left := byRoot.Credentials.Expiration.Sub(w.Clock.Now()); left > time.Hour {
		t.Errorf("root's expires in %v, want 1h", left)
	}
	if err := reads(byRoot.Credentials, "red"); err != nil {
		t.Error(err)
	}
	if err := reads(federate(sts.NewFromConfig(w.Root(t)), &sts.GetFederationTokenInput{Name: aws.String("erin")}).Credentials, "red"); err == nil {
		t.Error("root's without a policy reads")
	}

	// Tags are the session's, over the user's.
	for k, v := range map[string]string{"team": "red", "floor": "1"} {
		if _, err := w.iam.TagUser(ctx, &iam.TagUserInput{UserName: aws.String("broker"), Tags: []iamtypes.Tag{{Key: &k, Value: &v}}}); err != nil {
			t.Fatal(err)
		}
	}
	byTag := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":` + read + `,"Resource":"*","Condition":{"StringEquals":{"aws:PrincipalTag/Team":"blue","aws:PrincipalTag/floor":"1","aws:PrincipalType":"FederatedUser","aws:userid":"` + account + `:carol","aws:PrincipalArn":"` + carol + `"},"Null":{"aws:username":"true","aws:TokenIssueTime":"false"}}}]}`
	if err := reads(federate(broker, &sts.GetFederationTokenInput{Policy: &byTag, Tags: []types.Tag{{Key: aws.String("TEAM"), Value: aws.String("blue")}}}).Credentials, "red"); err != nil {
		t.Errorf("by tag: %v", err)
	}
	if err := reads(federate(broker, &sts.GetFederationTokenInput{Policy: &byTag}).Credentials, "red"); err == nil {
		t.Error("the user's tag is that of another team, and it reads")
	}
	_, err = weak.GetFederationToken(ctx, &sts.GetFederationTokenInput{Name: aws.String("carol"), Tags: []types.Tag{{Key: aws.String("a"), Value: aws.String("b")}}})
	wantError(t, err, "AccessDenied", "User: "+userARN("weak")+" is not authorized to perform: sts:TagSession on resource: "+carol+" because no identity-based policy allows the sts:TagSession action")

	// Neither IAM nor STS, whatever the policy says.
	all := federate(broker, &sts.GetFederationTokenInput{Policy: &everything})
	_, err = iam.NewFromConfig(w.with(all.Credentials)).ListUsers(ctx, nil)
	wantError(t, err, "InvalidClientTokenId", "The security token included in the request is invalid.")
	session := sts.NewFromConfig(w.with(all.Credentials))
	_, err = session.AssumeRole(ctx, input(w.role("app", trust("*", assume))))
	wantError(t, err, "AccessDenied", "Cannot call AssumeRole with session credentials")
	_, err = session.GetFederationToken(ctx, &sts.GetFederationTokenInput{Name: aws.String("carol")})
	wantError(t, err, "AccessDenied", "Cannot call GetFederationToken with session credentials")
	_, err = session.GetSessionToken(ctx, nil)
	wantError(t, err, "AccessDenied", "Cannot call GetSessionToken with session credentials")
	role, err := sts.NewFromConfig(w.Config()).AssumeRole(ctx, input("arn:aws:iam::"+account+":role/path/app"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = sts.NewFromConfig(w.with(role.Credentials)).GetFederationToken(ctx, &sts.GetFederationTokenInput{Name: aws.String("carol")})
	wantError(t, err, "AccessDenied", "Cannot call GetFederationToken with session credentials")

	// What is refused.
	nobody := w.user("nobody", "")
	_, err = nobody.GetFederationToken(ctx, &sts.GetFederationTokenInput{Name: aws.String("carol")})
	wantError(t, err, "AccessDenied", "User: "+userARN("nobody")+" is not authorized to perform: sts:GetFederationToken on resource: "+carol+" because no identity-based policy allows the sts:GetFederationToken action")
	_, err = broker.GetFederationToken(ctx, &sts.GetFederationTokenInput{Name: aws.String("carol"), Policy: aws.String("{")})
	wantError(t, err, "MalformedPolicyDocument", "This policy contains invalid Json")
	_, err = broker.GetFederationToken(ctx, &sts.GetFederationTokenInput{Name: aws.String("a:b")})
	wantError(t, err, "ValidationError", `1 validation error detected: Value 'a:b' at 'name' failed to satisfy constraint: Member must satisfy regular expression pattern: [\w+=,.@-]*`)
	if _, err = broker.GetFederationToken(ctx, &sts.GetFederationTokenInput{Name: aws.String(strings.Repeat("a", 33))}); err == nil {
		t.Error("a name of 33 characters was taken")
	}

	// They follow their user: its policies at once, and its end.
	if _, err := w.iam.PutUserPolicy(ctx, &iam.PutUserPolicyInput{UserName: aws.String("broker"), PolicyName: aws.String("revoke"), PolicyDocument: aws.String(
		`{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"DateLessThan":{"aws:TokenIssueTime":"` + w.Clock.Now().UTC().Add(time.Minute).Format(time.RFC3339) + `"}}}]}`)}); err != nil {
		t.Fatal(err)
	}
	if err := reads(limited.Credentials, "red"); err == nil || !strings.Contains(err.Error(), "explicit deny") {
		t.Errorf("revoked: %v, want an explicit deny", err)
	}
	config := w.User(t, "leaver", malotetest.Allow("*", "sts:*"))
	left := federate(sts.NewFromConfig(config), &sts.GetFederationTokenInput{})
	keys, err := config.Credentials.Retrieve(ctx)
	if err != nil {
		t.Fatal(err)
	}
	leaver := aws.String("leaver")
	_, one := w.iam.DeleteAccessKey(ctx, &iam.DeleteAccessKeyInput{UserName: leaver, AccessKeyId: &keys.AccessKeyID})
	_, two := w.iam.DeleteUserPolicy(ctx, &iam.DeleteUserPolicyInput{UserName: leaver, PolicyName: aws.String("test")})
	_, three := w.iam.DeleteUser(ctx, &iam.DeleteUserInput{UserName: leaver})
	if err := errors.Join(one, two, three); err != nil {
		t.Fatal(err)
	}
	_, err = sts.NewFromConfig(w.with(left.Credentials)).GetCallerIdentity(ctx, nil)
	wantError(t, err, "InvalidClientTokenId", "The security token included in the request is invalid.")
}
