package sts_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	smtypes "github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/google/go-cmp/cmp"

	"github.com/malote/malote/malotetest"
)

// encoded is the message that came with a denial.
func encoded(t *testing.T, err error) string {
	t.Helper()
	var response *awshttp.ResponseError
	if !errors.As(err, &response) {
		t.Fatalf("error = %v, want a denial", err)
	}
	text := response.HTTPResponse().Header.Get("X-Malote-Encoded-Authorization-Message")
	if text == "" || len(text) > 4096 {
		t.Fatalf("a message of %d bytes with %v", len(text), err)
	}
	return text
}

// decoded is what a client reads in a message.
func decoded(t *testing.T, client *sts.Client, message string) (text string, values map[string]any) {
	t.Helper()
	out, err := client.DecodeAuthorizationMessage(t.Context(), &sts.DecodeAuthorizationMessageInput{EncodedMessage: &message})
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(*out.DecodedMessage), &values); err != nil {
		t.Fatal(err)
	}
	return *out.DecodedMessage, values
}

// conditions are those of a message's context, one value for each.
func conditions(values map[string]any) map[string]string {
	found := map[string]string{}
	context := values["context"].(map[string]any)
	for _, item := range context["conditions"].(map[string]any)["items"].([]any) {
		c := item.(map[string]any)
		found[c["key"].(string)] = c["values"].(map[string]any)["items"].([]any)[0].(map[string]any)["value"].(string)
	}
	return found
}

func TestDecodeAuthorizationMessage(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	admin := sts.NewFromConfig(w.Config())
	config := w.User(t, "bob", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"},
		{"Sid":"Night","Effect":"Deny","Action":["secretsmanager:*Secret*","s3:GetObject"],"NotResource":"arn:aws:secretsmanager:*:*:secret:open-*","Condition":{"StringEquals":{"aws:PrincipalType":["User","AssumedRole"]}}}]}`)
	value := w.Canary()
	_, err := secretsmanager.NewFromConfig(config).CreateSecret(ctx, &secretsmanager.CreateSecretInput{
		Name: aws.String("db"), SecretString: &value, Tags: []smtypes.Tag{{Key: aws.String("team"), Value: aws.String("blue")}},
	})
	message := encoded(t, err)
	text, got := decoded(t, admin, message)
	if strings.Contains(text, value) {
		t.Error("the secret's value is in the message")
	}
	keys := conditions(got)
	for name, want := range map[string]string{
		"aws:PrincipalArn": userARN("bob"), "aws:username": "bob", "aws:RequestTag/team": "blue", "aws:TagKeys": "team", "secretsmanager:Name": "db", "aws:SecureTransport": "false", "aws:RequestedRegion": "us-east-1", "aws:SourceIp": "127.0.0.1",
	} {
		if keys[name] != want {
			t.Errorf("%s = %q, want %q", name, keys[name], want)
		}
	}
	context := got["context"].(map[string]any)
	delete(context, "conditions")
	id := context["principal"].(map[string]any)["id"].(string)
	list := func(values ...any) map[string]any {
		out := []any{}
		for _, v := range values {
			out = append(out, map[string]any{"value": v})
		}
		return map[string]any{"items": out}
	}
	resource := context["resource"].(string)
	diff := cmp.Diff(map[string]any{
		"allowed": false, "explicitDeny": true, "failures": list(),
		"matchedStatements": map[string]any{"items": []any{map[string]any{
			"statementId": "Night", "policy": "test", "effect": "DENY", "principals": list(id), "principalGroups": list(),
			"actions": list("secretsmanager:*Secret*", "s3:GetObject"), "notResources": list("arn:aws:secretsmanager:*:*:secret:open-*"),
			"conditions": map[string]any{"items": []any{map[string]any{"key": "aws:principaltype", "operator": "StringEquals", "values": list("User", "AssumedRole")}}},
		}}},
		"context": map[string]any{"principal": map[string]any{"id": id, "name": "bob", "arn": userARN("bob")}, "action": "secretsmanager:CreateSecret", "resource": resource},
	}, got)
	if diff != "" || !strings.HasPrefix(id, "AIDA") || !strings.HasPrefix(resource, "arn:aws:secretsmanager:us-east-1:"+account+":secret:db") {
		t.Error(id, resource, diff)
	}

	// Other protocols carry it too.
	if _, err := s3.NewFromConfig(w.Config()).CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String("bodies")}); err != nil {
		t.Fatal(err)
	}
	_, err = s3.NewFromConfig(config, func(o *s3.Options) { o.UsePathStyle = true }).GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String("bodies"), Key: aws.String("k")})
	if _, got = decoded(t, admin, encoded(t, err)); got["context"].(map[string]any)["action"] != "s3:GetObject" {
		t.Errorf("of S3: %v", got)
	}
	nobody := w.User(t, "nobody", "")
	_, err = iam.NewFromConfig(nobody).ListUsers(ctx, nil)
	if _, got = decoded(t, admin, encoded(t, err)); got["explicitDeny"] != false || len(got["matchedStatements"].(map[string]any)["items"].([]any)) != 0 {
		t.Errorf("of IAM: %v", got)
	}
	// So does a denial of somebody who has not signed.
	f := newFederationIn(t, w)
	_, err = f.assume(f.role("closed", f.trusts(withWebIdentity, `"StringEquals":{"`+f.name("sub")+`":"x"}`)), nil)
	if _, got = decoded(t, admin, encoded(t, err)); conditions(got)[f.name("sub")] != "repo:example/shop" {
		t.Errorf("of a web identity: %v", got)
	}

	// Who may not decode does not, nor another account, nor an altered message.
	_, err = sts.NewFromConfig(nobody).DecodeAuthorizationMessage(ctx, &sts.DecodeAuthorizationMessageInput{EncodedMessage: &message})
	wantError(t, err, "AccessDenied", "User: "+userARN("nobody")+" is not authorized to perform: sts:DecodeAuthorizationMessage because no identity-based policy allows the sts:DecodeAuthorizationMessage action")
	theirs := sts.NewFromConfig(w.Other(t, other))
	const invalid = "The message is not one of a denial in this account."
	_, err = theirs.DecodeAuthorizationMessage(ctx, &sts.DecodeAuthorizationMessageInput{EncodedMessage: &message})
	wantError(t, err, "InvalidAuthorizationMessageException", invalid)
	for _, altered := range []string{"x", message[:len(message)-4], "B" + message[1:], message + "AAAA", strings.Repeat("A", 100)} {
		_, err = admin.DecodeAuthorizationMessage(ctx, &sts.DecodeAuthorizationMessageInput{EncodedMessage: &altered})
		wantError(t, err, "InvalidAuthorizationMessageException", invalid)
	}
	session, err := sts.NewFromConfig(w.User(t, "dora", malotetest.Allow("*", "sts:*"))).GetSessionToken(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = sts.NewFromConfig(w.with(session.Credentials)).DecodeAuthorizationMessage(ctx, &sts.DecodeAuthorizationMessageInput{EncodedMessage: &message})
	wantError(t, err, "AccessDenied", "Cannot call DecodeAuthorizationMessage with session credentials")

	// A stranger's account learns nothing of what our policies, tags and resources are like.
	if _, err := w.iam.TagRole(ctx, &iam.TagRoleInput{RoleName: aws.String("closed"), Tags: []iamtypes.Tag{{Key: aws.String("hidden"), Value: aws.String("tag")}}}); err != nil {
		t.Fatal(err)
	}
	_, err = w.iam.UpdateAssumeRolePolicy(ctx, &iam.UpdateAssumeRolePolicyInput{RoleName: aws.String("closed"), PolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":[{"Sid":"Hidden","Effect":"Deny","Principal":{"AWS":"` + other + `"},"Action":"sts:AssumeRole"}]}`)})
	if err != nil {
		t.Fatal(err)
	}
	_, err = theirs.AssumeRole(ctx, input("arn:aws:iam::"+account+":role/path/closed"))
	denied := encoded(t, err)
	text, got = decoded(t, theirs, denied)
	if got["explicitDeny"] != false || strings.Contains(strings.ToLower(text), "hidden") {
		t.Errorf("a stranger reads %s", text)
	}
	_, err = theirs.AssumeRole(ctx, input("arn:aws:iam::"+account+":role/path/missing"))
	missing, _ := decoded(t, theirs, encoded(t, err))
	if strings.Replace(missing, "missing", "closed", 1) != text {
		// Times differ when a second has passed between the two.
		if a, b := len(missing)+len("closed")-len("missing"), len(text); a != b {
			t.Errorf("a role that is not there: %s\none that is: %s", missing, text)
		}
	}
}
