package iam_test

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/malote/malote/malotetest"
)

func TestManagedPolicies(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	ctx := t.Context()
	admin := iam.NewFromConfig(sys.Config())
	bob := iam.NewFromConfig(sys.User(t, "bob", ""))

	made := ok(admin.CreatePolicy(ctx, &iam.CreatePolicyInput{
		PolicyName: aws.String("Read"), Path: aws.String("/app/"), PolicyDocument: aws.String(allowRead), Description: aws.String("reads"),
		Tags: []types.Tag{{Key: aws.String("team"), Value: aws.String("a")}},
	}))(t).Policy
	arn := *made.Arn
	if arn != accountARN+"policy/app/Read" || *made.DefaultVersionId != "v1" || *made.AttachmentCount != 0 || !made.IsAttachable || made.Description != nil || !strings.HasPrefix(*made.PolicyId, "ANPA") {
		t.Errorf("made = %+v", made)
	}
	// The keys of a policy's tags have a case, unlike those of users and roles.
	ok(admin.TagPolicy(ctx, &iam.TagPolicyInput{PolicyArn: &arn, Tags: []types.Tag{{Key: aws.String("Team"), Value: aws.String("b")}}}))(t)
	_, twice := admin.TagPolicy(ctx, &iam.TagPolicyInput{PolicyArn: &arn, Tags: []types.Tag{{Key: aws.String("x"), Value: aws.String("1")}, {Key: aws.String("x"), Value: aws.String("2")}}})
	wantError(t, twice, "InvalidInput", "Duplicate tag keys found.")
	_, reserved := admin.TagPolicy(ctx, &iam.TagPolicyInput{PolicyArn: &arn, Tags: []types.Tag{{Key: aws.String("AWS:x"), Value: aws.String("1")}}})
	wantError(t, reserved, "InvalidInput", "Tag keys beginning with aws: are reserved for system use.")
	if tags := ok(admin.ListPolicyTags(ctx, &iam.ListPolicyTagsInput{PolicyArn: &arn}))(t).Tags; len(tags) != 2 {
		t.Errorf("tags = %+v, want team and Team", tags)
	}
	ok(admin.UntagPolicy(ctx, &iam.UntagPolicyInput{PolicyArn: &arn, TagKeys: []string{"Team"}}))(t)

	got := ok(admin.GetPolicy(ctx, &iam.GetPolicyInput{PolicyArn: &arn}))(t).Policy
	if *got.Description != "reads" || len(got.Tags) != 1 {
		t.Errorf("got = %+v", got)
	}
	_, err := admin.CreatePolicy(ctx, &iam.CreatePolicyInput{PolicyName: aws.String("READ"), PolicyDocument: aws.String(allowRead)})
	wantError(t, err, "EntityAlreadyExists", "A policy called READ already exists. Duplicate names are not allowed.")
	for _, missing := range []string{accountARN + "policy/Read", accountARN + "policy/app/Write", "arn:aws:iam::aws:policy/None"} {
		_, err = admin.GetPolicy(ctx, &iam.GetPolicyInput{PolicyArn: &missing})
		wantError(t, err, "NoSuchEntity", "Policy "+missing+" was not found.")
	}
	none := accountARN + "policy/app/Write"
	_, err = admin.GetPolicyVersion(ctx, &iam.GetPolicyVersionInput{PolicyArn: &none, VersionId: aws.String("v1")})
	wantError(t, err, "NoSuchEntity", "Policy "+none+" version v1 does not exist or is not attachable.")
	_, err = admin.SetDefaultPolicyVersion(ctx, &iam.SetDefaultPolicyVersionInput{PolicyArn: &none, VersionId: aws.String("v1")})
	wantError(t, err, "NoSuchEntity", "Policy "+none+" version v1 does not exist or is not attachable.")
	_, err = admin.ListEntitiesForPolicy(ctx, &iam.ListEntitiesForPolicyInput{PolicyArn: &none})
	wantError(t, err, "NoSuchEntity", "Policy "+none+" does not exist or is not attachable.")
	_, err = admin.GetPolicy(ctx, &iam.GetPolicyInput{PolicyArn: aws.String("no ARN but of 20 characters")})
	wantError(t, err, "ValidationError", "Invalid ARN:  Could not be parsed!")
	_, err = bob.GetPolicy(ctx, &iam.GetPolicyInput{PolicyArn: &arn})
	wantError(t, err, "AccessDenied", denial("bob", "iam:GetPolicy", "policy "+arn))
	_, err = bob.ListPolicies(ctx, &iam.ListPoliciesInput{})
	wantError(t, err, "AccessDenied", denial("bob", "iam:ListPolicies", "policy path /"))
	_, err = admin.CreatePolicy(ctx, &iam.CreatePolicyInput{PolicyName: aws.String("big"), PolicyDocument: aws.String(strings.Replace(allowRead, `"*"`, `"arn:aws:secretsmanager:*:*:secret:`+strings.Repeat("x", 6144)+`"`, 1))})
	wantError(t, err, "LimitExceeded", "Cannot exceed quota for PolicySize: 6144")

	// Versions: five at most, numbers never again, the default cannot go.
	for i := range 4 {
		v := ok(admin.CreatePolicyVersion(ctx, &iam.CreatePolicyVersionInput{PolicyArn: &arn, PolicyDocument: aws.String(allowRead), SetAsDefault: i == 0}))(t).PolicyVersion
		if *v.VersionId != fmt.Sprintf("v%d", i+2) || v.IsDefaultVersion != (i == 0) {
			t.Errorf("version = %+v", v)
		}
	}
	_, err = admin.CreatePolicyVersion(ctx, &iam.CreatePolicyVersionInput{PolicyArn: &arn, PolicyDocument: aws.String(allowRead)})
	wantError(t, err, "LimitExceeded", "A managed policy can have up to 5 versions. Before you create a new version, you must delete an existing version.")
	_, err = admin.DeletePolicyVersion(ctx, &iam.DeletePolicyVersionInput{PolicyArn: &arn, VersionId: aws.String("v2")})
	wantError(t, err, "DeleteConflict", "Cannot delete the default version of a policy.")
	_, err = admin.DeletePolicy(ctx, &iam.DeletePolicyInput{PolicyArn: &arn})
	wantError(t, err, "DeleteConflict", "This policy has more than one version. Before you delete a policy, you must delete the policy's versions. The default version is deleted with the policy.")
	ok(admin.DeletePolicyVersion(ctx, &iam.DeletePolicyVersionInput{PolicyArn: &arn, VersionId: aws.String("v5")}))(t)
	if v := ok(admin.CreatePolicyVersion(ctx, &iam.CreatePolicyVersionInput{PolicyArn: &arn, PolicyDocument: aws.String(" " + allowRead)}))(t).PolicyVersion; *v.VersionId != "v6" {
		t.Errorf("version after v5 was deleted = %s, want v6", *v.VersionId)
	}
	versions := ok(admin.ListPolicyVersions(ctx, &iam.ListPolicyVersionsInput{PolicyArn: &arn}))(t).Versions
	var ids []string
	for _, v := range versions {
		ids = append(ids, *v.VersionId)
		if v.Document != nil {
			t.Error("a listed version has its document")
		}
	}
	if want := []string{"v6", "v4", "v3", "v2", "v1"}; !slices.Equal(ids, want) {
		t.Errorf("versions = %v, want %v", ids, want)
	}
	v6 := ok(admin.GetPolicyVersion(ctx, &iam.GetPolicyVersionInput{PolicyArn: &arn, VersionId: aws.String("v6")}))(t).PolicyVersion
	if document, _ := url.PathUnescape(*v6.Document); document != " "+allowRead {
		t.Errorf("document = %q", document)
	}
	_, err = admin.GetPolicyVersion(ctx, &iam.GetPolicyVersionInput{PolicyArn: &arn, VersionId: aws.String("v9")})
	wantError(t, err, "NoSuchEntity", "Policy "+arn+" version v9 does not exist or is not attachable.")

	// Attachment counts, and holds the policy.
	ok(admin.AttachUserPolicy(ctx, &iam.AttachUserPolicyInput{UserName: aws.String("bob"), PolicyArn: &arn}))(t)
	ok(admin.CreateUser(ctx, &iam.CreateUserInput{UserName: aws.String("bounded"), PermissionsBoundary: &arn}))(t)
	got = ok(admin.GetPolicy(ctx, &iam.GetPolicyInput{PolicyArn: &arn}))(t).Policy
	if *got.AttachmentCount != 1 || *got.PermissionsBoundaryUsageCount != 1 {
		t.Errorf("attached %d, bounds %d, want 1 and 1", *got.AttachmentCount, *got.PermissionsBoundaryUsageCount)
	}
	entities := ok(admin.ListEntitiesForPolicy(ctx, &iam.ListEntitiesForPolicyInput{PolicyArn: &arn}))(t)
	if len(entities.PolicyUsers) != 2 || len(entities.PolicyRoles)+len(entities.PolicyGroups) != 0 {
		t.Errorf("entities = %+v", entities)
	}
	entities = ok(admin.ListEntitiesForPolicy(ctx, &iam.ListEntitiesForPolicyInput{PolicyArn: &arn, PolicyUsageFilter: "PermissionsBoundary"}))(t)
	if len(entities.PolicyUsers) != 1 || *entities.PolicyUsers[0].UserName != "bounded" {
		t.Errorf("bounded = %+v", entities)
	}
	local := ok(admin.ListPolicies(ctx, &iam.ListPoliciesInput{Scope: "Local", OnlyAttached: true}))(t).Policies
	if len(local) != 1 || *local[0].Arn != arn || local[0].Tags != nil || local[0].Description != nil {
		t.Errorf("local = %+v", local)
	}
	for _, v := range []string{"v1", "v3", "v4", "v6"} {
		ok(admin.DeletePolicyVersion(ctx, &iam.DeletePolicyVersionInput{PolicyArn: &arn, VersionId: &v}))(t)
	}
	_, err = admin.DeletePolicy(ctx, &iam.DeletePolicyInput{PolicyArn: &arn})
	wantError(t, err, "DeleteConflict", "Cannot delete a policy attached to entities.")
	ok(admin.DetachUserPolicy(ctx, &iam.DetachUserPolicyInput{UserName: aws.String("bob"), PolicyArn: &arn}))(t)
	_, err = admin.DetachUserPolicy(ctx, &iam.DetachUserPolicyInput{UserName: aws.String("bob"), PolicyArn: &arn})
	wantError(t, err, "NoSuchEntity", "Policy "+arn+" was not found.")
	ok(admin.DeleteUserPermissionsBoundary(ctx, &iam.DeleteUserPermissionsBoundaryInput{UserName: aws.String("bounded")}))(t)
	ok(admin.DeletePolicy(ctx, &iam.DeletePolicyInput{PolicyArn: &arn}))(t)
}

func TestAWSManagedPolicies(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	ctx := t.Context()
	admin := iam.NewFromConfig(sys.Config())
	ok(admin.CreateRole(ctx, &iam.CreateRoleInput{RoleName: aws.String("r"), AssumeRolePolicyDocument: aws.String(trustECS)}))(t)

	// Each can be read, attached (but for a service's own) and compiled.
	var all []types.Policy
	pages := iam.NewListPoliciesPaginator(admin, &iam.ListPoliciesInput{Scope: "AWS", MaxItems: aws.Int32(7)})
	for pages.HasMorePages() {
		all = append(all, ok(pages.NextPage(ctx))(t).Policies...)
	}
	if len(all) < 20 {
		t.Errorf("%d AWS managed policies", len(all))
	}
	app := iam.NewFromConfig(sys.Role(t, "app", ""))
	for _, p := range all {
		version := ok(admin.GetPolicyVersion(ctx, &iam.GetPolicyVersionInput{PolicyArn: p.Arn, VersionId: p.DefaultVersionId}))(t).PolicyVersion
		if document, err := url.PathUnescape(*version.Document); err != nil || !strings.Contains(document, "2012-10-17") {
			t.Errorf("%s: %s", *p.Arn, document)
		}
		_, err := admin.AttachRolePolicy(ctx, &iam.AttachRolePolicyInput{RoleName: aws.String("app"), PolicyArn: p.Arn})
		if strings.HasPrefix(*p.Path, "/aws-service-role/") {
			wantError(t, err, "PolicyNotAttachable", "Cannot attach a Service Role Policy to a Customer Role.")
			continue
		}
		if err != nil {
			t.Errorf("attaching %s: %v", *p.Arn, err)
		}
		// The session asks, so the policy is compiled; what it may do is not the question.
		if _, err := app.ListGroups(ctx, &iam.ListGroupsInput{}); err != nil && !strings.Contains(err.Error(), "AccessDenied") {
			t.Errorf("with %s: %v", *p.Arn, err)
		}
		ok(admin.DetachRolePolicy(ctx, &iam.DetachRolePolicyInput{RoleName: aws.String("app"), PolicyArn: p.Arn}))(t)
	}

	const noARN = "thisisnotanarnofapolicy"
	_, err := admin.AttachRolePolicy(ctx, &iam.AttachRolePolicyInput{RoleName: aws.String("r"), PolicyArn: aws.String(noARN)})
	wantError(t, err, "ValidationError", "ARN "+noARN+" is not valid.")
	_, err = admin.PutRolePermissionsBoundary(ctx, &iam.PutRolePermissionsBoundaryInput{RoleName: aws.String("r"), PermissionsBoundary: aws.String(noARN)})
	wantError(t, err, "InvalidInput", "ARN "+noARN+" is not valid.")
	for _, missing := range []string{"arn:aws:iam::aws:policy/None", accountARN + "policy/None", "arn:aws:iam::999999999999:policy/Theirs"} {
		_, err := admin.AttachRolePolicy(ctx, &iam.AttachRolePolicyInput{RoleName: aws.String("r"), PolicyArn: &missing})
		wantError(t, err, "NoSuchEntity", "Policy "+missing+" does not exist or is not attachable.")
	}
	// They are AWS's: not even an administrator changes one.
	_, err = admin.DeletePolicy(ctx, &iam.DeletePolicyInput{PolicyArn: aws.String(adminARN)})
	if err == nil || !strings.Contains(err.Error(), "AccessDenied: User: "+accountARN+"user/admin is not authorized to perform: iam:DeletePolicy on resource: policy "+adminARN) {
		t.Errorf("DeletePolicy(AdministratorAccess) = %v, want AccessDenied", err)
	}
	_, err = iam.NewFromConfig(sys.Root(t)).CreatePolicyVersion(ctx, &iam.CreatePolicyVersionInput{PolicyArn: aws.String(adminARN), PolicyDocument: aws.String(allowRead), SetAsDefault: true})
	if err == nil || !strings.Contains(err.Error(), "AccessDenied") {
		t.Errorf("CreatePolicyVersion(AdministratorAccess) by root = %v, want AccessDenied", err)
	}

	// Ten, and no more.
	all = slices.DeleteFunc(all, func(p types.Policy) bool { return strings.HasPrefix(*p.Path, "/aws-service-role/") })
	for i, p := range all[:11] {
		_, err := admin.AttachRolePolicy(ctx, &iam.AttachRolePolicyInput{RoleName: aws.String("r"), PolicyArn: p.Arn})
		if i < 10 && err != nil {
			t.Fatal(err)
		}
		if i == 10 {
			wantError(t, err, "LimitExceeded", "Cannot exceed quota for PoliciesPerRole: 10")
		}
	}
	again := all[0].Arn // attaching twice is attaching once
	ok(admin.AttachRolePolicy(ctx, &iam.AttachRolePolicyInput{RoleName: aws.String("r"), PolicyArn: again}))(t)
	page := ok(admin.ListAttachedRolePolicies(ctx, &iam.ListAttachedRolePoliciesInput{RoleName: aws.String("r"), MaxItems: aws.Int32(6)}))(t)
	rest := ok(admin.ListAttachedRolePolicies(ctx, &iam.ListAttachedRolePoliciesInput{RoleName: aws.String("r"), Marker: page.Marker}))(t)
	if len(page.AttachedPolicies) != 6 || len(rest.AttachedPolicies) != 4 || rest.IsTruncated {
		t.Errorf("pages of %d and %d", len(page.AttachedPolicies), len(rest.AttachedPolicies))
	}
}

func TestInlinePolicies(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	ctx := t.Context()
	admin := iam.NewFromConfig(sys.Config())
	bob := iam.NewFromConfig(sys.User(t, "bob", ""))

	document := "{ \"Version\": \"2012-10-17\",\n\"Statement\": {\"Effect\":\"Allow\",\"Action\":\"iam:ListGroups\",\"Resource\":\"*\"} }"
	_, err := bob.ListGroups(ctx, &iam.ListGroupsInput{})
	wantError(t, err, "AccessDenied", denial("bob", "iam:ListGroups", accountARN+"group/"))
	ok(admin.PutUserPolicy(ctx, &iam.PutUserPolicyInput{UserName: aws.String("bob"), PolicyName: aws.String("list"), PolicyDocument: &document}))(t)
	ok(bob.ListGroups(ctx, &iam.ListGroupsInput{}))(t) // the next request
	got := ok(admin.GetUserPolicy(ctx, &iam.GetUserPolicyInput{UserName: aws.String("bob"), PolicyName: aws.String("list")}))(t)
	if decoded, _ := url.PathUnescape(*got.PolicyDocument); decoded != document {
		t.Errorf("document = %q, want %q", decoded, document)
	}
	_, err = admin.GetUserPolicy(ctx, &iam.GetUserPolicyInput{UserName: aws.String("bob"), PolicyName: aws.String("none")})
	wantError(t, err, "NoSuchEntity", "The user policy with name none cannot be found.")
	_, err = bob.PutUserPolicy(ctx, &iam.PutUserPolicyInput{UserName: aws.String("bob"), PolicyName: aws.String("mine"), PolicyDocument: aws.String(allowRead)})
	wantError(t, err, "AccessDenied", denial("bob", "iam:PutUserPolicy", "user bob"))

	for _, tt := range []struct{ name, document, message string }{
		{"json", `{`, "This policy contains invalid Json"},
		{"principal", strings.Replace(allowRead, `"Action"`, `"Principal":"*","Action"`, 1), "Policy document should not specify a principal."},
		{"vendor", strings.Replace(allowRead, "secretsmanager:GetSecretValue", "GetSecretValue", 1), "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc."},
		{"resource", strings.Replace(allowRead, `"*"`, `"secret"`, 1), `Resource secret must be in ARN format or "*".`},
		{"no action", strings.Replace(allowRead, `"Action":"secretsmanager:GetSecretValue",`, "", 1), "Policy statement must contain actions."},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := admin.PutUserPolicy(ctx, &iam.PutUserPolicyInput{UserName: aws.String("bob"), PolicyName: aws.String("bad"), PolicyDocument: &tt.document})
			wantError(t, err, "MalformedPolicyDocument", tt.message)
		})
	}
	long := strings.Replace(allowRead, `"*"`, `"arn:aws:secretsmanager:*:*:secret:`+strings.Repeat("x", 1900)+`"`, 1)
	_, err = admin.PutUserPolicy(ctx, &iam.PutUserPolicyInput{UserName: aws.String("bob"), PolicyName: aws.String("long"), PolicyDocument: &long})
	wantError(t, err, "LimitExceeded", "Maximum policy size of 2048 bytes exceeded for user bob")

	names := ok(admin.ListUserPolicies(ctx, &iam.ListUserPoliciesInput{UserName: aws.String("bob")}))(t)
	if !slices.Equal(names.PolicyNames, []string{"list"}) {
		t.Errorf("policies = %v", names.PolicyNames)
	}
	ok(admin.DeleteUserPolicy(ctx, &iam.DeleteUserPolicyInput{UserName: aws.String("bob"), PolicyName: aws.String("list")}))(t)
	_, err = bob.ListGroups(ctx, &iam.ListGroupsInput{})
	wantError(t, err, "AccessDenied", denial("bob", "iam:ListGroups", accountARN+"group/"))
}

// Cases 6 and 7: a group's policy counts for its users, and only the default version of a
// managed one.
func TestGroupsAndVersionsDecide(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	ctx := t.Context()
	admin := iam.NewFromConfig(sys.Config())
	bob := iam.NewFromConfig(sys.User(t, "bob", ""))
	list := &iam.ListGroupsInput{}
	refused := denial("bob", "iam:ListGroups", accountARN+"group/")

	ok(admin.CreateGroup(ctx, &iam.CreateGroupInput{GroupName: aws.String("Readers")}))(t)
	ok(admin.PutGroupPolicy(ctx, &iam.PutGroupPolicyInput{GroupName: aws.String("Readers"), PolicyName: aws.String("p"), PolicyDocument: aws.String(malotetest.Allow("*", "iam:ListGroups"))}))(t)
	_, err := bob.ListGroups(ctx, list)
	wantError(t, err, "AccessDenied", refused)
	ok(admin.AddUserToGroup(ctx, &iam.AddUserToGroupInput{GroupName: aws.String("Readers"), UserName: aws.String("bob")}))(t)
	ok(bob.ListGroups(ctx, list))(t)
	ok(admin.UpdateGroup(ctx, &iam.UpdateGroupInput{GroupName: aws.String("Readers"), NewGroupName: aws.String("Lectors")}))(t)
	ok(bob.ListGroups(ctx, list))(t)
	if got := ok(admin.GetGroup(ctx, &iam.GetGroupInput{GroupName: aws.String("Lectors")}))(t); len(got.Users) != 1 || *got.Users[0].UserName != "bob" {
		t.Errorf("members = %+v", got.Users)
	}
	if got := ok(admin.ListGroupsForUser(ctx, &iam.ListGroupsForUserInput{UserName: aws.String("bob")}))(t).Groups; len(got) != 1 || *got[0].GroupName != "Lectors" {
		t.Errorf("groups = %+v", got)
	}
	_, err = admin.DeleteGroup(ctx, &iam.DeleteGroupInput{GroupName: aws.String("Lectors")})
	wantError(t, err, "DeleteConflict", "Cannot delete entity, must delete policies first.")
	ok(admin.DeleteGroupPolicy(ctx, &iam.DeleteGroupPolicyInput{GroupName: aws.String("Lectors"), PolicyName: aws.String("p")}))(t)
	_, err = admin.DeleteGroup(ctx, &iam.DeleteGroupInput{GroupName: aws.String("Lectors")})
	wantError(t, err, "DeleteConflict", "Cannot delete entity, must remove users from group first.")
	for range 2 { // who is out stays out
		ok(admin.RemoveUserFromGroup(ctx, &iam.RemoveUserFromGroupInput{GroupName: aws.String("Lectors"), UserName: aws.String("bob")}))(t)
	}
	_, err = admin.RemoveUserFromGroup(ctx, &iam.RemoveUserFromGroupInput{GroupName: aws.String("none"), UserName: aws.String("nobody")})
	wantError(t, err, "NoSuchEntity", "The user with name nobody cannot be found.")
	_, err = admin.RemoveUserFromGroup(ctx, &iam.RemoveUserFromGroupInput{GroupName: aws.String("none"), UserName: aws.String("bob")})
	wantError(t, err, "NoSuchEntity", "The group with name none cannot be found.")
	_, err = bob.RemoveUserFromGroup(ctx, &iam.RemoveUserFromGroupInput{GroupName: aws.String("none"), UserName: aws.String("nobody")})
	wantError(t, err, "AccessDenied", denial("bob", "iam:RemoveUserFromGroup", "group none"))
	ok(admin.DeleteGroup(ctx, &iam.DeleteGroupInput{GroupName: aws.String("Lectors")}))(t)

	deny := strings.Replace(malotetest.Allow("*", "iam:ListGroups"), "Allow", "Deny", 1)
	arn := ok(admin.CreatePolicy(ctx, &iam.CreatePolicyInput{PolicyName: aws.String("lists"), PolicyDocument: &deny}))(t).Policy.Arn
	ok(admin.AttachUserPolicy(ctx, &iam.AttachUserPolicyInput{UserName: aws.String("bob"), PolicyArn: arn}))(t)
	if _, err = bob.ListGroups(ctx, list); err == nil || !strings.Contains(err.Error(), "with an explicit deny in an identity-based policy") {
		t.Errorf("v1: %v, want an explicit deny", err)
	}
	ok(admin.CreatePolicyVersion(ctx, &iam.CreatePolicyVersionInput{PolicyArn: arn, PolicyDocument: aws.String(malotetest.Allow("*", "iam:ListGroups")), SetAsDefault: true}))(t)
	ok(bob.ListGroups(ctx, list))(t)
	ok(admin.SetDefaultPolicyVersion(ctx, &iam.SetDefaultPolicyVersionInput{PolicyArn: arn, VersionId: aws.String("v1")}))(t)
	if _, err = bob.ListGroups(ctx, list); err == nil {
		t.Error("v1 again: allowed")
	}
}

func TestBoundariesAndTags(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	ctx := t.Context()
	admin := iam.NewFromConfig(sys.Config())
	bob := iam.NewFromConfig(sys.User(t, "bob", malotetest.Allow("*", "iam:*")))
	readOnly := aws.String("arn:aws:iam::aws:policy/IAMReadOnlyAccess")

	ok(bob.CreateGroup(ctx, &iam.CreateGroupInput{GroupName: aws.String("one")}))(t)
	ok(admin.PutUserPermissionsBoundary(ctx, &iam.PutUserPermissionsBoundaryInput{UserName: aws.String("bob"), PermissionsBoundary: readOnly}))(t)
	_, err := bob.CreateGroup(ctx, &iam.CreateGroupInput{GroupName: aws.String("two")})
	wantError(t, err, "AccessDenied", strings.Replace(denial("bob", "iam:CreateGroup", accountARN+"group/two"), "no identity-based policy", "no permissions boundary", 1))
	ok(bob.ListGroups(ctx, &iam.ListGroupsInput{}))(t)
	ok(admin.DeleteUserPermissionsBoundary(ctx, &iam.DeleteUserPermissionsBoundaryInput{UserName: aws.String("bob")}))(t)
	ok(bob.CreateGroup(ctx, &iam.CreateGroupInput{GroupName: aws.String("two")}))(t)

	// A delegate who must bind what it makes.
	delegate := iam.NewFromConfig(sys.User(t, "delegate", `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":["iam:CreateUser","iam:AttachUserPolicy"],"Resource":"*","Condition":{"StringEquals":{"iam:PermissionsBoundary":"`+*readOnly+`"}}},
		{"Effect":"Deny","Action":"iam:AttachUserPolicy","Resource":"*","Condition":{"ArnEquals":{"iam:PolicyARN":"`+adminARN+`"}}},
		{"Effect":"Allow","Action":["iam:TagUser","iam:UntagUser"],"Resource":"*","Condition":{"StringEquals":{"iam:ResourceTag/owner":"delegate"},"ForAllValues:StringEquals":{"aws:TagKeys":["env"]}}}]}`))
	_, err = delegate.CreateUser(ctx, &iam.CreateUserInput{UserName: aws.String("free")})
	wantError(t, err, "AccessDenied", denial("delegate", "iam:CreateUser", accountARN+"user/free"))
	ok(delegate.CreateUser(ctx, &iam.CreateUserInput{UserName: aws.String("bound"), PermissionsBoundary: readOnly}))(t)
	ok(delegate.AttachUserPolicy(ctx, &iam.AttachUserPolicyInput{UserName: aws.String("bound"), PolicyArn: readOnly}))(t)
	_, err = delegate.AttachUserPolicy(ctx, &iam.AttachUserPolicyInput{UserName: aws.String("bob"), PolicyArn: readOnly})
	wantError(t, err, "AccessDenied", denial("delegate", "iam:AttachUserPolicy", "user bob"))
	if _, err = delegate.AttachUserPolicy(ctx, &iam.AttachUserPolicyInput{UserName: aws.String("bound"), PolicyArn: aws.String(adminARN)}); err == nil {
		t.Error("attached AdministratorAccess against a Deny")
	}

	env := []types.Tag{{Key: aws.String("env"), Value: aws.String("prod")}}
	_, err = delegate.TagUser(ctx, &iam.TagUserInput{UserName: aws.String("bound"), Tags: env})
	wantError(t, err, "AccessDenied", denial("delegate", "iam:TagUser", "user bound"))
	ok(admin.TagUser(ctx, &iam.TagUserInput{UserName: aws.String("bound"), Tags: []types.Tag{{Key: aws.String("Owner"), Value: aws.String("delegate")}}}))(t)
	ok(delegate.TagUser(ctx, &iam.TagUserInput{UserName: aws.String("bound"), Tags: env}))(t)
	_, err = delegate.UntagUser(ctx, &iam.UntagUserInput{UserName: aws.String("bound"), TagKeys: []string{"owner"}})
	wantError(t, err, "AccessDenied", denial("delegate", "iam:UntagUser", "user bound"))
	ok(admin.TagUser(ctx, &iam.TagUserInput{UserName: aws.String("bound"), Tags: []types.Tag{{Key: aws.String("ENV"), Value: aws.String("test")}}}))(t)
	tags := ok(admin.ListUserTags(ctx, &iam.ListUserTagsInput{UserName: aws.String("bound")}))(t).Tags
	if len(tags) != 2 || *tags[1].Key != "ENV" || *tags[1].Value != "test" {
		t.Errorf("tags = %+v", tags)
	}
	_, err = admin.TagUser(ctx, &iam.TagUserInput{UserName: aws.String("bound"), Tags: []types.Tag{{Key: aws.String("aws:x"), Value: aws.String("")}}})
	wantError(t, err, "InvalidInput", "Tag keys beginning with aws: are reserved for system use.")
}

// A group is renamed with all its users and what is attached to it, or not at all.
func TestRenameLargeGroup(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	sys := malotetest.New(t)
	admin := iam.NewFromConfig(sys.Config())
	ok(admin.CreateGroup(ctx, &iam.CreateGroupInput{GroupName: aws.String("many")}))(t)
	for i := range 10 {
		arn := ok(admin.CreatePolicy(ctx, &iam.CreatePolicyInput{PolicyName: aws.String(fmt.Sprintf("p%d", i)), PolicyDocument: aws.String(malotetest.Allow("*", "iam:ListGroups"))}))(t).Policy.Arn
		ok(admin.AttachGroupPolicy(ctx, &iam.AttachGroupPolicyInput{GroupName: aws.String("many"), PolicyArn: arn}))(t)
	}
	join := func(i int) {
		name := aws.String(fmt.Sprintf("user%d", i))
		ok(admin.CreateUser(ctx, &iam.CreateUserInput{UserName: name}))(t)
		ok(admin.AddUserToGroup(ctx, &iam.AddUserToGroupInput{GroupName: aws.String("many"), UserName: name}))(t)
	}
	rename := &iam.UpdateGroupInput{GroupName: aws.String("many"), NewGroupName: aws.String("others")}
	for i := range 26 {
		join(i)
	}
	_, err := admin.UpdateGroup(ctx, rename)
	wantError(t, err, "LimitExceeded", "A group with more than 25 users cannot be renamed.")
	ok(admin.UpdateGroup(ctx, &iam.UpdateGroupInput{GroupName: aws.String("many"), NewGroupName: aws.String("MANY"), NewPath: aws.String("/x/")}))(t)
	ok(admin.RemoveUserFromGroup(ctx, &iam.RemoveUserFromGroupInput{GroupName: aws.String("many"), UserName: aws.String("user0")}))(t)
	ok(admin.UpdateGroup(ctx, rename))(t)
	if got := ok(admin.GetGroup(ctx, &iam.GetGroupInput{GroupName: aws.String("others")}))(t); len(got.Users) != 25 {
		t.Errorf("%d users, want 25", len(got.Users))
	}
}
