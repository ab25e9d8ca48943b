package iam_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/malote/malote/malotetest"
)

func trusting(principals string) string {
	return `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":` + principals + `},"Action":"sts:AssumeRole"}]}`
}

func TestRoles(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	ctx := t.Context()
	admin := iam.NewFromConfig(sys.Config())
	bob := iam.NewFromConfig(sys.User(t, "bob", ""))

	// A document comes back byte for byte, encoded on the wire.
	trust := "{\n  \"Version\": \"2012-10-17\",\n  \"Statement\": [{\"Effect\":\"Allow\", \"Principal\":{\"Service\":\"ecs-tasks.amazonaws.com\"},\"Action\":\"sts:AssumeRole\",\n \"Condition\":{\"StringLike\":{\"aws:SourceArn\":\"a+b/*~é\"}}}]\n}\n"
	made := ok(admin.CreateRole(ctx, &iam.CreateRoleInput{
		RoleName: aws.String("Exec"), Path: aws.String("/ecs/"), AssumeRolePolicyDocument: &trust,
		Tags: []types.Tag{{Key: aws.String("team"), Value: aws.String("a")}}, PermissionsBoundary: aws.String(adminARN),
	}))(t).Role
	if *made.Arn != accountARN+"role/ecs/Exec" || made.MaxSessionDuration != nil || made.Description != nil || !strings.HasPrefix(*made.RoleId, "AROA") {
		t.Errorf("made = %+v", made)
	}
	got := ok(admin.GetRole(ctx, &iam.GetRoleInput{RoleName: aws.String("Exec")}))(t).Role
	if decoded, err := url.PathUnescape(*got.AssumeRolePolicyDocument); decoded != trust || err != nil || strings.ContainsAny(*got.AssumeRolePolicyDocument, " \n{}+*\"") {
		t.Errorf("trust policy = %s", *got.AssumeRolePolicyDocument)
	}
	if *got.MaxSessionDuration != 3600 || got.RoleLastUsed == nil || got.RoleLastUsed.LastUsedDate != nil || len(got.Tags) != 1 ||
		*got.PermissionsBoundary.PermissionsBoundaryArn != adminARN || got.PermissionsBoundary.PermissionsBoundaryType != "Policy" {
		t.Errorf("got = %+v", got)
	}
	listed := ok(admin.ListRoles(ctx, &iam.ListRolesInput{PathPrefix: aws.String("/ecs/")}))(t).Roles
	if len(listed) != 1 || listed[0].Tags != nil || listed[0].PermissionsBoundary != nil || listed[0].RoleLastUsed != nil {
		t.Errorf("listed = %+v", listed)
	}

	for _, tt := range []struct {
		name          string
		in            iam.CreateRoleInput
		code, message string
	}{
		{"taken", iam.CreateRoleInput{RoleName: aws.String("EXEC"), AssumeRolePolicyDocument: aws.String(trustECS)}, "EntityAlreadyExists", "Role with name EXEC already exists."},
		{"not JSON", iam.CreateRoleInput{RoleName: aws.String("r"), AssumeRolePolicyDocument: aws.String(`{"Version"`)}, "MalformedPolicyDocument", "This policy contains invalid Json"},
		{"unknown principal", iam.CreateRoleInput{RoleName: aws.String("r"), AssumeRolePolicyDocument: aws.String(trusting(`"` + accountARN + `role/nobody"`))},
			"MalformedPolicyDocument", `Invalid principal in policy: "AWS":"` + accountARN + `role/nobody"`},
		{"resource in a trust policy", iam.CreateRoleInput{RoleName: aws.String("r"), AssumeRolePolicyDocument: aws.String(strings.Replace(trustECS, `"Action"`, `"Resource":"*","Action"`, 1))},
			"MalformedPolicyDocument", "Has prohibited field Resource"},
		{"another action", iam.CreateRoleInput{RoleName: aws.String("r"), AssumeRolePolicyDocument: aws.String(strings.Replace(trustECS, "sts:AssumeRole", "s3:GetObject", 1))},
			"MalformedPolicyDocument", "AssumeRole policy may only specify STS AssumeRole actions."},
		{"long", iam.CreateRoleInput{RoleName: aws.String("r"), AssumeRolePolicyDocument: aws.String(strings.Replace(trustECS, `"Effect"`, `"Condition":{"StringEquals":{"aws:SourceAccount":"`+strings.Repeat("1", 2048)+`"}},"Effect"`, 1))},
			"LimitExceeded", "Cannot exceed quota for ACLSizePerRole: 2048"},
		{"boundary that is not", iam.CreateRoleInput{RoleName: aws.String("r"), AssumeRolePolicyDocument: aws.String(trustECS), PermissionsBoundary: aws.String(accountARN + "policy/none")},
			"NoSuchEntity", "Scope ARN: " + accountARN + "policy/none does not exist or is not attachable."},
		{"tags twice", iam.CreateRoleInput{RoleName: aws.String("r"), AssumeRolePolicyDocument: aws.String(trustECS), Tags: []types.Tag{{Key: aws.String("a"), Value: aws.String("")}, {Key: aws.String("A"), Value: aws.String("")}}},
			"InvalidInput", "Duplicate tag keys found. Please note that Tag keys are case insensitive."},
		{"name", iam.CreateRoleInput{RoleName: aws.String("a b"), AssumeRolePolicyDocument: aws.String(trustECS)},
			"ValidationError", `1 validation error detected: Value 'a b' at 'roleName' failed to satisfy constraint: Member must satisfy regular expression pattern: [\w+=,.@-]+`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := admin.CreateRole(ctx, &tt.in)
			wantError(t, err, tt.code, tt.message)
		})
	}
	_, err := bob.CreateRole(ctx, &iam.CreateRoleInput{RoleName: aws.String("r"), AssumeRolePolicyDocument: aws.String("{")})
	wantError(t, err, "AccessDenied", denial("bob", "iam:CreateRole", accountARN+"role/r"))
	_, err = bob.ListRolePolicies(ctx, &iam.ListRolePoliciesInput{RoleName: aws.String("Exec")})
	wantError(t, err, "AccessDenied", denial("bob", "iam:ListRolePolicies", "role Exec"))
	// Tags at creation are a permission of their own.
	tagless := iam.NewFromConfig(sys.User(t, "tagless", malotetest.Allow("*", "iam:CreateRole")))
	_, err = tagless.CreateRole(ctx, &iam.CreateRoleInput{RoleName: aws.String("r"), AssumeRolePolicyDocument: aws.String(trustECS), Tags: []types.Tag{{Key: aws.String("a"), Value: aws.String("")}}})
	wantError(t, err, "AccessDenied", denial("tagless", "iam:TagRole", accountARN+"role/r"))

	ok(admin.UpdateRole(ctx, &iam.UpdateRoleInput{RoleName: aws.String("Exec"), MaxSessionDuration: aws.Int32(7200), Description: aws.String("runs tasks")}))(t)
	updated := ok(admin.GetRole(ctx, &iam.GetRoleInput{RoleName: aws.String("Exec")}))(t).Role
	if *updated.MaxSessionDuration != 7200 || *updated.Description != "runs tasks" {
		t.Errorf("updated = %+v", updated)
	}
	described := ok(admin.UpdateRoleDescription(ctx, &iam.UpdateRoleDescriptionInput{RoleName: aws.String("Exec"), Description: aws.String("runs")}))(t).Role
	if described.MaxSessionDuration != nil || *described.Description != "runs" {
		t.Errorf("described = %+v", described)
	}
	if profiles := ok(admin.ListInstanceProfilesForRole(ctx, &iam.ListInstanceProfilesForRoleInput{RoleName: aws.String("Exec")}))(t); len(profiles.InstanceProfiles) != 0 {
		t.Errorf("instance profiles = %+v", profiles.InstanceProfiles)
	}

	ok(admin.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: aws.String("Exec"), PolicyName: aws.String("p"), PolicyDocument: aws.String(allowRead)}))(t)
	ok(admin.AttachRolePolicy(ctx, &iam.AttachRolePolicyInput{RoleName: aws.String("Exec"), PolicyArn: aws.String(adminARN)}))(t)
	_, err = admin.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: aws.String("Exec")})
	wantError(t, err, "DeleteConflict", "Cannot delete entity, must detach all policies first.")
	ok(admin.DetachRolePolicy(ctx, &iam.DetachRolePolicyInput{RoleName: aws.String("Exec"), PolicyArn: aws.String(adminARN)}))(t)
	_, err = admin.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: aws.String("Exec")})
	wantError(t, err, "DeleteConflict", "Cannot delete entity, must delete policies first.")
	ok(admin.DeleteRolePolicy(ctx, &iam.DeleteRolePolicyInput{RoleName: aws.String("Exec"), PolicyName: aws.String("p")}))(t)
	ok(admin.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: aws.String("Exec")}))(t)
	_, err = admin.GetRole(ctx, &iam.GetRoleInput{RoleName: aws.String("Exec")})
	wantError(t, err, "NoSuchEntity", "The role with name Exec cannot be found.")
}

// Case 78: who is named in a trust policy, deleted and made anew stays out, and the policy
// shows the id that it meant.
func TestTrustPolicyMeansIDs(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	ctx := t.Context()
	admin := iam.NewFromConfig(sys.Config())
	session := sts.NewFromConfig(sys.Role(t, "r1", ""))
	r1 := ok(admin.GetRole(ctx, &iam.GetRoleInput{RoleName: aws.String("r1")}))(t).Role

	trust := trusting(`["` + *r1.Arn + `"]`)
	r2 := ok(admin.CreateRole(ctx, &iam.CreateRoleInput{RoleName: aws.String("r2"), AssumeRolePolicyDocument: &trust}))(t).Role
	assume := &sts.AssumeRoleInput{RoleArn: r2.Arn, RoleSessionName: aws.String("chained")}
	ok(session.AssumeRole(ctx, assume))(t)

	ok(admin.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: aws.String("r1")}))(t)
	again := sts.NewFromConfig(sys.Role(t, "r1", ""))
	_, err := again.AssumeRole(ctx, assume)
	wantError(t, err, "AccessDenied", "User: arn:aws:sts::"+malotetest.Account+":assumed-role/r1/test is not authorized to perform: sts:AssumeRole on resource: "+*r2.Arn+
		" because no role trust policy allows the sts:AssumeRole action")
	document, _ := url.PathUnescape(*ok(admin.GetRole(ctx, &iam.GetRoleInput{RoleName: aws.String("r2")}))(t).Role.AssumeRolePolicyDocument)
	if want := strings.Replace(trust, *r1.Arn, *r1.RoleId, 1); document != want {
		t.Errorf("trust policy = %s, want %s", document, want)
	}

	// Saved again, it means the new one.
	ok(admin.UpdateAssumeRolePolicy(ctx, &iam.UpdateAssumeRolePolicyInput{RoleName: aws.String("r2"), PolicyDocument: &trust}))(t)
	ok(again.AssumeRole(ctx, assume))(t)

	// The id of nobody is nobody.
	_, err = admin.UpdateAssumeRolePolicy(ctx, &iam.UpdateAssumeRolePolicyInput{RoleName: aws.String("r2"), PolicyDocument: aws.String(trusting(`"` + *r1.RoleId + `"`))})
	wantError(t, err, "MalformedPolicyDocument", `Invalid principal in policy: "AWS":"`+*r1.RoleId+`"`)
}
