package iam_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/malote/malote/malotetest"
)

func TestInstanceProfiles(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	ctx := t.Context()
	admin := iam.NewFromConfig(sys.Config())
	bob := iam.NewFromConfig(sys.User(t, "bob", ""))
	role := func(name string) {
		t.Helper()
		ok(admin.CreateRole(ctx, &iam.CreateRoleInput{RoleName: &name, AssumeRolePolicyDocument: aws.String(trustECS), Description: aws.String("d")}))(t)
	}
	role("Host")
	role("Other")

	made := ok(admin.CreateInstanceProfile(ctx, &iam.CreateInstanceProfileInput{
		InstanceProfileName: aws.String("Host"), Path: aws.String("/ecs/"), Tags: []types.Tag{{Key: aws.String("Team"), Value: aws.String("1")}, {Key: aws.String("team"), Value: aws.String("2")}},
	}))(t).InstanceProfile
	if *made.Arn != accountARN+"instance-profile/ecs/Host" || !strings.HasPrefix(*made.InstanceProfileId, "AIPA") || len(*made.InstanceProfileId) != 21 || made.Roles == nil || len(made.Roles) != 0 || len(made.Tags) != 2 {
		t.Errorf("made = %+v", made)
	}
	_, err := admin.CreateInstanceProfile(ctx, &iam.CreateInstanceProfileInput{InstanceProfileName: aws.String("HOST")})
	wantError(t, err, "EntityAlreadyExists", "Instance Profile HOST already exists.")
	_, err = bob.CreateInstanceProfile(ctx, &iam.CreateInstanceProfileInput{InstanceProfileName: aws.String("x"), Path: aws.String("/p/")})
	wantError(t, err, "AccessDenied", denial("bob", "iam:CreateInstanceProfile", accountARN+"instance-profile/p/x"))
	tagless := iam.NewFromConfig(sys.User(t, "tagless", malotetest.Allow("*", "iam:CreateInstanceProfile")))
	_, err = tagless.CreateInstanceProfile(ctx, &iam.CreateInstanceProfileInput{InstanceProfileName: aws.String("x"), Tags: []types.Tag{{Key: aws.String("a"), Value: aws.String("")}}})
	wantError(t, err, "AccessDenied", denial("tagless", "iam:TagInstanceProfile", accountARN+"instance-profile/x"))
	for _, name := range []string{"Host", "none"} {
		_, err = bob.GetInstanceProfile(ctx, &iam.GetInstanceProfileInput{InstanceProfileName: &name})
		wantError(t, err, "AccessDenied", denial("bob", "iam:GetInstanceProfile", "instance profile "+name))
	}
	_, err = admin.GetInstanceProfile(ctx, &iam.GetInstanceProfileInput{InstanceProfileName: aws.String("none")})
	wantError(t, err, "NoSuchEntity", "Instance Profile none cannot be found.")

	add := func(c *iam.Client, profile, role string) error {
		_, err := c.AddRoleToInstanceProfile(ctx, &iam.AddRoleToInstanceProfileInput{InstanceProfileName: &profile, RoleName: &role})
		return err
	}
	remove := func(profile, role string) error {
		_, err := admin.RemoveRoleFromInstanceProfile(ctx, &iam.RemoveRoleFromInstanceProfileInput{InstanceProfileName: &profile, RoleName: &role})
		return err
	}
	wantError(t, add(admin, "none", "Host"), "NoSuchEntity", "Instance Profile none cannot be found.")
	wantError(t, add(admin, "Host", "none"), "NoSuchEntity", "The role with name none cannot be found.")
	// Whoever puts a role into a profile must be allowed to pass it, to EC2.
	passless := iam.NewFromConfig(sys.User(t, "passless", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iam:AddRoleToInstanceProfile","Resource":"*"},
		{"Effect":"Allow","Action":"iam:PassRole","Resource":"*","Condition":{"StringEquals":{"iam:PassedToService":"ecs-tasks.amazonaws.com"}}}]}`))
	wantError(t, add(passless, "Host", "Host"), "AccessDenied", denial("passless", "iam:PassRole", accountARN+"role/Host"))
	passing := iam.NewFromConfig(sys.User(t, "passing", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iam:AddRoleToInstanceProfile","Resource":"`+accountARN+`instance-profile/ecs/*"},
		{"Effect":"Allow","Action":"iam:PassRole","Resource":"`+accountARN+`role/Host","Condition":{"StringEquals":{"iam:PassedToService":"ec2.amazonaws.com"}}}]}`))
	if err := add(passing, "host", "HOST"); err != nil {
		t.Fatal(err)
	}
	for _, again := range []string{"Host", "Other"} {
		wantError(t, add(admin, "Host", again), "LimitExceeded", "Cannot exceed quota for InstanceSessionsPerInstanceProfile: 1")
	}
	got := ok(admin.GetInstanceProfile(ctx, &iam.GetInstanceProfileInput{InstanceProfileName: aws.String("Host")}))(t).InstanceProfile
	if len(got.Roles) != 1 || *got.Roles[0].RoleName != "Host" || got.Roles[0].MaxSessionDuration != nil || got.Roles[0].Description != nil || len(got.Tags) != 2 {
		t.Fatalf("got = %+v", got)
	}
	if document, _ := url.PathUnescape(*got.Roles[0].AssumeRolePolicyDocument); document != trustECS {
		t.Errorf("trust policy = %s", document)
	}

	// Neither goes while the one is in the other.
	_, err = admin.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: aws.String("Host")})
	wantError(t, err, "DeleteConflict", "Cannot delete entity, must remove roles from instance profile first.")
	_, err = admin.DeleteInstanceProfile(ctx, &iam.DeleteInstanceProfileInput{InstanceProfileName: aws.String("Host")})
	wantError(t, err, "DeleteConflict", "Cannot delete entity, must remove roles from instance profile first.")

	for _, name := range []string{"b", "a"} {
		ok(admin.CreateInstanceProfile(ctx, &iam.CreateInstanceProfileInput{InstanceProfileName: &name}))(t)
		if err := add(admin, name, "Host"); err != nil {
			t.Fatal(err)
		}
	}
	first := ok(admin.ListInstanceProfilesForRole(ctx, &iam.ListInstanceProfilesForRoleInput{RoleName: aws.String("Host"), MaxItems: aws.Int32(2)}))(t)
	rest := ok(admin.ListInstanceProfilesForRole(ctx, &iam.ListInstanceProfilesForRoleInput{RoleName: aws.String("Host"), Marker: first.Marker}))(t)
	if len(first.InstanceProfiles) != 2 || !first.IsTruncated || len(rest.InstanceProfiles) != 1 || *rest.InstanceProfiles[0].InstanceProfileName != "Host" || rest.IsTruncated {
		t.Errorf("pages of a role = %+v and %+v", first, rest)
	}
	var names []string
	pages := iam.NewListInstanceProfilesPaginator(admin, &iam.ListInstanceProfilesInput{MaxItems: aws.Int32(2)})
	for pages.HasMorePages() {
		for _, p := range ok(pages.NextPage(ctx))(t).InstanceProfiles {
			names = append(names, *p.InstanceProfileName)
			if p.Tags != nil || len(p.Roles) != 1 {
				t.Errorf("listed %+v", p)
			}
		}
	}
	if strings.Join(names, " ") != "a b Host" {
		t.Errorf("listed %v", names)
	}
	if under := ok(admin.ListInstanceProfiles(ctx, &iam.ListInstanceProfilesInput{PathPrefix: aws.String("/ecs/")}))(t).InstanceProfiles; len(under) != 1 {
		t.Errorf("under /ecs/: %+v", under)
	}
	_, err = bob.ListInstanceProfiles(ctx, &iam.ListInstanceProfilesInput{})
	wantError(t, err, "AccessDenied", denial("bob", "iam:ListInstanceProfiles", accountARN+"instance-profile/"))

	ok(admin.TagInstanceProfile(ctx, &iam.TagInstanceProfileInput{InstanceProfileName: aws.String("Host"), Tags: []types.Tag{{Key: aws.String("team"), Value: aws.String("3")}}}))(t)
	ok(admin.UntagInstanceProfile(ctx, &iam.UntagInstanceProfileInput{InstanceProfileName: aws.String("Host"), TagKeys: []string{"Team"}}))(t)
	if tags := ok(admin.ListInstanceProfileTags(ctx, &iam.ListInstanceProfileTagsInput{InstanceProfileName: aws.String("Host")}))(t).Tags; len(tags) != 1 || *tags[0].Key != "team" || *tags[0].Value != "3" {
		t.Errorf("tags = %+v", tags)
	}
	// What is tagged so is what a condition on tags means.
	tagged := iam.NewFromConfig(sys.User(t, "tagged", `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"iam:GetInstanceProfile","Resource":"*","Condition":{"StringEquals":{"aws:ResourceTag/team":"3"}}}}`))
	ok(tagged.GetInstanceProfile(ctx, &iam.GetInstanceProfileInput{InstanceProfileName: aws.String("Host")}))(t)
	_, err = tagged.GetInstanceProfile(ctx, &iam.GetInstanceProfileInput{InstanceProfileName: aws.String("a")})
	wantError(t, err, "AccessDenied", denial("tagged", "iam:GetInstanceProfile", "instance profile a"))

	wantError(t, remove("Host", "Other"), "NoSuchEntity", "Role Other in Instance Profile Host cannot be found.")
	wantError(t, remove("Host", "none"), "NoSuchEntity", "The role with name none cannot be found.")
	wantError(t, remove("none", "Host"), "NoSuchEntity", "Instance Profile none cannot be found.")
	for _, name := range []string{"Host", "a", "b"} {
		if err := remove(name, "Host"); err != nil {
			t.Fatal(err)
		}
		ok(admin.DeleteInstanceProfile(ctx, &iam.DeleteInstanceProfileInput{InstanceProfileName: &name}))(t)
	}
	ok(admin.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: aws.String("Host")}))(t)
}
