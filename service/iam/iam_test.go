package iam_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/smithy-go"

	"github.com/malote/malote/malotetest"
)

const (
	trustECS   = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ecs-tasks.amazonaws.com"},"Action":"sts:AssumeRole"}]}`
	allowRead  = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"secretsmanager:GetSecretValue","Resource":"*"}]}`
	adminARN   = "arn:aws:iam::aws:policy/AdministratorAccess"
	accountARN = "arn:aws:iam::" + malotetest.Account + ":"
)

// wantError checks an error's code and text.
func wantError(t *testing.T, err error, code, message string) {
	t.Helper()
	var e smithy.APIError
	if !errors.As(err, &e) {
		t.Errorf("error = %v, want %s: %s", err, code, message)
		return
	}
	got := e.ErrorMessage()
	if code == "MalformedPolicyDocument" { // AWS's words, and then where
		if place := strings.LastIndex(got, " (line "); place >= 0 {
			got = got[:place]
		}
	}
	if e.ErrorCode() != code || got != message {
		t.Errorf("error = %s: %s\nwant    %s: %s", e.ErrorCode(), e.ErrorMessage(), code, message)
	}
}

// ok fails the test on an error.
func ok[T any](out T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
}

func denial(who, action, named string) string {
	return "User: " + accountARN + "user/" + who + " is not authorized to perform: " + action + " on resource: " + named +
		" because no identity-based policy allows the " + action + " action"
}

func TestUsers(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	ctx := t.Context()
	admin := iam.NewFromConfig(sys.Config())
	bob := iam.NewFromConfig(sys.User(t, "bob", ""))

	made := ok(admin.CreateUser(ctx, &iam.CreateUserInput{UserName: aws.String("Carol"), Path: aws.String("/team/")}))(t).User
	if *made.Arn != accountARN+"user/team/Carol" || !strings.HasPrefix(*made.UserId, "AIDA") || len(*made.UserId) != 21 {
		t.Errorf("made %s, %s", *made.Arn, *made.UserId)
	}
	_, err := admin.CreateUser(ctx, &iam.CreateUserInput{UserName: aws.String("CAROL")})
	wantError(t, err, "EntityAlreadyExists", "User with name CAROL already exists.")
	_, err = bob.CreateUser(ctx, &iam.CreateUserInput{UserName: aws.String("dave"), Path: aws.String("/x/")})
	wantError(t, err, "AccessDenied", denial("bob", "iam:CreateUser", accountARN+"user/x/dave"))

	got := ok(admin.GetUser(ctx, &iam.GetUserInput{UserName: aws.String("Carol")}))(t).User
	if *got.UserId != *made.UserId || *got.Path != "/team/" || got.Tags != nil {
		t.Errorf("got %+v", got)
	}
	_, err = admin.GetUser(ctx, &iam.GetUserInput{UserName: aws.String("nobody")})
	wantError(t, err, "NoSuchEntity", "The user with name nobody cannot be found.")
	for _, name := range []string{"Carol", "nobody"} { // denial outranks absence
		_, err = bob.GetUser(ctx, &iam.GetUserInput{UserName: &name})
		wantError(t, err, "AccessDenied", denial("bob", "iam:GetUser", "user "+name))
	}
	if self := ok(admin.GetUser(ctx, &iam.GetUserInput{}))(t).User; *self.UserName != "admin" {
		t.Errorf("GetUser() = %s, want admin", *self.UserName)
	}
	_, err = iam.NewFromConfig(sys.Role(t, "app", malotetest.Allow("*", "iam:*"))).GetUser(ctx, &iam.GetUserInput{})
	wantError(t, err, "ValidationError", "Must specify userName when calling with non-User credentials")
	root := ok(iam.NewFromConfig(sys.Root(t)).GetUser(ctx, &iam.GetUserInput{}))(t).User
	if *root.Arn != accountARN+"root" || root.UserName != nil || *root.UserId != malotetest.Account {
		t.Errorf("root = %+v", root)
	}

	ok(admin.UpdateUser(ctx, &iam.UpdateUserInput{UserName: aws.String("Carol"), NewUserName: aws.String("Caroline"), NewPath: aws.String("/")}))(t)
	renamed := ok(admin.GetUser(ctx, &iam.GetUserInput{UserName: aws.String("Caroline")}))(t).User
	if *renamed.UserId != *made.UserId || *renamed.Arn != accountARN+"user/Caroline" {
		t.Errorf("renamed %+v", renamed)
	}
	_, err = admin.GetUser(ctx, &iam.GetUserInput{UserName: aws.String("Carol")})
	wantError(t, err, "NoSuchEntity", "The user with name Carol cannot be found.")
	_, err = admin.UpdateUser(ctx, &iam.UpdateUserInput{UserName: aws.String("Caroline"), NewUserName: aws.String("BOB")})
	wantError(t, err, "EntityAlreadyExists", "User with name BOB already exists.")

	first := ok(admin.ListUsers(ctx, &iam.ListUsersInput{MaxItems: aws.Int32(2)}))(t)
	if len(first.Users) != 2 || !first.IsTruncated || first.Marker == nil {
		t.Fatalf("first page = %+v", first)
	}
	second := ok(admin.ListUsers(ctx, &iam.ListUsersInput{MaxItems: aws.Int32(2), Marker: first.Marker}))(t)
	if len(second.Users) != 1 || second.IsTruncated || *second.Users[0].UserName != "Caroline" {
		t.Errorf("second page = %+v", second)
	}
	_, err = admin.ListUsers(ctx, &iam.ListUsersInput{Marker: aws.String("what?")})
	wantError(t, err, "ValidationError", "Invalid Marker.")
	_, err = bob.ListUsers(ctx, &iam.ListUsersInput{})
	wantError(t, err, "AccessDenied", denial("bob", "iam:ListUsers", accountARN+"user/"))

	_, err = admin.DeleteUser(ctx, &iam.DeleteUserInput{UserName: aws.String("bob")})
	wantError(t, err, "DeleteConflict", "Cannot delete entity, must delete access keys first.")
	_, err = bob.DeleteUser(ctx, &iam.DeleteUserInput{UserName: aws.String("Caroline")})
	wantError(t, err, "AccessDenied", denial("bob", "iam:DeleteUser", "user Caroline"))
	ok(admin.DeleteUser(ctx, &iam.DeleteUserInput{UserName: aws.String("caroline")}))(t)
	_, err = admin.DeleteUser(ctx, &iam.DeleteUserInput{UserName: aws.String("Caroline")})
	wantError(t, err, "NoSuchEntity", "The user with name Caroline cannot be found.")
}

func TestAccessKeys(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	ctx := t.Context()
	admin := iam.NewFromConfig(sys.Config())
	bobConfig := sys.User(t, "bob", malotetest.Allow(accountARN+"user/${aws:username}", "iam:*AccessKey*", "iam:GetUser"))
	bob := iam.NewFromConfig(bobConfig)

	// bob has one from User; the second is his to make, a third is nobody's.
	second := ok(bob.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{}))(t).AccessKey
	if *second.UserName != "bob" || len(*second.SecretAccessKey) != 40 {
		t.Errorf("second key of %s with a secret of %d", *second.UserName, len(*second.SecretAccessKey))
	}
	_, err := bob.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{})
	wantError(t, err, "LimitExceeded", "Cannot exceed quota for AccessKeysPerUser: 2")
	_, err = bob.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: aws.String("admin")})
	wantError(t, err, "AccessDenied", denial("bob", "iam:CreateAccessKey", "user admin"))

	with := iam.NewFromConfig(sys.Credentials(*second.AccessKeyId, *second.SecretAccessKey, ""))
	used := ok(bob.GetAccessKeyLastUsed(ctx, &iam.GetAccessKeyLastUsedInput{AccessKeyId: second.AccessKeyId}))(t)
	if *used.UserName != "bob" || used.AccessKeyLastUsed.LastUsedDate != nil || *used.AccessKeyLastUsed.ServiceName != "N/A" {
		t.Errorf("before use: %+v", used.AccessKeyLastUsed)
	}
	ok(with.GetUser(ctx, &iam.GetUserInput{}))(t)
	used = ok(bob.GetAccessKeyLastUsed(ctx, &iam.GetAccessKeyLastUsedInput{AccessKeyId: second.AccessKeyId}))(t)
	if used.AccessKeyLastUsed.LastUsedDate == nil || *used.AccessKeyLastUsed.ServiceName != "iam" {
		t.Errorf("after use: %+v", used.AccessKeyLastUsed)
	}
	_, err = admin.GetAccessKeyLastUsed(ctx, &iam.GetAccessKeyLastUsedInput{AccessKeyId: aws.String("AKIANOBODYNOBODYNOBO")})
	wantError(t, err, "AccessDenied", "User: "+accountARN+"user/admin is not authorized to perform iam:GetAccessKeyLastUsed on resource: access key AKIANOBODYNOBODYNOBO")

	// An inactive key counts for nothing at once, and again at once when it is active.
	for range 2 {
		ok(bob.UpdateAccessKey(ctx, &iam.UpdateAccessKeyInput{AccessKeyId: second.AccessKeyId, Status: "Inactive"}))(t)
		_, err = with.GetUser(ctx, &iam.GetUserInput{})
		wantError(t, err, "InvalidClientTokenId", "The security token included in the request is invalid.")
		ok(admin.UpdateAccessKey(ctx, &iam.UpdateAccessKeyInput{UserName: aws.String("bob"), AccessKeyId: second.AccessKeyId, Status: "Active"}))(t)
		ok(with.GetUser(ctx, &iam.GetUserInput{}))(t)
	}
	_, err = admin.UpdateAccessKey(ctx, &iam.UpdateAccessKeyInput{AccessKeyId: second.AccessKeyId, Status: "Inactive"})
	wantError(t, err, "NoSuchEntity", "The Access Key with id "+*second.AccessKeyId+" cannot be found.")

	keys := ok(admin.ListAccessKeys(ctx, &iam.ListAccessKeysInput{UserName: aws.String("bob")}))(t)
	if len(keys.AccessKeyMetadata) != 2 || keys.IsTruncated || *keys.AccessKeyMetadata[1].AccessKeyId != *second.AccessKeyId {
		t.Errorf("keys = %+v", keys.AccessKeyMetadata)
	}
	ok(bob.DeleteAccessKey(ctx, &iam.DeleteAccessKeyInput{AccessKeyId: second.AccessKeyId}))(t)
	_, err = with.GetUser(ctx, &iam.GetUserInput{})
	wantError(t, err, "InvalidClientTokenId", "The security token included in the request is invalid.")

	root := iam.NewFromConfig(sys.Root(t))
	own := ok(root.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{}))(t).AccessKey
	if own.UserName != nil {
		t.Errorf("root's key has the user name %s", *own.UserName)
	}
	if n := len(ok(root.ListAccessKeys(ctx, &iam.ListAccessKeysInput{}))(t).AccessKeyMetadata); n != 2 {
		t.Errorf("root has %d keys, want 2", n)
	}
	ok(root.DeleteAccessKey(ctx, &iam.DeleteAccessKeyInput{AccessKeyId: own.AccessKeyId}))(t)
}
