package iam_test

import (
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/malote/malote/malotetest"
)

func TestAccountAliases(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	ctx := t.Context()
	admin, other := iam.NewFromConfig(sys.Config()), iam.NewFromConfig(sys.Other(t, "210987654321"))
	create := func(c *iam.Client, alias string) error {
		_, err := c.CreateAccountAlias(ctx, &iam.CreateAccountAliasInput{AccountAlias: &alias})
		return err
	}
	remove := func(c *iam.Client, alias string) error {
		_, err := c.DeleteAccountAlias(ctx, &iam.DeleteAccountAliasInput{AccountAlias: &alias})
		return err
	}
	list := func(c *iam.Client) string {
		t.Helper()
		return strings.Join(ok(c.ListAccountAliases(ctx, &iam.ListAccountAliasesInput{}))(t).AccountAliases, " ")
	}

	for _, alias := range []string{"first-one", "shop"} { // a second takes the place of the first
		if err := create(admin, alias); err != nil {
			t.Fatal(err)
		}
		if got := list(admin); got != alias {
			t.Errorf("aliases = %q, want %q", got, alias)
		}
	}
	wantError(t, create(other, "shop"), "EntityAlreadyExists", "The account alias shop already exists.")
	wantError(t, create(admin, "shop"), "EntityAlreadyExists", "The account alias shop already exists.")
	if err := create(other, "first-one"); err != nil { // nobody's any more
		t.Error(err)
	}
	wantError(t, remove(admin, "first-one"), "NoSuchEntity", "The account alias first-one cannot be found.")
	if err := remove(admin, "shop"); err != nil {
		t.Error(err)
	}
	if got := list(admin) + list(other); got != "first-one" {
		t.Errorf("aliases = %q", got)
	}
	if err := create(other, "shop"); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{"no--two", "-a-b", "Shop", "a"} {
		if err := create(admin, bad); err == nil || !strings.Contains(err.Error(), "ValidationError") {
			t.Errorf("alias %q: %v, want a ValidationError", bad, err)
		}
	}
	bob := iam.NewFromConfig(sys.User(t, "bob", ""))
	wantError(t, create(bob, "bobs"), "AccessDenied", "User: "+accountARN+"user/bob is not authorized to perform: iam:CreateAccountAlias because no identity-based policy allows the iam:CreateAccountAlias action")
}

func TestAccountSummary(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	ctx := t.Context()
	admin := iam.NewFromConfig(sys.Config())
	summary := func() map[string]int32 {
		t.Helper()
		return ok(admin.GetAccountSummary(ctx, &iam.GetAccountSummaryInput{}))(t).SummaryMap
	}
	before := summary()
	for name, want := range map[string]int32{
		"Users": 1, "Groups": 0, "Roles": 0, "Policies": 0, "PolicyVersionsInUse": 0, "InstanceProfiles": 0, "AccountAccessKeysPresent": 0, "MFADevices": 0,
		"UsersQuota": 5000, "GroupsQuota": 300, "RolesQuota": 1000, "PoliciesQuota": 1500, "InstanceProfilesQuota": 1000, "VersionsPerPolicyQuota": 5,
		"AccessKeysPerUserQuota": 2, "AssumeRolePolicySizeQuota": 2048, "PolicySizeQuota": 6144,
	} {
		if got, there := before[name]; got != want || !there {
			t.Errorf("%s = %d, want %d", name, got, want)
		}
	}
	// All that the API knows, and nothing else.
	known := types.SummaryKeyType("").Values()
	for _, key := range known {
		if _, there := before[string(key)]; !there {
			t.Errorf("no %s", key)
		}
	}
	if len(before) < len(known) {
		t.Errorf("%d entries, the API knows %d", len(before), len(known))
	}

	sys.User(t, "bob", "")
	sys.Root(t)
	ok(admin.CreateGroup(ctx, &iam.CreateGroupInput{GroupName: aws.String("g")}))(t)
	ok(admin.CreateRole(ctx, &iam.CreateRoleInput{RoleName: aws.String("r"), AssumeRolePolicyDocument: aws.String(trustECS)}))(t)
	ok(admin.CreateInstanceProfile(ctx, &iam.CreateInstanceProfileInput{InstanceProfileName: aws.String("i")}))(t)
	arn := ok(admin.CreatePolicy(ctx, &iam.CreatePolicyInput{PolicyName: aws.String("p"), PolicyDocument: aws.String(allowRead)}))(t).Policy.Arn
	ok(admin.CreatePolicyVersion(ctx, &iam.CreatePolicyVersionInput{PolicyArn: arn, PolicyDocument: aws.String(allowRead)}))(t)
	now := summary()
	for name, more := range map[string]int32{"Users": 1, "Groups": 1, "Roles": 1, "InstanceProfiles": 1, "Policies": 1, "PolicyVersionsInUse": 2, "AccountAccessKeysPresent": 1, "RolesQuota": 0} {
		if now[name] != before[name]+more {
			t.Errorf("%s = %d, was %d", name, now[name], before[name])
		}
	}
}

// There are no passwords, hence no policy for them.
func TestNoPasswordPolicy(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	ctx := t.Context()
	admin := iam.NewFromConfig(sys.Config())
	_, err := admin.GetAccountPasswordPolicy(ctx, &iam.GetAccountPasswordPolicyInput{})
	wantError(t, err, "NoSuchEntity", "The Password Policy with domain name "+malotetest.Account+" cannot be found.")
	_, err = admin.DeleteAccountPasswordPolicy(ctx, &iam.DeleteAccountPasswordPolicyInput{})
	wantError(t, err, "NoSuchEntity", "The account policy with name PasswordPolicy cannot be found.")
	_, err = admin.UpdateAccountPasswordPolicy(ctx, &iam.UpdateAccountPasswordPolicyInput{MinimumPasswordLength: aws.Int32(14)})
	wantError(t, err, "InvalidAction", "Could not find operation UpdateAccountPasswordPolicy for version 2010-05-08")
}

func TestAccountAuthorizationDetails(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	ctx := t.Context()
	admin := iam.NewFromConfig(sys.Config())
	own := ok(admin.CreatePolicy(ctx, &iam.CreatePolicyInput{PolicyName: aws.String("own"), PolicyDocument: aws.String(allowRead)}))(t).Policy.Arn
	ok(admin.CreatePolicyVersion(ctx, &iam.CreatePolicyVersionInput{PolicyArn: own, PolicyDocument: aws.String(" " + allowRead)}))(t)
	ok(admin.CreateGroup(ctx, &iam.CreateGroupInput{GroupName: aws.String("Readers")}))(t)
	ok(admin.PutGroupPolicy(ctx, &iam.PutGroupPolicyInput{GroupName: aws.String("Readers"), PolicyName: aws.String("in"), PolicyDocument: aws.String(allowRead)}))(t)
	ok(admin.AttachGroupPolicy(ctx, &iam.AttachGroupPolicyInput{GroupName: aws.String("Readers"), PolicyArn: own}))(t)
	sys.User(t, "bob", allowRead)
	ok(admin.AddUserToGroup(ctx, &iam.AddUserToGroupInput{GroupName: aws.String("readers"), UserName: aws.String("bob")}))(t)
	ok(admin.CreateRole(ctx, &iam.CreateRoleInput{RoleName: aws.String("app"), AssumeRolePolicyDocument: aws.String(trustECS), PermissionsBoundary: aws.String("arn:aws:iam::aws:policy/ReadOnlyAccess"),
		Tags: []types.Tag{{Key: aws.String("a"), Value: aws.String("b")}}}))(t)
	ok(admin.CreateInstanceProfile(ctx, &iam.CreateInstanceProfileInput{InstanceProfileName: aws.String("host")}))(t)
	ok(admin.AddRoleToInstanceProfile(ctx, &iam.AddRoleToInstanceProfileInput{InstanceProfileName: aws.String("host"), RoleName: aws.String("app")}))(t)

	all := ok(admin.GetAccountAuthorizationDetails(ctx, &iam.GetAccountAuthorizationDetailsInput{}))(t)
	if len(all.UserDetailList) != 2 || len(all.GroupDetailList) != 1 || len(all.RoleDetailList) != 1 || len(all.Policies) != 3 || all.IsTruncated {
		t.Fatalf("%d users, %d groups, %d roles, %d policies", len(all.UserDetailList), len(all.GroupDetailList), len(all.RoleDetailList), len(all.Policies))
	}
	decoded := func(document *string) string { text, _ := url.PathUnescape(*document); return text }
	administrator, bob, group, role := all.UserDetailList[0], all.UserDetailList[1], all.GroupDetailList[0], all.RoleDetailList[0]
	if *administrator.UserName != "admin" || administrator.UserPolicyList != nil || administrator.Tags == nil || administrator.GroupList == nil || len(administrator.AttachedManagedPolicies) != 1 || *administrator.AttachedManagedPolicies[0].PolicyArn != adminARN {
		t.Errorf("admin = %+v", administrator)
	}
	if len(bob.UserPolicyList) != 1 || decoded(bob.UserPolicyList[0].PolicyDocument) != allowRead || strings.Contains(*bob.UserPolicyList[0].PolicyDocument, "{") || !slices.Equal(bob.GroupList, []string{"Readers"}) {
		t.Errorf("bob = %+v", bob)
	}
	if len(group.GroupPolicyList) != 1 || len(group.AttachedManagedPolicies) != 1 || *group.AttachedManagedPolicies[0].PolicyName != "own" {
		t.Errorf("group = %+v", group)
	}
	if decoded(role.AssumeRolePolicyDocument) != trustECS || len(role.InstanceProfileList) != 1 || len(role.InstanceProfileList[0].Roles) != 1 || len(role.Tags) != 1 || role.RolePolicyList == nil ||
		role.RoleLastUsed == nil || *role.PermissionsBoundary.PermissionsBoundaryArn != "arn:aws:iam::aws:policy/ReadOnlyAccess" {
		t.Errorf("role = %+v", role)
	}
	var names []string
	for _, p := range all.Policies {
		names = append(names, *p.PolicyName)
	}
	if !slices.Equal(names, []string{"own", "AdministratorAccess", "ReadOnlyAccess"}) { // of AWS's those in use
		t.Errorf("policies = %v", names)
	}
	if versions := all.Policies[0].PolicyVersionList; len(versions) != 2 || *versions[0].VersionId != "v2" || decoded(versions[0].Document) != " "+allowRead || !versions[1].IsDefaultVersion {
		t.Errorf("versions = %+v", versions)
	}

	// Pages hold whatever comes next.
	var seen []string
	pages := iam.NewGetAccountAuthorizationDetailsPaginator(admin, &iam.GetAccountAuthorizationDetailsInput{MaxItems: aws.Int32(2)})
	for pages.HasMorePages() {
		page := ok(pages.NextPage(ctx))(t)
		for _, u := range page.UserDetailList {
			seen = append(seen, *u.UserName)
		}
		for _, g := range page.GroupDetailList {
			seen = append(seen, *g.GroupName)
		}
		for _, r := range page.RoleDetailList {
			seen = append(seen, *r.RoleName)
		}
		for _, p := range page.Policies {
			seen = append(seen, *p.PolicyName)
		}
	}
	if want := []string{"admin", "bob", "Readers", "app", "own", "AdministratorAccess", "ReadOnlyAccess"}; !slices.Equal(seen, want) {
		t.Errorf("pages hold %v, want %v", seen, want)
	}
	filtered := ok(admin.GetAccountAuthorizationDetails(ctx, &iam.GetAccountAuthorizationDetailsInput{Filter: []types.EntityType{types.EntityTypeGroup, types.EntityTypeLocalManagedPolicy}}))(t)
	if len(filtered.UserDetailList)+len(filtered.RoleDetailList) != 0 || len(filtered.GroupDetailList) != 1 || len(filtered.Policies) != 1 {
		t.Errorf("filtered = %+v", filtered)
	}
	page := ok(admin.GetAccountAuthorizationDetails(ctx, &iam.GetAccountAuthorizationDetailsInput{Filter: []types.EntityType{types.EntityTypeGroup, types.EntityTypeLocalManagedPolicy}, MaxItems: aws.Int32(1)}))(t)
	rest := ok(admin.GetAccountAuthorizationDetails(ctx, &iam.GetAccountAuthorizationDetailsInput{Filter: []types.EntityType{types.EntityTypeGroup, types.EntityTypeLocalManagedPolicy}, Marker: page.Marker}))(t)
	if len(page.GroupDetailList) != 1 || len(rest.GroupDetailList) != 0 || len(rest.Policies) != 1 {
		t.Errorf("pages of what is filtered = %+v, %+v", page, rest)
	}
}
